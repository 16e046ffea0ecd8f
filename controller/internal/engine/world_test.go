package engine

import (
	"container/heap"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/backstay/backstay/api"
)

// world is a small fake world and the shell around the engine: targets that behave as their repeat class says, people,
// probes, a journal, and faults. Its ledger is the judge: it knows what really happened to every business item.
type world struct {
	rng   *rand.Rand
	naive bool // the control: an unknown outcome is taken for a failure, as a careless program does
	calm  bool // no more faults

	now  time.Time
	skew time.Duration // the engine's clock minus the world's
	todo todo
	seq  int
	life int // of the engine; results of an earlier one are lost
	down bool

	s       *State
	journal []api.Entry
	raw     []byte // the journal's bytes
	tape    Tape   // what no entry has been made durable for yet; dies with the process
	tapes   []Taped
	snap    []byte
	snapAt  int
	wake    time.Time

	cfg      *Config
	ill      []bool
	item     []int          // the present item of each target
	net      map[string]int // item -> how often it was paid, less undone: the ledger
	landed   map[string]bool
	undone   map[string]bool   // keys
	denied   map[string]bool   // keys of which the engine says that nothing happened
	doubts   map[string]string // remediation/step -> target
	paid     map[string]string // key -> the item that it paid
	keys     map[string]time.Time
	sent     map[string][]sentRun // key -> calls
	keyOf    map[string]string    // remediation/step -> key
	flying   map[string]flight    // target -> who
	yes      map[string][]string
	verdicts map[string]api.Verdict
	paused   time.Time // until when
	guards   judgedGuards

	doubles    int
	broken     []string
	restarts   int
	remsOpened int
}

type sentRun struct {
	command  string
	definite bool
}

type flight struct {
	rem, command string
	until        time.Time
}

type todo []job

type job struct {
	at  time.Time
	seq int
	do  func()
}

func (t todo) Len() int { return len(t) }
func (t todo) Less(i, j int) bool {
	return t[i].at.Before(t[j].at) || t[i].at.Equal(t[j].at) && t[i].seq < t[j].seq
}
func (t todo) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t *todo) Push(x any)   { *t = append(*t, x.(job)) }
func (t *todo) Pop() any {
	old := *t
	x := old[len(old)-1]
	*t = old[:len(old)-1]
	return x
}

const keyLife = 40 * time.Second

// kinds are the playbooks of the world: one per target, each with another temper.
var kinds = []struct {
	repeat api.Repeat
	danger api.Danger
	mode   api.Mode
	undo   bool
	tune   func(p *api.PlaybookSpec)
}{
	{api.Idempotent, api.D1, api.ModeAuto, true, func(p *api.PlaybookSpec) {
		p.Totals = []api.Total{{Name: "items", Probes: []string{"p0"}}}
	}},
	{api.Keyed, api.D3, api.ModeAuto, false, func(p *api.PlaybookSpec) {
		p.Otherwise, p.Limits.Within, p.DemoteAfter = "stop", sharedBudget, 1
	}},
	{api.Queryable, api.D3, api.ModeAuto, false, func(p *api.PlaybookSpec) { p.Otherwise, p.Limits.Within = "pb0", sharedBudget }},
	{api.Blind, api.D3, api.ModeAuto, false, func(p *api.PlaybookSpec) { p.Acknowledge, p.Limits.CooldownAll.Duration = "unverified", coolAll }},
	{api.Keyed, api.D4, api.ModeAuto, false, func(p *api.PlaybookSpec) {}},
	{api.Queryable, api.D2, api.ModeApprove, true, func(p *api.PlaybookSpec) {
		p.Limits.Items = 10
		p.Steps[1].Ask = "items > 5"
	}},
	{api.Blind, api.D2, api.ModeAuto, true, func(p *api.PlaybookSpec) {
		p.On.Confirm = &api.Confirm{AtLeast: 2, Of: []string{"p6/down", "p6b/down"}}
		p.Calendar = "days"
		p.Limits.Runs = api.Rate{N: 4, Per: time.Hour}
	}},
}

// sharedBudget bounds playbooks 1 and 2 together, which share a target.
var sharedBudget = []api.Budget{{Per: api.Duration{Duration: 10 * time.Minute}, Of: "target", Items: 20}}

const coolAll = 20 * time.Second // the pause of playbook 3 since anything acted

var freezeFrom, freezeTo = t0.Add(20 * time.Minute), t0.Add(35 * time.Minute)

