package live

import (
	"context"
	"fmt"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/store"
)

// The loop's measures.
const (
	itemsMax      = 512                    // items decided on before one commit
	snapshotEvery = 1000                   // entries
	tickLeast     = time.Millisecond       // between two ticks that the engine asked for at once
	eyesPause     = 200 * time.Millisecond // between two looks at the counts of ill probes while nothing else happens
)

// loop is the one goroutine that owns the engine's state and the running expectations.
type loop struct {
	s       *Shell
	ctx     context.Context // never ends: a stop must not cut a commit short
	state   core
	exec    *executor
	expects []*expect
	wake    time.Time // when the engine wants a tick
	ticked  time.Time
	eyes    engine.Eyes // as last told
	next    int64       // sequence number of the next entry
	unsaved int         // entries since the last snapshot
	saving  chan struct{}
	working map[string]string // digest of each remediation that has not ended
	spare   []item
	record  recorder

	// what one turn gathers
	entries  []api.Entry
	commands []engine.Command
	reloads  []*reload
	answers  []answer
}

type answer struct {
	done     func([]api.Entry, error)
	from, to int // of the turn's entries
	err      error
}

// run decides until ctx ends and the work in flight has ended, or until the journal fails.
func (l *loop) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	look := time.NewTicker(eyesPause)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return l.stop()
		case <-l.s.queue.signal:
		case <-timer.C:
		case <-look.C:
			if l.s.eyes.counts() == l.eyes {
				continue
			}
		}
		if err := l.turn(); err != nil {
			return err
		}
		timer.Reset(l.pause())
	}
}

// stop lets everything in flight end as done or uncertain. Steps that are calling get the grace to finish; then their contexts
// end, and those that still say nothing are reported as unknown.
func (l *loop) stop() error {
	l.s.stopping.Store(true)
	l.exec.stopReads()
	if err := l.s.queue.put(item{event: engine.Event{Stopping: true}}); err != nil {
		return err
	}
	grace := time.NewTimer(l.s.grace)
	defer grace.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if err := l.turn(); err != nil {
			return err
		}
		if l.exec.acting() == 0 && l.s.queue.len() == 0 {
			break
		}
		timer.Reset(l.pause())
		select {
		case <-l.s.queue.signal:
		case <-l.exec.idle:
		case <-timer.C:
		case <-grace.C:
			l.s.log.Warn("steps did not end within the grace of a stop; cutting them short", "steps", l.exec.acting())
			l.exec.cutShort()
		}
	}
	l.s.queue.close(api.Errorf(api.CodeUnavailable, "%w", errStopped))
	l.record.end()
	l.awaitSnapshot()
	l.snapshot(true)
	return nil
}

// pause is how long the loop may sleep.
func (l *loop) pause() time.Duration {
	wake := l.wake
	for _, x := range l.expects {
		wake = earliest(wake, x.wake)
	}
	if wake.IsZero() {
		return time.Hour
	}
	return max(wake.Sub(l.s.clock.now()), l.ticked.Add(tickLeast).Sub(l.s.clock.now()), 0)
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// turn decides on all that waits, with one commit for each itemsMax of it.
func (l *loop) turn() error {
	items := l.s.queue.take(l.spare)
	for rest := items; ; {
		n := min(itemsMax, len(rest))
		l.look()
		for i := range rest[:n] {
			l.take(&rest[i])
		}
		l.judge()
		l.tick()
		if err := l.commit(); err != nil {
			l.refuse(rest[n:], err)
			return err
		}
		if rest = rest[n:]; len(rest) == 0 {
			break
		}
	}
	clear(items)
	l.spare = items
	return nil
}

// refuse answers those whose items will never be decided on.
func (l *loop) refuse(items []item, err error) {
	for _, it := range items {
		if it.done != nil {
			it.done(nil, err)
		}
	}
}

// look tells the engine how well our eyes are, before anything that may be decided on by them.
func (l *loop) look() {
	if now := l.s.eyes.counts(); now != l.eyes {
		l.eyes = now
		l.step(engine.Event{Eyes: &now})
	}
}

func (l *loop) take(it *item) {
	from := len(l.entries)
	var err error
	switch {
	case it.obs != nil:
		for _, x := range l.expects {
			x.proof.Observe(it.obs)
		}
	case it.probe != nil && it.probe.gone.Load() && !it.event.Anomaly.Cleared:
		// a reload overtook it: the detector is gone, or its successor will find the same
	default:
		if a := it.event.Anomaly; a != nil {
			for _, x := range l.expects {
				x.proof.Anomaly(*a)
			}
		}
		err = l.step(it.event)
		if err != nil && it.command != nil {
			l.keepResult(it)
		}
	}
	if it.reload != nil && err == nil {
		l.reloads = append(l.reloads, it.reload)
	}
	if it.done != nil {
		l.answers = append(l.answers, answer{it.done, from, len(l.entries), err})
	}
}

// keepResult records what came of a command although the core no longer decides: evidence for the person who does.
func (l *loop) keepResult(it *item) {
	c, r := it.command, it.event.Result
	if c.Kind != engine.Run && c.Kind != engine.Undo {
		return
	}
	l.record.shell(l.upcoming())
	l.entries = append(l.entries, api.Entry{
		At: l.s.clock.now(), Kind: api.EntryLateResult, Text: fmt.Sprintf("After acting was halted, step %s reported: %s", c.Step, r.Outcome.Text),
		Incident: c.Incident, Remediation: c.Remediation, Playbook: c.Playbook, Digest: c.Digest, Step: c.Step, Attempt: c.Attempt, Outcome: &r.Outcome,
	})
}

// tick brings the engine the time where it asked for it.
func (l *loop) tick() {
	now := l.s.clock.now()
	if l.wake.IsZero() || now.Before(l.wake) {
		return
	}
	l.wake, l.ticked = time.Time{}, now
	l.step(engine.Event{Tick: true})
}

// step feeds one event. Where the core breaks, it is never asked again: acting stops, the log says why, and probing goes on.
func (l *loop) step(e engine.Event) (err error) {
	if why := l.s.broken.Load(); why != nil {
		return &api.Error{Code: api.CodeUnavailable, Message: "the controller no longer acts: " + *why, Hint: "restart the controller once the cause is known"}
	}
	e.At = l.s.clock.now()
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		why := fmt.Sprintf("the deciding core broke: %v", r)
		l.s.log.Error("the core broke; acting stops, probing goes on", "panic", r, "stack", stack())
		l.s.broken.Store(&why)
		l.wake = time.Time{}
		l.record.shell(l.upcoming())
		l.entries = append(l.entries, api.Entry{At: e.At, Kind: api.EntryInvariant, Text: "Acting stopped because " + why + ". Probing goes on."})
		err = api.Errorf(api.CodeInternal, "%s", why)
	}()
	out := l.state.Step(e)
	l.record.add(&e, len(out.Entries), l.upcoming())
	l.entries = append(l.entries, out.Entries...)
	l.commands = append(l.commands, out.Commands...)
	l.wake = earliest(l.wake, out.Wake)
	return nil
}

