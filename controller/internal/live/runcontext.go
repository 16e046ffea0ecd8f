package live

import (
	"context"
	"sync"
	"time"
)

// runContext bounds one run of a probe. Most runs ask it only for its deadline and to be told of a stop; so it becomes a context of
// the standard library, with a timer and a place in its parent, only when somebody asks for more. That is most of the garbage of
// probing saved.
type runContext struct {
	context.Context // the parent
	runs            *runs
	deadline        time.Time

	mu     sync.Mutex
	inner  context.Context // nil until asked for
	cancel context.CancelFunc

	stop       func() // what to call at a stop; under the lock of runs, as are the neighbours
	prev, next *runContext
}

// runs knows the runs that want to be told of a stop.
type runs struct {
	parent  context.Context
	mu      sync.Mutex
	first   *runContext
	stopped bool
}

// newRuns makes runs that end when parent is cancelled.
func newRuns(parent context.Context) *runs {
	r := &runs{parent: parent}
	context.AfterFunc(parent, r.stop)
	return r
}

// begin makes the context of a run that ends by itself after a time. The caller calls end after the run.
func (r *runs) begin(timeout time.Duration) *runContext {
	return &runContext{Context: r.parent, runs: r, deadline: time.Now().Add(timeout)}
}

// stop tells all runs.
func (r *runs) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	for c := r.first; c != nil; c = r.first {
		go c.stop()
		r.remove(c)
	}
}

// remove takes a run off the list. The caller holds the lock.
func (r *runs) remove(c *runContext) {
	if c.prev == nil {
		r.first = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.prev, c.next, c.stop = nil, nil, nil
}

// OnStop calls f in a goroutine of its own when the run is told to stop before its deadline; at the deadline it does not. stop says
// false where f was called, as that of context.AfterFunc does.
func (c *runContext) OnStop(f func()) (stop func() bool) {
	r := c.runs
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped || c.stop != nil {
		return context.AfterFunc(c.full(), f)
	}
	c.stop, c.next = f, r.first
	if c.next != nil {
		c.next.prev = c
	}
	r.first = c
	return c.forget
}

func (c *runContext) forget() bool {
	c.runs.mu.Lock()
	defer c.runs.mu.Unlock()
	if c.stop == nil {
		return false
	}
	c.runs.remove(c)
	return true
}

// full gives the context of the standard library that stands behind this one from now on.
func (c *runContext) full() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner == nil {
		c.inner, c.cancel = context.WithDeadline(c.Context, c.deadline)
	}
	return c.inner
}

// end frees what the run held; its context is cancelled then.
func (c *runContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner == nil {
		c.inner, c.cancel = ended, func() {}
	}
	c.cancel()
}

// ended stands behind the contexts of runs that are over.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// Deadline gives the end of the run.
func (c *runContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Done is closed at the deadline, at a stop, and after the run.
func (c *runContext) Done() <-chan struct{} { return c.full().Done() }

// Value finds a value in the parent.
func (c *runContext) Value(key any) any { return c.full().Value(key) }

// Err says why the run is over; nil while it is not.
func (c *runContext) Err() error {
	c.mu.Lock()
	asked := c.inner != nil
	c.mu.Unlock()
	if !asked && c.Context.Err() == nil && time.Now().Before(c.deadline) {
		return nil
	}
	return c.full().Err()
}
