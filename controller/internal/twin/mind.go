package twin

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/detect"
	"github.com/backstay/backstay/controller/internal/engine"
)

// mind is whoever decides: nobody, the engine, or a naive program.
type mind interface {
	seen(w *world, probe int, o *api.Observation, changes []api.Anomaly, n news)
	wake(w *world)
	result(w *world, d *deed)
	decided(w *world, d api.Decision)
	close(w *world)
}

// nobody decides nothing.
type nobody struct{}

func (nobody) seen(*world, int, *api.Observation, []api.Anomaly, news) {}
func (nobody) wake(*world)                                             {}
func (nobody) result(*world, *deed)                                    {}
func (nobody) decided(*world, api.Decision)                            {}
func (nobody) close(*world)                                            {}

// beginMind puts the one who decides in this variant into the world.
func (w *world) beginMind() {
	switch w.run.Variant {
	case api.VariantNone:
		w.mind = nobody{}
	case api.VariantNaive:
		w.mind = newNaive(w)
	default:
		b := &brain{state: engine.New(), playbooks: make([]PlaybookRun, len(w.cast.config.Playbooks)), began: make([][]int64, len(w.cast.config.Playbooks)), rems: map[string]*remedy{}}
		w.mind = b
		b.begin(w)
	}
}

// brain is the real engine, and the shell around it: entries first, then commands, then each result back.
type brain struct {
	state     *engine.State
	alarm     int64 // of the tick that is on the heap; 0: none
	expects   []*expecting
	playbooks []PlaybookRun
	rems      map[string]*remedy
	began     [][]int64 // when the remediations of each playbook were opened that acted
	asked     []asking
	nth       int // entry
}

// expecting is a running expectation.
type expecting struct {
	command engine.Command
	proof   *detect.Proof
	probes  []int
}

func (b *brain) begin(w *world) {
	cfg := *w.cast.config
	if l := w.plan.setup.Live; l != nil && len(l.Snapshot) > 0 {
		state, err := engine.Restore(l.Snapshot)
		if err != nil {
			w.run.Cut = "the state of the running controller cannot be used: " + err.Error()
			return
		}
		b.state = state
	}
	for i := range cfg.Playbooks {
		b.playbooks[i] = PlaybookRun{Name: cfg.Playbooks[i].Name, Ends: map[api.RemediationEnd]int{}}
		for _, s := range cfg.Playbooks[i].Spec.Steps {
			b.playbooks[i].Steps = append(b.playbooks[i].Steps, StepRun{Name: s.Name})
		}
	}
	b.inherit(w)
	b.step(w, engine.Event{Restarted: true})
	b.step(w, engine.Event{Config: &cfg})
	w.eyes.noted = engine.Eyes{Probes: len(w.cast.eyes)}
	b.step(w, engine.Event{Eyes: &engine.Eyes{Probes: len(w.cast.eyes)}})
	b.askAgain(w)
}

// step feeds one event and does what comes of it.
func (b *brain) step(w *world, e engine.Event) {
	e.At = w.clock()
	out := b.state.Step(e)
	for i := range out.Entries {
		b.entry(w, &out.Entries[i])
	}
	for i := range out.Commands {
		b.perform(w, out.Commands[i])
	}
	if !out.Wake.IsZero() {
		b.wakeAt(w, out.Wake)
	}
}

// wakeAt asks for a tick, unless an earlier one is coming.
func (b *brain) wakeAt(w *world, t time.Time) {
	at := max(int64(t.Sub(w.plan.start)), w.now, 1)
	if b.alarm != 0 && b.alarm <= at || at >= w.plan.end {
		return
	}
	b.alarm = at
	w.heap.push(at, evWake, 0, 0, 0)
}

func (b *brain) wake(w *world) {
	if b.alarm == 0 || w.now < b.alarm {
		return
	}
	b.alarm = 0
	b.judge(w)
	b.step(w, engine.Event{Tick: true})
}

