package twin

import (
	"cmp"
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
	share     int64 // parts of a million
	by        int64
	most      api.Rate
	times     float64
	endpoints []int
	system    int
	step      int
	probe     string
	person    int
	luck      uint64
}

// faultState is a fault in one run.
type faultState struct {
	on     bool
	struck bool // it touched something
	began  int64
	ended  int64
	luck   stream
	limit  endState // of a rate limit
}

func (c *compiler) faults() {
	for i, f := range c.p.setup.Scenario.Spec.Faults {
		p := faultPlan{name: cmp.Or(f.Name, strings.Trim(string(f.Kind)+" "+f.On, " ")), kind: f.Kind, at: c.p.from + int64(f.At.Duration), jitter: int64(f.Jitter.Duration),
			lasting: int64(f.Lasting.Duration), share: cmp.Or(f.Share.PPM, 1_000_000), by: int64(f.By.Duration), most: f.Most, times: f.Times,
			system: -1, step: -1, person: -1, luck: uint64(i)}
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
		f := &w.plan.faults[i]
		w.faults[i].luck = newStream(w.plan.seed, replication, "fault "+f.name, "share")
		at := f.at
		if f.jitter > 0 {
			at += int64(newStream(w.plan.seed, replication, "fault "+f.name, "jitter").at(0) % uint64(f.jitter))
		}
		w.faults[i].began, w.faults[i].ended = maxTime, maxTime
		w.heap.push(at, evFault, int32(i), 1, 0)
		if f.lasting > 0 {
			w.heap.push(at+f.lasting, evFault, int32(i), 0, 0)
		}
	}
}

// strikes tells whether a fault touches this item at this try, and remembers that it did.
func (w *world) strikes(f int, i int32, try uint8) bool {
	if !hits(w.faults[f].luck.of(i, try), w.plan.faults[f].share) {
		return false
	}
	w.faults[f].struck = true
	return true
}

// bend changes a reply by a fault.
func (p *faultPlan) bend(w *world, _ *endState, r *reply) {
	switch p.kind {
	case api.FaultOutage:
		*r = reply{failed, min(r.took, int64(5*time.Millisecond)), -1, 0}
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
		if w.limited(p.most, &w.faults[w.faultOf(p)].limit) {
			*r = reply{refused, min(r.took, latencyDefault), -1, 0}
		}
	}
}

func (w *world) faultOf(p *faultPlan) int {
	for i := range w.plan.faults {
		if &w.plan.faults[i] == p {
			return i
		}
	}
	return 0
}

// fault begins or ends a fault.
func (w *world) fault(f int, on bool) {
	p, s := &w.plan.faults[f], &w.faults[f]
	if s.on == on || !on && s.ended < maxTime {
		return // somebody mended it before its time
	}
	s.on = on
	if on {
		s.began = w.now
		w.figures.faulted(w)
		w.tell("fault", p.name)
	} else {
		s.ended = w.now
		w.tell("over", p.name+" is over")
	}
	for _, e := range p.endpoints {
		if p.kind != api.FaultLock {
			w.ends[e].faults = toggled(w.ends[e].faults, f, on)
		}
	}
	by := 1
	if !on {
		by = -1
	}
	switch p.kind {
	case api.FaultSurge:
		s.struck = true
		w.surge(p.times, on)
	case api.FaultSilence:
		s.struck = true
		w.silent += by
	case api.FaultStop:
		s.struck = true
		w.stop(p.step, by)
	case api.FaultLock:
		s.struck = true
		w.lock(p.system, by)
	case api.FaultPoison:
		w.steps[p.step].poison = toggled(w.steps[p.step].poison, f, on)
	case api.FaultRedeliver:
		w.steps[p.step].twice = toggled(w.steps[p.step].twice, f, on)
	}
}

func toggled(list []int, f int, on bool) []int {
	if on {
		return append(list, f)
	}
	var out []int
	for _, x := range list {
		if x != f {
			out = append(out, x)
		}
	}
	return out
}

func (w *world) surge(times float64, on bool) {
	if times <= 0 {
		return
	}
	if on {
		w.factor *= times
	} else {
		w.factor /= times
	}
}

// stop stops a step's workers, or starts them again. What they had in hand goes back to the queue after the lease.
func (w *world) stop(step, by int) {
	st, sp := &w.steps[step], &w.plan.steps[step]
	st.stopped += by
	if st.stopped == 0 {
		w.dispatch(sp.pool)
		return
	}
	if by < 0 || st.stopped > 1 {
		return
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
}

// lock holds the lock of a database, or lets it go.
func (w *world) lock(system, by int) {
	s := &w.systems[system]
	s.locked += by
	if s.locked > 0 {
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
