package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// faultsPerProcess is how many runs share a working process and a disk.
const faultsPerProcess = 25

const roundsPerFault = 12

// storageFault is what goes wrong in one run.
type storageFault struct {
	run    int
	op     diskOp
	fault  fault
	nth    int  // change of that kind, from 1
	lasts  bool // it stays so, as a full disk does
	only   bool // the journal's own files only
	seen   int
	struck bool
}

func newStorageFault(run int, rnd *rand.Rand) *storageFault {
	f := &storageFault{run: run, lasts: rnd.IntN(2) == 0, only: rnd.IntN(10) < 8}
	most := 0
	switch rnd.IntN(6) {
	case 0:
		f.op, f.fault.errno, most = opWrite, syscall.EIO, 150
	case 1:
		f.op, f.fault.errno, most = opWrite, syscall.ENOSPC, 150
	case 2:
		f.op, f.fault.short, most = opWrite, true, 150
		f.lasts = false // a write that is always short still ends some time
	case 3, 4:
		f.op, f.fault.errno, most = opSync, syscall.EIO, 25
	default:
		f.op = []diskOp{opCreate, opTruncate, opRename, opRemove}[rnd.IntN(4)]
		f.fault.errno = []syscall.Errno{syscall.EIO, syscall.ENOSPC}[rnd.IntN(2)]
		f.only, most = false, 4
	}
	f.nth = 1 + rnd.IntN(most)
	return f
}

func (f *storageFault) name() string {
	what := f.fault.errno.Error()
	if f.fault.short {
		what = "short"
	}
	return fmt.Sprintf("%s at %s %d, lasts %v, journal only %v", what, f.op, f.nth, f.lasts, f.only)
}

// strike answers the disk.
func (f *storageFault) strike(op diskOp, path string) fault {
	if op != f.op || !strings.HasPrefix(path, runFolder(f.run)+"/") || strings.HasSuffix(path, "-shm") || f.only && !strings.Contains(path, fileJournal) {
		return fault{}
	}
	f.seen++
	if f.seen == f.nth || f.struck && f.lasts {
		f.struck = true
		return f.fault
	}
	return fault{}
}

func runFolder(run int) string { return "run-" + strconv.Itoa(run) }

// TestStorageErrors fails one call of the file system in each run, once or from then on: a write with EIO or ENOSPC, half a write, an
// fsync, or a change of names. After the first error nothing is acknowledged; and whether the process is started again on the same
// machine, or the power failed then (when a failed fsync has really lost what it should have kept), all that was acknowledged is
// there, and the log verifies and goes on.
//
// Control: a process that took a failed commit for a good one must be proven wrong.
func TestStorageErrors(t *testing.T) {
	needFUSE(t)
	s := newSuite(t, "storage errors", "never acknowledged after an error, clean restart", 200, 5_000)
	var struck, refused, control atomic.Int64
	count := func(n *atomic.Int64, yes bool) {
		if yes {
			n.Add(1)
		}
	}
	base := quickDir(t)
	processes := suite{t: t, runs: (s.runs + faultsPerProcess - 1) / faultsPerProcess, seed: s.seed}
	processes.eachRun(func(process int, _ *rand.Rand) {
		from := process * faultsPerProcess
		faults, trace, err := s.recordFaults(t.TempDir(), from, min(from+faultsPerProcess, s.runs))
		if err != nil {
			s.fail(from, "%v", err)
			return
		}
		parts := splitRuns(trace)
		if len(parts) != len(faults) {
			s.fail(from, "%d runs were asked for, %d were made", len(faults), len(parts))
			return
		}
		for i, part := range parts {
			h := &faulted{run: from + i, changes: part}
			if err := h.check(filepath.Join(base, strconv.Itoa(h.run)), s.rnd(h.run)); err != nil {
				s.fail(h.run, "%s: %v", faults[i].name(), err)
			}
			count(&struck, faults[i].struck)
			count(&refused, h.failed)
			count(&control, h.naiveWrong)
		}
	})
	if control.Load() == 0 || struck.Load() < int64(s.runs*3/4) {
		t.Errorf("CONTROL: %d of %d faults struck; a process that ignores them was proven wrong %d times", struck.Load(), s.runs, control.Load())
	}
	s.report("%d of %d faults struck, %d of them ended the writing; control: ignoring them lost entries %d times", struck.Load(), s.runs, refused.Load(), control.Load())
}

