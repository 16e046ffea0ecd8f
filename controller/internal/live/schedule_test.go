package live

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

func TestHeapGivesTheEarliestFirst(t *testing.T) {
	var h dues
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		h.push(due{at: rng.Int64N(500)})
		if rng.IntN(3) == 0 {
			h.replace(due{at: h[0].at + rng.Int64N(500)})
		}
	}
	last := int64(-1)
	for n := len(h); n > 0; n-- {
		if h[0].at < last {
			t.Fatalf("%d came after %d", h[0].at, last)
		}
		last = h[0].at
		h.pop()
	}
	if len(h) != 0 {
		t.Fatalf("%d starts are left", len(h))
	}
}

// Every probe runs once within the first interval, spread evenly, and then exactly every interval.
func TestFirstRunsAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, every = 1000, 10 * time.Second
		begin := time.Now()
		var mu sync.Mutex
		starts := make([][]time.Duration, n)
		r := start(t, Options{Config: Config{Probes: manyProbes(n, every, func(i int) sight {
			return func(context.Context) api.Observation {
				mu.Lock()
				starts[i] = append(starts[i], time.Since(begin))
				mu.Unlock()
				return api.Observation{Verdict: api.OK}
			}
		})}}, nil, nil)
		time.Sleep(3*every - time.Millisecond)
		r.stop()
		perSecond := make([]int, 10)
		wakeUps := map[time.Duration]bool{}
		for i, s := range starts {
			if len(s) != 3 || s[0] >= every {
				t.Fatalf("probe %d ran at %v; want three runs, the first within %s", i, s, every)
			}
			if s[1]-s[0] != every || s[2]-s[1] != every {
				t.Fatalf("probe %d ran at %v; want every %s", i, s, every)
			}
			perSecond[int(s[0]/time.Second)]++
			wakeUps[s[0]] = true
		}
		for second, n := range perSecond {
			if n < 60 || n > 140 {
				t.Errorf("%d first runs in second %d of 10; want about 100", n, second)
			}
		}
		if len(wakeUps) > 500 {
			t.Errorf("%d wake-ups in 10 s; starts within 20 ms should share one", len(wakeUps))
		}
	})
}

// A probe with a long interval does not leave its target unseen for an hour after a restart.
func TestLongIntervalsRunOnceSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int64
		r := start(t, Options{Config: Config{Probes: manyProbes(50, time.Hour, func(int) sight {
			return func(context.Context) api.Observation { runs.Add(1); return api.Observation{Verdict: api.OK} }
		})}}, nil, nil)
		time.Sleep(firstWithin)
		synctest.Wait()
		if n := runs.Load(); n < 50 {
			t.Errorf("%d of 50 probes ran within %s", n, firstWithin)
		}
		time.Sleep(time.Hour)
		if n := runs.Load(); n < 95 || n > 102 {
			t.Errorf("%d runs after an hour; want one soon and one in the hour for each of 50", n)
		}
		r.stop()
	})
}

// A hanging target takes its own share of workers only, and its probes never overlap: they are skipped and counted.
func TestHungTargetDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every = time.Second
		var now, most, overlaps atomic.Int64
		hung := manyProbes(1000, every, func(int) sight {
			var inside atomic.Bool
			return func(ctx context.Context) api.Observation {
				if !inside.CompareAndSwap(false, true) {
					overlaps.Add(1)
				}
				defer inside.Store(false)
				most.Store(max(most.Load(), now.Add(1)))
				defer now.Add(-1)
				<-ctx.Done()
				return api.Observation{Verdict: api.Bad, Reason: "no answer"}
			}
		})
		for i := range hung {
			hung[i].Spec.Integration = "hung"
			hung[i].Spec.Detect = nil
		}
		var good atomic.Int64
		well := Probe{Name: "well", Spec: spec(every, 0), Prober: sight(func(context.Context) api.Observation {
			good.Add(1)
			return api.Observation{Verdict: api.OK}
		})}
		r := start(t, Options{Workers: 100, PerTarget: 50, Config: Config{Probes: append(hung, well)}}, nil, nil)
		time.Sleep(30*every - time.Millisecond)
		if n := good.Load(); n != 30 {
			t.Errorf("the well probe ran %d times in 30 s, want 30", n)
		}
		if s := r.status("well"); s.Skipped != 0 || s.Lateness > 0 {
			t.Errorf("the well probe was skipped %d times and was %s late", s.Skipped, s.Lateness)
		}
		if n := most.Load(); n != 50 {
			t.Errorf("%d runs at once against the hung target, want 50", n)
		}
		if n := overlaps.Load(); n != 0 {
			t.Errorf("%d runs overlapped", n)
		}
		k := r.kinds["http"]
		ran, going := k.bad.Load(), now.Load()
		target, overlap := k.skipped[skipTarget].Load(), k.skipped[skipOverlap].Load()
		if k.ok.Load() != 30 || ran+going+target+overlap != 30_000 || target == 0 || overlap == 0 {
			t.Errorf("of 30,000 starts %d ran, %d go, %d were skipped for the target and %d for overlap: some were queued or lost", ran, going, target, overlap)
		}
		r.stop()
	})
}

func TestSlowProbeIsSkippedNotOverlapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int64
		r := start(t, Options{Config: Config{Probes: manyProbes(1, time.Second, func(int) sight {
			return func(context.Context) api.Observation {
				runs.Add(1)
				time.Sleep(2500 * time.Millisecond)
				return api.Observation{Verdict: api.OK}
			}
		})}}, nil, nil)
		time.Sleep(30 * time.Second)
		s := r.status("probe-00000")
		if runs.Load() != 10 || s.Skipped != 20 {
			t.Errorf("%d runs and %d skipped in 30 s at 1 s with runs of 2.5 s; want 10 and 20", runs.Load(), s.Skipped)
		}
		r.stop()
	})
}

// After a first bad answer the confirmation comes within 200 ms each: 3 of 3 at 10 s is known in under 1 s.
func TestSuspiciousAnswersAreConfirmedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first, opened time.Time
		core := &script{}
		core.step = func(e engine.Event) engine.Output {
			if e.Anomaly != nil && !e.Anomaly.Cleared {
				opened = time.Now()
			}
			return engine.Output{}
		}
		r := start(t, Options{Config: Config{Probes: manyProbes(1, 10*time.Second, func(int) sight {
			return func(context.Context) api.Observation {
				if first.IsZero() {
					first = time.Now()
				}
				return api.Observation{Verdict: api.Bad, Reason: "refused"}
			}
		})}}, nil, core)
		time.Sleep(20 * time.Second)
		r.stop()
		if opened.IsZero() || opened.Sub(first) > time.Second {
			t.Errorf("first bad answer at %s, anomaly at %s: want under 1 s", first, opened)
		}
		if n := core.seen(func(e engine.Event) bool { return e.Verdict != nil && e.Verdict.Verdict == api.Bad }); n != 1 {
			t.Errorf("the verdict was told %d times, want once", n)
		}
		if n := core.seen(func(e engine.Event) bool { return e.Eyes != nil && *e.Eyes == (engine.Eyes{Probes: 1, Bad: 1}) }); n != 1 {
			t.Errorf("the counts of ill probes were told %d times, want once", n)
		}
	})
}

func TestReloadByDifference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every = 10 * time.Second
		begin := time.Now()
		var mu sync.Mutex
		starts := map[string][]time.Duration{}
		watch := func(name string) sight {
			return func(context.Context) api.Observation {
				mu.Lock()
				defer mu.Unlock()
				starts[name] = append(starts[name], time.Since(begin))
				return api.Observation{Verdict: api.OK, Value: 7}
			}
		}
		probe := func(name string, every time.Duration, failures int) Probe {
			return Probe{Name: name, Spec: spec(every, failures), Prober: watch(name)}
		}
		r := start(t, Options{Config: Config{Probes: []Probe{probe("same", every, 3), probe("edited", every, 3), probe("gone", every, 3)}}}, nil, nil)
		time.Sleep(35 * time.Second)
		if err := r.Reload(Config{Probes: []Probe{probe("new", every, 3), probe("edited", every, 5), probe("same", every, 3)}}); err != nil {
			t.Fatal(err)
		}
		if s := r.status("same"); s.Runs < 3 || s.Last.Value != 7 {
			t.Errorf("the unchanged probe forgot its runs: %+v", s)
		}
		if s := r.status("edited"); s.Runs != 0 {
			t.Errorf("the edited probe kept %d runs of the old one", s.Runs)
		}
		if _, ok := r.Last("gone"); ok {
			t.Error("the removed probe is still there")
		}
		mu.Lock()
		gone := len(starts["gone"])
		mu.Unlock()
		time.Sleep(35 * time.Second)
		r.stop()
		for _, name := range []string{"same", "edited"} {
			for i, at := range starts[name][1:] {
				if at-starts[name][i] != every {
					t.Errorf("%s ran at %v: the reload moved its phase", name, starts[name])
				}
			}
		}
		if len(starts["gone"]) != gone {
			t.Error("the removed probe still runs")
		}
		if len(starts["new"]) < 3 {
			t.Errorf("the new probe ran at %v", starts["new"])
		}
	})
}

func TestPanicsAndNonsenseAreUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := []sight{
			func(context.Context) api.Observation { panic("index out of range") },
			func(context.Context) api.Observation { return api.Observation{Verdict: "fine"} },
		}
		slow := sight(func(context.Context) api.Observation {
			time.Sleep(6 * time.Second) // its timeout is 5 s and it does not look at its context
			return api.Observation{Verdict: api.OK}
		})
		probes := manyProbes(2, 10*time.Second, func(i int) sight { return bad[i] })
		probes = append(probes, Probe{Name: "slow", Spec: spec(10*time.Second, 0), Prober: slow})
		r := start(t, Options{Config: Config{Probes: probes}}, nil, nil)
		time.Sleep(20 * time.Second)
		for _, p := range r.Probes()[:2] {
			if p.Last.Verdict != api.Unknown || p.Last.Reason == "" {
				t.Errorf("%s: %+v; want unknown with a reason", p.Name, p.Last)
			}
		}
		if o := r.status("slow").Last; o.Verdict != api.Bad || o.Took != 6*time.Second {
			t.Errorf("a good answer after the timeout was taken as %+v", o)
		}
		r.stop()
	})
}

func TestPhasesAreEvenAndStable(t *testing.T) {
	const every = 10 * time.Second
	bins := make([]int, 20)
	for i := range 10_000 {
		phase := phaseOf(fmt.Sprintf("probe-%05d", i), every)
		if phase < 0 || phase >= int64(every) || phase%int64(20*time.Millisecond) != 0 {
			t.Fatalf("phase %d is outside the interval or off the grid", phase)
		}
		bins[phase/int64(every/20)]++
	}
	if lo, hi := slices.Min(bins), slices.Max(bins); lo < 400 || hi > 600 {
		t.Errorf("of 10,000 probes the twentieths of the interval hold %d to %d; want about 500", lo, hi)
	}
	if a, b := phaseOf("card-gateway-auth", every), phaseOf("card-gateway-auth", every); a != b {
		t.Errorf("one name has the phases %d and %d", a, b)
	}
}

// Idle workers go away again.
func TestWorkersShrink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Bool
		slow.Store(true)
		r := start(t, Options{Config: Config{Probes: manyProbes(200, time.Second, func(int) sight {
			return func(context.Context) api.Observation {
				if slow.Load() {
					time.Sleep(900 * time.Millisecond)
				}
				return api.Observation{Verdict: api.OK}
			}
		})}}, nil, nil)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n, _ := r.sched.counts(); n < 150 {
			t.Errorf("%d workers for about 180 slow runs at once", n)
		}
		slow.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n, _ := r.sched.counts(); n > 20 {
			t.Errorf("%d workers are left a minute after the rush", n)
		}
		r.stop()
	})
}

// A burst takes as many workers as it needs and no more: few where targets answer at once, many, and soon, where they are slow.
func TestBurstTakesTheWorkersItNeeds(t *testing.T) {
	for _, c := range []struct {
		takes       time.Duration
		least, most int
	}{{0, 1, youngMax}, {50 * time.Millisecond, 400, 1000}} {
		synctest.Test(t, func(t *testing.T) {
			const n = 1000
			s := newScheduler(workersDefault, n)
			var ran, late atomic.Int64
			s.late = func(d time.Duration) { late.Store(max(late.Load(), int64(d))) }
			s.run = func(*probe, time.Time, bool) { ran.Add(1); time.Sleep(c.takes) }
			ctx, cancel := context.WithCancel(t.Context())
			go s.loop(ctx)
			shared := &target{}
			for range n {
				s.add(&probe{every: time.Second, phase: int64(500 * time.Millisecond), timeout: time.Second, running: new(atomic.Bool), target: shared, kind: &kind{}})
			}
			time.Sleep(900 * time.Millisecond)
			synctest.Wait()
			if workers, busy := s.counts(); workers < c.least || workers > c.most || busy != 0 {
				t.Errorf("runs of %s: %d workers, %d busy; want %d to %d and 0", c.takes, workers, busy, c.least, c.most)
			}
			if ran.Load() != n || time.Duration(late.Load()) > 50*time.Millisecond {
				t.Errorf("runs of %s: %d of %d ran, the latest start was %s late", c.takes, ran.Load(), n, time.Duration(late.Load()))
			}
			cancel()
			s.wg.Wait()
		})
	}
}
