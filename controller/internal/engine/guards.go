package engine

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

// candidate is a playbook that a guard judges, before it begins.
type candidate struct {
	inc     *incident
	plan    *plan
	trigger api.Anomaly
}

// guard refuses a candidate, or says nil. retry is when to ask again although no waiting alone is known to help.
type guard func(s *State, c *candidate) (no *api.Refusal, retry time.Time)

// startGuards judge a playbook before a remediation opens, in this order. What can change while it runs is judged again
// before each step (hold). signalGuards judge one that only observes or suggests.
var (
	startGuards = []guard{(*State).guardHalted, (*State).guardPause, (*State).guardDanger, (*State).guardSaidNo, (*State).guardAck, (*State).guardTold,
		(*State).guardWhen, (*State).guardUnknown, (*State).guardConfirm, (*State).guardDoubt, (*State).guardFlight, (*State).guardRuns,
		(*State).guardBudgets, (*State).guardCooldown, (*State).guardCalendar, (*State).guardStorm}
	signalGuards = []guard{(*State).guardWhen, (*State).guardUnknown, (*State).guardConfirm}
)

func refusal(g api.Guard, next time.Time, format string, args ...any) *api.Refusal {
	return &api.Refusal{Guard: g, Reason: fmt.Sprintf(format, args...), Next: next}
}

func (s *State) guardHalted(*candidate) (*api.Refusal, time.Time) { return s.halted(), time.Time{} }

func (s *State) halted() *api.Refusal {
	if s.d.Halted == "" {
		return nil
	}
	return refusal(api.GuardHalted, time.Time{}, "Backstay has halted itself and acts on nothing until a person resumes it")
}

func (s *State) guardPause(c *candidate) (*api.Refusal, time.Time) {
	return s.paused(c.plan.Name), time.Time{}
}

func (s *State) paused(playbook string) *api.Refusal {
	for _, p := range s.d.Pauses {
		if p.Playbook != "" && p.Playbook != playbook {
			continue
		}
		what := "automation is paused"
		if p.Playbook != "" {
			what = "playbook " + p.Playbook + " is paused"
		}
		by := ""
		if p.Owner != "" {
			by = " by " + p.Owner
		}
		if p.Reason != "" {
			by += " (" + p.Reason + ")"
		}
		return refusal(api.GuardPause, p.Expires, "%s%s", what, by)
	}
	return nil
}

func (s *State) guardDanger(c *candidate) (*api.Refusal, time.Time) {
	for i := range c.plan.Steps {
		if q := &c.plan.Steps[i]; q.danger() >= api.D5 {
			return refusal(api.GuardDanger, time.Time{}, "step %s (%s) is of class D5 or of no class, and such an action is never automated", q.Name, q.Do), time.Time{}
		}
	}
	return nil, time.Time{}
}

// guardSaidNo: what a person denied or called off does not come back by itself in the same incident.
func (s *State) guardSaidNo(c *candidate) (*api.Refusal, time.Time) {
	for _, id := range c.inc.Remediations {
		r := s.rems[id]
		if r == nil || r.Plan.Name != c.plan.Name {
			continue
		}
		if by := cmp.Or(r.Denied, r.Cancel); by != "" {
			return refusal(api.GuardApproval, time.Time{}, "%s said no to it in this incident (%s)", by, id), time.Time{}
		}
	}
	return nil, time.Time{}
}

func (s *State) guardWhen(c *candidate) (*api.Refusal, time.Time) {
	expr := c.plan.Trigger.When
	if expr == "" {
		return nil, time.Time{}
	}
	retry := time.Time{}
	if strings.Contains(expr, "openedFor") || strings.Contains(expr, "incident.items") {
		retry = s.now.Add(whenWait) // it can come true by time or by figures alone
	}
	yes, err := s.eval(expr, c.inc, c.plan, nil)
	switch {
	case err != nil:
		return refusal(api.GuardWhen, time.Time{}, "its condition cannot be answered: %v", err), retry
	case !yes:
		return refusal(api.GuardWhen, time.Time{}, "its condition is false: %s", expr), retry
	}
	return nil, time.Time{}
}

