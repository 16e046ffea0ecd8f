package live

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/store"
	"github.com/prometheus/client_golang/prometheus"
)

// Options say what a Shell works with. Zero values mean the defaults.
type Options struct {
	Store     *store.Store
	Config    Config
	Log       *slog.Logger
	Registry  prometheus.Registerer // nil: no metrics
	Workers   int                   // most probes that run at once; 4,096
	PerTarget int                   // most of them against one target; 512
	Grace     time.Duration         // how long a graceful stop waits for steps in flight before it calls them unknown; 20 s
	Border    Border                // what texts from outside pass
	Version   string                // of this program; part of the entry of each start
}

// journal is what the shell needs of a store; tests put one in its place that fails, hangs or counts.
type journal interface {
	Append(ctx context.Context, b store.Batch) (first int64, err error)
	Replay(ctx context.Context, from int64, apply func(api.Entry) error) error
	Incidents(ctx context.Context, openOnly bool, limit int) ([]api.Incident, error)
	Remediations(ctx context.Context, incident string, limit int) ([]api.Remediation, error)
	SaveSnapshot(ctx context.Context, next int64, state []byte) error
	LoadSnapshot(ctx context.Context) (next int64, state []byte, err error)
	SaveRollups(ctx context.Context, rows []store.Rollup) error
}

// core is engine.State; tests put scripts in its place, to hold the shell to its contract whatever the engine decides.
type core interface {
	Step(e engine.Event) engine.Output
	Apply(e api.Entry) error
	Snapshot() ([]byte, error)
	Incident(id string) *api.Incident
	Remediation(id string) *api.Remediation
	Playbooks() []api.PlaybookStatus
	Pauses() []api.Pause
	Open() []api.Anomaly
	Halted() string
}

// Shell is the live shell. Make one with New, then call Run once.
type Shell struct {
	log        *slog.Logger
	journal    journal
	restore    func([]byte) (core, error)
	empty      func() core
	grace      time.Duration
	border     Border
	version    string
	clock      *clock
	sched      *scheduler
	queue      *queue
	rollups    *rollups
	hub        *hub
	eyes       eyes
	figures    figures
	store      *store.Store // nil in tests without one
	view       atomic.Pointer[view]
	ready      atomic.Bool
	fatal      atomic.Pointer[error]
	broken     atomic.Pointer[string] // the core panicked: why
	stopping   atomic.Bool
	committing atomic.Int64 // since when the journal has been writing, Unix nanoseconds; 0 where it is not

	mu      sync.Mutex // guards what a reload changes
	config  Config
	first   []Probe // the specs to resume with; nil once Run has begun
	runners map[StepKey]runner
	probes  map[string]*probe
	order   []*probe
	kinds   map[string]*kind
}

// view is what readers see between two commits: nothing in it is less than durable.
type view struct {
	playbooks []api.PlaybookStatus
	pauses    []api.Pause
	halted    string // why the engine no longer acts
}

// New makes a shell and its probes. It does no I/O; Run does.
func New(o Options) (*Shell, error) {
	if o.Store == nil {
		return nil, api.Errorf(api.CodeInternal, "make the live shell: no store")
	}
	s, err := newShell(o, o.Store)
	if err != nil {
		return nil, err
	}
	s.store = o.Store
	s.sched.pressed = new(pressure).high
	return s, nil
}

// rollback says whether the journal went back in time and no person has accepted that yet.
func (s *Shell) rollback() *store.Rollback {
	if s.store == nil {
		return nil
	}
	return s.store.RolledBack()
}

func newShell(o Options, j journal) (*Shell, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	orDefault := func(n, otherwise int) int {
		if n <= 0 {
			return otherwise
		}
		return n
	}
	s := &Shell{
		log: o.Log, journal: j, grace: o.Grace, border: o.Border.orDefault(), version: o.Version, clock: newClock(), queue: newQueue(), hub: newHub(),
		sched:   newScheduler(orDefault(o.Workers, workersDefault), orDefault(o.PerTarget, targetDefault)),
		rollups: &rollups{journal: j, log: o.Log},
		empty:   func() core { return engine.New() },
		restore: func(b []byte) (core, error) { return engine.Restore(b) },
		runners: map[StepKey]runner{}, probes: map[string]*probe{}, kinds: map[string]*kind{},
	}
	if s.grace <= 0 {
		s.grace = graceDefault
	}
	s.view.Store(&view{})
	s.figures.init()
	s.sched.late = func(d time.Duration) { s.figures.lateness.Observe(d.Seconds()) }
	made, err := s.makeProbes(o.Config.Probes)
	if err != nil {
		return nil, err
	}
	s.mergeRunners(o.Config)
	s.setProbes(o.Config, made)
	s.first = o.Config.Probes
	if o.Registry != nil {
		if err := o.Registry.Register(&collector{s}); err != nil {
			return nil, api.Errorf(api.CodeInternal, "register metrics: %w", err)
		}
	}
	return s, nil
}

