package twin

import (
	"cmp"
	"slices"
	"time"

	"github.com/backstay/backstay/api"
)

// seen is one observation of a length of time, in microseconds. One that was cut off is known to be longer than it was seen to be.
type seen struct {
	value  int64
	weight float64
	cut    bool
}

// sampleOf is a whole observation.
func sampleOf(micros int64) seen { return seen{value: max(micros, 0), weight: 1} }

// curve is a distribution as the product-limit estimator has it: the share of times up to each value.
type curve struct {
	at   []int64
	upTo []float64
	n    int     // samples that were not cut off
	tail float64 // mean time beyond the last value, of the share that is cut off
}

// productLimit estimates a distribution from samples of which some were cut off (Kaplan and Meier). Without such ones it is the empirical one.
func productLimit(samples []seen) curve {
	slices.SortFunc(samples, func(x, y seen) int {
		return cmp.Or(cmp.Compare(x.value, y.value), boolInt(x.cut)-boolInt(y.cut))
	})
	atRisk, lived := 0.0, 0.0
	for _, s := range samples {
		atRisk += s.weight
	}
	var c curve
	left, ended := 1.0, 0.0
	for i := 0; i < len(samples); {
		v := samples[i].value
		over, gone := 0.0, 0.0
		for ; i < len(samples) && samples[i].value == v; i++ {
			gone += samples[i].weight
			lived += samples[i].weight * float64(v)
			if !samples[i].cut {
				over += samples[i].weight
				c.n++
			}
		}
		if over > 0 && atRisk > 0 {
			left *= max(1-over/atRisk, 0)
			ended += over
			c.at, c.upTo = append(c.at, v), append(c.upTo, 1-left)
		}
		atRisk -= gone
	}
	if ended > 0 {
		c.tail = lived / ended
	}
	return c
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// quantile is the value below which a share p of the times is.
func (c *curve) quantile(p float64) int64 {
	i, _ := slices.BinarySearchFunc(c.upTo, p-1e-9, func(u, p float64) int { return cmp.Compare(u, p) })
	if i < len(c.at) {
		return c.at[i]
	}
	beyond := c.upTo[len(c.upTo)-1] // the rest was cut off: it goes on as an exponential
	return c.at[len(c.at)-1] + int64(-c.tail*ln(max((1-p)/max(1-beyond, 1e-9), 1e-6)))
}

// mean of the times, microseconds.
func (c *curve) mean() float64 {
	sum, was := 0.0, 0.0
	for i, v := range c.at {
		sum += (c.upTo[i] - was) * float64(v)
		was = c.upTo[i]
	}
	if was < 1-1e-9 && len(c.at) > 0 {
		sum += (1 - was) * (float64(c.at[len(c.at)-1]) + c.tail)
	}
	return sum
}

// fitTimes writes samples as quantiles with an exponential tail; nil where all are nothing.
func fitTimes(samples []seen) *api.Times {
	c := productLimit(samples)
	if c.n == 0 || c.quantile(1) == 0 {
		return nil
	}
	out := &api.Times{Samples: int64(c.n)}
	least, most := c.quantile(0), c.quantile(0.999)
	if float64(most-least) <= 0.002*float64(most) {
		out.Fixed = shown(c.quantile(0.5))
		return out
	}
	segments := max(min(c.n/10, 50), min(c.n-1, 10), 1)
	for k := range segments + 1 {
		out.Quantiles = append(out.Quantiles, shown(c.quantile(float64(k)/float64(segments))))
	}
	if segments < 2 {
		return out
	}
	from := float64(out.Quantiles[segments-1].Microseconds())
	over, mean, was := 0.0, 0.0, 0.0
	for i, v := range c.at {
		if share := c.upTo[i] - was; float64(v) > from {
			over, mean = over+share, mean+share*(float64(v)-from)
		}
		was = c.upTo[i]
	}
	if was < 1-1e-9 {
		over, mean = over+1-was, mean+(1-was)*(float64(c.at[len(c.at)-1])-from+c.tail)
	}
	if over > 0 && mean > 0 {
		out.Tail = shown(int64(mean / over))
		out.Longest = shown(max(c.at[len(c.at)-1]*3/2, c.quantile(1)))
		if out.Longest.Duration < out.Quantiles[0].Duration {
			out.Longest.Duration = out.Quantiles[0].Duration
		}
	}
	return out
}

// shown is a length of time as precisely as anybody wants to read it.
func shown(micros int64) api.Duration {
	d := time.Duration(micros) * time.Microsecond
	switch {
	case d >= time.Hour:
		return api.Duration{Duration: d.Round(time.Second)}
	case d >= time.Minute:
		return api.Duration{Duration: d.Round(100 * time.Millisecond)}
	}
	return api.Duration{Duration: d.Round(time.Millisecond)}
}
