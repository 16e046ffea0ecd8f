package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/pressly/goose/v3"

	"github.com/backstay/backstay/api"
)

//go:embed migrations
var migrations embed.FS

// file describes one of the two databases.
type file struct {
	name        string // for messages
	migrations  string
	synchronous int // 2 is FULL, 1 is NORMAL
	pageSize    int // of a new file; blocks of roll-ups would leave small pages half empty
}

var (
	journalFile   = file{name: "journal", migrations: "migrations/journal", synchronous: 2, pageSize: 4096}
	telemetryFile = file{name: "roll-ups", migrations: "migrations/telemetry", synchronous: 1, pageSize: 16384}
)

// walBytes is how long a WAL grows before it is copied into the database and written over from its start. Writing over is
// quicker than growing, and a longer one copies pages that change often less often.
const walBytes = 4 << 20

// dsn names a database file with settings for every connection to it.
func dsn(path string, options url.Values, pragmas ...string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	q := maps.Clone(options)
	for _, p := range append([]string{"busy_timeout(5000)", "cell_size_check(1)"}, pragmas...) {
		q.Add("_pragma", p)
	}
	return (&url.URL{Scheme: "file", Path: abs, RawQuery: q.Encode()}).String(), nil
}

// openDatabase opens a file for writing by one connection, migrates it, and reads back what durability rests on.
func openDatabase(ctx context.Context, f file, path string) (*sql.DB, error) {
	doing := "open the " + f.name
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, &api.Error{Code: api.CodeDenied, Message: fmt.Sprintf("%s: %s is no file", doing, path), Hint: "move it away"}
	}
	name, err := dsn(path, url.Values{}, fmt.Sprintf("page_size(%d)", f.pageSize), "journal_mode(WAL)", fmt.Sprintf("synchronous(%d)", f.synchronous), fmt.Sprintf("wal_autocheckpoint(%d)", walBytes/f.pageSize))
	if err != nil {
		return nil, explain(err, doing, path)
	}
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return nil, explain(err, doing, path)
	}
	db.SetMaxOpenConns(1)
	if err := prepareDatabase(ctx, db, f, path); err != nil {
		db.Close()
		return nil, explain(err, doing, path)
	}
	return db, nil
}

func prepareDatabase(ctx context.Context, db *sql.DB, f file, path string) error {
	if err := refuseNewer(ctx, db, f, path); err != nil {
		return err
	}
	have, known, err := versions(ctx, db, f)
	if err != nil {
		return err
	}
	if have < known {
		if err := migrate(ctx, db, f); err != nil {
			return err
		}
	}
	var mode string
	var synchronous int
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return err
	}
	if err := db.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&synchronous); err != nil {
		return err
	}
	if mode != "wal" || synchronous != f.synchronous {
		return &api.Error{Code: api.CodeUnavailable,
			Message: fmt.Sprintf("open the %s %s: the database works with journal_mode=%s, synchronous=%d instead of wal, %d", f.name, path, mode, synchronous, f.synchronous),
			Hint:    "put the data folder on a local file system that supports shared memory, not on a network share"}
	}
	return nil
}

// refuseNewer refuses a file that a newer version wrote.
func refuseNewer(ctx context.Context, db *sql.DB, f file, path string) error {
	have, known, err := versions(ctx, db, f)
	if err != nil || have <= known {
		return err
	}
	return &api.Error{Code: api.CodeConflict,
		Message: fmt.Sprintf("open the %s %s: a newer backstay wrote it (format %d, this one knows up to %d)", f.name, path, have, known),
		Hint:    "run the newer version again; nothing was changed"}
}

// versions tells the format of the file, 0 for a new one, and the newest format that this program knows.
func versions(ctx context.Context, db *sql.DB, f file) (have, known int64, err error) {
	names, err := fs.Glob(migrations, f.migrations+"/*.sql")
	if err != nil {
		return 0, 0, err
	}
	known = int64(len(names))
	var tables int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE name = 'goose_db_version'").Scan(&tables); err != nil || tables == 0 {
		return 0, known, err
	}
	err = db.QueryRowContext(ctx, "SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied").Scan(&have)
	return have, known, err
}

func migrate(ctx context.Context, db *sql.DB, f file) error {
	folder, err := fs.Sub(migrations, f.migrations)
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, folder, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// openReaders opens a file that exists for reading, by several connections. They cannot write.
func openReaders(ctx context.Context, path string) (*sql.DB, error) {
	db, err := openReadersWith(ctx, path, url.Values{})
	if api.CodeOf(err) != api.CodeDenied {
		return db, err
	}
	// A folder that cannot be written has no place for the index of a WAL. Without a WAL it needs none, as nobody can change it.
	if info, serr := os.Stat(path + "-wal"); serr == nil && info.Size() > 0 {
		return nil, err
	}
	return openReadersWith(ctx, path, url.Values{"immutable": {"1"}})
}

func openReadersWith(ctx context.Context, path string, options url.Values) (*sql.DB, error) {
	doing := "open " + filepath.Base(path) + " for reading"
	name, err := dsn(path, options, "query_only(1)")
	if err != nil {
		return nil, explain(err, doing, path)
	}
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return nil, explain(err, doing, path)
	}
	db.SetMaxOpenConns(8)
	var tables int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		db.Close()
		return nil, explain(err, doing, path)
	}
	return db, nil
}

// inList writes n placeholders.
func inList(n int) string { return strings.TrimSuffix(strings.Repeat("?,", n), ",") }
