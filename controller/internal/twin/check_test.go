package twin

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

// What cannot be is refused in words, and never played.
func TestImpossibleSetups(t *testing.T) {
	step := func(f func(*api.ModelStep)) func(*Setup) { return func(s *Setup) { f(&s.Model.Spec.Steps[0]) } }
	end := func(f func(*api.ModelEndpoint)) func(*Setup) {
		return func(s *Setup) { f(&s.Model.Spec.Systems[0].Endpoints[0]) }
	}
	for _, c := range []struct {
		name   string
		change func(*Setup)
		says   string
	}{
		{"no horizon", func(s *Setup) { s.Scenario.Spec.Horizon = dur(0) }, "horizon"},
		{"a century", func(s *Setup) { s.Scenario.Spec.Horizon = dur(100 * 365 * 24 * time.Hour) }, "horizon"},
		{"a negative warm-up", func(s *Setup) { s.Scenario.Spec.Warmup = dur(-1) }, "warmup"},
		{"a start that is no time", func(s *Setup) { s.Scenario.Spec.Start = "noon" }, "not a time"},
		{"no steps", func(s *Setup) { s.Model.Spec.Steps = nil }, "no steps"},
		{"a pool of nobody", func(s *Setup) { s.Model.Spec.Pools = []api.ModelPool{{Name: "x", Size: -1}} }, "workers"},
		{"negative workers", step(func(s *api.ModelStep) { s.Workers = -3 }), "workers"},
		{"a million workers", step(func(s *api.ModelStep) { s.Workers = 1e6 }), "workers"},
		{"a pool that there is not", step(func(s *api.ModelStep) { s.Pool = "none" }), "pool"},
		{"negative work", step(func(s *api.ModelStep) { s.Takes = fixed(-time.Second) }), "takes"},
		{"work of a thousand years", step(func(s *api.ModelStep) { s.Takes = fixed(math.MaxInt64) }), "ten years"},
		{"a p95 below the median", step(func(s *api.ModelStep) { s.Takes = &api.Times{Median: dur(time.Second), P95: dur(time.Millisecond)} }), "p95"},
		{"one quantile", step(func(s *api.ModelStep) { s.Takes = &api.Times{Quantiles: []api.Duration{dur(1)}} }), "quantile"},
		{"quantiles that fall", step(func(s *api.ModelStep) { s.Takes = &api.Times{Quantiles: []api.Duration{dur(2), dur(1)}} }), "ascend"},
		{"a negative pause", step(func(s *api.ModelStep) { s.Pause = dur(-time.Second) }), "pause"},
		{"a negative lease", step(func(s *api.ModelStep) { s.Lease = dur(-time.Second) }), "lease"},
		{"too many tries", step(func(s *api.ModelStep) { s.Tries = 100_000 }), "tried"},
		{"300 calls", step(func(s *api.ModelStep) { s.Calls = make([]api.ModelCall, 300) }), "calls"},
		{"a call of nobody", step(func(s *api.ModelStep) { s.Calls = []api.ModelCall{{To: "none"}} }), "none"},
		{"a way to nowhere", step(func(s *api.ModelStep) { s.Next = []api.ModelNext{{To: "none"}} }), "none"},
		{"a share that is no number", step(func(s *api.ModelStep) { s.Next = []api.ModelNext{{Share: math.NaN()}} }), "share"},
		{"40,000 steps", func(s *Setup) { s.Model.Spec.Steps = make([]api.ModelStep, 40_000) }, "steps"},
		{"40,000 endpoints", func(s *Setup) { s.Current.Integrations[0].Spec.Endpoints = make([]api.Endpoint, 40_000) }, "endpoints"},
		{"more than everything fails", end(func(e *api.ModelEndpoint) { e.Fails, e.Loses = percent(60), percent(60) }), "100%"},
		{"a negative share", end(func(e *api.ModelEndpoint) { e.Doubles = percent(-1) }), "share"},
		{"a rate per nothing", end(func(e *api.ModelEndpoint) { e.Most = api.Rate{N: 5} }), "rate"},
		{"arrivals without number", func(s *Setup) { s.Model.Spec.Arrivals = api.Arrivals{PerHour: math.Inf(1)} }, "perHour"},
		{"a week of 7 hours", func(s *Setup) { s.Model.Spec.Arrivals = api.Arrivals{Hours: make([]float64, 7)} }, "168"},
		{"a zone that there is not", func(s *Setup) { s.Model.Spec.Arrivals = api.Arrivals{Hours: make([]float64, 168), Zone: "Mars/Base"} }, "zone"},
		{"arrivals before the start", func(s *Setup) { s.Model.Spec.Arrivals = api.Arrivals{Times: []api.Duration{dur(-time.Hour)}} }, "arrivals.times"},
		{"negative customers", func(s *Setup) { s.Model.Spec.Items.Customers = -1 }, "customers"},
		{"items worth more than money", func(s *Setup) { s.Model.Spec.Items.Value = &api.Amounts{Fixed: math.MaxInt64} }, "worth"},
		{"hours that end before they begin", step(func(s *api.ModelStep) {
			s.Hours = &api.ModelHours{Days: []api.WeekSpan{{On: weekdays[:], From: "17:00", To: "09:00"}}}
		}), "hours"},
		{"stock of a step that there is not", func(s *Setup) { s.Scenario.Spec.Waiting = []api.ScenarioStock{{Step: "none", Items: 1}} }, "none"},
		{"stock that is done", func(s *Setup) {
			s.Scenario.Spec.Waiting = []api.ScenarioStock{{Step: "capture", State: "done", Items: 1}}
		}, "done"},
		{"a fault of no kind", fault(api.Fault{Kind: "earthquake", On: "integration/gateway"}), "earthquake"},
		{"a fault nowhere", fault(api.Fault{Kind: api.FaultOutage, On: "integration/none"}), "none"},
		{"a fault before the start", fault(api.Fault{Kind: api.FaultOutage, On: primary, At: dur(-time.Hour)}), "at"},
		{"a surge of nothing", fault(api.Fault{Kind: api.FaultSurge}), "times"},
		{"slow by nothing", fault(api.Fault{Kind: api.FaultSlow, On: primary}), "by"},
		{"twice the same fault", func(s *Setup) {
			fault(api.Fault{Kind: api.FaultOutage, On: primary})(s)
			fault(api.Fault{Kind: api.FaultOutage, On: primary})(s)
		}, "two faults"},
		{"a probe each nanosecond", func(s *Setup) {
			sees(1, api.ModelSight{Probe: "fast", Count: "open"})(s)
		}, "fast"},
		{"a count of nothing", sees(time.Second, api.ModelSight{Probe: "x", Count: "lost"}), "lost"},
		{"a playbook without plans", func(s *Setup) {
			s.Current.Playbooks = []engine.Playbook{{Name: "raw", Spec: api.PlaybookSpec{Steps: make([]api.Step, 2)}}}
		}, "raw"},
		{"an active endpoint that there is not", func(s *Setup) { s.Model.Spec.Systems[0].Active = "none" }, "none"},
		{"a candidate that there is not", func(s *Setup) { s.Scenario.Spec.Variants = []api.Variant{api.VariantCandidate} }, "candidate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, findings := Compile(made(c.change))
			if !findings.Failed() {
				t.Fatal("it was taken")
			}
			found := false
			for _, f := range findings {
				found = found || strings.Contains(f.Message+f.Hint, c.says)
			}
			if !found {
				t.Errorf("of %q it says %v", c.says, findings)
			}
			if r := p.Run(api.VariantCurrent, 0, Options{}); r.Cut == "" {
				t.Error("a plan with errors was played")
			}
		})
	}
}

