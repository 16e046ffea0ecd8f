package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/backstay/backstay/api"
)

// How long roll-ups are kept.
const (
	keepMinutes = 48 * time.Hour
	keepHours   = 90 * 24 * time.Hour
)

const (
	probeBits   = 24 // of a key
	chunkProbes = 256
	lateMinutes = 5 // an hour is closed this long after its end
)

// Rollup is one minute of one probe, or one hour where the minutes are gone. Whole numbers are kept exactly, other values and
// durations to four digits.
type Rollup struct {
	Probe               string
	Minute              time.Time // start of the minute, UTC
	Runs, Bad, Unknown  int32
	Min, Max, Sum, Last float64 // of Value
	TookSum, TookMax    time.Duration
}

// telemetry is the second database: roll-ups, and recorded inputs.
type telemetry struct {
	path string
	db   *sql.DB

	mu     sync.Mutex // one writer
	ids    map[string]int64
	newest int64 // minute since 1970
	inputs inputs
}

// openTelemetry opens the roll-ups. They are not worth stopping for: a damaged file is set aside, under a name that says so, and a
// new one begun.
func openTelemetry(ctx context.Context, path string) (*telemetry, error) {
	t := &telemetry{path: path, ids: map[string]int64{}}
	err := t.open(ctx)
	if api.CodeOf(err) == api.CodeTampered {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if rerr := os.Rename(path+suffix, path+".damaged"+suffix); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
				return nil, explain(rerr, "set the damaged roll-ups aside", filepath.Dir(path))
			}
		}
		err = t.open(ctx)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (t *telemetry) open(ctx context.Context) (err error) {
	if t.db, err = openDatabase(ctx, telemetryFile, t.path); err != nil {
		return err
	}
	if err := t.load(ctx); err != nil {
		t.db.Close()
		return explain(err, "read the roll-ups", t.path)
	}
	t.db.SetMaxOpenConns(6) // one for recorded inputs, one that copies the WAL
	return nil
}

func (t *telemetry) load(ctx context.Context) error {
	clear(t.ids)
	rows, err := t.db.QueryContext(ctx, "SELECT id, name FROM probes")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			return err
		}
		t.ids[name] = id
	}
	if err := rows.Err(); err != nil {
		return err
	}
	const newest = `SELECT max(coalesce((SELECT max(k) >> 24 FROM recent), 0), coalesce((SELECT ((max(k) >> 24) + 1) * 60 - 1 FROM minutes), 0))`
	return t.db.QueryRowContext(ctx, newest).Scan(&t.newest)
}

func (t *telemetry) close() error { return errors.Join(t.inputs.close(), t.db.Close()) }

// SaveRollups stores finished minutes, in compact blocks per probe and hour; minutes are kept 48 h, hours 90 days. A minute that
// was stored before is replaced; one that is older than what is kept is dropped. Time is what the rows say.
//
// It is one transaction that a power loss may undo (not a crash of the program): roll-ups are never what a decision rests on.
func (s *Store) SaveRollups(ctx context.Context, rows []Rollup) error {
	if len(rows) == 0 {
		return nil
	}
	return explain(s.tele.save(ctx, rows), "store roll-ups", s.dir)
}

func (t *telemetry) save(ctx context.Context, rows []Rollup) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	tx, err := t.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	added, newest := map[string]int64{}, t.newest
	incoming := map[int64][]byte{} // of recent, by key
	for i := range rows {
		id, err := t.probe(ctx, tx, rows[i].Probe, added)
		if err != nil {
			return err
		}
		minute := floorDiv(rows[i].Minute.Unix(), 60)
		if minute < 0 || minute <= newest-int64(keepMinutes/time.Minute) {
			continue
		}
		newest = max(newest, minute)
		k := minute<<probeBits | id/chunkProbes
		incoming[k] = appendRecent(incoming[k], id%chunkProbes, rows[i])
	}
	for k, b := range incoming { // any order: each key is its own row
		if err := addRecent(ctx, tx, k, b); err != nil {
			return err
		}
	}
	if err := t.compact(ctx, tx, newest, 2+len(rows)/2500); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	for name, id := range added {
		t.ids[name] = id
	}
	t.newest = newest
	return nil
}

// probe gives the number of a probe, a new one where it has none.
func (t *telemetry) probe(ctx context.Context, tx *sql.Tx, name string, added map[string]int64) (int64, error) {
	if id, ok := t.ids[name]; ok {
		return id, nil
	}
	if id, ok := added[name]; ok {
		return id, nil
	}
	res, err := tx.ExecContext(ctx, "INSERT INTO probes (name) VALUES (?)", name)
	if err != nil {
		return 0, err
	}
	id, err := res.LastInsertId()
	if err == nil && id >= 1<<probeBits {
		err = api.Errorf(api.CodeUnavailable, "store roll-ups: more than %d probe names were ever used: move telemetry.db away to begin a new one", 1<<probeBits)
	}
	added[name] = id
	return id, err
}

// appendRecent adds one probe's minute to a row of recent: the probe's place in the chunk, then a block of one, behind its length.
func appendRecent(b []byte, place int64, r Rollup) []byte {
	one := appendBlock(nil, []slot{{0, r}})
	b = append(b, byte(place), byte(len(one)))
	return append(b, one...)
}

// walkRecent reads a row of recent; a later minute of the same probe replaces the earlier one.
func walkRecent(b []byte, visit func(place int64, s slot)) error {
	for len(b) > 0 {
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return errBlock
		}
		slots, err := decodeBlock(b[2 : 2+int(b[1])])
		if err != nil || len(slots) != 1 {
			return errBlock
		}
		visit(int64(b[0]), slots[0])
		b = b[2+int(b[1]):]
	}
	return nil
}

func addRecent(ctx context.Context, tx *sql.Tx, k int64, b []byte) error {
	var old []byte
	err := tx.QueryRowContext(ctx, "SELECT block FROM recent WHERE k = ?", k).Scan(&old)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO recent (k, block) VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET block = excluded.block", k, append(old, b...))
	return err
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// Rollups reads the minutes (or hours, where minutes are gone) of a probe that begin in [from, to), in order. A probe that was
// never stored has none.
func (s *Store) Rollups(ctx context.Context, probe string, from, to time.Time) ([]Rollup, error) {
	rows, err := s.tele.rollups(ctx, probe, from, to)
	return rows, explain(err, fmt.Sprintf("read the roll-ups of probe %s", probe), s.dir)
}
