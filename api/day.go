package api

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DayUnit is what a DayRule counts.
type DayUnit uint8

// The units.
const (
	UnitDay      DayUnit = iota // days of the month
	UnitBusiness                // business days of the calendar
	UnitWeekday                 // one day of the week
	UnitEaster                  // days from Easter Sunday (of the western churches)
)

// DayRule says on which days something happens, read from a few words:
//
//	jul 4                        a date of every year
//	4th thu nov, last mon may    a weekday of a month, counted from its start or end
//	easter, easter-2, easter+1   days from Easter Sunday
//	last business day            of every month; also 1st, 2nd ... and 2nd last
//	15th day, last day           of every month
//	fri, business day, day       each of them
//	last business day mar jun    of these months only
type DayRule struct {
	Unit    DayUnit
	Weekday time.Weekday // with UnitWeekday
	Nth     int          // 1 is the first of the month, -1 its last, 0 each of them; with UnitEaster days from Easter Sunday
	Months  []time.Month // every month when empty
}

// Every is how often a DayRule comes.
type Every uint8

// How often, from often to seldom.
const (
	EveryDay Every = iota // or every business day
	EveryWeek
	EveryMonth // or in several months
	EveryYear
)

// DayHint shows what a DayRule may look like.
const DayHint = "write jul 4, 4th thu nov, last mon may, easter-2, 1st business day, last business day, 15th day, last day or fri"

// The furthest that a rule counts. No month lacks a fourth Tuesday; a fifth is missing from most.
const (
	nthBusinessMax = 15
	nthWeekdayMax  = 4
	easterMax      = 70
)

// ParseDay reads a DayRule. What some month or year would lack is refused, since a rule that silently skips one surprises.
func ParseDay(s string) (DayRule, error) {
	words := strings.Fields(strings.ToLower(s))
	if len(words) == 0 || len(s) > 100 {
		return DayRule{}, badDay(s)
	}
	if offset, found := strings.CutPrefix(words[0], "easter"); found {
		return parseEaster(s, offset, words[1:])
	}
	if month, ok := parseMonth(words[0]); ok && len(words) == 2 {
		n, err := strconv.Atoi(words[1])
		if err != nil || n < 1 || !plainNumber(words[1]) {
			return DayRule{}, badDay(s)
		}
		r := DayRule{Nth: n, Months: []time.Month{month}}
		return r, r.check(s)
	}
	r := DayRule{}
	words, ok := r.ordinal(words)
	if ok {
		words, ok = r.unit(words)
	}
	for _, word := range words {
		month, known := parseMonth(word)
		if ok = ok && known && !slices.Contains(r.Months, month); ok {
			r.Months = append(r.Months, month)
		}
	}
	if !ok {
		return DayRule{}, badDay(s)
	}
	slices.Sort(r.Months)
	return r, r.check(s)
}

func badDay(s string) error { return fmt.Errorf("%q is no rule for a day: %s", s, DayHint) }

func parseEaster(s, offset string, rest []string) (DayRule, error) {
	r := DayRule{Unit: UnitEaster}
	if len(rest) > 0 || offset != "" && (offset[0] != '-' && offset[0] != '+' || !plainNumber(offset[1:])) {
		return DayRule{}, badDay(s)
	}
	if offset != "" {
		r.Nth, _ = strconv.Atoi(offset) // a sign and digits; an overflow gives the greatest number, which is refused
	}
	if r.Nth < -easterMax || r.Nth > easterMax {
		return DayRule{}, fmt.Errorf("%q is further than %d days from Easter: write a date instead, such as jul 4", s, easterMax)
	}
	return r, nil
}

// ordinal reads 1st, last, 2nd last ... where there is one.
func (r *DayRule) ordinal(words []string) ([]string, bool) {
	number := strings.TrimRight(words[0], "stndrh")
	if plainNumber(number) {
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || words[0] != number+ordinalEnding(n) {
			return words, false
		}
		r.Nth, words = n, words[1:]
	}
	if len(words) > 0 && words[0] == "last" {
		r.Nth, words = -max(r.Nth, 1), words[1:]
	}
	return words, len(words) > 0
}

