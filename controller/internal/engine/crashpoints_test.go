package engine

import (
	"container/heap"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/rig"
)

// The boundaries of what a command goes through, where everything may come to a stop. The first two are of calls that change the
// world only: the intent before and after it is durable.
var boundaries = []string{"intent not durable", "intent durable, nothing called", "call begun", "call on its way", "effect there, no answer", "answer not durable"}

// What goes wrong at a boundary, and what that means there:
//
//	                     crash        error                        hang                        duplicate
//	intent not durable   nothing kept kept, yet reported as error  kept, 20 s later            the plan's answer comes twice
//	intent durable       process ends nothing sent: refused        called past its deadline    done, told twice
//	call begun           process ends no connection: failed        no answer, no effect        done, told twice
//	call on its way      effect later unknown, effect later        effect later, no answer     unknown, then done, effect later
//	effect, no answer    process ends unknown                      no answer                   done, told again otherwise
//	answer not durable   nothing kept kept, yet reported as error  kept, 20 s later            comes twice
var breakages = []string{"crash", "error", "hang", "duplicate"}

// paths lead to the boundaries of looking, repeating and undoing; each is what happens before or beside the breakage.
var paths = []string{"smooth", "answer lost", "request lost", "refused first", "repair does not hold", "down for a minute"}

// cell is one case of the matrix: one breakage at one boundary of one kind of command, for one repeat class, on one path.
type cell struct {
	path     string
	class    api.Repeat
	kind     CommandKind
	boundary string
	breakage string
}

func (c cell) String() string {
	return fmt.Sprintf("%s step, %s: %s at %s of %s", c.class, c.path, c.breakage, c.boundary, c.kind)
}

func cells() []cell {
	var all []cell
	for _, path := range paths {
		for _, class := range []api.Repeat{api.Idempotent, api.Keyed, api.Queryable, api.Blind} {
			for _, kind := range []CommandKind{Plan, Run, Look, Undo, Expect} {
				for b, boundary := range boundaries {
					if changes := kind == Run || kind == Undo; !changes && (b < 2 || b == 3) {
						continue // nothing is intended, and no effect is on its way
					}
					for _, breakage := range breakages {
						all = append(all, cell{path, class, kind, boundary, breakage})
					}
				}
			}
		}
	}
	return all
}

// TestCrashPoints breaks the life of a step at each of its boundaries in each way, for each repeat class. The long run follows each
// with ten runs in which chance breaks more after that.
func TestCrashPoints(t *testing.T) {
	s := rig.Suite{Name: "every crash point: boundary x {crash, error, hang, duplicate} x repeat class", Hold: "0 lost, 0 doubled, 0 automatic repeats of blind steps"}
	follow, reached := 0, map[string]bool{}
	if rig.Soak() {
		follow = 10
	}
	for n, c := range cells() {
		for round := 0; round <= follow; round++ {
			b := newBed(c, uint64(n*100+round), round > 0)
			b.run()
			if !b.fired {
				break // this path does not lead there
			}
			s.Runs++
			reached[fmt.Sprintf("%s %s %s %s", c.class, c.kind, c.boundary, c.breakage)] = true
			if len(b.broken) > 0 {
				s.Broken++
				if t.Errorf("%s (round %d): %q", c, round, b.broken); s.Broken <= 2 {
					t.Log(b.story())
				}
			}
		}
	}
	for _, c := range cells() {
		if c.kind == Look && c.class != api.Queryable {
			continue // only what can be asked is asked
		}
		if name := fmt.Sprintf("%s %s %s %s", c.class, c.kind, c.boundary, c.breakage); !reached[name] && c.path == paths[0] {
			t.Errorf("no path led to %s", name)
		}
	}
	careless := carelessCells()
	s.Control = fmt.Sprintf("a program that takes unknown for failed doubles in %d cells", careless)
	if careless == 0 {
		t.Error("the control, which takes an unknown outcome for a failure, failed nowhere: this suite proves nothing")
	}
	s.Report(t)
}

// carelessCells counts the cells in which a program that takes an unknown outcome for a failure pays twice.
func carelessCells() int {
	n := 0
	for i, c := range cells() {
		b := newBed(c, uint64(i*100), false)
		b.careless = true
		if b.run(); b.fired && b.doubled {
			n++
		}
	}
	return n
}

// bed is one target with one item to pay, the shell around the engine, and the ledger that judges.
type bed struct {
	cell
	rng      *rand.Rand
	chance   bool // more breaks after the first
	careless bool // the control

	now     time.Time
	todo    todo
	seq     int
	life    int
	down    bool
	s       *State
	cfg     *Config
	journal []api.Entry
	wake    time.Time
	fired   bool

	ill     bool
	runs    int
	proofs  int
	net     int
	doubled bool
	landed  map[string]int
	first   map[string]time.Time // key -> when it landed first
	undone  map[string]bool
	key     map[string]string // remediation -> key of its step
	sent    map[string]int    // key -> calls that may have had an effect
	broken  []string
}

