package live

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/prometheus/client_golang/prometheus"
)

func TestClockNeverGoesBack(t *testing.T) {
	day := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c := &clock{last: day}
	steps := []struct {
		name string
		wall time.Duration // after day
		mono time.Duration
		want time.Duration
	}{
		{"time passes", time.Second, time.Second, time.Second},
		{"set forward by an hour: followed at once", time.Hour, 2 * time.Second, time.Hour},
		{"set back by an hour: half speed", 4 * time.Second, 4 * time.Second, time.Hour + time.Second},
		{"and still half speed", 6 * time.Second, 6 * time.Second, time.Hour + 2*time.Second},
		{"until the wall clock has caught up", 2 * time.Hour, 2 * time.Hour, 2 * time.Hour},
		{"a late reader changes nothing", time.Hour, time.Hour, 2 * time.Hour},
	}
	for _, s := range steps {
		if got := c.at(day.Add(s.wall), s.mono).Sub(day); got != s.want {
			t.Errorf("%s: %s after noon, want %s", s.name, got, s.want)
		}
	}
	c.atLeast(day)
	if got := c.last.Sub(day); got != 2*time.Hour {
		t.Errorf("an older journal moved the clock to %s", got)
	}
}

func TestRingKeepsTheLastHundred(t *testing.T) {
	var r ring
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	verdicts := []api.Verdict{api.OK, api.Bad, api.Unknown}
	var last time.Time
	for i := range 257 {
		last = begin.Add(time.Duration(i) * 10 * time.Second)
		r.add(&api.Observation{At: last, Verdict: verdicts[i%3], Value: float64(i) / 3, Took: time.Duration(i) * time.Millisecond}, 10*time.Second)
	}
	got := r.list(last, 10*time.Second)
	if len(got) != ringMax {
		t.Fatalf("%d results", len(got))
	}
	for k, res := range got {
		i := 157 + k
		want := Result{At: begin.Add(time.Duration(i) * 10 * time.Second), Verdict: verdicts[i%3], Value: float64(i) / 3, Took: time.Duration(i) * time.Millisecond}
		if res != want {
			t.Fatalf("result %d is %+v, want %+v", k, res, want)
		}
	}
}

// TestRingGivesBackEveryBit holds the ring against a plain list of what it was given, for rhythms and values of all kinds.
func TestRingGivesBackEveryBit(t *testing.T) {
	latency := func(c *rand.Rand) float64 { return time.Duration(c.IntN(3_000_000)).Seconds() }
	for name, value := range map[string]func(c *rand.Rand) float64{
		"same":    func(*rand.Rand) float64 { return 7 },
		"latency": latency,
		"ratio":   func(c *rand.Rand) float64 { return float64(c.IntN(100)) / 3 },
		"money":   func(c *rand.Rand) float64 { return float64(c.IntN(1e9)) / 100 },
		"mixed": func(c *rand.Rand) float64 {
			odd := []float64{0, math.Copysign(0, -1), math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, math.SmallestNonzeroFloat64, 1 << 53, -1e15, 0.1, -42, latency(c)}
			return odd[c.IntN(len(odd))]
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(20) {
				c := rand.New(rand.NewPCG(seed, 1))
				every := []time.Duration{100 * time.Millisecond, 1500 * time.Millisecond, 10 * time.Second, time.Hour}[seed%4]
				var r ring
				var want []Result
				at := time.UnixMilli(1_772_366_400_000).UTC()
				for range 1 + c.IntN(400) {
					at = at.Add(every + time.Duration(c.IntN(20)-10)*10*time.Millisecond)
					switch c.IntN(20) {
					case 0:
						at = at.Add(time.Duration(c.IntN(1000)) * time.Hour)
					case 1:
						at = at.Add(-every)
					}
					v := verdictBits[c.IntN(3)]
					o := api.Observation{At: at, Verdict: v, Value: value(c), Took: time.Duration(c.IntN(1<<30)) * time.Microsecond >> c.IntN(30)}
					r.add(&o, every)
					want = append(want, Result{At: at, Verdict: v, Value: o.Value, Took: o.Took.Truncate(time.Microsecond)})
				}
				want = want[max(0, len(want)-ringMax):]
				got := r.list(at, every)
				if len(got) != len(want) {
					t.Fatalf("seed %d: %d results, want %d", seed, len(got), len(want))
				}
				for i := range want {
					if !got[i].At.Equal(want[i].At) || got[i].Verdict != want[i].Verdict || got[i].Took != want[i].Took ||
						math.Float64bits(got[i].Value) != math.Float64bits(want[i].Value) {
						t.Fatalf("seed %d: result %d of %d is %+v, want %+v", seed, i, len(want), got[i], want[i])
					}
				}
			}
		})
	}
}

