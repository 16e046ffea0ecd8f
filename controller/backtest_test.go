package controller

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/playbooks"
)

const oneObservation = `{"probe":"queue","at":"2026-03-02T09:00:00Z","verdict":"ok","value":5,"took":1000}`

func TestReadObservations(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write([]byte(oneObservation + "\n\n" + oneObservation + "\n")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"plain": oneObservation + "\n\n" + oneObservation + "\n", "gzip": zipped.String()} {
		got, err := readObservations(strings.NewReader(text), "f")
		if err != nil || len(got["queue"]) != 2 || got["queue"][0].Value != 5 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for _, tt := range []struct{ text, want string }{
		{oneObservation + "\n{", "f:2: "},
		{strings.Replace(oneObservation, `"ok"`, `"fine"`, 1), "no verdict"},
		{strings.Replace(oneObservation, `"queue"`, `""`, 1), "names no probe"},
		{strings.Replace(oneObservation, `"value"`, `"valeu"`, 1), "valeu"},
		{"\x1f\x8bnot gzip", "f:1: "},
		{strings.Repeat("x", observationMost+1), "f:1: "},
		{zipped.String()[:zipped.Len()/2], "f:"},
	} {
		_, err := readObservations(strings.NewReader(tt.text), "f")
		if err == nil || !strings.Contains(err.Error(), tt.want) || api.CodeOf(err) != api.CodeInvalid {
			t.Errorf("%.40q: the error is %v, want one with %q", tt.text, err, tt.want)
		}
	}
}

func FuzzReadObservations(f *testing.F) {
	f.Add([]byte(oneObservation))
	f.Add([]byte("\x1f\x8b\x08\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readObservations(bytes.NewReader(b), "f")
		if err != nil {
			return
		}
		for probe, list := range got {
			for _, o := range list {
				if probe == "" || o.Probe != probe || o.At.IsZero() {
					t.Errorf("%q gave %+v under %q", b, o, probe)
				}
			}
		}
	})
}

// What is kept comes back as it was, with the approvals that the log says it had; a damaged file is named.
func TestKeepConfig(t *testing.T) {
	dir, config := t.TempDir(), t.TempDir()
	text := "apiVersion: backstay.dev/v1alpha1\nkind: Integration\nmetadata: {name: erp}\nspec: {summary: Books.}\n"
	if err := os.WriteFile(filepath.Join(config, "a.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := keepConfig(dir, "sha256:abc", config); err != nil {
		t.Fatal(err)
	}
	k := newKept(dir, nil)
	if c := k.config("sha256:abc"); c == nil || len(c.Integrations) != 1 || c.Integrations[0].Metadata.Name != "erp" || c.Digest != "sha256:abc" {
		t.Errorf("it came back as %+v, %v", c, k.err)
	}
	if c := k.config("sha256:def"); c != nil || k.err != nil {
		t.Errorf("one that was never kept came back as %+v, %v", c, k.err)
	}
	if err := os.WriteFile(keptPath(dir, "sha256:bad"), []byte("PK nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := k.config("sha256:bad"); c != nil || api.CodeOf(k.err) != api.CodeTampered || !strings.Contains(k.err.Error(), "bad.zip") {
		t.Errorf("a damaged one came back as %+v, %v", c, k.err)
	}
}

// The facts of config.loaded say what signatures allowed; a backtest reads them as the engine wrote them.
func TestApprove(t *testing.T) {
	until := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		fact string
		want engine.Approval
	}{
		{"mode auto", engine.Approval{Mode: api.ModeAuto}},
		{"mode auto, by ada and bob, until 2026-06-01T00:00:00Z", engine.Approval{Mode: api.ModeAuto, By: []string{"ada", "bob"}, Expires: until}},
		{"mode suggest: nobody approved it, by name or otherwise", engine.Approval{Mode: api.ModeSuggest, Why: "nobody approved it, by name or otherwise"}},
		{"mode suggest, by ada, until 2026-06-01T00:00:00Z: one more is needed", engine.Approval{Mode: api.ModeSuggest, By: []string{"ada"}, Expires: until, Why: "one more is needed"}},
	} {
		c := engine.Config{Playbooks: []engine.Playbook{{Name: "heal"}}}
		approve(&c, []api.Fact{{Name: "objective x", Value: "1"}, {Name: "approval/heal", Value: tt.fact}})
		got := c.Playbooks[0].Approval
		if got == nil || got.Mode != tt.want.Mode || strings.Join(got.By, " ") != strings.Join(tt.want.By, " ") || !got.Expires.Equal(tt.want.Expires) || got.Why != tt.want.Why {
			t.Errorf("%q: read as %+v, want %+v", tt.fact, got, tt.want)
		}
	}
}

// KeptConfig reads a configuration as the controller does and keeps it in a data folder for backtests. It is for the table of goals.
func KeptConfig(b *testing.B, data, path string) *engine.Config {
	b.Helper()
	cfg, _, findings, err := newLoader(playbooks.Env{}).load(path)
	if err != nil || findings.Failed() {
		b.Fatalf("%v, %v", err, findings)
	}
	if err := keepConfig(data, cfg.Engine.Digest, path); err != nil {
		b.Fatal(err)
	}
	return &cfg.Engine
}
