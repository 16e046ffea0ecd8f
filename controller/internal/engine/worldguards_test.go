package engine

import (
	"time"

	"github.com/backstay/backstay/api"
)

// judgedGuards is what the world itself keeps to hold the guards against, from what it did and saw and not from the engine's state.
type judgedGuards struct {
	seen    map[string]time.Time // probes, well or ill
	spent   map[string]spending  // pay steps of playbooks 1 and 2 -> what they may have touched
	acted   map[string]time.Time // remediations that called something, and when they were last known to go on
	unacked bool                 // playbook 3 ended badly and nobody has looked
	demoted map[string]bool
	before  map[string]string // remediation -> control total before the first step
}

type spending struct {
	items int64
	until time.Time // it counts until the budget's time after this
	void  bool
}

func newJudgedGuards() judgedGuards {
	return judgedGuards{seen: map[string]time.Time{}, spent: map[string]spending{}, acted: map[string]time.Time{}, demoted: map[string]bool{}, before: map[string]string{}}
}

// clock is the engine's time now.
func (w *world) clock() time.Time {
	if at := w.now.Add(w.skew); at.After(w.s.now) {
		return at
	}
	return w.s.now
}

// sight has the corroborating probes seen now and then, with gaps in which their runs are skipped.
func (w *world) sight() {
	for _, p := range []string{"p6", "p6b"} {
		if w.verdicts[p] != api.Unknown && !w.down && !w.fault(0.3) {
			w.guards.seen[p] = w.clock()
			w.feed(Event{Seen: p})
		}
	}
	w.after(50*time.Second, w.sight)
}

// total answers for the control totals: nearly always the same.
func (w *world) total(c Command) {
	v := "100"
	if w.fault(0.1) {
		v = "99"
	}
	if w.fault(0.05) {
		w.answer(c, time.Second, api.Outcome{Result: api.ResultFailed, Text: "p0 did not run"}, nil)
		return
	}
	w.answer(c, time.Second, api.Outcome{Result: api.ResultDone, Facts: []api.Fact{{Name: api.ValueFact("p0"), Value: v}}}, nil)
}

// judgeBudget holds a call of playbooks 1 and 2 against the budget that they share.
func (w *world) judgeBudget(c Command, k int) {
	w.guards.acted[c.Remediation] = w.clock()
	if k != 1 && k != 2 || c.Step != "pay" {
		return
	}
	name, per, sum := c.Remediation+"/"+c.Step, sharedBudget[0].Per.Duration, int64(0)
	for other, x := range w.guards.spent { // order does not matter: a sum
		if other != name && !x.void && w.clock().Before(x.until.Add(per)) {
			sum += x.items
		}
	}
	if c.Bounds.Items <= 0 || sum+c.Bounds.Items > sharedBudget[0].Items {
		w.breach("I4: a call may touch %d items with %d of %d touched or reserved: %s", c.Bounds.Items, sum, sharedBudget[0].Items, c.ID)
	}
	w.guards.spent[name] = spending{items: c.Bounds.Items, until: w.clock()}
}

// judgeGuards holds an entry against the guards that the world keeps for itself.
func (w *world) judgeGuards(e *api.Entry) {
	g := &w.guards
	name := e.Remediation + "/" + e.Step
	switch e.Kind {
	case api.EntryRemediationOpened:
		w.judgeOpened(e)
	case api.EntryStepEnded, api.EntryStepReconciled:
		if x, ok := g.spent[name]; ok && e.Kind == api.EntryStepEnded && e.Outcome.Result != api.ResultDone {
			x.void = true
			g.spent[name] = x
		} else if ok && e.Outcome.Result == api.ResultDone && e.Outcome.Items > 0 {
			x.items, x.until = e.Outcome.Items, e.At
			g.spent[name] = x
		}
	case api.EntryRemediationEnded:
		if _, ok := g.acted[e.Remediation]; ok {
			g.acted[e.Remediation] = e.At
			g.unacked = g.unacked || e.Playbook == "pb3" && e.End != api.EndVerified
			if e.Playbook == "pb3" && e.End != api.EndVerified {
				w.after(w.between(time.Minute, 10*time.Minute), func() { w.ack("pb3") })
			}
		}
	case api.EntryDemoted:
		g.demoted[e.Playbook] = true
		w.after(w.between(time.Minute, 10*time.Minute), func() { w.ack(e.Playbook) })
	case api.EntryDecided:
		switch {
		case e.Decision.Verb == api.VerbAck:
			g.demoted[e.Playbook] = false
			g.unacked = g.unacked && e.Playbook != "pb3"
		case e.Decision.Verb == api.VerbVoid:
			if x, ok := g.spent[name]; ok {
				x.void = true
				g.spent[name] = x
			}
		}
	case api.EntryMeasured:
		if e.Refusal == nil {
			g.before[e.Remediation] = e.Facts[0].Value
		}
	case api.EntryVerifyEnded:
		if _, acted := g.acted[e.Remediation]; e.Playbook == "pb0" && e.Outcome.Result == api.ResultDone && acted && fact(e.Outcome.Facts, api.ValueFact("p0")) != g.before[e.Remediation] {
			w.breach("%s was verified although its control total was %s before and %s after", e.Remediation, g.before[e.Remediation], fact(e.Outcome.Facts, api.ValueFact("p0")))
		}
	}
}

// judgeOpened holds a remediation that begins against what should have held it back.
func (w *world) judgeOpened(e *api.Entry) {
	g := &w.guards
	if g.demoted[e.Playbook] {
		w.breach("%s of playbook %s opened although it was demoted", e.Remediation, e.Playbook)
	}
	switch e.Playbook {
	case "pb3":
		if g.unacked {
			w.breach("%s opened although nobody acknowledged the last run", e.Remediation)
		}
		for id, at := range g.acted { // order does not matter: each is a breach by itself
			if id != e.Remediation && e.At.Before(at.Add(coolAll)) {
				w.breach("%s opened %s after %s acted; the pause is %s", e.Remediation, e.At.Sub(at), id, coolAll)
			}
		}
	case "pb6":
		for _, p := range []string{"p6", "p6b"} {
			if e.At.Sub(g.seen[p]) > 2*time.Minute {
				w.breach("%s opened on the word of %s, last seen %s ago", e.Remediation, p, e.At.Sub(g.seen[p]))
			}
		}
	}
}

// ack is a person who looked at a playbook's last run.
func (w *world) ack(playbook string) {
	if w.down {
		w.after(time.Minute, func() { w.ack(playbook) })
		return
	}
	w.feed(Event{Decision: &api.Decision{Verb: api.VerbAck, By: "ada", Target: playbook}})
	if w.down || w.guards.demoted[playbook] || playbook == "pb3" && w.guards.unacked {
		w.after(time.Minute, func() { w.ack(playbook) }) // a crash swallowed it
	}
}
