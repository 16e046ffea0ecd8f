package calendar

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

// icalBuilder turns events into a spec.
type icalBuilder struct {
	*icalReader
	out   Imported
	cal   Calendar // of the zone only
	days  []holiday
	names map[string]bool // taken; never ranged over
}

func (b *icalBuilder) build(zone string) {
	zone = cmp.Or(zone, b.zone, b.firstZone(), "UTC")
	loc, err := time.LoadLocation(zone)
	if err != nil || zone == "Local" {
		b.wrong(1, "bad-zone", fmt.Sprintf("there is no time zone %q", short(zone)), "give one with --zone, such as America/New_York")
		return
	}
	b.out.Spec.Zone, b.cal.zone = zone, loc
	for i := range b.events {
		b.event(&b.events[i])
	}
	slices.SortStableFunc(b.days, func(x, y holiday) int { return cmp.Compare(x.day, y.day) })
	for i, h := range b.days {
		if i > 0 && b.days[i-1].day == h.day {
			continue
		}
		b.out.Spec.Holidays = append(b.out.Spec.Holidays, h.day.String())
		b.out.Labels = append(b.out.Labels, h.name)
	}
	if len(b.out.Spec.Yearly) > api.YearlyMax || len(b.out.Spec.Freezes) > api.CalendarRulesMax {
		b.wrong(1, "too-large", fmt.Sprintf("the file has %d yearly days and %d spans; the most is %d and %d", len(b.out.Spec.Yearly), len(b.out.Spec.Freezes), api.YearlyMax, api.CalendarRulesMax),
			"export a shorter time, or part the calendar")
	}
}

// firstZone is the first zone that an event names and that there is.
func (b *icalBuilder) firstZone() string {
	for i := range b.events {
		if s := b.events[i].start; s != nil && s.param("TZID") != "" {
			if _, err := time.LoadLocation(s.param("TZID")); err == nil {
				return s.param("TZID")
			}
		}
	}
	return ""
}

func (b *icalBuilder) event(e *icalEvent) {
	what := "the event " + strconv.Quote(short(e.summary))
	switch {
	case e.cancelled:
		b.report(api.SeverityWarning, e.line, "cancelled", what+" is cancelled, and left out", "")
		return
	case e.start == nil:
		b.wrong(e.line, "no-start", what+" has no DTSTART", "give it a start, or remove it")
		return
	case e.override != nil:
		b.wrong(e.override.line, "unsupported", what+" changes one occurrence of another event", "write the days of that event one by one")
		return
	case e.unsupported != nil:
		b.wrong(e.unsupported.line, "unsupported", what+": "+short(e.unsupported.name)+" cannot be read here", "write the days of that event one by one")
		return
	}
	from, whole, err := icalTime(e.start.value, e.start.param("TZID"), b.cal.zone)
	if err != nil {
		b.badTime(e.start, err)
		return
	}
	to, ok := b.end(e, from, whole)
	switch {
	case !ok:
	case whole:
		b.wholeDays(e, what, dayOf(from), dayOf(to))
	case e.rule != nil:
		b.wrong(e.rule.line, "unsupported", what+" has a time and repeats", "write a freeze by rule, such as from: fri 18:00, to: mon 06:00")
	case !to.After(from):
		b.report(api.SeverityWarning, e.line, "no-length", what+" lasts no time, and is left out", "")
	default:
		b.out.Spec.Freezes = append(b.out.Spec.Freezes, api.Freeze{Name: b.name(e.summary), From: from.In(b.cal.zone).Format(api.CalendarPoint), To: b.wallAfter(to)})
	}
}

func (b *icalBuilder) badTime(p *icalProp, err error) {
	hint := "write 20261225 or 20261231T180000"
	if strings.Contains(err.Error(), "time zone") {
		hint = "write an IANA name, such as America/New_York"
	} else {
		err = fmt.Errorf("%q is no time", short(p.value))
	}
	b.wrong(p.line, "bad-time", p.name+": "+err.Error(), hint)
}

