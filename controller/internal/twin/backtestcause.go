package twin

import (
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

// provokeMost bounds how many inferred causes are tried for one entry.
const provokeMost = 12

// provoke feeds what caused a recorded entry.
func (b *retelling) provoke(i int) {
	e := &b.in.Entries[i]
	b.foresee(i)
	if b.external(i) {
		if b.done[i] || b.cases[e.Incident].parted {
			return
		}
	}
	for n := 0; n < provokeMost && !b.done[i] && !b.cases[e.Incident].parted; n++ {
		if b.answer(e) {
			continue
		}
		if ev := b.eyes.infer(e, false); ev != nil {
			ev.At = e.At
			b.feed(*ev)
			continue
		}
		if !b.stir(e, n) {
			break
		}
	}
	if !b.done[i] && e.Kind == api.EntryInvariant { // the shell wrote it: the core broke and was never asked again
		if b.s.Apply(*e) == nil {
			b.done[i] = true
			b.matched++
			c := b.cases[e.Incident]
			for c.next < len(c.queue) && b.done[c.queue[c.next]] {
				c.next++
			}
		}
	}
}

// foresee infers what the decisions of one moment rest on before the event that led to them is fed: once it is, the engine has decided.
func (b *retelling) foresee(i int) {
	at := b.in.Entries[i].At
	for k := i; k < len(b.in.Entries) && k < i+foreseeMost && b.in.Entries[k].At.Equal(at); k++ {
		e := &b.in.Entries[k]
		switch e.Kind {
		case api.EntryStarted:
			k = len(b.in.Entries)
			continue
		case api.EntryAnomalyOpened:
			if e.Anomaly != nil {
				b.eyes.opened(*e.Anomaly, e.Incident)
				b.eyes.anomaly(*e.Anomaly)
			}
		case api.EntryAnomalyCleared:
			if e.Anomaly != nil {
				b.eyes.cleared(*e.Anomaly)
				b.eyes.locked[e.Anomaly.Probe] = true // that it can run again may have been told after this
			}
		}
		if b.done[k] || b.cases[e.Incident].parted {
			continue
		}
		for range provokeMost {
			ev := b.eyes.infer(e, k == i)
			if ev == nil {
				break
			}
			ev.At = at.Add(-1) // before what is due at that moment is done
			b.feed(*ev)
		}
		b.eyes.lock(e)
	}
	b.eyes.unlock()
}

// foreseeMost bounds how many entries of one moment are looked at.
const foreseeMost = 200

// stirring is a probe that does not exist: that it can and cannot run has the engine consider every incident again.
const stirring = "\x00"

// stir brings a tick first, then has everything considered again. It tells whether it did anything.
func (b *retelling) stir(e *api.Entry, n int) bool {
	if b.eyes.ticked != e.Seq+1 {
		b.eyes.ticked, b.eyes.stirred = e.Seq+1, 0
		b.feed(engine.Event{At: e.At, Tick: true})
		return true
	}
	if b.eyes.stirred >= 2 {
		return false
	}
	b.eyes.stirred++
	v := api.Unknown
	if b.eyes.odd = !b.eyes.odd; !b.eyes.odd {
		v = api.OK
	}
	b.feed(engine.Event{At: e.At, Verdict: &engine.Verdict{Probe: stirring, Verdict: v}})
	return true
}

// external feeds the event that an entry records as such. It tells whether there was one.
func (b *retelling) external(i int) bool {
	e := &b.in.Entries[i]
	switch e.Kind {
	case api.EntryStarted:
		b.restart(e.At)
	case api.EntryConfigured:
		b.digest = e.Digest
		if c := b.in.config(e.Digest); !b.changed && c != nil {
			b.configure(e.At, c)
		}
	case api.EntryConfigRefused:
		b.feed(engine.Event{At: e.At, Refused: strings.TrimPrefix(e.Text, "A new configuration was refused and the old one stays in force: ")})
	case api.EntryIncidentOpened, api.EntryIncidentRooted, api.EntryIncidentMerged:
		for k := i + 1; k < len(b.in.Entries) && b.in.Entries[k].At.Equal(e.At); k++ {
			if o := &b.in.Entries[k]; o.Kind == api.EntryAnomalyOpened && o.Anomaly != nil && !b.done[k] {
				b.anomaly(o)
				return true
			}
		}
		return false
	case api.EntryAnomalyOpened, api.EntryAnomalyCleared:
		if e.Anomaly == nil {
			return false
		}
		b.anomaly(e)
	case api.EntryPaused:
		if e.Pause == nil {
			return false
		}
		p := *e.Pause
		b.feed(engine.Event{At: e.At, Pause: &p})
	case api.EntryResumed:
		if e.Pause == nil || e.Actor == "" {
			return false
		}
		p := *e.Pause
		b.feed(engine.Event{At: e.At, Resume: &p})
	case api.EntryDecided, api.EntryWordRefused:
		return b.word(e)
	case api.EntryRefused:
		if e.Decision == nil {
			return false
		}
		return b.word(e) // of an older version
	case api.EntryNotified:
		return b.notified(e)
	case api.EntryLateResult:
		if e.Outcome == nil {
			return false
		}
		rem, kind := e.Remediation, "run"
		if p := b.paired[rem]; p != nil {
			rem = p.live
		}
		b.feed(engine.Event{At: e.At, Result: &engine.Result{Command: b.unique(rem + "/" + e.Step + "/" + kind), Outcome: *e.Outcome}})
	default:
		return false
	}
	return true
}

// restart begins a new life: what is volatile is gone.
func (b *retelling) restart(at time.Time) {
	if raw, err := b.s.Snapshot(); err == nil {
		if s, err := engine.Restore(raw); err == nil {
			b.s = s
		}
	}
	clear(b.pend)
	clear(b.asked)
	b.due = nil
	b.booting = at
	b.eyes.restart()
	b.feed(engine.Event{At: at, Restarted: true})
}

// anomaly feeds an anomaly as it was recorded.
func (b *retelling) anomaly(e *api.Entry) {
	a := *e.Anomaly
	a.Cleared = e.Kind == api.EntryAnomalyCleared
	if e.Text != "" {
		a.Text = e.Text
	}
	b.eyes.anomaly(a)
	b.feed(engine.Event{At: e.At, Anomaly: &a})
}

// word feeds a person's decision, about the replay's own remediation.
func (b *retelling) word(e *api.Entry) bool {
	if e.Decision == nil {
		return false
	}
	d, _ := b.decision(*e.Decision)
	b.feed(engine.Event{At: e.At, Decision: &d})
	return true
}

// notified feeds what came of telling a channel. Its name is all that the engine reads of the command.
func (b *retelling) notified(e *api.Entry) bool {
	channel := ""
	for _, f := range e.Facts {
		if f.Name == "channel" {
			channel = f.Value
		}
	}
	live := e.Incident
	if id, known := b.lives[e.Incident]; known {
		live = id
	}
	if e.Outcome == nil || channel == "" {
		return false
	}
	b.feed(engine.Event{At: e.At, Result: &engine.Result{Command: b.unique("notify/" + live + "/" + channel), Outcome: *e.Outcome}})
	return true
}

// outside feeds what an entry of a parted incident says of the world: anomalies and people's words go on as they were recorded.
func (b *retelling) outside(i int) {
	e := &b.in.Entries[i]
	switch e.Kind {
	case api.EntryAnomalyOpened, api.EntryAnomalyCleared:
		if e.Anomaly != nil {
			b.anomaly(e)
			b.seeAgain(e)
		}
	case api.EntryDecided:
		if id, _, _ := strings.Cut(e.Decision.Target, "/"); e.Decision.Verb == api.VerbAck || b.paired[id] != nil {
			b.word(e)
		}
	case api.EntryRefused, api.EntryStepRefused:
		if e.Refusal != nil && (e.Refusal.Guard == api.GuardStorm || e.Refusal.Guard == api.GuardUnknown) {
			if ev := b.eyes.infer(e, false); ev != nil {
				ev.At = e.At
				b.feed(*ev)
			}
		}
	}
}

// seeAgain ends the blindness of a probe whose anomaly shows that it runs, where the log has no decision left to tell by.
func (b *retelling) seeAgain(e *api.Entry) {
	if b.eyes.unknown[e.Anomaly.Probe] {
		ev := b.eyes.known(e.Anomaly.Probe)
		ev.At = e.At
		b.feed(*ev)
	}
}

// gap is the engine's pause before the nth question to a target that cannot tell.
func gap(n int, limit time.Duration) time.Duration {
	d := time.Second
	for ; n > 0 && d < limit; n-- {
		d *= 2
	}
	return min(d, limit)
}
