package api

import (
	"fmt"
	"slices"
	"strings"
)

func (v *modelValidator) step(path string, s *ModelStep) {
	if v.spec.Workflow != "" && v.workflows[v.spec.Workflow] != nil {
		var known []string
		for _, ws := range v.workflows[v.spec.Workflow].Spec.Steps {
			known = append(known, ws.Name)
		}
		if !slices.Contains(known, s.Name) {
			v.warn(v.o, path+".name", "not-in-workflow", fmt.Sprintf("the workflow %s has no step %q", v.spec.Workflow, s.Name), suggest(s.Name, known, "its steps"))
		}
	}
	v.zero(v.o, path, "workers", s.Workers == 0, "write how many items it does at once, or leave it out for 1; a fault of kind stop stops a step")
	if s.Pool != "" {
		v.among(path+".pool", s.Pool, v.pools, "pool")
		if s.Workers > 0 || s.Hours != nil || s.Rounds.Duration > 0 {
			v.error(v.o, path+".pool", "not-exactly-one", "a step with a pool has no workers, hours and rounds of its own", "remove workers, hours and rounds, or the pool")
		}
	}
	v.hours(v.o, path+".hours", s.Hours)
	v.times(v.o, path+".takes", s.Takes)
	v.times(v.o, path+".delay", s.Delay)
	var after []string
	for i, d := range s.Delays {
		place := fmt.Sprintf("%s.delays[%d]", path, i)
		v.among(place+".after", d.After, v.steps, "step")
		v.times(v.o, place+".time", d.Time)
		after = append(after, d.After)
	}
	v.unique(v.o, path+".delays", after)
	if s.DelayPauses && s.Delay == nil && len(s.Delays) == 0 {
		v.error(v.o, path+".delayPauses", "ignored", "delayPauses only goes with delay and delays", "write one of them, or remove it")
	}
	v.zero(v.o, path, "tries", s.Tries == 0, "write 1 for a step that is not tried again")
	v.zero(v.o, path, "queue", s.Queue == 0, "leave it out where there is no limit")
	for i := range s.Calls {
		v.call(fmt.Sprintf("%s.calls[%d]", path, i), &s.Calls[i])
	}
	v.ways(path+".next", s.Next)
}

// among reports a name that is none of a list.
func (v *modelValidator) among(path, name string, known []string, what string) bool {
	if slices.Contains(known, name) {
		return true
	}
	v.error(v.o, path, "dangling-reference", fmt.Sprintf("%s: there is no %s %q in this model", path, what, name), suggest(name, known, what+"s"))
	return false
}

func (v *modelValidator) call(path string, c *ModelCall) {
	if v.ref(v.o, path+".to", KindIntegration, c.To) && c.Endpoint != "" {
		v.endpoint(path+".endpoint", c.To, c.Endpoint)
	}
	if c.Effect == "" && (c.Money || c.Keyed) {
		v.error(v.o, path, "no-effect", "a call that only reads moves no money and needs no key", "write effect: charge, booking or whatever it brings about")
	}
	v.zero(v.o, path, "timeout", c.Timeout.Duration == 0, "no answer comes at once: write how long it is waited for")
}

// endpoint reports an endpoint that an integration does not have. An integration with errors of its own counts as having it.
func (v *modelValidator) endpoint(path, integration, name string) bool {
	in := v.integrations[integration]
	if in == nil {
		return true
	}
	var known []string
	for _, e := range in.Spec.Endpoints {
		known = append(known, e.Name)
	}
	if len(known) == 0 {
		known = []string{"main"} // what the twin calls the only one of an integration without
	}
	if slices.Contains(known, name) {
		return true
	}
	v.error(v.o, path, "dangling-reference", fmt.Sprintf("the integration %s has no endpoint %q", integration, name), suggest(name, known, "endpoints"))
	return false
}

// route checks INTEGRATION/ENDPOINT.
func (v *modelValidator) route(path, text string) {
	integration, endpoint, found := strings.Cut(text, "/")
	if v.ref(v.o, path, KindIntegration, integration) {
		if !found {
			v.error(v.o, path, "bad-value", fmt.Sprintf("%s: %q names no endpoint", path, text), "write INTEGRATION/ENDPOINT, such as card-gateway/primary")
			return
		}
		v.endpoint(path, integration, endpoint)
	}
}

// besideMax is how many steps may begin at once with another.
const besideMax = 30

