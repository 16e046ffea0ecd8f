// Package calendar knows business days, cut-offs and freezes of one time zone, and says when an action must wait. It is
// pure, apart from time.LoadLocation, which reads the zone's rules once in New. Days are days of the zone: one of them has 23
// hours and one has 25 where clocks change.
package calendar

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

// Calendar answers questions about times. It never changes, so it may be shared.
type Calendar struct {
	zone     *time.Location
	weekend  [7]bool
	holidays []holiday // sorted by day
	workdays []day     // sorted
	cutOffs  []cutOff
	freezes  []freeze // sorted by start
	cycles   []cycle
}

// guardMax bounds a guard, so that looking ahead has an end.
const guardMax = 7 * 24 * time.Hour

// horizon is how many days a question looks ahead or back.
const horizon = 366

// New reads a calendar. Errors name the field and what to write there.
func New(spec api.CalendarSpec) (*Calendar, error) {
	spec, err := withBase(spec)
	if err != nil {
		return nil, err
	}
	name := cmp.Or(spec.Zone, "UTC")
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, api.Errorf(api.CodeInvalid, "calendar zone %q is not known: write an IANA name such as America/New_York", name)
	}
	c := &Calendar{zone: zone}
	for _, w := range spec.Weekend {
		i := slices.Index([]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}, strings.ToLower(w[:min(3, len(w))]))
		if i < 0 || !strings.HasPrefix(strings.ToLower(time.Weekday(i).String()), strings.ToLower(w)) {
			return nil, api.Errorf(api.CodeInvalid, "calendar weekend %q is no day: write sat, sun ...", w)
		}
		c.weekend[i] = true
	}
	if !slices.Contains(c.weekend[:], false) {
		return nil, api.Errorf(api.CodeInvalid, "calendar weekend takes all seven days: leave at least one for business")
	}
	if err := c.addHolidays(spec.Holidays, spec.Yearly); err != nil {
		return nil, err
	}
	for _, w := range spec.Workdays {
		t, err := time.Parse(time.DateOnly, w)
		if err != nil {
			return nil, api.Errorf(api.CodeInvalid, "calendar workday %q is no date: write 2026-10-12", w)
		}
		c.workdays = append(c.workdays, dayOf(t))
	}
	slices.Sort(c.workdays)
	if len(spec.CutOffs) > api.CalendarRulesMax || len(spec.Freezes) > api.CalendarRulesMax {
		return nil, api.Errorf(api.CodeInvalid, "calendar has %d cut-offs and %d freezes: write at most %d of each", len(spec.CutOffs), len(spec.Freezes), api.CalendarRulesMax)
	}
	for _, x := range spec.CutOffs {
		if err := c.addCutOff(x); err != nil {
			return nil, err
		}
	}
	for _, x := range spec.Freezes {
		if err := c.addFreeze(x); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(c.freezes, func(a, b freeze) int { return a.from.Compare(b.from) })
	return c, nil
}

// block is why an action must wait, and until when; the zero time where no end is in sight.
type block struct {
	reason string
	until  time.Time
}

// later keeps the block that ends last.
func (b *block) later(o block) {
	if b.reason == "" || !b.until.IsZero() && (o.until.IsZero() || o.until.After(b.until)) {
		*b = o
	}
}

// Blocked tells whether an action must wait at a time: inside a freeze, within the guard before a cut-off, or after a cut-off
// until the next window opens. until is the first moment at which nothing blocks any more, and the zero time where there is none
// in sight; the end of a freeze, the opening of a window, and a cut-off without a next window are free again. The reason is
// one plain sentence about what blocks now.
func (c *Calendar) Blocked(at time.Time) (reason string, until time.Time, blocked bool) {
	first := c.blockedBy(at)
	if first.reason == "" {
		return "", time.Time{}, false
	}
	// One block may run into the next. Each round ends later than the one before; the bound keeps those that cover every day
	// from running on for ever.
	last := first
	for range 1000 {
		if last.until.IsZero() {
			return first.reason + "; it has no end within a year", time.Time{}, true
		}
		next := c.blockedBy(last.until)
		if next.reason == "" {
			return first.reason, last.until, true
		}
		last = next
	}
	return first.reason + "; what blocks goes on without a gap", time.Time{}, true
}

// blockedBy finds what blocks at a time; of several, what ends last.
func (c *Calendar) blockedBy(at time.Time) block {
	var b block
	for _, f := range c.freezes {
		if !at.Before(f.from) && at.Before(f.to) {
			b.later(block{fmt.Sprintf("freeze %s lasts until %s", f.name, c.print(f.to)), f.to})
		}
	}
	for i := range c.cycles {
		f := &c.cycles[i]
		switch _, to, ok := c.cycleAt(f, at); {
		case ok && to.IsZero():
			b.later(block{fmt.Sprintf("freeze %s has begun", f.name), to})
		case ok:
			b.later(block{fmt.Sprintf("freeze %s lasts until %s", f.name, c.print(to)), to})
		}
	}
	for i := range c.cutOffs {
		x := &c.cutOffs[i]
		if t, ok := c.next(x, at, int(guardMax/(24*time.Hour))+2); ok && !at.Before(t.Add(-x.guard)) {
			b.later(block{fmt.Sprintf("cut-off %s is at %s, and nothing starts within %s before it", x.name, c.print(t), api.Duration{Duration: x.guard}), t})
		}
		if t, opens, ok := c.tooLate(x, at); ok {
			text := fmt.Sprintf("cut-off %s was at %s, so it is too late", x.name, c.print(t))
			if !opens.IsZero() {
				text += "; the next window opens at " + c.print(opens)
			}
			b.later(block{text, opens})
		}
	}
	return b
}

// BusinessDay tells whether the day of a time, in the calendar's zone, is one of business.
func (c *Calendar) BusinessDay(t time.Time) bool { return c.businessDay(dayOf(t.In(c.zone))) }

// NextBusinessDay gives the start of the first business day after the day of a time; the zero time where there is none within a year.
func (c *Calendar) NextBusinessDay(t time.Time) time.Time {
	if d, ok := c.businessDayAfter(dayOf(t.In(c.zone))); ok {
		return c.clock(d, 0, 0)
	}
	return time.Time{}
}

func (c *Calendar) businessDayAfter(d day) (day, bool) {
	for range horizon {
		if d++; c.businessDay(d) {
			return d, true
		}
	}
	return 0, false
}

// Zone is the calendar's time zone, for printing.
func (c *Calendar) Zone() *time.Location { return c.zone }

func (c *Calendar) businessDay(d day) bool {
	if _, open := slices.BinarySearch(c.workdays, d); open {
		return true
	}
	if c.weekend[d.weekday()] {
		return false
	}
	_, closed := c.holidayOn(d)
	return !closed
}

func (c *Calendar) print(t time.Time) string { return t.In(c.zone).Format("Mon 2006-01-02 15:04 MST") }
