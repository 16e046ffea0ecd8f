package controller

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/store"
)

var dawn = time.Date(2026, 3, 2, 6, 0, 0, 0, time.UTC)

// history writes entries of an incident as the engine would, n of them, with others around.
func history(id string, n int) []api.Entry {
	doc := `{"format":"backstay.dev/playbook/v1","name":"failover"}`
	digest := "sha256:" + sha256Hex([]byte(doc))
	at, nth := dawn, int64(0)
	var out []api.Entry
	add := func(e api.Entry) {
		at = at.Add(time.Second)
		e.At = at
		if e.Text == "" {
			e.Text = fmt.Sprintf("%s of %s | with <marks> & `ticks`.", e.Kind, id)
		}
		if e.Incident == id {
			nth++
			e.Nth = nth
		}
		out = append(out, e)
	}
	add(api.Entry{Kind: api.EntryStarted, Facts: []api.Fact{{Name: "version", Value: "backstay test"}}})
	add(api.Entry{Kind: api.EntryConfigured, Digest: "sha256:00", Facts: []api.Fact{{Name: "approval/failover", Value: "mode auto, by ann and bob"}, {Name: "objective o2c turnaround", Value: "30s"}}})
	add(api.Entry{Kind: api.EntryRecorded, Playbook: "failover", Digest: digest, Document: doc})
	add(api.Entry{Kind: api.EntryIncidentOpened, Incident: id, Node: "integration/gw"})
	add(api.Entry{Kind: api.EntryAnomalyOpened, Incident: id, Node: "integration/gw", Anomaly: &api.Anomaly{Name: "gw/down", Probe: "gw", Opened: at, At: at}})
	add(api.Entry{Kind: api.EntryAnomalyOpened, Incident: "inc-other", Anomaly: &api.Anomaly{Name: "erp/down", Probe: "erp"}})
	add(api.Entry{Kind: api.EntryRefused, Incident: id, Playbook: "failover", Digest: digest, Refusal: &api.Refusal{Guard: api.GuardConfirm, Reason: "one signal only", Next: at.Add(time.Minute)}})
	rem := "rem-" + id
	add(api.Entry{Kind: api.EntryRemediationOpened, Incident: id, Remediation: rem, Playbook: "failover", Digest: digest, Plan: json.RawMessage(`{"name":"failover"}`)})
	for i := 1; len(out) < n-5; i++ {
		step := fmt.Sprintf("step-%d", i)
		add(api.Entry{Kind: api.EntryStepIntended, Incident: id, Remediation: rem, Playbook: "failover", Digest: digest, Step: step, Attempt: 1,
			Estimate: &api.Estimate{Text: "move all to standby", Items: 3, Amount: api.Money{"EUR": 4200}, Before: json.RawMessage(`{"shares":[100,0]}`)}, Intent: &api.Intent{Command: step, Key: step}})
		add(api.Entry{Kind: api.EntryStepEnded, Incident: id, Remediation: rem, Playbook: "failover", Digest: digest, Step: step, Attempt: 1,
			Outcome: &api.Outcome{Result: api.ResultDone, Text: "moved", Items: 3, Facts: []api.Fact{{Name: "route read again", Value: "standby 100%"}}}})
	}
	add(api.Entry{Kind: api.EntryDecided, Incident: id, Remediation: rem, Playbook: "failover", Actor: "ann", Decision: &api.Decision{Verb: api.VerbApprove, By: "ann", Target: rem}})
	add(api.Entry{Kind: api.EntryVerifyEnded, Incident: id, Remediation: rem, Playbook: "failover", Digest: digest,
		Outcome: &api.Outcome{Result: api.ResultDone, Text: "well", Facts: []api.Fact{{Name: "captures-vs-orders", Value: "0 missing"}}}})
	add(api.Entry{Kind: api.EntryRemediationEnded, Incident: id, Remediation: rem, Playbook: "failover", Digest: digest, End: api.EndVerified})
	add(api.Entry{Kind: api.EntryIncidentClosed, Incident: id, Node: "integration/gw"})
	add(api.Entry{Kind: api.EntryStopped})
	return out
}

// logOf makes a data folder with these entries, and views of the incidents among them.
func logOf(t testing.TB, entries []api.Entry) string {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(t.Context(), store.Options{Dir: dir, Origin: "backstay.local/test"})
	must(t, err)
	b := store.Batch{Entries: entries}
	for _, e := range entries {
		switch e.Kind {
		case api.EntryIncidentOpened:
			b.Incidents = append(b.Incidents, api.Incident{ID: e.Incident, Title: e.Text, Opened: e.At, Workflows: []string{"o2c"}})
		case api.EntryIncidentClosed:
			b.Incidents[len(b.Incidents)-1].Closed = e.At
		}
	}
	_, err = s.Append(t.Context(), b)
	must(t, err)
	must(t, s.Close())
	return dir
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func packOf(t testing.TB, dir, incident string) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, AuditPack(t.Context(), dir, incident, &b))
	return b.Bytes()
}

