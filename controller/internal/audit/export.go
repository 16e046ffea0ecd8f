package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/note"
)

// lineMax bounds one line of an export.
const lineMax = 64 << 20

// Trailer is the last line of an export: every line before it is the canonical bytes of one entry.
type Trailer struct {
	Checkpoint string `json:"checkpoint"` // signed note
	Key        string `json:"key"`        // the public key it claims; trust only one that came another way
}

// VerifyExport checks an export of the whole log, without any database: the entries from 0 on, one a line, then the trailer.
func VerifyExport(r io.Reader, verifier note.Verifier) (Checkpoint, []Damage, error) {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, 64<<10), lineMax)
	in.Split(wholeLines)
	var tree Tree
	var damages []Damage
	for in.Scan() {
		line := in.Bytes()
		if !bytes.HasPrefix(line, []byte(`{"checkpoint":`)) {
			seq := tree.Size()
			if ix, err := ReadIndex(line); err != nil || ix.Seq != seq {
				damages = append(damages, Entries(DamageEntry, seq, seq, "line %d is not entry %d", seq+1, seq))
			}
			tree.Append(Leaf(line), nil)
			continue
		}
		var t Trailer
		if err := json.Unmarshal(line, &t); err != nil {
			return Checkpoint{}, damages, fmt.Errorf("read the export: its last line: %w", err)
		}
		c, err := OpenCheckpoint([]byte(t.Checkpoint), verifier)
		if err != nil {
			return Checkpoint{}, damages, fmt.Errorf("read the export: %w", err)
		}
		switch {
		case c.Size > tree.Size():
			damages = append(damages, Entries(DamageMissing, tree.Size(), c.Size-1, "they are missing"))
		case c.Size < tree.Size():
			damages = append(damages, Entries(DamageExtra, c.Size, tree.Size()-1, "they lie beyond the signed head"))
		case c.Root != tree.Root():
			damages = append(damages, Elsewhere(DamageRoot, "log", "the %d entries together are not those that were signed", c.Size))
		}
		return c, damages, nil
	}
	if err := in.Err(); err != nil {
		return Checkpoint{}, damages, fmt.Errorf("read the export: line %d: %w", tree.Size()+1, err)
	}
	return Checkpoint{}, damages, errors.New("read the export: it ends without a checkpoint: export again")
}

// wholeLines splits at newlines and nowhere else: a carriage return is a byte like any other, and hashed.
func wholeLines(b []byte, atEnd bool) (advance int, line []byte, err error) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return i + 1, b[:i], nil
	}
	if atEnd && len(b) > 0 {
		return len(b), b, nil
	}
	return 0, nil, nil
}
