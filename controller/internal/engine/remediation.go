package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

// advance does what a remediation can do now, and notes when it must be looked at again.
func (s *State) advance(r *remediation) {
	r.due = time.Time{}
	for r.End == "" && r.pend == nil {
		before := s.d.Count
		s.act(r)
		if s.d.Count == before {
			return // it waits: for a result, a person, or a time
		}
	}
}

// at notes when a remediation must be looked at again.
func (r *remediation) at(t time.Time) {
	if !t.IsZero() && (r.due.IsZero() || t.Before(r.due)) {
		r.due = t
	}
}

// act does one thing. What comes next follows from the durable state alone, so that a restart goes on where it was.
func (s *State) act(r *remediation) {
	if r.Claim == 0 {
		s.awaitYes(r)
		return
	}
	for i := range r.Steps {
		switch st := &r.Steps[i]; {
		case st.UndoState == api.StepIntended:
			s.orphan(r)
			return
		case st.UndoState == api.StepHandedOver:
			s.endHandedOver(r, i)
			return
		case st.UndoState == api.StepDone && !st.UndoProved:
			s.proveUndo(r, i)
			return
		case st.State == api.StepIntended, st.State == api.StepRepeated:
			s.flying(r, i)
			return
		case st.State == api.StepUncertain:
			s.unknown(r, i)
			return
		case st.State == api.StepHandedOver:
			s.awaitWord(r, i)
			return
		case st.State == api.StepAsking && r.Cancel == "":
			s.awaitAnswer(r, i)
			return
		}
	}
	if end, why, bad := r.bad(); bad {
		s.otherwise(r, end, why)
		return
	}
	for i := range r.Steps {
		switch r.Steps[i].State {
		case api.StepDone, api.StepSkipped, api.StepReconciled:
		default:
			s.take1(r, i)
			return
		}
	}
	s.verify(r)
}

// bad tells whether and how the remediation has gone wrong for good.
func (r *remediation) bad() (end api.RemediationEnd, why string, bad bool) {
	switch {
	case r.Cancel != "":
		return api.EndCancelled, r.Cancel + " called it off", true
	case r.NoTotals != "":
		return api.EndBlocked, strings.TrimSuffix(r.NoTotals, "."), true
	}
	for i := range r.Steps {
		st, q := &r.Steps[i], &r.Plan.Steps[i]
		if st.State != api.StepFailed && st.State != api.StepRefused || !st.final(q) {
			continue
		}
		switch {
		case st.State == api.StepRefused && st.Hard:
			why := fmt.Sprintf("step %s was not allowed", q.Name)
			if st.No != nil {
				why += ": " + strings.TrimSuffix(st.No.Reason, ".")
			}
			return api.EndBlocked, why, true
		default:
			return api.EndFailed, st.wrong(q.Name), true
		}
	}
	if r.Proof != "" && r.Proof != api.ResultDone {
		return api.EndNotVerified, "the repair could not be verified", true
	}
	return "", "", false
}

// wrong says what went wrong with a step, with its action's own words: whoever reads of the end must not have to look for them.
func (st *step) wrong(name string) string {
	what := "failed"
	if st.State == api.StepRefused {
		what = "was refused"
	}
	if st.Outcome == nil || st.Outcome.Text == "" {
		return fmt.Sprintf("step %s %s", name, what)
	}
	return fmt.Sprintf("step %s %s: %s", name, what, strings.TrimSuffix(st.Outcome.Text, "."))
}

// final tells whether a failed or refused step is not tried again.
func (st *step) final(q *planned) bool {
	if st.Hard || st.Tries >= q.Tries {
		return true
	}
	return st.partial() && q.repeat() != api.Idempotent && q.repeat() != api.Keyed
}

// began tells whether any step was intended.
func (r *remediation) began() bool {
	return slices.ContainsFunc(r.Steps, func(st step) bool { return st.Attempt > 0 })
}

// moot tells whether the reason to act went away before anything was done.
func (s *State) moot(r *remediation) bool { return !r.began() && len(s.names[r.Trigger]) == 0 }

