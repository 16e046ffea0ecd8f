package twin

import (
	"fmt"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

// silence is what the engine itself writes where no result came: then none must be brought.
const silence = "No result came by the deadline."

// sent takes a command that the replay issues. In an incident that goes as recorded the log answers it; otherwise it is assumed.
func (b *retelling) sent(c *engine.Command) {
	b.issued[c.ID] = true
	if c.Kind == engine.Notify {
		return
	}
	p := b.pairs[c.Remediation]
	if p == nil {
		return
	}
	ic := b.cases[b.incs[p.incident]]
	if ic == nil || ic.parted || p.recorded == "" {
		b.assume(ic, p, c)
		return
	}
	b.pend[c.Remediation] = c
	if b.known {
		return
	}
	if c.Kind == engine.Look || c.Kind == engine.Plan && b.proofs[c.Remediation+"/"+c.Step] {
		b.unread(c, p)
	}
}

// unread decides when a question to a target brought no answer, where the engine must have asked again before the log has one: such that the
// question that was answered goes out in time for it.
func (b *retelling) unread(c *engine.Command, p *pair) {
	key := c.Remediation + "/" + c.Step + "/" + string(c.Kind)
	b.asked[key]++
	n, most, pause, last := b.asked[key], looksMost, func(n int) time.Duration { return gap(n, 5*time.Minute) }, api.EntryStepHandedOver
	if c.Kind == engine.Plan {
		most, pause, last = readsMost, func(n int) time.Duration { return gap(2*n, time.Minute) }, api.EntryUndoVerified
	}
	next := b.nextOf(p.recorded + "/" + c.Step)
	patience := c.Deadline.Add(resultGrace).Sub(b.at)
	if next == nil || n >= most {
		return
	}
	slack := next.At.Sub(b.at)
	if next.Kind == last && (c.Kind == engine.Look || next.Outcome != nil && next.Outcome.Result == api.ResultUnknown) {
		for k := n; k < most; k++ { // it was asked as often as it may be
			slack -= pause(k)
		}
	} else if slack <= patience {
		return // this may be the one that was answered
	} else {
		slack -= pause(n)
	}
	if slack >= patience {
		return // it is given up by itself
	}
	delete(b.pend, c.Remediation)
	o := api.Outcome{Result: api.ResultUnknown}
	if c.Kind == engine.Plan {
		o.Result = api.ResultFailed
	}
	b.schedule(dueEvent{at: b.at.Add(max(slack, 0)), event: engine.Event{Result: &engine.Result{Command: c.ID, Outcome: o}}, rem: c.Remediation})
}

// How often the engine asks a target, and reads it after an undo.
const (
	looksMost = 8
	readsMost = 3
)

// nextOf is the next recorded entry about a step, or about a remediation, that the replay has not come to.
func (b *retelling) nextOf(key string) *api.Entry {
	list := b.steps[key]
	for len(list) > 0 && b.done[list[0]] {
		list = list[1:]
	}
	b.steps[key] = list
	if len(list) == 0 {
		return nil
	}
	return &b.in.Entries[list[0]]
}

// notice keeps what the replay must know of its own entries.
func (b *retelling) notice(x *api.Entry) {
	switch x.Kind {
	case api.EntryAnomalyOpened:
		b.eyes.opened(*x.Anomaly, b.incs[x.Incident])
		b.took[x.Anomaly.ID()] = api.Entry{At: x.At, Kind: x.Kind, Incident: x.Incident, Node: x.Node, Text: fmt.Sprintf("%s became part of incident %s, which is still open.", x.Anomaly.ID(), strings.TrimPrefix(b.incs[x.Incident], "+"))}
	case api.EntryIncidentMerged:
		for _, f := range x.Facts {
			if f.Name == "into" {
				b.eyes.merged(b.incs[x.Incident], b.incs[f.Value])
			}
		}
	case api.EntryAnomalyCleared:
		b.eyes.cleared(*x.Anomaly)
	case api.EntryStepEnded, api.EntryStepUncertain, api.EntryVerifyEnded, api.EntryMeasured:
		delete(b.pend, x.Remediation)
	case api.EntryUndoEnded:
		delete(b.pend, x.Remediation)
		if x.Outcome != nil && x.Outcome.Result == api.ResultDone {
			b.proofs[x.Remediation+"/"+x.Step] = true
		}
	case api.EntryRemediationEnded:
		delete(b.pend, x.Remediation)
	}
}

// answer brings the result that a recorded entry shows, where the replay waits for it. It tells whether it did.
func (b *retelling) answer(e *api.Entry) bool {
	p := b.paired[e.Remediation]
	if p == nil {
		return false
	}
	c := b.pend[p.live]
	if c == nil {
		return false
	}
	res := engine.Result{Command: c.ID}
	if e.Outcome != nil {
		if e.Outcome.Text == silence && !e.At.Before(c.Deadline.Add(resultGrace)) {
			return false // a tick will do
		}
		res.Outcome = *e.Outcome
	}
	if !b.shows(e, c, &res) {
		return false
	}
	delete(b.pend, p.live)
	b.feed(engine.Event{At: e.At, Result: &res})
	return true
}

// shows tells whether an entry shows the result of a command, and completes the result.
func (b *retelling) shows(e *api.Entry, c *engine.Command, res *engine.Result) bool {
	here := e.Step == c.Step
	switch c.Kind {
	case engine.Plan:
		if b.proofs[c.Remediation+"/"+c.Step] {
			return here && e.Kind == api.EntryUndoVerified && readAgain(e, res)
		}
		return b.planned(e, here, res)
	case engine.Run:
		return here && e.Outcome != nil && (e.Kind == api.EntryStepEnded || e.Kind == api.EntryStepUncertain)
	case engine.Look:
		if here && e.Kind == api.EntryStepHandedOver {
			res.Outcome = api.Outcome{Result: api.ResultUnknown}
			return true
		}
		return here && e.Kind == api.EntryStepReconciled && e.Outcome != nil
	case engine.Undo:
		return here && e.Kind == api.EntryUndoEnded && e.Outcome != nil
	case engine.Expect:
		if e.Outcome == nil || e.Kind != api.EntryStepEnded && e.Kind != api.EntryVerifyEnded && e.Kind != api.EntryMeasured {
			return false
		}
		if e.Kind == api.EntryVerifyEnded {
			proved(e, c, res)
		}
		return e.Kind != api.EntryStepEnded || here
	}
	return false
}

// planned makes the result of a Plan out of the entry that followed it.
func (b *retelling) planned(e *api.Entry, here bool, res *engine.Result) bool {
	res.Estimate = &api.Estimate{}
	switch e.Kind {
	case api.EntryStepIntended, api.EntryAsked, api.EntryStepSkipped, api.EntryStepRefused:
		if !here {
			return false
		}
		res.Outcome = api.Outcome{Result: api.ResultDone}
		if e.Estimate != nil {
			estimate := *e.Estimate
			res.Estimate = &estimate
		}
		return true
	case api.EntryStepEnded:
		res.Estimate = nil
		return here && e.Outcome != nil && e.Outcome.Result != api.ResultDone
	case api.EntryRemediationEnded:
		res.Outcome = api.Outcome{Result: api.ResultDone}
		return true
	}
	return false
}

// readAgain makes the result of reading a target after an undo.
func readAgain(e *api.Entry, res *engine.Result) bool {
	if e.Outcome == nil {
		return false
	}
	switch e.Outcome.Result {
	case api.ResultDone:
		res.Estimate = &api.Estimate{}
		if e.Outcome.Text != "" {
			res.Estimate, res.Outcome = nil, api.Outcome{Result: api.ResultRefused, Text: e.Outcome.Text}
		}
	case api.ResultFailed:
		res.Estimate = &api.Estimate{Noop: true, Text: e.Outcome.Text}
	default:
		res.Outcome = api.Outcome{Result: api.ResultFailed, Text: e.Outcome.Text}
	}
	return true
}

// proved makes the results behind a verification with control totals: what the probes showed, then the totals.
func proved(e *api.Entry, c *engine.Command, res *engine.Result) {
	totals, compared := false, false
	for _, f := range e.Outcome.Facts {
		compared = compared || strings.HasPrefix(f.Name, "expected/")
	}
	totals = compared || strings.HasPrefix(e.Outcome.Text, "the control totals")
	if c.Expectation != nil && c.Expectation.Values {
		if compared {
			res.Outcome.Result = api.ResultDone // the engine holds them against each other again
		}
		return
	}
	if totals {
		res.Outcome.Result = api.ResultDone
	}
}

// expiring answers what would be given up at a tick although the log has nothing of the sort: it was answered, and the answer led to no entry.
func (b *retelling) expiring(at time.Time) {
	for _, id := range b.awaiting() {
		c := b.pend[id]
		if c == nil || at.Before(c.Deadline.Add(resultGrace)) {
			continue
		}
		p := b.pairs[id]
		next := b.nextOf(p.recorded + "/" + c.Step)
		if next != nil && next.At.Sub(at).Abs() <= wakeSlack {
			continue
		}
		res := engine.Result{Command: c.ID, Outcome: api.Outcome{Result: api.ResultUnknown}}
		if c.Kind == engine.Plan && !b.proofs[id+"/"+c.Step] {
			res.Outcome.Result = api.ResultDone
			res.Estimate = &api.Estimate{}
			if next != nil && next.Estimate != nil {
				estimate := *next.Estimate
				res.Estimate = &estimate
			}
		}
		delete(b.pend, id)
		b.feed(engine.Event{At: at, Result: &res})
	}
}
