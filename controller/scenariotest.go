package controller

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

// testDays is how many days a test plays whose scenario does not say.
const testDays = 20

// ScenarioTest is one scenario of a test run.
type ScenarioTest struct {
	File     string
	Name     string
	Findings api.Findings      // errors: nothing was played
	Report   *SimulationReport // nil where nothing was played
	Took     time.Duration
}

// Failed tells whether it is neither passed nor inconclusive.
func (t *ScenarioTest) Failed() bool { return t.Report == nil || t.Report.Verdict == VerdictFail }

// ScenarioTests says what to test.
type ScenarioTests struct {
	Paths   []string // files, folders, and folders with /... for all below them
	Run     *regexp.Regexp
	Seed    uint64
	Workers int
	Each    func(*ScenarioTest) // is told of each as soon as it is done
}

// TestScenarios plays all scenarios that the paths name, in the order of their files. A context that ends leaves the rest out, and is the error.
func TestScenarios(ctx context.Context, o ScenarioTests) ([]*ScenarioTest, error) {
	files, err := scenarioFiles(o.Paths)
	if err != nil {
		return nil, err
	}
	var all []*ScenarioTest
	add := func(t *ScenarioTest) {
		all = append(all, t)
		if o.Each != nil {
			o.Each(t)
		}
	}
	for _, file := range files {
		list, findings, err := readScenarios(file, change{seed: o.Seed})
		if err != nil {
			return all, err
		}
		if findings.Failed() {
			add(&ScenarioTest{File: file, Name: filepath.Base(file), Findings: findings})
		}
		for _, s := range list {
			if o.Run != nil && !o.Run.MatchString(s.spec.Metadata.Name) {
				continue
			}
			days := int(s.spec.Spec.Replications)
			if days == 0 {
				days = testDays
			}
			report, err := s.play(ctx, Simulation{Days: days, Workers: o.Workers})
			if err != nil {
				return all, err
			}
			if ctx.Err() != nil {
				return all, api.Errorf(api.CodeUnavailable, "the tests were ended early, after %d scenarios: %w", len(all), ctx.Err())
			}
			add(&ScenarioTest{File: file, Name: s.spec.Metadata.Name, Report: report, Took: report.Took})
		}
	}
	return all, nil
}

// scenarioFiles lists the files that paths name, without hidden folders.
func scenarioFiles(paths []string) ([]string, error) {
	var files []string
	for _, path := range paths {
		root, below := strings.CutSuffix(path, "...")
		if below {
			root = filepath.Clean(root + ".")
		}
		info, err := os.Stat(root)
		if err != nil {
			return nil, &api.Error{Code: api.CodeNotFound, Message: "look for scenarios", Err: err, Hint: "name files, folders, or a folder and /... for all below it"}
		}
		if !info.IsDir() {
			files = append(files, root)
			continue
		}
		err = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && name != root && (!below || strings.HasPrefix(entry.Name(), ".")):
				return filepath.SkipDir
			case !entry.IsDir() && isScenarioFile(name):
				files = append(files, name)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("look for scenarios: %w", err)
		}
	}
	if len(files) == 0 {
		return nil, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("there is no %s file in %q", "*"+scenarioEnding, paths), Hint: "./... looks in all folders below this one"}
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

// The elements of JUnit's XML, as far as build servers read them.
type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	File    string        `xml:"file,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitFailure `xml:"failure,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes the results in JUnit's XML: one suite for each file. An inconclusive scenario is a failure there: it proved nothing.
func WriteJUnit(w io.Writer, tests []*ScenarioTest) error {
	var all junitSuites
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
	var total, suiteTime time.Duration
	for _, t := range tests {
		if n := len(all.Suites); n == 0 || all.Suites[n-1].Name != t.File {
			all.Suites = append(all.Suites, junitSuite{Name: t.File})
			suiteTime = 0
		}
		suite := &all.Suites[len(all.Suites)-1]
		c := junitCase{Name: t.Name, Class: strings.TrimSuffix(t.File, scenarioEnding), File: t.File, Time: seconds(t.Took)}
		if lines := t.Complaints(); len(lines) > 0 {
			kind := "findings"
			if t.Report != nil {
				kind = string(t.Report.Verdict)
			}
			c.Failure = &junitFailure{Message: lines[0], Type: kind, Text: strings.Join(lines, "\n")}
			suite.Failures++
			all.Failures++
		}
		total += t.Took
		suiteTime += t.Took
		suite.Cases, suite.Tests, suite.Time = append(suite.Cases, c), suite.Tests+1, seconds(suiteTime)
		all.Tests++
	}
	all.Time = seconds(total)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return fmt.Errorf("write JUnit's XML: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// Complaints are the lines that say why a scenario did not pass: the expectation with its place and what it saw, then how to see that day.
func (t *ScenarioTest) Complaints() []string {
	var lines []string
	if t.Report == nil {
		for _, f := range t.Findings {
			if f.Severity == api.SeverityError {
				lines = append(lines, f.String())
			}
		}
		return lines
	}
	r := t.Report
	if r.Verdict == VerdictPass {
		return nil
	}
	places := map[string]api.Pos{}
	worst := 0
	for i := range r.Expected {
		x := &r.Expected[i]
		if !x.Met() {
			places[x.Text] = x.Pos
			if worst == 0 {
				worst = x.Worst
			}
		}
	}
	for _, reason := range r.Reasons {
		place := ""
		for i := range r.Expected {
			if pos := places[r.Expected[i].Text]; pos.Line > 0 && strings.HasPrefix(reason, r.Expected[i].Text+" ") {
				place = fmt.Sprintf("%s:%d: ", pos.File, pos.Line)
			}
		}
		lines = append(lines, place+reason)
	}
	see := fmt.Sprintf("see it: backstay simulate %s --scenario %s --seed %d", t.File, t.Name, r.Seed)
	if worst > 0 {
		see += fmt.Sprintf(" --day %d", worst)
	} else {
		see += fmt.Sprintf(" --replications %d", r.Days)
	}
	return append(lines, see+" --story")
}
