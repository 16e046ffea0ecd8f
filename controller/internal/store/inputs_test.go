package store

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

func readInputs(t *testing.T, dir string) (out []InputBlock) {
	t.Helper()
	r, err := OpenRollups(t.Context(), dir)
	must(t, err)
	defer r.Close()
	must(t, r.Inputs(t.Context(), func(b InputBlock) { out = append(out, b) }))
	return out
}

// Blocks come back in order, across lives; what is old goes with the life that it belongs to.
func TestInputs(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir)
	save := func(n int, at time.Time) {
		t.Helper()
		must(t, s.SaveInputs(ctx, InputBlock{First: int64(n), At: at, Block: bytes.Repeat([]byte{byte(n)}, 3)}))
	}
	for i := range 300 {
		save(i, t0.Add(time.Duration(i)*time.Hour)) // 12 days
	}
	got := readInputs(t, dir) // beside the writer
	if len(got) != 300 || got[299].First != 299 || !got[299].At.Equal(t0.Add(299*time.Hour)) || !bytes.Equal(got[299].Block, []byte{43, 43, 43}) {
		t.Fatalf("%d blocks, the last %+v", len(got), got[len(got)-1])
	}
	late := t0.Add(40 * 24 * time.Hour)
	for i := 300; i < 600; i++ {
		save(i, late)
	}
	if got := readInputs(t, dir); len(got) != 600 {
		t.Errorf("%d blocks of one life, want all 600 whatever their age", len(got))
	}
	must(t, s.Close())
	s = open(t, dir)
	for i := 600; i < 900; i++ {
		save(i, late)
	}
	if got := readInputs(t, dir); got[0].First != 240 || len(got) != 660 {
		t.Errorf("%d blocks from %d on, want those of the last 30 days", len(got), got[0].First)
	}
}

func TestInputBytes(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir)
	must(t, s.SaveInputs(ctx, InputBlock{Block: []byte{1}}))
	s.tele.inputs.total += keepInputBytes
	for range pruneInputs - 1 {
		must(t, s.SaveInputs(ctx, InputBlock{Block: []byte{1}}))
	}
	if got := readInputs(t, dir); len(got) != pruneInputs-1 {
		t.Errorf("%d blocks are left, want all but the first, which is beyond the bound", len(got))
	}
}

// A newer version's files are refused by whoever reads them beside it.
func TestReadersRefuseNewer(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	must(t, open(t, dir).Close())
	for _, name := range []string{fileTelemetry, fileJournal} {
		f := telemetryFile
		if name == fileJournal {
			f = journalFile
		}
		db, err := openDatabase(ctx, f, filepath.Join(dir, name))
		must(t, err)
		_, err = db.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)")
		must(t, err)
		must(t, db.Close())
	}
	if _, err := OpenRollups(ctx, dir); api.CodeOf(err) != api.CodeConflict {
		t.Errorf("roll-ups of a newer version: %v", err)
	}
	if _, err := OpenReader(ctx, dir); api.CodeOf(err) != api.CodeConflict {
		t.Errorf("a journal of a newer version: %v", err)
	}
}

func BenchmarkSaveInputs(b *testing.B) {
	s := open(b, b.TempDir())
	block := bytes.Repeat([]byte{7}, 300)
	for b.Loop() {
		if err := s.SaveInputs(b.Context(), InputBlock{At: t0, Block: block}); err != nil {
			b.Fatal(err)
		}
	}
}