func newWorld(seed uint64, naive bool) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 7)), naive: naive, now: t0, s: New(), net: map[string]int{}, landed: map[string]bool{}, undone: map[string]bool{}, denied: map[string]bool{}, doubts: map[string]string{}, paid: map[string]string{},
		keys: map[string]time.Time{}, sent: map[string][]sentRun{}, keyOf: map[string]string{}, flying: map[string]flight{},
		yes: map[string][]string{}, verdicts: map[string]api.Verdict{}, guards: newJudgedGuards(), ill: make([]bool, len(kinds)), item: make([]int, len(kinds))}
	w.cfg = w.config()
	w.snap, _ = w.s.Snapshot()
	return w
}

func (w *world) config() *Config {
	c := &Config{Digest: "c1", Calendars: []api.Calendar{{Metadata: api.Metadata{Name: "days"}, Spec: api.CalendarSpec{
		Freezes: []api.Freeze{{Name: "close", From: freezeFrom.Format("2006-01-02T15:04"), To: freezeTo.Format("2006-01-02T15:04")}}}}}}
	probe := func(name, integration string) {
		c.Probes = append(c.Probes, api.Probe{Metadata: api.Metadata{Name: name}, Spec: api.ProbeSpec{Every: api.Seconds(60), Integration: integration, Detect: []api.Detector{{Name: "down"}}}})
	}
	for i, k := range kinds {
		sys := fmt.Sprintf("sys%d", i)
		c.Integrations = append(c.Integrations, api.Integration{Metadata: api.Metadata{Name: sys}})
		probe(fmt.Sprintf("p%d", i), sys)
		sp := api.PlaybookSpec{Mode: k.mode, On: api.Trigger{Anomaly: fmt.Sprintf("p%d/down", i)}, Notify: []string{"oncall"},
			Steps: []api.Step{{Name: "switch", Do: "failover", Timeout: api.Seconds(10), Retry: &api.Retry{Attempts: 2}},
				{Name: "pay", Do: "pay", Timeout: api.Seconds(10), Retry: &api.Retry{Attempts: 3}}}}
		k.tune(&sp)
		shared := []string{"integration/" + sys}
		if i == 1 || i == 2 {
			shared = append(shared, "integration/shared")
		}
		c.Playbooks = append(c.Playbooks, Playbook{Name: fmt.Sprintf("pb%d", i), Digest: fmt.Sprintf("d%d", i), Spec: sp, Steps: []api.StepPlan{
			{Name: "switch", Targets: shared, Action: api.ActionInfo{Name: "failover", Danger: api.D1, Repeat: api.Idempotent, Undo: true}},
			{Name: "pay", Targets: []string{fmt.Sprintf("ledger/%d", i)}, Action: api.ActionInfo{Name: "pay", Danger: k.danger, Repeat: k.repeat, Retention: keyLife, Undo: k.undo, Counts: true}}}})
	}
	probe("p6b", "sys6")
	probe("pw", "")
	c.Probes[len(c.Probes)-1].Spec.Workflow, c.Probes[len(c.Probes)-1].Spec.Step = "work", "book"
	c.Workflows = []api.Workflow{{Metadata: api.Metadata{Name: "work"}, Spec: api.WorkflowSpec{Steps: []api.WorkflowStep{{Name: "book", Uses: []string{"sys1", "sys2", "sys3"}}}}}}
	return c
}

func (w *world) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.todo, job{w.now.Add(d), w.seq, do})
}

func (w *world) between(a, b time.Duration) time.Duration {
	return a + time.Duration(w.rng.Int64N(int64(b-a)))
}

func (w *world) chance(share float64) bool { return w.rng.Float64() < share }

func (w *world) fault(share float64) bool { return w.rng.Float64() < share && !w.calm }

// run lets the world go on until a time.
func (w *world) run(until time.Time) {
	for len(w.broken) == 0 {
		wake := w.wake.Add(-w.skew)
		switch {
		case !w.down && !w.wake.IsZero() && !wake.After(until) && (len(w.todo) == 0 || wake.Before(w.todo[0].at)):
			if wake.After(w.now) {
				w.now = wake
			} else {
				w.now = w.now.Add(time.Millisecond)
			}
			w.wake = time.Time{}
			w.feed(Event{Tick: true})
		case len(w.todo) > 0 && !w.todo[0].at.After(until):
			j := heap.Pop(&w.todo).(job)
			w.now = j.at
			j.do()
		default:
			w.now = until
			return
		}
	}
}

