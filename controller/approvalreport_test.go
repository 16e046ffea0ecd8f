package controller

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/twin"
	"github.com/backstay/backstay/playbooks"
)

const (
	bureauModel = `apiVersion: backstay.dev/v1alpha1
kind: Model
metadata: {name: captures}
spec:
  arrivals: {perHour: 60}
  items: {promise: 10m}
  steps: [{name: capture, workers: 4, calls: [{to: gw, effect: charge, keyed: true}]}]
  systems: [{integration: gw, endpoints: [{name: primary, takes: {fixed: 100ms}, keeps: 1h}]}]
  sees: [{probe: up, endpoint: gw/primary}]
`
	bureauScenario = `apiVersion: backstay.dev/v1alpha1
kind: Scenario
metadata: {name: gw-outage}
spec:
  horizon: 30m
  faults: [{kind: outage, on: integration/gw/primary, at: 5m, lasting: 10m}]
  expect: [detected <= 3m]
`
)

// simulate plays the bureau's scenario and keeps the report beside the configuration. It gives the report's digest.
func (b *bureau) simulate(edit func(*twin.Report)) string {
	b.t.Helper()
	b.load() // writes the configuration
	b.write("captures.yaml", bureauModel)
	b.write("gw.scenario.yaml", bureauScenario)
	r, findings, err := Simulate(b.t.Context(), Simulation{File: filepath.Join(b.dir, "gw.scenario.yaml"), Days: 2, Workers: 1})
	if err != nil || findings.Failed() {
		b.t.Fatal(err, findings)
	}
	if edit != nil {
		edit(r.Report)
		r.Seal()
	}
	text, err := json.MarshalIndent(r.Report, "", "  ")
	if err != nil {
		b.t.Fatal(err)
	}
	b.write("gw.report.json", string(text))
	return r.Digest
}

func (b *bureau) replace(name, old, with string) {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil || !strings.Contains(string(data), old) {
		b.t.Fatalf("%s has no %q (%v)", name, old, err)
	}
	b.write(name, strings.Replace(string(data), old, with, 1))
}

func TestApprovalsOnReports(t *testing.T) {
	for name, c := range map[string]struct {
		made func(r *twin.Report)
		then func(b *bureau) // after it was signed
		why  string          // empty: it counts
	}{
		"as it was":      {nil, nil, ""},
		"laid elsewhere": {nil, func(b *bureau) { b.move("gw.report.json", "reports/any.report.json") }, ""},
		"report gone":    {nil, func(b *bureau) { b.move("gw.report.json", "gw.report") }, "is not beside the configuration"},
		"report edited": {nil, func(b *bureau) { b.replace("gw.report.json", `"days": 2`, `"days": 200`) },
			"gw.report.json: it was changed after it was made"},
		"report nonsense": {nil, func(b *bureau) { b.write("gw.report.json", "{") }, "unexpected end of JSON"},
		"report empty":    {nil, func(b *bureau) { b.write("gw.report.json", "") }, "unexpected end of JSON"},
		"failed":          {func(r *twin.Report) { r.Verdict = twin.Fail }, nil, "its verdict is fail"},
		"inconclusive":    {func(r *twin.Report) { r.Verdict = twin.Inconclusive }, nil, "its verdict is inconclusive"},
		"other form":      {func(r *twin.Report) { r.Format = "backstay.dev/simulation/v9" }, nil, "its form is"},
		"of another playbook": {func(r *twin.Report) { r.Variants[0].Playbooks[0].Name = "other" }, nil,
			"says nothing of playbook gw-failover"},
		"of an older playbook": {func(r *twin.Report) { r.Variants[0].Playbooks[0].Digest = "sha256:00" }, nil, "the playbook was changed after it was made"},
		"never set off":        {func(r *twin.Report) { r.Variants[0].Playbooks[0].Triggered = 0 }, nil, "nothing in it set the playbook off"},
		"playbook changed":     {nil, func(b *bureau) { b.runs = "9 per 1h" }, "was changed after it was approved"},
		"model changed":        {nil, func(b *bureau) { b.replace("captures.yaml", "workers: 4", "workers: 40") }, "the model was changed after the report gw.report.json was made"},
		"model renamed":        {nil, func(b *bureau) { b.replace("captures.yaml", "name: captures", "name: others") }, "the model was changed"},
		"model gone":           {nil, func(b *bureau) { b.move("captures.yaml", "captures.old") }, "the model was changed"},
		"model relaid":         {nil, func(b *bureau) { b.replace("captures.yaml", "  items:", "\n  # in ten minutes\n  items:") }, ""},
		"scenario changed":     {nil, func(b *bureau) { b.replace("gw.scenario.yaml", "at: 5m", "at: 50s") }, "the scenario gw-outage was changed after"},
		"expectation dropped":  {nil, func(b *bureau) { b.replace("gw.scenario.yaml", "expect: [detected <= 3m]", "expect: []") }, "the scenario gw-outage was changed"},
		"scenario gone":        {nil, func(b *bureau) { b.move("gw.scenario.yaml", "gw.old") }, "the scenario gw-outage of the report gw.report.json is not beside"},
		"scenario broken":      {nil, func(b *bureau) { b.replace("gw.scenario.yaml", "horizon: 30m", "horizon: soon") }, "is not beside the configuration"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBureau(t)
			digest := b.simulate(c.made)
			b.approve(func(s *api.ApprovalSpec) { s.Report = digest }, "alice")
			if c.then != nil {
				c.then(b)
			}
			a := b.judged()
			if c.why == "" && (a.Mode != api.ModeAuto || a.Why != "") {
				t.Errorf("it does not count: %s", a.Why)
			}
			if c.why != "" && (a.Mode != api.ModeSuggest || !strings.Contains(a.Why, c.why)) {
				t.Errorf("mode %s because of %q, want %q", a.Mode, a.Why, c.why)
			}
		})
	}
}

