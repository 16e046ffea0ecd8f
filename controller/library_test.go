package controller

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/twin"
	"github.com/backstay/backstay/playbooks"
)

const libraryFolder = "../playbooks/library"

// packs lists the shipped packs: the folders of the library.
func packs(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(libraryFolder)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	if len(out) < 6 {
		t.Fatalf("the library has the packs %v; at least 6 are shipped", out)
	}
	return out
}

// shipped is a pack of the library, or one that was changed.
type shipped struct {
	set     *api.Set
	current engine.Config
}

// readPack reads a folder as check and run do. Complaints are its errors and warnings.
func readPack(folder string) (*shipped, []string, error) {
	cfg, set, findings, err := newLoader(playbooks.Env{}).load(folder)
	if err != nil {
		return nil, nil, err
	}
	var complaints []string
	for _, f := range findings {
		if f.Severity == api.SeverityError || f.Severity == api.SeverityWarning {
			f.File = filepath.Base(f.File)
			complaints = append(complaints, "check: "+f.String())
		}
	}
	return &shipped{set, cfg.Engine}, complaints, nil
}

// days plays a scenario and gives what is wrong with it, as backstay test judges; nothing where it passes.
func (p *shipped) days(sc *api.Scenario, days int) []string {
	plan, findings := twin.Compile(twin.Setup{Scenario: *sc, Model: p.model(sc), Current: p.current})
	if findings.Failed() {
		return []string{fmt.Sprint(findings)}
	}
	study, err := twin.NewStudy(plan)
	if err != nil {
		return []string{err.Error()}
	}
	for day := range days {
		runs := make([]twin.Run, len(plan.Variants()))
		for i, v := range plan.Variants() {
			runs[i] = plan.Run(v, day, twin.Options{})
		}
		study.Add(runs)
	}
	report := study.Report(twin.Facts{})
	if report.Verdict != twin.Pass && len(report.Reasons) == 0 {
		return []string{string(report.Verdict)}
	}
	return report.Reasons
}

func (p *shipped) model(sc *api.Scenario) api.Model {
	for _, m := range p.set.Models {
		if m.Metadata.Name == sc.Spec.Model || sc.Spec.Model == "" {
			return m
		}
	}
	return api.Model{}
}

// TestLibraryIsSound holds every pack to what the library promises: nothing to complain about for check, each playbook proved by a
// scenario that reaches each of its steps, each with verification, bounds and somebody who is told.
func TestLibraryIsSound(t *testing.T) {
	for _, name := range packs(t) {
		t.Run(name, func(t *testing.T) {
			p, complaints, err := readPack(filepath.Join(libraryFolder, name))
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range complaints {
				t.Error(c)
			}
			var covered []string
			for _, sc := range p.set.Scenarios {
				covered = append(covered, sc.Spec.Covers...)
				if len(sc.Spec.Expect) == 0 || sc.Spec.Summary == "" {
					t.Errorf("scenario %s says or expects nothing", sc.Metadata.Name)
				}
			}
			for i := range p.set.Playbooks {
				checkShipped(t, &p.set.Playbooks[i], covered)
			}
			if len(p.set.Playbooks) == 0 || len(p.set.Scenarios) < 2 || len(p.set.Models) != 1 {
				t.Errorf("it has %d playbooks, %d scenarios and %d models", len(p.set.Playbooks), len(p.set.Scenarios), len(p.set.Models))
			}
		})
	}
}

func checkShipped(t *testing.T, b *api.Playbook, covered []string) {
	t.Helper()
	spec := &b.Spec
	if spec.Summary == "" || spec.Otherwise == "" {
		t.Errorf("playbook %s needs summary and otherwise", b.Metadata.Name)
	}
	if !slices.Contains(covered, b.Metadata.Name) {
		t.Errorf("no scenario covers playbook %s", b.Metadata.Name)
	}
	acts := slices.ContainsFunc(spec.Steps, func(s api.Step) bool { return !slices.Contains([]string{"notify", "expect", "wait", "ask"}, s.Do) })
	if acts && (spec.Limits.Runs.IsZero() || spec.Limits.Cooldown.Duration == 0) {
		t.Errorf("playbook %s acts without a limit of runs or a cool-down", b.Metadata.Name)
	}
	if acts && (len(spec.Verify.Probes)+len(spec.Verify.Reconcile) == 0 || spec.Verify.Hold.Duration == 0) {
		t.Errorf("playbook %s acts and is not verified for a time: without hold an anomaly that is still open does not count", b.Metadata.Name)
	}
	if acts && len(spec.Notify) == 0 {
		t.Errorf("playbook %s acts and tells nobody", b.Metadata.Name)
	}
}

// libraryDays is how many days of each scenario these tests play; backstay test plays more.
const libraryDays = 10

// TestLibraryHeals plays all scenarios of all packs.
func TestLibraryHeals(t *testing.T) {
	days := libraryDays
	if testing.Short() {
		days = 2
	}
	for _, name := range packs(t) {
		p, _, err := readPack(filepath.Join(libraryFolder, name))
		if err != nil {
			t.Fatal(err)
		}
		for i := range p.set.Scenarios {
			sc := &p.set.Scenarios[i]
			t.Run(name+"/"+sc.Metadata.Name, func(t *testing.T) {
				for _, c := range p.days(sc, days) {
					t.Error(c)
				}
				if os.Getenv("BACKSTAY_STORY") != "" {
					tellDay(t, p, sc)
				}
			})
		}
	}
}

// tellDay prints the figures and the story of one day, for whoever writes a pack.
func tellDay(t *testing.T, p *shipped, sc *api.Scenario) {
	plan, _ := twin.Compile(twin.Setup{Scenario: *sc, Model: p.model(sc), Current: p.current})
	for _, v := range plan.Variants() {
		run := plan.Run(v, 0, twin.Options{Story: v == api.VariantCurrent})
		text := ""
		for i, value := range run.Figures {
			if !math.IsNaN(value) && value != 0 {
				text += fmt.Sprintf(" %s=%.0f", twin.FigureInfos[i].Name, value)
			}
		}
		t.Logf("%s:%s", v, text)
		for _, line := range run.Story {
			t.Logf("%10s %-9s %s", line.At.Round(1e9), line.Kind, line.Text)
		}
	}
	t.Log(strings.Join(plan.NotSimulated(), "\n"))
}
