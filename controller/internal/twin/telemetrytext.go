package twin

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/backstay/backstay/api"
)

// YAML writes the model as people keep it, with what is to be said of its figures beside them.
func (f *Fitting) YAML() []byte {
	var b strings.Builder
	m := &f.Model.Spec
	line := func(at, format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		if c := f.Comments[at]; c != "" && at != "" {
			text += " # " + c
		}
		b.WriteString(text + "\n")
	}
	b.WriteString("# Fitted to what a controller has recorded. What is marked as a guess no probe sees: say what you know, and test what it changes.\n")
	line("", "apiVersion: %s\nkind: %s\nmetadata: {name: %s}\nspec:", api.Version, api.KindModel, f.Model.Metadata.Name)
	if m.Summary != "" {
		line("", "  summary: %s", strconv.Quote(m.Summary))
	}
	if m.Workflow != "" {
		line("", "  workflow: %s", m.Workflow)
	}
	line("", "  fitted:\n    from: %s\n    window: [%q, %q]\n    events: %d", strconv.Quote(m.Fitted.From), m.Fitted.Window[0], m.Fitted.Window[1], m.Fitted.Events)
	if len(m.Fitted.Guesses) > 0 {
		line("", "    guesses:")
	}
	for _, g := range m.Fitted.Guesses {
		line("", "      - %s", strconv.Quote(g))
	}
	if m.Arrivals.Hours == nil {
		line("arrivals", "  arrivals: {perHour: %s}", number(m.Arrivals.PerHour))
	} else {
		line("arrivals", "  arrivals:")
		line("", "    hours:\n      [")
		for day := range 7 {
			var list []string
			for _, x := range m.Arrivals.Hours[day*24 : day*24+24] {
				list = append(list, number(x))
			}
			line("", "        %s,", strings.Join(list, ", "))
		}
		line("", "      ]")
	}
	line("", "  steps:")
	for i := range m.Steps {
		s := &m.Steps[i]
		line("", "    - name: %s", s.Name)
		line("steps."+s.Name+".workers", "      workers: %d", s.Workers)
		line("steps."+s.Name+".takes", "      takes: %s", timesText(s.Takes))
		var calls []string
		for _, c := range s.Calls {
			calls = append(calls, "{to: "+c.To+"}")
		}
		if len(calls) > 0 {
			line("steps."+s.Name+".calls", "      calls: [%s]", strings.Join(calls, ", "))
		}
	}
	f.rest(line)
	return []byte(b.String())
}

// rest writes systems and sights.
func (f *Fitting) rest(line func(at, format string, args ...any)) {
	m := &f.Model.Spec
	if len(m.Systems) > 0 {
		line("", "  systems:")
	}
	for _, s := range m.Systems {
		line("", "    - integration: %s\n      endpoints:", s.Integration)
		for _, e := range s.Endpoints {
			line("systems."+s.Integration+"/"+e.Name, "        - name: %s", e.Name)
			if e.Takes != nil {
				line("", "          takes: %s", timesText(e.Takes))
			}
			if e.Fails.PPM > 0 {
				line("", "          fails: %s", e.Fails)
			}
		}
	}
	if len(m.Sees) > 0 {
		line("", "  sees:")
	}
	for _, s := range m.Sees {
		of := ""
		if s.Of != "" {
			of = ", of: " + s.Of
		}
		line("sees."+s.Probe, "    - {probe: %s, count: %s%s}", s.Probe, s.Count, of)
	}
	var unseen []string
	for at := range f.Comments { // sorted below
		if name, is := strings.CutPrefix(at, "unseen."); is {
			unseen = append(unseen, name)
		}
	}
	slices.Sort(unseen)
	for _, name := range unseen {
		line("", "  # Say under sees what probe %s sees of this world: %s.", name, f.Comments["unseen."+name])
	}
}

func timesText(t *api.Times) string {
	var parts []string
	add := func(key string, d api.Duration) {
		if d.Duration > 0 {
			parts = append(parts, key+": "+d.String())
		}
	}
	add("fixed", t.Fixed)
	if len(t.Quantiles) > 0 {
		var list []string
		for _, q := range t.Quantiles {
			list = append(list, q.String())
		}
		parts = append(parts, "quantiles: ["+strings.Join(list, ", ")+"]")
	}
	add("tail", t.Tail)
	add("longest", t.Longest)
	if len(parts) == 0 {
		parts = append(parts, "fixed: 0s")
	}
	if t.Samples > 0 {
		parts = append(parts, fmt.Sprintf("samples: %d", t.Samples))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func number(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }
