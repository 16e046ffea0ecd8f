package store

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/audit"
)

// Query selects entries. Conditions that are set must all hold.
type Query struct {
	From, To    int64 // sequence numbers, To not included; To 0 means to the head
	Incident    string
	Remediation string
	Kinds       []api.EntryKind
	Since       time.Time
	Limit       int  // default 1,000
	Newest      bool // the newest Limit entries instead of the oldest; the answer is still in the order of the log
}

func (q Query) sql() (string, []any) {
	where, args := []string{"seq >= ?"}, []any{q.From}
	add := func(cond string, values ...any) { where, args = append(where, cond), append(args, values...) }
	if q.To > 0 {
		add("seq < ?", q.To)
	}
	if q.Incident != "" {
		add("incident = ?", q.Incident)
	}
	if q.Remediation != "" {
		add("remediation = ?", q.Remediation)
	}
	if len(q.Kinds) > 0 {
		kinds := make([]any, len(q.Kinds))
		for i, k := range q.Kinds {
			kinds[i] = string(k)
		}
		add("kind IN ("+inList(len(kinds))+")", kinds...)
	}
	if !q.Since.IsZero() {
		add("at >= ?", q.Since.UnixNano())
	}
	order := "ASC"
	if q.Newest {
		order = "DESC"
	}
	return "SELECT seq, hashes, body FROM entries WHERE " + strings.Join(where, " AND ") + " ORDER BY seq " + order + " LIMIT ?",
		append(args, limitOr(q.Limit, 1000))
}

func limitOr(limit, otherwise int) int {
	if limit <= 0 {
		return otherwise
	}
	return limit
}

// Entries reads entries in order. An entry that is not as it was written is an error that names it.
func (r *Reader) Entries(ctx context.Context, q Query) ([]api.Entry, error) {
	var out []api.Entry
	err := r.eachBody(ctx, q, func(seq int64, body []byte) error {
		e, err := audit.Decode(body)
		if err != nil {
			return tampered("read entry %d: %w", seq, err)
		}
		out = append(out, e)
		return nil
	})
	if q.Newest {
		slices.Reverse(out)
	}
	return out, err
}

// Replay hands every entry from the given number to the head to apply, in order. It is how a restart comes to the present state.
func (r *Reader) Replay(ctx context.Context, from int64, apply func(api.Entry) error) error {
	const page = 5000
	head, err := r.head(ctx)
	if err != nil {
		return err
	}
	for from < head.Size {
		entries, err := r.Entries(ctx, Query{From: from, To: head.Size, Limit: page})
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Seq != from {
				return tampered("read the log: entry %d is missing", from)
			}
			if err := apply(e); err != nil {
				return err
			}
			from++
		}
		if len(entries) == 0 {
			return tampered("read the log: entry %d is missing", from)
		}
	}
	return nil
}

// eachBody walks canonical bytes, each checked against its leaf hash.
func (r *Reader) eachBody(ctx context.Context, q Query, visit func(seq int64, body []byte) error) error {
	text, args := q.sql()
	rows, err := r.read.QueryContext(ctx, text, args...)
	if err != nil {
		return explain(err, "read the log", r.dir)
	}
	defer rows.Close()
	var seq int64
	var hashes, body sql.RawBytes
	for rows.Next() {
		if err := rows.Scan(&seq, &hashes, &body); err != nil {
			return explain(err, "read the log", r.dir)
		}
		leaf := audit.Leaf(body)
		if len(hashes) < tlog.HashSize || string(leaf[:]) != string(hashes[:tlog.HashSize]) {
			return tampered("read entry %d: its bytes are not those that were hashed when it was written", seq)
		}
		if err := visit(seq, body); err != nil {
			return err
		}
	}
	return explain(rows.Err(), "read the log", r.dir)
}
