package audit

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func TestTilePaths(t *testing.T) {
	for path, want := range map[string]Tile{
		"tile/0/000":                    {0, 0, 256},
		"tile/0/999":                    {0, 999, 256},
		"tile/0/x001/000":               {0, 1000, 256},
		"tile/2/x001/x234/067":          {2, 1234067, 256},
		"tile/2/x001/x234/067.p/1":      {2, 1234067, 1},
		"tile/entries/x001/x234/067":    {BundleLevel, 1234067, 256},
		"tile/entries/017.p/255":        {BundleLevel, 17, 255},
		"tile/7/x001/x000/000.p/12":     {7, 1000000, 12},
		"tile/entries/x999/x999/999":    {BundleLevel, 999999999, 256},
		"tile/1/x010/x000/x000/001":     {1, 10000000001, 256},
		"tile/1/x010/x000/x000/001.p/9": {1, 10000000001, 9},
	} {
		if got, err := ParseTilePath(path); err != nil || got != want || want.Path() != path {
			t.Errorf("%s: %+v, %v; %s", path, got, err, want.Path())
		}
	}
	for _, path := range []string{"", "checkpoint", "tile/0", "tile/0/", "tile/0/1", "tile/0/0000", "tile/00/000", "tile/8/000", "tile/-1/000", "tile/0/000.p/0", "tile/0/000.p/256",
		"tile/0/000.p/01", "tile/0/000.p/", "tile/0/000.p", "tile/0/../000", "tile/0/001/000", "tile/0/x000/000", "tile/entries/x001", "tile/0/000/", "/tile/0/000", "tile/0/000.new",
		"tile/0/x999/x999/x999/x999/x999/x999/x999/x999/999"} {
		if got, err := ParseTilePath(path); err == nil {
			t.Errorf("%q is read as %+v", path, got)
		}
	}
}

func FuzzParseTilePath(f *testing.F) {
	f.Add("tile/0/x001/234.p/56")
	f.Add("tile/entries/000")
	f.Fuzz(func(t *testing.T, path string) {
		if tile, err := ParseTilePath(path); err == nil && (tile.Path() != path || strings.Contains(path, "..") || tile.N < 0) {
			t.Fatalf("%q is %+v", path, tile)
		}
	})
}

// TestTiles holds the example of the specification, and that growing step by step lists what one step lists.
func TestTiles(t *testing.T) {
	count := map[string]int{}
	for _, tile := range Tiles(0, 70_000) {
		switch {
		case tile.Width == TileWidth:
			count["full "+strings.Split(tile.Path(), "/")[1]]++
		default:
			count[tile.Path()]++
		}
	}
	for name, n := range map[string]int{"full entries": 273, "tile/entries/273.p/112": 1, "full 0": 273, "tile/0/273.p/112": 1, "full 1": 1, "tile/1/001.p/17": 1, "tile/2/000.p/1": 1} {
		if count[name] != n {
			t.Errorf("%s: %d, want %d", name, count[name], n)
		}
	}
	if len(count) != 7 || len(Tiles(0, 0)) != 0 || len(Tiles(500, 500)) != 0 {
		t.Errorf("more than there are: %v", count)
	}
	have := map[Tile]bool{}
	size := int64(0)
	for _, step := range []int64{1, 254, 1, 1, 255, 1000, 70_000, 3} {
		for _, tile := range Tiles(size, size+step) {
			have[tile] = true
		}
		size += step
		for _, tile := range Tiles(0, size) {
			if !have[tile] {
				t.Fatalf("at %d entries %s was never listed", size, tile.Path())
			}
		}
	}
}

