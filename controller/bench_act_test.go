package controller_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller"
	"github.com/backstay/backstay/controller/internal/demo"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/live"
	"github.com/backstay/backstay/controller/internal/store"
	"github.com/backstay/backstay/playbooks"
)

// fallIll is a probe that is bad from its first run until its playbook has acted.
type fallIll struct {
	bad      time.Time
	acted    atomic.Bool
	reported chan<- time.Duration
}

func (f *fallIll) Probe(context.Context) api.Observation {
	if f.acted.Load() {
		return api.Observation{Verdict: api.OK}
	}
	if f.bad.IsZero() {
		f.bad = time.Now()
	}
	return api.Observation{Verdict: api.Bad, Reason: "Connection refused."}
}

func (f *fallIll) Plan(context.Context, playbooks.Call) (api.Estimate, error) {
	return api.Estimate{Text: "Switch."}, nil
}

func (f *fallIll) Run(context.Context, playbooks.Call) api.Outcome {
	f.reported <- time.Since(f.bad)
	f.acted.Store(true)
	return api.Outcome{Result: api.ResultDone, Text: "Switched."}
}

// fallIllConfig has n integrations; each has a probe, and a playbook that acts on its first bad answer.
func fallIllConfig(n int, every time.Duration, reported chan<- time.Duration) live.Config {
	c := live.Config{Steps: map[live.StepKey]playbooks.Runner{}, Engine: engine.Config{Digest: "bench"}}
	for i := range n {
		name := fmt.Sprintf("gateway-%03d", i)
		spec := api.ProbeSpec{Type: "http", Integration: name, Every: api.Duration{Duration: every}, Timeout: api.Seconds(1),
			Detect: []api.Detector{{Name: "down", Failures: &api.Failures{AtLeast: 1, Of: 1, Clear: 1}}}}
		f := &fallIll{reported: reported}
		c.Probes = append(c.Probes, live.Probe{Name: name, Spec: spec, Prober: f})
		c.Steps[live.StepKey{Digest: name, Step: "switch"}] = f
		c.Engine.Integrations = append(c.Engine.Integrations, api.Integration{Metadata: api.Metadata{Name: name}})
		c.Engine.Probes = append(c.Engine.Probes, api.Probe{Metadata: api.Metadata{Name: name}, Spec: spec})
		c.Engine.Playbooks = append(c.Engine.Playbooks, engine.Playbook{Name: name, Digest: name,
			Spec: api.PlaybookSpec{Mode: api.ModeAuto, On: api.Trigger{Anomaly: name + "/down"}, Otherwise: "stop",
				Steps: []api.Step{{Name: "switch", Do: "failover", Timeout: api.Seconds(3)}}, Verify: api.Verify{Probes: []string{name}, Within: api.Seconds(20)}},
			Steps: []api.StepPlan{{Name: "switch", Targets: []string{"integration/" + name},
				Action: api.ActionInfo{Name: "failover", Version: "1", Effect: api.EffectRoute, Danger: api.D1, Repeat: api.Idempotent}}}})
	}
	return c
}

// benchFirstBadToCommand is the whole way from a probe's first bad answer to the first call of an action, the journal's commits
// included: scheduler, detectors, engine, store and executor as they are in the program. 15 incidents a second begin, so that each
// meets the commits of others, as in a bad hour.
func benchFirstBadToCommand(b *testing.B, t *goalTable) {
	const n, every = 300, 20 * time.Second
	dir := b.TempDir()
	st, err := store.Open(b.Context(), store.Options{Dir: filepath.Join(dir, "data"), Origin: "backstay.test/bench"})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	reported := make(chan time.Duration, n)
	s, err := live.New(live.Options{Store: st, Config: fallIllConfig(n, every, reported)})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	raw, took := newRawDisk(b, dir), []float64{}
	var rawTook []float64
	timeout := time.After(4 * every)
	for len(took) < n {
		select {
		case d := <-reported:
			took = append(took, float64(d.Microseconds())/1000)
			rawTook = append(rawTook, raw.append(b, 512))
		case <-timeout:
			b.Fatalf("%d of %d playbooks acted within %s; refused: %v", len(took), n, 4*every, refusals(b, st))
		}
	}
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	t.add(goal{what: "first bad answer to first command, p99", unit: "ms", limit: 10, measured: quantile(took, 0.99),
		raw: quantile(rawTook, 0.99), rawWhat: "append + fsync, p99", format: "%.2f"})
	t.add(goal{what: "the same, median", unit: "ms", limit: 10, measured: quantile(took, 0.5), raw: quantile(rawTook, 0.5), rawWhat: "append + fsync, median", format: "%.2f"})
}

// refusals counts why playbooks did not run.
func refusals(b *testing.B, st *store.Store) map[api.Guard]int {
	entries, err := st.Entries(b.Context(), store.Query{})
	if err != nil {
		b.Fatal(err)
	}
	why := map[api.Guard]int{}
	for _, e := range entries {
		if e.Refusal != nil {
			why[e.Refusal.Guard]++
		}
	}
	return why
}

// benchIdle is a controller with the demo's configuration whose office is there and well, and nobody orders.
func benchIdle(b *testing.B, t *goalTable) {
	target := startBenchTarget(b)
	dir := b.TempDir()
	office, at, err := demo.Open(dir, 1)
	if err != nil {
		b.Fatal(err)
	}
	defer office.Close()
	config := filepath.Join(dir, "config")
	if err := demo.WriteConfig(config, at); err != nil {
		b.Fatal(err)
	}
	p := startBenchProcess(b, t.bin, config)
	time.Sleep(5 * time.Second)
	cpu := p.cpu(b)
	most := p.residentOver(b, 10*time.Second)
	cpu = p.cpu(b) - cpu
	if seen := p.scrape(b); seen.ok == 0 || seen.ill > 0 {
		b.Fatalf("%.0f runs were well and %.0f were not: the controller is not idle", seen.ok, seen.ill)
	}
	p.stop()
	t.add(goal{what: "idle with the demo's configuration, RSS", unit: "MB", limit: 60, measured: most, raw: residentMB(b, target.pid), rawWhat: "the bench server at rest"})
	b.Logf("CPU while idle: %.1f %% of a core", cpu.Seconds()*10)
}

func benchSize(b *testing.B, t *goalTable) {
	info, err := os.Stat(t.bin)
	if err != nil {
		b.Fatal(err)
	}
	t.add(goal{what: "size of the program", unit: "MB", limit: 60, measured: float64(info.Size()) / 1e6})
}

// benchDemo takes the time from the start of the program to its first healed fault, as the story tells it.
func benchDemo(b *testing.B, t *goalTable) {
	cmd := exec.Command(t.bin, "demo", "-o", "json")
	story, err := cmd.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout = &out
	start := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	watchdog := time.AfterFunc(3*time.Minute, func() { cmd.Process.Kill() })
	defer watchdog.Stop()
	var healed time.Duration
	for lines := bufio.NewScanner(story); lines.Scan(); {
		if healed == 0 && strings.Contains(lines.Text(), " healed it ") {
			healed = time.Since(start)
		}
	}
	err = cmd.Wait()
	var card controller.DemoCard
	if jerr := json.Unmarshal(out.Bytes(), &card); err != nil || jerr != nil || !card.OK || healed == 0 {
		b.Fatalf("the demo ended with %v and told of a healed fault after %s; its card: %s", err, healed, out.String())
	}
	t.add(goal{what: "demo, first healed fault after", unit: "s", limit: 30, measured: healed.Seconds()})
}
