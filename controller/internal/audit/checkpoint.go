package audit

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint is the head of the log: how many entries there are and the hash of all of them. Signed, it is a
// c2sp.org/tlog-checkpoint: a note whose text is origin, size and root in three lines.
type Checkpoint struct {
	Origin string
	Size   int64
	Root   tlog.Hash
}

// Text is what is signed.
func (c Checkpoint) Text() string {
	return c.Origin + "\n" + strconv.FormatInt(c.Size, 10) + "\n" + base64.StdEncoding.EncodeToString(c.Root[:]) + "\n"
}

// Sign makes the signed note.
func (c Checkpoint) Sign(signer note.Signer) ([]byte, error) {
	b, err := note.Sign(&note.Note{Text: c.Text()}, signer)
	if err != nil {
		return nil, fmt.Errorf("sign the checkpoint of %d entries: %w", c.Size, err)
	}
	return b, nil
}

// OpenCheckpoint verifies a signed note and reads the checkpoint within. Signatures of others, such as witnesses, are allowed;
// one by verifier is a must, and the origin must be the verifier's name: a key signs for one log only.
func OpenCheckpoint(signed []byte, verifier note.Verifier) (Checkpoint, error) {
	n, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("open the checkpoint: %w", err)
	}
	c, err := ParseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != verifier.Name() {
		return Checkpoint{}, fmt.Errorf("open the checkpoint: it is of log %q, the key is of %q", c.Origin, verifier.Name())
	}
	return c, nil
}

// ParseCheckpoint reads the text of a checkpoint. Extension lines are allowed and ignored.
func ParseCheckpoint(text string) (Checkpoint, error) {
	bad := func(why string) (Checkpoint, error) {
		return Checkpoint{}, fmt.Errorf("read the checkpoint: %s: want origin, size and root hash in three lines", why)
	}
	if !strings.HasSuffix(text, "\n") {
		return bad("its last line has no end")
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) < 3 {
		return bad("it has fewer than three lines")
	}
	for _, line := range lines {
		if line == "" {
			return bad("it has an empty line")
		}
	}
	size, err := parseCount(lines[1])
	if err != nil {
		return bad("its size is no whole number")
	}
	root, err := parseHash(lines[2])
	if err != nil {
		return bad("its root is no hash")
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: root}, nil
}

// parseCount reads a decimal without sign or leading zeros.
func parseCount(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != s || n < 0 {
		return 0, fmt.Errorf("%q is no count", s)
	}
	return n, nil
}

// parseHash reads standard base64 of exactly one hash, in its one canonical spelling.
func parseHash(s string) (h tlog.Hash, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(h) || base64.StdEncoding.EncodeToString(b) != s {
		return h, fmt.Errorf("%q is no hash", s)
	}
	return tlog.Hash(b), nil
}