// end ends a remediation.
func (s *State) end(r *remediation, end api.RemediationEnd, text string) {
	if !s.emit(api.Entry{Kind: api.EntryRemediationEnded, Incident: r.Incident, Remediation: r.ID, Playbook: r.Plan.Name, Digest: r.Plan.Digest, End: end, Text: text}) {
		return
	}
	severity := "warning"
	switch end {
	case api.EndVerified, api.EndCancelled, api.EndTold:
		severity = "info"
	case api.EndInDoubt:
		severity = "critical"
	}
	s.tell(r.Plan.Notify, Message{Title: fmt.Sprintf("Ended %s: %s", end, r.Plan.Name), Text: text, Severity: severity, Dedup: r.Incident}, r.Incident, r)
	s.demote(r)
}

// take1 takes a step on: plan, guards, question, intent, call.
func (s *State) take1(r *remediation, i int) {
	st, q := &r.Steps[i], &r.Plan.Steps[i]
	if s.moot(r) {
		s.end(r, api.EndCancelled, fmt.Sprintf("Playbook %s did nothing, because %s cleared before its first step.", r.Plan.Name, r.Trigger))
		return
	}
	if s.stopping {
		return
	}
	if s.now.Before(st.NextAt) {
		r.at(st.NextAt)
		return
	}
	if no := s.hold(r, i); no != nil {
		st.est, r.totalled = nil, false // what was estimated and measured may have changed when it passes
		r.at(no.Next)
		s.refuseStep(r, i, *no)
		return
	}
	if q.control() {
		s.control(r, i)
		return
	}
	if len(r.Plan.Totals) > 0 && !r.totalled && !r.acted() && q.danger() > api.D0 {
		s.measure(r, totalsBefore)
		return
	}
	if st.est == nil {
		s.send(r, i, Command{ID: s.commandID(r, q.Name, Plan), Kind: Plan, Deadline: s.now.Add(q.Timeout)})
		return
	}
	e := st.est
	st.est = nil
	if s.skip(r, i, e) {
		return
	}
	if e.Noop {
		s.step(r, i, api.Entry{Kind: api.EntryStepSkipped, Estimate: e, Text: fmt.Sprintf("Step %s had nothing to do: %s", q.Name, cmpText(e.Text, "what it wants already is so."))})
		return
	}
	if ask, why := s.mustAsk(r, i, e); ask {
		s.ask(r, i, e, why, approvers(q), answerWait)
		return
	}
	if !st.Approved {
		no := r.over(i, e)
		if no == nil {
			no = s.overBudget(r, i, e)
		}
		if no != nil {
			s.refuseFigures(r, i, *no, e)
			return
		}
	}
	s.run(r, i, e, api.EntryStepIntended)
}

// approvers is how many people must say yes to a step's figures.
func approvers(q *planned) int {
	if q.danger() >= api.D4 {
		return 2
	}
	return 1
}

// step emits an entry about a step.
func (s *State) step(r *remediation, i int, e api.Entry) bool {
	e.Incident, e.Remediation, e.Playbook, e.Digest = r.Incident, r.ID, r.Plan.Name, r.Plan.Digest
	e.Step = r.Plan.Steps[i].Name
	if e.Attempt == 0 {
		e.Attempt = r.Steps[i].Attempt
	}
	return s.emit(e)
}

// refuseStep records what holds a step back, once until something about it changes.
func (s *State) refuseStep(r *remediation, i int, no api.Refusal) { s.refuseFigures(r, i, no, nil) }

// refuseFigures is refuseStep where an estimate was judged: the log keeps its figures, because the refusal rests on them.
func (s *State) refuseFigures(r *remediation, i int, no api.Refusal, e *api.Estimate) {
	if last := r.Steps[i].No; last != nil && last.Guard == no.Guard && last.Next.Equal(no.Next) && (last.Reason == no.Reason || no.Guard == api.GuardStorm) {
		return
	}
	how := "waits"
	if forGood(&no) {
		how = "was not allowed"
	}
	s.step(r, i, api.Entry{Kind: api.EntryStepRefused, Refusal: &no, Estimate: figures(e),
		Text: fmt.Sprintf("Step %s %s: %s.%s", r.Plan.Steps[i].Name, how, no.Reason, s.again(no.Next))})
}

// figures is an estimate without its before-image, which only an undo needs; nil of nil.
func figures(e *api.Estimate) *api.Estimate {
	if e == nil {
		return nil
	}
	out := *e
	out.Before = nil
	return &out
}

