package twin

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/backstay/backstay/api"
)

// seen is one observation of a length of time, in microseconds: somewhere between two bounds. One that was cut off has no upper one.
type seen struct {
	least, most int64
	weight      float64
}

// noBound is the upper bound of what was cut off.
const noBound = math.MaxInt64

func sampleOf(micros int64) seen { return within(micros, micros) }

func within(least, most int64) seen {
	least = max(least, 0)
	return seen{least, max(most, least), 1}
}

func beyond(least int64, weight float64) seen { return seen{max(least, 0), noBound, weight} }

// curve is a distribution as it is estimated: the share of times up to each value.
type curve struct {
	at   []int64
	upTo []float64
	n    int     // samples that were not cut off
	tail float64 // mean time beyond the last value, of the share that is cut off
}

// likeliest is the most likely distribution of what was seen. Where all was seen whole or was cut off, that is the product-limit estimator
// (Kaplan and Meier, 1958), and without anything cut off the empirical distribution. Where some is only known to lie between bounds it is
// the estimator of B. Turnbull (1976), of which the other is a special case.
func likeliest(samples []seen) curve {
	if some := plain(samples); len(some) < len(samples) && len(some) >= guessSamples && len(some)*20 >= len(samples) {
		return productLimit(some)
	}
	if slices.ContainsFunc(samples, func(s seen) bool { return s.most != s.least && s.most != noBound }) {
		return turnbull(samples)
	}
	return productLimit(samples)
}

// plain are the samples that are known to within a minute or were cut off. Whether a delay is known like that depends on how busy people are
// when it ends, not on how long it was; while its bounds, where it is not, do depend on that: so a busy house would make delays of its queues.
func plain(samples []seen) []seen {
	var out []seen
	for _, s := range samples {
		if s.most == noBound || s.most-s.least <= delayLeast {
			out = append(out, seen{s.least, min(s.most, max(s.least, s.most)), s.weight})
		}
	}
	for i := range out {
		if out[i].most != noBound {
			out[i].most = out[i].least
		}
	}
	return out
}

// productLimit is the product-limit estimator.
func productLimit(samples []seen) curve {
	slices.SortFunc(samples, func(x, y seen) int { return cmp.Or(cmp.Compare(x.least, y.least), cmp.Compare(x.most, y.most)) })
	atRisk := 0.0
	for _, s := range samples {
		atRisk += s.weight
	}
	var c curve
	left := 1.0
	for i := 0; i < len(samples); {
		v := samples[i].least
		over, gone := 0.0, 0.0
		for ; i < len(samples) && samples[i].least == v; i++ {
			gone += samples[i].weight
			if samples[i].most == v {
				over += samples[i].weight
			}
		}
		if over > 0 && atRisk > 0 {
			left *= max(1-over/atRisk, 0)
			c.at, c.upTo = append(c.at, v), append(c.upTo, 1-left)
		}
		atRisk -= gone
	}
	c.finish(samples)
	return c
}

// finish counts what was not cut off, and how long it took on average to see the end of one.
func (c *curve) finish(samples []seen) {
	lived, ended := 0.0, 0.0
	for _, s := range samples {
		lived += s.weight * float64(s.least)
		if s.most != noBound {
			c.n++
			ended += s.weight
		}
	}
	if ended > 0 {
		c.tail = lived / ended
	}
}

// Steps of the estimation of what is known to within bounds.
const (
	roundsMax  = 300
	roundsEnds = 1e-7 // the greatest change of a share with which it ends
)

// turnbull finds the shares by expectation and maximization: each sample is laid out over the places that are possible for it, by their shares
// so far. Only those places count that begin with a lower bound and end with the next upper one.
func turnbull(samples []seen) curve {
	samples = slices.Clone(samples)
	lows, highs := make([]int64, len(samples)), make([]int64, len(samples))
	for i := range samples {
		if s := &samples[i]; s.most == noBound {
			s.least++ // it is longer than it was seen to be, as the product limit has it
		}
		lows[i], highs[i] = samples[i].least, samples[i].most
	}
	slices.Sort(lows)
	slices.Sort(highs)
	var begins, ends []int64 // of the places
	for i, h := 0, 0; h < len(highs); h++ {
		for i < len(lows) && lows[i] <= highs[h] {
			i++
		}
		low := lows[i-1]
		if n := len(begins); n == 0 || low > ends[n-1] {
			begins, ends = append(begins, low), append(ends, highs[h])
		}
	}
	from, to := make([]int, len(samples)), make([]int, len(samples))
	total := 0.0
	for i, s := range samples {
		from[i], _ = slices.BinarySearch(begins, s.least)
		to[i], _ = slices.BinarySearchFunc(ends, s.most, func(e, most int64) int {
			if e <= most {
				return -1
			}
			return 1
		})
		total += s.weight
	}
	share := layOut(samples, from, to, len(begins), total)
	c := curve{}
	sum := 0.0
	for k, p := range share {
		if ends[k] == noBound {
			break // the rest was cut off
		}
		at := begins[k] + (ends[k]-begins[k])/2
		if begins[k] == 0 {
			at = 0 // what may have been nothing was nothing
		}
		sum += p
		c.at, c.upTo = append(c.at, at), append(c.upTo, min(sum, 1))
	}
	if n := len(c.at); n > 0 && n == len(share) {
		c.upTo[n-1] = 1
	}
	c.finish(samples)
	return c
}

// layOut gives the share of each of so many places.
func layOut(samples []seen, from, to []int, places int, total float64) []float64 {
	share, sums, weight := make([]float64, places), make([]float64, places+1), make([]float64, places+1)
	for k := range share {
		share[k] = 1 / float64(places)
	}
	for range roundsMax {
		for k, p := range share {
			sums[k+1] = sums[k] + p
		}
		clear(weight)
		for i, s := range samples {
			if all := sums[to[i]] - sums[from[i]]; all > 1e-300 {
				weight[from[i]] += s.weight / all
				weight[to[i]] -= s.weight / all
			}
		}
		most, sum := 0.0, 0.0
		for k := range share {
			sum += weight[k]
			next := share[k] * sum / total
			most = max(most, math.Abs(next-share[k]))
			share[k] = next
		}
		if most < roundsEnds {
			break
		}
	}
	return share
}

// beyond is the share of times that are at least v.
func (c *curve) beyond(v int64) float64 {
	i, _ := slices.BinarySearch(c.at, v)
	if i == 0 {
		return 1
	}
	return 1 - c.upTo[i-1]
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
	c := likeliest(samples)
	if c.n == 0 || len(c.at) == 0 || c.quantile(1) == 0 {
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
	d := time.Duration(min(micros, 3650*dayMicros)) * time.Microsecond // more is a slip of a clock, and no world would play it
	switch {
	case d >= time.Hour:
		return api.Duration{Duration: d.Round(time.Second)}
	case d >= time.Minute:
		return api.Duration{Duration: d.Round(100 * time.Millisecond)}
	}
	return api.Duration{Duration: d.Round(time.Millisecond)}
}
