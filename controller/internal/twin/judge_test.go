package twin

import (
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

// healing is a gateway that takes money without answering, and a playbook that switches and asks.
func healing(change ...func(*Setup)) Setup {
	return made(append([]func(*Setup){
		sees(5*time.Second, api.ModelSight{Probe: "auth", Endpoint: "gateway/primary"}, failures(3)),
		fault(api.Fault{Kind: api.FaultLostAnswer, On: primary, At: dur(time.Minute), Lasting: dur(2 * time.Minute)}),
		func(s *Setup) {
			s.Scenario.Spec.Horizon = dur(20 * time.Minute)
			s.Model.Spec.People = []api.ModelPerson{{Name: "ada", Answers: fixed(time.Minute)}, {Name: "bob", Answers: fixed(90 * time.Second)}}
			s.Model.Spec.Places = []api.ModelPlace{{Target: "in-doubt/gateway", Step: "capture", State: "in-doubt"}, {Target: "queue/dead", Step: "capture", State: "dead"},
				{Target: "queue/waiting", Step: "capture", State: "waiting"}, {Target: "queue/held", Step: "capture", State: "held"},
				{Target: "workers", Step: "capture", State: "workers"}, {Target: "db", System: "gateway"}}
		},
	}, change...)...)
}

func limited1(items int64) func(*Setup) {
	return func(s *Setup) { s.Current.Playbooks[len(s.Current.Playbooks)-1].Spec.Limits.Items = items }
}

func mode(m api.Mode) func(*Setup) {
	return func(s *Setup) { s.Current.Playbooks[len(s.Current.Playbooks)-1].Spec.Mode = m }
}

func TestEngineHealsWithoutViolation(t *testing.T) {
	r, w := played(t, healing(playbook("heal", "auth/down", failover("standby"), settles(10*time.Second))), api.VariantCurrent)
	want(t, r, map[Figure]float64{Doubled: 0, Lost: 0, Unapproved: 0, OverLimit: 0, TwoActors: 0, Left: 0})
	if w.total[inDoubt] != 0 || r.Figures[Actions] < 2 || r.Figures[Detected] > 60 {
		t.Errorf("in doubt %d, %v actions, detected after %v s", w.total[inDoubt], r.Figures[Actions], r.Figures[Detected])
	}
	none, _ := played(t, healing(playbook("heal", "auth/down", failover("standby"), settles(10*time.Second))), api.VariantNone)
	if none.Figures[Left] == 0 || none.Figures[Actions] != 0 {
		t.Errorf("with nobody, %v items are left after %v actions", none.Figures[Left], none.Figures[Actions])
	}
	naive, _ := played(t, healing(playbook("heal", "auth/down", failover("standby"), settles(10*time.Second))), api.VariantNaive)
	if naive.Figures[Doubled] == 0 {
		t.Error("the naive program charged nobody twice")
	}
}

// broken plays a day in which a controller without a conscience runs steps of playbooks, and gives what the judge found.
func broken(t *testing.T, s Setup, acts func(w *world, run func(playbook, step int, remediation string))) *Run {
	t.Helper()
	s.Scenario.Spec.Variants = []api.Variant{api.VariantCurrent}
	s.Current.Probes = nil // the engine sees nothing, so that the stub is alone
	s.Model.Spec.Sees = nil
	w := compiled(t, s).world(api.VariantCurrent, 0, Options{})
	b := w.mind.(*brain)
	n := 0
	acted := false
	w.options.Trace = func(string) {
		if acted || w.now < int64(4*time.Minute) {
			return
		}
		acted = true
		acts(w, func(k, step int, remediation string) {
			p := &w.cast.config.Playbooks[k]
			n++
			if b.rems[remediation] == nil {
				b.rems[remediation] = &remedy{playbook: k, opened: w.now}
			}
			c := engine.Command{ID: remediation + "-" + string(rune('a'+n)), Kind: engine.Run, Remediation: remediation, Playbook: p.Name, Digest: p.Digest,
				Step: p.Spec.Steps[step].Name, Key: string(rune('a' + n)), Deadline: w.clock().Add(time.Hour)}
			b.perform(w, c)
		})
	}
	w.play()
	w.close()
	return &w.run
}

// The judge finds what is provoked, and that alone.
func TestJudge(t *testing.T) {
	heal := playbook("heal", "auth/down", failover("standby"), does("retry", api.EffectRedeliver, api.D3, map[string]any{}, "in-doubt/gateway"))
	money := playbook("pay", "auth/down", does("release", api.EffectRelease, api.D4, map[string]any{}, "queue/held"))
	held := func(s *Setup) {
		s.Scenario.Spec.Waiting = []api.ScenarioStock{{Step: "capture", State: "held", Items: 5}}
	}
	for _, c := range []struct {
		name string
		s    Setup
		acts func(w *world, run func(playbook, step int, remediation string))
		want map[Figure]float64
	}{
		{"a switch alone", healing(heal), func(_ *world, run func(int, int, string)) { run(0, 0, "r1") }, nil},
		{"what was charged is sent again to the other gateway", healing(heal), func(_ *world, run func(int, int, string)) { run(0, 0, "r1"); run(0, 1, "r1") }, map[Figure]float64{Doubled: 12}},
		{"two at once", healing(heal), func(_ *world, run func(int, int, string)) { run(0, 0, "r1"); run(0, 0, "r2") }, map[Figure]float64{TwoActors: 1}},
		{"in mode suggest", healing(heal, mode(api.ModeSuggest)), func(_ *world, run func(int, int, string)) { run(0, 0, "r1") }, map[Figure]float64{Unapproved: 1}},
		{"in mode approve, with no yes", healing(heal, mode(api.ModeApprove)), func(_ *world, run func(int, int, string)) { run(0, 0, "r1") }, map[Figure]float64{Unapproved: 1}},
		{"money with one yes given twice", healing(money, held), func(w *world, run func(int, int, string)) {
			w.mind.(*brain).rems["r1"] = &remedy{}
			w.mind.(*brain).rems["r1"].approved("", "ada")
			w.mind.(*brain).rems["r1"].approved("", "ada")
			run(0, 0, "r1")
		}, map[Figure]float64{Unapproved: 1}},
		{"money with two yes", healing(money, held), func(w *world, run func(int, int, string)) {
			w.mind.(*brain).rems["r1"] = &remedy{}
			w.mind.(*brain).rems["r1"].approved("", "ada")
			w.mind.(*brain).rems["r1"].approved("", "bob")
			run(0, 0, "r1")
		}, nil},
		{"after the approval expired", healing(heal, func(s *Setup) {
			s.Current.Playbooks[0].Approval = &engine.Approval{Mode: api.ModeAuto, Expires: DefaultStart.Add(time.Minute)}
		}), func(_ *world, run func(int, int, string)) { run(0, 0, "r1") }, map[Figure]float64{Unapproved: 1}},
		{"more than the limit", healing(heal, limited1(5)), func(_ *world, run func(int, int, string)) { run(0, 1, "r1") }, map[Figure]float64{OverLimit: 1, Doubled: 12}},
		{"more money than the limit", healing(heal, func(s *Setup) { s.Current.Playbooks[0].Spec.Limits.Amount = api.Money{"EUR": 1100} }),
			func(_ *world, run func(int, int, string)) { run(0, 1, "r1") }, map[Figure]float64{OverLimit: 1, Doubled: 12}},
		{"too often", healing(heal, func(s *Setup) { s.Current.Playbooks[0].Spec.Limits.Runs = api.Rate{N: 1, Per: time.Hour} }),
			func(w *world, run func(int, int, string)) {
				run(0, 0, "r1")
				w.acted("r1-b")
				run(0, 0, "r2")
			}, map[Figure]float64{OverLimit: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := broken(t, c.s, c.acts)
			all := map[Figure]float64{}
			for f, info := range FigureInfos {
				if info.Safety {
					all[Figure(f)] = c.want[Figure(f)]
				}
			}
			want(t, r, all)
		})
	}
}

func TestLostWhereAnItemIsDropped(t *testing.T) {
	r, _ := played(t, made(func(s *Setup) { s.Model.Spec.Steps[0].Then = "drop" }, fault(api.Fault{Kind: api.FaultError, On: primary, At: dur(time.Minute), Lasting: dur(time.Minute)})), api.VariantNone)
	want(t, r, map[Figure]float64{Lost: 6, Left: 0, Finished: 53})
}

func TestDisorderOfCustomers(t *testing.T) {
	one := func(s *Setup) {
		s.Model.Spec.Items.Customers = 1
		s.Model.Spec.Arrivals = api.Arrivals{Times: everyTimes(time.Second, 20)}
		s.Model.Spec.Steps[0].Takes = mean(3 * time.Second)
	}
	r, _ := played(t, made(one), api.VariantNone)
	if r.Figures[Disorder] == 0 {
		t.Error("four workers finish one customer's items in order")
	}
	r, _ = played(t, made(one, func(s *Setup) { s.Model.Spec.Steps[0].Workers = 1 }), api.VariantNone)
	want(t, r, map[Figure]float64{Disorder: 0})
	r, _ = played(t, made(one, func(s *Setup) { s.Model.Spec.Items.Customers = 1 << 31 }), api.VariantNone)
	want(t, r, map[Figure]float64{Disorder: 0}) // a customer each
}

// An endpoint that keeps keys does it once, for as long as it keeps them.
func TestKeysAreKeptForAWhile(t *testing.T) {
	again := func(keeps, pause time.Duration) float64 {
		r, _ := played(t, made(keyed(keeps), func(s *Setup) {
			st := &s.Model.Spec.Steps[0]
			st.Unanswered, st.Pause, st.Tries = "retry", dur(pause), 2
			s.Model.Spec.Arrivals = api.Arrivals{Times: everyTimes(time.Second, 10)}
		}, fault(api.Fault{Kind: api.FaultLostAnswer, On: primary, Lasting: dur(30 * time.Second)})), api.VariantNone)
		return r.Figures[Doubled]
	}
	if n := again(time.Hour, time.Minute); n != 0 {
		t.Errorf("%v items were charged twice within the hour that keys are kept", n)
	}
	if n := again(time.Minute, time.Minute); n != 10 {
		t.Errorf("%v items were charged twice after keys were forgotten, want 10", n)
	}
	if n := again(0, time.Minute); n != 10 {
		t.Errorf("%v items were charged twice where no keys are kept, want 10", n)
	}
}

// A worker is stopped while his call is on its way: the effect happens, and whoever takes the item up next repeats it.
func TestStoppedWorkerLeavesAnEffect(t *testing.T) {
	stop := func(change ...func(*Setup)) *Run {
		r, _ := played(t, made(append(change, func(s *Setup) {
			s.Model.Spec.Arrivals = api.Arrivals{Times: everyTimes(time.Second, 1)}
			s.Model.Spec.Systems[0].Endpoints[0].Takes = fixed(3 * time.Second)
			s.Model.Spec.Steps[0].Lease = dur(10 * time.Second)
		}, fault(api.Fault{Kind: api.FaultStop, On: "step/capture", At: dur(2 * time.Second), Lasting: dur(20 * time.Second)}))...), api.VariantNone)
		return r
	}
	want(t, stop(), map[Figure]float64{Doubled: 1, Finished: 1})
	want(t, stop(keyed(time.Hour)), map[Figure]float64{Doubled: 0, Finished: 1})
}

// A look-up that comes too early says no of what is still on its way; one that waits does not.
func TestLateEffectsAfterALookUp(t *testing.T) {
	look := func(delay time.Duration) *Run {
		r, _ := played(t, healing(func(s *Setup) {
			s.Scenario.Spec.Faults[0] = api.Fault{Kind: api.FaultSlow, On: primary, At: dur(time.Minute), Lasting: dur(2 * time.Minute), By: dur(40 * time.Second)}
		}, playbook("heal", "auth/down", failover("standby"), settles(delay))), api.VariantCurrent)
		return r
	}
	if early := look(time.Second); early.Figures[Doubled] == 0 {
		t.Error("nobody was charged twice by a look-up after a second, with effects 40 seconds late")
	}
	want(t, look(time.Minute), map[Figure]float64{Doubled: 0, Lost: 0})
}
