package api

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

func (v *validator) playbook(p *Playbook) {
	o := object{KindPlaybook, p.Metadata.Name}
	spec := &p.Spec
	if spec.Otherwise != "" && (o.name == "undo" || o.name == "stop") {
		v.error(o, "metadata.name", "bad-name", fmt.Sprintf("%q has a meaning of its own in otherwise", o.name), "choose another name")
	}
	v.trigger(o, &spec.On)
	v.verify(o, spec)
	if spec.Calendar != "" {
		v.ref(o, "spec.calendar", KindCalendar, spec.Calendar)
	}
	for i, name := range spec.Notify {
		path := fmt.Sprintf("spec.notify[%d]", i)
		if v.ref(o, path, KindIntegration, name) && v.integrations[name] != nil && v.integrations[name].Spec.Channel == nil {
			v.error(o, path, "no-channel", fmt.Sprintf("the integration %s has no channel to notify", name), "add channel: {driver: ...} to it")
		}
	}
	if other := spec.Otherwise; other != "" && other != "undo" && other != "stop" && !v.known[object{KindPlaybook, other}] {
		if _, broken := v.set.places[object{KindPlaybook, other}]; !broken {
			v.error(o, "spec.otherwise", "dangling-reference", fmt.Sprintf("otherwise: %q is neither undo nor stop nor a playbook", other), suggest(other, append([]string{"undo", "stop"}, v.names[KindPlaybook]...), "write one of"))
		}
	}
	names := make([]string, len(spec.Steps))
	for i := range spec.Steps {
		names[i] = spec.Steps[i].Name
		v.step(o, fmt.Sprintf("spec.steps[%d]", i), &spec.Steps[i], spec)
	}
	v.unique(o, "spec.steps", names)
	if spec.Limits.Runs.N > 0 && spec.Limits.Runs.Per < time.Second {
		v.error(o, "spec.limits.runs", "out-of-range", fmt.Sprintf("%s is no limit", spec.Limits.Runs), "write a number of runs in minutes or hours, such as 2 per 1h")
	}
	v.budgets(o, &spec.Limits)
	v.totals(o, spec)
}

// budgets holds each budget to bounding something, and something that the bound of one run leaves room for.
func (v *validator) budgets(o object, l *Limits) {
	for i := range l.Within {
		b, path := &l.Within[i], fmt.Sprintf("spec.limits.within[%d]", i)
		if b.Runs == 0 && b.Items == 0 && len(b.Amount) == 0 && b.Share.PPM == 0 {
			v.error(o, path, "no-limit", "it bounds nothing", "add runs, items, amount or share")
		}
		if b.Items > 0 && l.Items > b.Items {
			v.warn(o, path+".items", "never-reached", fmt.Sprintf("one run may touch %d items, but all runs in %s only %d", l.Items, b.Per, b.Items), "lower limits.items or raise this")
		}
		for _, c := range l.Amount.Currencies() {
			if len(b.Amount) > 0 && l.Amount[c] > b.Amount[c] {
				v.warn(o, path+".amount", "never-reached", fmt.Sprintf("one run may touch %s, but all runs in %s only %s", formatAmount(l.Amount[c], c), b.Per, formatAmount(b.Amount[c], c)), "lower limits.amount or raise this; a currency that is not named is not allowed at all")
			}
		}
	}
}

// totals checks the control totals.
func (v *validator) totals(o object, spec *PlaybookSpec) {
	names := make([]string, len(spec.Totals))
	for i := range spec.Totals {
		names[i] = spec.Totals[i].Name
		for k, probe := range spec.Totals[i].Probes {
			v.ref(o, fmt.Sprintf("spec.totals[%d].probes[%d]", i, k), KindProbe, probe)
			if slices.Contains(spec.Totals[i].Probes[:k], probe) {
				v.error(o, fmt.Sprintf("spec.totals[%d].probes[%d]", i, k), "duplicate", fmt.Sprintf("the probe %s is added up twice", probe), "name each probe once")
			}
		}
	}
	v.unique(o, "spec.totals", names)
}

func (v *validator) trigger(o object, on *Trigger) {
	v.anomaly(o, "spec.on.anomaly", on.Anomaly)
	v.condition(o, "spec.on.when", on.When)
	if on.Confirm == nil {
		return
	}
	var independent []string
	for i, name := range on.Confirm.Of {
		v.anomaly(o, fmt.Sprintf("spec.on.confirm.of[%d]", i), name)
		if probe, _, _ := strings.Cut(name, "/"); !slices.Contains(independent, probe) {
			independent = append(independent, probe)
		}
	}
	if n := on.Confirm.AtLeast; n > len(independent) {
		v.error(o, "spec.on.confirm.atLeast", "never-confirmed", fmt.Sprintf("atLeast is %d, but the anomalies come from only %d independent probe%s: it is never met", n, len(independent), plural(len(independent))), "name anomalies of more probes, or lower atLeast; two anomalies of one probe count once")
	}
}

