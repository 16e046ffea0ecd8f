package controller

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/live"
	"github.com/backstay/backstay/controller/internal/twin"
	"github.com/backstay/backstay/playbooks"
	"github.com/backstay/backstay/probes"
)

// loader turns files into configurations that are ready to run. What probes and actions share, pools and breakers, lives as long
// as the loader; what they look up changes with each configuration.
type loader struct {
	eyes   *probes.Env
	hands  playbooks.Env
	court  court                   // what approvals allow
	border *border                 // what is secret
	set    atomic.Pointer[api.Set] // what probes look things up in
	index  atomic.Pointer[index]   // of set, or of the one before

	running bool // for a controller that runs: tests that lie beside its configuration do not concern it, so one that is broken does not stop it
}

// index finds integrations by name; each run of a probe asks it.
type index struct {
	of     *api.Set
	byName map[string]int
}

func newLoader(hands playbooks.Env) *loader {
	l := &loader{eyes: probes.NewEnv(), hands: hands, border: &border{}}
	l.set.Store(&api.Set{})
	l.eyes.Integration = l.integration
	l.eyes.Secret, l.hands.Secret = l.border.resolve, l.border.resolve
	l.hands.Personal = l.border.personal
	return l
}

// integration finds one in the configuration that probes look things up in.
func (l *loader) integration(name string) (api.Integration, bool) {
	set, known := l.set.Load(), l.index.Load()
	if known == nil || known.of != set {
		known = &index{set, make(map[string]int, len(set.Integrations))}
		for i := range set.Integrations {
			known.byName[set.Integrations[i].Metadata.Name] = i
		}
		l.index.Store(known)
	}
	i, found := known.byName[name]
	if !found {
		return api.Integration{}, false
	}
	return set.Integrations[i], true
}

// load reads everything below a path. The configuration is good only where the findings hold no error.
func (l *loader) load(path string) (live.Config, *api.Set, api.Findings, error) {
	files, err := configFiles(path)
	if err != nil {
		return live.Config{}, nil, nil, err
	}
	if l.running {
		if files = slices.DeleteFunc(files, isScenarioFile); len(files) == 0 {
			return live.Config{}, nil, nil, api.Errorf(api.CodeNotFound, "there are only scenarios in %s: a controller needs probes and playbooks", path)
		}
	}
	set, findings := api.DecodeFiles(files, os.ReadFile)
	if l.running {
		set.Models, set.Scenarios = nil, nil
		share(set.Probes)
	}
	cat := catalog()
	cat.StepInfo = l.stepInfo(&set)
	findings = append(findings, set.Validate(cat)...)

	for _, in := range set.Integrations {
		for _, e := range in.Spec.Endpoints {
			l.border.learn(api.Secret{}, e.URL.Text)
		}
	}
	before := l.set.Swap(&set) // probes are built against the new set
	cfg, more := l.build(&set)
	findings = append(findings, more...)
	findings = append(findings, l.court.judge(path, &set, &cfg)...)
	findings.Sort()
	if findings.Failed() {
		l.set.Store(before)
	} else if l.court.list != nil {
		l.court.enforced = true
	}
	return cfg, &set, findings, nil
}

// share lets probes hold once what is the same in many of them: names of what they watch, and detectors, which nobody changes.
func share(list []api.Probe) {
	texts, detectors := map[string]string{}, map[string][]api.Detector{}
	for i := range list {
		spec := &list[i].Spec
		for _, text := range []*string{&spec.Summary, &spec.Type, &spec.Integration, &spec.Endpoint, &spec.Workflow, &spec.Step, &spec.Unit} {
			if known, is := texts[*text]; is {
				*text = known
			} else {
				texts[*text] = *text
			}
		}
		form, err := json.Marshal(spec.Detect)
		if err != nil || len(spec.Detect) == 0 {
			continue
		}
		if known, is := detectors[string(form)]; is {
			spec.Detect = known
		} else {
			detectors[string(form)] = spec.Detect
		}
	}
}

// stepInfo builds steps for what they say of themselves: a release of a step's own hold is less dangerous than any other.
func (l *loader) stepInfo(set *api.Set) func(api.Step) (api.ActionInfo, bool) {
	hands := l.handsFor(set)
	return func(s api.Step) (api.ActionInfo, bool) {
		_, plan, wrong := playbooks.Build(s, &hands)
		return plan.Action, !wrong.Failed()
	}
}

// handsFor is what the actions of one configuration share: a remediation goes on with what it was planned with.
func (l *loader) handsFor(set *api.Set) playbooks.Env {
	hands := l.hands
	hands.Integration = func(name string) (api.Integration, bool) { return integrationOf(set, name) }
	hands.Integrations = func() []api.Integration { return set.Integrations }
	return hands
}

func (l *loader) build(set *api.Set) (live.Config, api.Findings) {
	cfg := live.Config{Steps: map[live.StepKey]playbooks.Runner{}, Channels: map[string]playbooks.Runner{}}
	hands := l.handsFor(set)
	var findings api.Findings
	for _, p := range set.Probes {
		ready, more := l.buildProbe(p)
		findings = append(findings, more...)
		if ready != nil {
			cfg.Probes = append(cfg.Probes, *ready)
		}
	}
	for _, in := range set.Integrations {
		findings = append(findings, buildDrivers(in, &hands, cfg.Channels)...)
	}
	cfg.Engine = engine.Config{Digest: digestOf(set), Integrations: set.Integrations, Workflows: set.Workflows, Probes: set.Probes, Calendars: set.Calendars}
	for _, p := range set.Playbooks {
		ready, more := buildPlaybook(p, &hands, cfg.Steps)
		findings = append(findings, more...)
		cfg.Engine.Playbooks = append(cfg.Engine.Playbooks, ready)
	}
	return cfg, findings
}

