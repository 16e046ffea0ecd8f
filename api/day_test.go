package api

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseDay(t *testing.T) {
	for _, x := range []struct {
		text  string
		want  DayRule
		every Every
	}{
		{"jul 4", DayRule{Nth: 4, Months: []time.Month{7}}, EveryYear},
		{"  July   4 ", DayRule{Nth: 4, Months: []time.Month{7}}, EveryYear},
		{"4th thu nov", DayRule{Unit: UnitWeekday, Weekday: time.Thursday, Nth: 4, Months: []time.Month{11}}, EveryYear},
		{"last mon may", DayRule{Unit: UnitWeekday, Weekday: time.Monday, Nth: -1, Months: []time.Month{5}}, EveryYear},
		{"easter", DayRule{Unit: UnitEaster}, EveryYear},
		{"easter-2", DayRule{Unit: UnitEaster, Nth: -2}, EveryYear},
		{"easter+39", DayRule{Unit: UnitEaster, Nth: 39}, EveryYear},
		{"last business day", DayRule{Unit: UnitBusiness, Nth: -1}, EveryMonth},
		{"2nd last business day jun mar", DayRule{Unit: UnitBusiness, Nth: -2, Months: []time.Month{3, 6}}, EveryMonth},
		{"1st business day jan", DayRule{Unit: UnitBusiness, Nth: 1, Months: []time.Month{1}}, EveryYear},
		{"15th day", DayRule{Nth: 15}, EveryMonth},
		{"last day feb", DayRule{Nth: -1, Months: []time.Month{2}}, EveryYear},
		{"fri", DayRule{Unit: UnitWeekday, Weekday: time.Friday}, EveryWeek},
		{"Friday dec", DayRule{Unit: UnitWeekday, Weekday: time.Friday, Months: []time.Month{12}}, EveryMonth},
		{"business day", DayRule{Unit: UnitBusiness}, EveryDay},
		{"day", DayRule{}, EveryDay},
	} {
		got, err := ParseDay(x.text)
		if err != nil || !got.equal(x.want) || got.Every() != x.every {
			t.Errorf("%q: %+v every %d, %v; want %+v every %d", x.text, got, got.Every(), err, x.want, x.every)
		}
	}
}

func TestParseDayRefusals(t *testing.T) {
	for _, text := range []string{"", " ", "4 jul", "jul", "jul 0", "jul 04", "jul +4", "feb 29", "jul 32", "jun 31", "jul 99999999999999999999", "5th fri", "0th day", "1th day", "2th day", "11st day", "12nd day",
		"29th day", "16th business day", "last", "1st", "business", "last businessday", "easter 2", "easter-", "easter-02", "easter-71", "easter+99999999999999999999", "eastern", "4th thu nov nov", "4th thu brumaire", "thu 4th nov", "2026-12-25", strings.Repeat("x", 200)} {
		if got, err := ParseDay(text); err == nil || !strings.Contains(err.Error(), ": write ") {
			t.Errorf("%q is read as %+v (%v), want an error that says what to write", text, got, err)
		}
	}
}

func FuzzParseDay(f *testing.F) {
	for _, s := range []string{"jul 4", "4th thu nov", "easter-2", "2nd last business day mar jun", "fri", "last day feb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseDay(s)
		if err != nil {
			if !strings.Contains(err.Error(), ": write ") {
				t.Fatalf("%q: the error says nothing of what to write: %v", s, err)
			}
			return
		}
		again, err := ParseDay(strings.ToUpper(s))
		if err != nil || !again.equal(r) {
			t.Fatalf("%q means another day in capitals: %+v %+v %v", s, r, again, err)
		}
		if !slices.IsSorted(r.Months) || len(r.Months) > 12 || r.Unit == UnitDay && (r.Nth > 31 || r.Nth < -31) {
			t.Fatalf("%q is read as %+v", s, r)
		}
	})
}
