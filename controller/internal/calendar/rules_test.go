package calendar

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/backstay/backstay/api"
)

// closedIn lists the days off of one year that are no weekend, of a calendar with these rules.
func closedIn(t *testing.T, year int, rules ...api.Holiday) string {
	t.Helper()
	c := must(t, api.CalendarSpec{Weekend: []string{"sat", "sun"}, Yearly: rules})
	var out []string
	for d := dateOf(year, 1, 1); d <= dateOf(year, 12, 31); d++ {
		if !c.businessDay(d) && !c.weekend[d.weekday()] {
			out = append(out, d.time().Format("Mon 01-02"))
		}
	}
	return strings.Join(out, ", ")
}

func TestObserved(t *testing.T) {
	day := func(on, observed string) api.Holiday { return api.Holiday{Name: "x", On: on, Observed: observed} }
	for _, x := range []struct {
		name  string
		year  int
		rules []api.Holiday
		want  string
	}{
		{"none: lost on a Saturday", 2026, []api.Holiday{day("jul 4", "none")}, ""},
		{"nearest: Saturday to Friday", 2026, []api.Holiday{day("jul 4", "nearest")}, "Fri 07-03"},
		{"nearest: Sunday to Monday", 2027, []api.Holiday{day("jul 4", "nearest")}, "Mon 07-05"},
		{"us-fed: Saturday stays", 2026, []api.Holiday{day("jul 4", "us-fed")}, ""},
		{"us-fed: Sunday to Monday", 2027, []api.Holiday{day("jul 4", "us-fed")}, "Mon 07-05"},
		{"monday: Saturday to Monday", 2026, []api.Holiday{day("jul 4", "monday")}, "Mon 07-06"},
		{"nearest: 1 January 2028 goes into 2027", 2027, []api.Holiday{day("jan 1", "nearest")}, "Fri 01-01, Fri 12-31"},
		{"and leaves 2028 without", 2028, []api.Holiday{day("jan 1", "nearest")}, ""},
		{"British Christmas on a Saturday: Monday and Tuesday", 2021, []api.Holiday{day("dec 25", "monday"), day("dec 26", "monday")}, "Mon 12-27, Tue 12-28"},
		{"British Christmas on a Sunday: Boxing Day keeps its Monday", 2022, []api.Holiday{day("dec 25", "monday"), day("dec 26", "monday")}, "Mon 12-26, Tue 12-27"},
		{"since: not before", 2019, []api.Holiday{{Name: "juneteenth", On: "jun 19", Since: 2021}}, ""},
		{"since: from that year on", 2023, []api.Holiday{{Name: "juneteenth", On: "jun 19", Since: 2021}}, "Mon 06-19"},
		{"the second Friday before the month ends", 2026, []api.Holiday{day("2nd last fri nov", "")}, "Fri 11-20"},
		{"Ascension Day and Corpus Christi", 2026, []api.Holiday{day("easter+39", ""), day("easter+60", "")}, "Thu 05-14, Thu 06-04"},
		{"the last day of a month that changes length", 2028, []api.Holiday{day("last day feb", "")}, "Tue 02-29"},
	} {
		if got := closedIn(t, x.year, x.rules...); got != x.want {
			t.Errorf("%s: closed on %q, want %q", x.name, got, x.want)
		}
	}
}

func TestBaseAndWorkdays(t *testing.T) {
	c := must(t, api.CalendarSpec{Base: "us-fed", Holidays: []string{"2026-11-27"}, Workdays: []string{"2026-10-12", "2026-11-28"},
		Yearly: []api.Holiday{{Name: "founders-day", On: "mar 2"}}})
	for _, x := range []struct {
		at   string
		want bool
	}{{"2026-11-26", false}, {"2026-11-27", false}, {"2026-11-28", true}, {"2026-10-12", true}, {"2027-10-11", false}, {"2026-03-02", false}, {"2026-03-03", true}} {
		if got := c.BusinessDay(at(t, x.at+"T17:00:00Z")); got != x.want {
			t.Errorf("%s is a business day: %v", x.at, got)
		}
	}
	if z := must(t, api.CalendarSpec{Base: "us-fed", Zone: "America/Chicago", Weekend: []string{"sun"}}); z.Zone().String() != "America/Chicago" || !z.BusinessDay(at(t, "2026-11-28T18:00:00Z")) {
		t.Error("a zone and a weekend beside base replace its own")
	}
}

