package engine

import (
	"math"
	"math/bits"
	"slices"
	"sort"
	"time"
)

// tally adds up runs in the order of a time, so that what lies after any moment is the difference of two sums: a look-up costs a
// binary search, however many runs there are. It is an index: apply keeps it, and Restore rebuilds it from the runs.
type tally struct {
	begun bool   // in the order in which the runs began, and only how many there are; otherwise in the order in which they ended
	of    []*run // in order
	sums  []sum  // sums[i] is of of[0] to of[i], and of all that was dropped before
	base  sum    // of what was dropped
	coins []coin
	peaks []*run // those with more work in progress than any later one, in order
}

// sum is what runs up to one moment amount to.
type sum struct {
	at          time.Time
	runs, items wide
}

// coin is the money of one currency, as sums.
type coin struct {
	currency string
	base     wide
	sums     []wide
}

// wide is a sum that cannot overflow: a wrapped one would let a guard pass.
type wide struct {
	hi int64
	lo uint64
}

func (a wide) plus(n int64) wide {
	lo, carry := bits.Add64(a.lo, uint64(n), 0)
	return wide{a.hi + n>>63 + int64(carry), lo}
}

func (a wide) minus(n int64) wide {
	lo, borrow := bits.Sub64(a.lo, uint64(n), 0)
	return wide{a.hi - n>>63 - int64(borrow), lo}
}

// over is a - b, which stays at the ends of int64.
func (a wide) over(b wide) int64 {
	lo, borrow := bits.Sub64(a.lo, b.lo, 0)
	switch hi := a.hi - b.hi - int64(borrow); {
	case hi == int64(lo)>>63:
		return int64(lo)
	case hi < 0:
		return math.MinInt64
	}
	return math.MaxInt64
}

// times is how many runs this one stands for.
func (q *run) times() int64 { return plus(q.More, 1) }

func (t *tally) time(q *run) time.Time {
	if t.begun {
		return q.At
	}
	return q.Ended
}

// behind tells whether a run belongs behind another one.
func (t *tally) behind(q, than *run) bool {
	switch c := t.time(q).Compare(t.time(than)); {
	case c != 0 || t.begun:
		return c > 0 // of those that began at once, the order in which they are kept
	case !q.At.Equal(than.At):
		return q.At.After(than.At)
	}
	return q.ID > than.ID
}

// after is the place of the first run after a time.
func (t *tally) after(at time.Time) int {
	return sort.Search(len(t.sums), func(i int) bool { return t.sums[i].at.After(at) })
}

// before is the sum of all before a place.
func (t *tally) before(i int) *sum {
	if i == 0 {
		return &t.base
	}
	return &t.sums[i-1]
}

// add takes a run in. Nearly always it is the last one.
func (t *tally) add(q *run) {
	i := sort.Search(len(t.of), func(i int) bool { return t.behind(t.of[i], q) })
	t.of = slices.Insert(t.of, i, q)
	t.sums = slices.Insert(t.sums, i, *t.before(i))
	t.sums[i].at = t.time(q)
	for k := range t.coins {
		c := &t.coins[k]
		was := c.base
		if i > 0 {
			was = c.sums[i-1]
		}
		c.sums = slices.Insert(c.sums, i, was)
	}
	if t.begun {
		for k := i; k < len(t.sums); k++ {
			t.sums[k].runs = t.sums[k].runs.plus(q.times())
		}
		return
	}
	for k := i; k < len(t.sums); k++ {
		t.sums[k].runs, t.sums[k].items = t.sums[k].runs.plus(q.times()), t.sums[k].items.plus(q.Items)
	}
	for _, currency := range q.Amount.Currencies() {
		sums := t.coin(currency).sums
		for k := i; k < len(sums); k++ {
			sums[k] = sums[k].plus(q.Amount[currency])
		}
	}
	t.raise(q)
}

// coin finds or makes the sums of a currency.
func (t *tally) coin(currency string) *coin {
	for k := range t.coins {
		if t.coins[k].currency == currency {
			return &t.coins[k]
		}
	}
	t.coins = append(t.coins, coin{currency: currency, sums: make([]wide, len(t.of))})
	return &t.coins[len(t.coins)-1]
}

// raise takes a run among the peaks where it is one.
func (t *tally) raise(q *run) {
	p := sort.Search(len(t.peaks), func(i int) bool { return t.behind(t.peaks[i], q) })
	if q.Total <= 0 || p < len(t.peaks) && t.peaks[p].Total >= q.Total {
		return
	}
	from := p
	for from > 0 && t.peaks[from-1].Total <= q.Total {
		from--
	}
	t.peaks = slices.Replace(t.peaks, from, p, q)
}

// place is where a run is; the length where it is not.
func (t *tally) place(q *run) int {
	i := sort.Search(len(t.of), func(i int) bool { return !t.time(t.of[i]).Before(t.time(q)) })
	for i < len(t.of) && t.of[i] != q {
		i++
	}
	return i
}

// more has a run stand for n more.
func (t *tally) more(q *run, n int64) {
	for i := t.place(q); i < len(t.sums); i++ {
		t.sums[i].runs = t.sums[i].runs.plus(n)
	}
}

