package store

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
)

// Blocks are how roll-ups are stored: rows in the order of time, each as differences from the one before.
//
// Compatibility: a block begins with blockVersion; a reader refuses others. Whole numbers below 2^53 are kept exactly. Other
// values, and all durations, are kept to 14 binary digits (4 decimal ones), which halves the file: they are for pages and
// baselines, not for accounts. A value beyond the range of float32 is kept as its largest.
const blockVersion = 1

// slot is one row of a block: n minutes (or hours) after the block's start.
type slot struct {
	n int
	r Rollup // Probe and Minute unset
}

const (
	flagWhole  = 1 << iota // the values are whole numbers
	flagFlat               // min = max = last, sum = runs * min: one number
	flagCounts             // runs, bad and unknown as in the row before
	flagNext               // n follows the row before
	flagTook               // took is there
)

// block is the running state of encoder and decoder alike.
type block struct {
	n                  int
	runs, bad, unknown int32
	whole              int64
	real, took         int64
}

func appendBlock(b []byte, slots []slot) []byte {
	b = append(b, blockVersion)
	state := block{n: -1}
	for i := range slots {
		b = state.append(b, &slots[i])
	}
	return b
}

func (s *block) append(b []byte, in *slot) []byte {
	r := &in.r
	flags := byte(0)
	whole := isWhole(r.Min) && isWhole(r.Max) && isWhole(r.Sum) && isWhole(r.Last)
	flat := r.Min == r.Max && r.Last == r.Min && r.Sum == r.Min*float64(r.Runs)
	if whole {
		flags |= flagWhole
	}
	if flat {
		flags |= flagFlat
	}
	if r.Runs == s.runs && r.Bad == s.bad && r.Unknown == s.unknown {
		flags |= flagCounts
	}
	if in.n == s.n+1 {
		flags |= flagNext
	}
	if r.TookSum != 0 || r.TookMax != 0 {
		flags |= flagTook
	}
	b = append(b, flags)
	if flags&flagNext == 0 {
		b = binary.AppendUvarint(b, uint64(in.n-s.n))
	}
	s.n = in.n
	if flags&flagCounts == 0 {
		b = binary.AppendUvarint(b, uint64(uint32(r.Runs)))
		b = binary.AppendUvarint(b, uint64(uint32(r.Bad)))
		b = binary.AppendUvarint(b, uint64(uint32(r.Unknown)))
		s.runs, s.bad, s.unknown = r.Runs, r.Bad, r.Unknown
	}
	if whole {
		low := int64(r.Min)
		b = binary.AppendVarint(b, low-s.whole)
		s.whole = low
		if !flat {
			b = binary.AppendVarint(b, int64(r.Max)-low)
			b = binary.AppendVarint(b, int64(r.Sum)-low*int64(r.Runs))
			b = binary.AppendVarint(b, int64(r.Last)-low)
		}
	} else {
		low := rank(r.Min)
		b = binary.AppendVarint(b, low-s.real)
		s.real = low
		if !flat {
			b = binary.AppendVarint(b, rank(r.Max)-low)
			b = binary.AppendVarint(b, rank(mean(r.Sum, r.Runs))-low)
			b = binary.AppendVarint(b, rank(r.Last)-low)
		}
	}
	if flags&flagTook != 0 {
		took := rank(mean(float64(r.TookSum), r.Runs))
		b = binary.AppendVarint(b, took-s.took)
		b = binary.AppendVarint(b, rank(float64(r.TookMax))-took)
		s.took = took
	}
	return b
}

var errBlock = errors.New("the block of roll-ups is damaged")

func decodeBlock(b []byte) ([]slot, error) {
	if len(b) == 0 || b[0] != blockVersion {
		return nil, errBlock
	}
	b = b[1:]
	state := block{n: -1}
	var out []slot
	for len(b) > 0 {
		var in slot
		var err error
		if b, err = state.decode(b, &in); err != nil {
			return nil, err
		}
		out = append(out, in)
	}
	return out, nil
}

func (s *block) decode(b []byte, out *slot) ([]byte, error) {
	d := reader{b: b[1:]}
	flags, r := b[0], &out.r
	step := uint64(1)
	if flags&flagNext == 0 {
		step = d.uint()
	}
	if step == 0 || step > 1<<20 || flags >= flagTook<<1 || s.n > 1<<24 {
		return nil, errBlock
	}
	s.n += int(step)
	out.n = s.n
	if flags&flagCounts == 0 {
		s.runs, s.bad, s.unknown = int32(d.uint()), int32(d.uint()), int32(d.uint())
	}
	r.Runs, r.Bad, r.Unknown = s.runs, s.bad, s.unknown
	if flags&flagWhole != 0 {
		s.whole += d.int()
		r.Min, r.Max, r.Last, r.Sum = float64(s.whole), float64(s.whole), float64(s.whole), float64(s.whole)*float64(r.Runs)
		if flags&flagFlat == 0 {
			r.Max = float64(s.whole + d.int())
			r.Sum = float64(s.whole*int64(r.Runs) + d.int())
			r.Last = float64(s.whole + d.int())
		}
	} else {
		s.real += d.int()
		r.Min = unrank(s.real)
		r.Max, r.Last, r.Sum = r.Min, r.Min, r.Min*float64(r.Runs)
		if flags&flagFlat == 0 {
			r.Max = unrank(s.real + d.int())
			r.Sum = total(unrank(s.real+d.int()), r.Runs)
			r.Last = unrank(s.real + d.int())
		}
	}
	if flags&flagTook != 0 {
		s.took += d.int()
		r.TookSum = time.Duration(total(unrank(s.took), r.Runs))
		r.TookMax = time.Duration(unrank(s.took + d.int()))
	}
	if d.bad {
		return nil, errBlock
	}
	return d.b, nil
}

// reader takes numbers off a block; bad is set when one is cut off.
type reader struct {
	b   []byte
	bad bool
}

func (d *reader) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	d.skip(n)
	return v
}

func (d *reader) int() int64 {
	v, n := binary.Varint(d.b)
	d.skip(n)
	return v
}

func (d *reader) skip(n int) {
	if n <= 0 {
		d.bad, n = true, 0
	}
	d.b = d.b[n:]
}

func isWhole(v float64) bool { return v == math.Trunc(v) && math.Abs(v) < 1<<53 }

func mean(sum float64, runs int32) float64 {
	if runs < 2 {
		return sum
	}
	return sum / float64(runs)
}

func total(mean float64, runs int32) float64 {
	if runs < 2 {
		return mean
	}
	return mean * float64(runs)
}

// realShift is how many of float32's 23 fraction bits are dropped.
const realShift = 10

// rank numbers values in their order, so that values close to each other get numbers close to each other.
func rank(v float64) int64 {
	f := float32(max(-math.MaxFloat32, min(math.MaxFloat32, v)))
	if f != f {
		return 0 // no number at all: kept as 0
	}
	bits := math.Float32bits(f)
	magnitude := (int64(bits&^(1<<31)) + 1<<(realShift-1)) >> realShift
	magnitude = min(magnitude, int64(math.Float32bits(math.MaxFloat32))>>realShift)
	if bits>>31 == 1 {
		return -magnitude
	}
	return magnitude
}

func unrank(n int64) float64 {
	sign := 1.0
	if n < 0 {
		sign, n = -1, -n
	}
	top := int64(math.Float32bits(math.MaxFloat32)) >> realShift
	if n < 0 || n > top {
		n = top
	}
	return sign * float64(math.Float32frombits(uint32(n)<<realShift))
}
