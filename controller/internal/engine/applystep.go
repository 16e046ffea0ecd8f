package engine

import (
	"slices"
	"time"

	"github.com/backstay/backstay/api"
)

// find gives the remediation and step that an entry is about; nil where it does not exist or has ended.
func (s *State) find(e *api.Entry) (*remediation, *planned, *step) {
	r := s.rems[e.Remediation]
	if r == nil {
		return nil, nil, nil
	}
	i := slices.IndexFunc(r.Plan.Steps, func(q planned) bool { return q.Name == e.Step })
	if i < 0 || i >= len(r.Steps) {
		return r, nil, nil
	}
	return r, &r.Plan.Steps[i], &r.Steps[i]
}

// applyStep moves a step along its life. What the life does not allow is an error.
func (s *State) applyStep(e *api.Entry) error {
	r, q, st := s.find(e)
	if st == nil || r.End != "" {
		return errIllegal
	}
	fresh := st.State == api.StepReady || st.State == api.StepFailed || st.State == api.StepRefused
	flying := st.State == api.StepIntended || st.State == api.StepRepeated
	switch e.Kind {
	case api.EntryStepSkipped:
		if !fresh {
			return errIllegal
		}
		st.State, st.Ended, st.No = api.StepSkipped, e.At, nil
	case api.EntryStepRefused:
		if e.Refusal == nil || flying || !(fresh || st.State == api.StepUncertain || st.State == api.StepAsking) {
			return errIllegal
		}
		st.refuse(e)
	case api.EntryStepIntended, api.EntryStepRepeated:
		again := e.Kind == api.EntryStepRepeated
		if e.Intent == nil || again != (st.State == api.StepUncertain) || !again && (!fresh || st.Hard) || again && q.repeat() == api.Blind {
			return errIllegal
		}
		st.intend(e)
		s.d.Fence = max(s.d.Fence, e.Intent.Fence)
		s.reserve(r, st, e.Intent.Items, e.Intent.Amount)
		if run := s.past.byID[r.ID]; run != nil && q.danger() > api.D0 {
			s.past.change(run, func() { run.Acted, run.Total = true, max(run.Total, r.total()) })
		}
	case api.EntryStepEnded:
		answered := st.Approved && q.Plan.Control.Ask != nil // a question is done by its yes: nothing is called
		if e.Outcome == nil || e.Outcome.Result != api.ResultDone && st.Open > 0 || !flying && !fresh && st.State != api.StepAsking && !(st.State == api.StepUncertain && st.Absent) || fresh && e.Outcome.Result == api.ResultDone && !answered {
			return errIllegal
		}
		st.end(e, q)
		s.touched(r, st, e.Outcome)
	case api.EntryStepUncertain:
		if !flying {
			return errIllegal
		}
		st.State, st.Outcome, st.Absent, st.DarkAt = api.StepUncertain, e.Outcome, false, e.At
		st.Unknowns++
		st.Open++
		if st.Orphan = fact(e.Facts, "cause") == "restart"; st.Orphan {
			st.Orphans++
		}
	case api.EntryStepReconciled:
		if e.Outcome == nil || st.State != api.StepUncertain && st.State != api.StepHandedOver {
			return errIllegal
		}
		st.Outcome = e.Outcome
		if e.Outcome.Result == api.ResultDone {
			st.State, st.Ended, st.No = api.StepReconciled, e.At, nil
			s.touched(r, st, e.Outcome)
		} else {
			st.Absent, st.Open = true, 0
		}
	case api.EntryStepHandedOver:
		if st.State != api.StepUncertain {
			return errIllegal
		}
		st.State, st.HandedAt, st.No = api.StepHandedOver, e.At, nil
		s.d.Doubts = append(s.d.Doubts, doubt{r.ID, q.Name, targetsOf(r.Plan, q)})
	}
	st.Text = e.Text
	return nil
}

// targetsOf are the targets of a step; the whole playbook's where it names none.
func targetsOf(p *plan, q *planned) []string {
	if len(q.Plan.Targets) > 0 {
		return q.Plan.Targets
	}
	return p.Targets
}