func TestTooLate(t *testing.T) {
	c := must(t, api.CalendarSpec{Base: "us-fed", CutOffs: []api.CutOff{
		{Name: "morning", At: "10:30", Reopens: "10:45"},
		{Name: "last", At: "16:45", Guard: api.Duration{Duration: 15 * time.Minute}, Reopens: "08:30"},
		{Name: "payroll", At: "14:00", On: []string{"fri", "last business day"}, Reopens: "14:30", Guard: api.Duration{Duration: time.Hour}},
	}})
	for _, x := range []struct{ name, at, until, reason string }{
		{"open", "2026-11-24T09:00:00-05:00", "", ""},
		{"too late for the morning window", "2026-11-24T10:30:00-05:00", "2026-11-24T10:45:00-05:00", "cut-off morning was at Tue 2026-11-24 10:30 EST, so it is too late; the next window opens at Tue 2026-11-24 10:45 EST"},
		{"the window opens", "2026-11-24T10:45:00-05:00", "", ""},
		{"the guard runs into the night", "2026-11-24T16:30:00-05:00", "2026-11-25T08:30:00-05:00", "cut-off last is at Tue 2026-11-24 16:45 EST"},
		{"too late, over Thanksgiving", "2026-11-25T16:45:00-05:00", "2026-11-27T08:30:00-05:00", "cut-off last was at Wed 2026-11-25 16:45 EST"},
		{"on the holiday itself", "2026-11-26T12:00:00-05:00", "2026-11-27T08:30:00-05:00", "opens at Fri 2026-11-27 08:30"},
		{"over the weekend", "2026-11-28T12:00:00-05:00", "2026-11-30T08:30:00-05:00", "opens at Mon 2026-11-30 08:30"},
		{"before the window opens on Monday", "2026-11-30T08:29:59-05:00", "2026-11-30T08:30:00-05:00", "too late"},
		{"no payroll on a Tuesday", "2026-11-24T13:30:00-05:00", "", ""},
		{"payroll on Friday", "2026-11-27T13:30:00-05:00", "2026-11-27T14:30:00-05:00", "cut-off payroll is at Fri 2026-11-27 14:00"},
		{"payroll on the last business day", "2026-11-30T14:10:00-05:00", "2026-11-30T14:30:00-05:00", "cut-off payroll was at"},
	} {
		reason, until, blocked := c.Blocked(at(t, x.at))
		if blocked != (x.until != "") || !strings.Contains(reason, x.reason) || (reason == "") != (x.reason == "") {
			t.Errorf("%s: blocked %v, reason %q", x.name, blocked, reason)
		}
		if x.until != "" && !until.Equal(at(t, x.until)) {
			t.Errorf("%s: until %s, want %s", x.name, until, x.until)
		}
	}
	name, next, ok := c.NextCutOff(at(t, "2026-11-26T12:00:00-05:00"))
	if !ok || name != "morning" || !next.Equal(at(t, "2026-11-27T10:30:00-05:00")) {
		t.Errorf("the first cut-off after the holiday: %s %s %v", name, next, ok)
	}
	name, next, ok = c.NextCutOff(at(t, "2026-11-24T10:30:00-05:00"))
	if !ok || name != "last" || !next.Equal(at(t, "2026-11-24T16:45:00-05:00")) {
		t.Errorf("the next cut-off on a Tuesday: %s %s %v", name, next, ok)
	}
}

