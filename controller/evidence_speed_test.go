package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/store"
)

// bigLog makes a data folder with n entries or a few more: 200 entries an incident, as many playbooks as an office has, refusals
// of other playbooks in between, and the views that go with them.
func bigLog(t testing.TB, n int) (dir string, incidents int) {
	t.Helper()
	dir = t.TempDir()
	s, err := store.Open(t.Context(), store.Options{Dir: dir, Origin: "backstay.local/test"})
	must(t, err)
	for written := 0; written < n; incidents++ {
		var b store.Batch
		id := fmt.Sprintf("inc-%08d", incidents)
		for _, e := range history(id, 200) {
			e.At = e.At.Add(time.Duration(incidents) * time.Minute)
			if e.Playbook != "" {
				e.Playbook = fmt.Sprintf("playbook-%d", incidents%50)
			}
			if e.Kind == api.EntryStarted || e.Kind == api.EntryStopped || e.Kind == api.EntryConfigured || e.Kind == api.EntryRecorded {
				e = api.Entry{Kind: api.EntryRefused, At: e.At, Incident: id, Playbook: fmt.Sprintf("playbook-%d", incidents%50), Text: "held back", Refusal: &api.Refusal{Guard: api.GuardRuns, Reason: "too often"}}
			}
			b.Entries = append(b.Entries, e)
		}
		first, last := b.Entries[0], b.Entries[len(b.Entries)-1]
		b.Incidents = []api.Incident{{ID: id, Root: "integration/gw", Title: "ill", Opened: first.At, Closed: last.At, Remediations: []string{"rem-" + id}}}
		b.Remediations = []api.Remediation{{ID: "rem-" + id, Incident: id, Playbook: fmt.Sprintf("playbook-%d", incidents%50), State: "ended", End: api.EndVerified, Opened: first.At, Ended: last.At,
			Steps: make([]api.StepStatus, 90)}}
		_, err := s.Append(t.Context(), b)
		must(t, err)
		written += len(b.Entries)
	}
	state, err := engine.New().Snapshot()
	must(t, err)
	must(t, s.SaveSnapshot(t.Context(), s.Head().Size, state))
	must(t, s.Close())
	return dir, incidents
}

// TestEvidenceSpeed holds the promises of speed on a long log: 20,000 entries, or 1,000,000 with BACKSTAY_SOAK=1.
func TestEvidenceSpeed(t *testing.T) {
	n := 20_000
	if os.Getenv("BACKSTAY_SOAK") != "" {
		n = 1_000_000
	}
	dir, incidents := bigLog(t, n)
	config := filepath.Join(t.TempDir(), "config")
	must(t, os.MkdirAll(config, 0o700))
	for i := range 50 {
		must(t, os.WriteFile(filepath.Join(config, fmt.Sprintf("p%d.yaml", i)), fmt.Appendf(nil, quietPlaybook, i), 0o600))
	}
	must(t, os.WriteFile(filepath.Join(config, "probe.yaml"), []byte(quietProbe), 0o600))
	options := Options{Config: config, Data: dir, Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)}
	r := started(t, options)
	defer r.stop()
	t.Logf("%d entries: start with a snapshot: %s", n, r.took)
	bound(t, "start with a snapshot", r.took, 2*time.Second)
	middle := incidents / 2
	for _, id := range []string{fmt.Sprintf("inc-%08d", middle), fmt.Sprintf("rem-inc-%08d", middle), fmt.Sprintf("playbook-%d", middle%50)} {
		best := time.Hour
		var why api.Why
		for range 5 {
			begin := time.Now()
			r.get(t, "/api/v1/why/"+id, &why)
			best = min(best, time.Since(begin))
		}
		if want := 2; len(why.Entries) < want {
			t.Errorf("why %s: %d entries only", id, len(why.Entries))
		}
		t.Logf("%d entries: why %s: %s, %d entries", n, id, best, len(why.Entries))
		bound(t, "why "+id, best, 50*time.Millisecond)
	}
	begin := time.Now()
	pack := packOf(t, dir, fmt.Sprintf("inc-%08d", middle))
	took := time.Since(begin)
	t.Logf("%d entries: evidence pack of an incident of 200: %s, %d bytes", n, took, len(pack))
	bound(t, "evidence pack", took, time.Second)
	begin = time.Now()
	report, err := MakeReport(t.Context(), dir, dawn.AddDate(0, 0, -1), dawn.AddDate(1, 0, 0))
	must(t, err)
	t.Logf("%d entries: report over %d incidents: %s", n, report.All.Incidents, time.Since(begin))
}

// bound allows for machines that are busy with other tests: the soak run holds the promise itself.
func bound(t *testing.T, what string, took, most time.Duration) {
	t.Helper()
	if os.Getenv("BACKSTAY_SOAK") == "" {
		most *= 4
	}
	if took > most {
		t.Errorf("%s took %s, at most %s was promised", what, took, most)
	}
}

const quietProbe = `
apiVersion: backstay.dev/v1alpha1
kind: Probe
metadata: {name: quiet}
spec: {type: heartbeat, every: 1h, with: {within: 1h}, detect: [{name: down, failures: {atLeast: 3, of: 3}}]}
`

const quietPlaybook = `
apiVersion: backstay.dev/v1alpha1
kind: Playbook
metadata: {name: playbook-%d}
spec:
  mode: observe
  on: {anomaly: quiet/down}
  steps: [{name: w, do: wait, with: {for: 1s}}]
`

// running is a controller within the test.
type running struct {
	process *process
	took    time.Duration
	stop    func()
}

// started runs a controller until stop, and measures until it is ready.
func started(t *testing.T, o Options) *running {
	t.Helper()
	begin := time.Now()
	p, err := open(t.Context(), o)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.run(ctx) }()
	for p.shell.Ready() != nil {
		select {
		case err := <-done:
			t.Fatalf("the controller ended: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	r := &running{process: p, took: time.Since(begin)}
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stop the controller: %v", err)
		}
	}
	t.Cleanup(r.stop)
	return r
}

// get asks the HTTP API.
func (r *running) get(t *testing.T, path string, into any) {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(r.process.Data, "token"))
	must(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.process.address.String()+path, nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+string(token[:len(token)-1]))
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s", path, res.Status)
	}
	must(t, json.NewDecoder(res.Body).Decode(into))
}