func (l *loader) buildProbe(p api.Probe) (*live.Probe, api.Findings) {
	kind, found := probes.Find(p.Spec.Type)
	if !found {
		return nil, nil // validation has said so
	}
	params := kind.Params()
	findings := p.Spec.With.Decode(params)
	if findings.Failed() {
		return nil, placed(findings, p.Pos)
	}
	prober, err := kind.Build(p.Metadata.Name, p.Spec, params, l.eyes)
	if err != nil {
		return nil, append(findings, failure(p.Pos, "bad-params", "probe "+p.Metadata.Name, err)...)
	}
	return &live.Probe{Name: p.Metadata.Name, Spec: p.Spec, Prober: prober}, findings
}

// buildDrivers checks an integration's route and makes its channel.
func buildDrivers(in api.Integration, hands *playbooks.Env, channels map[string]playbooks.Runner) api.Findings {
	var findings api.Findings
	if in.Spec.Route != nil {
		_, wrong := playbooks.BuildRoute(in, hands)
		findings = append(findings, placed(wrong, in.Pos)...)
	}
	if in.Spec.Channel != nil {
		channel, err := playbooks.BuildChannel(in, hands)
		if err != nil {
			return append(findings, failure(in.Pos, "bad-channel", "integration "+in.Metadata.Name+": channel", err)...)
		}
		channels[in.Metadata.Name] = channel
	}
	return findings
}

func buildPlaybook(p api.Playbook, hands *playbooks.Env, steps map[live.StepKey]playbooks.Runner) (engine.Playbook, api.Findings) {
	var findings api.Findings
	runners := make([]playbooks.Runner, len(p.Spec.Steps))
	plans := make([]api.StepPlan, len(p.Spec.Steps))
	for i, step := range p.Spec.Steps {
		if _, known := playbooks.Find(step.Do); !known {
			continue // validation has said so
		}
		runner, plan, more := playbooks.Build(step, hands)
		runners[i], plans[i] = runner, plan
		findings = append(findings, more...)
	}
	ready := engine.Playbook{Name: p.Metadata.Name, Digest: api.PlaybookDigest(p, plans), Spec: p.Spec, Steps: plans}
	ready.Text, _ = api.PlaybookText(p, plans)
	for i, runner := range runners {
		if runner != nil {
			steps[live.StepKey{Digest: ready.Digest, Step: p.Spec.Steps[i].Name}] = runner
		}
	}
	return ready, findings
}

// failure turns the error of a builder into findings; one that has findings of its own keeps their places.
func failure(pos api.Pos, rule, what string, err error) api.Findings {
	var nested api.Findings
	if errors.As(err, &nested) {
		return placed(nested, pos)
	}
	return api.Findings{{Pos: pos, Severity: api.SeverityError, Rule: rule, Message: what + ": " + err.Error()}}
}

// placed gives findings without a place the place of what they are about.
func placed(findings api.Findings, pos api.Pos) api.Findings {
	for i := range findings {
		if findings[i].Line == 0 {
			findings[i].Pos = pos
		}
	}
	return findings
}

// configFiles lists the YAML files of a file or folder, in the order of their names; hidden ones are left out.
func configFiles(path string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != path && strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case entry.IsDir():
			return nil
		}
		if ext := filepath.Ext(name); ext == ".yaml" || ext == ".yml" || name == path {
			files = append(files, name)
		}
		return nil
	})
	if err != nil {
		return nil, &api.Error{Code: api.CodeNotFound, Message: "read the configuration", Err: err, Hint: "name a YAML file or a folder of them"}
	}
	if len(files) == 0 {
		return nil, &api.Error{Code: api.CodeNotFound, Message: "there is no .yaml or .yml file in " + path, Hint: "backstay demo --keep writes an example to look at"}
	}
	return files, nil
}

func integrationOf(set *api.Set, name string) (api.Integration, bool) {
	for _, in := range set.Integrations {
		if in.Metadata.Name == name {
			return in, true
		}
	}
	return api.Integration{}, false
}

// digestOf identifies a whole configuration, whatever its layout in files.
func digestOf(set *api.Set) string {
	b, err := json.Marshal(set)
	if err != nil {
		panic("encode a configuration that was just decoded: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// catalog lists what specs may name.
func catalog() api.Catalog {
	c := api.Catalog{ActionParams: actionParams, Figures: twin.FigureNames()}
	for _, t := range probes.Types {
		c.Probes = append(c.Probes, api.TypeInfo{Name: t.Name, Summary: t.Summary, Params: t.Params})
	}
	for _, a := range playbooks.Actions {
		c.Actions = append(c.Actions, a.Info)
	}
	for _, d := range playbooks.Drivers {
		c.Routes = append(c.Routes, api.TypeInfo{Name: d.Name, Summary: d.Summary, Params: d.Params})
	}
	for _, d := range playbooks.Channels {
		c.Channels = append(c.Channels, api.TypeInfo{Name: d.Name, Summary: d.Summary, Params: d.Params})
	}
	return c
}

func actionParams(name string) any {
	action, found := playbooks.Find(name)
	if !found {
		return nil
	}
	return action.Params()
}
