package twin

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

// troubled is an office whose primary gateway goes down, and a playbook that switches and then frees what died.
func troubled(change ...func(*Setup)) Setup {
	all := append([]func(*Setup){
		sees(5*time.Second, api.ModelSight{Probe: "primary", Endpoint: "gateway/primary"}, failures(3)),
		sees(5*time.Second, api.ModelSight{Probe: "standby", Endpoint: "gateway/standby"}),
		sees(5*time.Second, api.ModelSight{Probe: "route", Route: "gateway/primary"}),
		sees(5*time.Second, api.ModelSight{Probe: "dead", Count: "dead", Of: "capture"}, above(0)),
		sees(5*time.Second, api.ModelSight{Probe: "oldest-dead", Age: "dead", Of: "capture"}),
		sees(5*time.Second, api.ModelSight{Probe: "waiting", Count: "waiting", Of: "capture"}),
		playbook("switch", "primary/down", failover("standby"),
			does("free", api.EffectRedeliver, api.D2, map[string]any{}, "queue/dead")),
		func(s *Setup) {
			s.Model.Spec.Places = []api.ModelPlace{{Target: "queue/dead", Step: "capture", State: "dead"}}
			s.Current.Playbooks[0].Spec.Verify = api.Verify{Probes: []string{"standby"}, Within: dur(time.Minute)}
			s.Current.Playbooks[0].Spec.Limits.Runs = api.Rate{N: 1, Per: time.Hour}
		},
		fault(api.Fault{Kind: api.FaultOutage, On: "integration/gateway/primary", At: dur(2 * time.Minute)}),
	}, change...)
	return made(all...)
}

// presentAt plays a world up to a time, and gives what a controller in it would know then.
func presentAt(t testing.TB, s Setup, at time.Duration, then Setup) *Live {
	t.Helper()
	p := compiled(t, s)
	w := p.world(api.VariantCurrent, 0, Options{})
	w.options.Until = nil
	for len(w.heap.list) > 0 && w.heap.list[0].at <= int64(at) {
		e := w.heap.pop()
		w.now = e.at
		w.handle(&e)
	}
	w.now = int64(at)
	var seen []Seen
	for i := range w.eyes.probes {
		if o := w.eyes.probes[i].last; o.Verdict != "" {
			seen = append(seen, Seen{w.cast.eyes[i].name, o.Verdict, o.Value, o.At})
		}
	}
	live, err := Present(&then, w.mind.(*brain).state, w.clock(), seen)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(live)
	if err != nil {
		t.Fatal(err)
	}
	var again Live
	if err := json.Unmarshal(raw, &again); err != nil {
		t.Fatal(err)
	}
	return &again
}

// TestGoesOn interrupts the same day at many moments, and lets another twin go on with what a controller knows at each of them. Whatever was
// under way, the end must be the same: switched once, verified, nothing doubled, lost or without approval.
func TestGoesOn(t *testing.T) {
	quiet := troubled()
	quiet.Scenario.Spec.Faults = nil // what is ill is known from the present alone
	under := map[string]int{}
	for at := 125 * time.Second; at < 4*time.Minute; at += 250 * time.Millisecond {
		if at > 132*time.Second {
			at += 5 * time.Second
		}
		live := presentAt(t, troubled(), at, quiet)
		s := quiet
		s.Live = live
		p := compiled(t, s)
		run := p.Run(api.VariantCurrent, 0, Options{Story: true})
		if run.Cut != "" {
			t.Fatalf("at %s: %s", at, run.Cut)
		}
		ill := len(live.Faults) > 0
		switch {
		case len(p.underWay) > 0 && len(p.underWay[0].Steps) > 0 && p.underWay[0].Steps[0].Unknown:
			under["in a step"]++
		case len(p.underWay) > 0:
			under["between steps"]++
		case ill:
			under["after"]++
		default:
			under["before"]++
		}
		for f := Doubled; f <= TwoActors; f++ {
			if run.Figures[f] != 0 {
				t.Errorf("at %s: %s is %g: %v", at, FigureInfos[f].Name, run.Figures[f], run.Violations)
			}
		}
		verified := run.Figures[Verified]
		if len(p.underWay) > 0 && verified != 1 {
			t.Errorf("at %s: a remediation was under way, and %g were verified\n%s", at, verified, storyText(&run))
		}
		if run.Figures[Left] > 3 {
			t.Errorf("at %s: %g items are left\n%s", at, run.Figures[Left], storyText(&run))
		}
		if again := p.Run(api.VariantCurrent, 0, Options{}); again.Digest != run.Digest {
			t.Errorf("at %s: the same state gives two days", at)
		}
	}
	t.Logf("%v", under)
	if under["in a step"] == 0 || under["between steps"] == 0 || under["after"] == 0 || under["before"] == 0 {
		t.Errorf("not every moment was tried: %v", under)
	}
}

