package api

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Validate finds what Decode cannot see in one object alone: references that lead nowhere, cycles, rules between fields,
// conditions that do not type-check, and what the catalog does not know. Parameters (with:) are left to whoever builds the
// probe, action or driver. Findings stand in the order of the Set.
func (s Set) Validate(cat Catalog) Findings {
	v := &validator{set: s, cat: cat, known: map[object]bool{}, names: map[Kind][]string{}}
	v.index()
	for i := range s.Integrations {
		v.integration(&s.Integrations[i])
	}
	for i := range s.Workflows {
		v.workflow(&s.Workflows[i])
	}
	for i := range s.Probes {
		v.probe(&s.Probes[i])
	}
	for i := range s.Playbooks {
		v.playbook(&s.Playbooks[i])
	}
	for i := range s.Calendars {
		v.calendar(&s.Calendars[i])
	}
	for i := range s.Models {
		v.model(&s.Models[i])
	}
	for i := range s.Scenarios {
		v.scenario(&s.Scenarios[i])
	}
	v.dependencyCycles()
	v.escalationCycles()
	return v.findings
}

// validator holds a Set against itself and a catalog.
type validator struct {
	set      Set
	cat      Catalog
	known    map[object]bool
	names    map[Kind][]string
	findings Findings
	told     map[Severity]int // findings of each severity

	integrations map[string]*Integration
	workflows    map[string]*Workflow
	probes       map[string]*Probe
	playbooks    map[string]*Playbook

	read    object // the object that doc was read for
	readDoc *node

	asserts *Assertions // made for the first scenario
}

func (v *validator) index() {
	s := v.set
	v.integrations, v.workflows, v.told = map[string]*Integration{}, map[string]*Workflow{}, map[Severity]int{}
	v.probes, v.playbooks = map[string]*Probe{}, map[string]*Playbook{}
	for i := range s.Integrations {
		v.integrations[s.Integrations[i].Metadata.Name] = &s.Integrations[i]
		v.name(KindIntegration, s.Integrations[i].Metadata.Name)
	}
	for i := range s.Workflows {
		v.workflows[s.Workflows[i].Metadata.Name] = &s.Workflows[i]
		v.name(KindWorkflow, s.Workflows[i].Metadata.Name)
	}
	for i := range s.Probes {
		v.probes[s.Probes[i].Metadata.Name] = &s.Probes[i]
		v.name(KindProbe, s.Probes[i].Metadata.Name)
	}
	for i := range s.Playbooks {
		v.playbooks[s.Playbooks[i].Metadata.Name] = &s.Playbooks[i]
		v.name(KindPlaybook, s.Playbooks[i].Metadata.Name)
	}
	for i := range s.Calendars {
		v.name(KindCalendar, s.Calendars[i].Metadata.Name)
	}
	for i := range s.Models {
		v.name(KindModel, s.Models[i].Metadata.Name)
	}
	for i := range s.Scenarios {
		v.name(KindScenario, s.Scenarios[i].Metadata.Name)
	}
}

// name records that an object exists. Decode has already refused a second one of a name; a Set built in Go may have one.
func (v *validator) name(kind Kind, name string) {
	o := object{kind, name}
	if v.known[o] {
		v.error(o, "metadata.name", "duplicate-object", fmt.Sprintf("there are two of kind %s named %q", kind, name), "rename one of them")
	}
	v.known[o] = true
	v.names[kind] = append(v.names[kind], name)
}

// add reports a finding unless there are too many of its severity already; the last one says so. Many warnings hide no error, and
// make none.
func (v *validator) add(f Finding) {
	n := v.told[f.Severity]
	if n == findingsMax {
		f = Finding{Pos: f.Pos, Severity: f.Severity, Rule: "too-many", Message: fmt.Sprintf("more than %d findings like these; the rest is not shown", findingsMax), Hint: "mend the first ones and check again"}
	}
	if n <= findingsMax {
		v.findings = append(v.findings, f)
		v.told[f.Severity]++
	}
}

// node finds the value of a field of an object, by a path such as spec.steps[2].do; nil for a Set built in Go.
func (v *validator) node(o object, path string) *node {
	src, ok := v.set.places[o]
	if !ok {
		return nil
	}
	if v.readDoc == nil || v.read != o {
		v.read, v.readDoc = o, src.read()
	}
	return v.readDoc.at(path)
}

func (v *validator) pos(o object, path string) Pos {
	n := v.node(o, path)
	if n == nil {
		return Pos{}
	}
	return Pos{v.set.places[o].file, int(n.line), int(n.col)}
}

func (v *validator) report(severity Severity, o object, path, rule string, text [2]string) {
	if v.told[severity] <= findingsMax {
		v.add(Finding{Pos: v.pos(o, path), Severity: severity, Rule: rule, Message: string(o.kind) + " " + o.name + ": " + text[0], Hint: text[1]})
	}
}

func (v *validator) error(o object, path, rule, message, hint string) {
	v.report(SeverityError, o, path, rule, [2]string{message, hint})
}

func (v *validator) warn(o object, path, rule, message, hint string) {
	v.report(SeverityWarning, o, path, rule, [2]string{message, hint})
}

// ref reports a name that leads nowhere. An object that has errors of its own counts as there.
func (v *validator) ref(o object, path string, kind Kind, name string) bool {
	target := object{kind, name}
	if _, broken := v.set.places[target]; broken || v.known[target] {
		return true
	}
	v.error(o, path, "dangling-reference", fmt.Sprintf("%s: there is no %s %q", path, kind, name), suggest(name, v.names[kind], kindPlural(kind)))
	return false
}