func (v *modelValidator) ways(path string, next []ModelNext) {
	for i, n := range next {
		place := fmt.Sprintf("%s[%d]", path, i)
		if n.To != "" {
			v.among(place+".to", n.To, v.steps, "step")
		}
		if n.After != "" {
			v.among(place+".after", n.After, v.steps, "step")
		}
		if n.First && n.After != "" {
			v.error(v.o, place+".first", "not-exactly-one", "an item that began here did not come from another step", "keep first or after")
		}
		if len(n.With) > 0 && n.To == "" {
			v.error(v.o, place+".with", "ignored", "nothing is done beside the end", "write to: STEP for one of them, and the others in with")
		}
		for k, name := range n.With {
			at := fmt.Sprintf("%s.with[%d]", place, k)
			if v.among(at, name, v.steps, "step") && (name == n.To || slices.Contains(n.With[:k], name)) {
				v.error(v.o, at, "duplicate-name", fmt.Sprintf("%s is begun twice at once", name), "name each step once")
			}
		}
		if len(n.With) > besideMax {
			v.error(v.o, place+".with", "out-of-range", fmt.Sprintf("%d steps beside one are too many; the most is %d", len(n.With), besideMax), "take fewer")
		}
		v.zero(v.o, place, "share", n.Share == 0, "where nothing ever goes, leave the line out")
	}
}

// followers are the places to which an item may go that came to a step from another one, in the order of the file; "" is the end.
func (v *modelValidator) followers(step, from string) []string {
	i := slices.Index(v.steps, step)
	if i < 0 {
		return []string{""} // another finding says so
	}
	var particular, general []string
	for _, n := range v.spec.Steps[i].Next {
		switch {
		case n.First && from == "", n.After != "" && n.After == from:
			particular = append(particular, n.To)
		case n.After == "" && !n.First:
			general = append(general, n.To)
		}
	}
	switch {
	case len(particular) > 0:
		return particular
	case len(general) > 0:
		return general
	}
	if w := v.workflows[v.spec.Workflow]; w != nil {
		for _, s := range w.Spec.Steps {
			if slices.Contains(s.After, step) && slices.Contains(v.steps, s.Name) {
				return []string{s.Name}
			}
		}
		return []string{""}
	}
	if i+1 < len(v.steps) {
		return []string{v.steps[i+1]}
	}
	return []string{""}
}

// endless reports steps from which no way leads to an end, whatever chance says: items would go round for ever.
func (v *modelValidator) endless() {
	type place struct{ step, from string }
	var all []place
	seen := map[place]bool{}
	visit := func(p place) {
		if p.step != "" && !seen[p] {
			seen[p] = true
			all = append(all, p)
		}
	}
	for _, b := range v.spec.Begin {
		visit(place{b.To, ""})
	}
	if len(v.spec.Begin) == 0 && len(v.steps) > 0 {
		visit(place{v.steps[0], ""})
	}
	before := map[place][]place{}
	ends := []place{}
	for i := 0; i < len(all); i++ {
		for _, to := range v.followers(all[i].step, all[i].from) {
			if to == "" {
				ends = append(ends, all[i])
				continue
			}
			next := place{to, all[i].step}
			before[next] = append(before[next], all[i])
			visit(next)
		}
	}
	good := map[place]bool{}
	for len(ends) > 0 {
		p := ends[len(ends)-1]
		ends = ends[:len(ends)-1]
		if !good[p] {
			good[p] = true
			ends = append(ends, before[p]...)
		}
	}
	for _, p := range all {
		if !good[p] {
			path := fmt.Sprintf("spec.steps[%d].next", max(slices.Index(v.steps, p.step), 0))
			v.error(v.o, path, "endless", fmt.Sprintf("from step %s no way leads to the end: items go round for ever", p.step), "add a line without to, with the share of the items that are finished here")
			return
		}
	}
}

func (v *modelValidator) systems() {
	var names []string
	for i := range v.spec.Systems {
		s, path := &v.spec.Systems[i], fmt.Sprintf("spec.systems[%d]", i)
		known := v.ref(v.o, path+".integration", KindIntegration, s.Integration)
		if slices.Contains(names, s.Integration) {
			v.error(v.o, path+".integration", "duplicate-name", fmt.Sprintf("the integration %s is described twice", s.Integration), "join the two")
		}
		names = append(names, s.Integration)
		if s.Active != "" && known {
			v.endpoint(path+".active", s.Integration, s.Active)
		}
		var ends []string
		for k := range s.Endpoints {
			e, place := &s.Endpoints[k], fmt.Sprintf("%s.endpoints[%d]", path, k)
			ends = append(ends, e.Name)
			if known {
				v.endpoint(place+".name", s.Integration, e.Name)
			}
			v.times(v.o, place+".takes", e.Takes)
			v.times(v.o, place+".confirms", e.Confirms)
			v.shares(place, "refuses, fails and loses", e.Refuses, e.Fails, e.Loses)
			if e.Doubles.PPM > 0 && e.Confirms == nil {
				v.warn(v.o, place+".doubles", "ignored", "doubles is about callbacks, and there are none", "write confirms, or remove it")
			}
		}
		v.unique(v.o, path+".endpoints", ends)
	}
}

// shares reports shares that are more than everything together.
func (v *modelValidator) shares(path, what string, shares ...Percent) {
	var sum Percent
	for _, s := range shares {
		sum.PPM += s.PPM
	}
	if sum.PPM > 1_000_000 {
		v.error(v.o, path, "out-of-range", fmt.Sprintf("%s are %s together", what, sum), "they exclude each other: at most 100%")
	}
}

