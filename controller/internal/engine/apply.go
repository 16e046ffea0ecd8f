package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/backstay/backstay/api"
)

// errIllegal says that an entry does not fit the state: the log and the snapshot are not of one history.
var errIllegal = errors.New("it does not follow from the entries before it; restore snapshot and log of one history")

// Apply changes the state by one entry read from the log. An error means that nothing was changed.
func (s *State) Apply(e api.Entry) error {
	if err := s.apply(&e); err != nil {
		return fmt.Errorf("apply entry %d (%s): %w", e.Seq, e.Kind, err)
	}
	s.now = s.d.Last
	return nil
}

// apply is the only place where durable state changes.
func (s *State) apply(e *api.Entry) error {
	var err error
	switch e.Kind {
	case api.EntryStarted:
		s.d.Epoch++
	case api.EntryConfigured:
		s.d.Config = e.Digest
	case api.EntryInvariant:
		s.d.Halted = e.Text
	case api.EntryPaused, api.EntryResumed:
		err = s.applyPause(e)
	case api.EntryIncidentOpened, api.EntryIncidentRooted, api.EntryIncidentMerged, api.EntryIncidentClosed,
		api.EntryAnomalyOpened, api.EntryAnomalyCleared:
		err = s.applyIncident(e)
	case api.EntryRefused, api.EntryObserved, api.EntrySuggested:
		err = s.applyChoice(e)
	case api.EntryRemediationOpened:
		err = s.applyOpened(e)
	case api.EntryRemediationEnded, api.EntryVerifyStarted, api.EntryVerifyEnded, api.EntryMeasured:
		err = s.applyRemediation(e)
	case api.EntryAsked, api.EntryDecided, api.EntryLapsed:
		err = s.applyPeople(e)
	case api.EntryStepSkipped, api.EntryStepRefused, api.EntryStepIntended, api.EntryStepEnded, api.EntryStepUncertain,
		api.EntryStepReconciled, api.EntryStepRepeated, api.EntryStepHandedOver:
		err = s.applyStep(e)
	case api.EntryUndoIntended, api.EntryUndoEnded, api.EntryUndoVerified:
		err = s.applyUndo(e)
	case api.EntryDemoted:
		err = s.applyDemoted(e)
	default: // stopped, notified, late results, refused words, and kinds of a newer version: evidence only
	}
	if err != nil {
		return err
	}
	s.d.Count++
	s.evidence(e)
	if e.At.After(s.d.Last) {
		s.d.Last = e.At
	}
	switch e.Kind {
	case api.EntryStarted, api.EntryIncidentOpened, api.EntryRemediationEnded, api.EntryIncidentClosed:
		s.forget()
	}
	return nil
}

func (s *State) applyPause(e *api.Entry) error {
	if e.Pause == nil {
		return errIllegal
	}
	s.d.Pauses = slices.DeleteFunc(s.d.Pauses, func(p api.Pause) bool { return p.Playbook == e.Pause.Playbook })
	if e.Kind == api.EntryPaused {
		s.d.Pauses = append(s.d.Pauses, *e.Pause)
	} else if e.Pause.Playbook == "" && e.Actor != "" {
		s.d.Halted = ""
	}
	return nil
}

func (s *State) applyIncident(e *api.Entry) error {
	inc := s.byID[e.Incident]
	if e.Kind == api.EntryIncidentOpened {
		if inc != nil || e.Incident == "" {
			return errIllegal
		}
		inc = &incident{ID: e.Incident, Root: e.Node, Title: e.Text, Opened: e.At}
		s.d.Incidents = append(s.d.Incidents, inc)
		s.byID[inc.ID] = inc
		return nil
	}
	if inc == nil || !inc.Closed.IsZero() {
		return errIllegal
	}
	switch e.Kind {
	case api.EntryIncidentRooted:
		inc.Root, inc.Title = e.Node, e.Text
	case api.EntryIncidentClosed:
		if slices.ContainsFunc(inc.Anomalies, func(f finding) bool { return !f.Cleared }) {
			return errIllegal
		}
		inc.Closed, inc.Rung, inc.RungOn = e.At, "", ""
	case api.EntryIncidentMerged:
		return s.merge(inc, s.byID[fact(e.Facts, "into")], e.At)
	case api.EntryAnomalyOpened:
		if e.Anomaly == nil || s.open[e.Anomaly.ID()] != nil {
			return errIllegal
		}
		id := e.Anomaly.ID()
		inc.Anomalies = slices.DeleteFunc(inc.Anomalies, func(f finding) bool { return f.ID() == id })
		inc.Anomalies = append(inc.Anomalies, finding{*e.Anomaly, e.Node})
		s.open[id] = inc
		s.names[e.Anomaly.Name] = append(s.names[e.Anomaly.Name], id)
	case api.EntryAnomalyCleared:
		if e.Anomaly == nil || s.open[e.Anomaly.ID()] != inc {
			return errIllegal
		}
		s.clear(inc, e.Anomaly.ID(), e.Anomaly.At)
	}
	return nil
}

