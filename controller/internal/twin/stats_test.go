package twin

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/backstay/backstay/api"
)

// TestStudentT holds the series against published quantiles.
func TestStudentT(t *testing.T) {
	for df, want := range map[int]float64{1: 12.7062, 2: 4.3027, 5: 2.5706, 10: 2.2281, 29: 2.0452, 30: 2.0423, 31: 2.0395, 35: 2.0301, 40: 2.0211, 50: 2.0086, 60: 2.0003, 80: 1.9901, 100: 1.9840, 120: 1.9799, 1000: 1.9623} {
		if got := studentT(df); math.Abs(got-want) > 0.00006 {
			t.Errorf("t(%d) = %.5f, want %.4f", df, got, want)
		}
	}
	if !math.IsNaN(studentT(0)) {
		t.Error("a single value has an interval")
	}
}

func tallyOf(v api.Variant, f Figure, values ...float64) *Tally {
	t := &Tally{Variant: v}
	for i, x := range values {
		r := Run{Variant: v, Replication: i}
		r.Figures[f] = x
		t.Add(&r)
	}
	return t
}

var nan = math.NaN()

// TestStat holds a hand-computed sample: 2, 4, 4, 4, 5, 5, 7, 9 has mean 5 and standard deviation 2.138.
func TestStat(t *testing.T) {
	s := tallyOf("current", Detected, 2, 4, 4, nan, 4, 5, 5, 7, 9, nan).Stat(Detected)
	if s.Days != 10 || s.Never != 2 || s.Mean != 5 || s.Least != 2 || s.Greatest != 9 {
		t.Errorf("%+v", s)
	}
	if want := 2.364624 * 2.13808993 / math.Sqrt(8); math.Abs(float64(s.Half)-want) > 1e-5 {
		t.Errorf("half-width %v, want %v", s.Half, want)
	}
	// Sorted with never last: 2 4 4 4 5 5 7 9 never never. The median is of the fifth and sixth.
	if s.P50 != 5 || math.Abs(float64(s.P5)-2.9) > 1e-9 || !math.IsInf(float64(s.P95), 1) {
		t.Errorf("quantiles %v %v %v", s.P5, s.P50, s.P95)
	}
	never := tallyOf("current", Detected, nan, nan).Stat(Detected)
	if never.Never != 2 || !math.IsNaN(float64(never.Mean)) || !math.IsInf(float64(never.P50), 1) || !never.precise() {
		t.Errorf("never: %+v", never)
	}
	if same := tallyOf("current", Late, 0.1, 0.1, 0.1).Stat(Late); same.Mean != 0.1 || same.Half != 0 || !same.precise() {
		t.Errorf("constant: %+v", same)
	}
	if one := tallyOf("current", Detected, nan, 7).Stat(Detected); one.precise() || !math.IsNaN(float64(one.Half)) {
		t.Errorf("once: %+v", one)
	}
	if d := tallyOf("current", Doubled, 0, 2, 0).Stat(Doubled); d.Violated != 1 {
		t.Errorf("violated on %d days", d.Violated)
	}
}

// TestComparePairs: what the day itself brings cancels out in differences of the same day.
func TestComparePairs(t *testing.T) {
	a := tallyOf("candidate", Recovered, 110, 1010, 510, nan, 7)
	b := tallyOf("current", Recovered, 100, 1000, 500, 5, nan)
	p := Compare(a, b, Recovered)
	if p.Days != 3 || p.OnlyA != 1 || p.OnlyB != 1 || p.Mean != 10 || p.Half != 0 {
		t.Errorf("%+v", p)
	}
}

