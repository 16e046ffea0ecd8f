package detect

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

func TestRefusals(t *testing.T) {
	nan := ptr(math.NaN())
	for _, x := range []struct {
		want string
		d    api.Detector
	}{
		{"exactly one", api.Detector{}},
		{"exactly one", api.Detector{Failures: &api.Failures{}, Absence: &api.Absence{For: api.Seconds(60)}}},
		{"atLeast 4 of 3", api.Detector{Failures: &api.Failures{AtLeast: 4, Of: 3}}},
		{"of <= 1000", api.Detector{Failures: &api.Failures{AtLeast: 1, Of: 1001}}},
		{"clear >= 1", api.Detector{Failures: &api.Failures{Clear: -1}}},
		{"above or below", api.Detector{Threshold: &api.Threshold{}}},
		{"finite", api.Detector{Threshold: &api.Threshold{Above: nan}}},
		{"less than above", api.Detector{Threshold: &api.Threshold{Above: ptr(1.0), Below: ptr(1.0)}}},
		{"good side", api.Detector{Threshold: &api.Threshold{Above: ptr(1.0), Clear: ptr(2.0)}}},
		{"good side", api.Detector{Threshold: &api.Threshold{Below: ptr(1.0), Clear: ptr(0.0)}}},
		{"perMinute, or limit", api.Detector{Trend: &api.Trend{}}},
		{"breachWithin", api.Detector{Trend: &api.Trend{Limit: ptr(5.0)}}},
		{"finite", api.Detector{Trend: &api.Trend{PerMinute: nan}}},
		{"absence needs for", api.Detector{Absence: &api.Absence{}}},
		{"flatline needs for", api.Detector{Flatline: &api.Flatline{}}},
		{"epsilon", api.Detector{Flatline: &api.Flatline{For: api.Seconds(1), Epsilon: -1}}},
		{"above or below", api.Detector{Ratio: &api.Ratio{}}},
		{"less than above", api.Detector{Ratio: &api.Ratio{Above: &api.Percent{PPM: 5}, Below: &api.Percent{PPM: 6}}}},
		{"confidence 40%", api.Detector{Ratio: &api.Ratio{Above: &api.Percent{PPM: 5}, Confidence: api.Percent{PPM: 400_000}}}},
		{"no budget", api.Detector{BurnRate: &api.BurnRate{Objective: api.Percent{PPM: 1_000_000}}}},
		{"want 1 to 10", api.Detector{BurnRate: &api.BurnRate{Objective: api.Percent{PPM: 900_000}}}},
		{"short <= long", api.Detector{BurnRate: &api.BurnRate{Objective: api.Percent{PPM: 990_000}, Short: dur(time.Hour), Long: dur(time.Minute)}}},
		{"minSamples", api.Detector{Baseline: &api.Baseline{MinSamples: 3}}},
		{"direction", api.Detector{Baseline: &api.Baseline{Direction: "up"}}},
		{"season", api.Detector{Baseline: &api.Baseline{Season: "lent"}}},
	} {
		x.d.Name = "d"
		_, err := New("p", api.ProbeSpec{Detect: []api.Detector{x.d}})
		if err == nil || !strings.Contains(err.Error(), x.want) || !strings.Contains(err.Error(), "p/d") || api.CodeOf(err) != api.CodeInvalid {
			t.Errorf("%s: got %v", x.want, err)
		}
	}
}

func TestRowsAreBounded(t *testing.T) {
	w := watch(t, api.Detector{Threshold: &api.Threshold{Above: ptr(10.0)}})
	many := func(from, n int, value float64) []api.Sample {
		var s []api.Sample
		for i := range n {
			s = append(s, api.Sample{Key: fmt.Sprintf("k%04d", from+i), Value: value})
		}
		return s
	}
	at := 0.0
	see := func(s []api.Sample) []api.Anomaly {
		o := run(api.OK, at, 0)
		o.Series = s
		at += 10
		return w.Observe(o, nil)
	}
	if c := see(many(0, MaxKeys+50, 20)); len(c) != MaxKeys || w.Unwatched() != 50 {
		t.Fatalf("opened %d, unwatched %d", len(c), w.Unwatched())
	}
	if c := see(many(MaxKeys, 50, 20)); len(c) != MaxKeys || w.Unwatched() != 50 {
		t.Fatalf("all rows vanished and should clear before others take their place: %d changes, unwatched %d", len(c), w.Unwatched())
	}
	if c := see(many(MaxKeys, 50, 20)); len(c) != 50 || w.Unwatched() != 0 {
		t.Fatalf("new rows take the place of vanished ones: %d changes, unwatched %d", len(c), w.Unwatched())
	}
	if n := len(w.detectors[0].rows); n != MaxKeys {
		t.Errorf("%d rows held", n)
	}
}

func TestAnomalyFromBeforeTheRowsClears(t *testing.T) {
	w := watch(t, api.Detector{Threshold: &api.Threshold{Below: ptr(1.0)}})
	if c := w.Observe(run(api.OK, 0, 0), nil); len(c) != 1 || c[0].Key != "" {
		t.Fatalf("%+v", c)
	}
	o := run(api.OK, 10, 0)
	o.Series = []api.Sample{{Key: "eu", Value: 5}, {Key: "eu", Value: 0}}
	if c := w.Observe(o, nil); len(c) != 1 || !c[0].Cleared || c[0].Key != "" {
		t.Fatalf("want the keyless one cleared, and the second row of one key ignored: %+v", c)
	}
}

