package playbooks

import (
	"database/sql"
	"path/filepath"
	"testing"
)

// sqliteFile makes a database file and the URL of an endpoint that is it.
func sqliteFile(t *testing.T, schema string) (*sql.DB, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "orders.db")
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	mustExec(t, db, schema)
	return db, "sqlite:" + path
}

func mustExec(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.Exec(statement, args...); err != nil {
		t.Fatal(err)
	}
}

// oneText is the first value of a query, as text.
func oneText(t *testing.T, db *sql.DB, query string) string {
	t.Helper()
	var s sql.NullString
	if err := db.QueryRow(query).Scan(&s); err != nil {
		t.Fatal(err)
	}
	return s.String
}

func TestDataSource(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://u:p@h/db":          "pgx postgres://u:p@h/db",
		"mysql://u:p@h/db":             "mysql u:p@tcp(h:3306)/db?clientFoundRows=true",
		"sqlite:/var/lib/o.db":         "sqlite file:/var/lib/o.db?mode=rw&_pragma=busy_timeout(5000)&_txlock=immediate",
		"sqlite:///var/lib/o.db":       "sqlite file:/var/lib/o.db?mode=rw&_pragma=busy_timeout(5000)&_txlock=immediate",
		"sqlite:/x?mode=memory":        "sqlite file:/x?mode=rw&_pragma=busy_timeout(5000)&_txlock=immediate",
		"http://h":                     "",
		"sqlite:":                      "",
		"postgres://u:p@h:port-o/db\n": "",
	} {
		driver, dsn, _, err := dataSource(url)
		if got := driver + " " + dsn; err == nil && got != want || err != nil && want != "" {
			t.Errorf("%q: want %q, have %q %v", url, want, got, err)
		}
	}
}

func TestCheckStatement(t *testing.T) {
	for statement, ok := range map[string]bool{
		"UPDATE t SET a = 1": true, "  update t set a = ';' where b = \"x;y\";\n": true, "NOTIFY \"ir.queue\"": true, "with x as (select 1) update t set a=1": true,
		"UPDATE t SET a = 1; COMMIT": false, "COMMIT": false, "DROP TABLE t": false, "": false, "-- x\nUPDATE t SET a=1": false, "BEGIN; UPDATE t SET a=1": false,
	} {
		if err := checkStatement(statement); (err == nil) != ok {
			t.Errorf("%q: %v", statement, err)
		}
	}
}
