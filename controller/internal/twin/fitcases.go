package twin

import (
	"cmp"
	"math"
	"slices"
)

// Measures of what is done beside what.
const (
	besideCases    = 10   // at least so many cases have both
	besideTogether = 0.9  // of the cases with one of them, so many have the other
	besideOrder    = 0.1  // the rarer order is at least so frequent
	besideOverlap  = 0.03 // or they overlap so often
	blockWhole     = 0.8  // of the cases with a part of a block, so many have it whole and in one piece
)

// readCases takes the cases over.
func (f *fitter) readCases() {
	f.from, f.to = math.MaxInt64, math.MinInt64
	f.cases = make([]fitCase, 0, len(f.log.Cases))
	for _, c := range f.log.Cases {
		fc := fitCase{events: make([]fitEvent, 0, len(c.Events))}
		for _, e := range c.Events {
			fc.events = append(fc.events, fitEvent{activity: int(e.Activity), who: int(e.Resource), start: e.Start, end: e.End, ready: -1, from: -1})
			f.from, f.to = min(f.from, e.Start), max(f.to, e.End)
		}
		f.cases = append(f.cases, fc)
	}
	slices.SortStableFunc(f.cases, func(x, y fitCase) int { return cmp.Compare(x.events[0].start, y.events[0].start) })
}

// pairCount is what cases say about two activities that each of them has once.
type pairCount struct {
	both, first, overlap int // first: the one with the lower number began first
}

// findBeside finds activities that are done beside one another: either order is common, or they overlap, and a case has both or none.
func (f *fitter) findBeside() {
	n := len(f.log.Activities)
	pairs := map[int64]*pairCount{}
	have := make([]int, n)
	for i := range f.cases {
		once := f.once(i, have)
		for x, e := range once {
			for _, g := range once[x+1:] {
				a, b, first := e, g, true
				if a.activity > b.activity {
					a, b, first = g, e, false
				}
				key := int64(a.activity)*int64(n) + int64(b.activity)
				p := pairs[key]
				if p == nil {
					p = &pairCount{}
					pairs[key] = p
				}
				p.both++
				if first {
					p.first++
				}
				if g.start < e.end {
					p.overlap++
				}
			}
		}
	}
	f.beside = make([][]bool, n)
	for i := range f.beside {
		f.beside[i] = make([]bool, n)
	}
	for _, key := range keysOf(pairs) {
		p, a, b := pairs[key], int(key/int64(n)), int(key%int64(n))
		rarer := min(p.first, p.both-p.first)
		either := float64(have[a] + have[b] - p.both)
		if p.both >= besideCases && float64(p.both) >= besideTogether*either &&
			(float64(rarer) >= besideOrder*float64(p.both) || float64(p.overlap) >= besideOverlap*float64(p.both)) {
			f.beside[a][b], f.beside[b][a] = true, true
		}
	}
}

// onceMax bounds how many activities of one case are held against each other.
const onceMax = 60

// once are the events of a case whose activity it has once, and counts in have which activities it has.
func (f *fitter) once(i int, have []int) []fitEvent {
	events := f.cases[i].events
	count := map[int]int{}
	for _, e := range events {
		if count[e.activity]++; count[e.activity] == 1 {
			have[e.activity]++
		}
	}
	var out []fitEvent
	for _, e := range events {
		if count[e.activity] == 1 && len(out) < onceMax {
			out = append(out, e)
		}
	}
	return out
}

// findBlocks finds groups of activities that all are done beside one another and that cases nearly always have whole and in one piece.
func (f *fitter) findBlocks() {
	n := len(f.log.Activities)
	f.block = make([]int, n)
	for a := range f.block {
		f.block[a] = -1
	}
	for a := range n {
		if f.block[a] >= 0 {
			continue
		}
		group := []int{a}
		for b := a + 1; b < n && len(group) < 30; b++ {
			if f.block[b] < 0 && !slices.ContainsFunc(group, func(g int) bool { return !f.beside[g][b] }) {
				group = append(group, b)
			}
		}
		if len(group) < 2 {
			continue
		}
		for _, g := range group {
			f.block[g] = len(f.blocks)
		}
		f.blocks = append(f.blocks, group)
		some, whole := 0, 0
		for i := range f.cases {
			s, w := f.wholeBlock(i, len(f.blocks)-1)
			if s {
				some++
			}
			if w {
				whole++
			}
		}
		if float64(whole) < blockWhole*float64(some) {
			f.blocks = f.blocks[:len(f.blocks)-1]
			for _, g := range group {
				f.block[g] = -1
			}
		}
	}
	for i := range f.cases {
		f.cases[i].steps = f.collapsed(f.cases[i].events)
	}
}

// wholeBlock tells whether a case has some of a block, and whether it has all of it in one piece.
func (f *fitter) wholeBlock(i, block int) (some, whole bool) {
	events := f.cases[i].events
	for k := range events {
		if f.block[events[k].activity] == block {
			return true, f.blockAt(events, k) > 0
		}
	}
	return false, false
}

// blockAt tells how many events from k on are a whole block; 0 where they are none.
func (f *fitter) blockAt(events []fitEvent, k int) int {
	block := f.block[events[k].activity]
	if block < 0 {
		return 0
	}
	size := len(f.blocks[block])
	if k+size > len(events) {
		return 0
	}
	for x := k; x < k+size; x++ {
		if f.block[events[x].activity] != block {
			return 0
		}
		for y := k; y < x; y++ {
			if events[y].activity == events[x].activity {
				return 0
			}
		}
	}
	return size
}

// collapsed are the activities of a case in order. A whole block counts once: as n + its number, n being how many activities there are.
func (f *fitter) collapsed(events []fitEvent) []int {
	var out []int
	for k := 0; k < len(events); k++ {
		if size := f.blockAt(events, k); size > 0 {
			out = append(out, len(f.log.Activities)+f.block[events[k].activity])
			k += size - 1
			continue
		}
		out = append(out, events[k].activity)
	}
	return out
}

// whenReady finds since when each event could have begun: since the end of the last one before it that is not done beside it.
func (f *fitter) whenReady() {
	for i := range f.cases {
		events := f.cases[i].events
		for k := 1; k < len(events); k++ {
			e := &events[k]
			e.ready = events[0].start
			for _, p := range events[max(0, k-readyMax):k] {
				if !f.beside[p.activity][e.activity] && p.end <= e.start && (p.end >= e.ready || e.from < 0) {
					e.ready, e.from = p.end, p.activity
				}
			}
		}
	}
}

// readyMax bounds how far back is looked for what made an event ready.
const readyMax = 200

// cutOff finds cases that the end of the log cut off: after what they did last, others of the log nearly always went on, and later than
// the log would show.
func (f *fitter) cutOff() {
	n := len(f.log.Activities)
	last, went := make([]int, n), make([]int, n)
	gaps := make([][]int64, n)
	for i := range f.cases {
		events := f.cases[i].events
		for k := range events {
			if k+1 < len(events) {
				went[events[k].activity]++
				gaps[events[k].activity] = append(gaps[events[k].activity], max(events[k+1].start-events[k].end, 0))
			} else {
				last[events[k].activity]++
			}
		}
	}
	for a := range gaps {
		slices.Sort(gaps[a])
	}
	for i := range f.cases {
		events := f.cases[i].events
		a, end := events[len(events)-1].activity, events[len(events)-1].end
		if last[a]*10 > went[a] || len(gaps[a]) < guessSamples {
			continue // many cases end like that
		}
		if f.to-end < gaps[a][len(gaps[a])*99/100] {
			f.cases[i].open = true
			f.begun++
		}
	}
}
