package engine

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/backstay/backstay/api"
)

// roundsMax bounds how long one event may keep the engine busy; beyond it something is wrong with the engine itself.
const roundsMax = 1000

// Step takes one event and decides. It is deterministic: the same State and Event give the same Output.
func (s *State) Step(e Event) Output {
	if at := e.At.UTC().Round(0); at.After(s.now) {
		s.now = at
	}
	s.out = Output{}
	s.take(&e)
	s.work()
	out := s.out
	out.Wake = s.wake()
	s.out = Output{}
	return out
}

// take records what an event says.
func (s *State) take(e *Event) {
	switch {
	case e.Restarted:
		s.restart()
	case e.Config != nil:
		s.configure(e.Config)
	case e.Refused != "":
		s.emit(api.Entry{Kind: api.EntryConfigRefused, Text: "A new configuration was refused and the old one stays in force: " + e.Refused})
	case e.Anomaly != nil:
		s.anomaly(*e.Anomaly)
	case e.Eyes != nil:
		s.eyes = *e.Eyes
	case e.Verdict != nil:
		s.verdict(*e.Verdict)
	case e.Seen != "":
		s.saw(e.Seen, s.now)
	case e.Value != nil:
		if !math.IsNaN(e.Value.Value) && !math.IsInf(e.Value.Value, 0) {
			s.values[e.Value.Probe] = e.Value.Value
		}
	case e.Result != nil:
		s.result(e.Result)
	case e.Decision != nil:
		s.decision(*e.Decision)
	case e.Pause != nil:
		s.pause(*e.Pause)
	case e.Resume != nil:
		s.resume(*e.Resume)
	case e.Stopping:
		s.stopping = true
	}
}

// work does all that is due, until nothing more is.
func (s *State) work() {
	s.storm()
	for round := 0; ; round++ {
		before := s.d.Count + s.sent
		s.expirePauses()
		s.timeouts()
		if s.cfg != nil {
			s.clearStale()
			for _, r := range slices.Clone(s.d.Remediations) {
				if r.End == "" {
					s.advance(r)
				}
			}
			s.chooseAll()
		}
		s.stop()
		if s.d.Count+s.sent == before {
			return
		}
		if round == roundsMax {
			s.halt(fmt.Sprintf("one event led to more than %d rounds of decisions", roundsMax))
			return
		}
	}
}

// emit applies an entry and hands it out.
func (s *State) emit(e api.Entry) bool {
	e.At, e.Nth = s.now, s.nth(&e)
	if err := s.apply(&e); err != nil {
		if e.Kind != api.EntryInvariant {
			s.halt(fmt.Sprintf("an entry of kind %s about %s%s did not follow from the state", e.Kind, e.Remediation+e.Incident, e.Step))
		}
		return false
	}
	s.out.Entries = append(s.out.Entries, e)
	if e.Kind == api.EntryRemediationEnded || e.Kind == api.EntryDecided {
		s.stir()
	}
	return true
}

// stir has every open incident considered again.
func (s *State) stir() {
	s.dirty = true
	for _, inc := range s.d.Incidents {
		inc.dirty = inc.Closed.IsZero()
	}
}

// restart begins a new life: what the last one left in the air is uncertain now.
func (s *State) restart() {
	s.booted, s.stopping, s.stopped = s.now, false, false
	s.cfg, s.seen = nil, ring{}
	for _, inc := range s.d.Incidents {
		for _, f := range inc.Anomalies {
			if !f.Cleared && inc.Closed.IsZero() {
				s.stale[f.ID()] = true
			}
		}
	}
	for _, r := range s.d.Remediations {
		r.pend = nil
	}
	text := "Backstay started"
	flying := 0
	for _, r := range s.d.Remediations {
		if r.End == "" {
			flying++
		}
	}
	if flying > 0 {
		text += fmt.Sprintf(" and found %s under way", count(int64(flying), "remediation"))
	}
	s.emit(api.Entry{Kind: api.EntryStarted, Digest: s.d.Config, Text: text + "."})
	for _, r := range slices.Clone(s.d.Remediations) {
		if r.End == "" {
			s.orphan(r)
		}
	}
	s.stir()
}

