package controller_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller"
	"github.com/backstay/backstay/controller/internal/engine"
)

// benchOffice is the real engine with a back office that answers at once: a history as real as one can be made quickly.
type benchOffice struct {
	b       *testing.B
	s       *engine.State
	now     time.Time
	entries []api.Entry
	tape    *engine.Tape // what reached the engine; nil where nobody asks
}

// newBenchOffice has n integrations, each with a probe and some playbooks that act on the same anomaly; limits gives those of each
// integration's.
func newBenchOffice(b *testing.B, n, playbooks int, limits func(i int) api.Limits) *benchOffice {
	c := engine.Config{Digest: "bench"}
	for i := range n {
		name := fmt.Sprintf("gateway-%02d", i)
		c.Integrations = append(c.Integrations, api.Integration{Metadata: api.Metadata{Name: name}})
		c.Probes = append(c.Probes, api.Probe{Metadata: api.Metadata{Name: name}, Spec: api.ProbeSpec{Integration: name, Detect: []api.Detector{{Name: "down"}}}})
		for k := range playbooks {
			c.Playbooks = append(c.Playbooks, engine.Playbook{Name: fmt.Sprintf("%s-%02d", name, k), Digest: fmt.Sprintf("%s-%02d", name, k),
				Spec: api.PlaybookSpec{Mode: api.ModeAuto, On: api.Trigger{Anomaly: name + "/down"}, Limits: limits(i), Steps: []api.Step{{Name: "switch", Do: "failover"}},
					Verify: api.Verify{Probes: []string{name}}},
				Steps: []api.StepPlan{{Name: "switch", Targets: []string{fmt.Sprintf("integration/%s", name)}, Action: api.ActionInfo{Danger: api.D1, Repeat: api.Idempotent, Counts: true}}}})
		}
	}
	o := &benchOffice{b: b, s: engine.New(), now: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)}
	o.feed(engine.Event{Restarted: true})
	o.feed(engine.Event{Config: &c})
	return o
}

// feed has one thing happen now.
func (o *benchOffice) feed(e engine.Event) engine.Output {
	e.At = o.now
	out := o.s.Step(e)
	if o.tape != nil {
		o.tape.Add(&e, len(out.Entries))
	}
	o.entries = append(o.entries, out.Entries...)
	return out
}

// down opens or clears the anomaly of an integration.
func (o *benchOffice) down(i int, cleared bool) engine.Output {
	name := fmt.Sprintf("gateway-%02d", i)
	return o.feed(engine.Event{Anomaly: &api.Anomaly{Name: name + "/down", Probe: name, Opened: o.now, At: o.now, Cleared: cleared, Text: "3 of 3 runs were bad: connection refused"}})
}

// settle answers every command, and the commands that follow from the answers.
func (o *benchOffice) settle(out engine.Output) {
	for queue := out.Commands; len(queue) > 0; queue = queue[1:] {
		c := queue[0]
		o.now = o.now.Add(time.Second)
		r := &engine.Result{Command: c.ID, Outcome: api.Outcome{Result: api.ResultDone, Text: "the route reads standby 100%", Items: 5, Amount: api.Money{"EUR": 100}}}
		if c.Kind == engine.Plan {
			r.Estimate = &api.Estimate{Text: "Switch to standby.", Items: 5, Total: 1000, Amount: api.Money{"EUR": 100}}
		}
		queue = append(queue, o.feed(engine.Event{Result: r}).Commands...)
	}
}

// one has an integration fall ill, be mended and be well again.
func (o *benchOffice) one(i int) {
	o.settle(o.down(i, false))
	o.down(i, true)
}

// benchGuards decides among 10,000 runs in the 24 hours that budgets count: by a playbook with all limits, by one with none, and by one
// whose budget is used up. The difference of the first two is what guards add.
func benchGuards(b *testing.B, t *goalTable) {
	const others, limited, bare, spent, runs, times = 25, 25, 26, 27, 10_000, 300
	day := api.Duration{Duration: 24 * time.Hour}
	o := newBenchOffice(b, 28, 1, func(i int) api.Limits {
		if i == bare {
			return api.Limits{}
		}
		l := api.Limits{Runs: api.Rate{N: 1_000_000, Per: day.Duration}, Cooldown: api.Seconds(1), CooldownTarget: api.Seconds(2), CooldownAll: api.Seconds(1),
			Within: []api.Budget{{Per: api.Seconds(3600), Runs: 1_000_000, Items: 1 << 40}, {Per: day, Of: "target", Items: 1 << 40, Amount: api.Money{"EUR": 1 << 50}},
				{Per: day, Of: "all", Runs: 1_000_000, Items: 1 << 40, Amount: api.Money{"EUR": 1 << 50}}}}
		if i == spent {
			l.Within[2].Items = 5 * runs / 2
		}
		return l
	})
	for i := range runs {
		o.now, o.entries = o.now.Add(5*time.Second), nil
		o.one(i % others)
	}
	decide := func(i int, kind api.EntryKind) float64 {
		o.now, o.entries = o.now.Add(5*time.Second), nil
		start := time.Now()
		out := o.down(i, false)
		took := float64(time.Since(start).Nanoseconds()) / 1000
		if last := out.Entries[len(out.Entries)-1]; last.Kind != kind || kind == api.EntryRefused && last.Refusal.Next.IsZero() {
			b.Fatalf("decided otherwise: %s: %s", last.Kind, last.Text)
		}
		o.settle(out)
		o.down(i, true)
		return took
	}
	var with, without, refused []float64
	for range times {
		with, without = append(with, decide(limited, api.EntryRemediationOpened)), append(without, decide(bare, api.EntryRemediationOpened))
		refused = append(refused, decide(spent, api.EntryRefused))
	}
	t.add(goal{what: "guards with 10,000 runs in 24 h, added to a decision", unit: "µs", limit: 50, measured: median(with...) - median(without...),
		raw: median(without...), rawWhat: "the decision without limits"})
	t.add(goal{what: "a refusal there, with when it would pass, in all", unit: "µs", limit: 50, measured: median(refused...), raw: median(without...), rawWhat: "the decision without limits"})
}

// benchApprovals works out whether a playbook is approved, as each reload does.
func benchApprovals(b *testing.B, t *goalTable) {
	hear := controller.Approvals(b)
	each := func(known bool) float64 {
		var took []float64
		for range 300 {
			start := time.Now()
			hear(known)
			took = append(took, float64(time.Since(start).Nanoseconds())/1000)
		}
		return median(took...)
	}
	first := each(false)
	t.add(goal{what: "an approval seen before, by its digest", unit: "µs", limit: 50, measured: each(true), raw: first, rawWhat: "verify its signature"})
}