func TestSettled(t *testing.T) {
	tight, wide := make([]float64, 40), make([]float64, 40)
	for i := range tight {
		tight[i], wide[i] = 100+float64(i%2), float64(1+i%2*99)
	}
	if done, open := Settled([]*Tally{tallyOf("none", Late, tight...)}); !done {
		t.Errorf("still open: %s", open)
	}
	if done, open := Settled([]*Tally{tallyOf("none", Late, tight...), tallyOf("current", Late, wide...)}); done || open != "late of variant current" {
		t.Errorf("done %v, open %q", done, open)
	}
	if done, _ := Settled([]*Tally{tallyOf("none", Late, tight[:29]...)}); done {
		t.Error("settled after 29 days")
	}
	// 40 days give a half-width of about 31 % of the mean; 5 % take about (31/5)² as many.
	if n := StillNeeded([]*Tally{tallyOf("current", Late, wide...)}); n < 1400 || n > 2000 {
		t.Errorf("%d days are needed", n)
	}
}

// TestMeanOfManyCovers asks of the interval what it promises: it holds the truth about 95 times of 100.
func TestMeanOfManyCovers(t *testing.T) {
	held, all := 0, 2000
	luck := uint64(12345)
	next := func() float64 { // an exponential with mean 1, from a small generator of its own
		luck = luck*6364136223846793005 + 1442695040888963407
		return -math.Log(1 - float64(luck>>11)/(1<<53))
	}
	for range all {
		values := make([]float64, 200)
		for i := range values {
			values[i] = next()
		}
		s := tallyOf("current", Late, values...).Stat(Late)
		if math.Abs(float64(s.Mean)-1) <= float64(s.Half) {
			held++
		}
	}
	if share := float64(held) / float64(all); share < 0.93 || share > 0.965 {
		t.Errorf("the interval holds the truth in %.3f of all cases", share)
	}
}

func TestQuantilesAscend(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.OneOf(rapid.Float64Range(0, 1e6), rapid.Just(nan)), 2, 60).Draw(t, "values")
		tally := tallyOf("current", Recovered, values...)
		s := tally.Stat(Recovered)
		spread := tally.Spread(Recovered, 41)
		for i := 1; i < len(spread); i++ {
			if spread[i] < spread[i-1] {
				t.Fatalf("quantile %d is %v, before it %v", i, spread[i], spread[i-1])
			}
		}
		if s.P5 > s.P50 || s.P50 > s.P95 || s.Mean < s.Least-1e-6 || s.Mean > s.Greatest+1e-6 {
			t.Fatalf("%+v", s)
		}
		m := tally.Median(Recovered)
		if m < 0 || m >= len(values) {
			t.Fatalf("the median is day %d of %d", m, len(values))
		}
	})
}

func TestNumbers(t *testing.T) {
	for _, c := range []struct {
		n          Number
		unit, text string
		json       string
	}{
		{notKnown, "s", "–", "null"}, {Number(math.Inf(1)), "s", "never", `"never"`}, {0, "s", "0 s", "0"}, {0.25, "s", "250 ms", "0.25"}, {42.51, "s", "42.5 s", "42.51"},
		{59.97, "s", "1 min 0 s", "59.97"}, {303, "s", "5 min 3 s", "303"}, {7800, "s", "2 h 10 min", "7800"}, {200000, "s", "2 d 7 h", "200000"}, {-75, "s", "-1 min 15 s", "-75"},
		{123456, "money", "1234.56 EUR", "123456"}, {20, "items", "20", "20"}, {0.002631, "count", "0.00263", "0.002631"}, {63.04, "items", "63", "63.04"}, {515.4, "items", "515", "515.4"},
		{1.0 / 3, "count", "0.333", "0.333333333"},
	} {
		if got := c.n.Text(c.unit, "EUR"); got != c.text {
			t.Errorf("%v %s prints as %q, want %q", float64(c.n), c.unit, got, c.text)
		}
		b, err := json.Marshal(c.n)
		if err != nil || string(b) != c.json {
			t.Errorf("%v is %s, %v; want %s", float64(c.n), b, err, c.json)
		}
		var back Number
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if again, _ := json.Marshal(back); string(again) != c.json {
			t.Errorf("%s comes back as %s", b, again)
		}
	}
	if err := json.Unmarshal([]byte(`"soon"`), new(Number)); err == nil || !strings.Contains(err.Error(), "soon") {
		t.Errorf("soon is a number: %v", err)
	}
}
