package twin

import (
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

const primary = "integration/gateway/primary"

// confirming makes the gateway confirm by callback, and adds a step that books.
func confirming(s *Setup) {
	for i := range s.Model.Spec.Systems[0].Endpoints {
		s.Model.Spec.Systems[0].Endpoints[i].Confirms = fixed(3 * time.Second)
	}
	s.Model.Spec.Steps = append(s.Model.Spec.Steps, api.ModelStep{Name: "book", Workers: 4, Calls: []api.ModelCall{{To: "gateway", Endpoint: "standby", Effect: "booking"}}})
	s.Model.Spec.Systems[0].Endpoints[1].Confirms = nil
}

func keyed(keeps time.Duration) func(*Setup) {
	return func(s *Setup) {
		for i := range s.Model.Spec.Steps {
			for k := range s.Model.Spec.Steps[i].Calls {
				s.Model.Spec.Steps[i].Calls[k].Keyed = true
			}
		}
		for i := range s.Model.Spec.Systems[0].Endpoints {
			s.Model.Spec.Systems[0].Endpoints[i].Keeps = dur(keeps)
		}
	}
}

// Each kind of fault does what its word says, marks that it struck, and leaves a calm world calm before it begins.
func TestFaults(t *testing.T) {
	minute := dur(time.Minute)
	base := api.Fault{At: minute, Lasting: minute} // six items arrive in it
	for _, c := range []struct {
		kind   api.FaultKind
		on     string
		change func(*api.Fault)
		also   []func(*Setup)
		want   map[Figure]float64
		check  func(t *testing.T, w *world)
	}{
		{kind: api.FaultOutage, on: primary, want: map[Figure]float64{Finished: 53, Doubled: 0, Lost: 0}, check: rests(dead, 6)},
		{kind: api.FaultError, on: primary, want: map[Figure]float64{Finished: 53}, check: rests(dead, 6)},
		{kind: api.FaultRefuse, on: "integration/gateway", want: map[Figure]float64{Finished: 53}, check: rests(dead, 6)},
		{kind: api.FaultTimeout, on: primary, want: map[Figure]float64{Finished: 53}, check: func(t *testing.T, w *world) { doubted(t, w, 6, 0) }},
		{kind: api.FaultLostAnswer, on: primary, want: map[Figure]float64{Finished: 53}, check: func(t *testing.T, w *world) { doubted(t, w, 6, 6) }},
		{kind: api.FaultSlow, on: primary, change: func(f *api.Fault) { f.By = dur(2 * time.Second) }, want: map[Figure]float64{Finished: 59, Late: 0}},
		{kind: api.FaultSlow, on: primary, change: func(f *api.Fault) { f.By = dur(9 * time.Second) }, want: map[Figure]float64{Finished: 53}, check: func(t *testing.T, w *world) { doubted(t, w, 6, 6) }},
		{kind: api.FaultRateLimit, on: primary, change: func(f *api.Fault) { f.Most = api.Rate{N: 1, Per: 30 * time.Second} }, want: map[Figure]float64{Finished: 55}, check: rests(dead, 4)},
		{kind: api.FaultDuplicate, on: primary, also: []func(*Setup){confirming}, want: map[Figure]float64{Finished: 59, Doubled: 6}},
		{kind: api.FaultDuplicate, on: primary, also: []func(*Setup){confirming, keyed(time.Hour)}, want: map[Figure]float64{Finished: 59, Doubled: 0}},
		{kind: api.FaultLate, on: primary, change: func(f *api.Fault) { f.By = dur(2 * time.Minute) }, also: []func(*Setup){confirming}, want: map[Figure]float64{Finished: 59, Late: 6}},
		{kind: api.FaultStop, on: "step/capture", want: map[Figure]float64{Finished: 59}, check: func(t *testing.T, w *world) {
			if w.figures.values[Backlog] < 5 {
				t.Errorf("at most %v items waited while nobody worked", w.figures.values[Backlog])
			}
		}},
		{kind: api.FaultLock, on: "integration/gateway", want: map[Figure]float64{Finished: 54}, check: rests(dead, 5)},
		{kind: api.FaultPoison, on: "step/capture", want: map[Figure]float64{Finished: 53}, check: rests(dead, 6)},
		{kind: api.FaultPoison, on: "step/capture", also: []func(*Setup){func(s *Setup) { s.Model.Spec.Steps[0].Calls = nil }}, want: map[Figure]float64{Finished: 53}, check: rests(dead, 6)},
		{kind: api.FaultRedeliver, on: "step/capture", want: map[Figure]float64{Finished: 59, Doubled: 6}},
		{kind: api.FaultRedeliver, on: "step/capture", also: []func(*Setup){keyed(time.Hour)}, want: map[Figure]float64{Finished: 59, Doubled: 0}},
		{kind: api.FaultSurge, change: func(f *api.Fault) { f.Times = 3 }, want: map[Figure]float64{Finished: 71}},
		{kind: api.FaultSilence, want: map[Figure]float64{Finished: 53}},
	} {
		name := string(c.kind)
		t.Run(name, func(t *testing.T) {
			f := base
			f.Kind, f.On = c.kind, c.on
			if c.change != nil {
				c.change(&f)
			}
			r, w := played(t, made(append(c.also, fault(f))...), api.VariantNone)
			if len(r.Faults) != 1 || !r.Faults[0].Injected || r.Faults[0].Began != time.Minute || r.Faults[0].Ended != 2*time.Minute {
				t.Errorf("of the fault came %+v", r.Faults)
			}
			want(t, r, c.want)
			if c.check != nil {
				c.check(t, w)
			}
		})
	}
}

// rests checks how many items are in a state at the end.
func rests(s state, n int64) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		t.Helper()
		if w.total[s] != n {
			t.Errorf("%d items are %s, want %d", w.total[s], stateNames[s], n)
		}
	}
}

