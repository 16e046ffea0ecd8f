package live

import (
	"math"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/detect"
	"github.com/backstay/backstay/controller/internal/engine"
)

// expect is a running expectation: a command of kind Expect and the probes that it watches.
type expect struct {
	command engine.Command
	proof   *detect.Proof
	probes  []*probe
	wake    time.Time
}

// expect starts to watch. The probes run soon and often until they have shown enough good runs, because people wait for it.
func (l *loop) expect(c engine.Command) {
	if c.Expectation == nil {
		l.s.queue.put(item{command: &c, event: engine.Event{Result: &engine.Result{Command: c.ID, Outcome: api.Outcome{
			Result: api.ResultFailed, Text: "The step expects nothing."}}}})
		return
	}
	now := l.s.clock.now()
	x := &expect{command: c, proof: detect.NewProof(*c.Expectation, now)}
	l.expects = append(l.expects, x)
	l.watch(x, true)
	_, _, x.wake = x.proof.Result(now)
	if x.wake.IsZero() {
		x.wake = now
	}
}

// watch points an expectation at its probes, as the configuration has them now.
func (l *loop) watch(x *expect, fresh bool) {
	for _, name := range x.command.Expectation.Probes {
		p := l.s.find(name)
		if p == nil {
			continue // the expectation fails in its time, and says which probe was silent
		}
		x.probes = append(x.probes, p)
		p.watching.Add(1)
		p.hurry.Store(hurried(x.command.Expectation))
		p.mu.Lock()
		open := p.open
		p.mu.Unlock()
		if fresh {
			for _, a := range open {
				x.proof.Anomaly(a)
			}
		}
		l.s.sched.repeat(p, repeatLeast)
	}
}

// hurried is how many good runs are wanted soon. A value is waited for until it comes or the time is over.
func hurried(e *api.Expectation) int32 {
	if e.Equals != nil || e.Below != nil || e.Above != nil {
		return math.MaxInt32
	}
	return int32(max(e.OK, 1))
}

func (x *expect) unwatch() {
	for _, p := range x.probes {
		p.watching.Add(-1)
	}
	x.probes = nil
}

// rewatch follows a reload: a probe that was edited is another probe now.
func (l *loop) rewatch() {
	for _, x := range l.expects {
		x.unwatch()
		l.watch(x, false)
	}
}

// judge asks each expectation whether it is decided.
func (l *loop) judge() {
	now := l.s.clock.now()
	open := l.expects
	l.expects = nil
	for _, x := range open {
		out, decided, wake := x.proof.Result(now)
		if late := x.command.Deadline; !decided && !late.IsZero() && !now.Before(late) {
			out, decided = api.Outcome{Result: api.ResultFailed, Text: "The probes had not shown it by the step's deadline."}, true
		}
		if !decided {
			x.wake = earliest(wake, x.command.Deadline)
			l.expects = append(l.expects, x)
			continue
		}
		x.unwatch()
		l.step(engine.Event{Result: &engine.Result{Command: x.command.ID, Outcome: out}})
	}
}
