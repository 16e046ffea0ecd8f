package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	newest chan []byte // holds one: the newest
	quit   chan struct{}
	over   chan struct{}
	failed atomic.Pointer[error] // of the last write; nil when it went well
}

func newPublisher(dir string) *publisher {
	p := &publisher{dir: dir, newest: make(chan []byte, 1), quit: make(chan struct{}), over: make(chan struct{})}
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
	err := writeFile(p.dir, fileCheckpoint, checkpoint, 0o644)
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

// RolledBack tells whether the log was rolled back when it was opened; nil when all is well or a person has accepted it. Entries
// are still taken, so that the notice itself is recorded, but the published checkpoint is left alone as evidence.
func (s *Store) RolledBack() *Rollback {
	if s.rollback == nil || s.rollback.accepted.Load() {
		return nil
	}
	return s.rollback
}

// AcceptRollback records that a person looked and wants to go on from the present log. The checkpoint that contradicts it is
// kept beside the new one as checkpoint.contradicted-SIZE.
func (s *Store) AcceptRollback() error {
	r := s.RolledBack()
	if r == nil {
		return api.Errorf(api.CodeConflict, "accept the rollback: there is none")
	}
	old := filepath.Join(s.dir, fileCheckpoint)
	if err := os.Rename(old, fmt.Sprintf("%s.contradicted-%d", old, r.Published)); err != nil {
		return explain(err, "keep the contradicted checkpoint", s.dir)
	}
	if err := writeFile(s.dir, fileCheckpoint, s.Head().Checkpoint, 0o644); err != nil {
		return explain(err, "publish the checkpoint", s.dir)
	}
	r.accepted.Store(true)
	return nil
}

// compareWithPublished holds the log against the newest checkpoint that was published from it.
func (s *Store) compareWithPublished(ctx context.Context) (*Rollback, error) {
	path := filepath.Join(s.dir, fileCheckpoint)
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
