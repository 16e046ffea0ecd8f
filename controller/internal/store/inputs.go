package store

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"time"
)

// How long recorded inputs are kept. Those of the present life of the controller stay whatever their age, because a replay begins with a start;
// the bound on bytes holds for them too.
const (
	keepInputs      = 30 * 24 * time.Hour
	keepInputBytes  = 256 << 20
	pruneInputs     = 256 // blocks between two looks at what is too old
	pruneInputsMost = 4 * pruneInputs
	copyInputs      = 128 // blocks between two copies of the WAL into the database: some 4 MiB
)

// InputBlock is a block of what reached the engine.
type InputBlock struct {
	First int64     // sequence number of the first entry that its events led to, or would have
	At    time.Time // of writing
	Block []byte
}

// inputs is what the writer of recorded inputs knows; under the lock of telemetry.
type inputs struct {
	// Its connection never copies the WAL into the database, because that flushes the disk and somebody waits for the block; that is done beside it.
	conn   *sql.Conn
	copies sync.WaitGroup
	copied sync.Mutex // one at a time

	id, total int64 // of the last block
	life      int64 // id of the first block since the database was opened; 0 before
}

// SaveInputs stores a block of inputs. It lasts beyond the end of the process once this returns, but is not flushed to the disk: a power loss may
// undo it.
func (s *Store) SaveInputs(ctx context.Context, b InputBlock) error {
	return explain(s.tele.saveInputs(ctx, b), "store recorded inputs", s.dir)
}

func (t *telemetry) saveInputs(ctx context.Context, b InputBlock) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	in := &t.inputs
	if in.conn == nil {
		if err := in.open(ctx, t.db); err != nil {
			return err
		}
	}
	total := in.total + int64(len(b.Block))
	if _, err := in.conn.ExecContext(ctx, "INSERT INTO inputs (id, first, at, total, block) VALUES (?, ?, ?, ?, ?)", in.id+1, b.First, nanos(b.At), total, b.Block); err != nil {
		return err
	}
	in.id, in.total = in.id+1, total
	if in.id%copyInputs == 0 {
		in.copies.Go(func() { in.copy(t.db) })
	}
	if in.id%pruneInputs != 0 {
		return nil
	}
	_, err := in.conn.ExecContext(ctx, "DELETE FROM inputs WHERE id IN (SELECT id FROM inputs WHERE total <= ? OR at < ? AND id < ? ORDER BY id LIMIT ?)",
		total-keepInputBytes, nanos(b.At.Add(-keepInputs)), in.life, pruneInputsMost)
	return err
}

func (in *inputs) open(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, "PRAGMA wal_autocheckpoint = 0")
	if err == nil {
		err = conn.QueryRowContext(ctx, "SELECT id, total FROM inputs ORDER BY id DESC LIMIT 1").Scan(&in.id, &in.total)
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return errors.Join(err, conn.Close())
	}
	in.conn, in.life = conn, in.id+1
	return nil
}

// copy copies what it can of the WAL into the database; what it cannot now, the next one does.
func (in *inputs) copy(db *sql.DB) {
	if in.copied.TryLock() {
		defer in.copied.Unlock()
		_, _ = db.Exec("PRAGMA wal_checkpoint(PASSIVE)")
	}
}

// close gives the connection back, or the WAL would stay behind.
func (in *inputs) close() error {
	in.copies.Wait()
	if in.conn == nil {
		return nil
	}
	return in.conn.Close()
}

// Inputs visits the blocks of recorded inputs in the order in which they were written. A folder of an older version has none.
func (r *RollupReader) Inputs(ctx context.Context, visit func(InputBlock)) error {
	if r.t == nil {
		return nil
	}
	return explain(r.t.eachInput(ctx, visit), "read recorded inputs", r.t.path)
}

func (t *telemetry) eachInput(ctx context.Context, visit func(InputBlock)) error {
	var tables int
	if err := t.db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE name = 'inputs'").Scan(&tables); err != nil || tables == 0 {
		return err
	}
	rows, err := t.db.QueryContext(ctx, "SELECT first, at, block FROM inputs ORDER BY id")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var b InputBlock
		var at int64
		if err := rows.Scan(&b.First, &at, &b.Block); err != nil {
			return err
		}
		b.At = moment(at)
		visit(b)
	}
	return rows.Err()
}
