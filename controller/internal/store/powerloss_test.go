package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const (
	diskEnv = "BACKSTAY_TEST_DISK" // the working process: the folder of its disk
	modeEnv = "BACKSTAY_TEST_MODE" // what it does there: full, normal, faults
)

// cutsPerTrace is how many power losses are made up from one working process's writes.
const cutsPerTrace = 10

// TestPowerLoss lets a process work on a disk that forgets. The power fails at random moments, and chance decides about every write
// that was not synced by then: kept, dropped, or torn by sectors. Whatever was acknowledged before that moment must be there, and
// the log verifies and goes on.
//
// Control: with synchronous=NORMAL acknowledged entries must be lost.
func TestPowerLoss(t *testing.T) {
	needFUSE(t)
	s := newSuite(t, "power loss", "0 acknowledged entries lost, the log verifies", 80, 2_000)
	var acknowledged, lost atomic.Int64
	record := func(mode string, run int) []diskChange {
		trace, err := recordTrace(t.TempDir(), func(*disk) {}, modeEnv+"="+mode, "BACKSTAY_SEED="+strconv.FormatUint(s.rnd(run).Uint64(), 10))
		must(t, err)
		return trace
	}
	for first := 0; first < s.runs; first += cutsPerTrace {
		trace := record("full", first)
		cutRuns(s, trace, first, min(first+cutsPerTrace, s.runs), func(run int, dir string, a *promises) {
			acknowledged.Add(int64(len(a.entries) + len(a.rows)))
			if err := a.check(dir); err != nil {
				s.fail(run, "%v", err)
			}
		})
	}
	trace := record("normal", -1)
	const control = 40
	cutRuns(s, trace, s.runs, s.runs+control, func(_ int, dir string, a *promises) {
		if a.check(dir) != nil {
			lost.Add(1)
		}
	})
	if lost.Load() == 0 {
		t.Errorf("CONTROL: with synchronous=NORMAL none of %d power losses cost an acknowledged entry", control)
	}
	s.report("%d promises kept; control: synchronous=NORMAL broke its word in %d of %d power losses", acknowledged.Load(), lost.Load(), control)
}

// recordTrace lets a process work on a new disk until it has done enough, and gives all that it wrote. setUp may prepare the disk, under its lock.
func recordTrace(dir string, setUp func(d *disk), env ...string) (trace []diskChange, err error) {
	d, unmount, err := mountDisk(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	d.mu.Lock()
	setUp(d)
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), append(env, diskEnv+"="+dir)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("the process on the disk: %w\n%s", err, out)
	}
	return d.take(), nil
}

// cutRuns cuts the power at a random moment for each run.
func cutRuns(s *suite, trace []diskChange, from, to int, check func(run int, dir string, a *promises)) {
	each := suite{t: s.t, runs: to - from, seed: s.seed}
	base := quickDir(s.t)
	each.eachRun(func(n int, _ *rand.Rand) {
		run := from + n
		rnd := s.rnd(run)
		w, a := newWreck(rnd), newPromises()
		cut := rnd.IntN(len(trace) + 1)
		for _, c := range trace[:cut] {
			w.play(c)
			a.hear(c.note)
		}
		w.fail()
		dir := filepath.Join(base, strconv.Itoa(run))
		must(s.t, os.Mkdir(dir, 0o700))
		defer os.RemoveAll(dir)
		must(s.t, w.materialise(1, dir))
		check(run, dir, a)
	})
}

// promises are what a working process was told is durable.
type promises struct {
	entries map[int64]string // by number: what the batch of three says
	rows    map[string]bool
	wrong   string
}

func newPromises() *promises { return &promises{entries: map[int64]string{}, rows: map[string]bool{}} }

func (a *promises) hear(note string) {
	switch f := strings.Fields(note); {
	case len(f) == 0:
	case f[0] == "entry":
		seq, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			a.wrong = note
		}
		a.entries[seq] = f[2]
	case f[0] == "ledger":
		a.rows[f[1]] = true
	case f[0] == "error":
		a.wrong = note
	}
}

