package engine

import (
	"encoding/json"
	"time"

	"github.com/backstay/backstay/api"
)

// perform does a command as the shell would, with what can go wrong on the way.
func (w *world) perform(c Command) {
	switch c.Kind {
	case Plan:
		w.plan(c)
	case Run:
		w.call(c)
	case Look:
		w.look(c)
	case Undo:
		w.undo(c)
	case Expect:
		if c.Expectation.Values {
			w.total(c)
			return
		}
		k := w.target(c)
		name := w.itemName(k)
		w.after(min(20*time.Second, c.Deadline.Sub(w.now.Add(w.skew))), func() {
			res := api.ResultFailed
			if w.net[name] == 1 && !w.fault(0.1) {
				res = api.ResultDone
			}
			if !w.fault(0.05) {
				w.answer(c, 0, api.Outcome{Result: res, Text: "looked"}, nil)
			}
		})
	case Notify:
		if !w.fault(0.5) {
			w.answer(c, time.Second, api.Outcome{Result: api.ResultDone, Text: "told"}, nil)
		}
	}
}

func (w *world) target(c Command) int { return int(c.Playbook[2] - '0') }

// answer brings a result, perhaps twice, unless the process that waits for it is gone by then.
func (w *world) answer(c Command, d time.Duration, o api.Outcome, e *api.Estimate) {
	life := w.life
	bring := func() {
		if w.life == life && !w.down {
			for target, f := range w.flying { // order does not matter: each is judged by itself
				if f.command == c.ID {
					delete(w.flying, target)
				}
			}
			w.feed(Event{Result: &Result{Command: c.ID, Outcome: o, Estimate: e}})
		}
	}
	w.after(d, bring)
	if w.fault(0.2) {
		w.after(d+w.between(0, time.Minute), bring)
	}
}

func (w *world) plan(c Command) {
	d := w.between(10*time.Millisecond, 500*time.Millisecond)
	switch {
	case w.fault(0.03): // lost
	case w.fault(0.05):
		w.answer(c, d, api.Outcome{Result: api.ResultFailed, Text: "cannot read"}, nil)
	case w.fault(0.03):
		w.answer(c, d, api.Outcome{Result: api.ResultRefused, Text: "breaker open"}, nil)
	default:
		e := &api.Estimate{Text: "It will act.", Before: json.RawMessage(`{"was": 1}`), Noop: c.Step == "switch" && w.chance(0.1)}
		if c.Step == "pay" {
			e.Items = 1 + w.rng.Int64N(12)
		}
		w.answer(c, d, api.Outcome{Result: api.ResultDone}, e)
	}
}

// judgeCall holds a call against what must never happen.
func (w *world) judgeCall(c Command) {
	k := w.target(c)
	at := w.now.Add(w.skew)
	if at.Before(w.s.now) {
		at = w.s.now
	}
	w.judgeBudget(c, k)
	intended := false
	for i := len(w.journal) - 1; i >= 0 && !intended; i-- {
		e := &w.journal[i]
		intended = (e.Kind == api.EntryStepIntended || e.Kind == api.EntryStepRepeated) && e.Intent.Command == c.ID
	}
	if !intended {
		w.breach("a call without a durable intent: %s", c.ID)
	}
	if at.Before(w.paused) {
		w.breach("I4: a call while paused: %s", c.ID)
	}
	if k == 6 && !at.Before(freezeFrom) && at.Before(freezeTo) {
		w.breach("I4: a call in a freeze: %s", c.ID)
	}
	if kinds[k].danger == api.D4 && len(w.yes[c.Remediation]) < 2 {
		w.breach("I4: class D4 without two people: %s %v", c.ID, w.yes[c.Remediation])
	}
	if c.Bounds.Items > 0 && c.Estimate.Items > c.Bounds.Items {
		w.breach("I4: %d items over the bound %d: %s", c.Estimate.Items, c.Bounds.Items, c.ID)
	}
	name := c.Remediation + "/" + c.Step
	if old, ok := w.keyOf[name]; ok && old != c.Key {
		w.breach("the key of %s changed", name)
	}
	w.keyOf[name] = c.Key
	if kinds[k].repeat == api.Blind && c.Step == "pay" {
		for _, r := range w.sent[c.Key] {
			if !r.definite {
				w.breach("a blind step was repeated: %s", c.ID)
			}
		}
	}
	w.sent[c.Key] = append(w.sent[c.Key], sentRun{command: c.ID})
	st := w.s.rems[c.Remediation]
	for i, q := range st.Plan.Steps {
		if q.Name != c.Step {
			continue
		}
		for _, target := range st.Plan.Steps[i].Plan.Targets {
			for name, other := range w.doubts { // order does not matter: each is a breach by itself
				if other == target {
					w.breach("a call to %s although %s is in doubt: %s", target, name, c.ID)
				}
			}
			if f := w.flying[target]; f.rem != "" && f.rem != c.Remediation && w.now.Before(f.until) {
				w.breach("I5: %s and %s work on %s at once", f.rem, c.Remediation, target)
			}
			w.flying[target] = flight{c.Remediation, c.ID, w.now.Add(c.Deadline.Sub(at))}
		}
	}
}

