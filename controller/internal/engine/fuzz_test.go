package engine

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// FuzzApply feeds entries that no engine wrote: an error is fine, a panic is not. What was taken must survive a snapshot.
func FuzzApply(f *testing.F) {
	w := simulate(3, false)
	for i := 0; i+12 < len(w.journal) && i < 96; i += 12 {
		b, err := json.Marshal(w.journal[:i+12])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var entries []api.Entry
		if json.Unmarshal(b, &entries) != nil {
			return
		}
		s := New()
		for _, e := range entries {
			if s.Apply(e) != nil {
				break
			}
		}
		live(t, s)
	})
}

// FuzzRestore reads snapshots that no engine wrote.
func FuzzRestore(f *testing.F) {
	w := newWorld(5, false)
	w.feed(Event{Restarted: true})
	w.feed(Event{Config: w.cfg})
	for k := range kinds {
		w.fall(k)
	}
	for range 20 {
		w.run(w.now.Add(30 * time.Second))
		b, err := w.s.Snapshot()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := Restore(b); err == nil {
			live(t, s)
		}
	})
}

// live has a state take a few events of each sort.
func live(t *testing.T, s *State) {
	b, err := s.Snapshot()
	if err != nil {
		return // such as a plan from elsewhere with a time that JSON cannot write
	}
	if s, err = Restore(b); err != nil {
		t.Fatalf("the snapshot cannot be restored: %v\n%s", err, b)
	}
	w := newWorld(1, false)
	at := s.now.Add(time.Second)
	s.Step(Event{At: at, Restarted: true})
	s.Step(Event{At: at, Config: w.cfg})
	for range 5 {
		out := s.Step(Event{At: at, Anomaly: &api.Anomaly{Name: "p0/down", Probe: "p0", Opened: at, At: at}})
		for _, c := range out.Commands {
			s.Step(Event{At: at, Result: &Result{Command: c.ID, Estimate: &api.Estimate{}, Outcome: api.Outcome{Result: api.ResultUnknown}}})
		}
		for _, r := range s.d.Remediations {
			s.Remediation(r.ID)
			for _, q := range r.Plan.Steps {
				s.Step(Event{At: at, Decision: &api.Decision{Verb: api.VerbApprove, By: "ada", Target: r.ID + "/" + q.Name}})
			}
		}
		for _, inc := range s.d.Incidents {
			s.Incident(inc.ID)
		}
		s.Playbooks()
		at = at.Add(10 * time.Minute)
	}
}

// TestRestoreGarbage: what is no snapshot is an error that says what to do.
func TestRestoreGarbage(t *testing.T) {
	for _, b := range []string{"", "null", "{}", "[]", "\x00\x01", `{"version":2}`, `{"version":1}x`, `{"version":1,"count":-1}`,
		`{"version":1,"incidents":[null]}`, `{"version":1,"remediations":[{"id":"rem-1"}]}`, `{"version":1,"books":[null]}`, `{"version":1,"runs":[null]}`,
		`{"version":1,"remediations":[{"id":"rem-1","plan":{"steps":[{"name":"a"}]},"steps":[{"state":"calling"}]}]}`} {
		if s, err := Restore([]byte(b)); err == nil || s != nil {
			t.Errorf("Restore(%q) = %v, %v; want an error", b, s, err)
		}
	}
}
