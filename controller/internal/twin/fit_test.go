package twin

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/eventlog"
)

// TestProductLimit: the remission times under 6-MP of E. Freireich et al. (1963), the textbook case of the estimator; weeks, + is cut off.
// S(6) = 0.857, S(7) = 0.807, S(10) = 0.753, S(13) = 0.690, S(16) = 0.627, S(22) = 0.538, S(23) = 0.448.
func TestProductLimit(t *testing.T) {
	var samples []seen
	for _, weeks := range []int64{6, 6, 6, 7, 10, 13, 16, 22, 23} {
		samples = append(samples, sampleOf(weeks))
	}
	for _, weeks := range []int64{6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35} {
		samples = append(samples, beyond(weeks, 1))
	}
	for name, c := range map[string]curve{"product limit": productLimit(samples), "Turnbull": turnbull(samples)} {
		for i, want := range []float64{0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448} {
			at := []int64{6, 7, 10, 13, 16, 22, 23}[i]
			if got := c.beyond(at + 1); math.Abs(got-want) > 0.001 {
				t.Errorf("%s: S(%d) = %.4f, want %.3f", name, at, got, want)
			}
		}
		if c.n != 9 {
			t.Errorf("%s counts %d samples that were not cut off", name, c.n)
		}
	}
}

// TestTurnbull: what is only known to lie between bounds goes where the other samples say that it may lie.
func TestTurnbull(t *testing.T) {
	c := turnbull([]seen{within(0, 10), within(0, 5), within(3, 7), sampleOf(20)})
	if got := c.beyond(8); math.Abs(got-0.25) > 1e-6 {
		t.Errorf("a quarter is known to be 20: %.4f lies beyond 8 (%+v)", got, c)
	}
	if got := c.quantile(0.5); got < 3 || got > 5 {
		t.Errorf("the median is %d; all three may lie in 3 to 5", got)
	}
	if c := turnbull([]seen{within(0, 10), within(0, 500), within(0, 90)}); c.mean() != 0 {
		t.Errorf("what may have been nothing was taken for %g", c.mean())
	}
}

const micro = int64(time.Microsecond)

