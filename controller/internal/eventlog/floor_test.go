package eventlog

import (
	"strings"
	"testing"
)

// everyWeek is work that is the same each week: cases on Monday and on Thursday, each of one hour.
func everyWeek(weeks int, from int64) *Log {
	l := &Log{Activities: []string{"a"}, Resources: []string{"r"}}
	for week := range int64(weeks) {
		for _, day := range []int64{0, 3} {
			at := from + week*weekMicros + day*dayMicros + 9*hourMicros
			l.Cases = append(l.Cases, Case{"c", []Event{{0, 0, at, at + hourMicros}}})
		}
	}
	return l
}

const monday = 1_704_067_200_000_000 // 2024-01-01 00:00 UTC

// TestFloorOfRhythm: where every week is like every other, the past laid over the period anew is what happened.
func TestFloorOfRhythm(t *testing.T) {
	past := everyWeek(10, monday)
	for _, gap := range []int64{10, 11, 60, -30} {
		got, err := Floor(past, everyWeek(4, monday+gap*weekMicros), 5, 1)
		if err != nil {
			t.Fatal(err)
		}
		if got != (Distances{}) {
			t.Errorf("%d weeks later: %+v", gap, got)
		}
	}
	// From Thursday on: the weeks are cut at Thursday.
	period := everyWeek(4, monday+20*weekMicros)
	period.Cases = period.Cases[1:]
	got, err := Floor(past, period, 5, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got != (Distances{}) {
		t.Errorf("from Thursday on: %+v", got)
	}
}

// TestFloorOfShortPast: a past of less than a week is drawn by days, one of less than a day as a whole; it lands in the period all the same.
func TestFloorOfShortPast(t *testing.T) {
	for _, apart := range []int64{26 * hourMicros, 20 * 60_000_000} {
		past := &Log{Activities: []string{"a"}}
		for i := range int64(5) {
			at := monday + i*apart
			past.Cases = append(past.Cases, Case{"c", []Event{{0, None, at, at}}})
		}
		got, err := Floor(past, shifted(past, 52*weekMicros), 9, 1)
		if err != nil {
			t.Fatal(err)
		}
		if got.Absolute > 48 || got.NGram != 0 || got.CycleTime != 0 {
			t.Errorf("cases %d µs apart: %+v", apart, got)
		}
	}
}

func TestFloorIsReproducible(t *testing.T) {
	a, b := made(1, 400), made(2, 60)
	one, err := Floor(a, b, 7, 42)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := Floor(a, b, 7, 42); again != one {
		t.Errorf("the same seed gave %+v and %+v", one, again)
	}
	if other, _ := Floor(a, b, 7, 43); other == one {
		t.Errorf("another seed gave the same: %+v", one)
	}
}

func TestFloorOfWildTimes(t *testing.T) {
	past := everyWeek(1, monday)
	past.Cases = append(past.Cases, moved(past.Cases[0], 7000*365*dayMicros))
	if _, err := Floor(past, made(1, 5000), 1, 1); err == nil || !strings.Contains(err.Error(), "too sparse") {
		t.Errorf("three cases over 7000 years: %v", err)
	}
}
