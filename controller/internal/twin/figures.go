package twin

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"math"
	"slices"
)

// figures measures a run.
type figures struct {
	values    [Figures]float64
	counting  bool
	fault     int64 // the first; maxTime before
	anomalies int   // open now
	calm      int64 // the largest backlog before the first fault
	ill       bool
	fresh     bool       // a fault began, and nothing was well since
	well      int64      // since when nothing was ill
	late      [][2]int64 // spans during which an item was late
	due       int32      // items before this one are beyond their promise
	overdue   int64      // those of them that are open
}

func (f *figures) init() {
	f.fault = maxTime
	for _, k := range []Figure{Detected, Acted, Recovered} {
		f.values[k] = math.NaN()
	}
}

// begin starts the account: what the warm-up brought does not count.
func (f *figures) begin(w *world) {
	f.counting = true
	f.values[Backlog], f.values[AtRisk] = float64(w.backlog()), float64(w.openSum)
	for k, info := range FigureInfos {
		if info.Safety {
			f.values[k] = 0
		}
	}
	w.run.Violations = nil
}

// backlog is all that waits.
func (w *world) backlog() int64 {
	return w.total[waiting] + w.total[inDoubt] + w.total[dead] + w.total[held]
}

// opened follows what all open items are worth.
func (f *figures) opened(w *world) {
	if f.counting {
		f.values[AtRisk] = max(f.values[AtRisk], float64(w.openSum))
	}
}

// faulted notes a fault that begins. What waits at the first one is what the backlog must come back to, if it was not more before.
func (f *figures) faulted(w *world) {
	if f.fault == maxTime {
		f.fault, f.well = w.now, w.now
		f.calm = max(f.calm, w.queued())
	}
	f.fresh = true
}

// since is the time since the first fault, in seconds.
func (f *figures) since(now int64) float64 { return float64(now-f.fault) / 1e9 }

// first sets a figure that counts the time to the first of something after the first fault.
func (f *figures) first(w *world, k Figure) {
	if f.fault != maxTime && math.IsNaN(f.values[k]) {
		f.values[k] = f.since(w.now)
	}
}

func (f *figures) count(k Figure) {
	if f.counting {
		f.values[k]++
	}
}

// queued is what waits for its turn or for a word.
func (w *world) queued() int64 { return w.total[waiting] + w.total[inDoubt] }

// moved follows what waits. After a fault the world is ill from the first anomaly or the first item beyond the calm, until there is no
// anomaly and the backlog is what it was; after that, a queue must be twice as long as ever before the fault to count as ill again, or the
// ups and downs of any queue would.
func (f *figures) moved(w *world) {
	queued := w.queued()
	if f.counting {
		f.values[Backlog] = max(f.values[Backlog], float64(w.backlog()))
	}
	if f.fault == maxTime {
		f.calm = max(f.calm, queued)
		return
	}
	most := f.calm
	if !f.ill && !f.fresh {
		most = 2*f.calm + 4
	}
	ill := f.anomalies > 0 || queued > most
	if f.ill && !ill {
		f.well, f.fresh = w.now, false
	}
	f.ill = ill
}

func (f *figures) finished(w *world, i int32) {
	if !f.counting {
		return
	}
	f.values[Finished]++
	if due := w.items[i].born + w.plan.promise; w.plan.promise > 0 && w.now > due {
		f.values[Late]++
		f.late = append(f.late, [2]int64{max(due, w.plan.from), w.now})
	}
}

// lateNow is how many items are late so far, finished or not.
func (f *figures) lateNow(w *world) float64 {
	for ; w.plan.promise > 0 && int(f.due) < len(w.items) && w.now > w.items[f.due].born+w.plan.promise; f.due++ {
		if it := &w.items[f.due]; !it.over() && it.whole == 0 {
			f.overdue++
		}
	}
	return f.values[Late] + float64(f.overdue)
}

// left forgets an item that is open no longer.
func (f *figures) left(i int32) {
	if i < f.due {
		f.overdue--
	}
}

// close ends the account.
func (w *world) close() {
	f := &w.figures
	f.values[Left] = float64(w.open)
	for i := range w.items {
		it := &w.items[i]
		if !it.over() && it.whole == 0 && w.plan.promise > 0 && w.now > it.born+w.plan.promise {
			f.values[Late]++
			f.late = append(f.late, [2]int64{max(it.born+w.plan.promise, w.plan.from), w.now})
		}
	}
	f.values[Breached] = float64(union(f.late)) / 1e9
	if f.fault != maxTime && !f.ill {
		f.values[Recovered] = f.since(f.well)
	}
	w.run.Figures = f.values
	for i := range w.faults {
		s := &w.faults[i]
		r := FaultRun{Name: w.plan.faults[i].name, Injected: s.struck}
		if s.began < maxTime {
			r.Began, r.Ended = w.at(s.began), w.at(min(s.ended, w.now))
		}
		w.run.Faults = append(w.run.Faults, r)
	}
	w.mind.close(w)
	w.run.Digest = w.chain.sum()
}

// union is how much time spans cover together.
func union(spans [][2]int64) int64 {
	slices.SortFunc(spans, func(a, b [2]int64) int {
		switch {
		case a[0] < b[0]:
			return -1
		case a[0] > b[0]:
			return 1
		}
		return 0
	})
	var sum, until int64
	until = -maxTime
	for _, s := range spans {
		if s[1] > until {
			sum += s[1] - max(s[0], until)
			until = s[1]
		}
	}
	return sum
}

// chain is the digest of a run: the hash of all that happened, in order.
type chain struct {
	hash   hash.Hash
	buf    []byte
	events bool
}

func newChain(events bool) *chain { return &chain{hash: sha256.New(), events: events} }

func (c *chain) event(e *event) {
	if !c.events {
		return
	}
	c.buf = binary.LittleEndian.AppendUint64(c.buf, uint64(e.at))
	c.buf = binary.LittleEndian.AppendUint64(c.buf, e.order)
	c.buf = binary.LittleEndian.AppendUint32(c.buf, uint32(e.a))
	c.buf = binary.LittleEndian.AppendUint32(c.buf, uint32(e.b))
	if len(c.buf) > 4000 {
		c.hash.Write(c.buf)
		c.buf = c.buf[:0]
	}
}

func (c *chain) entry(raw []byte) {
	c.buf = append(c.buf, raw...)
	c.hash.Write(c.buf)
	c.buf = c.buf[:0]
}

func (c *chain) sum() [32]byte {
	c.hash.Write(c.buf)
	return [32]byte(c.hash.Sum(nil))
}