// TestRingIsSmall bounds what a full ring takes, whatever it held before.
func TestRingIsSmall(t *testing.T) {
	c := rand.New(rand.NewPCG(1, 2))
	at := time.UnixMilli(1_772_366_400_000)
	var r ring
	fill := func(n int, value func() float64) {
		for range n {
			at = at.Add(10*time.Second + time.Duration(c.IntN(5)-2)*10*time.Millisecond)
			r.add(&api.Observation{At: at, Verdict: api.OK, Value: value(), Took: time.Duration(300+c.IntN(5000)) * time.Microsecond}, 10*time.Second)
		}
	}
	for _, phase := range []struct {
		name  string
		value func() float64
		most  int
	}{
		{"any value", c.NormFloat64, 1280},
		{"latency", func() float64 { return time.Duration(300_000 + c.IntN(5_000_000)).Seconds() }, 896},
		{"one value", func() float64 { return 7 }, 384},
	} {
		fill(10*ringMax, phase.value)
		if cap(r.buf) > phase.most {
			t.Errorf("%s: %d bytes for %d results, want at most %d", phase.name, cap(r.buf), r.held, phase.most)
		}
	}
}

func TestMinutesRollUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &memory{slowRolls: 3 * time.Second} // a slow store delays no probe
		var n atomic.Int64
		probes := manyProbes(1, 10*time.Second, func(int) sight {
			return func(context.Context) api.Observation {
				time.Sleep(20 * time.Millisecond)
				switch i := n.Add(1); i % 6 {
				case 0:
					return api.Observation{Verdict: api.Unknown, Value: 999}
				case 1:
					return api.Observation{Verdict: api.Bad, Value: 5}
				default:
					return api.Observation{Verdict: api.OK, Value: float64(i % 6)}
				}
			}
		})
		probes[0].Spec.Detect = nil
		r := start(t, Options{Config: Config{Probes: probes}}, disk, nil)
		time.Sleep(3*time.Minute + 15*time.Second)
		r.stop()
		if len(disk.rollups) != 4 {
			t.Fatalf("%d minutes stored, want three and the one that ran at the stop: %+v", len(disk.rollups), disk.rollups)
		}
		for i, row := range disk.rollups[:3] {
			if row.Runs != 6 || row.Bad != 1 || row.Unknown != 1 || row.Min != 2 || row.Max != 5 || row.Sum != 5+2+3+4+5 ||
				row.TookSum != 120*time.Millisecond || row.TookMax != 20*time.Millisecond || row.Probe != "probe-00000" {
				t.Errorf("minute %d: %+v", i, row)
			}
			if i > 0 && row.Minute.Sub(disk.rollups[i-1].Minute) != time.Minute {
				t.Errorf("minutes %s and %s follow each other", disk.rollups[i-1].Minute, row.Minute)
			}
		}
	})
}

func TestRollupsThatCannotBeStoredAreBounded(t *testing.T) {
	r := &rollups{journal: &memory{}}
	var m minute
	m.add("p", &api.Observation{At: time.Unix(60, 0), Verdict: api.OK})
	row := m.row("p")
	for range rollupRowsMax + 1 {
		r.add(row)
	}
	if n := r.waiting(); n > rollupRowsMax || r.lost.Load()+int64(n) != rollupRowsMax+1 {
		t.Errorf("%d wait and %d are lost of %d", n, r.lost.Load(), rollupRowsMax+1)
	}
}

