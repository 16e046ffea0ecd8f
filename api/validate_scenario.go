package api

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// faultRules say for each kind of fault where it may be, and what it needs beside that.
var faultRules = []struct {
	kind    FaultKind
	targets string // what on may begin with, "" for nothing
	needs   string // by, most or times
}{
	{FaultOutage, "integration", ""}, {FaultError, "integration", ""}, {FaultRefuse, "integration", ""}, {FaultTimeout, "integration", ""},
	{FaultLostAnswer, "integration", ""}, {FaultSlow, "integration", "by"}, {FaultRateLimit, "integration", "most"}, {FaultStale, "integration", "by"},
	{FaultDuplicate, "integration", ""}, {FaultLate, "integration", "by"}, {FaultStop, "step", ""}, {FaultLock, "integration", ""},
	{FaultPoison, "step", ""}, {FaultRedeliver, "step", ""}, {FaultSurge, "", "times"}, {FaultSilence, "", ""}, {FaultAbsent, "person", ""},
	{FaultBlind, "probe", ""}, {FaultLies, "probe", ""},
}

// scenario holds a scenario against itself. What it names is looked for in this Set only where it uses nothing else: a scenario with
// use is checked in full by whoever loads what it uses.
func (v *validator) scenario(sc *Scenario) {
	o := object{KindScenario, sc.Metadata.Name}
	spec := &sc.Spec
	if spec.Start != "" {
		if _, err := time.Parse(time.RFC3339, spec.Start); err != nil {
			v.error(o, "spec.start", "bad-value", fmt.Sprintf("start %q is not a point in time", spec.Start), "write it like 2026-01-05T09:00:00Z")
		}
	}
	v.variants(o, spec)
	v.expectations(o, spec)
	var model *Model
	whole := len(spec.Use) == 0
	if whole {
		model = v.modelOf(o, spec.Model)
	}
	v.stock(o, spec, model)
	var names []string
	for i := range spec.Faults {
		f, path := &spec.Faults[i], fmt.Sprintf("spec.faults[%d]", i)
		name := f.Called()
		if slices.Contains(names, name) {
			v.error(o, path, "duplicate-name", fmt.Sprintf("there are two faults called %q", name), "give each a name: reports tell them apart by it, and chance too")
		}
		names = append(names, name)
		v.fault(o, path, f, spec)
		if whole {
			v.faultTarget(o, path, f, model)
		}
	}
	for i, name := range spec.Covers {
		if whole && len(spec.Candidate) == 0 {
			v.ref(o, fmt.Sprintf("spec.covers[%d]", i), KindPlaybook, name)
		}
	}
}

// Called is the fault's name in reports: its own, or its kind and place.
func (f *Fault) Called() string {
	return cmp.Or(f.Name, strings.Trim(string(f.Kind)+" "+f.On, " "))
}

func (v *validator) variants(o object, spec *ScenarioSpec) {
	for i, variant := range spec.Variants {
		path := fmt.Sprintf("spec.variants[%d]", i)
		if slices.Contains(spec.Variants[:i], variant) {
			v.error(o, path, "duplicate", fmt.Sprintf("variant %s is named twice", variant), "remove one of them")
		}
		if variant == VariantCandidate && len(spec.Candidate) == 0 {
			v.error(o, path, "no-candidate", "there is no candidate to play", "write candidate: [FOLDER] with the changed files")
		}
	}
	if n := len(spec.Variants); n > 0 && len(spec.Candidate) > 0 && !slices.Contains(spec.Variants, VariantCandidate) {
		v.warn(o, "spec.variants", "no-candidate", "there is a candidate, but its variant is not played", "add candidate to variants, or leave variants out")
	}
}

// Played lists the variants that a scenario compares, with what holds where it does not say.
func (s *ScenarioSpec) Played() []Variant {
	switch {
	case len(s.Variants) > 0:
		return s.Variants
	case len(s.Candidate) > 0:
		return []Variant{VariantCurrent, VariantCandidate}
	}
	return []Variant{VariantCurrent}
}