// TestBaselineKnowsTheHour feeds a daily curve with noise: quiet for weeks; a night's value at noon is unusual.
func TestBaselineKnowsTheHour(t *testing.T) {
	spec := api.ProbeSpec{Every: dur(time.Minute), Detect: []api.Detector{{Name: "d", Baseline: &api.Baseline{}}}}
	w, err := New("p", spec)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	curve := func(at time.Time) float64 {
		hour := float64(at.Hour()) + float64(at.Minute())/60
		return 1000 - 600*math.Cos(2*math.Pi*hour/24) + 20*rng.NormFloat64()
	}
	at := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	see := func(v float64) []api.Anomaly {
		at = at.Add(time.Minute)
		return w.Observe(&api.Observation{Probe: "p", At: at, Verdict: api.OK, Value: v, Unit: "orders"}, nil)
	}
	falseAlarms := 0
	for range 21 * 24 * 60 {
		for _, a := range see(curve(at.Add(time.Minute))) {
			if !a.Cleared && at.After(time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)) {
				falseAlarms++
			}
		}
	}
	if falseAlarms > 2 {
		t.Errorf("%d false alarms in 19 calm days", falseAlarms)
	}
	for at.Hour() != 12 {
		see(curve(at.Add(time.Minute)))
	}
	c := see(450) // usual at night, not at noon
	if len(c) != 1 || c[0].Cleared || !strings.HasPrefix(c[0].Text, "at 450 orders; usual at this time is 1,") {
		t.Fatalf("%+v", c)
	}
	for range 120 { // two hours of incident
		if c := see(450); len(c) != 0 {
			t.Fatalf("the incident became normal after %s: %+v", at.Sub(c[0].Opened), c)
		}
	}
	cleared := 0
	for range 60 {
		for _, a := range see(curve(at.Add(time.Minute))) {
			cleared++
			if !a.Cleared {
				t.Errorf("after the incident the usual value is unusual: %+v", a)
			}
		}
	}
	if cleared != 1 {
		t.Errorf("cleared %d times", cleared)
	}
}

// TestBaselineAcceptsALastingChange: a new level is normal after some hours, not after some minutes, and never stays open for ever.
func TestBaselineAcceptsALastingChange(t *testing.T) {
	w, err := New("p", api.ProbeSpec{Every: dur(time.Minute), Detect: []api.Detector{{Name: "d", Baseline: &api.Baseline{}}}})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	at := t0
	var opened, cleared time.Time
	for i := range 4 * 24 * 60 {
		at = at.Add(time.Minute)
		level := 100.0
		if i >= 2*24*60 {
			level = 150
		}
		for _, a := range w.Observe(&api.Observation{Probe: "p", At: at, Verdict: api.OK, Value: level + 4*rng.NormFloat64()}, nil) {
			switch {
			case a.Cleared && cleared.IsZero():
				cleared = a.At
			case opened.IsZero():
				opened = a.At
			}
		}
	}
	if took := cleared.Sub(opened); opened.IsZero() || took < 2*time.Hour || took > 24*time.Hour {
		t.Errorf("a change of 12 deviations was accepted after %s", took)
	}
}

func TestWilson(t *testing.T) {
	for _, x := range []struct{ part, n, z, low, high float64 }{ // textbook values at 95 % two-sided
		{10, 20, 1.959964, 0.2993, 0.7007},
		{0, 10, 1.959964, 0, 0.2775},
		{10, 10, 1.959964, 0.7225, 1},
		{1, 2, 1.959964, 0.0945, 0.9055},
	} {
		low, high := wilson(x.part/x.n, x.n, x.z)
		if math.Abs(low-x.low) > 1e-4 || math.Abs(high-x.high) > 1e-4 {
			t.Errorf("%v of %v: %v to %v", x.part, x.n, low, high)
		}
	}
}

// TestTrendShrugsOffOutliers: with every fifth value wild, the slope stays within a tenth of the truth.
func TestTrendShrugsOffOutliers(t *testing.T) {
	r, err := newTrend(api.Trend{PerMinute: ptr(1.0)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		v := 100 + float64(i)*10
		if i%10 == 5 {
			v = 1e6
		}
		r.observe(point{at: t0.UnixNano() + int64(i)*10e9, value: v, verdict: good, hasValue: true}, false)
	}
	if math.Abs(r.slope-60) > 6 {
		t.Errorf("slope %v a minute, want 60", r.slope)
	}
}

func TestNumbersAndSpans(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 5: "5", -1234567: "-1,234,567", 12.5: "12.5", 0.0342: "0.0342", 999.96: "1000", 1234.5: "1,234", 1e-7: "1e-07", 1e18: "1e+18", 100: "100", 99.999: "100", 0.5: "0.5",
		math.Inf(1): "1.798e+308",
	} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", -time.Second: "0s", 350 * time.Millisecond: "350ms", 1500 * time.Millisecond: "1.5s", 45 * time.Second: "45s", 2*time.Minute + 30*time.Second: "2m30s",
		9 * time.Minute: "9m", 59*time.Minute + 59*time.Second + 700*time.Millisecond: "1h", 3*time.Hour + 5*time.Minute: "3h5m", 23*time.Hour + 59*time.Minute + 40*time.Second: "1d", 52 * time.Hour: "2d4h",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%s) = %q, want %q", d, got, want)
		}
	}
	if got := clip("a\n b\tc "+strings.Repeat("é", 300), 5); got != "a b c…" {
		t.Errorf("clip %q", got)
	}
}