func TestRecurringFreezes(t *testing.T) {
	month := api.Freeze{Name: "month-end", From: "last business day 18:00", To: "1st business day 06:00"}
	year := api.Freeze{Name: "year-end", From: "dec 20 00:00", To: "2nd business day jan 06:00"}
	quarter := api.Freeze{Name: "quarter", From: "2nd last business day mar jun sep dec 12:00", To: "3rd business day 12:00"}
	night := api.Freeze{Name: "night", From: "business day 22:00", To: "day 05:00"}
	weekend := api.Freeze{Name: "weekend", From: "fri 18:00", To: "mon 06:00"}
	for _, x := range []struct {
		name      string
		freeze    api.Freeze
		at, until string
	}{
		{"a minute before", month, "2026-11-30T17:59:59-05:00", ""},
		{"the last business day", month, "2026-11-30T18:00:00-05:00", "2026-12-01T06:00:00-05:00"},
		{"its end is free", month, "2026-12-01T06:00:00-05:00", ""},
		{"over a holiday and a weekend", month, "2027-01-01T12:00:00-05:00", "2027-01-04T06:00:00-05:00"},
		{"from Friday, as the month ends on Sunday", month, "2027-01-29T18:00:00-05:00", "2027-02-01T06:00:00-05:00"},
		{"not a month-end", month, "2026-11-20T20:00:00-05:00", ""},
		{"not yet", year, "2026-12-19T23:59:59-05:00", ""},
		{"from one year", year, "2026-12-20T00:00:00-05:00", "2027-01-05T06:00:00-05:00"},
		{"into the next", year, "2027-01-04T23:00:00-05:00", "2027-01-05T06:00:00-05:00"},
		{"done", year, "2027-01-05T06:00:00-05:00", ""},
		{"quarter", quarter, "2026-09-29T12:00:00-04:00", "2026-10-05T12:00:00-04:00"},
		{"no quarter", quarter, "2026-10-30T12:00:00-04:00", ""},
		{"night", night, "2026-11-25T23:00:00-05:00", "2026-11-26T05:00:00-05:00"},
		{"no night on a holiday", night, "2026-11-26T23:00:00-05:00", ""},
		{"weekend", weekend, "2026-11-22T01:00:00-05:00", "2026-11-23T06:00:00-05:00"},
		{"weekday", weekend, "2026-11-23T06:00:00-05:00", ""},
		{"a weekend of 47 hours of sleep", weekend, "2026-03-06T18:00:00-05:00", "2026-03-09T06:00:00-04:00"},
	} {
		c := must(t, api.CalendarSpec{Base: "us-fed", Freezes: []api.Freeze{x.freeze}})
		reason, until, blocked := c.Blocked(at(t, x.at))
		if blocked != (x.until != "") || blocked && !strings.HasPrefix(reason, "freeze "+x.freeze.Name+" lasts until") {
			t.Errorf("%s: blocked %v, reason %q", x.name, blocked, reason)
		}
		if x.until != "" && !until.Equal(at(t, x.until)) {
			t.Errorf("%s: until %s, want %s", x.name, until, x.until)
		}
	}
}

// TestFreezeWithoutEnd: what has no end in sight blocks, and says so.
func TestFreezeWithoutEnd(t *testing.T) {
	c := must(t, api.CalendarSpec{Weekend: []string{"mon", "tue", "wed", "thu", "fri", "sat"},
		Freezes: []api.Freeze{{Name: "close", From: "1st day 00:00", To: "7th business day 00:00"}}})
	reason, until, blocked := c.Blocked(at(t, "2026-11-22T23:00:00Z"))
	if !blocked || !until.IsZero() || !strings.Contains(reason, "freeze close has begun; it has no end within a year") {
		t.Errorf("got %q until %v", reason, until)
	}
}

