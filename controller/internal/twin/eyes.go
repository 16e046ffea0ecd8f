package twin

import (
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/detect"
	"github.com/backstay/backstay/controller/internal/engine"
)

// eyePlan is a probe made ready: what it sees of this world.
type eyePlan struct {
	name     string
	spec     *api.ProbeSpec
	every    int64
	phase    int64
	timeout  int64
	sight    sight
	endpoint int
	step     int // -1: all
	state    state
	system   int
	effect   int
	against  int
	within   float64
	counted  bool // its value tells what is at risk, or is a control total
	confirms bool // a playbook wants it to corroborate
}

type sight uint8

const (
	seesNothing sight = iota // it is outside of this world
	seesEndpoint
	seesRoute
	seesRunning
	seesCount
	seesOpen
	seesLate
	seesDoubled
	seesAge
	seesOpenAge
	seesSum
	seesArrived
	seesLag
	seesLocked
	seesFine
)

// eyes is all probes at work.
type eyes struct {
	probes []eye
	bad    int
	blind  int
	noted  engine.Eyes
	spare  []api.Anomaly
}

type eye struct {
	watch   *detect.Watch
	last    api.Observation
	runs    uint64
	looking bool
	extra   bool  // a repeat is on the heap
	next    int64 // when its next regular run is due
	watched int   // expectations that wait for it
	hurry   int   // good runs that they still want soon
	coming  api.Observation
	faults  []int
	luck    stream          // of its calls
	arrived int64           // at its step, when it last looked
	adopted *detect.Adopted // anomalies that were open before this world began; nil once settled
}

// The scheduler's habits, as the live one has them.
const (
	repeatLeast  = int64(100 * time.Millisecond)
	repeatSpread = int64(100 * time.Millisecond)
	hurryPause   = int64(500 * time.Millisecond)
)

// beginEyes makes detectors and puts the first run of each probe onto the heap.
func (w *world) beginEyes(replication int) {
	w.eyes.probes = make([]eye, len(w.cast.eyes))
	before := int64(newStream(w.plan.seed, w.run.Replication, "eyes", "phase").at(0) >> 20) // the controller started some time earlier, and nobody knows when
	for i := range w.cast.eyes {
		p := &w.cast.eyes[i]
		if p.sight == seesNothing {
			continue
		}
		watch, err := detect.New(p.name, *p.spec)
		if err != nil {
			continue // Compile has said so
		}
		w.eyes.probes[i].watch = watch
		w.adopt(p, &w.eyes.probes[i])
		w.eyes.probes[i].luck = newStream(w.plan.seed, replication, "probe "+p.name, "call")
		for f := range w.plan.faults {
			if w.plan.faults[f].probe == p.name {
				w.eyes.probes[i].faults = append(w.eyes.probes[i].faults, f)
			}
		}
		w.heap.push((p.phase+before)%p.every, evLook, int32(i), 0, 0)
	}
}

// look runs a probe; extra runs (gen 1) do not shift the regular ones.
func (w *world) look(i int, gen uint32) {
	p, e := &w.cast.eyes[i], &w.eyes.probes[i]
	if gen == 0 {
		e.next = w.now + p.every
		w.heap.push(e.next, evLook, int32(i), 0, 0)
	} else {
		e.extra = false
	}
	if e.looking {
		return // a probe never overlaps itself
	}
	o := api.Observation{Probe: p.name, Verdict: api.OK, Unit: p.spec.Unit}
	e.runs++
	took := w.see(p, e, &o)
	for _, f := range e.faults {
		if !w.faults[f].on || !w.strikes(f, e.runs) {
			continue
		}
		o = api.Observation{Probe: p.name, Verdict: api.Unknown, Unit: p.spec.Unit, Reason: "the probe could not run"}
		if w.plan.faults[f].kind == api.FaultLies {
			o.Verdict, o.Reason = api.Bad, "it says so of what is well"
		}
	}
	o.Took = time.Duration(took)
	if took == 0 {
		e.coming = o
		w.saw(i, 0)
		return
	}
	e.looking, e.coming = true, o
	w.heap.push(w.now+took, evSaw, int32(i), 0, 0)
}

// see asks the world; it gives how long that took where it is worth an event of its own.
func (w *world) see(p *eyePlan, e *eye, o *api.Observation) int64 {
	switch p.sight {
	case seesEndpoint:
		return w.seeEndpoint(p, e, o)
	case seesRoute:
		s := &w.plan.endpoints[p.endpoint]
		if w.systems[s.system].active != p.endpoint {
			o.Verdict, o.Reason = api.Bad, "the route names "+w.plan.endpoints[w.systems[s.system].active].short
		}
	case seesRunning:
		for _, f := range w.steps[p.step].stops {
			w.faults[f].struck = true
			o.Verdict, o.Reason = api.Bad, "no worker runs"
		}
	case seesCount:
		o.Value = float64(w.countOf(p.step, p.state))
	case seesOpen:
		o.Value = float64(w.open)
	case seesLate:
		o.Value = w.figures.lateNow(w)
	case seesDoubled:
		o.Value = w.figures.values[Doubled]
	case seesAge:
		o.Value = w.ageOf(p.step, p.state)
	case seesOpenAge:
		for w.oldest < len(w.items) && w.items[w.oldest].over() {
			w.oldest++
		}
		if w.oldest < len(w.items) {
			o.Value = seconds(w.now - w.items[w.oldest].born)
		}
	case seesSum:
		w.seeSum(p, o)
	case seesArrived:
		o.Value = float64(w.steps[p.step].arrived - e.arrived)
		e.arrived = w.steps[p.step].arrived
	case seesLag:
		o.Value = seconds(w.stale(p.endpoint))
	case seesLocked:
		o.Value = float64(w.systems[p.system].waiting(w.items))
		if w.locked(p.system) {
			o.Value++
		}
	}
	return 0
}

