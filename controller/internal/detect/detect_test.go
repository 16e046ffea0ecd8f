package detect

import (
	"math"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

var t0 = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func ptr[T any](v T) *T { return &v }

func dur(d time.Duration) api.Duration { return api.Duration{Duration: d} }

// watch builds a probe that runs each 10 s.
func watch(t testing.TB, ds ...api.Detector) *Watch {
	t.Helper()
	for i := range ds {
		if ds[i].Name == "" {
			ds[i].Name = "d"
		}
	}
	w, err := New("p", api.ProbeSpec{Type: "http", Every: api.Seconds(10), Detect: ds})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func run(verdict api.Verdict, seconds float64, value float64) *api.Observation {
	return &api.Observation{Probe: "p", At: t0.Add(time.Duration(seconds * float64(time.Second))), Verdict: verdict, Value: value, Unit: "items"}
}

func TestFailuresOpenOnceAndClear(t *testing.T) {
	w := watch(t, api.Detector{Failures: &api.Failures{AtLeast: 3, Of: 3, Clear: 2}})
	var changes []api.Anomaly
	for i, v := range []api.Verdict{"ok", "bad", "bad", "unknown", "bad", "bad", "ok", "bad", "ok", "ok", "ok"} {
		o := run(v, float64(10*i), 0)
		if v == api.Bad {
			o.Reason = "connection refused"
		}
		changes = w.Observe(o, changes)
	}
	if len(changes) != 2 || changes[0].Cleared || !changes[1].Cleared {
		t.Fatalf("want opened and cleared, got %+v", changes)
	}
	if got, want := changes[0].Text, "3 of the last 3 checks were bad; the last: connection refused"; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
	if got, want := changes[1].Text, "the last 2 checks were good; it lasted 50s"; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
	if !changes[1].Opened.Equal(changes[0].At) || changes[0].ID() != "p/d" {
		t.Errorf("the clear must name its opening: %+v", changes)
	}
}

func TestSuspicionEnds(t *testing.T) {
	w := watch(t, api.Detector{Failures: &api.Failures{AtLeast: 3, Of: 3}})
	at := 0.0
	for range 3 {
		w.Observe(run(api.OK, at, 1), nil)
		at += 10
	}
	var changes []api.Anomaly
	repeats := 0
	changes = w.Observe(run(api.Bad, at, 0), changes)
	for w.Suspicious() {
		at += 0.15
		repeats++
		changes = w.Observe(run(api.Bad, at, 0), changes)
	}
	if repeats != 2 || len(changes) != 1 {
		t.Fatalf("3 of 3 should be known after 2 quick repeats: %d repeats, changes %v", repeats, changes)
	}
	w = watch(t, api.Detector{Failures: &api.Failures{AtLeast: 500, Of: 1000}})
	repeats = 0
	w.Observe(run(api.Bad, 0, 0), nil)
	for at = 0; w.Suspicious(); repeats++ {
		at += 0.15
		w.Observe(run(api.Bad, at, 0), nil)
	}
	if repeats != confirmMax {
		t.Errorf("%d quick repeats, want at most %d", repeats, confirmMax)
	}
	w = watch(t, api.Detector{Failures: &api.Failures{AtLeast: 2, Of: 3}})
	w.Observe(run(api.Bad, 0, 0), nil)
	w.Observe(run(api.OK, 1, 0), nil)
	if w.Suspicious() {
		t.Error("a good answer ends the suspicion")
	}
}

func TestOddTimesAndValues(t *testing.T) {
	spec := api.Detector{Threshold: &api.Threshold{Above: ptr(100.0), For: api.Seconds(20)}}
	w := watch(t, spec)
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if c := w.Observe(run(api.OK, 0, v), nil); len(c) != 0 {
			t.Errorf("%v is no value: %+v", v, c)
		}
	}
	for _, at := range []time.Time{{}, time.Unix(-5, 0), time.Unix(9e9, 0)} {
		o := run(api.OK, 0, 500)
		o.At = at
		w.Observe(o, nil)
	}
	if w.last != t0.UnixNano() {
		t.Error("times before 1970 or after 2255 are ignored")
	}
	w = watch(t, spec)
	w.Observe(run(api.OK, 100, 500), nil)
	if c := w.Observe(run(api.OK, 100, 500), nil); len(c) != 0 {
		t.Error("the same instant counts once")
	}
	if c := w.Observe(run(api.OK, 50, 1), nil); len(c) != 0 || w.last != t0.Add(100*time.Second).UnixNano() {
		t.Error("an older observation is ignored")
	}
	if c := w.Observe(run(api.OK, 5000, 500), nil); len(c) != 0 {
		t.Error("after a long pause nobody knows how long the value was beyond the limit")
	}
	if c := w.Observe(run(api.OK, 5020, 500), nil); len(c) != 1 {
		t.Error("it opens once it was seen beyond the limit for 20s")
	}
}

func TestClockSetBack(t *testing.T) {
	w := watch(t, api.Detector{Failures: &api.Failures{AtLeast: 1, Of: 1, Clear: 1}})
	if c := w.Observe(run(api.Bad, 100_000, 0), nil); len(c) != 1 {
		t.Fatal("should open")
	}
	var changes []api.Anomaly
	for i := range 4 {
		changes = w.Observe(run(api.OK, float64(10*i), 0), changes)
	}
	if len(changes) != 1 || !changes[0].Cleared {
		t.Fatalf("a clock set back blinds the probe for two runs, not for a day: %+v", changes)
	}
	if changes[0].Evidence[len(changes[0].Evidence)-1].Value != 0 {
		t.Error("no anomaly lasts a negative time")
	}
}
