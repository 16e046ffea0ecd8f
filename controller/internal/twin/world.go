package twin

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/backstay/backstay/api"
)

// state is where an item is.
type state uint8

const (
	unborn  state = iota
	waiting       // in the queue of its step
	working       // a worker has it
	delayed       // for a pause, a customer, a callback
	inDoubt       // a call for it had no answer
	dead          // a dead letter
	held          // somebody holds it
	done          // finished
	dropped       // nowhere
	states
)

var stateNames = [states]string{"unborn", "waiting", "working", "delayed", "in-doubt", "dead", "held", "done", "dropped"}

// item is one piece of work.
type item struct {
	born     int64
	since    int64 // in its present state
	value    int64
	gen      uint32 // rises with each change, so that events for what was are void
	worker   int32  // member of the pool; -1: none
	visits   uint16 // of steps so far
	endpoint int16  // of its last call: work in doubt stays with it
	step     int16
	prev     int16 // the step before; -1: it began here
	tries    uint16
	state    state
	call     uint8
	attempt  uint8 // calls made on this visit: each has its own luck
	moved    uint8 // times that an action redelivered it
	pinned   bool  // its next call goes to the endpoint of the last
	joining  bool  // its own step is done, and parts of it are not
	parts    uint8 // of it that are worked on elsewhere
	whole    int32 // of a part: the item, plus 1
	number   int32 // its place in streams of chance
}

// world is one replication of one variant.
type world struct {
	plan    *Plan
	cast    *cast
	run     Run
	options Options
	now     int64
	heap    heap

	items   []item
	steps   []stepState
	pools   []poolState
	systems []systemState
	ends    []endState // endpoints
	faults  []faultState
	ledger  ledger
	figures figures
	eyes    eyes
	mind    mind
	chain   *chain

	factor   float64 // of arrivals
	surges   []int   // faults that bring more work
	silences []int   // faults that keep all work out
	owed     float64 // the part of an item that a surge still owes
	due      event   // the arrival that is on the heap
	luck     [lucks]stream
	nextGap  uint64
	oldest   int // the first item that may still be open
	open     int64
	births   int32 // items so far; parts of them count for none
	openSum  int64
	whose    customers
	total    [states]int64
	deeds    []deed
	tried    []uint64         // how often each step of a playbook was begun
	asked    []uint64         // how often each person was asked
	keys     map[string]int64 // of actions that happened, and when
	holds    map[int32]string // who holds an item
	freed    map[int32]string // who released it
	moment   int64            // what counts as now
	instant  int64            // events since
	quiet    int64            // how many are no sign of going round without end
}

// The purposes of chance.
const (
	luckArrival = iota
	luckValue
	luckWork
	luckDelay
	luckWay
	luckCall
	luckFault
	luckCustomer
	luckMember
	luckCallback
	luckStock
	lucks
)

var luckNames = [lucks]string{"arrival", "value", "work", "delay", "way", "call", "fault", "customer", "member", "callback", "stock"}

// stepState is a step at work.
type stepState struct {
	queue   line
	lines   [states]line // items at rest, by state
	count   [states]int64
	stops   []int // faults that stop its workers
	paused  bool  // an action holds its intake
	divert  int   // new items go to this step instead; -1: no
	arrived int64
	poison  []int // faults that poison items here
	twice   []int // faults that hand items out twice
}

// line is items in the order in which they came; those that left meanwhile are skipped.
type line struct {
	list []place
	head int
}

type place struct {
	item int32
	gen  uint32
}

// add puts an item at the end. Live is how many are there in truth: where most of the list has left, it is cleaned up first.
func (l *line) add(items []item, i int32, live int64) {
	if len(l.list) > 64 && int64(len(l.list)) > 4*live {
		kept := l.list[:0]
		for _, p := range l.list[l.head:] {
			if items[p.item].gen == p.gen {
				kept = append(kept, p)
			}
		}
		l.list, l.head = kept, 0
	}
	l.list = append(l.list, place{i, items[i].gen})
}

// first is the item that has been there longest; -1 where there is none.
func (l *line) first(items []item) int32 {
	for l.head < len(l.list) {
		p := l.list[l.head]
		if items[p.item].gen == p.gen {
			return p.item
		}
		l.head++
	}
	return -1
}

// Run plays one replication of one variant.
func (p *Plan) Run(v api.Variant, replication int, o Options) Run {
	w := p.world(v, replication, o)
	if w.run.Cut != "" {
		return w.run
	}
	w.play()
	w.close()
	return w.run
}

