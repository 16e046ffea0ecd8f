package controller_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/store"
)

// benchLog asks the program about a million entries, which the real engine wrote: how long it starts with and without a snapshot,
// why something happened, and for the evidence of an incident of 200 entries.
func benchLog(b *testing.B, t *goalTable) {
	data, incident, remediation, entries := writeBenchLog(b, 1_000_000)
	if entries < 200 {
		b.Fatalf("an incident has only %d entries", entries)
	}
	config := b.TempDir()
	if err := os.WriteFile(filepath.Join(config, "quiet.yaml"), []byte(benchQuiet), 0o644); err != nil {
		b.Fatal(err)
	}
	start := func(data string) (benchProcess, float64) {
		begin := time.Now()
		p := startBenchProcessOn(b, t.bin, config, data)
		return p, time.Since(begin).Seconds()
	}
	p, empty := start(filepath.Join(b.TempDir(), "data"))
	p.stop()
	p, whole := start(data)
	p.stop() // which leaves a snapshot
	p, snapshot := start(data)
	t.add(goal{what: "restart with 1,000,000 entries and a snapshot", unit: "s", limit: 2, measured: snapshot, raw: empty, rawWhat: "start on an empty folder", format: "%.2f"})
	t.add(goal{what: "the same without a snapshot, which reads them all", unit: "s", measured: whole, ratioMax: 4, raw: readEntries(b, data), rawWhat: "read and decode the entries"})

	ask := func(path string) float64 {
		var took []float64
		for range 20 {
			begin := time.Now()
			benchGet(b, p, data, path)
			took = append(took, float64(time.Since(begin).Microseconds())/1000)
		}
		return median(took...)
	}
	bare := ask("/readyz")
	for _, about := range []struct{ what, id string }{{"an incident", incident}, {"a remediation", remediation}, {"a playbook", "gateway-07-03"}} {
		t.add(goal{what: "why of " + about.what + ", 1,000,000 entries", unit: "ms", limit: 50, measured: ask("/api/v1/why/" + about.id), raw: bare, rawWhat: "GET /readyz"})
	}
	pack := filepath.Join(b.TempDir(), "evidence.tar.gz")
	t.add(goal{what: fmt.Sprintf("evidence pack of %d entries", entries), unit: "s", limit: 1, measured: runTimed(b, t.bin, "audit", "export", "--data", data, "--incident", incident, "-o", pack),
		raw: runTimed(b, t.bin, "version"), rawWhat: "start the program", format: "%.2f"})
}

const benchQuiet = `
apiVersion: backstay.dev/v1alpha1
kind: Probe
metadata: {name: quiet}
spec: {type: heartbeat, every: 1h, with: {within: 1h}, detect: [{name: down, failures: {atLeast: 3, of: 3}}]}
---
apiVersion: backstay.dev/v1alpha1
kind: Playbook
metadata: {name: gateway-07-03}
spec:
  mode: observe
  on: {anomaly: quiet/down}
  steps: [{name: w, do: wait, with: {for: 1s}}]
`

// writeBenchLog makes a data folder of at least n entries in incidents of 200, and names one in the middle.
func writeBenchLog(b *testing.B, n int) (dir, incident, remediation string, entries int) {
	st, dir := openBenchStore(b)
	o := newBenchOffice(b, 25, 15, func(int) api.Limits { return api.Limits{} })
	for i, written := 0, 0; written < n; i++ {
		o.one(i % 25)
		batch := store.Batch{Entries: o.entries}
		incidents, remediations := engine.Touched(o.entries, o.s.Incident)
		for _, id := range incidents {
			if v := o.s.Incident(id); v != nil {
				batch.Incidents = append(batch.Incidents, *v)
			}
		}
		for _, id := range remediations {
			if v := o.s.Remediation(id); v != nil {
				batch.Remediations = append(batch.Remediations, *v)
			}
		}
		if _, err := st.Append(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		if written += len(o.entries); incident == "" && written > n/2 && i%25 == 7 {
			incident, remediation, entries = incidents[0], remediations[3], len(o.entries)
		}
		o.now, o.entries = o.now.Add(15*time.Minute), nil
	}
	if err := st.Close(); err != nil {
		b.Fatal(err)
	}
	return dir, incident, remediation, entries
}

// readEntries is the least that a start without a snapshot must do, in seconds.
func readEntries(b *testing.B, dir string) float64 {
	b.Helper()
	r, err := store.OpenReader(b.Context(), dir)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	begin := time.Now()
	if err := r.Replay(b.Context(), 0, func(api.Entry) error { return nil }); err != nil {
		b.Fatal(err)
	}
	return time.Since(begin).Seconds()
}

// benchGet asks a running program for a page.
func benchGet(b *testing.B, p benchProcess, data, path string) {
	b.Helper()
	token, err := os.ReadFile(filepath.Join(data, "token"))
	if err != nil {
		b.Fatal(err)
	}
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, p.base+path, nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		b.Fatalf("GET %s: %s: %s (%v)", path, res.Status, body, err)
	}
}

// runTimed runs the program to its end and gives the time in seconds.
func runTimed(b *testing.B, bin string, args ...string) float64 {
	b.Helper()
	begin := time.Now()
	if out, err := exec.Command(bin, args...).CombinedOutput(); err != nil {
		b.Fatalf("backstay %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return time.Since(begin).Seconds()
}
