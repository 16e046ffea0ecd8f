package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

// demoteAfter is after how many runs in a row that did not verify a playbook only suggests, where its spec does not say.
const demoteAfter = 3

// mark is a run after which a playbook waits for a person.
//
// Compatibility: as for durable.
type mark struct {
	At          time.Time          `json:"at"`
	Remediation string             `json:"remediation"`
	Digest      string             `json:"digest"` // of the playbook then
	End         api.RemediationEnd `json:"end"`
	Until       time.Time          `json:"until,omitzero"` // of the approval then
	Runs        int                `json:"runs,omitempty"` // in a row that did not verify
}

// trust keeps the record by which a playbook is demoted, and whether its last run must be acknowledged. Only runs that touched
// something count.
func (b *book) trust(r *remediation, e *api.Entry) {
	if !r.acted() {
		return
	}
	switch e.End {
	case api.EndVerified:
		b.Streak = 0
	case api.EndNotVerified, api.EndFailed, api.EndInDoubt:
		b.Streak++
	}
	if r.Plan.Acknowledge == "always" || r.Plan.Acknowledge == "unverified" && e.End != api.EndVerified {
		b.Unacked = &mark{At: e.At, Remediation: r.ID, Digest: r.Plan.Digest, End: e.End}
	}
}

// demote takes from a playbook the right to act on its own, once too many runs in a row did not verify.
func (s *State) demote(r *remediation) {
	b, most := s.books[r.Plan.Name], r.Plan.DemoteAfter
	if most <= 0 {
		most = demoteAfter
	}
	if b == nil || b.Streak < most || b.Demoted != nil && b.Demoted.Digest == r.Plan.Digest {
		return
	}
	text := fmt.Sprintf("Playbook %s only suggests from now on, because %s did not verify; backstay ack %s gives it back what it was trusted with, and so does a changed playbook or a new approval.",
		r.Plan.Name, lastRuns(b.Streak), r.Plan.Name)
	if s.emit(api.Entry{Kind: api.EntryDemoted, Incident: r.Incident, Remediation: r.ID, Playbook: r.Plan.Name, Digest: r.Plan.Digest, Text: text}) {
		s.tell(r.Plan.Notify, Message{Title: "Demoted: " + r.Plan.Name, Text: text, Severity: "critical", Dedup: r.Incident}, r.Incident, r)
	}
}

// demoted says why a playbook only suggests; empty where it does not, because it was never demoted, or was changed or approved
// anew since.
func (s *State) demoted(p *plan) string {
	b := s.books[p.Name]
	if b == nil || b.Demoted == nil || b.Demoted.Digest != p.Digest {
		return ""
	}
	m := b.Demoted
	if a := p.Approval; a != nil && !m.Until.IsZero() && a.Expires.After(m.Until) {
		return ""
	}
	return fmt.Sprintf("%s did not verify, the latest of them %s; backstay ack %s lifts it", lastRuns(m.Runs), m.Remediation, p.Name)
}

func lastRuns(n int) string {
	if n == 1 {
		return "its last run"
	}
	return fmt.Sprintf("its last %d runs", n)
}

// guardAck holds a playbook back until a person has looked at its last run, where the playbook asks for that.
func (s *State) guardAck(c *candidate) (*api.Refusal, time.Time) {
	b := s.books[c.plan.Name]
	if b == nil || b.Unacked == nil || c.plan.Acknowledge == "" {
		return nil, time.Time{}
	}
	return refusal(api.GuardAck, time.Time{}, "its run %s ended %s, and a person must look at that first: backstay ack %s", b.Unacked.Remediation, b.Unacked.End, c.plan.Name), time.Time{}
}

// guardTold: a playbook that only tells does so once in an incident, unless its cool-down says how often.
func (s *State) guardTold(c *candidate) (*api.Refusal, time.Time) {
	if !c.plan.Tells || c.plan.Limits.Cooldown.Duration > 0 {
		return nil, time.Time{}
	}
	for _, id := range c.inc.Remediations {
		if r := s.rems[id]; r != nil && r.Plan.Name == c.plan.Name && r.End == api.EndTold {
			return refusal(api.GuardTold, time.Time{}, "it has told of this incident already (%s); a limits.cooldown would have it tell again", id), time.Time{}
		}
	}
	return nil, time.Time{}
}

// acknowledge takes a person's word that a playbook's last run was looked at.
func (s *State) acknowledge(d api.Decision) {
	name, _, _ := strings.Cut(d.Target, "/")
	if r := s.rems[name]; r != nil {
		name = r.Plan.Name
	}
	b := s.books[name]
	switch {
	case d.By == "":
		s.refuseWord(d, nil, "it does not say whose word it is")
		return
	case b == nil || b.Unacked == nil && b.Demoted == nil:
		s.refuseWord(d, nil, "no run of %q waits to be acknowledged", name)
		return
	}
	var what []string
	if b.Unacked != nil {
		what = append(what, fmt.Sprintf("its run %s, which ended %s", b.Unacked.Remediation, b.Unacked.End))
	}
	if b.Demoted != nil {
		what = append(what, "that it was demoted")
	}
	text := fmt.Sprintf("%s acknowledged of playbook %s %s; it may run again.", d.By, name, strings.Join(what, " and "))
	if d.Reason != "" {
		text += " Reason: " + d.Reason
	}
	s.emit(api.Entry{Kind: api.EntryDecided, Actor: d.By, Playbook: name, Decision: &d, Text: text})
}

// acted tells whether any step that may change something was intended.
func (r *remediation) acted() bool {
	for i := range r.Steps {
		if r.Steps[i].Attempt > 0 && r.Plan.Steps[i].danger() > api.D0 {
			return true
		}
	}
	return false
}

// tells says whether a playbook can change nothing and has nothing to prove: it tells, asks or looks, and nothing follows.
func (p *plan) tells(sp *api.PlaybookSpec) bool {
	return p.Danger <= api.D0 && len(sp.Verify.Probes)+len(sp.Verify.Reconcile) == 0 && p.next() == "" &&
		!slices.ContainsFunc(p.Steps, func(q planned) bool { return q.Plan.Control.Expect != nil })
}
