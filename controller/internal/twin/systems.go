package twin

import (
	"fmt"

	"github.com/backstay/backstay/api"
)

// systemState is an integration at work.
type systemState struct {
	active  int     // the endpoint that its route names
	locks   []int   // faults that hold its lock
	hanging []place // items whose calls wait for the lock
}

// endState is an endpoint at work.
type endState struct {
	faults []int // those that strike it now, outages first
	window int64 // of the rate limit
	used   int64 // calls in that window
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
	if it.pinned && it.endpoint >= 0 && w.plan.endpoints[it.endpoint].system == call.system {
		end = int(it.endpoint)
	}
	it.endpoint = int16(end)
	it.attempt++
	if w.locked(call.system) {
		sys.hanging = append(sys.hanging, place{i, it.gen})
		w.heap.push(w.now+call.timeout, evAnswer, i, int32(failed), it.gen) // the caller gives up and rolls back
		return
	}
	r := w.reply(end, w.luck[luckCall].at(w.chance(i)), w.chance(i), call.timeout)
	if r.effect >= 0 && call.effect >= 0 && (r.answer != answered || w.plan.endpoints[end].confirms != nil) {
		w.heap.add(event{at: w.now + r.effect, kind: evEffect, end: int16(end), a: i, b: int32(it.step)<<8 | int32(it.call)})
	}
	// Where the answer tells of the effect, the effect is booked with it: see unheard for the one that nobody hears.
	w.heap.add(event{at: w.now + r.took, kind: evAnswer, end: int16(end), a: i, b: int32(it.step)<<10 | int32(it.call)<<2 | int32(r.answer), gen: it.gen})
}

// locked tells whether calls of a system hang now.
func (w *world) locked(system int) bool {
	for _, f := range w.systems[system].locks {
		w.faults[f].struck = true
	}
	return len(w.systems[system].locks) > 0
}

// unheard is an answer whose caller is gone: his worker was stopped meanwhile. The effect happened all the same.
func (w *world) unheard(e *event) {
	if call := w.call(e.b >> 2); answer(e.b&3) == answered && call != nil && call.effect >= 0 && w.plan.endpoints[e.end].confirms == nil {
		w.ledger.book(w, e.a, call, int(e.end))
	}
}

// call is the call that an event names; nil where it names none.
func (w *world) call(at int32) *callPlan {
	if calls := w.plan.steps[at>>8].calls; int(at&0xff) < len(calls) {
		return &calls[at&0xff]
	}
	return nil
}

// reply is what an endpoint makes of a call at this moment: its own nature first, then the faults that strike it. U is the call's luck
// with the endpoint, n its place in the luck with faults.
func (w *world) reply(end int, u, n uint64, timeout int64) reply {
	e, st := &w.plan.endpoints[end], &w.ends[end]
	r := reply{answer: answered, took: e.takes.draw(u)}
	r.effect = r.took
	v := scramble(u)
	switch {
	case limited(e.most, st, w.now):
		return reply{refused, min(r.took, latencyDefault), -1}
	case hits(v, e.refuses):
		r.answer, r.effect = refused, -1
	case hits(v, e.refuses+e.fails):
		r.answer, r.effect = failed, -1
	case hits(v, e.refuses+e.fails+e.loses):
		r.answer = unanswered
	}
	for _, f := range st.faults {
		if w.plan.faults[f].bends() && w.strikes(f, n) && w.bend(f, &r) {
			break
		}
	}
	if r.took > timeout || r.answer == unanswered {
		r.answer, r.took = unanswered, timeout
	}
	return r
}

// limited counts a call against a rate limit.
func limited(most api.Rate, st *endState, now int64) bool {
	if most.IsZero() {
		return false
	}
	if window := now / int64(most.Per); window != st.window {
		st.window, st.used = window, 0
	}
	st.used++
	return st.used > most.N
}

// answer takes what came of an item's call.
func (w *world) answer(i int32, a answer) {
	it := &w.items[i]
	sp := &w.plan.steps[it.step]
	if a == refused || a == failed {
		w.retry(i)
		return
	}
	call := &sp.calls[it.call]
	switch {
	case a == answered && call.effect >= 0 && w.plan.endpoints[it.endpoint].confirms != nil:
		w.awaitCallback(i)
	case a == answered:
		if call.effect >= 0 {
			w.ledger.book(w, i, call, int(it.endpoint))
		}
		it.call++
		it.pinned = false
		w.proceed(i)
	case call.effect < 0 || sp.unanswered == "retry":
		w.retry(i)
	case sp.unanswered == "fail":
		w.giveUp(i)
	default:
		pool := w.leave(i)
		w.settle(i, inDoubt)
		w.dispatch(pool)
	}
}

// giveUp ends an item's step at once, and frees its worker for others.
func (w *world) giveUp(i int32) {
	pool := w.plan.steps[w.items[i].step].pool
	w.give(i)
	w.dispatch(pool)
}

// awaitCallback parks an item whose effect will be confirmed later.
func (w *world) awaitCallback(i int32) {
	it := &w.items[i]
	n := w.chance(i)
	pool := w.leave(i)
	w.settle(i, delayed)
	e := &w.plan.endpoints[it.endpoint]
	u := w.luck[luckCallback].at(n)
	at := w.now + e.confirms.draw(u)
	doubles := e.doubles
	for _, f := range w.ends[it.endpoint].faults {
		switch fp := &w.plan.faults[f]; {
		case fp.kind == api.FaultLate && w.strikes(f, n):
			at += fp.by
		case fp.kind == api.FaultDuplicate && w.strikes(f, n):
			doubles = 1_000_000
		}
	}
	w.heap.push(at, evCallback, i, 0, it.gen)
	if hits(scramble(u), doubles) {
		if to := w.plan.steps[it.step].next.choose(int(it.prev), w.luck[luckWay].of(it.number, uint32(it.visits))); to >= 0 {
			w.heap.push(at+latencyDefault, evGhost, i, int32(w.plan.firstOf(to)), 0)
		}
	}
	w.dispatch(pool)
}

// effect books an effect of which no answer tells.
func (w *world) effect(i, at int32, end int) { w.ledger.book(w, i, w.call(at), end) }

// ghost is work on an item that a second delivery causes: its calls are made once more, and nobody waits for the answers.
func (w *world) ghost(i int32, step int) {
	for k := range w.plan.steps[step].calls {
		call := &w.plan.steps[step].calls[k]
		end := call.endpoint
		if end < 0 {
			end = w.systems[call.system].active
		}
		if w.locked(call.system) {
			return // the second delivery hangs like the first
		}
		n := w.chance(i) | 1<<63 // of its own
		if r := w.reply(end, w.luck[luckCall].at(n+uint64(k)), n+uint64(k), call.timeout); call.effect >= 0 && r.effect >= 0 {
			w.heap.add(event{at: w.now + r.effect, kind: evEffect, end: int16(end), a: i, b: int32(step)<<8 | int32(k)})
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
