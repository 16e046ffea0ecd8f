package twin

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

// faultPlan is a fault made ready.
type faultPlan struct {
	name      string
	kind      api.FaultKind
	at        int64
	jitter    int64
	lasting   int64 // 0: until somebody mends it, or to the end
	every     int64 // it comes back so often; 0: it does not
	share     int64 // parts of a million
	by        int64
	most      api.Rate
	times     float64
	endpoints []int
	system    int
	step      int
	probe     string
	person    int
}

// faultState is a fault in one run.
type faultState struct {
	on     bool
	struck bool // it touched something
	began  int64
	ended  int64
	luck   stream
	jitter stream
	limit  endState // of a rate limit
	times  uint64   // how often it was to begin so far
}

func (c *compiler) faults() {
	faults := c.begins()
	for i := range faults {
		f := &faults[i]
		c.faultFigures(f)
		p := faultPlan{name: f.Called(), kind: f.Kind, at: c.p.from + int64(f.At.Duration), jitter: int64(f.Jitter.Duration),
			lasting: int64(f.Lasting.Duration), every: int64(f.Every.Duration), share: cmp.Or(f.Share.PPM, 1_000_000), by: int64(f.By.Duration), most: f.Most, times: f.Times,
			system: -1, step: -1, person: -1}
		what, name, _ := strings.Cut(f.On, "/")
		known := true
		switch {
		case f.Kind == api.FaultSurge || f.Kind == api.FaultSilence:
			known = f.On == "" || f.On == "arrivals"
		case what == "integration":
			known = c.faultAt(&p, name)
		case what == "step":
			p.step = c.step(name)
			known = p.step >= 0
		case what == "probe":
			p.probe = name
			known = c.hasProbe(name)
		case what == "person":
			for k := range c.p.people {
				if c.p.people[k].name == name {
					p.person = k
				}
			}
			known = p.person >= 0
		default:
			known = false
		}
		if !known || !p.fits() {
			c.errorf(c.p.setup.Scenario.Pos, "unknown-target", "write integration/NAME/ENDPOINT, integration/NAME, step/NAME, probe/NAME or person/NAME",
				"fault %s: a fault of kind %s cannot be on %q, or there is no such thing", p.name, f.Kind, f.On)
			continue
		}
		if slices.ContainsFunc(c.p.faults, func(o faultPlan) bool { return o.name == p.name }) {
			c.errorf(c.p.setup.Scenario.Pos, "duplicate-name", "give each a name: reports tell them apart by it, and chance too", "there are two faults called %q", p.name)
		}
		c.p.faults = append(c.p.faults, p)
	}
}

// fits tells whether a fault is where a fault of its kind can be.
func (p *faultPlan) fits() bool {
	switch p.kind {
	case api.FaultSurge, api.FaultSilence:
		return true
	case api.FaultStop, api.FaultPoison, api.FaultRedeliver:
		return p.step >= 0
	case api.FaultLock:
		return p.system >= 0
	case api.FaultAbsent:
		return p.person >= 0
	case api.FaultBlind, api.FaultLies:
		return p.probe != ""
	}
	return len(p.endpoints) > 0
}

func (c *compiler) faultAt(p *faultPlan, name string) bool {
	integration, endpoint, one := strings.Cut(name, "/")
	p.system = c.system(integration)
	if p.system < 0 {
		return false
	}
	s := &c.p.systems[p.system]
	for e := s.first; e < s.first+s.count; e++ {
		if !one || c.p.endpoints[e].short == endpoint {
			p.endpoints = append(p.endpoints, e)
		}
	}
	return len(p.endpoints) > 0
}

func (c *compiler) hasProbe(name string) bool {
	for _, p := range c.p.setup.Current.Probes {
		if p.Metadata.Name == name {
			return true
		}
	}
	return false
}

// beginFaults puts the faults onto the heap.
func (w *world) beginFaults(replication int) {
	w.faults = make([]faultState, len(w.plan.faults))
	for i := range w.plan.faults {
		f, s := &w.plan.faults[i], &w.faults[i]
		s.luck = newStream(w.plan.seed, replication, "fault "+f.name, "share")
		s.jitter = newStream(w.plan.seed, replication, "fault "+f.name, "jitter")
		s.began, s.ended = maxTime, maxTime
		w.nextFault(i)
	}
}

// nextFault schedules the next time at which a fault begins, and that at which it is over.
func (w *world) nextFault(i int) {
	f, s := &w.plan.faults[i], &w.faults[i]
	at := f.at + int64(s.times)*f.every
	if f.jitter > 0 {
		at += int64(below(s.jitter.at(s.times), uint64(f.jitter)))
	}
	s.times++
	w.heap.push(at, evFault, int32(i), 1, 0)
	if f.lasting > 0 {
		w.heap.push(at+f.lasting, evFault, int32(i), 0, 0)
	}
}

// strikes tells whether a fault touches what has this place in its luck, and remembers that it did.
func (w *world) strikes(f int, n uint64) bool {
	if share := w.plan.faults[f].share; share < 1_000_000 && !hits(w.faults[f].luck.at(n), share) {
		return false
	}
	w.faults[f].struck = true
	return true
}

// bends tells whether a fault changes replies, and not what comes after them.
func (p *faultPlan) bends() bool {
	return p.kind != api.FaultStale && p.kind != api.FaultDuplicate && p.kind != api.FaultLate
}