// recordFaults lets one process make runs on one disk, each with its fault.
func (s *suite) recordFaults(dir string, from, to int) (faults []*storageFault, trace []diskChange, err error) {
	faults = make([]*storageFault, to-from)
	for i := range faults {
		faults[i] = newStorageFault(from+i, s.rnd(from+i))
	}
	listen := func(d *disk) {
		d.heard = func(note string) { // under the disk's lock
			switch verb, arg, _ := strings.Cut(note, " "); verb {
			case "begin":
				run, err := strconv.Atoi(arg)
				if err != nil {
					panic(err) // our own process says it
				}
				d.fault = faults[run-from].strike
			case "end":
				d.fault = nil
			}
		}
	}
	trace, err = recordTrace(dir, listen, modeEnv+"=faults", fmt.Sprintf("BACKSTAY_TEST_RUNS=%d-%d", from, to))
	return faults, trace, err
}

// splitRuns takes a trace apart where the working process says so.
func splitRuns(trace []diskChange) (runs [][]diskChange) {
	begin := -1
	for i, c := range trace {
		switch verb, _, _ := strings.Cut(c.note, " "); {
		case verb == "begin":
			begin = i
		case verb == "end" && begin >= 0:
			runs = append(runs, trace[begin:i])
			begin = -1
		}
	}
	return runs
}

// faulted is one run, seen from outside.
type faulted struct {
	run        int
	changes    []diskChange
	failed     bool // something was refused
	naiveWrong bool
}

func (h *faulted) check(base string, rnd *rand.Rand) error {
	a, naive := newPromises(), newPromises()
	for _, c := range h.changes {
		switch verb, arg, _ := strings.Cut(c.note, " "); verb {
		case "entry", "ledger":
			if h.failed {
				return fmt.Errorf("acknowledged after an error: %s", c.note)
			}
			a.hear(c.note)
			naive.hear(c.note)
		case "failed":
			h.failed = true
		case "lied":
			return errors.New(arg)
		case "naive":
			naive.hear("entry " + arg)
		}
	}
	power := rnd.Uint64()
	for _, crash := range []bool{false, true} {
		for _, p := range []*promises{a, naive} {
			dir := filepath.Join(base, fmt.Sprintf("%v-%v", crash, p == a))
			if err := h.lay(dir, crash, rand.New(rand.NewPCG(power, 0))); err != nil {
				return err
			}
			err := p.check(dir)
			if p == a && err != nil {
				return fmt.Errorf("after the power failed %v: %w", crash, err)
			}
			h.naiveWrong = h.naiveWrong || p == naive && err != nil
			if len(naive.entries) == len(a.entries) {
				break // nothing more was promised
			}
		}
	}
	return os.RemoveAll(base)
}

// lay makes the run's folder as it is at the end, or as a power loss leaves it.
func (h *faulted) lay(dir string, crash bool, rnd *rand.Rand) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	w := newWreck(rnd)
	folder := uint64(0)
	for _, c := range h.changes {
		w.play(c)
		if c.op == opCreate && c.dir == 1 && folder == 0 {
			folder = c.node
			w.syncDir(1) // the run's own folder is there
		}
	}
	if crash {
		w.fail()
	} else {
		w.settle()
	}
	return w.materialise(folder, dir)
}

// workWithFaults does many runs on one disk, each in a folder of its own, until something fails.
func workWithFaults(dir string, say func(string, ...any)) error {
	var from, to int
	if _, err := fmt.Sscanf(os.Getenv("BACKSTAY_TEST_RUNS"), "%d-%d", &from, &to); err != nil {
		return err
	}
	for run := from; run < to; run++ {
		say("begin %d", run)
		if err := os.Mkdir(filepath.Join(dir, runFolder(run)), 0o700); err != nil {
			return err
		}
		workUntilFault(filepath.Join(dir, runFolder(run)), rand.New(rand.NewPCG(uint64(run), 0)), say)
		say("end %d", run)
	}
	return nil
}

func workUntilFault(dir string, rnd *rand.Rand, say func(string, ...any)) {
	ctx := context.Background()
	s, err := Open(ctx, Options{Dir: dir, Origin: "backstay.test/log"})
	if err != nil {
		say("failed to open: %v", err)
		return
	}
	defer s.Close() // it may fail as everything else; the next start tells
	for i := range roundsPerFault {
		if i == roundsPerFault/2 {
			if _, err := s.committer.conn.ExecContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)"); err != nil {
				say("checkpoint: %v", err) // nothing was acknowledged by it, and nothing refused
			}
		}
		next := s.Head().Size
		key := fmt.Sprintf("k%d", i)
		err := workOnce(ctx, s, key, rnd, say)
		if err == nil {
			continue
		}
		say("failed: %v", err)
		if s.Health() == nil {
			say("lied a failed write leaves the store healthy")
		}
		if s.Head().Size == next {
			say("naive %d %s", next, key)
		}
		for range 2 {
			if _, err := s.Append(ctx, Batch{Entries: samples(0, 1)}); err == nil {
				say("lied the store takes entries after a failed write")
			}
		}
		return
	}
}