func kindPlural(k Kind) string { return strings.ToLower(string(k)) + "s" }

// unique reports names that are taken twice within one list of an object.
func (v *validator) unique(o object, list string, names []string) {
	for i, name := range names {
		if slices.Index(names, name) < i {
			v.error(o, fmt.Sprintf("%s[%d].name", list, i), "duplicate-name", fmt.Sprintf("%s: the name %q is taken twice", list, name), "names are unique within "+list)
		}
	}
}

// A URL has a scheme; host:port alone has none.
var hasScheme = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9+.-]*:[^0-9]`)

func (v *validator) integration(in *Integration) {
	o := object{KindIntegration, in.Metadata.Name}
	var names []string
	for i, e := range in.Spec.Endpoints {
		names = append(names, e.Name)
		if e.URL.Text != "" && !hasScheme.MatchString(e.URL.Text) {
			v.error(o, fmt.Sprintf("spec.endpoints[%d].url", i), "bad-url", fmt.Sprintf("the endpoint %s has no scheme: %q", e.Name, Redact(e.URL.Text)), "write a URL, such as https://host/path, tcp://host:5432 or amqp://host:5672")
		}
	}
	v.unique(o, "spec.endpoints", names)
	for i, dep := range in.Spec.DependsOn {
		v.ref(o, fmt.Sprintf("spec.dependsOn[%d]", i), KindIntegration, dep)
	}
	v.driver(o, "spec.route", in.Spec.Route, v.cat.Routes)
	v.driver(o, "spec.channel", in.Spec.Channel, v.cat.Channels)
}

// driver checks that the driver is known.
func (v *validator) driver(o object, path string, d *Driver, known []TypeInfo) {
	if d == nil {
		return
	}
	if !contains(typeNames(known), d.Driver) {
		v.error(o, path+".driver", "unknown-driver", fmt.Sprintf("there is no driver %q for %s", d.Driver, path), suggest(d.Driver, typeNames(known), "drivers"))
	}
}

func (v *validator) workflow(w *Workflow) {
	o := object{KindWorkflow, w.Metadata.Name}
	names := make([]string, len(w.Spec.Steps))
	after := map[string][]string{}
	for i, step := range w.Spec.Steps {
		names[i] = step.Name
		after[step.Name] = step.After
	}
	v.unique(o, "spec.steps", names)
	for i, step := range w.Spec.Steps {
		for j, name := range step.After {
			if !slices.Contains(names, name) {
				path := fmt.Sprintf("spec.steps[%d].after[%d]", i, j)
				v.error(o, path, "dangling-reference", fmt.Sprintf("the step %s comes after %q, which is no step of this workflow", step.Name, name), suggest(name, names, "steps"))
			}
		}
		for j, name := range step.Uses {
			v.ref(o, fmt.Sprintf("spec.steps[%d].uses[%d]", i, j), KindIntegration, name)
		}
	}
	if loop := findCycle(names, func(n string) []string { return after[n] }); loop != nil {
		path := fmt.Sprintf("spec.steps[%d].after", slices.Index(names, loop[0]))
		v.error(o, path, "cycle", "the steps wait for each other: "+strings.Join(loop, " after "), "remove one of these after entries")
	}
	if w.Spec.Value.CountedBy != "" {
		v.ref(o, "spec.value.countedBy", KindProbe, w.Spec.Value.CountedBy)
	}
}

// dependencyCycles finds integrations that depend on themselves through others.
func (v *validator) dependencyCycles() {
	next := func(name string) []string {
		if in := v.integrations[name]; in != nil {
			return in.Spec.DependsOn
		}
		return nil
	}
	if loop := findCycle(v.names[KindIntegration], next); loop != nil {
		v.error(object{KindIntegration, loop[0]}, "spec.dependsOn", "cycle", "integrations depend on each other: "+strings.Join(loop, " on "), "remove one of these dependsOn entries")
	}
}

// escalationCycles finds playbooks that end in each other for ever.
func (v *validator) escalationCycles() {
	next := func(name string) []string {
		p := v.playbooks[name]
		if p == nil || p.Spec.Otherwise == "undo" || p.Spec.Otherwise == "stop" || p.Spec.Otherwise == "" {
			return nil
		}
		return []string{p.Spec.Otherwise}
	}
	if loop := findCycle(v.names[KindPlaybook], next); loop != nil {
		v.error(object{KindPlaybook, loop[0]}, "spec.otherwise", "cycle", "the escalation never ends: "+strings.Join(loop, " otherwise "), "let the last playbook end with undo or stop")
	}
}

// findCycle walks a graph depth first, in the order given, and gives the first cycle with its start repeated at the end.
func findCycle(nodes []string, next func(string) []string) []string {
	const entered, left = 1, 2
	state := map[string]int{}
	var path []string
	var visit func(string) []string
	visit = func(n string) []string {
		state[n] = entered
		path = append(path, n)
		for _, m := range next(n) {
			switch state[m] {
			case entered:
				return append(slices.Clone(path[slices.Index(path, m):]), m)
			case left:
				continue
			}
			if loop := visit(m); loop != nil {
				return loop
			}
		}
		path = path[:len(path)-1]
		state[n] = left
		return nil
	}
	for _, n := range nodes {
		if state[n] == 0 {
			if loop := visit(n); loop != nil {
				return loop
			}
		}
	}
	return nil
}
