package twin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

// exactly walks the recorded inputs and the entries that they led to, and infers the causes of the entries that no input accounts for.
//
// Blocks come in the order in which they were written. A block reaches no further than the next one begins: what a crash kept from the log was
// written again by the next life, under the same numbers. From a gap to the next start all is inferred, because what the engine knew of the world
// after the gap rests on what is missing.
func (b *retelling) exactly() {
	entries := len(b.in.Entries)
	ends := make([]int64, len(b.in.Inputs)) // where each block must end
	for i, end := len(ends)-1, int64(entries); i >= 0; i-- {
		ends[i] = end
		end = min(end, b.in.Inputs[i].First)
	}
	next, whole := 0, false
	for i, block := range b.in.Inputs {
		at := block.First
		if at > ends[i] {
			continue
		}
		err := engine.ReadTape(block.Block, func(in *engine.Input) bool {
			to := at + int64(in.Entries)
			if to > ends[i] {
				return false
			}
			if whole = in.Event.Restarted || whole && int(at) == next; whole {
				next = b.gap(next, int(at))
				b.input(in, int(at), int(to))
				next = int(to)
			}
			at = to
			return true
		})
		if err != nil {
			b.notes = append(b.notes, fmt.Sprintf("what was recorded of inputs is damaged from entry %d on, and inferred until the next block: %v", at, err))
		}
	}
	b.gap(next, entries)
}

// gap infers what led to the entries in [from, to), and gives to.
func (b *retelling) gap(from, to int) int {
	for i := from; i < to; i++ {
		b.known = false
		b.entry(i)
	}
	return max(from, to)
}

// input feeds one recorded input, which led to the recorded entries in [from, to).
func (b *retelling) input(in *engine.Input, from, to int) {
	if in.Lost {
		b.gap(from, to)
		return
	}
	e := in.Event // a copy
	b.known = true
	b.takeChanged(e.At)
	if e.Restarted {
		b.wake, b.due = time.Time{}, nil
	} else if b.loose { // what the replay does otherwise has times of its own
		b.until(e.At, e.At.Add(-wakeSlack))
	}
	b.now = -1
	for i := from; i < to; i++ {
		if b.in.Entries[i].Kind == api.EntryIncidentOpened {
			b.now = i
			break
		}
	}
	b.put(&e)
	b.eyes.ran = nil
	b.now = -1
	b.exact += to - from
	for i := from; i < to; i++ {
		b.settled(i)
	}
}

// put feeds an input under the replay's own names, and keeps what inference would need after it.
func (b *retelling) put(e *engine.Event) {
	switch {
	case e.Restarted:
		b.restart(e.At)
		return
	case e.Config != nil:
		b.reconfigured(e)
		return
	case e.Tick:
		b.ticks = e.At
	case e.Anomaly != nil:
		delete(b.eyes.stale, e.Anomaly.ID())
		b.eyes.anomaly(*e.Anomaly)
	case e.Eyes != nil:
		b.eyes.storming = b.storms(e.Eyes)
	case e.Verdict != nil:
		if e.Verdict.Verdict == api.Unknown {
			b.eyes.unknown[e.Verdict.Probe] = true
		} else {
			delete(b.eyes.unknown, e.Verdict.Probe)
			b.eyes.seen[e.Verdict.Probe] = e.At
		}
	case e.Seen != "":
		b.eyes.seen[e.Seen] = e.At
	case e.Result != nil:
		if !b.own(e.Result) {
			return
		}
	case e.Decision != nil:
		d, known := b.decision(*e.Decision)
		if !known {
			return
		}
		e.Decision = &d
	}
	b.feed(*e)
}

// reconfigured puts the configuration in force that an input names.
func (b *retelling) reconfigured(e *engine.Event) {
	b.digest = e.Config.Digest
	c := b.inForce(b.digest)
	if c == nil || b.changed && b.booting.IsZero() {
		return // the changed one goes on
	}
	b.eyes.configure(c)
	b.cfg, b.booting = c, time.Time{}
	b.feed(engine.Event{At: e.At, Config: c})
}

