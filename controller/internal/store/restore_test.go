package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/audit"
)

// worker does each business item once: it writes down what it is about to do, does it, and remembers it in the ledger. The effects
// live outside of the data folder, as they do in the world: no backup brings them back.
type worker struct {
	effects map[string]int
	naive   bool // acts although the log was rolled back: the control
}

// offer hands it items, old ones again and again, as a queue that delivers at least once does.
func (w *worker) offer(s *Store, items int) error {
	ctx := context.Background()
	for i := range items {
		key := fmt.Sprintf("payment-%d", i)
		row, err := s.Ledger().Get(ctx, "payments", key)
		if err != nil {
			return err
		}
		if row.State != "" || s.RolledBack() != nil && !w.naive {
			continue
		}
		row.State, row.At = "done", t0
		if _, err := s.Append(ctx, Batch{Entries: samples(i, 1)}); err != nil {
			return err
		}
		w.effects[key]++
		if err := s.Ledger().Put(ctx, row); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) doubled() (n int) {
	for _, times := range w.effects {
		if times > 1 {
			n++
		}
	}
	return n
}

// copyTree copies a data folder as it lies there, also while a process works in it. The folder's lock is left out.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		rel, rerr := filepath.Rel(from, path)
		if err = errors.Join(err, rerr); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // a temporary file that was renamed meanwhile
			}
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || rel == fileLock {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
}

// ways to put a backup over the present folder.
var restores = []struct {
	name string
	do   func(backup, dir string) error
}{
	{"the folder in place of the newer one", func(backup, dir string) error {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		return copyTree(backup, dir)
	}},
	{"the folder over the newer one", copyTree},
	{"the database alone", func(backup, dir string) error {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.RemoveAll(filepath.Join(dir, fileJournal+suffix)); err != nil {
				return err
			}
			b, err := os.ReadFile(filepath.Join(backup, fileJournal+suffix))
			if err == nil && suffix != "-shm" {
				err = os.WriteFile(filepath.Join(dir, fileJournal+suffix), b, 0o600)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	}},
	{"the database file alone, beside the newer WAL", func(backup, dir string) error {
		b, err := os.ReadFile(filepath.Join(backup, fileJournal))
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, fileJournal), b, 0o600)
	}},
}

// TestRestores restores old backups over newer data at random moments. The newest checkpoint is also published outside, and the log
// grew past the backup there. Each is noticed at the start, nothing is done twice, and a restart does not forget it.
//
// Controls: a worker that does not ask whether the log was rolled back must pay twice; and a backup of the present moment must
// raise no alarm.
func TestRestores(t *testing.T) {
	s := newSuite(t, "restores of random old backups", "noticed every time, 0 doubled", 20, 500)
	var doubledByNaive, refused, complete atomic.Int64
	base := quickDir(t)
	s.eachRun(func(run int, rnd *rand.Rand) {
		way := restores[run%len(restores)]
		r := &restoreRun{rnd: rnd, base: filepath.Join(base, fmt.Sprint(run)), worker: worker{effects: map[string]int{}}}
		defer os.RemoveAll(r.base)
		if err := r.prepare(); err != nil {
			s.fail(run, "prepare: %v", err)
			return
		}
		if err := way.do(r.backup, r.dir); err != nil {
			s.fail(run, "restore %s: %v", way.name, err)
			return
		}
		verdict, err := r.checkRestored()
		if err != nil {
			s.fail(run, "restore %s of %d entries over %d published: %v", way.name, r.backupSize, r.publishedSize, err)
			return
		}
		switch verdict {
		case "refused":
			refused.Add(1)
		case "complete":
			complete.Add(1)
		}
		doubledByNaive.Add(int64(r.naiveDoubles))
	})
	if doubledByNaive.Load() == 0 {
		t.Error("CONTROL: a worker that acts on a restored backup must pay twice, and did not")
	}
	s.report("%d refused to open, %d were whole again through the newer WAL; control: the naive worker paid %d times twice", refused.Load(), complete.Load(), doubledByNaive.Load())
}

// restoreRun is one backup and its restore.
type restoreRun struct {
	rnd                       *rand.Rand
	base, dir, backup         string
	worker                    worker
	items                     int
	backupSize, publishedSize int64
	naiveDoubles              int
}

func (r *restoreRun) open() (*Store, error) {
	return Open(context.Background(), Options{Dir: r.dir, Origin: "backstay.test/log", Copy: filepath.Join(r.base, "elsewhere")})
}

