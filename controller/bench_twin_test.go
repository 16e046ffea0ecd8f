package controller_test

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/twin"
)

// referenceDay is order-to-cash for four hours at two orders a second: verified, charged at a gateway with a standby, booked in an ERP
// system. After an hour the gateway takes money without answering for twenty minutes. Probes look each second, as the demo's do.
func referenceDay() twin.Setup {
	span := func(d time.Duration) api.Duration { return api.Duration{Duration: d} }
	around := func(median, p95 time.Duration) *api.Times { return &api.Times{Median: span(median), P95: span(p95)} }
	named := func(name string) api.Metadata { return api.Metadata{Name: name} }
	many := 20.0
	s := twin.Setup{
		Scenario: api.Scenario{Metadata: named("reference"), Spec: api.ScenarioSpec{Warmup: span(5 * time.Minute), Horizon: span(4 * time.Hour), Seed: 1,
			Variants: []api.Variant{api.VariantNone, api.VariantCurrent, api.VariantNaive},
			Faults:   []api.Fault{{Kind: api.FaultLostAnswer, On: "integration/gateway/primary", At: span(time.Hour), Lasting: span(20 * time.Minute)}}}},
		Model: api.Model{Metadata: named("order-to-cash"), Spec: api.ModelSpec{
			Arrivals: api.Arrivals{PerHour: 7200},
			Items:    api.ModelItems{Value: &api.Amounts{Median: 4200, P95: 19_000}, Promise: span(10 * time.Minute), Customers: 500},
			Steps: []api.ModelStep{
				{Name: "verify", Workers: 8, Takes: around(400*time.Millisecond, 2*time.Second)},
				{Name: "charge", Workers: 60, Calls: []api.ModelCall{{To: "gateway", Effect: "charge", Money: true, Keyed: true}}},
				{Name: "book", Workers: 8, Takes: around(300*time.Millisecond, time.Second), Calls: []api.ModelCall{{To: "erp", Effect: "booking", Keyed: true}}},
			},
			Systems: []api.ModelSystem{
				{Integration: "gateway", Endpoints: []api.ModelEndpoint{{Name: "primary", Takes: around(300*time.Millisecond, 900*time.Millisecond), Keeps: span(24 * time.Hour)}}},
				{Integration: "erp", Endpoints: []api.ModelEndpoint{{Name: "api", Takes: around(200*time.Millisecond, 600*time.Millisecond), Keeps: span(24 * time.Hour)}}}},
		}},
		Current: engine.Config{Digest: "reference",
			Workflows: []api.Workflow{{Metadata: named("order-to-cash"), Spec: api.WorkflowSpec{Value: api.Value{CountedBy: "open", PerItem: api.Money{"EUR": 4200}},
				Steps: []api.WorkflowStep{{Name: "verify"}, {Name: "charge", After: []string{"verify"}, Uses: []string{"gateway"}}, {Name: "book", After: []string{"charge"}, Uses: []string{"erp"}}}}}},
			Integrations: []api.Integration{{Metadata: named("gateway"), Spec: api.IntegrationSpec{Endpoints: []api.Endpoint{{Name: "primary"}, {Name: "standby"}}}},
				{Metadata: named("erp"), Spec: api.IntegrationSpec{Endpoints: []api.Endpoint{{Name: "api"}}}}},
		},
	}
	s.Model.Spec.Workflow = "order-to-cash"
	failures := api.Detector{Name: "down", Failures: &api.Failures{AtLeast: 3, Of: 5, Clear: 5}}
	piling := api.Detector{Name: "piling", Threshold: &api.Threshold{Above: &many}}
	for _, p := range []struct {
		sight  api.ModelSight
		system string
		detect []api.Detector
	}{
		{api.ModelSight{Probe: "gateway-auth", Endpoint: "gateway/primary"}, "gateway", []api.Detector{failures}},
		{api.ModelSight{Probe: "standby-auth", Endpoint: "gateway/standby"}, "gateway", []api.Detector{failures}},
		{api.ModelSight{Probe: "erp-answers", Endpoint: "erp/api"}, "erp", []api.Detector{failures}},
		{api.ModelSight{Probe: "in-doubt", Count: "in-doubt"}, "gateway", []api.Detector{piling}},
		{api.ModelSight{Probe: "waiting", Count: "waiting"}, "erp", []api.Detector{piling}},
		{api.ModelSight{Probe: "open", Count: "open"}, "erp", nil},
	} {
		s.Current.Probes = append(s.Current.Probes, api.Probe{Metadata: named(p.sight.Probe), Spec: api.ProbeSpec{Integration: p.system, Every: span(time.Second), Detect: p.detect}})
		s.Model.Spec.Sees = append(s.Model.Spec.Sees, p.sight)
	}
	s.Current.Playbooks = []engine.Playbook{{Name: "gateway-failover", Digest: "gateway-failover",
		Spec: api.PlaybookSpec{Mode: api.ModeAuto, Otherwise: "stop", On: api.Trigger{Anomaly: "gateway-auth/down",
			When: "incident.items < 1000000", Confirm: &api.Confirm{AtLeast: 2, Of: []string{"gateway-auth/down", "in-doubt/piling"}}},
			Verify: api.Verify{Probes: []string{"standby-auth", "in-doubt"}, Within: span(10 * time.Minute)},
			Steps: []api.Step{{Name: "switch", Do: "failover", With: api.ParamsOf(map[string]any{"integration": "gateway", "to": "standby"})},
				{Name: "settle", Do: "resolve", With: api.ParamsOf(map[string]any{"integration": "gateway", "lookup": map[string]any{"delay": "30s"}, "void": map[string]any{}})}}},
		Steps: []api.StepPlan{
			{Name: "switch", Targets: []string{"integration/gateway"}, Action: api.ActionInfo{Name: "failover", Effect: api.EffectRoute, Danger: api.D1, Repeat: api.Idempotent, Undo: true}},
			{Name: "settle", Targets: []string{"in-doubt/gateway"}, Action: api.ActionInfo{Name: "resolve", Effect: api.EffectRepair, Danger: api.D3, Repeat: api.Idempotent, Counts: true}}}}}
	return s
}

