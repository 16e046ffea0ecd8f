package controller

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/rig"
)

const watchedProbe = `
apiVersion: backstay.dev/v1alpha1
kind: Probe
metadata: {name: idle}
spec: {type: heartbeat, every: 1h, with: {within: 1h}}
`

// watched is a controller with a folder of its own, in front of a witness.
type watched struct {
	*testing.T
	options Options
	stop    func()
	process *process
}

func newWatched(t *testing.T) *watched {
	t.Helper()
	base := t.TempDir()
	w := &watched{T: t, options: Options{Config: filepath.Join(base, "config.yaml"), Data: filepath.Join(base, "data"), Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)}}
	w.ok(os.WriteFile(w.options.Config, []byte(watchedProbe), 0o600))
	return w
}

func (w *watched) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *watched) start() {
	w.Helper()
	p, err := open(context.Background(), w.options)
	w.ok(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.run(ctx) }()
	stopped := false
	w.process, w.stop = p, func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-ended; err != nil {
				w.Error(err)
			}
		}
	}
	w.Cleanup(w.stop)
	w.until("the controller is ready", func() bool { return p.shell.Ready() == nil })
}

func (w *watched) until(what string, yes func() bool) {
	w.Helper()
	for deadline := time.Now().Add(30 * time.Second); !yes(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("waited 30 s until %s", what)
		}
	}
}

func (w *watched) signed() string {
	w.Helper()
	text, err := AuditSigned(context.Background(), w.options.Data)
	w.ok(err)
	return text
}

// witness serves one until the test ends, and puts it into the options.
func (w *watched) witness() (stop func()) {
	w.Helper()
	type place struct{ address, key string }
	ready, ended := make(chan place, 1), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		ended <- Witness(ctx, WitnessOptions{Dir: filepath.Join(filepath.Dir(w.options.Data), "witness"), Name: "witness.test/w1", Logs: []string{AuditKey(w.options.Data)}, Listen: "127.0.0.1:0",
			Log: slog.New(slog.DiscardHandler), Ready: func(address, key string) { ready <- place{address, key} }})
	}()
	select {
	case at := <-ready:
		w.options.Witness, w.options.WitnessKey = "http://"+at.address, at.key
	case err := <-ended:
		w.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			w.ok(<-ended)
		}
	}
	w.Cleanup(stop)
	return stop
}

