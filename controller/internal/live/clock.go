package live

import (
	"sync"
	"time"
)

// clock tells the time that the engine and all observations live by: the wall clock, except that it never goes back. Where the
// wall clock is set back, time goes on at half speed until the wall clock has caught up, so that deadlines still pass. A jump
// forward is followed at once, because calendars and cut-offs need the true time.
type clock struct {
	mu   sync.Mutex
	base time.Time     // carries the monotonic reading
	mono time.Duration // since base, at the last reading
	last time.Time     // UTC, without a monotonic reading
}

// newClock starts at the wall clock's time.
func newClock() *clock {
	t := time.Now()
	return &clock{base: t, last: t.Round(0).UTC()}
}

// atLeast moves the clock to t where it is not there yet: a restart never decides at a time before its own journal.
func (c *clock) atLeast(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.last) {
		c.last = t.UTC()
	}
}

// now is the present time in UTC, never before an earlier answer.
func (c *clock) now() time.Time {
	t := time.Now()
	return c.at(t, t.Sub(c.base))
}

// at advances the clock to a reading of wall and monotonic time.
func (c *clock) at(wall time.Time, mono time.Duration) time.Time {
	wall = wall.Round(0).UTC()
	c.mu.Lock()
	defer c.mu.Unlock()
	passed := max(0, mono-c.mono)
	c.mono = max(c.mono, mono)
	next := c.last.Add(passed)
	if wall.Before(next) {
		next = c.last.Add(passed / 2)
	}
	if wall.After(next) {
		next = wall
	}
	c.last = next
	return next
}
