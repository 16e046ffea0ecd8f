package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// many is a configuration with n integrations, each with a probe and a playbook that has a condition.
func many(n int) *Config {
	c := &Config{Digest: "many"}
	for i := range n {
		name := fmt.Sprintf("n%d", i)
		in := api.Integration{Metadata: api.Metadata{Name: name}}
		c.Integrations = append(c.Integrations, in)
		c.Probes = append(c.Probes, api.Probe{Metadata: api.Metadata{Name: name}, Spec: api.ProbeSpec{Integration: name, Detect: []api.Detector{{Name: "down"}}}})
		c.Playbooks = append(c.Playbooks, Playbook{Name: name, Digest: name, Spec: api.PlaybookSpec{Mode: api.ModeAuto,
			On:    api.Trigger{Anomaly: name + "/down", When: `incident.root == "` + name + `"`},
			Steps: []api.Step{{Name: "switch", Do: "failover"}}},
			Steps: []api.StepPlan{{Name: "switch", Targets: []string{"integration/" + name}, Action: api.ActionInfo{Danger: api.D1, Repeat: api.Idempotent}}}})
	}
	return c
}

// BenchmarkAnomaly is one anomaly that starts a playbook, among 100 playbooks: from the event to the first command.
func BenchmarkAnomaly(b *testing.B) {
	c := many(100)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%100 == 0 {
			b.StopTimer()
			s := New()
			s.Step(Event{At: t0, Restarted: true})
			s.Step(Event{At: t0, Config: c})
			b.StartTimer()
			state = s
		}
		name := c.Probes[i%100].Metadata.Name
		out := state.Step(Event{At: t0.Add(time.Duration(i)), Anomaly: &api.Anomaly{Name: name + "/down", Probe: name, Opened: t0, At: t0, Text: "down"}})
		if len(out.Commands) != 1 {
			b.Fatalf("want one command, got %+v", out)
		}
	}
}

var state *State

// BenchmarkTick is a tick with 1,000 incidents open and nothing to do.
func BenchmarkTick(b *testing.B) {
	s, _ := thousand(b)
	b.ReportAllocs()
	for b.Loop() {
		s.Step(Event{At: t0, Tick: true})
	}
}

// thousand is a state with 1,000 open incidents, and the bytes of its snapshot.
func thousand(tb testing.TB) (*State, []byte) {
	s := New()
	c := many(1000)
	c.Playbooks = nil
	s.Step(Event{At: t0, Restarted: true})
	s.Step(Event{At: t0, Config: c})
	for i := range c.Probes {
		name := c.Probes[i].Metadata.Name
		s.Step(Event{At: t0, Anomaly: &api.Anomaly{Name: name + "/down", Probe: name, Opened: t0, At: t0, Text: "3 of 3 runs were bad"}})
	}
	b, err := s.Snapshot()
	if err != nil {
		tb.Fatal(err)
	}
	return s, b
}

// TestSnapshotIsSmall bounds the snapshot of 1,000 open incidents.
func TestSnapshotIsSmall(t *testing.T) {
	_, b := thousand(t)
	if len(b) > 1_000_000 {
		t.Errorf("1,000 open incidents take %d bytes; the most is 1,000,000", len(b))
	}
	t.Logf("1,000 open incidents take %d bytes", len(b))
}
