package calendar

import (
	"fmt"
	"time"

	"github.com/backstay/backstay/api"
)

// freeze is one span.
type freeze struct {
	name     string
	from, to time.Time
}

// cycle is a freeze that comes again and again.
type cycle struct {
	name     string
	from, to api.DayTime
}

func (c *Calendar) addFreeze(x api.Freeze) error {
	if x.Recurs() {
		return c.addCycle(x)
	}
	from, err := c.parse(x.From)
	if err != nil {
		return api.Errorf(api.CodeInvalid, "calendar freeze %s from %q is no time: write 2026-12-31T18:00", x.Name, x.From)
	}
	to, err := c.parse(x.To)
	if err != nil {
		return api.Errorf(api.CodeInvalid, "calendar freeze %s to %q is no time: write 2027-01-02T06:00", x.Name, x.To)
	}
	if !to.After(from) {
		return api.Errorf(api.CodeInvalid, "calendar freeze %s ends at %s, not after its start at %s", x.Name, x.To, x.From)
	}
	c.freezes = append(c.freezes, freeze{name: x.Name, from: from, to: to})
	return nil
}

func (c *Calendar) parse(s string) (time.Time, error) {
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil {
			return c.clock(dayOf(t), t.Hour(), t.Minute()).Add(time.Duration(t.Second()) * time.Second), nil
		}
	}
	return time.Time{}, fmt.Errorf("no time")
}

func (c *Calendar) addCycle(x api.Freeze) error {
	from, err := api.ParseDayTime(x.From)
	if err != nil {
		return api.Errorf(api.CodeInvalid, "calendar freeze %s from: %w", x.Name, err)
	}
	to, err := api.ParseDayTime(x.To)
	if err != nil {
		return api.Errorf(api.CodeInvalid, "calendar freeze %s to: %w", x.Name, err)
	}
	if err := api.CheckSpan(from, to); err != nil {
		return api.Errorf(api.CodeInvalid, "calendar freeze %s to: %w", x.Name, err)
	}
	c.cycles = append(c.cycles, cycle{name: x.Name, from: from, to: to})
	return nil
}

// cycleAt finds the span of a recurring freeze around a time. Only the last start counts: each start has the first end after it,
// so none before it can reach further. to is the zero time where no end comes within a year.
func (c *Calendar) cycleAt(f *cycle, at time.Time) (from, to time.Time, inside bool) {
	d := dayOf(at.In(c.zone))
	for range horizon {
		if c.on(&f.from.Day, d) {
			if from = c.clock(d, f.from.Hour, f.from.Minute); !from.After(at) {
				to = c.cycleEnd(f, d, from)
				return from, to, to.IsZero() || at.Before(to)
			}
		}
		d--
	}
	return time.Time{}, time.Time{}, false
}

// cycleEnd finds the first end after a start.
func (c *Calendar) cycleEnd(f *cycle, d day, from time.Time) time.Time {
	for range horizon + 1 {
		if c.on(&f.to.Day, d) {
			if to := c.clock(d, f.to.Hour, f.to.Minute); to.After(from) {
				return to
			}
		}
		d++
	}
	return time.Time{}
}