// commitMax is how long a commit may take before the shell says that it is not ready.
const commitMax = 10 * time.Second

// graceDefault is how long a graceful stop waits for steps in flight.
const graceDefault = 20 * time.Second

// Run restores the state from the store, then probes, decides and acts until ctx ends; then it returns nil once everything in
// flight has ended as done or uncertain and is durable. It returns an error where the journal cannot be read or written: the
// process must end then, because nothing may be done that is not recorded.
func (s *Shell) Run(ctx context.Context) error {
	l, err := s.begin(ctx)
	if err != nil {
		return s.die(err)
	}
	work, endWork := context.WithCancel(context.WithoutCancel(ctx)) // roll-ups
	defer endWork()
	eyes, closeEyes := context.WithCancel(ctx) // probes end first, so that a stop does not wait for what they go on finding
	defer closeEyes()
	runs := newRuns(eyes)
	s.sched.run = func(p *probe, due time.Time, extra bool) { s.runProbe(runs, p, due, extra) }
	var wg sync.WaitGroup
	wg.Go(func() { s.sched.loop(eyes) })
	wg.Go(func() { s.rollups.run(work, s.list, s.clock.now) })
	err = l.run(ctx)
	s.ready.Store(false)
	closeEyes()
	endWork()
	if err != nil {
		l.exec.stopReads()
		l.exec.cutShort()
		return s.die(err)
	}
	wg.Wait()
	s.waitProbes()
	s.rollups.sweep(s.list(), s.clock.now().Unix()/60+1)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWait)
	defer cancel()
	s.rollups.flush(last)
	s.hub.close()
	return nil
}

// stopWait bounds what a stop waits for that nobody's money depends on: probes and roll-ups.
const stopWait = 2 * time.Second

// waitProbes gives probes that were cut short a moment to return; one that ignores its context is left behind.
func (s *Shell) waitProbes() {
	done := make(chan struct{})
	go func() { s.sched.wg.Wait(); close(done) }()
	timer := time.NewTimer(stopWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		s.log.Warn("some probes did not return when they were told to stop; leaving them behind")
	}
}

// die remembers the error that ends the shell and refuses whoever waits.
func (s *Shell) die(err error) error {
	s.ready.Store(false)
	s.fatal.Store(&err)
	s.queue.close(api.Errorf(api.CodeUnavailable, "the controller is ending: %w", err))
	s.hub.close()
	return err
}

// Ready tells whether the shell probes and decides: nil, or why not.
func (s *Shell) Ready() error {
	if err := s.Health(); err != nil {
		return err
	}
	if s.stopping.Load() {
		return api.Errorf(api.CodeUnavailable, "the controller is stopping")
	}
	if !s.ready.Load() {
		return api.Errorf(api.CodeUnavailable, "the controller is still reading its journal")
	}
	if since := s.committing.Load(); since != 0 && time.Since(time.Unix(0, since)) > commitMax {
		return &api.Error{Code: api.CodeUnavailable, Message: "the journal has not taken an entry for " + time.Since(time.Unix(0, since)).Round(time.Second).String(),
			Hint: "nothing is decided or done meanwhile; look at the disk of the data folder"}
	}
	if why := s.haltedBy(); why != "" {
		return &api.Error{Code: api.CodeUnavailable, Message: "the controller probes but no longer acts: " + why,
			Hint: "read the controller.halted entry of the audit log"}
	}
	return nil
}

// haltedBy says why acting has stopped for good; empty where it has not.
func (s *Shell) haltedBy() string {
	if why := s.broken.Load(); why != nil {
		return *why
	}
	return s.view.Load().halted
}

