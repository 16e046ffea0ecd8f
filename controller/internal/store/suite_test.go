package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/backstay/backstay/controller/internal/rig"
)

// suite counts the runs of one of the long suites and what was broken in them. They are short within go test (a quarter of that with
// -short), and long where BACKSTAY_SOAK is set; BACKSTAY_SEED repeats one.
type suite struct {
	t    *testing.T
	name string
	hold string // what must hold
	runs int    // how many
	seed uint64

	mu     sync.Mutex
	broken int
}

func newSuite(t *testing.T, name, hold string, short, long int) *suite {
	t.Helper()
	s := &suite{t: t, name: name, hold: hold, runs: short, seed: rand.Uint64()}
	switch {
	case os.Getenv("BACKSTAY_SOAK") != "":
		s.runs = long
	case testing.Short():
		s.runs = short / 4
	}
	if text := os.Getenv("BACKSTAY_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		must(t, err)
		s.seed = seed
	}
	t.Logf("seed %d", s.seed)
	return s
}

// rnd gives the chance of one run: the same for the same seed.
func (s *suite) rnd(run int) *rand.Rand { return rand.New(rand.NewPCG(s.seed, uint64(run))) }

// fail counts a broken run and says what broke.
func (s *suite) fail(run int, format string, args ...any) {
	s.t.Helper()
	s.mu.Lock()
	s.broken++
	few := s.broken <= 10
	s.mu.Unlock()
	if few {
		s.t.Errorf("run %d of seed %d: %s", run, s.seed, fmt.Sprintf(format, args...))
	}
}

// report prints the details, which end with what became of the control, and the line of the table.
func (s *suite) report(details string, args ...any) {
	s.t.Helper()
	text := fmt.Sprintf(details, args...)
	_, control, found := strings.Cut(text, "control: ")
	if !found {
		s.t.Errorf("the suite %s says nothing of its control", s.name)
	}
	s.t.Log(text)
	rig.Suite{Name: s.name, Runs: s.runs, Hold: s.hold, Broken: s.broken, Control: control}.Report(s.t)
	if s.broken > 0 {
		s.t.Fail()
	}
}

// eachRun runs them beside each other: half of the time they wait for disks.
func (s *suite) eachRun(run func(run int, rnd *rand.Rand)) {
	const workers = 4
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for n := w; n < s.runs; n += workers {
				run(n, s.rnd(n))
			}
		})
	}
	wg.Wait()
}

// quickDir is a temporary folder in memory where there is one: these suites check what is in files, not how long they last.
func quickDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "backstay-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}
