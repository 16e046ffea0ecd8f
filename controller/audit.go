package controller

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/audit"
	"github.com/backstay/backstay/controller/internal/store"
)

// AuditReport is what a verification found.
type AuditReport struct {
	OK       bool     `json:"ok"`
	Entries  int64    `json:"entries"`
	Text     string   `json:"text"`               // one sentence
	Problems []string `json:"problems,omitempty"` // each names the entry, row, page or member of a pack that does not fit
	Notes    []string `json:"notes,omitempty"`    // what the check could not prove
}

// AuditVerify checks the whole log of a data folder, beside a running controller or without one. keyFile is a copy of key.pub
// that came another way; empty means the folder's own.
func AuditVerify(ctx context.Context, dir, keyFile string) (AuditReport, error) {
	return AuditVerifyWitnessed(ctx, dir, keyFile, "")
}

// AuditVerifyWitnessed is AuditVerify that also wants the cosignature of the witness with that public key; empty means: of whoever
// the folder names, if any.
func AuditVerifyWitnessed(ctx context.Context, dir, keyFile, witnessKey string) (AuditReport, error) {
	o := store.VerifyOptions{Witness: witnessKey}
	if keyFile != "" {
		key, err := os.ReadFile(keyFile)
		if err != nil {
			return AuditReport{}, fmt.Errorf("read the public key: %w", err)
		}
		o.Key = string(key)
	}
	found, err := store.VerifyFolder(ctx, dir, o)
	if err != nil {
		return AuditReport{}, err
	}
	return reportOf(found.Entries, store.Signed(found.Origin, found.Entries, found.Witnessed), found.Damages), nil
}

func reportOf(entries int64, signed string, damages []audit.Damage) AuditReport {
	r := AuditReport{OK: len(damages) == 0, Entries: entries, Text: fmt.Sprintf("%d entries, each as it was written; %s", entries, signed)}
	for _, d := range damages {
		r.Problems = append(r.Problems, d.String())
	}
	if !r.OK {
		r.Text = fmt.Sprintf("%d entries; %d things are not as they were signed", entries, len(damages))
	}
	return r
}

// AuditVerifyFile checks a proof of one entry (AuditProve), an export of the whole log (AuditExport) or the evidence of an
// incident (AuditPack) with nothing but the public key in keyFile.
func AuditVerifyFile(path, keyFile string) (AuditReport, error) {
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return AuditReport{}, &api.Error{Code: api.CodeNotFound, Message: "read the public key", Err: err, Hint: "name the log's key.pub with --key"}
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(string(key)))
	if err != nil {
		return AuditReport{}, fmt.Errorf("read the public key %s: %w", keyFile, err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return AuditReport{}, &api.Error{Code: api.CodeNotFound, Message: "read the proof", Err: err}
	}
	if bytes.HasPrefix(data, gzipHead[:2]) {
		return verifyPack(data, strings.TrimSpace(string(key)), verifier), nil
	}
	if bytes.HasPrefix(data, []byte("{")) {
		checkpoint, damages, err := audit.VerifyExport(bytes.NewReader(data), verifier)
		if err != nil {
			return AuditReport{Text: err.Error(), Problems: []string{err.Error()}}, nil
		}
		return reportOf(checkpoint.Size, store.Signed(checkpoint.Origin, checkpoint.Size, nil), damages), nil
	}
	return verifyProof(data, verifier), nil
}

func verifyProof(data []byte, verifier note.Verifier) AuditReport {
	bad := func(err error) AuditReport { return AuditReport{Text: err.Error(), Problems: []string{err.Error()}} }
	proof, err := audit.ParseProof(data)
	if err != nil {
		return bad(err)
	}
	checkpoint, err := proof.Check(proof.Extra, verifier)
	if err != nil {
		return bad(err)
	}
	e, err := audit.Decode(proof.Extra)
	if err != nil {
		return bad(err)
	}
	text := fmt.Sprintf("entry %d is in the log of %d entries that %s signed: %s %s: %s", proof.Index, checkpoint.Size, checkpoint.Origin, e.At.Format("2006-01-02 15:04:05 MST"), e.Kind, e.Text)
	return AuditReport{OK: true, Entries: 1, Text: text}
}

// AuditQuery selects entries to show.
type AuditQuery struct {
	Seq                   int64 // one entry; below 0: all that the others select
	Incident, Remediation string
	Limit                 int // the newest; 0 means all
}

// AuditEntries reads entries from a data folder.
func AuditEntries(ctx context.Context, dir string, q AuditQuery) ([]api.Entry, error) {
	r, err := store.OpenReader(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if q.Seq >= 0 {
		entries, err := r.Entries(ctx, store.Query{From: q.Seq, To: q.Seq + 1})
		if err == nil && len(entries) == 0 {
			err = api.Errorf(api.CodeNotFound, "the log has no entry %d", q.Seq)
		}
		return entries, err
	}
	limit := q.Limit
	if limit == 0 {
		limit = int(^uint(0) >> 1)
	}
	return r.Entries(ctx, store.Query{Incident: q.Incident, Remediation: q.Remediation, Limit: limit, Newest: true})
}

// AuditSigned says in words who vouches for the log of a data folder: "locally signed as ..." or "witnessed at ... by ...".
func AuditSigned(ctx context.Context, dir string) (string, error) {
	r, err := store.OpenReader(ctx, dir)
	if err != nil {
		return "", err
	}
	defer r.Close()
	w, err := r.Witnessed()
	if err != nil {
		return "", err
	}
	sub, err := r.Submission(ctx, 0)
	if err != nil {
		return "", err
	}
	c, err := audit.OpenCheckpoint(sub.Checkpoint, r.Verifier())
	if err != nil {
		return "", err
	}
	return store.Signed(c.Origin, c.Size, w), nil
}

// AuditExport writes the canonical bytes of every entry, one a line, then the signed checkpoint.
func AuditExport(ctx context.Context, dir string, w io.Writer) error {
	r, err := store.OpenReader(ctx, dir)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = r.Export(ctx, w, store.Query{})
	return err
}

// AuditProve makes a c2sp.org/tlog-proof of one entry; its extra line holds the entry itself.
func AuditProve(ctx context.Context, dir string, seq int64) ([]byte, error) {
	r, err := store.OpenReader(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	proven, err := r.Prove(ctx, seq)
	if err != nil {
		return nil, err
	}
	proven.Proof.Extra = proven.Entry
	return proven.Proof.Marshal(), nil
}

// AuditKey is where the public key of a data folder lies.
func AuditKey(dir string) string { return filepath.Join(dir, "key.pub") }