// configure takes a new configuration. Remediations under way go on with the plan that they were opened with.
func (s *State) configure(c *Config) {
	first := s.cfg == nil
	s.cfg = compile(c)
	if c.Digest != s.d.Config {
		s.emit(api.Entry{Kind: api.EntryConfigured, Digest: c.Digest, Text: fmt.Sprintf("A new configuration took effect: %s, %s, %s and %s.",
			count(int64(len(c.Integrations)), "integration"), count(int64(len(c.Workflows)), "workflow"), count(int64(len(c.Probes)), "probe"),
			count(int64(len(c.Playbooks)), "playbook")), Facts: append(approvalFacts(c), objectiveFacts(c)...)})
	}
	s.record(c)
	s.forgetProbes()
	if first {
		s.remind()
	}
	s.stir()
}

// send hands out a command and remembers that its result is awaited.
func (s *State) send(r *remediation, i int, c Command) {
	c.Remediation, c.Incident, c.Playbook, c.Digest = r.ID, r.Incident, r.Plan.Name, r.Plan.Digest
	if i >= 0 {
		c.Step = r.Plan.Steps[i].Name
		c.Key = r.key(i)
		c.Attempt = r.Steps[i].Attempt
	}
	s.sent++
	r.pend = &pending{id: c.ID, kind: c.Kind, step: i, deadline: c.Deadline}
	s.out.Commands = append(s.out.Commands, c)
}

// commandID is deterministic and never repeats: the epoch rises with every start.
func (s *State) commandID(r *remediation, step string, kind CommandKind) string {
	return fmt.Sprintf("%s/%s/%s-%d.%d", r.ID, step, kind, s.d.Epoch, s.sent+1)
}

// key is the idempotency key of a step: the same for each repeat, and after a restart.
func (r *remediation) key(i int) string {
	return hash(32, r.Plan.Digest, r.ID, r.Opened.Format(time.RFC3339Nano), r.Plan.Steps[i].Name)
}

// timeouts gives up commands whose result did not come by the deadline.
func (s *State) timeouts() {
	for _, r := range slices.Clone(s.d.Remediations) {
		p := r.pend
		if r.End != "" || p == nil || s.now.Before(p.deadline.Add(resultGrace)) {
			continue
		}
		res := api.ResultUnknown
		if p.kind == Plan || p.kind == Expect {
			res = api.ResultFailed
		}
		s.settle(r, p, &Result{Command: p.id, Outcome: api.Outcome{Result: res, Text: "No result came by the deadline."}})
	}
}

// wake is when the engine must be called again at the latest.
func (s *State) wake() time.Time {
	var at time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	for _, p := range s.d.Pauses {
		sooner(p.Expires)
	}
	for _, r := range s.d.Remediations {
		switch {
		case r.End != "":
		case r.pend != nil:
			sooner(r.pend.deadline.Add(resultGrace))
		case s.stopping: // nothing new starts
		default:
			sooner(r.due)
		}
	}
	for _, inc := range s.d.Incidents {
		if inc.Closed.IsZero() {
			sooner(inc.next)
		}
	}
	if len(s.stale) > 0 && s.cfg != nil {
		if t := s.booted.Add(staleWait); t.After(s.now) {
			sooner(t)
		}
	}
	return at
}

// stop says when nothing that changes the world is in the air any more after Stopping.
func (s *State) stop() {
	if !s.stopping || s.stopped {
		return
	}
	for _, r := range s.d.Remediations {
		if r.End == "" && r.pend != nil && (r.pend.kind == Run || r.pend.kind == Undo) {
			return
		}
	}
	s.stopped = true
	s.emit(api.Entry{Kind: api.EntryStopped, Digest: s.d.Config, Text: "Backstay stopped as asked; nothing that it started is still in the air."})
}

// halt stops all acting for good: a broken invariant means that the engine can no longer be trusted. It goes on recording.
func (s *State) halt(what string) {
	if s.d.Halted != "" {
		return
	}
	s.emit(api.Entry{Kind: api.EntryInvariant, Text: "Backstay stopped acting because it broke a rule of its own: " + what +
		". It goes on watching and recording; lift the halt with a global resume once the cause is understood."})
}

// count prints a number with its noun: 1 probe, 2 probes.
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
