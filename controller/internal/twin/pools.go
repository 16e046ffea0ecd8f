package twin

// poolState is workers at work.
type poolState struct {
	free int
	busy []bool // of those who differ
	wake int64  // a change of hours, or a round, that is on the heap already
	dry  int64  // nobody who is free is there before this
	here []int  // scratch: who could take the next item
	last int64  // with rounds: when the last one ended
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
		member := w.member(pool, step)
		if member < 0 {
			return // nobody is there now; hours bring them back
		}
		st := &w.steps[step]
		i := st.queue.first(w.items)
		st.queue.head++
		if len(ps.busy) > 0 {
			ps.busy[member] = true
		}
		ps.free--
		w.take(i, int32(member))
	}
}

// round tells whether workers who take items up in rounds may begin one now: all are done with the last, and it is time to look again.
func (w *world) round(pool int) bool {
	pp, ps := &w.plan.pools[pool], &w.pools[pool]
	if ps.free < pp.size || w.longest(pp) < 0 {
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
		if st.count[waiting] == 0 {
			continue
		}
		for _, f := range st.stops {
			w.faults[f].struck = true
		}
		if len(st.stops) > 0 || st.paused {
			continue
		}
		if i := st.queue.first(w.items); i >= 0 && w.items[i].since < since {
			best, since = k, w.items[i].since
		}
	}
	return best
}

// member is a free worker who is there; -1 where there is none. Where they differ, chance decides by their shares.
func (w *world) member(pool, step int) int {
	pp, ps := &w.plan.pools[pool], &w.pools[pool]
	if len(pp.members) == 0 { // they are all alike: it is enough to count them
		open, next := pp.hours.open(w.now)
		if open {
			return 0
		}
		w.openAt(pool, next)
		return -1
	}
	if w.now < ps.dry {
		return -1
	}
	next := maxTime
	var total uint64
	ps.here = ps.here[:0]
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
		ps.here = append(ps.here, m)
	}
	if len(ps.here) == 0 {
		ps.dry = next
		w.openAt(pool, next)
		return -1
	}
	i := w.steps[step].queue.first(w.items)
	at := below(w.luck[luckMember].of(w.items[i].number, uint32(w.items[i].visits)), total)
	for _, m := range ps.here {
		if at < pp.members[m].share {
			return m
		}
		at -= pp.members[m].share
	}
	return ps.here[len(ps.here)-1]
}

// openAt wakes a pool when somebody comes.
func (w *world) openAt(pool int, next int64) {
	if ps := &w.pools[pool]; next < w.plan.end && (ps.wake == 0 || next < ps.wake) {
		ps.wake = next
		w.heap.push(next, evOpen, int32(pool), 0, 0)
	}
}
