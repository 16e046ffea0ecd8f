package detect

import (
	"errors"
	"fmt"
	"time"

	"github.com/backstay/backstay/api"
)

// threshold is a static band with hysteresis. It opens when the value was beyond the same limit for a time without a break.
type threshold struct {
	spec  *api.Threshold
	since int64 // beyond the limit since; 0 while it is not
	value float64
	unit  string
	under bool // the side that the value was last beyond
}

func newThreshold(c api.Threshold) (*threshold, error) {
	switch {
	case c.Above == nil && c.Below == nil:
		return nil, errors.New("threshold needs above or below")
	case c.Above != nil && !finite(*c.Above) || c.Below != nil && !finite(*c.Below) || c.Clear != nil && !finite(*c.Clear):
		return nil, errors.New("threshold limits must be finite numbers")
	case c.Above != nil && c.Below != nil && *c.Below >= *c.Above:
		return nil, fmt.Errorf("threshold below %v must be less than above %v", *c.Below, *c.Above)
	case c.Clear != nil && (c.Above != nil && *c.Clear > *c.Above || c.Below != nil && *c.Clear < *c.Below):
		return nil, fmt.Errorf("threshold clear %v lies beyond the limit that it should ease: it must be on the good side", *c.Clear)
	}
	return &threshold{spec: &c}, nil
}

func (r *threshold) observe(p point, open bool) bool {
	if !p.hasValue {
		return open
	}
	r.value, r.unit = p.value, p.unit
	above := r.spec.Above != nil && p.value > *r.spec.Above
	below := r.spec.Below != nil && p.value < *r.spec.Below
	if above || below {
		if r.since == 0 || r.under != below || p.gap && !open {
			r.since = p.at
		}
		r.under = below
		return open || p.at-r.since >= int64(r.spec.For.Duration)
	}
	if open && !r.well(p.value) {
		return true
	}
	r.since = 0
	return false
}

// well tells whether a value within the limits is far enough on the good side to clear.
func (r *threshold) well(v float64) bool {
	switch {
	case r.spec.Clear == nil:
		return true
	case r.under:
		return v >= *r.spec.Clear
	}
	return v <= *r.spec.Clear
}

func (r *threshold) limit() float64 {
	if r.under {
		return *r.spec.Below
	}
	return *r.spec.Above
}

func (r *threshold) explain(now int64, cleared bool) finding {
	f := finding{value: r.value, limit: r.limit(), unit: r.unit, evidence: []api.Number{
		{Name: "value", Value: r.value, Unit: r.unit}, {Name: "limit", Value: r.limit(), Unit: r.unit}}}
	if cleared {
		f.text = fmt.Sprintf("back at %s, limit %s", amount(r.value, r.unit), number(f.limit))
		return f
	}
	side := "above"
	if r.under {
		side = "below"
	}
	f.text = fmt.Sprintf("at %s, %s the limit of %s", amount(r.value, r.unit), side, number(f.limit))
	if r.since == 0 || r.value == f.limit || (r.value < f.limit) != r.under {
		f.text = fmt.Sprintf("at %s, within the limit of %s but not yet clear", amount(r.value, r.unit), number(f.limit))
		return f
	}
	beyond := time.Duration(max(now-r.since, 0))
	f.evidence = append(f.evidence, api.Number{Name: "beyond for", Value: beyond.Seconds(), Unit: "s"})
	if beyond > 0 {
		f.text += ", for " + span(beyond)
	}
	return f
}

func (r *threshold) reset() { r.since = 0 }

// began is since when the value is beyond the limit.
func (r *threshold) began() int64 { return r.since }
