package engine

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

// What an Expect command is for, where it is not for a step.
const (
	proving      = -1 // the playbook's verification
	totalsBefore = -2
	totalsAfter  = -3
)

// measure has the probes of the control totals read once.
func (s *State) measure(r *remediation, when int) {
	e := &api.Expectation{OK: 1, Within: r.Plan.Proof.Within, Values: true}
	for _, t := range r.Plan.Totals {
		for _, probe := range t.Probes {
			if !slices.Contains(e.Probes, probe) {
				e.Probes = append(e.Probes, probe)
			}
		}
	}
	s.send(r, when, Command{ID: s.commandID(r, "totals", Expect), Kind: Expect, Deadline: s.now.Add(e.Within), Expectation: e})
}

// sums adds up what was read; an error names the probe that brought no value.
func (p *plan) sums(o *api.Outcome) ([]float64, error) {
	if o.Result != api.ResultDone {
		return nil, fmt.Errorf("%s", cmpText(o.Text, "no result came"))
	}
	var out []float64
	for _, t := range p.Totals {
		sum := 0.0
		for _, probe := range t.Probes {
			v, err := strconv.ParseFloat(fact(o.Facts, api.ValueFact(probe)), 64)
			if err != nil {
				return nil, fmt.Errorf("%s brought no value", probe)
			}
			sum += v
		}
		if math.IsNaN(sum) || math.IsInf(sum, 0) {
			return nil, fmt.Errorf("the sum of %s is no number", strings.Join(t.Probes, ", "))
		}
		out = append(out, sum)
	}
	return out, nil
}

// number writes a total exactly.
func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// measured takes the control totals before the first step. Without them there is nothing to hold the result against, so nothing begins.
func (s *State) measured(r *remediation, o api.Outcome) {
	e := api.Entry{Kind: api.EntryMeasured, Incident: r.Incident, Remediation: r.ID, Playbook: r.Plan.Name, Digest: r.Plan.Digest}
	sums, err := r.Plan.sums(&o)
	if err != nil {
		o.Result = api.ResultFailed
		e.Refusal = refusal(api.GuardTotals, time.Time{}, "the control totals cannot be taken before the first step: %s", strings.TrimSuffix(err.Error(), "."))
		e.Text = fmt.Sprintf("Playbook %s does not begin: %s.", r.Plan.Name, e.Refusal.Reason)
	} else {
		var parts []string
		for i, t := range r.Plan.Totals {
			e.Facts = append(e.Facts, api.Fact{Name: "total/" + t.Name, Value: number(sums[i])})
			parts = append(parts, t.Name+" "+number(sums[i]))
		}
		e.Text = "Control totals before the first step: " + strings.Join(parts, ", ") + "."
	}
	e.Outcome = &o
	r.totalled = s.emit(e) && err == nil
}

// applyMeasured keeps the totals before the first step, or that there are none.
func (r *remediation) applyMeasured(e *api.Entry) error {
	if r.acted() || e.Outcome == nil {
		return errIllegal
	}
	if e.Refusal != nil {
		r.NoTotals = e.Refusal.Reason
		return nil
	}
	r.Totals = nil
	for _, t := range r.Plan.Totals {
		v, err := strconv.ParseFloat(fact(e.Facts, "total/"+t.Name), 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return errIllegal
		}
		r.Totals = append(r.Totals, v)
	}
	return nil
}

// balanced holds the totals after the last step against those before the first, and adds its word to the verification's.
func (s *State) balanced(r *remediation, o api.Outcome) {
	sums, err := r.Plan.sums(&o)
	if err != nil {
		o.Result, o.Text = api.ResultFailed, fmt.Sprintf("the control totals cannot be taken after the last step: %v", err)
		s.proved(r, o)
		return
	}
	var wrong, right []string
	for i, t := range r.Plan.Totals {
		if i >= len(r.Totals) {
			wrong = append(wrong, fmt.Sprintf("control total %s was not taken before the first step", t.Name))
			continue
		}
		want, moved := r.Totals[i], ""
		switch t.Moved {
		case "in":
			want += float64(r.Items)
			moved = fmt.Sprintf(" and %s came in", count(r.Items, "item"))
		case "out":
			want -= float64(r.Items)
			moved = fmt.Sprintf(" and %s went out", count(r.Items, "item"))
		}
		o.Facts = append(o.Facts, api.Fact{Name: "total/" + t.Name, Value: number(sums[i])}, api.Fact{Name: "expected/" + t.Name, Value: number(want)})
		if math.Abs(sums[i]-want) > 1e-9*max(1, math.Abs(want)) {
			wrong = append(wrong, fmt.Sprintf("control total %s was %s%s, but is %s", t.Name, number(r.Totals[i]), moved, number(sums[i])))
		} else {
			right = append(right, t.Name+" "+number(sums[i]))
		}
	}
	o.Result, o.Text = api.ResultDone, "the probes are well and the control totals agree: "+strings.Join(right, ", ")
	if len(wrong) > 0 {
		o.Result, o.Text = api.ResultFailed, strings.Join(wrong, "; ")
	}
	s.proved(r, o)
}
