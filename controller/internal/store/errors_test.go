package store

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/backstay/backstay/api"
)

// wantError opens a folder that must be refused, and checks that the message says what, where and what to do next.
func wantError(t *testing.T, dir string, code api.Code, words ...string) {
	t.Helper()
	s, err := Open(context.Background(), Options{Dir: dir, Origin: "backstay.test/log"})
	if err == nil {
		s.Close()
		t.Fatal("opened")
	}
	if api.CodeOf(err) != code {
		t.Errorf("code %s, want %s: %v", api.CodeOf(err), code, err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q is not in: %v", w, err)
		}
	}
}

func TestSecondProcess(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	wantError(t, dir, api.CodeConflict, dir, fmt.Sprintf("pid %d", os.Getpid()), "--data")
}

func TestNewerVersion(t *testing.T) {
	dir := fill(t, 10)
	edit(t, dir, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)")
	before, err := os.ReadFile(filepath.Join(dir, fileJournal))
	must(t, err)
	wantError(t, dir, api.CodeConflict, "newer backstay", "format 99", fileJournal)
	after, err := os.ReadFile(filepath.Join(dir, fileJournal))
	must(t, err)
	if string(before) != string(after) {
		t.Error("a refused database was changed")
	}
}

func TestFolderInTheWay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	must(t, os.WriteFile(dir, nil, 0o600))
	wantError(t, dir, api.CodeDenied, dir)

	for _, name := range []string{fileJournal, fileKey, fileCheckpoint, fileLock, fileTelemetry} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.Mkdir(filepath.Join(dir, name), 0o700))
			wantError(t, dir, api.CodeDenied, dir)
		})
	}
	dir = t.TempDir()
	must(t, syscall.Mkfifo(filepath.Join(dir, fileJournal), 0o600))
	wantError(t, dir, api.CodeDenied, fileJournal)
}

// TestReadOnly mounts a folder read-only, which stops root too.
func TestReadOnly(t *testing.T) {
	dir := mount(t, "size=4m")
	s := open(t, dir)
	must(t, s.Close())
	must(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, "size=4m"))
	wantError(t, dir, api.CodeDenied, dir, "permission")
	if r, err := VerifyFolder(t.Context(), dir, VerifyOptions{}); err != nil || !r.OK() {
		t.Errorf("verify a folder that cannot be written: %+v, %v", r, err)
	}
}

// TestFullDisk fills a small file system: what was acknowledged stays, what was not is refused, and there is a way back.
func TestFullDisk(t *testing.T) {
	ctx, dir := t.Context(), mount(t, "size=3m")
	s := open(t, dir)
	acknowledged := int64(0)
	var err error
	for i := 0; i < 100_000 && err == nil; i++ {
		if _, err = s.Append(ctx, Batch{Entries: samples(i*50, 50)}); err == nil {
			acknowledged += 50
		}
	}
	if api.CodeOf(err) != api.CodeUnavailable || !strings.Contains(err.Error(), "full") || !strings.Contains(err.Error(), dir) {
		t.Fatalf("a full disk: %v", err)
	}
	if _, again := s.Append(ctx, Batch{Entries: samples(0, 1)}); again == nil {
		t.Error("it goes on after a failed commit")
	}
	s.Close() // says that the checkpoint could not be published, or not: the disk is full
	must(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT, "size=30m"))
	s = open(t, dir)
	if s.Head().Size < acknowledged || s.RolledBack() != nil {
		t.Errorf("%d entries of %d acknowledged, %v", s.Head().Size, acknowledged, s.RolledBack())
	}
	_, err = s.Append(ctx, Batch{Entries: samples(0, 1)})
	must(t, err)
	if r, err := s.Verify(ctx, VerifyOptions{}); err != nil || !r.OK() {
		t.Errorf("%+v, %v", r, err)
	}
}

