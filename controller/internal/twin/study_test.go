package twin

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

// studyOf is a study of hand-made runs: variants none and current, one fault, one playbook of two steps.
func studyOf(t *testing.T, covers []string, expect ...string) *Study {
	t.Helper()
	p := &Plan{variants: []api.Variant{api.VariantNone, api.VariantCurrent}, currency: "EUR", seed: 7, notes: []string{"The weather is not simulated."}}
	p.setup.Scenario = api.Scenario{Metadata: api.Metadata{Name: "outage"}, Spec: api.ScenarioSpec{Horizon: api.Seconds(3600), Expect: expect, Covers: covers}}
	p.setup.Current = engine.Config{Digest: "sha256:c", Playbooks: []engine.Playbook{{Name: "switch", Digest: "sha256:p", Spec: api.PlaybookSpec{Mode: api.ModeAuto}}}}
	s, err := NewStudy(p)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// day is a good day; change makes it another one.
func day(n int, change func(none, current *Run)) []Run {
	runs := []Run{{Variant: api.VariantNone, Replication: n}, {Variant: api.VariantCurrent, Replication: n}}
	for i := range runs {
		runs[i].Faults = []FaultRun{{Name: "gateway", Injected: true}}
		runs[i].Figures[Recovered] = nan
		runs[i].Figures[Acted] = nan
		runs[i].Figures[Detected] = float64(30 + n%3)
	}
	runs[1].Figures[Recovered], runs[1].Figures[Acted] = float64(200+n%5), 40
	runs[1].Playbooks = []PlaybookRun{{Name: "switch", Triggered: 1, Opened: 1, Ends: map[api.RemediationEnd]int{api.EndVerified: 1}, Steps: []StepRun{{Name: "go", Done: 1}, {Name: "check", Done: 1}}}}
	if change != nil {
		change(&runs[0], &runs[1])
	}
	return runs
}

func reportOf(s *Study, days int, change func(n int, none, current *Run)) *Report {
	for n := range days {
		s.Add(day(n, func(a, b *Run) {
			if change != nil {
				change(n, a, b)
			}
		}))
	}
	return s.Report(Facts{Build: "backstay devel", Stopped: "that was enough"})
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name    string
		covers  []string
		expect  []string
		change  func(n int, none, current *Run)
		verdict Verdict
		reason  string // part of the first
	}{
		{name: "all well", expect: []string{"detected <= 60s", "recovered <= 5m"}, verdict: Pass},
		{name: "an expectation fails on one day", expect: []string{"recovered <= 5m"}, change: func(n int, _, b *Run) {
			if n == 4 {
				b.Figures[Recovered] = 301
			}
		}, verdict: Fail, reason: "recovered <= 5m failed on 1 of 10 days: recovered was 5 min 1 s on day 5"},
		{name: "the worst day is named", expect: []string{"late <= 5"}, change: func(n int, _, b *Run) { b.Figures[Late] = float64(n) }, verdict: Fail, reason: "late <= 5 failed on 4 of 10 days: late was 9 on day 10"},
		{name: "never is worse than late", expect: []string{"recovered <= 5m"}, change: func(n int, _, b *Run) {
			if n == 2 {
				b.Figures[Recovered] = 9999
			}
			if n == 7 {
				b.Figures[Recovered] = nan
			}
		}, verdict: Fail, reason: "recovered <= 5m failed on 2 of 10 days: recovered never happened on day 8"},
		{name: "another variant", expect: []string{"none.doubled > 0"}, verdict: Fail, reason: "none.doubled > 0 failed on 10 of 10 days: none.doubled was 0 on day 1"},
		{name: "safety needs no line", change: func(n int, _, b *Run) { b.Figures[Doubled] = float64(n / 9) }, verdict: Fail, reason: "doubled == 0 failed on 1 of 10 days"},
		{name: "safety with a line of its own", expect: []string{"doubled <= 1"}, change: func(n int, _, b *Run) { b.Figures[Doubled] = float64(n / 9) }, verdict: Pass},
		{name: "what is unsafe without us is not our fault", change: func(_ int, a, _ *Run) { a.Figures[Doubled] = 3 }, verdict: Pass},
		{name: "the fault touched nothing", expect: []string{"detected <= 1s"}, change: func(_ int, a, b *Run) { a.Faults[0].Injected, b.Faults[0].Injected = false, false }, verdict: Inconclusive,
			reason: `the fault "gateway" touched nothing on any day`},
		{name: "nothing was set off", change: func(_ int, _, b *Run) {
			b.Playbooks[0] = PlaybookRun{Name: "switch", Steps: []StepRun{{Name: "go"}, {Name: "check"}}}
		}, verdict: Inconclusive,
			reason: "no playbook was set off; where that is what should happen, write covers: []"},
		{name: "nothing should be set off", covers: []string{}, change: func(_ int, _, b *Run) { b.Playbooks[0] = PlaybookRun{Name: "switch"} }, verdict: Pass},
		{name: "a covered one was not set off", covers: []string{"switch"}, change: func(_ int, _, b *Run) { b.Playbooks[0].Triggered = 0 }, verdict: Inconclusive, reason: "playbook switch was never set off"},
		{name: "a covered one is not there", covers: []string{"other"}, verdict: Inconclusive, reason: "there is no playbook other"},
		{name: "a step was only skipped", change: func(_ int, _, b *Run) { b.Playbooks[0].Steps[1] = StepRun{Name: "check", Skipped: 1} }, verdict: Inconclusive, reason: "step check of playbook switch was always skipped"},
		{name: "a step was only held", change: func(_ int, _, b *Run) { b.Playbooks[0].Steps[1] = StepRun{Name: "check", Held: 1} }, verdict: Inconclusive, reason: "a guard held it back"},
		{name: "a step was reached on one day", change: func(n int, _, b *Run) {
			if n != 3 {
				b.Playbooks[0].Steps[1] = StepRun{Name: "check"}
			}
		}, verdict: Pass},
		{name: "a step was never reached", change: func(_ int, _, b *Run) { b.Playbooks[0].Steps[1] = StepRun{Name: "check"} }, verdict: Inconclusive, reason: "step check of playbook switch was never reached"},
		{name: "failed and not reached", expect: []string{"late < 1"}, change: func(_ int, _, b *Run) { b.Figures[Late] = 5; b.Playbooks[0].Steps[1] = StepRun{Name: "check"} }, verdict: Fail, reason: "late < 1 failed"},
		{name: "a second run acts", change: func(n int, _, b *Run) {
			if n == 6 {
				b.Playbooks[0].Again = "switch the route once more"
			}
		}, verdict: Fail, reason: "a second run of playbook switch right after a verified one would act again: switch the route once more (1 of 10 days)"},
		{name: "a run was cut", change: func(n int, _, b *Run) {
			if n == 6 {
				b.Cut = "events without end"
			}
		}, verdict: Fail, reason: "day 7 was ended before its time: events without end"},
	} {
		r := reportOf(studyOf(t, c.covers, c.expect...), 10, c.change)
		if r.Verdict != c.verdict || c.verdict != Pass && (len(r.Reasons) == 0 || !strings.Contains(r.Reasons[0], c.reason)) || c.verdict == Pass && len(r.Reasons) > 0 {
			t.Errorf("%s: %s %q; want %s, %q", c.name, r.Verdict, r.Reasons, c.verdict, c.reason)
		}
	}
	if r := studyOf(t, nil).Report(Facts{}); r.Verdict != Inconclusive || r.Reasons[0] != "no day was played to its end" {
		t.Errorf("without a day: %s %q", r.Verdict, r.Reasons)
	}
}