// TestWitnessed goes from locally signed to witnessed, and has the published log checked over HTTP by somebody else's program.
func TestWitnessed(t *testing.T) {
	w := newWatched(t)
	w.start()
	if got := w.signed(); !strings.HasPrefix(got, "locally signed as backstay.local/") {
		t.Errorf("before: %s", got)
	}
	w.stop()
	stopWitness := w.witness()
	w.start()
	w.until("the log is witnessed", func() bool { return strings.HasPrefix(w.signed(), "witnessed at 20") })
	w.ok(w.process.shell.Pause(t.Context(), api.Pause{Owner: "nora", Reason: "grow the log"}))
	w.until("all of it is witnessed", func() bool { return strings.HasSuffix(w.signed(), "by witness.test/w1") })
	r, err := AuditVerifyWitnessed(t.Context(), w.options.Data, "", w.options.WitnessKey)
	if err != nil || !r.OK || !strings.Contains(r.Text, "by witness.test/w1") {
		t.Errorf("%+v, %v", r, err)
	}

	token, err := os.ReadFile(filepath.Join(w.options.Data, "token"))
	w.ok(err)
	url := "http://" + w.process.address.String() + "/tiles"
	get := func(path, token string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+path, nil)
		w.ok(err)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		w.ok(err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		w.ok(err)
		return resp.StatusCode, string(b)
	}
	secret := strings.TrimSpace(string(token))
	w.until("the cosignature is published", func() bool {
		status, text := get("/checkpoint", secret)
		return status == 200 && strings.Contains(text, "— witness.test/w1 ")
	})
	for path, want := range map[string]int{"/checkpoint": 401, "/tile/entries/000.p/1": 401} {
		if status, text := get(path, "wrong"); status != want || strings.Contains(text, "seq") {
			t.Errorf("%s without the token: %d %s", path, status, text)
		}
	}
	for _, path := range []string{"/key", "/%2e%2e/key", "/tile/..%2f..%2fkey", "/tile/0", "/checkpoint.new", ""} {
		if status, text := get(path, secret); status != 404 || strings.Contains(text, "PRIVATE") {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	if out, err := rig.Fsck(t, url+"/", AuditKey(w.options.Data), secret); err != nil {
		t.Errorf("fsck over HTTP: %v\n%s", err, out)
	}
	stopWitness()
	w.ok(w.process.shell.Resume(t.Context(), api.Pause{Owner: "nora"}))
	w.stop()
	w.start() // the witness is away: locally signed goes on
	if got := w.signed(); !strings.Contains(got, "the later ones locally signed") {
		t.Errorf("without the witness: %s", got)
	}
}

// TestWitnessNoticesRestore restores the whole data folder, so that nothing in it remembers the newer log: the witness does.
func TestWitnessNoticesRestore(t *testing.T) {
	w := newWatched(t)
	w.start()
	w.stop()
	w.witness()
	backup := filepath.Join(filepath.Dir(w.options.Data), "backup")
	w.ok(os.CopyFS(backup, os.DirFS(w.options.Data)))
	w.start()
	w.until("all of it is witnessed", func() bool { return strings.HasSuffix(w.signed(), "by witness.test/w1") })
	w.stop()
	restore := func() {
		w.ok(os.RemoveAll(w.options.Data))
		w.ok(os.CopyFS(w.options.Data, os.DirFS(backup)))
		for _, name := range []string{"key", "token", "heartbeat-token"} {
			w.ok(os.Chmod(filepath.Join(w.options.Data, name), 0o600))
		}
	}
	restore()
	w.start()
	if r := w.process.store.RolledBack(); r == nil || !strings.Contains(r.Text, "witness.test/w1") {
		t.Fatalf("not noticed: %+v", r)
	}
	w.until("everything is paused", func() bool { return len(w.process.shell.Pauses()) == 1 })
	if p := w.process.shell.Pauses()[0]; p.Playbook != "" || p.Owner != "backstay" || !strings.Contains(p.Reason, "older copy") {
		t.Errorf("paused as %+v", p)
	}
	w.ok(w.process.shell.Resume(t.Context(), api.Pause{Owner: "nora"}))
	if w.process.store.RolledBack() != nil || len(w.process.shell.Pauses()) != 0 {
		t.Error("a person accepted it, and it still stands")
	}
	w.stop()

	// Control: without the witness the same restore looks like any start.
	restore()
	address, key := w.options.Witness, w.options.WitnessKey
	w.options.Witness, w.options.WitnessKey = "", ""
	w.start()
	if r := w.process.store.RolledBack(); r != nil {
		t.Errorf("CONTROL: noticed without a witness: %s", r.Text)
	}
	w.stop()

	// The witness was away at the start: it is asked again, and everything stops then. The log went on meanwhile, past what the
	// witness knows: another log.
	restore()
	w.options.Witness, w.options.WitnessKey = "http://127.0.0.1:1", key
	w.start()
	for range 30 {
		w.ok(w.process.shell.Pause(t.Context(), api.Pause{Owner: "nora", Reason: "grow"}))
		w.ok(w.process.shell.Resume(t.Context(), api.Pause{Owner: "nora"}))
	}
	w.stop()
	w.options.Witness = address
	w.start()
	if r := w.process.store.RolledBack(); r == nil || !strings.Contains(r.Text, "not those of this log") {
		t.Errorf("a log that went on from an older copy: %+v", r)
	}
}