// eval answers a condition about an incident and, for a step, about what the step would touch.
func (s *State) eval(expr string, inc *incident, p *plan, e *api.Estimate) (bool, error) {
	c := s.cfg.condition(expr)
	if c.err != nil {
		return false, c.err
	}
	v := api.Vars{Limits: p.Limits}
	if inc != nil {
		v.Root, v.OpenedFor = inc.Root, s.now.Sub(inc.Opened)
		v.Workflows, v.Waiting, _ = s.risk(inc)
		for _, f := range inc.Anomalies {
			if !f.Cleared {
				v.Anomalies = append(v.Anomalies, f.Name)
			}
		}
	}
	if e != nil {
		v.Items, v.Amount = e.Items, e.Amount
		if e.Total > 0 {
			v.Share = api.Percent{PPM: int64(float64(e.Items) / float64(e.Total) * 1e6)}
		}
	}
	return c.cond.Eval(v)
}

// guardUnknown: a probe that cannot see proves nothing; nobody is ever more than notified on its word.
func (s *State) guardUnknown(c *candidate) (*api.Refusal, time.Time) {
	if c.plan.Danger <= api.D0 || s.verdicts[c.trigger.Probe] != api.Unknown {
		return nil, time.Time{}
	}
	return refusal(api.GuardUnknown, time.Time{}, "probe %s cannot run at present, so that nobody knows whether %s still holds", c.trigger.Probe, c.trigger.Name), time.Time{}
}

// guardConfirm counts independent and fresh signals: two of one probe count once, and a probe that cannot run counts for nothing.
func (s *State) guardConfirm(c *candidate) (*api.Refusal, time.Time) {
	want := c.plan.Trigger.Confirm
	if want == nil {
		return nil, time.Time{}
	}
	var probes, old []string
	for _, name := range want.Of {
		probe, _, _ := strings.Cut(name, "/")
		open := slices.ContainsFunc(s.names[name], func(id string) bool { return !s.stale[id] })
		switch {
		case !open || s.verdicts[probe] == api.Unknown || slices.Contains(probes, probe):
		case s.fresh(probe):
			probes = append(probes, probe)
		case !slices.Contains(old, probe):
			old = append(old, probe)
		}
	}
	if len(probes) >= want.AtLeast {
		return nil, time.Time{}
	}
	why := ""
	if len(old) > 0 {
		why = fmt.Sprintf("; not counted, because not seen for more than two of their intervals: %s", strings.Join(old, ", "))
	}
	return refusal(api.GuardConfirm, time.Time{}, "only %d of at least %d independent signals agree%s", len(probes), want.AtLeast, why), time.Time{}
}

// fresh tells whether a probe was seen, well or ill, within two of its intervals: what an older answer says may be over.
func (s *State) fresh(probe string) bool {
	every := s.cfg.every[probe]
	return every <= 0 || s.now.Sub(s.sights[probe]) <= 2*every
}

// saw notes that a probe could see at a time. One that was out of sight may corroborate again now.
func (s *State) saw(probe string, at time.Time) {
	if at.After(s.now) {
		at = s.now
	}
	was := s.cfg == nil || s.fresh(probe)
	if at.After(s.sights[probe]) {
		s.sights[probe] = at
	}
	if !was && s.fresh(probe) {
		s.stir()
	}
}

func (s *State) guardDoubt(c *candidate) (*api.Refusal, time.Time) {
	return s.doubted(c.plan.Targets), time.Time{}
}

func (s *State) doubted(targets []string) *api.Refusal {
	for _, d := range s.d.Doubts {
		if overlap(d.Targets, targets) {
			return refusal(api.GuardInDoubt, time.Time{}, "nobody knows whether %s/%s happened, and until a person settles it nothing automatic touches %s",
				d.Remediation, d.Step, strings.Join(d.Targets, ", "))
		}
	}
	return nil
}

// guardFlight lets one remediation at a time work on a target, and one on an incident.
func (s *State) guardFlight(c *candidate) (*api.Refusal, time.Time) {
	for _, r := range s.d.Remediations {
		if r.End == "" && r.Claim > 0 && (r.Incident == c.inc.ID || overlap(r.Plan.Targets, c.plan.Targets)) {
			what := "the same incident"
			if r.Incident != c.inc.ID {
				what = "the same target"
			}
			return refusal(api.GuardFlight, time.Time{}, "remediation %s (%s) works on %s", r.ID, r.Plan.Name, what), time.Time{}
		}
	}
	return nil, time.Time{}
}