// mount makes a small file system of its own.
func mount(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("backstay-test", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("SKIPPED: cannot mount a small file system, which needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

func TestLockedDatabase(t *testing.T) {
	dir := fill(t, 10)
	s := open(t, dir)
	if _, err := s.committer.conn.ExecContext(t.Context(), "PRAGMA busy_timeout = 50"); err != nil {
		t.Fatal(err)
	}
	name, err := dsn(filepath.Join(dir, fileJournal), url.Values{})
	must(t, err)
	other, err := sql.Open("sqlite", name)
	must(t, err)
	defer other.Close()
	conn, err := other.Conn(t.Context())
	must(t, err)
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	_, err = s.Append(t.Context(), Batch{Entries: samples(0, 1)})
	if api.CodeOf(err) != api.CodeConflict || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a locked database: %v", err)
	}
}

func TestCorruptFile(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"no database": func([]byte) []byte { return []byte(strings.Repeat("not a database. ", 600)) },
		"cut in half": func(b []byte) []byte { return b[:len(b)/2] },
		"first pages": func(b []byte) []byte { return append(make([]byte, 8192), b[8192:]...) },
		"one column":  func(b []byte) []byte { return []byte(strings.Replace(string(b), "\n200\n", "\n201\n", -1)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := fill(t, 200)
			path := filepath.Join(dir, fileJournal)
			b, err := os.ReadFile(path)
			must(t, err)
			must(t, os.WriteFile(path, damage(b), 0o600))
			if r, err := VerifyFolder(t.Context(), dir, VerifyOptions{}); err != nil || r.OK() {
				t.Errorf("verification: %+v, %v", r, err)
			}
			wantError(t, dir, api.CodeTampered, "audit verify")
		})
	}
}

func TestKeys(t *testing.T) {
	dir := fill(t, 10)
	key := filepath.Join(dir, fileKey)
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key has mode %v, %v", info.Mode(), err)
	}
	must(t, os.Chmod(key, 0o604))
	wantError(t, dir, api.CodeDenied, key, "chmod 600")
	must(t, os.Chmod(key, 0o600))
	good, err := os.ReadFile(key)
	must(t, err)

	must(t, os.Remove(key))
	wantError(t, dir, api.CodeTampered, key, "backup")
	must(t, os.WriteFile(key, []byte("PRIVATE+KEY+nonsense"), 0o600))
	wantError(t, dir, api.CodeTampered, key, "backup")

	other := fill(t, 10)
	stranger, err := os.ReadFile(filepath.Join(other, fileKey))
	must(t, err)
	must(t, os.WriteFile(key, stranger, 0o600))
	wantError(t, dir, api.CodeTampered, fileKeyPublic)
	must(t, os.Remove(filepath.Join(dir, fileKeyPublic)))
	wantError(t, dir, api.CodeTampered, "audit verify") // the head is not signed by it

	must(t, os.WriteFile(key, good, 0o600))
	must(t, os.Remove(filepath.Join(dir, fileKeyPublic)))
	s := open(t, dir) // a lost public key is written again
	if r, err := s.Verify(t.Context(), VerifyOptions{}); err != nil || !r.OK() {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := Open(t.Context(), Options{Dir: t.TempDir(), Origin: "two words"}); api.CodeOf(err) != api.CodeUsage {
		t.Errorf("a name that no key can have: %v", err)
	}
	if r, err := VerifyFolder(t.Context(), t.TempDir(), VerifyOptions{}); api.CodeOf(err) != api.CodeNotFound {
		t.Errorf("an empty folder: %+v, %v", r, err)
	}
}

// TestSettings reads back what durability rests on, on the connection that commits.
func TestSettings(t *testing.T) {
	s := open(t, t.TempDir())
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2"} {
		var got string
		must(t, s.committer.conn.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got))
		if got != want {
			t.Errorf("%s is %s, want %s", pragma, got, want)
		}
	}
	if _, err := s.read.Exec("DELETE FROM entries"); err == nil {
		t.Error("a reader can write")
	}
}
