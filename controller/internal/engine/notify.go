package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

// notifyWait is how long the shell may try to reach a channel.
const notifyWait = time.Minute

// tell has channels told. Nothing ever waits for it.
func (s *State) tell(channels []string, m Message, inc string, r *remediation) {
	for _, ch := range channels {
		s.sent++
		msg := m
		c := Command{ID: fmt.Sprintf("notify/%s/%s-%d.%d", inc, ch, s.d.Epoch, s.sent), Kind: Notify, Incident: inc, Channel: ch, Message: &msg,
			Deadline: s.now.Add(notifyWait), Attempt: 1}
		if r != nil {
			c.Remediation, c.Playbook, c.Digest = r.ID, r.Plan.Name, r.Plan.Digest
		}
		c.Key = hash(32, c.ID)
		s.out.Commands = append(s.out.Commands, c)
	}
}

// notified records whether a channel was reached.
func (s *State) notified(res *Result) {
	s.seen.add(res)
	parts := strings.SplitN(res.Command, "/", 3)
	if len(parts) != 3 {
		return
	}
	ch := parts[2]
	if i := strings.LastIndexByte(ch, '-'); i >= 0 {
		ch = ch[:i]
	}
	text := fmt.Sprintf("Channel %s was told.", ch)
	if res.Outcome.Result != api.ResultDone {
		text = fmt.Sprintf("Channel %s could not be told: %s", ch, cmpText(res.Outcome.Text, string(res.Outcome.Result)))
	}
	out := res.Outcome
	s.emit(api.Entry{Kind: api.EntryNotified, Incident: parts[1], Outcome: &out, Facts: []api.Fact{{Name: "channel", Value: ch}}, Text: text})
}

// channels lists who is told about an incident: the channels of every playbook that one of its anomalies triggers.
func (s *State) channels(inc *incident) []string {
	var out []string
	if s.cfg == nil {
		return nil
	}
	for i := range inc.Anomalies {
		for _, p := range s.cfg.byTrigger[inc.Anomalies[i].Name] {
			for _, ch := range s.cfg.plans[p].Notify {
				if !slices.Contains(out, ch) {
					out = append(out, ch)
				}
			}
		}
	}
	return out
}

// tellNew tells the channels that a new anomaly brings in.
func (s *State) tellNew(inc *incident, told []string) {
	fresh := slices.DeleteFunc(s.channels(inc), func(ch string) bool { return slices.Contains(told, ch) })
	if len(fresh) == 0 {
		return
	}
	text := inc.Title
	if workflows, items, amount := s.risk(inc); items > 0 {
		text += fmt.Sprintf(" At risk in %s: %s", strings.Join(workflows, ", "), count(items, "item"))
		if len(amount) > 0 {
			text += " worth " + amount.String()
		}
		text += "."
	}
	s.tell(fresh, Message{Title: "Incident: " + plain(inc.Root), Text: text, Severity: "critical", Dedup: inc.ID}, inc.ID, nil)
}

// remind repeats, after a restart, what people were asked: nobody knows whether the message before the crash arrived.
func (s *State) remind() {
	for _, r := range s.d.Remediations {
		if r.End != "" {
			continue
		}
		q, sev := r.question(), "warning"
		for i := range r.Steps {
			if r.Steps[i].State == api.StepHandedOver {
				q, sev = r.Steps[i].Text, "critical"
			}
		}
		if q != "" {
			s.tell(r.Plan.Notify, Message{Title: "Still open: " + r.Plan.Name, Text: q, Severity: sev, Dedup: r.Incident}, r.Incident, r)
		}
	}
}
