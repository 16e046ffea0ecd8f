package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"
)

// compact moves closed hours of recent into minutes, closed days of minutes into hours, and prunes: a bounded piece of it each
// time roll-ups are saved, so that no save is slow. The work of an hour is done long before the next is due.
func (t *telemetry) compact(ctx context.Context, tx *sql.Tx, newest int64, chunks int) error {
	closed := (newest - lateMinutes) / 60 // hours before this one are closed
	for range chunks {
		more, err := compactHour(ctx, tx, closed)
		if err != nil {
			return err
		}
		if !more {
			if err := t.compactDays(ctx, tx, closed/24, chunks); err != nil {
				return err
			}
			break
		}
	}
	return t.prune(ctx, tx, newest, 4096*chunks)
}

// compactHour takes 256 probes of the oldest closed hour out of recent and writes a block for each.
func compactHour(ctx context.Context, tx *sql.Tx, closed int64) (more bool, err error) {
	var oldest sql.NullInt64
	if err := tx.QueryRowContext(ctx, "SELECT min(k) FROM recent").Scan(&oldest); err != nil || !oldest.Valid {
		return false, err
	}
	hour, chunk := oldest.Int64>>probeBits/60, oldest.Int64&(1<<probeBits-1)
	if hour >= closed {
		return false, nil
	}
	byProbe := make([][]slot, chunkProbes)
	keys := make([]any, 60)
	for i := range keys {
		keys[i] = (hour*60+int64(i))<<probeBits | chunk
	}
	rows, err := tx.QueryContext(ctx, "SELECT k, block FROM recent WHERE k IN ("+inList(len(keys))+") ORDER BY k", keys...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	for rows.Next() {
		var k int64
		var b []byte
		if err := rows.Scan(&k, &b); err != nil {
			return false, err
		}
		n := int(k>>probeBits - hour*60)
		// A damaged row costs its minute, not the controller.
		_ = walkRecent(b, func(place int64, s slot) {
			s.n = n
			if have := byProbe[place]; len(have) > 0 && have[len(have)-1].n == n {
				have[len(have)-1] = s
			} else {
				byProbe[place] = append(have, s)
			}
		})
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return false, err
	}
	for place, slots := range byProbe {
		if len(slots) == 0 {
			continue
		}
		k := hour<<probeBits | (chunk*chunkProbes + int64(place))
		if err := putBlock(ctx, tx, "minutes", k, slots); err != nil {
			return false, err
		}
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM recent WHERE k IN ("+inList(len(keys))+")", keys...)
	return true, err
}

// putBlock writes a block; what is there already is kept where the new one has nothing.
func putBlock(ctx context.Context, tx *sql.Tx, table string, k int64, slots []slot) error {
	res, err := tx.ExecContext(ctx, "INSERT INTO "+table+" (k, block) VALUES (?, ?) ON CONFLICT (k) DO NOTHING", k, appendBlock(nil, slots))
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		return err
	}
	var b []byte
	if err := tx.QueryRowContext(ctx, "SELECT block FROM "+table+" WHERE k = ?", k).Scan(&b); err != nil {
		return err
	}
	old, _ := decodeBlock(b) // of a damaged one nothing can be kept
	for _, s := range slots {
		i, found := slices.BinarySearchFunc(old, s.n, func(o slot, n int) int { return o.n - n })
		if found {
			old[i] = s
		} else {
			old = slices.Insert(old, i, s)
		}
	}
	_, err = tx.ExecContext(ctx, "UPDATE "+table+" SET block = ? WHERE k = ?", appendBlock(nil, old), k)
	return err
}

// compactDays rolls the hours of closed days up, 256 probes at a time.
func (t *telemetry) compactDays(ctx context.Context, tx *sql.Tx, closed int64, chunks int) error {
	next, err := t.progress(ctx, tx)
	if err != nil {
		return err
	}
	start := next
	var last int64
	if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(id), 0) FROM probes").Scan(&last); err != nil {
		return err
	}
	for range chunks {
		day, first := next>>probeBits, next&(1<<probeBits-1)
		if day >= closed {
			break
		}
		for id := first; id < first+chunkProbes && id <= last; id++ {
			if err := rollDay(ctx, tx, day, id); err != nil {
				return err
			}
		}
		if next += chunkProbes; next&(1<<probeBits-1) > last {
			next = (day + 1) << probeBits
		}
	}
	if next == start {
		return nil
	}
	_, err = tx.ExecContext(ctx, "UPDATE progress SET next = ? WHERE id = 1", next)
	return err
}

