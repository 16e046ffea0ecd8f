// Package store keeps the journal: entries, their Merkle tree and signed checkpoints, the present view of incidents and
// remediations, snapshots of the engine, the replay ledger, and roll-ups of observations; on SQLite.
package store

import (
	"context"
	"time"

	"github.com/backstay/backstay/api"
)

// Options say where and how.
type Options struct {
	Dir    string // the data folder; made when missing
	Origin string // the log's name in checkpoints, such as backstay.local/HOST
}

// Batch is what one commit makes durable, all or nothing.
type Batch struct {
	Entries      []api.Entry
	Incidents    []api.Incident    // views that changed
	Remediations []api.Remediation // views that changed
}

// Store is an open journal.
type Store struct{}

// Open locks the data folder (a second process is refused), migrates, reads back the settings that durability rests on, and
// checks that the head is the last published one.
func Open(ctx context.Context, o Options) (*Store, error) { return nil, nil }

// Append makes a batch durable and gives the sequence number of its first entry. Concurrent calls share a commit. After an error
// nothing of the batch is durable and the store refuses further appends: the caller ends the process.
func (s *Store) Append(ctx context.Context, b Batch) (first int64, err error) { return 0, nil }

// Query selects entries.
type Query struct {
	From, To    int64 // sequence numbers; To 0 means to the head
	Incident    string
	Remediation string
	Kinds       []api.EntryKind
	Since       time.Time
	Limit       int // default 1,000
}

// Entries reads entries in order.
func (s *Store) Entries(ctx context.Context, q Query) ([]api.Entry, error) { return nil, nil }

// Incidents lists the newest first; open ones only where asked.
func (s *Store) Incidents(ctx context.Context, openOnly bool, limit int) ([]api.Incident, error) {
	return nil, nil
}

// Incident reads one.
func (s *Store) Incident(ctx context.Context, id string) (api.Incident, error) {
	return api.Incident{}, nil
}

// Remediations lists the newest first.
func (s *Store) Remediations(ctx context.Context, incident string, limit int) ([]api.Remediation, error) {
	return nil, nil
}

// Remediation reads one.
func (s *Store) Remediation(ctx context.Context, id string) (api.Remediation, error) {
	return api.Remediation{}, nil
}

// SaveSnapshot keeps the engine's state as of all entries before next.
func (s *Store) SaveSnapshot(ctx context.Context, next int64, state []byte) error { return nil }

// LoadSnapshot gives the newest snapshot and the first entry to apply on top of it.
func (s *Store) LoadSnapshot(ctx context.Context) (next int64, state []byte, err error) {
	return 0, nil, nil
}

// Rollup is one minute of one probe.
type Rollup struct {
	Probe               string
	Minute              time.Time // start of the minute, UTC
	Runs, Bad, Unknown  int32
	Min, Max, Sum, Last float64 // of Value
	TookSum, TookMax    time.Duration
}

// SaveRollups stores finished minutes, in compact blocks per probe and hour; minutes are kept 48 h, hours 90 days.
func (s *Store) SaveRollups(ctx context.Context, rows []Rollup) error { return nil }

// Rollups reads the minutes (or hours, where minutes are gone) of a probe.
func (s *Store) Rollups(ctx context.Context, probe string, from, to time.Time) ([]Rollup, error) {
	return nil, nil
}

// Close releases the data folder.
func (s *Store) Close() error { return nil }
