package store

import (
	"context"
	"errors"
	"runtime"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/backstay/backstay/controller/internal/audit"
)

// segment is a run of entries that one worker checks.
type segment struct {
	from, to int64
	rows     []checkedRow
	damages  []audit.Damage
	sums     indexSums
	bytes    int64
	err      error
	done     chan struct{}
}

type checkedRow struct {
	seq    int64
	leaf   tlog.Hash
	hashes []byte
	why    string // the entry cannot be read
}

const segmentSize = 4096

// entries reads and hashes on all cores, and puts the tree together in order.
func (c *check) entries(ctx context.Context) (sums indexSums, err error) {
	published := c.published() // before the head is compared: a running log only moves on
	v := audit.NewVerifier(c.signed.Size)
	for _, p := range published {
		if p.Size > c.signed.Size && c.movedOn(ctx) {
			continue // it was published after this check began
		}
		v.Expect(p)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	workers := runtime.GOMAXPROCS(0)
	todo, inOrder := make(chan *segment), make(chan *segment, 2*workers)
	go func() {
		defer close(inOrder)
		defer close(todo)
		for from := int64(0); from < c.signed.Size; from += segmentSize {
			s := &segment{from: from, to: min(from+segmentSize, c.signed.Size), done: make(chan struct{})}
			select {
			case inOrder <- s:
			case <-ctx.Done():
				return
			}
			todo <- s
		}
	}()
	for range workers {
		go func() {
			for s := range todo {
				s.err = c.readSegment(ctx, s)
				close(s.done)
			}
		}()
	}
	var failed error
	for s := range inOrder {
		<-s.done
		if failed = errors.Join(failed, s.err); failed != nil {
			cancel()
			continue
		}
		for i := range s.rows {
			if r := &s.rows[i]; r.why != "" {
				v.Unreadable(r.seq, r.why)
			} else {
				v.Add(r.seq, r.leaf, r.hashes)
			}
		}
		c.found(s.damages...)
		for i := range sums {
			sums[i] += s.sums[i]
		}
		c.report.Bytes += s.bytes
		if c.options.Progress != nil {
			c.options.Progress(s.to, c.signed.Size)
		}
	}
	if failed == nil {
		c.found(v.Finish(c.trusted)...)
	}
	return sums, failed
}

// movedOn tells whether the log has grown since the check began: then a newer published checkpoint is no rollback.
func (c *check) movedOn(ctx context.Context) bool {
	h, err := readHead(ctx, c.db)
	return err == nil && h.size > c.head.size
}
