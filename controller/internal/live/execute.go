package live

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/playbooks"
)

type runner = playbooks.Runner

// The executor's bounds. The engine lets only one remediation at a time work on a target; these bound the sum.
const (
	actsMax         = 64 // plans, runs, looks and undos at once
	noticesMax      = 32 // notifications at once, apart, so that a hanging channel never delays a step
	deadlineDefault = 30 * time.Second
	marginMax       = 250 * time.Millisecond // a runner's context ends this much before the command's deadline, so that it can still say how far it came
	cutShortWait    = 2 * time.Second        // how long a step may take to return after its context ended
)

// executor performs commands and turns whatever comes of them into a result for the loop.
type executor struct {
	s       *Shell
	acts    chan struct{}
	notices chan struct{}
	reads   context.Context // ends when a stop begins: plans and looks only read, the next start repeats them
	endRead context.CancelFunc
	work    context.Context // ends when the grace of a stop is over
	endWork context.CancelFunc
	idle    chan struct{} // holds one token when the last acting command ended

	mu      sync.Mutex
	running int // commands that may have an effect outside
}

func newExecutor(s *Shell) *executor {
	e := &executor{s: s, acts: make(chan struct{}, actsMax), notices: make(chan struct{}, noticesMax), idle: make(chan struct{}, 1)}
	e.reads, e.endRead = context.WithCancel(context.Background())
	e.work, e.endWork = context.WithCancel(context.Background())
	return e
}

func (e *executor) stopReads() { e.endRead() }
func (e *executor) cutShort()  { e.endWork() }

// acting counts the commands in flight that may have an effect outside.
func (e *executor) acting() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.running
}

func (e *executor) began() {
	e.mu.Lock()
	e.running++
	e.mu.Unlock()
}

// ended reports a result; the loop sees it before it sees that nothing is in flight any more.
func (e *executor) ended(c *engine.Command, r engine.Result) {
	e.report(c, r)
	e.mu.Lock()
	e.running--
	last := e.running == 0
	e.mu.Unlock()
	if last {
		select {
		case e.idle <- struct{}{}:
		default:
		}
	}
}

func (e *executor) report(c *engine.Command, r engine.Result) {
	r.Command = c.ID
	e.s.queue.put(item{command: c, event: engine.Event{Result: &r}})
}

// perform starts a command; its result comes back as an event. Only the loop calls it.
func (l *loop) perform(c engine.Command) {
	e := l.exec
	if c.Kind == engine.Expect {
		l.expect(c)
		return
	}
	why := l.forbidden(c)
	if why != "" {
		e.report(&c, engine.Result{Outcome: api.Outcome{Result: noEffect(c.Kind), Text: why}})
		return
	}
	r, why := l.s.runnerOf(&c)
	if r == nil {
		e.report(&c, engine.Result{Outcome: api.Outcome{Result: noEffect(c.Kind), Text: why}})
		return
	}
	if c.Deadline.IsZero() {
		c.Deadline = l.s.clock.now().Add(deadlineDefault)
	}
	if c.Kind == engine.Plan || c.Kind == engine.Look {
		if !l.s.stopping.Load() {
			go e.read(&c, r)
		}
		return // the next start plans and looks again
	}
	e.began()
	go e.act(&c, r)
}

// forbidden says why a command that may have an effect must not be performed now.
func (l *loop) forbidden(c engine.Command) string {
	if c.Kind != engine.Run && c.Kind != engine.Undo {
		return ""
	}
	switch {
	case l.s.stopping.Load():
		return "The controller is stopping; nothing was sent."
	case l.s.rollback() != nil:
		return "The journal is not what was last published; nothing is done until a person has compared the two and resumes."
	}
	return ""
}

// noEffect is the result of a command that was not performed. A look that was not performed says nothing about the attempt that
// it asks about, so it must not say refused.
func noEffect(k engine.CommandKind) api.Result {
	if k == engine.Look {
		return api.ResultUnknown
	}
	return api.ResultRefused
}

// runnerOf finds who performs a command, or says why nobody can.
func (s *Shell) runnerOf(c *engine.Command) (runner, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Kind == engine.Notify {
		if r := s.config.Channels[c.Channel]; r != nil {
			return r, ""
		}
		return nil, fmt.Sprintf("There is no integration %q with a channel in the configuration.", c.Channel)
	}
	r := s.runners[StepKey{c.Digest, c.Step}]
	if r == nil {
		return nil, fmt.Sprintf("Playbook %s was changed and this controller was restarted since: nobody here knows step %s as it was planned. Nothing was sent.", c.Playbook, c.Step)
	}
	if _, can := r.(playbooks.Undoer); c.Kind == engine.Undo && !can {
		return nil, fmt.Sprintf("Step %s cannot be undone.", c.Step)
	}
	if _, can := r.(playbooks.Looker); c.Kind == engine.Look && !can {
		return nil, fmt.Sprintf("The target of step %s cannot be asked whether it happened.", c.Step)
	}
	return r, ""
}

func callOf(c *engine.Command) playbooks.Call {
	call := playbooks.Call{
		Key: c.Key, Remediation: c.Remediation, Incident: c.Incident, Playbook: c.Playbook, Step: c.Step, Attempt: c.Attempt, Fence: c.Fence,
		Items: c.Bounds.Items, Amount: c.Bounds.Amount, Estimate: c.Estimate, Outcome: c.Outcome,
	}
	if m := c.Message; m != nil {
		call.Message = &playbooks.Message{Title: m.Title, Text: m.Text, Severity: m.Severity, Dedup: m.Dedup, Resolved: m.Resolved}
	}
	return call
}

