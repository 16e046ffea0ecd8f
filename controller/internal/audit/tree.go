package audit

import (
	"crypto/sha256"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// Tree is the growing right edge of a Merkle tree: the hash of each complete subtree, widest first. It is all that appending
// needs, so a commit never reads old hashes.
type Tree struct {
	size int64
	edge []tlog.Hash
}

// Size is the number of leaves.
func (t *Tree) Size() int64 { return t.size }

// Clone copies the tree, so that a commit can be prepared and dropped.
func (t *Tree) Clone() Tree { return Tree{t.size, append([]tlog.Hash(nil), t.edge...)} }

// Append adds a leaf and appends to into the hashes that are stored with it: the leaf, then each subtree that it completes,
// narrowest first. That is the order in which tlog numbers stored hashes.
func (t *Tree) Append(leaf tlog.Hash, into []tlog.Hash) []tlog.Hash {
	h := leaf
	into = append(into, h)
	for range bits.TrailingZeros64(^uint64(t.size)) {
		left := t.edge[len(t.edge)-1]
		t.edge = t.edge[:len(t.edge)-1]
		h = nodeHash(left, h)
		into = append(into, h)
	}
	t.edge = append(t.edge, h)
	t.size++
	return into
}

// Root is the tree's hash; of no leaves, the hash of nothing.
func (t *Tree) Root() tlog.Hash {
	if len(t.edge) == 0 {
		return sha256.Sum256(nil)
	}
	h := t.edge[len(t.edge)-1]
	for i := len(t.edge) - 2; i >= 0; i-- {
		h = nodeHash(t.edge[i], h)
	}
	return h
}

// nodeHash is tlog.NodeHash without its allocations.
func nodeHash(left, right tlog.Hash) tlog.Hash {
	var buf [1 + 2*tlog.HashSize]byte
	buf[0] = 1
	copy(buf[1:], left[:])
	copy(buf[1+tlog.HashSize:], right[:])
	return sha256.Sum256(buf[:])
}

// Place says where a stored hash lives when every entry keeps the hashes that Append gave for it.
type Place struct {
	Seq   int64 // the entry it is stored with
	Level int   // which of that entry's hashes
}

// PlaceOf finds a stored hash by its tlog index.
func PlaceOf(index int64) Place {
	level, n := tlog.SplitStoredHashIndex(index)
	return Place{Seq: (n+1)<<level - 1, Level: level}
}

// HashCount is the number of hashes stored with the entry of that sequence number.
func HashCount(seq int64) int { return 1 + bits.TrailingZeros64(^uint64(seq)) }

// LoadTree rebuilds the right edge of a tree of that size from its stored hashes.
func LoadTree(size int64, r tlog.HashReader) (Tree, error) {
	t := Tree{size: size}
	var need []int64
	at := int64(0)
	for level := 62; level >= 0; level-- {
		if width := int64(1) << level; size&width != 0 {
			need = append(need, tlog.StoredHashIndex(level, at>>level))
			at += width
		}
	}
	if len(need) == 0 {
		return t, nil
	}
	edge, err := r.ReadHashes(need)
	if err != nil {
		return Tree{}, fmt.Errorf("load the edge of a tree of %d entries: %w", size, err)
	}
	if len(edge) != len(need) {
		return Tree{}, fmt.Errorf("load the edge of a tree of %d entries: %d hashes instead of %d", size, len(edge), len(need))
	}
	t.edge = append(t.edge, edge...)
	return t, nil
}
