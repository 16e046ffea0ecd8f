package live

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/playbooks"
)

func TestTargetsAreShared(t *testing.T) {
	with := func(text string) (p api.Params) {
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	cases := []struct {
		spec api.ProbeSpec
		want string
	}{
		{api.ProbeSpec{Integration: "erp", With: with(`{"url": "http://a:1/x"}`)}, "integration/erp/"},
		{api.ProbeSpec{Integration: "erp", Endpoint: "standby"}, "integration/erp/standby"},
		{api.ProbeSpec{With: with(`{"url": "http://a:1/x?y=z"}`)}, "host/a:1"},
		{api.ProbeSpec{With: with(`{"path": "/var/spool/in"}`)}, "probe/p"},
		{api.ProbeSpec{With: with(`{"url": {"env": "URL"}}`)}, "probe/p"},
	}
	for _, c := range cases {
		if got := targetKey(Probe{Name: "p", Spec: c.spec, Prober: sight(good)}); got != c.want {
			t.Errorf("%+v has the target %s, want %s", c.spec, got, c.want)
		}
	}
}

// A remediation goes on with the runner that it was planned with, also after its playbook was edited; runners that nobody needs go.
func TestOldRunnersStayWhileTheyAreNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		called := ""
		act := func(name string) runner {
			return plainHand(func(context.Context, playbooks.Call) api.Outcome {
				called += name
				return api.Outcome{Result: api.ResultDone}
			})
		}
		disk := &memory{open: []api.Remediation{{ID: "r1", Digest: "d1"}, {ID: "r0", Digest: "d0", End: api.EndVerified}}}
		core := &script{}
		core.step = func(e engine.Event) (out engine.Output) {
			if e.Pause != nil {
				out.Entries = []api.Entry{{Kind: api.EntryPaused}}
				c := runStep
				c.Digest = e.Pause.Playbook
				out.Commands = []engine.Command{c}
			}
			return out
		}
		r := start(t, Options{Config: Config{Steps: map[StepKey]runner{{"d0", "switch"}: act("0"), {"d1", "switch"}: act("1")}}}, disk, core)
		if err := r.Reload(Config{Steps: map[StepKey]runner{{"d2", "switch"}: act("2")}}); err != nil {
			t.Fatal(err)
		}
		for _, digest := range []string{"d0", "d1", "d2"} {
			if err := r.Pause(t.Context(), api.Pause{Playbook: digest}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		r.stop()
		if called != "12" {
			t.Errorf("called %q; want the runner of the open remediation and the new one", called)
		}
	})
}

// A restart reads the snapshot and applies only what came after it.
func TestRestartReadsSnapshotAndRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ahead := time.Now().Add(time.Minute) // the journal's clock was ahead of ours
		disk := &memory{next: 2, state: []byte("at two"), entries: []api.Entry{{Seq: 0}, {Seq: 1}, {Seq: 2}, {Seq: 3, At: ahead}}}
		core := &script{}
		r := start(t, Options{}, disk, core)
		time.Sleep(time.Second)
		r.stop()
		if core.restored != "at two" || core.applied != 2 {
			t.Errorf("restored %q and applied %d entries, want two", core.restored, core.applied)
		}
		if len(core.events) < 2 || !core.events[0].Restarted || core.events[1].Config == nil {
			t.Errorf("the engine was told %+v first; want restarted, then the configuration", core.events)
		}
		for _, e := range core.events {
			if e.At.Before(ahead) {
				t.Errorf("an event at %s, before the journal's last entry at %s", e.At, ahead)
			}
		}
	})
}