// end finds where an event ends. A day without an end is one day; an end is not part of the event.
func (b *icalBuilder) end(e *icalEvent, from time.Time, whole bool) (time.Time, bool) {
	to := from
	switch {
	case e.end != nil:
		end, wholeEnd, err := icalTime(e.end.value, e.end.param("TZID"), b.cal.zone)
		if err != nil {
			b.badTime(e.end, err)
			return to, false
		}
		if wholeEnd != whole || end.Before(from) {
			b.wrong(e.end.line, "bad-time", "DTEND does not fit DTSTART: both are dates or both are times, and the end comes later", "mend the event")
			return to, false
		}
		to = end
	case e.duration != nil:
		d, ok := icalDuration(e.duration.value)
		if !ok || whole && d%(24*time.Hour) != 0 {
			b.wrong(e.duration.line, "bad-time", fmt.Sprintf("DURATION %q cannot be read here", short(e.duration.value)), "write days for whole days, such as P1D, or hours and minutes, such as PT2H30M")
			return to, false
		}
		to = from.Add(d)
	}
	if whole && !to.After(from) {
		to = from.Add(24 * time.Hour)
	}
	if to.Sub(from) > icalSpanDaysMax*24*time.Hour {
		b.wrong(e.line, "too-large", fmt.Sprintf("the event %q lasts more than %d days", short(e.summary), icalSpanDaysMax), "part it, or mend its end")
		return to, false
	}
	return to, true
}

var icalDurationForm = regexp.MustCompile(`^\+?P(?:(\d{1,3})W)?(?:(\d{1,3})D)?(?:T(?:(\d{1,4})H)?(?:(\d{1,5})M)?(?:(\d{1,6})S)?)?$`)

func icalDuration(s string) (time.Duration, bool) {
	parts := icalDurationForm.FindStringSubmatch(strings.TrimSpace(s))
	if parts == nil {
		return 0, false
	}
	var sum time.Duration
	for i, unit := range []time.Duration{7 * 24 * time.Hour, 24 * time.Hour, time.Hour, time.Minute, time.Second} {
		n, _ := strconv.Atoi(cmp.Or(parts[i+1], "0")) // digits only
		sum += time.Duration(n) * unit
	}
	return sum, true
}

// wholeDays takes an event of whole days, from the first up to but without the last.
func (b *icalBuilder) wholeDays(e *icalEvent, what string, from, to day) {
	if e.rule == nil {
		b.addDays(e, from, to)
		return
	}
	if to != from+1 {
		b.wrong(e.rule.line, "unsupported", what+" repeats and lasts several days", "write an event of its own for each day")
		return
	}
	r, err := readICalRule(e.rule.value, from)
	if err != nil {
		b.wrong(e.rule.line, "unsupported", what+": RRULE "+strconv.Quote(short(e.rule.value))+": "+err.Error(), "write FREQ=YEARLY, with one BYMONTH and one BYDAY such as 4TH, or the days one by one")
		return
	}
	year, _, _ := from.date()
	if !r.ends() && e.without == nil {
		b.out.Spec.Yearly = append(b.out.Spec.Yearly, api.Holiday{Name: b.name(e.summary), On: r.text, Observed: "none", Since: year})
		return
	}
	if !r.ends() {
		b.wrong(e.without.line, "unsupported", what+" repeats for ever, with exceptions", "give the event an end, or write its days one by one")
		return
	}
	without, ok := b.exceptions(e)
	for n := 0; ok && n < r.count; n++ {
		d := yearly(&r.day, year+n)
		if d > r.until {
			break
		}
		if !slices.Contains(without, d) {
			b.addDays(e, d, d+1)
		}
	}
}

// exceptions reads the days of EXDATE.
func (b *icalBuilder) exceptions(e *icalEvent) ([]day, bool) {
	if e.without == nil {
		return nil, true
	}
	var out []day
	for part := range strings.SplitSeq(e.without.value, ",") {
		t, whole, err := icalTime(part, "", time.UTC)
		if err != nil || !whole {
			b.wrong(e.without.line, "bad-time", fmt.Sprintf("EXDATE %q is no date", short(part)), "write 20261225")
			return nil, false
		}
		out = append(out, dayOf(t))
	}
	return out, true
}

func (b *icalBuilder) addDays(e *icalEvent, from, to day) {
	for d := from; d < to; d++ {
		if len(b.days) == icalDaysMax {
			b.wrong(e.line, "too-large", fmt.Sprintf("the file has more than %d holidays", icalDaysMax), "export a shorter time")
		}
		if len(b.days) > icalDaysMax {
			return
		}
		b.days = append(b.days, holiday{d, e.summary})
	}
}

