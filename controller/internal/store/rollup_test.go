package store

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// minuteOf makes one minute of n probes with noisy values, as latencies are: the worst case for compact storage.
func minuteOf(n int, minute time.Time) []Rollup {
	rnd := rand.New(rand.NewPCG(uint64(minute.Unix()), uint64(n)))
	rows := make([]Rollup, n)
	for i := range rows {
		base := float64(i%50+1) / 100 * (1 + rnd.Float64())
		rows[i] = Rollup{Probe: fmt.Sprintf("probe-%05d", i), Minute: minute, Runs: 6, Min: base, Max: base * (1.2 + rnd.Float64()), Sum: base * 6.7, Last: base * 1.1,
			TookSum: time.Duration(base * 6.7 * 1e9), TookMax: time.Duration(base * 2 * 1e9)}
		if rnd.IntN(100) == 0 {
			rows[i].Bad = 1
		}
	}
	return rows
}

func near(a, b float64) bool { return math.Abs(a-b) <= math.Abs(b)*1e-4 }

func sameRollup(t *testing.T, got, want Rollup) {
	t.Helper()
	if got.Probe != want.Probe || !got.Minute.Equal(want.Minute) || got.Runs != want.Runs || got.Bad != want.Bad || got.Unknown != want.Unknown ||
		!near(got.Min, want.Min) || !near(got.Max, want.Max) || !near(got.Sum, want.Sum) || !near(got.Last, want.Last) ||
		!near(float64(got.TookSum), float64(want.TookSum)) || !near(float64(got.TookMax), float64(want.TookMax)) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
}

func TestBlocks(t *testing.T) {
	whole := Rollup{Runs: 6, Min: 3, Max: 1 << 52, Sum: 1<<52 + 40, Last: -7}
	slots := []slot{
		{0, Rollup{}}, {1, whole}, {2, whole}, {9, Rollup{Runs: 1, Bad: 1, Min: 4711, Max: 4711, Sum: 4711, Last: 4711}},
		{10, Rollup{Runs: 3, Unknown: 2, Min: -0.5, Max: 1e30, Sum: 4.25, Last: 1e-12, TookSum: time.Second, TookMax: time.Millisecond}},
		{59, Rollup{Runs: math.MaxInt32, Min: 0.1, Max: 0.1, Sum: 0.1 * math.MaxInt32, Last: 0.1, TookMax: 1}},
	}
	got, err := decodeBlock(appendBlock(nil, slots))
	must(t, err)
	if len(got) != len(slots) {
		t.Fatalf("%d rows of %d", len(got), len(slots))
	}
	for i := range slots {
		if got[i].n != slots[i].n {
			t.Errorf("row %d is at %d", i, got[i].n)
		}
		sameRollup(t, got[i].r, slots[i].r)
	}
	if got[1].r != whole {
		t.Errorf("whole numbers are not exact: %+v", got[1].r)
	}
	odd, err := decodeBlock(appendBlock(nil, []slot{{0, Rollup{Runs: 1, Min: math.NaN(), Max: math.Inf(1), Sum: math.Inf(-1), Last: 1e300}}}))
	must(t, err)
	if r := odd[0].r; r.Min != 0 || r.Max < 3e38 || r.Sum > -3e38 || r.Last < 3e38 {
		t.Errorf("what is no number: %+v", r)
	}
}

// TestRollups goes through three days of a few probes: minutes while they are kept, hours afterwards.
func TestRollups(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir)
	const minutes = 3 * 24 * 60
	start := t0.Truncate(24 * time.Hour)
	for i := range minutes {
		must(t, s.SaveRollups(ctx, minuteOf(3, start.Add(time.Duration(i)*time.Minute))))
		if i == minutes/2 {
			must(t, s.Close())
			s = open(t, dir)
		}
	}
	end := start.Add(minutes * time.Minute)
	got, err := s.Rollups(ctx, "probe-00001", end.Add(-30*time.Hour), end)
	must(t, err)
	if len(got) != 30*60 {
		t.Fatalf("%d minutes of the last 30 hours", len(got))
	}
	for _, r := range got {
		sameRollup(t, r, minuteOf(3, r.Minute)[1])
	}
	got, err = s.Rollups(ctx, "probe-00001", start, start.Add(24*time.Hour))
	must(t, err)
	if len(got) < 23 || len(got) > 24+60 {
		t.Fatalf("%d rows of the first day, want its hours", len(got))
	}
	for i, r := range got[:23] {
		if !r.Minute.Equal(start.Add(time.Duration(i)*time.Hour)) || r.Runs != 360 {
			t.Fatalf("hour %d is %+v", i, r)
		}
	}
	var want Rollup
	for i := range 60 {
		r := minuteOf(3, start.Add(5*time.Hour+time.Duration(i)*time.Minute))[1]
		if want.Runs == 0 {
			want = r
			continue
		}
		want.Runs, want.Bad, want.Sum, want.TookSum, want.Last = want.Runs+r.Runs, want.Bad+r.Bad, want.Sum+r.Sum, want.TookSum+r.TookSum, r.Last
		want.Min, want.Max, want.TookMax = min(want.Min, r.Min), max(want.Max, r.Max), max(want.TookMax, r.TookMax)
	}
	if r := got[5]; r.Bad != want.Bad || math.Abs(r.Sum-want.Sum) > want.Sum*1e-4 || math.Abs(r.Max-want.Max) > want.Max*1e-4 || math.Abs(r.Min-want.Min) > want.Min*1e-4 {
		t.Errorf("hour 5 is %+v, want %+v", r, want)
	}
	if got, err := s.Rollups(ctx, "never-seen", start, end); len(got) != 0 || err != nil {
		t.Errorf("a probe never seen: %d, %v", len(got), err)
	}
	if got, err := s.Rollups(ctx, "probe-00001", end, start); len(got) != 0 || err != nil {
		t.Errorf("an empty span: %d, %v", len(got), err)
	}
	var oldest int64
	must(t, s.tele.db.QueryRow("SELECT min(k) >> 24 FROM minutes").Scan(&oldest))
	if age := end.Unix()/3600 - oldest; age > 49 {
		t.Errorf("minutes of %d hours ago are still there", age)
	}
}