// world makes the world of one replication, as it is before the first event.
func (p *Plan) world(v api.Variant, replication int, o Options) *world {
	w := &world{plan: p, options: o, factor: 1}
	w.run = Run{Variant: v, Replication: replication}
	if !p.good {
		w.run.Cut = "the scenario has errors"
		return w
	}
	for i := range p.casts {
		if p.casts[i].variant == v {
			w.cast = &p.casts[i]
		}
	}
	if w.cast == nil {
		w.run.Cut = fmt.Sprintf("the scenario has no variant %s", v)
		return w
	}
	w.prepare(replication)
	return w
}

func (w *world) prepare(replication int) {
	p := w.plan
	for i := range w.luck {
		w.luck[i] = newStream(p.seed, replication, "world", luckNames[i])
	}
	w.steps = make([]stepState, len(p.steps))
	for i := range w.steps {
		w.steps[i].divert = -1
	}
	w.pools = make([]poolState, len(p.pools))
	for i := range w.pools {
		w.pools[i].busy = make([]bool, len(p.pools[i].members))
		w.pools[i].free = p.pools[i].size
	}
	w.systems = make([]systemState, len(p.systems))
	for i := range w.systems {
		w.systems[i].active = p.systems[i].active
	}
	w.ends = make([]endState, len(p.endpoints))
	w.chain = newChain(w.options.Digest)
	w.figures.init()
	w.ledger.effects = len(p.effects)
	w.tried, w.asked = make([]uint64, len(w.cast.lucks)), make([]uint64, len(p.people))
	w.heap.push(p.end, evEnd, 0, 0, 0)
	w.stock()
	if p.from == 0 {
		w.figures.begin(w)
	} else {
		w.heap.push(p.from-1, evCount, 0, 0, 0) // before the first fault
	}
	w.beginFaults(replication)
	w.beginEyes(replication)
	w.beginMind()
	w.nextArrival()
}

// stock puts the items into the world that are there at the start.
func (w *world) stock() {
	stocks := w.plan.setup.Scenario.Spec.Waiting
	if l := w.plan.setup.Live; l != nil {
		stocks = append(stocks[:len(stocks):len(stocks)], l.Stock...)
	}
	stocks = slices.Clone(stocks)
	slices.SortStableFunc(stocks, func(a, b api.ScenarioStock) int { return cmp.Compare(b.Age.Duration, a.Age.Duration) })
	for _, s := range stocks {
		step := (&compiler{p: w.plan}).step(s.Step)
		if step < 0 {
			continue // Compile has said so
		}
		for range s.Items {
			i := w.birth(-int64(s.Age.Duration))
			w.items[i].step = int16(step)
			if w.plan.setup.Live != nil {
				w.past(i)
			}
			if stateOf(s.State) == inDoubt {
				w.doubt(i)
			}
			w.settle(i, stateOf(s.State))
		}
	}
}

// doubt gives an item of the stock the call without an answer that it is in doubt about. Half of those calls happened.
func (w *world) doubt(i int32) {
	it := &w.items[i]
	for k := range w.plan.steps[it.step].calls {
		call := &w.plan.steps[it.step].calls[k]
		if call.effect < 0 {
			continue
		}
		end := call.endpoint
		if end < 0 {
			end = w.systems[call.system].active
		}
		it.call, it.endpoint = uint8(k), int16(end)
		if w.luck[luckStock].at(uint64(i))>>63 == 0 {
			w.ledger.book(w, i, call, end)
			w.ledger.when[int(i)*w.ledger.effects+call.effect] = it.born
		}
		return
	}
}

func stateOf(name string) state {
	for i, n := range stateNames {
		if n == name {
			return state(i)
		}
	}
	return waiting
}

// How much is too much, so that nothing goes on for ever: a model in which something goes round in hardly any time is stopped after
// instantMax events within momentLong, and instantEach more for each item, for all of a large stock may rightly move at once.
const (
	momentLong  = int64(100 * time.Millisecond)
	instantMax  = 1_000_000
	instantEach = 64
	itemsMax    = 12_000_000
)

// play lets the world go on until its end.
func (w *world) play() {
	p, limit := w.plan, w.plan.maxEvents
	for {
		e := w.heap.pop()
		w.now = e.at
		if e.at-w.moment >= momentLong || w.quiet == 0 {
			w.moment, w.instant = e.at, 0
			w.quiet = instantMax + instantEach*(int64(len(w.items))+min(divided(p.arrivals.batch, 1/w.factor), itemsMax))
		}
		w.run.Events++
		if w.instant++; w.instant > w.quiet {
			w.run.Cut = fmt.Sprintf("more than %d events within a tenth of a second at %s: something goes round in hardly any time", w.quiet, w.at(w.now))
			return
		}
		if w.chain != nil {
			w.chain.event(&e)
		}
		if e.kind == evEnd {
			return
		}
		if w.run.Events&0xffff == 0 && (w.run.Events > limit || w.options.Until != nil && w.options.Until()) {
			w.run.Cut = "it was stopped"
			if w.run.Events > limit {
				w.run.Cut = fmt.Sprintf("more than %d events by %s: something goes round without end, or the horizon is too long for so much work", limit, w.at(w.now))
			}
			return
		}
		if w.options.Trace != nil {
			w.options.Trace(fmt.Sprintf("%s %s %d %d %d %d", w.at(e.at), kindNames[e.kind], e.a, e.b, e.end, e.gen))
		}
		w.handle(&e)
		if w.run.Cut != "" {
			return
		}
	}
}