func (s *State) guardRuns(c *candidate) (*api.Refusal, time.Time) {
	rate := c.plan.Limits.Runs
	if rate.N <= 0 {
		return nil, time.Time{}
	}
	t := s.past.begun[c.plan.Name]
	if t == nil {
		return nil, time.Time{}
	}
	all, from := &t.sums[len(t.sums)-1], t.after(s.now.Add(-rate.Per))
	n := all.runs.over(t.before(from).runs)
	if n < rate.N {
		return nil, time.Time{}
	}
	// When so many have left the window that one more fits: the last one with which there are N.
	last := sort.Search(len(t.of), func(i int) bool { return all.runs.over(t.before(i).runs) < rate.N }) - 1
	next := t.sums[last].at.Add(rate.Per)
	return refusal(api.GuardRuns, next, "it ran %s in the last %s and its limit is %s", count(n, "time"), api.Duration{Duration: rate.Per}, rate), time.Time{}
}

// guardCooldown keeps the pauses that the playbook demands, and a least pause before it runs again in one incident.
func (s *State) guardCooldown(c *candidate) (*api.Refusal, time.Time) {
	last, lastHere := s.lastRan(c.plan.Name), time.Time{}
	here := 0
	for _, id := range c.inc.Remediations {
		if r := s.rems[id]; r != nil && r.Plan.Name == c.plan.Name {
			here++
			lastHere = r.Opened
			if r.Ended.After(lastHere) {
				lastHere = r.Ended
			}
		}
	}
	if no := s.cooled(c.plan, ""); no != nil {
		return no, time.Time{}
	}
	if next := last.Add(c.plan.Limits.Cooldown.Duration); !last.IsZero() && s.now.Before(next) {
		return refusal(api.GuardCooldown, next, "it last ran until %s and its cool-down is %s", last.Format("15:04:05"), c.plan.Limits.Cooldown), time.Time{}
	}
	if here == 0 {
		return nil, time.Time{}
	}
	wait := doubled(againWait, here-1, againWaitMax)
	if next := lastHere.Add(wait); s.now.Before(next) {
		return refusal(api.GuardCooldown, next, "it ran %s for this incident already, and the least pause before the next is %s", count(int64(here), "time"), api.Duration{Duration: wait}), time.Time{}
	}
	return nil, time.Time{}
}

// lastRan is when a playbook last ended; when it last began where it goes on and that was later. Zero: never.
func (s *State) lastRan(playbook string) time.Time {
	var last time.Time
	for _, g := range s.past.groups[playbook] {
		for _, q := range []*run{g.acted.last(), g.idle.last()} {
			if q != nil && q.Ended.After(last) {
				last = q.Ended
			}
		}
	}
	for _, q := range s.past.under {
		if q.Playbook == playbook && q.At.After(last) {
			last = q.At
		}
	}
	return last
}

func (s *State) guardCalendar(c *candidate) (*api.Refusal, time.Time) {
	return s.closedDays(c.plan), time.Time{}
}

func (s *State) guardStorm(c *candidate) (*api.Refusal, time.Time) {
	return s.braked(c.plan.Danger), time.Time{}
}

// storm works out whether too much is ill at once to trust our own eyes.
func (s *State) storm() {
	share, least := 0.6, 8
	if s.cfg != nil {
		if s.cfg.Storm.Share > 0 {
			share = s.cfg.Storm.Share
		}
		if s.cfg.Storm.Least > 0 {
			least = s.cfg.Storm.Least
		}
	}
	ill := s.eyes.Bad + s.eyes.Unknown
	storming := s.eyes.Probes > 0 && ill >= least && float64(ill) >= share*float64(s.eyes.Probes)
	if storming != s.storming {
		s.storming = storming
		s.stir()
	}
}

func (s *State) braked(d api.Danger) *api.Refusal {
	if !s.storming || d <= api.D0 {
		return nil
	}
	return refusal(api.GuardStorm, time.Time{}, "%d of %s are bad or cannot run, so that perhaps our own eyes are ill",
		s.eyes.Bad+s.eyes.Unknown, count(int64(s.eyes.Probes), "probe"))
}

