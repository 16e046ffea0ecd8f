package twin

// Some steps of an item are done beside one another: a credit check, a valuation and a look at the sanctions lists begin at once, and the
// item goes on when all three are done. The item itself goes to the first of them; for each other one a part of it goes its way. A part has
// its own place in queues and its own luck, ends with its step, and is nobody's item: it is not counted as arrived, open or finished. A part
// that ends as a dead letter keeps its item from going on until it is redelivered.

// fanned marks where an item goes as an index into Plan.fans: several steps at once.
const fanned = 1 << 20

// firstOf is the step that the item itself goes to.
func (p *Plan) firstOf(to int) int {
	if to >= fanned {
		return p.fans[to-fanned][0]
	}
	return to
}

// fan sends parts of an item to the steps beside its own, and gives the item's own.
func (w *world) fan(i int32, to, prev int) int {
	steps := w.plan.fans[to-fanned]
	for _, step := range steps[1:] {
		whole := &w.items[i]
		whole.parts++
		// Parts have numbers below zero, made of what happens: so they shift no item's luck, and every variant's parts have the same.
		place := uint64(uint32(whole.number))<<32 | uint64(whole.visits)<<8 | uint64(whole.parts)
		part := item{born: whole.born, since: w.now, value: whole.value, worker: -1, endpoint: -1, prev: int16(prev), whole: i + 1,
			number: int32(uint32(scramble(place)>>33) | 1<<31)}
		w.items = append(w.items, part)
		w.ledger.grow()
		if w.plan.customers > 0 {
			w.whose.add(int32(len(w.items)-1), w.whose.of[i])
		}
		w.enter(int32(len(w.items)-1), step, prev)
	}
	return steps[0]
}

// join ends a part, or lets an item wait for its parts.
func (w *world) join(i int32) {
	it := &w.items[i]
	if it.whole == 0 {
		it.joining = true
		w.settle(i, delayed)
		return
	}
	w.shift(it, done)
	w.steps[it.step].count[done]-- // no item was finished
	w.total[done]--
	whole := &w.items[it.whole-1]
	whole.parts--
	if whole.parts == 0 && whole.joining {
		whole.joining = false
		w.onward(it.whole - 1)
	}
}

// until is when work of length d is over that begins now. In a pool that lays work aside it goes on when the worker's hours do.
func (w *world) until(it *item, d int64) int64 {
	pool := &w.plan.pools[w.plan.steps[it.step].pool]
	if !pool.pauses || it.worker < 0 || d < 1 {
		return w.now + d
	}
	h := pool.hours
	if len(pool.members) > 0 {
		h = pool.members[it.worker].hours
	}
	at := w.inHours(h, w.now, d-1) // so that work may end with the hours
	return min(at, maxTime-1) + 1
}

// delayAfter is the delay of items that came from a step.
func (s *stepPlan) delayAfter(prev int) *table {
	if d, known := s.delays[prev]; known {
		return d
	}
	return s.delay
}

// readyAt is when a delay of length d is over that begins now.
func (w *world) readyAt(s *stepPlan, d int64) int64 {
	if !s.delayPauses {
		return w.now + d
	}
	return w.inHours(w.plan.pools[s.pool].open, w.now, d)
}

// recorded tells of work that is done.
func (w *world) recorded(i int32) {
	it := &w.items[i]
	whole := i
	if it.whole > 0 {
		whole = it.whole - 1
	}
	w.options.Record(Work{Item: whole, Step: int(it.step), Member: int(it.worker), Born: it.born, Start: it.since, End: w.now})
}

// Work is one step done on one item. Times are nanoseconds since the start of the world.
type Work struct {
	Item       int32
	Step       int // index into the model's steps
	Member     int // index into the members of the step's pool; without meaning where they are all alike
	Born       int64
	Start, End int64
}