// An expectation sees the observations of its probes, which run soon and often while it waits.
func TestExpectationsAreDecidedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ill atomic.Bool
		ill.Store(true)
		var asked, decided time.Time
		var result api.Outcome
		core := &script{}
		core.step = func(e engine.Event) (out engine.Output) {
			switch {
			case e.Pause != nil:
				asked = e.At
				out.Entries = []api.Entry{{Kind: api.EntryPaused}}
				out.Commands = []engine.Command{{ID: "r1/proof/expect-1.1", Kind: engine.Expect, Deadline: e.At.Add(time.Minute),
					Expectation: &api.Expectation{Probes: []string{"probe-00000"}, OK: 3, Within: time.Minute}}}
			case e.Result != nil:
				decided, result = e.At, e.Result.Outcome
			}
			return out
		}
		r := start(t, Options{Config: Config{Probes: manyProbes(1, 30*time.Second, func(int) sight {
			return func(context.Context) api.Observation {
				if ill.Load() {
					return api.Observation{Verdict: api.Bad, Reason: "refused"}
				}
				return api.Observation{Verdict: api.OK}
			}
		})}}, nil, core)
		time.Sleep(31 * time.Second)
		if err := r.Pause(context.Background(), api.Pause{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		ill.Store(false)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if took := decided.Sub(asked); result.Result != api.ResultDone || took > 5*time.Second+4*hurryPause {
			t.Errorf("decided after %s as %+v; want done within 2 s after the probe was well", took, result)
		}
		runs := r.status("probe-00000").Runs
		time.Sleep(60 * time.Second)
		if n := r.status("probe-00000").Runs - runs; n > 2 {
			t.Errorf("%d runs in a minute after the expectation was decided: the probe is still hurried", n)
		}
		r.stop()
	})
}

// An expectation whose probe is edited meanwhile goes on with the new one; without the probe it fails at its time.
func TestExpectationsSurviveReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var result *api.Outcome
		core := &script{}
		core.step = func(e engine.Event) (out engine.Output) {
			switch {
			case e.Pause != nil:
				out.Entries = []api.Entry{{Kind: api.EntryPaused}}
				out.Commands = []engine.Command{{ID: "r1/proof/expect-1.1", Kind: engine.Expect, Deadline: e.At.Add(time.Minute),
					Expectation: &api.Expectation{Probes: []string{"probe-00000"}, OK: 3, Within: time.Minute}}}
			case e.Result != nil:
				result = &e.Result.Outcome
			}
			return out
		}
		bad := func(int) sight {
			return func(context.Context) api.Observation { return api.Observation{Verdict: api.Bad} }
		}
		r := start(t, Options{Config: Config{Probes: manyProbes(1, 10*time.Second, bad)}}, nil, core)
		r.Pause(context.Background(), api.Pause{})
		time.Sleep(5 * time.Second)
		edited := manyProbes(1, 20*time.Second, func(int) sight { return good })
		if err := r.Reload(Config{Probes: edited}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if result == nil || result.Result != api.ResultDone {
			t.Errorf("the expectation came to %+v", result)
		}
		r.stop()
	})
}

func TestCountedValuesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var value atomic.Int64
		core := &script{}
		probes := manyProbes(2, time.Second, func(int) sight {
			return func(context.Context) api.Observation {
				return api.Observation{Verdict: api.OK, Value: float64(value.Load())}
			}
		})
		c := Config{Probes: probes}
		c.Engine.Workflows = []api.Workflow{{Spec: api.WorkflowSpec{Value: api.Value{CountedBy: "probe-00001"}}}}
		r := start(t, Options{Config: c}, nil, core)
		time.Sleep(10 * time.Second)
		value.Store(42)
		time.Sleep(10 * time.Second)
		r.stop()
		var told []engine.Value
		for _, e := range core.events {
			if e.Value != nil {
				told = append(told, *e.Value)
			}
		}
		if len(told) != 2 || told[0] != (engine.Value{Probe: "probe-00001"}) || told[1] != (engine.Value{Probe: "probe-00001", Value: 42}) {
			t.Errorf("told %v; want the first value and the change of the counted probe only", told)
		}
	})
}