// expectations compiles what is expected, and puts mistakes where they stand in the file.
func (v *validator) expectations(o object, spec *ScenarioSpec) {
	if len(v.cat.Figures) == 0 {
		return // a catalog without the twin knows no figures
	}
	if v.asserts == nil {
		made, err := NewAssertions(v.cat.Figures)
		if err != nil {
			v.error(o, "spec.expect", "condition", err.Error(), "")
			return
		}
		v.asserts = made
	}
	if len(spec.Expect) == 0 {
		v.warn(o, "spec", "nothing-expected", "the scenario expects nothing, so only a violation of safety can fail it", "write expect: [detected <= 60s, doubled == 0]")
	}
	for i, text := range spec.Expect {
		path := fmt.Sprintf("spec.expect[%d]", i)
		compiled, err := v.asserts.Compile(text)
		var mistakes ConditionErrors
		switch {
		case errors.As(err, &mistakes):
			for _, m := range mistakes {
				pos := Pos{}
				if n := v.node(o, path); n != nil {
					pos = n.inside(v.set.places[o].file, m.Line, m.Col)
				}
				v.add(Finding{Pos: pos, Severity: SeverityError, Rule: "condition", Message: fmt.Sprintf("Scenario %s: %s: %s", o.name, path, m.Message), Hint: m.Hint})
			}
			continue
		case err != nil:
			v.error(o, path, "condition", err.Error(), "")
			continue
		}
		for _, name := range compiled.Reads() {
			variant, _, other := strings.Cut(name, ".")
			if other && !slices.Contains(spec.Played(), Variant(variant)) {
				v.error(o, path, "not-played", fmt.Sprintf("%s: variant %s is not played, so nobody knows %s", path, variant, name), "add "+variant+" to variants")
			}
		}
	}
}

// modelOf finds the model of a scenario: the one it names, or the only one.
func (v *validator) modelOf(o object, name string) *Model {
	if name != "" {
		if !v.ref(o, "spec.model", KindModel, name) {
			return nil
		}
	} else if n := len(v.names[KindModel]); n != 1 {
		broken := slices.ContainsFunc(slices.Collect(maps.Keys(v.set.places)), func(id object) bool { return id.kind == KindModel })
		switch {
		case n == 0 && broken: // a finding of its own says why
		case n == 0:
			v.error(o, "spec", "no-model", "there is no model to play it on", "add a document of kind Model beside it, or name its folder in use")
		default:
			v.error(o, "spec", "no-model", fmt.Sprintf("there are %d models", n), "write model: "+orList(v.names[KindModel]))
		}
		return nil
	}
	for i := range v.set.Models {
		if m := &v.set.Models[i]; name == "" || m.Metadata.Name == name {
			return m
		}
	}
	return nil
}

func (v *validator) stock(o object, spec *ScenarioSpec, model *Model) {
	for i, s := range spec.Waiting {
		if model != nil {
			v.stepOf(o, fmt.Sprintf("spec.waiting[%d].step", i), s.Step, model)
		}
	}
}

func (v *validator) stepOf(o object, path, name string, model *Model) {
	var known []string
	for i := range model.Spec.Steps {
		known = append(known, model.Spec.Steps[i].Name)
	}
	if !slices.Contains(known, name) {
		v.error(o, path, "dangling-reference", fmt.Sprintf("%s: the model %s has no step %q", path, model.Metadata.Name, name), suggest(name, known, "steps"))
	}
}

