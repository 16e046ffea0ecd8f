package playbooks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/backstay/backstay/api"
	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // database/sql driver "pgx"
	_ "modernc.org/sqlite"             // database/sql driver "sqlite"
)

// database is an open database and its dialect. Actions are rare, so one is opened for each attempt and closed after it:
// no idle connection of ours keeps a slot of somebody's order database.
type database struct {
	*sql.DB
	dialect string // postgres, mysql or sqlite
	target  string // INTEGRATION/ENDPOINT
}

// database opens an endpoint. The URL is postgres://, mysql:// or sqlite:PATH; nothing is sent before the first query.
func (env *Env) database(integration, endpoint string) (*database, error) {
	e, address, err := env.endpoint(integration, endpoint)
	if err != nil {
		return nil, err
	}
	target := integration + "/" + e.Name
	driver, dsn, dialect, err := dataSource(address)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", target, err)
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return nil, fmt.Errorf("open %s: %s", target, api.Redact(err.Error()))
	}
	db.SetMaxOpenConns(2)
	return &database{DB: db, dialect: dialect, target: target}, nil
}

// dataSource turns an endpoint's URL into the name and the source of a database/sql driver.
func dataSource(address string) (driver, dsn, dialect string, err error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", "", "", errors.New("its url cannot be read; write postgres://, mysql:// or sqlite:PATH")
	}
	switch u.Scheme {
	case "postgres", "postgresql":
		return "pgx", address, "postgres", nil
	case "mysql", "mariadb":
		c := mysql.NewConfig()
		c.Net, c.Addr, c.DBName = "tcp", u.Host, strings.TrimPrefix(u.Path, "/")
		if u.Port() == "" {
			c.Addr = net.JoinHostPort(u.Hostname(), "3306")
		}
		c.User = u.User.Username()
		c.Passwd, _ = u.User.Password()
		c.ClientFoundRows = true // rows that matched count, as elsewhere, also where the value was the same already
		return "mysql", c.FormatDSN(), "mysql", nil
	case "sqlite":
		path := u.Opaque
		if path == "" {
			path = u.Host + u.Path
		}
		if path == "" {
			return "", "", "", errors.New("its url names no file; write sqlite:/path/to/file.db")
		}
		return "sqlite", "file:" + (&url.URL{Path: path}).EscapedPath() + "?mode=rw&_pragma=busy_timeout(5000)&_txlock=immediate", "sqlite", nil
	}
	return "", "", "", fmt.Errorf("scheme %q is not a database; write postgres://, mysql:// or sqlite:PATH", u.Scheme)
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?$`)

// checkIdentifier accepts table, schema.table and column names of letters, digits and '_' only.
func checkIdentifier(what, name string) error {
	if !identifier.MatchString(name) {
		return fmt.Errorf("%s %q is not a plain name: letters, digits and '_' only, with at most one dot", what, name)
	}
	return nil
}

// quote writes a checked identifier as the dialect wants it.
func (db *database) quote(name string) string {
	q := `"`
	if db.dialect == "mysql" {
		q = "`"
	}
	return q + strings.ReplaceAll(name, ".", q+"."+q) + q
}

// mark is the placeholder of the n-th bound argument, from 1.
func (db *database) mark(n int) string {
	if db.dialect == "postgres" {
		return "$" + strconv.Itoa(n)
	}
	return "?"
}

// marks lists n placeholders from first on.
func (db *database) marks(first, n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = db.mark(first + i)
	}
	return strings.Join(list, ", ")
}

// errRowCap is why a transaction was rolled back by us.
var errRowCap = errors.New("it would touch more rows than it may")

// changed is what a transaction came to.
type changed struct {
	rows  int64
	again bool  // err happened while committing: the effect is unknown
	err   error // nothing was changed, unless again
}

// change runs statements in one transaction; work gives the number of rows it touched. More than most rows (0: no bound)
// are rolled back.
func (db *database) change(ctx context.Context, most int64, work func(*sql.Tx) (int64, error)) changed {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return changed{err: fmt.Errorf("begin on %s: %s", db.target, plainError(err))}
	}
	rows, err := work(tx)
	if err != nil {
		tx.Rollback() // the work's error matters, not the rollback's: without a commit there is no effect
		return changed{err: fmt.Errorf("change %s: %w", db.target, redacted{err})}
	}
	if most > 0 && rows > most {
		tx.Rollback()
		return changed{rows: rows, err: fmt.Errorf("change %s: %w: %d, at most %d; rolled back", db.target, errRowCap, rows, most)}
	}
	if err := tx.Commit(); err != nil {
		return changed{rows: rows, again: true, err: fmt.Errorf("commit on %s: %s", db.target, plainError(err))}
	}
	return changed{rows: rows}
}

// redacted is an error whose text shows no password.
type redacted struct{ err error }

func (r redacted) Error() string { return plainError(r.err) }
func (r redacted) Unwrap() error { return r.err }

// outcome says what a transaction means for a step: a row cap is a no, an error before commit is without effect, an error
// of the commit itself leaves open whether it happened.
func (c changed) outcome() api.Outcome {
	switch {
	case c.err == nil:
		return done("%d row(s) changed", c.rows)
	case errors.Is(c.err, errRowCap):
		return refused("%s", c.err)
	case c.again:
		return unknown("%s; whether it took effect is not known", c.err)
	}
	return failed("%s", c.err)
}

// checkStatement accepts one statement that changes or selects rows. A second one, or a COMMIT, would slip past the row cap.
func checkStatement(text string) error {
	word, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	word, _, _ = strings.Cut(word, "\n")
	switch strings.ToLower(word) {
	case "insert", "update", "delete", "merge", "replace", "with", "select", "notify":
	default:
		return fmt.Errorf("statement begins with %.20q; it may be INSERT, UPDATE, DELETE, MERGE, REPLACE, WITH, SELECT or NOTIFY, so that what it touches can be counted and rolled back", word)
	}
	quoted := rune(0)
	for i, c := range text {
		switch {
		case quoted != 0:
			if c == quoted {
				quoted = 0
			}
		case c == '\'' || c == '"' || c == '`':
			quoted = c
		case c == ';' && strings.TrimSpace(text[i+1:]) != "":
			return errors.New("statement has a ';' in its middle; give one statement only")
		}
	}
	return nil
}
