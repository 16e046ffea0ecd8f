package twin

import (
	"math"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// sojourns plays a queue with exponential gaps and service times, and gives the mean time from arrival to finish over all
// replications, with its standard error.
func sojourns(t *testing.T, perHour float64, workers int64, service time.Duration) (mu, se float64) {
	t.Helper()
	p := compiled(t, made(func(s *Setup) {
		s.Model.Spec.Arrivals = api.Arrivals{PerHour: perHour}
		s.Model.Spec.Steps = []api.ModelStep{{Name: "work", Workers: workers, Takes: mean(service)}}
		s.Scenario.Spec.Horizon, s.Scenario.Spec.Warmup, s.Scenario.Spec.Variants = dur(12*time.Hour), dur(2*time.Hour), []api.Variant{api.VariantNone}
	}))
	const replications = 40
	var sum, squares float64
	for r := range replications {
		w := p.world(api.VariantNone, r, Options{})
		w.play()
		var all float64
		n := 0
		for i := range w.items {
			if it := &w.items[i]; it.state == done && it.born > p.from {
				all += float64(it.since-it.born) / 1e9
				n++
			}
		}
		all /= float64(n)
		sum += all
		squares += all * all
	}
	mu = sum / replications
	return mu, math.Sqrt((squares/replications - mu*mu) / (replications - 1))
}

// The queueing formulas know nothing of heaps and pools: so they are an independent check of both.
func TestQueuesAgreeWithTheory(t *testing.T) {
	for _, c := range []struct {
		name    string
		perHour float64
		workers int64
		service time.Duration
	}{
		{"one server, half busy", 900, 1, 2 * time.Second},
		{"one server, four fifths busy", 1440, 1, 2 * time.Second},
		{"five servers", 7200, 5, 2 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			lambda, service := c.perHour/3600, c.service.Seconds()
			load, n := lambda*service, float64(c.workers)
			term, sum := 1.0, 1.0 // Erlang's C
			for k := 1.0; k < n; k++ {
				term *= load / k
				sum += term
			}
			term *= load / n
			waits := term / (1 - load/n) / (sum + term/(1-load/n))
			want := service + waits*service/(n-load)
			got, se := sojourns(t, c.perHour, c.workers, c.service)
			if math.Abs(got-want) > 3.5*se || se > 0.05*want {
				t.Errorf("items take %.3f s (standard error %.3f); the formula says %.3f", got, se, want)
			}
		})
	}
}

func TestWarmupAndSilenceOfTheAccount(t *testing.T) {
	s := made(func(s *Setup) {
		s.Scenario.Spec.Warmup, s.Scenario.Spec.Horizon = dur(5*time.Minute), dur(5*time.Minute)
	})
	r, w := played(t, s, api.VariantNone)
	if len(w.items) != 59 { // one each ten seconds, none at the very end
		t.Errorf("%d items came in ten minutes", len(w.items))
	}
	want(t, r, map[Figure]float64{Finished: 30, Left: 0, Late: 0, Lost: 0, Doubled: 0})
}

func TestRecordedArrivals(t *testing.T) {
	s := made(func(s *Setup) {
		s.Model.Spec.Arrivals = api.Arrivals{Times: []api.Duration{dur(3 * time.Second), dur(time.Second), dur(time.Second), dur(2 * time.Hour)}}
		s.Scenario.Spec.Warmup = dur(time.Minute)
	})
	r, w := played(t, s, api.VariantNone)
	var born []time.Duration
	for i := range w.items {
		born = append(born, w.at(w.items[i].born))
	}
	if len(born) != 3 || born[0] != time.Second || born[1] != time.Second || born[2] != 3*time.Second {
		t.Errorf("items came at %v", born)
	}
	want(t, r, map[Figure]float64{Finished: 3})
}

func TestDropsCountOnlyOpenHours(t *testing.T) {
	s := made(func(s *Setup) {
		s.Model.Spec.Arrivals = api.Arrivals{Every: dur(30 * time.Minute), Batch: 50, Calendar: &api.ModelHours{Days: []api.WeekSpan{{On: weekdays[:], From: "09:00", To: "10:15"}}}}
		s.Model.Spec.Steps[0].Workers = 100
		s.Scenario.Spec.Horizon = dur(48 * time.Hour) // from nine in the morning
	})
	_, w := played(t, s, api.VariantNone)
	var times []string
	for i := 0; i < len(w.items); i += 50 {
		times = append(times, w.plan.start.Add(time.Duration(w.items[i].born)).Format("Mon 15:04"))
	}
	// Each hour and a quarter has room for two and a half gaps.
	for i, want := range []string{"Mon 09:30", "Mon 10:00", "Tue 09:15", "Tue 09:45", "Wed 09:00"} {
		if i < len(times) && times[i] != want {
			t.Errorf("drop %d comes on %s, want %s", i+1, times[i], want)
		}
	}
	if len(w.items) != 200 && len(w.items) != 250 {
		t.Errorf("%d items came", len(w.items))
	}
}