func TestTellingTheDay(t *testing.T) {
	s := studyOf(t, nil, "late <= 5")
	reportOf(s, 10, nil)
	if v, n, why := s.Telling(); v != api.VariantCurrent || n != 2 || !strings.Contains(why, "middle") {
		t.Errorf("%s %d %s", v, n, why)
	}
	s = studyOf(t, nil, "late <= 5")
	reportOf(s, 10, func(n int, _, b *Run) {
		if n >= 6 {
			b.Figures[Late] = 6
		}
	})
	if _, n, why := s.Telling(); n != 6 || !strings.Contains(why, "late <= 5 failed") {
		t.Errorf("%d %s", n, why)
	}
	only := studyOf(t, nil, "late <= 5") // a study that begins with day 12
	only.Add(day(11, func(_, b *Run) { b.Figures[Late] = 9 }))
	r := only.Report(Facts{Only: 12})
	if _, n, _ := only.Telling(); n != 11 || !strings.Contains(r.Reasons[0], "on day 12") || r.Expected[0].Worst != 12 {
		t.Errorf("day %d, %q", n, r.Reasons)
	}
}

func TestReport(t *testing.T) {
	violate := func(n int, a, b *Run) {
		a.Figures[Doubled] = 2
		a.Violations = []Violation{{At: 3 * time.Second, What: Doubled, Text: "C-1 was charged twice"}}
	}
	r := reportOf(studyOf(t, nil, "detected <= 60s"), 30, violate)
	if r.Digests.Current != "sha256:c" || !strings.HasPrefix(r.Digests.Model, "sha256:") || r.Variants[1].Playbooks[0].Digest != "sha256:p" || r.Variants[1].Playbooks[0].Mode != api.ModeAuto {
		t.Errorf("digests %+v %+v", r.Digests, r.Variants[1].Playbooks)
	}
	none, doubled := &r.Variants[0], func(v *VariantReport) *FigureReport { return &v.Figures[Doubled] }
	if *doubled(none).Violated != 30 || doubled(none).Bound != "" || *doubled(&r.Variants[1]).Violated != 0 || doubled(&r.Variants[1]).Bound != "≤ 3/30" || len(none.Violations) != violationsMax {
		t.Errorf("safety %+v %+v, %d violations", doubled(none), doubled(&r.Variants[1]), len(none.Violations))
	}
	found := map[string]Difference{}
	for _, d := range r.Differences {
		found[d.Figure] = d
	}
	if d := found["recovered"]; d.OnlyA != 30 || d.Days != 0 || d.A != api.VariantCurrent || d.B != api.VariantNone {
		t.Errorf("recovered %+v", d)
	}
	if d := found["doubled"]; d.Mean != -2 || d.Days != 30 {
		t.Errorf("doubled %+v", d)
	}
	if _, same := found["detected"]; same {
		t.Error("detected never differs, and is listed")
	}

	// The digest covers all of it, and a report that was written and read again has the same one.
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if back.Seal(); back.Digest != r.Digest {
		t.Errorf("the digest of what was read again is %s, not %s", back.Digest, r.Digest)
	}
	back.Variants[0].Figures[Late].Mean = 1
	if back.Seal(); back.Digest == r.Digest {
		t.Error("another figure, and the same digest")
	}
	again := reportOf(studyOf(t, nil, "detected <= 60s"), 30, violate)
	if again.Digest != r.Digest {
		t.Error("the same days give two digests")
	}
	if other := reportOf(studyOf(t, []string{}, "detected <= 60s"), 30, violate); other.Digests.Scenario == r.Digests.Scenario {
		t.Error("covers: [] and no covers have one digest")
	}
}