// The engine hears each time that a corroborating probe was seen well or ill, and of no other: what it said counts for two intervals.
func TestSightsOfCorroboratingProbesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var blind atomic.Bool
		core := &script{}
		probes := manyProbes(2, time.Second, func(int) sight {
			return func(context.Context) api.Observation {
				if blind.Load() {
					return api.Observation{Verdict: api.Unknown}
				}
				return api.Observation{Verdict: api.OK}
			}
		})
		c := Config{Probes: probes}
		c.Engine.Playbooks = []engine.Playbook{{Spec: api.PlaybookSpec{On: api.Trigger{Confirm: &api.Confirm{AtLeast: 1, Of: []string{"probe-00001/down"}}}}}}
		r := start(t, Options{Config: c}, nil, core)
		time.Sleep(10 * time.Second)
		blind.Store(true)
		time.Sleep(10 * time.Second)
		r.stop()
		told := 0
		for _, e := range core.events {
			if e.Seen == "probe-00001" {
				told++
			} else if e.Seen != "" {
				t.Errorf("told of %s, which corroborates nothing", e.Seen)
			}
		}
		if told < 9 || told > 10 {
			t.Errorf("told %d times in ten seconds of sight and ten of blindness; want one a second of sight", told)
		}
	})
}

// An anomaly from before a restart that is over is cleared, although the detectors that opened it are gone.
func TestAnomaliesFromBeforeARestartEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := func(probe string) api.Anomaly {
			return api.Anomaly{Name: probe + "/down", Probe: probe, Opened: time.Now().Add(-time.Hour), Text: "down"}
		}
		core := &script{open: []api.Anomaly{old("probe-00000"), old("probe-00001")}}
		var mu sync.Mutex
		told := map[string][]bool{}
		core.step = func(e engine.Event) engine.Output {
			if a := e.Anomaly; a != nil {
				mu.Lock()
				told[a.Probe] = append(told[a.Probe], a.Cleared)
				mu.Unlock()
			}
			return engine.Output{}
		}
		var ill atomic.Bool
		ill.Store(true)
		r := start(t, Options{Config: Config{Probes: manyProbes(3, 10*time.Second, func(i int) sight {
			return func(context.Context) api.Observation {
				if i == 1 && ill.Load() {
					return api.Observation{Verdict: api.Bad, Reason: "refused"}
				}
				return api.Observation{Verdict: api.OK}
			}
		})}}, nil, core)
		synctest.Wait()
		if n := len(r.status("probe-00000").Open); n != 1 {
			t.Errorf("%d open anomalies are shown after the journal was read, want the one from before", n)
		}
		time.Sleep(time.Minute)
		ill.Store(false)
		time.Sleep(time.Minute)
		r.stop()
		if got := fmt.Sprint(told); got != "map[probe-00000:[true] probe-00001:[false true]]" {
			t.Errorf("told %s; want the first cleared once, the second opened again and then cleared", got)
		}
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewPedanticRegistry()
		disk := &memory{}
		r := start(t, Options{Registry: reg, Config: ill(plainHand(nil))}, disk, &script{step: func(e engine.Event) (out engine.Output) {
			if e.Anomaly != nil {
				out.Entries = []api.Entry{{Kind: api.EntryIncidentOpened}}
			}
			return out
		}})
		time.Sleep(30*time.Second - time.Millisecond)
		synctest.Wait()
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			for _, m := range f.Metric {
				name := f.GetName()
				for _, l := range m.Label {
					name += " " + l.GetValue()
				}
				got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
		want := map[string]float64{
			"backstay_audit_entries_total incident.opened": 1, "backstay_incidents_open": 1, "backstay_probe_up gateway": 0,
			"backstay_probe_runs_total http bad": 3, "backstay_probe_runs_total http ok": 0, "backstay_probes bad": 1, "backstay_probes ok": 0,
			"backstay_probe_lateness_seconds": 3, "backstay_commit_duration_seconds": 1, "backstay_probe_runs_skipped_total overlap http": 0,
		}
		for name, n := range want {
			if v, there := got[name]; !there || v != n {
				t.Errorf("%s is %v (there: %v), want %v", name, v, there, n)
			}
		}
		r.stop()
	})
}
