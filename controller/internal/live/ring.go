package live

import (
	"time"

	"github.com/backstay/backstay/api"
)

// ringMax is how many results are held of each probe.
const ringMax = 100

// Result is one past run of a probe, as the ring keeps it.
type Result struct {
	At      time.Time     // to the hundredth of a second
	Verdict api.Verdict   //
	Value   float64       // in the probe's unit
	Took    time.Duration // to the microsecond, at most 17 minutes
}

// ring holds the last results of a probe in 16 bytes each. It grows as results come.
type ring struct {
	slots []slot
	next  int // where the next one goes, once full
}

type slot struct {
	value float64
	tick  uint32 // hundredths of a second, modulo 2^32: the ring must not span more than 497 days
	took  uint32 // two bits of verdict, thirty of microseconds
}

var verdictBits = [...]api.Verdict{api.OK, api.Bad, api.Unknown}

func pack(o *api.Observation) slot {
	bits := uint32(2)
	for i, v := range verdictBits {
		if v == o.Verdict {
			bits = uint32(i)
		}
	}
	took := uint32(min(max(o.Took.Microseconds(), 0), 1<<30-1))
	return slot{value: o.Value, tick: uint32(o.At.UnixMilli() / 10), took: bits<<30 | took}
}

func (r *ring) add(o *api.Observation) {
	s := pack(o)
	switch {
	case len(r.slots) < ringMax:
		if len(r.slots) == cap(r.slots) {
			grown := make([]slot, len(r.slots), min(ringMax, max(12, 3*len(r.slots))))
			copy(grown, r.slots)
			r.slots = grown
		}
		r.slots = append(r.slots, s)
	default:
		r.slots[r.next] = s
		r.next = (r.next + 1) % ringMax
	}
}

// list gives the results, oldest first. last is the time of the newest one.
func (r *ring) list(last time.Time) []Result {
	out := make([]Result, 0, len(r.slots))
	newest := uint32(last.UnixMilli() / 10)
	for i := range r.slots {
		s := r.slots[(r.next+i)%len(r.slots)]
		age := time.Duration(newest-s.tick) * 10 * time.Millisecond
		out = append(out, Result{
			At: last.Add(-age), Verdict: verdictBits[min(s.took>>30, 2)], Value: s.value,
			Took: time.Duration(s.took&(1<<30-1)) * time.Microsecond,
		})
	}
	return out
}
