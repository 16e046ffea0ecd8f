package audit

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// proofMax bounds the hashes of a request to a witness; the specification says 63.
const proofMax = 63

// Submission is what a log sends to a witness: the body of add-checkpoint as c2sp.org/tlog-witness has it.
type Submission struct {
	Old        int64          // the size that the witness signed last; 0: it signed none
	Growth     tlog.TreeProof // from Old to the checkpoint
	Checkpoint []byte         // the signed note
}

// Marshal writes the body.
func (s Submission) Marshal() []byte {
	var b strings.Builder
	b.WriteString("old " + strconv.FormatInt(s.Old, 10) + "\n")
	for _, h := range s.Growth {
		b.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
	}
	b.WriteString("\n")
	b.Write(s.Checkpoint)
	return []byte(b.String())
}

// ParseSubmission reads the body. It checks the form only.
func ParseSubmission(body []byte) (Submission, error) {
	head, checkpoint, found := strings.Cut(string(body), "\n\n")
	lines := strings.Split(head, "\n")
	old, isOld := strings.CutPrefix(lines[0], "old ")
	if !found || !isOld {
		return Submission{}, errors.New("read the submission: want an old size, a proof, an empty line and a checkpoint")
	}
	s := Submission{Checkpoint: []byte(checkpoint)}
	var err error
	if s.Old, err = parseCount(old); err != nil {
		return Submission{}, fmt.Errorf("read the submission: its old size: %w", err)
	}
	if len(lines)-1 > proofMax {
		return Submission{}, fmt.Errorf("read the submission: %d hashes; a proof has at most %d", len(lines)-1, proofMax)
	}
	for _, line := range lines[1:] {
		h, err := parseHash(line)
		if err != nil {
			return Submission{}, fmt.Errorf("read the submission: its proof: %w", err)
		}
		s.Growth = append(s.Growth, h)
	}
	return s, nil
}

// SplitOrigin reads the origin of a signed checkpoint, before it is known whose key must verify it.
func SplitOrigin(signed []byte) string {
	origin, _, _ := strings.Cut(string(signed), "\n")
	return origin
}