func newBed(c cell, seed uint64, chance bool) *bed {
	b := &bed{cell: c, rng: rand.New(rand.NewPCG(seed, 5)), chance: chance, now: t0, s: New(), ill: true,
		landed: map[string]int{}, first: map[string]time.Time{}, undone: map[string]bool{}, key: map[string]string{}, sent: map[string]int{}}
	undo := c.path == "repair does not hold"
	spec := api.PlaybookSpec{Mode: api.ModeAuto, On: api.Trigger{Anomaly: "see/waits"}, Otherwise: "stop", DemoteAfter: 100,
		Steps: []api.Step{{Name: "pay", Do: "pay", Timeout: api.Seconds(10), Retry: &api.Retry{Attempts: 2}}}}
	if undo {
		spec.Otherwise = "undo"
	}
	b.cfg = &Config{Digest: "c1", Integrations: []api.Integration{{Metadata: api.Metadata{Name: "bank"}}},
		Probes: []api.Probe{{Metadata: api.Metadata{Name: "see"}, Spec: api.ProbeSpec{Integration: "bank", Detect: []api.Detector{{Name: "waits"}}}}},
		Playbooks: []Playbook{{Name: "pay", Digest: "d1", Spec: spec, Steps: []api.StepPlan{{Name: "pay", Targets: []string{"ledger/1"},
			Action: api.ActionInfo{Name: "pay", Danger: api.D3, Repeat: c.class, Retention: keyLife, Undo: undo, Counts: true}}}}}}
	return b
}

