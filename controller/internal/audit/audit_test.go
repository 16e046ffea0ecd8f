package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/backstay/backstay/api"
)

// testKeys makes the same key pair every time.
func testKeys(t testing.TB) (note.Signer, note.Verifier) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(bytes.NewReader(make([]byte, 64)), "backstay.test/log")
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

func entry(i int) api.Entry {
	return api.Entry{Seq: int64(i), At: time.Date(2026, 3, 2, 9, 0, i, i, time.UTC), Kind: api.EntryRefused, Text: fmt.Sprintf("Entry %d.", i), Incident: "inc-1", Remediation: "rem-1"}
}

// log is a small log in memory.
type log struct {
	bodies [][]byte
	hashes []tlog.Hash
	rows   [][]byte
	tree   Tree
}

func newLog(t testing.TB, n int) *log {
	t.Helper()
	l := &log{}
	for i := range n {
		b, err := Encode(entry(i))
		if err != nil {
			t.Fatal(err)
		}
		l.bodies = append(l.bodies, b)
		added := l.tree.Append(Leaf(b), nil)
		l.hashes = append(l.hashes, added...)
		var row []byte
		for _, h := range added {
			row = append(row, h[:]...)
		}
		l.rows = append(l.rows, row)
	}
	return l
}

func (l *log) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		out[i] = l.hashes[index]
	}
	return out, nil
}

// TestTree compares with tlog, whose trees are those of RFC 6962, at every size.
func TestTree(t *testing.T) {
	l, reference := &log{}, &log{}
	for i := range 300 {
		data := fmt.Appendf(nil, "leaf %d", i)
		want, err := tlog.StoredHashes(int64(i), data, reference)
		if err != nil {
			t.Fatal(err)
		}
		reference.hashes = append(reference.hashes, want...)
		got := l.tree.Append(tlog.RecordHash(data), nil)
		l.hashes = append(l.hashes, got...)
		if fmt.Sprint(got) != fmt.Sprint(want) || len(got) != HashCount(int64(i)) {
			t.Fatalf("leaf %d: stored hashes differ from tlog's", i)
		}
		for level := range got {
			index := tlog.StoredHashIndex(level, (int64(i)+1)>>level-1)
			if at := PlaceOf(index); at != (Place{int64(i), level}) {
				t.Fatalf("hash %d lives at %+v, want %d level %d", index, at, i, level)
			}
		}
		root, err := tlog.TreeHash(int64(i)+1, reference)
		if err != nil || root != l.tree.Root() {
			t.Fatalf("root of %d leaves differs from tlog's: %v", i+1, err)
		}
		loaded, err := LoadTree(int64(i)+1, reference)
		if err != nil || loaded.Root() != root || fmt.Sprint(loaded.edge) != fmt.Sprint(l.tree.edge) {
			t.Fatalf("a loaded tree of %d leaves differs: %v", i+1, err)
		}
	}
	if (&Tree{}).Root() != sha256.Sum256(nil) {
		t.Error("the root of nothing is not the hash of nothing")
	}
}

