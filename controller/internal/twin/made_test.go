package twin

import (
	"fmt"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

// Short words for hand-made worlds.

func dur(d time.Duration) api.Duration { return api.Duration{Duration: d} }

func fixed(d time.Duration) *api.Times { return &api.Times{Fixed: dur(d)} }

func mean(d time.Duration) *api.Times { return &api.Times{Mean: dur(d)} }

func percent(p float64) api.Percent { return api.Percent{PPM: int64(p * 10_000)} }

func meta(name string) api.Metadata { return api.Metadata{Name: name} }

func everyTimes(gap time.Duration, n int) []api.Duration {
	out := make([]api.Duration, n)
	for i := range out {
		out[i] = dur(time.Duration(i+1) * gap)
	}
	return out
}

// made is a hand-made setup: a gateway with two endpoints and a step that charges each item there.
func made(change ...func(*Setup)) Setup {
	s := Setup{
		Model: api.Model{Metadata: meta("made"), Spec: api.ModelSpec{
			Arrivals: api.Arrivals{Every: dur(10 * time.Second)},
			Items:    api.ModelItems{Value: &api.Amounts{Fixed: 100}, Promise: dur(time.Minute)},
			Steps: []api.ModelStep{{Name: "capture", Workers: 4, Takes: fixed(time.Second), Tries: 3, Pause: dur(time.Second),
				Calls: []api.ModelCall{{To: "gateway", Effect: "charge", Money: true, Timeout: dur(5 * time.Second)}}}},
			Systems: []api.ModelSystem{{Integration: "gateway", Endpoints: []api.ModelEndpoint{
				{Name: "primary", Takes: fixed(200 * time.Millisecond)}, {Name: "standby", Takes: fixed(200 * time.Millisecond)}}}},
		}},
		Scenario: api.Scenario{Metadata: meta("made"), Spec: api.ScenarioSpec{Horizon: dur(10 * time.Minute), Seed: 7}},
		Current: engine.Config{Digest: "made",
			Integrations: []api.Integration{{Metadata: meta("gateway"), Spec: api.IntegrationSpec{Endpoints: []api.Endpoint{{Name: "primary"}, {Name: "standby"}}}}}},
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

// fault adds one to the scenario.
func fault(f api.Fault) func(*Setup) {
	return func(s *Setup) { s.Scenario.Spec.Faults = append(s.Scenario.Spec.Faults, f) }
}

// sees adds a probe, what it sees, and its detectors.
func sees(every time.Duration, sight api.ModelSight, detect ...api.Detector) func(*Setup) {
	return func(s *Setup) {
		s.Current.Probes = append(s.Current.Probes, api.Probe{Metadata: meta(sight.Probe), Spec: api.ProbeSpec{Integration: "gateway", Every: dur(every), Detect: detect}})
		s.Model.Spec.Sees = append(s.Model.Spec.Sees, sight)
	}
}

func failures(atLeast int) api.Detector {
	return api.Detector{Name: "down", Failures: &api.Failures{AtLeast: atLeast, Of: atLeast, Clear: 2}}
}

func above(limit float64) api.Detector {
	return api.Detector{Name: "many", Threshold: &api.Threshold{Above: &limit}}
}

// act is a step of a hand-made playbook.
func makeStep(name string, effect api.Effect, danger api.Danger, repeat api.Repeat, with any, targets ...string) (api.Step, api.StepPlan) {
	return api.Step{Name: name, Do: string(effect), With: api.ParamsOf(with)},
		api.StepPlan{Name: name, Targets: targets, Action: api.ActionInfo{Name: string(effect), Version: "1", Effect: effect, Danger: danger, Repeat: repeat, Retention: time.Hour, Undo: true, Counts: true}}
}

// playbook adds one that acts on an anomaly.
func playbook(name, anomaly string, steps ...func(*engine.Playbook)) func(*Setup) {
	return func(s *Setup) {
		p := engine.Playbook{Name: name, Digest: fmt.Sprintf("%s-%d", name, len(s.Current.Playbooks)), Spec: api.PlaybookSpec{Mode: api.ModeAuto, On: api.Trigger{Anomaly: anomaly}, Otherwise: "stop"}}
		for _, add := range steps {
			add(&p)
		}
		s.Current.Playbooks = append(s.Current.Playbooks, p)
	}
}

// does adds a step to a playbook.
func does(name string, effect api.Effect, danger api.Danger, with any, targets ...string) func(*engine.Playbook) {
	return func(p *engine.Playbook) {
		step, plan := makeStep(name, effect, danger, api.Idempotent, with, targets...)
		p.Spec.Steps, p.Steps = append(p.Spec.Steps, step), append(p.Steps, plan)
	}
}

// failover sends new work to an endpoint of the gateway.
func failover(to string) func(*engine.Playbook) {
	return does("switch-"+to, api.EffectRoute, api.D1, map[string]any{"integration": "gateway", "to": to}, "integration/gateway")
}

// settles looks up what is in doubt.
func settles(delay time.Duration) func(*engine.Playbook) {
	return does("settle", api.EffectRepair, api.D3, map[string]any{"integration": "gateway", "lookup": map[string]any{"path": "/x", "delay": delay.String()}, "void": map[string]any{}},
		"integration/gateway", "in-doubt/gateway")
}

// compiled makes a plan, which must be good.
func compiled(t testing.TB, s Setup) *Plan {
	t.Helper()
	p, findings := Compile(s)
	if findings.Failed() {
		t.Fatalf("compile: %v", findings)
	}
	return p
}

// played plays one replication of a variant.
func played(t testing.TB, s Setup, v api.Variant) (*Run, *world) {
	t.Helper()
	s.Scenario.Spec.Variants = []api.Variant{api.VariantNone, api.VariantCurrent, api.VariantNaive}
	p := compiled(t, s)
	w := p.world(v, 0, Options{Story: true})
	w.play()
	w.close()
	if w.run.Cut != "" {
		t.Fatalf("the run was cut: %s", w.run.Cut)
	}
	return &w.run, w
}

// want checks figures.
func want(t testing.TB, r *Run, figures map[Figure]float64) {
	t.Helper()
	for f := range Figures {
		if x, asked := figures[f]; asked && r.Figures[f] != x {
			t.Errorf("%s is %v, want %v", FigureInfos[f].Name, r.Figures[f], x)
		}
	}
	if t.Failed() {
		for _, v := range r.Violations {
			t.Logf("%s %s: %s", v.At, FigureInfos[v.What].Name, v.Text)
		}
		for _, l := range r.Story {
			t.Logf("%8s %-8s %s", l.At, l.Kind, l.Text)
		}
	}
}
