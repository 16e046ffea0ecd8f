package witness

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/audit"
	"github.com/backstay/backstay/controller/internal/store"
)

var t0 = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openLog(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), store.Options{Dir: dir, Origin: "backstay.test/log"})
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func grow(t *testing.T, s *store.Store, text string, n int) {
	t.Helper()
	for range n {
		_, err := s.Append(t.Context(), store.Batch{Entries: []api.Entry{{At: t0, Kind: api.EntryPaused, Text: text}}})
		must(t, err)
	}
}

func openWitness(t *testing.T, dir string, logs ...string) (*Server, *httptest.Server) {
	t.Helper()
	s, err := Open(Options{Dir: dir, Name: "witness.test/w1", Logs: logs, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	s.now = func() time.Time { return t0 }
	h := httptest.NewServer(s)
	t.Cleanup(func() { h.Close(); s.Close() })
	return s, h
}

func post(t *testing.T, url, body string) (status int, kind, answer string) {
	t.Helper()
	resp, err := http.Post(url+"/add-checkpoint", "", strings.NewReader(body))
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(b)
}

// TestProtocol walks through every answer that the specification asks for.
func TestProtocol(t *testing.T) {
	dir := t.TempDir()
	s := openLog(t, dir)
	w, h := openWitness(t, t.TempDir(), s.Head().Key)
	submission := func(old int64) string {
		t.Helper()
		sub, err := s.Submission(t.Context(), old)
		must(t, err)
		return string(sub.Marshal())
	}
	want := func(what, body string, status int, answer string) {
		t.Helper()
		got, kind, text := post(t, h.URL, body)
		if got != status || !strings.HasPrefix(text, answer) || status == 409 && kind != "text/x.tlog.size" {
			t.Errorf("%s: %d %s %q, want %d %q", what, got, kind, text, status, answer)
		}
	}
	const cosignature = "— witness.test/w1 "
	grow(t, s, "first", 5)
	five := submission(0)
	want("the first checkpoint", five, 200, cosignature)
	want("it again from nothing", five, 409, "5\n")
	want("it again", submission(5), 200, cosignature)
	grow(t, s, "second", 8)
	want("without a proof", strings.Replace(submission(0), "old 0", "old 5", 1), 422, "")
	thirteen := submission(5)
	wrong := strings.Split(thirteen, "\n")
	wrong[1], wrong[2] = wrong[2], wrong[1]
	want("with a wrong proof", strings.Join(wrong, "\n"), 422, "")
	want("with a larger old size", strings.Replace(submission(0), "old 0", "old 14", 1), 400, "")
	want("grown", thirteen, 200, cosignature)
	want("an older checkpoint", strings.Replace(five, "old 0", "old 5", 1), 409, "13\n")
	want("an older checkpoint from the newest size", strings.Replace(five, "old 0", "old 13", 1), 400, "")
	want("a proof where none belongs", strings.Replace(thirteen, "old 5", "old 13", 1), 422, "")
	want("a broken signature", strings.Replace(submission(13), "\n13\n", "\n14\n", 1), 403, "")
	want("another log", strings.Replace(submission(13), "backstay.test/log\n", "backstay.test/other\n", 1), 404, "")
	want("nonsense", "nonsense", 400, "")
	want("a huge body", "old 0\n"+strings.Repeat("x", bodyMax), 400, "")
	if resp, err := http.Get(h.URL + "/add-checkpoint"); err != nil || resp.StatusCode != 405 {
		t.Errorf("GET: %v, %v", resp.Status, err)
	}
	if resp, err := http.Get(h.URL + "/other"); err != nil || resp.StatusCode != 404 {
		t.Errorf("another path: %v, %v", resp.Status, err)
	}
	client, err := NewClient(h.URL+"/", w.Key())
	must(t, err)
	sub, err := s.Submission(t.Context(), 13)
	must(t, err)
	cosigned, err := client.Ask(t.Context(), sub, s.Verifier())
	must(t, err)
	must(t, s.KeepWitnessed(cosigned, client.Key()))
	if seen, err := s.Witnessed(); err != nil || seen.Size != 13 || seen.By != "witness.test/w1" || !seen.At.Equal(t0) {
		t.Errorf("kept %+v, %v", seen, err)
	}
}

// TestExtensionLines cosigns the whole text of a checkpoint, also what it does not understand.
func TestExtensionLines(t *testing.T) {
	skey, vkey, err := note.GenerateKey(nil, "log.test/x")
	must(t, err)
	signer, err := note.NewSigner(skey)
	must(t, err)
	verifier, err := note.NewVerifier(vkey)
	must(t, err)
	var tree audit.Tree
	signed, err := note.Sign(&note.Note{Text: audit.Checkpoint{Origin: "log.test/x", Root: tree.Root()}.Text() + "extension\n"}, signer)
	must(t, err)
	w, h := openWitness(t, t.TempDir(), vkey)
	client, err := NewClient(h.URL, w.Key())
	must(t, err)
	if _, err := client.Ask(t.Context(), audit.Submission{Checkpoint: signed}, verifier); err != nil {
		t.Error(err)
	}
}

// TestSplitView shows two logs with the same key to one witness, also after its restart: it cosigns one of them.
func TestSplitView(t *testing.T) {
	one, dir := t.TempDir(), t.TempDir()
	s := openLog(t, one)
	grow(t, s, "shared", 5)
	key := s.Head().Key
	must(t, s.Close())
	two := t.TempDir()
	must(t, os.CopyFS(two, os.DirFS(one)))
	must(t, os.Chmod(filepath.Join(two, "key"), 0o600))
	s, other := openLog(t, one), openLog(t, two)
	grow(t, s, "to the auditor", 4)
	grow(t, other, "to the bank", 4)
	ask := func(h *httptest.Server, w *Server, s *store.Store, old int64) error {
		client, err := NewClient(h.URL, w.Key())
		must(t, err)
		sub, err := s.Submission(t.Context(), old)
		must(t, err)
		_, err = client.Ask(t.Context(), sub, s.Verifier())
		return err
	}
	w, h := openWitness(t, dir, key)
	must(t, ask(h, w, s, 0))
	h.Close()
	must(t, w.Close())
	w, h = openWitness(t, dir, key)
	var conflict Conflict
	if err := ask(h, w, other, 5); !errors.As(err, &conflict) || conflict.Size != 9 {
		t.Errorf("the other log from the common entries: %v", err)
	}
	if err := ask(h, w, other, 9); !errors.As(err, &conflict) {
		t.Errorf("the other log of the same size: %v", err)
	}
	grow(t, other, "longer", 1)
	var unproven Unproven
	if err := ask(h, w, other, 9); !errors.As(err, &unproven) {
		t.Errorf("the other log, longer: %v", err)
	}
	grow(t, s, "goes on", 1)
	must(t, ask(h, w, s, 9))
}

// TestOneAtATime races two growths from the same size: one of them is cosigned.
func TestOneAtATime(t *testing.T) {
	dir := t.TempDir()
	s := openLog(t, dir)
	w, h := openWitness(t, t.TempDir(), s.Head().Key)
	client, err := NewClient(h.URL, w.Key())
	must(t, err)
	for round := range 20 {
		old := s.Head().Size
		if round == 0 {
			old = 0
		}
		var subs []audit.Submission
		for range 4 {
			grow(t, s, "more", 1)
			sub, err := s.Submission(t.Context(), old)
			must(t, err)
			subs = append(subs, sub)
		}
		var mu sync.Mutex
		var wg sync.WaitGroup
		cosigned, last := 0, int64(0)
		for _, sub := range subs {
			wg.Go(func() {
				_, err := client.Ask(t.Context(), sub, s.Verifier())
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					c, _ := audit.OpenCheckpoint(sub.Checkpoint, s.Verifier())
					cosigned, last = cosigned+1, c.Size
				} else if !errors.As(err, new(Conflict)) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if cosigned != 1 {
			t.Fatalf("%d growths from %d entries were cosigned", cosigned, old)
		}
		if last != s.Head().Size {
			sub, err := s.Submission(t.Context(), last)
			must(t, err)
			if _, err := client.Ask(t.Context(), sub, s.Verifier()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	s := openLog(t, t.TempDir())
	key := s.Head().Key
	quiet := slog.New(slog.DiscardHandler)
	for name, o := range map[string]Options{
		"no log":      {Dir: t.TempDir(), Name: "w"},
		"a bad key":   {Dir: t.TempDir(), Name: "w", Logs: []string{"nonsense"}},
		"a log twice": {Dir: t.TempDir(), Name: "w", Logs: []string{key, key}},
		"no name":     {Dir: t.TempDir(), Logs: []string{key}},
		"blanks":      {Dir: t.TempDir(), Name: "w 1", Logs: []string{key}},
	} {
		o.Log = quiet
		if w, err := Open(o); api.CodeOf(err) != api.CodeUsage {
			t.Errorf("%s: %v, %v", name, w, err)
		}
	}
	dir := t.TempDir()
	w, _ := openWitness(t, dir, key)
	if _, err := Open(Options{Dir: dir, Logs: []string{key}, Log: quiet}); api.CodeOf(err) != api.CodeConflict {
		t.Errorf("a second process: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, fileKey)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info, err)
	}
	for _, c := range [][2]string{{"witness.test", w.Key()}, {"http://w", key}} {
		if _, err := NewClient(c[0], c[1]); api.CodeOf(err) != api.CodeUsage {
			t.Errorf("client of %v: %v", c, err)
		}
	}
}

// TestDamagedMemory cosigns nothing where it cannot tell what it cosigned before.
func TestDamagedMemory(t *testing.T) {
	s := openLog(t, t.TempDir())
	dir := t.TempDir()
	_, h := openWitness(t, dir, s.Head().Key)
	grow(t, s, "x", 3)
	sub, err := s.Submission(t.Context(), 0)
	must(t, err)
	if status, _, text := post(t, h.URL, string(sub.Marshal())); status != 200 {
		t.Fatal(text)
	}
	must(t, os.WriteFile(filepath.Join(dir, stateFile("backstay.test/log")), []byte("gone"), 0o600))
	if status, _, text := post(t, h.URL, string(sub.Marshal())); status != 500 {
		t.Errorf("%d %s", status, text)
	}
}