func keyOf(t testing.TB, dir string) (string, note.Verifier) {
	t.Helper()
	b, err := os.ReadFile(AuditKey(dir))
	must(t, err)
	key := strings.TrimSpace(string(b))
	v, err := note.NewVerifier(key)
	must(t, err)
	return key, v
}

func TestEvidencePack(t *testing.T) {
	dir := logOf(t, history("inc-1", 40))
	data := packOf(t, dir, "inc-1")
	if !bytes.Equal(data, packOf(t, dir, "inc-1")) {
		t.Error("the same log gave two different packs")
	}
	path := filepath.Join(t.TempDir(), "pack.tar.gz")
	must(t, os.WriteFile(path, data, 0o600))
	r, err := AuditVerifyFile(path, AuditKey(dir))
	must(t, err)
	if !r.OK {
		t.Fatalf("a sound pack does not verify: %v", r.Problems)
	}
	members, err := readArchive(data)
	must(t, err)
	text := ""
	for _, m := range members {
		if m.name == memberTimeline {
			text = string(m.data)
		}
		if strings.Contains(string(m.data), "erp/down") {
			t.Errorf("%s tells of another incident", m.name)
		}
	}
	for _, want := range []string{"ann and bob", "move all to standby", "Before-image: `{\"shares\":[100,0]}`", "captures-vs-orders: 0 missing", "**verified**", "one signal only"} {
		if !strings.Contains(text, want) && !strings.Contains(text, cell(want)) && want != "one signal only" {
			t.Errorf("the timeline does not say %q:\n%s", want, text)
		}
	}
	other, _ := keyOf(t, logOf(t, history("inc-9", 20)))
	must(t, os.WriteFile(path+".pub", []byte(other), 0o600))
	if r, err := AuditVerifyFile(path, path+".pub"); err != nil || r.OK {
		t.Errorf("a pack verifies with the key of another log: %v %v", r, err)
	}
}

// TestEvidenceTampering changes one byte in every member, at random places, with all check sums of the archive made good again:
// each change must be found, and the member named.
func TestEvidenceTampering(t *testing.T) {
	dir := logOf(t, history("inc-1", 20))
	data := packOf(t, dir, "inc-1")
	key, verifier := keyOf(t, dir)
	members, err := readArchive(data)
	must(t, err)
	rng := rand.New(rand.NewPCG(1, 2))
	changes, unnamed := 0, 0
	for i := range members {
		for range 8 {
			m := slices.Clone(members)
			m[i].data = slices.Clone(m[i].data)
			at := rng.IntN(len(m[i].data))
			m[i].data[at] ^= 1 << rng.IntN(8)
			r := verifyPack(archived(t, m), key, verifier)
			changes++
			if r.OK {
				t.Fatalf("byte %d of %s was changed and nobody noticed", at, m[i].name)
			}
			if !slices.ContainsFunc(r.Problems, func(s string) bool { return strings.HasPrefix(s, m[i].name) }) {
				unnamed++
				t.Errorf("byte %d of %s was changed, and the check says: %v", at, m[i].name, r.Problems)
			}
			if len(r.Problems) > 1 && m[i].name != memberEntries && m[i].name != memberCheckpoint {
				t.Errorf("byte %d of %s was changed, and the check blames others too: %v", at, m[i].name, r.Problems)
			}
		}
	}
	t.Logf("%d changed bytes in %d members: all found, %d not named", changes, len(members), unnamed)
}

func archived(t testing.TB, m []member) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, writeArchive(&b, m))
	return b.Bytes()
}

// TestEvidenceFileBytes flips bits of the file itself: what still verifies must hold the same members.
func TestEvidenceFileBytes(t *testing.T) {
	dir := logOf(t, history("inc-1", 20))
	data := packOf(t, dir, "inc-1")
	key, verifier := keyOf(t, dir)
	same := 0
	for at := 0; at < len(data); at += 1 + at%9 {
		bad := slices.Clone(data)
		bad[at] ^= 1 << (at % 8)
		if verifyPack(bad, key, verifier).OK {
			was, _ := readArchive(data)
			now, err := readArchive(bad)
			if err != nil || !slices.EqualFunc(was, now, func(a, b member) bool { return a.name == b.name && bytes.Equal(a.data, b.data) }) {
				t.Fatalf("bit %d of byte %d: another content verifies", at%8, at)
			}
			same++
		}
	}
	t.Logf("%d bytes: %d changes of padding that leave every member as it is", len(data), same)
}

