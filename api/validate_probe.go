package api

import (
	"fmt"
	"reflect"
	"strings"
)

func (v *validator) probe(p *Probe) {
	o := object{KindProbe, p.Metadata.Name}
	spec := &p.Spec
	if types := typeNames(v.cat.Probes); !contains(types, spec.Type) {
		v.error(o, "spec.type", "unknown-probe-type", fmt.Sprintf("there is no probe type %q", spec.Type), suggest(spec.Type, types, "probe types"))
	}
	v.probePlace(o, spec)
	if spec.Timeout.Duration > spec.Every.Duration {
		v.warn(o, "spec.timeout", "timeout-over-every", fmt.Sprintf("the timeout %s is longer than every %s: slow runs make the next ones be skipped", spec.Timeout, spec.Every), "write a timeout of at most "+spec.Every.String())
	}
	names := make([]string, len(spec.Detect))
	for i := range spec.Detect {
		names[i] = spec.Detect[i].Name
		v.detector(o, fmt.Sprintf("spec.detect[%d]", i), &spec.Detect[i], spec)
	}
	v.unique(o, "spec.detect", names)
}

// probePlace checks where in the dependency graph the probe's anomalies belong.
func (v *validator) probePlace(o object, spec *ProbeSpec) {
	if spec.Integration != "" && v.ref(o, "spec.integration", KindIntegration, spec.Integration) && spec.Endpoint != "" {
		if in := v.integrations[spec.Integration]; in != nil {
			names := make([]string, len(in.Spec.Endpoints))
			for i, e := range in.Spec.Endpoints {
				names[i] = e.Name
			}
			if !contains(names, spec.Endpoint) {
				v.error(o, "spec.endpoint", "dangling-reference", fmt.Sprintf("the integration %s has no endpoint %q", spec.Integration, spec.Endpoint), suggest(spec.Endpoint, names, "endpoints"))
			}
		}
	}
	if spec.Integration == "" && spec.Endpoint != "" {
		v.error(o, "spec.endpoint", "missing-key", "endpoint is given without an integration", "add integration:")
	}
	if spec.Workflow == "" && spec.Step != "" {
		v.error(o, "spec.step", "missing-key", "step is given without a workflow", "add workflow:")
	}
	if spec.Workflow != "" && v.ref(o, "spec.workflow", KindWorkflow, spec.Workflow) {
		v.probeStep(o, spec)
	}
	if spec.Integration == "" && spec.Workflow == "" && len(spec.Detect) > 0 {
		v.warn(o, "spec", "no-place", "the probe names neither an integration nor a workflow step, so its anomalies have no place in the dependency graph: each is an incident of its own", "add integration:, or workflow: and step:")
	}
}

func (v *validator) probeStep(o object, spec *ProbeSpec) {
	w := v.workflows[spec.Workflow]
	if w == nil {
		return
	}
	names := make([]string, len(w.Spec.Steps))
	for i, s := range w.Spec.Steps {
		names[i] = s.Name
	}
	switch {
	case spec.Step == "":
		v.error(o, "spec.workflow", "missing-key", "workflow is given without the step that the probe watches", "add step: "+orList(names))
	case !contains(names, spec.Step):
		v.error(o, "spec.step", "dangling-reference", fmt.Sprintf("the workflow %s has no step %q", spec.Workflow, spec.Step), suggest(spec.Step, names, "steps"))
	}
}

