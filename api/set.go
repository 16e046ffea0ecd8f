package api

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"
)

// Set is a configuration: all objects of all files, in the order of the files.
type Set struct {
	Integrations []Integration `json:"integrations,omitempty"`
	Workflows    []Workflow    `json:"workflows,omitempty"`
	Probes       []Probe       `json:"probes,omitempty"`
	Playbooks    []Playbook    `json:"playbooks,omitempty"`
	Calendars    []Calendar    `json:"calendars,omitempty"`
	Approvals    []Approval    `json:"approvals,omitempty"`

	// What only the twin reads; no part of what a controller runs, so no part of its digest.
	Models    []Model    `json:"-"`
	Scenarios []Scenario `json:"-"`

	// Where each object was read from, for findings that come later. Objects with errors are here too, though not in the
	// lists: so a reference to one is not reported as dangling.
	places map[object]source
}

// object names one object of a Set.
type object struct {
	kind Kind
	name string
}

// kinds lists the kinds in the order of the reference pages.
var kinds = []Kind{KindIntegration, KindWorkflow, KindProbe, KindPlaybook, KindCalendar, KindApproval, KindModel, KindScenario}

// Decode reads strict YAML of several documents into a Set. Objects without an error are in the Set also when others
// have some.
func Decode(file string, data []byte) (Set, Findings) {
	return DecodeFiles([]string{file}, func(string) ([]byte, error) { return data, nil })
}

// DecodeFiles reads several files into one Set, in the order given; read fetches the bytes of one. Findings stand in the
// order of the files. A name that is taken twice by one kind is a finding, also across files.
func DecodeFiles(files []string, read func(file string) ([]byte, error)) (Set, Findings) {
	set := Set{places: map[object]source{}}
	var all Findings
	for _, file := range files {
		r := &reader{file: file}
		data, err := read(file)
		if err != nil {
			r.errorAt(1, 1, "unreadable", "read "+file+": "+err.Error(), "check that the file exists and may be read")
		}
		r.documents(data, func(n *node, src source) { set.document(decoder{r}, n, src) })
		r.findings.Sort()
		all = append(all, r.findings...)
	}
	return set, all
}

// Slim drops what only reading and building need: the texts that findings point into, and the parameters of probes. Call it once
// all is checked, built and digested; with 10,000 probes it is a quarter of what the configuration takes.
func (s *Set) Slim() {
	s.places = nil
	for i := range s.Probes {
		s.Probes[i].Spec.With = Params{}
	}
}

// document decodes one document and adds it to the Set.
func (s *Set) document(d decoder, n *node, src source) {
	if n.tagged {
		return
	}
	if n.kind != nodeMap {
		d.at(n, "wrong-type", "a document must be a mapping (key: value), not "+n.describe(), "start with apiVersion: "+Version)
		return
	}
	before := len(d.findings)
	kind := d.header(n)
	if kind == "" {
		return
	}
	target := newObject(kind)
	d.structure(n, target.Elem(), "", "apiVersion", "kind")
	name := n.get("metadata").get("name")
	if name == nil {
		return
	}
	id := object{kind, name.value}
	if first, taken := s.places[id]; taken {
		d.at(name, "duplicate-object", fmt.Sprintf("there already is a %s named %q, at %s:%d", kind, name.value, first.file, first.line), "choose another name")
		return
	}
	s.places[id] = src
	if !Findings(d.findings[before:]).Failed() {
		s.add(target.Interface())
	}
}

func newObject(kind Kind) reflect.Value {
	switch kind {
	case KindIntegration:
		return reflect.ValueOf(&Integration{})
	case KindWorkflow:
		return reflect.ValueOf(&Workflow{})
	case KindProbe:
		return reflect.ValueOf(&Probe{})
	case KindPlaybook:
		return reflect.ValueOf(&Playbook{})
	case KindApproval:
		return reflect.ValueOf(&Approval{})
	case KindModel:
		return reflect.ValueOf(&Model{})
	case KindScenario:
		return reflect.ValueOf(&Scenario{})
	}
	return reflect.ValueOf(&Calendar{})
}

// probeTimeoutDefault bounds a run where the spec does not; a probe that runs more often has less.
const probeTimeoutDefault = 5 * time.Second

func (s *Set) add(object any) {
	switch o := object.(type) {
	case *Integration:
		s.Integrations = append(s.Integrations, *o)
	case *Workflow:
		s.Workflows = append(s.Workflows, *o)
	case *Probe:
		if o.Spec.Timeout.Duration == 0 {
			o.Spec.Timeout.Duration = min(o.Spec.Every.Duration, probeTimeoutDefault)
		}
		s.Probes = append(s.Probes, *o)
	case *Playbook:
		s.Playbooks = append(s.Playbooks, *o)
	case *Calendar:
		s.Calendars = append(s.Calendars, *o)
	case *Approval:
		s.Approvals = append(s.Approvals, *o)
	case *Model:
		s.Models = append(s.Models, *o)
	case *Scenario:
		s.Scenarios = append(s.Scenarios, *o)
	}
}

// header checks apiVersion and kind; it gives "" where nothing can be made of the document.
func (d decoder) header(n *node) Kind {
	if v := n.get("apiVersion"); v == nil {
		d.at(n, "missing-key", "apiVersion is missing", "add apiVersion: "+Version)
	} else if v.value != Version || v.kind != nodeText {
		d.at(v, "bad-version", fmt.Sprintf("apiVersion is %q, which this version does not read", v.value), "write "+Version)
	}
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = string(k)
	}
	k := n.get("kind")
	switch {
	case k == nil:
		d.at(n, "missing-key", "kind is missing", "add kind: "+orList(names))
		return ""
	case k.kind != nodeText || !contains(names, k.value):
		d.at(k, "bad-kind", fmt.Sprintf("there is no kind %q", k.value), suggest(k.value, names, "kinds"))
		return ""
	}
	return Kind(k.value)
}

// Overlay is a Set in which the objects of over stand in the place of those of the same kind and name; the others of over join at the end.
func (s Set) Overlay(over Set) Set {
	out := s
	out.Integrations = overlaid(s.Integrations, over.Integrations, func(o *Integration) string { return o.Metadata.Name })
	out.Workflows = overlaid(s.Workflows, over.Workflows, func(o *Workflow) string { return o.Metadata.Name })
	out.Probes = overlaid(s.Probes, over.Probes, func(o *Probe) string { return o.Metadata.Name })
	out.Playbooks = overlaid(s.Playbooks, over.Playbooks, func(o *Playbook) string { return o.Metadata.Name })
	out.Calendars = overlaid(s.Calendars, over.Calendars, func(o *Calendar) string { return o.Metadata.Name })
	out.Approvals = overlaid(s.Approvals, over.Approvals, func(o *Approval) string { return o.Metadata.Name })
	out.Models = overlaid(s.Models, over.Models, func(o *Model) string { return o.Metadata.Name })
	out.Scenarios = overlaid(s.Scenarios, over.Scenarios, func(o *Scenario) string { return o.Metadata.Name })
	out.places = maps.Clone(s.places)
	maps.Copy(out.places, over.places)
	return out
}

func overlaid[T any](under, over []T, name func(*T) string) []T {
	out := slices.Clone(under)
	for i := range over {
		k := slices.IndexFunc(out, func(o T) bool { return name(&o) == name(&over[i]) })
		if k < 0 {
			out = append(out, over[i])
		} else {
			out[k] = over[i]
		}
	}
	return out
}
