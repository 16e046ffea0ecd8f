package engine

import (
	"bytes"
	"flag"
	"fmt"
	"runtime/debug"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/rig"
)

var (
	simSeeds = flag.Int("seeds", 0, "random schedules that TestSimulation tries; 2,000 when left out, 200 with -short, 200,000 with BACKSTAY_SOAK")
	simSeed  = flag.Uint64("seed", 0, "try this one schedule only")
)

// simulate runs one schedule: three quarters of an hour of faults, then calm, then everything must come to rest.
func simulate(seed uint64, naive bool) *world {
	w := newWorld(seed, naive)
	w.feed(Event{Restarted: true})
	w.feed(Event{Config: w.cfg})
	for _, p := range w.cfg.Probes {
		w.report(p.Metadata.Name)
	}
	for k := range kinds {
		w.after(w.between(0, 10*time.Minute), func() { w.fall(k) })
	}
	for range 4 {
		w.after(w.between(0, 40*time.Minute), w.pauseAll)
		w.after(w.between(0, 40*time.Minute), w.blindness)
	}
	w.sight()
	w.run(t0.Add(45 * time.Minute))
	w.calm = true
	w.run(t0.Add(3 * time.Hour))
	for k := range kinds { // people mend what automation left
		if w.ill[k] {
			w.ill[k] = false
			for _, p := range w.eyes(k) {
				w.report(p)
			}
		}
	}
	w.run(t0.Add(8 * time.Hour))
	return w
}

func (w *world) pauseAll() {
	if w.down || w.calm {
		return
	}
	until := w.s.now.Add(w.between(time.Second, 5*time.Minute))
	before := len(w.journal)
	w.feed(Event{Pause: &api.Pause{Owner: "ada", Reason: "looking", Expires: until}})
	for _, e := range w.journal[before:] {
		if e.Kind == api.EntryPaused { // durable, though the process may have died after that
			w.paused = until
		}
	}
}

func (w *world) blindness() {
	p := w.cfg.Probes[w.rng.IntN(len(w.cfg.Probes))].Metadata.Name
	w.verdicts[p] = api.Unknown
	w.feed(Event{Verdict: &Verdict{p, api.Unknown}})
	w.after(w.between(time.Second, 5*time.Minute), func() { w.verdicts[p] = ""; w.report(p) })
}