// detector checks one detector: exactly one rule, and what its figures mean together.
func (v *validator) detector(o object, path string, d *Detector, spec *ProbeSpec) {
	var rules, given []string
	value := reflect.ValueOf(d).Elem()
	for _, f := range fieldsOf(value.Type()) {
		if fv := value.FieldByIndex(f.index); fv.Kind() == reflect.Pointer {
			rules = append(rules, f.key)
			if !fv.IsNil() {
				given = append(given, f.key)
			}
		}
	}
	switch {
	case len(given) == 0:
		v.error(o, path, "one-rule", fmt.Sprintf("the detector %s has no rule", d.Name), "add one of: "+strings.Join(rules, ", ")+"; such as failures: {} for the defaults")
	case len(given) > 1:
		v.error(o, path+"."+given[1], "one-rule", fmt.Sprintf("the detector %s has %d rules: %s", d.Name, len(given), strings.Join(given, ", ")), "make a detector of each")
	}
	report := func(field, message, hint string) {
		v.error(o, path+"."+field, "bad-detector", fmt.Sprintf("the detector %s: %s", d.Name, message), hint)
	}
	if f := d.Failures; f != nil && f.AtLeast > f.Of {
		report("failures.atLeast", fmt.Sprintf("atLeast is %d of only %d runs: it never opens", f.AtLeast, f.Of), fmt.Sprintf("write of: %d or more", f.AtLeast))
	}
	thresholdRules(d.Threshold, report)
	trendRules(d.Trend, report)
	ratioRules(d.Ratio, report)
	burnRules(d.BurnRate, report)
	if a := d.Absence; a != nil && a.For.Duration <= spec.Every.Duration {
		report("absence.for", fmt.Sprintf("for %s is not longer than every %s: it is always open", a.For, spec.Every), "write at least twice the time between two runs")
	}
	if f := d.Flatline; f != nil && f.For.Duration <= spec.Every.Duration {
		report("flatline.for", fmt.Sprintf("for %s is not longer than every %s: it is always open", f.For, spec.Every), "write several times the time between two runs")
	}
}

type detectorReport func(field, message, hint string)

func thresholdRules(t *Threshold, report detectorReport) {
	switch {
	case t == nil:
	case t.Above == nil && t.Below == nil:
		report("threshold", "threshold needs a limit", "add above: or below:")
	case t.Above != nil && t.Below != nil && *t.Above <= *t.Below:
		report("threshold.above", fmt.Sprintf("every value is above %v or below %v: it is always open", *t.Above, *t.Below), "above must be the greater one")
	case t.Clear == nil:
	case t.Above != nil && t.Below != nil:
		report("threshold.clear", "clear says nothing with both above and below", "make two detectors")
	case t.Above != nil && *t.Clear > *t.Above:
		report("threshold.clear", fmt.Sprintf("clear %v is on the bad side of above %v", *t.Clear, *t.Above), fmt.Sprintf("write clear: %v or less", *t.Above))
	case t.Below != nil && *t.Clear < *t.Below:
		report("threshold.clear", fmt.Sprintf("clear %v is on the bad side of below %v", *t.Clear, *t.Below), fmt.Sprintf("write clear: %v or more", *t.Below))
	}
}

func trendRules(t *Trend, report detectorReport) {
	switch {
	case t == nil:
	case (t.Limit == nil) != (t.BreachWithin.Duration == 0):
		report("trend", "limit and breachWithin go together", "add the one that is missing, such as limit: 1000 and breachWithin: 30m")
	case t.PerMinute == nil && t.Limit == nil:
		report("trend", "trend needs something to hold the slope against", "add perMinute:, or limit: and breachWithin:")
	}
}

func ratioRules(r *Ratio, report detectorReport) {
	switch {
	case r == nil:
	case (r.Above == nil) == (r.Below == nil):
		report("ratio", "ratio needs exactly one of above and below", "write above: 5% or below: 90%")
	case r.Confidence.PPM < 500_000 || r.Confidence.PPM > 999_999:
		report("ratio.confidence", fmt.Sprintf("a confidence of %s says nothing", r.Confidence), "write 50% to 99.9%")
	}
}

func burnRules(b *BurnRate, report detectorReport) {
	switch {
	case b == nil:
	case b.Short.Duration >= b.Long.Duration || b.Short.Duration == 0:
		report("burnRate.short", fmt.Sprintf("the short window %s is not shorter than the long one %s", b.Short, b.Long), "write short: 5m and long: 1h")
	case b.Objective.PPM <= 0 || b.Objective.PPM >= 1_000_000:
		report("burnRate.objective", fmt.Sprintf("an objective of %s leaves no error budget to burn, or nothing but", b.Objective), "write a share below 100%, such as 99.9%")
	case b.Factor*float64(1_000_000-b.Objective.PPM) > 1_000_000:
		most := 1_000_000 / float64(1_000_000-b.Objective.PPM)
		report("burnRate.factor", fmt.Sprintf("an objective of %s burns at most %.3g times as fast, never %v times: it never opens", b.Objective, most, b.Factor), fmt.Sprintf("write a factor well below %.3g", most))
	}
}