// clear marks an open anomaly as cleared.
func (s *State) clear(inc *incident, id string, at time.Time) {
	for i := range inc.Anomalies {
		if f := &inc.Anomalies[i]; f.ID() == id {
			f.Cleared, f.At = true, at
			ids := slices.DeleteFunc(s.names[f.Name], func(x string) bool { return x == id })
			if s.names[f.Name] = ids; len(ids) == 0 {
				delete(s.names, f.Name)
			}
		}
	}
	delete(s.open, id)
}

// merge moves all that hangs on one incident to another.
func (s *State) merge(from, into *incident, at time.Time) error {
	if into == nil || into == from || !into.Closed.IsZero() {
		return errIllegal
	}
	for _, f := range from.Anomalies {
		id := f.ID()
		if !f.Cleared {
			s.open[id] = into
			into.Anomalies = slices.DeleteFunc(into.Anomalies, func(g finding) bool { return g.ID() == id })
		} else if slices.ContainsFunc(into.Anomalies, func(g finding) bool { return g.ID() == id }) {
			continue
		}
		into.Anomalies = append(into.Anomalies, f)
	}
	for _, id := range from.Remediations {
		into.Remediations = append(into.Remediations, id)
		if r := s.rems[id]; r != nil {
			r.Incident = into.ID
		}
	}
	for _, q := range s.d.Runs {
		if q.Incident == from.ID {
			q.Incident = into.ID
		}
	}
	for _, n := range from.No {
		if !slices.ContainsFunc(into.No, func(o no) bool { return o.Playbook == n.Playbook && o.Guard == n.Guard }) {
			into.No = append(into.No, n)
		}
	}
	if into.Rung == "" {
		into.Rung, into.RungOn = from.Rung, from.RungOn
	}
	for _, p := range from.Said {
		if !slices.Contains(into.Said, p) {
			into.Said = append(into.Said, p)
		}
	}
	from.Anomalies, from.Remediations, from.Closed, from.MergedInto = nil, nil, at, into.ID
	return nil
}

func (s *State) applyChoice(e *api.Entry) error {
	inc := s.byID[e.Incident]
	switch {
	case e.Kind != api.EntryRefused:
		if inc == nil {
			return errIllegal
		}
		if !slices.Contains(inc.Said, e.Playbook) {
			inc.Said = append(inc.Said, e.Playbook)
		}
		inc.passed(e.Playbook)
		return nil
	case e.Refusal == nil:
		return errIllegal
	case e.Decision != nil: // of an older version: a person's word was refused, not a playbook
		return nil
	}
	b := s.book(e.Playbook)
	b.Refused++
	refusal := *e.Refusal
	b.LastNo = &refusal
	if inc != nil {
		inc.passed(e.Playbook)
		inc.No = slices.DeleteFunc(inc.No, func(n no) bool { return n.Playbook == e.Playbook && n.Guard == refusal.Guard })
		inc.No = append(inc.No, no{e.Playbook, refusal, true})
	}
	return nil
}

// passed says that no guard holds the playbook back any more.
func (inc *incident) passed(playbook string) {
	for i := range inc.No {
		if inc.No[i].Playbook == playbook {
			inc.No[i].Current = false
		}
	}
}

func (s *State) applyOpened(e *api.Entry) error {
	inc := s.byID[e.Incident]
	p := &plan{}
	if inc == nil || !inc.Closed.IsZero() || e.Remediation == "" || s.rems[e.Remediation] != nil || e.Anomaly == nil {
		return errIllegal
	}
	if err := json.Unmarshal(e.Plan, p); err != nil {
		return fmt.Errorf("read its plan: %w", err)
	}
	r := &remediation{ID: e.Remediation, Incident: inc.ID, Trigger: e.Anomaly.Name, Plan: p, Opened: e.At, Text: e.Text}
	r.Steps = make([]step, len(p.Steps))
	for i := range r.Steps {
		r.Steps[i].State = api.StepReady
	}
	if p.People == 0 {
		r.Claim = s.d.Count + 1
	}
	s.d.Remediations = append(s.d.Remediations, r)
	s.rems[r.ID] = r
	inc.Remediations = append(inc.Remediations, r.ID)
	inc.passed(p.Name)
	if inc.Rung == p.Name {
		inc.Rung, inc.RungOn = "", ""
	}
	s.keep(&run{ID: r.ID, Playbook: p.Name, Incident: inc.ID, At: e.At, Targets: p.Targets})
	b := s.book(p.Name)
	b.Runs++
	b.LastRun = e.At
	if b.Digest != p.Digest {
		b.Digest, b.Streak = p.Digest, 0
	}
	return nil
}