// bend changes a reply by a fault. True: nothing else matters any more.
func (w *world) bend(f int, r *reply) bool {
	p := &w.plan.faults[f]
	switch p.kind {
	case api.FaultOutage:
		*r = reply{failed, min(r.took, int64(5*time.Millisecond)), -1}
		return true
	case api.FaultError:
		r.answer, r.effect = failed, -1
	case api.FaultRefuse:
		r.answer, r.effect = refused, -1
	case api.FaultTimeout:
		r.answer, r.effect = unanswered, -1
	case api.FaultLostAnswer:
		r.answer = unanswered
	case api.FaultSlow:
		r.took += p.by
		if r.effect >= 0 {
			r.effect += p.by
		}
	case api.FaultRateLimit:
		if limited(p.most, &w.faults[f].limit, w.now) {
			*r = reply{refused, min(r.took, latencyDefault), -1}
			return true
		}
	}
	return false
}

// fault begins or ends a fault.
func (w *world) fault(f int, on bool) {
	p, s := &w.plan.faults[f], &w.faults[f]
	if on && p.every > 0 {
		w.nextFault(f)
	}
	if s.on == on {
		return // somebody mended it before its time
	}
	s.on = on
	if on {
		s.began = min(s.began, w.now) // the first time, where there are several
		w.figures.faulted(w)
		w.tell("fault", p.name)
	} else {
		s.ended = w.now
		w.tell("over", p.name+" is over")
	}
	if p.kind != api.FaultLock {
		for _, e := range p.endpoints {
			w.ends[e].faults = w.outagesFirst(toggled(w.ends[e].faults, f, on))
		}
	}
	switch p.kind {
	case api.FaultSurge:
		w.surges = toggled(w.surges, f, on)
		w.surge()
	case api.FaultSilence:
		w.silences = toggled(w.silences, f, on)
	case api.FaultStop:
		w.steps[p.step].stops = toggled(w.steps[p.step].stops, f, on)
		w.stop(p.step, on)
	case api.FaultLock:
		w.systems[p.system].locks = toggled(w.systems[p.system].locks, f, on)
		w.lock(p.system)
	case api.FaultPoison:
		w.steps[p.step].poison = toggled(w.steps[p.step].poison, f, on)
	case api.FaultRedeliver:
		w.steps[p.step].twice = toggled(w.steps[p.step].twice, f, on)
	}
}

// toggled is a list of faults with one more or one less, in the order of the scenario.
func toggled(list []int, f int, on bool) []int {
	out := make([]int, 0, len(list)+1)
	for _, x := range list {
		if x != f {
			out = append(out, x)
		}
	}
	if on {
		out = append(out, f)
		slices.Sort(out)
	}
	return out
}

// outagesFirst sorts the faults of an endpoint: where nobody can connect, nothing else can go wrong; and what limits calls sees them
// before they fail.
func (w *world) outagesFirst(list []int) []int {
	rank := func(f int) int {
		switch w.plan.faults[f].kind {
		case api.FaultOutage:
			return 0
		case api.FaultRateLimit:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(list, func(a, b int) int { return rank(a) - rank(b) })
	return list
}

// surge brings arrivals to the pace of all surges that are on. What is left of the gap that runs now shrinks or grows with it.
func (w *world) surge() {
	before := w.factor
	w.factor = 1
	for _, f := range w.surges {
		w.factor = float64(w.factor * w.plan.faults[f].times)
	}
	if a := &w.plan.arrivals; w.factor != before && a.every == 0 && a.times == nil && w.due.at < maxTime && w.due.at > w.now {
		w.awaitArrival(w.now + min(divided(w.due.at-w.now, float64(w.factor/before)), maxTime-w.now))
	}
}

// stop stops a step's workers, or starts them again. What they had in hand goes back to the queue after the lease.
func (w *world) stop(step int, on bool) {
	st, sp := &w.steps[step], &w.plan.steps[step]
	if !on {
		if len(st.stops) == 0 {
			w.dispatch(sp.pool)
		}
		return
	}
	if st.count[working] > 0 {
		for _, f := range st.stops {
			w.faults[f].struck = true
		}
	}
	for i := range w.items {
		it := &w.items[i]
		if it.state != working || int(it.step) != step {
			continue
		}
		w.leave(int32(i))
		it.call = 0
		w.settle(int32(i), delayed)
		w.heap.push(w.now+sp.lease, evReady, int32(i), 0, it.gen)
	}
	w.dispatch(sp.pool) // others may share the workers
}

// lock lets the calls that hang go through when no lock is held any more.
func (w *world) lock(system int) {
	s := &w.systems[system]
	if len(s.locks) > 0 {
		return
	}
	hanging := s.hanging
	s.hanging = nil
	for _, p := range hanging {
		if it := &w.items[p.item]; it.gen == p.gen && it.state == working {
			it.gen++ // the answer that it waited for is void: the call goes through now
			w.callFor(p.item)
		}
	}
}

// waiting counts the calls that hang; those who gave up are forgotten.
func (s *systemState) waiting(items []item) int {
	kept := s.hanging[:0]
	for _, p := range s.hanging {
		if items[p.item].gen == p.gen && items[p.item].state == working {
			kept = append(kept, p)
		}
	}
	s.hanging = kept
	return len(kept)
}

// mend ends the faults that an action repairs.
func (w *world) mend(match func(*faultPlan) bool) int64 {
	var n int64
	for f := range w.faults {
		if w.faults[f].on && match(&w.plan.faults[f]) {
			w.fault(f, false)
			n++
		}
	}
	return n
}
