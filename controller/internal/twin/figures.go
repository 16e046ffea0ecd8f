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
	back      bool       // all faults over, the backlog was back to what it was, and nothing was ill since
	well      int64      // since when nothing was ill
	late      [][2]int64 // spans during which an item was late
}

func (f *figures) init() {
	f.fault = maxTime
	for _, k := range []Figure{Detected, Acted, Recovered} {
		f.values[k] = math.NaN()
	}
}

func (f *figures) begin(w *world) {
	f.counting = true
	f.values[Backlog], f.values[AtRisk] = float64(w.backlog()), float64(w.openSum)
	for k := range w.run.Violations {
		f.values[w.run.Violations[k].What] = 0 // of the warm-up
	}
	w.run.Violations = nil
}

// backlog is all that waits.
func (w *world) backlog() int64 {
	return w.total[waiting] + w.total[inDoubt] + w.total[dead] + w.total[held]
}

func (f *figures) opened(w *world, _ int64) {
	if f.counting {
		f.values[AtRisk] = max(f.values[AtRisk], float64(w.openSum))
	}
}

// striking tells whether some fault is on.
func (w *world) striking() bool {
	return slices.ContainsFunc(w.faults, func(s faultState) bool { return s.on })
}

func (f *figures) faulted(w *world) {
	f.back = false
	if f.fault == maxTime {
		f.fault, f.well = w.now, w.now
	}
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

// moved follows what waits.
func (f *figures) moved(w *world) {
	if !f.counting {
		return
	}
	backlog := w.backlog()
	f.values[Backlog] = max(f.values[Backlog], float64(backlog))
	queued := w.total[waiting] + w.total[inDoubt]
	if f.fault == maxTime {
		f.calm = max(f.calm, queued)
		return
	}
	if f.anomalies > 0 {
		f.back = false
	}
	ill := f.anomalies > 0 || !f.back && queued > f.calm // once it was back, a chance crowd is no relapse
	if f.ill && !ill {
		f.well = w.now
	}
	f.ill, f.back = ill, f.back || !ill && !w.striking()
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

// close ends the account.
func (w *world) close() {
	f := &w.figures
	f.values[Left] = float64(w.open)
	for i := range w.items {
		it := &w.items[i]
		switch {
		case it.state == done && it.doubtful:
			w.checkEffects(int32(i))
		case it.state != done && it.state != dropped && w.plan.promise > 0 && w.now > it.born+w.plan.promise:
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
