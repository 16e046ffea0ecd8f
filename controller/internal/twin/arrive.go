package twin

import (
	"fmt"
	"time"
)

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
		at = w.inHours(a.hours, w.now, max(divided(a.gaps.draw(u), w.factor), 1))
	case len(a.rates) > 0:
		at = w.randomArrival(a, u)
	}
	w.awaitArrival(at)
}

// awaitArrival puts the next arrival onto the heap; one that was there before is void.
func (w *world) awaitArrival(at int64) {
	w.due = event{at: at, kind: evArrive, gen: w.due.gen + 1}
	if at < w.plan.end {
		w.heap.add(w.due)
	}
}

// divided is d/by, at most maxTime.
func divided(d int64, by float64) int64 {
	if x := float64(d) / by; x < float64(maxTime) {
		return int64(x)
	}
	return maxTime
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
	for {
		rate, until := a.rate(at)
		rate *= w.factor
		left := until - at
		if rate > 0 {
			took := need / rate * float64(hour)
			if took < float64(left) {
				return at + int64(took)
			}
			need -= float64(float64(left) / float64(hour) * rate)
		}
		if until >= w.plan.end {
			return maxTime
		}
		at = until
	}
}

func (w *world) arrive() {
	for _, f := range w.silences {
		w.faults[f].struck = true
	}
	if len(w.silences) == 0 {
		for range w.drop() {
			i := w.birth(w.now)
			w.enter(i, w.plan.begin.choose(-1, w.luck[luckWay].of(w.items[i].number, 0)), -1)
		}
	}
	if most := w.plan.maxItems; len(w.items) > most {
		w.run.Cut = fmt.Sprintf("more than %d items by %s: this is too much work for one replication", most, w.at(w.now))
		return
	}
	w.nextArrival()
}

// drop is how many items come now. Where the times of arrivals are fixed, a surge makes each one greater instead of the gaps smaller.
func (w *world) drop() int64 {
	for _, f := range w.surges {
		w.faults[f].struck = true
	}
	a := &w.plan.arrivals
	if w.factor == 1 || a.every == 0 && a.times == nil {
		return a.batch
	}
	w.owed += float64(float64(a.batch) * w.factor)
	n := min(int64(min(w.owed, itemsMax)), itemsMax)
	w.owed -= float64(n)
	return n
}