func TestLeafData(t *testing.T) {
	short := []byte(`{"seq":7,"at":"2026-03-02T09:00:00Z","kind":"x","text":"y"}`)
	long := []byte(`{"seq":7,"at":"2026-03-02T09:00:00Z","kind":"x","text":"` + strings.Repeat("y", LeafMax) + `"}`)
	if !bytes.Equal(LeafData(short), short) || Leaf(short) != tlog.RecordHash(short) {
		t.Error("a short entry is not its own leaf")
	}
	digest := LeafData(long)
	if !bytes.HasPrefix(digest, []byte(`{"seq":7,"sha256":"`)) || !bytes.HasSuffix(digest, []byte(`","bytes":65593}`)) {
		t.Errorf("a long entry's leaf is %s", digest)
	}
	if Leaf(digest) == Leaf(long) {
		t.Error("a digest in place of the entry has the entry's leaf")
	}
	exact := append(bytes.Clone(short), bytes.Repeat([]byte(" "), LeafMax-len(short))...)
	if len(LeafData(exact)) != LeafMax || len(LeafData(append(exact, ' '))) > 200 {
		t.Error("the limit is not at LeafMax")
	}
	bundle := AppendToBundle(AppendToBundle(nil, short), long)
	leaves, err := ReadBundle(bundle)
	if err != nil || len(leaves) != 2 || !bytes.Equal(leaves[0], short) || tlog.RecordHash(leaves[1]) != Leaf(long) {
		t.Errorf("the bundle is %q, %v", leaves, err)
	}
	for cut := 1; cut < len(digest); cut++ {
		if got, err := ReadBundle(bundle[:len(bundle)-cut]); err == nil && len(got) != 1 {
			t.Errorf("a cut bundle is read as %d leaves", len(got))
		}
	}
}

func FuzzReadBundle(f *testing.F) {
	f.Add([]byte("\x00\x01a\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		leaves, err := ReadBundle(b)
		if err != nil {
			return
		}
		var again []byte
		for _, leaf := range leaves {
			again = append(append(again, byte(len(leaf)>>8), byte(len(leaf))), leaf...)
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("%x is read as %x", b, again)
		}
	})
}

// testCosigner makes both halves of a key.
func testCosigner(t testing.TB) (Cosigner, Witness) {
	t.Helper()
	skey, _, err := note.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{7}, 64)), "witness.test/w1")
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCosigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWitness(c.Key())
	if err != nil {
		t.Fatal(err)
	}
	return c, w
}

// TestCosign signs, adds and opens a cosignature, and changes every byte of it.
func TestCosign(t *testing.T) {
	signer, verifier := testKeys(t)
	cosigner, witness := testCosigner(t)
	l := newLog(t, 5)
	c := Checkpoint{verifier.Name(), 5, l.tree.Root()}
	signed, err := c.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1679315147, 0).UTC()
	line := cosigner.Cosign(c.Text(), at)
	both, err := AddCosignatures(signed, append([]byte("— stranger.test AAAAAAAA\n"), line...), verifier, witness)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(both, []byte("stranger")) || !bytes.HasPrefix(both, signed) {
		t.Errorf("kept: %s", both)
	}
	w, err := OpenWitnessed(both, verifier, witness)
	if err != nil || w.Checkpoint != c || w.By != "witness.test/w1" || !w.At.Equal(at) {
		t.Errorf("opened as %+v, %v", w, err)
	}
	if _, err := OpenWitnessed(signed, verifier, witness); err == nil {
		t.Error("a checkpoint without a cosignature is witnessed")
	}
	for i := range both {
		changed := bytes.Clone(both)
		changed[i] ^= 1
		if w, err := OpenWitnessed(changed, verifier, witness); err == nil && (w.Checkpoint != c || !w.At.Equal(at)) {
			t.Fatalf("with byte %d changed it is %+v", i, w)
		}
	}
	other := Checkpoint{verifier.Name(), 4, c.Root}
	if _, err := AddCosignatures(signed, cosigner.Cosign(other.Text(), at), verifier, witness); err == nil {
		t.Error("the cosignature of another checkpoint is taken")
	}
	for _, key := range []string{"", "a+b", "witness.test/w1+00000000+BAAA", strings.Replace(witness.Key(), "+", "++", 1), strings.Replace(witness.Key(), "w1", "w2", 1)} {
		if _, err := NewWitness(key); err == nil {
			t.Errorf("key %q is taken", key)
		}
	}
	if witness.Key() != cosigner.Key() {
		t.Error("the two halves name different public keys")
	}
}

func FuzzParseSubmission(f *testing.F) {
	f.Add([]byte("old 20852014\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\nexample.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— x AAAA\n"))
	f.Add([]byte("old 0\n\nx"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSubmission(b)
		if err == nil && !bytes.Equal(s.Marshal(), b) {
			t.Fatalf("%q is written again as %q", b, s.Marshal())
		}
	})
}
