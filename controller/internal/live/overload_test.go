package live

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/playbooks"
)

// A webhook that never answers, a journal that takes 10 s for each commit and roll-ups that take longer still delay no probe.
func TestHungWebhookAndDatabaseDelayNoProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var notified atomic.Int64
		webhook := plainHand(func(ctx context.Context, _ playbooks.Call) api.Outcome {
			notified.Add(1)
			<-ctx.Done()
			return api.Outcome{Result: api.ResultUnknown, Text: "no answer"}
		})
		core := &script{}
		core.step = func(e engine.Event) (out engine.Output) {
			if e.Anomaly != nil {
				out.Entries = []api.Entry{{Kind: api.EntryAnomalyOpened}}
				out.Commands = []engine.Command{{ID: "notify-1", Kind: engine.Notify, Channel: "oncall", Deadline: e.At.Add(time.Minute)}}
			}
			return out
		}
		list := manyProbes(50, time.Second, func(int) sight { return good })
		list = append(list, Probe{Name: "ill", Spec: spec(time.Second, 1), Prober: sight(func(context.Context) api.Observation {
			return api.Observation{Verdict: api.Bad, Reason: "refused"}
		})})
		disk := &memory{slow: 10 * time.Second, slowRolls: 20 * time.Second}
		r := start(t, Options{Config: Config{Probes: list, Channels: map[string]runner{"oncall": webhook}}}, disk, core)
		time.Sleep(90*time.Second - time.Millisecond)
		synctest.Wait()
		for _, p := range r.Probes() {
			if p.Name != "ill" && (p.Runs != 90 || p.Skipped != 0 || p.Lateness != 0) {
				t.Errorf("%s ran %d times in 90 s, was skipped %d times and %s late", p.Name, p.Runs, p.Skipped, p.Lateness)
			}
		}
		if notified.Load() == 0 {
			t.Error("nobody was notified: nothing hung")
		}
		r.stop()
	})
}

// A run whose worker comes too late is skipped and counted, never made up for.
func TestRunsThatWouldStartTooLateAreSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScheduler(4, 4)
		var ran, late int
		s.run = func(*probe, time.Time, bool) { ran++ }
		s.late = func(time.Duration) { late++ }
		p := &probe{timeout: 800 * time.Millisecond, running: new(atomic.Bool), target: &target{}, kind: &kind{}}
		time.Sleep(time.Second)
		begin := func(behind time.Duration) {
			s.mu.Lock()
			s.start(due{at: s.now() - int64(behind), p: p})
			s.mu.Unlock()
			synctest.Wait()
		}
		begin(100 * time.Millisecond)
		begin(101 * time.Millisecond)
		p.timeout = 80 * time.Millisecond
		begin(25 * time.Millisecond)
		if n := p.kind.skipped[skipLate].Load(); ran != 2 || late != 2 || n != 1 {
			t.Errorf("%d runs, %d of them measured, %d skipped; want 2, 2 and 1", ran, late, n)
		}
		if p.running.Load() || p.target.inFlight != 0 {
			t.Error("a skipped run still counts as running")
		}
		s.stop()
	})
}

// A time-out that this machine caused itself is no verdict on the target.
func TestOwnLatenessBlamesNobody(t *testing.T) {
	const ms = time.Millisecond
	cases := []struct {
		name       string
		verdict    api.Verdict
		took, late time.Duration
		want       api.Verdict
	}{
		{"a quick refusal stands however late it began", api.Bad, 5 * ms, 80 * ms, api.Bad},
		{"a time-out on time is the target's", api.Bad, 1001 * ms, 2 * ms, api.Bad},
		{"a time-out noticed late is ours", api.Bad, 1080 * ms, 0, api.Unknown},
		{"a time-out of a run that began late is ours", api.Bad, 1001 * ms, 80 * ms, api.Unknown},
		{"a good answer within the timeout is good", api.OK, 999 * ms, 80 * ms, api.OK},
		{"a good answer that came too late is bad", api.OK, 1300 * ms, 0, api.Bad},
		{"but not where we began late", api.OK, 1300 * ms, 80 * ms, api.Unknown},
		{"what could not run stays so", api.Unknown, 1300 * ms, 80 * ms, api.Unknown},
	}
	for _, c := range cases {
		o := api.Observation{Verdict: c.verdict, Took: c.took}
		(&probe{timeout: time.Second}).judge(&o, c.late)
		if o.Verdict != c.want {
			t.Errorf("%s: %s", c.name, o.Verdict)
		}
	}
}

// A stop ends although the probes find something new faster than it can be recorded.
func TestStopEndsInAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core := &script{step: func(e engine.Event) (out engine.Output) {
			if e.Verdict != nil {
				out.Entries = []api.Entry{{Kind: api.EntryAnomalyOpened}}
			}
			return out
		}}
		r := start(t, Options{Config: Config{Probes: manyProbes(200, 100*time.Millisecond, func(int) sight {
			var n atomic.Int64
			return func(context.Context) api.Observation {
				return api.Observation{Verdict: []api.Verdict{api.OK, api.Bad}[n.Add(1)%2]}
			}
		})}}, &memory{slow: time.Second}, core)
		time.Sleep(10 * time.Second)
		begin := time.Now()
		r.stop()
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("the stop took %s", took)
		}
	})
}