// madeLog lets a model work from a Monday on.
func madeLog(t testing.TB, spec api.ModelSpec, cases int) *eventlog.Log {
	t.Helper()
	l, err := Replay(api.Model{Metadata: api.Metadata{Name: "made"}, Spec: spec}, ReplayOptions{Begin: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC), Cases: cases, Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func minutes(n float64) api.Duration {
	return api.Duration{Duration: time.Duration(n * float64(time.Minute))}
}

// smallOffice is a small house of which all is known: two clerks who lay work aside at 17:30, a machine, a step beside another, and a way that
// depends on the step before.
func smallOffice() api.ModelSpec {
	day := &api.ModelHours{Days: []api.WeekSpan{{On: []string{"mon", "tue", "wed", "thu", "fri"}, From: "08:00", To: "17:30"}}}
	return api.ModelSpec{
		Arrivals: api.Arrivals{Every: minutes(45), Calendar: &api.ModelHours{Days: []api.WeekSpan{{On: []string{"mon", "tue", "wed", "thu", "fri"}, From: "08:00", To: "17:00"}}}},
		Pools: []api.ModelPool{
			{Name: "clerks", Pauses: true, Members: []api.ModelMember{{Name: "clerk ann", Hours: day}, {Name: "clerk ben", Hours: day}}},
			{Name: "machine", Members: []api.ModelMember{{Name: "m1"}, {Name: "m2"}, {Name: "m3"}}},
		},
		Steps: []api.ModelStep{
			{Name: "check", Pool: "clerks", Takes: &api.Times{Mean: minutes(20)}, Next: []api.ModelNext{{To: "score", With: []string{"value"}, Share: 7}, {To: "ask", Share: 3}}},
			{Name: "score", Pool: "machine", Takes: &api.Times{Mean: minutes(30)}, Next: []api.ModelNext{{To: "decide"}}},
			{Name: "value", Pool: "machine", Takes: &api.Times{Mean: minutes(30)}},
			{Name: "ask", Pool: "clerks", Takes: &api.Times{Fixed: minutes(5)}, Next: []api.ModelNext{{To: "decide"}}},
			{Name: "decide", Pool: "clerks", Takes: &api.Times{Fixed: minutes(10)}, Next: []api.ModelNext{{}, {To: "close", After: "ask"}}},
			{Name: "close", Pool: "clerks", Takes: &api.Times{Fixed: minutes(1)}, Next: []api.ModelNext{{}}},
		},
	}
}

// TestFitFindsTheOffice fits to the work of a model and asks for the model back.
func TestFitFindsTheOffice(t *testing.T) {
	l := madeLog(t, smallOffice(), 1500)
	fit := fitted(t, l)
	m := &fit.Model.Spec
	if got := m.Arrivals.Every; got != minutes(45) {
		t.Errorf("arrivals %+v, not every 45m", m.Arrivals)
	}
	if len(fit.Beside) != 1 || len(fit.Beside[0]) != 2 || !slices.Contains(fit.Beside[0], "score") || !slices.Contains(fit.Beside[0], "value") {
		t.Errorf("beside one another: %v", fit.Beside)
	}
	if len(m.Pools) != 2 || m.Pools[0].Name != "clerk" || !m.Pools[0].Pauses || m.Pools[1].Pauses || len(m.Pools[1].Members) != 3 {
		t.Fatalf("pools %+v", m.Pools)
	}
	if days := m.Pools[0].Members[0].Hours.Days; len(days) != 1 || len(days[0].On) != 5 || days[0].From != "08:00" || days[0].To != "17:30" {
		t.Errorf("the clerks work %+v", days)
	}
	for _, s := range fit.Steps {
		want := map[string]float64{"check": 20, "score": 30, "value": 30, "ask": 5, "decide": 10, "close": 1}[s.Name]
		if got := s.Takes.Minutes(); math.Abs(got-want) > 0.1*want {
			t.Errorf("%s takes %.2f minutes, want %g", s.Name, got, want)
		}
		if s.Delay != 0 {
			t.Errorf("%s has a delay of %s, and there is none", s.Name, s.Delay)
		}
	}
	decide := m.Steps[slices.IndexFunc(m.Steps, func(s api.ModelStep) bool { return s.Name == "decide" })]
	for _, n := range decide.Next {
		if n.After != "" && (n.To == "close") != (n.After == "ask") {
			t.Errorf("after decide: %+v", decide.Next)
		}
	}
	if len(decide.Next) < 2 {
		t.Errorf("the way from decide does not depend on the step before: %+v", decide.Next)
	}
}

// TestPausesAndParts holds the world to what a log of it shows: work that is laid aside at the end of hours ends in hours, and nothing goes
// on before all that was begun beside it is done.
func TestPausesAndParts(t *testing.T) {
	l := madeLog(t, smallOffice(), 400)
	name := func(e eventlog.Event) string { return l.Activities[e.Activity] }
	aside := 0
	for _, c := range l.Cases {
		var parts, decided int64
		for _, e := range c.Events {
			switch name(e) {
			case "score", "value":
				parts = max(parts, e.End)
				continue
			case "decide":
				decided = e.Start
			}
			begin, end := time.UnixMicro(e.Start).UTC(), time.UnixMicro(e.End).UTC()
			if h := end.Sub(end.Truncate(24 * time.Hour)).Hours(); h < 8 || h > 17.5 {
				t.Fatalf("%s ends at %s, out of hours", name(e), end)
			}
			if begin.YearDay() != end.YearDay() {
				aside++
			}
		}
		if decided > 0 && decided < parts {
			t.Fatalf("case %s was decided before its parts were done", c.ID)
		}
	}
	if aside == 0 {
		t.Error("no work was laid aside: this shows nothing")
	}
}

// TestCutOff: cases that the end of the log cuts off neither end where they were cut, nor shorten delays.
func TestCutOff(t *testing.T) {
	spec := smallOffice()
	spec.Steps[4].Delay = &api.Times{Mean: minutes(60 * 48)}
	l := madeLog(t, spec, 600)
	end := l.Cases[len(l.Cases)-1].Start()
	short := &eventlog.Log{Activities: l.Activities, Resources: l.Resources}
	for _, c := range l.Cases {
		events := slices.Clone(c.Events)
		if events = slices.DeleteFunc(events, func(e eventlog.Event) bool { return e.End > end }); len(events) > 0 {
			short.Cases = append(short.Cases, eventlog.Case{ID: c.ID, Events: events})
		}
	}
	fit := fitted(t, short)
	if fit.Begun < 10 {
		t.Errorf("%d cases count as cut off", fit.Begun)
	}
	for _, s := range fit.Model.Spec.Steps {
		if s.Name != "score" && s.Name != "ask" {
			continue
		}
		for _, n := range s.Next {
			if n.To == "" {
				t.Errorf("cases end with %s: %+v", s.Name, s.Next)
			}
		}
	}
}

// TestSmallLogs: a model of next to nothing still works.
func TestSmallLogs(t *testing.T) {
	at := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC).UnixMicro()
	one := func(n int, gap, takes int64) *eventlog.Log {
		l := &eventlog.Log{Activities: []string{"Löschen!", "löschen?", ""}[:2], Resources: []string{"x"}}
		for i := range n {
			begin := at + int64(i)*gap
			l.Cases = append(l.Cases, eventlog.Case{ID: "c", Events: []eventlog.Event{{Activity: int32(i % 2), Resource: eventlog.None, Start: begin, End: begin + takes}}})
		}
		return l
	}
	for name, l := range map[string]*eventlog.Log{
		"one event": one(1, 0, 0), "one instant": one(50, 0, 0), "no time": one(50, int64(time.Hour)/micro, 0), "two": one(2, int64(time.Hour)/micro, 1e6),
		"a thousand years": one(100, 10*365*24*int64(time.Hour)/micro, 1e6), "long work": one(40, 1e6, 400*24*int64(time.Hour)/micro),
	} {
		t.Run(name, func(t *testing.T) {
			fit := fitted(t, l)
			if len(fit.Model.Spec.Fitted.Guesses) == 0 && name == "one event" {
				t.Error("no guesses")
			}
			made, err := Replay(fit.Model, ReplayOptions{Begin: time.UnixMicro(at).UTC(), Cases: len(l.Cases), Seed: 1, Past: l})
			if name == "a thousand years" || name == "long work" {
				if err == nil || !strings.Contains(err.Error(), "nothing was done") {
					t.Errorf("work that is not done within a year: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(made.Cases) == 0 {
				t.Error("nothing was done")
			}
		})
	}
	if _, err := FitLog(&eventlog.Log{}, FitSource{}); err == nil || !strings.Contains(err.Error(), "no events") {
		t.Errorf("an empty log: %v", err)
	}
}
