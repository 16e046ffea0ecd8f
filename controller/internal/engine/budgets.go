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
	if q := s.runOf(r.ID); q != nil {
		q.Items, q.Amount = plus(q.Items, items), lean(q.Amount.Plus(amount))
	}
}

// runOf finds the run of a remediation; nil where it is too old to count.
func (s *State) runOf(id string) *run {
	for i := len(s.d.Runs) - 1; i >= 0; i-- {
		if s.d.Runs[i].ID == id {
			return &s.d.Runs[i]
		}
	}
	return nil
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
	amount             api.Money
	but                string // left out
}

// until is when a run was last able to touch something: now, while it goes on.
func (q *run) until(now time.Time) time.Time {
	if q.Ended.IsZero() {
		return now
	}
	return q.Ended
}

// recent calls do for each run that went on after a time, the newest first.
func (s *State) recent(after time.Time, do func(q *run)) {
	oldest := after.Add(-s.longest) // what began before this ended in time, or is still under way
	for _, r := range s.d.Remediations {
		if r.End == "" && r.Opened.Before(oldest) {
			oldest = r.Opened
		}
	}
	for i := len(s.d.Runs) - 1; i >= 0 && !s.d.Runs[i].At.Before(oldest); i-- {
		if q := &s.d.Runs[i]; q.until(s.now).After(after) {
			do(q)
		}
	}
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

// used is what counts in a budget, without one remediation's own part.
func (s *State) used(p *plan, b *api.Budget, but string) usage {
	u := usage{but: but}
	currencies := b.Amount.Currencies()
	sums := make([]int64, len(currencies))
	s.recent(s.now.Add(-b.Per.Duration), func(q *run) {
		if !s.counts(p, b, q, but) {
			return
		}
		u.runs, u.items, u.total = plus(u.runs, 1+q.More), plus(u.items, q.Items), max(u.total, q.Total)
		if len(q.Amount) > 0 {
			for i, c := range currencies {
				sums[i] = plus(sums[i], q.Amount[c])
			}
		}
	})
	if len(currencies) > 0 {
		u.amount = make(api.Money, len(currencies))
	}
	for i, c := range currencies {
		u.amount[c] = sums[i]
	}
	return u
}

// next is when the runs of a usage will have left the budget far enough for ok to pass; the zero time where waiting does not help.
func (s *State) next(p *plan, b *api.Budget, u usage, ok func(u usage) bool) time.Time {
	var of []*run
	s.recent(s.now.Add(-b.Per.Duration), func(q *run) {
		if s.counts(p, b, q, u.but) {
			of = append(of, q)
		}
	})
	slices.SortStableFunc(of, func(x, y *run) int { return x.until(s.now).Compare(y.until(s.now)) })
	u.amount = u.amount.Plus(nil)
	for _, q := range of {
		u.runs, u.items = u.runs-1-q.More, u.items-q.Items
		for _, c := range b.Amount.Currencies() {
			u.amount[c] -= q.Amount[c]
		}
		if ok(u) {
			if q.Ended.IsZero() {
				return time.Time{} // it goes on: asked again when it ends
			}
			return q.Ended.Add(b.Per.Duration)
		}
	}
	return time.Time{}
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
		u := s.used(p, b, but)
		noRuns := func(u usage) bool { return b.Runs > 0 && u.runs >= b.Runs }
		noItems := func(u usage) bool { return b.Items > 0 && u.items >= b.Items }
		noMoney := func(u usage) bool {
			return len(b.Amount) > 0 && !slices.ContainsFunc(b.Amount.Currencies(), func(c string) bool { return u.amount[c] < b.Amount[c] })
		}
		switch {
		case noRuns(u):
			return refusal(api.GuardRuns, s.next(p, b, u, func(u usage) bool { return !noRuns(u) }), "%s ran %s in the last %s and the limit is %d",
				budgetOf(b), count(u.runs, "time"), b.Per, b.Runs)
		case noItems(u):
			return refusal(api.GuardItems, s.next(p, b, u, func(u usage) bool { return !noItems(u) }), "%s touched %s in the last %s and the limit is %d",
				budgetOf(b), count(u.items, "item"), b.Per, b.Items)
		case noMoney(u):
			return refusal(api.GuardAmount, s.next(p, b, u, func(u usage) bool { return !noMoney(u) }), "%s touched %s in the last %s and the limit is %s",
				budgetOf(b), u.amount, b.Per, b.Amount)
		}
	}
	return nil
}

