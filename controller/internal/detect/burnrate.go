package detect

import (
	"fmt"
	"time"

	"github.com/backstay/backstay/api"
)

// burnRate is the multi-window burn-rate alert: it opens when both windows burn the error budget at a multiple, and clears
// when either burns at less than half of that. Time from before watching began counts as good in the long window, so
// that one bad run just after a start does not open it.
type burnRate struct {
	budget      float64 // share of bad runs that was promised at most
	factor      float64
	short, long time.Duration
	every       time.Duration
	width       int64 // of a bucket, nanoseconds
	origin      int64
	buckets     []burnBucket
	shortBurn   float64 // multiples of the budget
	longBurn    float64
	bad, runs   int64 // in the long window
}

type burnBucket struct {
	number    uint32
	bad, runs uint16
}

func newBurnRate(c api.BurnRate, every time.Duration) (*burnRate, error) {
	if c.Short.Duration == 0 {
		c.Short.Duration = 5 * time.Minute
	}
	if c.Long.Duration == 0 {
		c.Long.Duration = max(time.Hour, c.Short.Duration)
	}
	if c.Factor == 0 {
		c.Factor = 14.4
	}
	budget := 1 - c.Objective.Ratio()
	switch {
	case c.Objective.PPM <= 0 || c.Objective.PPM >= 1_000_000:
		return nil, fmt.Errorf("burnRate objective %s leaves no budget to burn: want more than 0%% and less than 100%%, such as 99.9%%", c.Objective)
	case !finite(c.Factor) || c.Factor < 1 || c.Factor*budget > 1+1e-9:
		return nil, fmt.Errorf("burnRate factor %v: want 1 to %s, as fast as an objective of %s can burn", c.Factor, number(1/budget), c.Objective)
	case c.Short.Duration < time.Second || c.Long.Duration < c.Short.Duration:
		return nil, fmt.Errorf("burnRate short %s and long %s: want 1s <= short <= long", span(c.Short.Duration), span(c.Long.Duration))
	}
	r := &burnRate{budget: budget, factor: min(c.Factor, 1/budget), short: c.Short.Duration, long: c.Long.Duration, every: every}
	r.width = max(int64(r.short)/6, int64(r.long)/360, 1)
	r.buckets = make([]burnBucket, int64(r.long)/r.width+2)
	return r, nil
}

func (r *burnRate) observe(p point, open bool) bool {
	if p.verdict == unknown || p.repeat {
		return open
	}
	if r.origin == 0 {
		r.origin = p.at
	}
	number := (p.at-r.origin)/r.width + 1
	if number >= 1<<31 { // start counting afresh, long before it overflows
		r.reset()
		r.origin, number = p.at, 1
	}
	b := &r.buckets[number%int64(len(r.buckets))]
	if b.number != uint32(number) {
		*b = burnBucket{number: uint32(number)}
	}
	if b.runs == 1<<16-1 { // keep the share
		b.runs, b.bad = b.runs/2, b.bad/2
	}
	b.runs++
	if p.verdict == bad {
		b.bad++
	}
	r.sum(number, p.at)
	if open {
		return r.shortBurn >= r.factor/2 && r.longBurn >= r.factor/2
	}
	return r.shortBurn >= r.factor*(1-1e-9) && r.longBurn >= r.factor*(1-1e-9)
}

// sum takes both windows, whole buckets up to the given one.
func (r *burnRate) sum(number, at int64) {
	var shortBad, shortRuns int64
	r.bad, r.runs = 0, 0
	shortFrom := number - int64(r.short)/r.width
	longFrom := number - int64(r.long)/r.width
	for i := range r.buckets {
		b := &r.buckets[i]
		n := int64(b.number)
		if n == 0 || n < longFrom || n > number {
			continue
		}
		r.bad, r.runs = r.bad+int64(b.bad), r.runs+int64(b.runs)
		if n >= shortFrom {
			shortBad, shortRuns = shortBad+int64(b.bad), shortRuns+int64(b.runs)
		}
	}
	full := float64(r.runs)
	if seen := at - r.origin + int64(r.every); seen < int64(r.long) {
		full *= float64(r.long) / float64(seen)
	}
	r.shortBurn = float64(shortBad) / max(float64(shortRuns), 1) / r.budget
	r.longBurn = float64(r.bad) / max(full, 1) / r.budget
}

func (r *burnRate) explain(_ int64, cleared bool) finding {
	f := finding{value: r.shortBurn, limit: r.factor, unit: "x", evidence: []api.Number{
		{Name: "burn over " + span(r.short), Value: r.shortBurn, Unit: "x"}, {Name: "burn over " + span(r.long), Value: r.longBurn, Unit: "x"},
		{Name: "limit", Value: r.factor, Unit: "x"}, {Name: "objective", Value: (1 - r.budget) * 100, Unit: "%"},
		{Name: "bad", Value: float64(r.bad), Unit: "runs"}, {Name: "of", Value: float64(r.runs), Unit: "runs"}}}
	rates := fmt.Sprintf("%s times the allowed rate over %s and %s times over %s", number(round1(r.shortBurn)), span(r.short), number(round1(r.longBurn)), span(r.long))
	if cleared {
		f.text = "the error budget burns at " + rates
		return f
	}
	f.text = fmt.Sprintf("the error budget of %s burns at %s, limit %s", share(r.budget), rates, number(r.factor))
	return f
}

func round1(v float64) float64 { return float64(int64(float64(min(v, 1e15)*10)+0.5)) / 10 }

func (r *burnRate) reset() {
	r.origin = 0
	clear(r.buckets)
}
