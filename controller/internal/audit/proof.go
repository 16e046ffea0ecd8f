package audit

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const proofHeader = "c2sp.org/tlog-proof@v1"

// Proof shows that one entry is in the log: a c2sp.org/tlog-proof. With the entry's bytes and the log's public key
// a stranger can check it offline.
type Proof struct {
	Extra      []byte // opaque, not signed; we write none and keep what others wrote
	Index      int64
	Hashes     tlog.RecordProof
	Checkpoint []byte // the signed note
}

// Prove makes the proof of one entry in the tree that checkpoint signs.
func Prove(seq int64, c Checkpoint, signed []byte, r tlog.HashReader) (Proof, error) {
	if seq < 0 || seq >= c.Size {
		return Proof{}, fmt.Errorf("prove entry %d: the checkpoint covers %d entries", seq, c.Size)
	}
	hashes, err := tlog.ProveRecord(c.Size, seq, r)
	if err != nil {
		return Proof{}, fmt.Errorf("prove entry %d: %w", seq, err)
	}
	return Proof{Index: seq, Hashes: hashes, Checkpoint: signed}, nil
}

// Check verifies that the entry's bytes are in the log whose key verifier holds.
func (p Proof) Check(canonical []byte, verifier note.Verifier) (Checkpoint, error) {
	c, err := OpenCheckpoint(p.Checkpoint, verifier)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("check the proof of entry %d: %w", p.Index, err)
	}
	if p.Index < 0 || p.Index >= c.Size {
		return Checkpoint{}, fmt.Errorf("check the proof of entry %d: its checkpoint covers %d entries", p.Index, c.Size)
	}
	if err := tlog.CheckRecord(p.Hashes, c.Size, c.Root, p.Index, Leaf(canonical)); err != nil {
		return Checkpoint{}, fmt.Errorf("check the proof of entry %d: %w", p.Index, err)
	}
	return c, nil
}

// Marshal writes the proof as c2sp.org/tlog-proof has it; keep it in a file ending in .tlog-proof.
func (p Proof) Marshal() []byte {
	var b strings.Builder
	b.WriteString(proofHeader + "\n")
	if len(p.Extra) > 0 {
		b.WriteString("extra " + base64.StdEncoding.EncodeToString(p.Extra) + "\n")
	}
	b.WriteString("index " + strconv.FormatInt(p.Index, 10) + "\n")
	for _, h := range p.Hashes {
		b.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
	}
	b.WriteString("\n")
	b.Write(p.Checkpoint)
	return []byte(b.String())
}

// ParseProof reads what Marshal or another tool wrote. It checks the form only; Check checks what it says.
func ParseProof(b []byte) (Proof, error) {
	head, checkpoint, found := strings.Cut(string(b), "\n\n")
	lines := strings.Split(head, "\n")
	if !found || lines[0] != proofHeader {
		return Proof{}, fmt.Errorf("read the proof: it does not begin with %s and end with a checkpoint", proofHeader)
	}
	lines = lines[1:]
	p := Proof{Checkpoint: []byte(checkpoint)}
	if len(lines) > 0 && strings.HasPrefix(lines[0], "extra ") {
		text := strings.TrimPrefix(lines[0], "extra ")
		extra, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil || base64.StdEncoding.EncodeToString(extra) != text || len(extra) == 0 {
			return Proof{}, errors.New("read the proof: its extra line is not base64")
		}
		p.Extra, lines = extra, lines[1:]
	}
	if len(lines) == 0 || !strings.HasPrefix(lines[0], "index ") {
		return Proof{}, errors.New("read the proof: it has no index line")
	}
	var err error
	if p.Index, err = parseCount(strings.TrimPrefix(lines[0], "index ")); err != nil {
		return Proof{}, fmt.Errorf("read the proof: its index: %w", err)
	}
	if len(lines[1:]) > 63 {
		return Proof{}, errors.New("read the proof: it has more hashes than any tree is high")
	}
	for i, line := range lines[1:] {
		h, err := parseHash(line)
		if err != nil {
			return Proof{}, fmt.Errorf("read the proof: hash %d: %w", i+1, err)
		}
		p.Hashes = append(p.Hashes, h)
	}
	return p, nil
}

// ProveGrowth makes the proof that the log of checkpoint to begins with all of the log of checkpoint from.
func ProveGrowth(from, to Checkpoint, r tlog.HashReader) (tlog.TreeProof, error) {
	if from.Size == 0 || from.Size == to.Size {
		return nil, nil
	}
	if from.Size > to.Size {
		return nil, fmt.Errorf("prove growth: the log has %d entries, fewer than the %d before", to.Size, from.Size)
	}
	proof, err := tlog.ProveTree(to.Size, from.Size, r)
	if err != nil {
		return nil, fmt.Errorf("prove growth from %d to %d entries: %w", from.Size, to.Size, err)
	}
	return proof, nil
}

// CheckGrowth verifies that nothing was changed or taken away between two checkpoints.
func CheckGrowth(from, to Checkpoint, proof tlog.TreeProof) error {
	switch {
	case from.Origin != to.Origin:
		return fmt.Errorf("check growth: two different logs, %q and %q", from.Origin, to.Origin)
	case from.Size > to.Size:
		return fmt.Errorf("check growth: the log has %d entries, fewer than the %d before", to.Size, from.Size)
	case from.Size == to.Size && from.Root != to.Root:
		return fmt.Errorf("check growth: two different logs of %d entries", to.Size)
	case from.Size == to.Size || from.Size == 0:
		return nil
	}
	if err := tlog.CheckTree(proof, to.Size, to.Root, from.Size, from.Root); err != nil {
		return fmt.Errorf("check growth from %d to %d entries: %w", from.Size, to.Size, err)
	}
	return nil
}
