package calendar

import (
	"cmp"
	"slices"
	"time"

	"github.com/backstay/backstay/api"
)

// The years for which yearly holidays are worked out. Outside of them only weekends and single dates count.
const (
	firstYear = 1970
	lastYear  = 2199
)

// holiday is a day without business, and why.
type holiday struct {
	day  day
	name string
}

// rule is a yearly holiday made ready.
type rule struct {
	api.Holiday
	on api.DayRule
}

// addHolidays works out every day off of every year, sorted by date.
func (c *Calendar) addHolidays(dates []string, yearly []api.Holiday) error {
	for _, h := range dates {
		t, err := time.Parse(time.DateOnly, h)
		if err != nil {
			return api.Errorf(api.CodeInvalid, "calendar holiday %q is no date: write 2026-12-25", h)
		}
		c.holidays = append(c.holidays, holiday{dayOf(t), "holiday"})
	}
	if len(yearly) > api.YearlyMax {
		return api.Errorf(api.CodeInvalid, "calendar has %d yearly holidays: write at most %d", len(yearly), api.YearlyMax)
	}
	rules := make([]rule, len(yearly))
	for i, h := range yearly {
		on, err := api.ParseYearly(h)
		if err != nil {
			return api.Errorf(api.CodeInvalid, "calendar holiday %s: %w", h.Name, err)
		}
		switch h.Observed {
		case "", "none", "nearest", "monday", "us-fed":
		default:
			return api.Errorf(api.CodeInvalid, "calendar holiday %s is observed %q: write none, nearest, monday or us-fed", h.Name, h.Observed)
		}
		rules[i] = rule{h, on}
	}
	for year := firstYear; len(rules) > 0 && year <= lastYear; year++ {
		c.holidays = append(c.holidays, holidaysOf(rules, year)...)
	}
	slices.SortStableFunc(c.holidays, func(a, b holiday) int { return cmp.Compare(a.day, b.day) })
	return nil
}

// holidaysOf gives the days on which a year's holidays are held. Those that stay where they are come first, so that one that
// goes to Monday finds it taken and goes to Tuesday, as Christmas Day does when the 26th is a Monday.
func holidaysOf(rules []rule, year int) []holiday {
	var kept, moved []holiday
	for i := range rules {
		r := &rules[i]
		if year < r.Since {
			continue
		}
		d := yearly(&r.on, year)
		weekday := d.weekday()
		switch {
		case r.Observed == "nearest" && weekday == time.Saturday:
			d--
		case weekday == time.Sunday && (r.Observed == "nearest" || r.Observed == "us-fed"):
			d++
		case r.Observed == "monday" && (weekday == time.Saturday || weekday == time.Sunday):
			moved = append(moved, holiday{d, r.Name})
			continue
		}
		kept = append(kept, holiday{d, r.Name})
	}
	slices.SortStableFunc(moved, func(a, b holiday) int { return cmp.Compare(a.day, b.day) })
	for _, h := range moved {
		taken := func(k holiday) bool { return k.day == h.day }
		for h.day.weekday() == time.Saturday || h.day.weekday() == time.Sunday || slices.ContainsFunc(kept, taken) {
			h.day++
		}
		kept = append(kept, h)
	}
	return kept
}

// yearly gives the day of a rule that comes once a year.
func yearly(r *api.DayRule, year int) day {
	if r.Unit == api.UnitEaster {
		return easter(year) + day(r.Nth)
	}
	month := r.Months[0]
	first, step, n := dateOf(year, month, 1), day(1), day(r.Nth)
	if n < 0 {
		first, step, n = dateOf(year, month+1, 0), -1, -n
	}
	if r.Unit == api.UnitWeekday {
		away := day(r.Weekday-first.weekday()) * step
		return first + step*((away+7)%7+7*(n-1))
	}
	return first + step*(n-1)
}

// easter gives Easter Sunday of the Gregorian calendar: the Sunday after the full moon that follows 21 March, by the tables of
// the reform of 1582 (golden number, century corrections, epact).
func easter(year int) day {
	golden := year % 19
	century := year / 100
	solar := century - century/4
	lunar := (8*century + 13) / 25
	epact := (19*golden + solar - lunar + 15) % 30
	if epact == 29 || epact == 28 && golden > 10 { // so that no two years of a cycle share their full moon
		epact--
	}
	moon := dateOf(year, time.March, 21) + day(epact)
	return moon + 7 - day(moon.weekday())
}

// holidayOn tells the name of the holiday on a day.
func (c *Calendar) holidayOn(d day) (string, bool) {
	i, found := slices.BinarySearchFunc(c.holidays, d, func(h holiday, d day) int { return cmp.Compare(h.day, d) })
	if !found {
		return "", false
	}
	return c.holidays[i].name, true
}
