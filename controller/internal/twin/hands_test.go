package twin

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

// hand makes a world a minute before its fault ends, and a step of a playbook in it.
func hand(t *testing.T, s Setup) (*world, *handPlan) {
	t.Helper()
	s.Scenario.Spec.Variants = []api.Variant{api.VariantCurrent}
	s.Current.Probes, s.Model.Spec.Sees = nil, nil
	w := compiled(t, s).world(api.VariantCurrent, 0, Options{})
	for w.heap.list[0].at < int64(150*time.Second) {
		e := w.heap.pop()
		w.now = e.at
		w.handle(&e)
	}
	p := &w.cast.config.Playbooks[0]
	h := w.cast.hands[handKey{p.Digest, p.Spec.Steps[0].Name}]
	if h.outside != "" {
		t.Fatalf("the step is outside: %s", h.outside)
	}
	return w, h
}

// undone runs a step, and undoes it.
func undone(t *testing.T, w *world, h *handPlan, check func(when string)) {
	t.Helper()
	est := w.would(h, "r1")
	if est.noop() {
		t.Fatalf("the step has nothing to do: %+v", est)
	}
	before, _ := json.Marshal(est.before)
	items, amount := w.do(h, engine.Bounds{}, "r1")
	if items != est.items || amount != est.amount {
		t.Errorf("it touched %d items and %d cents; it said %d and %d", items, amount, est.items, est.amount)
	}
	if again := w.would(h, "r1"); !again.noop() && !again.same {
		t.Errorf("a second run would %s", again.text)
	}
	check("done")
	o := w.undo(h, &engine.Command{Kind: engine.Undo, Remediation: "r1", Estimate: &api.Estimate{Before: before}})
	if o.Result != api.ResultDone {
		t.Fatalf("the undo says %s: %s", o.Result, o.Text)
	}
	check("undone")
}

func TestHandRoutes(t *testing.T) {
	w, h := hand(t, healing(playbook("x", "auth/down", failover("standby"))))
	undone(t, w, h, func(when string) {
		if active := w.plan.endpoints[w.systems[0].active].short; (active == "standby") != (when == "done") {
			t.Errorf("%s, the route names %s", when, active)
		}
	})
}

func TestHandReroutes(t *testing.T) {
	w, h := hand(t, healing(playbook("x", "auth/down", does("divert", api.EffectReroute, api.D2, map[string]any{}, "queue/waiting", "queue/other")), func(s *Setup) {
		s.Model.Spec.Steps[0].Next = []api.ModelNext{{}}
		s.Model.Spec.Steps = append(s.Model.Spec.Steps, api.ModelStep{Name: "other"})
		s.Model.Spec.Places = append(s.Model.Spec.Places, api.ModelPlace{Target: "queue/other", Step: "other"})
	}))
	undone(t, w, h, func(when string) {
		i := w.birth(w.now)
		w.enter(i, 0, -1)
		if (w.items[i].step == 1) != (when == "done") {
			t.Errorf("%s, new work goes to step %d", when, w.items[i].step)
		}
	})
}

