package engine

import (
	"fmt"
	"slices"
	"time"

	"github.com/backstay/backstay/api"
)

// chooseAll considers the incidents about which something changed, or whose time has come.
func (s *State) chooseAll() {
	due := s.dirty
	for _, inc := range s.d.Incidents {
		due = due || !inc.next.IsZero() && !s.now.Before(inc.next)
	}
	if !due {
		return
	}
	s.dirty = false
	for _, inc := range slices.Clone(s.d.Incidents) {
		if inc.Closed.IsZero() && (inc.dirty || !inc.next.IsZero() && !s.now.Before(inc.next)) {
			inc.dirty, inc.next = false, time.Time{}
			if !s.closeQuiet(inc) {
				s.choose(inc)
			}
		}
	}
}

// choose considers the playbooks of an incident: the next rung of a ladder first, then in the order of the configuration.
func (s *State) choose(inc *incident) {
	if s.stopping {
		return
	}
	trigger := map[int]*api.Anomaly{} // playbook -> the anomaly that triggers it
	var order []int
	add := func(i int, a *api.Anomaly) {
		if trigger[i] == nil {
			trigger[i] = a
			order = append(order, i)
		}
	}
	for k := range inc.Anomalies {
		a := &inc.Anomalies[k].Anomaly
		if a.Cleared || s.stale[a.ID()] {
			continue
		}
		for _, i := range s.cfg.byTrigger[a.Name] {
			add(i, a)
		}
	}
	slices.Sort(order)
	if i, ok := s.cfg.byName[inc.Rung]; ok && inc.Rung != "" {
		for k := range inc.Anomalies {
			if a := &inc.Anomalies[k].Anomaly; a.Name == inc.RungOn && !a.Cleared && !s.stale[a.ID()] {
				order = slices.DeleteFunc(order, func(j int) bool { return i == j })
				order = slices.Insert(order, 0, i)
				trigger[i] = a
				break
			}
		}
	}
	for _, i := range order {
		if up := s.waitsForUpper(inc, i, trigger); up != "" && s.cfg.plans[i].Name != inc.Rung {
			s.refuse(inc, s.cfg.plans[i], *refusal(api.GuardLadder, time.Time{}, "playbook %s goes first, and this one follows only where that ends badly", up), "Playbook "+s.cfg.plans[i].Name+" did not run")
			continue
		}
		s.consider(inc, i, *trigger[i])
	}
}

// waitsForUpper tells whether a playbook is a lower rung whose turn has not come: the playbook above it is triggered too
// and has not yet ended badly in this incident. It gives the name of that one.
func (s *State) waitsForUpper(inc *incident, i int, trigger map[int]*api.Anomaly) string {
	for _, up := range s.cfg.uppers[s.cfg.plans[i].Name] {
		if mode, _ := s.allowed(up); up == i || trigger[up] == nil || mode.Rank() <= api.ModeSuggest.Rank() {
			continue
		}
		tried := slices.ContainsFunc(inc.Remediations, func(id string) bool {
			r := s.rems[id]
			return r != nil && r.Plan.Name == s.cfg.plans[up].Name && r.End != "" && r.End != api.EndVerified && r.End != api.EndCancelled
		})
		if !tried {
			return s.cfg.plans[up].Name
		}
	}
	return ""
}

// consider holds one playbook against its guards: it runs, waits for people, is recorded, or is refused.
func (s *State) consider(inc *incident, i int, a api.Anomaly) {
	p := s.cfg.plans[i]
	mode, why := s.allowed(i)
	only := mode == api.ModeObserve || mode == api.ModeSuggest
	if only && slices.Contains(inc.Said, p.Name) {
		return
	}
	for _, id := range inc.Remediations {
		if r := s.rems[id]; r != nil && r.End == "" && r.Plan.Name == p.Name {
			return // under way
		}
	}
	guards := startGuards
	if only {
		guards = signalGuards
	}
	c := candidate{inc: inc, plan: p, trigger: a}
	for _, g := range guards {
		refusal, retry := g(s, &c)
		if refusal == nil {
			continue
		}
		if retry.IsZero() {
			retry = refusal.Next
		}
		if !retry.IsZero() && (inc.next.IsZero() || retry.Before(inc.next)) {
			inc.next = retry
		}
		s.refuse(inc, p, *refusal, "Playbook "+p.Name+" did not run")
		return
	}
	if only {
		if why != "" {
			guard := api.GuardApproval
			if why == s.demoted(p) {
				guard = api.GuardDemoted
			}
			s.refuse(inc, p, *refusal(guard, time.Time{}, "%s", why), "Playbook "+p.Name+" may only suggest")
		}
		s.say(inc, p)
		return
	}
	s.begin(inc, i, a)
}

