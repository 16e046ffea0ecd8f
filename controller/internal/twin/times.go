package twin

import (
	"math"
	"sync"

	"github.com/backstay/backstay/api"
)

// table is a distribution as evenly spaced quantiles, with a table of its own for the last of its segments where that is long. It holds integers and
// interpolates between them in integers, so that it gives the same on every machine. A nil table is always 0.
type table struct {
	body  []int64 // quantiles 0, 1/n, 2/n ... 1; a single one is a constant
	tail  *table  // the last segment; nil: straight on
	limit int64   // no more than this; 0: no limit
}

// segments of a table that is made of a formula.
const segments = 512

// draw is the value at chance u.
func (t *table) draw(u uint64) int64 {
	if t == nil {
		return 0
	}
	if len(t.body) == 1 {
		return t.body[0]
	}
	i, rest := segment(u, len(t.body)-1)
	v := between(t.body[i], t.body[i+1], rest)
	if t.tail != nil && i == len(t.body)-2 {
		v = t.tail.draw(uint64(rest) << 32)
	}
	if t.limit > 0 && v > t.limit {
		return t.limit
	}
	return v
}

// segment splits chance u into one of n segments and a place within it, in 2^32 parts.
func segment(u uint64, n int) (int, uint32) {
	high := (u >> 32) * uint64(n)
	low := (u & 0xffffffff) * uint64(n) >> 32
	sum := high + low
	return int(sum >> 32), uint32(sum)
}

// between goes from a to b by part of 2^32. Differences beyond 2^31 lose their last digits, not their size.
func between(a, b int64, part uint32) int64 {
	d := b - a
	if d >= 0 && d < 1<<31 {
		return a + d*int64(part)>>32
	}
	return a + (d>>24)*(int64(part)>>8) // 2^24 parts
}

// fixedTable always gives v.
func fixedTable(v int64) *table { return &table{body: []int64{v}} }

// formulaTable makes a table of a quantile function.
func formulaTable(quantile func(p float64) float64, limit int64) *table {
	t, tail := &table{body: make([]int64, segments+1), limit: limit}, make([]int64, segments+1)
	for i := range segments {
		t.body[i] = rounded(quantile(float64(i) / segments))
	}
	for i := range segments {
		tail[i] = rounded(quantile((segments - 1 + float64(float64(i)/segments)) / segments))
	}
	tail[segments] = rounded(quantile(1 - 1.0/(4*segments*segments)))
	t.body[segments], t.tail = tail[segments], &table{body: tail}
	return t
}

func rounded(x float64) int64 {
	if !(x > 0) {
		return 0
	}
	return int64(min(math.Floor(x+0.5), 4e18))
}

// timesTable makes a table of nanoseconds; nil where nothing is said.
func timesTable(t *api.Times) *table {
	if t == nil {
		return nil
	}
	limit := int64(t.Longest.Duration)
	switch {
	case t.Mean.Duration > 0:
		mean := float64(t.Mean.Duration)
		return formulaTable(func(p float64) float64 { return float64(-mean * ln(1-p)) }, limit)
	case t.Median.Duration > 0:
		return logNormal(float64(t.Median.Duration), float64(t.P95.Duration), limit)
	case len(t.Quantiles) > 0:
		out := &table{limit: limit}
		for _, q := range t.Quantiles {
			out.body = append(out.body, int64(q.Duration))
		}
		if n := len(out.body); t.Tail.Duration > 0 && n > 1 {
			from, mean := float64(out.body[n-2]), float64(t.Tail.Duration)
			out.tail = formulaTable(func(p float64) float64 { return from + float64(-mean*ln(1-p)) }, 0)
		}
		return out
	}
	return fixedTable(int64(t.Fixed.Duration))
}

// amountsTable makes a table of minor units.
func amountsTable(a *api.Amounts) *table {
	switch {
	case a == nil:
		return nil
	case a.Median > 0:
		return logNormal(float64(a.Median), float64(a.P95), 0)
	case len(a.Quantiles) > 0:
		return &table{body: a.Quantiles}
	}
	return fixedTable(a.Fixed)
}

// logNormal is given by its median and its 95th percentile.
func logNormal(median, p95 float64, limit int64) *table {
	if p95 <= median {
		return fixedTable(int64(median))
	}
	sigma := ln(p95/median) / 1.6448536269514722
	normal := normalAt()
	return formulaTable(func(p float64) float64 { return float64(median * exp(float64(sigma*normal[p]))) }, limit)
}

// normalAt has the quantiles of the standard normal distribution at the points of which tables are made: the same for all tables, and
// slow to find.
var normalAt = sync.OnceValue(func() map[float64]float64 {
	at := map[float64]float64{}
	formulaTable(func(p float64) float64 { at[p] = normalQuantile(p); return 0 }, 0)
	return at
})

// The functions below give the same bits on every machine: the library's differ between processors, and a compiler may fuse a
// product with a sum unless a conversion stands between.

// ln is the natural logarithm; 0 and less give -745, the logarithm of the smallest number.
func ln(x float64) float64 {
	if !(x > 0) {
		return -745
	}
	m, e := math.Frexp(x) // x = m * 2^e, m in [0.5, 1)
	if m < math.Sqrt2/2 {
		m, e = m*2, e-1
	}
	s := (m - 1) / (m + 1)
	square, power, sum := float64(s*s), s, 0.0
	for k := 1; k <= 25; k += 2 {
		sum += float64(power / float64(k))
		power = float64(power * square)
	}
	return float64(2*sum) + float64(float64(e)*math.Ln2)
}

// exp is e to the x.
func exp(x float64) float64 {
	k := math.Floor(float64(x/math.Ln2) + 0.5)
	r := x - float64(k*math.Ln2)
	term, sum := 1.0, 1.0
	for i := 1; i <= 18; i++ {
		term = float64(float64(term*r) / float64(i))
		sum += term
	}
	return math.Ldexp(sum, int(k))
}

// normalQuantile is the inverse of the standard normal distribution, by bisection of its series: slow and exact enough, for it is
// asked a thousand times when a model is read and never afterwards.
func normalQuantile(p float64) float64 {
	if p <= 0 {
		return -8
	}
	low, high := -8.0, 8.0
	for range 60 {
		mid := (low + high) / 2
		if normalShare(mid) < p {
			low = mid
		} else {
			high = mid
		}
	}
	return (low + high) / 2
}

// normalShare is the share of the standard normal distribution below z, by Marsaglia's series.
func normalShare(z float64) float64 {
	sum, term, square := z, z, float64(z*z)
	for i := 3; i < 400; i += 2 {
		term = float64(float64(term*square) / float64(i))
		next := sum + term
		if next == sum {
			break
		}
		sum = next
	}
	return 0.5 + float64(sum*float64(exp(float64(-0.5*square))*0.3989422804014327))
}