func TestRuleRefusals(t *testing.T) {
	for _, x := range []struct {
		want string
		spec api.CalendarSpec
	}{
		{"base", api.CalendarSpec{Base: "nyse"}},
		{"workday", api.CalendarSpec{Workdays: []string{"soon"}}},
		{"more than once a year", api.CalendarSpec{Yearly: []api.Holiday{{Name: "x", On: "last fri"}}}},
		{"counts business days", api.CalendarSpec{Yearly: []api.Holiday{{Name: "x", On: "1st business day jan"}}}},
		{"observed", api.CalendarSpec{Yearly: []api.Holiday{{Name: "x", On: "jul 4", Observed: "often"}}}},
		{"yearly", api.CalendarSpec{Yearly: slices.Repeat([]api.Holiday{{Name: "x", On: "jul 4"}}, api.YearlyMax+1)}},
		{"reopens", api.CalendarSpec{CutOffs: []api.CutOff{{Name: "x", At: "16:45", Reopens: "8"}}}},
		{"no rule for a day", api.CalendarSpec{CutOffs: []api.CutOff{{Name: "x", At: "16:45", On: []string{"friyay"}}}}},
		{"no rule for a day", api.CalendarSpec{Freezes: []api.Freeze{{Name: "x", From: "last bisness day 18:00", To: "1st business day 06:00"}}}},
		{"time of day", api.CalendarSpec{Freezes: []api.Freeze{{Name: "x", From: "last day 18:00", To: "1st day"}}}},
		{"as often", api.CalendarSpec{Freezes: []api.Freeze{{Name: "x", From: "last day 18:00", To: "jan 1 06:00"}}}},
		{"begins again", api.CalendarSpec{Freezes: []api.Freeze{{Name: "x", From: "fri 18:00", To: "friday 18:00"}}}},
	} {
		_, err := New(x.spec)
		if err == nil || !strings.Contains(err.Error(), x.want) || api.CodeOf(err) != api.CodeInvalid {
			t.Errorf("%+v: error %v, want one about %s", x.spec, err, x.want)
		}
	}
}

// TestOnAgreesWithCounting holds the shortcuts of on against plain counting of the days of a month.
func TestOnAgreesWithCounting(t *testing.T) {
	c := must(t, api.CalendarSpec{Base: "us-fed"})
	rapid.Check(t, func(t *rapid.T) {
		year, month := rapid.IntRange(1980, 2100).Draw(t, "year"), time.Month(rapid.IntRange(1, 12).Draw(t, "month"))
		r := api.DayRule{Unit: rapid.SampledFrom([]api.DayUnit{api.UnitDay, api.UnitBusiness, api.UnitWeekday}).Draw(t, "unit"),
			Weekday: time.Weekday(rapid.IntRange(0, 6).Draw(t, "weekday")), Nth: rapid.IntRange(-20, 20).Draw(t, "nth")}
		var all, got []day
		for d := dateOf(year, month, 1); d <= dateOf(year, month+1, 0); d++ {
			if r.Unit == api.UnitDay || r.Unit == api.UnitBusiness && c.businessDay(d) || r.Unit == api.UnitWeekday && d.weekday() == r.Weekday {
				all = append(all, d)
			}
			if c.on(&r, d) {
				got = append(got, d)
			}
		}
		want := all
		switch {
		case r.Nth > len(all) || -r.Nth > len(all):
			want = nil
		case r.Nth > 0:
			want = all[r.Nth-1 : r.Nth]
		case r.Nth < 0:
			want = all[len(all)+r.Nth : len(all)+r.Nth+1]
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%+v in %s %d: %v, want %v", r, month, year, got, want)
		}
	})
}

var zones = []string{"America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago", "Asia/Tehran", "Africa/Casablanca", "Pacific/Apia", "UTC"}

