package calendar

import (
	"time"

	"github.com/backstay/backstay/api"
)

// day is a date without a zone: days since 1 January 1970.
type day int

const secondsOfDay = 24 * 60 * 60

func dateOf(year int, month time.Month, d int) day {
	return day(floor(time.Date(year, month, d, 0, 0, 0, 0, time.UTC).Unix(), secondsOfDay))
}

// dayOf is the date that a time shows in its own zone.
func dayOf(t time.Time) day { return dateOf(t.Date()) }

func floor(a, b int64) int64 {
	if a%b < 0 {
		return a/b - 1
	}
	return a / b
}

func (d day) time() time.Time { return time.Unix(int64(d)*secondsOfDay, 0).UTC() }

func (d day) date() (year int, month time.Month, dayOfMonth int) { return d.time().Date() }

func (d day) weekday() time.Weekday { return time.Weekday(((int(d)+4)%7 + 7) % 7) } // 1 January 1970 was a Thursday

func (d day) String() string { return d.time().Format(api.CalendarDate) }

// clock gives the moment at which the zone's clocks show a time of day. Where they skip it, the moment of the change, so that a
// cut-off at 02:30 comes no later than people think; where they show it twice, the first.
func (c *Calendar) clock(d day, hour, minute int) time.Time {
	year, month, dom := d.date()
	t := time.Date(year, month, dom, hour, minute, 0, 0, c.zone)
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

// on tells whether a rule holds on a day.
func (c *Calendar) on(r *api.DayRule, d day) bool {
	year, month, dom := d.date()
	if r.Unit == api.UnitEaster {
		return easter(year)+day(r.Nth) == d
	}
	if len(r.Months) > 0 {
		found := false
		for _, m := range r.Months {
			found = found || m == month
		}
		if !found {
			return false
		}
	}
	switch {
	case r.Unit == api.UnitWeekday && d.weekday() != r.Weekday, r.Unit == api.UnitBusiness && !c.businessDay(d):
		return false
	case r.Nth == 0:
		return true
	}
	// The distance from the end of the month that the rule counts from.
	first, step := d-day(dom)+1, day(1)
	if r.Nth < 0 {
		first, step = dateOf(year, month+1, 0), -1
	}
	n := max(r.Nth, -r.Nth)
	switch r.Unit {
	case api.UnitWeekday:
		return int((d-first)*step)/7 == n-1
	case api.UnitBusiness:
		return c.isNthBusinessDay(first, step, d, n)
	}
	return int((d-first)*step) == n-1
}

// isNthBusinessDay counts business days from one end of a month up to a day, which is one itself.
func (c *Calendar) isNthBusinessDay(first, step, d day, n int) bool {
	if int((d-first)*step)+1 < n {
		return false
	}
	for e := first; ; e += step {
		if c.businessDay(e) {
			if n--; n < 0 {
				return false
			}
		}
		if e == d {
			return n == 0
		}
	}
}
