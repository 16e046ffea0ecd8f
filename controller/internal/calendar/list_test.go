package calendar

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/backstay/backstay/api"
)

func TestList(t *testing.T) {
	c := must(t, api.CalendarSpec{Base: "us-fed", Workdays: []string{"2026-11-28"},
		CutOffs: []api.CutOff{{Name: "late", At: "16:45", Guard: api.Duration{Duration: 30 * time.Minute}, Reopens: "08:30", On: []string{"fri", "mon"}}, {Name: "bare", At: "10:00", On: []string{"last business day"}}},
		Freezes: []api.Freeze{{Name: "move", From: "2026-11-20T18:00", To: "2026-11-26T06:00"}, {Name: "month-end", From: "last business day 18:00", To: "1st business day 06:00"}, {Name: "other", From: "2026-12-01T00:00", To: "2026-12-02T00:00"}}})
	want := []string{
		"freeze move 11-20 18:00 - 11-26 06:00",
		"holiday thanksgiving 11-26 00:00 - 11-27 00:00",
		"cut-off late 11-27 16:15 11-27 16:45 11-28 08:30",
		"workday workday 11-28 00:00 - 11-29 00:00",
		"cut-off bare 11-30 10:00 11-30 10:00 11-30 10:00",
		"cut-off late 11-30 16:15 11-30 16:45 12-01 08:30",
		"freeze month-end 11-30 18:00 - 12-01 06:00",
	}
	var got []string
	for _, e := range c.List(time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC), time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)) {
		at := "-"
		if !e.At.IsZero() {
			at = e.At.Format("01-02 15:04")
		}
		got = append(got, fmt.Sprintf("%s %s %s %s %s", e.Kind, e.Name, e.From.Format("01-02 15:04"), at, e.Until.Format("01-02 15:04")))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

// TestListAgreesWithBlocked holds what people are shown against what decides: an action waits exactly inside the listed spans.
func TestListAgreesWithBlocked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, err := New(api.CalendarSpec{Base: "us-fed", Zone: rapid.SampledFrom(zones).Draw(t, "zone"),
			CutOffs: []api.CutOff{{Name: "a", At: "02:30", Guard: api.Duration{Duration: time.Hour}, Reopens: rapid.SampledFrom([]string{"", "03:00", "01:00"}).Draw(t, "reopens")}},
			Freezes: []api.Freeze{{Name: "b", From: "last business day 18:00", To: "1st business day 06:00"}, {Name: "c", From: "dec 20 00:00", To: "jan 3 00:00"}}})
		if err != nil {
			t.Fatal(err)
		}
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.IntRange(0, 2*366*24*60).Draw(t, "minute")) * time.Minute)
		inside := false
		for _, e := range c.List(now.AddDate(0, 0, -6), now.AddDate(0, 0, 2)) { // windows open after five days at the latest
			inside = inside || (e.Kind == "cut-off" || e.Kind == "freeze") && !now.Before(e.From) && now.Before(e.Until)
		}
		if reason, _, blocked := c.Blocked(now); blocked != inside {
			t.Fatalf("at %s blocked %v (%s), but the list says %v", now.In(c.zone), blocked, reason, inside)
		}
	})
}
