package live

import (
	"context"

	"github.com/backstay/backstay/controller/internal/store"
	"github.com/backstay/backstay/playbooks"
)

// Ledger lets actions keep their replay ledger in the store, which knows nothing of actions. It is made before there is a store, so
// that a configuration can be read and checked before the data folder is touched.
type Ledger struct{ rows *store.Ledger }

// Use gives the ledger its store; no action may run before.
func (l *Ledger) Use(s *store.Store) { l.rows = s.Ledger() }

// Get reads one row.
func (l *Ledger) Get(ctx context.Context, scope, key string) (playbooks.LedgerRow, error) {
	row, err := l.rows.Get(ctx, scope, key)
	return playbooks.LedgerRow(row), err
}

// Put writes rows, durably.
func (l *Ledger) Put(ctx context.Context, rows ...playbooks.LedgerRow) error {
	out := make([]store.LedgerRow, len(rows))
	for i, row := range rows {
		out[i] = store.LedgerRow(row)
	}
	return l.rows.Put(ctx, out...)
}

// Count counts the rows of a scope by state.
func (l *Ledger) Count(ctx context.Context, scope string) (map[string]int64, error) {
	return l.rows.Count(ctx, scope)
}