// prepare works, takes a backup at some moment, works on until more is published, and ends, cleanly or not.
func (r *restoreRun) prepare() error {
	if err := os.Mkdir(r.base, 0o700); err != nil {
		return err
	}
	r.dir, r.backup = filepath.Join(r.base, "data"), filepath.Join(r.base, "backup")
	s, err := r.open()
	if err != nil {
		return err
	}
	defer s.Close()
	r.items = 1 + r.rnd.IntN(40)
	if err := r.worker.offer(s, r.items); err != nil {
		return err
	}
	if r.rnd.IntN(2) == 0 { // some of it in the database file already, not in the WAL only
		if _, err := s.committer.conn.ExecContext(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
			return err
		}
	}
	time.Sleep(time.Duration(r.rnd.IntN(50)) * time.Millisecond)
	r.backupSize = s.Head().Size
	if err := copyTree(r.dir, r.backup); err != nil {
		return err
	}
	for r.publishedSize <= r.backupSize {
		r.items += 1 + r.rnd.IntN(20)
		if err := r.worker.offer(s, r.items); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
		if b, err := os.ReadFile(filepath.Join(r.base, "elsewhere")); err == nil {
			c, err := audit.OpenCheckpoint(b, s.verifier)
			if err != nil {
				return err
			}
			r.publishedSize = c.Size
		}
	}
	if r.rnd.IntN(2) == 0 {
		return s.Close()
	}
	crashed := filepath.Join(r.base, "crashed")
	if err := copyTree(r.dir, crashed); err != nil { // what a killed process leaves: the WAL too
		return err
	}
	kept, err := os.ReadFile(filepath.Join(r.base, "elsewhere"))
	if err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(r.base, "elsewhere"), kept, 0o600); err != nil {
		return err
	}
	r.dir = crashed
	return nil
}

// checkRestored starts on what was restored, twice, and offers all items again.
func (r *restoreRun) checkRestored() (verdict string, err error) {
	verdict = "noticed"
	for range 2 {
		s, err := r.open()
		if err != nil {
			if code := api.CodeOf(err); code != api.CodeTampered {
				return "", fmt.Errorf("refused, but not because of the log: %w", err)
			}
			return "refused", nil
		}
		whole := s.Head().Size >= r.publishedSize && s.RolledBack() == nil
		if whole {
			report, err := s.Verify(context.Background(), VerifyOptions{})
			if err != nil || !report.OK() {
				return "", errors.Join(fmt.Errorf("not noticed, and the log is damaged: %v", report.Damages), err, s.Close())
			}
			verdict = "complete" // the newer WAL brought back everything that was restored over: nothing is lost
		} else if s.RolledBack() == nil {
			return "", errors.Join(fmt.Errorf("not noticed: the log has %d entries", s.Head().Size), s.Close())
		}
		if err := r.worker.offer(s, r.items); err != nil {
			return "", errors.Join(err, s.Close())
		}
		if n := r.worker.doubled(); n > 0 {
			return "", errors.Join(fmt.Errorf("%d items were done twice", n), s.Close())
		}
		if err := s.Close(); err != nil {
			return "", err
		}
	}
	if verdict == "complete" {
		return verdict, nil
	}
	s, err := r.open()
	if err != nil {
		return "", err
	}
	defer s.Close()
	naive := worker{effects: r.worker.effects, naive: true}
	if err := naive.offer(s, r.items); err != nil {
		return "", err
	}
	r.naiveDoubles = naive.doubled()
	return verdict, nil
}

// TestRestoreOfThePresent raises no alarm: the backup is of this very moment.
func TestRestoreOfThePresent(t *testing.T) {
	for _, way := range restores {
		t.Run(way.name, func(t *testing.T) {
			base := t.TempDir()
			dir, backup := filepath.Join(base, "data"), filepath.Join(base, "backup")
			o := Options{Dir: dir, Origin: "backstay.test/log", Copy: filepath.Join(base, "elsewhere")}
			s, err := Open(t.Context(), o)
			must(t, err)
			_, err = s.Append(t.Context(), Batch{Entries: samples(0, 30)})
			must(t, err)
			must(t, s.Close())
			must(t, copyTree(dir, backup))
			must(t, way.do(backup, dir))
			s, err = Open(t.Context(), o)
			must(t, err)
			defer s.Close()
			if r := s.RolledBack(); r != nil {
				t.Error(r.Text)
			}
		})
	}
}

// TestContradict stops acting where somebody outside knows better, and tells it once.
func TestContradict(t *testing.T) {
	dir := fill(t, 10)
	s := open(t, dir)
	if !s.Contradict(30, "The witness saw 30 entries.") || s.Contradict(31, "again") {
		t.Error("news is told once")
	}
	if r := s.RolledBack(); r == nil || r.Published != 30 || r.Head != 10 || !strings.Contains(r.Text, "witness") {
		t.Errorf("%+v", r)
	}
	must(t, s.AcceptRollback())
	if s.Contradict(30, "again") || s.RolledBack() != nil {
		t.Error("what a person accepted stops everything again")
	}
	_, err := s.Append(t.Context(), Batch{Entries: samples(10, 3)})
	must(t, err)
	must(t, s.Close())
	checkTiles(t, dir, 13)
}