// TestSimulation tries random schedules of faults, crashes, lost and late answers, and holds each against the ledger. Every
// schedule runs twice and must give the same bytes; the journal replayed must give the live state.
func TestSimulation(t *testing.T) {
	s := rig.Suite{Name: "core under random schedules and faults, each seed twice", Runs: 2000, Hold: "0 broken invariants (I1-I8), 0 divergences"}
	switch {
	case *simSeed != 0:
		s.Runs = 1
	case *simSeeds != 0:
		s.Runs = *simSeeds
	case rig.Soak():
		s.Runs = 200_000
	case testing.Short():
		s.Runs = 200
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // a fifth less time; each schedule's world is garbage soon
	const halves = 2                                  // one for each core
	sums := make([]simSum, halves)
	t.Run("seeds", func(t *testing.T) {
		for half := range halves {
			t.Run(fmt.Sprint(half), func(t *testing.T) {
				t.Parallel()
				for seed := uint64(1 + half); seed <= uint64(s.Runs); seed += halves {
					sums[half].try(t, max(seed, *simSeed))
				}
			})
		}
	})
	sum := sums[0]
	sum.add(&sums[1])
	doubles := naiveDoubles()
	s.Broken, s.Control = sum.broken, fmt.Sprintf("the naive core paid %d items twice in 10 seeds", doubles)
	if doubles == 0 {
		t.Error("the naive control, which takes an unknown outcome for a failure, paid nothing twice: this suite proves nothing")
	}
	s.Report(t)
	sum.report(t)
	if *simSeed == 0 && s.Runs >= 100 {
		sum.reached(t)
	}
}

// simSum is what became of many schedules.
type simSum struct {
	schedules, broken, diverged, entries, restarts, rems, late int

	endings map[api.RemediationEnd]int
	held    map[api.Guard]int
}

// try runs one schedule twice, and judges it.
func (sum *simSum) try(t *testing.T, seed uint64) {
	t.Helper()
	if sum.endings == nil {
		sum.endings, sum.held = map[api.RemediationEnd]int{}, map[api.Guard]int{}
	}
	w := simulate(seed, false)
	for _, b := range w.broken {
		t.Errorf("seed %d: %s", seed, b)
	}
	if w.doubles > 0 {
		t.Errorf("seed %d: I1: %d items were paid twice", seed, w.doubles)
	}
	if !bytes.Equal(w.raw, simulate(seed, false).raw) {
		sum.diverged++
		t.Errorf("seed %d: the same schedule gave other entries the second time", seed)
	}
	w.replayed(t, seed)
	w.atRest(t, seed)
	sum.schedules, sum.entries, sum.restarts, sum.rems = sum.schedules+1, sum.entries+len(w.journal), sum.restarts+w.restarts, sum.rems+w.remsOpened
	for _, e := range w.journal {
		sum.endings[e.End]++
		if e.Refusal != nil {
			sum.held[e.Refusal.Guard]++
		}
		if e.Kind == api.EntryLateResult {
			sum.late++
		}
	}
	if t.Failed() {
		sum.broken++
		t.Fatalf("run again with: go test ./controller/internal/engine -run TestSimulation -seed %d", seed)
	}
}

func (sum *simSum) add(o *simSum) {
	sum.schedules, sum.broken, sum.diverged, sum.entries = sum.schedules+o.schedules, sum.broken+o.broken, sum.diverged+o.diverged, sum.entries+o.entries
	sum.restarts, sum.rems, sum.late = sum.restarts+o.restarts, sum.rems+o.rems, sum.late+o.late
	for end, n := range o.endings { // order does not matter: they are added up
		sum.endings[end] += n
	}
	for guard, n := range o.held { // order does not matter: they are added up
		sum.held[guard] += n
	}
}

func (sum *simSum) report(t *testing.T) {
	t.Helper()
	t.Logf("%d schedules, %d diverged, %d entries judged, %d crashes, %d remediations (%d verified, %d not verified, %d in doubt, %d blocked, %d cancelled, %d failed), %d late results",
		sum.schedules, sum.diverged, sum.entries, sum.restarts, sum.rems, sum.endings[api.EndVerified], sum.endings[api.EndNotVerified], sum.endings[api.EndInDoubt],
		sum.endings[api.EndBlocked], sum.endings[api.EndCancelled], sum.endings[api.EndFailed], sum.late)
}

// reached checks that the schedules came to all of the engine.
func (sum *simSum) reached(t *testing.T) {
	t.Helper()
	for _, end := range ends[:len(ends)-1] { // but told: no playbook of the world only tells
		if sum.endings[end] == 0 {
			t.Errorf("no schedule ended %s: the simulation does not reach all of the engine", end)
		}
	}
	for _, g := range []api.Guard{api.GuardPause, api.GuardApproval, api.GuardConfirm, api.GuardUnknown, api.GuardRuns, api.GuardCooldown, api.GuardItems,
		api.GuardCalendar, api.GuardFlight, api.GuardBreaker, api.GuardInDoubt, api.GuardAck, api.GuardDemoted, api.GuardTotals} {
		if sum.held[g] == 0 {
			t.Errorf("no schedule was held back by the guard %s: the simulation does not reach all of the engine", g)
		}
	}
}

// naiveDoubles shows whether the simulation bites: a program that takes an unknown outcome for a failure pays twice.
func naiveDoubles() int {
	doubles := 0
	for seed := uint64(1); seed <= 10; seed++ {
		doubles += simulate(seed, true).doubles
	}
	return doubles
}

func (w *world) replayed(t *testing.T, seed uint64) {
	t.Helper()
	s := New()
	for _, e := range w.journal {
		if err := s.Apply(e); err != nil {
			t.Errorf("seed %d: %v", seed, err)
			return
		}
	}
	got, err := s.Snapshot()
	want, err2 := w.s.Snapshot()
	if err != nil || err2 != nil || !bytes.Equal(got, want) {
		t.Errorf("seed %d: the journal replayed gives another state (%v, %v):\n%s\n%s", seed, err, err2, got, want)
	}
}

// atRest checks that nothing was forgotten: every remediation ended, every incident closed, every doubt settled.
func (w *world) atRest(t *testing.T, seed uint64) {
	t.Helper()
	for _, r := range w.s.d.Remediations {
		if r.End == "" {
			t.Errorf("seed %d: I8: remediation %s (%s) never ended; it is %s", seed, r.ID, r.Plan.Name, r.phase())
		}
	}
	for _, inc := range w.s.d.Incidents {
		if inc.Closed.IsZero() {
			t.Errorf("seed %d: incident %s never closed: %+v", seed, inc.ID, inc.Anomalies)
		}
	}
	if len(w.s.d.Doubts) > 0 {
		t.Errorf("seed %d: doubts left: %+v", seed, w.s.d.Doubts)
	}
}