// upcoming is the sequence number of the entry that comes next.
func (l *loop) upcoming() int64 { return l.next + int64(len(l.entries)) }

// commit makes the turn's entries durable, and only then lets anybody see or do anything.
func (l *loop) commit() error {
	var err error
	l.record.keep(len(l.entries) > 0)
	if len(l.entries) > 0 {
		err = l.append()
	}
	entries, commands, reloads, answers := l.entries, l.commands, l.reloads, l.answers
	l.entries, l.commands, l.reloads, l.answers = nil, nil, nil, nil
	if err == nil {
		for _, r := range reloads {
			l.apply(r)
		}
		for _, c := range commands {
			l.perform(c)
		}
	}
	if err == nil && (len(entries) > 0 || len(reloads) > 0) {
		l.publishView() // before anybody is answered: whoever asks next sees what he did
		l.s.hub.publish(entries)
	}
	for _, a := range answers {
		switch {
		case err != nil:
			a.done(nil, api.Errorf(api.CodeUnavailable, "nothing was recorded: %w", err))
		default:
			a.done(entries[a.from:a.to], a.err)
		}
	}
	if err != nil {
		return fmt.Errorf("record %d entries; nothing was done that is not recorded, restart once the data folder is well: %w", len(entries), err)
	}
	if len(entries) > 0 || len(reloads) > 0 {
		l.snapshot(false)
	}
	return nil
}

// append writes the turn's entries with the views that they changed.
func (l *loop) append() error {
	b := store.Batch{Entries: l.entries}
	incidents, remediations := engine.Touched(l.entries, l.state.Incident)
	for _, id := range incidents {
		if v := l.state.Incident(id); v != nil {
			b.Incidents = append(b.Incidents, *v)
		}
	}
	for _, id := range remediations {
		if v := l.state.Remediation(id); v != nil {
			b.Remediations = append(b.Remediations, *v)
		}
	}
	start := time.Now()
	l.s.committing.Store(start.UnixNano())
	first, err := l.s.journal.Append(l.ctx, b)
	l.s.committing.Store(0)
	if err != nil {
		return err
	}
	l.s.figures.commit.Observe(time.Since(start).Seconds())
	for i := range l.entries {
		l.entries[i].Seq = first + int64(i)
		l.s.figures.count(&l.entries[i])
	}
	l.next = first + int64(len(l.entries))
	l.unsaved += len(l.entries)
	l.track(b.Remediations)
	return nil
}

// track remembers which playbook digests are at work, so that a reload keeps their runners.
func (l *loop) track(changed []api.Remediation) {
	for _, r := range changed {
		if r.End != "" {
			delete(l.working, r.ID)
		} else {
			l.working[r.ID] = r.Digest
		}
	}
}

func (l *loop) publishView() {
	if l.s.broken.Load() != nil {
		return // a broken core is not asked
	}
	l.s.view.Store(&view{playbooks: l.state.Playbooks(), pauses: l.state.Pauses(), halted: l.state.Halted()})
	l.s.figures.working.Store(int64(len(l.working)))
}

// snapshot keeps the state in the background, so that a restart reads few entries.
func (l *loop) snapshot(now bool) {
	if l.unsaved == 0 || l.s.broken.Load() != nil || (!now && l.unsaved < snapshotEvery) {
		return
	}
	select {
	case <-l.saving:
	default:
		return // the one before is not written yet
	}
	state, err := l.state.Snapshot()
	if err != nil {
		l.saving <- struct{}{}
		l.s.log.Error("make a snapshot; a restart will read more entries", "err", err)
		return
	}
	l.unsaved = 0
	save := func(next int64) {
		if err := l.s.journal.SaveSnapshot(l.ctx, next, state); err != nil {
			l.s.log.Warn("save a snapshot; a restart will read more entries", "next", next, "err", err)
		}
		l.saving <- struct{}{}
	}
	if now {
		save(l.next)
		return
	}
	go save(l.next)
}

// awaitSnapshot waits for the one that is being written.
func (l *loop) awaitSnapshot() {
	<-l.saving
	l.saving <- struct{}{}
}