// refuse records a "no", once until something about it changes.
func (s *State) refuse(inc *incident, p *plan, no api.Refusal, what string) {
	for _, n := range inc.No {
		if n.Playbook == p.Name && n.Guard == no.Guard && n.Current && n.Next.Equal(no.Next) &&
			(n.Reason == no.Reason || no.Guard == api.GuardStorm) {
			return
		}
	}
	s.emit(api.Entry{Kind: api.EntryRefused, Incident: inc.ID, Playbook: p.Name, Digest: p.Digest, Refusal: &no,
		Text: fmt.Sprintf("%s: %s.%s", what, no.Reason, s.again(no.Next))})
}

// again says when a refusal would next pass.
func (s *State) again(next time.Time) string {
	if next.IsZero() {
		return ""
	}
	return " It would pass at " + next.UTC().Format("15:04:05 on 2 January") + "."
}

// say records what a playbook in mode observe or suggest would have done.
func (s *State) say(inc *incident, p *plan) {
	what := "It would run " + stepNames(p) + "."
	if p.Mode == api.ModeObserve {
		s.emit(api.Entry{Kind: api.EntryObserved, Incident: inc.ID, Playbook: p.Name, Digest: p.Digest,
			Text: fmt.Sprintf("Playbook %s only observes. %s", p.Name, what)})
		return
	}
	text := fmt.Sprintf("Playbook %s is suggested. %s", p.Name, what)
	if s.emit(api.Entry{Kind: api.EntrySuggested, Incident: inc.ID, Playbook: p.Name, Digest: p.Digest, Text: text}) {
		s.tell(p.Notify, Message{Title: "Suggested: " + p.Name, Text: inc.Title + " " + text, Severity: "warning", Dedup: inc.ID}, inc.ID, nil)
	}
}

func stepNames(p *plan) string {
	text := ""
	for i, q := range p.Steps {
		if i > 0 {
			text += ", "
		}
		text += q.Name
		if q.Do != q.Name {
			text += " (" + q.Do + ")"
		}
	}
	return text
}

// begin opens a remediation. It begins at once, or when enough people have said yes.
func (s *State) begin(inc *incident, i int, a api.Anomaly) {
	p := s.cfg.plans[i]
	nth := 0
	for _, id := range inc.Remediations {
		if r := s.rems[id]; r != nil && r.Plan.Name == p.Name {
			nth++
		}
	}
	id := ""
	for ; id == "" || s.rems[id] != nil; nth++ {
		id = "rem-" + hash(8, p.Digest, inc.ID, fmt.Sprint(nth+1))
	}
	text := fmt.Sprintf("Playbook %s begins because %s is open: %s.", p.Name, a.ID(), stepNames(p))
	if p.People > 0 {
		text = fmt.Sprintf("Playbook %s is ready because %s is open, and waits for %s to approve it: %s.", p.Name, a.ID(), people(p.People), stepNames(p))
	}
	if !s.emit(api.Entry{Kind: api.EntryRemediationOpened, Incident: inc.ID, Remediation: id, Playbook: p.Name, Digest: p.Digest, Node: inc.Root,
		Anomaly: &a, Plan: s.cfg.forms[i], Text: text}) {
		return
	}
	r := s.rems[id]
	if p.People > 0 {
		s.ask(r, -1, nil, text, p.People, answerWait)
		return
	}
	s.tell(p.Notify, Message{Title: "Started: " + p.Name, Text: inc.Title + " " + text, Severity: "warning", Dedup: inc.ID}, inc.ID, r)
}

func people(n int) string {
	switch n {
	case 1:
		return "one person"
	case 2:
		return "two people"
	}
	return fmt.Sprintf("%d people", n)
}
