package detect

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/backstay/backstay/api"
)

// trendBuckets divides the window; each bucket keeps the mean of its values.
const trendBuckets = 16

// trendLeast is how many buckets must hold values before a slope is believed.
const trendLeast = 5

// trend watches the rate of change. The slope is the median over all pairs of buckets (Theil-Sen), so that up to a
// quarter of them may be outliers; it is believed once the values span half the window.
type trend struct {
	window    time.Duration
	perMinute *float64
	limit     *float64
	within    time.Duration
	origin    int64 // time of the first value; 0 before it
	buckets   [trendBuckets]trendBucket
	slope     float64 // per minute
	level     float64 // now, as the slope's line has it
	last      float64 // as it was seen
	known     bool    // slope and level are believed
	unit      string
}

// trendBucket is the mean of the values in one part of the window.
type trendBucket struct {
	number int32 // since origin
	count  int32
	minute float64 // mean time, since origin
	value  float64
}

func newTrend(c api.Trend) (*trend, error) {
	if c.Window.Duration == 0 {
		c.Window.Duration = 5 * time.Minute
	}
	switch {
	case c.Window.Duration < time.Second:
		return nil, errors.New("trend window must be at least 1s")
	case c.PerMinute == nil && (c.Limit == nil || c.BreachWithin.Duration <= 0):
		return nil, errors.New("trend needs perMinute, or limit with breachWithin")
	case c.PerMinute != nil && !finite(*c.PerMinute) || c.Limit != nil && !finite(*c.Limit):
		return nil, errors.New("trend limits must be finite numbers")
	}
	return &trend{window: c.Window.Duration, perMinute: c.PerMinute, limit: c.Limit, within: c.BreachWithin.Duration}, nil
}

func (r *trend) observe(p point, open bool) bool {
	if !p.hasValue || p.value > 1e300 || p.value < -1e300 {
		return open
	}
	r.last, r.unit = p.value, p.unit
	if r.origin == 0 {
		r.origin = p.at
	}
	since := p.at - r.origin
	number := since / max(int64(r.window)/trendBuckets, 1)
	if number >= 1<<30 { // start counting afresh, long before it overflows
		r.reset()
		r.origin, since, number = p.at, 0, 0
	}
	b := &r.buckets[number%trendBuckets]
	if b.count == 0 || b.number != int32(number) {
		*b = trendBucket{number: int32(number)}
	}
	b.count++
	b.minute += (float64(since)/float64(time.Minute) - b.minute) / float64(b.count)
	b.value += (p.value - b.value) / float64(b.count)
	r.fit(int32(number), float64(since)/float64(time.Minute))
	if !r.known {
		return open
	}
	return r.tooFast(open) || r.breaches(open)
}

// fit takes the slope over the buckets of the window that ends with the given one.
func (r *trend) fit(last int32, now float64) {
	var at, value [trendBuckets]float64
	var scratch [trendBuckets * (trendBuckets - 1) / 2]float64
	n, first := 0, now
	for i := range r.buckets {
		if b := &r.buckets[i]; b.count > 0 && b.number > last-trendBuckets {
			at[n], value[n] = b.minute, b.value
			first = min(first, b.minute)
			n++
		}
	}
	r.known = n >= trendLeast && now-first >= r.window.Minutes()/2
	if !r.known {
		return
	}
	slopes := scratch[:0]
	for i := range n {
		for j := range i {
			if dt := at[i] - at[j]; dt != 0 {
				slopes = append(slopes, (value[i]-value[j])/dt)
			}
		}
	}
	r.slope = median(slopes)
	levels := scratch[:0]
	for i := range n {
		levels = append(levels, value[i]+float64(r.slope*(now-at[i])))
	}
	r.level = median(levels)
	r.known = finite(r.slope) && finite(r.level)
}

// tooFast has a hysteresis of a quarter: noise about the limit does not open and clear in turn.
func (r *trend) tooFast(open bool) bool {
	if r.perMinute == nil {
		return false
	}
	limit := *r.perMinute
	if open {
		limit -= float64(max(limit, -limit) / 4)
	}
	return r.slope > limit
}

// breaches tells whether the limit is near. Once open it stays so while the limit is breached, or nearer than 1.5 times the time.
func (r *trend) breaches(open bool) bool {
	if r.limit == nil || r.within <= 0 {
		return false
	}
	if r.level >= *r.limit {
		return open || r.slope > 0
	}
	if r.slope <= 0 {
		return false
	}
	horizon := r.within.Minutes()
	if open {
		horizon *= 1.5
	}
	return (*r.limit-r.level)/r.slope <= horizon
}

func (r *trend) explain(_ int64, cleared bool) finding {
	perMinute := "/min"
	if r.unit != "" {
		perMinute = r.unit + "/min"
	}
	f := finding{value: r.slope, unit: perMinute, evidence: []api.Number{
		{Name: "growth", Value: r.slope, Unit: perMinute}, {Name: "value", Value: r.last, Unit: r.unit},
		{Name: "window", Value: r.window.Seconds(), Unit: "s"}}}
	if r.perMinute != nil {
		f.limit = *r.perMinute
		f.evidence = append(f.evidence, api.Number{Name: "most allowed", Value: f.limit, Unit: perMinute})
	}
	if r.limit != nil {
		f.evidence = append(f.evidence, api.Number{Name: "limit", Value: *r.limit, Unit: r.unit})
		if r.perMinute == nil {
			f.value, f.limit, f.unit = r.last, *r.limit, r.unit
		}
	}
	if cleared {
		f.text = fmt.Sprintf("changes by %s a minute, now at %s", amount(r.slope, r.unit), amount(r.last, r.unit))
		return f
	}
	f.text = fmt.Sprintf("grows by %s a minute, now at %s", amount(r.slope, r.unit), amount(r.last, r.unit))
	switch {
	case r.limit == nil:
		f.text += ", most allowed " + number(f.limit) + " a minute"
	case r.level >= *r.limit:
		f.text += ": has reached the limit of " + number(*r.limit)
	case r.slope > 0:
		eta := min((*r.limit-r.level)/r.slope*60, 1e9)
		f.evidence = append(f.evidence, api.Number{Name: "time to breach", Value: eta, Unit: "s"})
		f.text = fmt.Sprintf("grows by %s a minute: reaches %s in about %s, now at %s", amount(r.slope, r.unit), number(*r.limit),
			span(roughly(eta)), number(r.last))
	}
	return f
}

// roughly rounds an estimate to what it is worth: whole minutes from two minutes on.
func roughly(seconds float64) time.Duration {
	d := time.Duration(seconds * float64(time.Second))
	if d >= 2*time.Minute {
		return d.Round(time.Minute)
	}
	return d.Round(time.Second)
}

func (r *trend) reset() {
	r.origin, r.known = 0, false
	r.buckets = [trendBuckets]trendBucket{}
}

// median sorts in place; the mean of the middle two where there is no middle one.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	m := len(v) / 2
	if len(v)%2 == 1 {
		return v[m]
	}
	return v[m-1] + float64((v[m]-v[m-1])/2)
}
