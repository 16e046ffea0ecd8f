package engine

import (
	"slices"

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
