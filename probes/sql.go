package probes

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/backstay/backstay/api"
)

var sqlType = Type{
	Name:    "sql",
	Summary: "Runs one query in a read-only transaction on PostgreSQL, MySQL, MariaDB or SQLite.",
	Params:  func() any { return new(SQLParams) },
	Build:   buildSQL,
}

// SQLParams are the parameters of a sql probe.
type SQLParams struct {
	DSN     api.Secret `json:"dsn,omitempty" doc:"postgres://, mysql://, mariadb:// or sqlite: address; the integration's endpoint when left out. Use a role that may only read."`
	Query   string     `json:"query" rule:"required" doc:"One statement that reads."`
	Read    string     `json:"read,omitempty" rule:"oneof=value|ratio|series|rows|keys" default:"value" doc:"What the rows mean. value: one number. ratio: one row of value and total. series: a key and a number per row; the probe's value is their sum. rows: their number is the value. keys: one business key per row, for reconcile."`
	Expect  string     `json:"expect,omitempty" rule:"oneof=any|none|some" default:"any" doc:"none: any row is bad, as for a query that looks for faults. some: no row is bad."`
	Null    string     `json:"null,omitempty" rule:"oneof=unknown|zero|bad" default:"unknown" doc:"What NULL, or no row where one number is wanted, means. zero suits ages and sums over what waits."`
	RowsMax int        `json:"rowsMax,omitempty" rule:"min=1,max=100000" default:"1000" doc:"Rows that are read at most. More rows make the verdict unknown, except with read: rows."`
}

const rowsMaxDefault = 1000

type sqlProbe struct {
	env  *Env
	spec api.ProbeSpec
	with SQLParams
}

func buildSQL(_ string, spec api.ProbeSpec, params any, env *Env) (Prober, error) {
	p := &sqlProbe{env: env, spec: spec, with: *params.(*SQLParams)}
	if err := needsTarget(p.with.DSN, &spec); err != nil {
		return nil, err
	}
	if strings.TrimSpace(p.with.Query) == "" {
		return nil, errors.New("query is empty")
	}
	if p.with.Read == "" {
		p.with.Read = "value"
	}
	if p.with.RowsMax == 0 {
		p.with.RowsMax = rowsMaxDefault
	}
	return p, nil
}

// Probe runs the query once.
func (p *sqlProbe) Probe(ctx context.Context) api.Observation {
	unit := p.spec.Unit
	dsn, err := p.env.target(p.with.DSN, p.spec.Integration, p.spec.Endpoint)
	if err != nil {
		return blind(unit, err)
	}
	db, err := p.env.open().dbs.of(dsn)
	if err != nil {
		return blind(unit, err)
	}
	r := reading{with: &p.with, o: api.Observation{Verdict: api.OK, Unit: unit}}
	if err := db.read(ctx, p.with.Query, r.take); err != nil {
		return sqlFailed(ctx, unit, db, err)
	}
	return r.o
}

// reading turns rows into an observation.
type reading struct {
	with  *SQLParams
	o     api.Observation
	rows  int
	nulls int
}

// columns is how many columns each way to read wants; 0 is any number.
var columns = map[string]int{"value": 1, "ratio": 2, "series": 2, "rows": 0, "keys": 1}

// shapeError says that the query's answer is not what read asks for: a mistake in the spec, not in the target.
type shapeError string

func (e shapeError) Error() string { return string(e) }

