package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// auditCommands are about whoever changes what is in the data folder.
//
//	exits CODE COMMAND...   runs a command that must end with this exit code; stdout is all that it wrote
//	flip N SEED DIR         N times: flips one bit, anywhere in the database of a copy of DIR, and lets backstay audit verify look
//	drills N                N times: pauses and resumes over the API, so that the log has something in it
var auditCommands = map[string]command{"exits": cmdExits, "flip": cmdFlip, "drills": cmdDrills}

func cmdDrills(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, len(args) == 1, "drills N")
	w := worldOf(ts)
	for i := range number(ts, args[0]) {
		for _, method := range []string{http.MethodPost, http.MethodDelete} {
			body := fmt.Sprintf(`{"owner": "nora", "reason": "drill %d"}`, i)
			req, err := http.NewRequest(method, w.api+"/api/v1/pauses?by=nora", strings.NewReader(body))
			ts.Check(err)
			req.Header.Set("Authorization", "Bearer "+w.token)
			resp, err := http.DefaultClient.Do(req)
			ts.Check(err)
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				ts.Fatalf("%s /pauses: %s", method, resp.Status)
			}
		}
	}
}

func number(ts *testscript.TestScript, text string) int {
	n, err := strconv.Atoi(text)
	ts.Check(err)
	return n
}

func cmdExits(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, len(args) >= 2, "exits CODE COMMAND...")
	out, err := inScript(ts, args[1:]).CombinedOutput()
	_, _ = ts.Stdout().Write(out) // a buffer
	if got := exitCode(err); got != number(ts, args[0]) {
		ts.Fatalf("%v ended with exit code %d (%v):\n%s", args[1:], got, err, out)
	}
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// named is how a finding says where: an entry, a row, a page or another part by its name.
var named = regexp.MustCompile(`entry \d+|entries \d+|page \d+|row |log head|checkpoint|schema|index|table|snapshot|incident|remediation|ledger|backstay\.db`)

func cmdFlip(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, len(args) == 3, "flip N SEED DIR")
	dir, seed := ts.MkAbs(args[2]), uint64(number(ts, args[1]))
	random := rand.New(rand.NewPCG(seed, 1))
	good, err := os.ReadFile(filepath.Join(dir, "backstay.db"))
	ts.Check(err)
	if info, err := os.Stat(filepath.Join(dir, "backstay.db-wal")); err == nil && info.Size() > 0 {
		ts.Fatalf("part of the log is in a WAL still; flips in the database would not be read")
	}
	readable, err := readAll(filepath.Join(dir, "backstay.db"))
	ts.Check(err)
	copied := ts.MkAbs("flipped")
	found, harmless := 0, 0
	for range number(ts, args[0]) {
		ts.Check(os.RemoveAll(copied))
		ts.Check(os.CopyFS(copied, os.DirFS(dir)))
		bad := bytes.Clone(good)
		at, bit := random.IntN(len(bad)), random.IntN(8)
		bad[at] ^= 1 << bit
		path := filepath.Join(copied, "backstay.db")
		ts.Check(os.WriteFile(path, bad, 0o600))
		out, err := inScript(ts, []string{"backstay", "audit", "verify", "--data", copied, "-o", "json"}).Output()
		where := fmt.Sprintf("bit %d of byte %d (page %d, offset %d); seed %d", bit, at, at/4096+1, at%4096, seed)
		switch code := exitCode(err); code {
		case 7:
			var report struct{ Problems []string }
			ts.Check(json.Unmarshal(out, &report))
			if len(report.Problems) == 0 || !named.MatchString(report.Problems[0]) {
				ts.Fatalf("%s was found, but not named: %q", where, report.Problems)
			}
			found++
		case 0:
			if now, err := readAll(path); err != nil || now != readable {
				ts.Fatalf("%s was not found, although it changes what can be read (%v)", where, err)
			}
			harmless++
		default:
			ts.Fatalf("%s: backstay audit verify ended with exit code %d: %v\n%s", where, code, err, out)
		}
	}
	fmt.Fprintf(ts.Stdout(), "seed %d: %d of %d flips found and named, %d change nothing that can be read\n", seed, found, found+harmless, harmless)
	if found == 0 {
		ts.Fatalf("no flip was found at all")
	}
}

// readAll is a hash of everything that SQLite reads from a database: each table, row and column, and the schema. An error is
// a database that SQLite itself finds damaged.
func readAll(path string) (string, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?immutable=1")
	if err != nil {
		return "", err
	}
	defer db.Close()
	var health string
	if err := db.QueryRow("pragma integrity_check(1)").Scan(&health); err != nil || health != "ok" {
		return "", fmt.Errorf("integrity check: %s, %w", health, err)
	}
	sum := sha256.New()
	for _, query := range []string{"select * from sqlite_schema", "select * from entries order by seq", "select * from log_head", "select * from incidents order by id",
		"select * from remediations order by id", "select * from ledger order by scope, key", "select * from snapshots order by next"} {
		if err := readRows(db, query, func(row []any) { fmt.Fprintf(sum, "%s %T %v\n", query, row, row) }); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%x", sum.Sum(nil)), nil
}

func readRows(db *sql.DB, query string, row func([]any)) error {
	rows, err := db.QueryContext(context.Background(), query)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	for rows.Next() {
		values, fields := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			fields[i] = &values[i]
		}
		if err := rows.Scan(fields...); err != nil {
			return err
		}
		row(values)
	}
	return rows.Err()
}
