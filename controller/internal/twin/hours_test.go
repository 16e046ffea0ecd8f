package twin

import (
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// at reads a time on a wall.
func at(t *testing.T, zone, text string) time.Time {
	t.Helper()
	z, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	when, err := time.ParseInLocation("2006-01-02 15:04", text, z)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

var office = []api.WeekSpan{{On: []string{"mon", "tue", "wed", "thu", "fri"}, From: "09:00", To: "12:00"}, {On: []string{"mon", "tue", "wed", "thu", "fri"}, From: "13:00", To: "17:00"}}

func TestHoursAcrossClockChanges(t *testing.T) {
	const zone = "America/New_York" // the clock goes forward on 8 March 2026, a Sunday, and back on 1 November
	for _, start := range []string{"2026-03-05 08:00", "2026-10-29 08:00"} {
		from := at(t, zone, start)
		h, err := makeHours(&api.ModelHours{Zone: zone, Days: office}, nil, from, int64(7*24*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		for d := range 7 * 24 * 60 {
			now := from.Add(time.Duration(d) * time.Minute)
			local := now.In(from.Location())
			want := local.Weekday() >= time.Monday && local.Weekday() <= time.Friday && (local.Hour() >= 9 && local.Hour() < 12 || local.Hour() >= 13 && local.Hour() < 17)
			open, change := h.open(int64(now.Sub(from)))
			if open != want {
				t.Fatalf("at %s they are there: %v", local, open)
			}
			if change <= int64(now.Sub(from)) {
				t.Fatalf("at %s the next change is at %s", local, from.Add(time.Duration(change)))
			}
		}
	}
}

func TestHoursThatTheClockSkips(t *testing.T) {
	from := at(t, "America/New_York", "2026-03-07 12:00")
	h, err := makeHours(&api.ModelHours{Zone: "America/New_York", Days: []api.WeekSpan{{On: []string{"sun"}, From: "02:30", To: "03:00"}}}, nil, from, int64(9*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range h.spans {
		if s[0] >= s[1] {
			t.Errorf("a span ends before it begins: %s", from.Add(time.Duration(s[0])))
		}
	}
	if len(h.spans) != 1 {
		t.Errorf("%d Sundays have a half past two, want the second one alone", len(h.spans))
	}
}

func TestHoursKeepBusinessDays(t *testing.T) {
	cal := api.Calendar{Metadata: meta("bank"), Spec: api.CalendarSpec{Zone: "Europe/Berlin", Weekend: []string{"sat", "sun"}, Holidays: []string{"2026-01-06"}}}
	from := at(t, "Europe/Berlin", "2026-01-05 00:00") // a Monday
	h, err := makeHours(&api.ModelHours{Calendar: "bank", Days: []api.WeekSpan{{On: weekdays[:], From: "09:00", To: "10:00"}}}, []api.Calendar{cal}, from, int64(7*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	var days []int
	for _, s := range h.spans {
		days = append(days, from.Add(time.Duration(s[0])).Day())
	}
	if want := []int{5, 7, 8, 9, 12}; len(days) < 4 || days[0] != want[0] || days[1] != want[1] || days[2] != want[2] || days[3] != want[3] {
		t.Errorf("they come on the days %v of January, want %v", days, want)
	}
	if _, err := makeHours(&api.ModelHours{Calendar: "none"}, nil, from, 1); err == nil {
		t.Error("a calendar that there is not was taken")
	}
}

func TestArrivalsByHourAcrossClockChanges(t *testing.T) {
	const zone = "Europe/Berlin" // the clock goes forward on 29 March 2026
	from := at(t, zone, "2026-03-27 00:00")
	week := make([]float64, 168)
	for d := range 7 {
		week[d*24+10] = 100 // always from ten to eleven
	}
	rates := byHour(week, from.Location(), from.UTC(), int64(7*24*time.Hour))
	a := arrivals{rates: rates}
	for m := range 7 * 24 * 60 {
		now := from.Add(time.Duration(m) * time.Minute)
		got, until := a.rate(int64(now.Sub(from)))
		if (got == 100) != (now.Hour() == 10) {
			t.Fatalf("at %s there are %g an hour", now, got)
		}
		if until <= int64(now.Sub(from)) {
			t.Fatalf("at %s it changes in the past", now)
		}
	}
}
