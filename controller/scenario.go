package controller

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/twin"
	"github.com/backstay/backstay/playbooks"
)

// scenarioEnding is how files are called that hold tests of playbooks.
const scenarioEnding = ".scenario.yaml"

func isScenarioFile(path string) bool { return strings.HasSuffix(path, scenarioEnding) }

// scenario is one that is ready to play: the configuration is exactly what a running controller would have.
type scenario struct {
	file    string
	spec    api.Scenario
	setup   twin.Setup
	pos     []api.Pos // of its expectations
	assumed []string
}

// change is what the command line wants otherwise than the file.
type change struct {
	variants []api.Variant
	seed     uint64
	begin    func(*twin.Setup) (*twin.Live, error) // the state to start from; nil: as the scenario says
}

// readScenarios reads all scenarios of one file with what each of them uses. Those with errors among the findings are not in the list.
func readScenarios(file string, c change) ([]*scenario, api.Findings, error) {
	if _, err := os.Stat(file); err != nil {
		return nil, nil, &api.Error{Code: api.CodeNotFound, Message: "read the scenario", Err: err, Hint: "name a file with a document of kind Scenario"}
	}
	set, findings := api.DecodeFiles([]string{file}, os.ReadFile)
	if findings.Failed() {
		return nil, findings, nil
	}
	if len(set.Scenarios) == 0 {
		return nil, nil, api.Errorf(api.CodeNotFound, "there is no document of kind Scenario in %s", file)
	}
	var out []*scenario
	var all api.Findings
	for _, sc := range set.Scenarios {
		s, found, err := readScenario(file, sc, c)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, found...)
		if !found.Failed() {
			out = append(out, s)
		}
	}
	return out, once(all), nil
}

// once drops findings that were made for several scenarios of a file, and orders the rest.
func once(findings api.Findings) api.Findings {
	seen := map[string]bool{}
	out := findings[:0]
	for _, f := range findings {
		if text := f.String(); !seen[text] {
			seen[text] = true
			out = append(out, f)
		}
	}
	out.Sort()
	return out
}

// readScenario reads what one scenario uses, and builds it.
func readScenario(file string, sc api.Scenario, c change) (*scenario, api.Findings, error) {
	s := &scenario{file: file}
	candidates, err := s.files(sc.Spec.Candidate, nil)
	if err != nil {
		return nil, nil, err
	}
	use := sc.Spec.Use
	if len(use) == 0 {
		use = []string{"."}
	}
	files, err := s.files(use, candidates)
	if err != nil {
		return nil, nil, err
	}
	set, findings := api.DecodeFiles(append(files, file), os.ReadFile)
	if len(c.variants) > 0 {
		sc.Spec.Variants = c.variants
	}
	if c.seed != 0 {
		sc.Spec.Seed = c.seed
	}
	whole := sc
	whole.Spec.Use = nil // all of it is in the set now, so references can be followed
	set.Scenarios = []api.Scenario{whole}
	current, more := buildForTwin(&set)
	findings = append(findings, more...)
	s.setup.Current = current
	for i := range sc.Spec.Expect {
		s.pos = append(s.pos, set.Place(api.KindScenario, sc.Metadata.Name, fmt.Sprintf("spec.expect[%d]", i)))
	}
	if len(candidates) > 0 {
		over, wrong := api.DecodeFiles(candidates, os.ReadFile)
		over.Scenarios = nil
		changed := set.Overlay(over)
		candidate, more := buildForTwin(&changed)
		findings = append(append(findings, wrong...), more...)
		s.setup.Candidate = &candidate
	}
	s.spec, s.setup.Scenario = sc, sc
	for i := range set.Models {
		if m := &set.Models[i]; sc.Spec.Model == "" || m.Metadata.Name == sc.Spec.Model {
			s.setup.Model = *m
		}
	}
	s.assume()
	if c.begin != nil && !findings.Failed() {
		if s.setup.Live, err = c.begin(&s.setup); err != nil {
			return nil, nil, err
		}
		if live := s.setup.Live; live != nil {
			s.assumed = append(s.assumed, "It begins with the state of a running controller as of "+live.At.Format(time.RFC3339)+".")
		}
	}
	if findings = once(findings); !findings.Failed() {
		_, wrong := twin.Compile(s.setup)
		findings = append(findings, placed(wrong, sc.Pos)...)
	}
	return s, findings, nil
}

// files lists the YAML files of paths that stand relative to the scenario's folder, without scenarios and without some others.
func (s *scenario) files(paths, without []string) ([]string, error) {
	var out []string
	for _, path := range paths {
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(s.file), path)
		}
		list, err := configFiles(path)
		if err != nil {
			return nil, fmt.Errorf("scenario file %s: %w", s.file, err)
		}
		for _, f := range list {
			same := func(g string) bool { return samePath(f, g) }
			if !isScenarioFile(f) && !samePath(f, s.file) && !slices.ContainsFunc(out, same) && !slices.ContainsFunc(without, same) {
				out = append(out, f)
			}
		}
	}
	return out, nil
}

func samePath(a, b string) bool { return filepath.Clean(a) == filepath.Clean(b) }

// buildForTwin makes a configuration ready as load does, without judging signatures: in the twin a playbook counts as approved for the mode
// that is written in it, so that it can be tried before anybody signs.
func buildForTwin(set *api.Set) (engine.Config, api.Findings) {
	findings := set.Validate(catalog())
	l := newLoader(playbooks.Env{})
	l.set.Store(set)
	cfg, more := l.build(set)
	return cfg.Engine, append(findings, more...)
}

// assume says what the twin takes for granted.
func (s *scenario) assume() {
	for _, p := range s.setup.Current.Playbooks {
		if p.Spec.Mode.Rank() > api.ModeSuggest.Rank() {
			s.assumed = append(s.assumed, "Signatures are not looked at: each playbook counts as approved for the mode that is written in it.")
			return
		}
	}
}
