package controller_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/controller"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/store"
)

// benchBacktest replays a folder of 10,000 incidents, unchanged, beside reading and decoding the same entries.
func benchBacktest(b *testing.B, t *goalTable) {
	const integrations, incidents = 25, 10_000
	config := b.TempDir()
	var text strings.Builder
	for i := range integrations {
		fmt.Fprintf(&text, benchBacktestConfig, i)
	}
	if err := os.WriteFile(filepath.Join(config, "office.yaml"), []byte(text.String()), 0o644); err != nil {
		b.Fatal(err)
	}
	st, data := openBenchStore(b)
	o := &benchOffice{b: b, s: engine.New(), now: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), tape: &engine.Tape{}}
	o.feed(engine.Event{Restarted: true})
	o.feed(engine.Event{Config: controller.KeptConfig(b, data, config)})
	entries := int64(0)
	for i := range incidents {
		o.one(i % integrations)
		if err := st.SaveInputs(b.Context(), store.InputBlock{First: entries, At: o.now, Block: o.tape.Cut(nil)}); err != nil {
			b.Fatal(err)
		}
		if _, err := st.Append(b.Context(), store.Batch{Entries: o.entries}); err != nil {
			b.Fatal(err)
		}
		entries += int64(len(o.entries))
		o.now, o.entries = o.now.Add(15*time.Minute), nil
		for k := range 40 { // what probes say meanwhile
			o.now = o.now.Add(time.Second)
			o.feed(engine.Event{Seen: fmt.Sprintf("gateway-%02d", k%integrations)})
		}
	}
	if err := st.Close(); err != nil {
		b.Fatal(err)
	}
	t.add(goal{what: fmt.Sprintf("backtest of 10,000 incidents, %d entries, unchanged", entries), unit: "s", limit: 30, measured: runTimed(b, t.bin, "backtest", "--data", data),
		raw: readEntries(b, data), rawWhat: "read and decode the entries", format: "%.2f"})
}

const benchBacktestConfig = `
apiVersion: backstay.dev/v1alpha1
kind: Integration
metadata: {name: gateway-%02[1]d}
spec:
  endpoints: [{name: primary, url: "http://127.0.0.1:1"}, {name: standby, url: "http://127.0.0.1:2"}]
  route: {driver: file, with: {path: /etc/router/gateway-%02[1]d}}
---
apiVersion: backstay.dev/v1alpha1
kind: Probe
metadata: {name: gateway-%02[1]d}
spec: {type: http, integration: gateway-%02[1]d, every: 10s, with: {path: /health}, detect: [{name: down, failures: {atLeast: 3, of: 3}}]}
---
apiVersion: backstay.dev/v1alpha1
kind: Playbook
metadata: {name: gateway-%02[1]d}
spec:
  mode: auto
  on: {anomaly: gateway-%02[1]d/down}
  steps: [{name: switch, do: failover, with: {integration: gateway-%02[1]d, to: standby}}]
  verify: {probes: [gateway-%02[1]d]}
---
`
