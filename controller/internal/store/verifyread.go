package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/backstay/backstay/controller/internal/audit"
)

const selectEntries = "SELECT seq, at, kind, incident, remediation, hashes, body FROM entries "

// readSegment reads and checks a run of entries. Where the file is broken it goes on entry by entry, to name those that are lost.
func (c *check) readSegment(ctx context.Context, s *segment) error {
	s.rows = make([]checkedRow, 0, s.to-s.from)
	next, err := c.readRange(ctx, s, s.from, s.to)
	if err == nil || !isDamage(err) {
		return err
	}
	for ; next < s.to; next++ {
		before := len(s.rows)
		if _, err := c.readRange(ctx, s, next, next+1); err != nil {
			if !isDamage(err) {
				return err
			}
			s.rows = append(s.rows[:before], checkedRow{seq: next, why: err.Error()})
		}
	}
	return nil
}

// readRange reads entries in order and tells up to which it came.
func (c *check) readRange(ctx context.Context, s *segment, from, to int64) (next int64, err error) {
	next = from
	rows, err := c.db.QueryContext(ctx, selectEntries+"WHERE seq >= ? AND seq < ? ORDER BY seq", from, to)
	if err != nil {
		return next, err
	}
	defer rows.Close()
	var kind, incident, remediation, hashes, body sql.RawBytes
	for rows.Next() {
		var st audit.Stored
		if err := rows.Scan(&st.Index.Seq, &st.Index.At, &kind, &incident, &remediation, &hashes, &body); err != nil {
			s.rows = append(s.rows, checkedRow{seq: next, why: err.Error()})
			next++
			continue
		}
		st.Index.Kind, st.Index.Incident, st.Index.Remediation = string(kind), string(incident), string(remediation)
		st.Hashes, st.Body = append(make([]byte, 0, len(hashes)), hashes...), body
		s.damages = append(s.damages, audit.CheckColumns(st)...)
		s.sums.add(c.seed, st.Index, incident != nil, remediation != nil)
		s.rows = append(s.rows, checkedRow{seq: st.Index.Seq, leaf: audit.Leaf(body), hashes: st.Hashes})
		s.bytes += int64(len(body))
		next = st.Index.Seq + 1
	}
	return next, rows.Err()
}

// pages checks what changes in place, then lets SQLite check its pages, and the indexes of the small tables.
func (c *check) pages(ctx context.Context, tx *sql.Tx) error {
	err := c.stateRows(ctx, tx)
	checks := []string{"PRAGMA quick_check(200)", "PRAGMA integrity_check('goose_db_version')"}
	for _, t := range tables {
		checks = append(checks, "PRAGMA integrity_check('"+t.name+"')")
	}
	for _, query := range checks {
		err = errors.Join(err, c.ask(ctx, tx, query))
	}
	return err
}

func (c *check) ask(ctx context.Context, tx *sql.Tx, query string) error {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return err
		}
		if text != "ok" {
			c.found(audit.Elsewhere(audit.DamagePage, fileJournal, "%s", text))
		}
	}
	return rows.Err()
}

// stateRows checks each row against its checksum and all of them against the signed sum.
func (c *check) stateRows(ctx context.Context, tx *sql.Tx) error {
	var sum audit.Sum
	var count int64
	named := false
	for _, t := range tables {
		rows, err := tx.QueryContext(ctx, t.selectSQL(""))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			values, encoded, intact, err := t.scan(rows)
			if err != nil {
				return err
			}
			if !intact {
				named = true
				c.found(audit.Elsewhere(audit.DamageRow, t.label(values), "it is not as it was written"))
			}
			sum.Add(encoded)
			count++
		}
		if err := rows.Err(); err != nil {
			return fmt.Errorf("read %s: %w", t.name, err)
		}
	}
	c.report.Rows = count
	if string(c.head.state) != string(sum.Bytes()) || count != c.head.rows {
		if !named {
			c.found(audit.Elsewhere(audit.DamageRows, "views, ledger and snapshots", "rows were removed, added or set back, or the head's sum of them was changed: there are %d, the head says %d", count, c.head.rows))
		}
	}
	stored, err := audit.ParseSum(c.head.state)
	if err != nil {
		c.found(audit.Elsewhere(audit.DamageSigned, "log head", "%v", err))
		return nil
	}
	want := audit.State{Origin: c.verifier.Name(), Size: c.head.size, Rows: c.head.rows, Digest: stored.Digest()}
	if err := want.CheckState(c.head.stateNote, c.verifier); err != nil {
		c.found(audit.Elsewhere(audit.DamageSigned, "log head", "its sum of views, ledger and snapshots is not the signed one: %v", err))
	}
	return nil
}

