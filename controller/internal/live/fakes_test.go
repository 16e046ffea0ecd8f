package live

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/store"
	"github.com/backstay/backstay/playbooks"
)

// memory is a journal in memory that fails or hangs when told.
type memory struct {
	mu        sync.Mutex
	entries   []api.Entry
	incidents []api.Incident
	open      []api.Remediation
	rollups   []store.Rollup
	next      int64
	state     []byte
	failAt    int64         // Append fails once it would reach this entry; 0: never
	slow      time.Duration // each Append takes this long
	slowRolls time.Duration
}

var errDisk = errors.New("no space left on device")

func (m *memory) Append(_ context.Context, b store.Batch) (int64, error) {
	m.mu.Lock()
	slow := m.slow
	m.mu.Unlock()
	time.Sleep(slow)
	m.mu.Lock()
	defer m.mu.Unlock()
	first := int64(len(m.entries))
	if m.failAt > 0 && first+int64(len(b.Entries)) > m.failAt {
		return 0, errDisk
	}
	for i, e := range b.Entries {
		e.Seq = first + int64(i)
		m.entries = append(m.entries, e)
	}
	return first, nil
}

func (m *memory) Replay(_ context.Context, from int64, apply func(api.Entry) error) error {
	m.mu.Lock()
	entries := m.entries[from:]
	m.mu.Unlock()
	for _, e := range entries {
		if err := apply(e); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Incidents(context.Context, bool, int) ([]api.Incident, error) {
	return m.incidents, nil
}

func (m *memory) Remediations(context.Context, string, int) ([]api.Remediation, error) {
	return m.open, nil
}

func (m *memory) SaveSnapshot(_ context.Context, next int64, state []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next, m.state = next, state
	return nil
}

func (m *memory) LoadSnapshot(context.Context) (int64, []byte, error) { return m.next, m.state, nil }

func (m *memory) SaveRollups(_ context.Context, rows []store.Rollup) error {
	time.Sleep(m.slowRolls)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rollups = append(m.rollups, rows...)
	return nil
}

func (m *memory) kinds() (out []api.EntryKind) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.entries {
		out = append(out, e.Kind)
	}
	return out
}

func (m *memory) count(k api.EntryKind) (n int) {
	for _, kind := range m.kinds() {
		if kind == k {
			n++
		}
	}
	return n
}

// script is a core that does what a test says. It remembers what it was told; the loop alone may touch it while it runs.
type script struct {
	mu       sync.Mutex
	events   []engine.Event
	applied  int
	restored string
	open     []api.Anomaly
	step     func(engine.Event) engine.Output
}

func (s *script) Step(e engine.Event) engine.Output {
	s.mu.Lock()
	s.events = append(s.events, e)
	s.mu.Unlock()
	if s.step == nil {
		return engine.Output{}
	}
	return s.step(e)
}

func (s *script) Apply(api.Entry) error               { s.applied++; return nil }
func (s *script) Snapshot() ([]byte, error)           { return []byte("state"), nil }
func (s *script) Incident(string) *api.Incident       { return nil }
func (s *script) Remediation(string) *api.Remediation { return nil }
func (s *script) Playbooks() []api.PlaybookStatus     { return nil }
func (s *script) Pauses() []api.Pause                 { return nil }
func (s *script) Open() []api.Anomaly                 { return s.open }
func (s *script) Halted() string                      { return "" }

func (s *script) seen(match func(engine.Event) bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if match(e) {
			n++
		}
	}
	return n
}

// sight is a prober made of a function.
type sight func(context.Context) api.Observation

func (f sight) Probe(ctx context.Context) api.Observation { return f(ctx) }

// hand is an action made of functions; those that are nil do nothing and are done.
type hand struct {
	run  func(context.Context, playbooks.Call) api.Outcome
	plan func(context.Context, playbooks.Call) (api.Estimate, error)
	look func(context.Context, playbooks.Call) api.Outcome
}

func (h hand) Run(ctx context.Context, c playbooks.Call) api.Outcome { return h.run(ctx, c) }
func (h hand) Plan(ctx context.Context, c playbooks.Call) (api.Estimate, error) {
	return h.plan(ctx, c)
}
func (h hand) Look(ctx context.Context, c playbooks.Call) api.Outcome { return h.look(ctx, c) }

// plainHand is an action that can only run.
type plainHand func(context.Context, playbooks.Call) api.Outcome

func (f plainHand) Run(ctx context.Context, c playbooks.Call) api.Outcome { return f(ctx, c) }

func good(context.Context) api.Observation { return api.Observation{Verdict: api.OK, Value: 1} }

func spec(every time.Duration, failures int) api.ProbeSpec {
	s := api.ProbeSpec{Type: "http", Every: api.Duration{Duration: every}, Timeout: api.Duration{Duration: 5 * time.Second}}
	if failures > 0 {
		s.Detect = []api.Detector{{Name: "down", Failures: &api.Failures{AtLeast: failures, Of: failures, Clear: 2}}}
	}
	return s
}

func manyProbes(n int, every time.Duration, f func(i int) sight) []Probe {
	out := make([]Probe, n)
	for i := range out {
		out[i] = Probe{Name: fmt.Sprintf("probe-%05d", i), Spec: spec(every, 3), Prober: f(i)}
	}
	return out
}

// running is a shell under test, over a journal in memory and a scripted core.
type running struct {
	*Shell
	t      testing.TB
	disk   *memory
	core   *script
	cancel context.CancelFunc
	ended  chan error
}

func start(t testing.TB, o Options, disk *memory, brain *script) *running {
	t.Helper()
	if disk == nil {
		disk = &memory{}
	}
	if brain == nil {
		brain = &script{}
	}
	s, err := newShell(o, disk)
	if err != nil {
		t.Fatal(err)
	}
	s.empty = func() core { return brain }
	s.restore = func(b []byte) (core, error) { brain.restored = string(b); return brain, nil }
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Shell: s, t: t, disk: disk, core: brain, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- s.Run(ctx) }()
	return r
}

// stop ends the shell gracefully and fails the test where it ends with an error.
func (r *running) stop() {
	r.t.Helper()
	r.cancel()
	if err := <-r.ended; err != nil {
		r.t.Errorf("Run ended with %v", err)
	}
}

func (r *running) status(name string) api.ProbeStatus {
	for _, p := range r.Probes() {
		if p.Name == name {
			return p
		}
	}
	r.t.Fatalf("no probe %s", name)
	return api.ProbeStatus{}
}
