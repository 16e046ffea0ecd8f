package store

import (
	"bytes"
	"context"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/audit"
	"github.com/backstay/backstay/controller/internal/rig"
)

// publishNow does not wait for the tiler's moment.
func publishNow(t *testing.T, s *Store) {
	t.Helper()
	s.tiler.mu.Lock()
	defer s.tiler.mu.Unlock()
	must(t, s.tiler.publish(t.Context(), s.Head().Checkpoint))
}

// checkTiles reads the published files as a stranger would: every bundle hashes to the tile of level 0, the levels above to the
// signed root.
func checkTiles(t *testing.T, dir string, size int64) {
	t.Helper()
	r, err := OpenReader(t.Context(), dir)
	must(t, err)
	defer r.Close()
	signed, err := r.Published("checkpoint")
	must(t, err)
	c, err := audit.OpenCheckpoint(signed, r.verifier)
	must(t, err)
	if c.Size != size {
		t.Fatalf("%d entries are published, want %d", c.Size, size)
	}
	var tree audit.Tree
	for _, tile := range audit.Tiles(0, size) {
		data, err := r.Published(tile.Path())
		must(t, err)
		if tile.Level != audit.BundleLevel {
			if len(data) != tile.Width*tlog.HashSize {
				t.Fatalf("%s has %d bytes", tile.Path(), len(data))
			}
			continue
		}
		leaves, err := audit.ReadBundle(data)
		must(t, err)
		hashes, err := r.Published(audit.Tile{Level: 0, N: tile.N, Width: tile.Width}.Path())
		must(t, err)
		if len(leaves) != tile.Width {
			t.Fatalf("%s has %d entries", tile.Path(), len(leaves))
		}
		for i, leaf := range leaves {
			h := tlog.RecordHash(leaf)
			if !bytes.Equal(h[:], hashes[i*tlog.HashSize:][:tlog.HashSize]) {
				t.Fatalf("entry %d of %s is not the one that its tile hashes", i, tile.Path())
			}
			tree.Append(h, nil)
		}
	}
	if tree.Root() != c.Root {
		t.Fatal("the published entries are not those that are signed")
	}
}

// TestTilesGrow publishes at many sizes, and finds at the end what each older checkpoint needs.
func TestTilesGrow(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	size := int64(0)
	var published []int64
	for _, n := range []int{0, 1, 3, 200, 51, 1, 1, 254, 1, 600} {
		_, err := s.Append(t.Context(), Batch{Entries: samples(int(size), n)})
		must(t, err)
		size += int64(n)
		publishNow(t, s)
		checkTiles(t, dir, size)
		published = append(published, size)
	}
	for _, old := range published {
		for _, tile := range audit.Tiles(0, old) {
			_, partial := s.Published(tile.Path())
			_, full := s.Published(tile.Full().Path())
			if partial != nil && full != nil {
				t.Errorf("whoever holds the checkpoint of %d entries finds no %s: %v", old, tile.Path(), partial)
			}
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, TilesFolder, "tile", "*", "000.p")); err != nil || slices.ContainsFunc(left, func(p string) bool { return !strings.Contains(p, "tile/1/") }) {
		t.Errorf("partial tiles stay beside full ones: %v, %v", left, err)
	}
	for _, name := range []string{"tile/0/004.new", "../key", "tile", "tile/0", "key", "", "tile/entries/../../../key", "checkpoint.new"} {
		if b, err := s.Published(name); api.CodeOf(err) != api.CodeNotFound {
			t.Errorf("%q gives %q, %v", name, b, err)
		}
	}
}

// TestTilesFollow lets the tiler work by itself: soon after a commit, at the end, and where files are missing at the next start.
func TestTilesFollow(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	_, err := s.Append(t.Context(), Batch{Entries: samples(0, 300)})
	must(t, err)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if b, err := s.Published("checkpoint"); err == nil && strings.Contains(string(b), "\n300\n") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not published in ten seconds; health %v", s.Health())
		}
	}
	checkTiles(t, dir, 300)
	_, err = s.Append(t.Context(), Batch{Entries: samples(300, 300)})
	must(t, err)
	must(t, s.Close())
	checkTiles(t, dir, 600)
	for _, name := range []string{"tile/entries/001", "tile/0/000", "tile/1/000.p/2"} {
		must(t, os.Remove(filepath.Join(dir, TilesFolder, name)))
	}
	must(t, os.WriteFile(filepath.Join(dir, TilesFolder, "tile/0/001"), []byte("short"), 0o600))
	must(t, open(t, dir).Close())
	checkTiles(t, dir, 600)
	must(t, os.RemoveAll(filepath.Join(dir, TilesFolder)))
	must(t, open(t, dir).Close())
	checkTiles(t, dir, 600)
}

