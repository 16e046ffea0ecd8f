package twin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

// What the world answers where the log cannot say it. Each such answer is an assumption, and everything after it in its incident rests on it.
const (
	planTook   = 100 * time.Millisecond // how long a plan, a look or an undo is supposed to take
	actionTook = time.Second            // how long a step
)

// assume answers a command of an incident that does not go as recorded: with what the log's own counterpart of the command brought,
// and otherwise as planned.
func (b *retelling) assume(c *incidentCase, p *pair, cmd *engine.Command) {
	key := string(cmd.Kind) + "/" + cmd.Step
	nth := p.byStep[key]
	p.byStep[key]++
	res := engine.Result{Command: cmd.ID}
	took, why := planTook, ""
	switch cmd.Kind {
	case engine.Plan:
		why = b.assumePlan(p, cmd, &res)
	case engine.Expect:
		took, why = b.assumeExpect(p, cmd, nth, &res)
	default:
		outcome, after := b.recordedOutcome(p, cmd, nth)
		if outcome != nil {
			res.Outcome, took = *outcome, after
			break
		}
		res.Outcome = api.Outcome{Result: api.ResultDone, Text: "Supposed to be done as planned."}
		if cmd.Kind == engine.Run {
			took = actionTook
			if cmd.Estimate != nil {
				res.Outcome.Items, res.Outcome.Amount = cmd.Estimate.Items, cmd.Estimate.Amount
			}
		}
		why = fmt.Sprintf("%s of %s/%s is supposed to be done as planned, because the log has no such call", cmd.Kind, cmd.Playbook, cmd.Step)
	}
	if why != "" && c.assumed == "" {
		c.assumed = why
	}
	b.schedule(dueEvent{at: b.at.Add(took), event: engine.Event{Result: &res}, rem: cmd.Remediation})
}

// recordedOutcome is what the nth call of this kind brought in the log, and after how long.
func (b *retelling) recordedOutcome(p *pair, cmd *engine.Command, nth int) (*api.Outcome, time.Duration) {
	begins := []api.EntryKind{api.EntryStepIntended, api.EntryStepRepeated}
	ends := []api.EntryKind{api.EntryStepEnded, api.EntryStepUncertain}
	switch cmd.Kind {
	case engine.Undo:
		begins, ends = []api.EntryKind{api.EntryUndoIntended}, []api.EntryKind{api.EntryUndoEnded}
	case engine.Look:
		begins, ends = []api.EntryKind{api.EntryStepUncertain}, []api.EntryKind{api.EntryStepReconciled}
	}
	return b.recordedResult(p, cmd.Step, begins, ends, nth)
}

// recordedResult finds the nth entry that ends what one of begins began, in the recorded remediation.
func (b *retelling) recordedResult(p *pair, step string, begins, ends []api.EntryKind, nth int) (*api.Outcome, time.Duration) {
	if p.recorded == "" {
		return nil, 0
	}
	var began time.Time
	for _, i := range b.all[p.recorded] {
		e := &b.in.Entries[i]
		switch {
		case e.Step != step:
		case slices.Contains(begins, e.Kind):
			began = e.At
		case slices.Contains(ends, e.Kind) && !began.IsZero() && e.Outcome != nil:
			if nth > 0 {
				nth--
			} else {
				return e.Outcome, max(e.At.Sub(began), 0)
			}
			began = time.Time{}
		}
	}
	return nil, 0
}