// call performs an attempt: the effect may come, the answer may come, and neither follows from the other.
func (w *world) call(c Command) {
	w.judgeCall(c)
	k := w.target(c)
	left := c.Deadline.Sub(w.s.now)
	effect := func(within time.Duration) {
		if c.Step == "pay" {
			w.after(w.between(0, within), func() { w.pay(k, c.Key) })
		} else {
			w.landed[c.Key] = true
		}
	}
	definite := func() {
		runs := w.sent[c.Key]
		runs[len(runs)-1].definite = true
	}
	soon := w.between(10*time.Millisecond, time.Second)
	unknown := api.Outcome{Result: api.ResultUnknown, Text: "no answer"}
	if w.naive {
		unknown = api.Outcome{Result: api.ResultFailed, Text: "no answer, so surely nothing happened"}
	}
	switch p := w.rng.Float64(); {
	case w.calm || p < 0.45:
		if c.Step == "pay" {
			w.after(soon/2, func() { w.pay(k, c.Key) })
		}
		definite()
		w.answer(c, soon, api.Outcome{Result: api.ResultDone, Text: "ok", Items: c.Estimate.Items}, nil)
	case p < 0.55:
		definite()
		w.answer(c, soon, api.Outcome{Result: api.ResultFailed, Text: "connection refused"}, nil)
	case p < 0.60:
		definite()
		w.answer(c, soon, api.Outcome{Result: api.ResultRefused, Text: "breaker open"}, nil)
	case p < 0.70:
		w.answer(c, left, unknown, nil)
	case p < 0.80:
		effect(left)
		w.answer(c, w.between(0, left), unknown, nil)
	case p < 0.90:
		effect(left)
		if w.naive {
			w.answer(c, left, unknown, nil)
		}
	case p < 0.95: // neither effect nor answer
	default:
		effect(left)
		w.answer(c, left+w.between(0, 2*time.Minute), api.Outcome{Result: api.ResultDone, Text: "late"}, nil)
	}
}

func (w *world) look(c Command) {
	switch {
	case w.fault(0.1): // lost
	case w.fault(0.1):
		w.answer(c, time.Second, api.Outcome{Result: api.ResultUnknown, Text: "not visible yet"}, nil)
	case w.landed[c.Key]:
		w.answer(c, 100*time.Millisecond, api.Outcome{Result: api.ResultDone, Text: "found"}, nil)
	default:
		w.answer(c, 100*time.Millisecond, api.Outcome{Result: api.ResultRefused, Text: "not found"}, nil)
	}
}

func (w *world) undo(c Command) {
	k := w.target(c)
	at := w.clock()
	if at.Before(w.paused) {
		w.breach("I4: an undo while paused: %s", c.ID)
	}
	if k == 6 && !at.Before(freezeFrom) && at.Before(freezeTo) {
		w.breach("I4: an undo in a freeze: %s", c.ID)
	}
	key := w.keyOf[c.Remediation+"/"+c.Step]
	name := w.paid[key]
	effect := func() {
		if c.Step != "pay" {
			return
		}
		w.undone[key] = true
		if w.net[name]--; w.net[name] < 0 {
			if w.net[name] = 0; kinds[k].repeat != api.Idempotent {
				w.breach("item %s was undone more often than paid", name)
			}
		}
	}
	switch p := w.rng.Float64(); {
	case w.calm || p < 0.7:
		effect()
		w.answer(c, time.Second, api.Outcome{Result: api.ResultDone, Text: "undone"}, nil)
	case p < 0.8:
		w.answer(c, time.Second, api.Outcome{Result: api.ResultFailed, Text: "could not"}, nil)
	case p < 0.9:
		effect()
		w.answer(c, time.Second, api.Outcome{Result: api.ResultUnknown, Text: "no answer"}, nil)
	default: // lost
	}
}
