package controller

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/audit"
)

// verifyPack checks an evidence pack with the public key alone; key is its text.
func verifyPack(data []byte, key string, verifier note.Verifier) AuditReport {
	members, err := readArchive(data)
	if err != nil {
		return AuditReport{Text: err.Error(), Problems: []string{err.Error()}}
	}
	c := packCheck{verifier: verifier, files: map[string][]byte{}, p: pack{key: key}}
	for _, m := range members {
		if _, twice := c.files[m.name]; twice {
			c.bad("%s: it is there twice", m.name)
		}
		c.files[m.name] = m.data
	}
	c.open()
	if c.p.checkpoint != nil && len(c.p.entries) > 0 {
		c.entries()
		c.compare(members)
		c.complete()
	}
	r := AuditReport{OK: len(c.problems) == 0, Entries: int64(len(c.p.entries)), Problems: c.problems, Notes: c.notes}
	r.Text = fmt.Sprintf("evidence of incident %s: %d entries, each in the log of %d entries that %s signed; all else follows from them", c.p.incident, len(c.p.entries), c.p.size, c.p.origin)
	if !r.OK {
		r.Text = fmt.Sprintf("the evidence pack is not as it was written: %d things do not fit", len(c.problems))
	}
	return r
}

type packCheck struct {
	verifier        note.Verifier
	files           map[string][]byte
	p               pack
	doubted         []string // members that cannot be made again, because they themselves are damaged
	problems, notes []string
}

