package controller

import (
	"context"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/store"
	"github.com/backstay/backstay/controller/internal/twin"
)

const fitOffice = `apiVersion: backstay.dev/v1alpha1
kind: Integration
metadata: {name: gw}
spec: {endpoints: [{name: primary, url: "http://127.0.0.1:1"}, {name: standby, url: "http://127.0.0.1:2"}]}
---
apiVersion: backstay.dev/v1alpha1
kind: Integration
metadata: {name: db}
spec: {endpoints: [{name: main, url: "sqlite:///nowhere.db"}]}
---
apiVersion: backstay.dev/v1alpha1
kind: Workflow
metadata: {name: orders}
spec:
  steps: [{name: capture, uses: [gw, db]}, {name: post, after: [capture], uses: [db]}]
  objectives: {turnaround: 5m}
  value: {countedBy: waiting, perItem: {EUR: 4200}}
---
apiVersion: backstay.dev/v1alpha1
kind: Probe
metadata: {name: up}
spec: {type: http, integration: gw, every: 10s, detect: [{name: down, failures: {}}]}
---
apiVersion: backstay.dev/v1alpha1
kind: Probe
metadata: {name: standby-up}
spec: {type: http, integration: gw, endpoint: standby, every: 10s}
---
apiVersion: backstay.dev/v1alpha1
kind: Probe
metadata: {name: waiting}
spec: {type: sql, integration: db, every: 10s, with: {query: select 1}}
---
apiVersion: backstay.dev/v1alpha1
kind: Probe
metadata: {name: orders-ever}
spec: {type: sql, integration: db, every: 10s, with: {query: select 1}}
---
apiVersion: backstay.dev/v1alpha1
kind: Probe
metadata: {name: to-post}
spec: {type: sql, workflow: orders, step: post, every: 10s, with: {query: select 1, dsn: "sqlite:///nowhere.db"}}
`