// keep counts a run, forgets those that no limit can count any more, and keeps the others few.
func (s *State) keep(q *run) {
	s.d.Runs = append(s.d.Runs, q)
	s.past.open(q)
	if q.At.Sub(s.d.Runs[0].At) > keepRuns {
		s.d.Runs = slices.DeleteFunc(s.d.Runs, func(x *run) bool {
			gone := q.At.Sub(x.until(q.At)) > keepRuns
			if gone {
				s.past.forget(x)
			}
			return gone
		})
	}
	for len(s.past.begun[q.Playbook].of) > keepRunsCount && s.fold(q.Playbook) {
	}
}

// fold makes one of two neighbouring ended runs of a playbook, where that delays the fewest the least: nothing that a budget counts is forgotten, and the
// earlier one of the two leaves it a little later. It tells whether there were two.
func (s *State) fold(playbook string) bool {
	var last, x, q *run
	least := 0.0
	for _, next := range s.past.begun[playbook].of {
		if next.Ended.IsZero() {
			continue
		}
		if last != nil {
			if late := next.At.Sub(last.At).Seconds() * float64(1+last.More); x == nil || late < least {
				x, q, least = last, next, late
			}
		}
		last = next
	}
	if x == nil {
		return false
	}
	s.past.forget(x)
	s.past.out(q)
	s.past.begun[playbook].more(q, x.times())
	q.Items, q.Total, q.More, q.Acted = plus(q.Items, x.Items), max(q.Total, x.Total), plus(q.More, x.times()), q.Acted || x.Acted
	q.Amount = lean(q.Amount.Plus(x.Amount))
	if x.Ended.After(q.Ended) {
		q.Ended = x.Ended
	}
	for _, target := range x.Targets {
		if !slices.Contains(q.Targets, target) {
			q.Targets = append(slices.Clone(q.Targets), target)
		}
	}
	s.past.in(q)
	i := slices.Index(s.d.Runs, x)
	s.d.Runs = slices.Delete(s.d.Runs, i, i+1)
	return true
}

func (s *State) applyRemediation(e *api.Entry) error {
	r := s.rems[e.Remediation]
	if r == nil || r.End != "" {
		return errIllegal
	}
	switch e.Kind {
	case api.EntryMeasured:
		return r.applyMeasured(e)
	case api.EntryVerifyStarted:
		r.Proving = e.At
	case api.EntryVerifyEnded:
		if e.Outcome == nil || r.Proving.IsZero() || r.Proof != "" {
			return errIllegal
		}
		r.Proof = e.Outcome.Result
	case api.EntryRemediationEnded:
		if e.End == "" {
			return errIllegal
		}
		r.End, r.Ended, r.Text = e.End, e.At, e.Text
		b := s.book(r.Plan.Name)
		if b.Ends == nil {
			b.Ends = map[api.RemediationEnd]int64{}
		}
		b.Ends[e.End]++
		b.trust(r, e)
		if q := s.past.byID[r.ID]; q != nil {
			s.past.change(q, func() { q.Ended = e.At })
		}
		inc := s.byID[r.Incident]
		if inc != nil && r.Plan.next() != "" && (e.End == api.EndNotVerified || e.End == api.EndFailed || e.End == api.EndBlocked) {
			inc.Rung, inc.RungOn = r.Plan.next(), r.Trigger
		}
	}
	return nil
}

// applyDemoted has a playbook only suggest.
func (s *State) applyDemoted(e *api.Entry) error {
	r := s.rems[e.Remediation]
	if r == nil || e.Playbook != r.Plan.Name {
		return errIllegal
	}
	b := s.book(e.Playbook)
	b.Demoted = &mark{At: e.At, Remediation: r.ID, Digest: r.Plan.Digest, End: r.End, Runs: b.Streak}
	if a := r.Plan.Approval; a != nil {
		b.Demoted.Until = a.Expires
	}
	return nil
}

// forget drops what ended a while ago: the store keeps its views. Limits, doubts and records stay.
func (s *State) forget() {
	old := func(t time.Time) bool { return !t.IsZero() && s.d.Last.Sub(t) > keepEnded }
	s.d.Remediations = slices.DeleteFunc(s.d.Remediations, func(r *remediation) bool {
		inc := s.byID[r.Incident]
		gone := old(r.Ended) && (inc == nil || !inc.Closed.IsZero()) && !slices.ContainsFunc(s.d.Doubts, func(d doubt) bool { return d.Remediation == r.ID })
		if gone {
			delete(s.rems, r.ID)
		}
		return gone
	})
	s.d.Incidents = slices.DeleteFunc(s.d.Incidents, func(inc *incident) bool {
		gone := old(inc.Closed)
		if gone {
			delete(s.byID, inc.ID)
		}
		return gone
	})
}

// fact finds a fact by name.
func fact(facts []api.Fact, name string) string {
	for _, f := range facts {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// factTime and factInt read facts that carry state.
func factTime(facts []api.Fact, name string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, fact(facts, name))
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

func factInt(facts []api.Fact, name string) int {
	n, err := strconv.Atoi(fact(facts, name))
	if err != nil {
		return 0
	}
	return n
}
