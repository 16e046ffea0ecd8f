package engine

import (
	"fmt"
	"time"

	"github.com/backstay/backstay/api"
)

// What an unknown outcome means, by repeat class:
//
//   - idempotent: repeat with the same key, at most repeatsMax attempts, then hand over. Repeating at once is harmless, because
//     an attempt that is still on its way sets the same state. What would set another state (a later step, an undo, another
//     remediation) waits until the deadline of each attempt whose outcome nobody saw: see inAir;
//   - keyed: repeat with the same key, as long as the next attempt ends while the target still recognises the key; else hand
//     over. It waits for the deadline of the attempt before; after a restart, whose dead process sends nothing more, for orphanWait;
//   - queryable: after the deadline ask the target; not before, because until then the attempt itself may still reach it. It
//     happened: reconciled. It did not: repeat with the same key. It cannot tell: ask again, at most looksMax times, each
//     pause twice the last, then hand over;
//   - blind: hand over.
//
// A definite failure of a repeat settles nothing: the attempt before it may have happened. The step stays uncertain until an
// attempt is done, the target says, or a person does.
//
// Attempts that restarts interrupted do not count for repeatsMax, but for orphansMax.
//
// Handed over means that a person says what happened. Settled: the step counts as done, and the remediation goes on. Void: it
// did not happen; the step has failed for good and the playbook's otherwise follows; void is not taken before the deadline of the
// attempt. Without a word within settleWait the remediation ends in doubt: nothing is undone, and nothing automatic touches
// the targets until the word comes, which may be at any time later.

// orphan makes uncertain what was in the air when the last life of the controller ended.
func (s *State) orphan(r *remediation) {
	for i := range r.Steps {
		st, q := &r.Steps[i], &r.Plan.Steps[i]
		out := &api.Outcome{Result: api.ResultUnknown, Text: "The controller stopped while the call was under way, or before it began."}
		if (st.State == api.StepIntended || st.State == api.StepRepeated) && !q.control() {
			s.step(r, i, api.Entry{Kind: api.EntryStepUncertain, Outcome: out, Facts: []api.Fact{{Name: "cause", Value: "restart"}}, Text: fmt.Sprintf("Nobody knows whether step %s happened, because the controller stopped meanwhile.", q.Name)})
		}
		if st.UndoState == api.StepIntended {
			s.undone(r, i, *out)
		}
	}
}

// unknown looks after a step whose outcome nobody saw.
func (s *State) unknown(r *remediation, i int) {
	st, q := &r.Steps[i], &r.Plan.Steps[i]
	class := st.Intent.Repeat
	silent := st.Unknowns - st.Orphans
	settled := st.Intent.Deadline.Add(time.Second)
	switch pause := doubled(time.Second, silent-1, time.Minute); {
	case st.Orphan && (class == api.Idempotent || class == api.Keyed):
		settled = st.DarkAt.Add(orphanWait)
	case class == api.Idempotent:
		settled = st.DarkAt.Add(pause)
	case class == api.Keyed || st.Absent:
		settled = st.Intent.Deadline.Add(pause)
	}
	spent := silent >= repeatsMax || st.Orphans >= orphansMax
	switch {
	case class == api.Blind:
		s.handOver(r, i, "the action cannot be repeated safely")
		return
	case s.now.Before(settled):
		r.at(settled)
		return
	case s.now.Before(st.NextAt):
		r.at(st.NextAt)
		return
	case st.Absent && (r.Cancel != "" || spent):
		s.step(r, i, api.Entry{Kind: api.EntryStepEnded, Outcome: &api.Outcome{Result: api.ResultFailed, Text: "The target says that it did not happen."},
			Text: fmt.Sprintf("Step %s did not happen and is not repeated.", q.Name)})
		return
	case class == api.Queryable && !st.Absent:
		s.look(r, i)
		return
	case class == api.Keyed && s.now.Add(q.Timeout).After(st.Until):
		s.handOver(r, i, fmt.Sprintf("the target recognises its key only until %s", st.Until.Format("15:04:05")))
		return
	case spent:
		s.handOver(r, i, fmt.Sprintf("%d attempts brought no answer", st.Unknowns))
		return
	case r.Cancel != "":
		s.handOver(r, i, "the remediation was called off")
		return
	case s.stopping:
		return
	}
	if no := s.hold(r, i); no != nil {
		r.at(no.Next)
		if class == api.Keyed {
			r.at(st.Until.Add(-q.Timeout))
		}
		s.refuseStep(r, i, *no)
		return
	}
	s.run(r, i, estimateOf(st), api.EntryStepRepeated)
}