func (w *world) handle(e *event) {
	switch e.kind {
	case evArrive:
		if e.gen == w.due.gen {
			w.arrive()
		}
	case evReady, evAnswer, evWorked, evCallback:
		if it := &w.items[e.a]; it.gen == e.gen {
			w.goOn(e)
		} else if e.kind == evAnswer {
			w.unheard(e)
		}
	case evEffect:
		w.effect(e.a, e.b, int(e.end))
	case evGhost:
		w.ghost(e.a, int(e.b))
	case evOpen:
		if ps := &w.pools[e.a]; ps.wake == e.at {
			ps.wake = 0
			w.dispatch(int(e.a))
		}
	case evLook:
		w.look(int(e.a), e.gen)
	case evSaw:
		w.saw(int(e.a), e.gen)
	case evFault:
		w.fault(int(e.a), e.b == 1)
	case evDeed:
		w.deedDone(int(e.a))
	case evPerson:
		w.answered(int(e.a))
	case evWake:
		w.mind.wake(w)
	case evCount:
		w.figures.begin(w)
	}
}

func (w *world) goOn(e *event) {
	switch e.kind {
	case evReady:
		w.enqueue(e.a)
	case evAnswer:
		w.answer(e.a, answer(e.b&3))
	case evWorked:
		w.worked(e.a)
	case evCallback:
		w.resume(e.a)
	}
}

// at is a time as people read it: since what counts began.
func (w *world) at(now int64) time.Duration { return time.Duration(now - w.plan.from) }

// clock is the world's time for those who live by one.
func (w *world) clock() time.Time { return w.plan.start.Add(time.Duration(w.now)) }

// birth makes an item.
func (w *world) birth(at int64) int32 {
	i := int32(len(w.items))
	it := item{born: at, since: at, worker: -1, endpoint: -1, prev: -1, number: w.births}
	w.births++
	if w.plan.value != nil {
		it.value = w.plan.value.draw(w.luck[luckValue].at(uint64(it.number)))
	}
	w.items = append(w.items, it)
	w.ledger.grow()
	w.open++
	w.openSum += it.value
	w.figures.opened(w)
	if w.plan.customers > 0 {
		w.whose.add(i, uint32(below(w.luck[luckCustomer].at(uint64(it.number)), uint64(w.plan.customers))))
	}
	return i
}

// enter brings an item to a step; -1 finishes it.
func (w *world) enter(i int32, step, prev int) {
	if step < 0 {
		w.finish(i)
		return
	}
	if step >= fanned {
		step = w.fan(i, step, prev)
	}
	it := &w.items[i]
	for n := 0; w.steps[step].divert >= 0 && n < len(w.steps); n++ {
		step = w.steps[step].divert
	}
	w.steps[it.step].count[it.state]--
	w.steps[step].count[it.state]++ // it is this step's now
	it.prev, it.step, it.tries, it.call, it.attempt, it.endpoint, it.pinned = int16(prev), int16(step), 0, 0, 0, -1, false
	it.visits++
	w.steps[step].arrived++
	if d := w.plan.steps[step].delayAfter(prev).draw(w.luck[luckDelay].of(it.number, uint32(it.visits))); d > 0 {
		w.settle(i, delayed)
		w.heap.push(w.readyAt(&w.plan.steps[step], d), evReady, i, 0, it.gen)
		return
	}
	w.enqueue(i)
}

// settle puts an item at rest in a state at its step.
func (w *world) settle(i int32, s state) {
	it := &w.items[i]
	st := &w.steps[it.step]
	w.shift(it, s)
	if w.now == 0 && it.born < 0 {
		it.since = it.born
	}
	switch s {
	case waiting:
		st.queue.add(w.items, i, st.count[waiting])
		w.dispatch(w.plan.steps[it.step].pool)
	case inDoubt, dead, held:
		st.lines[s].add(w.items, i, st.count[s])
	}
	w.figures.moved(w)
}

// shift puts an item into another state, and voids all events for the state that it had.
func (w *world) shift(it *item, s state) {
	count := &w.steps[it.step].count
	count[it.state]--
	count[s]++
	w.total[it.state]--
	w.total[s]++
	it.gen++
	it.state, it.since = s, w.now
}