func seconds(ns int64) float64 { return float64(ns/1e6) / 1000 }

func (w *world) seeEndpoint(p *eyePlan, e *eye, o *api.Observation) int64 {
	r := reply{unanswered, p.timeout, -1}
	if !w.locked(w.plan.endpoints[p.endpoint].system) {
		u := e.luck.at(e.runs)
		r = w.reply(p.endpoint, u, u, p.timeout)
	}
	switch r.answer {
	case answered:
		o.Value = 0
	case unanswered:
		o.Verdict, o.Reason = api.Bad, fmt.Sprintf("no answer within %s", time.Duration(p.timeout))
	case refused:
		o.Verdict, o.Reason = api.Bad, "it answered with a refusal"
	default:
		o.Verdict, o.Reason = api.Bad, "it answered with an error"
	}
	return r.took
}

func (w *world) seeSum(p *eyePlan, o *api.Observation) {
	sum := w.ledger.sum(p.effect)
	if p.against < 0 {
		o.Value = float64(sum)
		return
	}
	other := w.ledger.sum(p.against)
	o.Value = float64(sum - other)
	if math.Abs(o.Value) > p.within {
		o.Verdict, o.Reason = api.Bad, fmt.Sprintf("%s and %s differ by %d", w.plan.effects[p.effect], w.plan.effects[p.against], sum-other)
	}
}

func (l *ledger) sum(effect int) int64 {
	if effect >= len(l.sums) {
		return 0
	}
	return l.sums[effect]
}

// countOf counts the items of a step, or of all (-1), in a state.
func (w *world) countOf(step int, s state) int64 {
	if step < 0 {
		return w.total[s]
	}
	return w.steps[step].count[s]
}

// ageOf is the age in seconds of the item that has been in a state longest.
func (w *world) ageOf(step int, s state) float64 {
	since := w.now
	for k := range w.steps {
		if step >= 0 && k != step {
			continue
		}
		l := &w.steps[k].lines[s]
		if s == waiting {
			l = &w.steps[k].queue
		}
		if i := l.first(w.items); i >= 0 {
			since = min(since, w.items[i].since)
		}
	}
	return seconds(w.now - since)
}

// saw files what a probe saw, and tells whoever decides.
func (w *world) saw(i int, _ uint32) {
	p, e := &w.cast.eyes[i], &w.eyes.probes[i]
	e.looking = false
	o := &e.coming
	o.At = w.clock()
	changes := e.watch.Observe(o, w.eyes.spare[:0])
	adopted := e.adopted != nil
	if adopted {
		changes = w.settleAdopted(e, o, changes)
	}
	first := e.last.Verdict == ""
	news := news{verdict: o.Verdict != e.last.Verdict && (!first || o.Verdict != api.OK || adopted), value: o.Verdict != api.Unknown && (first || o.Value != e.last.Value)}
	if o.Verdict != e.last.Verdict {
		w.eyes.tally(e.last.Verdict, -1)
		w.eyes.tally(o.Verdict, 1)
	}
	e.last = *o
	for k := range changes {
		w.anomaly(&changes[k])
	}
	w.mind.seen(w, i, o, changes, news)
	again := e.watch.Suspicious()
	switch {
	case again:
		w.repeat(i, repeatLeast+p.phase%repeatSpread)
	case e.watched > 0 && e.hurry > 0:
		if o.Verdict == api.OK {
			e.hurry--
		}
		w.repeat(i, hurryPause)
	}
	w.eyes.spare = changes[:0]
}

type news struct{ verdict, value bool }

func (e *eyes) tally(v api.Verdict, n int) {
	switch v {
	case api.Bad:
		e.bad += n
	case api.Unknown:
		e.blind += n
	}
}

// repeat runs a probe soon, beside its regular runs, unless one of those comes first anyway.
func (w *world) repeat(i int, after int64) {
	if e := &w.eyes.probes[i]; !e.extra && e.watch != nil && w.now+after < e.next {
		e.extra = true
		w.heap.push(w.now+after, evLook, int32(i), 0, 1)
	}
}

// anomaly keeps the account of what detectors found.
func (w *world) anomaly(a *api.Anomaly) {
	if a.Cleared {
		w.figures.anomalies--
	} else {
		w.figures.anomalies++
		w.figures.first(w, Detected)
		w.tell("detected", a.ID()+": "+a.Text)
	}
	w.figures.moved(w)
}

