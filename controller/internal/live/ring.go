package live

import (
	"encoding/binary"
	"math"
	"slices"
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

// ring holds the last results of a probe. Each is written as what it differs from the one before: 3 bytes where a probe keeps its
// rhythm and its value stays, about 7 where the value is a latency, at most 24. It grows as results come.
type ring struct {
	buf   []byte // the results from start on, the oldest first
	start uint16
	held  uint8
	tick  int64   // of the newest result, in hundredths of a second of Unix time
	value float64 // of the newest result
	older float64 // value of the result before the oldest
}

// A result is one byte of verdict, form of the value and step in time, then, where the byte does not tell all, the step, then the
// run's length in microseconds, then the value.
const (
	verdictMask = 3
	formShift   = 2
	formMask    = 3
	stepShift   = 4
	stepMiddle  = 7  // the interval itself; a step of up to 7 hundredths of a second more or less than it fits as well
	stepApart   = 15 // the step follows, as a number of its own
	resultBytes = 1 + binary.MaxVarintLen64 + 5 + 8
)

// The forms of a value. Each gives back every bit of it.
const (
	formSame  = iota // as that of the result before
	formWhole        // a whole number
	formNano         // billionths of one, which latencies are
	formBits         // anything else
)

var verdictBits = [...]api.Verdict{api.OK, api.Bad, api.Unknown}

// add keeps a result of a probe that runs at an interval, and forgets the oldest where there would be too many.
func (r *ring) add(o *api.Observation, every time.Duration) {
	verdict := byte(2)
	for i, v := range verdictBits {
		if v == o.Verdict {
			verdict = byte(i)
		}
	}
	tick := o.At.UnixMilli() / 10
	if r.held == 0 {
		r.tick = tick - ticksOf(every)
	}
	form, number := formOf(o.Value, r.value)
	first := verdict | form<<formShift
	var b [resultBytes]byte
	n := 1
	if step := tick - r.tick - ticksOf(every) + stepMiddle; step >= 0 && step < stepApart {
		first |= byte(step) << stepShift
	} else {
		first |= stepApart << stepShift
		n += binary.PutVarint(b[n:], tick-r.tick)
	}
	b[0] = first
	n += binary.PutUvarint(b[n:], uint64(min(max(o.Took.Microseconds(), 0), 1<<30-1)))
	switch form {
	case formWhole, formNano:
		n += binary.PutVarint(b[n:], number)
	case formBits:
		binary.LittleEndian.PutUint64(b[n:], math.Float64bits(o.Value))
		n += 8
	}
	if r.held == ringMax {
		r.forget()
	}
	r.room(n)
	r.buf = append(r.buf, b[:n]...)
	r.held++
	r.tick, r.value = tick, o.Value
}

func ticksOf(every time.Duration) int64 { return int64(every / (10 * time.Millisecond)) }

// formOf finds the shortest form of a value that gives back every bit of it.
func formOf(v, before float64) (form byte, number int64) {
	bits := math.Float64bits(v)
	if bits == math.Float64bits(before) {
		return formSame, 0
	}
	if whole := int64(v); math.Abs(v) < 1<<40 && math.Float64bits(float64(whole)) == bits {
		return formWhole, whole
	}
	if math.Abs(v) < 1<<20 {
		if nanos := int64(math.Round(v * 1e9)); math.Float64bits(time.Duration(nanos).Seconds()) == bits {
			return formNano, nanos
		}
	}
	return formBits, 0
}

// room makes room for n bytes more: by moving the results to the front where enough was forgotten there, else in a new array. That
// has room for three times the results, were they all like those held, and for no more than a full ring of them.
func (r *ring) room(n int) {
	if len(r.buf)+n <= cap(r.buf) {
		return
	}
	live, held := r.buf[r.start:], int(r.held)+1
	want := (len(live) + n) * min(ringMax, max(12, 3*held)) / held
	want += want / 16
	if len(live)+n <= cap(r.buf) && cap(r.buf) <= want+want/4 {
		r.buf = r.buf[:copy(r.buf, live)]
	} else {
		r.buf = append(slices.Grow([]byte(nil), max(want, len(live)+n)), live...)
	}
	r.start = 0
}

// forget drops the oldest result.
func (r *ring) forget() {
	oldest, next := r.read(int(r.start), r.older)
	r.older, r.start = oldest.value, uint16(next)
	r.held--
}

// written is a result as the ring has it.
type written struct {
	verdict byte
	apart   bool
	step    int64 // since the result before, or beyond the interval, in hundredths of a second
	took    uint64
	value   float64
}

// read reads the result at a place in buf and gives the place of the next.
func (r *ring) read(at int, before float64) (w written, next int) {
	first := r.buf[at]
	at++
	w.verdict, w.value = first&verdictMask, before
	w.step = int64(first>>stepShift) - stepMiddle
	if first>>stepShift == stepApart {
		step, n := binary.Varint(r.buf[at:])
		w.apart, w.step, at = true, step, at+n
	}
	took, n := binary.Uvarint(r.buf[at:])
	w.took, at = took, at+n
	switch first >> formShift & formMask {
	case formWhole:
		number, n := binary.Varint(r.buf[at:])
		w.value, at = float64(number), at+n
	case formNano:
		number, n := binary.Varint(r.buf[at:])
		w.value, at = time.Duration(number).Seconds(), at+n
	case formBits:
		w.value, at = math.Float64frombits(binary.LittleEndian.Uint64(r.buf[at:])), at+8
	}
	return w, at
}

// list gives the results, oldest first. last is the time of the newest one, every the probe's interval.
func (r *ring) list(last time.Time, every time.Duration) []Result {
	out := make([]Result, 0, r.held)
	at, value, tick := int(r.start), r.older, int64(0)
	for at < len(r.buf) {
		var w written
		w, at = r.read(at, value)
		value = w.value
		if tick += w.step; !w.apart {
			tick += ticksOf(every)
		}
		out = append(out, Result{At: last.Add(time.Duration(tick) * 10 * time.Millisecond), Verdict: verdictBits[min(w.verdict, 2)],
			Value: w.value, Took: time.Duration(w.took) * time.Microsecond})
	}
	for i := range out {
		out[i].At = out[i].At.Add(-time.Duration(tick) * 10 * time.Millisecond)
	}
	return out
}
