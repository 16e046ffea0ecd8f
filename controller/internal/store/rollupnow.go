package store

import (
	"context"
	"time"
)

// Newest is the end of the newest minute that there is; the zero time where there is none.
func (r *RollupReader) Newest() time.Time {
	if r.t == nil || r.t.newest == 0 {
		return time.Time{}
	}
	return time.Unix((r.t.newest+1)*60, 0).UTC()
}

// lastWithin is how far back the last minute of a probe is looked for: beyond that a value says nothing of the present.
const lastWithin = 6 * time.Hour

// Last is the newest minute in which a probe could run; false where there is none in the last hours of the roll-ups.
func (r *RollupReader) Last(ctx context.Context, probe string) (Rollup, bool, error) {
	end := r.Newest()
	if end.IsZero() {
		return Rollup{}, false, nil
	}
	for at := end; end.Sub(at) < lastWithin; at = at.Add(-time.Hour) {
		rows, err := r.Rollups(ctx, probe, at.Add(-time.Hour), at)
		if err != nil {
			return Rollup{}, false, err
		}
		for i := len(rows) - 1; i >= 0; i-- {
			if rows[i].Runs > rows[i].Unknown {
				return rows[i], true, nil
			}
		}
	}
	return Rollup{}, false, nil
}
