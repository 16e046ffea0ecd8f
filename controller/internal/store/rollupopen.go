package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// RollupReader reads the roll-ups of a data folder that another process may be writing.
type RollupReader struct{ t *telemetry }

// OpenRollups opens the roll-ups of a data folder for reading only. A folder without any gives a reader that finds nothing. Close it.
func OpenRollups(ctx context.Context, dir string) (*RollupReader, error) {
	path := filepath.Join(dir, fileTelemetry)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return &RollupReader{}, nil
	}
	db, err := openReaders(ctx, path)
	if err != nil {
		return nil, err
	}
	if err := refuseNewer(ctx, db, telemetryFile, path); err != nil {
		return nil, errors.Join(explain(err, "read the roll-ups", path), db.Close())
	}
	t := &telemetry{path: path, db: db, ids: map[string]int64{}}
	if err := t.load(ctx); err != nil {
		return nil, errors.Join(explain(err, "read the roll-ups", path), db.Close())
	}
	return &RollupReader{t}, nil
}

// Rollups is as that of Store.
func (r *RollupReader) Rollups(ctx context.Context, probe string, from, to time.Time) ([]Rollup, error) {
	if r.t == nil {
		return nil, nil
	}
	rows, err := r.t.rollups(ctx, probe, from, to)
	return rows, explain(err, "read the roll-ups", r.t.path)
}

// Close ends it.
func (r *RollupReader) Close() error {
	if r.t == nil {
		return nil
	}
	return r.t.close()
}
