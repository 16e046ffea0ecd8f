package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/audit"
)

// table describes one of the tables that change in place. Every row ends in a checksum of itself, which names a damaged row, and
// is part of the signed sum in the head, which notices rows that were removed, added or set back.
type table struct {
	name string
	keys int      // the leading columns that identify a row
	cols []string // without sum
}

var (
	incidents    = &table{"incidents", 1, []string{"id", "opened", "closed", "body"}}
	remediations = &table{"remediations", 1, []string{"id", "incident", "opened", "body"}}
	ledger       = &table{"ledger", 2, []string{"scope", "key", "state", "hash", "run", "note", "at"}}
	snapshots    = &table{"snapshots", 1, []string{"next", "body"}}

	tables = []*table{incidents, remediations, ledger, snapshots}
)

// change is one row to be written or removed.
type change struct {
	table  *table
	values []any // int64, string or []byte, one per column; only the keys where remove is set
	remove bool
}

func incidentRow(in api.Incident) (change, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return change{}, &api.Error{Code: api.CodeInvalid, Message: "keep the view of incident " + in.ID, Err: err, Hint: "nothing was written"}
	}
	return change{table: incidents, values: []any{in.ID, nanos(in.Opened), nanos(in.Closed), body}}, nil
}

func remediationRow(r api.Remediation) (change, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return change{}, &api.Error{Code: api.CodeInvalid, Message: "keep the view of remediation " + r.ID, Err: err, Hint: "nothing was written"}
	}
	return change{table: remediations, values: []any{r.ID, r.Incident, nanos(r.Opened), body}}, nil
}

// encode gives the bytes of a row that its checksum and the signed sum are taken of.
func (t *table) encode(values []any) []byte {
	parts := make([][]byte, 0, 1+len(values))
	parts = append(parts, []byte(t.name))
	for _, v := range values {
		switch v := v.(type) {
		case int64:
			parts = append(parts, strconv.AppendInt(nil, v, 10))
		case string:
			parts = append(parts, []byte(v))
		case []byte:
			parts = append(parts, v)
		default:
			parts = append(parts, fmt.Appendf(nil, "%T", v)) // only a damaged file holds anything else
		}
	}
	return audit.Row(parts...)
}

// checksum is short: it finds damage, the signed sum finds malice.
func checksum(row []byte) []byte {
	sum := sha256.Sum256(row)
	return sum[:16]
}

// label names a row for people.
func (t *table) label(values []any) string {
	parts := make([]string, t.keys)
	for i := range parts {
		parts[i] = fmt.Sprint(values[i])
	}
	return strings.TrimSuffix(t.name, "s") + " " + strings.Join(parts, "/")
}

func (t *table) selectSQL(where string) string {
	return "SELECT " + strings.Join(t.cols, ", ") + ", sum FROM " + t.name + " " + where
}

func (t *table) byKey() string { return "WHERE " + strings.Join(t.cols[:t.keys], " = ? AND ") + " = ?" }

func (t *table) upsertSQL() string {
	set := make([]string, 0, len(t.cols))
	for _, c := range append(t.cols[t.keys:len(t.cols):len(t.cols)], "sum") {
		set = append(set, c+" = excluded."+c)
	}
	return "INSERT INTO " + t.name + " (" + strings.Join(t.cols, ", ") + ", sum) VALUES (" + inList(len(t.cols)+1) + ") ON CONFLICT (" +
		strings.Join(t.cols[:t.keys], ", ") + ") DO UPDATE SET " + strings.Join(set, ", ")
}

// scan reads one row as selectSQL asks for it. intact tells whether the row is as it was written.
func (t *table) scan(row interface{ Scan(...any) error }) (values []any, encoded []byte, intact bool, err error) {
	values = make([]any, len(t.cols)+1)
	into := make([]any, len(values))
	for i := range values {
		into[i] = &values[i]
	}
	if err := row.Scan(into...); err != nil {
		return nil, nil, false, err
	}
	sum, _ := values[len(t.cols)].([]byte)
	values = values[:len(t.cols)]
	encoded = t.encode(values)
	return values, encoded, bytes.Equal(sum, checksum(encoded)), nil
}

// find reads rows and refuses damaged ones.
func (t *table) find(ctx context.Context, db *sql.DB, where string, args ...any) ([][]any, error) {
	rows, err := db.QueryContext(ctx, t.selectSQL(where), args...)
	if err != nil {
		return nil, explain(err, "read "+t.name, fileJournal)
	}
	defer rows.Close()
	var found [][]any
	for rows.Next() {
		values, _, intact, err := t.scan(rows)
		if err != nil {
			return nil, explain(err, "read "+t.name, fileJournal)
		}
		if !intact {
			return nil, tampered("read %s: the row is not as it was written", t.label(values))
		}
		found = append(found, values)
	}
	return found, explain(rows.Err(), "read "+t.name, fileJournal)
}

// rowWriter changes rows of one table within a commit.
type rowWriter struct {
	table                  *table
	old, upsert, deleteOne *sql.Stmt
}

// apply makes one change and keeps the sum in step. It refuses to write over a damaged row: the damage is evidence, and the sum
// could not be kept.
func (w rowWriter) apply(ctx context.Context, c change, s *state) error {
	values, encoded, intact, err := w.table.scan(w.old.QueryRowContext(ctx, c.values[:w.table.keys]...))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		if c.remove {
			return nil
		}
		s.rows++
	case err != nil:
		return err
	case !intact:
		return tampered("change %s: the row is not as it was written", w.table.label(values))
	default:
		s.sum.Remove(encoded)
	}
	if c.remove {
		s.rows--
		_, err = w.deleteOne.ExecContext(ctx, c.values[:w.table.keys]...)
		return err
	}
	row := w.table.encode(c.values)
	s.sum.Add(row)
	_, err = w.upsert.ExecContext(ctx, append(c.values[:len(c.values):len(c.values)], checksum(row))...)
	return err
}
