package probes

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/backstay/backstay/api"
)

const (
	perDatabaseMax  = 2 // connections per database: a probe must never crowd out the work it watches
	databasesMax    = 1000
	databaseIdleMax = 5 * time.Minute
)

// dialect is the kind of database.
type dialect string

const (
	postgresDialect dialect = "postgres"
	mysqlDialect    dialect = "mysql"
	sqliteDialect   dialect = "sqlite"
)

// databases holds one small pool per database address.
type databases struct {
	mu  sync.Mutex
	all map[string]*database
}

// database is a pool of at most perDatabaseMax connections.
type database struct {
	dialect dialect
	db      *sql.DB
	slots   chan struct{}
	host    string // for people; no credential
	used    time.Time
	broken  atomic.Bool // the driver panicked: nothing of this pool is to be trusted

	mu      sync.Mutex
	mariadb *bool // known after the first look; MySQL and MariaDB spell the statement timeout differently
	hung    time.Time
}

func newDatabases() *databases { return &databases{all: map[string]*database{}} }

// of gives the pool of an address, without any I/O.
func (d *databases) of(dsn string) (*database, error) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if db := d.all[dsn]; db != nil && !db.broken.Load() {
		db.used = now
		return db, nil
	}
	if len(d.all) >= databasesMax {
		d.forget(now)
	}
	if len(d.all) >= databasesMax {
		return nil, fmt.Errorf("more than %d databases are in use", databasesMax)
	}
	db, err := openDatabase(dsn)
	if err != nil {
		return nil, err
	}
	db.used = now
	db.slots = make(chan struct{}, perDatabaseMax)
	db.db.SetMaxOpenConns(perDatabaseMax)
	db.db.SetMaxIdleConns(perDatabaseMax)
	db.db.SetConnMaxIdleTime(databaseIdleMax)
	d.all[dsn] = db
	return db, nil
}

// forget closes pools that nobody has asked for in an hour, such as those with an old password. The caller holds mu.
func (d *databases) forget(now time.Time) {
	for dsn, db := range d.all {
		if now.Sub(db.used) > time.Hour {
			db.db.Close()
			delete(d.all, dsn)
		}
	}
}

func (d *databases) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for dsn, db := range d.all {
		errs = append(errs, db.db.Close())
		delete(d.all, dsn)
	}
	return errors.Join(errs...)
}

func openDatabase(dsn string) (*database, error) {
	scheme, _, _ := strings.Cut(dsn, ":")
	switch scheme {
	case "postgres", "postgresql":
		return openPostgres(dsn)
	case "mysql", "mariadb":
		return openMySQL(dsn)
	case "sqlite", "file":
		return openSQLite(dsn)
	}
	return nil, errors.New("the database address must begin with sqlite:, postgres://, mysql:// or mariadb:// instead")
}

func openPostgres(dsn string) (*database, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("the PostgreSQL address: %w", err) // pgx leaves the password out of it
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // prepares nothing, so poolers in transaction mode work
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "backstay-probe"
	}
	return &database{dialect: postgresDialect, db: sql.OpenDB(sturdy{stdlib.GetConnector(*config)}), host: net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))}, nil
}

func openMySQL(dsn string) (*database, error) {
	u, err := url.Parse(dsn)
	if err != nil || u.Hostname() == "" {
		return nil, errors.New("the MySQL address is not mysql://USER:PASSWORD@HOST:PORT/DATABASE")
	}
	config := mysql.NewConfig()
	config.Net, config.DBName = "tcp", strings.TrimPrefix(u.Path, "/")
	if config.Addr, err = hostPort(dsn); err != nil {
		return nil, err
	}
	config.User = u.User.Username()
	config.Passwd, _ = u.User.Password()
	config.ParseTime = true
	config.Logger = log.New(io.Discard, "", 0) // every error comes back to the probe
	for name, values := range u.Query() {
		switch {
		case name == "tls" && len(values) == 1 && (values[0] == "true" || values[0] == "false" || values[0] == "preferred"):
			config.TLSConfig = values[0]
		default:
			return nil, fmt.Errorf("parameter %q of the MySQL address is not known: only tls=true, tls=preferred and tls=false are", name)
		}
	}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, errors.New("the MySQL address: " + api.Redact(err.Error()))
	}
	return &database{dialect: mysqlDialect, db: sql.OpenDB(sturdy{connector}), host: config.Addr}, nil
}