// What never ends is ended within seconds, and says why.
func TestEndlessWorlds(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Setup)
	}{
		{"a step after itself in no time", func(s *Setup) {
			s.Model.Spec.Steps = []api.ModelStep{{Name: "a", Next: []api.ModelNext{{To: "a"}}}}
		}},
		{"two steps in a nanosecond", func(s *Setup) {
			s.Model.Spec.Steps = []api.ModelStep{{Name: "a", Takes: fixed(1), Next: []api.ModelNext{{To: "b"}}}, {Name: "b", Next: []api.ModelNext{{To: "a"}}}}
		}},
		{"items without end", func(s *Setup) {
			s.Model.Spec.Arrivals = api.Arrivals{Gaps: fixed(0)}
		}},
		{"more items than a shop has", func(s *Setup) {
			s.Model.Spec.Arrivals = api.Arrivals{Every: dur(time.Millisecond), Batch: 1000}
			s.Model.Spec.Steps[0].Queue = 5
		}},
		{"a million times as much", func(s *Setup) {
			s.Model.Spec.Arrivals = api.Arrivals{PerHour: rateMax}
			fault(api.Fault{Kind: api.FaultSurge, Times: 1e6})(s)
		}},
		{"many tries at once", func(s *Setup) {
			s.Model.Spec.Steps[0].Tries, s.Model.Spec.Steps[0].Pause = 1000, dur(1)
			fault(api.Fault{Kind: api.FaultOutage, On: primary})(s)
			s.Model.Spec.Systems[0].Endpoints[0].Takes = fixed(0)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := compiled(t, made(c.change, func(s *Setup) { s.Scenario.Spec.Variants = []api.Variant{api.VariantNone} }))
			p.maxItems = 100_000 // a replication of the shipped most takes a gigabyte
			began := time.Now()
			r := p.Run(api.VariantNone, 0, Options{Until: func() bool { return time.Since(began) > time.Minute }})
			if r.Cut == "it was stopped" {
				t.Errorf("it was still going on after %s and %d events", time.Since(began), r.Events)
			}
			if r.Cut == "" && c.name != "many tries at once" {
				t.Errorf("it came to its end after %d events", r.Events)
			}
			t.Logf("%s, %d events: %s", time.Since(began).Round(time.Millisecond), r.Events, r.Cut)
		})
	}
}

func TestUntilEndsARun(t *testing.T) {
	p := compiled(t, made(func(s *Setup) {
		s.Model.Spec.Arrivals = api.Arrivals{Every: dur(time.Millisecond)}
		s.Scenario.Spec.Variants = []api.Variant{api.VariantNone}
	}))
	if r := p.Run(api.VariantNone, 0, Options{Until: func() bool { return true }}); r.Cut == "" || r.Events > 1<<17 {
		t.Errorf("it went on for %d events: %q", r.Events, r.Cut)
	}
	if r := p.Run("other", 0, Options{}); r.Cut == "" {
		t.Error("a variant that there is not was played")
	}
}
