package twin

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

func TestHeapOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var h heap
	var all []event
	for range 5000 {
		for range rng.IntN(4) {
			h.push(int64(rng.IntN(50)), kind(rng.IntN(int(evEnd)+1)), 0, 0, 0)
		}
		if len(h.list) > 0 && rng.IntN(3) == 0 {
			all = append(all, h.pop())
			for _, e := range h.list {
				if e.at < all[len(all)-1].at || e.at == all[len(all)-1].at && e.order < all[len(all)-1].order {
					t.Fatalf("%+v came before %+v", all[len(all)-1], e)
				}
			}
		}
	}
	var rest []event
	for len(h.list) > 0 {
		rest = append(rest, h.pop())
	}
	if !slices.IsSortedFunc(rest, func(a, b event) int {
		switch {
		case a.at != b.at:
			return int(a.at - b.at)
		case a.kind != b.kind:
			return int(a.kind) - int(b.kind)
		}
		return int(int64(a.order) - int64(b.order))
	}) {
		t.Error("what is left does not come in the order of time, priority and sequence")
	}
	for k := range kindNames {
		if kindNames[k] == "" {
			t.Errorf("kind %d has no name", k)
		}
	}
	if len(kindNames) != int(evEnd)+1 {
		t.Errorf("%d kinds, %d names", evEnd+1, len(kindNames))
	}
}

// exponential and log-normal figures, worked out by other means than the tables are.
func TestTablesAreTheirDistributions(t *testing.T) {
	second := float64(time.Second)
	sigma := math.Log(900.0/300) / 1.6448536269514722
	for _, c := range []struct {
		name     string
		table    *table
		quantile func(p float64) float64
		mean     float64
	}{
		{"exponential", timesTable(mean(time.Second)), func(p float64) float64 { return -second * math.Log1p(-p) }, second},
		{"log-normal", timesTable(&api.Times{Median: dur(300 * time.Millisecond), P95: dur(900 * time.Millisecond)}),
			func(p float64) float64 { return 0.3 * second * math.Exp(sigma*math.Sqrt2*math.Erfinv(2*p-1)) }, 0.3 * second * math.Exp(sigma*sigma/2)},
		{"quantiles", timesTable(&api.Times{Quantiles: []api.Duration{dur(0), dur(time.Second), dur(4 * time.Second)}}),
			func(p float64) float64 {
				if p < 0.5 {
					return 2 * p * second
				}
				return second + 6*(p-0.5)*second
			}, 1.5 * second},
		{"quantiles with a tail", timesTable(&api.Times{Quantiles: []api.Duration{dur(0), dur(time.Second), dur(4 * time.Second)}, Tail: dur(2 * time.Second)}),
			func(p float64) float64 {
				if p < 0.5 {
					return 2 * p * second
				}
				return second - 2*second*math.Log1p(-(2*p-1))
			}, (0.5 + 3) / 2 * second},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, p := range []float64{0.01, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999} {
				got, want := float64(c.table.draw(uint64(p*float64(1<<63))<<1)), c.quantile(p)
				if math.Abs(got-want) > 0.01*want+1000 {
					t.Errorf("quantile %g is %g, want %g", p, got, want)
				}
			}
			s, sum, n := newStream(5, 0, c.name, "mean"), 0.0, 1_000_000
			for i := range n {
				sum += float64(s.at(uint64(i)))*0 + float64(c.table.draw(s.at(uint64(i))))
			}
			if got := sum / float64(n); math.Abs(got-c.mean) > 0.01*c.mean {
				t.Errorf("the mean is %g, want %g", got, c.mean)
			}
		})
	}
}

func TestTablesHoldTheirLimits(t *testing.T) {
	longest := timesTable(&api.Times{Mean: dur(time.Second), Longest: dur(2 * time.Second)})
	if got := longest.draw(math.MaxUint64); got != int64(2*time.Second) {
		t.Errorf("the longest is %d", got)
	}
	var none *table
	if none.draw(1<<63) != 0 || timesTable(nil) != nil || timesTable(fixed(time.Second)).draw(77) != int64(time.Second) {
		t.Error("nothing and a fixed time are not what they say")
	}
	years := timesTable(&api.Times{Quantiles: []api.Duration{dur(0), dur(10 * 365 * 24 * time.Hour)}})
	if got, want := float64(years.draw(1<<63)), 5*365*24*float64(time.Hour); math.Abs(got-want) > 1e-6*want {
		t.Errorf("half of ten years is %g, want %g", got, want)
	}
}

func TestFunctionsOfTheirOwn(t *testing.T) {
	for x := 1e-300; x < 1e300; x *= 3.7 {
		if got, want := ln(x), math.Log(x); math.Abs(got-want) > 1e-13*math.Max(1, math.Abs(want)) {
			t.Fatalf("ln(%g) is %v, want %v", x, got, want)
		}
	}
	for x := -700.0; x < 700; x += 0.37 {
		if got, want := exp(x), math.Exp(x); math.Abs(got-want) > 1e-13*want {
			t.Fatalf("exp(%g) is %v, want %v", x, got, want)
		}
	}
	for p := 1e-6; p < 1; p += 0.00071 {
		if got, want := normalQuantile(p), math.Sqrt2*math.Erfinv(2*p-1); math.Abs(got-want) > 1e-9 {
			t.Fatalf("the normal quantile at %g is %v, want %v", p, got, want)
		}
	}
}

func TestPickKeepsShares(t *testing.T) {
	for _, scale := range []float64{1, 12_000, 1e8} { // a fitted log counts; a person writes shares
		var f fork
		f = f.with(0, weightOf(scale)).with(1, weightOf(3*scale))
		s, n, second := newStream(3, 0, "pick", "way"), 200_000, 0
		for i := range n {
			second += pick(s.at(uint64(i)), f.weight)
		}
		if got := float64(second) / float64(n); math.Abs(got-0.75) > 0.005 {
			t.Errorf("with shares of %g and %g the second is chosen at %.3f, want 0.75", scale, 3*scale, got)
		}
	}
	s, hit := newStream(3, 0, "hits", "share"), 0
	for i := range 1_000_000 {
		if hits(s.at(uint64(i)), 2500) {
			hit++
		}
	}
	if hit < 2300 || hit > 2700 {
		t.Errorf("2,500 in a million hit %d times in a million", hit)
	}
}

func TestStreamsAreApart(t *testing.T) {
	a := newStream(1, 0, "world", "call")
	seen := map[uint64]bool{}
	for _, s := range []stream{a, newStream(2, 0, "world", "call"), newStream(1, 1, "world", "call"), newStream(1, 0, "fault x", "call"), newStream(1, 0, "world", "work"), newStream(1, 0, "worldc", "all")} {
		if seen[s.key] {
			t.Fatalf("two streams have one key %x", s.key)
		}
		seen[s.key] = true
	}
	b := newStream(1, 0, "world", "work")
	var sum float64
	n := 100_000
	for i := range n {
		x, y := float64(a.at(uint64(i))>>11)/(1<<53)-0.5, float64(b.at(uint64(i))>>11)/(1<<53)-0.5
		sum += x * y
	}
	if r := sum / float64(n) * 12; math.Abs(r) > 0.02 {
		t.Errorf("two streams are correlated by %.3f", r)
	}
}
