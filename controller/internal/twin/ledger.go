package twin

import (
	"fmt"
	"math"

	"github.com/backstay/backstay/api"
)

// ledger books every effect at every outside system, whoever caused it, and judges. Nothing that decides ever reads it.
type ledger struct {
	effects int
	count   []uint8 // item*effects + effect; 255 stands for more
	where   []int16 // endpoint of the first
	when    []int64
	more    map[int64][]booking // of the rare items that have more than one, by item*effects + effect
	sums    []int64             // money by effect
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
	if last, ok := l.at(i, call.effect, end); ok && call.keyed && e.keeps > 0 && w.now-last <= e.keeps {
		return // it recognised the key
	}
	if l.count[at] < math.MaxUint8 {
		l.count[at]++
	}
	if call.money {
		l.sums[call.effect] += w.items[i].value
	} else {
		l.sums[call.effect]++
	}
	if l.count[at] == 1 {
		l.where[at], l.when[at] = int16(end), w.now
		return
	}
	if l.more == nil {
		l.more = map[int64][]booking{}
	}
	l.more[int64(at)] = append(l.more[int64(at)], booking{end, w.now})
	if l.count[at] == 2 {
		w.violated(Doubled, "%s: %s happened at %s and again at %s", itemName(i), w.plan.effects[call.effect], w.plan.endpoints[l.where[at]].name, e.name)
	}
}

// at is when an endpoint last did it.
func (l *ledger) at(i int32, effect, end int) (int64, bool) {
	at := int(i)*l.effects + effect
	if l.count[at] > 1 {
		more := l.more[int64(at)]
		for k := len(more) - 1; k >= 0; k-- {
			if more[k].endpoint == end {
				return more[k].at, true
			}
		}
	}
	if l.count[at] > 0 && int(l.where[at]) == end {
		return l.when[at], true
	}
	return 0, false
}

// finished judges an item that is said to be done: what its last step was to bring about must have happened.
func (l *ledger) finished(w *world, i int32) {
	w.inOrder(i)
	it := &w.items[i]
	for k := range w.plan.steps[it.step].calls {
		if call := &w.plan.steps[it.step].calls[k]; call.effect >= 0 && l.count[int(i)*l.effects+call.effect] == 0 {
			l.lose(w, i, "counts as done, and "+w.plan.effects[call.effect]+" never happened")
			return
		}
	}
}

func (l *ledger) lose(w *world, i int32, how string) { w.violated(Lost, "%s %s", itemName(i), how) }

// customers knows whose each item is, and which of a customer's items comes after which.
type customers struct {
	of   []uint32
	next []int32 // the customer's next item; -1: none yet
	ends map[uint32][2]int32
}

func (c *customers) add(i int32, whose uint32) {
	if c.ends == nil {
		c.ends = map[uint32][2]int32{}
	}
	c.of, c.next = append(c.of, whose), append(c.next, -1)
	ends, known := c.ends[whose]
	if known {
		c.next[ends[1]] = i
	} else {
		ends[0] = i
	}
	ends[1] = i
	c.ends[whose] = ends
}

// first is the customer's first item that is not over; -1 where all are.
func (c *customers) first(items []item, whose uint32) int32 {
	ends := c.ends[whose]
	for i := ends[0]; i >= 0; i = c.next[i] {
		if !items[i].over() {
			ends[0] = i
			c.ends[whose] = ends
			return i
		}
	}
	ends[0] = ends[1]
	c.ends[whose] = ends
	return -1
}

// over tells whether nothing more will become of an item.
func (it *item) over() bool { return it.state == done || it.state == dropped }

// inOrder judges whether an item overtook an earlier one of its customer.
func (w *world) inOrder(i int32) {
	if w.plan.customers == 0 {
		return
	}
	if k := w.whose.first(w.items, w.whose.of[i]); k >= 0 && k < i {
		w.violated(Disorder, "%s was finished before %s of the same customer", itemName(i), itemName(k))
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

// acting judges that nobody else acts on the same target until acted ends it.
func (w *world) acting(h *handPlan, remediation, command string) {
	if h.danger <= api.D0 {
		return // telling and looking collide with nothing
	}
	for _, t := range h.targets {
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
