package twin

import (
	"fmt"

	"github.com/backstay/backstay/api"
)

// systemState is an integration at work.
type systemState struct {
	active  int     // the endpoint that its route names
	locked  int     // faults that hold its lock
	hanging []place // items whose calls wait for the lock
}

// endState is an endpoint at work.
type endState struct {
	faults []int // those that strike it now
	second int64 // of the rate limit
	used   int64 // calls in that second
	calls  int64
}

// answer is what a caller gets.
type answer int32

const (
	answered   answer = iota // done
	refused                  // a no, without an effect
	failed                   // an error, without an effect
	unanswered               // nothing by its deadline
)

// reply is what an endpoint makes of a call.
type reply struct {
	answer answer
	took   int64 // until the caller knows
	effect int64 // until the effect; -1: there is none
	late   int64 // the callback, where there is one
}

// callFor makes the next call of an item.
func (w *world) callFor(i int32) {
	it := &w.items[i]
	call := &w.plan.steps[it.step].calls[it.call]
	sys := &w.systems[call.system]
	end := call.endpoint
	if end < 0 {
		end = sys.active
	}
	it.endpoint = int16(end)
	for _, f := range w.steps[it.step].poison {
		if w.strikes(f, i, 0) {
			w.heap.push(w.now+latencyDefault, evAnswer, i, int32(refused), it.gen)
			return
		}
	}
	if sys.locked > 0 {
		sys.hanging = append(sys.hanging, place{i, it.gen})
		w.heap.push(w.now+call.timeout, evAnswer, i, int32(failed), it.gen) // the caller gives up and rolls back
		return
	}
	r := w.reply(end, i, it.tries, call.timeout)
	if call.effect < 0 {
		r.effect = -1
	}
	if r.effect >= 0 {
		if r.answer == answered && r.late == 0 {
			w.heap.push(w.now+r.took, evAnswer, i, int32(answered), it.gen) // the effect is booked with the answer
			return
		}
		w.heap.push(w.now+r.effect, evEffect, i, int32(it.step)<<8|int32(it.call), uint32(end))
	}
	w.heap.push(w.now+r.took, evAnswer, i, int32(r.answer), it.gen)
}

// reply is what an endpoint makes of a call at this moment: its own nature first, then the faults that strike it.
func (w *world) reply(end int, i int32, try uint8, timeout int64) reply {
	e, st := &w.plan.endpoints[end], &w.ends[end]
	u := w.luck[luckCall].of(i, try)
	r := reply{answer: answered, took: e.takes.draw(u)}
	r.effect = r.took
	st.calls++
	v := scramble(u)
	switch {
	case w.limited(e.most, st):
		return reply{refused, min(r.took, latencyDefault), -1, 0}
	case hits(v, e.refuses):
		r.answer, r.effect = refused, -1
	case hits(v, e.refuses+e.fails):
		r.answer, r.effect = failed, -1
	case hits(v, e.refuses+e.fails+e.loses):
		r.answer = unanswered
	}
	for _, f := range st.faults {
		if w.strikes(f, i, try) {
			w.plan.faults[f].bend(w, st, &r)
		}
	}
	if e.confirms != nil && r.answer == answered && r.effect >= 0 {
		r.late = r.effect + e.confirms.draw(w.luck[luckCallback].of(i, try))
	}
	if r.took > timeout || r.answer == unanswered {
		r.answer, r.took = unanswered, timeout
	}
	return r
}

// limited counts a call against a rate limit.
func (w *world) limited(most api.Rate, st *endState) bool {
	if most.IsZero() {
		return false
	}
	if window := w.now / int64(most.Per); window != st.second {
		st.second, st.used = window, 0
	}
	st.used++
	return st.used > most.N
}

