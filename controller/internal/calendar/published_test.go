package calendar

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/backstay/backstay/api"
)

// The holidays of the Federal Reserve Banks as published for 2024 to 2028 (federalreserve.gov, Holidays Observed; frbservices.org,
// Holiday Schedules), typed in date by date. A holiday on a Saturday leaves the Banks open on Friday, and so takes no business
// day; the table holds the days on which the Banks are closed.
var fedClosed = []string{
	"2024-01-01", "2024-01-15", "2024-02-19", "2024-05-27", "2024-06-19", "2024-07-04", "2024-09-02", "2024-10-14", "2024-11-11", "2024-11-28", "2024-12-25",
	"2025-01-01", "2025-01-20", "2025-02-17", "2025-05-26", "2025-06-19", "2025-07-04", "2025-09-01", "2025-10-13", "2025-11-11", "2025-11-27", "2025-12-25",
	// 4 July 2026 is a Saturday.
	"2026-01-01", "2026-01-19", "2026-02-16", "2026-05-25", "2026-06-19", "2026-09-07", "2026-10-12", "2026-11-11", "2026-11-26", "2026-12-25",
	// 19 June and 25 December 2027 are Saturdays; 4 July is a Sunday, observed on the 5th.
	"2027-01-01", "2027-01-18", "2027-02-15", "2027-05-31", "2027-07-05", "2027-09-06", "2027-10-11", "2027-11-11", "2027-11-25",
	// 1 January and 11 November 2028 are Saturdays.
	"2028-01-17", "2028-02-21", "2028-05-29", "2028-06-19", "2028-07-04", "2028-09-04", "2028-10-09", "2028-11-23", "2028-12-25",
}

// The closing days of T2 (formerly TARGET2) for 2024 to 2028, by the European Central Bank's long-term calendar, typed in date
// by date; those on weekends too.
var t2Closed = []string{
	"2024-01-01", "2024-03-29", "2024-04-01", "2024-05-01", "2024-12-25", "2024-12-26",
	"2025-01-01", "2025-04-18", "2025-04-21", "2025-05-01", "2025-12-25", "2025-12-26",
	"2026-01-01", "2026-04-03", "2026-04-06", "2026-05-01", "2026-12-25", "2026-12-26",
	"2027-01-01", "2027-03-26", "2027-03-29", "2027-05-01", "2027-12-25", "2027-12-26",
	"2028-01-01", "2028-04-14", "2028-04-17", "2028-05-01", "2028-12-25", "2028-12-26",
}

// TestPublishedDays holds every single day of five years against the published tables: open, unless weekend or in the table.
func TestPublishedDays(t *testing.T) {
	for _, x := range []struct {
		base   string
		zone   string
		closed []string
		fewest int // closed days that are no weekend
	}{
		{"us-fed", "America/New_York", fedClosed, 50},
		{"target2", "Europe/Berlin", t2Closed, 24},
	} {
		c := must(t, api.CalendarSpec{Base: x.base})
		if c.Zone().String() != x.zone {
			t.Errorf("%s has the zone %s", x.base, c.Zone())
		}
		days, taken := 0, 0
		for d := time.Date(2024, 1, 1, 12, 0, 0, 0, c.Zone()); d.Year() < 2029; d = d.AddDate(0, 0, 1) {
			days++
			weekend := d.Weekday() == time.Saturday || d.Weekday() == time.Sunday
			closed := slices.Contains(x.closed, d.Format(time.DateOnly))
			if closed && !weekend {
				taken++
			}
			if got, want := c.BusinessDay(d), !weekend && !closed; got != want {
				t.Errorf("%s: %s is a business day: %v, want %v", x.base, d.Format("Mon 2006-01-02"), got, want)
			}
		}
		if days != 1827 || taken < x.fewest {
			t.Errorf("%s: looked at %d days, %d of them closed on weekdays: the table is not what it was", x.base, days, taken)
		}
	}
}

func TestBasesAgreeWithSchema(t *testing.T) {
	for _, name := range Bases() {
		_, findings := api.Decode("x.yaml", []byte("apiVersion: backstay.dev/v1alpha1\nkind: Calendar\nmetadata: {name: x}\nspec: {base: "+name+"}\n"))
		if len(findings) > 0 {
			t.Errorf("the decoder refuses the shipped calendar %s: %v", name, findings)
		}
	}
	set, findings := api.Decode("x.yaml", []byte("apiVersion: backstay.dev/v1alpha1\nkind: Calendar\nmetadata: {name: x}\nspec: {base: nyse}\n"))
	if !findings.Failed() || len(set.Calendars) > 0 {
		t.Error("the decoder takes a shipped calendar that there is none of")
	}
}

// gaussEaster is a second way to Easter, by the anonymous Gregorian algorithm that Nature printed in 1876.
func gaussEaster(y int) (time.Month, int) {
	a, b, c := y%19, y/100, y%100
	d, e := b/4, b%4
	f := (b + 8) / 25
	g := (b - f + 1) / 3
	h := (19*a + b - d - g + 15) % 30
	i, k := c/4, c%4
	l := (32 + 2*e + 2*i - h - k) % 7
	m := (a + 11*h + 22*l) / 451
	n := h + l - 7*m + 114
	return time.Month(n / 31), n%31 + 1
}

func TestEasterByTwoWays(t *testing.T) {
	for year := 1900; year <= 2199; year++ {
		month, dom := gaussEaster(year)
		if got := easter(year); got != dateOf(year, month, dom) || got.weekday() != time.Sunday {
			t.Errorf("Easter %d is %s, want %d %s", year, got, dom, month)
		}
	}
	for _, x := range []string{"2008-03-23", "2011-04-24", "2024-03-31", "2025-04-20", "2026-04-05", "2027-03-28", "2028-04-16", "2038-04-25", "2049-04-18", "2076-04-19"} {
		want := at(t, x+"T00:00:00Z")
		if got := easter(want.Year()); got != dayOf(want) {
			t.Errorf("Easter %d is %s, want %s", want.Year(), got, x)
		}
	}
}

// TestDaysAgreeWithTime holds the arithmetic of days against package time.
func TestDaysAgreeWithTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := day(rapid.IntRange(-100_000, 100_000).Draw(t, "day"))
		year, month, dom := d.date()
		want := time.Date(1970, 1, 1+int(d), 0, 0, 0, 0, time.UTC)
		if y, m, n := want.Date(); year != y || month != m || dom != n || d.weekday() != want.Weekday() || dateOf(year, month, dom) != d {
			t.Fatalf("day %d is %s %d-%d-%d, want %s", d, d.weekday(), year, month, dom, want)
		}
	})
}
