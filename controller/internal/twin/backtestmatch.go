package twin

import (
	"slices"
	"time"

	"github.com/backstay/backstay/api"
)

// tick is how far two times may lie apart and count as one: the shell's timer and a busy processor.
const tick = time.Second

// incidentCase is one incident in both histories. The one without a name holds what belongs to no incident.
type incidentCase struct {
	id       string // recorded, or of the replay with a plus before it
	root     string
	opened   time.Time
	exists   bool  // in the log
	queue    []int // recorded entries, in order
	next     int   // in queue: the first that was not matched
	parted   bool
	first    [2]*Side
	assumed  string // the assumption that all rests on since it parted; empty: none yet
	resting  int
	recorded []Side // decisions
	replayed []Side
	outside  []Side
}

// pair is one remediation in both histories.
type pair struct {
	live     string // of the replay
	recorded string // of the log; empty where it has none
	incident string // of the replay
	playbook string
	byStep   map[string]int // attempts sent, by kind and step
}

// side tells what an entry says, for people.
func side(e *api.Entry, seq int64) *Side {
	s := &Side{At: e.At, Kind: e.Kind, Seq: seq, Remediation: e.Remediation, Playbook: e.Playbook, Step: e.Step, Attempt: e.Attempt, Refusal: e.Refusal, End: e.End, Text: e.Text}
	if e.Outcome != nil {
		s.Result = e.Outcome.Result
	}
	return s
}

// decides tells whether an entry is a decision or an action, which reports list.
func decides(k api.EntryKind) bool {
	switch k {
	case api.EntryRefused, api.EntryObserved, api.EntrySuggested, api.EntryRemediationOpened, api.EntryRemediationEnded, api.EntryStepRefused,
		api.EntryStepIntended, api.EntryStepRepeated, api.EntryUndoIntended, api.EntryStepHandedOver, api.EntryDemoted, api.EntryAsked:
		return true
	}
	return false
}

// emitted takes an entry that the replay made.
func (b *retelling) emitted(x *api.Entry) {
	c := b.caseOf(x)
	if x.Kind == api.EntryRemediationOpened {
		b.pairUp(c, x)
	} else if p := b.pairs[x.Remediation]; p != nil && x.Incident != "" {
		p.incident = x.Incident
	}
	b.notice(x)
	if b.describes(x) {
		return
	}
	if b.again(b.saidReplayed, x) {
		return
	}
	if decides(x.Kind) {
		s := side(x, -1)
		s.Assumed = c.assumed
		c.replayed = append(c.replayed, *s)
	}
	if c.parted {
		if c.assumed != "" {
			c.resting++
		}
		return
	}
	for c.next < len(c.queue) && b.done[c.queue[c.next]] {
		c.next++
	}
	if c.next < len(c.queue) {
		i := c.queue[c.next]
		if e := &b.in.Entries[i]; b.same(e, x) {
			b.done[i] = true
			b.matched++
			c.next++
			if e.Intent != nil && x.Intent != nil && e.Intent.Command != x.Intent.Command {
				b.alias[e.Intent.Command] = x.Intent.Command
			}
			return
		}
		if c.id == "" {
			c.outside = append(c.outside, *side(x, -1))
			return
		}
		b.part(c, &b.in.Entries[i], x)
		return
	}
	if c.id == "" {
		c.outside = append(c.outside, *side(x, -1))
		return
	}
	b.part(c, nil, x)
}

// describes tells whether an entry only says which configuration is in force, and a changed one is: then both sides differ by design.
func (b *retelling) describes(e *api.Entry) bool {
	return b.in.Changed != nil && (e.Kind == api.EntryConfigured || e.Kind == api.EntryRecorded || e.Kind == api.EntryConfigRefused)
}

// again tells whether an entry only repeats the last refusal of the same playbook or step in other words: the same guard, and the same time when it
// would pass. The engine writes such an entry whenever it happens to consider the incident and the reason reads differently, so that how
// often it does depends on what no log holds.
func (b *retelling) again(said map[string]*api.Refusal, e *api.Entry) bool {
	key := e.Incident + "\x00" + e.Playbook
	if e.Step != "" {
		key = e.Remediation + "/" + e.Step
	}
	switch e.Kind {
	case api.EntryRefused, api.EntryStepRefused:
		if e.Refusal == nil || e.Decision != nil {
			return false
		}
		last := said[key]
		said[key] = e.Refusal
		return last != nil && last.Guard == e.Refusal.Guard && near(last.Next, e.Refusal.Next)
	case api.EntryRemediationOpened, api.EntryObserved, api.EntrySuggested, api.EntryStepIntended, api.EntryStepRepeated, api.EntryAsked, api.EntryRemediationEnded:
		delete(said, key)
	}
	return false
}

// sooner tells whether the replay refused, for a reason that time does not lift, what the log refuses later: how soon the engine considers an
// incident again after something changed depends on when probes could run and could not, which no log holds.
func sooner(e, x *api.Entry) bool {
	return e.Kind == api.EntryRefused && e.Refusal != nil && e.Refusal.Next.IsZero() && x.At.Before(e.At)
}

// near tells whether two times are one, to the tick.
func near(a, b time.Time) bool { return a.IsZero() == b.IsZero() && a.Sub(b).Abs() <= tick }

