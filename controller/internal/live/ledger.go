package live

import (
	"context"

	"github.com/backstay/backstay/controller/internal/store"
	"github.com/backstay/backstay/playbooks"
)

// ledger lets actions keep their replay ledger in the store, which knows nothing of actions.
type ledger struct{ rows *store.Ledger }

// NewLedger gives the actions their ledger.
func NewLedger(s *store.Store) playbooks.Ledger { return ledger{s.Ledger()} }

func (l ledger) Get(ctx context.Context, scope, key string) (playbooks.LedgerRow, error) {
	row, err := l.rows.Get(ctx, scope, key)
	return playbooks.LedgerRow(row), err
}

func (l ledger) Put(ctx context.Context, rows ...playbooks.LedgerRow) error {
	out := make([]store.LedgerRow, len(rows))
	for i, row := range rows {
		out[i] = store.LedgerRow(row)
	}
	return l.rows.Put(ctx, out...)
}

func (l ledger) Count(ctx context.Context, scope string) (map[string]int64, error) {
	return l.rows.Count(ctx, scope)
}