func (b *brain) seen(w *world, probe int, o *api.Observation, changes []api.Anomaly, n news) {
	p := &w.cast.eyes[probe]
	if now := (engine.Eyes{Probes: len(w.cast.eyes), Bad: w.eyes.bad, Unknown: w.eyes.blind}); now != w.eyes.noted {
		w.eyes.noted = now
		b.step(w, engine.Event{Eyes: &now})
	}
	if n.verdict {
		b.step(w, engine.Event{Verdict: &engine.Verdict{Probe: p.name, Verdict: o.Verdict}})
	} else if o.Verdict != api.Unknown && p.confirms {
		b.step(w, engine.Event{Seen: p.name})
	}
	if n.value && p.counted {
		b.step(w, engine.Event{Value: &engine.Value{Probe: p.name, Value: o.Value}})
	}
	for _, x := range b.expects {
		x.proof.Observe(o)
	}
	for i := range changes {
		a := changes[i]
		for _, x := range b.expects {
			x.proof.Anomaly(a)
		}
		if !a.Cleared {
			for k := range w.cast.config.Playbooks {
				if w.cast.config.Playbooks[k].Spec.On.Anomaly == a.Name {
					b.playbooks[k].Triggered++
				}
			}
		}
		b.step(w, engine.Event{Anomaly: &a})
	}
	if len(b.expects) > 0 {
		b.judge(w)
	}
}

