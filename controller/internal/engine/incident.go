package engine

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

// anomaly takes an anomaly that opened or cleared.
func (s *State) anomaly(a api.Anomaly) {
	a.Opened, a.At = a.Opened.UTC().Round(0), a.At.UTC().Round(0)
	a = finiteAnomaly(a)
	id := a.ID()
	inc := s.open[id]
	if s.verdicts[a.Probe] != api.Unknown {
		s.saw(a.Probe, a.At)
	}
	if a.Cleared {
		if inc != nil {
			s.cleared(inc, a, a.Text)
		}
		return
	}
	if inc != nil {
		if s.stale[id] { // it is the same one, seen again after the restart
			delete(s.stale, id)
			s.touch(inc)
		}
		return
	}
	node := "probe/" + a.Probe
	if s.cfg != nil && s.cfg.node[a.Probe] != "" {
		node = s.cfg.node[a.Probe]
	}
	inc = s.home(node, a)
	if inc == nil {
		return // the engine has halted
	}
	told := s.channels(inc)
	if !s.emit(api.Entry{Kind: api.EntryAnomalyOpened, Incident: inc.ID, Node: node, Anomaly: &a, Text: cmpText(a.Text, "Anomaly "+id+" opened.")}) {
		return
	}
	s.touch(inc)
	s.tellNew(inc, told)
}

// finiteAnomaly is an anomaly without what JSON cannot carry.
func finiteAnomaly(a api.Anomaly) api.Anomaly {
	a.Value, a.Limit = finite(a.Value), finite(a.Limit)
	for i := range a.Evidence {
		if v := a.Evidence[i].Value; v != finite(v) {
			a.Evidence = slices.Clone(a.Evidence)
			a.Evidence[i].Value = finite(v)
		}
	}
	return a
}

// finite replaces what JSON cannot carry.
func finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}

func cmpText(text, otherwise string) string {
	if strings.TrimSpace(text) == "" {
		return otherwise
	}
	return text
}

// home finds or opens the incident that an anomaly belongs to: one incident per root cause.
func (s *State) home(node string, a api.Anomaly) *incident {
	var below []*incident
	for _, inc := range s.d.Incidents {
		switch {
		case !inc.Closed.IsZero():
		case inc.Root == node, s.cfg != nil && s.cfg.graph.dependsOn(node, inc.Root):
			return inc // a symptom of a cause that is known
		case s.cfg != nil && s.cfg.graph.dependsOn(inc.Root, node):
			below = append(below, inc)
		}
	}
	if len(below) == 0 {
		id := ""
		for nth := 0; id == "" || s.byID[id] != nil; nth++ {
			id = "inc-" + hash(8, node, a.ID(), s.now.String(), fmt.Sprint(s.d.Count), fmt.Sprint(nth))
		}
		if !s.emit(api.Entry{Kind: api.EntryIncidentOpened, Incident: id, Node: node, Text: title(node, a)}) {
			return nil
		}
		return s.byID[id]
	}
	root := below[0]
	s.emit(api.Entry{Kind: api.EntryIncidentRooted, Incident: root.ID, Node: node,
		Text: title(node, a) + " " + sentence(plain(root.Root)+" depends on it")})
	for _, inc := range below[1:] {
		s.emit(api.Entry{Kind: api.EntryIncidentMerged, Incident: inc.ID, Node: node, Facts: []api.Fact{{Name: "into", Value: root.ID}},
			Text: fmt.Sprintf("Incident %s has the same cause and became part of %s.", inc.ID, root.ID)})
	}
	return root
}

// title is an incident's one plain sentence.
func title(node string, a api.Anomaly) string {
	text := plain(node) + " is ill"
	if a.Text != "" {
		text += ": " + strings.TrimSuffix(a.Text, ".")
	}
	return sentence(text)
}

func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] + "." }

