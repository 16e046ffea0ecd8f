package twin

import (
	"fmt"
	"time"

	"github.com/backstay/backstay/api"
)

// ledger books every effect at every outside system, whoever caused it, and judges. Nothing that decides ever reads it.
type ledger struct {
	effects int
	count   []uint8 // item*effects + effect
	where   []int16 // endpoint of the first
	when    []int64
	second  map[int64]booking // of the rare items that have more than one, by item*effects + effect
	sums    []int64           // money by effect
	acts    []act
}

type booking struct {
	endpoint int
	at       int64
}

// act is one action under way, for the judge.
type act struct {
	target, remediation, command string
}

func (l *ledger) grow() {
	for range l.effects {
		l.count, l.where, l.when = append(l.count, 0), append(l.where, -1), append(l.when, 0)
	}
	if l.sums == nil {
		l.sums = make([]int64, l.effects)
	}
}

// book is an endpoint that does what it was asked. One that keeps keys does it once.
func (l *ledger) book(w *world, i int32, call *callPlan, end int) {
	at := int(i)*l.effects + call.effect
	e := &w.plan.endpoints[end]
	if first, ok := l.at(i, call.effect, end); ok && call.keyed && w.now-first <= e.keeps {
		return // it recognised the key
	}
	l.count[at]++
	if call.money {
		l.sums[call.effect] += w.items[i].value
	} else {
		l.sums[call.effect]++
	}
	if l.count[at] == 1 {
		l.where[at], l.when[at] = int16(end), w.now
		return
	}
	if l.second == nil {
		l.second = map[int64]booking{}
	}
	l.second[int64(at)] = booking{end, w.now}
	if l.count[at] == 2 {
		w.violated(Doubled, "%s: %s happened at %s and again at %s", itemName(i), w.plan.effects[call.effect], w.plan.endpoints[l.where[at]].name, e.name)
	}
}

// at is when an endpoint did it.
func (l *ledger) at(i int32, effect, end int) (int64, bool) {
	at := int(i)*l.effects + effect
	switch {
	case l.count[at] == 0:
		return 0, false
	case int(l.where[at]) == end:
		return l.when[at], true
	case l.count[at] > 1 && l.second[int64(at)].endpoint == end:
		return l.second[int64(at)].at, true
	}
	return 0, false
}

// finished judges an item that is said to be done: what its last step was to bring about must have happened.
func (l *ledger) finished(w *world, i int32) {
	w.inOrder(i)
	it := &w.items[i]
	if it.doubtful {
		return // judged at the end: the effect may still be on its way
	}
	w.checkEffects(i)
}

// checkEffects finds what an item that is done lacks.
func (w *world) checkEffects(i int32) {
	it := &w.items[i]
	for k := range w.plan.steps[it.step].calls {
		if call := &w.plan.steps[it.step].calls[k]; call.effect >= 0 && w.ledger.count[int(i)*w.ledger.effects+call.effect] == 0 {
			w.ledger.lose(w, i, "counts as done, and "+w.plan.effects[call.effect]+" never happened")
			return
		}
	}
}

func (l *ledger) lose(w *world, i int32, how string) { w.violated(Lost, "%s %s", itemName(i), how) }

// inOrder judges whether an item overtook an earlier one of its customer.
func (w *world) inOrder(i int32) {
	if w.plan.customers == 0 {
		return
	}
	whose := w.customer[i]
	for w.oldest < len(w.items) && (w.items[w.oldest].state == done || w.items[w.oldest].state == dropped) {
		w.oldest++
	}
	for k := w.oldest; k < int(i); k++ {
		if w.customer[k] == whose && w.items[k].state != done && w.items[k].state != dropped {
			w.violated(Disorder, "%s was finished before %s of the same customer", itemName(i), itemName(int32(k)))
			return
		}
	}
}

// violated records what must not happen.
func (w *world) violated(what Figure, format string, args ...any) {
	w.figures.values[what]++
	if len(w.run.Violations) < 100 {
		w.run.Violations = append(w.run.Violations, Violation{w.at(w.now), what, fmt.Sprintf(format, args...)})
	}
	if w.options.Story {
		kind := "lost"
		if what == Doubled {
			kind = "doubled"
		}
		w.tell(kind, FigureInfos[what].Name+": "+fmt.Sprintf(format, args...))
	}
}

// acting judges that nobody else acts on the same target; it gives what to call when the action is over.
func (w *world) acting(targets []string, remediation, command string) {
	for _, t := range targets {
		for _, a := range w.ledger.acts {
			if a.target == t && a.remediation != remediation {
				w.violated(TwoActors, "%s and %s act on %s at once", a.remediation, remediation, t)
			}
		}
		w.ledger.acts = append(w.ledger.acts, act{t, remediation, command})
	}
}

func (w *world) acted(command string) {
	var left []act
	for _, a := range w.ledger.acts {
		if a.command != command {
			left = append(left, a)
		}
	}
	w.ledger.acts = left
}

// tell adds a line to the story.
func (w *world) tell(kind, text string) {
	if w.options.Story {
		w.run.Story = append(w.run.Story, Line{At: w.at(w.now), Kind: kind, Text: text})
	}
}

// allowedBy judges an action by what was written and signed, without asking the engine.
func (w *world) allowedBy(spec *api.PlaybookSpec, yes int, danger api.Danger, expires time.Time) {
	need := 0
	if spec.Mode == api.ModeApprove {
		need = 1
	}
	if danger == api.D4 {
		need = 2
	}
	switch {
	case spec.Mode != api.ModeAuto && spec.Mode != api.ModeApprove:
		w.violated(Unapproved, "an action of a playbook in mode %s", spec.Mode)
	case danger >= api.D5:
		w.violated(Unapproved, "an action of class D5")
	case yes < need:
		w.violated(Unapproved, "an action of class %s in mode %s with %d of %d approvals", danger, spec.Mode, yes, need)
	case !expires.IsZero() && !w.clock().Before(expires):
		w.violated(Unapproved, "an action after its approval expired")
	}
}
