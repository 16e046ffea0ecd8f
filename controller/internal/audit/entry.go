package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/backstay/backstay/api"
)

// Encode gives the canonical bytes of an entry: its JSON encoding in one line, fields in the order of api.Entry, times in UTC.
// It fails on what JSON cannot hold: a number that is not finite, a malformed before-image, a year past 9999.
//
// Compatibility: bytes once written are hashed and signed and never written again. The encoding begins with the sequence
// number, so that WithSeq can set it late.
func Encode(e api.Entry) ([]byte, error) {
	e.At = e.At.UTC()
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode %s entry: %w", e.Kind, err)
	}
	return b, nil
}

// Decode reads canonical bytes. Fields and kinds that this version does not know are no error: the bytes stay as they are,
// and Text says what happened.
func Decode(b []byte) (api.Entry, error) {
	var e api.Entry
	if err := json.Unmarshal(b, &e); err != nil {
		return api.Entry{}, fmt.Errorf("decode entry: %w", err)
	}
	return e, nil
}

const seqField = `{"seq":`

// WithSeq gives the canonical bytes of the same entry under another sequence number. Entries are encoded by whoever writes
// them and numbered at the commit; this keeps the encoding off the one goroutine that commits.
func WithSeq(canonical []byte, seq int64) []byte {
	rest := canonical
	if bytes.HasPrefix(rest, []byte(seqField)) {
		rest = rest[len(seqField):]
		for len(rest) > 0 && rest[0] != ',' {
			rest = rest[1:]
		}
	}
	out := make([]byte, 0, len(canonical)+20)
	out = append(out, seqField...)
	out = strconv.AppendInt(out, seq, 10)
	return append(out, rest...)
}

// Leaf is the hash of an entry in the tree: of its LeafData.
func Leaf(canonical []byte) tlog.Hash { return tlog.RecordHash(LeafData(canonical)) }

// Index is what a database keeps beside an entry to find it by. Verification compares it with the entry's bytes.
type Index struct {
	Seq         int64
	At          int64 // nanoseconds since 1970, UTC
	Kind        string
	Incident    string
	Remediation string
}

// IndexOf gives the columns of an entry.
func IndexOf(e api.Entry) Index {
	return Index{Seq: e.Seq, At: e.At.UnixNano(), Kind: string(e.Kind), Incident: e.Incident, Remediation: e.Remediation}
}

// ReadIndex reads the columns out of canonical bytes without decoding the rest, as verification of a long log must.
// It accepts any JSON object; the canonical order of fields only makes it faster.
func ReadIndex(canonical []byte) (Index, error) {
	if ix, complete := scanIndex(canonical); complete {
		return ix, nil
	}
	var head struct {
		Seq         int64     `json:"seq"`
		At          time.Time `json:"at"`
		Kind        string    `json:"kind"`
		Incident    string    `json:"incident"`
		Remediation string    `json:"remediation"`
	}
	if err := json.Unmarshal(canonical, &head); err != nil {
		return Index{}, fmt.Errorf("read entry: %w", err)
	}
	return Index{head.Seq, head.At.UnixNano(), head.Kind, head.Incident, head.Remediation}, nil
}

// scanIndex walks the leading fields as Encode writes them. It gives up, complete false, on anything unusual: an escape in a
// value it needs, another order of fields, a broken object.
func scanIndex(b []byte) (ix Index, complete bool) {
	b, ok := bytes.CutPrefix(b, []byte(seqField))
	if !ok {
		return ix, false
	}
	digits := bytes.IndexByte(b, ',')
	if digits < 1 {
		return ix, false
	}
	var err error
	if ix.Seq, err = strconv.ParseInt(string(b[:digits]), 10, 64); err != nil {
		return ix, false
	}
	b = b[digits:]
	for _, field := range []string{"at", "kind", "text", "actor", "incident", "remediation"} {
		value, rest, state := scanField(b, field)
		if state == fieldOdd {
			return ix, false
		}
		if state == fieldAbsent {
			if field == "at" || field == "kind" || field == "text" {
				return ix, false
			}
			continue
		}
		b = rest
		switch field {
		case "text", "actor":
			continue
		case "at":
			at, err := time.Parse(time.RFC3339Nano, string(value))
			if err != nil {
				return ix, false
			}
			ix.At = at.UnixNano()
		case "kind":
			ix.Kind = string(value)
		case "incident":
			ix.Incident = string(value)
		case "remediation":
			ix.Remediation = string(value)
		}
		if bytes.IndexByte(value, '\\') >= 0 {
			return ix, false
		}
	}
	return ix, len(b) > 0 && (b[0] == ',' || b[0] == '}')
}

type fieldState int

const (
	fieldFound fieldState = iota
	fieldAbsent
	fieldOdd
)

// scanField reads `,"name":"value"` off the front of b.
func scanField(b []byte, name string) (value, rest []byte, state fieldState) {
	if len(b) < len(name)+5 || b[0] != ',' || b[1] != '"' || string(b[2:2+len(name)]) != name || b[2+len(name)] != '"' {
		return nil, b, fieldAbsent
	}
	b = b[len(name)+3:]
	if len(b) < 3 || b[0] != ':' || b[1] != '"' {
		return nil, nil, fieldOdd
	}
	b = b[2:]
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return b[:i], b[i+1:], fieldFound
		}
	}
	return nil, nil, fieldOdd
}