func (v *modelValidator) sees() {
	var names []string
	for i := range v.spec.Sees {
		s, path := &v.spec.Sees[i], fmt.Sprintf("spec.sees[%d]", i)
		v.ref(v.o, path+".probe", KindProbe, s.Probe)
		if slices.Contains(names, s.Probe) {
			v.error(v.o, path+".probe", "duplicate-name", fmt.Sprintf("what the probe %s sees is said twice", s.Probe), "keep one of the two")
		}
		names = append(names, s.Probe)
		v.oneOf(v.o, path, true, []string{"endpoint", "route", "running", "count", "age", "sum", "arrived", "lag", "locked", "fixed"},
			[]bool{s.Endpoint != "", s.Route != "", s.Running != "", s.Count != "", s.Age != "", s.Sum != "", s.Arrived != "", s.Lag != "", s.Locked != "", s.Fixed != ""})
		v.sight(path, s)
	}
}

func (v *modelValidator) sight(path string, s *ModelSight) {
	if s.Endpoint != "" {
		v.route(path+".endpoint", s.Endpoint)
	}
	if s.Route != "" {
		v.route(path+".route", s.Route)
	}
	for _, step := range [][2]string{{"running", s.Running}, {"of", s.Of}, {"arrived", s.Arrived}} {
		if step[1] != "" {
			v.among(path+"."+step[0], step[1], v.steps, "step")
		}
	}
	for _, in := range [][2]string{{"lag", s.Lag}, {"locked", s.Locked}} {
		if in[1] != "" {
			v.ref(v.o, path+"."+in[0], KindIntegration, in[1])
		}
	}
	if s.Of != "" && s.Count == "" && s.Age == "" {
		v.error(v.o, path+".of", "ignored", "of only goes with count and age", "remove it")
	}
	if s.Sum == "" && s.Against != "" || s.Against == "" && s.Within > 0 {
		v.error(v.o, path, "ignored", "against only goes with sum, and within with against", "write sum: EFFECT, against: EFFECT, within: 0")
	}
	var effects []string
	for i := range v.spec.Steps {
		for _, c := range v.spec.Steps[i].Calls {
			if c.Effect != "" && !slices.Contains(effects, c.Effect) {
				effects = append(effects, c.Effect)
			}
		}
	}
	for _, e := range [][2]string{{"sum", s.Sum}, {"against", s.Against}} {
		if e[1] != "" {
			v.among(path+"."+e[0], e[1], effects, "effect")
		}
	}
}

func (v *modelValidator) places() {
	var names []string
	for i := range v.spec.Places {
		p, path := &v.spec.Places[i], fmt.Sprintf("spec.places[%d]", i)
		if slices.Contains(names, p.Target) {
			v.error(v.o, path+".target", "duplicate-name", fmt.Sprintf("what %s is is said twice", p.Target), "keep one of the two")
		}
		names = append(names, p.Target)
		v.oneOf(v.o, path, true, []string{"step", "system"}, []bool{p.Step != "", p.System != ""})
		if p.Step != "" {
			v.among(path+".step", p.Step, v.steps, "step")
		}
		if p.System != "" {
			v.ref(v.o, path+".system", KindIntegration, p.System)
		}
		if p.State != "" && p.Step == "" {
			v.error(v.o, path+".state", "ignored", "state says which items or workers of a step", "write step too")
		}
	}
}

func (v *modelValidator) actions() {
	var names []string
	for i := range v.spec.Actions {
		a, path := &v.spec.Actions[i], fmt.Sprintf("spec.actions[%d]", i)
		if slices.Contains(names, a.Action) {
			v.error(v.o, path+".action", "duplicate-name", fmt.Sprintf("how %s behaves is said twice", a.Action), "keep one of the two")
		}
		names = append(names, a.Action)
		if book, step, one := strings.Cut(a.Action, "/"); one {
			if v.ref(v.o, path+".action", KindPlaybook, book) && v.playbooks[book] != nil {
				var known []string
				for _, s := range v.playbooks[book].Spec.Steps {
					known = append(known, s.Name)
				}
				if !slices.Contains(known, step) {
					v.error(v.o, path+".action", "dangling-reference", fmt.Sprintf("the playbook %s has no step %q", book, step), suggest(step, known, "steps"))
				}
			}
		} else if _, known := v.cat.Action(a.Action); !known {
			v.error(v.o, path+".action", "unknown-action", fmt.Sprintf("there is no action %q", a.Action), suggest(a.Action, v.cat.actionNames(), "actions"))
		}
		v.times(v.o, path+".takes", a.Takes)
		v.shares(path, "refused, fails, unknown and partial", a.Refused, a.Fails, a.Unknown, a.Partial)
	}
}

func (v *modelValidator) people() {
	var names []string
	for i := range v.spec.People {
		p, path := &v.spec.People[i], fmt.Sprintf("spec.people[%d]", i)
		names = append(names, p.Name)
		v.times(v.o, path+".answers", p.Answers)
		v.hours(v.o, path+".hours", p.Hours)
		v.shares(path, "denies and silent", p.Denies, p.Silent)
	}
	v.unique(v.o, "spec.people", names)
}