// TestTilesAfterRollback keeps what was published before as evidence, and publishes the log that a person accepted.
func TestTilesAfterRollback(t *testing.T) {
	dir := fill(t, 100)
	backup, err := os.ReadFile(filepath.Join(dir, fileJournal))
	must(t, err)
	s := open(t, dir)
	_, err = s.Append(t.Context(), Batch{Entries: samples(100, 300)})
	must(t, err)
	must(t, s.Close())
	must(t, os.WriteFile(filepath.Join(dir, fileJournal), backup, 0o600))
	must(t, os.Remove(filepath.Join(dir, fileCheckpoint))) // the tiles remember too
	s = open(t, dir)
	if r := s.RolledBack(); r == nil || r.Published != 400 || r.Head != 100 {
		t.Fatalf("not noticed from the tiles: %+v", r)
	}
	_, err = s.Append(t.Context(), Batch{Entries: samples(1000, 7)})
	must(t, err)
	must(t, s.Close())
	checkContradicted := func(folder string) {
		t.Helper()
		if b, err := os.ReadFile(filepath.Join(dir, folder, fileCheckpoint)); err != nil || !strings.Contains(string(b), "\n400\n") {
			t.Errorf("the evidence in %s is gone: %q, %v", folder, b, err)
		}
	}
	checkContradicted(TilesFolder)
	s = open(t, dir)
	must(t, s.AcceptRollback())
	must(t, s.Close())
	checkContradicted(TilesFolder + ".contradicted-400")
	checkTiles(t, dir, 107)
	if r := open(t, dir).RolledBack(); r != nil {
		t.Errorf("after acceptance: %s", r.Text)
	}
}

// TestTilesLongEntry records an entry that no tile can hold: its leaf is its digest, and everything still verifies.
func TestTilesLongEntry(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	long := sample(1)
	long.Text = strings.Repeat("long ", 40_000)
	_, err := s.Append(t.Context(), Batch{Entries: []api.Entry{sample(0), long, sample(2)}})
	must(t, err)
	proven, err := s.Prove(t.Context(), 1)
	must(t, err)
	if len(proven.Entry) < 200_000 {
		t.Errorf("the entry was cut to %d bytes", len(proven.Entry))
	}
	if r, err := s.Verify(t.Context(), VerifyOptions{}); err != nil || !r.OK() {
		t.Errorf("%+v, %v", r, err)
	}
	must(t, s.Close())
	checkTiles(t, dir, 3)
	digest := audit.LeafData(proven.Entry)
	db, err := openDatabase(t.Context(), journalFile, filepath.Join(dir, fileJournal))
	must(t, err)
	_, err = db.Exec("UPDATE entries SET body = ? WHERE seq = 1", digest)
	must(t, err)
	must(t, db.Close())
	if r := verifyFolder(t, dir); r.OK() {
		t.Error("the digest in place of the entry goes unnoticed")
	}
}

// TestTesseraAccepts has somebody else's checker read the whole published log over HTTP, at sizes that end in every kind of tile,
// and refuse damaged copies: that is the control.
func TestTesseraAccepts(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	key := filepath.Join(dir, fileKeyPublic)
	size := int64(0)
	sizes := []int64{1, 255, 256, 257, 70_000}
	if testing.Short() {
		sizes = sizes[:4]
	}
	for _, want := range sizes {
		for size < want {
			n := min(want-size, 2000)
			batch := samples(int(size), int(n))
			if size == 0 {
				batch[0].Text = strings.Repeat("long ", 20_000)
			}
			_, err := s.Append(t.Context(), Batch{Entries: batch})
			must(t, err)
			size += n
		}
		publishNow(t, s)
		began := time.Now()
		out, err := fsckFolder(t, filepath.Join(dir, TilesFolder), key)
		if err != nil {
			t.Fatalf("%d entries: fsck: %v\n%s", size, err, out)
		}
		t.Logf("tessera's fsck accepts %d entries in %v", size, time.Since(began).Round(time.Millisecond))
	}
	for _, name := range []string{lastOf(t, dir, 1), "checkpoint"} { // a damaged bundle it refuses too, but then waits for ever
		broken := t.TempDir()
		must(t, os.CopyFS(broken, os.DirFS(filepath.Join(dir, TilesFolder))))
		path := filepath.Join(broken, name)
		b, err := os.ReadFile(path)
		must(t, err)
		b[len(b)/2] ^= 1
		must(t, os.WriteFile(path, b, 0o600))
		if out, err := fsckFolder(t, broken, key); err == nil {
			t.Errorf("CONTROL: fsck accepts a log with a changed bit in %s\n%s", name, out)
		}
	}
}

