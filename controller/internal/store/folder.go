package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/mod/sumdb/note"

	"github.com/backstay/backstay/api"
)

// The data folder.
const (
	fileJournal    = "backstay.db"          // audited
	fileTelemetry  = "telemetry.db"         // roll-ups, not audited
	fileKey        = "key"                  // signs checkpoints; 0600; a note signer key
	fileKeyPublic  = "key.pub"              // what others verify with
	fileCheckpoint = "checkpoint"           // the newest published one
	fileWitnessed  = "checkpoint.witnessed" // the newest one that a witness cosigned
	fileWitness    = "witness.pub"          // the witness's public key
	fileLock       = "lock"                 // held by the running process; its pid inside
)

// LockFolder makes a data folder and takes it for this process, until the file is closed or the process ends.
func LockFolder(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, explain(err, "make the data folder", dir)
	}
	path := filepath.Join(dir, fileLock)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, explain(err, "lock the data folder", dir)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, explain(err, "lock the data folder", dir)
		}
		holder := "another process"
		if b, rerr := os.ReadFile(path); rerr == nil {
			if pid, perr := strconv.Atoi(strings.TrimSpace(string(b))); perr == nil {
				holder = fmt.Sprintf("another process (pid %d)", pid)
			}
		}
		return nil, &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("lock the data folder %s: %s works in it", dir, holder),
			Hint: "stop that one first, or choose another folder with --data"}
	}
	if err := errors.Join(f.Truncate(0), writeAt(f, strconv.Itoa(os.Getpid())+"\n")); err != nil {
		f.Close()
		return nil, explain(err, "lock the data folder", dir)
	}
	return f, nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// loadKey reads the signing key, or makes one where fresh says that no log needs the old one.
func loadKey(dir, origin string, fresh bool) (note.Signer, note.Verifier, error) {
	path := filepath.Join(dir, fileKey)
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && fresh:
		return makeKey(dir, origin)
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, &api.Error{Code: api.CodeTampered, Message: "read the signing key " + path, Err: err,
			Hint: "the log was signed with it: restore it from a backup; a new key would make all older checkpoints unverifiable"}
	case err != nil:
		return nil, nil, explain(err, "read the signing key", path)
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o007 != 0 {
		return nil, nil, &api.Error{Code: api.CodeDenied, Message: fmt.Sprintf("read the signing key %s: everybody on this machine can read or change it (mode %04o)", path, info.Mode().Perm()),
			Hint: "chmod 600 " + path}
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, nil, badKey(path, err)
	}
	vkey, err := verifierKey(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, nil, badKey(path, err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, nil, badKey(path, err)
	}
	if pub, err := os.ReadFile(filepath.Join(dir, fileKeyPublic)); err == nil && strings.TrimSpace(string(pub)) != vkey {
		return nil, nil, tampered("read the public key %s: it does not belong to the signing key beside it", filepath.Join(dir, fileKeyPublic))
	} else if errors.Is(err, fs.ErrNotExist) {
		if err := ReplaceFile(dir, fileKeyPublic, []byte(vkey+"\n"), 0o644); err != nil {
			return nil, nil, explain(err, "write the public key", dir)
		}
	}
	return signer, verifier, nil
}

func badKey(path string, err error) error {
	return &api.Error{Code: api.CodeTampered, Message: "read the signing key " + path, Err: err,
		Hint: "the file is damaged: restore it from a backup; a new key would make all older checkpoints unverifiable"}
}

func makeKey(dir, origin string) (note.Signer, note.Verifier, error) {
	if origin == "" {
		host, err := os.Hostname()
		if err != nil || host == "" {
			host = "localhost"
		}
		origin = "backstay.local/" + host
	}
	if strings.ContainsAny(origin, "+ \t\r\n") {
		return nil, nil, &api.Error{Code: api.CodeUsage, Message: fmt.Sprintf("name the log %q: no blanks and no plus sign are allowed", origin),
			Hint: "use a name like backstay.local/HOST"}
	}
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return nil, nil, explain(err, "make a signing key", dir)
	}
	if err := errors.Join(ReplaceFile(dir, fileKey, []byte(skey+"\n"), 0o600), ReplaceFile(dir, fileKeyPublic, []byte(vkey+"\n"), 0o644)); err != nil {
		return nil, nil, explain(err, "write the signing key", dir)
	}
	signer, serr := note.NewSigner(skey)
	verifier, verr := note.NewVerifier(vkey)
	return signer, verifier, errors.Join(serr, verr)
}

// ReplaceFile replaces a file as a whole, durable when it returns: a crash leaves the old one or the new one.
func ReplaceFile(dir, name string, data []byte, mode fs.FileMode) error {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
