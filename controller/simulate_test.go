package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/twin"
	"github.com/backstay/backstay/playbooks"
)

const shippedPack = "../playbooks/library/payments"

// shippedScenario is a scenario of a shipped pack, in a folder of its own.
func shippedScenario(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(shippedPack)); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "lost-answers.scenario.yaml")
}

func simulate(t *testing.T, ctx context.Context, o Simulation) *SimulationReport {
	t.Helper()
	r, findings, err := Simulate(ctx, o)
	if err != nil || findings.Failed() {
		t.Fatal(err, findings)
	}
	return r
}

// TestSameReportWhoeverPlays: workers change how long it takes, and nothing else.
func TestSameReportWhoeverPlays(t *testing.T) {
	file := shippedScenario(t)
	var want []byte
	for _, workers := range []int{1, 2, 7} {
		b, err := json.Marshal(simulate(t, t.Context(), Simulation{File: file, Days: 25, Workers: workers}).Report)
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = b
		}
		if !bytes.Equal(b, want) {
			at := 0
			for at < min(len(b), len(want)) && b[at] == want[at] {
				at++
			}
			t.Fatalf("%d workers give another report, from byte %d on: %.200s, not %.200s", workers, at, b[at:], want[at:])
		}
	}
	if other := simulate(t, t.Context(), Simulation{File: file, Days: 25, Seed: 9}); strings.Contains(string(want), other.Digest) {
		t.Error("another seed gives the same report")
	}
}

// TestEndedEarly: what was played counts, as a prefix of the days that would have been played.
func TestEndedEarly(t *testing.T) {
	file := shippedScenario(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last SimulationProgress
	r := simulate(t, ctx, Simulation{File: file, Workers: 2, Progress: func(p SimulationProgress) {
		if last = p; p.Done >= 15 {
			cancel()
		}
	}})
	if !r.Partial || r.Days < 10 || r.Days > 20 || !strings.Contains(r.Stopped, "ended early") {
		t.Errorf("partial %v, %d days, %s", r.Partial, r.Days, r.Stopped)
	}
	if last.Scenario != "payments-lost-answers" || last.Days < 30 || last.Elapsed <= 0 || last.Left <= 0 {
		t.Errorf("progress %+v", last)
	}
	whole := simulate(t, t.Context(), Simulation{File: file, Days: r.Days})
	if a, b := r.Variants[0].Figures, whole.Variants[0].Figures; a[twin.Late].Mean != b[twin.Late].Mean || a[twin.AtRisk].Half != b[twin.AtRisk].Half {
		t.Errorf("the first %d days differ: %+v, %+v", r.Days, a[twin.Late], b[twin.Late])
	}

	gone, stop := context.WithCancel(t.Context())
	stop()
	if none := simulate(t, gone, Simulation{File: file}); none.Days != 0 || none.Verdict != VerdictInconclusive || !none.Partial {
		t.Errorf("before the first day: %d days, %s", none.Days, none.Verdict)
	}
}

// TestReportPage reads the page as strict XML where it is drawn, and holds that it asks for nothing.
func TestReportPage(t *testing.T) {
	file := shippedScenario(t)
	for _, o := range []Simulation{{File: file, Days: 12}, {File: file, Day: 3}} {
		r := simulate(t, t.Context(), o)
		r.Summary = `<script>alert("x")</script>`
		var page strings.Builder
		if err := r.WriteHTML(&page); err != nil {
			t.Fatal(err)
		}
		text := page.String()
		for _, never := range []string{"<script", "http:", "https:", "ZgotmplZ", "NaN", "Inf", " style=", "onload"} {
			if strings.Contains(text, never) {
				t.Errorf("the page contains %q", never)
			}
		}
		drawings := 0
		for rest := text; ; drawings++ {
			_, after, found := strings.Cut(rest, "<svg")
			if !found {
				break
			}
			svg, end, _ := strings.Cut(after, "</svg>")
			svg, rest = "<svg"+svg+"</svg>", end
			if !strings.Contains(svg, `role="img"`) || !strings.Contains(svg, "<title") {
				t.Errorf("a drawing without a name: %.200s", svg)
			}
			dec := xml.NewDecoder(strings.NewReader(svg))
			for {
				if _, err := dec.Token(); err == io.EOF {
					break
				} else if err != nil {
					t.Fatalf("%v in %.300s", err, svg)
				}
			}
		}
		if want := 2; drawings < want {
			t.Errorf("%d drawings", drawings)
		}
	}
}

func TestTimeScales(t *testing.T) {
	for _, c := range []struct {
		longest, step, end float64
	}{{0.4, 1, 1}, {42, 10, 50}, {1300, 300, 1500}, {3600, 900, 3600}, {30 * 86400, 7 * 86400, 35 * 86400}, {31 * 86400, 7 * 86400, 35 * 86400}} {
		if step, end := timeScale(c.longest); step != c.step || end != c.end {
			t.Errorf("up to %v: step %v, end %v; want %v, %v", c.longest, step, end, c.step, c.end)
		}
	}
	for s, want := range map[float64]string{0: "0s", 30: "30s", 90: "90s", 300: "5m", 5400: "90m", 7200: "2h", 86400: "1d"} {
		if got := shortSpan(s); got != want {
			t.Errorf("%v s is %q, want %q", s, got, want)
		}
	}
	for s, want := range map[float64]string{0: "0:00.0", 59.96: "1:00.0", 3723.4: "1:02:03.4", -2: "−0:02.0"} {
		if got := shortClock(s); got != want {
			t.Errorf("%v s is %q, want %q", s, got, want)
		}
	}
}

// TestScenarioHasTheRunningConfiguration: a scenario plays the mode that is written, whoever may have signed; the digests are those of a running controller.
func TestScenarioHasTheRunningConfiguration(t *testing.T) {
	list, findings, err := readScenarios(filepath.Join(shippedPack, "lost-answers.scenario.yaml"), change{})
	if err != nil || findings.Failed() {
		t.Fatal(err, findings)
	}
	cfg, set, _, err := newLoader(playbooks.Env{}).load(shippedPack)
	if err != nil {
		t.Fatal(err)
	}
	got := list[0].setup.Current
	if got.Digest != digestOf(set) || len(got.Playbooks) != len(cfg.Engine.Playbooks) || len(got.Probes) != len(cfg.Engine.Probes) {
		t.Errorf("the digest is %s, a controller's %s", got.Digest, digestOf(set))
	}
	for i := range got.Playbooks {
		if got.Playbooks[i].Digest != cfg.Engine.Playbooks[i].Digest || got.Playbooks[i].Approval != nil {
			t.Errorf("playbook %s: %s, %s, %v", got.Playbooks[i].Name, got.Playbooks[i].Digest, cfg.Engine.Playbooks[i].Digest, got.Playbooks[i].Approval)
		}
	}
}

// TestRunningIgnoresTests: what only tests read changes neither whether a controller starts nor what it says it runs.
func TestRunningIgnoresTests(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(shippedPack)); err != nil {
		t.Fatal(err)
	}
	digest := func() string {
		l := newLoader(playbooks.Env{})
		l.running = true
		cfg, _, findings, err := l.load(dir)
		if err != nil || findings.Failed() {
			t.Fatal(err, findings)
		}
		return cfg.Engine.Digest
	}
	before := digest()
	for name, text := range map[string]string{"broken.scenario.yaml": "kind: [", "model.yaml": "apiVersion: " + api.Version + "\nkind: Model\nmetadata: {name: card-payments}\nspec: {workflow: nothing, steps: [{name: a, workers: 0}]}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if after := digest(); after != before {
			t.Errorf("with %s the configuration is %s, without %s", name, after, before)
		}
	}
	if findings, err := Check([]string{dir}); err != nil || !findings.Failed() {
		t.Errorf("check finds nothing wrong: %v", err)
	}
}