// fault holds one fault against the rules of its kind.
func (v *validator) fault(o object, path string, f *Fault, spec *ScenarioSpec) {
	i := slices.IndexFunc(faultRules, func(r struct {
		kind           FaultKind
		targets, needs string
	}) bool {
		return r.kind == f.Kind
	})
	if i < 0 {
		return // decoding has said so
	}
	rule := faultRules[i]
	what, rest, _ := strings.Cut(f.On, "/")
	switch {
	case rule.targets == "" && f.On != "" && f.On != "arrivals":
		v.error(o, path+".on", "bad-target", fmt.Sprintf("a fault of kind %s is about all that arrives, not about %q", f.Kind, f.On), "leave on out")
	case rule.targets != "" && f.On == "":
		v.error(o, path, "bad-target", fmt.Sprintf("a fault of kind %s needs a place", f.Kind), "write on: "+rule.targets+"/NAME")
	case rule.targets != "" && (what != rule.targets || rest == ""):
		v.error(o, path+".on", "bad-target", fmt.Sprintf("a fault of kind %s cannot be on %q", f.Kind, f.On), "write on: "+rule.targets+"/NAME")
	}
	for _, p := range []struct {
		name  string
		given bool
		kinds string
	}{{"by", f.By.Duration > 0, "slow, stale and late"}, {"most", !f.Most.IsZero(), "rate-limit"}, {"times", f.Times > 0, "surge"}} {
		switch {
		case rule.needs == p.name && !p.given:
			v.error(o, path, "missing-key", fmt.Sprintf("a fault of kind %s needs %s, more than zero", f.Kind, p.name), "write "+p.name+": "+map[string]string{"by": "5s", "most": "10/s", "times": "5"}[p.name])
		case rule.needs != p.name && p.given:
			v.error(o, path+"."+p.name, "ignored", fmt.Sprintf("%s only goes with %s", p.name, p.kinds), "remove it")
		}
	}
	if f.Times > 1000 {
		v.error(o, path+".times", "out-of-range", fmt.Sprintf("%g times as much is more than a machine can play", f.Times), "write 1000 or less")
	}
	if f.Every.Duration > 0 && (f.Lasting.Duration <= 0 || f.Lasting.Duration+f.Jitter.Duration >= f.Every.Duration) {
		v.error(o, path+".every", "never-over", "a fault that comes back must be over before it does", "write lasting, and let it be shorter than every less jitter")
	}
	v.zero(o, path, "share", f.Share.PPM == 0, "a fault that touches nothing is none: leave share out for all")
	if horizon := spec.Horizon.Duration; f.At.Duration+f.Jitter.Duration >= horizon && horizon > 0 {
		v.error(o, path, "never-strikes", fmt.Sprintf("it may begin after %s, and the scenario ends after %s", Duration{f.At.Duration + f.Jitter.Duration}, spec.Horizon), "let it begin earlier, or raise horizon")
	}
}

// faultTarget looks for what a fault is on.
func (v *validator) faultTarget(o object, path string, f *Fault, model *Model) {
	what, rest, _ := strings.Cut(f.On, "/")
	switch what {
	case "integration":
		name, endpoint, one := strings.Cut(rest, "/")
		if !v.ref(o, path+".on", KindIntegration, name) || v.integrations[name] == nil {
			return
		}
		if one {
			mv := modelValidator{validator: v, o: o}
			mv.endpoint(path+".on", name, endpoint)
		}
		if (f.Kind == FaultDuplicate || f.Kind == FaultLate) && model != nil && !confirms(model, name) {
			v.error(o, path, "no-callbacks", fmt.Sprintf("the model has no callbacks of %s, so this fault touches nothing", name), "write confirms at its endpoint in the model")
		}
	case "step":
		if model != nil {
			v.stepOf(o, path+".on", rest, model)
		}
	case "probe":
		v.ref(o, path+".on", KindProbe, rest)
	case "person":
		if model == nil {
			return
		}
		var known []string
		for _, p := range model.Spec.People {
			known = append(known, p.Name)
		}
		if !slices.Contains(known, rest) {
			v.error(o, path+".on", "dangling-reference", fmt.Sprintf("the model %s has no person %q", model.Metadata.Name, rest), suggest(rest, known, "people"))
		}
	}
}

func confirms(m *Model, integration string) bool {
	for _, s := range m.Spec.Systems {
		if s.Integration == integration && slices.ContainsFunc(s.Endpoints, func(e ModelEndpoint) bool { return e.Confirms != nil }) {
			return true
		}
	}
	return false
}