// storms tells whether so many ill probes hold automation back.
func (b *retelling) storms(e *engine.Eyes) bool {
	share, least := 0.6, 8
	if b.cfg != nil && b.cfg.Storm.Share > 0 {
		share = b.cfg.Storm.Share
	}
	if b.cfg != nil && b.cfg.Storm.Least > 0 {
		least = b.cfg.Storm.Least
	}
	ill := e.Bad + e.Unknown
	return e.Probes > 0 && ill >= least && float64(ill) >= share*float64(e.Probes)
}

// decision is a person's word about the replay's own remediation; false where it has none.
func (b *retelling) decision(d api.Decision) (api.Decision, bool) {
	id, step, has := strings.Cut(d.Target, "/")
	p := b.paired[id]
	if p != nil {
		if d.Target = p.live; has {
			d.Target += "/" + step
		}
	}
	if b.changed { // the plan may be another one: the person is supposed to say the same of it
		d.Plan = ""
	}
	return d, p != nil || d.Verb == api.VerbAck || len(b.all[id]) == 0
}

// own gives a recorded result the name of the replay's command that it belongs to. False: the replay has no such command, or has answered it.
func (b *retelling) own(r *engine.Result) bool {
	if alias, is := b.alias[r.Command]; is {
		r.Command = alias
	}
	parts := strings.SplitN(r.Command, "/", 3)
	if len(parts) != 3 {
		return true
	}
	of, what := parts[0], parts[2][:max(strings.LastIndex(parts[2], "-"), 0)]
	if of == "notify" {
		if live, known := b.lives[parts[1]]; known {
			parts[1] = live
		}
		if r.Command = strings.Join(parts, "/"); b.loose && !b.issued[r.Command] {
			r.Command = b.unique("notify/" + parts[1] + "/" + what)
		}
		return true
	}
	p := b.paired[of]
	if p == nil {
		return len(b.all[of]) == 0
	}
	if c := b.cases[b.incs[p.incident]]; c != nil && c.parted {
		return false // answered by what is assumed
	}
	parts[0] = p.live
	r.Command = strings.Join(parts, "/")
	waits := b.pend[p.live]
	switch {
	case waits != nil && waits.ID == r.Command:
	case !b.loose || b.issued[r.Command]:
		return true // late, or a second time
	case waits != nil && strings.HasPrefix(waits.ID, p.live+"/"+parts[1]+"/"+what+"-"):
		r.Command = waits.ID
	default:
		r.Command = b.unique(p.live + "/" + parts[1] + "/" + what)
		return true
	}
	delete(b.pend, p.live)
	return true
}

// settled files a recorded entry whose cause has been fed.
func (b *retelling) settled(i int) {
	e := &b.in.Entries[i]
	c := b.cases[e.Incident]
	if decides(e.Kind) && !b.repeat[i] {
		c.recorded = append(c.recorded, *side(e, e.Seq))
	}
	if b.done[i] {
		return
	}
	b.done[i] = true
	switch {
	case c.parted:
		b.skipped++
		b.supposing(c, e)
	case b.describes(e):
		b.skipped++
	case c.id == "":
		c.outside = append(c.outside, *side(e, e.Seq))
	default:
		b.part(c, e, b.elsewhere(i))
	}
}

// missing notes the playbooks of the log that the changed configuration does not have.
func (p *Past) missing() (notes []string) {
	seen := map[string]bool{}
	for i := range p.Entries {
		name := p.Entries[i].Playbook
		if name == "" || seen[name] {
			continue
		}
		seen[name] = true
		if !slices.ContainsFunc(p.Changed.Playbooks, func(x engine.Playbook) bool { return x.Name == name }) {
			notes = append(notes, fmt.Sprintf("the changed configuration has no playbook %s: all that it did in the log is gone from the replay", name))
		}
	}
	return notes
}
