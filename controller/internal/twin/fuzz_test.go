package twin

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

var fuzzEffects = map[string]api.Effect{"failover": api.EffectRoute, "failback": api.EffectRoute, "replay": api.EffectRedeliver, "requeue": api.EffectRedeliver, "reroute": api.EffectReroute,
	"hold": api.EffectHold, "release": api.EffectRelease, "restart": api.EffectRestart, "resolve": api.EffectRepair, "unblock": api.EffectRepair, "sql": api.EffectRepair, "http": api.EffectRepair}

// fuzzSetup makes a setup of what is written, with plans that a loader would make; false where there is nothing to play.
func fuzzSetup(set *api.Set) (Setup, bool) {
	if len(set.Models) == 0 || len(set.Scenarios) == 0 {
		return Setup{}, false
	}
	s := Setup{Model: set.Models[0], Scenario: set.Scenarios[0], Current: engine.Config{Digest: "fuzz", Integrations: set.Integrations, Workflows: set.Workflows,
		Probes: set.Probes, Calendars: set.Calendars}}
	for i := range set.Playbooks {
		p := engine.Playbook{Name: set.Playbooks[i].Metadata.Name, Digest: set.Playbooks[i].Metadata.Name, Spec: set.Playbooks[i].Spec}
		for _, st := range p.Spec.Steps {
			plan := api.StepPlan{Name: st.Name, Targets: []string{"integration/x"}, Action: api.ActionInfo{Name: st.Do, Effect: fuzzEffects[st.Do], Danger: api.D2, Repeat: api.Idempotent, Undo: true}}
			if len(s.Model.Spec.Places) > 0 {
				plan.Targets = []string{s.Model.Spec.Places[len(p.Steps)%len(s.Model.Spec.Places)].Target}
			}
			if plan.Action.Effect == "" {
				plan.Action.Effect = api.EffectObserve
			}
			p.Steps = append(p.Steps, plan)
		}
		s.Current.Playbooks = append(s.Current.Playbooks, p)
	}
	return s, true
}

// FuzzWorld plays whatever can be read as a model and a scenario: it is refused in words or played to an end, twice alike, and never
// hangs or panics.
func FuzzWorld(f *testing.F) {
	files, err := filepath.Glob("../../../playbooks/library/*/*.scenario.yaml")
	if err != nil || len(files) == 0 {
		f.Fatalf("the shipped scenarios to begin with are not there: %v", err)
	}
	for _, name := range files {
		var all []byte
		for _, part := range []string{name, "model.yaml", "systems.yaml", "probes.yaml", "playbooks.yaml", "calendar.yaml"} {
			path := name
			if part != name {
				path = filepath.Join(filepath.Dir(name), part)
			}
			data, err := os.ReadFile(path)
			if os.IsNotExist(err) {
				continue
			}
			if err != nil {
				f.Fatal(err)
			}
			all = append(append(all, "---\n"...), data...)
		}
		f.Add(all)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		set, _ := api.Decode("f.yaml", data)
		s, ok := fuzzSetup(&set)
		if !ok {
			return
		}
		var stock int64
		for _, w := range s.Scenario.Spec.Waiting {
			stock += w.Items
		}
		if stock > 10_000 || stock < 0 {
			return // true, and slow
		}
		sc := &s.Scenario.Spec // short days: there are many
		sc.Horizon.Duration, sc.Warmup.Duration = min(sc.Horizon.Duration, 5*time.Minute), min(sc.Warmup.Duration, time.Minute)
		p, findings := Compile(s)
		if findings.Failed() {
			for _, finding := range findings {
				if finding.Message == "" || finding.Rule == "" {
					t.Fatalf("no message or rule: %+v", finding)
				}
			}
			return
		}
		p.maxEvents, p.maxItems = 60_000, 10_000
		for _, v := range p.Variants() {
			began := time.Now()
			r := p.Run(v, 0, Options{Digest: true, Story: true})
			if took := time.Since(began); took > 30*time.Second {
				t.Fatalf("%s took %s for %d events", v, took, r.Events)
			}
			if again := p.Run(v, 0, Options{Digest: true}); again.Digest != r.Digest {
				t.Fatalf("%s: the second time was another day", v)
			}
			if slices.Contains(r.Figures[:], -1) {
				t.Fatalf("%s: a figure is negative: %v", v, r.Figures)
			}
		}
	})
}