func TestEncode(t *testing.T) {
	e := entry(7)
	e.At = e.At.In(time.FixedZone("CET", 3600))
	e.Text = `Quotes " and \ and <tags> and ünïcode`
	b, err := Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(b, []byte(`{"seq":7,"at":"2026-03-02T09:00:07.000000007Z","kind":`)) || bytes.ContainsAny(b, "\n") {
		t.Errorf("encoded as %s", b)
	}
	back, err := Decode(b)
	if err != nil || back.Text != e.Text || !back.At.Equal(e.At) {
		t.Errorf("decoded as %+v, %v", back, err)
	}
	again, err := Encode(back)
	if err != nil || !bytes.Equal(again, b) {
		t.Errorf("encoded again as %s, %v", again, err)
	}
	renumbered, err := Decode(WithSeq(b, 1234567))
	if err != nil || renumbered.Seq != 1234567 || renumbered.Text != e.Text {
		t.Errorf("renumbered: %+v, %v", renumbered, err)
	}
	if _, err := Decode([]byte(`{"seq":1,"at":"2026-03-02T09:00:00Z","kind":"of.the.future","text":"Something new.","unheard":{"of":1}}`)); err != nil {
		t.Errorf("an entry of a later version: %v", err)
	}
	for name, bad := range map[string]api.Entry{
		"not a number": {Anomaly: &api.Anomaly{Value: math.NaN()}},
		"not JSON":     {Estimate: &api.Estimate{Before: []byte("{")}},
		"far future":   {At: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if _, err := Encode(bad); err == nil {
			t.Errorf("%s was encoded", name)
		}
	}
}

func TestReadIndex(t *testing.T) {
	for name, e := range map[string]api.Entry{
		"all":     entry(3),
		"none":    {Seq: 4, At: entry(4).At, Kind: api.EntryStarted, Text: `a "quoted" text`},
		"actor":   {Seq: 5, At: entry(5).At, Kind: api.EntryDecided, Text: "x", Actor: `o"brien`, Incident: "inc-2"},
		"escapes": {Seq: 6, At: entry(6).At, Kind: "odd<kind>", Text: "x", Incident: `inc"3`, Remediation: "r\u2028em"},
		"later":   {Seq: 7, At: entry(7).At, Kind: api.EntryAsked, Text: "x", Playbook: "p", Step: "s"},
	} {
		b, err := Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadIndex(b)
		if err != nil || got != IndexOf(e) {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, IndexOf(e))
		}
		if d := CheckColumns(Stored{Index: IndexOf(e), Body: b}); len(d) > 0 {
			t.Errorf("%s: %v", name, d)
		}
	}
}

func TestCheckpoint(t *testing.T) {
	signer, verifier := testKeys(t)
	l := newLog(t, 10)
	c := Checkpoint{"backstay.test/log", 10, l.tree.Root()}
	signed, err := c.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := OpenCheckpoint(signed, verifier); err != nil || got != c {
		t.Errorf("opened %+v, %v", got, err)
	}
	for i := range signed {
		forged := bytes.Clone(signed)
		forged[i] ^= 1
		if got, err := OpenCheckpoint(forged, verifier); err == nil && got != c {
			t.Fatalf("byte %d changed, and the checkpoint opened as %+v", i, got)
		}
	}
	for name, text := range map[string]string{
		"two lines": "o\n1\n", "no end": strings.TrimSuffix(c.Text(), "\n"), "leading zero": "o\n010\n" + strings.SplitN(c.Text(), "\n", 3)[2], "negative": "o\n-1\n" + strings.SplitN(c.Text(), "\n", 3)[2],
		"short hash": "o\n1\nAAAA\n", "empty line": c.Text() + "\n", "no origin": "\n1\n" + strings.SplitN(c.Text(), "\n", 3)[2],
	} {
		if _, err := ParseCheckpoint(text); err == nil {
			t.Errorf("%s was read", name)
		}
	}
	if got, err := ParseCheckpoint(c.Text() + "extension line\n"); err != nil || got != c {
		t.Errorf("with an extension: %+v, %v", got, err)
	}
	other, err := Checkpoint{"elsewhere.test/log", 10, c.Root}.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCheckpoint(other, verifier); err == nil {
		t.Error("a checkpoint of another log opened")
	}
}

func TestProofs(t *testing.T) {
	signer, verifier := testKeys(t)
	l := newLog(t, 70)
	heads := make([]Checkpoint, 71)
	var tree Tree
	for n := range heads {
		heads[n] = Checkpoint{"backstay.test/log", int64(n), tree.Root()}
		if n < 70 {
			tree.Append(Leaf(l.bodies[n]), nil)
		}
	}
	for _, n := range []int{1, 2, 33, 64, 70} {
		signed, err := heads[n].Sign(signer)
		if err != nil {
			t.Fatal(err)
		}
		for seq := range n {
			p, err := Prove(int64(seq), heads[n], signed, l)
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := ParseProof(p.Marshal())
			if err != nil || !bytes.Equal(parsed.Marshal(), p.Marshal()) {
				t.Fatalf("%v\n%s", err, p.Marshal())
			}
			if _, err := parsed.Check(l.bodies[seq], verifier); err != nil {
				t.Fatal(err)
			}
			if _, err := parsed.Check(l.bodies[(seq+1)%70], verifier); err == nil {
				t.Fatalf("the proof of entry %d of %d proves another one", seq, n)
			}
		}
		if _, err := Prove(int64(n), heads[n], signed, l); err == nil {
			t.Errorf("an entry beyond %d was proven", n)
		}
		for from := range n + 1 {
			proof, err := ProveGrowth(heads[from], heads[n], l)
			if err != nil {
				t.Fatal(err)
			}
			if err := CheckGrowth(heads[from], heads[n], proof); err != nil {
				t.Fatal(err)
			}
			rewritten := heads[from]
			rewritten.Root[0] ^= 1
			if err := CheckGrowth(rewritten, heads[n], proof); err == nil && from > 0 {
				t.Fatalf("a log of %d entries that was rewritten passes as the beginning of %d", from, n)
			}
		}
	}
	if err := CheckGrowth(heads[5], heads[4], nil); err == nil {
		t.Error("a log that shrank passes")
	}
}

