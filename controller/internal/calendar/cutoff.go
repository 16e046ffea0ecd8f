package calendar

import (
	"time"

	"github.com/backstay/backstay/api"
)

type cutOff struct {
	name    string
	at      timeOfDay
	days    []api.DayRule // any of them; every business day when empty
	guard   time.Duration
	reopens *timeOfDay
}

type timeOfDay struct{ hour, minute int }

func (t timeOfDay) after(o timeOfDay) bool {
	return t.hour > o.hour || t.hour == o.hour && t.minute > o.minute
}

func (c *Calendar) addCutOff(x api.CutOff) error {
	out := cutOff{name: x.Name, guard: x.Guard.Duration}
	var err error
	if out.at.hour, out.at.minute, err = api.ParseClock(x.At); err != nil {
		return api.Errorf(api.CodeInvalid, "calendar cut-off %s: %w", x.Name, err)
	}
	if x.Guard.Duration < 0 || x.Guard.Duration > guardMax {
		return api.Errorf(api.CodeInvalid, "calendar cut-off %s has a guard of %s: want 0s to 7d", x.Name, x.Guard)
	}
	for _, on := range x.On {
		r, err := api.ParseDay(on)
		if err != nil {
			return api.Errorf(api.CodeInvalid, "calendar cut-off %s: %w", x.Name, err)
		}
		out.days = append(out.days, r)
	}
	if x.Reopens != "" {
		out.reopens = &timeOfDay{}
		if out.reopens.hour, out.reopens.minute, err = api.ParseClock(x.Reopens); err != nil {
			return api.Errorf(api.CodeInvalid, "calendar cut-off %s reopens: %w", x.Name, err)
		}
	}
	c.cutOffs = append(c.cutOffs, out)
	return nil
}

// falls tells whether a cut-off is on a day.
func (c *Calendar) falls(x *cutOff, d day) bool {
	if !c.businessDay(d) {
		return false
	}
	for i := range x.days {
		if c.on(&x.days[i], d) {
			return true
		}
	}
	return len(x.days) == 0
}

// next finds the first cut-off strictly after a time, within some days.
func (c *Calendar) next(x *cutOff, at time.Time, days int) (time.Time, bool) {
	d := dayOf(at.In(c.zone))
	for range days {
		if c.falls(x, d) {
			if t := c.clock(d, x.at.hour, x.at.minute); t.After(at) {
				return t, true
			}
		}
		d++
	}
	return time.Time{}, false
}

// tooLate tells whether a time lies between a cut-off and the opening of the next window, which is the zero time where no
// business day is in sight.
func (c *Calendar) tooLate(x *cutOff, at time.Time) (cut, opens time.Time, late bool) {
	if x.reopens == nil {
		return time.Time{}, time.Time{}, false
	}
	// A window opens on the next business day at the latest, so nothing before the last business day can matter.
	d := dayOf(at.In(c.zone))
	for today, back := d, 0; back < horizon; back, d = back+1, d-1 {
		if c.falls(x, d) {
			if cut = c.clock(d, x.at.hour, x.at.minute); !cut.After(at) {
				opens = c.opening(x, d)
				return cut, opens, opens.IsZero() || at.Before(opens)
			}
		}
		if d < today && c.businessDay(d) {
			break
		}
	}
	return time.Time{}, time.Time{}, false
}

// opening gives the moment at which the next window opens after the cut-off of a day.
func (c *Calendar) opening(x *cutOff, d day) time.Time {
	if !x.reopens.after(x.at) {
		next, ok := c.businessDayAfter(d)
		if !ok {
			return time.Time{}
		}
		d = next
	}
	return c.clock(d, x.reopens.hour, x.reopens.minute)
}

// NextCutOff gives the first cut-off strictly after a time, of any name; ok is false where there is none within a year.
func (c *Calendar) NextCutOff(at time.Time) (name string, t time.Time, ok bool) {
	for i := range c.cutOffs {
		x := &c.cutOffs[i]
		if u, found := c.next(x, at, horizon); found && (!ok || u.Before(t)) {
			name, t, ok = x.name, u, true
		}
	}
	return name, t, ok
}