// assumePlan gives a step the estimate that the log has for it: of the same remediation, or else the last one of the same playbook and step.
func (b *retelling) assumePlan(p *pair, cmd *engine.Command, res *engine.Result) string {
	res.Outcome, res.Estimate = api.Outcome{Result: api.ResultDone}, &api.Estimate{}
	if b.proofs[cmd.Remediation+"/"+cmd.Step] {
		return "" // what was undone is gone
	}
	if p.recorded != "" {
		for _, i := range b.all[p.recorded] {
			if e := &b.in.Entries[i]; e.Step == cmd.Step && e.Estimate != nil {
				estimate := *e.Estimate
				res.Estimate = &estimate
				return ""
			}
		}
	}
	known := b.estimates[cmd.Playbook+"/"+cmd.Step]
	if len(known) == 0 {
		return fmt.Sprintf("%s/%s is supposed to touch nothing that counts, because the log has no estimate of it", cmd.Playbook, cmd.Step)
	}
	best := known[0]
	for _, i := range known {
		if !b.in.Entries[i].At.After(b.at) {
			best = i
		}
	}
	estimate := *b.in.Entries[best].Estimate
	estimate.Noop = false
	res.Estimate = &estimate
	return fmt.Sprintf("%s/%s is supposed to touch what it was estimated to touch in entry %d", cmd.Playbook, cmd.Step, b.in.Entries[best].Seq)
}

// assumeExpect has probes be well when the log says that their anomalies cleared.
func (b *retelling) assumeExpect(p *pair, cmd *engine.Command, nth int, res *engine.Result) (time.Duration, string) {
	begins, ends := []api.EntryKind{api.EntryVerifyStarted}, []api.EntryKind{api.EntryVerifyEnded}
	if cmd.Step != "" {
		begins, ends = []api.EntryKind{api.EntryStepIntended}, []api.EntryKind{api.EntryStepEnded}
	}
	values := cmd.Expectation != nil && cmd.Expectation.Values
	if o, after := b.recordedResult(p, cmd.Step, begins, ends, nth); o != nil && !values {
		res.Outcome = *o
		return after, ""
	}
	if values {
		return b.assumeTotals(p, cmd, res)
	}
	well, last := b.at, ""
	for _, id := range b.eyes.ids {
		a := b.eyes.open[id]
		if !slices.Contains(cmd.Expectation.Probes, a.Probe) {
			continue
		}
		if at := b.clears(id); at.IsZero() || at.After(well) {
			well, last = at, id
			if at.IsZero() {
				break
			}
		}
	}
	why := fmt.Sprintf("what %s showed to %s is supposed to be what the log says", strings.Join(cmd.Expectation.Probes, ", "), cmd.Playbook)
	well = well.Add(cmd.Expectation.Hold)
	if last != "" && b.clears(last).IsZero() || well.After(cmd.Deadline) {
		res.Outcome = api.Outcome{Result: api.ResultFailed, Text: "In the log " + last + " was not over in time."}
		return cmd.Deadline.Sub(b.at), why
	}
	res.Outcome = api.Outcome{Result: api.ResultDone, Text: "In the log the probes were well."}
	return max(well.Sub(b.at), actionTook), why
}

// assumeTotals has control totals be what the log measured, and otherwise the same before and after.
func (b *retelling) assumeTotals(p *pair, cmd *engine.Command, res *engine.Result) (time.Duration, string) {
	res.Outcome = api.Outcome{Result: api.ResultDone}
	if p.recorded != "" {
		for _, i := range b.all[p.recorded] {
			if e := &b.in.Entries[i]; e.Kind == api.EntryMeasured && e.Outcome != nil {
				res.Outcome = *e.Outcome
				break
			}
		}
	}
	if len(res.Outcome.Facts) == 0 {
		for _, probe := range cmd.Expectation.Probes {
			res.Outcome.Facts = append(res.Outcome.Facts, api.Fact{Name: api.ValueFact(probe), Value: "0"})
		}
	}
	return actionTook, "the control totals of " + cmd.Playbook + " are supposed to be the same before and after"
}

// clears is when the log says that an anomaly that is open now was over; zero where it never was.
func (b *retelling) clears(id string) time.Time {
	for _, i := range b.over[id] {
		if e := &b.in.Entries[i]; !b.done[i] && !e.At.Before(b.at) {
			return e.At
		}
	}
	return time.Time{}
}