func (c *packCheck) bad(format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

func (c *packCheck) note(format string, args ...any) {
	c.notes = append(c.notes, fmt.Sprintf(format, args...))
}

// open reads what everything else rests on.
func (c *packCheck) open() {
	for _, name := range []string{memberReadme, memberTimeline, memberTimelineJS, memberEvidence, memberEntries, memberCheckpoint, memberKey, memberManifest} {
		if _, there := c.files[name]; !there {
			c.bad("%s: it is missing", name)
		}
	}
	signed, there := c.files[memberCheckpoint]
	if !there {
		return
	}
	checkpoint, err := audit.OpenCheckpoint(signed, c.verifier)
	if err != nil {
		c.bad("%s: %v", memberCheckpoint, err)
		c.fallback()
		return
	}
	c.p.checkpoint, c.p.origin, c.p.size = signed, checkpoint.Origin, checkpoint.Size
	c.read()
}

// read takes the entries apart.
func (c *packCheck) read() {
	lines := c.files[memberEntries]
	if len(lines) > 0 && !bytes.HasSuffix(lines, []byte("\n")) {
		c.bad("%s: its last line has no end", memberEntries)
	}
	for n, line := range bytes.Split(bytes.TrimSuffix(lines, []byte("\n")), []byte("\n")) {
		e, err := audit.Decode(line)
		if err != nil {
			c.bad("%s: line %d is no entry", memberEntries, n+1)
			continue
		}
		c.p.entries = append(c.p.entries, packEntry{e, line})
	}
	if len(c.p.entries) == 0 {
		c.bad("%s: it holds no entry", memberEntries)
	}
}

// fallback lets damaged checkpoints still be told apart from damaged proofs: the proofs carry the checkpoint too.
func (c *packCheck) fallback() {
	for name, data := range c.files {
		if !strings.HasPrefix(name, "proofs/") {
			continue
		}
		if p, err := audit.ParseProof(data); err == nil {
			if checkpoint, err := audit.OpenCheckpoint(p.Checkpoint, c.verifier); err == nil {
				c.p.checkpoint, c.p.origin, c.p.size = p.Checkpoint, checkpoint.Origin, checkpoint.Size
				c.read()
				return
			}
		}
	}
}

// entries checks each entry against its proof.
func (c *packCheck) entries() {
	last := int64(-1)
	c.p.proofs = make([][]byte, len(c.p.entries))
	for i := range c.p.entries {
		e := &c.p.entries[i]
		name := proofName(e.Seq)
		if e.Seq <= last {
			c.bad("%s: entry %d stands after entry %d", memberEntries, e.Seq, last)
		}
		last = e.Seq
		data, there := c.files[name]
		if !there {
			c.bad("%s: it is missing, so entry %d is not proven", name, e.Seq)
			c.doubted = append(c.doubted, name)
			continue
		}
		c.p.proofs[i] = data
		c.prove(name, e, data)
	}
}

func (c *packCheck) prove(name string, e *packEntry, data []byte) {
	proof, err := audit.ParseProof(data)
	if err != nil {
		c.bad("%s: %v", name, err)
		c.doubted = append(c.doubted, name)
		return
	}
	if !bytes.Equal(proof.Marshal(), data) || proof.Index != e.Seq || !bytes.Equal(proof.Checkpoint, c.p.checkpoint) {
		c.bad("%s: it is not the proof of entry %d under this checkpoint", name, e.Seq)
		c.doubted = append(c.doubted, name)
		return
	}
	_, own := proof.Check(e.body, c.verifier)
	_, copied := proof.Check(proof.Extra, c.verifier)
	switch {
	case own == nil && copied == nil:
	case own == nil:
		c.bad("%s: the copy of entry %d in it was changed", name, e.Seq)
		c.doubted = append(c.doubted, name)
	case copied == nil:
		c.bad("%s: entry %d was changed", memberEntries, e.Seq)
		if proven, err := audit.Decode(proof.Extra); err == nil { // the rest is held against what is proven
			*e = packEntry{proven, proof.Extra}
		}
	default:
		c.bad("%s: it does not prove entry %d: %v", name, e.Seq, own)
		c.doubted = append(c.doubted, name)
	}
}

// compare makes every member again from the entries and holds the bytes against those in the pack.
func (c *packCheck) compare(members []member) {
	c.p.incident = incidentOf(c.p.entries)
	if c.p.incident == "" {
		c.bad("%s: the entries are not about one incident", memberEntries)
		return
	}
	for i := range c.p.entries {
		if e := &c.p.entries[i]; e.Incident == "" && !slices.Contains(contextKinds, e.Kind) {
			c.bad("%s: entry %d (%s) does not belong to the incident", memberEntries, e.Seq, e.Kind)
		}
	}
	want := c.p.members()
	named := len(c.problems)
	for i, m := range want {
		got, there := c.files[m.name]
		switch {
		case c.named(m.name):
		case !there:
			c.bad("%s: it is missing", m.name)
		case m.name == memberManifest && !bytes.Equal(got, c.manifest(want, got)), m.name != memberManifest && !bytes.Equal(got, m.data):
			c.bad("%s: it does not say what the proven entries say", m.name)
		case named == len(c.problems) && (i >= len(members) || members[i].name != m.name):
			c.bad("%s: it does not stand at its place in the archive", m.name)
		}
	}
	for _, m := range members {
		if !slices.ContainsFunc(want, func(w member) bool { return w.name == m.name }) {
			c.bad("%s: it does not belong in the pack: nothing that is proven says what is in it", m.name)
		}
	}
}

// named tells whether a problem with a member was found already.
func (c *packCheck) named(name string) bool {
	return slices.ContainsFunc(c.problems, func(s string) bool { return strings.HasPrefix(s, name+":") })
}

// manifest makes the manifest again. What it says of members that are damaged themselves cannot be made again, and is believed.
func (c *packCheck) manifest(want []member, got []byte) []byte {
	var said struct{ Files []manifestFile }
	if json.Unmarshal(got, &said) != nil {
		return nil
	}
	files := filesOf(want[:len(want)-1])
	for i := range files {
		if i < len(said.Files) && said.Files[i].Name == files[i].Name && slices.Contains(c.doubted, files[i].Name) {
			files[i] = said.Files[i]
		}
	}
	return manifestOf(&c.p, files)
}

// complete looks for gaps, and says what cannot be known.
func (c *packCheck) complete() {
	type count struct {
		id          string
		first, last int64
		closed      bool
		unnumbered  int
	}
	var counts []count
	for i := range c.p.entries {
		e := &c.p.entries[i].Entry
		if e.Incident == "" {
			continue
		}
		at := slices.IndexFunc(counts, func(n count) bool { return n.id == e.Incident })
		if at < 0 {
			counts, at = append(counts, count{id: e.Incident}), len(counts)
			if e.Kind != api.EntryIncidentOpened {
				c.bad("%s: the beginning of incident %s is missing: its first entry here is %d (%s)", memberEntries, e.Incident, e.Seq, e.Kind)
			}
		}
		n := &counts[at]
		n.closed = n.closed || e.Kind == api.EntryIncidentClosed || e.Kind == api.EntryIncidentMerged
		switch {
		case e.Nth == 0:
			n.unnumbered++
			continue
		case n.first == 0:
			n.first = e.Nth
			if e.Nth != 1 {
				c.bad("%s: entries 1 to %d of incident %s are missing", memberEntries, e.Nth-1, e.Incident)
			}
		case e.Nth != n.last+1:
			c.bad("%s: entries %d to %d of incident %s are missing before entry %d", memberEntries, n.last+1, e.Nth-1, e.Incident, e.Seq)
		}
		n.last = e.Nth
	}
	for _, n := range counts {
		if n.unnumbered > 0 {
			c.note("%d entries of incident %s have no number within it: it cannot be proven that none beside them is missing", n.unnumbered, n.id)
		}
		if !n.closed {
			c.note("incident %s was still open: what came after its entry %d is not here", n.id, n.last)
		}
	}
	c.note("nothing can prove that no late result or notification was written after the last entry here; the whole log can")
}