// times gives the context for a runner and the time at which the executor gives up on it.
func (e *executor) times(parent context.Context, deadline time.Time) (context.Context, context.CancelFunc, time.Duration) {
	left := deadline.Sub(e.s.clock.now()) // the command's deadline is on the engine's clock
	ctx, cancel := context.WithTimeout(parent, left-min(left/20, marginMax))
	return ctx, cancel, left
}

// read performs a plan or a look.
func (e *executor) read(c *engine.Command, r runner) {
	ctx, cancel, left := e.times(e.reads, c.Deadline)
	defer cancel()
	if !enter(ctx, e.acts) {
		if e.reads.Err() == nil {
			e.report(c, engine.Result{Outcome: api.Outcome{Result: silence(c.Kind), Text: "Its deadline passed before it could begin."}})
		}
		return
	}
	answer := make(chan engine.Result, 1)
	go func() {
		defer func() { <-e.acts }()
		answer <- e.call(ctx, c, r)
	}()
	timer := time.NewTimer(left)
	defer timer.Stop()
	var got engine.Result
	select {
	case got = <-answer:
	case <-e.reads.Done():
		return
	case <-timer.C:
		got = engine.Result{Outcome: api.Outcome{Result: silence(c.Kind), Text: "There was no answer by the deadline."}}
	}
	if e.reads.Err() == nil {
		e.report(c, got)
	}
}

// act performs a command that may have an effect. It always reports; what comes after the deadline is reported again, as evidence.
func (e *executor) act(c *engine.Command, r runner) {
	ctx, cancel, left := e.times(e.work, c.Deadline)
	slots := e.acts
	if c.Kind == engine.Notify {
		slots = e.notices
	}
	if !enter(ctx, slots) {
		cancel()
		e.ended(c, engine.Result{Outcome: api.Outcome{Result: api.ResultRefused, Text: "Its deadline passed before it could begin; nothing was sent."}})
		return
	}
	answer := make(chan engine.Result, 1)
	go func() {
		defer func() { <-slots; cancel() }()
		answer <- e.call(ctx, c, r)
	}()
	timer := time.NewTimer(left)
	defer timer.Stop()
	var why string
	select {
	case got := <-answer:
		e.ended(c, got)
		return
	case <-timer.C:
		why = "There was no answer by the deadline."
	case <-e.work.Done():
		timer.Reset(cutShortWait)
		select {
		case got := <-answer:
			e.ended(c, got)
			return
		case <-timer.C:
			why = "The controller stopped while the step was calling, and it gave no answer."
		}
	}
	e.ended(c, engine.Result{Outcome: api.Outcome{Result: silence(c.Kind), Text: why}})
	e.s.log.Warn("a step did not return by its deadline", "kind", c.Kind, "playbook", c.Playbook, "step", c.Step, "remediation", c.Remediation)
	if c.Kind == engine.Notify {
		return
	}
	late := *c
	late.ID += lateSuffix
	e.report(&late, <-answer)
}

// lateSuffix gives a result that comes after its command was given up an id of its own, so that it is kept as evidence instead of
// being taken for a repetition.
const lateSuffix = "+late"

// silence is what no answer means.
func silence(k engine.CommandKind) api.Result {
	if k == engine.Plan || k == engine.Notify {
		return api.ResultFailed
	}
	return api.ResultUnknown
}

// enter waits for a slot until ctx ends.
func enter(ctx context.Context, slots chan struct{}) bool {
	if ctx.Err() != nil {
		return false
	}
	select {
	case slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// call runs the runner and survives it. A panic in the middle of an action may have had its effect: unknown.
func (e *executor) call(ctx context.Context, c *engine.Command, r runner) (res engine.Result) {
	defer func() {
		if p := recover(); p != nil {
			e.s.log.Error("an action panicked", "kind", c.Kind, "playbook", c.Playbook, "step", c.Step, "panic", p, "stack", stack())
			res = engine.Result{Outcome: api.Outcome{Result: silence(c.Kind), Text: fmt.Sprintf("The action itself is broken: %v.", p)}}
		}
	}()
	call := callOf(c)
	switch c.Kind {
	case engine.Plan:
		res = plan(ctx, call, r)
		if res.Estimate != nil {
			e.s.border.estimate(res.Estimate)
		}
	case engine.Look:
		res.Outcome = r.(playbooks.Looker).Look(ctx, call)
	case engine.Undo:
		res.Outcome = r.(playbooks.Undoer).Undo(ctx, call)
	default:
		res.Outcome = r.Run(ctx, call)
	}
	e.s.border.outcome(&res.Outcome)
	switch res.Outcome.Result {
	case api.ResultDone, api.ResultRefused, api.ResultFailed, api.ResultUnknown:
	default:
		res.Outcome.Text = fmt.Sprintf("The action gave the result %q, which means nothing. %s", res.Outcome.Result, res.Outcome.Text)
		res.Outcome.Result = silence(c.Kind)
	}
	return res
}

// plan estimates a step. An action that neither counts nor can be undone has nothing to estimate.
func plan(ctx context.Context, call playbooks.Call, r runner) engine.Result {
	p, can := r.(playbooks.Planner)
	if !can {
		return engine.Result{Estimate: &api.Estimate{Text: "its action cannot say beforehand what it will touch"}, Outcome: api.Outcome{Result: api.ResultDone}}
	}
	est, err := p.Plan(ctx, call)
	if err != nil {
		return engine.Result{Outcome: api.Outcome{Result: api.ResultFailed, Text: err.Error()}}
	}
	return engine.Result{Estimate: &est, Outcome: api.Outcome{Result: api.ResultDone, Text: est.Text}}
}
