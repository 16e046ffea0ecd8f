package detect

import (
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// rules are the detectors that the measurements use, one of each sort.
func rules() []api.Detector {
	return []api.Detector{
		{Name: "failures", Failures: &api.Failures{}},
		{Name: "threshold", Threshold: &api.Threshold{Above: ptr(500.0), Clear: ptr(400.0), For: api.Seconds(30)}},
		{Name: "trend", Trend: &api.Trend{Limit: ptr(5000.0), BreachWithin: dur(10 * time.Minute)}},
		{Name: "absence", Absence: &api.Absence{For: dur(10 * time.Minute)}},
		{Name: "flatline", Flatline: &api.Flatline{For: dur(30 * time.Minute)}},
		{Name: "ratio", Ratio: &api.Ratio{Above: &api.Percent{PPM: 50_000}}},
		{Name: "burn-rate", BurnRate: &api.BurnRate{Objective: api.Percent{PPM: 999_000}}},
		{Name: "baseline", Baseline: &api.Baseline{}},
	}
}

// steady is a probe that is well and whose value moves a little.
func steady(i int) api.Observation {
	return api.Observation{Probe: "p", At: t0.Add(time.Duration(i) * 10 * time.Second), Verdict: api.OK, Value: 100 + float64(i*7%13), Unit: "items"}
}

func TestNothingIsAllocatedWhileNothingChanges(t *testing.T) {
	w := watch(t, rules()...)
	changes := make([]api.Anomaly, 0, 8)
	i := 0
	for ; i < 2000; i++ {
		o := steady(i)
		changes = w.Observe(&o, changes)
	}
	if len(changes) != 0 {
		t.Fatalf("a steady value is no anomaly: %+v", changes)
	}
	for _, rows := range []int{0, 5} {
		series := make([]api.Sample, rows)
		for k := range series {
			series[k].Key = "row " + strconv.Itoa(k)
		}
		step := func() {
			o := steady(i)
			for k := range series {
				series[k].Value = o.Value
			}
			o.Series = series
			changes = w.Observe(&o, changes)
			i++
		}
		for range 100 {
			step()
		}
		if n := testing.AllocsPerRun(1000, step); n != 0 || len(changes) != 0 {
			t.Errorf("%d rows: %v allocations per observation, changes %v", rows, n, changes)
		}
	}
}

func TestMemoryOfOneProbe(t *testing.T) {
	const n = 10_000
	for _, x := range []struct {
		detectors []api.Detector
		most      uint64
	}{
		{rules()[:1], 400},
		{rules()[:2], 600},
		{rules()[7:], 2700},
		{rules(), 6000},
	} {
		spec := api.ProbeSpec{Type: "http", Every: api.Seconds(10), Detect: x.detectors}
		watches := make([]*Watch, n)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range watches {
			w, err := New("probe", spec)
			if err != nil {
				t.Fatal(err)
			}
			for k := range 20 {
				o := steady(k)
				w.Observe(&o, nil)
			}
			watches[i] = w
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		each := (after.HeapAlloc - before.HeapAlloc) / n
		t.Logf("%d detectors from %s: %d bytes a probe", len(x.detectors), x.detectors[0].Name, each)
		if each > x.most {
			t.Errorf("%d bytes, want at most %d", each, x.most)
		}
		runtime.KeepAlive(watches)
	}
}

func BenchmarkObserve(b *testing.B) {
	all := rules()
	cases := []struct {
		name string
		ds   []api.Detector
	}{{"failures+threshold", all[:2]}, {"all", all}}
	for _, d := range all {
		cases = append(cases, struct {
			name string
			ds   []api.Detector
		}{d.Name, []api.Detector{d}})
	}
	for _, x := range cases {
		b.Run(x.name, func(b *testing.B) {
			w := watch(b, x.ds...)
			var changes []api.Anomaly
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				o := steady(i)
				changes = w.Observe(&o, changes[:0])
			}
		})
	}
}
