package store

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/audit"
)

// Options say where and how.
type Options struct {
	Dir    string // the data folder; made when missing
	Origin string // the log's name in checkpoints, such as backstay.local/HOST; only read when the log is made, then kept in its key
	Copy   string // a file elsewhere that the newest checkpoint is published to as well, and compared with at Open; empty: none
}

// Batch is what one commit makes durable, all or nothing.
type Batch struct {
	Entries      []api.Entry
	Incidents    []api.Incident    // views that changed
	Remediations []api.Remediation // views that changed
}

// Store is an open journal. It is safe for concurrent use.
type Store struct {
	Reader
	lock   *os.File
	signer note.Signer
	write  *sql.DB // one connection, the committer's
	tele   *telemetry

	committer *committer
	publisher *publisher
	tiler     *tiler
	copy      string
	rollback  atomic.Pointer[Rollback]

	closeOnce sync.Once
	closeErr  error
}

// Head is the newest committed state of the log.
type Head struct {
	Origin     string
	Size       int64  // entries in the log; the next one gets this sequence number
	Checkpoint []byte // signed note
	Key        string // public key, as note verifiers read it
}

// Open locks the data folder (a second process is refused), migrates, reads back the settings that durability rests on, and
// checks that the head is the last published one: see RolledBack.
func Open(ctx context.Context, o Options) (*Store, error) {
	s := &Store{Reader: Reader{dir: o.Dir}, copy: o.Copy}
	s.Reader.head = func(context.Context) (Head, error) { return s.Head(), nil }
	if err := s.open(ctx, o); err != nil {
		s.release()
		return nil, err
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, o Options) (err error) {
	if s.lock, err = LockFolder(o.Dir); err != nil {
		return err
	}
	path := filepath.Join(o.Dir, fileJournal)
	unclean := hasWAL(path)
	if s.write, err = openDatabase(ctx, journalFile, path); err != nil {
		return err
	}
	if s.read, err = openReaders(ctx, path); err != nil {
		return err
	}
	h, err := readHead(ctx, s.read)
	if err != nil {
		return explain(err, "read the head of the log", path)
	}
	if s.signer, s.verifier, err = loadKey(o.Dir, o.Origin, h.size == 0 && len(h.checkpoint) == 0); err != nil {
		return err
	}
	if s.committer, err = newCommitter(ctx, s, h); err != nil {
		return err
	}
	if unclean && len(h.checkpoint) > 0 { // else nothing was ever signed
		if err := s.checkAfterCrash(ctx, h); err != nil {
			return err
		}
	}
	rollback, err := s.compareWithPublished(ctx)
	if err != nil {
		return err
	}
	s.rollback.Store(rollback)
	if s.tele, err = openTelemetry(ctx, filepath.Join(o.Dir, fileTelemetry)); err != nil {
		return err
	}
	s.publisher, s.tiler = newPublisher(o.Dir, o.Copy), newTiler(s)
	if rollback == nil {
		s.publisher.offer(s.committer.head().Checkpoint)
		s.tiler.offer(s.committer.head().Checkpoint)
	}
	s.committer.start()
	return nil
}

// Head tells how far the log has come.
func (s *Store) Head() Head { return s.committer.head() }

// Health tells what is wrong with the store now, nil when nothing is: it takes no more writes after a failed commit, or the newest
// checkpoint could not be published, so that a rollback would be noticed later than it should.
func (s *Store) Health() error {
	if failed := s.committer.failed.Load(); failed != nil {
		return failed
	}
	return errors.Join(s.publisher.err(), s.tiler.err())
}

// Append makes a batch durable and gives the sequence number of its first entry. Concurrent calls share a commit.
//
// An entry that cannot be encoded is refused with api.CodeInvalid and nothing has happened. After any other error nothing of
// the batch is known to be durable and the store refuses all further writes: the caller ends the process. A ctx that ends while
// the commit is under way does not end the wait, because the outcome must be known.
func (s *Store) Append(ctx context.Context, b Batch) (first int64, err error) {
	r, err := encodeBatch(b)
	if err != nil {
		return 0, err
	}
	if len(r.entries)+len(r.changes) == 0 {
		return s.Head().Size, nil
	}
	return s.committer.submit(ctx, r)
}

// Close commits what is queued, publishes the last checkpoint and releases the data folder.
func (s *Store) Close() error {
	s.closeOnce.Do(func() { s.closeErr = s.release() })
	return s.closeErr
}

func (s *Store) release() error {
	var first error
	keep := func(err error) {
		if first == nil && err != nil {
			first = explain(err, "close the journal", s.dir)
		}
	}
	if s.committer != nil {
		s.committer.stop()
	}
	if s.publisher != nil {
		keep(s.publisher.close())
	}
	if s.tiler != nil {
		keep(s.tiler.close())
	}
	if s.tele != nil {
		keep(s.tele.close())
	}
	if s.read != nil {
		keep(s.read.Close())
	}
	if s.write != nil {
		keep(s.write.Close())
	}
	if s.lock != nil {
		keep(s.lock.Close())
	}
	return first
}

// encodeBatch does all of the work on a batch that does not need the commit.
func encodeBatch(b Batch) (request, error) {
	var r request
	for _, e := range b.Entries {
		e.Seq = 0
		body, err := audit.Encode(e)
		if err != nil {
			return r, &api.Error{Code: api.CodeInvalid, Message: "append to the log", Err: err, Hint: "nothing was written"}
		}
		r.entries = append(r.entries, pending{body: body, index: audit.IndexOf(e)})
	}
	for _, in := range b.Incidents {
		c, err := incidentRow(in)
		if err != nil {
			return r, err
		}
		r.changes = append(r.changes, c)
	}
	for _, rem := range b.Remediations {
		c, err := remediationRow(rem)
		if err != nil {
			return r, err
		}
		r.changes = append(r.changes, c)
	}
	return r, nil
}

// nanos is a time as the database keeps it; 0 stands for no time.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// moment reads what nanos wrote.
func moment(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