// Proven is an entry with the proof that it is in the log.
type Proven struct {
	Entry []byte // canonical bytes
	Proof audit.Proof
}

// Prove makes the proof of one entry under the newest checkpoint.
func (r *Reader) Prove(ctx context.Context, seq int64) (Proven, error) {
	head, err := r.head(ctx)
	if err != nil {
		return Proven{}, err
	}
	checkpoint, err := audit.OpenCheckpoint(head.Checkpoint, r.verifier)
	if err != nil {
		return Proven{}, tampered("prove entry %d: %w", seq, err)
	}
	if seq < 0 || seq >= head.Size {
		return Proven{}, notFoundEntry(seq, head.Size)
	}
	var p Proven
	err = r.eachBody(ctx, Query{From: seq, To: seq + 1}, func(_ int64, body []byte) error {
		p.Entry = append(p.Entry, body...)
		return nil
	})
	if err != nil {
		return Proven{}, err
	}
	if p.Proof, err = audit.Prove(seq, checkpoint, head.Checkpoint, storedHashes(ctx, r.read)); err != nil {
		return Proven{}, explain(err, "prove an entry", r.dir)
	}
	if _, err := p.Proof.Check(p.Entry, r.verifier); err != nil {
		return Proven{}, tampered("prove entry %d: %w", seq, err)
	}
	return p, nil
}

// ProveGrowth makes the proof that the log still begins with what an older checkpoint signed, and gives the newest checkpoint.
func (r *Reader) ProveGrowth(ctx context.Context, from audit.Checkpoint) (proof tlog.TreeProof, checkpoint []byte, err error) {
	head, err := r.head(ctx)
	if err != nil {
		return nil, nil, err
	}
	to, err := audit.OpenCheckpoint(head.Checkpoint, r.verifier)
	if err != nil {
		return nil, nil, tampered("prove growth: %w", err)
	}
	if proof, err = audit.ProveGrowth(from, to, storedHashes(ctx, r.read)); err != nil {
		return nil, nil, explain(err, "prove growth", r.dir)
	}
	if err := audit.CheckGrowth(from, to, proof); err != nil {
		return nil, nil, tampered("prove growth: %w", err)
	}
	return proof, head.Checkpoint, nil
}

// Submission makes what a witness is sent that cosigned the log at old entries last: the newest checkpoint with the proof that it
// grew from there. 0 where it cosigned none.
func (r *Reader) Submission(ctx context.Context, old int64) (audit.Submission, error) {
	head, err := r.head(ctx)
	if err != nil {
		return audit.Submission{}, err
	}
	sub := audit.Submission{Old: old, Checkpoint: head.Checkpoint}
	if old == 0 || old == head.Size {
		return sub, nil
	}
	hashes := storedHashes(ctx, r.read)
	root, err := rootAt(old, hashes)
	if err == nil {
		sub.Growth, sub.Checkpoint, err = r.ProveGrowth(ctx, audit.Checkpoint{Origin: head.Origin, Size: old, Root: root})
	}
	return sub, err
}

// Verifier verifies the log's own signatures.
func (r *Reader) Verifier() note.Verifier { return r.verifier }