// anomaly checks a reference PROBE/DETECTOR.
func (v *validator) anomaly(o object, path, name string) {
	probe, detector, found := strings.Cut(name, "/")
	if !found || probe == "" || detector == "" {
		hint := "write PROBE/DETECTOR, such as card-gateway-auth/down"
		if p := v.probes[name]; p != nil && len(p.Spec.Detect) > 0 {
			hint = fmt.Sprintf("write %s/%s", name, p.Spec.Detect[0].Name)
		}
		v.error(o, path, "bad-value", fmt.Sprintf("%s: %q names no detector", path, name), hint)
		return
	}
	if !v.ref(o, path, KindProbe, probe) || v.probes[probe] == nil {
		return
	}
	names := make([]string, len(v.probes[probe].Spec.Detect))
	for i, d := range v.probes[probe].Spec.Detect {
		names[i] = d.Name
	}
	if !slices.Contains(names, detector) {
		v.error(o, path, "dangling-reference", fmt.Sprintf("%s: the probe %s has no detector %q", path, probe, detector), suggest(detector, names, "detectors"))
	}
}

func (v *validator) verify(o object, spec *PlaybookSpec) {
	for i, name := range spec.Verify.Probes {
		v.ref(o, fmt.Sprintf("spec.verify.probes[%d]", i), KindProbe, name)
	}
	for i, name := range spec.Verify.Reconcile {
		path := fmt.Sprintf("spec.verify.reconcile[%d]", i)
		if v.ref(o, path, KindProbe, name) && v.probes[name] != nil && v.probes[name].Spec.Type != "reconcile" {
			v.error(o, path, "not-reconcile", fmt.Sprintf("the probe %s is of type %s, not reconcile", name, v.probes[name].Spec.Type), "name it under verify.probes")
		}
	}
	acts := slices.ContainsFunc(spec.Steps, func(s Step) bool {
		a, ok := v.cat.Action(s.Do)
		return ok && a.Danger > D0
	})
	if acts && len(spec.Verify.Probes)+len(spec.Verify.Reconcile) == 0 {
		v.warn(o, "spec", "no-verify", "nothing proves that the playbook helped: it can only end as not-verified", "add verify: {probes: [...]}")
	}
}

func (v *validator) step(o object, path string, s *Step, spec *PlaybookSpec) {
	v.condition(o, path+".when", s.When)
	v.condition(o, path+".ask", s.Ask)
	action, ok := v.cat.Action(s.Do)
	if !ok {
		v.error(o, path+".do", "unknown-action", fmt.Sprintf("there is no action %q", s.Do), suggest(s.Do, v.cat.actionNames(), "actions"))
		return
	}
	if v.cat.StepInfo != nil {
		if sharper, ok := v.cat.StepInfo(*s); ok {
			action = sharper
		}
	}
	if s.Ask != "" && action.Effect == EffectObserve && action.Danger == D0 {
		v.warn(o, path+".ask", "ask-ignored", fmt.Sprintf("ask is not looked at here: the action %s touches nothing that a person could approve", s.Do), "ask at the step that acts, or add a step with do: ask")
	}
	limits := spec.Limits
	bounded := slices.ContainsFunc(limits.Within, func(b Budget) bool { return b.Items > 0 || len(b.Amount) > 0 || b.Share.PPM > 0 })
	switch {
	case action.Danger == D5:
		v.error(o, path+".do", "never-automated", fmt.Sprintf("the action %s is of danger class D5: it is never automated, in any mode", s.Do), "tell a person with notify or ask instead")
	case action.Danger == D4 && spec.Mode == ModeAuto:
		v.warn(o, path+".do", "needs-people", fmt.Sprintf("the action %s is of danger class D4: two people are asked each time, also in mode auto", s.Do), "write mode: approve, so that nobody expects otherwise")
	case action.Counts && action.Danger >= D3 && spec.Mode == ModeAuto && limits.Items == 0 && len(limits.Amount) == 0 && limits.Share.PPM == 0 && !bounded:
		v.warn(o, path+".do", "no-limit", fmt.Sprintf("the action %s may touch any number of items and any amount", s.Do), "add limits: {items: ..., amount: {...}} or share:")
	}
}

// condition compiles a CEL condition and puts its mistakes where they stand in the file.
func (v *validator) condition(o object, path, text string) {
	if text == "" {
		return
	}
	c, err := CompileCondition(text)
	var mistakes ConditionErrors
	if err == nil {
		if path == "spec.on.when" && c.ReadsStep() {
			v.error(o, path, "condition", path+": items, amount and share are known only once a step was planned", "use them in a step's ask; here incident.items tells what is at risk")
		}
		return
	}
	if !errors.As(err, &mistakes) {
		v.error(o, path, "condition", path+": "+err.Error(), "")
		return
	}
	for _, m := range mistakes {
		var pos Pos
		if n := v.node(o, path); n != nil {
			pos = n.inside(v.set.places[o].file, m.Line, m.Col)
		}
		v.add(Finding{Pos: pos, Severity: SeverityError, Rule: "condition", Message: fmt.Sprintf("Playbook %s: %s: %s", o.name, path, m.Message), Hint: m.Hint})
	}
}

// inside maps a place within a text to its place in the file. It is exact for plain and quoted texts of one line without
// escapes and for literal blocks; a folded text of several lines gives its first line.
func (n *node) inside(file string, line, col int) Pos {
	switch {
	case n.kind != nodeText:
		return Pos{file, int(n.line), int(n.col)}
	case n.block:
		return Pos{file, int(n.line) + line, int(n.inner) + col - 1}
	case line == 1:
		return Pos{file, int(n.line), int(n.inner) + col - 1}
	}
	return Pos{file, int(n.line) + line - 1, col}
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}