// expect starts to watch, and lets the probes run soon.
func (b *brain) expect(w *world, c engine.Command) {
	if c.Expectation == nil {
		w.later(c, 0, engine.Result{Outcome: api.Outcome{Result: api.ResultFailed, Text: "The step expects nothing."}})
		return
	}
	x := &expecting{command: c, proof: detect.NewProof(*c.Expectation, w.clock())}
	for _, name := range c.Expectation.Probes {
		for i := range w.cast.eyes {
			e := &w.eyes.probes[i]
			if w.cast.eyes[i].name != name || e.watch == nil {
				continue
			}
			x.probes = append(x.probes, i)
			e.watched++
			e.hurry = max(c.Expectation.OK, 1)
			if c.Expectation.Equals != nil || c.Expectation.Below != nil || c.Expectation.Above != nil {
				e.hurry = 1 << 30
			}
			for _, a := range e.watch.Open() {
				x.proof.Anomaly(a)
			}
			w.repeat(i, repeatLeast)
		}
	}
	b.expects = append(b.expects, x)
	_, _, wake := x.proof.Result(w.clock())
	b.wakeAt(w, earliest(wake, c.Deadline))
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// judge asks each expectation whether it is decided.
func (b *brain) judge(w *world) {
	open := b.expects
	b.expects = nil
	now := w.clock()
	for _, x := range open {
		out, decided, wake := x.proof.Result(now)
		if late := x.command.Deadline; !decided && !late.IsZero() && !now.Before(late) {
			out, decided = api.Outcome{Result: api.ResultFailed, Text: "The probes had not shown it by the step's deadline."}, true
		}
		if !decided {
			b.expects = append(b.expects, x)
			b.wakeAt(w, earliest(wake, x.command.Deadline))
			continue
		}
		for _, i := range x.probes {
			w.eyes.probes[i].watched--
		}
		b.step(w, engine.Event{Result: &engine.Result{Command: x.command.ID, Outcome: out}})
	}
}

func (b *brain) result(w *world, d *deed) {
	w.acted(d.command.ID)
	d.result.Command = d.command.ID
	b.step(w, engine.Event{Result: &d.result})
}

func (b *brain) decided(w *world, d api.Decision) {
	id, step, _ := strings.Cut(d.Target, "/")
	if r := b.rems[id]; r != nil && d.Verb == api.VerbApprove {
		r.approved(step, d.By)
	}
	b.step(w, engine.Event{Decision: &d})
}

func (b *brain) close(w *world) {
	w.run.Playbooks = b.playbooks
	if why := b.state.Halted(); why != "" {
		w.run.Cut = "the engine stopped acting: " + why
	}
}

// entry keeps the log's digest, the story and the figures.
func (b *brain) entry(w *world, e *api.Entry) {
	e.Seq = int64(b.nth)
	b.nth++
	raw, err := json.Marshal(e)
	if err != nil {
		panic("encode an entry that the engine made: " + err.Error())
	}
	w.chain.entry(raw)
	if w.options.Entry != nil {
		w.options.Entry(e)
	}
	k := b.playbook(w, e.Playbook)
	if kind := StoryKind(e.Kind); kind != "" {
		w.tell(kind, e.Text)
	}
	switch e.Kind {
	case api.EntryRefused, api.EntryStepRefused:
		w.figures.count(Held)
		if k >= 0 {
			b.playbooks[k].Held++
			b.count(k, e.Step, func(s *StepRun) { s.Held++ })
		}
	case api.EntryRemediationOpened:
		b.rems[e.Remediation] = &remedy{playbook: k, opened: w.now}
		if k >= 0 {
			b.playbooks[k].Opened++
		}
	case api.EntryStepSkipped:
		b.count(k, e.Step, func(s *StepRun) { s.Skipped++ })
	case api.EntryStepEnded, api.EntryStepReconciled:
		b.count(k, e.Step, func(s *StepRun) { s.ended(e.Outcome) })
	case api.EntryStepUncertain:
		b.count(k, e.Step, func(s *StepRun) { s.Unknown++ })
	case api.EntryUndoEnded:
		if k >= 0 && e.Outcome != nil && e.Outcome.Result == api.ResultDone {
			b.playbooks[k].Undone++
		}
	case api.EntryAsked:
		w.figures.count(Asked)
		b.ask(w, e)
	case api.EntryRemediationEnded:
		b.ended(w, k, e)
	}
}

func (s *StepRun) ended(o *api.Outcome) {
	switch {
	case o == nil:
	case o.Result == api.ResultDone:
		s.Done++
	case o.Result == api.ResultRefused:
		s.Refused++
	case o.Result == api.ResultFailed:
		s.Failed++
	default:
		s.Unknown++
	}
}

func (b *brain) count(k int, step string, add func(*StepRun)) {
	if k < 0 {
		return
	}
	for i := range b.playbooks[k].Steps {
		if b.playbooks[k].Steps[i].Name == step {
			add(&b.playbooks[k].Steps[i])
		}
	}
}

func (b *brain) playbook(w *world, name string) int {
	for k := range w.cast.config.Playbooks {
		if w.cast.config.Playbooks[k].Name == name {
			return k
		}
	}
	return -1
}

// ended counts how a remediation ended; after a verified one, it asks what a second run right now would change.
func (b *brain) ended(w *world, k int, e *api.Entry) {
	if e.End == api.EndVerified {
		w.figures.count(Verified)
	} else if e.End != api.EndTold {
		w.figures.count(Unproved)
	}
	if k < 0 {
		return
	}
	b.playbooks[k].Ends[e.End]++
	if e.End == api.EndVerified && b.playbooks[k].Again == "" {
		b.playbooks[k].Again = w.again(k)
	}
}

// again is what a second run of a playbook would change; empty where nothing.
func (w *world) again(k int) string {
	p := &w.cast.config.Playbooks[k]
	for i := range p.Steps {
		h := w.cast.hands[handKey{p.Digest, p.Spec.Steps[i].Name}]
		if h == nil || h.outside != "" || h.effect == api.EffectNotify || h.effect == api.EffectObserve {
			continue
		}
		if est := w.would(h, ""); !est.noop() {
			return fmt.Sprintf("step %s would %s", p.Spec.Steps[i].Name, est.text)
		}
	}
	return ""
}

// asking is an answer of a person that is on its way.
type asking struct {
	decision api.Decision
	person   int
}

// ask lets everybody who is there think about a question. Each answers in their own time, or not at all.
func (b *brain) ask(w *world, e *api.Entry) {
	target := e.Remediation
	if e.Step != "" {
		target += "/" + e.Step
	}
	if r := b.rems[e.Remediation]; r != nil {
		r.question(e.Step, e.Estimate)
	}
	for i := range w.plan.people {
		p := &w.plan.people[i]
		u := newStream(w.plan.seed, w.run.Replication, "person "+p.name, "answer").at(w.asked[i])
		w.asked[i]++
		if hits(u, p.silent) || w.absent(i) {
			continue
		}
		d := api.Decision{Verb: api.VerbApprove, By: p.name, Target: target, Reason: "asked in the twin"}
		if hits(scramble(u), p.denies) {
			d.Verb = api.VerbDeny
		}
		at := w.inHours(p.hours, w.now, p.answers.draw(scramble(scramble(u))))
		b.asked = append(b.asked, asking{d, i})
		if at < w.plan.end {
			w.heap.push(at, evPerson, int32(len(b.asked)-1), 0, 0)
		}
	}
}

func (w *world) absent(person int) bool {
	for f := range w.faults {
		if w.faults[f].on && w.plan.faults[f].kind == api.FaultAbsent && w.plan.faults[f].person == person {
			w.faults[f].struck = true
			return true
		}
	}
	return false
}

func (w *world) answered(n int) {
	if b, ok := w.mind.(*brain); ok && !w.absent(b.asked[n].person) {
		b.decided(w, b.asked[n].decision)
	}
}
