package twin

import (
	"fmt"
	"math"
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
	endpoint int16  // of its last call: work in doubt stays with it
	step     int16
	prev     int16 // the step before; -1: it began here
	state    state
	tries    uint8
	call     uint8
	visits   uint8 // of steps so far
	doubtful bool  // it was finished before anybody knew
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

	arrived  int
	factor   float64 // of arrivals
	silent   int     // faults that keep all work out
	luck     [lucks]stream
	nextGap  uint64
	oldest   int // the first item that may still be open
	open     int64
	openSum  int64
	customer []int32
	total    [states]int64
	deeds    []deed
	keys     map[string]bool  // of actions that happened
	holds    map[int32]string // who holds an item
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
	luckProbe
	luckDeed
	luckPerson
	lucks
)

var luckNames = [lucks]string{"arrival", "value", "work", "delay", "way", "call", "fault", "customer", "member", "callback", "probe", "deed", "person"}

// stepState is a step at work.
type stepState struct {
	queue   line
	lines   [states]line // items at rest, by state
	count   [states]int64
	stopped int  // faults that stop its workers
	paused  bool // an action holds its intake
	divert  int  // new items go to this step instead; -1: no
	arrived int64
	looked  int64 // arrived, when a probe last looked
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

func (l *line) add(i int32, gen uint32) {
	if l.head > 64 && l.head*2 > len(l.list) {
		l.list = append(l.list[:0], l.list[l.head:]...)
		l.head = 0
	}
	l.list = append(l.list, place{i, gen})
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

// poolState is workers at work.
type poolState struct {
	free int
	busy []bool
	wake int64 // a change of hours, or a round, that is on the heap already
	last int64 // with rounds: when the last one ended
}

// Run plays one replication of one variant.
func (p *Plan) Run(v api.Variant, replication int, o Options) Run {
	w := &world{plan: p, options: o, factor: 1}
	w.run = Run{Variant: v, Replication: replication}
	for i := range p.casts {
		if p.casts[i].variant == v {
			w.cast = &p.casts[i]
		}
	}
	if w.cast == nil {
		w.run.Cut = fmt.Sprintf("the scenario has no variant %s", v)
		return w.run
	}
	w.prepare(replication)
	w.play()
	w.close()
	return w.run
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
		w.pools[i].free = len(p.pools[i].members)
	}
	w.systems = make([]systemState, len(p.systems))
	for i := range w.systems {
		w.systems[i].active = p.systems[i].active
	}
	w.ends = make([]endState, len(p.endpoints))
	w.chain = newChain(w.options.Digest)
	w.figures.init()
	w.ledger.effects = len(p.effects)
	w.heap.push(p.from, evCount, 0, 0, 0)
	w.heap.push(p.end, evEnd, 0, 0, 0)
	w.stock()
	w.beginFaults(replication)
	w.beginEyes()
	w.beginMind()
	w.nextArrival()
}

// stock puts the items into the world that are there at the start.
func (w *world) stock() {
	stocks := w.plan.setup.Scenario.Spec.Waiting
	if l := w.plan.setup.Live; l != nil {
		stocks = append(stocks[:len(stocks):len(stocks)], l.Stock...)
	}
	for _, s := range stocks {
		step := (&compiler{p: w.plan}).step(s.Step)
		if step < 0 {
			continue // Compile has said so
		}
		for range s.Items {
			i := w.birth(-int64(s.Age.Duration))
			w.items[i].step = int16(step)
			w.settle(i, stateOf(s.State))
		}
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

// play lets the world go on until its end.
func (w *world) play() {
	limit := w.plan.maxEvents
	for {
		e := w.heap.pop()
		w.now = e.at
		w.run.Events++
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
		w.handle(&e)
		if w.run.Cut != "" {
			return
		}
	}
}

func (w *world) handle(e *event) {
	switch e.kind {
	case evArrive:
		w.arrive()
	case evReady, evAnswer, evWorked, evCallback:
		if it := &w.items[e.a]; it.gen == e.gen {
			w.goOn(e)
		}
	case evEffect:
		w.lateEffect(e.a, e.b, e.gen)
	case evGhost:
		w.ghost(e.a, int(e.b))
	case evOpen:
		w.pools[e.a].wake = 0
		w.dispatch(int(e.a))
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
		w.answer(e.a, answer(e.b))
	case evWorked:
		w.worked(e.a)
	case evCallback:
		w.afterCall(e.a)
	}
}

// at is a time as people read it: since what counts began.
func (w *world) at(now int64) time.Duration { return time.Duration(now - w.plan.from) }

// clock is the world's time for those who live by one.
func (w *world) clock() time.Time { return w.plan.start.Add(time.Duration(w.now)) }

// nextArrival schedules the next arrivals.
func (w *world) nextArrival() {
	a := &w.plan.arrivals
	u := w.luck[luckArrival].at(w.nextGap)
	w.nextGap++
	at := maxTime
	switch {
	case a.times != nil:
		if int(w.nextGap) <= len(a.times) {
			at = a.times[w.nextGap-1] + w.plan.from
		}
	case a.every > 0:
		at = w.inHours(a.hours, w.now, a.every)
	case a.gaps != nil:
		at = w.inHours(a.hours, w.now, max(int64(float64(a.gaps.draw(u))/w.factor), 1))
	case len(a.perHour) > 0:
		at = w.randomArrival(a, u)
	}
	if at < w.plan.end {
		w.heap.push(at, evArrive, 0, 0, 0)
	}
}

// inHours is when d has passed of the hours.
func (w *world) inHours(h *hours, at, d int64) int64 {
	for {
		open, until := h.open(at)
		switch {
		case open && (until == maxTime || at+d < until):
			return at + d
		case open:
			d -= until - at
		case until == maxTime:
			return maxTime
		}
		at = until
	}
}

const hour = int64(time.Hour)

// randomArrival is the next event of a random process whose rate changes by the hour of the week.
func (w *world) randomArrival(a *arrivals, u uint64) int64 {
	need := float64(a.unit.draw(u)) / 1e9 // at a rate of one an hour: so many hours
	at := w.now
	for range 2 * 24 * 366 {
		rate := a.perHour[0] * w.factor
		left := maxTime
		if len(a.perHour) == 168 {
			since := (at + a.shift) % (168 * hour)
			rate = a.perHour[since/hour] * w.factor
			left = hour - since%hour
		}
		if rate > 0 {
			took := need / rate * float64(hour)
			if took < float64(left) {
				return at + int64(took)
			}
			need -= float64(float64(left) / float64(hour) * rate)
		}
		if left == maxTime {
			return maxTime
		}
		at += left
	}
	return maxTime
}

func (w *world) arrive() {
	if w.silent == 0 {
		for range w.plan.arrivals.batch {
			i := w.birth(w.now)
			w.enter(i, w.plan.begin.choose(-1, w.luck[luckWay].of(i, 255)), -1)
		}
	}
	w.nextArrival()
}

// birth makes an item.
func (w *world) birth(at int64) int32 {
	i := int32(len(w.items))
	it := item{born: at, since: at, worker: -1, endpoint: -1, prev: -1}
	if w.plan.value != nil {
		it.value = w.plan.value.draw(w.luck[luckValue].at(uint64(i)))
	}
	w.items = append(w.items, it)
	w.ledger.grow()
	w.open++
	w.openSum += it.value
	w.figures.opened(w, it.value)
	if w.plan.customers > 0 {
		w.customer = append(w.customer, int32(w.luck[luckCustomer].at(uint64(i))%uint64(w.plan.customers)))
	}
	return i
}

// enter brings an item to a step; -1 finishes it.
func (w *world) enter(i int32, step, prev int) {
	it := &w.items[i]
	if step < 0 {
		w.finish(i)
		return
	}
	for n := 0; w.steps[step].divert >= 0 && n < len(w.steps); n++ {
		step = w.steps[step].divert
	}
	w.steps[it.step].count[it.state]--
	w.steps[step].count[it.state]++ // it is this step's now
	it.prev, it.step, it.tries, it.call, it.endpoint = int16(prev), int16(step), 0, 0, -1
	if it.visits < math.MaxUint8 {
		it.visits++
	}
	w.steps[step].arrived++
	if d := w.plan.steps[step].delay.draw(w.luck[luckDelay].of(i, it.visits)); d > 0 {
		w.settle(i, delayed)
		w.heap.push(w.now+d, evReady, i, 0, it.gen)
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
		st.queue.add(i, it.gen)
		w.dispatch(w.plan.steps[it.step].pool)
	case inDoubt, dead, held, delayed:
		st.lines[s].add(i, it.gen)
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
	w.open--
	w.openSum -= w.items[i].value
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

// dispatch gives waiting items to free workers.
func (w *world) dispatch(pool int) {
	pp, ps := &w.plan.pools[pool], &w.pools[pool]
	if pp.rounds > 0 && !w.round(pool) {
		return
	}
	for ps.free > 0 {
		step := w.longest(pp)
		if step < 0 {
			return
		}
		member := w.member(pool)
		if member < 0 {
			return // nobody is there now; hours bring them back
		}
		st := &w.steps[step]
		i := st.queue.first(w.items)
		st.queue.head++
		ps.busy[member] = true
		ps.free--
		w.take(i, int32(member))
	}
}

// round tells whether workers who take items up in rounds may begin one now: all are done with the last, and it is time to look again.
func (w *world) round(pool int) bool {
	pp, ps := &w.plan.pools[pool], &w.pools[pool]
	if ps.free < len(pp.members) || w.longest(pp) < 0 {
		return false
	}
	next := ps.last + max((w.now-ps.last+pp.rounds-1)/pp.rounds, 1)*pp.rounds
	if next > w.now {
		w.openAt(pool, next)
		return false
	}
	return true
}

// longest is the step of a pool whose first item has waited longest; -1 where nothing can be begun.
func (w *world) longest(pp *poolPlan) int {
	best, since := -1, maxTime
	for _, k := range pp.steps {
		st := &w.steps[k]
		if st.stopped > 0 || st.paused || st.count[waiting] == 0 {
			continue
		}
		if i := st.queue.first(w.items); i >= 0 && w.items[i].since < since {
			best, since = k, w.items[i].since
		}
	}
	return best
}

// member is a free worker who is there; -1 where there is none. Where they differ, chance decides by their shares.
func (w *world) member(pool int) int {
	pp, ps := &w.plan.pools[pool], &w.pools[pool]
	if pp.members[0].name == "" { // they are all alike: it is enough to count them
		open, next := pp.members[0].hours.open(w.now)
		if open {
			return 0
		}
		w.openAt(pool, next)
		return -1
	}
	next := maxTime
	var total uint64
	for m := range pp.members {
		if ps.busy[m] {
			continue
		}
		open, change := pp.members[m].hours.open(w.now)
		if !open {
			next = min(next, change)
			continue
		}
		total += pp.members[m].share
	}
	if total == 0 {
		w.openAt(pool, next)
		return -1
	}
	at := (w.luck[luckMember].at(uint64(w.run.Events)) >> 32) * total >> 32
	for m := range pp.members {
		if open, _ := pp.members[m].hours.open(w.now); ps.busy[m] || !open {
			continue
		}
		if at < pp.members[m].share {
			return m
		}
		at -= pp.members[m].share
	}
	return -1
}

// openAt wakes a pool when somebody comes.
func (w *world) openAt(pool int, next int64) {
	if ps := &w.pools[pool]; next < w.plan.end && (ps.wake == 0 || next < ps.wake) {
		ps.wake = next
		w.heap.push(next, evOpen, int32(pool), 0, 0)
	}
}

// take begins work on an item.
func (w *world) take(i, member int32) {
	it := &w.items[i]
	st := &w.steps[it.step]
	w.shift(it, working)
	it.worker = member
	for _, f := range st.twice {
		if w.strikes(f, i, it.tries) {
			w.heap.push(w.now, evGhost, i, int32(it.step), 0)
		}
	}
	w.proceed(i)
}

// proceed makes the next call of an item, or does the work itself.
func (w *world) proceed(i int32) {
	it := &w.items[i]
	sp := &w.plan.steps[it.step]
	if int(it.call) < len(sp.calls) {
		w.callFor(i)
		return
	}
	d := sp.takes.draw(w.luck[luckWork].of(i, it.visits))
	if d == 0 {
		w.worked(i)
		return
	}
	w.heap.push(w.now+d, evWorked, i, 0, it.gen)
}

// worked ends the work of a step on an item.
func (w *world) worked(i int32) {
	it := &w.items[i]
	step := int(it.step)
	to := w.plan.steps[step].next.choose(int(it.prev), w.luck[luckWay].of(i, it.visits))
	pool := w.leave(i)
	w.enter(i, to, step)
	if pool >= 0 {
		w.dispatch(pool)
	}
}

// leave frees the worker of an item; it gives his pool, or -1.
func (w *world) leave(i int32) int {
	it := &w.items[i]
	if it.worker < 0 {
		return -1
	}
	pool := w.plan.steps[it.step].pool
	w.pools[pool].busy[it.worker] = false
	w.pools[pool].free++
	w.pools[pool].last = w.now
	it.worker = -1
	return pool
}

// retry lets an item try its step again after a pause, or gives up.
func (w *world) retry(i int32) {
	it := &w.items[i]
	sp := &w.plan.steps[it.step]
	it.tries++
	if it.tries >= sp.tries {
		pool := sp.pool
		w.give(i)
		w.dispatch(pool)
		return
	}
	pool := w.leave(i)
	w.settle(i, delayed)
	w.heap.push(w.now+sp.pause<<min(it.tries-1, 10), evReady, i, 0, w.items[i].gen)
	if pool >= 0 {
		w.dispatch(pool)
	}
}