// caseOf finds the incident that a replayed entry belongs to.
func (b *retelling) caseOf(x *api.Entry) *incidentCase {
	if x.Incident == "" {
		return b.cases[""]
	}
	if id, known := b.incs[x.Incident]; known {
		return b.cases[id]
	}
	if b.now >= 0 {
		e := &b.in.Entries[b.now]
		if c := b.cases[e.Incident]; x.Kind == api.EntryIncidentOpened && e.Incident != "" && !b.mapped[e.Incident] && !c.parted {
			b.incs[x.Incident] = e.Incident
			b.lives[e.Incident] = x.Incident
			b.mapped[e.Incident] = true
			return c
		}
	}
	id := "+" + x.Incident
	c := &incidentCase{id: id, root: x.Node, opened: x.At}
	b.cases[id], b.incs[x.Incident] = c, id
	b.order = append(b.order, id)
	return c
}

// pairUp finds the recorded counterpart of a remediation: the one of the same playbook and of the same turn in the same incident.
func (b *retelling) pairUp(c *incidentCase, x *api.Entry) {
	p := &pair{live: x.Remediation, incident: x.Incident, playbook: x.Playbook, byStep: map[string]int{}}
	key := c.id + "\x00" + x.Playbook
	if n := b.turns[key]; n < len(b.recRems[key]) {
		p.recorded = b.recRems[key][n]
		b.paired[p.recorded] = p
	}
	b.turns[key]++
	b.pairs[x.Remediation] = p
}

// same tells whether a replayed entry is the recorded one.
func (b *retelling) same(e, x *api.Entry) bool {
	rem := ""
	if p := b.pairs[x.Remediation]; p != nil {
		rem = p.recorded
	}
	switch {
	case e.Kind != x.Kind, !near(e.At, x.At) && !sooner(e, x), e.Playbook != x.Playbook, e.Step != x.Step, e.Attempt != x.Attempt, e.Node != x.Node, e.End != x.End, e.Actor != x.Actor,
		e.Remediation != "" && x.Remediation != "" && e.Remediation != rem && e.Remediation != x.Remediation,
		(e.Remediation == "") != (x.Remediation == ""),
		(e.Refusal == nil) != (x.Refusal == nil), (e.Anomaly == nil) != (x.Anomaly == nil), (e.Outcome == nil) != (x.Outcome == nil), (e.Decision == nil) != (x.Decision == nil):
		return false
	case e.Refusal != nil && (e.Refusal.Guard != x.Refusal.Guard || !near(e.Refusal.Next, x.Refusal.Next)):
		return false
	case e.Anomaly != nil && (e.Anomaly.ID() != x.Anomaly.ID() || e.Anomaly.Cleared != x.Anomaly.Cleared):
		return false
	case e.Outcome != nil && e.Outcome.Result != x.Outcome.Result:
		return false
	case e.Decision != nil && (e.Decision.Verb != x.Decision.Verb || e.Decision.By != x.Decision.By):
		return false
	}
	return true
}

// part notes where an incident diverges first, and has what was still awaited answered.
func (b *retelling) part(c *incidentCase, e, x *api.Entry) {
	if c.parted {
		return
	}
	c.parted, b.loose = true, true
	if e != nil {
		c.first[0] = side(e, e.Seq)
	}
	if x != nil {
		c.first[1] = side(x, -1)
	}
	for _, id := range b.awaiting() {
		if p := b.pairs[id]; b.incs[p.incident] == c.id {
			cmd := b.pend[id]
			delete(b.pend, id)
			b.assume(c, p, cmd)
		}
	}
}

// awaiting lists the remediations with a command out, in the order of their names.
func (b *retelling) awaiting() []string {
	out := make([]string, 0, len(b.pend))
	for id := range b.pend { // sorted below
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// test is the report of one incident.
func (c *incidentCase) test() IncidentTest {
	t := IncidentTest{ID: c.id, Root: c.root, Opened: c.opened, Recorded: c.exists, Same: !c.parted && c.exists, Assumed: c.resting}
	if !c.exists {
		t.ID = c.id[1:]
	}
	if t.Same {
		return t
	}
	t.First.Recorded, t.First.Replayed = c.first[0], c.first[1]
	would := surplus(c.replayed, c.recorded)
	for _, s := range would {
		if s.Refusal != nil {
			t.Blocked = append(t.Blocked, s)
		} else {
			t.Would = append(t.Would, s)
		}
	}
	t.Gone = surplus(c.recorded, c.replayed)
	return t
}

// surplus is what a has more often than b.
func surplus(a, b []Side) []Side {
	key := func(s *Side) string {
		k := string(s.Kind) + "\x00" + s.Playbook + "\x00" + s.Step + "\x00" + string(s.End)
		if s.Refusal != nil {
			k += "\x00" + string(s.Refusal.Guard)
		}
		return k
	}
	n := map[string]int{}
	for i := range b {
		n[key(&b[i])]++
	}
	var out []Side
	for i := range a {
		if k := key(&a[i]); n[k] > 0 {
			n[k]--
		} else {
			out = append(out, a[i])
		}
	}
	return out
}
