package engine

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

// result takes what came of a command. One that nobody waits for is evidence and changes nothing; a second one is ignored.
func (s *State) result(res *Result) {
	if s.seen.has(res) {
		return
	}
	if strings.HasPrefix(res.Command, "notify/") {
		s.notified(res)
		return
	}
	for _, r := range s.d.Remediations {
		if p := r.pend; p != nil && p.id == res.Command && r.End == "" {
			s.seen.add(res)
			s.settle(r, p, res)
			return
		}
	}
	s.seen.add(res)
	rem, step, kind := parseCommand(res.Command)
	if kind != Run && kind != Undo {
		return // it only read
	}
	e := api.Entry{Kind: api.EntryLateResult, Remediation: rem, Step: step, Outcome: &res.Outcome, Facts: []api.Fact{{Name: "command", Value: res.Command}},
		Text: said(res.Outcome.Text, "A result of step %s (%s) came after its time; it is kept as evidence and changes nothing", step, res.Outcome.Result)}
	if r := s.rems[rem]; r != nil {
		e.Incident, e.Playbook, e.Digest = r.Incident, r.Plan.Name, r.Plan.Digest
	}
	s.emit(e)
}

// said joins what happened with the words of whoever saw it.
func said(words, format string, args ...any) string {
	text := fmt.Sprintf(format, args...)
	if words = strings.TrimSpace(words); words == "" {
		return text + "."
	}
	return text + ": " + words
}

// parseCommand takes an id apart: REMEDIATION/STEP/KIND-EPOCH.N.
func parseCommand(id string) (rem, step string, kind CommandKind) {
	parts := strings.Split(id, "/")
	if len(parts) != 3 {
		return "", "", ""
	}
	k, _, _ := strings.Cut(parts[2], "-")
	return parts[0], parts[1], CommandKind(k)
}

// settle applies the result of the command that a remediation waits for.
func (s *State) settle(r *remediation, p *pending, res *Result) {
	r.pend = nil
	o := res.Outcome
	switch p.kind {
	case Plan:
		if p.undoing {
			s.undoProved(r, p.step, res)
			return
		}
		s.planned(r, p.step, res)
	case Run:
		s.ran(r, p.step, o)
	case Look:
		s.looked(r, p.step, o)
	case Undo:
		s.undone(r, p.step, o)
	case Expect:
		switch p.step {
		case proving:
			s.verified(r, o)
			return
		case totalsBefore:
			s.measured(r, o)
			return
		case totalsAfter:
			s.balanced(r, o)
			return
		}
		if o.Result != api.ResultDone {
			o.Result = api.ResultFailed
		}
		s.ran(r, p.step, o)
	}
}

// planned takes an estimate, or the reason why there is none. Planning only reads, so that nothing is ever uncertain.
func (s *State) planned(r *remediation, i int, res *Result) {
	q := &r.Plan.Steps[i]
	o := res.Outcome
	switch {
	case o.Result == api.ResultRefused, o.Result == api.ResultFailed:
	case res.Estimate == nil:
		o = api.Outcome{Result: api.ResultFailed, Text: cmpText(o.Text, "the plan brought no estimate")}
	case len(res.Estimate.Before) > 0 && !json.Valid(res.Estimate.Before):
		o = api.Outcome{Result: api.ResultFailed, Text: "the plan's before-image is not JSON, so that the step could not be undone"}
	case res.Estimate.Items < 0 || res.Estimate.Total < 0 || negative(res.Estimate.Amount):
		o = api.Outcome{Result: api.ResultFailed, Text: "the plan's figures are negative, so that no limit could be kept"}
	default:
		e := *res.Estimate
		r.Steps[i].est = &e
		return
	}
	o.Items, o.Amount = 0, nil
	s.failed(r, i, o, said(o.Text, "Step %s could not be planned", q.Name))
}

func negative(m api.Money) bool {
	for _, c := range m.Currencies() {
		if m[c] < 0 {
			return true
		}
	}
	return false
}

// ran takes the outcome of an attempt. Whatever is not definite is unknown.
func (s *State) ran(r *remediation, i int, o api.Outcome) {
	q, st := &r.Plan.Steps[i], &r.Steps[i]
	if definite := o.Result == api.ResultRefused || o.Result == api.ResultFailed; definite && st.Open > 0 {
		// This attempt had no effect, but an earlier one may have had.
		s.step(r, i, api.Entry{Kind: api.EntryStepUncertain, Outcome: &o,
			Text: said(o.Text, "The repeat of step %s did not happen, and nobody knows whether an earlier attempt did", q.Name)})
		if breakerOpen(&o) {
			s.refuseStep(r, i, *refusal(api.GuardBreaker, s.now.Add(breakWait), "the circuit breaker of its target is open: %s", o.Text))
		}
		return
	}
	switch o.Result {
	case api.ResultDone:
		s.step(r, i, api.Entry{Kind: api.EntryStepEnded, Outcome: &o, Text: said(o.Text, "Step %s is done", q.Name)})
	case api.ResultRefused:
		s.failed(r, i, o, said(o.Text, "Step %s was refused", q.Name))
	case api.ResultFailed:
		s.failed(r, i, o, said(o.Text, "Step %s failed", q.Name))
	default:
		o.Result = api.ResultUnknown
		s.step(r, i, api.Entry{Kind: api.EntryStepUncertain, Outcome: &o, Text: said(o.Text, "Nobody knows whether step %s happened", q.Name)})
	}
}

// failed records a definite failure. An open breaker is none of the step's attempts: it waits, but not for ever.
func (s *State) failed(r *remediation, i int, o api.Outcome, text string) {
	st := &r.Steps[i]
	if !s.step(r, i, api.Entry{Kind: api.EntryStepEnded, Outcome: &o, Text: text}) || !breakerOpen(&o) || st.partial() {
		return
	}
	no := refusal(api.GuardBreaker, s.now.Add(doubled(breakWait, st.Breaks, 10*time.Minute)), "the circuit breaker of its target is open: %s", o.Text)
	if st.Breaks >= breaksMax {
		no.Next = time.Time{}
		no.Reason = fmt.Sprintf("the circuit breaker of its target stayed open %d times", st.Breaks)
	}
	s.refuseStep(r, i, *no)
}

// breakerOpen tells whether a call was held back by an open circuit breaker.
func breakerOpen(o *api.Outcome) bool {
	if strings.Contains(o.Text, "breaker open") || strings.Contains(o.Text, "breaker is open") {
		return true
	}
	for _, c := range o.Calls {
		if strings.Contains(c.Status, "breaker open") {
			return true
		}
	}
	return false
}
