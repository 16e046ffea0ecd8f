package calendar

import (
	"slices"
	"time"
)

// Entry is one thing that a calendar says, for people who check it.
type Entry struct {
	Kind string `json:"kind"` // holiday, workday, cut-off or freeze
	Name string `json:"name"`
	// From is when actions begin to wait; for days off and workdays the start of the day.
	From time.Time `json:"from"`
	// At is the cut-off itself; zero for everything else.
	At time.Time `json:"at,omitzero"`
	// Until is when actions may begin again; zero where no end is in sight. For days off and workdays the end of the day.
	Until time.Time `json:"until,omitzero"`
}

// ListDaysMax is the longest time that List goes through.
const ListDaysMax = 5 * 366

// List tells the days off, workdays, cut-offs and freezes of the days from one date to another, both included, in order of time. Holidays
// on weekends are there too. At most ListDaysMax days are gone through.
func (c *Calendar) List(from, to time.Time) []Entry {
	first, last := dayOf(from), dayOf(to)
	last = min(last, first+ListDaysMax-1)
	begin, end := c.clock(first, 0, 0), c.clock(last+1, 0, 0)
	var out []Entry
	for _, f := range c.freezes {
		if f.from.Before(end) && f.to.After(begin) {
			out = append(out, Entry{Kind: "freeze", Name: f.name, From: f.from, Until: f.to})
		}
	}
	for i := range c.cycles {
		out = append(out, c.spans(&c.cycles[i], first, last)...)
	}
	for d := first; d <= last; d++ {
		midnight, next := c.clock(d, 0, 0), c.clock(d+1, 0, 0)
		if _, open := slices.BinarySearch(c.workdays, d); open {
			out = append(out, Entry{Kind: "workday", Name: "workday", From: midnight, Until: next})
		} else if name, closed := c.holidayOn(d); closed {
			out = append(out, Entry{Kind: "holiday", Name: name, From: midnight, Until: next})
		}
		for i := range c.cutOffs {
			if x := &c.cutOffs[i]; c.falls(x, d) {
				e := Entry{Kind: "cut-off", Name: x.name, At: c.clock(d, x.at.hour, x.at.minute)}
				e.From, e.Until = e.At.Add(-x.guard), e.At
				if x.reopens != nil {
					e.Until = c.opening(x, d)
				}
				out = append(out, e)
			}
		}
	}
	for i := range out {
		out[i].From, out[i].At, out[i].Until = c.here(out[i].From), c.here(out[i].At), c.here(out[i].Until)
	}
	slices.SortStableFunc(out, func(a, b Entry) int { return a.From.Compare(b.From) })
	return out
}

// here gives a time in the calendar's zone; zero stays zero.
func (c *Calendar) here(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.In(c.zone)
}

// spans lists the spans of a recurring freeze that touch some days; starts within a span do not begin another.
func (c *Calendar) spans(f *cycle, first, last day) []Entry {
	var out []Entry
	if from, to, inside := c.cycleAt(f, c.clock(first, 0, 0)); inside {
		out = append(out, Entry{Kind: "freeze", Name: f.name, From: from, Until: to})
	}
	for d := first; d <= last; d++ {
		if !c.on(&f.from.Day, d) {
			continue
		}
		from := c.clock(d, f.from.Hour, f.from.Minute)
		if n := len(out); n > 0 && (out[n-1].Until.IsZero() || from.Before(out[n-1].Until)) {
			continue
		}
		out = append(out, Entry{Kind: "freeze", Name: f.name, From: from, Until: c.cycleEnd(f, d, from)})
	}
	return out
}