// progress reads the first day that is not rolled up; on first use, the first day there is.
func (t *telemetry) progress(ctx context.Context, tx *sql.Tx) (next int64, err error) {
	err = tx.QueryRowContext(ctx, "SELECT next FROM progress WHERE id = 1").Scan(&next)
	if !errors.Is(err, sql.ErrNoRows) {
		return next, err
	}
	const first = `SELECT min(coalesce((SELECT (min(k) >> 24) / 1440 FROM recent), 1 << 30), coalesce((SELECT (min(k) >> 24) / 24 FROM minutes), 1 << 30))`
	if err := tx.QueryRowContext(ctx, first).Scan(&next); err != nil {
		return 0, err
	}
	next <<= probeBits
	_, err = tx.ExecContext(ctx, "INSERT INTO progress (id, next) VALUES (1, ?)", next)
	return next, err
}

// rollDay makes the block of one probe's hours of one day.
func rollDay(ctx context.Context, tx *sql.Tx, day, id int64) error {
	var hours []slot
	keys := make([]any, 24)
	for i := range keys {
		keys[i] = (day*24+int64(i))<<probeBits | id
	}
	rows, err := tx.QueryContext(ctx, "SELECT k, block FROM minutes WHERE k IN ("+inList(len(keys))+") ORDER BY k", keys...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var k int64
		var b []byte
		if err := rows.Scan(&k, &b); err != nil {
			return err
		}
		minutes, err := decodeBlock(b)
		if err != nil || len(minutes) == 0 {
			continue // a damaged block costs its hour, not the controller
		}
		hours = append(hours, slot{int(k>>probeBits - day*24), sumUp(minutes)})
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil || len(hours) == 0 {
		return err
	}
	return putBlock(ctx, tx, "hours", day<<probeBits|id, hours)
}

// sumUp makes one row of several.
func sumUp(slots []slot) Rollup {
	out := slots[0].r
	for _, s := range slots[1:] {
		r := s.r
		if out.Runs == 0 {
			out.Min, out.Max = r.Min, r.Max
		} else if r.Runs > 0 {
			out.Min, out.Max = min(out.Min, r.Min), max(out.Max, r.Max)
		}
		out.Runs, out.Bad, out.Unknown = out.Runs+r.Runs, out.Bad+r.Bad, out.Unknown+r.Unknown
		out.Sum, out.Last = out.Sum+r.Sum, r.Last
		out.TookSum, out.TookMax = out.TookSum+r.TookSum, max(out.TookMax, r.TookMax)
	}
	return out
}

// prune drops what is older than is kept, the oldest first; minutes only once their day is rolled up.
func (t *telemetry) prune(ctx context.Context, tx *sql.Tx, newest int64, rows int) error {
	next, err := t.progress(ctx, tx)
	if err != nil {
		return err
	}
	hour := min(newest/60-int64(keepMinutes/time.Hour), next>>probeBits*24)
	day := newest/1440 - int64(keepHours/(24*time.Hour))
	const oldest = " WHERE k IN (SELECT k FROM "
	const first = " WHERE k < ? ORDER BY k LIMIT ?)"
	if _, err := tx.ExecContext(ctx, "DELETE FROM minutes"+oldest+"minutes"+first, hour<<probeBits, rows); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM hours"+oldest+"hours"+first, day<<probeBits, rows)
	return err
}
