package store

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/audit"
)

// fill makes a closed log with a bit of everything and gives its folder.
func fill(t testing.TB, entries int) string {
	t.Helper()
	ctx, dir := context.Background(), t.TempDir()
	s := open(t, dir)
	for i := 0; i < entries; i += 10 {
		_, err := s.Append(ctx, Batch{Entries: samples(i, 10), Incidents: []api.Incident{sampleIncident(i / 10)}, Remediations: []api.Remediation{sampleRemediation(i / 10)}})
		must(t, err)
	}
	for i := range 40 {
		must(t, s.Ledger().Put(ctx, LedgerRow{Scope: "replay/captures.dlq", Key: fmt.Sprintf("m%d", i), State: "done", At: t0}))
	}
	must(t, s.SaveSnapshot(ctx, int64(entries/2), bytes.Repeat([]byte("state "), 700)))
	must(t, s.SaveSnapshot(ctx, int64(entries), bytes.Repeat([]byte("State "), 700)))
	must(t, s.Close())
	return dir
}

// copyFolder copies what verification reads.
func copyFolder(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{fileJournal, fileKeyPublic, fileKey, fileCheckpoint} {
		b, err := os.ReadFile(filepath.Join(from, name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(to, name), b, 0o600))
	}
	return to
}

func verifyFolder(t testing.TB, dir string) Report {
	t.Helper()
	r, err := VerifyFolder(context.Background(), dir, VerifyOptions{})
	must(t, err)
	return r
}