// remove takes a run out, with the figures that it came in with.
func (t *tally) remove(q *run) {
	i := t.place(q)
	if i == len(t.of) {
		return
	}
	if i == 0 { // the oldest: what it amounts to leaves with the base
		t.base, t.of[0] = t.sums[0], nil
		t.of, t.sums = t.of[1:], t.sums[1:]
		for k := range t.coins {
			t.coins[k].base, t.coins[k].sums = t.coins[k].sums[0], t.coins[k].sums[1:]
		}
	} else {
		t.of, t.sums = slices.Delete(t.of, i, i+1), slices.Delete(t.sums, i, i+1)
		for k := range t.coins {
			c := &t.coins[k]
			c.sums = slices.Delete(c.sums, i, i+1)
			for j := i; j < len(c.sums); j++ {
				c.sums[j] = c.sums[j].minus(q.Amount[c.currency])
			}
		}
		for k := i; k < len(t.sums); k++ {
			t.sums[k].runs = t.sums[k].runs.minus(q.times())
			if !t.begun {
				t.sums[k].items = t.sums[k].items.minus(q.Items)
			}
		}
	}
	if p := slices.Index(t.peaks, q); p >= 0 {
		t.peaks = t.peaks[:0]
		for _, x := range t.of {
			t.raise(x)
		}
	}
}

// since adds what ended after a time to a usage.
func (t *tally) since(at time.Time, u *usage) {
	i, n := t.after(at), len(t.of)
	if i == n {
		return
	}
	from, to := t.before(i), &t.sums[n-1]
	u.runs, u.items = plus(u.runs, to.runs.over(from.runs)), plus(u.items, to.items.over(from.items))
	for k := range t.coins {
		c := &t.coins[k]
		was := c.base
		if i > 0 {
			was = c.sums[i-1]
		}
		u.spend(c.currency, c.sums[n-1].over(was))
	}
	if p := sort.Search(len(t.peaks), func(i int) bool { return t.peaks[i].Ended.After(at) }); p < len(t.peaks) {
		u.total = max(u.total, t.peaks[p].Total)
	}
}

// last is the run that ended last; nil where there is none.
func (t *tally) last() *run {
	if len(t.of) == 0 {
		return nil
	}
	return t.of[len(t.of)-1]
}

// history finds the runs that limits count: those that ended as sums, those under way one by one.
type history struct {
	byID   map[string]*run
	under  []*run // under way
	acted  tally  // ended and acted, whoever ran
	begun  map[string]*tally
	groups map[string][]*group // by playbook
	on     map[string][]*group // by target
}

// group is the runs of one playbook on the same targets.
type group struct {
	playbook    string
	targets     []string
	acted, idle tally // ended
}

func newHistory(runs []*run) history {
	h := history{byID: map[string]*run{}, begun: map[string]*tally{}, groups: map[string][]*group{}, on: map[string][]*group{}}
	for _, q := range runs {
		h.open(q)
	}
	return h
}

// open takes a run in.
func (h *history) open(q *run) {
	h.byID[q.ID] = q
	t := h.begun[q.Playbook]
	if t == nil {
		t = &tally{begun: true}
		h.begun[q.Playbook] = t
	}
	t.add(q)
	h.in(q)
}

// forget takes a run out for good.
func (h *history) forget(q *run) {
	if h.byID[q.ID] == q {
		delete(h.byID, q.ID)
	}
	if t := h.begun[q.Playbook]; t != nil {
		if t.remove(q); len(t.of) == 0 {
			delete(h.begun, q.Playbook)
		}
	}
	h.out(q)
}

// change alters the figures, the targets or the end of a run. How many it stands for and when it began stay.
func (h *history) change(q *run, how func()) {
	if q.Ended.IsZero() {
		if how(); q.Ended.IsZero() {
			return // counted one by one
		}
		h.under = slices.DeleteFunc(h.under, func(x *run) bool { return x == q })
		h.in(q)
		return
	}
	h.out(q)
	how()
	h.in(q)
}

// in counts a run, by what it is now.
func (h *history) in(q *run) {
	if q.Ended.IsZero() {
		h.under = append(h.under, q)
		return
	}
	g := h.group(q)
	if g == nil {
		g = &group{playbook: q.Playbook, targets: slices.Clone(q.Targets)}
		h.groups[q.Playbook] = append(h.groups[q.Playbook], g)
		for i, target := range g.targets {
			if !slices.Contains(g.targets[:i], target) {
				h.on[target] = append(h.on[target], g)
			}
		}
	}
	if q.Acted {
		g.acted.add(q)
		h.acted.add(q)
		return
	}
	g.idle.add(q)
}

// out is the opposite of in.
func (h *history) out(q *run) {
	if q.Ended.IsZero() {
		h.under = slices.DeleteFunc(h.under, func(x *run) bool { return x == q })
		return
	}
	g := h.group(q)
	if g == nil {
		return
	}
	g.acted.remove(q)
	g.idle.remove(q)
	h.acted.remove(q)
	if len(g.acted.of) > 0 || len(g.idle.of) > 0 {
		return
	}
	drop := func(in map[string][]*group, key string) {
		if in[key] = slices.DeleteFunc(in[key], func(x *group) bool { return x == g }); len(in[key]) == 0 {
			delete(in, key)
		}
	}
	drop(h.groups, g.playbook)
	for _, target := range g.targets {
		drop(h.on, target)
	}
}

func (h *history) group(q *run) *group {
	of := h.groups[q.Playbook]
	if i := slices.IndexFunc(of, func(g *group) bool { return slices.Equal(g.targets, q.Targets) }); i >= 0 {
		return of[i]
	}
	return nil
}

// others calls do for each group of other playbooks on one of the targets.
func (h *history) others(playbook string, targets []string, do func(g *group)) {
	for i, target := range targets {
		for _, g := range h.on[target] {
			if g.playbook != playbook && !overlap(targets[:i], g.targets) {
				do(g)
			}
		}
	}
}