// skip evaluates a step's when. One that cannot be answered blocks the step.
func (s *State) skip(r *remediation, i int, e *api.Estimate) bool {
	q := &r.Plan.Steps[i]
	if q.When == "" {
		return false
	}
	yes, err := s.eval(q.When, s.byID[r.Incident], r.Plan, e)
	if q.control() {
		e = nil // nothing was estimated
	}
	switch {
	case err != nil:
		s.refuseFigures(r, i, *refusal(api.GuardWhen, time.Time{}, "its condition cannot be answered: %v", err), e)
		return true
	case !yes:
		s.step(r, i, api.Entry{Kind: api.EntryStepSkipped, Estimate: figures(e), Text: fmt.Sprintf("Step %s was skipped, because its condition is false: %s.", q.Name, q.When)})
		return true
	}
	return false
}

// mustAsk tells whether a person must see the figures first: the step's ask is true or cannot be answered, and nobody
// has said yes to figures as great as these.
func (s *State) mustAsk(r *remediation, i int, e *api.Estimate) (bool, string) {
	st, q := &r.Steps[i], &r.Plan.Steps[i]
	if q.Ask == "" {
		return false, ""
	}
	what := cmpText(e.Text, fmt.Sprintf("%s and %s.", count(e.Items, "item"), cmpText(e.Amount.String(), "no money")))
	if st.Approved && st.Asked != nil {
		if e.Items <= st.Asked.Items && !exceeds(e.Amount, st.Asked.Amount) {
			return false, ""
		}
		return true, fmt.Sprintf("Step %s of %s would touch more now than was approved: %s", q.Name, r.Plan.Name, what)
	}
	yes, err := s.eval(q.Ask, s.byID[r.Incident], r.Plan, e)
	if err != nil {
		return true, fmt.Sprintf("Step %s of %s needs a yes, because its question cannot be answered (%v): %s", q.Name, r.Plan.Name, err, what)
	}
	return yes, fmt.Sprintf("Step %s of %s needs a yes, because %s: %s", q.Name, r.Plan.Name, q.Ask, what)
}

// exceeds is Money.Exceeds where no limit means no money.
func exceeds(m, limit api.Money) bool {
	return slices.ContainsFunc(m.Currencies(), func(c string) bool { return m[c] > limit[c] })
}

// control takes on a step that needs no driver: wait, ask or expect.
func (s *State) control(r *remediation, i int) {
	q := &r.Plan.Steps[i]
	if s.skip(r, i, &api.Estimate{}) {
		return
	}
	c := q.Plan.Control
	switch {
	case c.Ask != nil:
		wait := c.Ask.Deadline
		if wait <= 0 {
			wait = answerWait
		}
		s.ask(r, i, nil, cmpText(c.Ask.Text, "Step "+q.Name+" asks for a yes."), max(1, c.Ask.People), wait)
	case c.Wait > 0:
		s.intend(r, i, api.EntryStepIntended, nil, s.now.Add(c.Wait), fmt.Sprintf("Step %s waits %s.", q.Name, c.Wait))
	default:
		within := c.Expect.Within + c.Expect.Hold
		if s.intend(r, i, api.EntryStepIntended, nil, s.now.Add(within), fmt.Sprintf("Step %s expects %s to be well%s within %s.", q.Name,
			strings.Join(c.Expect.Probes, ", "), valueWanted(c.Expect), api.Duration{Duration: c.Expect.Within})) {
			s.expect(r, i, c.Expect)
		}
	}
}

// valueWanted says which values a step expects; empty where it expects none.
func valueWanted(e *api.Expectation) string {
	text := ""
	for _, w := range []struct {
		words string
		limit *float64
	}{{" and at ", e.Equals}, {" and below ", e.Below}, {" and above ", e.Above}} {
		if w.limit != nil {
			text += w.words + number(*w.limit)
		}
	}
	return text
}

// expect has the shell watch probes.
func (s *State) expect(r *remediation, i int, e *api.Expectation) {
	name := "verify"
	if i >= 0 {
		name = r.Plan.Steps[i].Name
	}
	s.send(r, i, Command{ID: s.commandID(r, name, Expect), Kind: Expect, Deadline: s.now.Add(e.Within + e.Hold), Expectation: e})
}

