package store

import (
	"errors"
	"io/fs"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/backstay/backstay/api"
)

// explain turns what the database or the file system said into a coded error: what was being done, what went wrong, where,
// and what to do next. doing begins the message, such as "open the journal".
func explain(err error, doing, where string) error {
	if err == nil {
		return nil
	}
	var coded *api.Error
	if errors.As(err, &coded) {
		return err
	}
	code, hint := api.CodeInternal, "see the log; when it persists, check the disk"
	var lite *sqlite.Error
	switch {
	case errors.As(err, &lite):
		code, hint = explainSQLite(lite.Code())
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		code, hint = api.CodeUnavailable, hintFull
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		code, hint = api.CodeDenied, hintReadOnly
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR), errors.Is(err, fs.ErrExist):
		code, hint = api.CodeDenied, "something else is in its place; move it away or choose another folder with --data"
	}
	return &api.Error{Code: code, Message: doing + " in " + where, Err: err, Hint: hint}
}

const (
	hintFull     = "the disk is full: make room, then start again; everything that was acknowledged is kept"
	hintReadOnly = "the data folder cannot be written: give the user that runs backstay write permission, or choose another folder with --data"
	hintDamaged  = "the file is damaged: keep a copy, run backstay audit verify to see what, then restore a backup"
	hintBusy     = "another process holds the database: stop it, backup tools included"
)

func explainSQLite(code int) (api.Code, string) {
	switch code & 0xff {
	case sqlite3.SQLITE_FULL:
		return api.CodeUnavailable, hintFull
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_CANTOPEN:
		return api.CodeDenied, hintReadOnly
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return api.CodeTampered, hintDamaged
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return api.CodeConflict, hintBusy
	case sqlite3.SQLITE_IOERR:
		return api.CodeUnavailable, "the disk answers with errors: look at the kernel's log, check space and health of the disk"
	}
	return api.CodeInternal, "see the log; when it persists, check the disk"
}

// isDamage tells whether the database says that its own file is broken.
func isDamage(err error) bool {
	var lite *sqlite.Error
	if !errors.As(err, &lite) {
		return false
	}
	switch lite.Code() & 0xff {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_FORMAT:
		return true
	}
	return false
}

func tampered(format string, args ...any) error {
	err := api.Errorf(api.CodeTampered, format, args...)
	err.Hint = "run backstay audit verify to see what is damaged; act on nothing until a person has looked"
	return err
}