// doubted checks how many items are in doubt, and for how many of them the effect happened.
func doubted(t *testing.T, w *world, n, happened int) {
	t.Helper()
	for i := range w.items {
		if w.items[i].state == inDoubt {
			n--
			happened -= int(w.ledger.count[i])
		}
	}
	if n != 0 || happened != 0 {
		t.Errorf("%d items fewer are in doubt than there should be, and %d fewer of them happened", n, happened)
	}
}

// An outage that goes on and off refuses what is called while it is on, each time, and nothing between.
func TestFaultsComeBack(t *testing.T) {
	flapping := api.Fault{Kind: api.FaultOutage, On: primary, At: dur(time.Minute), Lasting: dur(20 * time.Second), Every: dur(2 * time.Minute)}
	for jitter, want := range []string{"1m0s 1m20s 3m0s 3m20s 5m0s 5m20s 7m0s 7m20s 9m0s 9m20s", ""} {
		flapping.Jitter = dur(time.Duration(jitter) * time.Minute)
		r, _ := played(t, made(fault(flapping)), api.VariantNone)
		var times []string
		gaps := map[time.Duration]bool{}
		var last time.Duration
		for _, l := range r.Story {
			if l.Kind == "fault" {
				gaps[l.At-last], last = true, l.At
			}
			if l.Kind == "fault" || l.Kind == "over" {
				times = append(times, l.At.String())
			}
		}
		got := strings.Join(times, " ")
		if want != "" && got != want || want == "" && (len(times) < 8 || len(gaps) < 4) {
			t.Errorf("jitter %s: it went on and off at %s; want %s", flapping.Jitter, got, want)
		}
		if !r.Faults[0].Injected {
			t.Error("it touched nothing")
		}
	}
	flapping.Lasting = dur(3 * time.Minute)
	if _, wrong := Compile(made(fault(flapping))); !wrong.Failed() {
		t.Error("a fault that is not over before it comes back was taken")
	}
}

