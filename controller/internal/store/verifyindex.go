package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"hash/maphash"

	"github.com/backstay/backstay/controller/internal/audit"
)

// entryIndexes are the columns of entries that have an index, named entries_COLUMN. An index that is not what the table is would
// hide entries from whoever asks for an incident.
var entryIndexes = [...]string{"incident", "remediation", "kind", "at"}

// indexSums are sums over what each index must hold: one number per column, the same whatever the order. The seed is random, so
// nobody can prepare rows that sum up to the same.
//
// SQLite's own check looks up every entry in every index on one core; this reads table and indexes once, in parallel.
type indexSums [len(entryIndexes)]uint64

func (s *indexSums) add(seed maphash.Seed, ix audit.Index, incident, remediation bool) {
	if incident {
		s[0] += keySum(seed, []byte(ix.Incident), ix.Seq)
	}
	if remediation {
		s[1] += keySum(seed, []byte(ix.Remediation), ix.Seq)
	}
	s[2] += keySum(seed, []byte(ix.Kind), ix.Seq)
	s[3] += keySum(seed, binary.BigEndian.AppendUint64(nil, uint64(ix.At)), ix.Seq)
}

func keySum(seed maphash.Seed, key []byte, seq int64) uint64 {
	var buf [128]byte
	b := append(buf[:0], key...)
	return maphash.Bytes(seed, binary.BigEndian.AppendUint64(b, uint64(seq)))
}

// index sums up one index, and checks that it is in order, without which look-ups miss.
func (c *check) index(ctx context.Context, nth int) (sum uint64, ordered bool, err error) {
	column, want := entryIndexes[nth], "text"
	if column == "at" {
		want = "integer"
	}
	rows, err := c.db.QueryContext(ctx, "SELECT "+column+", seq, typeof("+column+") = '"+want+"' FROM entries INDEXED BY entries_"+column+" WHERE "+column+" IS NOT NULL ORDER BY "+column+", seq")
	if err != nil {
		return 0, false, err
	}
	defer rows.Close()
	var text sql.RawBytes
	var at, seq, lastSeq int64
	var typed bool // a key of another type lies elsewhere in the index than a look-up expects it
	key, last := []byte(nil), []byte(nil)
	for first := true; rows.Next(); first = false {
		if column == "at" {
			err = rows.Scan(&at, &seq, &typed)
			key = binary.BigEndian.AppendUint64(key[:0], uint64(at))
		} else {
			err = rows.Scan(&text, &seq, &typed)
			key = append(key[:0], text...)
		}
		if err != nil || !typed {
			return 0, false, nil // not even of the right type: let SQLite say what it is
		}
		if order := bytes.Compare(last, key); !first && (order > 0 || order == 0 && lastSeq >= seq) {
			return 0, false, nil
		}
		key, last, lastSeq = last, key, seq
		if seq < c.signed.Size {
			sum += keySum(c.seed, last, seq)
		}
	}
	return sum, true, rows.Err()
}

// indexes sums up all of them. sound is false where one cannot even be read in order.
func (c *check) indexes(ctx context.Context) (sums indexSums, sound bool, err error) {
	sound = true
	for nth := range entryIndexes {
		sum, ordered, err := c.index(ctx, nth)
		if err != nil && !isDamage(err) {
			return sums, false, err
		}
		sums[nth], sound = sum, sound && ordered && err == nil
	}
	return sums, sound, nil
}
