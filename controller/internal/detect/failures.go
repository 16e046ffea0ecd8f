package detect

import (
	"fmt"
	"math/bits"

	"github.com/backstay/backstay/api"
)

// failures is m of n: a bitmap of the last n runs that could tell. It forgets them when it clears, so that
// old bad runs do not open it again.
type failures struct {
	window  []uint64 // bit set: the run was bad
	reason  string   // of the last bad run
	since   int64    // time of the first bad run in the window
	atLeast int32
	of      int32
	clear   int32
	next    int32 // place of the next run
	runs    int32 // runs in the window
	goods   int32 // good runs in a row, at most clear
}

func newFailures(c api.Failures) (*failures, error) {
	if c.AtLeast == 0 {
		c.AtLeast = 3
		if c.Of > 0 {
			c.AtLeast = min(3, c.Of)
		}
	}
	if c.Of == 0 {
		c.Of = max(3, c.AtLeast)
	}
	if c.Clear == 0 {
		c.Clear = 2
	}
	if c.AtLeast < 1 || c.Of < c.AtLeast || c.Of > 1000 || c.Clear < 1 || c.Clear > 1<<30 {
		return nil, fmt.Errorf("failures atLeast %d of %d, clear %d: want 1 <= atLeast <= of <= 1000 and clear >= 1", c.AtLeast, c.Of, c.Clear)
	}
	return &failures{window: make([]uint64, (c.Of+63)/64), atLeast: int32(c.AtLeast), of: int32(c.Of), clear: int32(c.Clear)}, nil
}

func (r *failures) observe(p point, open bool) bool {
	if p.verdict == unknown {
		return open
	}
	word, bit := r.next/64, uint64(1)<<(r.next%64)
	if p.verdict == bad {
		if r.bad() == 0 {
			r.since = p.at
		}
		r.window[word] |= bit
		r.reason, r.goods = p.reason, 0
	} else {
		r.window[word] &^= bit
		r.goods = min(r.goods+1, r.clear)
	}
	r.next = (r.next + 1) % r.of
	r.runs = min(r.runs+1, r.of)
	if open {
		if r.goods < r.clear {
			return true
		}
		clear(r.window)
		r.next, r.runs = 0, 0
		return false
	}
	return p.verdict == bad && r.bad() >= r.atLeast
}

func (r *failures) bad() (n int32) {
	for _, w := range r.window {
		n += int32(bits.OnesCount64(w))
	}
	return n
}

func (r *failures) explain(_ int64, cleared bool) finding {
	if cleared {
		return finding{limit: float64(r.atLeast), unit: "runs", text: goodRuns(r.clear),
			evidence: []api.Number{{Name: "good in a row", Value: float64(r.goods), Unit: "runs"}}}
	}
	n := r.bad()
	f := finding{value: float64(n), limit: float64(r.atLeast), unit: "runs", evidence: []api.Number{
		{Name: "bad", Value: float64(n), Unit: "runs"}, {Name: "of the last", Value: float64(r.runs), Unit: "runs"}}}
	f.text = fmt.Sprintf("%d of the last %d checks were bad", n, r.runs)
	if r.runs == 1 {
		f.text = "the last check was bad"
	}
	if r.reason != "" {
		f.text += "; the last: " + clip(r.reason, 200)
	}
	return f
}

func goodRuns(n int32) string {
	if n == 1 {
		return "the last check was good"
	}
	return fmt.Sprintf("the last %d checks were good", n)
}

func (r *failures) reset() {}

// began is when the first of the bad runs was.
func (r *failures) began() int64 { return r.since }