func TestRollupsAgainAndLate(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir())
	for i := range 180 {
		must(t, s.SaveRollups(ctx, []Rollup{{Probe: "p", Minute: t0.Add(time.Duration(i) * time.Minute), Runs: 1}}))
	}
	again := []Rollup{{Probe: "p", Minute: t0.Add(179 * time.Minute), Runs: 2}, {Probe: "p", Minute: t0.Add(10 * time.Minute), Runs: 3}, {Probe: "p", Minute: t0.Add(-100 * time.Hour), Runs: 9}}
	must(t, s.SaveRollups(ctx, again))
	must(t, s.SaveRollups(ctx, []Rollup{{Probe: "p", Minute: t0.Add(180 * time.Minute), Runs: 1}}))
	got, err := s.Rollups(ctx, "p", t0, t0.Add(200*time.Minute))
	must(t, err)
	if len(got) != 181 || got[179].Runs != 2 || got[10].Runs != 3 || got[9].Runs != 1 {
		t.Errorf("%d minutes; %+v, %+v", len(got), got[10], got[len(got)-2])
	}
}

// TestRollupSize measures what a probe costs on disk, with noisy values, and holds the whole against 1 GB for 10,000 probes.
func TestRollupSize(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir)
	const probes, hours = 256, 26
	start := t0.Truncate(24 * time.Hour)
	for i := range hours * 60 {
		must(t, s.SaveRollups(ctx, minuteOf(probes, start.Add(time.Duration(i)*time.Minute))))
	}
	page := func(name string) float64 {
		var n float64
		must(t, s.tele.db.QueryRow("SELECT sum(pgsize) FROM dbstat WHERE name = ?", name).Scan(&n))
		return n
	}
	var blocks, days float64
	must(t, s.tele.db.QueryRow("SELECT count(*) FROM minutes").Scan(&blocks))
	must(t, s.tele.db.QueryRow("SELECT count(*) FROM hours").Scan(&days))
	if blocks < probes*24 || days != probes {
		t.Fatalf("%v blocks of hours and %v of days, want %d and %d", blocks, days, probes*24, probes)
	}
	perHour, perDay, recent := page("minutes")/blocks, page("hours")/days, page("recent")/probes
	total := 10_000 * (48*perHour + 90*perDay + recent)
	var payload float64
	must(t, s.tele.db.QueryRow("SELECT avg(length(block)) FROM minutes").Scan(&payload))
	t.Logf("a block of 60 noisy minutes is %.0f bytes", payload)
	t.Logf("%.0f bytes per probe and hour of minutes, %.0f per probe and day of hours, %.0f per probe not yet compacted: 10,000 probes take %.0f MB", perHour, perDay, recent, total/1e6)
	if total > 1e9 {
		t.Errorf("10,000 probes take %.0f MB, more than 1 GB", total/1e6)
	}
}

// TestManyProbes stores minutes of 50,000 probes.
func TestManyProbes(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir)
	for i := range 3 {
		start := time.Now()
		must(t, s.SaveRollups(ctx, minuteOf(50_000, t0.Add(time.Duration(i)*time.Minute))))
		t.Logf("a minute of 50,000 probes stored in %v", time.Since(start).Round(time.Millisecond))
	}
	got, err := s.Rollups(ctx, "probe-49999", t0, t0.Add(time.Hour))
	must(t, err)
	if len(got) != 3 {
		t.Errorf("%d minutes", len(got))
	}
}

// TestDamagedRollups: roll-ups are set aside, the journal goes on.
func TestDamagedRollups(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir)
	must(t, s.SaveRollups(ctx, minuteOf(3, t0)))
	must(t, s.Close())
	path := filepath.Join(dir, fileTelemetry)
	must(t, os.WriteFile(path, []byte("this is no database, whatever it says on the tin"), 0o600))
	s = open(t, dir)
	must(t, s.SaveRollups(ctx, minuteOf(3, t0)))
	if got, err := s.Rollups(ctx, "probe-00001", t0, t0.Add(time.Hour)); len(got) != 1 || err != nil {
		t.Errorf("after damage: %d rows, %v", len(got), err)
	}
	if _, err := os.Stat(path + ".damaged"); err != nil {
		t.Errorf("the damaged file was not kept: %v", err)
	}
}

func FuzzDecodeBlock(f *testing.F) {
	f.Add(appendBlock(nil, []slot{{0, Rollup{Runs: 6, Min: 1, Max: 2, Sum: 9, Last: 1}}, {7, Rollup{Runs: 1, Min: 0.5, Max: 0.5, Sum: 0.5, Last: 0.5, TookSum: 9, TookMax: 9}}}))
	f.Add([]byte{blockVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		slots, err := decodeBlock(b)
		if err != nil {
			return
		}
		again, err := decodeBlock(appendBlock(nil, slots))
		if err != nil || len(again) != len(slots) {
			t.Fatalf("%d rows written again as %d: %v", len(slots), len(again), err)
		}
	})
}
