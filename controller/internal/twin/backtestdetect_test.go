package twin

import (
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// seenProbe runs every ten seconds.
func seenProbe(detect ...api.Detector) api.Probe {
	return api.Probe{Metadata: api.Metadata{Name: "queue"}, Spec: api.ProbeSpec{Every: api.Seconds(10), Detect: detect}}
}

func opened(at time.Time, name string, cleared time.Time) []api.Entry {
	a := api.Anomaly{Name: name, Probe: "queue", At: at}
	b := api.Anomaly{Name: name, Probe: "queue", At: cleared, Cleared: true}
	return []api.Entry{{Kind: api.EntryAnomalyOpened, At: at, Anomaly: &a}, {Kind: api.EntryAnomalyCleared, At: cleared, Anomaly: &b}}
}

// depths makes observations, one every ten seconds, and their roll-ups.
func depths(values ...float64) (obs []api.Observation, minutes []Minute) {
	for i, v := range values {
		at := pastStart.Add(time.Duration(i) * 10 * time.Second)
		o := api.Observation{Probe: "queue", At: at, Verdict: api.OK, Value: v}
		if v < 0 {
			o.Verdict, o.Value = api.Bad, 0
		}
		obs = append(obs, o)
		if len(minutes) == 0 || !minutes[len(minutes)-1].At.Equal(at.Truncate(time.Minute)) {
			minutes = append(minutes, Minute{At: at.Truncate(time.Minute), Min: o.Value, Max: o.Value})
		}
		m := &minutes[len(minutes)-1]
		m.Mean = (m.Mean*float64(m.Runs) + o.Value) / float64(m.Runs+1)
		m.Runs++
		m.Min, m.Max, m.Last = min(m.Min, o.Value), max(m.Max, o.Value), o.Value
		if o.Verdict == api.Bad {
			m.Bad++
		}
	}
	return obs, minutes
}

func detected(t *testing.T, s Sight, log []api.Entry) []AnomalyTest {
	t.Helper()
	got, err := BacktestDetect([]Sight{s}, log)
	if err != nil {
		t.Fatal(err)
	}
	return got.Anomalies
}

func over(limit float64) api.Detector {
	return api.Detector{Name: "deep", Threshold: &api.Threshold{Above: &limit}}
}

// A threshold that was changed opens where it opens: to the observation by observations, to the minute by roll-ups.
func TestBacktestDetect(t *testing.T) {
	var values []float64
	for i := range 60 {
		v := 5.0
		if i >= 12 && i < 36 { // two minutes in, for four
			v = 50
		}
		values = append(values, v)
	}
	obs, minutes := depths(values...)
	from, to := pastStart.Add(2*time.Minute), pastStart.Add(6*time.Minute)
	log := opened(from, "queue/deep", to)
	for _, tt := range []struct {
		name  string
		sight Sight
		log   []api.Entry
		want  string
	}{
		{"the same, exactly", Sight{Probe: seenProbe(over(20)), Observations: obs}, log, "same"},
		{"the same, by roll-ups", Sight{Probe: seenProbe(over(20)), Minutes: minutes}, log, "same"},
		{"gone, exactly", Sight{Probe: seenProbe(over(80)), Observations: obs}, log, "gone"},
		{"gone, by roll-ups", Sight{Probe: seenProbe(over(80)), Minutes: minutes}, log, "gone"},
		{"new, exactly", Sight{Probe: seenProbe(over(20)), Observations: obs}, nil, "new"},
		{"new, by roll-ups", Sight{Probe: seenProbe(over(20)), Minutes: minutes}, nil, "new"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := detected(t, tt.sight, tt.log)
			if len(got) != 1 || got[0].Verdict != tt.want {
				t.Fatalf("got %+v, want one that is %s", got, tt.want)
			}
			if at := got[0].Replayed; at != nil && (at.Opened.Sub(from).Abs() > time.Minute || at.Cleared.Sub(to).Abs() > time.Minute) {
				t.Errorf("open from %s to %s, want %s to %s to the minute", at.Opened, at.Cleared, from, to)
			}
		})
	}
}

// Three bad runs of six in a minute may stand in a row or not: roll-ups cannot tell, and say so. Observations can.
func TestBacktestDetectUnsure(t *testing.T) {
	obs, minutes := depths(1, 1, 1, 1, 1, 1, -1, 1, -1, 1, -1, 1, 1, 1, 1, 1, 1, 1)
	three := api.Detector{Name: "down", Failures: &api.Failures{AtLeast: 3, Of: 3}}
	got := detected(t, Sight{Probe: seenProbe(three), Minutes: minutes}, nil)
	if len(got) != 1 || got[0].Verdict != "unsure" || got[0].Why == "" {
		t.Errorf("by roll-ups: %+v, want one that is unsure, and why", got)
	}
	if got := detected(t, Sight{Probe: seenProbe(three), Observations: obs}, nil); len(got) != 0 {
		t.Errorf("by observations: %+v, want nothing", got)
	}
}

func TestBacktestDetectNothingSeen(t *testing.T) {
	got, err := BacktestDetect([]Sight{{Probe: seenProbe(over(1))}}, nil)
	if err != nil || len(got.Nothing) != 1 || got.Nothing[0] != "queue" {
		t.Errorf("got %+v, %v: want the probe among those that nobody saw", got, err)
	}
}
