package store

import (
	"context"
	"database/sql"
	"errors"
	"hash/maphash"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/mod/sumdb/note"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/audit"
)

// VerifyOptions say against what to verify.
type VerifyOptions struct {
	Published [][]byte                // signed checkpoints that were kept elsewhere, beside the one in the folder
	Key       string                  // public key that came another way; empty means key.pub of the folder
	Witness   string                  // public key of the witness that came another way; empty means witness.pub of the folder
	Progress  func(done, total int64) // entries; called from one goroutine, now and then; may be nil
}

// Report is what verification found.
type Report struct {
	Origin     string           `json:"origin"`
	Entries    int64            `json:"entries"`             // that the signed head covers
	Rows       int64            `json:"rows"`                // views, ledger rows and snapshots
	Bytes      int64            `json:"bytes"`               // of entries
	Checkpoint string           `json:"checkpoint"`          // the signed head
	Witnessed  *audit.Witnessed `json:"witnessed,omitempty"` // the newest checkpoint that a witness cosigned
	Damages    []audit.Damage   `json:"damages"`
}

// OK tells whether nothing is wrong.
func (r Report) OK() bool { return len(r.Damages) == 0 }

// Verify checks the open log from its first byte to its head: see VerifyFolder.
func (s *Store) Verify(ctx context.Context, o VerifyOptions) (Report, error) {
	if o.Key == "" {
		o.Key = s.Head().Key
	}
	return verify(ctx, s.dir, o)
}

// VerifyFolder checks a data folder that need not be open: every entry's bytes against its hash and its columns, every stored hash
// against the entries, the whole against the signed head and against the published checkpoint, every row that changes in place
// against its checksum and all of them against the signed sum, the tables against those that this program makes, and the pages of
// the file against SQLite's own check. The error is for a check that could not be made; what was found is in the report.
func VerifyFolder(ctx context.Context, dir string, o VerifyOptions) (Report, error) {
	if _, err := os.Stat(filepath.Join(dir, fileJournal)); err != nil {
		return Report{}, &api.Error{Code: api.CodeNotFound, Message: "verify the log", Err: err, Hint: "name the data folder of backstay run with --data"}
	}
	return verify(ctx, dir, o)
}

// check is one verification under way.
type check struct {
	dir      string
	db       *sql.DB
	options  VerifyOptions
	verifier note.Verifier
	head     headRow
	signed   audit.Checkpoint
	trusted  *audit.Checkpoint // signed, where its signature holds
	report   Report

	seed maphash.Seed // of indexSums

	mu sync.Mutex // of report
}

func verify(ctx context.Context, dir string, o VerifyOptions) (Report, error) {
	c := &check{dir: dir, options: o, seed: maphash.MakeSeed()}
	if err := c.loadKey(); err != nil {
		return Report{}, err
	}
	db, err := openReaders(ctx, filepath.Join(dir, fileJournal))
	if err == nil {
		c.db = db
		defer db.Close()
		err = c.run(ctx)
	}
	if err != nil {
		if ctx.Err() != nil {
			return Report{}, api.Errorf(api.CodeInconclusive, "verify the log: stopped before its end: %w", ctx.Err())
		}
		if !isDamage(err) && api.CodeOf(err) != api.CodeTampered {
			return Report{}, explain(err, "verify the log", dir)
		}
		c.found(audit.Elsewhere(audit.DamagePage, fileJournal, "it cannot be read: %v", err))
	}
	if c.report.Damages == nil {
		c.report.Damages = []audit.Damage{}
	}
	return c.report, nil
}

func (c *check) found(d ...audit.Damage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Damages = append(c.report.Damages, d...)
}

func (c *check) loadKey() error {
	key := c.options.Key
	if key == "" {
		b, err := os.ReadFile(filepath.Join(c.dir, fileKeyPublic))
		if err != nil {
			return &api.Error{Code: api.CodeInconclusive, Message: "verify the log: read its public key", Err: err, Hint: "give the key with --key, as it was copied when the log began"}
		}
		key = string(b)
	}
	v, err := note.NewVerifier(strings.TrimSpace(key))
	if err != nil {
		return &api.Error{Code: api.CodeInconclusive, Message: "verify the log: read its public key", Err: err, Hint: "give the key with --key, as it was copied when the log began"}
	}
	c.verifier = v
	return nil
}