func TestVerify(t *testing.T) {
	dir := fill(t, 200)
	if r := verifyFolder(t, dir); !r.OK() || r.Entries != 200 || r.Rows != 20+20+40+2 || r.Bytes == 0 {
		t.Fatalf("a sound log: %+v", r)
	}
	s := open(t, dir)
	if r, err := s.Verify(t.Context(), VerifyOptions{}); err != nil || !r.OK() {
		t.Fatalf("an open log: %+v, %v", r, err)
	}
	must(t, s.Close())
	for name, c := range map[string]struct {
		sql  []string
		want []string // every damage: kind and where
	}{
		"changed bytes":       {[]string{"UPDATE entries SET body = CAST(replace(CAST(body AS TEXT), 'standby', 'primary') AS BLOB) WHERE seq = 17"}, []string{"entry entry 17"}},
		"two changed":         {[]string{"UPDATE entries SET body = CAST(replace(CAST(body AS TEXT), 'standby', 'primary') AS BLOB) WHERE seq IN (0, 199)"}, []string{"entry entry 0", "entry entry 199"}},
		"changed leaf hash":   {[]string{"UPDATE entries SET hashes = randomblob(32) WHERE seq = 16"}, []string{"hash entry 16"}},
		"changed inner hash":  {[]string{"UPDATE entries SET hashes = CAST(substr(hashes, 1, 64) || randomblob(32) || substr(hashes, 97) AS BLOB) WHERE seq = 7"}, []string{"hash entry 7"}},
		"cut hashes":          {[]string{"UPDATE entries SET hashes = substr(hashes, 1, 32) WHERE seq = 7"}, []string{"hash entry 7"}},
		"column kind":         {[]string{"UPDATE entries SET kind = 'person.decided' WHERE seq = 3"}, []string{"column entry 3"}},
		"column at":           {[]string{"UPDATE entries SET at = at + 1 WHERE seq = 3"}, []string{"column entry 3"}},
		"column incident":     {[]string{"UPDATE entries SET incident = NULL WHERE seq = 3"}, []string{"column entry 3"}},
		"column remediation":  {[]string{"UPDATE entries SET remediation = 'rem-x' WHERE seq = 3"}, []string{"column entry 3"}},
		"gap":                 {[]string{"DELETE FROM entries WHERE seq BETWEEN 5 AND 6"}, []string{"missing entries 5 to 6"}},
		"truncation":          {[]string{"DELETE FROM entries WHERE seq >= 190"}, []string{"missing entries 190 to 199"}},
		"extra":               {[]string{"INSERT INTO entries SELECT 200, at, kind, incident, remediation, hashes, body FROM entries WHERE seq = 0"}, []string{"extra entry 200"}},
		"renumbered":          {[]string{"UPDATE entries SET seq = -1 WHERE seq = 0"}, []string{"extra entry -1", "missing entry 0"}},
		"swapped":             {[]string{"UPDATE entries SET seq = 1000 WHERE seq = 8", "UPDATE entries SET seq = 8 WHERE seq = 9", "UPDATE entries SET seq = 9 WHERE seq = 1000"}, []string{"column entry 8", "column entry 9", "hash entry 8", "hash entry 9"}},
		"view":                {[]string{"UPDATE incidents SET body = x'7b7d' WHERE id = 'inc-3'"}, []string{"row incident inc-3"}},
		"view column":         {[]string{"UPDATE incidents SET closed = 1 WHERE id = 'inc-3'"}, []string{"row incident inc-3"}},
		"ledger":              {[]string{"UPDATE ledger SET state = 'intended' WHERE key = 'm7'"}, []string{"row ledger replay/captures.dlq/m7"}},
		"ledger row gone":     {[]string{"DELETE FROM ledger WHERE key = 'm7'"}, []string{"rows views, ledger and snapshots"}},
		"remediation moved":   {[]string{"UPDATE remediations SET incident = 'inc-0' WHERE id = 'rem-9'"}, []string{"row remediation rem-9"}},
		"snapshot":            {[]string{"UPDATE snapshots SET body = x'00' WHERE next = 200"}, []string{"row snapshot 200"}},
		"head size":           {[]string{"UPDATE log_head SET size = 199"}, []string{"checkpoint log head", "checkpoint log head"}},
		"head checkpoint":     {[]string{"UPDATE log_head SET checkpoint = CAST(replace(CAST(checkpoint AS TEXT), '200', '201') AS BLOB)"}, []string{"checkpoint log head"}},
		"head sum":            {[]string{"UPDATE log_head SET state = zeroblob(2048)"}, []string{"checkpoint log head", "rows views, ledger and snapshots"}},
		"head note":           {[]string{"UPDATE log_head SET state_note = x'00'"}, []string{"checkpoint log head"}},
		"dropped index":       {[]string{"DROP INDEX entries_incident"}, []string{"schema tables"}},
		"narrowed index":      {[]string{"DROP INDEX entries_kind", "CREATE INDEX entries_kind ON entries (kind) WHERE seq < 100"}, []string{"schema tables", "schema tables"}},
		"trigger that hides":  {[]string{"CREATE TRIGGER hide AFTER INSERT ON entries BEGIN DELETE FROM entries WHERE kind = 'person.decided'; END"}, []string{"schema tables"}},
		"head row gone":       {[]string{"DELETE FROM log_head"}, nil}, // several; checked below for being found at all
		"everything cut away": {[]string{"DELETE FROM entries"}, []string{"missing entries 0 to 199"}},
	} {
		t.Run(name, func(t *testing.T) {
			at := copyFolder(t, dir)
			edit(t, at, c.sql...)
			r := verifyFolder(t, at)
			if r.OK() {
				t.Fatal("not found")
			}
			if c.want == nil {
				return
			}
			var got []string
			for _, d := range r.Damages {
				got = append(got, string(d.Kind)+" "+d.Where)
			}
			if !sameWords(got, c.want) {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

func sameWords(a, b []string) bool {
	count := map[string]int{}
	for _, s := range a {
		count[s]++
	}
	for _, s := range b {
		count[s]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

// TestVerifyRollback restores an old copy, which is sound in itself, under a newer published checkpoint.
func TestVerifyRollback(t *testing.T) {
	old := fill(t, 50)
	dir := copyFolder(t, old)
	s := open(t, dir)
	_, err := s.Append(t.Context(), Batch{Entries: samples(50, 30)})
	must(t, err)
	must(t, s.Close())
	kept, err := os.ReadFile(filepath.Join(dir, fileCheckpoint))
	must(t, err)
	if r := verifyFolder(t, old); !r.OK() {
		t.Fatalf("the old copy by itself: %v", r.Damages)
	}
	r, err := VerifyFolder(t.Context(), old, VerifyOptions{Published: [][]byte{kept}})
	must(t, err)
	if len(r.Damages) != 1 || r.Damages[0].Kind != audit.DamageRollback {
		t.Errorf("under the newer checkpoint: %v", r.Damages)
	}
	other := copyFolder(t, old)
	s = open(t, other)
	_, err = s.Append(t.Context(), Batch{Entries: samples(500, 60)})
	must(t, err)
	must(t, s.Close())
	r, err = VerifyFolder(t.Context(), other, VerifyOptions{Published: [][]byte{kept}})
	must(t, err)
	if len(r.Damages) != 1 || r.Damages[0].Kind != audit.DamageRollback {
		t.Errorf("a log that went on differently: %v", r.Damages)
	}
}

// dump reads everything that anybody can read out of the journal.
func dump(dir string) (string, error) {
	db, err := openReaders(context.Background(), filepath.Join(dir, fileJournal))
	if err != nil {
		return "", err
	}
	defer db.Close()
	var b strings.Builder
	queries := []string{"SELECT version_id, is_applied FROM goose_db_version ORDER BY id", "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name",
		"SELECT * FROM entries ORDER BY seq", "SELECT * FROM log_head"}
	for _, t := range tables {
		queries = append(queries, "SELECT * FROM "+t.name+" ORDER BY 1, 2")
	}
	for _, index := range []string{"incident", "remediation", "kind", "at"} {
		queries = append(queries, "SELECT seq, "+index+" FROM entries INDEXED BY entries_"+index+" WHERE "+index+" IS NOT NULL ORDER BY "+index+", seq")
	}
	for _, q := range queries {
		if err := dumpQuery(&b, db, q); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

func dumpQuery(b *strings.Builder, db *sql.DB, query string) error {
	rows, err := db.Query(query)
	if err != nil {
		return err
	}
	defer rows.Close()
	cols, err := rows.Columns()
	if err != nil {
		return err
	}
	values, into := make([]any, len(cols)), make([]any, len(cols))
	for i := range into {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		fmt.Fprintf(b, "%T%v\n", values, values)
	}
	return rows.Err()
}

// TestFlippedBits flips one random bit of the database file at a time: verification must name it, unless nothing that anybody can
// read has changed.
func TestFlippedBits(t *testing.T) {
	dir := fill(t, 200)
	sound, err := os.ReadFile(filepath.Join(dir, fileJournal))
	must(t, err)
	want, err := dump(dir)
	must(t, err)
	at := copyFolder(t, dir)
	path := filepath.Join(at, fileJournal)
	seed := rand.Uint64()
	t.Logf("seed %d, file of %d bytes", seed, len(sound))
	rnd := rand.New(rand.NewPCG(seed, 1))
	flips := 300
	if testing.Short() {
		flips = 60
	}
	kinds, silent := map[audit.DamageKind]int{}, 0
	for range flips {
		bit := rnd.IntN(len(sound) * 8)
		flipped := bytes.Clone(sound)
		flipped[bit/8] ^= 1 << (bit % 8)
		for _, suffix := range []string{"-wal", "-shm"} {
			os.Remove(path + suffix)
		}
		must(t, os.WriteFile(path, flipped, 0o600))
		r := verifyFolder(t, at)
		if !r.OK() {
			kinds[r.Damages[0].Kind]++
			if r.Damages[0].Where == "" || r.Damages[0].Text == "" {
				t.Errorf("bit %d: found, but not named: %+v", bit, r.Damages[0])
			}
			continue
		}
		silent++
		if got, err := dump(at); err != nil || got != want {
			t.Errorf("bit %d of byte %d changed what can be read, and verification did not notice (%v)", bit%8, bit/8, err)
		}
	}
	t.Logf("%d flips: %d change nothing that can be read, the others were found as %v", flips, silent, kinds)
	if len(kinds) < 3 || kinds[audit.DamageEntry] == 0 {
		t.Errorf("too few kinds of damage for a test: %v", kinds)
	}
}

// TestEveryEntryByteCounts flips one bit in each of many entries' bytes and checks that exactly that entry is named.
func TestEveryEntryByteCounts(t *testing.T) {
	dir := fill(t, 60)
	sound, err := os.ReadFile(filepath.Join(dir, fileJournal))
	must(t, err)
	at := copyFolder(t, dir)
	rnd := rand.New(rand.NewPCG(7, 7))
	for seq := range 60 {
		flipped, place, bit := bytes.Clone(sound), rnd.IntN(200), rnd.IntN(8)
		begin := fmt.Appendf(nil, `{"seq":%d,"at":`, seq)
		for at := 0; ; { // in every copy: pages that were split keep stale ones
			i := bytes.Index(sound[at:], begin)
			if i < 0 {
				break
			}
			at += i + len(begin)
			flipped[at-len(begin)+place] ^= 1 << bit
		}
		must(t, os.WriteFile(filepath.Join(at, fileJournal), flipped, 0o600))
		named := false
		for _, d := range verifyFolder(t, at).Damages {
			named = named || d.First == int64(seq) && d.Last == int64(seq) && d.Kind == audit.DamageEntry
			if d.First != int64(seq) {
				t.Errorf("a bit of entry %d flipped, and %s was named: %s", seq, d.Where, d.Text)
			}
		}
		if !named {
			t.Errorf("a bit of entry %d flipped, and it was not named", seq)
		}
	}
}

// TestProve hands a stranger the entry, the proof and the public key.
func TestProve(t *testing.T) {
	ctx := t.Context()
	s := open(t, fill(t, 50))
	verifier, err := note.NewVerifier(s.Head().Key)
	must(t, err)
	for seq := range int64(50) {
		p, err := s.Prove(ctx, seq)
		must(t, err)
		parsed, err := audit.ParseProof(p.Proof.Marshal())
		must(t, err)
		if _, err := parsed.Check(p.Entry, verifier); err != nil {
			t.Fatal(err)
		}
		if _, err := parsed.Check(append(p.Entry, ' '), verifier); err == nil {
			t.Fatal("a changed entry was proven")
		}
	}
	if _, err := s.Prove(ctx, 50); api.CodeOf(err) != api.CodeNotFound {
		t.Errorf("an entry that is not there: %v", err)
	}
	before, err := audit.OpenCheckpoint(s.Head().Checkpoint, verifier)
	must(t, err)
	_, err = s.Append(ctx, Batch{Entries: samples(50, 33)})
	must(t, err)
	proof, signed, err := s.ProveGrowth(ctx, before)
	must(t, err)
	after, err := audit.OpenCheckpoint(signed, verifier)
	must(t, err)
	must(t, audit.CheckGrowth(before, after, proof))
	if after.Size != 83 {
		t.Errorf("grown to %d", after.Size)
	}
}

func TestExport(t *testing.T) {
	ctx := t.Context()
	s := open(t, fill(t, 50))
	verifier, err := note.NewVerifier(s.Head().Key)
	must(t, err)
	var b bytes.Buffer
	n, err := s.Export(ctx, &b, Query{})
	must(t, err)
	if c, damages, err := audit.VerifyExport(bytes.NewReader(b.Bytes()), verifier); n != 50 || c.Size != 50 || len(damages) > 0 || err != nil {
		t.Errorf("%d exported; %+v, %v, %v", n, c, damages, err)
	}
	forged := bytes.Replace(b.Bytes(), []byte("Step 17 sends"), []byte("Step 17 drops"), 1)
	if _, damages, err := audit.VerifyExport(bytes.NewReader(forged), verifier); len(damages) == 0 || err != nil {
		t.Errorf("a forged export: %v, %v", damages, err)
	}
	b.Reset()
	if n, err := s.Export(ctx, &b, Query{Incident: "inc-2"}); n != 10 || err != nil || strings.Count(b.String(), "\n") != 11 {
		t.Errorf("one incident: %d, %v", n, err)
	}
}
