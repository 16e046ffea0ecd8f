package engine

import (
	"fmt"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

// Approval is what the signatures on a playbook allow, as the border verified it. Time passes here: the engine judges Expires by
// the time of events.
//
// Compatibility: it travels in the plan of a remediation, so it follows the rules of plan.
type Approval struct {
	Mode    api.Mode  `json:"mode"`             // the highest mode that the signatures allow; suggest where nobody approved
	By      []string  `json:"by,omitempty"`     // the people whose signatures count
	Expires time.Time `json:"expires,omitzero"` // zero: never
	Why     string    `json:"why,omitempty"`    // why Mode is less than the playbook's own: no capital, no full stop
}

// allowed is the mode that playbook i may have now, and why it is less than the mode that is written in it.
func (s *State) allowed(i int) (api.Mode, string) {
	p := s.cfg.plans[i]
	a := p.Approval
	if p.Mode.Rank() > api.ModeSuggest.Rank() {
		if why := s.demoted(p); why != "" {
			return api.ModeSuggest, why
		}
	}
	if a == nil {
		return p.Mode, ""
	}
	if p.Mode.Rank() > api.ModeSuggest.Rank() && !a.Expires.IsZero() && !s.now.Before(a.Expires) {
		return api.ModeSuggest, fmt.Sprintf("its approval by %s expired at %s", strings.Join(a.By, " and "), a.Expires.Format("15:04:05 on 2 January 2006"))
	}
	if p.Mode == modeOf(&s.cfg.Playbooks[i].Spec) {
		return p.Mode, ""
	}
	return p.Mode, cmpText(a.Why, "nobody approved it for more")
}

// approvalFacts say of each playbook that may act what the signatures on it allow.
func approvalFacts(c *Config) []api.Fact {
	var out []api.Fact
	for i := range c.Playbooks {
		p := &c.Playbooks[i]
		if p.Approval == nil || modeOf(&p.Spec).Rank() <= api.ModeSuggest.Rank() {
			continue
		}
		text := "mode " + string(modeOf(&p.Spec).Lesser(p.Approval.Mode))
		if len(p.Approval.By) > 0 {
			text += ", by " + strings.Join(p.Approval.By, " and ")
		}
		if !p.Approval.Expires.IsZero() {
			text += ", until " + p.Approval.Expires.Format(time.RFC3339)
		}
		if p.Approval.Why != "" {
			text += ": " + p.Approval.Why
		}
		out = append(out, api.Fact{Name: "approval/" + p.Name, Value: text})
	}
	return out
}

// breakGlass takes the yes of one person for the yes of everybody who was asked, and tells the world.
func (s *State) breakGlass(r *remediation, i int, d api.Decision) {
	what, n := "PLAYBOOK "+r.Plan.Name, r.Plan.People
	if i >= 0 {
		what, n = "STEP "+r.Plan.Steps[i].Name+" OF "+what, r.Steps[i].People
	}
	text := fmt.Sprintf("BREAK-GLASS: %s ALONE APPROVED %s, IN PLACE OF %s.", d.By, what, strings.ToUpper(people(n)))
	if !s.decided(r, i, d, text) {
		return
	}
	var all []string
	if s.cfg != nil {
		for k := range s.cfg.Integrations {
			if s.cfg.Integrations[k].Spec.Channel != nil {
				all = append(all, s.cfg.Integrations[k].Metadata.Name)
			}
		}
	}
	s.tell(all, Message{Title: "BREAK-GLASS: " + r.Plan.Name, Text: text + " Reason: " + d.Reason, Severity: "critical", Dedup: r.Incident}, r.Incident, r)
}

// fourEyes tells whether two people said yes to the whole, or one broke the glass.
func (r *remediation) fourEyes() bool { return len(r.Yes) >= 2 || r.Glass != "" }