// eyes makes the probes of one variant ready.
func (c *compiler) eyes(cfg *engine.Config) []eyePlan {
	out := make([]eyePlan, len(cfg.Probes))
	defer c.unseen(out)
	for i := range cfg.Probes {
		spec := &cfg.Probes[i].Spec
		p := &out[i]
		*p = eyePlan{name: cfg.Probes[i].Metadata.Name, spec: spec, every: int64(spec.Every.Duration), timeout: int64(spec.Timeout.Duration), step: -1, endpoint: -1, effect: -1, against: -1}
		if p.every <= 0 {
			p.every = int64(30 * time.Second)
		}
		if p.timeout <= 0 {
			p.timeout = min(p.every, int64(5*time.Second))
		}
		p.phase = phaseOf(p.name, p.every)
		if _, err := detect.New(p.name, *spec); err != nil {
			c.errorf(cfg.Probes[i].Pos, "bad-detector", "", "%v", err)
			continue
		}
		c.sight(p, spec)
		p.counted, p.confirms = c.concern(cfg, p.name)
	}
	return out
}

// phaseOf spreads probes over their interval by name, as the live scheduler does.
func phaseOf(name string, every int64) int64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return int64(x % uint64(every))
}

// concern tells what the engine wants to know of a probe.
func (c *compiler) concern(cfg *engine.Config, name string) (counted, confirms bool) {
	for _, w := range cfg.Workflows {
		counted = counted || w.Spec.Value.CountedBy == name
	}
	for i := range cfg.Playbooks {
		spec := &cfg.Playbooks[i].Spec
		for _, t := range spec.Totals {
			counted = counted || slices.Contains(t.Probes, name)
		}
		if spec.On.Confirm != nil {
			for _, a := range spec.On.Confirm.Of {
				confirms = confirms || probeOf(a) == name
			}
		}
	}
	return counted, confirms
}

func probeOf(anomaly string) string {
	for i := range len(anomaly) {
		if anomaly[i] == '/' {
			return anomaly[:i]
		}
	}
	return anomaly
}

// sight finds out what a probe sees: what the model says, or the endpoint that it calls.
func (c *compiler) sight(p *eyePlan, spec *api.ProbeSpec) {
	for _, m := range c.p.setup.Model.Spec.Sees {
		if m.Probe == p.name {
			c.said(p, m)
			return
		}
	}
	if spec.Integration != "" && (spec.Type == "http" || spec.Type == "tcp") {
		if p.endpoint = c.endpointOf(spec.Integration + "/" + spec.Endpoint); p.endpoint >= 0 {
			p.sight = seesEndpoint
			return
		}
	}
	c.note("The model does not say what probe %s sees: it never runs.", p.name)
}

// said takes a sight as the model has it.
func (c *compiler) said(p *eyePlan, m api.ModelSight) {
	wrong := func(what string) {
		c.errorf(c.p.setup.Model.Pos, "unknown-reference", "", "probe %s: there is no %s in this model", p.name, what)
	}
	if m.Of != "" {
		if p.step = c.step(m.Of); p.step < 0 {
			wrong("step " + m.Of)
			return
		}
	}
	switch {
	case m.Endpoint != "" || m.Route != "" || m.Lag != "":
		name := m.Endpoint + m.Route + m.Lag
		if p.endpoint = c.endpointOf(name); p.endpoint < 0 {
			wrong("endpoint " + name)
			return
		}
		p.sight = seesEndpoint
		if m.Route != "" {
			p.sight = seesRoute
		} else if m.Lag != "" {
			p.sight = seesLag
		}
	case m.Running != "" || m.Arrived != "":
		if p.step = c.step(m.Running + m.Arrived); p.step < 0 {
			wrong("step " + m.Running + m.Arrived)
			return
		}
		p.sight = seesRunning
		if m.Arrived != "" {
			p.sight = seesArrived
		}
	case m.Count != "":
		p.sight, p.state = seesCount, stateOf(m.Count)
		switch m.Count {
		case "open":
			p.sight = seesOpen
		case "late":
			p.sight = seesLate
		case "doubled":
			p.sight = seesDoubled
		}
	case m.Age != "":
		p.sight, p.state = seesAge, stateOf(m.Age)
		if m.Age == "open" {
			p.sight = seesOpenAge
		}
	case m.Sum != "":
		p.sight, p.effect, p.within = seesSum, slices.Index(c.p.effects, m.Sum), m.Within
		if m.Against != "" {
			p.against = slices.Index(c.p.effects, m.Against)
		}
		if p.effect < 0 || m.Against != "" && p.against < 0 {
			wrong("effect " + m.Sum + " or " + m.Against)
		}
	case m.Locked != "":
		if p.system = c.system(m.Locked); p.system < 0 {
			wrong("integration " + m.Locked)
			return
		}
		p.sight = seesLocked
	case m.Fixed != "":
		p.sight = seesFine
	}
}