func estimateOf(st *step) *api.Estimate {
	if st.Estimate != nil {
		return st.Estimate
	}
	return &api.Estimate{}
}

// look asks the target whether the attempt happened. Looking only reads: pauses do not hold it.
func (s *State) look(r *remediation, i int) {
	st, q := &r.Steps[i], &r.Plan.Steps[i]
	switch {
	case st.looks >= looksMax:
		s.handOver(r, i, fmt.Sprintf("the target was asked %d times and cannot tell", st.looks))
	case s.now.Before(st.lookAt):
		r.at(st.lookAt)
	case s.stopping || s.d.Halted != "":
	default:
		st.looks++
		s.send(r, i, Command{ID: s.commandID(r, q.Name, Look), Kind: Look, Fence: st.Intent.Fence, Deadline: s.now.Add(q.Timeout), Estimate: st.Estimate, Outcome: st.Outcome})
	}
}

// looked takes the target's answer.
func (s *State) looked(r *remediation, i int, o api.Outcome) {
	st, q := &r.Steps[i], &r.Plan.Steps[i]
	switch o.Result {
	case api.ResultDone:
		s.step(r, i, api.Entry{Kind: api.EntryStepReconciled, Outcome: &o, Text: said(o.Text, "The target says that step %s happened", q.Name)})
	case api.ResultRefused:
		s.step(r, i, api.Entry{Kind: api.EntryStepReconciled, Outcome: &o, Text: said(o.Text, "The target says that step %s did not happen", q.Name)})
	default: // it cannot tell yet
		st.lookAt = s.now.Add(doubled(time.Second, st.looks, 5*time.Minute))
	}
}

// handOver leaves a step to a person.
func (s *State) handOver(r *remediation, i int, why string) {
	q := &r.Plan.Steps[i]
	text := fmt.Sprintf("A person must say whether step %s of %s happened, because %s: look at its target, then say happened or void with backstay settle %s/%s.", q.Name, r.Plan.Name, why, r.ID, q.Name)
	if s.step(r, i, api.Entry{Kind: api.EntryStepHandedOver, Outcome: r.Steps[i].Outcome, Text: text}) {
		s.tell(r.Plan.Notify, Message{Title: "In doubt: " + r.Plan.Name + "/" + q.Name, Text: text, Severity: "critical", Dedup: r.Incident}, r.Incident, r)
	}
}

// awaitWord waits for a person's word on a step in doubt.
func (s *State) awaitWord(r *remediation, i int) {
	until := r.Steps[i].HandedAt.Add(settleWait)
	if r.Cancel == "" && s.now.Before(until) {
		r.at(until)
		return
	}
	s.endHandedOver(r, i)
}

// endHandedOver ends a remediation that leaves something in doubt.
func (s *State) endHandedOver(r *remediation, i int) {
	q := &r.Plan.Steps[i]
	what := "step " + q.Name
	if r.Steps[i].UndoState == api.StepHandedOver {
		what = "the undoing of step " + q.Name
	}
	s.end(r, api.EndInDoubt, fmt.Sprintf("Playbook %s ended in doubt: nobody knows whether %s happened; nothing automatic touches its targets until a person answers settled or void for %s/%s.",
		r.Plan.Name, what, r.ID, q.Name))
}