// feed is the shell: step, journal, commands, with a crash in any gap.
func (w *world) feed(e Event) {
	if w.down {
		return
	}
	if w.fault(0.01) {
		w.skew -= w.between(0, 2*time.Second) // somebody sets the clock back
	}
	e.At = w.now.Add(w.skew)
	out := w.s.Step(e)
	w.wake = out.Wake
	w.tape.Add(&e, len(out.Entries))
	if len(out.Entries) > 0 { // before the journal, as the shell does
		w.tapes = append(w.tapes, Taped{int64(len(w.journal)), w.tape.Cut(nil)})
	}
	gap := 0
	if w.fault(0.012) {
		gap = 1 + w.rng.IntN(3)
	}
	if gap == 1 {
		w.crash()
		return
	}
	for i := range out.Entries {
		out.Entries[i].Seq = int64(len(w.journal))
		e, raw := wired(out.Entries[i])
		w.journal, w.raw = append(w.journal, e), append(w.raw, raw...)
		w.judgeEntry(&out.Entries[i])
	}
	if w.chance(0.005) {
		w.snap, _ = w.s.Snapshot()
		w.snapAt = len(w.journal)
	}
	for i := range out.Commands {
		if gap == 2 || gap == 3 && w.chance(0.5) {
			continue
		}
		w.perform(out.Commands[i])
	}
	if gap > 0 {
		w.crash()
	}
}

// wire is an entry as the journal gives it back.
func wire(e api.Entry) api.Entry {
	out, _ := wired(e)
	return out
}

// wired is the same with the bytes that the journal keeps.
func wired(e api.Entry) (api.Entry, []byte) {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	var out api.Entry
	if err := json.Unmarshal(b, &out); err != nil {
		panic(err)
	}
	return out, b
}

func (w *world) crash() {
	w.life++
	w.down = true
	w.tape.Cut(nil)
	w.wake = time.Time{}
	w.restarts++
	w.after(w.between(0, 30*time.Second), func() {
		s, err := Restore(w.snap)
		if err != nil {
			w.breach("restore: %v", err)
			return
		}
		for _, e := range w.journal[w.snapAt:] {
			if err := s.Apply(e); err != nil {
				w.breach("%v", err)
				return
			}
		}
		w.s, w.down = s, false
		w.feed(Event{Restarted: true})
		w.feed(Event{Config: w.cfg})
		if w.chance(0.7) {
			for _, a := range s.Open() {
				if !w.isIll(a.Probe) {
					a.Cleared, a.At = true, w.now
					w.feed(Event{Anomaly: &a})
				}
			}
		}
		for _, p := range w.cfg.Probes {
			w.report(p.Metadata.Name)
		}
	})
}

func (w *world) breach(format string, args ...any) {
	w.broken = append(w.broken, fmt.Sprintf("%s: ", w.now.Format("15:04:05.000"))+fmt.Sprintf(format, args...))
}

func (w *world) isIll(probe string) bool {
	if probe == "pw" {
		return w.ill[1] || w.ill[2]
	}
	return w.ill[int(probe[1]-'0')]
}

// report has a probe's detector and verdict say what is.
func (w *world) report(probe string) {
	v := w.verdicts[probe]
	if v != api.Unknown {
		w.guards.seen[probe] = w.clock()
	}
	switch {
	case v == api.Unknown:
	case w.isIll(probe):
		v = api.Bad
		w.feed(Event{Anomaly: &api.Anomaly{Name: probe + "/down", Probe: probe, Opened: w.now, At: w.now, Text: probe + " is down."}})
	default:
		v = api.OK
		w.feed(Event{Anomaly: &api.Anomaly{Name: probe + "/down", Probe: probe, Opened: w.now, At: w.now, Cleared: true, Text: probe + " is well."}})
	}
	w.verdicts[probe] = v
	w.feed(Event{Verdict: &Verdict{probe, v}})
}

// fall makes a target ill with a new business item that waits to be paid.
func (w *world) fall(k int) {
	if w.ill[k] || w.calm {
		return
	}
	w.ill[k] = true
	w.item[k]++
	for _, p := range w.eyes(k) {
		w.after(w.between(0, 3*time.Second), func() { w.report(p) })
	}
}

func (w *world) eyes(k int) []string {
	out := []string{fmt.Sprintf("p%d", k)}
	if k == 6 {
		out = append(out, "p6b")
	}
	if k == 1 || k == 2 {
		out = append(out, "pw")
	}
	return out
}

func (w *world) itemName(k int) string { return fmt.Sprintf("%d-%d", k, w.item[k]) }

// pay is an effect that reaches its target now.
func (w *world) pay(k int, key string) {
	name := w.itemName(k)
	w.landed[key], w.paid[key] = true, name
	if w.denied[key] && !w.naive {
		w.breach("a call for item %s arrived after its step was said to have failed", name)
	}
	if w.undone[key] {
		w.breach("a call for item %s arrived after it had been undone", name)
	}
	switch kinds[k].repeat {
	case api.Idempotent:
		w.net[name] = 1
	case api.Keyed:
		if first, ok := w.keys[key]; ok && w.now.Sub(first) < keyLife {
			return // recognised
		}
		w.keys[key] = w.now
		w.net[name]++
	default:
		w.net[name]++
	}
	if w.net[name] > 1 {
		w.doubles++
	}
	w.heal(k)
}