// run makes all checks. Rows that change in place are read in one transaction with the head; entries only grow, so they are read
// beside it by several connections.
func (c *check) run(ctx context.Context) error {
	tx, err := c.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := c.schema(ctx, tx); err != nil {
		return err
	}
	row := tx.QueryRowContext(ctx, "SELECT size, checkpoint, rows, state, state_note FROM log_head WHERE id = 1")
	if err := row.Scan(&c.head.size, &c.head.checkpoint, &c.head.rows, &c.head.state, &c.head.stateNote); errors.Is(err, sql.ErrNoRows) {
		c.found(audit.Elsewhere(audit.DamageSigned, "log head", "it is missing"))
	} else if err != nil {
		return err
	}
	c.report.Origin, c.report.Checkpoint = c.verifier.Name(), string(c.head.checkpoint)
	c.checkHead()
	c.witnessed()
	if err := c.beyond(ctx, tx); err != nil {
		return err
	}
	var wg sync.WaitGroup
	var besides error
	var found indexSums
	sound := false
	wg.Go(func() {
		if besides = c.pages(ctx, tx); besides == nil {
			found, sound, besides = c.indexes(ctx)
		}
	})
	want, err := c.entries(ctx)
	wg.Wait()
	if err := errors.Join(err, besides); err != nil {
		return err
	}
	if !sound || found != want {
		return c.ask(ctx, tx, "PRAGMA integrity_check('entries')") // slower, but it names the entries
	}
	return nil
}

// wantSchema is what this program makes.
var wantSchema = sync.OnceValues(func() ([]string, error) {
	ctx := context.Background()
	fresh, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, err
	}
	defer fresh.Close()
	fresh.SetMaxOpenConns(1)
	if err := migrate(ctx, fresh, journalFile); err != nil {
		return nil, err
	}
	return schemaOf(ctx, fresh)
})

// schema compares the tables with those that this program makes: a changed index or constraint would hide entries.
func (c *check) schema(ctx context.Context, tx *sql.Tx) error {
	want, err := wantSchema()
	if err != nil {
		return err
	}
	have, err := schemaOf(ctx, tx)
	if err != nil {
		return err
	}
	for _, line := range have {
		if !slices.Contains(want, line) {
			c.found(audit.Elsewhere(audit.DamageSchema, "tables", "not as this program makes them: %.200q", line))
		}
	}
	for _, line := range want {
		if !slices.Contains(have, line) {
			c.found(audit.Elsewhere(audit.DamageSchema, "tables", "missing: %.200q", line))
		}
	}
	return nil
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func schemaOf(ctx context.Context, db querier) ([]string, error) {
	// The two tables that SQLite and goose make are not strict, so the types of their values are compared too.
	const query = `SELECT type || ' ' || name || ' ' || tbl_name || ' ' || coalesce(sql, '') || ' ' || typeof(type) || typeof(name) || typeof(tbl_name) || typeof(sql) FROM sqlite_schema
		UNION ALL SELECT 'format ' || version_id || ' ' || is_applied || ' ' || typeof(version_id) || typeof(is_applied) FROM goose_db_version`
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var line sql.NullString
		if err := rows.Scan(&line); err != nil {
			return nil, err
		}
		out = append(out, line.String)
	}
	return out, rows.Err()
}

func (c *check) checkHead() {
	var err error
	if c.signed, err = audit.OpenCheckpoint(c.head.checkpoint, c.verifier); err != nil {
		c.found(audit.Elsewhere(audit.DamageSigned, "log head", "its checkpoint is not signed by the key of this log: %v", err))
		c.signed = audit.Checkpoint{Size: c.head.size}
	} else {
		c.trusted = &c.signed
	}
	if c.signed.Size != c.head.size {
		c.found(audit.Elsewhere(audit.DamageSigned, "log head", "it says %d entries, its signed checkpoint %d", c.head.size, c.signed.Size))
	}
	c.report.Entries = c.signed.Size
}

// beyond looks for entries after the head, as of the head's own transaction.
func (c *check) beyond(ctx context.Context, tx *sql.Tx) error {
	var below, above sql.NullInt64
	if err := tx.QueryRowContext(ctx, "SELECT min(seq) FROM entries WHERE seq < 0").Scan(&below); err != nil {
		return err
	}
	if err := tx.QueryRowContext(ctx, "SELECT max(seq) FROM entries WHERE seq >= ?", c.signed.Size).Scan(&above); err != nil {
		return err
	}
	if below.Valid {
		c.found(audit.Entries(audit.DamageExtra, below.Int64, below.Int64, "no entry has such a number"))
	}
	if above.Valid {
		c.found(audit.Entries(audit.DamageExtra, c.signed.Size, above.Int64, "beyond the signed head of %d entries", c.signed.Size))
	}
	return nil
}

// published lists the checkpoints that the log must have grown from.
func (c *check) published() (out []audit.Checkpoint) {
	all := c.options.Published
	all = all[:len(all):len(all)]
	for _, name := range []string{fileCheckpoint, filepath.Join(TilesFolder, fileCheckpoint), fileWitnessed} {
		if b, err := os.ReadFile(filepath.Join(c.dir, name)); err == nil {
			all = append(all, b)
		}
	}
	for _, b := range all {
		p, err := audit.OpenCheckpoint(b, c.verifier)
		if err != nil {
			c.found(audit.Elsewhere(audit.DamageSigned, "published checkpoint", "it is not signed by the key of this log: %v", err))
			continue
		}
		out = append(out, p)
	}
	return out
}