// TestCandidateOverlays: objects of the candidate take the place of those of the same name, and nothing else changes.
func TestCandidateOverlays(t *testing.T) {
	decode := func(text string) api.Set {
		set, findings := api.Decode("x.yaml", []byte(text))
		if findings.Failed() {
			t.Fatal(findings)
		}
		return set
	}
	calendar := func(name, zone string) string {
		return "---\napiVersion: " + api.Version + "\nkind: Calendar\nmetadata: {name: " + name + "}\nspec: {zone: " + zone + "}\n"
	}
	under, over := decode(calendar("a", "UTC")+calendar("b", "UTC")), decode(calendar("b", "Mars")+calendar("c", "UTC"))
	both := under.Overlay(over)
	if len(both.Calendars) != 3 || both.Calendars[1].Spec.Zone != "Mars" || under.Calendars[1].Spec.Zone != "UTC" {
		t.Errorf("%+v", both.Calendars)
	}
	if findings := both.Validate(catalog()); len(findings) != 1 || findings[0].Line != 5 || !strings.Contains(findings[0].Message, "Mars") {
		t.Errorf("%v", findings)
	}
}

func TestJUnit(t *testing.T) {
	tests := []*ScenarioTest{{File: "a.scenario.yaml", Name: "a", Findings: api.Findings{{Severity: api.SeverityError, Rule: "x", Message: `broken <&"`}}},
		{File: "a.scenario.yaml", Name: "b", Report: &SimulationReport{Report: &twin.Report{Verdict: VerdictPass}}}}
	var b strings.Builder
	if err := WriteJUnit(&b, tests); err != nil {
		t.Fatal(err)
	}
	var back junitSuites
	if err := xml.Unmarshal([]byte(b.String()), &back); err != nil {
		t.Fatal(err)
	}
	if back.Tests != 2 || back.Failures != 1 || len(back.Suites) != 1 || back.Suites[0].Cases[0].Failure == nil || back.Suites[0].Cases[1].Failure != nil ||
		!strings.Contains(back.Suites[0].Cases[0].Failure.Text, `broken <&"`) {
		t.Errorf("%s", b.String())
	}
}
