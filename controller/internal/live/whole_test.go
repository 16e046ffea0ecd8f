package live

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/store"
	"github.com/backstay/backstay/playbooks"
)

// This binary is also the child processes of its tests.
const (
	childDir    = "BACKSTAY_LIVE_TEST_CHILD"  // the data folder of the child that TestKilledInTheMiddle kills
	childServer = "BACKSTAY_LIVE_TEST_SERVER" // set for the server that benchmarks probe
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(childServer) != "" {
		fmt.Fprintln(os.Stderr, server())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// child runs a shell whose action says that it was called and then hangs.
func child(dir string) error {
	st, err := store.Open(context.Background(), store.Options{Dir: dir, Origin: "backstay.test/live"})
	if err != nil {
		return err
	}
	defer st.Close()
	hang := func(ctx context.Context, c playbooks.Call) api.Outcome {
		fmt.Println("called", c.Key)
		<-ctx.Done()
		return api.Outcome{Result: api.ResultUnknown, Text: "no answer"}
	}
	s, err := New(Options{Store: st, Config: failover(hang, func() bool { return false })})
	if err != nil {
		return err
	}
	return s.Run(context.Background())
}

// server answers every request with JSON, and says where it is.
func server() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + l.Addr().String() + "/healthz")
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"status": "up", "queue": {"depth": 12}}`)
	}))
}

// failover is a configuration whose gateway is down until well says otherwise, with a playbook of one idempotent step.
func failover(run plainHand, well func() bool) Config {
	probe := api.ProbeSpec{Type: "http", Integration: "card-gateway", Every: api.Seconds(0.2), Timeout: api.Seconds(1),
		Detect: []api.Detector{{Name: "down", Failures: &api.Failures{AtLeast: 2, Of: 2, Clear: 2}}}}
	spec := api.PlaybookSpec{Mode: api.ModeAuto, On: api.Trigger{Anomaly: "gateway/down"}, Otherwise: "stop",
		Steps:  []api.Step{{Name: "switch", Do: "failover", Timeout: api.Seconds(3)}},
		Verify: api.Verify{Probes: []string{"gateway"}, Within: api.Seconds(20)}}
	return Config{
		Probes: []Probe{{Name: "gateway", Spec: probe, Prober: sight(func(context.Context) api.Observation {
			if well() {
				return api.Observation{Verdict: api.OK}
			}
			return api.Observation{Verdict: api.Bad, Reason: "connection refused"}
		})}},
		Steps: map[StepKey]runner{{"digest-1", "switch"}: run},
		Engine: engine.Config{Digest: "config-1",
			Integrations: []api.Integration{{Metadata: api.Metadata{Name: "card-gateway"}}},
			Probes:       []api.Probe{{Metadata: api.Metadata{Name: "gateway"}, Spec: probe}},
			Playbooks: []engine.Playbook{{Name: "gateway-failover", Digest: "digest-1", Spec: spec, Steps: []api.StepPlan{{Name: "switch",
				Action:  api.ActionInfo{Name: "failover", Version: "1", Effect: api.EffectRoute, Danger: api.D1, Repeat: api.Idempotent},
				Targets: []string{"integration/card-gateway"}}}}},
		},
	}
}

// A process that is killed while a step is calling resumes: the step is repeated with the same key because it is idempotent, the
// remediation is verified, and the incident closes.
func TestKilledInTheMiddle(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	key := killedWhileCalling(t, dir)
	st, err := store.Open(t.Context(), store.Options{Dir: dir, Origin: "backstay.test/live"})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var mu sync.Mutex
	var keys []string
	act := func(_ context.Context, c playbooks.Call) api.Outcome {
		mu.Lock()
		defer mu.Unlock()
		keys = append(keys, c.Key)
		return api.Outcome{Result: api.ResultDone, Text: "switched"}
	}
	s, err := New(Options{Store: st, Config: failover(act, func() bool { mu.Lock(); defer mu.Unlock(); return len(keys) > 0 })})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	entries := s.Subscribe(t.Context())
	go func() { ended <- s.Run(ctx) }()
	var kinds []api.EntryKind
	timeout := time.After(60 * time.Second)
	for !slices.Contains(kinds, api.EntryIncidentClosed) {
		select {
		case e := <-entries:
			kinds = append(kinds, e.Kind)
			if e.Kind == api.EntryRemediationEnded && e.End != api.EndVerified {
				t.Errorf("the remediation ended %s: %s", e.End, e.Text)
			}
		case err := <-ended:
			t.Fatalf("Run ended with %v after %v", err, kinds)
		case <-timeout:
			t.Fatalf("the incident is still open after %v", kinds)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run ended with %v", err)
	}
	if !slices.Equal(keys, []string{key}) {
		t.Errorf("the step was called again with keys %v; want the key %s once", keys, key)
	}
	checkJournal(t, st)
}

// killedWhileCalling runs a child until its action is called, kills it, and gives the key of the call.
func killedWhileCalling(t *testing.T, dir string) (key string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer watchdog.Stop()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var called bool
		if key, called = strings.CutPrefix(lines.Text(), "called "); called {
			break
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	if key == "" {
		t.Fatal("the child never called its action")
	}
	return key
}

// checkJournal holds the whole log against what must be in it, across both processes.
func checkJournal(t *testing.T, st *store.Store) {
	t.Helper()
	all, err := st.Entries(t.Context(), store.Query{})
	if err != nil {
		t.Fatal(err)
	}
	count := map[api.EntryKind]int{}
	for i, e := range all {
		count[e.Kind]++
		if e.Seq != int64(i) || i > 0 && e.At.Before(all[i-1].At) {
			t.Errorf("entry %d at %s follows %s", e.Seq, e.At, all[max(i-1, 0)].At)
		}
	}
	want := map[api.EntryKind]int{api.EntryStarted: 2, api.EntryStopped: 1, api.EntryIncidentOpened: 1, api.EntryAnomalyOpened: 1,
		api.EntryRemediationOpened: 1, api.EntryStepIntended: 1, api.EntryStepRepeated: 1, api.EntryStepEnded: 1, api.EntryRemediationEnded: 1,
		api.EntryAnomalyCleared: 1, api.EntryIncidentClosed: 1, api.EntryInvariant: 0, api.EntryLateResult: 0}
	for kind, n := range want {
		if count[kind] != n {
			t.Errorf("%d entries %s, want %d", count[kind], kind, n)
		}
	}
	open, err := st.Incidents(t.Context(), true, 0)
	if err != nil || len(open) != 0 {
		t.Errorf("%d incidents are open in the store (%v)", len(open), err)
	}
	rems, err := st.Remediations(t.Context(), "", 0)
	if err != nil || len(rems) != 1 || rems[0].End != api.EndVerified {
		t.Errorf("the store shows the remediations %+v (%v)", rems, err)
	}
	next, state, err := st.LoadSnapshot(t.Context())
	if err != nil || next != int64(len(all)) || len(state) == 0 {
		t.Errorf("the snapshot covers %d of %d entries (%v)", next, len(all), err)
	}
	if t.Failed() {
		for _, e := range all {
			t.Log(e.Seq, e.Kind, e.Text)
		}
	}
}