// forGood tells whether a refusal ends the step, or holds it back for a while.
func forGood(n *api.Refusal) bool {
	switch n.Guard {
	case api.GuardItems, api.GuardAmount, api.GuardShare, api.GuardDanger, api.GuardApproval, api.GuardWhen:
		return true
	case api.GuardBreaker:
		return n.Next.IsZero()
	}
	return false
}

func (st *step) refuse(e *api.Entry) {
	refusal := *e.Refusal
	st.No = &refusal
	switch {
	case st.State == api.StepUncertain: // held back from being repeated
		if refusal.Guard == api.GuardBreaker {
			st.NextAt = refusal.Next
		}
	case forGood(&refusal):
		st.State, st.Hard, st.Ended = api.StepRefused, true, e.At
	case refusal.Guard == api.GuardBreaker:
		if st.State != api.StepReady && st.Tries > 0 {
			st.Tries-- // an open breaker is no attempt
		}
		st.State, st.NextAt = api.StepReady, refusal.Next
		st.Breaks++
	}
}

func (st *step) intend(e *api.Entry) {
	st.State = api.StepIntended
	if e.Kind == api.EntryStepRepeated {
		st.State = api.StepRepeated
	}
	st.Attempt++
	st.Intent, st.No, st.Absent = e.Intent, nil, false
	if e.Estimate != nil {
		st.Estimate = e.Estimate
	}
	if st.Until.IsZero() {
		st.Until = e.Intent.Until
	}
	if st.Started.IsZero() {
		st.Started = e.At
	}
}

func (st *step) end(e *api.Entry, q *planned) {
	st.Outcome, st.Ended = e.Outcome, e.At
	switch e.Outcome.Result {
	case api.ResultDone:
		st.State, st.No = api.StepDone, nil
		return
	case api.ResultRefused:
		st.State = api.StepRefused
	default:
		st.State = api.StepFailed
	}
	st.Tries++
	st.NextAt = e.At.Add(doubled(q.Wait, st.Tries-1, 10*time.Minute))
}

// doubled is d doubled n times, at most limit.
func doubled(d time.Duration, n int, limit time.Duration) time.Duration {
	for ; n > 0 && d > 0 && d < limit; n-- {
		d *= 2
	}
	return max(0, min(d, limit))
}

// applyUndo moves the undoing of a step along.
func (s *State) applyUndo(e *api.Entry) error {
	r, q, st := s.find(e)
	if st == nil || r.End != "" {
		return errIllegal
	}
	if e.Kind == api.EntryUndoVerified {
		if e.Outcome == nil || st.UndoState != api.StepDone || st.UndoProved {
			return errIllegal
		}
		st.UndoText = e.Text
		if st.UndoProved = e.Outcome.Result == api.ResultDone; !st.UndoProved {
			st.UndoState = api.StepHandedOver
			s.d.Doubts = append(s.d.Doubts, doubt{r.ID, q.Name, targetsOf(r.Plan, q)})
		}
		return nil
	}
	if e.Kind == api.EntryUndoIntended {
		if e.Intent == nil || st.UndoState == api.StepDone || st.UndoState == api.StepIntended || !st.ran() {
			return errIllegal
		}
		st.UndoState, st.UndoIntent, st.UndoText = api.StepIntended, e.Intent, e.Text
		st.UndoAttempt++
		if st.UndoStarted.IsZero() {
			st.UndoStarted = e.At
		}
		s.d.Fence = max(s.d.Fence, e.Intent.Fence)
		return nil
	}
	if e.Outcome == nil || st.UndoState != api.StepIntended {
		return errIllegal
	}
	st.UndoEnded, st.UndoText = e.At, e.Text
	switch {
	case e.Outcome.Result == api.ResultDone:
		st.UndoState = api.StepDone
		return nil
	case e.Outcome.Result == api.ResultUnknown && q.repeat() == api.Idempotent && st.UndoAttempt < repeatsMax:
		st.UndoState = api.StepUncertain
		return nil
	}
	st.UndoState = api.StepHandedOver
	s.d.Doubts = append(s.d.Doubts, doubt{r.ID, q.Name, targetsOf(r.Plan, q)})
	return nil
}