// benchTwin measures how fast the twin plays, with the real detectors and the real engine in the loop.
func benchTwin(b *testing.B, t *goalTable) {
	plan, findings := twin.Compile(referenceDay())
	if findings.Failed() {
		b.Fatal(findings)
	}
	plan.Run(api.VariantCurrent, 0, twin.Options{}) // warm
	day := func(o twin.Options) (took time.Duration, events int64) {
		took = time.Hour
		for r := range 5 { // the best of some, as for the raw limit: others use this machine too
			began := time.Now()
			run := plan.Run(api.VariantCurrent, 1+r, o)
			if d := time.Since(began); d < took {
				took, events = d, run.Events
			}
			if run.Cut != "" || run.Figures[twin.Actions] == 0 || run.Figures[twin.Doubled] > 0 {
				b.Fatalf("the reference day is not what it should be: %v actions, %v doubled, cut %q", run.Figures[twin.Actions], run.Figures[twin.Doubled], run.Cut)
			}
		}
		return took, events
	}
	took, events := day(twin.Options{})
	raw := bareHeap(events)
	t.add(goal{what: "twin: world events a second on one core, with the real core in the loop", unit: "M/s", limit: 1, least: true, measured: float64(events) / took.Seconds() / 1e6,
		raw: float64(events) / raw.Seconds() / 1e6, rawWhat: "(a bare heap of as many events)", format: "%.2f"})
	t.add(goal{what: fmt.Sprintf("twin: four hours of order-to-cash with one fault (%d events)", events), unit: "ms", limit: 200, measured: float64(took.Microseconds()) / 1000,
		raw: float64(raw.Microseconds()) / 1000, rawWhat: "(a bare heap of as many events)"})
	took, events = day(twin.Options{Digest: true})
	t.add(goal{what: "twin: the same with every event in the digest", unit: "M/s", limit: 0.4, least: true, measured: float64(events) / took.Seconds() / 1e6,
		raw: float64(events) / raw.Seconds() / 1e6, rawWhat: "(a bare heap of as many events)", format: "%.2f"})

	before := residentMB(b, os.Getpid())
	began := time.Now()
	peak := playAll(b, plan, 200)
	t.add(goal{what: "twin: 3 variants of 200 such days on 2 cores", unit: "s", limit: 60, measured: time.Since(began).Seconds(),
		raw: 600 * raw.Seconds() / 2, rawWhat: "(bare heaps)"})
	t.add(goal{what: "twin: memory while it plays them", unit: "MB", limit: 200, measured: peak, raw: before, rawWhat: "(this program before)"})
}

// playAll plays so many replications of all variants on two goroutines, and gives the most memory that the process held.
func playAll(b *testing.B, plan *twin.Plan, replications int) (peakMB float64) {
	b.Helper()
	variants := plan.Variants()
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(2, runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for {
				n := int(next.Add(1)) - 1
				if n >= replications*len(variants) {
					return
				}
				plan.Run(variants[n%len(variants)], n/len(variants), twin.Options{})
			}
		})
	}
	done := make(chan struct{})
	go func() { workers.Wait(); close(done) }()
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		select {
		case <-done:
			return peakMB
		case <-tick.C:
			peakMB = max(peakMB, residentMB(b, os.Getpid()))
		}
	}
}

// bareHeap pushes and pops as many events as a day had, 100 of them waiting, with nothing done about any: what the machine could do at best.
func bareHeap(events int64) time.Duration {
	type event struct {
		at, order int64
		_         [2]int64
	}
	best := time.Hour
	for range 3 {
		began := time.Now()
		list := make([]event, 0, 128)
		less := func(a, b *event) bool { return a.at < b.at || a.at == b.at && a.order < b.order }
		push := func(e event) {
			list = append(list, e)
			i := len(list) - 1
			for ; i > 0 && less(&e, &list[(i-1)/2]); i = (i - 1) / 2 {
				list[i] = list[(i-1)/2]
			}
			list[i] = e
		}
		luck := uint64(1)
		for n := range events {
			luck = luck*6364136223846793005 + 1442695040888963407
			var now int64
			if len(list) == 100 {
				top, last := list[0], list[99]
				list = list[:99]
				now = top.at
				i := 0
				for {
					child := 2*i + 1
					if child >= 99 {
						break
					}
					if child+1 < 99 && less(&list[child+1], &list[child]) {
						child++
					}
					if less(&last, &list[child]) {
						break
					}
					list[i] = list[child]
					i = child
				}
				list[i] = last
			}
			push(event{at: now + int64(luck>>40), order: n})
		}
		best = min(best, time.Since(began))
	}
	return best
}
