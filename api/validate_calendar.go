package api

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // so that zones mean the same on every machine
)

// The notations of a calendar's dates and times, all in its own zone.
const (
	CalendarDate  = "2006-01-02"       // holidays
	CalendarTime  = "15:04"            // cut-offs
	CalendarPoint = "2006-01-02T15:04" // freezes
)

// Limits of one calendar: yearly holidays are worked out for every year, cut-offs and freezes looked at before every action.
const (
	YearlyMax        = 100
	CalendarRulesMax = 1000
)

func (v *validator) calendar(c *Calendar) {
	o := object{KindCalendar, c.Metadata.Name}
	spec := &c.Spec
	zone, err := time.LoadLocation(cmp.Or(spec.Zone, "UTC"))
	if err != nil || spec.Zone == "Local" {
		v.error(o, "spec.zone", "bad-zone", fmt.Sprintf("there is no time zone %q", spec.Zone), "write an IANA name, such as Europe/Berlin, America/New_York or UTC")
		zone = time.UTC
	}
	days := slices.Compact(slices.Sorted(slices.Values(spec.Weekend)))
	if len(days) >= 7 {
		v.error(o, "spec.weekend", "out-of-range", "every day is weekend: there are no business days", "leave the business days out")
	}
	v.dates(o, "spec.holidays", spec.Holidays, "a holiday")
	v.dates(o, "spec.workdays", spec.Workdays, "a workday")
	for i, day := range spec.Workdays {
		if slices.Contains(spec.Holidays, day) {
			v.error(o, fmt.Sprintf("spec.workdays[%d]", i), "contradiction", day+" is a holiday too", "remove it from one of the two")
		}
	}
	v.yearly(o, spec.Yearly)
	v.cutOffs(o, spec.CutOffs)
	v.freezes(o, spec.Freezes, zone)
}

func (v *validator) dates(o object, path string, list []string, what string) {
	seen := make(map[string]bool, len(list))
	for i, day := range list {
		place := fmt.Sprintf("%s[%d]", path, i)
		if _, err := time.Parse(CalendarDate, day); err != nil {
			v.error(o, place, "bad-date", fmt.Sprintf("%q is not a date", day), "write year-month-day: 2026-12-25")
		} else if seen[day] {
			v.warn(o, place, "duplicate-name", day+" is already "+what, "remove it")
		}
		seen[day] = true
	}
}

// most reports a list that is too long, and tells whether it may be looked at.
func (v *validator) most(o object, path string, n, limit int) bool {
	if n > limit {
		v.error(o, path, "out-of-range", fmt.Sprintf("%s has %d entries; the most is %d", path, n, limit), "split the calendar, and give each playbook the one that it needs")
	}
	return n <= limit
}

// wrong reports an error whose text holds message and hint, parted by a colon.
func (v *validator) wrong(o object, path, rule string, err error) {
	message, hint, _ := strings.Cut(err.Error(), ": write ")
	v.error(o, path, rule, message, "write "+hint)
}

func (v *validator) yearly(o object, list []Holiday) {
	if !v.most(o, "spec.yearly", len(list), YearlyMax) {
		return
	}
	var names []string
	for i, h := range list {
		names = append(names, h.Name)
		if _, err := ParseYearly(h); err != nil {
			v.wrong(o, fmt.Sprintf("spec.yearly[%d].on", i), "bad-day", err)
		}
	}
	v.unique(o, "spec.yearly", names)
}

// ParseYearly reads the day of a yearly holiday: a DayRule that comes once a year and needs no business days.
func ParseYearly(h Holiday) (DayRule, error) {
	day, err := ParseDay(h.On)
	switch {
	case err != nil:
		return DayRule{}, err
	case day.Unit == UnitBusiness:
		return DayRule{}, fmt.Errorf("%q counts business days, which holidays are to tell: write a date or a weekday, such as jul 4 or 4th thu nov", h.On)
	case day.Every() != EveryYear:
		return DayRule{}, fmt.Errorf("%q comes more than once a year: write one day of one month, such as jul 4 or 4th thu nov", h.On)
	}
	return day, nil
}

func (v *validator) cutOffs(o object, list []CutOff) {
	if !v.most(o, "spec.cutOffs", len(list), CalendarRulesMax) {
		return
	}
	var names []string
	for i, cut := range list {
		names = append(names, cut.Name)
		path := fmt.Sprintf("spec.cutOffs[%d]", i)
		if _, _, err := ParseClock(cut.At); err != nil {
			v.wrong(o, path+".at", "bad-time", err)
		}
		if cut.Reopens != "" {
			if _, _, err := ParseClock(cut.Reopens); err != nil {
				v.wrong(o, path+".reopens", "bad-time", err)
			}
		}
		for j, on := range cut.On {
			if _, err := ParseDay(on); err != nil {
				v.wrong(o, fmt.Sprintf("%s.on[%d]", path, j), "bad-day", err)
			}
		}
	}
	v.unique(o, "spec.cutOffs", names)
}

func (v *validator) freezes(o object, list []Freeze, zone *time.Location) {
	if !v.most(o, "spec.freezes", len(list), CalendarRulesMax) {
		return
	}
	var names []string
	for i, f := range list {
		names = append(names, f.Name)
		path := fmt.Sprintf("spec.freezes[%d]", i)
		if f.Recurs() {
			v.recurring(o, path, f)
			continue
		}
		from, errFrom := time.ParseInLocation(CalendarPoint, f.From, zone)
		to, errTo := time.ParseInLocation(CalendarPoint, f.To, zone)
		const hint = "write date and time: 2026-12-31T18:00"
		switch {
		case errFrom != nil:
			v.error(o, path+".from", "bad-date", fmt.Sprintf("%q is not a point in time", f.From), hint)
		case errTo != nil:
			v.error(o, path+".to", "bad-date", fmt.Sprintf("%q is not a point in time", f.To), hint)
		case !from.Before(to):
			v.error(o, path+".to", "out-of-range", fmt.Sprintf("the freeze %s ends at %s, before it starts", f.Name, f.To), "from comes before to")
		}
	}
	v.unique(o, "spec.freezes", names)
}

// Recurs tells whether the freeze is a rule rather than one span: its start is a day and a time, with a space between.
func (f Freeze) Recurs() bool { return strings.Contains(strings.TrimSpace(f.From), " ") }

func (v *validator) recurring(o object, path string, f Freeze) {
	from, err := ParseDayTime(f.From)
	if err != nil {
		v.wrong(o, path+".from", "bad-day", err)
		return
	}
	to, err := ParseDayTime(f.To)
	if err != nil {
		v.wrong(o, path+".to", "bad-day", err)
		return
	}
	if err := CheckSpan(from, to); err != nil {
		v.wrong(o, path+".to", "out-of-range", err)
	}
}

// CheckSpan tells why a span that comes again and again would never end.
func CheckSpan(from, to DayTime) error {
	switch {
	case to.Day.Every() > from.Day.Every():
		return fmt.Errorf("the freeze begins more often than it ends: write an end that comes at least as often as the start, such as 1st business day 06:00")
	case from.Hour == to.Hour && from.Minute == to.Minute && from.Day.equal(to.Day):
		return fmt.Errorf("the freeze begins again when it ends, so nothing would ever run: write another end")
	}
	return nil
}

func (r DayRule) equal(o DayRule) bool {
	return r.Unit == o.Unit && r.Weekday == o.Weekday && r.Nth == o.Nth && slices.Equal(r.Months, o.Months)
}
