package engine

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

var t0 = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// TestFailover walks the happy path through the Go API, as a shell does.
func TestFailover(t *testing.T) {
	s := New()
	c := Config{Digest: "c1", Integrations: []api.Integration{{Metadata: api.Metadata{Name: "gw"}}},
		Probes: []api.Probe{{Metadata: api.Metadata{Name: "auth"}, Spec: api.ProbeSpec{Integration: "gw", Detect: []api.Detector{{Name: "down"}}}}},
		Playbooks: []Playbook{{Name: "failover", Digest: "p1",
			Spec:  api.PlaybookSpec{Mode: api.ModeAuto, On: api.Trigger{Anomaly: "auth/down"}, Steps: []api.Step{{Name: "switch", Do: "failover"}}},
			Steps: []api.StepPlan{{Name: "switch", Action: api.ActionInfo{Name: "failover", Danger: api.D1, Repeat: api.Idempotent, Undo: true}, Targets: []string{"integration/gw"}}}}}}
	at := t0
	var entries []api.Entry
	step := func(e Event) Output {
		t.Helper()
		e.At = at
		at = at.Add(time.Second)
		out := s.Step(e)
		entries = append(entries, out.Entries...)
		return out
	}
	command := func(out Output, kind CommandKind) Command {
		t.Helper()
		if len(out.Commands) != 1 || out.Commands[0].Kind != kind {
			t.Fatalf("want one command %s, got %+v; last entry %+v", kind, out.Commands, entries[len(entries)-1])
		}
		return out.Commands[0]
	}
	step(Event{Restarted: true})
	step(Event{Config: &c})
	plan := command(step(Event{Anomaly: &api.Anomaly{Name: "auth/down", Probe: "auth", Opened: at, At: at, Text: "3 of 3 runs were bad"}}), Plan)
	run := command(step(Event{Result: &Result{Command: plan.ID, Estimate: &api.Estimate{Text: "Send traffic to standby.", Before: json.RawMessage(`{"to": "primary"}`)}}}), Run)
	proof := command(step(Event{Result: &Result{Command: run.ID, Outcome: api.Outcome{Result: api.ResultDone}}}), Expect)
	step(Event{Anomaly: &api.Anomaly{Name: "auth/down", Probe: "auth", Opened: t0, At: at, Cleared: true}})
	out := step(Event{Result: &Result{Command: proof.ID, Outcome: api.Outcome{Result: api.ResultDone, Text: "2 good runs"}}})
	if n := len(out.Entries); n != 3 || out.Entries[1].End != api.EndVerified || out.Entries[2].Kind != api.EntryIncidentClosed {
		t.Fatalf("want verified and closed, got %+v", out.Entries)
	}
	live, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	again := New()
	for i, e := range entries {
		e.Seq = int64(i)
		if e.Text == "" {
			t.Errorf("entry %d (%s) says nothing", i, e.Kind)
		}
		if err := again.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := again.Snapshot(); err != nil || string(got) != string(live) {
		t.Fatalf("replay differs (%v):\n%s\n%s", err, got, live)
	}
}

// TestHalt breaks a rule from outside, as a fault of the engine itself would, and sees that nothing is called any more.
func TestHalt(t *testing.T) {
	w := newWorld(1, false)
	s := w.s
	s.Step(Event{At: t0, Restarted: true})
	s.Step(Event{At: t0, Config: w.cfg})
	out := s.Step(Event{At: t0, Anomaly: &api.Anomaly{Name: "p3/down", Probe: "p3", Opened: t0, At: t0}})
	plan := out.Commands[len(out.Commands)-1]
	out = s.Step(Event{At: t0, Result: &Result{Command: plan.ID, Estimate: &api.Estimate{Noop: true}}})
	plan = out.Commands[len(out.Commands)-1]
	if plan.Kind != Plan || plan.Step != "pay" {
		t.Fatalf("want the plan of the blind step, got %+v", plan)
	}
	s.rems[plan.Remediation].Steps[1].Unknowns = 1
	out = s.Step(Event{At: t0, Result: &Result{Command: plan.ID, Estimate: &api.Estimate{}}})
	halted := false
	for _, e := range out.Entries {
		halted = halted || e.Kind == api.EntryInvariant
	}
	for _, c := range out.Commands {
		if c.Kind == Run {
			t.Errorf("a call after the halt: %+v", c)
		}
	}
	if !halted || s.Halted() == "" {
		t.Fatalf("want controller.halted, got %+v", out.Entries)
	}
	out = s.Step(Event{At: t0, Anomaly: &api.Anomaly{Name: "p0/down", Probe: "p0", Opened: t0, At: t0}})
	if no := s.Incident(out.Entries[0].Incident).Refusals; len(no) != 1 || no[0].Guard != api.GuardHalted {
		t.Fatalf("want a refusal because of the halt, got %+v", no)
	}
	s.Step(Event{At: t0, Resume: &api.Pause{Owner: "ada"}})
	if s.Halted() != "" {
		t.Error("a global resume by a person did not lift the halt")
	}
}