func (r *reading) take(rows *sql.Rows) error {
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	if want := columns[r.with.Read]; want != 0 && len(names) != want {
		return shapeError(fmt.Sprintf("read: %s wants %d columns, the query has %d", r.with.Read, want, len(names)))
	}
	cells := make([]any, len(names))
	into := make([]any, len(names))
	for i := range cells {
		into[i] = &cells[i]
	}
	for rows.Next() {
		if r.rows++; r.rows > r.with.RowsMax {
			break
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if err := r.row(cells); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return r.end()
}

func (r *reading) row(cells []any) (err error) {
	switch r.with.Read {
	case "value", "ratio":
		if r.rows > 1 {
			return shapeError("read: " + r.with.Read + " wants one row, the query gave more; aggregate them, or use read: series")
		}
		if r.o.Value, err = r.number(cells[0]); err == nil && r.with.Read == "ratio" {
			r.o.Total, err = r.number(cells[1])
		}
	case "series":
		n, err := r.number(cells[1])
		if err != nil {
			return err
		}
		r.o.Series = append(r.o.Series, api.Sample{Key: cellText(cells[0]), Value: n})
		r.o.Value += n
	case "keys":
		if cells[0] == nil {
			r.nulls++
			return nil
		}
		r.o.Keys = append(r.o.Keys, cellText(cells[0]))
	}
	return err
}

// end judges what all rows say together.
func (r *reading) end() error {
	capped := r.rows > r.with.RowsMax
	switch r.with.Read {
	case "rows":
		r.o.Value = float64(min(r.rows, r.with.RowsMax))
	case "keys":
		r.o.Value = float64(len(r.o.Keys))
	case "value", "ratio":
		if r.rows == 0 && r.with.Expect != "some" && r.with.Expect != "none" {
			r.nulls++
		}
	}
	if capped && r.with.Read != "rows" {
		return shapeError(fmt.Sprintf("the query gives more than %d rows; narrow it or raise rowsMax", r.with.RowsMax))
	}
	more := ""
	if capped {
		more = "more than "
	}
	switch {
	case r.with.Expect == "none" && r.rows > 0:
		r.o.Verdict, r.o.Reason = api.Bad, fmt.Sprintf("the query found %s%d rows, none is expected", more, min(r.rows, r.with.RowsMax))
	case r.with.Expect == "some" && r.rows == 0:
		r.o.Verdict, r.o.Reason = api.Bad, "the query found no row, some are expected"
	case r.nulls > 0 && r.with.Null == "bad":
		r.o.Verdict, r.o.Reason = api.Bad, "the query gave NULL or no row where a value is wanted"
	case r.nulls > 0 && r.with.Null != "zero":
		r.o.Verdict, r.o.Reason = api.Unknown, "the query gave NULL or no row where a value is wanted; say with null: what that means"
	}
	return nil
}

// number reads a cell as a number. NULL counts as 0 here and is judged at the end.
func (r *reading) number(cell any) (float64, error) {
	n := math.NaN()
	switch v := cell.(type) {
	case nil:
		r.nulls++
		return 0, nil
	case int64:
		n = float64(v)
	case uint64:
		n = float64(v)
	case float64:
		n = v
	case float32:
		n = float64(v)
	case bool:
		n = 0
		if v {
			n = 1
		}
	case []byte, string:
		if parsed, err := strconv.ParseFloat(strings.TrimSpace(cellText(v)), 64); err == nil {
			n = parsed
		}
	case time.Time:
		return 0, shapeError("the query gave a time where a number is wanted; let it compute the age in seconds")
	}
	if math.IsNaN(n) || math.IsInf(n, 0) {
		return 0, shapeError(fmt.Sprintf("the query gave %.40q where a number is wanted", cellText(cell)))
	}
	return n, nil
}

// keyBytesMax bounds one business key.
const keyBytesMax = 256

func cellText(cell any) string {
	text := ""
	switch v := cell.(type) {
	case nil:
		text = "NULL"
	case []byte:
		text = string(v)
	case time.Time:
		text = v.UTC().Format(time.RFC3339Nano)
	default:
		text = fmt.Sprint(v)
	}
	if len(text) > keyBytesMax {
		text = text[:keyBytesMax]
	}
	return strings.ToValidUTF8(text, "?")
}

// sqlFailed tells a mistake of ours (SQL, credential, permission: unknown) from a database that does not do its work (bad).
func sqlFailed(ctx context.Context, unit string, db *database, err error) api.Observation {
	doing := fmt.Sprintf("query %s %s", db.dialect, db.host)
	var shape shapeError
	var pg *pgconn.PgError
	var my *mysql.MySQLError
	var lite *sqlite.Error
	ours := false
	switch {
	case errors.As(err, &shape):
		return blind(unit, err)
	case errors.As(err, &pg):
		ours = postgresOurs(pg)
		err = errors.New(postgresText(pg))
	case errors.As(err, &my):
		ours = mysqlOurs(my.Number)
	case errors.As(err, &lite):
		ours = sqliteOurs(lite.Code())
	}
	if ours {
		return blind(unit, fmt.Errorf("%s: %w", doing, err))
	}
	return failed(ctx, unit, doing, err)
}

// postgresOurs goes by the class of the SQLSTATE (PostgreSQL documentation, appendix A).
func postgresOurs(e *pgconn.PgError) bool {
	if len(e.Code) != 5 {
		return false
	}
	switch e.Code[:2] {
	case "08", "40", "53", "55", "57", "58", "XX": // connection, roll-back, resources, locks, operator, system, internal
		return false
	}
	return true
}

func postgresText(e *pgconn.PgError) string {
	text := fmt.Sprintf("%s (SQLSTATE %s)", e.Message, e.Code)
	if e.Position > 0 {
		text += fmt.Sprintf(" at character %d of the query", e.Position)
	}
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// mysqlOurs lists what is no fault of ours: too many connections, shutdown, locks, time-outs, full or broken tables.
func mysqlOurs(number uint16) bool {
	switch number {
	case 1021, 1030, 1037, 1038, 1040, 1041, 1053, 1077, 1105, 1114, 1129, 1158, 1159, 1160, 1161, 1194, 1195, 1203, 1205, 1213, 1226, 1317, 1836, 1969, 3024:
		return false
	}
	return true
}

// sqliteOurs goes by the primary result code (sqlite.org/rescode.html).
func sqliteOurs(code int) bool {
	switch code & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR,
		sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_FULL, sqlite3.SQLITE_SCHEMA:
		return false
	}
	return true
}
