package engine

import (
	"math"
	"slices"
	"time"

	"github.com/backstay/backstay/api"
)

// What limits count, and when:
//
//   - an attempt reserves what it will touch, in the entry that intends it: so two playbooks never pass one budget together,
//     and a crash gives nothing back;
//   - its outcome puts what was really touched in place of the reservation; one that happened and names no figures counts in full;
//   - an outcome that nobody knows keeps the reservation, until the target or a person says that nothing happened;
//   - a run counts in a budget from its beginning until the budget's time after its end: longer than its items need, never
//     shorter.

// add counts items and money for a remediation and for the run that budgets count.
func (s *State) add(r *remediation, items int64, amount api.Money) {
	if items == 0 && len(amount) == 0 {
		return
	}
	r.Items, r.Amount = plus(r.Items, items), lean(r.Amount.Plus(amount))
	if q := s.past.byID[r.ID]; q != nil { // nil where it is too old to count
		s.past.change(q, func() { q.Items, q.Amount = plus(q.Items, items), lean(q.Amount.Plus(amount)) })
	}
}

// reserve counts what an attempt may touch, in place of what the attempt before reserved.
func (s *State) reserve(r *remediation, st *step, items int64, amount api.Money) {
	s.add(r, -st.Held, st.HeldAmount.Times(-1))
	st.Held, st.HeldAmount = max(0, items), lean(amount)
	s.add(r, st.Held, st.HeldAmount)
}

// touched puts what an attempt did in place of what it reserved. Where it happened but does not say how much, the reservation stands:
// nobody can tell nothing from not counted.
func (s *State) touched(r *remediation, st *step, o *api.Outcome) {
	items, amount := o.Items, o.Amount
	if o.Result == api.ResultDone {
		if items == 0 && len(amount) == 0 {
			items = st.Held
		}
		if len(amount) == 0 {
			amount = st.HeldAmount
		}
	}
	s.reserve(r, st, 0, nil)
	s.add(r, max(0, items), amount)
}

// plus adds without wrapping around.
func plus(a, b int64) int64 {
	switch {
	case b > 0 && a > math.MaxInt64-b:
		return math.MaxInt64
	case b < 0 && a < math.MinInt64-b:
		return math.MinInt64
	}
	return a + b
}