// answer takes what came of an item's call.
func (w *world) answer(i int32, a answer) {
	it := &w.items[i]
	sp := &w.plan.steps[it.step]
	call := &sp.calls[it.call]
	switch a {
	case answered:
		if call.effect >= 0 && w.plan.endpoints[it.endpoint].confirms == nil {
			w.ledger.book(w, i, call, int(it.endpoint))
		} else if call.effect >= 0 {
			w.awaitCallback(i)
			return
		}
		w.afterCall(i)
	case unanswered:
		switch {
		case call.effect < 0 || sp.unanswered == "retry":
			w.retry(i)
		case sp.unanswered == "fail":
			w.giveUp(i)
		default:
			pool := w.leave(i)
			w.settle(i, inDoubt)
			w.dispatch(pool)
		}
	default:
		w.retry(i)
	}
}

// giveUp ends an item's step at once, and frees its worker for others.
func (w *world) giveUp(i int32) {
	pool := w.plan.steps[w.items[i].step].pool
	w.give(i)
	w.dispatch(pool)
}

// afterCall goes on with the next call, or the work.
func (w *world) afterCall(i int32) {
	it := &w.items[i]
	it.call++
	if it.state == delayed { // it waited for a callback, without a worker
		if int(it.call) >= len(w.plan.steps[it.step].calls) {
			w.enter(i, w.plan.steps[it.step].next.choose(int(it.prev), w.luck[luckWay].of(i, it.visits)), int(it.step))
			return
		}
		w.enqueueAgain(i)
		return
	}
	w.proceed(i)
}

// enqueueAgain lets an item wait for a worker without beginning its step anew.
func (w *world) enqueueAgain(i int32) { w.settle(i, waiting) }

// awaitCallback parks an item whose effect will be confirmed later.
func (w *world) awaitCallback(i int32) {
	it := &w.items[i]
	pool := w.leave(i)
	w.settle(i, delayed)
	e := &w.plan.endpoints[it.endpoint]
	u := w.luck[luckCallback].of(i, it.tries)
	at := w.now + e.confirms.draw(u)
	doubles := e.doubles
	for _, f := range w.ends[it.endpoint].faults {
		switch fp := &w.plan.faults[f]; {
		case fp.kind == api.FaultLate && w.strikes(f, i, it.tries):
			at += fp.by
		case fp.kind == api.FaultDuplicate && w.strikes(f, i, it.tries):
			doubles = 1_000_000
		}
	}
	w.heap.push(at, evCallback, i, 0, it.gen)
	if hits(scramble(u), doubles) {
		if to := w.plan.steps[it.step].next.choose(int(it.prev), w.luck[luckWay].of(i, it.visits)); to >= 0 {
			w.heap.push(at+latencyDefault, evGhost, i, int32(to), 0)
		}
	}
	w.dispatch(pool)
}

// lateEffect books an effect whose answer did not come in time, or not at all; gen carries the endpoint.
func (w *world) lateEffect(i, at int32, end uint32) {
	w.ledger.book(w, i, &w.plan.steps[at>>8].calls[at&0xff], int(end))
}

// ghost is work on an item that a second delivery causes: its calls are made once more, and nobody waits for the answers.
func (w *world) ghost(i int32, step int) {
	for k := range w.plan.steps[step].calls {
		call := &w.plan.steps[step].calls[k]
		end := call.endpoint
		if end < 0 {
			end = w.systems[call.system].active
		}
		if r := w.reply(end, i, 200, call.timeout); call.effect >= 0 && r.effect >= 0 {
			w.heap.push(w.now+r.effect, evEffect, i, int32(step)<<8|int32(k), uint32(end))
		}
	}
}

// has tells whether an endpoint shows an item's effect to somebody who asks now.
func (w *world) has(i int32, effect, end int) bool {
	at, ok := w.ledger.at(i, effect, end)
	return ok && at+w.plan.endpoints[end].shows+w.stale(end) <= w.now
}

// stale is how far an endpoint's reads are behind.
func (w *world) stale(end int) int64 {
	var by int64
	for _, f := range w.ends[end].faults {
		if fp := &w.plan.faults[f]; fp.kind == api.FaultStale {
			w.faults[f].struck = true
			by = max(by, fp.by)
		}
	}
	return by
}

// itemName is how texts call an item.
func itemName(i int32) string { return fmt.Sprintf("item %d", i+1) }