func (b *bed) run() {
	b.boot()
	for end := t0.Add(6 * time.Hour); len(b.broken) == 0; {
		switch {
		case !b.down && !b.wake.IsZero() && !b.wake.After(end) && (len(b.todo) == 0 || b.wake.Before(b.todo[0].at)):
			b.now = later(b.now.Add(time.Millisecond), b.wake)
			b.wake = time.Time{}
			b.feed(Event{Tick: true}, "")
		case len(b.todo) > 0 && !b.todo[0].at.After(end):
			j := heap.Pop(&b.todo).(job)
			b.now = later(b.now, j.at)
			j.do()
		default:
			b.judge()
			return
		}
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (b *bed) after(d time.Duration, do func()) {
	b.seq++
	heap.Push(&b.todo, job{b.now.Add(d), b.seq, do})
}

func (b *bed) boot() {
	b.feed(Event{Restarted: true}, "")
	b.feed(Event{Config: b.cfg}, "")
	b.report()
}

func (b *bed) report() {
	b.feed(Event{Anomaly: &api.Anomaly{Name: "see/waits", Probe: "see", Opened: b.now, At: b.now, Cleared: !b.ill, Text: "An item waits or not."}}, "")
}

// at tells what breaks at a boundary.
func (b *bed) at(kind CommandKind, boundary string) string {
	switch {
	case !b.fired && kind == b.kind && boundary == b.boundary:
		b.fired = true
		return b.breakage
	case b.fired && b.chance && b.now.Before(t0.Add(time.Hour)) && b.rng.IntN(20) == 0:
		return breakages[b.rng.IntN(len(breakages))]
	}
	return ""
}

// feed is the shell: step, journal, commands. Answered is the kind of command that the event is the answer of.
func (b *bed) feed(e Event, answered CommandKind) {
	if b.down {
		return
	}
	e.At = b.now
	out := b.s.Step(e)
	b.wake = out.Wake
	var broke string
	kind, boundary := answered, "answer not durable"
	if answered != "" && len(out.Entries)+len(out.Commands) > 0 {
		broke = b.at(kind, boundary)
	}
	for _, entry := range out.Entries {
		if k := intends(entry.Kind); k != "" && broke == "" {
			broke = b.at(k, "intent not durable")
		}
	}
	if broke == "crash" {
		b.crash()
		return
	}
	if broke == "hang" {
		b.now = b.now.Add(20 * time.Second)
	}
	for _, entry := range out.Entries {
		entry.Seq = int64(len(b.journal))
		b.journal = append(b.journal, wire(entry))
		b.heard(&b.journal[len(b.journal)-1])
	}
	if broke == "error" {
		b.crash() // a shell that cannot tell whether the log was written ends
		return
	}
	life := b.life
	for _, c := range out.Commands {
		if b.life == life {
			b.perform(c)
		}
	}
	if broke == "duplicate" && e.Result != nil {
		b.after(0, func() { b.bring(life, e.Result.Command, e.Result.Outcome, e.Result.Estimate, answered) })
	}
}

func intends(k api.EntryKind) CommandKind {
	switch k {
	case api.EntryStepIntended, api.EntryStepRepeated:
		return Run
	case api.EntryUndoIntended:
		return Undo
	}
	return ""
}

func (b *bed) crash() {
	b.life++
	b.down, b.wake = true, time.Time{}
	away := time.Second
	if b.path == "down for a minute" {
		away = time.Minute // longer than the target recognises keys
	}
	b.after(away, func() {
		s := New()
		for _, e := range b.journal {
			if err := s.Apply(e); err != nil {
				b.breach("%v", err)
				return
			}
		}
		b.s, b.down = s, false
		b.boot()
	})
}

func (b *bed) breach(format string, args ...any) {
	b.broken = append(b.broken, fmt.Sprintf(format, args...))
}

// bring is an answer that reaches the process that waits for it, if it still lives.
func (b *bed) bring(life int, command string, o api.Outcome, e *api.Estimate, kind CommandKind) {
	if b.life == life && !b.down {
		b.feed(Event{Result: &Result{Command: command, Outcome: o, Estimate: e}}, kind)
	}
}

// heard judges entries as they become durable, and has people do what they are asked to.
func (b *bed) heard(e *api.Entry) {
	switch {
	case e.Kind == api.EntryInvariant:
		b.breach("halted: %s", e.Text)
	case e.Kind == api.EntryStepHandedOver, e.Kind == api.EntryUndoVerified && e.Outcome.Result != api.ResultDone, e.Kind == api.EntryUndoEnded && e.Outcome.Result != api.ResultDone:
		rem := e.Remediation
		b.after(5*time.Minute, func() { b.word(rem) })
	case e.Kind == api.EntryRemediationEnded && e.End != api.EndVerified && e.End != api.EndInDoubt && !b.careless:
		if st := b.s.rems[e.Remediation].Steps[0]; b.landed[b.key[e.Remediation]] > 0 && (st.State == api.StepFailed || st.State == api.StepRefused || st.State == api.StepReady) {
			b.breach("%s says that its step did not happen, but it did", e.Remediation)
		}
	}
}

// word is a person who looked at the ledger.
func (b *bed) word(rem string) {
	if b.down {
		b.after(time.Minute, func() { b.word(rem) })
		return
	}
	doubtful := false
	for _, d := range b.s.d.Doubts {
		doubtful = doubtful || d.Remediation == rem
	}
	if !doubtful {
		return
	}
	d := api.Decision{Verb: api.VerbVoid, By: "ada", Target: rem + "/pay"}
	key := b.key[rem]
	if undoing := b.s.rems[rem] != nil && b.s.rems[rem].Steps[0].UndoState == api.StepHandedOver; undoing && b.undone[key] || !undoing && b.landed[key] > 0 {
		d.Verb = api.VerbSettled
	}
	b.feed(Event{Decision: &d}, "")
	b.after(time.Minute, func() { b.word(rem) }) // a crash may have swallowed it
}

// judge is at the end: nothing is open, and what the log says is what the ledger says.
func (b *bed) judge() {
	if b.doubled {
		b.breach("doubled: the item was paid more than once")
	}
	for _, r := range b.s.d.Remediations {
		if r.End == "" {
			b.breach("lost: %s never ended; its step is %s", r.ID, r.Steps[0].State)
		}
		if r.End == api.EndVerified && b.landed[b.key[r.ID]] == 0 {
			b.breach("lost: %s ended verified, and nothing happened", r.ID)
		}
	}
	if len(b.s.d.Doubts) > 0 {
		b.breach("lost: doubts are left: %+v", b.s.d.Doubts)
	}
	if opened := len(b.key) > 0; opened && b.path != "repair does not hold" && b.net == 0 && b.ill {
		b.breach("lost: the item was never paid")
	}
	again := New()
	for _, e := range b.journal {
		if err := again.Apply(e); err != nil {
			b.breach("%v", err)
			return
		}
	}
	got, err := again.Snapshot()
	want, err2 := b.s.Snapshot()
	if err != nil || err2 != nil || string(got) != string(want) {
		b.breach("the journal replayed gives another state (%v, %v)", err, err2)
	}
}

func (b *bed) story() string {
	text := ""
	for _, e := range b.journal {
		line, _ := json.Marshal(e.Outcome)
		text += fmt.Sprintf("%s %s %s %s\n", e.At.Format("15:04:05.000"), e.Kind, e.Text, line)
	}
	return text
}
