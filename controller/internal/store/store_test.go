package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// t0 is when tests begin.
var t0 = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(context.Background(), Options{Dir: dir, Origin: "backstay.test/log"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// sample is an entry as the engine writes them.
func sample(i int) api.Entry {
	return api.Entry{
		At: t0.Add(time.Duration(i) * time.Second), Kind: api.EntryStepIntended, Text: fmt.Sprintf("Step %d sends new captures to the standby gateway.", i),
		Incident: fmt.Sprintf("inc-%d", i/10), Remediation: fmt.Sprintf("rem-%d", i/5), Playbook: "card-gateway-failover", Digest: "sha256:6c1f0c0c4e6f", Step: "switch", Attempt: 1,
		Intent: &api.Intent{Command: fmt.Sprintf("cmd-%d", i), Key: fmt.Sprintf("key-%d", i), Fence: int64(i), Deadline: t0.Add(time.Minute), Repeat: api.Idempotent, Targets: []string{"integration/card-gateway"}},
	}
}

func samples(from, n int) []api.Entry {
	out := make([]api.Entry, n)
	for i := range out {
		out[i] = sample(from + i)
	}
	return out
}

func sampleIncident(i int) api.Incident {
	return api.Incident{ID: fmt.Sprintf("inc-%d", i), Root: "integration/card-gateway", Title: "The card gateway is down.", Opened: t0.Add(time.Duration(i) * time.Second), AtRisk: api.Money{"EUR": 125_00}}
}

func sampleRemediation(i int) api.Remediation {
	return api.Remediation{ID: fmt.Sprintf("rem-%d", i), Incident: fmt.Sprintf("inc-%d", i/2), Playbook: "card-gateway-failover", State: "running", Opened: t0.Add(time.Duration(i) * time.Second)}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestReopen writes everything once and reads it back from a new process's point of view.
func TestReopen(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir)
	for i := range 30 {
		first, err := s.Append(ctx, Batch{Entries: samples(i*3, 3), Incidents: []api.Incident{sampleIncident(i / 10)}, Remediations: []api.Remediation{sampleRemediation(i)}})
		must(t, err)
		if first != int64(i*3) {
			t.Fatalf("first entry of batch %d got number %d", i, first)
		}
	}
	closed := sampleIncident(1)
	closed.Closed = t0.Add(time.Hour)
	_, err := s.Append(ctx, Batch{Incidents: []api.Incident{closed}})
	must(t, err)
	must(t, s.Close())

	s = open(t, dir)
	if r := s.RolledBack(); r != nil {
		t.Fatal(r.Text)
	}
	if first, err := s.Append(ctx, Batch{}); first != 90 || err != nil || s.Health() != nil {
		t.Errorf("an empty batch: %d, %v; health %v", first, err, s.Health())
	}
	if s.Head().Size != 90 || s.Head().Origin != "backstay.test/log" || !strings.HasPrefix(s.Head().Key, "backstay.test/log+") {
		t.Errorf("head is %+v", s.Head())
	}
	entries, err := s.Entries(ctx, Query{})
	must(t, err)
	for i, e := range entries {
		want := sample(i)
		want.Seq = int64(i)
		if fmt.Sprintf("%+v", e.Intent) != fmt.Sprintf("%+v", want.Intent) || e.Seq != want.Seq || !e.At.Equal(want.At) || e.Text != want.Text {
			t.Fatalf("entry %d is %+v", i, e)
		}
	}
	checkQueries(t, s)
	all, err := s.Incidents(ctx, false, 0)
	must(t, err)
	openOnes, err := s.Incidents(ctx, true, 0)
	must(t, err)
	if len(all) != 3 || all[0].ID != "inc-2" || len(openOnes) != 2 {
		t.Errorf("%d incidents, %d open", len(all), len(openOnes))
	}
	if in, err := s.Incident(ctx, "inc-1"); err != nil || !in.Closed.Equal(closed.Closed) || in.AtRisk["EUR"] != 12500 {
		t.Errorf("incident inc-1 is %+v, %v", in, err)
	}
	if _, err := s.Incident(ctx, "inc-77"); api.CodeOf(err) != api.CodeNotFound {
		t.Errorf("an unknown incident: %v", err)
	}
	rems, err := s.Remediations(ctx, "inc-4", 0)
	must(t, err)
	if len(rems) != 2 || rems[0].ID != "rem-9" || rems[1].ID != "rem-8" {
		t.Errorf("remediations of inc-4: %+v", rems)
	}
	var replayed int64
	must(t, s.Replay(ctx, 7, func(e api.Entry) error { replayed++; return nil }))
	if replayed != 83 {
		t.Errorf("replayed %d entries from 7", replayed)
	}
}

// checkQueries selects from the 90 entries of TestReopen.
func checkQueries(t *testing.T, s *Store) {
	t.Helper()
	for name, c := range map[string]struct {
		q           Query
		first, last int64
		n           int
	}{
		"incident":    {Query{Incident: "inc-2"}, 20, 29, 10},
		"remediation": {Query{Remediation: "rem-3"}, 15, 19, 5},
		"kind":        {Query{Kinds: []api.EntryKind{api.EntryStepIntended, api.EntryAsked}}, 0, 89, 90},
		"other kind":  {Query{Kinds: []api.EntryKind{api.EntryAsked}}, 0, 0, 0},
		"since":       {Query{Since: t0.Add(80 * time.Second)}, 80, 89, 10},
		"range":       {Query{From: 10, To: 20}, 10, 19, 10},
		"limit":       {Query{From: 10, Limit: 2}, 10, 11, 2},
		"newest":      {Query{Newest: true, Limit: 3}, 87, 89, 3},
	} {
		got, err := s.Entries(t.Context(), c.q)
		must(t, err)
		if len(got) != c.n || c.n > 0 && (got[0].Seq != c.first || got[len(got)-1].Seq != c.last) {
			t.Errorf("%s: %d entries, want %d to %d", name, len(got), c.first, c.last)
		}
	}
}

// TestConcurrent shares commits between many writers and checks that numbers have no gap and every batch stays together.
func TestConcurrent(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir())
	var wg sync.WaitGroup
	var mu sync.Mutex
	firsts := map[int64]int{}
	for w := range 16 {
		wg.Go(func() {
			for i := range 20 {
				first, err := s.Append(ctx, Batch{Entries: samples(w*1000+i*3, 3), Remediations: []api.Remediation{sampleRemediation(w)}})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				firsts[first] = w*1000 + i*3
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for first, i := range firsts {
		got, err := s.Entries(ctx, Query{From: first, To: first + 3})
		must(t, err)
		for j, e := range got {
			if e.Text != sample(i+j).Text || e.Seq != first+int64(j) {
				t.Fatalf("entry %d is %q, want sample %d", e.Seq, e.Text, i+j)
			}
		}
	}
	if len(firsts) != 320 || s.Head().Size != 960 {
		t.Errorf("%d batches, head %d", len(firsts), s.Head().Size)
	}
}

func TestRefusesWhatCannotBeEncoded(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir())
	bad := sample(0)
	bad.Estimate = &api.Estimate{Before: []byte("{not json")}
	if _, err := s.Append(ctx, Batch{Entries: []api.Entry{sample(1), bad}}); api.CodeOf(err) != api.CodeInvalid {
		t.Errorf("a malformed before-image: %v", err)
	}
	first, err := s.Append(ctx, Batch{Entries: samples(0, 1)})
	if err != nil || first != 0 {
		t.Errorf("after a refusal the next entry got %d, %v", first, err)
	}
}

func TestSnapshots(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir)
	if next, state, err := s.LoadSnapshot(ctx); next != 0 || state != nil || err != nil {
		t.Errorf("no snapshot: %d, %q, %v", next, state, err)
	}
	_, err := s.Append(ctx, Batch{Entries: samples(0, 50)})
	must(t, err)
	for _, n := range []int64{10, 20, 30} {
		must(t, s.SaveSnapshot(ctx, n, fmt.Appendf(nil, "state at %d", n)))
	}
	if err := s.SaveSnapshot(ctx, 51, nil); api.CodeOf(err) != api.CodeInvalid {
		t.Errorf("a snapshot of the future: %v", err)
	}
	var kept int
	must(t, s.read.QueryRow("SELECT count(*) FROM snapshots").Scan(&kept))
	if next, state, err := s.LoadSnapshot(ctx); next != 30 || string(state) != "state at 30" || err != nil || kept != 2 {
		t.Errorf("newest snapshot: %d, %q, %v; %d kept", next, state, err, kept)
	}
	must(t, s.Close())

	edit(t, dir, "UPDATE snapshots SET body = x'00' WHERE next = 30")
	s = open(t, dir)
	if next, state, err := s.LoadSnapshot(ctx); next != 20 || string(state) != "state at 20" || err != nil {
		t.Errorf("fallback: %d, %q, %v", next, state, err)
	}
	must(t, s.SaveSnapshot(ctx, 40, []byte("state at 40")))
	must(t, s.SaveSnapshot(ctx, 50, []byte("state at 50")))
	must(t, s.Close())
	edit(t, dir, "UPDATE snapshots SET body = x'00'")
	s = open(t, dir)
	if next, state, err := s.LoadSnapshot(ctx); next != 0 || state != nil || err != nil {
		t.Errorf("only damaged ones: %d, %q, %v", next, state, err)
	}
}

func TestLedger(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir)
	l := s.Ledger()
	if row, err := l.Get(ctx, "replay/captures.dlq", "m1"); err != nil || row.State != "" {
		t.Errorf("never seen: %+v, %v", row, err)
	}
	var rows []LedgerRow
	for i := range 500 {
		rows = append(rows, LedgerRow{Scope: "replay/captures.dlq", Key: fmt.Sprintf("m%d", i), State: "intended", Hash: "h", Run: "rem-1/replay", At: t0})
	}
	must(t, l.Put(ctx, rows...))
	for i := range rows[:493] {
		rows[i].State = "done"
	}
	must(t, l.Put(ctx, rows[:493]...))
	if err := l.Put(ctx, LedgerRow{Scope: "s", Key: "k", State: "done"}, LedgerRow{Scope: "s"}); api.CodeOf(err) != api.CodeInvalid {
		t.Errorf("a row without a key: %v", err)
	}
	must(t, s.Close())
	s = open(t, dir)
	l = s.Ledger()
	counts, err := l.Count(ctx, "replay/captures.dlq")
	must(t, err)
	if counts["done"] != 493 || counts["intended"] != 7 || len(counts) != 2 {
		t.Errorf("counts %v", counts)
	}
	if row, err := l.Get(ctx, "replay/captures.dlq", "m3"); err != nil || row != rows[3] {
		t.Errorf("row %+v, %v", row, err)
	}
	if row, err := l.Get(ctx, "s", "k"); err != nil || row.State != "" {
		t.Errorf("half a batch was kept: %+v, %v", row, err)
	}
}

// edit changes the database behind the store's back.
func edit(t testing.TB, dir string, statements ...string) {
	t.Helper()
	db, err := openDatabase(t.Context(), journalFile, filepath.Join(dir, fileJournal))
	must(t, err)
	defer db.Close()
	for _, q := range statements {
		if _, err := db.Exec(q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
}

func TestRollback(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir)
	_, err := s.Append(ctx, Batch{Entries: samples(0, 10)})
	must(t, err)
	must(t, s.Close())
	backup, err := os.ReadFile(filepath.Join(dir, fileJournal))
	must(t, err)
	s = open(t, dir)
	_, err = s.Append(ctx, Batch{Entries: samples(10, 10)})
	must(t, err)
	must(t, s.Close())
	published, err := os.ReadFile(filepath.Join(dir, fileCheckpoint))
	must(t, err)

	must(t, os.WriteFile(filepath.Join(dir, fileJournal), backup, 0o600))
	s = open(t, dir)
	r := s.RolledBack()
	if r == nil || r.Published != 20 || r.Head != 10 {
		t.Fatalf("rollback not noticed: %+v", r)
	}
	_, err = s.Append(ctx, Batch{Entries: samples(100, 15)}) // goes on past the published size: still another log
	must(t, err)
	must(t, s.Close())
	if now, err := os.ReadFile(filepath.Join(dir, fileCheckpoint)); err != nil || string(now) != string(published) {
		t.Errorf("the evidence was overwritten: %v", err)
	}
	s = open(t, dir)
	if r := s.RolledBack(); r == nil || !strings.Contains(r.Text, "rewritten") {
		t.Fatalf("a fork is not noticed: %+v", r)
	}
	must(t, s.AcceptRollback())
	if s.RolledBack() != nil {
		t.Error("accepted but still there")
	}
	_, err = s.Append(ctx, Batch{Entries: samples(200, 1)})
	must(t, err)
	must(t, s.Close())
	s = open(t, dir)
	if r := s.RolledBack(); r != nil {
		t.Errorf("after acceptance: %s", r.Text)
	}
	if kept, err := os.ReadFile(filepath.Join(dir, "checkpoint.contradicted-20")); err != nil || string(kept) != string(published) {
		t.Errorf("the contradicted checkpoint was not kept: %v", err)
	}
}

// TestPoison breaks the commit and checks that nothing is taken afterwards.
func TestPoison(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir)
	_, err := s.Append(ctx, Batch{Entries: samples(0, 3)})
	must(t, err)
	if _, err := s.committer.conn.ExecContext(ctx, "PRAGMA max_page_count = 1"); err != nil {
		t.Fatal(err)
	}
	big := sample(3)
	big.Text = strings.Repeat("x", 1<<20)
	_, err = s.Append(ctx, Batch{Entries: []api.Entry{big}})
	if api.CodeOf(err) != api.CodeUnavailable || !strings.Contains(err.Error(), "disk is full") {
		t.Fatalf("a full disk: %v", err)
	}
	if _, err := s.committer.conn.ExecContext(ctx, "PRAGMA max_page_count = 1000000"); err != nil {
		t.Fatal(err)
	}
	if health := s.Health(); !errors.Is(health, err) {
		t.Errorf("health is %v", health)
	}
	_, again := s.Append(ctx, Batch{Entries: samples(3, 1)})
	if !errors.Is(again, err) {
		t.Errorf("after a failed commit: %v", again)
	}
	if err := s.Ledger().Put(ctx, LedgerRow{Scope: "s", Key: "k", State: "done"}); !errors.Is(err, again) {
		t.Errorf("the ledger after a failed commit: %v", err)
	}
	must(t, s.Close())
	s = open(t, dir)
	if first, err := s.Append(ctx, Batch{Entries: samples(3, 1)}); first != 3 || err != nil {
		t.Errorf("after a restart: %d, %v", first, err)
	}
}
