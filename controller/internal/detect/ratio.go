package detect

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/backstay/backstay/api"
)

// ratioBuckets divides the window; it covers up to one bucket more than the window.
const ratioBuckets = 21

// ratio compares a share with a limit by its Wilson bound. The share is of what the probe counts since its last run
// (value of total), or, for a probe that never reports a total, bad runs of all runs.
type ratio struct {
	above, below *api.Percent
	window       time.Duration
	z            float64
	minTotal     float64
	origin       int64
	buckets      [ratioBuckets]ratioBucket
	part, total  float64 // over the window
	counts       bool    // the probe reports totals
	under        bool    // the side that opened it
}

type ratioBucket struct {
	number      int64
	part, total float64
}

func newRatio(c api.Ratio) (*ratio, error) {
	if c.Window.Duration == 0 {
		c.Window.Duration = 10 * time.Minute
	}
	if c.Confidence.PPM == 0 {
		c.Confidence.PPM = 950_000
	}
	if c.MinTotal == 0 {
		c.MinTotal = 10
	}
	switch {
	case c.Above == nil && c.Below == nil:
		return nil, errors.New("ratio needs above or below")
	case c.Above != nil && c.Below != nil && c.Below.PPM >= c.Above.PPM:
		return nil, fmt.Errorf("ratio below %s must be less than above %s", c.Below, c.Above)
	case c.Window.Duration < time.Second || c.MinTotal < 1:
		return nil, errors.New("ratio window must be at least 1s and minTotal at least 1")
	case c.Confidence.PPM < 500_000 || c.Confidence.PPM >= 1_000_000:
		return nil, fmt.Errorf("ratio confidence %s: want at least 50%% and less than 100%%", c.Confidence)
	}
	z := math.Round(math.Sqrt2*math.Erfinv(float64(2*c.Confidence.Ratio())-1)*1e9) / 1e9 // the last digits differ between processors
	return &ratio{above: c.Above, below: c.Below, window: c.Window.Duration, z: z, minTotal: float64(c.MinTotal)}, nil
}

func (r *ratio) observe(p point, open bool) bool {
	if p.verdict == unknown {
		return open
	}
	if !r.counts && p.total > 0 && finite(p.total) {
		r.reset() // bad runs and business items do not add up
		r.counts = true
	}
	part, total := p.value, p.total
	switch {
	case !r.counts && p.repeat:
		total = 0
	case !r.counts && p.verdict == bad:
		part, total = 1, 1
	case !r.counts:
		part, total = 0, 1
	}
	r.take(p.at, part, total)
	if r.total <= 0 {
		return open
	}
	share := r.part / r.total
	if open {
		return r.above != nil && share > r.above.Ratio() || r.below != nil && share < r.below.Ratio()
	}
	if r.total < r.minTotal {
		return false
	}
	low, high := wilson(share, r.total, r.z)
	r.under = r.below != nil && high < r.below.Ratio()
	return r.under || r.above != nil && low > r.above.Ratio()
}

// take adds to the window and sums it up. What cannot be a share of something is left out.
func (r *ratio) take(at int64, part, total float64) {
	if r.origin == 0 {
		r.origin = at
	}
	width := max(int64(r.window)/(ratioBuckets-1), 1)
	number := (at-r.origin)/width + 1
	b := &r.buckets[number%ratioBuckets]
	if b.number != number {
		*b = ratioBucket{number: number}
	}
	if total > 0 && total < 1e300 && finite(part) {
		b.part += min(max(part, 0), total)
		b.total += total
	}
	r.part, r.total = 0, 0
	for i := range r.buckets {
		if b := &r.buckets[i]; b.number > number-ratioBuckets {
			r.part += b.part
			r.total += b.total
		}
	}
}

// wilson gives the bounds of a share seen in n trials, z standard deviations away.
// Wilson, Probable inference, the law of succession, and statistical inference (JASA 1927).
func wilson(share, n, z float64) (low, high float64) {
	zz := float64(z * z) // conversions keep processors from fusing: all decide alike
	mid := (share + zz/(2*n)) / (1 + zz/n)
	half := float64(z / (1 + zz/n) * math.Sqrt(share*(1-share)/n+zz/(4*n*n)))
	return max(mid-half, 0), min(mid+half, 1)
}

func (r *ratio) explain(_ int64, cleared bool) finding {
	limit, side := r.above, "above"
	if r.under {
		limit, side = r.below, "below"
	}
	now := 0.0
	if r.total > 0 {
		now = r.part / r.total
	}
	low, high := wilson(now, max(r.total, 1), r.z)
	what := "of all runs were bad "
	if r.counts {
		what = ""
	}
	f := finding{value: now * 100, limit: limit.Ratio() * 100, unit: "%", evidence: []api.Number{
		{Name: "share", Value: now * 100, Unit: "%"}, {Name: "limit", Value: limit.Ratio() * 100, Unit: "%"},
		{Name: "counted", Value: r.part}, {Name: "of", Value: r.total},
		{Name: "at least", Value: low * 100, Unit: "%"}, {Name: "at most", Value: high * 100, Unit: "%"}}}
	if cleared {
		f.text = fmt.Sprintf("%s %s(%s of %s) in the last %s, limit %s", share(now), what, number(r.part), number(r.total), span(r.window), share(limit.Ratio()))
		return f
	}
	f.text = fmt.Sprintf("%s %s(%s of %s) in the last %s, %s the limit of %s", share(now), what, number(r.part), number(r.total),
		span(r.window), side, share(limit.Ratio()))
	return f
}

func (r *ratio) reset() {
	r.origin, r.part, r.total = 0, 0, 0
	r.buckets = [ratioBuckets]ratioBucket{}
}
