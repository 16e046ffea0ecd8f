package engine

import (
	"fmt"
	"slices"

	"github.com/backstay/backstay/api"
)

// recorded says which text of a playbook the log holds.
type recorded struct {
	Playbook string `json:"playbook"`
	Digest   string `json:"digest"`
}

// record puts the text of each playbook that is new or changed into the log, so that whoever reads a remediation years later
// finds what was approved, not only its digest.
func (s *State) record(c *Config) {
	for i := range c.Playbooks {
		p := &c.Playbooks[i]
		if p.Text == "" || slices.Contains(s.d.Texts, recorded{p.Name, p.Digest}) {
			continue
		}
		s.emit(api.Entry{Kind: api.EntryRecorded, Playbook: p.Name, Digest: p.Digest, Document: p.Text,
			Text: fmt.Sprintf("Playbook %s is in force in mode %s with this text.", p.Name, newPlan(p, c.Calendars).Mode)})
	}
}

// evidence keeps what makes the log complete for whoever reads a part of it.
func (s *State) evidence(e *api.Entry) {
	if inc := s.byID[e.Incident]; inc != nil && e.Nth > 0 {
		inc.Nth = e.Nth
	}
	if e.Kind == api.EntryRecorded {
		s.d.Texts = slices.DeleteFunc(s.d.Texts, func(r recorded) bool { return r.Playbook == e.Playbook })
		s.d.Texts = append(s.d.Texts, recorded{e.Playbook, e.Digest})
	}
}

// nth numbers the entries of an incident. An incident from before they were numbered begins with 1 in the middle.
func (s *State) nth(e *api.Entry) int64 {
	inc := s.byID[e.Incident]
	switch {
	case inc != nil:
		return inc.Nth + 1
	case e.Kind == api.EntryIncidentOpened:
		return 1
	}
	return 0
}

// objectiveFacts put what was promised into the log, so that a report can hold the incidents of a period against it.
func objectiveFacts(c *Config) []api.Fact {
	var facts []api.Fact
	for i := range c.Workflows {
		name, o := c.Workflows[i].Metadata.Name, c.Workflows[i].Spec.Objectives
		if d := o.Turnaround.Duration; d > 0 {
			facts = append(facts, api.Fact{Name: "objective " + name + " turnaround", Value: d.String()})
		}
		if o.Backlog > 0 {
			facts = append(facts, api.Fact{Name: "objective " + name + " backlog", Value: fmt.Sprint(o.Backlog)})
			if probe := c.Workflows[i].Spec.Value.CountedBy; probe != "" {
				facts = append(facts, api.Fact{Name: "objective " + name + " counted by", Value: probe})
			}
		}
		if o.Accuracy.PPM > 0 {
			facts = append(facts, api.Fact{Name: "objective " + name + " accuracy", Value: o.Accuracy.String()})
		}
	}
	return facts
}