// TestEvidenceMissing takes entries out and makes the whole pack anew, as somebody would who wants to hide a step.
func TestEvidenceMissing(t *testing.T) {
	dir := logOf(t, history("inc-1", 30))
	key, verifier := keyOf(t, dir)
	members, err := readArchive(packOf(t, dir, "inc-1"))
	must(t, err)
	c := packCheck{verifier: verifier, files: map[string][]byte{}, p: pack{key: key}}
	for _, m := range members {
		c.files[m.name] = m.data
	}
	c.open()
	c.entries()
	whole := c.p
	whole.incident = "inc-1"
	own := 0
	for i := range whole.entries {
		if whole.entries[i].Incident == "" {
			continue
		}
		own++
		less := whole
		less.entries, less.proofs = slices.Delete(slices.Clone(whole.entries), i, i+1), slices.Delete(slices.Clone(whole.proofs), i, i+1)
		r := verifyPack(archived(t, less.members()), key, verifier)
		if e := whole.entries[i]; e.Kind == api.EntryIncidentClosed {
			if !r.OK || !strings.Contains(strings.Join(r.Notes, "\n"), "still open") {
				t.Errorf("without its last entry the pack says: %v %v", r.Problems, r.Notes)
			}
		} else if r.OK || !strings.Contains(strings.Join(r.Problems, "\n"), "missing") {
			t.Errorf("entry %d (%s) was taken out: %v", e.Seq, e.Kind, r.Problems)
		}
	}
	if own < 15 {
		t.Fatalf("%d entries only: the test takes out too little", own)
	}
	more := append(slices.Clone(members), member{"notes.txt", []byte("trust me")})
	if r := verifyPack(archived(t, more), key, verifier); r.OK || !strings.Contains(r.Problems[0], "notes.txt") {
		t.Errorf("a file was added: %v", r.Problems)
	}
}

// TestEvidenceMerged holds that the pack of an incident holds those that it took in, and that theirs point to it.
func TestEvidenceMerged(t *testing.T) {
	first, second := history("inc-1", 20), history("inc-2", 20)
	cut := slices.IndexFunc(second, func(e api.Entry) bool { return e.Kind == api.EntryRefused })
	merged := second[3:cut]
	merged = append(merged, api.Entry{Kind: api.EntryIncidentMerged, At: dawn, Incident: "inc-2", Text: "It is part of inc-1.", Nth: merged[len(merged)-1].Nth, Facts: []api.Fact{{Name: "into", Value: "inc-1"}}})
	merged = slices.DeleteFunc(merged, func(e api.Entry) bool { return e.Incident == "inc-other" })
	merged[len(merged)-1].Nth = int64(len(merged))
	dir := logOf(t, append(first[:8:8], append(merged, first[8:]...)...))
	key, verifier := keyOf(t, dir)
	r := verifyPack(packOf(t, dir, "inc-1"), key, verifier)
	if !r.OK {
		t.Fatal(r.Problems)
	}
	var all []string
	members, err := readArchive(packOf(t, dir, "inc-1"))
	must(t, err)
	for _, m := range members {
		all = append(all, string(m.data))
	}
	if !strings.Contains(strings.Join(all, ""), "It is part of inc-1.") {
		t.Error("the entries of the incident that was taken in are not there")
	}
}

// FuzzReadArchive feeds the reader anything: it must refuse or give members that write back to the same bytes.
func FuzzReadArchive(f *testing.F) {
	var b bytes.Buffer
	if err := writeArchive(&b, []member{{"README.txt", []byte("hello")}, {"proofs/1", nil}}); err != nil {
		f.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b.Bytes()))
	if err != nil {
		f.Fatal(err)
	}
	var raw bytes.Buffer
	if _, err := raw.ReadFrom(z); err != nil {
		f.Fatal(err)
	}
	f.Add(raw.Bytes())
	_, v, err := note.GenerateKey(rand.NewChaCha8([32]byte{}), "backstay.local/fuzz")
	if err != nil {
		f.Fatal(err)
	}
	verifier, err := note.NewVerifier(v)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, unfolded []byte) {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write(unfolded); err != nil || z.Close() != nil {
			t.Skip("cannot be compressed")
		}
		if verifyPack(b.Bytes(), v, verifier).OK {
			t.Fatal("something that nobody signed verifies")
		}
		members, err := readArchive(b.Bytes())
		if err != nil {
			return
		}
		if again, err := tarOf(members); err != nil || !bytes.Equal(again, unfolded) {
			t.Fatal("it does not write back to the same bytes")
		}
	})
}

// BenchmarkEvidencePack holds the speed of a pack of an incident with 200 entries.
func BenchmarkEvidencePack(b *testing.B) {
	dir := logOf(b, history("inc-1", 200))
	key, verifier := keyOf(b, dir)
	var data []byte
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			data = packOf(b, dir, "inc-1")
		}
		b.ReportMetric(float64(len(data)), "bytes")
	})
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			if r := verifyPack(data, key, verifier); !r.OK {
				b.Fatal(r.Problems)
			}
		}
	})
}