// recorded is a data folder with days of roll-ups: latencies with a tail, an outage that the log knows, and 60 orders an hour by day and
// 12 by night.
func recorded(t testing.TB, days int) (dir, config string) {
	t.Helper()
	root := t.TempDir()
	dir, config = filepath.Join(root, "data"), filepath.Join(root, "config")
	if err := os.MkdirAll(config, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(config, "office.yaml"), []byte(fitOffice), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	s, err := store.Open(ctx, store.Options{Dir: dir, Origin: "backstay.local/fit"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rnd := rand.New(rand.NewPCG(1, 2))
	begin := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC) // a Monday
	orders, waiting := 0.0, 0.0
	outage := begin.Add(30 * time.Hour)
	var rows []store.Rollup
	for m := range days * 24 * 60 {
		at := begin.Add(time.Duration(m) * time.Minute)
		up := store.Rollup{Probe: "up", Minute: at, Runs: 6}
		for range up.Runs {
			took := time.Duration((0.1 + 0.05*rnd.ExpFloat64()) * float64(time.Second))
			up.TookSum, up.TookMax = up.TookSum+took, max(up.TookMax, took)
		}
		switch {
		case !at.Before(outage) && at.Before(outage.Add(30*time.Minute)):
			up.Bad, up.TookSum, up.TookMax = 6, 30*time.Second, 5*time.Second
		case m%50 == 7:
			up.Bad = 1
		}
		rate := 0.2
		if at.Hour() >= 8 && at.Hour() < 20 {
			rate = 1
		}
		if rnd.Float64() < rate {
			orders++
			waiting++
		}
		if m%3 == 0 {
			waiting = 0
		}
		rows = append(rows, up)
		for name, v := range map[string]float64{"orders-ever": orders, "waiting": waiting, "to-post": 3} {
			rows = append(rows, store.Rollup{Probe: name, Minute: at, Runs: 6, Min: v, Max: v, Last: v, Sum: 6 * v})
		}
		if m < 5 {
			rows = append(rows, store.Rollup{Probe: "standby-up", Minute: at, Runs: 1, TookSum: 200 * time.Millisecond, TookMax: 200 * time.Millisecond})
		}
		if m%60 == 59 {
			if err := s.SaveRollups(ctx, rows); err != nil {
				t.Fatal(err)
			}
			rows = rows[:0]
		}
	}
	down := api.Anomaly{Name: "up/down", Probe: "up", Opened: outage.Add(time.Minute), Since: outage, At: outage.Add(time.Minute)}
	over := down
	over.Cleared = true
	if _, err := s.Append(ctx, store.Batch{Entries: []api.Entry{{Kind: api.EntryAnomalyOpened, At: outage.Add(time.Minute), Incident: "inc-1", Anomaly: &down, Text: "down"},
		{Kind: api.EntryAnomalyCleared, At: outage.Add(30 * time.Minute), Incident: "inc-1", Anomaly: &over, Text: "up"}}}); err != nil {
		t.Fatal(err)
	}
	return dir, config
}

// TestFitTelemetry: what probes have seen is found again, what no probe sees is a guess, and the model is one that check and simulate take.
func TestFitTelemetry(t *testing.T) {
	dir, config := recorded(t, 15)
	m, err := FitTelemetry(t.Context(), TelemetryFit{Data: dir, Config: config})
	if err != nil {
		t.Fatal(err)
	}
	if again, err := FitTelemetry(t.Context(), TelemetryFit{Data: dir, Config: config}); err != nil || string(again.YAML) != string(m.YAML) {
		t.Errorf("the same telemetry gives two models (%v)", err)
	}
	spec := fittedModel(t, config, m.YAML)
	gw := spec.Systems[0]
	if gw.Integration != "gw" || len(gw.Endpoints) != 2 || gw.Endpoints[0].Name != "primary" {
		t.Fatalf("systems: %+v", spec.Systems)
	}
	takes := gw.Endpoints[0].Takes
	if median := takes.Quantiles[10].Seconds(); math.Abs(median-0.135) > 0.02 {
		t.Errorf("the median is %gs, want about 0.135", median)
	}
	if takes.Samples < 1000 || takes.Tail.Seconds() <= 0 || takes.Quantiles[20].Seconds() > 1.5 {
		t.Errorf("takes: %+v (the outage must not count)", takes)
	}
	// 1 of 300 runs is bad; where the minutes are gone, an hour with the outage is left out as a whole.
	if fails := gw.Endpoints[0].Fails.Ratio(); math.Abs(fails-1.0/300) > 0.0005 {
		t.Errorf("fails: %g", fails)
	}
	day, night := spec.Arrivals.Hours[24+12], spec.Arrivals.Hours[24+3]
	if math.Abs(day-60) > 1 || math.Abs(night-12) > 6 {
		t.Errorf("%g an hour by day and %g by night, want 60 and about 12", day, night)
	}
	if len(spec.Steps) != 2 || len(spec.Steps[0].Calls) != 2 || spec.Steps[0].Workers < 1 || spec.Workflow != "orders" {
		t.Errorf("steps: %+v", spec.Steps)
	}
	want := []api.ModelSight{{Probe: "waiting", Count: "open"}, {Probe: "to-post", Count: "waiting", Of: "post"}}
	if !slices.Equal(spec.Sees, want) {
		t.Errorf("sees: %+v", spec.Sees)
	}
	guesses := strings.Join(m.Guesses, "\n")
	for _, g := range []string{"times of gw/standby (5 samples)", "failures of gw/standby (5 samples)", "workers of step capture", "time of step post"} {
		if !strings.Contains(guesses, g) {
			t.Errorf("%q is not among the guesses:\n%s", g, guesses)
		}
	}
	if strings.Contains(guesses, "gw/primary") || !slices.Equal(spec.Fitted.Guesses, m.Guesses) {
		t.Errorf("guesses:\n%s", guesses)
	}
	for _, said := range []string{"probe orders-ever counts what came", "a guess: no probe sees how long the work takes", "what probe orders-ever sees of this world"} {
		if !strings.Contains(string(m.YAML), said) {
			t.Errorf("it does not say %q:\n%s", said, m.YAML)
		}
	}
}

// fittedModel reads the model beside its configuration, as check does, and plays an hour of it.
func fittedModel(t testing.TB, config string, text []byte) *api.ModelSpec {
	t.Helper()
	if err := os.WriteFile(filepath.Join(config, "model.yaml"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(config, "hour.scenario.yaml")
	scenario := "apiVersion: backstay.dev/v1alpha1\nkind: Scenario\nmetadata: {name: hour}\nspec: {horizon: 1h, variants: [none], expect: [finished > 0]}\n"
	if err := os.WriteFile(file, []byte(scenario), 0o644); err != nil {
		t.Fatal(err)
	}
	r, findings, err := Simulate(t.Context(), Simulation{File: file, Days: 2, Workers: 1})
	if err != nil || findings.Failed() {
		t.Fatalf("%v %v\n%s", err, findings, text)
	}
	if r.Verdict == twin.Fail {
		t.Errorf("an hour of it: %v", r.Reasons)
	}
	set, _ := api.DecodeFiles([]string{filepath.Join(config, "model.yaml")}, os.ReadFile)
	return &set.Models[0].Spec
}

// TestFitTelemetryArrivals: a probe that is named counts, a backlog alone gives a guess, and what cannot be is said.
func TestFitTelemetryArrivals(t *testing.T) {
	dir, config := recorded(t, 1)
	text := strings.Replace(fitOffice, "metadata: {name: orders-ever}\nspec: {type: sql", "metadata: {name: orders-gone}\nspec: {type: sql", 1)
	if err := os.WriteFile(filepath.Join(config, "office.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := FitTelemetry(t.Context(), TelemetryFit{Data: dir, Config: config})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.Join(m.Guesses, "\n"), "arrivals (only what probe waiting rose)") {
		t.Errorf("guesses: %v", m.Guesses)
	}
	for _, c := range []struct {
		fit  TelemetryFit
		code api.Code
	}{
		{TelemetryFit{Data: dir, Config: config, Arrivals: "nobody"}, api.CodeNotFound},
		{TelemetryFit{Data: dir, Config: config, Workflow: "nothing"}, api.CodeNotFound},
		{TelemetryFit{Data: dir}, api.CodeNotFound}, // no configuration is kept there
		{TelemetryFit{Data: t.TempDir(), Config: config}, api.CodeNotFound},
		{TelemetryFit{Data: dir, Config: config, Since: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}, api.CodeNotFound},
	} {
		if _, err := FitTelemetry(t.Context(), c.fit); api.CodeOf(err) != c.code {
			t.Errorf("%+v: %v", c.fit, err)
		}
	}
}
