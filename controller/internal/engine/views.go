package engine

import (
	"slices"

	"github.com/backstay/backstay/api"
)

// Incident is the present view of one incident; nil where there is none (closed ones leave the state after an hour).
func (s *State) Incident(id string) *api.Incident {
	inc := s.byID[id]
	if inc == nil {
		return nil
	}
	out := &api.Incident{ID: inc.ID, Root: inc.Root, Title: inc.Title, Opened: inc.Opened, Closed: inc.Closed, MergedInto: inc.MergedInto,
		Anomalies: []api.Anomaly{}, Remediations: slices.Clone(inc.Remediations)}
	for _, atRoot := range []bool{true, false} {
		for _, f := range inc.Anomalies {
			if (f.Node == inc.Root) == atRoot {
				out.Anomalies = append(out.Anomalies, f.Anomaly)
			}
		}
	}
	for _, n := range inc.No {
		out.Refusals = append(out.Refusals, n.Refusal)
	}
	out.Workflows, out.AtRiskItems, out.AtRisk = s.risk(inc)
	if !inc.Closed.IsZero() {
		out.AtRiskItems, out.AtRisk = 0, nil
	}
	return out
}

// Remediation is the present view of one remediation; nil where there is none (ended ones leave the state after an hour).
func (s *State) Remediation(id string) *api.Remediation {
	r := s.rems[id]
	if r == nil {
		return nil
	}
	out := &api.Remediation{ID: r.ID, Incident: r.Incident, Playbook: r.Plan.Name, Digest: r.Plan.Digest, State: r.phase(), End: r.End,
		Opened: r.Opened, Ended: r.Ended, Text: r.Text, Plan: r.digest(), Asked: r.question(), Steps: []api.StepStatus{}}
	if r.Claim == 0 && r.End == "" {
		out.Answer = r.AskUntil
	}
	for i := range r.Steps {
		st, q := &r.Steps[i], &r.Plan.Steps[i]
		switch {
		case r.End != "":
		case st.State == api.StepAsking:
			out.Answer = st.AskUntil
		case st.State == api.StepHandedOver:
			out.Asked, out.Answer = st.Text, st.HandedAt.Add(settleWait)
		}
		out.Steps = append(out.Steps, r.stepView(i))
		if st.UndoState != "" {
			state := st.UndoState
			if r.pend != nil && r.pend.kind == Undo && r.pend.step == i {
				state = api.StepCalling
			}
			out.Undo = append(out.Undo, api.StepStatus{Name: q.Name, Do: q.Do, State: state, Attempt: st.UndoAttempt, Started: st.UndoStarted,
				Ended: st.UndoEnded, Text: st.UndoText})
		}
	}
	slices.Reverse(out.Undo)
	return out
}

func (r *remediation) stepView(i int) api.StepStatus {
	st, q := &r.Steps[i], &r.Plan.Steps[i]
	v := api.StepStatus{Name: q.Name, Do: q.Do, State: st.State, Attempt: st.Attempt, Started: st.Started, Ended: st.Ended, Text: st.Text}
	if r.pend != nil && r.pend.kind == Run && r.pend.step == i {
		v.State = api.StepCalling
	}
	switch {
	case st.Outcome != nil && (st.Outcome.Items > 0 || len(st.Outcome.Amount) > 0):
		v.Items, v.Amount = st.Outcome.Items, st.Outcome.Amount
	case st.Estimate != nil && st.State != api.StepDone:
		v.Items, v.Amount = st.Estimate.Items, st.Estimate.Amount
	}
	return v
}

// phase is where a remediation stands, in the words of api.Remediation.
func (r *remediation) phase() string {
	switch {
	case r.End != "":
		return "ended"
	case r.Claim == 0:
		return "waiting"
	}
	for i := range r.Steps {
		st := &r.Steps[i]
		switch {
		case st.UndoState != "":
			return "undoing"
		case st.State == api.StepAsking, st.State == api.StepHandedOver, st.No != nil && st.State == api.StepReady:
			return "waiting"
		}
	}
	if !r.Proving.IsZero() {
		return "verifying"
	}
	return "running"
}

// Playbooks is the present view of all playbooks, in the order of the configuration.
func (s *State) Playbooks() []api.PlaybookStatus {
	if s.cfg == nil {
		return nil
	}
	out := make([]api.PlaybookStatus, 0, len(s.cfg.plans))
	for i, p := range s.cfg.plans {
		v := api.PlaybookStatus{Name: p.Name, Digest: p.Digest, Mode: p.Mode, Summary: s.cfg.Config.Playbooks[i].Spec.Summary,
			Danger: p.Danger.String(), Trigger: p.Trigger.Anomaly}
		if a := p.Approval; a != nil && len(a.By) > 0 {
			v.ApprovedBy, v.ApprovedUntil = a.By, a.Expires
		}
		if mode, why := s.allowed(i); why != "" {
			v.Mode, v.ModeWritten, v.ModeWhy = mode, modeOf(&s.cfg.Playbooks[i].Spec), why
		}
		if b := s.books[p.Name]; b != nil {
			v.Runs, v.LastRun, v.Refused, v.LastNo = b.Runs, b.LastRun, b.Refused, b.LastNo
			v.Demoted = s.demoted(p)
			if b.Unacked != nil && p.Acknowledge != "" {
				v.Unacked = b.Unacked.Remediation
			}
			for _, end := range ends {
				if n := b.Ends[end]; n > 0 {
					if v.Ends == nil {
						v.Ends = map[api.RemediationEnd]int64{}
					}
					v.Ends[end] = n
				}
			}
		}
		out = append(out, v)
	}
	return out
}

var ends = []api.RemediationEnd{api.EndVerified, api.EndNotVerified, api.EndInDoubt, api.EndBlocked, api.EndCancelled, api.EndFailed, api.EndTold}

// Pauses lists the pauses in force.
func (s *State) Pauses() []api.Pause { return slices.Clone(s.d.Pauses) }

// Open lists the anomalies that the engine holds for open, oldest incident first.
func (s *State) Open() []api.Anomaly {
	var out []api.Anomaly
	for _, inc := range s.d.Incidents {
		for _, f := range inc.Anomalies {
			if !f.Cleared && inc.Closed.IsZero() {
				out = append(out, f.Anomaly)
			}
		}
	}
	return out
}

// Halted is why the engine stopped acting; empty while it acts.
func (s *State) Halted() string { return s.d.Halted }

// Touched lists the incidents and remediations whose views entries change, in order of first mention: what the store must keep
// anew together with them. view is State.Incident.
func Touched(entries []api.Entry, view func(id string) *api.Incident) (incidents, remediations []string) {
	add := func(list *[]string, id string) {
		if id != "" && !slices.Contains(*list, id) {
			*list = append(*list, id)
		}
	}
	for i := range entries {
		e := &entries[i]
		add(&remediations, e.Remediation)
		add(&incidents, e.Incident)
		if e.Kind != api.EntryIncidentMerged {
			continue
		}
		into := fact(e.Facts, "into")
		add(&incidents, into)
		if inc := view(into); inc != nil {
			for _, id := range inc.Remediations {
				add(&remediations, id)
			}
		}
	}
	return incidents, remediations
}
