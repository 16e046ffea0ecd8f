package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/backstay/backstay/api"
)

// snapshotsKept is how many sound snapshots stay: the newest, and one to fall back to.
const snapshotsKept = 2

// SaveSnapshot keeps the engine's state as of all entries before next.
func (s *Store) SaveSnapshot(ctx context.Context, next int64, state []byte) error {
	if head := s.Head().Size; next < 0 || next > head {
		return api.Errorf(api.CodeInvalid, "save a snapshot at entry %d: the log has %d entries", next, head)
	}
	r := request{changes: []change{{table: snapshots, values: []any{next, state}}}}
	if state == nil {
		r.changes[0].values[1] = []byte{}
	}
	err := s.eachSnapshot(ctx, func(at int64, _ []byte, intact bool, nth int) bool {
		switch {
		case at == next && !intact:
			r.changes = nil // evidence: never written over; the state is as old as that one
		case at != next && intact && nth >= snapshotsKept-1:
			r.changes = append(r.changes, change{table: snapshots, values: []any{at}, remove: true})
		}
		return true
	})
	if err != nil || len(r.changes) == 0 {
		return err
	}
	_, err = s.committer.submit(ctx, r)
	return err
}

// LoadSnapshot gives the newest sound snapshot and the first entry to apply on top of it. A damaged one is passed over for the
// one before; without any it gives 0 and nil: apply all entries to a new state.
func (r *Reader) LoadSnapshot(ctx context.Context) (next int64, state []byte, err error) {
	head, err := r.head(ctx)
	if err != nil {
		return 0, nil, err
	}
	err = r.eachSnapshot(ctx, func(at int64, body []byte, intact bool, _ int) bool {
		if !intact || at > head.Size {
			return true
		}
		next, state = at, body
		return false
	})
	return next, state, err
}

// eachSnapshot walks them, newest first, until visit says false. nth counts the sound ones before.
func (r *Reader) eachSnapshot(ctx context.Context, visit func(next int64, body []byte, intact bool, nth int) bool) error {
	var ids []int64
	rows, err := r.read.QueryContext(ctx, "SELECT next FROM snapshots ORDER BY next DESC")
	if err != nil {
		return explain(err, "read the snapshots", r.dir)
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return explain(err, "read the snapshots", r.dir)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		return explain(err, "read the snapshots", r.dir)
	}
	nth := 0
	for _, id := range ids {
		values, _, intact, err := snapshots.scan(r.read.QueryRowContext(ctx, snapshots.selectSQL(snapshots.byKey()), id))
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil && !isDamage(err) {
			return explain(err, "read a snapshot", r.dir)
		}
		var body []byte
		if err == nil {
			body, _ = values[1].([]byte)
		}
		if !visit(id, body, intact && err == nil, nth) {
			return nil
		}
		if intact && err == nil {
			nth++
		}
	}
	return nil
}
