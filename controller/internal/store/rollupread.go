package store

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// rollups reads hours up to where minutes begin, then minutes.
func (t *telemetry) rollups(ctx context.Context, probe string, from, to time.Time) ([]Rollup, error) {
	t.mu.Lock()
	id, known := t.ids[probe]
	newest := t.newest
	t.mu.Unlock()
	if !known || !from.Before(to) {
		return nil, nil
	}
	first := max(0, -floorDiv(-from.Unix(), 60)) // the first whole minute
	end := min(-floorDiv(-to.Unix(), 60), newest+1)
	kept := (newest/60 - int64(keepMinutes/time.Hour)) * 60      // minutes before this may be gone
	tx, err := t.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}) // one view of all tables, whatever is compacted meanwhile
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	var out []Rollup
	collect := func(minute int64, r Rollup) {
		if minute >= first && minute < end {
			r.Probe, r.Minute = probe, time.Unix(minute*60, 0).UTC()
			out = append(out, r)
		}
	}
	for day := max(first/1440, newest/1440-int64(keepHours/(24*time.Hour))); day*1440 < min(end, kept); day++ {
		err := eachSlot(ctx, tx, "SELECT block FROM hours WHERE k = ?", day<<probeBits|id, func(s slot) {
			if minute := day*1440 + int64(s.n)*60; minute < kept {
				collect(minute, s.r)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	for hour := max(first, kept) / 60; hour*60 < end; hour++ {
		if err := readHour(ctx, tx, id, hour, collect); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// readHour reads the minutes of one hour, closed or not.
func readHour(ctx context.Context, tx *sql.Tx, id, hour int64, collect func(int64, Rollup)) error {
	var slots [60]*Rollup
	put := func(n int, r Rollup) {
		if n >= 0 && n < len(slots) {
			slots[n] = &r
		}
	}
	if err := eachSlot(ctx, tx, "SELECT block FROM minutes WHERE k = ?", hour<<probeBits|id, func(s slot) { put(s.n, s.r) }); err != nil {
		return err
	}
	keys := make([]any, 60)
	for i := range keys {
		keys[i] = (hour*60+int64(i))<<probeBits | id/chunkProbes
	}
	rows, err := tx.QueryContext(ctx, "SELECT k, block FROM recent WHERE k IN ("+inList(len(keys))+")", keys...)
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
		err := walkRecent(b, func(place int64, s slot) {
			if place == id%chunkProbes {
				put(int(k>>probeBits-hour*60), s.r)
			}
		})
		if err != nil {
			return tampered("read the roll-ups: %w", err)
		}
	}
	for n, r := range slots {
		if r != nil {
			collect(hour*60+int64(n), *r)
		}
	}
	return rows.Err()
}

func eachSlot(ctx context.Context, tx *sql.Tx, query string, k int64, visit func(slot)) error {
	var b []byte
	err := tx.QueryRowContext(ctx, query, k).Scan(&b)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	slots, err := decodeBlock(b)
	if err != nil {
		return tampered("read the roll-ups: %w", err)
	}
	for _, s := range slots {
		visit(s)
	}
	return nil
}
