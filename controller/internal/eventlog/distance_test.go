package eventlog

import (
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func (d Distances) list() []float64 {
	return []float64{d.NGram, d.Absolute, d.Circadian, d.Relative, d.CycleTime, d.Arrival}
}

func readFile(t testing.TB, name string) *Log {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, report, err := Read(f, Options{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	checkLog(t, l, report)
	return l
}

// TestByHand compares two small logs whose distances a person can work out. 2024-01-01 is a Monday.
func TestByHand(t *testing.T) {
	got, err := Compare(readFile(t, "monday.csv"), readFile(t, "twodays.csv"))
	if err != nil {
		t.Fatal(err)
	}
	want := Distances{
		// Two cases AB against AC and AB: --A twice in both; -AB, AB-, B-- twice against once; -AC, AC-, C-- never against once: 6 of 16.
		NGram: 6.0 / 16,
		// Hours from Monday 9:00: 0 0 1 1 1 2 3 3 against 0 0 1 3 25 25 27 27: 2+24+23+24+24 over 8.
		Absolute: 97.0 / 8,
		// Monday 9 9 10 10 10 11 12 12 against 9 9 10 12: 1/4 at 9 and 1/8 at 10; Tuesday only in one of them: 23; over seven days.
		Circadian: (0.375 + 23) / 7,
		// Hours from each case's begin: 0 0 1 2 and 0 0 1 2 against 0 0 1 3 and 0 0 1 2.
		Relative: 1.0 / 8,
		// 2.5 h and 2.5 h against 3.5 h and 2.5 h.
		CycleTime: 1.0 / 2,
		// Hours 0 and 1 against 0 and 25.
		Arrival: 24.0 / 2,
	}
	for i, d := range got.list() {
		if math.Abs(d-want.list()[i]) > 1e-12 {
			t.Errorf("distance %d is %v, want %v", i, d, want.list()[i])
		}
	}
}

// TestCircadianWithoutCommonDays: Monday alone against Tuesday alone is as far apart as two weekdays make it.
func TestCircadianWithoutCommonDays(t *testing.T) {
	a := readFile(t, "monday.csv")
	got, err := Compare(a, shifted(a, dayMicros))
	if err != nil {
		t.Fatal(err)
	}
	if want := 2 * 23.0 / 7; math.Abs(got.Circadian-want) > 1e-12 {
		t.Errorf("circadian distance %v, want %v", got.Circadian, want)
	}
}

// made is a log that looks like work: made of a seed.
func made(seed uint64, cases int) *Log {
	chance := rand.New(rand.NewPCG(seed, 0))
	l := &Log{Activities: []string{"a", "b", "c", "d"}, Resources: []string{"r"}}
	at := int64(1_700_000_000_000_000)
	for range cases {
		at += chance.Int64N(3 * hourMicros)
		c := Case{ID: "c"}
		begin := at
		for range 1 + chance.IntN(6) {
			begin += chance.Int64N(5 * hourMicros)
			c.Events = append(c.Events, Event{int32(chance.IntN(4)), 0, begin, begin + chance.Int64N(2*hourMicros)})
		}
		l.Cases = append(l.Cases, c)
	}
	return l
}

func shifted(l *Log, by int64) *Log {
	to := &Log{Activities: l.Activities, Resources: l.Resources}
	for _, c := range l.Cases {
		to.Cases = append(to.Cases, moved(c, by))
	}
	return to
}

func TestProperties(t *testing.T) {
	for seed := range uint64(30) {
		a, b := made(seed, 40), made(seed+100, 25)
		self, err := Compare(a, a)
		if err != nil || self != (Distances{}) {
			t.Fatalf("seed %d: a log is %+v from itself: %v", seed, self, err)
		}
		ab, _ := Compare(a, b)
		ba, _ := Compare(b, a)
		for i, d := range ab.list() {
			if d <= 0 || math.Abs(d-ba.list()[i]) > 1e-9*d {
				t.Fatalf("seed %d: distance %d is %v one way and %v the other", seed, i, d, ba.list()[i])
			}
		}
		if ab.NGram > 1 || ab.Circadian > 23 {
			t.Fatalf("seed %d: beyond the maximum: %+v", seed, ab)
		}
		for _, hours := range []int64{1, 7, -30, 24 * 365} {
			later, _ := Compare(a, shifted(a, hours*hourMicros))
			if k := math.Abs(float64(hours)); math.Abs(later.Absolute-k) > 1e-9*k || math.Abs(later.Arrival-k) > 1e-9*k {
				t.Fatalf("seed %d: moved by %d hours, yet %+v", seed, hours, later)
			}
			if later.NGram != 0 || later.Relative != 0 || later.CycleTime != 0 {
				t.Fatalf("seed %d: a shift changed what does not depend on the date: %+v", seed, later)
			}
		}
	}
}

// TestMoverDistance holds the fast way against the slow one: give every observation of each sample as many parts as the other has, and move part by part.
func TestMoverDistance(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		x, y := sample(chance), sample(chance)
		var xs, ys []int64
		for range len(y) {
			xs = append(xs, x...)
		}
		for range len(x) {
			ys = append(ys, y...)
		}
		slices.Sort(xs)
		slices.Sort(ys)
		moves := int64(0)
		for i := range xs {
			moves += absInt(xs[i] - ys[i])
		}
		want := float64(moves) / float64(len(xs))
		if got := moverDistance(x, y); math.Abs(got-want) > 1e-9*math.Max(1, want) {
			t.Fatalf("%v and %v: %v, want %v", x, y, got, want)
		}
	}
}

func sample(chance *rand.Rand) []int64 {
	x := make([]int64, 1+chance.IntN(12))
	for i := range x {
		x[i] = chance.Int64N(20) - 5
	}
	return x
}

func TestEmpty(t *testing.T) {
	if _, err := Compare(&Log{}, made(1, 1)); !errors.Is(err, ErrEmpty) {
		t.Errorf("comparing nothing: %v", err)
	}
	if _, err := Floor(made(1, 1), &Log{}, 1, 1); !errors.Is(err, ErrEmpty) {
		t.Errorf("resampling for nothing: %v", err)
	}
	if _, err := Floor(made(1, 1), made(1, 1), 0, 1); err == nil {
		t.Error("no runs at all, and no error")
	}
}
