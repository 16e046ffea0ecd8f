package controller

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/audit"
	"github.com/backstay/backstay/controller/internal/store"
)

// An evidence pack is one .tar.gz about one incident, for somebody who trusts only the log's public key. Everything in it is either
// signed (entries with their proofs, the checkpoint) or follows from what is signed: whoever verifies makes the other members
// again and compares bytes. So a changed byte anywhere is found, and nothing can be said in it that the log does not say.
//
// Compatibility: what a pack of one format holds is the same for ever. A change of any member is a new format.
const packFormat = "backstay.dev/evidence/v1"

// packEntry is one entry of a pack.
type packEntry struct {
	api.Entry
	body []byte // canonical
}

// pack is what an evidence pack is made of.
type pack struct {
	incident   string // that the others were merged into
	origin     string
	size       int64
	key        string
	checkpoint []byte
	entries    []packEntry
	proofs     [][]byte
}

// contextKinds are entries about no incident that a pack may hold: what was in force while the incident was open.
var contextKinds = []api.EntryKind{api.EntryStarted, api.EntryStopped, api.EntryConfigured, api.EntryConfigRefused, api.EntryRecorded,
	api.EntryPaused, api.EntryResumed, api.EntryInvariant}

// AuditPack writes the evidence pack of an incident, or of the one that a remediation was for, beside a running controller or without one. The same log gives the same bytes.
func AuditPack(ctx context.Context, dir, incident string, w io.Writer) error {
	r, err := store.OpenReader(ctx, dir)
	if err != nil {
		return err
	}
	defer r.Close()
	if strings.HasPrefix(incident, "rem-") {
		rem, err := r.Remediation(ctx, incident)
		if err != nil {
			return err
		}
		incident = rem.Incident
	}
	seqs, err := packSeqs(ctx, r, incident)
	if err != nil {
		return err
	}
	head, proven, err := r.ProveAll(ctx, seqs)
	if err != nil {
		return err
	}
	p := &pack{incident: incident, origin: head.Origin, size: head.Size, key: head.Key, checkpoint: head.Checkpoint}
	for i := range proven {
		e, err := audit.Decode(proven[i].Entry)
		if err != nil {
			return err
		}
		p.entries = append(p.entries, packEntry{e, proven[i].Entry})
		proven[i].Proof.Extra = proven[i].Entry
		p.proofs = append(p.proofs, proven[i].Proof.Marshal())
	}
	return writeArchive(w, p.members())
}

// packSeqs finds the entries that belong to an incident: its own, those of incidents that it took in, and what was in force.
func packSeqs(ctx context.Context, r *store.Reader, incident string) ([]int64, error) {
	view, err := r.Incident(ctx, incident)
	if err != nil {
		return nil, err
	}
	if view.MergedInto != "" {
		return nil, &api.Error{Code: api.CodeConflict, Message: "incident " + incident + " turned out to be part of " + view.MergedInto,
			Hint: "export that one: its pack holds this one too"}
	}
	var own []api.Entry
	for todo, known := []string{incident}, []string{incident}; len(todo) > 0; todo = todo[1:] {
		entries, err := r.Entries(ctx, store.Query{Incident: todo[0], Limit: math.MaxInt})
		if err != nil {
			return nil, err
		}
		own = append(own, entries...)
		merged, err := mergedInto(ctx, r, todo[0])
		if err != nil {
			return nil, err
		}
		for _, id := range merged {
			if !slices.Contains(known, id) {
				todo, known = append(todo, id), append(known, id)
			}
		}
	}
	if len(own) == 0 {
		return nil, api.Errorf(api.CodeTampered, "the log has no entry of incident %s, although its view is there", incident)
	}
	around, err := inForce(ctx, r, own)
	if err != nil {
		return nil, err
	}
	var seqs []int64
	for _, e := range append(own, around...) {
		seqs = append(seqs, e.Seq)
	}
	slices.Sort(seqs)
	return slices.Compact(seqs), nil
}

// mergedInto lists the incidents that one took in.
func mergedInto(ctx context.Context, r *store.Reader, incident string) ([]string, error) {
	entries, err := r.Entries(ctx, store.Query{Kinds: []api.EntryKind{api.EntryIncidentMerged}, Limit: math.MaxInt})
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		if factOf(e.Facts, "into") == incident {
			ids = append(ids, e.Incident)
		}
	}
	return ids, nil
}

// inForce finds what was in force: the last start and configuration before the incident, the texts of its playbooks, and all that
// changed until its last entry.
func inForce(ctx context.Context, r *store.Reader, own []api.Entry) ([]api.Entry, error) {
	first := slices.MinFunc(own, func(a, b api.Entry) int { return cmp.Compare(a.Seq, b.Seq) }).Seq
	last := slices.MaxFunc(own, func(a, b api.Entry) int { return cmp.Compare(a.Seq, b.Seq) }).Seq
	out, err := r.Entries(ctx, store.Query{From: first, To: last + 1, Kinds: contextKinds, Limit: math.MaxInt})
	if err != nil {
		return nil, err
	}
	for _, kind := range []api.EntryKind{api.EntryStarted, api.EntryConfigured} {
		before, err := r.Entries(ctx, store.Query{To: max(first, 1), Kinds: []api.EntryKind{kind}, Newest: true, Limit: 1})
		if err != nil {
			return nil, err
		}
		out = append(out, before...)
	}
	texts, err := r.Entries(ctx, store.Query{To: last + 1, Kinds: []api.EntryKind{api.EntryRecorded}, Limit: math.MaxInt})
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for i := range own {
		used[own[i].Playbook+" "+own[i].Digest] = true
	}
	held := map[string]bool{}
	out = slices.DeleteFunc(out, func(e api.Entry) bool { return e.Kind == api.EntryRecorded })
	for _, e := range slices.Backward(texts) { // the newest of each: a text may come back
		if id := e.Playbook + " " + e.Digest; used[id] && !held[id] {
			held[id] = true
			out = append(out, e)
		}
	}
	return out, nil
}

func factOf(facts []api.Fact, name string) string {
	for _, f := range facts {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// incidentOf finds which incident the entries are about: the one that was merged into no other. Empty where there is not one.
func incidentOf(entries []packEntry) string {
	ids, gone := map[string]bool{}, map[string]bool{}
	for i := range entries {
		e := &entries[i]
		if e.Incident != "" {
			ids[e.Incident] = true
		}
		if e.Kind == api.EntryIncidentMerged && factOf(e.Facts, "into") != "" {
			gone[e.Incident] = true
		}
	}
	found := ""
	for id := range ids {
		if gone[id] {
			continue
		}
		if found != "" {
			return ""
		}
		found = id
	}
	return found
}

// lines gives the canonical bytes of all entries, one a line.
func (p *pack) lines() []byte {
	var b bytes.Buffer
	for i := range p.entries {
		b.Write(p.entries[i].body)
		b.WriteByte('\n')
	}
	return b.Bytes()
}
