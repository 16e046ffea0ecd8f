package store

import (
	"context"
	"database/sql"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/backstay/backstay/controller/internal/audit"
)

// hasWAL tells whether the last process left a WAL behind: it did not end cleanly, or somebody still reads.
func hasWAL(path string) bool {
	info, err := os.Stat(path + "-wal")
	return err == nil && info.Size() > 0
}

// checkAfterCrash looks through the database where a WAL was left behind. A crash does no harm to it; but when somebody put an older
// backstay.db beside that WAL, SQLite joins the two without a word: the head is the newest then, while rows of the ledger are old or
// gone, and what they stood for would be done again. Pages, numbers of entries, and all rows that change in place are checked, which
// takes about 1 s per million entries; verification checks the rest.
func (s *Store) checkAfterCrash(ctx context.Context, h headRow) error {
	c := &check{dir: s.dir, db: s.read, verifier: s.verifier, head: h}
	group, ctx := errgroup.WithContext(ctx)
	inTx := func(do func(tx *sql.Tx) error) {
		group.Go(func() error {
			tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
			if err != nil {
				return err
			}
			defer tx.Rollback()
			return do(tx)
		})
	}
	inTx(func(tx *sql.Tx) error { return c.stateRows(ctx, tx) })
	inTx(func(tx *sql.Tx) error { return c.ask(ctx, tx, "PRAGMA quick_check(1)") })
	inTx(func(tx *sql.Tx) error {
		var n int64
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM entries NOT INDEXED WHERE seq >= 0 AND seq < ?", h.size).Scan(&n); err != nil {
			return err
		}
		if n != h.size {
			c.found(audit.Elsewhere(audit.DamageMissing, "log", "it holds %d of its %d entries", n, h.size))
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return explain(err, "check the journal after a crash", s.dir)
	}
	if len(c.report.Damages) > 0 {
		return tampered("open the log: the last process did not end cleanly, and what it left does not fit together, as when an older backstay.db was put beside a newer backstay.db-wal: %s", c.report.Damages[0])
	}
	return nil
}