func storyText(r *Run) string {
	var b strings.Builder
	for _, l := range r.Story {
		fmt.Fprintf(&b, "%s %s %s\n", l.At, l.Kind, l.Text)
	}
	return b.String()
}

// TestPresent reads back what a world shows: items with their age, the route in use, what is ill, and what cannot be known.
func TestPresent(t *testing.T) {
	s := troubled()
	s.Scenario.Spec.Faults = nil
	before := presentAt(t, troubled(), 100*time.Second, s)
	if len(before.Faults) != 0 || before.Active["gateway"] != "primary" {
		t.Errorf("before: %+v", before)
	}
	after := presentAt(t, troubled(), 200*time.Second, s)
	if after.Active["gateway"] != "standby" || len(after.Faults) != 1 || after.Faults[0].On != "integration/gateway/primary" || after.Faults[0].Kind != api.FaultOutage {
		t.Errorf("after: %+v", after)
	}
	sc := troubled()
	sc.Scenario.Spec.Faults[0].At = api.Duration{}
	if own := presentAt(t, troubled(), 200*time.Second, sc); len(own.Faults) != 0 {
		t.Errorf("the scenario says itself what is ill: %+v", own.Faults)
	}

	at := DefaultStart.Add(time.Hour)
	live, err := Present(&s, engine.New(), at, []Seen{{"dead", api.OK, 23, at}, {"oldest-dead", api.OK, 600, at}, {"waiting", api.Bad, 0, at}, {"route", api.Bad, 0, at}})
	if err != nil {
		t.Fatal(err)
	}
	var items int64
	for i, lot := range live.Stock {
		items += lot.Items
		if lot.State != "dead" || lot.Step != "capture" || i > 0 && lot.Age.Duration >= live.Stock[i-1].Age.Duration {
			t.Errorf("lot %d: %+v", i, lot)
		}
	}
	if items != 23 || len(live.Stock) != 10 || live.Stock[0].Age.Duration != 10*time.Minute {
		t.Errorf("%d items in %d lots: %+v", items, len(live.Stock), live.Stock)
	}
	if live.Active["gateway"] != "standby" {
		t.Errorf("the route is not on primary, and there is one other: %v", live.Active)
	}
	if notes := strings.Join(live.Notes, "\n"); !strings.Contains(notes, "What probe waiting counts is not known") {
		t.Errorf("notes: %s", notes)
	}
	for _, wrong := range []float64{-1, 1e9} {
		if _, err := Present(&s, engine.New(), at, []Seen{{"dead", api.OK, wrong, at}}); err == nil || !strings.Contains(err.Error(), "probe dead counts") {
			t.Errorf("%g items: %v", wrong, err)
		}
	}
}

// TestPresentOpen: what is known to be open and nothing more waits at the first step, and nothing counts twice.
func TestPresentOpen(t *testing.T) {
	s := made(
		sees(time.Minute, api.ModelSight{Probe: "open", Count: "open"}),
		sees(time.Minute, api.ModelSight{Probe: "dead", Count: "dead"}),
		sees(time.Minute, api.ModelSight{Probe: "dead-captures", Count: "dead", Of: "capture"}),
		sees(time.Minute, api.ModelSight{Probe: "dead-again", Count: "dead", Of: "capture"}))
	at := DefaultStart
	live, err := Present(&s, engine.New(), at, []Seen{{"open", api.OK, 20, at}, {"dead", api.OK, 7, at}, {"dead-captures", api.OK, 5, at}, {"dead-again", api.OK, 5, at}})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, lot := range live.Stock {
		got[lot.State] += lot.Items
	}
	if got["dead"] != 7 || got["waiting"] != 13 {
		t.Errorf("%v", got)
	}
}