// lastOf names the last tile of a level.
func lastOf(t *testing.T, dir string, level int) string {
	t.Helper()
	var last string
	root := filepath.Join(dir, TilesFolder)
	must(t, filepath.WalkDir(filepath.Join(root, "tile", string(rune('0'+level))), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			last = strings.TrimPrefix(path, root+"/")
		}
		return err
	}))
	return last
}

func fsckFolder(t *testing.T, dir, key string) (string, error) {
	t.Helper()
	server := httptest.NewServer(http.FileServerFS(os.DirFS(dir)))
	defer server.Close()
	return rig.Fsck(t, server.URL, key, "")
}

// TestWitnessed keeps a cosigned checkpoint, and says so in words.
func TestWitnessed(t *testing.T) {
	dir := fill(t, 20)
	s := open(t, dir)
	publishNow(t, s)
	cosigner, err := audit.NewCosigner("PRIVATE+KEY+witness.test/w1+00000000+AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH")
	must(t, err)
	witness, err := audit.NewWitness(cosigner.Key())
	must(t, err)
	if w, err := s.Witnessed(); w != nil || err != nil {
		t.Fatalf("not witnessed yet: %+v, %v", w, err)
	}
	sub, err := s.Submission(t.Context(), 0)
	must(t, err)
	c, err := audit.OpenCheckpoint(sub.Checkpoint, s.Verifier())
	must(t, err)
	cosigned, err := audit.AddCosignatures(sub.Checkpoint, cosigner.Cosign(c.Text(), t0), s.Verifier(), witness)
	must(t, err)
	if err := s.KeepWitnessed(sub.Checkpoint, cosigner.Key()); err == nil {
		t.Error("a checkpoint without a cosignature is kept")
	}
	must(t, s.KeepWitnessed(cosigned, cosigner.Key()))
	r, err := s.Verify(t.Context(), VerifyOptions{Witness: cosigner.Key()})
	must(t, err)
	if got := Signed(r.Origin, r.Entries, r.Witnessed); !r.OK() || got != "witnessed at 2026-03-02 09:00:00 UTC by witness.test/w1" {
		t.Errorf("%s, %+v", got, r.Damages)
	}
	if b, err := s.Published("checkpoint"); err != nil || !bytes.Equal(b, cosigned) {
		t.Errorf("the cosignature is not published: %s, %v", b, err)
	}
	_, err = s.Append(t.Context(), Batch{Entries: samples(20, 5)})
	must(t, err)
	if w, err := s.Witnessed(); err != nil || Signed("o", s.Head().Size, w) != "witnessed at 2026-03-02 09:00:00 UTC by witness.test/w1 up to entry 19, the later ones locally signed as o" {
		t.Errorf("%s, %v", Signed("o", s.Head().Size, w), err)
	}
	must(t, s.Close())

	stranger := strings.Replace(cosigner.Key(), "w1", "w2", 1)
	if r, err := VerifyFolder(context.Background(), dir, VerifyOptions{Witness: stranger}); err != nil || r.OK() {
		t.Errorf("with the key of another witness: %+v, %v", r, err)
	}
	must(t, os.WriteFile(filepath.Join(dir, fileWitnessed), bytes.Replace(cosigned, []byte("\n20\n"), []byte("\n21\n"), 1), 0o600))
	if r := verifyFolder(t, dir); r.OK() {
		t.Error("a changed cosigned checkpoint goes unnoticed")
	}
	must(t, os.WriteFile(filepath.Join(dir, fileWitnessed), cosigned, 0o600))
	must(t, os.Remove(filepath.Join(dir, fileWitness)))
	must(t, os.Remove(filepath.Join(dir, fileWitnessed)))
	if r, err := VerifyFolder(t.Context(), dir, VerifyOptions{Witness: cosigner.Key()}); err != nil || r.OK() {
		t.Errorf("a cosigned checkpoint that was removed: %+v, %v", r, err)
	}
}
