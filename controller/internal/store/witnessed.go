package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/audit"
)

// KeepWitnessed keeps the newest checkpoint that a witness cosigned, and the witness's public key beside it, and publishes the
// cosignature with the tiles. Both signatures must verify.
func (s *Store) KeepWitnessed(signed []byte, key string) error {
	witness, err := audit.NewWitness(key)
	if err != nil {
		return err
	}
	if _, err := audit.OpenWitnessed(signed, s.verifier, witness); err != nil {
		return err
	}
	err = errors.Join(ReplaceFile(s.dir, fileWitness, []byte(witness.Key()+"\n"), 0o644), ReplaceFile(s.dir, fileWitnessed, signed, 0o644))
	if err == nil {
		err = s.tiler.witnessed(signed)
	}
	return explain(err, "keep the cosigned checkpoint", s.dir)
}

// Witnessed gives the newest checkpoint that a witness cosigned; nil where none did: the log is locally signed only.
func (r *Reader) Witnessed() (*audit.Witnessed, error) { return readWitnessed(r.dir, "", r.verifier) }

// readWitnessed verifies what KeepWitnessed wrote. key is the witness's public key that came another way; empty means the folder's.
func readWitnessed(dir, key string, log note.Verifier) (*audit.Witnessed, error) {
	signed, err := os.ReadFile(filepath.Join(dir, fileWitnessed))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && key == "" {
		var b []byte
		b, err = os.ReadFile(filepath.Join(dir, fileWitness))
		key = string(b)
	}
	if err != nil {
		return nil, explain(err, "read the cosigned checkpoint", dir)
	}
	witness, err := audit.NewWitness(key)
	if err != nil {
		return nil, &api.Error{Code: api.CodeTampered, Message: "read the cosigned checkpoint", Err: err, Hint: "give the witness's key with --witness-key, as the witness printed it"}
	}
	w, err := audit.OpenWitnessed(signed, log, witness)
	if err != nil {
		return nil, tampered("read the cosigned checkpoint: %w", err)
	}
	return &w, nil
}

// witnessed compares what a witness cosigned with the log.
func (c *check) witnessed() {
	w, err := readWitnessed(c.dir, c.options.Witness, c.verifier)
	if err != nil {
		c.found(audit.Elsewhere(audit.DamageSigned, "cosigned checkpoint", "%v", err))
		return
	}
	if w == nil && c.options.Witness != "" {
		c.found(audit.Elsewhere(audit.DamageSigned, "cosigned checkpoint", "there is none of the witness that was named"))
	}
	c.report.Witnessed = w
}

// Signed says in words who vouches for a log of that many entries.
func Signed(origin string, entries int64, w *audit.Witnessed) string {
	if w == nil {
		return "locally signed as " + origin
	}
	rest := ""
	if w.Size < entries {
		rest = fmt.Sprintf(" up to entry %d, the later ones locally signed as %s", w.Size-1, origin)
	}
	if w.Size == 0 {
		rest = fmt.Sprintf(" while empty, all entries locally signed as %s", origin)
	}
	return fmt.Sprintf("witnessed at %s by %s%s", w.At.Format("2006-01-02 15:04:05 MST"), w.By, rest)
}