// wallAfter writes a moment as the zone's clocks show it, to the minute, and never earlier: of an hour that is shown twice, the
// first is meant when it is read again, so an end in the second goes to the end of it.
func (b *icalBuilder) wallAfter(t time.Time) string {
	up := t.Add(time.Minute - 1).Truncate(time.Minute)
	for range 24 {
		wall := up.In(b.cal.zone).Format(api.CalendarPoint)
		if read, err := b.cal.parse(wall); err == nil && !read.Before(t) {
			return wall
		}
		up = up.Add(15 * time.Minute)
	}
	return up.In(b.cal.zone).Format(api.CalendarPoint)
}

// name makes a name of a summary, unique within the calendar.
func (b *icalBuilder) name(summary string) string {
	var s strings.Builder
	for _, c := range strings.ToLower(summary) {
		switch {
		case s.Len() >= 50:
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			s.WriteRune(c)
		case c != '\'' && c != '’' && s.Len() > 0 && !strings.HasSuffix(s.String(), "-"):
			s.WriteByte('-')
		}
	}
	base := cmp.Or(strings.Trim(s.String(), "-"), "event")
	name := base
	for n := 2; b.names[name]; n++ {
		name = base + "-" + strconv.Itoa(n)
	}
	b.names[name] = true
	return name
}

// icalRule is a yearly repeat in our words.
type icalRule struct {
	text  string
	day   api.DayRule
	count int // occurrences at most
	until day // the last day that may be one
}

// icalYearsMax bounds a repeat that has an end: enough for every calendar, and the years that we work out.
const icalYearsMax = lastYear - firstYear

const forEver = day(1 << 30)

func (r *icalRule) ends() bool { return r.count < icalYearsMax || r.until != forEver }

var (
	icalByDay = regexp.MustCompile(`^\+?(-?)([1-4])(SU|MO|TU|WE|TH|FR|SA)$`)
	icalDays  = []string{"SU", "MO", "TU", "WE", "TH", "FR", "SA"}
)

// readICalRule reads the simple yearly forms of RRULE for an event on a day.
func readICalRule(text string, start day) (icalRule, error) {
	r := icalRule{count: icalYearsMax, until: forEver}
	_, month, dom := start.date()
	var byDay, byMonthDay string
	var yearlyRule, byMonth bool
	for part := range strings.SplitSeq(strings.ToUpper(strings.TrimSpace(text)), ";") {
		key, value, _ := strings.Cut(part, "=")
		var err error
		n, notNumber := strconv.Atoi(value)
		switch {
		case key == "FREQ" && value == "YEARLY":
			yearlyRule = true
		case key == "WKST", key == "INTERVAL" && value == "1":
		case key == "BYMONTH" && notNumber == nil && time.Month(n) == month:
			byMonth = true
		case key == "BYMONTHDAY" && notNumber == nil && (n == dom || n == -1):
			byMonthDay = value
		case key == "BYDAY" && icalByDay.MatchString(value):
			byDay = value
		case key == "COUNT" && notNumber == nil && n > 0 && n < icalYearsMax:
			r.count = n
		case key == "UNTIL" && len(value) >= 8:
			var t time.Time
			t, err = time.Parse("20060102", value[:8])
			r.until = min(dayOf(t), forEver-1)
		default:
			err = fmt.Errorf("no %s here", short(part))
		}
		if err != nil {
			return r, fmt.Errorf("%s cannot be read here", short(part))
		}
	}
	name := strings.ToLower(month.String()[:3])
	switch {
	case !yearlyRule || byDay != "" && byMonthDay != "" || byDay+byMonthDay != "" && !byMonth: // without BYMONTH, BYMONTHDAY means every month
		return r, fmt.Errorf("only one day of one month, every year, can be read here")
	case byDay != "":
		m := icalByDay.FindStringSubmatch(byDay)
		weekday := strings.ToLower(time.Weekday(slices.Index(icalDays, m[3])).String()[:3])
		nth := []string{"", "1st", "2nd", "3rd", "4th"}[m[2][0]-'0']
		if m[1] == "-" {
			nth = strings.TrimPrefix(nth+" last", "1st ")
		}
		r.text = nth + " " + weekday + " " + name
	case byMonthDay == "-1":
		r.text = "last day " + name
	default:
		r.text = name + " " + strconv.Itoa(dom)
	}
	rule, err := api.ParseYearly(api.Holiday{On: r.text})
	if err != nil {
		return r, err
	}
	if year, _, _ := start.date(); yearly(&rule, year) != start {
		return r, fmt.Errorf("its first day, %s, is not one of it", start)
	}
	r.day = rule
	return r, nil
}