// intend makes an attempt durable before anything is called.
func (s *State) intend(r *remediation, i int, kind api.EntryKind, e *api.Estimate, deadline time.Time, text string) bool {
	st, q := &r.Steps[i], &r.Plan.Steps[i]
	in := &api.Intent{Command: s.commandID(r, q.Name, Run), Key: r.key(i), Fence: s.d.Fence + 1, Deadline: deadline, Repeat: q.repeat(), Targets: q.Plan.Targets}
	if q.control() {
		in.Repeat = api.Idempotent
	}
	switch {
	case kind == api.EntryStepRepeated:
		in.Items, in.Amount = st.Held, st.HeldAmount
	case e != nil:
		in.Items, in.Amount = s.reservation(r, i, e)
	}
	if q.repeat() == api.Keyed {
		in.Until = st.Until
		if in.Until.IsZero() {
			in.Until = s.now.Add(q.Plan.Action.Retention - q.Plan.Action.Retention/20) // clocks differ
		}
	}
	return s.step(r, i, api.Entry{Kind: kind, Attempt: st.Attempt + 1, Estimate: e, Intent: in, Text: text})
}

// run intends an attempt and calls it.
func (s *State) run(r *remediation, i int, e *api.Estimate, kind api.EntryKind) {
	st, q := &r.Steps[i], &r.Plan.Steps[i]
	text := fmt.Sprintf("Step %s begins: %s", q.Name, cmpText(e.Text, q.Do+"."))
	if kind == api.EntryStepRepeated {
		text = fmt.Sprintf("Step %s is repeated with the same key, attempt %d.", q.Name, st.Attempt+1)
	} else if st.Attempt > 0 {
		text = fmt.Sprintf("Step %s is tried again, attempt %d: %s", q.Name, st.Attempt+1, cmpText(e.Text, q.Do+"."))
	}
	if !s.intend(r, i, kind, e, s.now.Add(q.Timeout), text) {
		return
	}
	if broken := s.broken(r, i); broken != "" {
		s.halt(broken)
		return
	}
	s.send(r, i, Command{ID: st.Intent.Command, Kind: Run, Fence: st.Intent.Fence, Deadline: st.Intent.Deadline, Bounds: r.bounds(i), Estimate: st.Estimate})
}

// broken checks, just before a call, the rules that must hold whatever led here.
func (s *State) broken(r *remediation, i int) string {
	st, q := &r.Steps[i], &r.Plan.Steps[i]
	switch {
	case st.State != api.StepIntended && st.State != api.StepRepeated || st.Intent == nil:
		return "a call without a durable intent"
	case st.Intent.Key != r.key(i):
		return "the key of a step changed"
	case q.repeat() == api.Blind && st.Unknowns > 0:
		return "a blind step would be repeated"
	case q.danger() >= api.D5, q.danger() >= api.D4 && !r.fourEyes():
		return "a dangerous step without its people"
	case s.paused(r.Plan.Name) != nil || s.halted() != nil:
		return "a call while paused"
	}
	for _, o := range s.d.Remediations {
		for k := range o.Steps {
			other := &o.Steps[k]
			flying := other.State == api.StepIntended || other.State == api.StepRepeated || other.State == api.StepUncertain || other.UndoState == api.StepIntended
			if o != r && o.End == "" && flying && o.Plan.Steps[k].danger() > api.D0 && q.danger() > api.D0 && overlap(targetsOf(o.Plan, &o.Plan.Steps[k]), targetsOf(r.Plan, q)) {
				return "two remediations work on one target at once"
			}
		}
	}
	return ""
}

// flying looks after an intended step with no command out: a wait, or what a restart interrupted.
func (s *State) flying(r *remediation, i int) {
	st, q := &r.Steps[i], &r.Plan.Steps[i]
	c := q.Plan.Control
	switch {
	case q.control() && r.Cancel != "":
		s.step(r, i, api.Entry{Kind: api.EntryStepEnded, Outcome: &api.Outcome{Result: api.ResultFailed, Text: "Called off."}, Text: fmt.Sprintf("Step %s was called off.", q.Name)})
	case c.Wait > 0:
		if s.now.Before(st.Intent.Deadline) {
			r.at(st.Intent.Deadline)
			return
		}
		s.step(r, i, api.Entry{Kind: api.EntryStepEnded, Outcome: &api.Outcome{Result: api.ResultDone, Text: "The wait is over."}, Text: fmt.Sprintf("Step %s is over after %s.", q.Name, c.Wait)})
	case c.Expect != nil:
		if !s.stopping {
			s.expect(r, i, c.Expect)
		}
	default:
		s.orphan(r)
	}
}
