package store

import (
	"context"
	"time"

	"github.com/backstay/backstay/api"
)

// Ledger remembers what was done to each business item, durably, so that a crash in the middle of a batch repeats nothing. Its
// writes share the committer, its durability and its signed sum.
type Ledger struct{ store *Store }

// LedgerRow is one item's state.
type LedgerRow struct {
	Scope, Key string
	State      string // the action's own word: intended, done, quarantined, unknown ...
	Hash       string // of the item's payload
	Run        string // remediation and step
	Note       string
	At         time.Time
}

// Ledger gives the replay ledger.
func (s *Store) Ledger() *Ledger { return &Ledger{s} }

// Get gives the state of an item; State is empty where it was never seen.
func (l *Ledger) Get(ctx context.Context, scope, key string) (LedgerRow, error) {
	rows, err := ledger.find(ctx, l.store.read, ledger.byKey(), scope, key)
	if err != nil || len(rows) == 0 {
		return LedgerRow{Scope: scope, Key: key}, err
	}
	v := rows[0]
	text := func(i int) string { s, _ := v[i].(string); return s }
	at, _ := v[6].(int64)
	return LedgerRow{Scope: scope, Key: key, State: text(2), Hash: text(3), Run: text(4), Note: text(5), At: moment(at)}, nil
}

// Put records states, all or none, durable when it returns. An error other than api.CodeInvalid means that the store takes no
// more writes: see Append.
func (l *Ledger) Put(ctx context.Context, rows ...LedgerRow) error {
	r := request{changes: make([]change, 0, len(rows))}
	for _, row := range rows {
		if row.Scope == "" || row.Key == "" || row.State == "" {
			return &api.Error{Code: api.CodeInvalid, Message: "write to the ledger: a row needs scope, key and state", Hint: "nothing was written"}
		}
		r.changes = append(r.changes, change{table: ledger, values: []any{row.Scope, row.Key, row.State, row.Hash, row.Run, row.Note, nanos(row.At)}})
	}
	if len(rows) == 0 {
		return nil
	}
	_, err := l.store.committer.submit(ctx, r)
	return err
}

// Count counts the items of a scope by state.
func (l *Ledger) Count(ctx context.Context, scope string) (map[string]int64, error) {
	rows, err := l.store.read.QueryContext(ctx, "SELECT state, count(*) FROM ledger WHERE scope = ? GROUP BY state", scope)
	if err != nil {
		return nil, explain(err, "count the ledger", l.store.dir)
	}
	defer rows.Close()
	counts := map[string]int64{}
	for rows.Next() {
		var state string
		var n int64
		if err := rows.Scan(&state, &n); err != nil {
			return nil, explain(err, "count the ledger", l.store.dir)
		}
		counts[state] = n
	}
	return counts, explain(rows.Err(), "count the ledger", l.store.dir)
}
