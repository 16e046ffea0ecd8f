package engine

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/backstay/backstay/api"
)

// UnderWay is a remediation that has not ended, as a twin that begins with this state must know it.
type UnderWay struct {
	ID, Playbook, Digest string

	Began  bool // a step was intended
	Asks   bool // people are asked about the remediation itself
	Yes    []string
	Items  int64 // touched so far, or reserved
	Amount api.Money
	Steps  []StepUnderWay // in the order of its plan
}

// StepUnderWay is one of its steps.
type StepUnderWay struct {
	Name    string
	Asks    bool          // people are asked about it now
	Asked   *api.Estimate // the figures that they are or were asked about
	Yes     []string
	Unknown bool // nobody knows yet whether it happened
}

// UnderWay lists the remediations that have not ended, in the order in which they were opened.
func (s *State) UnderWay() []UnderWay {
	var out []UnderWay
	for _, r := range s.d.Remediations {
		if r.End != "" {
			continue
		}
		u := UnderWay{ID: r.ID, Playbook: r.Plan.Name, Digest: r.Plan.Digest, Began: r.began(), Asks: r.Claim == 0, Yes: slices.Clone(r.Yes), Items: r.Items, Amount: r.Amount.Times(1)}
		for i := range r.Steps {
			st := &r.Steps[i]
			u.Steps = append(u.Steps, StepUnderWay{Name: r.Plan.Steps[i].Name, Asks: !u.Asks && st.State == api.StepAsking, Asked: st.Asked, Yes: slices.Clone(st.Yes),
				Unknown: slices.Contains([]api.StepState{api.StepIntended, api.StepRepeated, api.StepUncertain}, st.State)})
		}
		out = append(out, u)
	}
	return out
}

// DoneStep is a step that was done and, as far as the engine knows, holds.
type DoneStep struct {
	Playbook, Digest, Step string

	At     time.Time // when it ended, or was undone
	Undone bool
	Before json.RawMessage // what was there before, as its action has read it
}

// DoneSteps lists the steps of the remediations of the last hour that were done, in the order of their ends.
func (s *State) DoneSteps() []DoneStep {
	var out []DoneStep
	for _, r := range s.d.Remediations {
		for i := range r.Steps {
			st := &r.Steps[i]
			if st.State != api.StepDone && st.State != api.StepReconciled {
				continue
			}
			d := DoneStep{Playbook: r.Plan.Name, Digest: r.Plan.Digest, Step: r.Plan.Steps[i].Name, At: st.Ended}
			if st.Estimate != nil {
				d.Before = st.Estimate.Before
			}
			if st.UndoState == api.StepDone {
				d.At, d.Undone = st.UndoEnded, true
			}
			out = append(out, d)
		}
	}
	slices.SortStableFunc(out, func(a, b DoneStep) int { return a.At.Compare(b.At) })
	return out
}
