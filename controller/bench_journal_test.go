package controller_test

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/audit"
	"github.com/backstay/backstay/controller/internal/store"
)

// rawDisk is the least that any journal could do: append to a file, fsync.
type rawDisk struct{ f *os.File }

func newRawDisk(b *testing.B, dir string) rawDisk {
	f, err := os.Create(filepath.Join(dir, "raw"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return rawDisk{f}
}

// append gives the time in ms.
func (d rawDisk) append(b *testing.B, bytes int) float64 {
	line := make([]byte, bytes)
	start := time.Now()
	if _, err := d.f.Write(line); err != nil {
		b.Fatal(err)
	}
	if err := d.f.Sync(); err != nil {
		b.Fatal(err)
	}
	return float64(time.Since(start).Microseconds()) / 1000
}

// benchEntries are like those that steps leave: each another step of another remediation.
func benchEntries(from, n int) []api.Entry {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	list := make([]api.Entry, n)
	for k := range list {
		i := from + k
		list[k] = api.Entry{At: at.Add(time.Duration(i) * time.Second), Kind: api.EntryStepIntended, Text: fmt.Sprintf("Step %d sends new captures to the standby gateway.", i),
			Incident: fmt.Sprintf("inc-%d", i/10), Remediation: fmt.Sprintf("rem-%d", i/5), Playbook: "card-gateway-failover", Digest: "sha256:6c1f0c0c4e6f", Step: "switch", Attempt: 1,
			Intent: &api.Intent{Command: fmt.Sprintf("cmd-%d", i), Key: fmt.Sprintf("key-%d", i), Fence: int64(i), Deadline: at.Add(time.Minute), Repeat: api.Idempotent, Targets: []string{"integration/card-gateway"}}}
	}
	return list
}

func openBenchStore(b *testing.B) (st *store.Store, dir string) {
	b.Helper()
	dir = filepath.Join(b.TempDir(), "data")
	st, err := store.Open(b.Context(), store.Options{Dir: dir, Origin: "backstay.test/bench"})
	if err != nil {
		b.Fatal(err)
	}
	return st, dir
}

// appendTimed commits a batch and gives the time in ms.
func appendTimed(b *testing.B, st *store.Store, entries []api.Entry) float64 {
	start := time.Now()
	if _, err := st.Append(b.Context(), store.Batch{Entries: entries}); err != nil {
		b.Fatal(err)
	}
	return float64(time.Since(start).Microseconds()) / 1000
}

// benchJournal commits lone entries and batches; the same bytes go to a bare file in turn, so that both meet the same disk.
func benchJournal(b *testing.B, t *goalTable) {
	const lones, batches, size = 300, 200, 100
	st, dir := openBenchStore(b)
	defer st.Close()
	raw := newRawDisk(b, dir)
	var one, oneRaw, many, manyRaw []float64
	for i := range lones {
		one = append(one, appendTimed(b, st, benchEntries(i, 1)))
		oneRaw = append(oneRaw, raw.append(b, 512))
	}
	var cpu time.Duration
	for i := range batches {
		entries := benchEntries(i*size, size)
		before := ownCPU(b)
		many = append(many, appendTimed(b, st, entries))
		cpu += ownCPU(b) - before
		manyRaw = append(manyRaw, raw.append(b, 512*size))
	}
	tree := merkleCPU(b, batches, size)
	t.add(goal{what: "journal in batches of 100", unit: "entries/s", limit: 20_000, least: true, measured: size / median(many...) * 1000,
		raw: size / median(manyRaw...) * 1000, rawWhat: "append + fsync", format: "%.0f"})
	t.add(goal{what: "a lone entry", unit: "ms", measured: median(one...), raw: median(oneRaw...), rawWhat: "append + fsync", ratioMax: 2.5, format: "%.2f"})
	t.add(goal{what: "tree and signatures, share of the CPU", unit: "%", limit: 25, measured: 100 * tree.Seconds() / cpu.Seconds()})
}

// merkleCPU is what hashing and signing cost of so many batches.
func merkleCPU(b *testing.B, batches, size int) time.Duration {
	b.Helper()
	key, _, err := note.GenerateKey(rand.Reader, "backstay.test/bench")
	if err != nil {
		b.Fatal(err)
	}
	signer, err := note.NewSigner(key)
	if err != nil {
		b.Fatal(err)
	}
	bodies := make([][]byte, size)
	for i, e := range benchEntries(0, size) {
		if bodies[i], err = audit.Encode(e); err != nil {
			b.Fatal(err)
		}
	}
	var tree audit.Tree
	var rows audit.Sum
	before := ownCPU(b)
	for range batches {
		for _, body := range bodies {
			tree.Append(audit.Leaf(body), nil)
		}
		if _, err := (audit.Checkpoint{Origin: signer.Name(), Size: tree.Size(), Root: tree.Root()}).Sign(signer); err != nil {
			b.Fatal(err)
		}
		if _, err := (audit.State{Origin: signer.Name(), Size: tree.Size(), Digest: rows.Digest()}).Sign(signer); err != nil {
			b.Fatal(err)
		}
	}
	return ownCPU(b) - before
}

// benchVerify verifies a log of a million entries; beside it, reading the same file once and hashing it.
func benchVerify(b *testing.B, t *goalTable) {
	const n = 1_000_000
	st, dir := openBenchStore(b)
	for from := 0; from < n; from += 2000 {
		appendTimed(b, st, benchEntries(from, 2000))
	}
	if err := st.Close(); err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	report, err := store.VerifyFolder(b.Context(), dir, store.VerifyOptions{})
	took := time.Since(start)
	if err != nil || !report.OK() || report.Entries != n {
		b.Fatalf("verified %d entries: %v, %v", report.Entries, err, report.Damages)
	}
	start = time.Now()
	f, err := os.Open(filepath.Join(dir, "backstay.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(sha256.New(), f); err != nil {
		b.Fatal(err)
	}
	t.add(goal{what: "audit verify of 1,000,000 entries", unit: "s", limit: 10, measured: took.Seconds(), raw: time.Since(start).Seconds(), rawWhat: "read and SHA-256 the file"})
}
