package store

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/backstay/backstay/api"
)

// Reader reads a journal. A Store is one; OpenReader gives one of a data folder that another process may be writing.
type Reader struct {
	dir      string
	read     *sql.DB
	verifier note.Verifier
	head     func(ctx context.Context) (Head, error)
}

// OpenReader opens the journal of a data folder for reading only, beside a running controller or without one. Close it.
func OpenReader(ctx context.Context, dir string) (*Reader, error) {
	path := filepath.Join(dir, fileJournal)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil, &api.Error{Code: api.CodeNotFound, Message: "there is no log in " + dir, Hint: "name the data folder of backstay run with --data or BACKSTAY_DATA"}
	}
	read, err := openReaders(ctx, path)
	if err != nil {
		return nil, err
	}
	if err := refuseNewer(ctx, read, journalFile, path); api.CodeOf(err) == api.CodeConflict { // what is damaged is found by who reads it
		return nil, errors.Join(err, read.Close())
	}
	r := &Reader{dir: dir, read: read}
	key, err := os.ReadFile(filepath.Join(dir, fileKeyPublic))
	if err == nil {
		r.verifier, err = note.NewVerifier(strings.TrimSpace(string(key)))
	}
	if err != nil {
		return nil, errors.Join(explain(err, "read the log's public key", dir), read.Close())
	}
	r.head = func(ctx context.Context) (Head, error) {
		h, err := readHead(ctx, read)
		if err != nil {
			return Head{}, explain(err, "read the head of the log", path)
		}
		return Head{Origin: r.verifier.Name(), Size: h.size, Checkpoint: h.checkpoint, Key: strings.TrimSpace(string(key))}, nil
	}
	return r, nil
}

// Close closes a Reader that OpenReader gave.
func (r *Reader) Close() error { return r.read.Close() }