// enqueue lets an item wait for a worker.
func (w *world) enqueue(i int32) {
	st := &w.plan.steps[w.items[i].step]
	if st.most > 0 && w.steps[w.items[i].step].count[waiting] >= st.most {
		w.give(i)
		return
	}
	w.settle(i, waiting)
}

// give is the end of trying: the item becomes what the step says.
func (w *world) give(i int32) {
	w.leave(i)
	s := w.plan.steps[w.items[i].step].then
	w.settle(i, s)
	if s == dropped {
		w.gone(i)
		w.ledger.lose(w, i, "was dropped at "+w.plan.steps[w.items[i].step].name)
	}
}

// gone takes an item out of what is open.
func (w *world) gone(i int32) {
	if w.items[i].whole > 0 {
		return // the item itself stays open, and can never be finished
	}
	w.open--
	w.openSum -= w.items[i].value
	w.figures.left(i)
}

// finish ends an item.
func (w *world) finish(i int32) {
	it := &w.items[i]
	w.shift(it, done)
	w.gone(i)
	w.figures.finished(w, i)
	w.ledger.finished(w, i)
	w.figures.moved(w)
}

// take begins work on an item.
func (w *world) take(i, member int32) {
	it := &w.items[i]
	st := &w.steps[it.step]
	w.shift(it, working)
	it.worker = member
	for _, f := range st.twice {
		if w.strikes(f, w.chance(i)) {
			w.heap.push(w.now, evGhost, i, int32(it.step), 0)
		}
	}
	w.proceed(i)
}

// chance is the place in streams of what happens to an item now: of its next call on this visit.
func (w *world) chance(i int32) uint64 {
	it := &w.items[i]
	return uint64(uint32(it.number))<<32 | uint64(it.visits)<<16 | uint64(it.call)<<8 | uint64(it.attempt)
}

// proceed makes the next call of an item, or does the work itself. Even work that takes no time is an event: so a long queue is no
// long recursion.
func (w *world) proceed(i int32) {
	it := &w.items[i]
	sp := &w.plan.steps[it.step]
	for _, f := range w.steps[it.step].poison {
		if w.strikes(f, uint64(uint32(it.number))<<32) {
			w.heap.push(w.now+latencyDefault, evAnswer, i, int32(refused), it.gen)
			return
		}
	}
	if int(it.call) < len(sp.calls) {
		w.callFor(i)
		return
	}
	w.heap.push(w.until(it, sp.takes.draw(w.luck[luckWork].of(it.number, uint32(it.visits)))), evWorked, i, 0, it.gen)
}

// worked ends the work of a step on an item.
func (w *world) worked(i int32) {
	if w.options.Record != nil {
		w.recorded(i)
	}
	pool := w.leave(i)
	w.onward(i)
	if pool >= 0 {
		w.dispatch(pool)
	}
}

// onward brings an item whose step is over to the next.
func (w *world) onward(i int32) {
	it := &w.items[i]
	if it.whole > 0 || it.parts > 0 {
		w.join(i)
		return
	}
	step := int(it.step)
	w.enter(i, w.plan.steps[step].next.choose(int(it.prev), w.luck[luckWay].of(it.number, uint32(it.visits))), step)
}

// resume goes on with an item without a worker after its call is known to have happened: with the next call, the work, or the next step.
func (w *world) resume(i int32) {
	it := &w.items[i]
	sp := &w.plan.steps[it.step]
	it.call++
	it.pinned = false
	if int(it.call) < len(sp.calls) || sp.takes != nil {
		w.settle(i, waiting)
		return
	}
	w.onward(i)
}

// leave frees the worker of an item; it gives his pool, or -1.
func (w *world) leave(i int32) int {
	it := &w.items[i]
	if it.worker < 0 {
		return -1
	}
	pool := w.plan.steps[it.step].pool
	ps := &w.pools[pool]
	if len(ps.busy) > 0 {
		ps.busy[it.worker] = false
	}
	ps.free++
	ps.dry = 0
	if ps.free == w.plan.pools[pool].size {
		ps.last = w.now
	}
	it.worker = -1
	return pool
}

// retry lets an item try its step again after a pause, or gives up.
func (w *world) retry(i int32) {
	it := &w.items[i]
	sp := &w.plan.steps[it.step]
	it.tries++
	if it.tries >= sp.tries {
		w.giveUp(i)
		return
	}
	pool := w.leave(i)
	w.settle(i, delayed)
	w.heap.push(w.now+min(sp.pause<<min(it.tries-1, 10), longestMax), evReady, i, 0, w.items[i].gen)
	if pool >= 0 {
		w.dispatch(pool)
	}
}
