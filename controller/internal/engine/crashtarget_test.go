package engine

import (
	"encoding/json"
	"time"

	"github.com/backstay/backstay/api"
)

var (
	doneOutcome    = api.Outcome{Result: api.ResultDone, Text: "ok"}
	unknownOutcome = api.Outcome{Result: api.ResultUnknown, Text: "no answer"}
	failedOutcome  = api.Outcome{Result: api.ResultFailed, Text: "connection refused"}
)

// perform does a command, with the breakage of the cell where it is reached.
func (b *bed) perform(c Command) {
	switch c.Kind {
	case Plan:
		b.reading(c, api.Outcome{Result: api.ResultDone}, &api.Estimate{Items: 1, Before: json.RawMessage(`{"was": 1}`), Text: "It will pay."}, failedOutcome)
	case Look:
		o := api.Outcome{Result: api.ResultRefused, Text: "not found"}
		if b.landed[c.Key] > 0 {
			o = api.Outcome{Result: api.ResultDone, Text: "found"}
		}
		b.reading(c, o, nil, unknownOutcome)
	case Expect:
		b.proofs++
		o := api.Outcome{Result: api.ResultFailed, Text: "it still waits"}
		if b.net == 1 && !(b.path == "repair does not hold" && b.proofs == 1) {
			o = api.Outcome{Result: api.ResultDone, Text: "it is well"}
		}
		b.reading(c, o, nil, failedOutcome)
	case Run:
		b.call(c, b.pay, b.script(c))
	case Undo:
		b.call(c, b.unpay, "")
	}
}

// reading is a command that only reads.
func (b *bed) reading(c Command, o api.Outcome, e *api.Estimate, wrong api.Outcome) {
	life := b.life
	broke := b.at(c.Kind, "call begun")
	if broke == "" {
		broke = b.at(c.Kind, "effect there, no answer")
	}
	tell := func(d time.Duration, o api.Outcome, e *api.Estimate) {
		b.after(d, func() { b.bring(life, c.ID, o, e, c.Kind) })
	}
	switch broke {
	case "crash":
		b.crash()
	case "error":
		tell(time.Second, wrong, nil)
	case "hang":
	case "duplicate":
		tell(time.Second, o, e)
		tell(30*time.Second, o, e)
	default:
		tell(time.Second, o, e)
	}
}

// script is what the path does to the first attempt.
func (b *bed) script(c Command) string {
	if b.runs++; b.runs > 1 {
		return ""
	}
	return b.path
}

// call is a command that changes the world: at each boundary the breakage of the cell may come in between.
func (b *bed) call(c Command, effect func(key, rem string), script string) {
	life := b.life
	if c.Kind == Run {
		b.judgeCall(c)
	}
	tell := func(d time.Duration, o api.Outcome) {
		if b.careless && o.Result == api.ResultUnknown {
			o.Result = api.ResultFailed
		}
		b.after(d, func() { b.bring(life, c.ID, o, nil, c.Kind) })
	}
	now := func() { effect(c.Key, c.Remediation) }
	left := c.Deadline.Sub(b.now) // negative where the log hung
	late := func() { b.after(max(0, left-100*time.Millisecond), now) }
	if left <= 0 {
		tell(0, unknownOutcome) // nothing is sent after the deadline
		return
	}
	void := func() { b.sent[c.Key]-- } // this attempt definitely had no effect
	switch b.at(c.Kind, "intent durable, nothing called") {
	case "crash":
		b.crash()
		return
	case "error":
		void()
		tell(0, api.Outcome{Result: api.ResultRefused, Text: "no runner"})
		return
	case "hang":
		b.after(left, func() { b.bring(life, c.ID, unknownOutcome, nil, c.Kind) })
		return
	case "duplicate":
		now()
		tell(time.Second, doneOutcome)
		tell(2*time.Second, doneOutcome)
		return
	}
	switch b.at(c.Kind, "call begun") {
	case "crash":
		b.crash()
		return
	case "error":
		void()
		tell(time.Second, failedOutcome)
		return
	case "hang":
		return
	case "duplicate":
		now()
		tell(time.Second, doneOutcome)
		tell(time.Minute, doneOutcome)
		return
	}
	switch b.at(c.Kind, "call on its way") {
	case "crash":
		late()
		b.crash()
		return
	case "error":
		late()
		tell(time.Second, unknownOutcome)
		return
	case "hang":
		late()
		return
	case "duplicate":
		late()
		tell(time.Second, unknownOutcome)
		tell(left+10*time.Second, doneOutcome)
		return
	}
	switch script {
	case "answer lost":
		now()
		tell(left, unknownOutcome)
		return
	case "request lost":
		tell(left, unknownOutcome)
		return
	case "refused first":
		void()
		tell(time.Second, failedOutcome)
		return
	}
	now()
	switch b.at(c.Kind, "effect there, no answer") {
	case "crash":
		b.crash()
	case "error":
		tell(time.Second, unknownOutcome)
	case "hang":
	case "duplicate":
		tell(time.Second, doneOutcome)
		tell(time.Minute, unknownOutcome)
	default:
		tell(time.Second, doneOutcome)
	}
}

// judgeCall holds a call against what must never happen.
func (b *bed) judgeCall(c Command) {
	intended := false
	for _, e := range b.journal {
		intended = intended || e.Intent != nil && e.Intent.Command == c.ID
	}
	if !intended {
		b.breach("a call without a durable intent: %s", c.ID)
	}
	if old, known := b.key[c.Remediation]; known && old != c.Key {
		b.breach("the key of %s changed", c.Remediation)
	}
	if b.key[c.Remediation] = c.Key; b.class == api.Blind && b.sent[c.Key] > 0 && !b.careless {
		b.breach("a blind step was repeated: %s", c.ID)
	}
	b.sent[c.Key]++
}

// pay is the effect of a run, when it reaches the target.
func (b *bed) pay(key, _ string) {
	if b.undone[key] {
		b.breach("a call arrived after it had been undone")
	}
	switch {
	case b.class == api.Idempotent:
		b.net = 1
	case b.class == api.Keyed && b.landed[key] > 0 && b.now.Sub(b.first[key]) < keyLife: // recognised
	default:
		b.net++
	}
	if b.landed[key]++; b.landed[key] == 1 {
		b.first[key] = b.now
	}
	b.doubled = b.doubled || b.net > 1
	b.settle()
}

// unpay is the effect of an undo.
func (b *bed) unpay(_, rem string) {
	key := b.key[rem]
	if b.undone[key] && b.class != api.Idempotent {
		b.breach("an undo of a %s step was done twice", b.class)
	}
	b.undone[key] = true
	b.net = max(0, b.net-1)
	b.settle()
}

// settle has the probe see, two seconds later, whether the item waits.
func (b *bed) settle() {
	b.after(2*time.Second, func() {
		b.ill = b.net == 0
		if !b.down {
			b.report()
		}
	})
}