// heal clears the anomaly a little after its item was paid.
func (w *world) heal(k int) {
	name := w.itemName(k)
	w.after(w.between(time.Second, 15*time.Second), func() {
		if w.itemName(k) == name && w.net[name] == 1 && w.ill[k] {
			w.ill[k] = false
			for _, p := range w.eyes(k) {
				w.report(p)
			}
			w.after(w.between(time.Minute, 20*time.Minute), func() { w.fall(k) })
		}
	})
}

// judgeEntry holds the log against what must never happen.
func (w *world) judgeEntry(e *api.Entry) {
	w.judgeGuards(e)
	switch e.Kind {
	case api.EntryInvariant:
		w.breach("halted: %s", e.Text)
	case api.EntryRemediationOpened:
		w.remsOpened++
		if w.verdicts[e.Anomaly.Probe] == api.Unknown {
			w.breach("I7: %s opened on the word of a probe that cannot see", e.Remediation)
		}
		if w.s.rems[e.Remediation].Plan.People > 0 {
			w.people(e.Remediation)
		}
	case api.EntryAsked:
		if e.Step != "" {
			w.people(e.Remediation)
		}
	case api.EntryRemediationEnded:
		key := w.keyOf[e.Remediation+"/pay"]
		if st := w.s.rems[e.Remediation].Steps[1].State; key != "" && (st == api.StepFailed || st == api.StepRefused || st == api.StepReady) {
			if w.denied[key] = true; w.landed[key] && !w.naive {
				w.breach("%s says that its step failed, but it happened", e.Remediation)
			}
		}
	case api.EntryDecided:
		if e.Decision.Verb == api.VerbSettled || e.Decision.Verb == api.VerbVoid {
			delete(w.doubts, e.Remediation+"/"+e.Step)
		}
		if e.Step == "" && e.Decision.Verb == api.VerbApprove && !slices.Contains(w.yes[e.Remediation], e.Actor) {
			w.yes[e.Remediation] = append(w.yes[e.Remediation], e.Actor)
		}
	case api.EntryStepHandedOver, api.EntryUndoEnded, api.EntryUndoVerified:
		if e.Kind == api.EntryUndoVerified && e.Outcome.Result == api.ResultDone {
			return
		}
		if e.Kind == api.EntryUndoEnded && (e.Step == "switch" || kinds[e.Playbook[2]-'0'].repeat == api.Idempotent) &&
			(e.Outcome.Result == api.ResultUnknown && e.Attempt < repeatsMax) || e.Kind == api.EntryUndoEnded && e.Outcome.Result == api.ResultDone {
			return // undone, or an undo that is repeated because it sets a state
		}
		if k := int(e.Playbook[2] - '0'); e.Step == "pay" {
			w.doubts[e.Remediation+"/"+e.Step] = fmt.Sprintf("ledger/%d", k)
		} else {
			w.doubts[e.Remediation+"/"+e.Step] = fmt.Sprintf("integration/sys%d", k)
		}
		rem, step, key := e.Remediation, e.Step, w.keyOf[e.Remediation+"/"+e.Step]
		w.after(w.between(20*time.Second, 2*time.Hour), func() { w.word(rem, step, key) })
	}
	if e.Text == "" {
		w.breach("an entry of kind %s says nothing", e.Kind)
	}
}

// word is a person who looked at the ledger.
func (w *world) word(rem, step, key string) {
	if w.down {
		w.after(time.Minute, func() { w.word(rem, step, key) })
		return
	}
	d := api.Decision{Verb: api.VerbVoid, By: "ada", Target: rem + "/" + step}
	if w.landed[key] {
		d.Verb = api.VerbSettled
	}
	w.feed(Event{Decision: &d})
	if w.down || slices.ContainsFunc(w.s.d.Doubts, func(x doubt) bool { return x.Remediation == rem && x.Step == step }) {
		w.after(time.Minute, func() { w.word(rem, step, key) }) // a crash swallowed it
	}
}

// people answer a question, or do not.
func (w *world) people(rem string) {
	for _, by := range []string{"ada", "ada", "bob"} {
		d := api.Decision{Verb: api.VerbApprove, By: by, Target: rem}
		switch {
		case w.fault(0.1):
			continue
		case w.fault(0.05):
			d.Verb = api.VerbDeny
		case w.fault(0.03):
			d.Verb = api.VerbCancel
		}
		w.after(w.between(time.Second, 5*time.Minute), func() { w.feed(Event{Decision: &d}) })
	}
}
