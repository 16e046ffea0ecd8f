package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// LeafMax is the longest leaf in bytes: c2sp.org/tlog-tiles puts a length of 16 bits before each.
const LeafMax = 1<<16 - 1

const digestField = `,"sha256":"`

// LeafData gives what the tree holds of an entry: its canonical bytes, or, where they are longer than LeafMax, their digest:
//
//	{"seq":N,"sha256":"HEX","bytes":LENGTH}
//
// So no entry is ever too long to be recorded, every leaf fits into a tile, and whoever holds the tiles can still check the entry
// itself. Refusing long entries would end the process of whoever must record one; cutting them would lose evidence.
//
// An entry that looks like such a digest is taken by its own digest, so that no two entries share a leaf.
func LeafData(canonical []byte) []byte {
	if len(canonical) <= LeafMax && !isDigest(canonical) {
		return canonical
	}
	sum := sha256.Sum256(canonical)
	out := append(make([]byte, 0, 128), seqField...)
	rest := bytes.TrimPrefix(canonical, []byte(seqField))
	out = append(out, rest[:digits(rest)]...)
	out = append(out, digestField...)
	out = hex.AppendEncode(out, sum[:])
	out = append(out, `","bytes":`...)
	return append(strconv.AppendInt(out, int64(len(canonical)), 10), '}')
}

func isDigest(b []byte) bool {
	rest, found := bytes.CutPrefix(b, []byte(seqField))
	return found && bytes.HasPrefix(rest[digits(rest):], []byte(digestField))
}

// digits counts the decimal digits that b begins with.
func digits(b []byte) int {
	n := 0
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	return n
}

// TileWidth is the number of hashes, or of entries, in a full tile.
const TileWidth = 256

// TileLevelMax is the highest level of tiles that a log can have.
const TileLevelMax = 7 // 256^8 entries are 2^64

// BundleLevel stands for the bundles of entries instead of a level of hashes.
const BundleLevel = -1

// Tile names one resource of a log as c2sp.org/tlog-tiles publishes it: Width hashes of a level, or a bundle of Width entries.
type Tile struct {
	Level int // 0 holds the hashes of entries; BundleLevel the entries
	N     int64
	Width int // 1 to TileWidth; fewer than TileWidth: the log ends within it
}

// Path is where the tile is published, such as tile/0/x001/234 or tile/entries/017.p/42.
func (t Tile) Path() string {
	level := "entries"
	if t.Level != BundleLevel {
		level = strconv.Itoa(t.Level)
	}
	n := fmt.Sprintf("%03d", t.N%1000)
	for rest := t.N / 1000; rest > 0; rest /= 1000 {
		n = fmt.Sprintf("x%03d/", rest%1000) + n
	}
	path := "tile/" + level + "/" + n
	if t.Width < TileWidth {
		path += ".p/" + strconv.Itoa(t.Width)
	}
	return path
}

// Full is the same tile when it will be full.
func (t Tile) Full() Tile { return Tile{t.Level, t.N, TileWidth} }

// ParseTilePath reads what Path writes, and nothing else.
func ParseTilePath(path string) (Tile, error) {
	bad := fmt.Errorf("%q is no path of a tile", path)
	rest, found := strings.CutPrefix(path, "tile/")
	if !found || len(path) > 100 {
		return Tile{}, bad
	}
	level, rest, _ := strings.Cut(rest, "/")
	t := Tile{Level: BundleLevel, Width: TileWidth}
	if level != "entries" {
		n, err := parseCount(level)
		if err != nil || n > TileLevelMax {
			return Tile{}, bad
		}
		t.Level = int(n)
	}
	if number, width, partial := strings.Cut(rest, ".p/"); partial {
		n, err := parseCount(width)
		if err != nil || n < 1 || n >= TileWidth {
			return Tile{}, bad
		}
		rest, t.Width = number, int(n)
	}
	n, err := strconv.ParseUint(strings.NewReplacer("x", "", "/", "").Replace(rest), 10, 62)
	t.N = int64(n)
	if err != nil || t.Path() != path {
		return Tile{}, bad
	}
	return t, nil
}

// Tiles lists what a log of size to has more than a log of size from: bundles first, then hashes, lowest level first. A partial
// tile of from that has grown is listed again with its new width.
func Tiles(from, to int64) (out []Tile) {
	for level := BundleLevel; level <= TileLevelMax; level++ {
		shift := 8 * max(level, 0)
		have, want := from>>shift, to>>shift
		if want == 0 {
			break
		}
		for n := have / TileWidth; have < want && n*TileWidth < want; n++ {
			out = append(out, Tile{level, n, int(min(TileWidth, want-n*TileWidth))})
		}
	}
	return out
}

// HashTile reads the hashes of a tile of hashes.
func HashTile(t Tile, r tlog.HashReader) ([]byte, error) {
	indexes := make([]int64, t.Width)
	for i := range indexes {
		indexes[i] = tlog.StoredHashIndex(8*t.Level, t.N*TileWidth+int64(i))
	}
	hashes, err := r.ReadHashes(indexes)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", t.Path(), err)
	}
	out := make([]byte, 0, len(hashes)*tlog.HashSize)
	for _, h := range hashes {
		out = append(out, h[:]...)
	}
	return out, nil
}

// AppendToBundle adds an entry to a bundle: its LeafData behind its length.
func AppendToBundle(bundle, canonical []byte) []byte {
	data := LeafData(canonical)
	return append(binary.BigEndian.AppendUint16(bundle, uint16(len(data))), data...)
}

// ReadBundle takes a bundle apart.
func ReadBundle(bundle []byte) (leaves [][]byte, err error) {
	for len(bundle) > 0 {
		if len(bundle) < 2 {
			return nil, fmt.Errorf("read a bundle: half a length at its end")
		}
		n := int(binary.BigEndian.Uint16(bundle))
		if bundle = bundle[2:]; len(bundle) < n {
			return nil, fmt.Errorf("read a bundle: leaf %d is cut off", len(leaves))
		}
		leaves, bundle = append(leaves, bundle[:n]), bundle[n:]
	}
	return leaves, nil
}
