package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// many is a configuration with n integrations, each with a probe and a playbook that has a condition.
func many(n int) *Config {
	c := &Config{Digest: "many"}
	for i := range n {
		name := fmt.Sprintf("n%d", i)
		in := api.Integration{Metadata: api.Metadata{Name: name}}
		c.Integrations = append(c.Integrations, in)
		c.Probes = append(c.Probes, api.Probe{Metadata: api.Metadata{Name: name}, Spec: api.ProbeSpec{Integration: name, Detect: []api.Detector{{Name: "down"}}}})
		c.Playbooks = append(c.Playbooks, Playbook{Name: name, Digest: name, Spec: api.PlaybookSpec{Mode: api.ModeAuto,
			On:    api.Trigger{Anomaly: name + "/down", When: `incident.root == "` + name + `"`},
			Steps: []api.Step{{Name: "switch", Do: "failover"}}},
			Steps: []api.StepPlan{{Name: "switch", Targets: []string{"integration/" + name}, Action: api.ActionInfo{Danger: api.D1, Repeat: api.Idempotent}}}})
	}
	return c
}

// BenchmarkAnomaly is one anomaly that starts a playbook, among 100 playbooks: from the event to the first command.
func BenchmarkAnomaly(b *testing.B) {
	c := many(100)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%100 == 0 {
			b.StopTimer()
			s := New()
			s.Step(Event{At: t0, Restarted: true})
			s.Step(Event{At: t0, Config: c})
			b.StartTimer()
			state = s
		}
		name := c.Probes[i%100].Metadata.Name
		out := state.Step(Event{At: t0.Add(time.Duration(i)), Anomaly: &api.Anomaly{Name: name + "/down", Probe: name, Opened: t0, At: t0, Text: "down"}})
		if len(out.Commands) != 1 {
			b.Fatalf("want one command, got %+v", out)
		}
	}
}

var state *State

// BenchmarkTick is a tick with 1,000 incidents open and nothing to do.
func BenchmarkTick(b *testing.B) {
	s, _ := thousand(b)
	b.ReportAllocs()
	for b.Loop() {
		s.Step(Event{At: t0, Tick: true})
	}
}

// thousand is a state with 1,000 open incidents, and the bytes of its snapshot.
func thousand(tb testing.TB) (*State, []byte) {
	s := New()
	c := many(1000)
	c.Playbooks = nil
	s.Step(Event{At: t0, Restarted: true})
	s.Step(Event{At: t0, Config: c})
	for i := range c.Probes {
		name := c.Probes[i].Metadata.Name
		s.Step(Event{At: t0, Anomaly: &api.Anomaly{Name: name + "/down", Probe: name, Opened: t0, At: t0, Text: "3 of 3 runs were bad"}})
	}
	b, err := s.Snapshot()
	if err != nil {
		tb.Fatal(err)
	}
	return s, b
}

// TestSnapshotIsSmall bounds the snapshot of 1,000 open incidents.
func TestSnapshotIsSmall(t *testing.T) {
	_, b := thousand(t)
	if len(b) > 1_000_000 {
		t.Errorf("1,000 open incidents take %d bytes; the most is 1,000,000", len(b))
	}
	t.Logf("1,000 open incidents take %d bytes", len(b))
}

// BenchmarkGuards is all guards and limits of one playbook, held against a history of runs in the 24 hours that its budgets count:
// where it may begin, and where a budget is used up, so that the time when it would next pass must be found too. It must stay below
// 50 µs, whatever the number of runs.
func BenchmarkGuards(b *testing.B) {
	for _, runs := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprintf("%d/passes", runs), func(b *testing.B) { guards(b, runs, 1<<50) })
		b.Run(fmt.Sprintf("%d/refused", runs), func(b *testing.B) { guards(b, runs, 50*int64(runs)) })
	}
}

func guards(b *testing.B, runs int, cents int64) {
	c := many(100)
	sp := &c.Playbooks[0].Spec
	day := api.Duration{Duration: 24 * time.Hour}
	sp.On.Confirm = &api.Confirm{AtLeast: 1, Of: []string{"n0/down"}}
	sp.Acknowledge = "unverified"
	sp.Limits = api.Limits{Runs: api.Rate{N: 1_000_000, Per: day.Duration}, Cooldown: api.Seconds(1), CooldownTarget: api.Seconds(2), CooldownAll: api.Seconds(1),
		Within: []api.Budget{{Per: api.Seconds(3600), Runs: 1_000_000, Items: 1 << 40}, {Per: day, Of: "target", Items: 1 << 40, Amount: api.Money{"EUR": 1 << 50}, Share: api.Percent{PPM: 1}},
			{Per: day, Of: "all", Runs: 1_000_000, Items: 1 << 40, Amount: api.Money{"EUR": cents}}}}
	s := New()
	s.Step(Event{At: t0, Restarted: true})
	s.Step(Event{At: t0, Config: c})
	s.Step(Event{At: t0, Anomaly: &api.Anomaly{Name: "n0/down", Probe: "n0", Opened: t0, At: t0}})
	s.d.Remediations, s.rems, s.d.Runs, s.past = nil, map[string]*remediation{}, nil, newHistory(nil)
	s.d.Incidents[0].Remediations = nil
	for i := range runs {
		at := t0.Add(time.Duration(i) * (23 * time.Hour / time.Duration(runs)))
		s.keep(&run{ID: fmt.Sprint("rem-", i), Playbook: fmt.Sprintf("n%d", i%25), At: at, Ended: at.Add(time.Second), Acted: true, Items: 5, Total: int64(runs - i),
			Amount: api.Money{"EUR": 100}, Targets: []string{fmt.Sprintf("integration/n%d", i%5)}})
		if i >= runs-runs/24 { // what ended in the last hour is still in the state
			s.d.Remediations = append(s.d.Remediations, &remediation{ID: fmt.Sprint("rem-", i), Plan: s.cfg.plans[i%25], End: api.EndVerified})
		}
	}
	if len(s.d.Runs) != runs {
		b.Fatalf("%d runs are kept, want %d", len(s.d.Runs), runs)
	}
	s.now = t0.Add(23*time.Hour + time.Minute)
	s.sights["n0"] = s.now
	can := candidate{inc: s.d.Incidents[0], plan: s.cfg.plans[0], trigger: s.d.Incidents[0].Anomalies[0].Anomaly}
	b.ReportAllocs()
	for b.Loop() {
		for _, g := range startGuards {
			no, _ := g(s, &can)
			if (no != nil && (no.Guard != api.GuardAmount || no.Next.IsZero())) || cents == 1<<50 && no != nil {
				b.Fatalf("refused: %+v", no)
			}
		}
	}
}
