package engine

import (
	"fmt"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

// otherwise follows a remediation that has gone wrong: undo what ran, in reverse, or end as it is. A person who calls it off
// wants no more calls, so nothing is undone then. A ladder leads on without undoing: the next playbook builds on this one.
func (s *State) otherwise(r *remediation, end api.RemediationEnd, why string) {
	if r.Plan.Otherwise == "undo" {
		for i := len(r.Steps) - 1; i >= 0; i-- {
			st := &r.Steps[i]
			if r.Cancel != "" && st.UndoState != api.StepUncertain {
				continue // an undo whose outcome nobody knows is brought to its end all the same
			}
			if !r.Plan.Steps[i].Plan.Action.Undo || !st.ran() || st.UndoState == api.StepDone {
				continue
			}
			s.undo(r, i)
			return
		}
	}
	text := fmt.Sprintf("Playbook %s ended %s: %s.%s", r.Plan.Name, end, why, r.left())
	if next := r.Plan.next(); next != "" && r.Cancel == "" {
		text += fmt.Sprintf(" Playbook %s is next.", next)
	}
	s.end(r, end, text)
}

// left says what of the remediation stands, and what was undone.
func (r *remediation) left() string {
	var stands, undone []string
	for i := range r.Steps {
		switch {
		case r.Steps[i].UndoState == api.StepDone:
			undone = append(undone, r.Plan.Steps[i].Name)
		case r.Steps[i].ran() && !r.Plan.Steps[i].control():
			stands = append(stands, r.Plan.Steps[i].Name)
		}
	}
	text := ""
	if len(undone) > 0 {
		text += " Undone: " + strings.Join(undone, ", ") + "."
	}
	if len(stands) > 0 {
		text += " Still in effect: " + strings.Join(stands, ", ") + "."
	}
	return text
}

// undo restores what one step changed. It is itself a step: all guards that hold a step hold it too, with their reason and the
// time when they would pass in the log, and what it did is read again from the target afterwards.
func (s *State) undo(r *remediation, i int) {
	st, q := &r.Steps[i], &r.Plan.Steps[i]
	if s.stopping {
		return
	}
	if st.UndoState == api.StepUncertain {
		if again := st.UndoIntent.Deadline.Add(doubled(time.Second, st.UndoAttempt, time.Minute)); s.now.Before(again) {
			r.at(again)
			return
		}
	}
	no := s.hold(r, i)
	if until := s.inAir(targetsOf(r.Plan, q), nil, -1); no == nil && !until.IsZero() {
		no = refusal(api.GuardFlight, until, "an earlier call to the same target whose outcome nobody saw may still arrive")
	}
	if no != nil {
		r.at(no.Next)
		if inc := s.byID[r.Incident]; inc != nil {
			s.refuse(inc, r.Plan, *no, fmt.Sprintf("Undoing step %s of %s waits", q.Name, r.Plan.Name))
		}
		return
	}
	in := &api.Intent{Command: s.commandID(r, q.Name, Undo), Key: hash(32, r.key(i), "undo"), Fence: s.d.Fence + 1, Deadline: s.now.Add(q.Timeout),
		Repeat: q.repeat(), Targets: q.Plan.Targets}
	if !s.step(r, i, api.Entry{Kind: api.EntryUndoIntended, Attempt: st.UndoAttempt + 1, Intent: in, Estimate: st.Estimate, Text: fmt.Sprintf("Step %s is being undone.", q.Name)}) {
		return
	}
	s.send(r, i, Command{ID: in.Command, Kind: Undo, Fence: in.Fence, Deadline: in.Deadline, Estimate: st.Estimate, Outcome: st.Outcome})
	last := &s.out.Commands[len(s.out.Commands)-1]
	last.Key, last.Attempt = in.Key, st.UndoAttempt
}

// undone takes what came of an undo.
func (s *State) undone(r *remediation, i int, o api.Outcome) {
	q := &r.Plan.Steps[i]
	text := said(o.Text, "Step %s is undone", q.Name)
	switch o.Result {
	case api.ResultDone:
	case api.ResultRefused, api.ResultFailed:
		text = said(o.Text, "Step %s could not be undone", q.Name)
	default:
		o.Result = api.ResultUnknown
		text = said(o.Text, "Nobody knows whether step %s was undone", q.Name)
	}
	s.step(r, i, api.Entry{Kind: api.EntryUndoEnded, Attempt: r.Steps[i].UndoAttempt, Outcome: &o, Text: text})
}

// provesMax is how often an undone step's target is read before a person must look.
const provesMax = 3

// proveUndo reads the target of an undone step again: that the undo answered well never counts alone.
func (s *State) proveUndo(r *remediation, i int) {
	st, q := &r.Steps[i], &r.Plan.Steps[i]
	switch {
	case s.stopping:
	case s.now.Before(st.proveAt):
		r.at(st.proveAt)
	default:
		st.proves++
		s.send(r, i, Command{ID: s.commandID(r, q.Name, Plan), Kind: Plan, Deadline: s.now.Add(q.Timeout)})
		r.pend.undoing = true
	}
}

// undoProved takes what the target shows. Where a new plan of the step would find its work done already, the undo did not take. An
// action that counts is exempt from that: its work may be gone for other reasons.
func (s *State) undoProved(r *remediation, i int, res *Result) {
	st, q := &r.Steps[i], &r.Plan.Steps[i]
	o := res.Outcome
	unread := res.Estimate == nil && (o.Result != api.ResultRefused || breakerOpen(&o))
	text := ""
	switch {
	case unread && st.proves < provesMax:
		st.proveAt = s.now.Add(doubled(time.Second, 2*st.proves, time.Minute))
		return
	case unread:
		o, text = api.Outcome{Result: api.ResultUnknown, Text: o.Text}, fmt.Sprintf("Nobody can tell whether undoing step %s took, because its target cannot be read", q.Name)
	case res.Estimate != nil && res.Estimate.Noop && !q.Plan.Action.Counts:
		o, text = api.Outcome{Result: api.ResultFailed, Text: res.Estimate.Text}, fmt.Sprintf("Undoing step %s did not take: its target still is as the step left it", q.Name)
	default:
		words := ""
		if res.Estimate == nil {
			words = o.Text
		}
		o, text = api.Outcome{Result: api.ResultDone, Text: words}, fmt.Sprintf("The target no longer is as step %s left it", q.Name)
	}
	s.step(r, i, api.Entry{Kind: api.EntryUndoVerified, Attempt: st.UndoAttempt, Outcome: &o, Text: said(o.Text, "%s", text)})
}
