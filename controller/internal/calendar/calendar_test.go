package calendar

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/backstay/backstay/api"
)

func must(t testing.TB, spec api.CalendarSpec) *Calendar {
	t.Helper()
	c, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func at(t testing.TB, s string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func usBanking() api.CalendarSpec {
	return api.CalendarSpec{
		Zone: "America/New_York", Weekend: []string{"sat", "sun"}, Holidays: []string{"2026-12-25", "2026-07-03"},
		CutOffs: []api.CutOff{{Name: "fed-window-3", At: "16:45", Guard: api.Duration{Duration: 30 * time.Minute}}, {Name: "no-guard", At: "10:30"}},
		Freezes: []api.Freeze{{Name: "month-end", From: "2026-12-31T16:30", To: "2027-01-02T06:00"}},
	}
}

func TestBlocked(t *testing.T) {
	c := must(t, usBanking())
	for _, x := range []struct{ name, at, until, reason string }{
		{"well before the guard", "2026-11-20T16:14:59-05:00", "", ""},
		{"the guard begins", "2026-11-20T16:15:00-05:00", "2026-11-20T16:45:00-05:00", "cut-off fed-window-3 is at Fri 2026-11-20 16:45 EST, and nothing starts within 30m before it"},
		{"the last moment", "2026-11-20T16:44:59.999999999-05:00", "2026-11-20T16:45:00-05:00", "fed-window-3"},
		{"the cut-off itself is free", "2026-11-20T16:45:00-05:00", "", ""},
		{"another zone's clock", "2026-11-20T21:20:00Z", "2026-11-20T16:45:00-05:00", "fed-window-3"},
		{"no cut-off on Saturday", "2026-11-21T16:30:00-05:00", "", ""},
		{"nor on a holiday", "2026-12-25T16:30:00-05:00", "", ""},
		{"a cut-off without guard never blocks", "2026-11-20T10:29:59-05:00", "", ""},
		{"in summer the same wall clock", "2026-07-02T16:20:00-04:00", "2026-07-02T16:45:00-04:00", "16:45 EDT"},
		{"guard runs into the freeze", "2026-12-31T16:20:00-05:00", "2027-01-02T06:00:00-05:00", "fed-window-3"},
		{"freeze", "2027-01-01T12:00:00-05:00", "2027-01-02T06:00:00-05:00", "freeze month-end lasts until Sat 2027-01-02 06:00 EST"},
		{"the end of a freeze is free", "2027-01-02T06:00:00-05:00", "", ""},
	} {
		reason, until, blocked := c.Blocked(at(t, x.at))
		if blocked != (x.until != "") || !strings.Contains(reason, x.reason) || (reason == "") != (x.reason == "") {
			t.Errorf("%s: blocked %v, reason %q", x.name, blocked, reason)
		}
		if x.until != "" && !until.Equal(at(t, x.until)) {
			t.Errorf("%s: until %s, want %s", x.name, until, x.until)
		}
	}
}

func TestGuardAcrossMidnightAndWeekend(t *testing.T) {
	c := must(t, api.CalendarSpec{Zone: "UTC", Weekend: []string{"Saturday", "sunday"},
		CutOffs: []api.CutOff{{Name: "early", At: "00:30", Guard: api.Duration{Duration: 2 * time.Hour}}}})
	if _, until, blocked := c.Blocked(at(t, "2026-11-22T23:00:00Z")); !blocked || !until.Equal(at(t, "2026-11-23T00:30:00Z")) {
		t.Errorf("Sunday evening lies in the guard of Monday 00:30: %v %v", blocked, until)
	}
	if _, _, blocked := c.Blocked(at(t, "2026-11-20T23:00:00Z")); blocked {
		t.Error("Friday evening does not: Saturday has no cut-off")
	}
}

func TestGuardsWithoutGapEnd(t *testing.T) {
	c := must(t, api.CalendarSpec{CutOffs: []api.CutOff{{Name: "always", At: "12:00", Guard: api.Duration{Duration: 24 * time.Hour}}}})
	reason, until, blocked := c.Blocked(at(t, "2026-11-22T23:00:00Z"))
	if !blocked || !until.IsZero() || !strings.Contains(reason, "without a gap") {
		t.Errorf("want a block without end that says so, got %q until %v", reason, until)
	}
}

func TestClockChanges(t *testing.T) {
	for _, x := range []struct{ name, zone, at, guardEnd, inside, outside string }{
		// New York skips 02:00-03:00 on 2026-03-08 and shows 01:00-02:00 twice on 2026-11-01.
		{"skipped: the moment of the change", "America/New_York", "02:30", "2026-03-08T07:00:00Z", "2026-03-08T06:45:00Z", "2026-03-08T07:00:00Z"},
		{"shown twice: the first", "America/New_York", "01:30", "2026-11-01T05:30:00Z", "2026-11-01T05:10:00Z", "2026-11-01T06:10:00Z"},
		{"the day of 23 hours", "America/New_York", "16:45", "2026-03-08T20:45:00Z", "2026-03-08T20:30:00Z", "2026-03-08T21:30:00Z"},
		// Berlin skips 02:00-03:00 on 2026-03-29 and shows 02:00-03:00 twice on 2026-10-25.
		{"Berlin skipped", "Europe/Berlin", "02:00", "2026-03-29T01:00:00Z", "2026-03-29T00:40:00Z", "2026-03-29T01:10:00Z"},
		{"Berlin twice", "Europe/Berlin", "02:15", "2026-10-25T00:15:00Z", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"},
		{"half an hour: Lord Howe skipped", "Australia/Lord_Howe", "02:10", "2026-10-03T15:30:00Z", "2026-10-03T15:20:00Z", "2026-10-03T15:30:00Z"},
		{"half an hour: Lord Howe twice", "Australia/Lord_Howe", "01:45", "2026-04-04T14:45:00Z", "2026-04-04T14:20:00Z", "2026-04-04T15:00:00Z"},
		// Santiago skips 00:00-01:00 on 2026-09-06: the day has no midnight.
		{"a day without midnight", "America/Santiago", "00:00", "2026-09-06T04:00:00Z", "2026-09-06T03:45:00Z", "2026-09-06T04:00:00Z"},
	} {
		c := must(t, api.CalendarSpec{Zone: x.zone, CutOffs: []api.CutOff{{Name: "x", At: x.at, Guard: api.Duration{Duration: 30 * time.Minute}}}})
		if reason, until, blocked := c.Blocked(at(t, x.inside)); !blocked || !until.Equal(at(t, x.guardEnd)) {
			t.Errorf("%s: at %s blocked %v until %s (%s), want until %s", x.name, x.inside, blocked, until.UTC(), reason, x.guardEnd)
		}
		if reason, until, blocked := c.Blocked(at(t, x.outside)); blocked {
			t.Errorf("%s: at %s blocked until %s (%s), want free", x.name, x.outside, until.UTC(), reason)
		}
	}
}

func TestBusinessDays(t *testing.T) {
	c := must(t, usBanking())
	for _, x := range []struct {
		at       string
		business bool
		next     string
	}{
		{"2026-11-20T12:00:00-05:00", true, "2026-11-23T00:00:00-05:00"},
		{"2026-11-21T04:00:00Z", true, "2026-11-23T00:00:00-05:00"}, // still Friday in New York
		{"2026-11-21T05:00:00Z", false, "2026-11-23T00:00:00-05:00"},
		{"2026-12-25T12:00:00-05:00", false, "2026-12-28T00:00:00-05:00"},
		{"2026-07-02T23:59:59-04:00", true, "2026-07-06T00:00:00-04:00"},
		{"2026-03-06T12:00:00-05:00", true, "2026-03-09T00:00:00-04:00"}, // clocks change on the Sunday between
	} {
		if got := c.BusinessDay(at(t, x.at)); got != x.business {
			t.Errorf("business day at %s: %v", x.at, got)
		}
		if got := c.NextBusinessDay(at(t, x.at)); !got.Equal(at(t, x.next)) {
			t.Errorf("next after %s: %s, want %s", x.at, got, x.next)
		}
	}
	name, next, ok := c.NextCutOff(at(t, "2026-11-20T16:45:00-05:00"))
	if !ok || name != "no-guard" || !next.Equal(at(t, "2026-11-23T10:30:00-05:00")) {
		t.Errorf("next cut-off %s %s %v", name, next, ok)
	}
}

func TestRefusals(t *testing.T) {
	for _, x := range []struct {
		want string
		spec api.CalendarSpec
	}{
		{"zone", api.CalendarSpec{Zone: "Mars/Olympus"}},
		{"zone", api.CalendarSpec{Zone: "Local"}},
		{"weekend", api.CalendarSpec{Weekend: []string{""}}},
		{"weekend", api.CalendarSpec{Weekend: []string{"s"}}},
		{"weekend", api.CalendarSpec{Weekend: []string{"satx"}}},
		{"seven days", api.CalendarSpec{Weekend: []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}}},
		{"holiday", api.CalendarSpec{Holidays: []string{"2026-02-30"}}},
		{"time of day", api.CalendarSpec{CutOffs: []api.CutOff{{Name: "x", At: "24:30"}}}},
		{"guard", api.CalendarSpec{CutOffs: []api.CutOff{{Name: "x", At: "12:00", Guard: api.Duration{Duration: 8 * 24 * time.Hour}}}}},
		{"from", api.CalendarSpec{Freezes: []api.Freeze{{Name: "x", From: "soon", To: "2026-01-01T00:00"}}}},
		{"to", api.CalendarSpec{Freezes: []api.Freeze{{Name: "x", From: "2026-01-01T00:00", To: "later"}}}},
		{"not after", api.CalendarSpec{Freezes: []api.Freeze{{Name: "x", From: "2026-01-01T00:00", To: "2026-01-01T00:00"}}}},
	} {
		_, err := New(x.spec)
		if err == nil || !strings.Contains(err.Error(), x.want) || api.CodeOf(err) != api.CodeInvalid {
			t.Errorf("%+v: error %v, want one about %s", x.spec, err, x.want)
		}
	}
}

// TestUntilIsFree checks over a year of quarter hours that the time given by Blocked is free, and that nothing before it is.
func TestUntilIsFree(t *testing.T) {
	c := must(t, usBanking())
	for now := at(t, "2026-01-01T00:00:00Z"); now.Year() < 2027; now = now.Add(15 * time.Minute) {
		_, until, blocked := c.Blocked(now)
		if !blocked {
			continue
		}
		if _, _, still := c.Blocked(until); still || !until.After(now) {
			t.Fatalf("at %s blocked until %s, which is blocked too", now, until)
		}
		if _, _, before := c.Blocked(until.Add(-time.Nanosecond)); !before {
			t.Fatalf("at %s blocked until %s, but it was free before", now, until)
		}
	}
}

func FuzzNew(f *testing.F) {
	f.Add("UTC", "sat", "2026-12-25", "jul 4", "16:45", "fri", "2026-12-31T18:00", "2027-01-02T06:00")
	f.Add("America/New_York", "x", "", "easter-2", "02:30", "last business day", "2026-03-08T02:30", "2026-03-08T03:30")
	f.Add("Africa/Casablanca", "sun", "2026-12-25", "4th thu nov", "23:59", "day", "2nd last business day mar dec 18:00", "1st day 06:00")
	f.Fuzz(func(t *testing.T, zone, weekend, holiday, yearly, cut, on, from, to string) {
		c, err := New(api.CalendarSpec{Zone: zone, Weekend: []string{weekend}, Holidays: []string{holiday}, Yearly: []api.Holiday{{Name: "z", On: yearly, Observed: "monday"}},
			CutOffs: []api.CutOff{{Name: "x", At: cut, Guard: api.Duration{Duration: time.Hour}, On: []string{on}, Reopens: cut}}, Freezes: []api.Freeze{{Name: "y", From: from, To: to}}})
		if err != nil {
			return
		}
		times := []time.Time{time.Unix(1773000000, 0), time.Unix(1772953200, 0), time.Unix(1767225600, 0)}
		for _, f := range c.freezes {
			times = append(times, f.from, f.to.Add(-1))
		}
		for _, now := range times {
			reason, until, blocked := c.Blocked(now)
			if blocked != (reason != "") || blocked && !until.IsZero() && !until.After(now) {
				t.Fatalf("blocked at %s until %s for %q", now, until, reason)
			}
		}
	})
}
