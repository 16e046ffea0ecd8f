package engine

import (
	"bytes"
	"encoding/json"
	"flag"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

var (
	simSeeds = flag.Int("seeds", 300, "random schedules that TestSimulation tries")
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
	w.feed(Event{Pause: &api.Pause{Owner: "ada", Reason: "looking", Expires: until}})
	if len(w.s.Pauses()) > 0 && w.s.Pauses()[0].Expires.Equal(until) && !w.down {
		w.paused = until
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
	first, last := uint64(1), uint64(*simSeeds)
	if *simSeed != 0 {
		first, last = *simSeed, *simSeed
	}
	restarts, rems, late := 0, 0, 0
	endings, held := map[api.RemediationEnd]int{}, map[api.Guard]int{}
	for seed := first; seed <= last; seed++ {
		w := simulate(seed, false)
		journal := encode(t, w.journal)
		for _, b := range w.broken {
			t.Errorf("seed %d: %s", seed, b)
		}
		if w.doubles > 0 {
			t.Errorf("seed %d: I1: %d items were paid twice", seed, w.doubles)
		}
		if !bytes.Equal(journal, encode(t, simulate(seed, false).journal)) {
			t.Errorf("seed %d: the same schedule gave other entries the second time", seed)
		}
		w.replayed(t, seed)
		w.atRest(t, seed)
		restarts, rems = restarts+w.restarts, rems+w.remsOpened
		for _, e := range w.journal {
			endings[e.End]++
			if e.Refusal != nil {
				held[e.Refusal.Guard]++
			}
			if e.Kind == api.EntryLateResult {
				late++
			}
		}
		if t.Failed() {
			t.Fatalf("run again with: go test ./controller/internal/engine -run TestSimulation -seed %d", seed)
		}
	}
	t.Logf("%d schedules, %d crashes, %d remediations (%d verified, %d not verified, %d in doubt, %d blocked, %d cancelled, %d failed), %d late results, no item paid twice",
		last-first+1, restarts, rems, endings[api.EndVerified], endings[api.EndNotVerified], endings[api.EndInDoubt], endings[api.EndBlocked],
		endings[api.EndCancelled], endings[api.EndFailed], late)
	if *simSeed == 0 {
		for _, end := range ends[:len(ends)-1] { // but told: no playbook of the world only tells
			if endings[end] == 0 {
				t.Errorf("no schedule ended %s: the simulation does not reach all of the engine", end)
			}
		}
		for _, g := range []api.Guard{api.GuardPause, api.GuardApproval, api.GuardConfirm, api.GuardUnknown, api.GuardRuns, api.GuardCooldown, api.GuardItems,
			api.GuardCalendar, api.GuardFlight, api.GuardBreaker, api.GuardInDoubt, api.GuardAck, api.GuardDemoted, api.GuardTotals} {
			if held[g] == 0 {
				t.Errorf("no schedule was held back by the guard %s: the simulation does not reach all of the engine", g)
			}
		}
	}
}

// TestNaiveControlPaysTwice shows that the simulation bites: a program that takes an unknown outcome for a failure pays twice.
func TestNaiveControlPaysTwice(t *testing.T) {
	doubles := 0
	for seed := uint64(1); seed <= 10; seed++ {
		doubles += simulate(seed, true).doubles
	}
	if doubles == 0 {
		t.Fatal("the naive control paid nothing twice, so that TestSimulation proves nothing")
	}
	t.Logf("the naive control paid %d items twice in 10 schedules", doubles)
}

func encode(t *testing.T, entries []api.Entry) []byte {
	t.Helper()
	b, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	return b
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
