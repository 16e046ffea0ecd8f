package audit

import (
	"crypto/sha256"
	"crypto/sha3"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// lanes is the width of a Sum: 1,024 sums of 16 bits make collisions as hard as a lattice problem of about 200 bits.
const lanes = 1024

// Sum is a hash of a set of rows that can be kept up to date: adding and removing a row costs the same however many there
// are, and the order does not matter. It covers what changes in place beside the append-only entries: views, ledger,
// snapshots. It is LtHash16 (Bellare and Micciancio's AdHash over lattices) with SHAKE128 as its expansion, and needs no
// secret, so that anybody can check it.
type Sum [lanes]uint16

// Row encodes one row of a table unambiguously: each part behind its length.
func Row(parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p) + 4
	}
	out := make([]byte, 0, n)
	for _, p := range parts {
		out = binary.BigEndian.AppendUint32(out, uint32(len(p)))
		out = append(out, p...)
	}
	return out
}

// Add takes a row into the set.
func (s *Sum) Add(row []byte) {
	b := sha3.SumSHAKE128(row, lanes*2)
	for i := range s {
		s[i] += binary.LittleEndian.Uint16(b[2*i:])
	}
}

// Remove takes a row out of the set.
func (s *Sum) Remove(row []byte) {
	b := sha3.SumSHAKE128(row, lanes*2)
	for i := range s {
		s[i] -= binary.LittleEndian.Uint16(b[2*i:])
	}
}

// Bytes is the sum as it is stored.
func (s *Sum) Bytes() []byte {
	b := make([]byte, 0, lanes*2)
	for _, lane := range s {
		b = binary.LittleEndian.AppendUint16(b, lane)
	}
	return b
}

// ParseSum reads what Bytes wrote.
func ParseSum(b []byte) (s Sum, err error) {
	if len(b) != lanes*2 {
		return s, fmt.Errorf("read the sum of the views: %d bytes instead of %d", len(b), lanes*2)
	}
	for i := range s {
		s[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return s, nil
}

// Digest is what is signed.
func (s *Sum) Digest() tlog.Hash { return sha256.Sum256(s.Bytes()) }

const stateHeader = "backstay.dev/state/v1"

// State is the signed word on everything that changes in place, as of a checkpoint: a note of its own, so that the checkpoint
// stays what other tools expect.
type State struct {
	Origin string
	Size   int64 // entries in the log then
	Rows   int64 // rows in the set
	Digest tlog.Hash
}

// Text is what is signed.
func (s State) Text() string {
	return stateHeader + "\n" + s.Origin + "\n" + strconv.FormatInt(s.Size, 10) + "\n" + strconv.FormatInt(s.Rows, 10) + "\n" +
		base64.StdEncoding.EncodeToString(s.Digest[:]) + "\n"
}

// Sign makes the signed note.
func (s State) Sign(signer note.Signer) ([]byte, error) {
	b, err := note.Sign(&note.Note{Text: s.Text()}, signer)
	if err != nil {
		return nil, fmt.Errorf("sign the state at %d entries: %w", s.Size, err)
	}
	return b, nil
}

// CheckState verifies that a signed note says exactly this.
func (s State) CheckState(signed []byte, verifier note.Verifier) error {
	n, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return fmt.Errorf("open the signed state: %w", err)
	}
	if n.Text != s.Text() {
		return fmt.Errorf("the views differ from what was signed with them")
	}
	return nil
}