func TestHandHoldsAndReleases(t *testing.T) {
	stock := func(state string) func(*Setup) {
		return func(s *Setup) {
			s.Scenario.Spec.Waiting = []api.ScenarioStock{{Step: "capture", State: state, Items: 7, Age: dur(time.Hour)}}
			s.Scenario.Spec.Faults = []api.Fault{{Kind: api.FaultStop, On: "step/capture"}}
			s.Model.Spec.Arrivals = api.Arrivals{}
		}
	}
	w, h := hand(t, healing(playbook("x", "auth/down", does("hold", api.EffectHold, api.D2, map[string]any{}, "queue/waiting")), stock("waiting")))
	undone(t, w, h, func(when string) {
		if n := w.total[held]; (n > 0) != (when == "done") {
			t.Errorf("%s, %d items are held", when, n)
		}
	})
	w, h = hand(t, healing(playbook("x", "auth/down", does("free", api.EffectRelease, api.D4, map[string]any{}, "queue/held")), stock("held")))
	undone(t, w, h, func(when string) {
		if n := w.total[held]; (n == 0) != (when == "done") {
			t.Errorf("%s, %d items are held", when, n)
		}
	})
	w, h = hand(t, healing(playbook("x", "auth/down", does("free", api.EffectRelease, api.D4, map[string]any{"of": "hold"}, "queue/held")), stock("held")))
	if est := w.would(h, "r1"); !est.noop() {
		t.Errorf("a release of its own hold would %s that others hold", est.text)
	}
	w, h = hand(t, healing(playbook("x", "auth/down", does("pause", api.EffectHold, api.D2, map[string]any{}, "workers"))))
	undone(t, w, h, func(when string) {
		if w.steps[0].paused != (when == "done") {
			t.Errorf("%s, the intake is held: %v", when, w.steps[0].paused)
		}
	})
	w, h = hand(t, healing(playbook("x", "auth/down", does("go", api.EffectRelease, api.D2, map[string]any{}, "workers"))))
	w.steps[0].paused = true
	undone(t, w, h, func(when string) {
		if w.steps[0].paused == (when == "done") {
			t.Errorf("%s, the intake is held: %v", when, w.steps[0].paused)
		}
	})
}

func TestHandStartsWorkersAndEndsLocks(t *testing.T) {
	w, h := hand(t, healing(playbook("x", "auth/down", does("start", api.EffectRestart, api.D1, map[string]any{}, "workers")),
		func(s *Setup) { s.Scenario.Spec.Faults = []api.Fault{{Kind: api.FaultStop, On: "step/capture"}} }))
	if est := w.would(h, ""); est.noop() {
		t.Fatal("stopped workers need no start")
	}
	w.do(h, engine.Bounds{}, "r1")
	if len(w.steps[0].stops) > 0 || w.total[working] == 0 || !w.would(h, "").noop() {
		t.Errorf("after the start %d items are worked on", w.total[working])
	}
	if o := w.undo(h, &engine.Command{}); o.Result != api.ResultRefused {
		t.Errorf("a start is undone: %s", o.Text)
	}
	w, h = hand(t, healing(playbook("x", "auth/down", does("unblock", api.EffectRepair, api.D1, map[string]any{"integration": "gateway"}, "db")),
		func(s *Setup) { s.Scenario.Spec.Faults = []api.Fault{{Kind: api.FaultLock, On: "integration/gateway"}} }))
	if items, _ := w.do(h, engine.Bounds{}, "r1"); items != 1 || len(w.systems[0].locks) > 0 {
		t.Errorf("%d sessions were ended and %v hold the lock", items, w.systems[0].locks)
	}
}

func TestHandRedeliversAndKeepsBounds(t *testing.T) {
	s := healing(playbook("x", "auth/down", does("replay", api.EffectRedeliver, api.D3, map[string]any{}, "queue/dead")), func(s *Setup) {
		s.Scenario.Spec.Waiting = []api.ScenarioStock{{Step: "capture", State: "dead", Items: 9, Age: dur(time.Hour)}}
		s.Scenario.Spec.Faults = nil
		s.Model.Spec.Steps[0].Workers = 100
	})
	w, h := hand(t, s)
	if items, amount := w.do(h, engine.Bounds{Items: 4}, "r1"); items != 4 || amount != 400 || w.total[dead] != 5 {
		t.Errorf("%d items worth %d were sent again within bounds of 4; %d are left", items, amount, w.total[dead])
	}
	if items, _ := w.do(h, engine.Bounds{Amount: api.Money{"EUR": 250}}, "r1"); items != 2 {
		t.Errorf("%d items were sent again within bounds of 250 cents", items)
	}
	if items, _ := w.do(h, engine.Bounds{}, "r1"); items != 3 || w.total[dead] != 0 {
		t.Errorf("%d items were sent again without bounds; %d are left", items, w.total[dead])
	}
}