// Health tells whether the process is of any use: nil, or the error that ended it.
func (s *Shell) Health() error {
	if err := s.fatal.Load(); err != nil {
		return api.Errorf(api.CodeUnavailable, "the controller ended: %w", *err)
	}
	return nil
}

// Probes lists all probes in the order of the configuration.
func (s *Shell) Probes() []api.ProbeStatus {
	list := s.list()
	out := make([]api.ProbeStatus, len(list))
	for i, p := range list {
		out[i] = p.status()
	}
	return out
}

// Playbooks lists all playbooks in the order of the configuration.
func (s *Shell) Playbooks() []api.PlaybookStatus { return s.view.Load().playbooks }

// Pauses lists the pauses in force.
func (s *Shell) Pauses() []api.Pause { return s.view.Load().pauses }

// Last gives a probe's last observation; false where there is none yet.
func (s *Shell) Last(name string) (api.Observation, bool) {
	p := s.find(name)
	if p == nil {
		return api.Observation{}, false
	}
	return p.lastSeen()
}

// Recent gives the last results of a probe, oldest first, at most 100.
func (s *Shell) Recent(name string) []Result {
	p := s.find(name)
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ring.list(time.Unix(0, p.last.at).UTC(), p.every)
}

// Subscribe streams entries, each after it became durable, until ctx ends or the shell stops; then the channel is closed.
// A subscriber that does not keep up gets one last entry of kind KindGap and is dropped: it reads on from the log.
func (s *Shell) Subscribe(ctx context.Context) <-chan api.Entry { return s.hub.subscribe(ctx) }

// Decide records a person's word. A coded error says why the engine did not take it.
func (s *Shell) Decide(ctx context.Context, d api.Decision) error {
	d = s.border.decision(d)
	return s.ask(ctx, engine.Event{Decision: &d}, api.EntryDecided, "decide on "+d.Target)
}

// Pause stops new steps, durably before it returns.
func (s *Shell) Pause(ctx context.Context, p api.Pause) error {
	if p.At.IsZero() {
		p.At = s.clock.now()
	}
	p = s.border.pause(p)
	return s.ask(ctx, engine.Event{Pause: &p}, api.EntryPaused, "pause")
}

// Resume lifts a pause. After the journal went back in time (an old backup was restored) it also accepts the present journal.
func (s *Shell) Resume(ctx context.Context, p api.Pause) error {
	if p.At.IsZero() {
		p.At = s.clock.now()
	}
	p = s.border.pause(p)
	if err := s.ask(ctx, engine.Event{Resume: &p}, api.EntryResumed, "resume"); err != nil {
		return err
	}
	if p.Playbook == "" && s.rollback() != nil {
		return s.store.AcceptRollback()
	}
	return nil
}

// RefuseConfig records that a new configuration was refused; the one in force goes on.
func (s *Shell) RefuseConfig(reason string) {
	s.queue.put(item{event: engine.Event{Refused: s.border.Clean(reason)}})
}

// ask feeds an event that a person waits for. It worked where an entry of the wanted kind became durable.
func (s *Shell) ask(ctx context.Context, e engine.Event, want api.EntryKind, doing string) error {
	answer := make(chan error, 1)
	it := item{event: e, done: func(entries []api.Entry, err error) {
		if err == nil {
			err = answerOf(entries, want, doing)
		}
		answer <- err
	}}
	if err := s.queue.put(it); err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return api.Errorf(api.CodeUnavailable, "%s: no answer in time, and it may still be recorded: %w", doing, ctx.Err())
	}
}

// answerOf reads from the entries of one step whether the engine took what it was told.
func answerOf(entries []api.Entry, want api.EntryKind, doing string) error {
	for _, e := range entries {
		if e.Kind == want {
			return nil
		}
	}
	for _, e := range entries {
		if e.Refusal != nil {
			return api.Errorf(api.CodeDenied, "%s: refused by the %s guard: %s", doing, e.Refusal.Guard, e.Refusal.Reason)
		}
	}
	return &api.Error{Code: api.CodeConflict, Message: doing + ": there is nothing to do it to", Hint: "it may have ended or been decided meanwhile; look again"}
}

func (s *Shell) find(name string) *probe {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probes[name]
}

func (s *Shell) list() []*probe {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.order
}

func stack() string { return string(debug.Stack()) }

// errStopped ends what a graceful stop cuts short.
var errStopped = errors.New("the controller is stopping")