// cleared takes an anomaly that is over.
func (s *State) cleared(inc *incident, a api.Anomaly, text string) {
	a.Cleared = true
	node := ""
	for _, f := range inc.Anomalies {
		if f.ID() == a.ID() {
			node = f.Node
			a.Opened = f.Opened
		}
	}
	s.emit(api.Entry{Kind: api.EntryAnomalyCleared, Incident: inc.ID, Node: node, Anomaly: &a, Text: cmpText(text, "Anomaly "+a.ID()+" is over.")})
	delete(s.stale, a.ID())
	s.touch(inc)
}

// touch has an incident considered again.
func (s *State) touch(inc *incident) { inc.dirty, s.dirty = true, true }

// forgetProbes clears anomalies that no probe of the configuration can clear any more.
func (s *State) forgetProbes() {
	for _, inc := range slices.Clone(s.d.Incidents) {
		for _, f := range slices.Clone(inc.Anomalies) {
			if f.Cleared || s.cfg.detectors[f.Name] {
				continue
			}
			a := f.Anomaly
			a.At = s.now
			s.cleared(inc, a, fmt.Sprintf("Anomaly %s is over, because the configuration no longer has its detector.", a.ID()))
		}
	}
}

// clearStale clears anomalies from before a restart that nobody saw again although their probe is well.
func (s *State) clearStale() {
	if len(s.stale) == 0 || s.now.Before(s.booted.Add(staleWait)) {
		return
	}
	for _, inc := range slices.Clone(s.d.Incidents) {
		for _, f := range slices.Clone(inc.Anomalies) {
			if a := f.Anomaly; !f.Cleared && s.stale[a.ID()] && s.verdicts[a.Probe] == api.OK {
				a.At = s.now
				s.cleared(inc, a, fmt.Sprintf("Anomaly %s is over: its probe is well and has not reported it in the %s since the restart.", a.ID(), staleWait))
			}
		}
	}
}

// verdict takes what a probe says now.
func (s *State) verdict(v Verdict) {
	before := s.verdicts[v.Probe]
	s.verdicts[v.Probe] = v.Verdict
	if v.Verdict != api.Unknown {
		s.saw(v.Probe, s.now)
	}
	if (before == api.Unknown) != (v.Verdict == api.Unknown) {
		s.stir()
	}
}

// closeQuiet ends an incident whose anomalies are all over and which nobody works on.
func (s *State) closeQuiet(inc *incident) bool {
	if slices.ContainsFunc(inc.Anomalies, func(f finding) bool { return !f.Cleared }) {
		return false
	}
	for _, id := range inc.Remediations {
		if r := s.rems[id]; r != nil && r.End == "" {
			return false
		}
	}
	text := fmt.Sprintf("Incident %s is over after %s: all its anomalies have cleared.", inc.ID, s.now.Sub(inc.Opened).Round(100*time.Millisecond))
	if s.emit(api.Entry{Kind: api.EntryIncidentClosed, Incident: inc.ID, Node: inc.Root, Text: text}) {
		s.tell(s.channels(inc), Message{Title: "Over: " + inc.Title, Text: text, Severity: "info", Dedup: inc.ID, Resolved: true}, inc.ID, nil)
	}
	return true
}

// risk counts what an incident puts at risk: the items that wait in every workflow that it touches, times their value.
func (s *State) risk(inc *incident) (workflows []string, items int64, amount api.Money) {
	if s.cfg == nil {
		return nil, 0, nil
	}
	for _, w := range s.cfg.touched(inc.Root) {
		wf := &s.cfg.Workflows[w]
		workflows = append(workflows, wf.Metadata.Name)
		n := int64(math.Max(0, math.Min(s.values[wf.Spec.Value.CountedBy], 1e15)))
		if wf.Spec.Value.CountedBy == "" || n == 0 {
			continue
		}
		items += n
		amount = amount.Plus(wf.Spec.Value.PerItem.Times(n))
	}
	return workflows, items, amount
}