// check opens what the power loss left.
func (a *promises) check(dir string) error {
	if a.wrong != "" {
		return fmt.Errorf("the working process: %s", a.wrong)
	}
	ctx := context.Background()
	s, err := Open(ctx, Options{Dir: dir, Origin: "backstay.test/log"})
	if err != nil {
		return fmt.Errorf("start again: %w", err)
	}
	defer s.Close()
	if r := s.RolledBack(); r != nil {
		return fmt.Errorf("start again: %s", r.Text)
	}
	found, err := s.Entries(ctx, Query{Limit: 1 << 30})
	if err != nil {
		return err
	}
	for seq, key := range a.entries {
		for at := seq; at < seq+3; at++ {
			if at >= int64(len(found)) || found[at].Seq != at || found[at].Text != key {
				return fmt.Errorf("acknowledged entry %d (%s) is lost: the log has %d", at, key, len(found))
			}
		}
	}
	for key := range a.rows {
		if row, err := s.Ledger().Get(ctx, "disk", key); err != nil || row.State != "done" {
			return fmt.Errorf("acknowledged ledger row %s is lost: %+v, %w", key, row, err)
		}
	}
	if _, err := s.Append(ctx, Batch{Entries: samples(0, 1)}); err != nil {
		return fmt.Errorf("go on: %w", err)
	}
	r, err := s.Verify(ctx, VerifyOptions{})
	if err != nil || !r.OK() {
		return fmt.Errorf("verify: %v, %w", r.Damages, err)
	}
	return nil
}

// workOnDisk is the working process.
func workOnDisk(dir string) error {
	notes, err := os.OpenFile(filepath.Join(dir, notesFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	say := func(format string, args ...any) {
		if _, err := fmt.Fprintf(notes, format+"\n", args...); err != nil {
			panic(err) // what nobody hears cannot be checked
		}
	}
	mode := os.Getenv(modeEnv)
	if mode == "faults" {
		return workWithFaults(dir, say)
	}
	seed, err := strconv.ParseUint(os.Getenv("BACKSTAY_SEED"), 10, 64)
	if err != nil {
		return err
	}
	return workUntilEnough(dir, mode, rand.New(rand.NewPCG(seed, 0)), say)
}

// workUntilEnough writes batches from two goroutines, long enough for the WAL to be copied into the database more than once.
func workUntilEnough(dir, mode string, rnd *rand.Rand, say func(string, ...any)) error {
	ctx := context.Background()
	s, err := Open(ctx, Options{Dir: dir, Origin: "backstay.test/log"})
	if err != nil {
		return err
	}
	pragmas := []string{"PRAGMA wal_autocheckpoint = 100"} // pages
	if mode == "normal" {
		pragmas = append(pragmas, "PRAGMA synchronous = NORMAL")
	}
	for _, p := range pragmas {
		if _, err := s.committer.conn.ExecContext(ctx, p); err != nil {
			return err
		}
	}
	errs := make(chan error, 2)
	for w := range 2 {
		rnd := rand.New(rand.NewPCG(rnd.Uint64(), uint64(w)))
		go func() {
			for i := range 40 {
				if err := workOnce(ctx, s, fmt.Sprintf("%d-%d", w, i), rnd, say); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range 2 {
		if err := <-errs; err != nil {
			return err
		}
	}
	if rnd.IntN(2) == 0 {
		return s.Close() // the last moments are those of a clean end
	}
	return nil
}

// workOnce makes three entries, views, a ledger row and now and then a snapshot durable, and says so.
func workOnce(ctx context.Context, s *Store, key string, rnd *rand.Rand, say func(string, ...any)) error {
	e := sample(rnd.IntN(1000))
	e.Text = key
	b := Batch{}
	b.Entries = append(b.Entries, e, e, e)
	for range rnd.IntN(3) {
		b.Incidents = append(b.Incidents, sampleIncident(rnd.IntN(50)))
	}
	first, err := s.Append(ctx, b)
	if err != nil {
		return err
	}
	say("entry %d %s", first, key)
	if err := s.Ledger().Put(ctx, LedgerRow{Scope: "disk", Key: key, State: "done", Note: strings.Repeat("n", rnd.IntN(3000))}); err != nil {
		return err
	}
	say("ledger %s", key)
	if rnd.IntN(10) == 0 {
		return s.SaveSnapshot(ctx, first, []byte(strings.Repeat(key, 1+rnd.IntN(2000))))
	}
	return nil
}
