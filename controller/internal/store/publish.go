package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/audit"
)

// publishEvery bounds how often the checkpoint file is written: it follows the commits, it is not part of them.
const publishEvery = 250 * time.Millisecond

// publisher writes the newest checkpoint to its file, after the commit and never before it.
type publisher struct {
	dir    string
	copy   string      // a second file, elsewhere; empty: none
	newest chan []byte // holds one: the newest
	quit   chan struct{}
	over   chan struct{}
	failed atomic.Pointer[error] // of the last write; nil when it went well
	mu     sync.Mutex            // of the files
}

func newPublisher(dir, copy string) *publisher {
	p := &publisher{dir: dir, copy: copy, newest: make(chan []byte, 1), quit: make(chan struct{}), over: make(chan struct{})}
	go p.run()
	return p
}

// offer hands over a checkpoint and never waits. Only one goroutine offers at a time.
func (p *publisher) offer(checkpoint []byte) {
	select {
	case <-p.newest:
	default:
	}
	p.newest <- checkpoint
}

func (p *publisher) run() {
	defer close(p.over)
	for {
		select {
		case b := <-p.newest:
			p.write(b)
		case <-p.quit:
			select {
			case b := <-p.newest:
				p.write(b)
			default:
			}
			return
		}
		select {
		case <-time.After(publishEvery):
		case <-p.quit:
		}
	}
}

func (p *publisher) close() error {
	close(p.quit)
	<-p.over
	return p.err()
}

func (p *publisher) write(checkpoint []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := ReplaceFile(p.dir, fileCheckpoint, checkpoint, 0o644)
	if p.copy != "" {
		err = errors.Join(err, ReplaceFile(filepath.Dir(p.copy), filepath.Base(p.copy), checkpoint, 0o644))
	}
	if err == nil {
		p.failed.Store(nil)
		return
	}
	p.failed.Store(&err)
}

func (p *publisher) err() error {
	if failed := p.failed.Load(); failed != nil {
		return explain(*failed, "publish the checkpoint", p.dir)
	}
	return nil
}

// Rollback says that the log is not what was published before: an old backup was restored, or somebody cut or rewrote it.
// The caller acts on nothing until a person says so.
type Rollback struct {
	Published int64  // entries that the published checkpoint covers
	Head      int64  // entries in the log when it was opened
	Text      string // one plain sentence

	accepted atomic.Bool
}

// RolledBack tells whether the log was rolled back; nil when all is well or a person has accepted it. Entries are still taken, so
// that the notice itself is recorded, but what was published is left alone as evidence.
func (s *Store) RolledBack() *Rollback {
	if r := s.rollback.Load(); r != nil && !r.accepted.Load() {
		return r
	}
	return nil
}

// Contradict says that somebody outside, such as a witness, holds a checkpoint of this log that the log did not grow from. It tells
// whether that is news: a rollback that is known already, accepted or not, stays as it is.
func (s *Store) Contradict(published int64, text string) bool {
	return s.rollback.CompareAndSwap(nil, &Rollback{Published: published, Head: s.Head().Size, Text: text})
}

// AcceptRollback records that a person looked and wants to go on from the present log. What contradicts it is kept beside the new
// one: checkpoint.contradicted-SIZE, tiles.contradicted-SIZE and the like.
func (s *Store) AcceptRollback() error {
	r := s.RolledBack()
	if r == nil {
		return api.Errorf(api.CodeConflict, "accept the rollback: there is none")
	}
	aside := []string{filepath.Join(s.dir, TilesFolder)} // in any case: files of the other branch may lie in it
	for _, path := range s.evidence() {
		against, err := s.compareWith(context.Background(), path)
		if err != nil {
			return err
		}
		if against != nil && filepath.Dir(path) != aside[0] {
			aside = append(aside, path)
		}
	}
	for _, path := range aside {
		if err := s.tiler.setAside(path, fmt.Sprintf("%s.contradicted-%d", path, r.Published)); err != nil {
			return explain(err, "keep what contradicts the log", s.dir)
		}
	}
	head := s.Head().Checkpoint
	s.publisher.write(head)
	if err := s.publisher.err(); err != nil {
		return err
	}
	r.accepted.Store(true)
	s.tiler.offer(head)
	return nil
}

// evidence lists the files that may hold a checkpoint which was published from this log.
func (s *Store) evidence() []string {
	files := []string{filepath.Join(s.dir, fileCheckpoint), filepath.Join(s.dir, TilesFolder, fileCheckpoint), filepath.Join(s.dir, fileWitnessed)}
	if s.copy != "" {
		files = append(files, s.copy)
	}
	return files
}

// compareWithPublished holds the log against each checkpoint that was published from it. Of several that it contradicts, the one
// that covers most is told.
func (s *Store) compareWithPublished(ctx context.Context) (worst *Rollback, err error) {
	for _, path := range s.evidence() {
		r, err := s.compareWith(ctx, path)
		if err != nil {
			return nil, err
		}
		if r != nil && (worst == nil || r.Published > worst.Published) {
			worst = r
		}
	}
	return worst, nil
}

func (s *Store) compareWith(ctx context.Context, path string) (*Rollback, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, explain(err, "read the published checkpoint", path)
	}
	head := s.committer.head()
	published, err := audit.OpenCheckpoint(b, s.verifier)
	if err != nil {
		return &Rollback{Published: -1, Head: head.Size, Text: fmt.Sprintf("The published checkpoint %s cannot be verified: %v.", path, err)}, nil
	}
	r := &Rollback{Published: published.Size, Head: head.Size}
	if published.Size > head.Size {
		r.Text = fmt.Sprintf("The log holds %d entries but %d were published before: an older copy of the data was restored, or entries were cut off.", head.Size, published.Size)
		return r, nil
	}
	root, err := rootAt(published.Size, storedHashes(ctx, s.read))
	if err != nil {
		return nil, explain(err, "compare the log with the published checkpoint", s.dir)
	}
	if root != published.Root {
		r.Text = fmt.Sprintf("The first %d entries of the log are not those that were published before: the log was rewritten, or went on from an older copy.", published.Size)
		return r, nil
	}
	return nil, nil
}
