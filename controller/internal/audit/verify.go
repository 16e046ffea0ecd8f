package audit

import (
	"cmp"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// DamageKind says what sort of damage was found.
type DamageKind string

// The kinds of damage. All but the last three are about one entry or a range of them.
const (
	DamageEntry    DamageKind = "entry"      // its bytes are not those that were signed
	DamageHash     DamageKind = "hash"       // a stored hash is not that of the entries it stands for
	DamageEither   DamageKind = "entry-hash" // bytes and stored hash disagree, and the head cannot tell which is right
	DamageColumn   DamageKind = "column"     // what it is found by differs from its bytes
	DamageMissing  DamageKind = "missing"    // entries are not there: a gap, or the end was cut off
	DamageExtra    DamageKind = "extra"      // an entry beyond the head, or twice
	DamagePage     DamageKind = "page"       // the database file itself is broken there
	DamageRow      DamageKind = "row"        // a view, ledger row or snapshot is not as it was written
	DamageRows     DamageKind = "rows"       // rows were removed, added or set back
	DamageSchema   DamageKind = "schema"     // the tables are not those that were made
	DamageRoot     DamageKind = "root"       // the entries together are not those that were signed
	DamageSigned   DamageKind = "checkpoint" // the signed head itself is damaged or not ours
	DamageRollback DamageKind = "rollback"   // a published checkpoint says otherwise
)

// Damage is one thing that is wrong with the log.
type Damage struct {
	Kind  DamageKind `json:"kind"`
	Where string     `json:"where"` // "entry 17", "entries 3 to 9", "incident inc-4", "page 12"
	First int64      `json:"first"` // sequence number; -1 where it is not about entries
	Last  int64      `json:"last"`  // the same as First for a single entry
	Text  string     `json:"text"`  // one plain sentence
}

// String prints where and what.
func (d Damage) String() string { return d.Where + ": " + d.Text }

// Entries makes a damage of entries first to last.
func Entries(kind DamageKind, first, last int64, format string, args ...any) Damage {
	where := fmt.Sprintf("entry %d", first)
	if last > first {
		where = fmt.Sprintf("entries %d to %d", first, last)
	}
	return Damage{Kind: kind, Where: where, First: first, Last: last, Text: fmt.Sprintf(format, args...)}
}

// Elsewhere makes a damage that is not about entries.
func Elsewhere(kind DamageKind, where, format string, args ...any) Damage {
	return Damage{Kind: kind, Where: where, First: -1, Last: -1, Text: fmt.Sprintf(format, args...)}
}

// Stored is an entry as a database holds it.
type Stored struct {
	Index  Index
	Hashes []byte // as Tree.Append gave them, one after the other
	Body   []byte
}

// CheckColumns compares what an entry is found by with its bytes.
func CheckColumns(s Stored) []Damage {
	seq := s.Index.Seq
	is, err := ReadIndex(s.Body)
	if err != nil {
		return []Damage{Entries(DamageEntry, seq, seq, "its bytes are no entry: %v", err)}
	}
	if is == s.Index {
		return nil
	}
	var out []Damage
	differ := func(name string, column, entry any) {
		if column != entry {
			out = append(out, Entries(DamageColumn, seq, seq, "column %s is %v, the entry says %v", name, column, entry))
		}
	}
	differ("seq", s.Index.Seq, is.Seq)
	differ("at", s.Index.At, is.At)
	differ("kind", s.Index.Kind, is.Kind)
	differ("incident", s.Index.Incident, is.Incident)
	differ("remediation", s.Index.Remediation, is.Remediation)
	return out
}

// Verifier recomputes the tree of a log, entry by entry, and names what does not fit. The order of calls: Expect any number of
// times, Add or Unreadable for each entry in order, Finish.
//
// It keeps two trees side by side: one recomputed from the entries' bytes, one made of the stored hashes. Where they part, the
// signed head says which of the two is right; stored hashes lead on over entries that are missing.
type Verifier struct {
	size   int64 // entries that there must be
	next   int64
	bytes  Tree
	blind  bool // entries are missing: bytes cannot be recomputed any more
	stored []edge

	expected []Checkpoint
	suspects []int64 // entries whose bytes and stored leaf hash disagree
	damages  []Damage
	fresh    []tlog.Hash
}

// edge is a stored hash on the right edge of the tree; not known where it is missing or refuted.
type edge struct {
	hash  tlog.Hash
	known bool
}

// NewVerifier begins to verify a log of that many entries.
func NewVerifier(size int64) *Verifier { return &Verifier{size: size} }

// Expect demands that the log once had this head: a checkpoint published before, or kept by somebody else.
func (v *Verifier) Expect(c Checkpoint) {
	if c.Size > v.size {
		v.damages = append(v.damages, Elsewhere(DamageRollback, "log",
			"it holds %d entries but a checkpoint of %d was published: an older copy was restored, or entries %d to %d were cut off", v.size, c.Size, v.size, c.Size-1))
		return
	}
	v.expected = append(v.expected, c)
	slices.SortStableFunc(v.expected, func(a, b Checkpoint) int { return cmp.Compare(a.Size, b.Size) })
	v.meet()
}

// meet checks the expected heads that the tree has come to.
func (v *Verifier) meet() {
	for len(v.expected) > 0 && v.expected[0].Size <= v.next {
		c := v.expected[0]
		v.expected = v.expected[1:]
		if bytes, stored := v.compare(c.Root); c.Size == v.next && bytes == differs && stored != agrees {
			v.damages = append(v.damages, Elsewhere(DamageRollback, "log", "its first %d entries are not those that were published: it was rewritten, or went on from an older copy", c.Size))
		}
	}
}

type verdict int

const (
	unknown verdict = iota
	agrees
	differs
)

// compare holds a root against both trees.
func (v *Verifier) compare(root tlog.Hash) (bytes, stored verdict) {
	if !v.blind {
		bytes = differs
		if v.bytes.Root() == root {
			bytes = agrees
		}
	}
	t := Tree{size: v.next}
	for _, e := range v.stored {
		if !e.known {
			return bytes, unknown
		}
		t.edge = append(t.edge, e.hash)
	}
	if t.Root() == root {
		return bytes, agrees
	}
	return bytes, differs
}

// Add takes the next entry: its number, the hash of its bytes as Leaf gives it, and the hashes stored with it.
func (v *Verifier) Add(seq int64, leaf tlog.Hash, hashes []byte) {
	switch {
	case seq < v.next:
		v.damages = append(v.damages, Entries(DamageExtra, seq, seq, "it is there twice, or out of order"))
		return
	case seq >= v.size:
		v.damages = append(v.damages, Entries(DamageExtra, seq, seq, "it lies beyond the signed head of %d entries", v.size))
		return
	case seq > v.next:
		v.missing(seq - 1)
	}
	if want := HashCount(seq) * tlog.HashSize; len(hashes) != want {
		v.damages = append(v.damages, Entries(DamageHash, seq, seq, "it is stored with %d bytes of hashes instead of %d", len(hashes), want))
		hashes = nil
	} else if string(leaf[:]) != string(hashes[:tlog.HashSize]) {
		v.suspects = append(v.suspects, seq)
	}
	v.fresh = v.fresh[:0]
	if !v.blind {
		v.fresh = v.bytes.Append(leaf, v.fresh)
	}
	v.push(hashes)
	v.meet()
}

// push moves the tree of stored hashes on by one entry; hashes is empty where they are lost. A stored hash is refuted when it
// is neither that of the bytes nor that of the two stored hashes below it.
func (v *Verifier) push(hashes []byte) {
	seq := v.next
	v.next++
	var top edge
	for i := range HashCount(seq) {
		var here edge
		if len(hashes) > 0 {
			here = edge{tlog.Hash(hashes[i*tlog.HashSize:][:tlog.HashSize]), true}
		}
		if i > 0 {
			left := v.stored[len(v.stored)-1]
			v.stored = v.stored[:len(v.stored)-1]
			proven := len(v.fresh) > i && v.fresh[i] == here.hash
			if here.known && !proven && left.known && top.known && nodeHash(left.hash, top.hash) != here.hash {
				v.damages = append(v.damages, Entries(DamageHash, seq, seq, "the hash stored with it for entries %d to %d is not theirs", seq+1-1<<i, seq))
				here.known = false
			}
		}
		top = here
	}
	v.stored = append(v.stored, top)
}

// Unreadable takes the place of Add for an entry that the database cannot give.
func (v *Verifier) Unreadable(seq int64, why string) {
	if seq > v.next {
		v.missing(seq - 1)
	}
	v.damages = append(v.damages, Entries(DamagePage, seq, seq, "it cannot be read: %s", why))
	if seq == v.next {
		v.skip()
	}
}

func (v *Verifier) skip() {
	v.blind, v.fresh = true, v.fresh[:0]
	v.push(nil)
}

func (v *Verifier) missing(last int64) {
	what := "missing"
	if last == v.size-1 {
		what = "missing: the end of the log was cut off"
	}
	v.damages = append(v.damages, Entries(DamageMissing, v.next, last, "%s", what))
	for v.next <= last {
		v.skip()
	}
}

// Finish compares the whole with the signed head and gives everything that was found, in the order of the entries. A nil head
// is one that could not be trusted: then only what contradicts itself is found.
func (v *Verifier) Finish(head *Checkpoint) []Damage {
	if v.next < v.size {
		v.missing(v.size - 1)
	}
	var bytes, stored verdict
	if head != nil {
		bytes, stored = v.compare(head.Root)
	}
	for _, seq := range v.suspects {
		switch {
		case bytes == agrees:
			v.damages = append(v.damages, Entries(DamageHash, seq, seq, "its bytes are as signed, but the hash stored with it was changed"))
		case stored == agrees:
			v.damages = append(v.damages, Entries(DamageEntry, seq, seq, "its bytes were changed: they are not those that were signed"))
		default:
			v.damages = append(v.damages, Entries(DamageEither, seq, seq, "its bytes and the hash stored with it disagree: one of them was changed"))
		}
	}
	if bytes == differs && (stored != agrees || len(v.damages) == 0) {
		v.damages = append(v.damages, Elsewhere(DamageRoot, "log", "the %d entries together are not those that were signed", v.size))
	}
	slices.SortStableFunc(v.damages, func(a, b Damage) int { return cmp.Compare(a.First, b.First) })
	return v.damages
}