// hold judges again, before each step, what can change while a remediation runs.
func (s *State) hold(r *remediation, i int) *api.Refusal {
	q := &r.Plan.Steps[i]
	if no := s.halted(); no != nil {
		return no
	}
	if no := s.paused(r.Plan.Name); no != nil {
		return no
	}
	if q.danger() <= api.D0 {
		return nil
	}
	if q.danger() >= api.D4 && !r.fourEyes() {
		return refusal(api.GuardDanger, time.Time{}, "step %s is of class %s and needs the yes of two people", q.Name, q.danger())
	}
	if no := s.doubted(targetsOf(r.Plan, q)); no != nil {
		return no
	}
	for _, o := range s.d.Remediations {
		if o != r && o.End == "" && o.Claim > 0 && o.Claim < r.Claim && overlap(o.Plan.Targets, r.Plan.Targets) {
			return refusal(api.GuardFlight, time.Time{}, "remediation %s (%s) works on the same target", o.ID, o.Plan.Name)
		}
	}
	if until := s.inAir(targetsOf(r.Plan, q), r, i); !until.IsZero() {
		return refusal(api.GuardFlight, until, "an earlier call to the same target whose outcome nobody saw may still arrive")
	}
	if !r.acted() { // what another remediation did while this one waited for people counts
		if no := s.cooled(r.Plan, r.ID); no != nil {
			return no
		}
		if no := s.spent(r.Plan, r.ID); no != nil {
			return no
		}
	}
	if no := s.closedDays(r.Plan); no != nil {
		return no
	}
	return s.braked(q.danger())
}

// inAir says until when an attempt whose outcome nobody saw may still reach one of the targets; the zero time where none may.
// The step i of r itself is left out: its class says how it is repeated.
func (s *State) inAir(targets []string, r *remediation, i int) time.Time {
	var until time.Time
	for _, o := range s.d.Remediations {
		for k := range o.Steps {
			st := &o.Steps[k]
			if o == r && k == i || st.Unknowns == 0 || st.Intent == nil || !s.now.Before(st.Intent.Deadline) {
				continue
			}
			if st.Intent.Deadline.After(until) && overlap(targetsOf(o.Plan, &o.Plan.Steps[k]), targets) {
				until = st.Intent.Deadline
			}
		}
	}
	return until
}

// over refuses a step that would touch more than the playbook may on its own. What cannot be counted is not allowed either.
func (r *remediation) over(i int, e *api.Estimate) *api.Refusal {
	l := r.Plan.Limits
	name := r.Plan.Steps[i].Name
	counts := r.Plan.Steps[i].Plan.Action.Counts
	switch {
	case l.Items > 0 && e.Items > 0 && plus(r.Items, e.Items) > l.Items:
		return refusal(api.GuardItems, time.Time{}, "step %s would touch %s, with %d touched already, and the limit is %d", name, count(e.Items, "item"), r.Items, l.Items)
	case l.Items > 0 && counts && r.Items >= l.Items:
		return refusal(api.GuardItems, time.Time{}, "the limit of %s is used up before step %s", count(l.Items, "item"), name)
	case r.Amount.Plus(e.Amount).Exceeds(l.Amount):
		return refusal(api.GuardAmount, time.Time{}, "step %s would bring the money touched to %s and the limit is %s", name, r.Amount.Plus(e.Amount), l.Amount)
	case l.Share.PPM > 0 && counts && e.Items > 0 && e.Total <= 0:
		return refusal(api.GuardShare, time.Time{}, "nobody can tell which share of the work in progress step %s would touch, and the limit is %s", name, l.Share)
	case l.Share.PPM > 0 && e.Items > 0 && e.Total > 0 && float64(plus(r.Items, e.Items)) > l.Share.Ratio()*float64(max(e.Total, r.total())):
		already := ""
		if r.Items > 0 {
			already = fmt.Sprintf(", with %d touched already,", r.Items)
		}
		return refusal(api.GuardShare, time.Time{}, "step %s would touch %d of %s in progress%s and the limit is %s", name, e.Items, count(max(e.Total, r.total()), "item"), already, l.Share)
	}
	return nil
}
