package detect

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/backstay/backstay/api"
)

// short has one detector of each sort, with spans short enough that random runs open and clear them.
func short() []api.Detector {
	return []api.Detector{
		{Name: "failures", Failures: &api.Failures{AtLeast: 2, Of: 3, Clear: 2}},
		{Name: "threshold", Threshold: &api.Threshold{Above: ptr(50.0), Below: ptr(-50.0), Clear: ptr(40.0), For: api.Seconds(15)}},
		{Name: "trend", Trend: &api.Trend{Window: dur(time.Minute), PerMinute: ptr(20.0), Limit: ptr(60.0), BreachWithin: dur(time.Minute)}},
		{Name: "absence", Absence: &api.Absence{For: api.Seconds(30)}},
		{Name: "flatline", Flatline: &api.Flatline{For: api.Seconds(30), Epsilon: 0.5}},
		{Name: "ratio", Ratio: &api.Ratio{Above: &api.Percent{PPM: 300_000}, Below: &api.Percent{PPM: 10_000}, Window: dur(2 * time.Minute), MinTotal: 3}},
		{Name: "burn", BurnRate: &api.BurnRate{Objective: api.Percent{PPM: 900_000}, Short: dur(30 * time.Second), Long: dur(2 * time.Minute), Factor: 2}},
		{Name: "baseline", Baseline: &api.Baseline{Season: "none", MinSamples: 10}},
	}
}

// story draws the runs of a probe: calm and wild stretches, rows that come and go, odd numbers and odd times.
func story(t *rapid.T) []api.Observation {
	n := rapid.IntRange(1, 150).Draw(t, "runs")
	keyed := rapid.Bool().Draw(t, "rows")
	level := 0.0
	at := t0
	var out []api.Observation
	for range n {
		at = at.Add(rapid.SampledFrom([]time.Duration{10 * time.Second, 10 * time.Second, 10 * time.Second, 150 * time.Millisecond, 5 * time.Minute, 0, -10 * time.Second}).Draw(t, "step"))
		level += rapid.SampledFrom([]float64{0, 0, 1, -1, 30, -30, 100}).Draw(t, "move")
		if rapid.IntRange(0, 9).Draw(t, "calm") == 0 {
			level = 0
		}
		o := api.Observation{Probe: "p", At: at, Unit: "items", Value: level,
			Verdict: rapid.SampledFrom([]api.Verdict{api.OK, api.OK, api.OK, api.Bad, api.Bad, api.Unknown}).Draw(t, "verdict")}
		if rapid.IntRange(0, 19).Draw(t, "odd") == 0 {
			o.Value = rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64, 5e-324}).Draw(t, "oddValue")
		}
		if rapid.Bool().Draw(t, "counts") {
			o.Total = rapid.Float64Range(0, 200).Draw(t, "total")
		}
		if keyed {
			for _, key := range rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", ""}), 0, 4).Draw(t, "keys") {
				o.Series = append(o.Series, api.Sample{Key: key, Value: level + float64(len(key))})
			}
		}
		out = append(out, o)
	}
	return out
}

// observe plays a story and checks what must be true of every detector.
func observe(t interface{ Fatalf(string, ...any) }, w *Watch, story []api.Observation) []api.Anomaly {
	open := map[string]api.Anomaly{}
	var all []api.Anomaly
	for i := range story {
		for _, a := range w.Observe(&story[i], nil) {
			was, isOpen := open[a.ID()]
			switch {
			case a.Cleared != isOpen:
				t.Fatalf("run %d: %s: cleared %v while open %v", i, a.ID(), a.Cleared, isOpen)
			case a.Cleared && !a.Opened.Equal(was.At):
				t.Fatalf("run %d: %s opened at %s, but the clear says %s", i, a.ID(), was.At, a.Opened)
			case !a.At.Equal(story[i].At):
				t.Fatalf("run %d: %s at %s, want the time of the run", i, a.ID(), a.At)
			}
			if a.Cleared {
				delete(open, a.ID())
			} else {
				open[a.ID()] = a
			}
			sound(t, a)
			all = append(all, a)
		}
		now := w.Open()
		if len(now) != len(open) {
			t.Fatalf("run %d: Open lists %d, the changes say %d", i, len(now), len(open))
		}
		for _, a := range now {
			if was, ok := open[a.ID()]; !ok || !a.Opened.Equal(was.At) || a.Cleared {
				t.Fatalf("run %d: Open lists %+v, the changes say %+v", i, a, was)
			}
			sound(t, a)
		}
	}
	return all
}