// TestBadStarts: a state that cannot be is refused with a reason, and never played.
func TestBadStarts(t *testing.T) {
	good := presentAt(t, troubled(), 200*time.Second, troubled())
	for name, c := range map[string]struct {
		change func(l *Live)
		want   string
	}{
		"no time":       {func(l *Live) { l.At = time.Time{} }, "which cannot be"},
		"far time":      {func(l *Live) { l.At = time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC) }, "which cannot be"},
		"unknown step":  {func(l *Live) { l.Stock = []api.ScenarioStock{{Step: "x", Items: 1}} }, `no step "x"`},
		"unknown state": {func(l *Live) { l.Stock = []api.ScenarioStock{{Step: "capture", State: "working", Items: 1}} }, `items cannot be "working"`},
		"no items":      {func(l *Live) { l.Stock = []api.ScenarioStock{{Step: "capture"}} }, "0 items"},
		"too many": {func(l *Live) {
			l.Stock = []api.ScenarioStock{{Step: "capture", Items: 6e6}, {Step: "capture", Items: 6e6}}
		}, "in all"},
		"from tomorrow": {func(l *Live) { l.Stock = []api.ScenarioStock{{Step: "capture", Items: 1, Age: dur(-time.Hour)}} }, "cannot be of the age"},
		"no endpoint":   {func(l *Live) { l.Active = map[string]string{"gateway": "third"} }, "no endpoint third"},
		"no state":      {func(l *Live) { l.Snapshot = json.RawMessage(`{"version":99}`) }, "version 99"},
		"torn state":    {func(l *Live) { l.Snapshot = l.Snapshot[:len(l.Snapshot)/2] }, "engine's snapshot"},
		"unknown fault": {func(l *Live) { l.Faults = []api.Fault{{Kind: api.FaultOutage, On: "integration/other"}} }, "integration/other"},
	} {
		t.Run(name, func(t *testing.T) {
			l := *good
			c.change(&l)
			s := troubled()
			s.Live = &l
			p, findings := Compile(s)
			if !findings.Failed() || !strings.Contains(findings.Error(), c.want) {
				t.Fatalf("findings: %v; want %q", findings, c.want)
			}
			if run := p.Run(api.VariantCurrent, 0, Options{}); run.Cut == "" {
				t.Error("it was played all the same")
			}
		})
	}
}

// TestQuestionIsAskedAgain: a question that was open is put to the people of the twin, once.
func TestQuestionIsAskedAgain(t *testing.T) {
	asks := func(s *Setup) { s.Current.Playbooks[0].Spec.Mode = api.ModeApprove }
	alice := func(s *Setup) {
		s.Model.Spec.People = []api.ModelPerson{{Name: "alice", Answers: fixed(2 * time.Minute)}}
	}
	live := presentAt(t, troubled(asks), 200*time.Second, troubled(asks))
	s := troubled(asks, alice)
	s.Scenario.Spec.Faults, s.Live = nil, live
	p := compiled(t, s)
	if len(p.underWay) != 1 || !p.underWay[0].Asks {
		t.Fatalf("under way: %+v", p.underWay)
	}
	run := p.Run(api.VariantCurrent, 0, Options{Story: true})
	text := storyText(&run)
	if run.Figures[Verified] < 1 || run.Figures[Unapproved] != 0 || strings.Count(text, "alice approved") != 1 || !strings.Contains(text, "2m0s answered") {
		t.Errorf("%s", text)
	}
}

// TestRouteBefore reads both before-images of a route.
func TestRouteBefore(t *testing.T) {
	for image, want := range map[string]string{`"primary"`: "primary", `{"shares":[{"endpoint":"a","percent":10},{"endpoint":"b","percent":90}]}`: "b", `{}`: "", `7`: "", ``: ""} {
		if got := routeBefore(json.RawMessage(image)); got != want {
			t.Errorf("%s: %q, want %q", image, got, want)
		}
	}
}

// FuzzLive: a saved state that people have edited is refused or played; it never stops the program.
func FuzzLive(f *testing.F) {
	for _, at := range []time.Duration{100 * time.Second, 126 * time.Second, 200 * time.Second} {
		raw, err := json.Marshal(presentAt(f, troubled(), at, troubled()))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`{"at":"2026-01-05T09:00:00Z","stock":[{"step":"capture","state":"in-doubt","items":3,"age":"5m"}],"faults":[{"kind":"slow","on":"integration/gateway","by":"-1s"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var l Live
		if json.Unmarshal(raw, &l) != nil {
			return
		}
		var items int64
		for _, s := range l.Stock {
			items += min(max(s.Items, 0), stockMax)
		}
		s := troubled()
		s.Scenario.Spec.Horizon, s.Live = dur(3*time.Minute), &l
		p, findings := Compile(s)
		if findings.Failed() || items > 10_000 {
			return
		}
		p.maxEvents = 100_000
		p.Run(api.VariantCurrent, 0, Options{})
	})
}
