package engine

import (
	"fmt"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

// verify proves a repair by probes that look at the world after the last step. That an action returned 200 never counts.
func (s *State) verify(r *remediation) {
	if s.stopping || s.cfg == nil {
		return
	}
	if r.Plan.Tells {
		s.end(r, api.EndTold, fmt.Sprintf("Playbook %s did what it had to after %s: %s. It changes nothing, so there is nothing to verify.", r.Plan.Name, s.now.Sub(r.Opened).Round(100*time.Millisecond), stepNames(r.Plan)))
		return
	}
	if r.Proof == api.ResultDone {
		s.end(r, api.EndVerified, fmt.Sprintf("Playbook %s healed it after %s: %s.", r.Plan.Name, s.now.Sub(r.Opened).Round(100*time.Millisecond), strings.Join(r.Plan.Proof.Probes, ", ")+" seen to be well"))
		return
	}
	if r.Proving.IsZero() {
		text := fmt.Sprintf("Verification begins: %s must be well within %s", strings.Join(r.Plan.Proof.Probes, ", "), r.Plan.Proof.Within)
		if r.Plan.Proof.Hold > 0 {
			text += fmt.Sprintf(" and stay so for %s", r.Plan.Proof.Hold)
		}
		if !s.emit(api.Entry{Kind: api.EntryVerifyStarted, Incident: r.Incident, Remediation: r.ID, Playbook: r.Plan.Name, Digest: r.Plan.Digest, Text: text + "."}) {
			return
		}
	}
	s.expect(r, proving, &r.Plan.Proof)
}

// verified takes what the probes showed; the control totals come after them, once the world has settled.
func (s *State) verified(r *remediation, o api.Outcome) {
	if o.Result == api.ResultDone && len(r.Plan.Totals) > 0 && r.acted() {
		s.measure(r, totalsAfter)
		return
	}
	s.proved(r, o)
}

// proved ends the verification.
func (s *State) proved(r *remediation, o api.Outcome) {
	text := said(o.Text, "Verification passed")
	if o.Result != api.ResultDone {
		o.Result = api.ResultFailed
		text = said(o.Text, "Verification did not pass")
	}
	s.emit(api.Entry{Kind: api.EntryVerifyEnded, Incident: r.Incident, Remediation: r.ID, Playbook: r.Plan.Name, Digest: r.Plan.Digest, Outcome: &o, Text: text})
}