// What an action's model says of refusals, failures and unknown outcomes reaches the engine, and safety holds through all of it.
func TestActionsThatGoWrong(t *testing.T) {
	for _, c := range []struct {
		name string
		m    api.ModelAction
		end  func(p PlaybookRun) int
	}{
		{"refused", api.ModelAction{Refused: percent(100)}, func(p PlaybookRun) int { return p.Steps[0].Refused }},
		{"fails", api.ModelAction{Fails: percent(100)}, func(p PlaybookRun) int { return p.Steps[0].Failed }},
		{"unknown", api.ModelAction{Unknown: percent(100)}, func(p PlaybookRun) int { return p.Steps[0].Unknown }},
		{"partial", api.ModelAction{Partial: percent(100)}, func(p PlaybookRun) int { return p.Steps[0].Failed }},
		{"longer than its deadline", api.ModelAction{Takes: fixed(time.Hour)}, func(p PlaybookRun) int { return p.Steps[0].Unknown }},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.m.Action = "route"
			r, _ := played(t, healing(func(s *Setup) { s.Model.Spec.Actions = []api.ModelAction{c.m} }, playbook("heal", "auth/down", failover("standby"))), api.VariantCurrent)
			if c.end(r.Playbooks[0]) == 0 {
				t.Errorf("the step ended %+v", r.Playbooks[0].Steps)
			}
			want(t, r, map[Figure]float64{Doubled: 0, Lost: 0, Unapproved: 0, OverLimit: 0, TwoActors: 0})
		})
	}
}

func TestPeopleAnswerInTheirTime(t *testing.T) {
	asking := func(change ...func(*Setup)) *Run {
		r, _ := played(t, healing(append([]func(*Setup){playbook("heal", "auth/down", failover("standby"), settles(10*time.Second)), mode(api.ModeApprove),
			func(s *Setup) { s.Scenario.Spec.Faults[0].Lasting = dur(15 * time.Minute) }}, change...)...), api.VariantCurrent)
		want(t, r, map[Figure]float64{Unapproved: 0, Doubled: 0})
		return r
	}
	if r := asking(); !(r.Figures[Acted] > r.Figures[Detected]+59) || r.Figures[Asked] == 0 {
		t.Errorf("with people who need a minute it is detected after %v s and acted on after %v s", r.Figures[Detected], r.Figures[Acted])
	}
	if r := asking(func(s *Setup) {
		for i := range s.Model.Spec.People {
			s.Model.Spec.People[i].Denies = percent(100)
		}
	}); r.Figures[Actions] != 0 || r.Playbooks[0].Ends[api.EndCancelled] == 0 {
		t.Errorf("against their no there were %v actions; it ended %v", r.Figures[Actions], r.Playbooks[0].Ends)
	}
	if r := asking(func(s *Setup) {
		for i := range s.Model.Spec.People {
			s.Model.Spec.People[i].Silent = percent(100)
		}
	}); r.Figures[Actions] != 0 {
		t.Errorf("without an answer there were %v actions", r.Figures[Actions])
	}
	late := func(s *Setup) {
		for i := range s.Model.Spec.People {
			s.Model.Spec.People[i].Hours = &api.ModelHours{Days: []api.WeekSpan{{On: weekdays[:], From: "09:10", To: "17:00"}}}
		}
	}
	if r := asking(late); !(r.Figures[Acted] >= (9 * time.Minute).Seconds()) {
		t.Errorf("people who come at ten past nine let it act %v s after one past", r.Figures[Acted])
	}
	absent := asking(fault(api.Fault{Kind: api.FaultAbsent, On: "person/ada"}), fault(api.Fault{Kind: api.FaultAbsent, On: "person/bob", At: dur(70 * time.Second)}))
	if absent.Figures[Actions] != 0 || !absent.Faults[1].Injected || !absent.Faults[2].Injected {
		t.Errorf("although nobody answers there were %v actions: %+v", absent.Figures[Actions], absent.Faults)
	}
}