func ordinalEnding(n int) string {
	switch {
	case n%100 >= 11 && n%100 <= 13:
		return "th"
	case n%10 == 1:
		return "st"
	case n%10 == 2:
		return "nd"
	case n%10 == 3:
		return "rd"
	}
	return "th"
}

// unit reads what is counted.
func (r *DayRule) unit(words []string) ([]string, bool) {
	if words[0] == "day" {
		return words[1:], true
	}
	if words[0] == "business" && len(words) > 1 && words[1] == "day" {
		r.Unit = UnitBusiness
		return words[2:], true
	}
	for d := time.Sunday; d <= time.Saturday; d++ {
		if word := strings.ToLower(d.String()); words[0] == word || words[0] == word[:3] {
			r.Unit, r.Weekday = UnitWeekday, d
			return words[1:], true
		}
	}
	return words, false
}

func parseMonth(word string) (time.Month, bool) {
	for m := time.January; m <= time.December; m++ {
		if name := strings.ToLower(m.String()); word == name || word == name[:3] {
			return m, true
		}
	}
	return 0, false
}

func plainNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == "" && (s[0] != '0' || s == "0")
}

// check refuses what does not come in each of the rule's months.
func (r DayRule) check(s string) error {
	n := max(r.Nth, -r.Nth)
	switch r.Unit {
	case UnitBusiness:
		if n > nthBusinessMax {
			return fmt.Errorf("%q: some months have no %d business days: write 1st to %dth, or last", s, n, nthBusinessMax)
		}
	case UnitWeekday:
		if n > nthWeekdayMax {
			return fmt.Errorf("%q: most months have no %dth of a weekday: write 1st to 4th, or last", s, n)
		}
	case UnitDay:
		months := r.Months
		if len(months) == 0 {
			months = []time.Month{time.February}
		}
		for _, m := range months {
			if days := time.Date(2001, m+1, 0, 0, 0, 0, 0, time.UTC).Day(); n > days {
				return fmt.Errorf("%q: %s has %d days, in most years: write a day that is always there, or last day", s, m, days)
			}
		}
	}
	return nil
}

// Every tells how often the rule comes.
func (r DayRule) Every() Every {
	switch {
	case r.Unit == UnitEaster, r.Nth != 0 && len(r.Months) == 1:
		return EveryYear
	case r.Nth == 0 && len(r.Months) == 0 && r.Unit == UnitWeekday:
		return EveryWeek
	case r.Nth == 0 && len(r.Months) == 0:
		return EveryDay
	}
	return EveryMonth
}

// DayTime is a time of day on the days of a rule.
type DayTime struct {
	Day          DayRule
	Hour, Minute int
}

// ParseDayTime reads a rule and a time of day: last business day 18:00.
func ParseDayTime(s string) (DayTime, error) {
	i := strings.LastIndexByte(strings.TrimSpace(s), ' ')
	if i < 0 {
		return DayTime{}, fmt.Errorf("%q is no day with a time: write last business day 18:00; from and to are both rules, or both dates", s)
	}
	s = strings.TrimSpace(s)
	hour, minute, err := ParseClock(s[i+1:])
	if err != nil {
		return DayTime{}, err
	}
	day, err := ParseDay(s[:i])
	return DayTime{day, hour, minute}, err
}

// ParseClock reads a time of day from 00:00 to 23:59.
func ParseClock(s string) (hour, minute int, err error) {
	t, err := time.Parse(CalendarTime, s)
	if err != nil || len(s) != len(CalendarTime) {
		return 0, 0, fmt.Errorf("%q is not a time of day: write hours and minutes from 00:00 to 23:59, in quotes: \"16:45\"", s)
	}
	return t.Hour(), t.Minute(), nil
}