// overBudget refuses a step whose estimate does not fit into what the budgets leave.
func (s *State) overBudget(r *remediation, i int, e *api.Estimate) *api.Refusal {
	name := r.Plan.Steps[i].Name
	for k := range r.Plan.Limits.Within {
		b := &r.Plan.Limits.Within[k]
		u := s.used(r.Plan, b, r.ID)
		u.items = plus(u.items, r.Items)
		for _, c := range b.Amount.Currencies() {
			u.amount[c] = plus(u.amount[c], r.Amount[c])
		}
		u.total = max(u.total, r.total())
		tooMany := func(u usage) bool { return b.Items > 0 && e.Items > 0 && plus(u.items, e.Items) > b.Items }
		tooMuch := func(u usage) bool { return u.amount.Plus(e.Amount).Exceeds(b.Amount) }
		share := func(u usage) bool {
			return b.Share.PPM > 0 && e.Items > 0 && float64(plus(u.items, e.Items)) > b.Share.Ratio()*float64(max(u.total, e.Total))
		}
		switch {
		case tooMany(u):
			return refusal(api.GuardItems, s.next(r.Plan, b, u, func(u usage) bool { return !tooMany(u) }), "step %s would touch %s, %s touched %d in the last %s, and the limit is %d",
				name, count(e.Items, "item"), budgetOf(b), u.items, b.Per, b.Items)
		case b.Items > 0 && r.Plan.Steps[i].Plan.Action.Counts && u.items >= b.Items:
			return refusal(api.GuardItems, s.next(r.Plan, b, u, func(u usage) bool { return u.items < b.Items }), "%s touched %s in the last %s, which leaves nothing for step %s",
				budgetOf(b), count(u.items, "item"), b.Per, name)
		case tooMuch(u):
			return refusal(api.GuardAmount, s.next(r.Plan, b, u, func(u usage) bool { return !tooMuch(u) }), "step %s would bring the money that %s touched in the last %s to %s and the limit is %s",
				name, budgetOf(b), b.Per, u.amount.Plus(e.Amount), b.Amount)
		case b.Share.PPM > 0 && r.Plan.Steps[i].Plan.Action.Counts && e.Items > 0 && e.Total <= 0:
			return refusal(api.GuardShare, time.Time{}, "nobody can tell which share of the work in progress step %s would touch, and the limit in %s is %s", name, b.Per, b.Share)
		case share(u):
			return refusal(api.GuardShare, s.next(r.Plan, b, u, func(u usage) bool { return !share(u) }), "step %s would bring what %s touched in the last %s to %d of %s in progress and the limit is %s",
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
		left := max(0, b.Items-plus(s.used(r.Plan, b, r.ID).items, r.Items))
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
	var no *api.Refusal
	s.recent(s.now.Add(-max(target, all)), func(q *run) {
		pause, what := all, "anything"
		if target > all && overlap(q.Targets, p.Targets) {
			pause, what = target, "its targets"
		}
		if q.ID == but || pause <= 0 || !s.acts(q, but != "") || no != nil && no.Next.IsZero() {
			return
		}
		if q.Ended.IsZero() {
			no = refusal(api.GuardCooldown, time.Time{}, "remediation %s (%s) is under way, and it must have ended for %s before this one acts on %s", q.ID, q.Playbook, api.Duration{Duration: pause}, what)
		} else if next := q.Ended.Add(pause); s.now.Before(next) && (no == nil || next.After(no.Next)) {
			no = refusal(api.GuardCooldown, next, "remediation %s (%s) ended at %s, and the pause before this one acts on %s is %s", q.ID, q.Playbook, q.Ended.Format("15:04:05"), what, api.Duration{Duration: pause})
		}
	})
	return no
}
