package live

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

// The bounds of what is read at start.
const (
	incidentsRead    = 100_000
	remediationsRead = 100_000
)

// begin rebuilds the engine's state from the journal and feeds it what it must know first. Its entries are durable when it returns.
func (s *Shell) begin(ctx context.Context) (*loop, error) {
	l := &loop{s: s, ctx: context.WithoutCancel(ctx), exec: newExecutor(s), working: map[string]string{}, saving: make(chan struct{}, 1), record: recorder{s: s}}
	l.saving <- struct{}{}
	if err := l.rebuild(ctx); err != nil {
		return nil, err
	}
	if err := l.resume(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	config := s.config.Engine
	s.mu.Unlock()
	l.step(engine.Event{Restarted: true})
	if n := len(l.entries); n > 0 && s.version != "" {
		l.entries[0].Facts = append(l.entries[0].Facts, api.Fact{Name: "version", Value: s.version})
	}
	if r := s.rollback(); r != nil && !paused(l.state.Pauses()) {
		l.step(engine.Event{Pause: &api.Pause{Owner: "backstay", At: s.clock.now(), Reason: r.Text + " Nothing is done until a person has compared the two and resumes."}})
	}
	l.step(engine.Event{Config: &config})
	if err := l.commit(); err != nil {
		return nil, err
	}
	l.publishView()
	s.ready.Store(true)
	return l, nil
}

// paused tells whether everything is paused.
func paused(list []api.Pause) bool {
	for _, p := range list {
		if p.Playbook == "" {
			return true
		}
	}
	return false
}

// rebuild reads snapshot and entries.
func (l *loop) rebuild(ctx context.Context) error {
	next, state, err := l.s.journal.LoadSnapshot(ctx)
	if err != nil {
		return fmt.Errorf("read the last snapshot: %w", err)
	}
	l.state = l.s.empty()
	if len(state) > 0 {
		if l.state, err = l.s.restore(state); err != nil {
			return fmt.Errorf("restore the snapshot before entry %d: %w", next, err)
		}
	}
	l.next = next
	var last time.Time
	err = l.s.journal.Replay(ctx, max(next-1, 0), func(e api.Entry) error { // one entry more, for its time
		last = e.At
		if e.Seq < next {
			return nil
		}
		if err := l.state.Apply(e); err != nil {
			return fmt.Errorf("apply entry %d (%s): %w; is the data folder from a newer version?", e.Seq, e.Kind, err)
		}
		l.next = e.Seq + 1
		l.unsaved++
		return nil
	})
	if err != nil {
		return fmt.Errorf("rebuild the state from the log: %w", err)
	}
	l.s.clock.atLeast(last)
	return nil
}

// resume reads what was open when the controller ended: anomalies, which their probes adopt, and remediations, whose digests are at
// work.
func (l *loop) resume(ctx context.Context) error {
	incidents, err := l.s.journal.Incidents(ctx, true, incidentsRead)
	if err != nil {
		return fmt.Errorf("read open incidents: %w", err)
	}
	l.s.figures.opened(len(incidents))
	open := map[string][]api.Anomaly{}
	for _, a := range l.state.Open() {
		open[a.Probe] = append(open[a.Probe], a)
	}
	l.s.mu.Lock()
	config := l.s.first
	l.s.first = nil
	l.s.mu.Unlock()
	for _, c := range config {
		if p := l.s.find(c.Name); p != nil && len(open[c.Name]) > 0 {
			p.inherit(open[c.Name], c.Spec, l.s.clock.now())
		}
	}
	remediations, err := l.s.journal.Remediations(ctx, "", remediationsRead)
	if err != nil {
		return fmt.Errorf("read remediations: %w", err)
	}
	l.track(remediations)
	return nil
}

// changesPool lends workers the slice that detectors append to.
var changesPool = sync.Pool{New: func() any { return new([]api.Anomaly) }}

// saw files an observation and tells the loop what may change a decision.
func (s *Shell) saw(p *probe, o *api.Observation) {
	buf := changesPool.Get().(*[]api.Anomaly)
	news, changes := p.take(o, &s.eyes, (*buf)[:0])
	if news.closed {
		s.rollups.add(news.minute)
	}
	if news.verdict {
		s.queue.put(item{event: engine.Event{Verdict: &engine.Verdict{Probe: p.name, Verdict: o.Verdict}}})
	} else if o.Verdict != api.Unknown && p.confirms.Load() {
		s.queue.put(item{event: engine.Event{Seen: p.name}})
	}
	if news.value && p.counted.Load() {
		s.queue.put(item{event: engine.Event{Value: &engine.Value{Probe: p.name, Value: o.Value}}})
	}
	watched := p.watching.Load() > 0
	if watched {
		kept := *o
		s.queue.put(item{obs: &kept})
	}
	for i := range changes {
		a := changes[i]
		s.queue.put(item{event: engine.Event{Anomaly: &a}, probe: p})
	}
	clear(changes)
	*buf = changes[:0]
	changesPool.Put(buf)
	switch {
	case news.again:
		s.sched.repeat(p, repeatLeast+time.Duration(p.phase)%repeatSpread)
	case watched && p.hurry.Load() > 0:
		if o.Verdict == api.OK {
			p.hurry.Add(-1)
		}
		s.sched.repeat(p, hurryPause)
	}
}
