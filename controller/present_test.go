package controller

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/twin"
)

// TestBeginning: what is asked for twice or for nothing is refused before anything is read.
func TestBeginning(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.json")
	if err := os.WriteFile(file, []byte(`{"at":"2026-01-05T09:00:00Z"} {}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		begin Beginning
		code  api.Code
	}{
		{Beginning{Data: "d", File: "f"}, api.CodeUsage},
		{Beginning{Save: "s"}, api.CodeUsage},
		{Beginning{File: "f", Save: "s"}, api.CodeUsage},
		{Beginning{File: file}, api.CodeInvalid}, // something follows
		{Beginning{File: filepath.Join(t.TempDir(), "none")}, api.CodeNotFound},
		{Beginning{Data: t.TempDir()}, api.CodeNotFound},
	} {
		if live, err := c.begin.read(t.Context(), &twin.Setup{}); api.CodeOf(err) != c.code || live != nil {
			t.Errorf("%+v: %v", c.begin, err)
		}
	}
	if live, err := (&Beginning{}).read(t.Context(), &twin.Setup{}); live != nil || err != nil {
		t.Errorf("nothing was asked for: %v %v", live, err)
	}
}

// FuzzStart: a saved state that is read is written and read again as the same.
func FuzzStart(f *testing.F) {
	f.Add([]byte(`{"at":"2026-01-05T09:00:00Z","snapshot":{"version":1},"stock":[{"step":"a","items":3,"age":"5m"}],"active":{"gw":"b"},"faults":[{"kind":"outage","on":"integration/gw"}],"notes":["x"]}`))
	f.Add([]byte(`{"at":"2026-01-05T09:00:00Z","snapshot":null}`))
	f.Add([]byte(`{"snapshot":[[[[`))
	f.Fuzz(func(t *testing.T, text []byte) {
		live, err := decodeStart(text)
		if err != nil {
			return
		}
		once, err := json.Marshal(live)
		if err != nil {
			return // a time that JSON has no form for
		}
		again, err := decodeStart(once)
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if twice, err := json.Marshal(again); err != nil || string(twice) != string(once) {
			t.Errorf("%s and then %s (%v)", once, twice, err)
		}
	})
}
