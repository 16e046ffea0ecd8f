package api

import (
	"fmt"
	"slices"
	"time"
	_ "time/tzdata" // so that zones mean the same on every machine
)

// The notations of a calendar's dates and times, all in its own zone.
const (
	CalendarDate  = "2006-01-02"       // holidays
	CalendarTime  = "15:04"            // cut-offs
	CalendarPoint = "2006-01-02T15:04" // freezes
)

func (v *validator) calendar(c *Calendar) {
	o := object{KindCalendar, c.Metadata.Name}
	spec := &c.Spec
	zone, err := time.LoadLocation(spec.Zone)
	if err != nil || spec.Zone == "Local" {
		v.error(o, "spec.zone", "bad-zone", fmt.Sprintf("there is no time zone %q", spec.Zone), "write an IANA name, such as Europe/Berlin, America/New_York or UTC")
		zone = time.UTC
	}
	days := slices.Compact(slices.Sorted(slices.Values(spec.Weekend)))
	if len(days) >= 7 {
		v.error(o, "spec.weekend", "out-of-range", "every day is weekend: there are no business days", "leave the business days out")
	}
	for i, day := range spec.Holidays {
		path := fmt.Sprintf("spec.holidays[%d]", i)
		if _, err := time.Parse(CalendarDate, day); err != nil {
			v.error(o, path, "bad-date", fmt.Sprintf("%q is not a date", day), "write year-month-day: 2026-12-25")
		} else if slices.Index(spec.Holidays, day) < i {
			v.warn(o, path, "duplicate-name", day+" is already a holiday", "remove it")
		}
	}
	var names []string
	for i, cut := range spec.CutOffs {
		names = append(names, cut.Name)
		if _, err := time.Parse(CalendarTime, cut.At); err != nil || len(cut.At) != len(CalendarTime) {
			v.error(o, fmt.Sprintf("spec.cutOffs[%d].at", i), "bad-time", fmt.Sprintf("%q is not a time of day", cut.At), "write hours and minutes from 00:00 to 23:59, in quotes: \"16:45\"")
		}
	}
	v.unique(o, "spec.cutOffs", names)
	names = nil
	for i, f := range spec.Freezes {
		names = append(names, f.Name)
		from, errFrom := time.ParseInLocation(CalendarPoint, f.From, zone)
		to, errTo := time.ParseInLocation(CalendarPoint, f.To, zone)
		path := fmt.Sprintf("spec.freezes[%d]", i)
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
