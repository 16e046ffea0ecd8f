package probes

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/backstay/backstay/api"
)

func TestSQLUnreachable(t *testing.T) {
	mute := script(t, func(nc net.Conn) { nc.Read(make([]byte, 1<<16)); time.Sleep(time.Minute) })
	babble := script(t, func(nc net.Conn) { nc.Write([]byte("\x0c\x00\x00\x00nonsense, surely")) })
	folder := t.TempDir()
	notDB := filepath.Join(folder, "not.db")
	os.WriteFile(notDB, []byte(strings.Repeat("this is no database ", 100)), 0o600)
	for _, c := range []struct {
		dsn     string
		verdict api.Verdict
		reason  string
	}{
		{"postgres://u:s3cret@" + refusing(t) + "/d", api.Bad, "refused"},
		{"mysql://u:s3cret@" + refusing(t) + "/d", api.Bad, "refused"},
		{"postgres://u:s3cret@" + mute + "/d?sslmode=disable", api.Bad, "no answer within"},
		{"mysql://u:s3cret@" + mute + "/d", api.Bad, "no answer within"},
		{"postgres://u@" + babble + "/d?sslmode=disable", api.Bad, ""},
		{"mysql://u@" + babble + "/d", api.Bad, ""},
		{"sqlite://" + folder + "/none.db", api.Bad, "unable to open"},
		{"sqlite://" + notDB, api.Bad, "not a database"},
		{"sqlite::memory:", api.Unknown, "names no file"},
		{"mysql://u@h/d?allowAllFiles=true", api.Unknown, "not known"},
		{"redis://h", api.Unknown, "must begin with"},
	} {
		o := run(t, build(t, newEnv(t), "sql", &SQLParams{DSN: text(c.dsn), Query: "select 1"}), 300*time.Millisecond)
		if o.Verdict != c.verdict || !strings.Contains(o.Reason, c.reason) || strings.Contains(o.Reason, "s3cret") {
			t.Errorf("%s: got %s %q, want %s with %q", api.Redact(c.dsn), o.Verdict, o.Reason, c.verdict, c.reason)
		}
	}
	if _, err := os.Stat(filepath.Join(folder, "none.db")); err == nil {
		t.Error("a probe made a database file")
	}
}

// TestHungServerHoldsNobodyElse holds that probes of a hung database end at their deadlines, never later, that the reason is
// the server and not us, and that another database is not touched by it.
func TestHungServerHoldsNobodyElse(t *testing.T) {
	var mu sync.Mutex
	conns, most := 0, 0 // open now, and at once
	mute := script(t, func(nc net.Conn) {
		mu.Lock()
		conns++
		most = max(most, conns)
		mu.Unlock()
		io.Copy(io.Discard, nc) // until the other side hangs up
		mu.Lock()
		conns--
		mu.Unlock()
	})
	file := filepath.Join(t.TempDir(), "a.db")
	os.WriteFile(file, nil, 0o600)
	env := newEnv(t)
	var wg sync.WaitGroup
	for range 6 {
		p := build(t, env, "sql", &SQLParams{DSN: text("postgres://u@" + mute + "/d?sslmode=disable"), Query: "select 1"})
		wg.Add(1)
		go func() {
			defer wg.Done()
			o := run(t, p, 300*time.Millisecond)
			if o.Verdict == api.OK {
				t.Error("a hung server was ok")
			}
		}()
	}
	time.Sleep(50 * time.Millisecond)
	start := time.Now()
	want(t, run(t, build(t, env, "sql", &SQLParams{DSN: text("sqlite://" + file), Query: "select 1"}), 200*time.Millisecond), api.OK, "")
	if took := time.Since(start); took > 150*time.Millisecond {
		t.Errorf("another database took %s", took)
	}
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	if most > perDatabaseMax || most == 0 {
		t.Errorf("%d connections were open at once, at most %d are allowed", most, perDatabaseMax)
	}
}

func TestSQLWhoseFault(t *testing.T) {
	db := &database{dialect: postgresDialect, host: "h"}
	for _, c := range []struct {
		err     error
		verdict api.Verdict
		reason  string
	}{
		{&pgconn.PgError{Code: "42601", Message: "syntax error", Position: 8}, api.Unknown, "at character 8 of the query"},
		{&pgconn.PgError{Code: "42501", Message: "permission denied"}, api.Unknown, "42501"},
		{&pgconn.PgError{Code: "28P01", Message: "password authentication failed"}, api.Unknown, "28P01"},
		{&pgconn.PgError{Code: "25006", Message: "cannot execute DELETE in a read-only transaction"}, api.Unknown, "read-only"},
		{&pgconn.PgError{Code: "57014", Message: "canceling statement due to statement timeout"}, api.Bad, "statement timeout"},
		{&pgconn.PgError{Code: "53300", Message: "too many connections"}, api.Bad, "too many"},
		{&mysql.MySQLError{Number: 1064, Message: "near 'x' at line 1"}, api.Unknown, "at line 1"},
		{&mysql.MySQLError{Number: 1792, Message: "READ ONLY transaction"}, api.Unknown, "READ ONLY"},
		{&mysql.MySQLError{Number: 3024, Message: "maximum statement execution time exceeded"}, api.Bad, "execution time"},
		{errBusy, api.Unknown, "both connections"},
	} {
		want(t, sqlFailed(t.Context(), "", db, c.err), c.verdict, c.reason)
	}
}