// TestUntilIsTheFirstFreeMoment holds over random calendars, zones and times, clock changes among them, that the time which
// Blocked gives is free, and that no moment before it is.
func TestUntilIsTheFirstFreeMoment(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock := func(label string) string {
			return fmt.Sprintf("%02d:%02d", rapid.IntRange(0, 23).Draw(t, label), 15*rapid.IntRange(0, 3).Draw(t, label))
		}
		zone := rapid.SampledFrom(zones).Draw(t, "zone")
		spec := api.CalendarSpec{Base: "target2", Zone: zone,
			CutOffs: []api.CutOff{{Name: "a", At: clock("at"), Guard: api.Duration{Duration: time.Duration(rapid.IntRange(0, 180).Draw(t, "guard")) * time.Minute}},
				{Name: "b", At: clock("late"), Reopens: clock("reopens"), On: []string{rapid.SampledFrom([]string{"fri", "last business day", "sun", "day"}).Draw(t, "on")}}},
			Freezes: []api.Freeze{{Name: "c", From: rapid.SampledFrom([]string{"last sun", "last day", "2nd sun mar"}).Draw(t, "from") + " " + clock("c"), To: "1st business day " + clock("d")}},
		}
		c, err := New(spec)
		if err != nil {
			t.Fatal(err)
		}
		// A clock change of the zone, or any time.
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.IntRange(0, 2*366*24*60).Draw(t, "minute")) * time.Minute)
		if _, change := now.In(c.zone).ZoneBounds(); rapid.Bool().Draw(t, "near a change") && !change.IsZero() {
			now = change.Add(time.Duration(rapid.IntRange(-600, 600).Draw(t, "off")) * time.Minute)
		}
		reason, until, blocked := c.Blocked(now)
		if !blocked {
			return
		}
		if until.IsZero() {
			if !strings.Contains(reason, "without a gap") {
				t.Fatalf("at %s blocked without end: %s", now, reason)
			}
			return
		}
		if _, _, still := c.Blocked(until); still || !until.After(now) {
			t.Fatalf("at %s blocked until %s, which is blocked too", now, until)
		}
		span := int64(until.Sub(now))
		for _, back := range []int64{1, int64(time.Second), span / 2, span / 3, span / 7} {
			if back < span {
				if _, _, before := c.Blocked(until.Add(-time.Duration(back))); !before {
					t.Fatalf("at %s blocked until %s, but %s before it is free", now, until, time.Duration(back))
				}
			}
		}
	})
}

// TestClockIsTheWallClock holds that clock gives the first moment that shows a time of day, or the change that skips it.
func TestClockIsTheWallClock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom(zones[:6]).Draw(t, "zone")
		c, err := New(api.CalendarSpec{Zone: zone})
		if err != nil {
			t.Fatal(err)
		}
		d := dateOf(2020, 1, 1) + day(rapid.IntRange(0, 10*365).Draw(t, "day"))
		if _, change := time.Unix(int64(d)*secondsOfDay, 0).In(c.zone).ZoneBounds(); rapid.Bool().Draw(t, "at a change") && !change.IsZero() {
			d = dayOf(change.In(c.zone))
		}
		minute := rapid.IntRange(0, 24*60-1).Draw(t, "minute")
		got := c.clock(d, minute/60, minute%60)
		shown := got.In(c.zone)
		if shown.Hour()*60+shown.Minute() == minute {
			for back := time.Minute; back <= 3*time.Hour; back += time.Minute {
				if e := got.Add(-back).In(c.zone); dayOf(e) == d && e.Hour()*60+e.Minute() == minute {
					t.Fatalf("%s %s %02d:%02d is %s, but it is shown at %s already", zone, d, minute/60, minute%60, got, e)
				}
			}
		} else if start, _ := shown.ZoneBounds(); !start.Equal(got) {
			t.Fatalf("%s %s %02d:%02d is skipped, so want the change, not %s", zone, d, minute/60, minute%60, got)
		}
	})
}

func BenchmarkBlocked(b *testing.B) {
	c := must(b, api.CalendarSpec{Base: "us-fed",
		CutOffs: []api.CutOff{{Name: "a", At: "10:30", Guard: api.Duration{Duration: 30 * time.Minute}, Reopens: "10:45"}, {Name: "b", At: "16:45", Guard: api.Duration{Duration: time.Hour}, Reopens: "08:30"}},
		Freezes: []api.Freeze{{Name: "m", From: "last business day 18:00", To: "1st business day 06:00"}, {Name: "y", From: "dec 20 00:00", To: "2nd business day jan 06:00"}}})
	now := at(b, "2026-11-24T14:00:00-05:00")
	for b.Loop() {
		if _, _, blocked := c.Blocked(now); blocked {
			b.Fatal("blocked")
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		must(b, api.CalendarSpec{Base: "us-fed"})
	}
}
