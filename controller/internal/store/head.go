package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/backstay/backstay/controller/internal/audit"
)

// headRow is the one row of log_head.
type headRow struct {
	size, rows                   int64
	checkpoint, state, stateNote []byte
}

func readHead(ctx context.Context, db *sql.DB) (h headRow, err error) {
	err = db.QueryRowContext(ctx, "SELECT size, checkpoint, rows, state, state_note FROM log_head WHERE id = 1").
		Scan(&h.size, &h.checkpoint, &h.rows, &h.state, &h.stateNote)
	return h, err
}

// newCommitter loads the right edge of the tree, checks that it is what the head row's checkpoint signs, and prepares to write.
func newCommitter(ctx context.Context, s *Store, h headRow) (*committer, error) {
	c := &committer{store: s, queue: make(chan request, 1024), quit: make(chan struct{}), over: make(chan struct{}), rows: map[*table]rowWriter{}}
	fail := func(err error) (*committer, error) {
		c.release()
		return nil, err
	}
	var err error
	if c.tree, err = audit.LoadTree(h.size, storedHashes(ctx, s.read)); err != nil {
		return fail(explain(err, "read the tree of the log", s.dir))
	}
	if c.state.sum, err = audit.ParseSum(h.state); err != nil {
		return fail(tampered("open the log: %w", err))
	}
	c.state.rows = h.rows
	if c.conn, err = s.write.Conn(ctx); err != nil {
		return fail(explain(err, "open the journal", s.dir))
	}
	if err := c.prepare(ctx); err != nil {
		return fail(explain(err, "open the journal", s.dir))
	}
	key, err := os.ReadFile(filepath.Join(s.dir, fileKeyPublic))
	if err != nil {
		return fail(explain(err, "read the public key", s.dir))
	}
	now := Head{Origin: s.verifier.Name(), Size: h.size, Checkpoint: h.checkpoint, Key: strings.TrimSpace(string(key))}
	if h.size == 0 && len(h.checkpoint) == 0 {
		if now, err = c.writeHead(ctx, &c.tree, &c.state); err != nil {
			return fail(explain(err, "sign the empty log", s.dir))
		}
		now.Key = strings.TrimSpace(string(key))
	} else if err := c.checkHead(h); err != nil {
		return fail(err)
	}
	c.now.Store(&now)
	return c, nil
}

func (c *committer) prepare(ctx context.Context) error {
	const insert = "INSERT INTO entries (seq, at, kind, incident, remediation, hashes, body) VALUES "
	const one = "(?,?,?,?,?,?,?)"
	var err error
	stmt := func(query string) *sql.Stmt {
		st, perr := c.conn.PrepareContext(ctx, query)
		if perr == nil {
			c.stmts = append(c.stmts, st)
		}
		err = errors.Join(err, perr)
		return st
	}
	c.size = stmt("SELECT size FROM log_head WHERE id = 1")
	c.entry = stmt(insert + one)
	c.entry8 = stmt(insert + strings.Repeat(one+",", 7) + one)
	c.headUp = stmt("UPDATE log_head SET size = ?, checkpoint = ?, rows = ?, state = ?, state_note = ? WHERE id = 1")
	for _, t := range tables {
		c.rows[t] = rowWriter{t, stmt(t.selectSQL(t.byKey())), stmt(t.upsertSQL()), stmt("DELETE FROM " + t.name + " " + t.byKey())}
	}
	return err
}

// checkHead refuses to go on from a head that is not what was signed: appending would bury the damage.
func (c *committer) checkHead(h headRow) error {
	signed, err := audit.OpenCheckpoint(h.checkpoint, c.store.verifier)
	if err != nil {
		return tampered("open the log: %w", err)
	}
	if signed.Size != h.size || signed.Root != c.tree.Root() {
		return tampered("open the log: the tree of %d entries is not the one that its checkpoint of %d entries signs", h.size, signed.Size)
	}
	want := audit.State{Origin: signed.Origin, Size: h.size, Rows: h.rows, Digest: c.state.sum.Digest()}
	if err := want.CheckState(h.stateNote, c.store.verifier); err != nil {
		return tampered("open the log: %w", err)
	}
	return nil
}

// storedHashes reads hashes of the tree by tlog's numbers.
func storedHashes(ctx context.Context, db *sql.DB) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			at := audit.PlaceOf(index)
			var stored []byte
			err := db.QueryRowContext(ctx, "SELECT hashes FROM entries WHERE seq = ?", at.Seq).Scan(&stored)
			if errors.Is(err, sql.ErrNoRows) {
				return nil, tampered("read the tree of the log: entry %d is missing", at.Seq)
			}
			if err != nil {
				return nil, err
			}
			if len(stored) != audit.HashCount(at.Seq)*tlog.HashSize {
				return nil, tampered("read the tree of the log: entry %d is stored with %d bytes of hashes instead of %d", at.Seq, len(stored), audit.HashCount(at.Seq)*tlog.HashSize)
			}
			out[i] = tlog.Hash(stored[at.Level*tlog.HashSize:][:tlog.HashSize])
		}
		return out, nil
	})
}

// rootAt computes the root that the log had when it was that long.
func rootAt(size int64, r tlog.HashReader) (tlog.Hash, error) {
	t, err := audit.LoadTree(size, r)
	if err != nil {
		return tlog.Hash{}, fmt.Errorf("read the tree at %d entries: %w", size, err)
	}
	return t.Root(), nil
}
