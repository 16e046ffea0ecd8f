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

// undo restores what one step changed. Pauses and halts hold it; calendars and the storm brake do not, because it leads back to
// where things were.
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
	if until := s.inAir(targetsOf(r.Plan, q), nil, -1); !until.IsZero() {
		r.at(until)
		return
	}
	no := s.halted()
	if no == nil {
		no = s.paused(r.Plan.Name)
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
