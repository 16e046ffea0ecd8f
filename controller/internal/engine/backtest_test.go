package engine_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/rig"
	"github.com/backstay/backstay/controller/internal/twin"
)

// TestBacktestOfSimulations replays the logs of random schedules, with crashes, lost and late answers and clocks that are set back,
// with the configuration that made them and the inputs that were recorded: each must come out entry for entry.
func TestBacktestOfSimulations(t *testing.T) {
	s := rig.Suite{Name: "backtest of random schedules and faults, unchanged", Runs: 100, Hold: "0 divergences, no cause inferred"}
	switch n, err := strconv.Atoi(os.Getenv("BACKSTAY_BACKTEST_SEEDS")); {
	case err == nil:
		s.Runs = n
	case rig.Soak():
		s.Runs = 10_000
	case testing.Short():
		s.Runs = 30
	}
	incidents, entries := 0, 0
	for seed := uint64(1); seed <= uint64(s.Runs); seed++ {
		got := replayed(t, seed, func(list []engine.Taped) []engine.Taped { return list })
		incidents, entries = incidents+len(got.Incidents), entries+got.Entries
		if got.Exact != got.Entries {
			t.Errorf("seed %d: the causes of %d of %d entries were inferred", seed, got.Entries-got.Exact, got.Entries)
		}
		if got.Diverged > 0 || len(got.Outside) > 0 || got.Matched+got.Repeats != got.Entries || got.Exact != got.Entries {
			explain(t, seed, got)
			s.Broken++
		}
	}
	diverged, tried := forged(t)
	if diverged < tried {
		t.Errorf("the control: only %d of %d forged logs diverge", diverged, tried)
	}
	t.Logf("%d incidents, %d entries", incidents, entries)
	s.Control = fmt.Sprintf("%d of %d forged logs diverge", diverged, tried)
	s.Report(t)
}

// TestBacktestInfers replays the same logs where less was recorded: what lacks is inferred, which misses seldom.
func TestBacktestInfers(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() {
		seeds = 10
	}
	for _, tt := range []struct {
		name string
		keep func([]engine.Taped) []engine.Taped
	}{
		{"nothing recorded", func([]engine.Taped) []engine.Taped { return nil }},
		{"the first half pruned", func(list []engine.Taped) []engine.Taped { return list[len(list)/2:] }},
		{"the last second before each start lost", beforeStarts},
		{"damaged", func(list []engine.Taped) []engine.Taped {
			for i := 0; i < len(list); i += 10 {
				list[i].Block = list[i].Block[:len(list[i].Block)-1]
			}
			return list
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			diverged, incidents, exact, entries := 0, 0, 0, 0
			for seed := uint64(1); seed <= seeds; seed++ {
				got := replayed(t, seed, tt.keep)
				diverged, incidents = diverged+got.Diverged, incidents+len(got.Incidents)
				exact, entries = exact+got.Exact, entries+got.Entries
				if (tt.name == "damaged") != (len(got.Notes) > 0) {
					t.Errorf("seed %d: the notes are %q", seed, got.Notes)
				}
			}
			t.Logf("%d of %d incidents diverge; %d of %d entries are exact", diverged, incidents, exact, entries)
			if (exact > 0) == (tt.name == "nothing recorded") || exact == entries || diverged*100 > incidents {
				t.Errorf("%d of %d incidents diverge, more than 1 %%, or the share that is exact is wrong: %d of %d entries", diverged, incidents, exact, entries)
			}
		})
	}
}

// beforeStarts leaves out the last blocks before each start, as a power loss may.
func beforeStarts(list []engine.Taped) (out []engine.Taped) {
	for i := range list {
		lost := false
		for k := i + 1; k < len(list) && k <= i+5; k++ {
			_ = engine.ReadTape(list[k].Block, func(in *engine.Input) bool {
				lost = lost || in.Event.Restarted
				return true
			})
		}
		if !lost {
			out = append(out, list[i])
		}
	}
	return out
}

// replayed backtests a random schedule with what keep leaves of the recorded inputs.
func replayed(t *testing.T, seed uint64, keep func([]engine.Taped) []engine.Taped) *twin.DecisionTest {
	t.Helper()
	log, cfg, inputs := engine.SimulatedLog(seed)
	got, err := twin.Backtest(twin.Past{Entries: log, Inputs: keep(inputs), Configs: func(string) *engine.Config { return cfg }})
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	return got
}

func explain(t *testing.T, seed uint64, got *twin.DecisionTest) {
	t.Helper()
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

// forged alters one decision in each of ten logs, which no engine makes: a replay that matches those too would prove nothing.
func forged(t *testing.T) (diverged, tried int) {
	t.Helper()
	for seed := uint64(1); seed <= 10; seed++ {
		for _, kind := range []api.EntryKind{api.EntryRefused, api.EntryRemediationEnded, api.EntryStepIntended} {
			log, cfg, inputs := engine.SimulatedLog(seed)
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
			if got, err := twin.Backtest(twin.Past{Entries: log, Inputs: inputs, Configs: func(string) *engine.Config { return cfg }}); err != nil {
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