// sound checks that an anomaly can be printed and encoded, and says something.
func sound(t interface{ Fatalf(string, ...any) }, a api.Anomaly) {
	if a.Text == "" || strings.Contains(a.Text, "NaN") || strings.Contains(a.Text, "Inf") || strings.Contains(a.Text, "%!") {
		t.Fatalf("text %q of %s", a.Text, a.ID())
	}
	if _, err := json.Marshal(a); err != nil {
		t.Fatalf("%s cannot be encoded: %v", a.ID(), err)
	}
	if a.Opened.Location() != time.UTC || a.Probe == "" || !a.Cleared && len(a.Evidence) == 0 {
		t.Fatalf("incomplete: %+v", a)
	}
}

func TestOpenAndClearInTurn(t *testing.T) {
	seen := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		runs := story(rt)
		first := observe(rt, watch(t, short()...), runs)
		if second := observe(rt, watch(t, short()...), runs); !reflect.DeepEqual(first, second) {
			rt.Fatalf("the same runs twice differ:\n%+v\n%+v", first, second)
		}
		for _, a := range first {
			seen[fmt.Sprintf("%s cleared %v", a.Name, a.Cleared)]++
		}
	})
	if testing.Short() {
		return // a fifth of the stories: too few to demand that each change is among them
	}
	for _, d := range short() {
		for _, cleared := range []bool{false, true} {
			if seen[fmt.Sprintf("p/%s cleared %v", d.Name, cleared)] == 0 {
				t.Errorf("no story had %s cleared %v: the property says nothing of it", d.Name, cleared)
			}
		}
	}
}

// TestShiftedInTime moves a story to another day: the same happens. The baseline is left out, because hours matter to it.
func TestShiftedInTime(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		runs := story(rt)
		shift := time.Duration(rapid.Int64Range(1, int64(300*24*time.Hour)).Draw(rt, "shift"))
		first := observe(rt, watch(t, short()[:7]...), runs)
		for i := range runs {
			runs[i].At = runs[i].At.Add(shift)
		}
		second := observe(rt, watch(t, short()[:7]...), runs)
		for i := range second {
			second[i].At, second[i].Opened = second[i].At.Add(-shift), second[i].Opened.Add(-shift)
			if !second[i].Since.IsZero() {
				second[i].Since = second[i].Since.Add(-shift)
			}
		}
		if !reflect.DeepEqual(first, second) {
			rt.Fatalf("shifted by %s:\n%+v\n%+v", shift, first, second)
		}
	})
}

// TestUnknownCountsNeitherWay strews unknown runs into a story: only absence may say anything else.
func TestUnknownCountsNeitherWay(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		detectors := append(short()[:3:3], short()[4:]...)
		at := t0
		var plain, strewn []api.Observation
		for range rapid.IntRange(1, 100).Draw(rt, "runs") {
			at = at.Add(10 * time.Second)
			o := api.Observation{Probe: "p", At: at, Verdict: rapid.SampledFrom([]api.Verdict{api.OK, api.Bad}).Draw(rt, "verdict"), Value: rapid.Float64Range(-100, 100).Draw(rt, "value")}
			plain, strewn = append(plain, o), append(strewn, o)
			for k := range rapid.IntRange(0, 2).Draw(rt, "unknown") {
				strewn = append(strewn, api.Observation{Probe: "p", At: at.Add(time.Duration(6+k) * time.Second), Verdict: api.Unknown, Value: 1e6, Total: 7, Reason: "no permission"})
			}
		}
		first, second := observe(rt, watch(t, detectors...), plain), observe(rt, watch(t, detectors...), strewn)
		if !reflect.DeepEqual(first, second) {
			rt.Fatalf("unknown runs changed what was seen:\n%+v\n%+v", first, second)
		}
	})
}

func FuzzObserve(f *testing.F) {
	f.Add([]byte("\x00\x10\x30\x01\x10\x31\x01\x10\x32\x01\x10\x40\x02\x20\x00"))
	f.Add([]byte("\x11\x0a\xff\x51\x0a\x7f\x91\x0a\x80\x32\x80\x80"))
	f.Fuzz(func(t *testing.T, data []byte) {
		w := watch(t, short()...)
		var story []api.Observation
		at := t0
		for len(data) >= 3 {
			head, step, value := data[0], data[1], data[2]
			data = data[3:]
			at = at.Add(time.Duration(int8(step)) * time.Second << (head >> 5 * 4))
			o := api.Observation{Probe: "p", At: at, Verdict: []api.Verdict{api.OK, api.Bad, api.Unknown, "odd"}[head&3], Value: float64(int8(value))}
			switch value {
			case 127:
				o.Value = math.Inf(1)
			case 128:
				o.Value = math.NaN()
			case 129:
				o.Value = math.MaxFloat64
			case 130:
				o.Value = -math.MaxFloat64
			}
			if head&4 != 0 {
				o.Total = float64(step)
			}
			for k := range int(head >> 3 & 3) {
				o.Series = append(o.Series, api.Sample{Key: string(data[:min(len(data), k)]), Value: o.Value * float64(k)})
			}
			story = append(story, o)
		}
		observe(t, w, story)
	})
}
