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
	holidays []day // sorted
	cutOffs  []cutOff
	freezes  []freeze // sorted by start
}

// day is a date without a zone.
type day struct {
	year  int
	month time.Month
	day   int
}

type cutOff struct {
	name   string
	hour   int
	minute int
	guard  time.Duration
}

type freeze struct {
	name     string
	from, to time.Time
}

// guardMax bounds a guard, so that looking ahead has an end.
const guardMax = 7 * 24 * time.Hour

// horizon is how many days NextBusinessDay looks ahead.
const horizon = 366

// New reads a calendar. Errors name the field and what to write there.
func New(spec api.CalendarSpec) (*Calendar, error) {
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
	for _, h := range spec.Holidays {
		t, err := time.Parse(time.DateOnly, h)
		if err != nil {
			return nil, api.Errorf(api.CodeInvalid, "calendar holiday %q is no date: write 2026-12-25", h)
		}
		c.holidays = append(c.holidays, dayOf(t))
	}
	slices.SortFunc(c.holidays, day.compare)
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

func (c *Calendar) addCutOff(x api.CutOff) error {
	t, err := time.Parse("15:04", x.At)
	if err != nil {
		return api.Errorf(api.CodeInvalid, "calendar cut-off %s at %q is no time of day: write 16:45", x.Name, x.At)
	}
	if x.Guard.Duration < 0 || x.Guard.Duration > guardMax {
		return api.Errorf(api.CodeInvalid, "calendar cut-off %s has a guard of %s: want 0s to 7d", x.Name, x.Guard)
	}
	c.cutOffs = append(c.cutOffs, cutOff{name: x.Name, hour: t.Hour(), minute: t.Minute(), guard: x.Guard.Duration})
	return nil
}

func (c *Calendar) addFreeze(x api.Freeze) error {
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
			y, m, d := t.Date()
			return c.clock(day{y, m, d}, t.Hour(), t.Minute()).Add(time.Duration(t.Second()) * time.Second), nil
		}
	}
	return time.Time{}, fmt.Errorf("no time")
}

// Blocked tells whether an action must wait at a time: inside a freeze, or within the guard before a cut-off of a business
// day. until is the first moment at which nothing blocks any more; the cut-off itself and the end of a freeze are free again.
// The reason is one plain sentence about what blocks now.
func (c *Calendar) Blocked(at time.Time) (reason string, until time.Time, blocked bool) {
	reason, until, blocked = c.blockedBy(at)
	// One block may run into the next. Each round ends later than the one before, and there are only so many
	// freezes and guards that can touch; the bound keeps guards that cover every day from running on for ever.
	for rounds := 0; blocked && rounds < 1000; rounds++ {
		_, next, more := c.blockedBy(until)
		if !more {
			return reason, until, true
		}
		until = next
	}
	if blocked {
		return reason + "; guards follow each other without a gap", time.Time{}, true
	}
	return "", time.Time{}, false
}

// blockedBy finds what blocks at a time, and when that one thing ends; the one that ends last where there are several.
func (c *Calendar) blockedBy(at time.Time) (reason string, until time.Time, blocked bool) {
	for _, f := range c.freezes {
		if !at.Before(f.from) && at.Before(f.to) && f.to.After(until) {
			reason = fmt.Sprintf("freeze %s lasts until %s", f.name, c.print(f.to))
			until, blocked = f.to, true
		}
	}
	for i := range c.cutOffs {
		x := &c.cutOffs[i]
		t, ok := c.next(x, at)
		if ok && !at.Before(t.Add(-x.guard)) && t.After(until) {
			reason = fmt.Sprintf("cut-off %s is at %s, and nothing starts within %s before it", x.name, c.print(t), api.Duration{Duration: x.guard})
			until, blocked = t, true
		}
	}
	return reason, until, blocked
}

// next finds the first cut-off strictly after a time whose guard may hold then.
func (c *Calendar) next(x *cutOff, at time.Time) (time.Time, bool) {
	d := dayOf(at.In(c.zone))
	for range int(guardMax/(24*time.Hour)) + 2 {
		if t := c.clock(d, x.hour, x.minute); t.After(at) && c.businessDay(d) {
			return t, true
		}
		d = d.add(1)
	}
	return time.Time{}, false
}

// NextCutOff gives the first cut-off strictly after a time, of any name; ok is false where there is none within a year.
func (c *Calendar) NextCutOff(at time.Time) (name string, t time.Time, ok bool) {
	d := dayOf(at.In(c.zone))
	for range horizon {
		if c.businessDay(d) {
			for i := range c.cutOffs {
				x := &c.cutOffs[i]
				if u := c.clock(d, x.hour, x.minute); u.After(at) && (!ok || u.Before(t)) {
					name, t, ok = x.name, u, true
				}
			}
		}
		if ok {
			return name, t, true
		}
		d = d.add(1)
	}
	return "", time.Time{}, false
}

// BusinessDay tells whether the day of a time, in the calendar's zone, is one of business.
func (c *Calendar) BusinessDay(t time.Time) bool { return c.businessDay(dayOf(t.In(c.zone))) }

// NextBusinessDay gives the start of the first business day after the day of a time; the zero time where there is none within a year.
func (c *Calendar) NextBusinessDay(t time.Time) time.Time {
	d := dayOf(t.In(c.zone))
	for range horizon {
		d = d.add(1)
		if c.businessDay(d) {
			return c.clock(d, 0, 0)
		}
	}
	return time.Time{}
}

// Zone is the calendar's time zone, for printing.
func (c *Calendar) Zone() *time.Location { return c.zone }

func (c *Calendar) businessDay(d day) bool {
	if c.weekend[time.Date(d.year, d.month, d.day, 12, 0, 0, 0, time.UTC).Weekday()] {
		return false
	}
	_, holiday := slices.BinarySearchFunc(c.holidays, d, day.compare)
	return !holiday
}

// clock gives the moment at which the zone's clocks show a time of day. Where they skip it, the moment of the change, so that a
// cut-off at 02:30 comes no later than people think; where they show it twice, the first.
func (c *Calendar) clock(d day, hour, minute int) time.Time {
	t := time.Date(d.year, d.month, d.day, hour, minute, 0, 0, c.zone)
	if t.Hour() == hour && t.Minute() == minute {
		start, _ := t.ZoneBounds()
		if start.IsZero() {
			return t
		}
		// Shown twice: look for the same wall clock before the change that the moment lies behind.
		_, after := t.Zone()
		_, before := start.Add(-time.Second).Zone()
		if earlier := t.Add(time.Duration(after-before) * time.Second); before > after && earlier.Before(start) {
			return earlier
		}
		return t
	}
	// Skipped: time.Date gives a moment on one side of the change, so the change is a bound of its zone.
	start, end := t.ZoneBounds()
	if !start.IsZero() && t.Sub(start) < 24*time.Hour {
		return start
	}
	return end
}

func (c *Calendar) print(t time.Time) string { return t.In(c.zone).Format("Mon 2006-01-02 15:04 MST") }

func dayOf(t time.Time) day {
	y, m, d := t.Date()
	return day{y, m, d}
}

func (d day) add(n int) day {
	return dayOf(time.Date(d.year, d.month, d.day+n, 12, 0, 0, 0, time.UTC))
}

func (d day) compare(e day) int {
	return cmp.Or(cmp.Compare(d.year, e.year), cmp.Compare(d.month, e.month), cmp.Compare(d.day, e.day))
}