func (b *bureau) move(from, to string) {
	b.t.Helper()
	if err := os.MkdirAll(filepath.Dir(filepath.Join(b.dir, to)), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(b.dir, from), filepath.Join(b.dir, to)); err != nil {
		b.t.Fatal(err)
	}
}

// judged reads the configuration as a running controller does, to which scenarios do not matter.
func (b *bureau) judged() (a struct {
	Mode api.Mode
	Why  string
}) {
	b.t.Helper()
	b.config()
	l := newLoader(playbooks.Env{})
	l.running = true
	cfg, _, findings, err := l.load(b.dir)
	if err != nil || findings.Failed() {
		b.t.Fatal(err, findings)
	}
	got := cfg.Engine.Playbooks[0].Approval
	a.Mode, a.Why = got.Mode, got.Why
	return a
}

// TestSignOnReport: people name the report's file; its digest is what they sign. A report that could never carry the approval is refused.
func TestSignOnReport(t *testing.T) {
	b := newBureau(t)
	digest := b.simulate(nil)
	request := SignRequest{File: filepath.Join(b.dir, "gw.yaml"), Report: filepath.Join(b.dir, "gw.report.json")}
	d, err := PrepareApproval(request)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(d.Message()), "\nreport: "+digest+"\n") || !strings.Contains(d.Report, "gw-outage") {
		t.Errorf("%s\n%s", d.Message(), d.Report)
	}
	if _, err := d.Sign(b.keys["alice"]); err != nil {
		t.Fatal(err)
	}
	if missing := d.Missing(); missing != "" {
		t.Errorf("it does not count: %s", missing)
	}
	b.move("gw.report.json", "gw.json")
	if missing := d.Missing(); missing != "" {
		t.Errorf("what was read is held on to within one judgement: %s", missing)
	}
	request.Report = filepath.Join(b.dir, "gw.json")
	if d, err = PrepareApproval(request); err != nil {
		t.Fatal(err)
	}
	if missing := d.Missing(); !strings.Contains(missing, "not beside the configuration") {
		t.Errorf("it lies where no controller looks, and that is not said: %q", missing)
	}
	b.simulate(func(r *twin.Report) { r.Verdict = twin.Fail })
	request.Report = filepath.Join(b.dir, "gw.report.json")
	if _, err := PrepareApproval(request); api.CodeOf(err) != api.CodeDenied || !strings.Contains(err.Error(), "verdict is fail") {
		t.Errorf("a report that failed is taken: %v", err)
	}
	request.Report = filepath.Join(b.dir, "nowhere.report.json")
	if _, err := PrepareApproval(request); api.CodeOf(err) != api.CodeNotFound {
		t.Errorf("a report that is not there is taken: %v", err)
	}
}

// FuzzReport: whatever a file holds, a report that is taken has the digest that it says, and reading it again gives the same.
func FuzzReport(f *testing.F) {
	r := &twin.Report{Format: twin.ReportFormat, Scenario: "s", Verdict: twin.Pass}
	r.Seal()
	good, err := json.Marshal(r)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(strings.Replace(string(good), `"verdict":"pass"`, `"verdict":"fail","Verdict":"pass"`, 1)))
	f.Add([]byte(strings.Replace(string(good), `{`, `{"digests":{"model":"x"},`, 1)))
	f.Add([]byte(`{"digest":"sha256:00","variants":[{"figures":[{"mean":"never"}]}]}`))
	f.Add([]byte(strings.Repeat(`{"a":`, 2000)))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := decodeReport(data)
		if err != nil {
			return
		}
		if !digestText.MatchString(got.Digest) {
			t.Errorf("digest %q", got.Digest)
		}
		if again, err := decodeReport(data); err != nil || again.Verdict != got.Verdict || again.Digest != got.Digest {
			t.Errorf("another reading gives %v, %v", again, err)
		}
	})
}
