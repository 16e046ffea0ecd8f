package twin

import (
	"fmt"
	"slices"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/calendar"
)

// hours is when somebody is there: spans in nanoseconds since the start, in order, without overlap. Nil is always.
type hours struct{ spans [][2]int64 }

// open tells whether they are there at a time, and when that changes next (maxTime: never).
func (h *hours) open(at int64) (bool, int64) {
	if h == nil {
		return true, maxTime
	}
	i, found := slices.BinarySearchFunc(h.spans, at, func(s [2]int64, at int64) int {
		switch {
		case s[1] <= at:
			return -1
		case s[0] > at:
			return 1
		}
		return 0
	})
	switch {
	case found:
		return true, h.spans[i][1]
	case i < len(h.spans):
		return false, h.spans[i][0]
	}
	return false, maxTime
}

const maxTime = int64(1) << 62

// makeHours lays the hours of a week over the days from start, as far as end.
func makeHours(m *api.ModelHours, calendars []api.Calendar, start time.Time, end int64) (*hours, error) {
	if m == nil || m.Calendar == "" && len(m.Days) == 0 {
		return nil, nil
	}
	zone, err := time.LoadLocation(m.Zone)
	if err != nil {
		return nil, fmt.Errorf("there is no time zone %q", m.Zone)
	}
	var business *calendar.Calendar
	if m.Calendar != "" {
		i := slices.IndexFunc(calendars, func(c api.Calendar) bool { return c.Metadata.Name == m.Calendar })
		if i < 0 {
			return nil, fmt.Errorf("there is no calendar %q", m.Calendar)
		}
		if business, err = calendar.New(calendars[i].Spec); err != nil {
			return nil, err
		}
		if m.Zone == "" {
			zone = business.Zone()
		}
	}
	days := m.Days
	if len(days) == 0 {
		days = []api.WeekSpan{{On: weekdays[:], From: "00:00", To: "24:00"}}
	}
	return layHours(days, business, zone, start, end)
}

var weekdays = [7]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func layHours(days []api.WeekSpan, business *calendar.Calendar, zone *time.Location, start time.Time, end int64) (*hours, error) {
	h := &hours{}
	first := start.In(zone)
	for n := -1; ; n++ {
		midnight := time.Date(first.Year(), first.Month(), first.Day()+n, 0, 0, 0, 0, zone)
		if int64(midnight.Sub(start)) > end {
			break
		}
		noon := midnight.Add(12 * time.Hour)
		if business != nil && !business.BusinessDay(noon) {
			continue
		}
		for _, span := range days {
			from, err1 := clockOf(span.From)
			to, err2 := clockOf(span.To)
			if err1 != nil || err2 != nil || to <= from {
				return nil, fmt.Errorf("the hours %s to %s are no span of a day: write 09:00 and a later 17:30, at most 24:00", span.From, span.To)
			}
			if slices.Contains(span.On, weekdays[noon.Weekday()]) {
				s := [2]int64{int64(onClock(noon, from).Sub(start)), int64(onClock(noon, to).Sub(start))}
				if s[0] < s[1] { // the clock may skip a span whole
					h.spans = append(h.spans, s)
				}
			}
		}
	}
	h.join()
	return h, nil
}

// join puts spans in order and makes one of those that touch.
func (h *hours) join() {
	slices.SortFunc(h.spans, func(a, b [2]int64) int { return int(min(max(a[0]-b[0], -1), 1)) })
	joined := h.spans[:0]
	for _, s := range h.spans {
		if n := len(joined); n > 0 && s[0] <= joined[n-1][1] {
			joined[n-1][1] = max(joined[n-1][1], s[1])
			continue
		}
		joined = append(joined, s)
	}
	h.spans = joined
}

// anybody is when any of a pool is there; nil is always.
func (p *poolPlan) anybody() *hours {
	if len(p.members) == 0 {
		return p.hours
	}
	all := &hours{}
	for _, m := range p.members {
		if m.hours == nil {
			return nil
		}
		all.spans = append(all.spans, m.hours.spans...)
	}
	all.join()
	return all
}

// onClock is when a minute of a day comes; where the clock skips it, when the clock goes on.
func onClock(day time.Time, minute int) time.Time {
	at := time.Date(day.Year(), day.Month(), day.Day(), minute/60, minute%60, 0, 0, day.Location())
	have := at.Hour()*60 + at.Minute()
	if have == minute%(24*60) {
		return at
	}
	start, end := at.ZoneBounds()
	if have < minute {
		return end
	}
	return start
}

// clockOf reads 09:30 as minutes of the day; 24:00 is the end of it.
func clockOf(text string) (int, error) {
	if text == "24:00" {
		return 24 * 60, nil
	}
	t, err := time.Parse("15:04", text)
	if err != nil {
		return 0, err
	}
	return t.Hour()*60 + t.Minute(), nil
}