// sturdy turns a driver's panic while connecting into an error: the MySQL driver panics on some greetings of servers that do
// not speak its protocol.
type sturdy struct{ driver.Connector }

// Connect opens a connection.
func (s sturdy) Connect(ctx context.Context) (conn driver.Conn, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the server does not speak the protocol of this database (%v)", r)
		}
	}()
	return s.Connector.Connect(ctx)
}

// openSQLite opens a file read-only: an address such as sqlite:///var/lib/orders.db or sqlite:orders.db.
func openSQLite(dsn string) (*database, error) {
	_, path, _ := strings.Cut(dsn, ":")
	path, _, _ = strings.Cut(path, "?")
	if rest, found := strings.CutPrefix(path, "//"); found {
		path = rest
	}
	path, err := url.PathUnescape(path)
	if err != nil || path == "" || strings.Contains(path, ":memory:") {
		return nil, errors.New("the SQLite address names no file: write sqlite:///var/lib/orders.db")
	}
	escaped := (&url.URL{Path: path}).EscapedPath()
	db, err := sql.Open("sqlite", "file:"+escaped+"?mode=ro&_pragma=query_only(1)&_pragma=trusted_schema(0)")
	if err != nil {
		return nil, fmt.Errorf("open SQLite: %w", err)
	}
	return &database{dialect: sqliteDialect, db: db, host: path}, nil
}

// errBusy says that other probes hold all connections of a database.
var errBusy = fmt.Errorf("%w: other probes held both connections to this database", errOwnLimit)

// read runs one query in a read-only transaction with a statement timeout on the server, and gives its rows to each.
func (d *database) read(ctx context.Context, query string, each func(*sql.Rows) error) (err error) {
	start := time.Now()
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		return d.busy(start)
	}
	defer func() {
		if r := recover(); r != nil { // of the driver, on an answer that it did not expect
			d.broken.Store(true)
			go d.db.Close() // it may wait for locks that the panic left behind
			err = fmt.Errorf("the database driver could not read the answer (%v)", r)
		}
	}()
	err = d.readNow(ctx, query, each)
	if err != nil && ctx.Err() != nil {
		d.mu.Lock()
		d.hung = time.Now()
		d.mu.Unlock()
	}
	return err
}

// busy tells whose fault it was that no connection came free: the server's, where those that held them timed out too.
func (d *database) busy(start time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hung.After(start) {
		return fmt.Errorf("both connections waited for the server in vain: %w", context.DeadlineExceeded)
	}
	return errBusy
}

func (d *database) readNow(ctx context.Context, query string, each func(*sql.Rows) error) error {
	conn, err := d.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if d.dialect == sqliteDialect {
		if _, err := sqlite.Limit(conn, sqlite3.SQLITE_LIMIT_ATTACHED, 0); err != nil { // so that query_only cannot be sidestepped
			return err
		}
		if _, err := conn.ExecContext(ctx, "PRAGMA query_only=1"); err != nil {
			return err
		}
	}
	tx, err := conn.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := d.limitStatement(ctx, tx); err != nil {
		return err
	}
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	if err := each(rows); err != nil {
		return err
	}
	return rows.Err()
}

// limitStatement asks the server itself to end the statement at ctx's deadline: a probe that was given up must not go on
// there.
func (d *database) limitStatement(ctx context.Context, tx *sql.Tx) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		return nil
	}
	left := max(time.Until(deadline).Milliseconds(), 1)
	switch d.dialect {
	case postgresDialect:
		_, err := tx.ExecContext(ctx, fmt.Sprintf("SET LOCAL statement_timeout = %d", left))
		return err
	case mysqlDialect:
		mariadb, err := d.isMariaDB(ctx, tx)
		if err != nil {
			return err
		}
		set := fmt.Sprintf("SET SESSION MAX_EXECUTION_TIME = %d", left)
		if mariadb {
			set = fmt.Sprintf("SET SESSION max_statement_time = %.3f", float64(left)/1000)
		}
		_, err = tx.ExecContext(ctx, set)
		return err
	}
	return nil // SQLite runs in this process and is interrupted
}

func (d *database) isMariaDB(ctx context.Context, tx *sql.Tx) (bool, error) {
	d.mu.Lock()
	known := d.mariadb
	d.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	var version string
	if err := tx.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version); err != nil {
		return false, err
	}
	is := strings.Contains(strings.ToLower(version), "mariadb")
	d.mu.Lock()
	d.mariadb = &is
	d.mu.Unlock()
	return is, nil
}