// TestVerifier damages a log in memory, one way at a time, for every place in it.
func TestVerifier(t *testing.T) {
	const n = 45
	l := newLog(t, n)
	head := Checkpoint{"backstay.test/log", n, l.tree.Root()}
	run := func(change func(seq int, leaf *tlog.Hash, row *[]byte) (keep bool)) []Damage {
		v := NewVerifier(n)
		for i := range n {
			leaf, row := Leaf(l.bodies[i]), bytes.Clone(l.rows[i])
			if change(i, &leaf, &row) {
				v.Add(int64(i), leaf, row)
			}
		}
		return v.Finish(&head)
	}
	if d := run(func(int, *tlog.Hash, *[]byte) bool { return true }); len(d) > 0 {
		t.Fatalf("a sound log: %v", d)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for at := range n {
		expect := func(what string, kind DamageKind, d []Damage) {
			if len(d) != 1 || d[0].Kind != kind || d[0].First != int64(at) || d[0].Last != int64(at) {
				t.Errorf("%s at %d: %v", what, at, d)
			}
		}
		expect("changed bytes", DamageEntry, run(func(i int, leaf *tlog.Hash, _ *[]byte) bool {
			if i == at {
				leaf[rnd.IntN(32)] ^= 1
			}
			return true
		}))
		level := rnd.IntN(HashCount(int64(at)))
		expect("changed hash", DamageHash, run(func(i int, _ *tlog.Hash, row *[]byte) bool {
			if i == at {
				(*row)[level*32+rnd.IntN(32)] ^= 1
			}
			return true
		}))
		expect("lost hashes", DamageHash, run(func(i int, _ *tlog.Hash, row *[]byte) bool {
			if i == at {
				*row = nil
			}
			return true
		}))
		expect("missing", DamageMissing, run(func(i int, _ *tlog.Hash, _ *[]byte) bool { return i != at }))
	}
	if d := run(func(i int, _ *tlog.Hash, _ *[]byte) bool { return i < 40 }); len(d) != 1 || d[0].Where != "entries 40 to 44" || !strings.Contains(d[0].Text, "cut off") {
		t.Errorf("truncation: %v", d)
	}
	v := NewVerifier(3)
	for i := range 3 {
		v.Add(int64(i), Leaf(l.bodies[i]), l.rows[i])
	}
	if d := v.Finish(&head); len(d) != 1 || d[0].Kind != DamageRoot {
		t.Errorf("another root: %v", d)
	}
}

func TestSum(t *testing.T) {
	rows := make([][]byte, 50)
	for i := range rows {
		rows[i] = Row([]byte("incidents"), fmt.Appendf(nil, "inc-%d", i))
	}
	var a, b Sum
	for _, r := range rows {
		a.Add(r)
	}
	for i := range rows {
		b.Add(rows[len(rows)-1-i])
	}
	b.Add([]byte("x"))
	b.Remove([]byte("x"))
	if a != b || a.Digest() != b.Digest() {
		t.Error("the order of rows matters")
	}
	b.Remove(rows[3])
	if a == b {
		t.Error("a row more or less makes no difference")
	}
	back, err := ParseSum(a.Bytes())
	if err != nil || back != a {
		t.Error("a sum does not survive storing")
	}
	if bytes.Equal(Row([]byte("ab"), []byte("c")), Row([]byte("a"), []byte("bc"))) {
		t.Error("two rows have one encoding")
	}
	signer, verifier := testKeys(t)
	s := State{"backstay.test/log", 3, 50, a.Digest()}
	signed, err := s.Sign(signer)
	if err != nil || s.CheckState(signed, verifier) != nil {
		t.Errorf("a signed state: %v, %v", err, s.CheckState(signed, verifier))
	}
	s.Rows++
	if s.CheckState(signed, verifier) == nil {
		t.Error("another state passes")
	}
}

func FuzzDecodeEntry(f *testing.F) {
	for i := range 3 {
		b, err := Encode(entry(i))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"seq":1,"at":"2026-03-02T09:00:00+01:00","kind":"a\"b","text":"\\","incident":"i"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Decode(b)
		ix, complete := scanIndex(b)
		if err != nil {
			return
		}
		if full, err := ReadIndex(b); err != nil {
			t.Fatalf("decodes, but has no index: %v", err)
		} else if complete && json.Valid(b) && full != ix {
			t.Fatalf("two indexes: %+v and %+v", full, ix)
		}
		canonical, err := Encode(e)
		if err != nil {
			return // a year past 9999 decodes, but is never written
		}
		again, err := Decode(canonical)
		if err != nil {
			t.Fatal(err)
		}
		ix, err = ReadIndex(canonical)
		if err != nil || ix != IndexOf(again) {
			t.Fatalf("index %+v, entry %+v, %v", ix, IndexOf(again), err)
		}
		if twice, err := Encode(again); err != nil || !bytes.Equal(twice, canonical) {
			t.Fatalf("not canonical:\n%s\n%s\n%v", canonical, twice, err)
		}
		if moved, err := Decode(WithSeq(canonical, 99)); err != nil || moved.Seq != 99 {
			t.Fatalf("renumbered: %d, %v", moved.Seq, err)
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	signer, verifier := testKeys(f)
	c := Checkpoint{"backstay.test/log", 3, tlog.Hash{1, 2, 3}}
	signed, err := c.Sign(signer)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	f.Add([]byte(c.Text()))
	f.Add([]byte("o\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\next\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := OpenCheckpoint(b, verifier); err == nil && got != c {
			t.Fatalf("forged: %+v", got)
		}
		got, err := ParseCheckpoint(string(b))
		if err != nil {
			return
		}
		if !strings.HasPrefix(string(b), got.Text()) {
			t.Fatalf("%q is read as %q", b, got.Text())
		}
	})
}

func FuzzProof(f *testing.F) {
	signer, verifier := testKeys(f)
	l := newLog(f, 20)
	head := Checkpoint{"backstay.test/log", 20, l.tree.Root()}
	signed, err := head.Sign(signer)
	if err != nil {
		f.Fatal(err)
	}
	p, err := Prove(7, head, signed, l)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.Marshal())
	p.Extra = []byte("extra")
	f.Add(p.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseProof(b)
		if err != nil {
			return
		}
		if !bytes.Equal(p.Marshal(), b) {
			t.Fatalf("%q is written again as %q", b, p.Marshal())
		}
		if _, err := p.Check(l.bodies[3], verifier); err == nil && p.Index != 3 {
			t.Fatal("forged")
		}
	})
}

func FuzzVerifyExport(f *testing.F) {
	signer, verifier := testKeys(f)
	l := newLog(f, 3)
	signed, err := Checkpoint{"backstay.test/log", 3, l.tree.Root()}.Sign(signer)
	if err != nil {
		f.Fatal(err)
	}
	trailer, err := json.Marshal(Trailer{Checkpoint: string(signed)})
	if err != nil {
		f.Fatal(err)
	}
	good := append(bytes.Join(l.bodies, []byte("\n")), append([]byte("\n"), trailer...)...)
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		_, damages, err := VerifyExport(bytes.NewReader(b), verifier)
		if err == nil && len(damages) == 0 && !bytes.HasPrefix(b, bytes.Join(l.bodies, []byte("\n"))) {
			t.Fatalf("forged: %q", b)
		}
	})
}