func TestFaultsThatTouchNothingSaySo(t *testing.T) {
	for _, f := range []api.Fault{
		{Kind: api.FaultOutage, On: "integration/gateway/standby"}, {Kind: api.FaultSilence, At: dur(595 * time.Second)}, {Kind: api.FaultSurge, Times: 2, At: dur(595 * time.Second)},
		{Kind: api.FaultStop, On: "step/idle"}, {Kind: api.FaultLock, On: "integration/other"}, {Kind: api.FaultDuplicate, On: primary},
	} {
		r, _ := played(t, made(func(s *Setup) {
			s.Model.Spec.Steps = append(s.Model.Spec.Steps, api.ModelStep{Name: "idle"})
			s.Model.Spec.Steps[0].Next = []api.ModelNext{{}}
			s.Current.Integrations = append(s.Current.Integrations, api.Integration{Metadata: meta("other")})
		}, fault(f)), api.VariantNone)
		if r.Faults[0].Injected {
			t.Errorf("%s on %q claims to have struck", f.Kind, f.On)
		}
	}
}

func TestFaultsOfEyes(t *testing.T) {
	sight := sees(5*time.Second, api.ModelSight{Probe: "auth", Endpoint: "gateway/primary"}, failures(3))
	for _, c := range []struct {
		fault    api.Fault
		detected bool
	}{
		{api.Fault{Kind: api.FaultOutage, On: primary, At: dur(time.Minute)}, true},
		{api.Fault{Kind: api.FaultLies, On: "probe/auth", At: dur(time.Minute)}, true},
		{api.Fault{Kind: api.FaultBlind, On: "probe/auth", At: dur(time.Minute)}, false},
		{api.Fault{Kind: api.FaultStale, On: primary, By: dur(time.Minute)}, false},
	} {
		r, _ := played(t, made(sight, sees(5*time.Second, api.ModelSight{Probe: "lag", Lag: "gateway/primary"}), fault(c.fault)), api.VariantNone)
		if !r.Faults[0].Injected {
			t.Errorf("%s struck nothing", c.fault.Kind)
		}
		if detected := r.Figures[Detected] >= 0; detected != c.detected {
			t.Errorf("%s: detected is %v", c.fault.Kind, r.Figures[Detected])
		}
	}
}

// What a call does when several things are wrong at once does not depend on which began first.
func TestFaultsTogether(t *testing.T) {
	for _, first := range []time.Duration{time.Minute, 2 * time.Minute} {
		r, w := played(t, made(fault(api.Fault{Kind: api.FaultOutage, On: primary, At: dur(first)}), fault(api.Fault{Kind: api.FaultLostAnswer, On: primary, At: dur(3*time.Minute - first)})), api.VariantNone)
		if w.ledger.count[30] != 0 || w.items[30].state != dead {
			t.Errorf("an outage that began at %s lets an item be %s", first, stateNames[w.items[30].state])
		}
		want(t, r, map[Figure]float64{Doubled: 0, Lost: 0})
	}
}

// A surge shortens the gap that runs when it begins, and gives back when it ends.
func TestSurgeOfRandomArrivals(t *testing.T) {
	s := made(func(s *Setup) {
		s.Model.Spec.Arrivals = api.Arrivals{PerHour: 36}
		s.Model.Spec.Steps[0].Workers = 1000
		s.Scenario.Spec.Horizon = dur(200 * time.Hour)
	}, fault(api.Fault{Kind: api.FaultSurge, Times: 100, At: dur(100 * time.Hour), Lasting: dur(time.Hour)}))
	_, w := played(t, s, api.VariantNone)
	var before, during int
	for i := range w.items {
		switch at := time.Duration(w.items[i].born); {
		case at < 100*time.Hour:
			before++
		case at < 101*time.Hour:
			during++
		}
	}
	if before < 3400 || before > 3800 || during < 3400 || during > 3800 {
		t.Errorf("%d items in 100 hours, then %d in one; want 3,600 of each", before, during)
	}
}
