package engine_test

import (
	"encoding/json"
	"os"
	"strconv"
	"testing"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/twin"
)

// TestBacktestOfSimulations replays the logs of random schedules, with crashes, lost and late answers and clocks that are set back,
// with the configuration that made them: each must come out entry for entry.
func TestBacktestOfSimulations(t *testing.T) {
	seeds := uint64(100)
	if testing.Short() {
		seeds = 30
	}
	if n, err := strconv.ParseUint(os.Getenv("BACKSTAY_BACKTEST_SEEDS"), 10, 32); err == nil {
		seeds = n
	}
	incidents, entries := 0, 0
	for seed := uint64(1); seed <= seeds; seed++ {
		log, cfg := engine.SimulatedLog(seed)
		got, err := twin.Backtest(twin.Past{Entries: log, Configs: func(string) *engine.Config { return cfg }})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		incidents, entries = incidents+len(got.Incidents), entries+got.Entries
		if got.Diverged > 0 || len(got.Outside) > 0 || got.Matched+got.Repeats != got.Entries {
			for _, inc := range got.Incidents {
				if !inc.Same {
					a, _ := json.Marshal(inc.First.Recorded)
					b, _ := json.Marshal(inc.First.Replayed)
					t.Logf("%s\n\trecorded %s\n\treplayed %s", inc.ID, a, b)
				}
			}
			for _, s := range got.Outside {
				t.Logf("outside: %+v", s)
			}
			t.Errorf("seed %d: %d of %d incidents diverge, %d of %d entries match", seed, got.Diverged, len(got.Incidents), got.Matched, got.Entries)
		}
	}
	if diverged, tried := forged(t); diverged < tried {
		t.Errorf("the control: only %d of %d forged logs diverge", diverged, tried)
	}
	t.Logf("%d schedules, %d incidents, %d entries", seeds, incidents, entries)
}

// forged alters one decision in each of ten logs, which no engine makes: a replay that matches those too would prove nothing.
func forged(t *testing.T) (diverged, tried int) {
	t.Helper()
	for seed := uint64(1); seed <= 10; seed++ {
		for _, kind := range []api.EntryKind{api.EntryRefused, api.EntryRemediationEnded, api.EntryStepIntended} {
			log, cfg := engine.SimulatedLog(seed)
			for i := len(log) / 2; i < len(log); i++ {
				e := &log[i]
				if e.Kind != kind {
					continue
				}
				switch kind {
				case api.EntryRefused:
					e.Refusal.Guard = api.GuardMode
				case api.EntryRemediationEnded:
					e.End = api.EndTold
				case api.EntryStepIntended:
					e.Attempt += 7
				}
				break
			}
			tried++
			if got, err := twin.Backtest(twin.Past{Entries: log, Configs: func(string) *engine.Config { return cfg }}); err != nil {
				t.Fatalf("seed %d, forged %s: %v", seed, kind, err)
			} else if got.Diverged > 0 {
				diverged++
			} else {
				t.Logf("seed %d: a forged %s goes unseen", seed, kind)
			}
		}
	}
	return diverged, tried
}