// lean drops currencies of which there is nothing, so that equal states have equal bytes.
func lean(m api.Money) api.Money {
	out := api.Money{}
	for _, c := range m.Currencies() {
		if m[c] != 0 {
			out[c] = m[c]
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// usage is what the runs that a budget counts have touched or reserved in its time; money in the currencies that it bounds.
type usage struct {
	runs, items, total int64
	currencies         []string
	sums               []int64 // in the order of currencies
}

// spend adds money of a currency, if the budget bounds it.
func (u *usage) spend(currency string, n int64) {
	for i, c := range u.currencies {
		if c == currency {
			u.sums[i] = plus(u.sums[i], n)
		}
	}
}

// amount is the money as such.
func (u *usage) amount() api.Money {
	m := make(api.Money, len(u.sums))
	for i, c := range u.currencies {
		m[c] = u.sums[i]
	}
	return m
}

// until is when a run was last able to touch something: now, while it goes on.
func (q *run) until(now time.Time) time.Time {
	if q.Ended.IsZero() {
		return now
	}
	return q.Ended
}

// acts tells whether a run counts for other playbooks: it changed something, or (unless only what is certain counts) it may be
// about to.
func (s *State) acts(q *run, certain bool) bool {
	if q.Acted || certain || !q.Ended.IsZero() {
		return q.Acted
	}
	r := s.rems[q.ID]
	return r != nil && r.End == "" && r.Claim > 0 && r.Plan.Danger > api.D0
}

// counts tells whether a budget of a plan counts a run. For a remediation that asks again (but) only what has acted counts, so
// that two that were opened together do not wait for each other.
func (s *State) counts(p *plan, b *api.Budget, q *run, but string) bool {
	switch {
	case q.ID == but:
		return false
	case q.Playbook == p.Name:
		return but == "" || q.Acted
	case b.Of == "target":
		return s.acts(q, but != "") && overlap(q.Targets, p.Targets)
	}
	return b.Of == "all" && s.acts(q, but != "")
}

// share is a budget's view of the history: the tallies of the runs that it counts, and those under way.
type share struct {
	budget  *api.Budget
	tallies []*tally
	own     usage // of what is under way, and never leaves the budget by waiting
	after   time.Time
}

// counted gathers what counts in a budget, without one remediation's own part.
func (s *State) counted(p *plan, b *api.Budget, but string) *share {
	h, x := &s.past, &share{budget: b, after: s.now.Add(-b.Per.Duration)}
	x.own.currencies = b.Amount.Currencies()
	x.own.sums = make([]int64, len(x.own.currencies))
	for _, g := range h.groups[p.Name] {
		if b.Of != "all" {
			x.tallies = append(x.tallies, &g.acted)
		}
		if but == "" {
			x.tallies = append(x.tallies, &g.idle)
		}
	}
	switch b.Of {
	case "all":
		x.tallies = append(x.tallies, &h.acted)
	case "target":
		h.others(p.Name, p.Targets, func(g *group) { x.tallies = append(x.tallies, &g.acted) })
	}
	for _, q := range h.under {
		if s.counts(p, b, q, but) {
			x.own.runs, x.own.items, x.own.total = plus(x.own.runs, q.times()), plus(x.own.items, q.Items), max(x.own.total, q.Total)
			for i, c := range x.own.currencies {
				x.own.sums[i] = plus(x.own.sums[i], q.Amount[c])
			}
		}
	}
	return x
}

// since is what counts of it after a time.
func (x *share) since(after time.Time) usage {
	u := x.own
	u.sums = slices.Clone(u.sums)
	for _, t := range x.tallies {
		t.since(after, &u)
	}
	return u
}

// used is what counts now.
func (x *share) used() usage { return x.since(x.after) }

// next is when enough will have left the budget for ok to pass; the zero time where waiting does not help: what is under way is asked
// about again when it ends. With less touched ok must pass sooner and with less work in progress later.
func (x *share) next(ok func(u *usage) bool) time.Time {
	u := x.used()
	for lo, total := x.after, u.total; ; {
		at := x.first(lo, func(at time.Time) bool {
			u := x.since(at)
			u.total = total
			return ok(&u)
		})
		if at.IsZero() {
			return at
		}
		u := x.since(at)
		if ok(&u) {
			return at.Add(x.budget.Per.Duration)
		}
		lo, total = at, u.total // with what left, the share became one of less
	}
}

// first finds the first end of a run after lo at which ok passes, by halving; the zero time where there is none.
func (x *share) first(lo time.Time, ok func(at time.Time) bool) time.Time {
	var found time.Time
	for {
		var middle time.Time
		most := 0
		for _, t := range x.tallies {
			from, to := t.after(lo), len(t.of)
			if !found.IsZero() {
				to = t.after(found.Add(-1))
			}
			if to-from > most {
				most, middle = to-from, t.sums[from+(to-from)/2].at
			}
		}
		switch {
		case most == 0:
			return found
		case ok(middle):
			found = middle
		default:
			lo = middle
		}
	}
}

// budgetOf says whose runs a budget counts, in words.
func budgetOf(b *api.Budget) string {
	switch b.Of {
	case "target":
		return "all playbooks on its targets"
	case "all":
		return "all playbooks"
	}
	return "it"
}

// guardBudgets refuses a playbook whose budgets are used up, before it begins.
func (s *State) guardBudgets(c *candidate) (*api.Refusal, time.Time) {
	return s.spent(c.plan, ""), time.Time{}
}

// spent refuses where a budget leaves no room for a run, or none for anything that a run could touch.
func (s *State) spent(p *plan, but string) *api.Refusal {
	for i := range p.Limits.Within {
		b := &p.Limits.Within[i]
		x := s.counted(p, b, but)
		u := x.used()
		runs := func(u *usage) bool { return b.Runs <= 0 || u.runs < b.Runs }
		items := func(u *usage) bool { return b.Items <= 0 || u.items < b.Items }
		money := func(u *usage) bool {
			left := len(b.Amount) == 0
			for k, c := range u.currencies {
				left = left || u.sums[k] < b.Amount[c]
			}
			return left
		}
		switch {
		case !runs(&u):
			return refusal(api.GuardRuns, x.next(runs), "%s ran %s in the last %s and the limit is %d",
				budgetOf(b), count(u.runs, "time"), b.Per, b.Runs)
		case !items(&u):
			return refusal(api.GuardItems, x.next(items), "%s touched %s in the last %s and the limit is %d",
				budgetOf(b), count(u.items, "item"), b.Per, b.Items)
		case !money(&u):
			return refusal(api.GuardAmount, x.next(money), "%s touched %s in the last %s and the limit is %s",
				budgetOf(b), u.amount(), b.Per, b.Amount)
		}
	}
	return nil
}

// overBudget refuses a step whose estimate does not fit into what the budgets leave.
func (s *State) overBudget(r *remediation, i int, e *api.Estimate) *api.Refusal {
	name := r.Plan.Steps[i].Name
	for k := range r.Plan.Limits.Within {
		b := &r.Plan.Limits.Within[k]
		x := s.counted(r.Plan, b, r.ID)
		x.own.items, x.own.total = plus(x.own.items, r.Items), max(x.own.total, r.total())
		for i, c := range x.own.currencies {
			x.own.sums[i] = plus(x.own.sums[i], r.Amount[c])
		}
		u := x.used()
		fits := func(u *usage) bool { return b.Items <= 0 || e.Items <= 0 || plus(u.items, e.Items) <= b.Items }
		affords := func(u *usage) bool { return !u.amount().Plus(e.Amount).Exceeds(b.Amount) }
		shares := func(u *usage) bool {
			return b.Share.PPM <= 0 || e.Items <= 0 || float64(plus(u.items, e.Items)) <= b.Share.Ratio()*float64(max(u.total, e.Total))
		}
		switch {
		case !fits(&u):
			return refusal(api.GuardItems, x.next(fits), "step %s would touch %s, %s touched %d in the last %s, and the limit is %d",
				name, count(e.Items, "item"), budgetOf(b), u.items, b.Per, b.Items)
		case b.Items > 0 && r.Plan.Steps[i].Plan.Action.Counts && u.items >= b.Items:
			return refusal(api.GuardItems, x.next(func(u *usage) bool { return u.items < b.Items }), "%s touched %s in the last %s, which leaves nothing for step %s",
				budgetOf(b), count(u.items, "item"), b.Per, name)
		case !affords(&u):
			return refusal(api.GuardAmount, x.next(affords), "step %s would bring the money that %s touched in the last %s to %s and the limit is %s",
				name, budgetOf(b), b.Per, u.amount().Plus(e.Amount), b.Amount)
		case b.Share.PPM > 0 && r.Plan.Steps[i].Plan.Action.Counts && e.Items > 0 && e.Total <= 0:
			return refusal(api.GuardShare, time.Time{}, "nobody can tell which share of the work in progress step %s would touch, and the limit in %s is %s", name, b.Per, b.Share)
		case !shares(&u):
			return refusal(api.GuardShare, x.next(shares), "step %s would bring what %s touched in the last %s to %d of %s in progress and the limit is %s",
				name, budgetOf(b), b.Per, plus(u.items, e.Items), count(max(u.total, e.Total), "item"), b.Share)
		}
	}
	return nil
}

// total is the greatest work in progress that the remediation has seen: what it takes out of it makes it no smaller.
func (r *remediation) total() int64 {
	n := int64(0)
	for i := range r.Steps {
		if e := r.Steps[i].Estimate; e != nil {
			n = max(n, e.Total)
		}
	}
	return n
}

// reservation is what an attempt counts for until its outcome is known. An attempt that cannot say beforehand how many items it
// will touch reserves all that its budgets leave, so that it cannot be surprised by another.
func (s *State) reservation(r *remediation, i int, e *api.Estimate) (int64, api.Money) {
	items := e.Items
	for k := range r.Plan.Limits.Within {
		b := &r.Plan.Limits.Within[k]
		if e.Items > 0 || b.Items <= 0 || !r.Plan.Steps[i].Plan.Action.Counts {
			continue
		}
		left := max(0, b.Items-plus(s.counted(r.Plan, b, r.ID).used().items, r.Items))
		if items == 0 || left < items {
			items = left
		}
	}
	return items, e.Amount
}

// bounds are what is left of the playbook's limits for a step; what people said yes to goes before the limits. Under a budget that
// others share, an attempt may touch what it reserved and no more.
func (r *remediation) bounds(i int) Bounds {
	l, st := r.Plan.Limits, &r.Steps[i]
	b := Bounds{Items: l.Items}
	if l.Items > 0 {
		b.Items = max(1, l.Items-(r.Items-st.Held)) // over refuses a step for which nothing is left
	}
	if len(l.Amount) > 0 {
		b.Amount = l.Amount.Plus(r.Amount.Plus(st.HeldAmount.Times(-1)).Times(-1))
	}
	for k := range l.Within {
		if l.Within[k].Items > 0 && st.Held > 0 && (b.Items == 0 || st.Held < b.Items) {
			b.Items = st.Held
		}
		if len(l.Within[k].Amount) > 0 && len(st.HeldAmount) > 0 {
			b.Amount = st.HeldAmount
		}
	}
	if st.Approved && st.Asked != nil {
		if st.Asked.Items > 0 {
			b.Items = st.Asked.Items
		}
		if len(st.Asked.Amount) > 0 {
			b.Amount = st.Asked.Amount
		}
	}
	return b
}

// cooled refuses while the pause since other runs is too short. D0 disturbs nobody.
func (s *State) cooled(p *plan, but string) *api.Refusal {
	target, all := p.Limits.CooldownTarget.Duration, p.Limits.CooldownAll.Duration
	if target <= 0 && all <= 0 || p.Danger <= api.D0 {
		return nil
	}
	for i := len(s.past.under) - 1; i >= 0; i-- {
		q := s.past.under[i]
		pause, what := all, "anything"
		if target > all && overlap(q.Targets, p.Targets) {
			pause, what = target, "its targets"
		}
		if q.ID != but && pause > 0 && s.acts(q, but != "") {
			return refusal(api.GuardCooldown, time.Time{}, "remediation %s (%s) is under way, and it must have ended for %s before this one acts on %s", q.ID, q.Playbook, api.Duration{Duration: pause}, what)
		}
	}
	var no *api.Refusal
	ended := func(t *tally, pause time.Duration, what string) {
		q := t.last()
		if q == nil || pause <= 0 {
			return
		}
		if next := q.Ended.Add(pause); s.now.Before(next) && (no == nil || next.After(no.Next)) {
			no = refusal(api.GuardCooldown, next, "remediation %s (%s) ended at %s, and the pause before this one acts on %s is %s", q.ID, q.Playbook, q.Ended.Format("15:04:05"), what, api.Duration{Duration: pause})
		}
	}
	ended(&s.past.acted, all, "anything")
	if target > all {
		for _, own := range s.past.groups[p.Name] {
			if overlap(own.targets, p.Targets) {
				ended(&own.acted, target, "its targets")
			}
		}
		s.past.others(p.Name, p.Targets, func(g *group) { ended(&g.acted, target, "its targets") })
	}
	return no
}
