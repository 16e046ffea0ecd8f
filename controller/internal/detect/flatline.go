package detect

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/backstay/backstay/api"
)

// flatline opens when a value that should move stood still for a time. A slow creep counts as movement once it adds up.
type flatline struct {
	longest time.Duration
	epsilon float64
	anchor  float64
	since   int64 // of anchor; 0 before the first value
	value   float64
	unit    string
}

func newFlatline(c api.Flatline) (*flatline, error) {
	if c.For.Duration <= 0 || !finite(c.Epsilon) || c.Epsilon < 0 {
		return nil, errors.New("flatline needs for, such as 30m, and an epsilon of at least 0")
	}
	return &flatline{longest: c.For.Duration, epsilon: c.Epsilon}, nil
}

func (r *flatline) observe(p point, open bool) bool {
	if !p.hasValue {
		return open
	}
	r.value, r.unit = p.value, p.unit
	if r.since == 0 || math.Abs(p.value-r.anchor) > r.epsilon {
		moved := r.since != 0 || !open
		r.anchor, r.since = p.value, p.at
		return open && !moved
	}
	if p.gap && !open {
		r.since = p.at
	}
	return open || p.at-r.since >= int64(r.longest)
}

func (r *flatline) explain(now int64, cleared bool) finding {
	still := time.Duration(max(now-r.since, 0))
	f := finding{value: r.value, limit: r.longest.Seconds(), unit: r.unit}
	if cleared {
		f.text = "moves again, now at " + amount(r.value, r.unit)
		f.evidence = []api.Number{{Name: "value", Value: r.value, Unit: r.unit}}
		return f
	}
	f.evidence = []api.Number{{Name: "value", Value: r.value, Unit: r.unit}, {Name: "unchanged for", Value: still.Seconds(), Unit: "s"},
		{Name: "longest allowed", Value: r.longest.Seconds(), Unit: "s"}}
	f.text = fmt.Sprintf("stands still at %s for %s, longest allowed %s", amount(r.value, r.unit), span(still), span(r.longest))
	return f
}

// reset keeps the anchor's value: only the time since starts again.
func (r *flatline) reset() { r.since = 0 }