// ran tells whether the step had an effect that is there to undo.
func (st *step) ran() bool {
	switch st.State {
	case api.StepDone, api.StepReconciled:
		return st.Intent != nil
	case api.StepFailed, api.StepRefused:
		return st.partial()
	}
	return false
}

// partial tells whether a failed attempt touched something all the same.
func (st *step) partial() bool {
	return st.Outcome != nil && (st.Outcome.Result == api.ResultFailed || st.Outcome.Result == api.ResultRefused) && (st.Outcome.Items > 0 || len(st.Outcome.Amount) > 0)
}

// applyPeople takes questions, answers and silence.
func (s *State) applyPeople(e *api.Entry) error {
	if e.Kind == api.EntryDecided && e.Decision != nil && e.Decision.Verb == api.VerbAck {
		b := s.book(e.Playbook)
		b.Streak, b.Demoted, b.Unacked = 0, nil, nil
		return nil
	}
	r, _, st := s.find(e)
	if r == nil || e.Step != "" && st == nil {
		return errIllegal
	}
	switch e.Kind {
	case api.EntryAsked:
		until, people := factTime(e.Facts, "deadline"), factInt(e.Facts, "people")
		if until.IsZero() || people < 1 || r.End != "" {
			return errIllegal
		}
		if st == nil {
			r.AskUntil = until
			return nil
		}
		if st.State != api.StepReady && st.State != api.StepFailed && st.State != api.StepRefused {
			return errIllegal
		}
		st.State, st.AskUntil, st.People, st.Question = api.StepAsking, until, people, e.Text
		st.Yes, st.Approved, st.Asked, st.No = nil, false, e.Estimate, nil
	case api.EntryDecided:
		if e.Decision == nil {
			return errIllegal
		}
		return s.decide(r, st, e)
	case api.EntryLapsed: // what silence means is in the entry that follows
	}
	return nil
}

func (s *State) decide(r *remediation, st *step, e *api.Entry) error {
	d := e.Decision
	switch {
	case d.Verb == api.VerbSettled || d.Verb == api.VerbVoid:
		if st == nil {
			return errIllegal
		}
		s.d.Doubts = slices.DeleteFunc(s.d.Doubts, func(x doubt) bool { return x.Remediation == r.ID && x.Step == e.Step })
		if d.Verb == api.VerbVoid && st.UndoState != api.StepHandedOver {
			s.reserve(r, st, 0, nil)
		}
		st.Held, st.HeldAmount = 0, nil // settled: what was reserved counts for good
		if r.End != "" || st.State != api.StepHandedOver {
			return nil
		}
		st.Ended, st.Text = e.At, e.Text
		if d.Verb == api.VerbSettled {
			st.State = api.StepReconciled
		} else {
			st.State, st.Hard = api.StepFailed, true
		}
	case r.End != "":
		return errIllegal
	case d.Verb == api.VerbCancel:
		r.Cancel = d.By
	case st == nil && d.Verb == api.VerbDeny:
		r.Denied = d.By
	case st == nil && d.Verb == api.VerbApprove:
		if !slices.Contains(r.Yes, d.By) {
			r.Yes = append(r.Yes, d.By)
		}
		if d.BreakGlass {
			r.Glass = d.By
		}
		if (len(r.Yes) >= r.Plan.People || r.Glass != "") && r.Claim == 0 {
			r.Claim = s.d.Count + 1
		}
	case st != nil && st.State == api.StepAsking && d.Verb == api.VerbApprove:
		if !slices.Contains(st.Yes, d.By) {
			st.Yes = append(st.Yes, d.By)
		}
		if len(st.Yes) >= st.People || d.BreakGlass {
			st.Approved, st.State = true, api.StepReady
		}
	case st != nil && st.State == api.StepAsking && d.Verb == api.VerbDeny:
		r.Denied = d.By // the refusal follows as an entry of its own
	default:
		return errIllegal
	}
	return nil
}