func TestStockAtTheStart(t *testing.T) {
	s := made(func(s *Setup) {
		s.Model.Spec.Arrivals = api.Arrivals{}
		s.Scenario.Spec.Waiting = []api.ScenarioStock{{Step: "capture", Items: 10}, {Step: "capture", State: "dead", Items: 3, Age: dur(time.Hour)},
			{Step: "capture", State: "in-doubt", Items: 100, Age: dur(2 * time.Hour)}, {Step: "capture", State: "held", Items: 2}}
	})
	r, w := played(t, s, api.VariantNone)
	want(t, r, map[Figure]float64{Finished: 10, Left: 105, Late: 105, Doubled: 0})
	if w.total[dead] != 3 || w.total[inDoubt] != 100 || w.total[held] != 2 {
		t.Errorf("the stock is %v", w.total)
	}
	happened := 0
	for i := range w.items {
		if it := &w.items[i]; it.state == inDoubt {
			if it.endpoint < 0 || w.ledger.count[i] > 1 {
				t.Fatalf("%+v cannot be asked about", it)
			}
			happened += int(w.ledger.count[i])
		}
	}
	if happened < 30 || happened > 70 {
		t.Errorf("%d of 100 calls in doubt happened, want about half", happened)
	}
	if w.items[0].born != -int64(2*time.Hour) {
		t.Error("the oldest items are not the first")
	}
}

// A stock of which each item goes through in no time must not be one deep recursion.
func TestZeroTimeStepsOfALargeStock(t *testing.T) {
	s := made(func(s *Setup) {
		s.Model.Spec.Arrivals = api.Arrivals{}
		s.Model.Spec.Steps = []api.ModelStep{{Name: "a"}, {Name: "b"}, {Name: "c"}}
		s.Scenario.Spec.Waiting = []api.ScenarioStock{{Step: "a", Items: 300_000}}
	})
	r, _ := played(t, s, api.VariantNone)
	want(t, r, map[Figure]float64{Finished: 300_000, Left: 0})
}

func TestMembersAreChosenByShareAndHours(t *testing.T) {
	s := made(func(s *Setup) {
		s.Model.Spec.Arrivals = api.Arrivals{Every: dur(time.Second)}
		s.Model.Spec.Pools = []api.ModelPool{{Name: "desk", Members: []api.ModelMember{{Name: "ada", Share: 3}, {Name: "bob"},
			{Name: "eve", Hours: &api.ModelHours{Days: []api.WeekSpan{{On: weekdays[:], From: "09:30", To: "10:00"}}}}}}}
		s.Model.Spec.Steps = []api.ModelStep{{Name: "work", Pool: "desk", Takes: fixed(100 * time.Millisecond)}}
		s.Scenario.Spec.Horizon = dur(time.Hour)
	})
	p := compiled(t, s)
	w := p.world(api.VariantCurrent, 0, Options{})
	took := map[int][2]int{}
	w.options.Trace = func(string) {
		for m, busy := range w.pools[0].busy {
			if busy {
				n := took[m]
				if w.now >= int64(30*time.Minute) {
					n[1]++
				} else {
					n[0]++
				}
				took[m] = n
			}
		}
	}
	w.play()
	ratio := func(half, a, b int) float64 { return float64(took[a][half]) / float64(took[b][half]) }
	if took[2][0] != 0 || took[2][1] == 0 {
		t.Errorf("eve worked %v, and comes at half past nine", took[2])
	}
	for half := range 2 {
		if r := ratio(half, 0, 1); r < 2.4 || r > 3.7 {
			t.Errorf("ada took %.2f times as many as bob, want 3", r)
		}
	}
	if r := ratio(1, 2, 1); r < 0.8 || r > 1.25 {
		t.Errorf("eve took %.2f times as many as bob", r)
	}
}

// Workers who are away wake up once, not once more each time: three thousand of them cost no more events than the items do.
func TestManyWorkersWithHoursAreCheap(t *testing.T) {
	hours := 72
	if testing.Short() {
		hours = 12
	}
	s := made(func(s *Setup) {
		s.Model.Spec.Arrivals = api.Arrivals{Every: dur(time.Second)}
		var members []api.ModelMember
		for i := range 3000 {
			members = append(members, api.ModelMember{Name: string(rune('a' + i%26)), Hours: &api.ModelHours{Days: []api.WeekSpan{{On: weekdays[:], From: "13:00", To: "17:00"}}}})
		}
		s.Model.Spec.Pools = []api.ModelPool{{Name: "desk", Members: members}}
		s.Model.Spec.Steps = []api.ModelStep{{Name: "work", Pool: "desk", Takes: fixed(time.Minute)}}
		s.Scenario.Spec.Horizon = dur(time.Duration(hours) * time.Hour)
	})
	r, _ := played(t, s, api.VariantNone)
	if most := int64(3*hours*3600 + 10); r.Events > most {
		t.Errorf("%d events for %d items; want %d at most", r.Events, hours*3600, most)
	}
}
