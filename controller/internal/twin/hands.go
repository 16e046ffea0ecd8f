package twin

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

// handKey names a step of one version of a playbook.
type handKey struct{ digest, step string }

// handPlan is a step made ready: what its effect is in this world. The twin knows effects, never actions; of a step's parameters
// it reads only where, how many, and how long to wait.
type handPlan struct {
	playbook string
	step     string
	effect   api.Effect
	targets  []string
	danger   api.Danger
	repeat   api.Repeat
	keeps    int64  // how long its target recognises a key
	luck     int    // its place among the streams of chance
	outside  string // why it is not in this world; empty where it is

	system   int
	endpoint int  // to route to
	place    spot // where its items or workers are
	to       spot // where they go
	resolve  bool // look up what is in doubt
	delay    int64
	voids    bool // what definitely did not happen is freed, or repeated with its key
	pins     bool // it is repeated at the endpoint that was asked, wherever the route leads now
	most     int64
	older    int64
	undoes   string // name of the hold that a release takes back
	attempts int64  // an item that was redelivered so often is poison, and left; 0: no end
	canary   int64  // so many go first; the rest stays where they come back

	takes                            *table
	each                             int64
	refused, fails, unknown, partial int64
}

// spot is a place of the model.
type spot struct {
	step   int // -1: none
	state  state
	worker bool
	system int
}

// deed is a command under way, and what will come of it.
type deed struct {
	command engine.Command
	hand    *handPlan
	result  engine.Result
	do      bool // it changes the world when it is done
	part    bool
	silent  bool // nobody learns that it was done; that is known at the deadline
	known   bool // this is the deadline
}

// estimate is what a step would touch.
type estimate struct {
	items  int64
	amount int64
	total  int64
	text   string
	before string
	same   bool
}

func (e estimate) noop() bool { return e.same || e.items == 0 && e.text == "" }

const planTakes = int64(10 * time.Millisecond)

// perform starts a command of the engine; its result comes back as an event.
func (b *brain) perform(w *world, c engine.Command) {
	switch c.Kind {
	case engine.Expect:
		b.expect(w, c)
		return
	case engine.Notify:
		w.later(c, planTakes, engine.Result{Outcome: api.Outcome{Result: api.ResultDone, Text: "Told " + c.Channel + "."}})
		return
	}
	h := w.cast.hands[handKey{c.Digest, c.Step}]
	if h == nil || h.outside != "" {
		w.outside(c, h)
		return
	}
	switch c.Kind {
	case engine.Plan:
		e := w.would(h, c.Remediation)
		est := api.Estimate{Text: e.text, Items: e.items, Amount: w.money(e.amount), Total: e.total, Noop: e.noop()}
		if e.text == "" {
			est.Text = "change nothing"
		}
		if e.before != "" {
			est.Before, _ = json.Marshal(e.before)
		}
		w.later(c, planTakes, engine.Result{Estimate: &est, Outcome: api.Outcome{Result: api.ResultDone, Text: est.Text}})
	case engine.Look:
		r := api.ResultRefused
		if _, happened := w.keys[c.Key]; happened {
			r = api.ResultDone
		}
		w.later(c, latencyDefault, engine.Result{Outcome: api.Outcome{Result: r, Text: "The target was asked."}})
	case engine.Run:
		b.run(w, c, h)
	case engine.Undo:
		w.acting(h, c.Remediation, c.ID)
		w.begin(deed{command: c, hand: h, do: true}, h.takes.draw(w.deedLuck(h)))
	}
}

// outside answers a command that this world cannot show: it counts as done and touches nothing, and the report says so.
func (w *world) outside(c engine.Command, h *handPlan) {
	switch {
	case c.Kind == engine.Plan:
		w.later(c, planTakes, engine.Result{Estimate: &api.Estimate{Text: "do what this world cannot show"}, Outcome: api.Outcome{Result: api.ResultDone}})
	case h != nil && strings.HasPrefix(h.outside, "!"):
		w.later(c, latencyDefault, engine.Result{Outcome: api.Outcome{Result: api.ResultRefused, Text: h.outside[1:]}})
	default:
		w.later(c, latencyDefault, engine.Result{Outcome: api.Outcome{Result: api.ResultDone, Text: "Not simulated."}})
	}
}

// later brings a command's result after a while.
func (w *world) later(c engine.Command, after int64, r engine.Result) {
	w.deeds = append(w.deeds, deed{command: c, result: r})
	w.heap.push(w.now+after, evDeed, int32(len(w.deeds)-1), 0, 0)
}

// run starts an action. What will come of it is decided now; it happens when its time is over.
func (b *brain) run(w *world, c engine.Command, h *handPlan) {
	u := w.deedLuck(h)
	d := deed{command: c, hand: h, do: true}
	v := scramble(u)
	switch {
	case hits(v, h.refused):
		d.do, d.result.Outcome = false, api.Outcome{Result: api.ResultRefused, Text: "The target said no."}
	case hits(v, h.refused+h.fails):
		d.do, d.result.Outcome = false, api.Outcome{Result: api.ResultFailed, Text: "It failed without an effect."}
	case hits(v, h.refused+h.fails+h.unknown):
		d.do, d.silent = v&1 == 0, true
	case hits(v, h.refused+h.fails+h.unknown+h.partial):
		d.part = true
	}
	r := b.rems[c.Remediation]
	if r == nil {
		r = &remedy{playbook: b.playbook(w, c.Playbook)}
		b.rems[c.Remediation] = r
	}
	w.judgeRun(b, r, h)
	w.acting(h, c.Remediation, c.ID)
	takes := h.takes.draw(u)
	if h.each > 0 {
		takes += h.each * w.would(h, c.Remediation).items
	}
	w.begin(d, takes)
}

// deedLuck is the luck of the next run of a step.
func (w *world) deedLuck(h *handPlan) uint64 {
	n := w.tried[h.luck]
	w.tried[h.luck]++
	return newStream(w.plan.seed, w.run.Replication, w.cast.lucks[h.luck], "deed").at(n)
}

// begin puts a deed onto the heap. Nothing of a command is sent after its deadline: one that would take longer is cut off there, half of
// them before their effect, and nobody knows which.
func (w *world) begin(d deed, takes int64) {
	c := &d.command
	if left := int64(c.Deadline.Sub(w.clock())); !c.Deadline.IsZero() && takes >= left && !d.known {
		if !d.silent {
			d.do, d.silent = d.do && scramble(uint64(takes))&1 == 0, true
		}
		takes = max(left-1, 0)
	}
	w.deeds = append(w.deeds, d)
	w.heap.push(w.now+takes, evDeed, int32(len(w.deeds)-1), 0, 0)
}

// deedDone is the end of a command: its effect, if it has one, and its result.
func (w *world) deedDone(n int) {
	d := w.deeds[n]
	w.deeds[n] = deed{} // let go of what it held
	if d.do && d.hand != nil {
		w.perform(&d)
	}
	if d.silent && !d.known {
		d.result.Outcome = api.Outcome{Result: api.ResultUnknown, Text: "There was no answer by the deadline."}
		d.do, d.known = false, true
		w.begin(d, max(int64(d.command.Deadline.Sub(w.clock())), 0))
		return
	}
	w.mind.result(w, &d)
}

// perform changes the world as a deed wants it.
func (w *world) perform(d *deed) {
	c, h := &d.command, d.hand
	if c.Kind == engine.Undo {
		d.result.Outcome = w.undo(h, c)
		return
	}
	if at, known := w.keys[c.Key]; known && h.repeat == api.Keyed && (h.keeps == 0 || w.now-at <= h.keeps) {
		d.result.Outcome = api.Outcome{Result: api.ResultDone, Text: "The target recognised the key: it was done before."}
		return
	}
	bounds := c.Bounds
	if e := c.Estimate; e != nil && e.Items > 0 && (bounds.Items == 0 || e.Items < bounds.Items) {
		bounds.Items = e.Items // what turned up since waits for the next run
	}
	if d.part {
		bounds.Items = max(min(w.would(h, c.Remediation).items, bounds.Items)/2, 1)
	}
	back := h.canary > 0 && w.failing(h)
	if back {
		bounds.Items = h.canary
	}
	items, amount := w.do(h, bounds, c.Remediation)
	if w.keys == nil {
		w.keys = map[string]int64{}
	}
	if !d.part && !back {
		w.keys[c.Key] = w.now
	}
	if h.effect != api.EffectNotify && h.effect != api.EffectObserve {
		w.figures.first(w, Acted)
		w.figures.count(Actions)
	}
	w.judgeLimits(c, items, amount)
	o := api.Outcome{Result: api.ResultFailed, Items: items, Amount: w.money(amount)}
	switch {
	case back:
		o.Text = "The first ones came back; the rest was left."
	case d.part:
		o.Text = "It did a part and failed."
	default:
		o.Result, o.Text = api.ResultDone, fmt.Sprintf("Done: %s.", h.effect)
	}
	d.result.Outcome = o
}

func (w *world) money(amount int64) api.Money {
	if amount == 0 {
		return nil
	}
	return api.Money{w.plan.currency: amount}
}

// would tells what a step would touch now.
func (w *world) would(h *handPlan, remediation string) estimate {
	switch h.effect {
	case api.EffectRoute:
		s := &w.systems[h.system]
		e := estimate{before: w.plan.endpoints[s.active].short, same: s.active == h.endpoint}
		if !e.same {
			e.text = "send new work of " + w.plan.systems[h.system].name + " to " + w.plan.endpoints[h.endpoint].short
		}
		return e
	case api.EffectReroute:
		if !w.fed(h.place.step) {
			return estimate{same: true}
		}
		e := estimate{text: "send new work of " + w.plan.steps[h.place.step].name + " to " + w.plan.steps[h.to.step].name}
		if w.steps[h.to.step].divert == h.place.step {
			e.before = rerouteBack
		}
		return e
	case api.EffectNotify, api.EffectObserve:
		return estimate{text: "tell or look; it changes nothing"}
	}
	if h.resolve {
		return w.wouldMove(w.doubted(h), "look up")
	}
	if h.place.worker || h.place.step < 0 {
		return w.wouldServe(h)
	}
	return w.wouldMove(w.found(h, remediation), string(h.effect))
}

// wouldServe is about workers and locks.
func (w *world) wouldServe(h *handPlan) estimate {
	switch {
	case h.place.step < 0: // a lock
		if len(w.systems[h.place.system].locks) == 0 {
			return estimate{same: true}
		}
		return estimate{items: 1, total: 1, text: "end the session that blocks " + w.plan.systems[h.place.system].name}
	case h.effect == api.EffectHold:
		if w.steps[h.place.step].paused {
			return estimate{same: true}
		}
		return estimate{text: "hold the intake of " + w.plan.steps[h.place.step].name, before: "open"}
	case h.effect == api.EffectRelease:
		if !w.steps[h.place.step].paused {
			return estimate{same: true}
		}
		return estimate{text: "let work into " + w.plan.steps[h.place.step].name + " again", before: "held"}
	case len(w.steps[h.place.step].stops) == 0:
		return estimate{same: true}
	}
	return estimate{text: "start the workers of " + w.plan.steps[h.place.step].name, before: "stopped"}
}

// rerouteBack is the before-image of a reroute that brings back what an earlier one sent elsewhere.
const rerouteBack = "back"

// fed tells whether new work comes to a step: by the ways of the model, or sent there by an action, and not sent on.
func (w *world) fed(step int) bool {
	if w.steps[step].divert >= 0 {
		return false
	}
	if slices.Contains(w.plan.begin.all.to, step) {
		return true
	}
	for k := range w.steps {
		if w.steps[k].divert == step || w.plan.steps[k].next.leads(step, len(w.steps)) {
			return true
		}
	}
	return false
}

func (w *world) wouldMove(list []int32, verb string) estimate {
	e := estimate{total: int64(len(list))}
	for _, i := range list {
		e.items++
		e.amount += w.items[i].value
	}
	if e.items > 0 {
		e.text = fmt.Sprintf("%s %d items", verb, e.items)
	}
	return e
}

// doubted lists the items in doubt that a step looks up, oldest first.
func (w *world) doubted(h *handPlan) []int32 {
	var out []int32
	for k := range w.steps {
		for _, p := range w.steps[k].lines[inDoubt].list[w.steps[k].lines[inDoubt].head:] {
			it := &w.items[p.item]
			if it.gen == p.gen && it.endpoint >= 0 && w.plan.endpoints[it.endpoint].system == h.system && (h.most == 0 || int64(len(out)) < h.most) {
				out = append(out, p.item)
			}
		}
	}
	return out
}

// found lists the items of a step's place, oldest first, within its own bounds.
func (w *world) found(h *handPlan, remediation string) []int32 {
	l := &w.steps[h.place.step].lines[h.place.state]
	switch {
	case h.effect == api.EffectRelease:
		l = &w.steps[h.place.step].lines[held]
	case h.place.state == waiting:
		l = &w.steps[h.place.step].queue
	}
	var out []int32
	for _, p := range l.list[l.head:] {
		it := &w.items[p.item]
		if it.gen != p.gen || w.now-it.since < h.older || h.attempts > 0 && int64(it.moved) >= h.attempts || h.most > 0 && int64(len(out)) >= h.most {
			continue
		}
		if h.undoes == "" || w.holds[p.item] == remediation { // a release of a hold leaves alone what others hold
			out = append(out, p.item)
		}
	}
	return out
}

// do changes the world, within bounds.
func (w *world) do(h *handPlan, b engine.Bounds, remediation string) (items, amount int64) {
	switch h.effect {
	case api.EffectRoute:
		w.systems[h.system].active = h.endpoint
		return 0, 0
	case api.EffectReroute:
		if back := &w.steps[h.to.step]; back.divert == h.place.step {
			back.divert = -1 // it brings back what went there instead
			return 0, 0
		}
		w.steps[h.place.step].divert = h.to.step
		return 0, 0
	case api.EffectNotify, api.EffectObserve:
		return 0, 0
	}
	switch {
	case h.resolve:
		return w.resolve(h, w.bounded(w.doubted(h), b))
	case h.place.worker || h.place.step < 0:
		return w.serve(h), 0
	}
	for _, i := range w.bounded(w.found(h, remediation), b) {
		items++
		amount += w.items[i].value
		w.move(h, i, remediation)
	}
	return items, amount
}

// failing tells whether what a step redelivers would come back now: the step's calls fail, for more than the odd item.
func (w *world) failing(h *handPlan) bool {
	if h.place.step < 0 {
		return false
	}
	for _, call := range w.plan.steps[h.place.step].calls {
		end := call.endpoint
		if end < 0 {
			end = w.systems[call.system].active
		}
		if len(w.systems[call.system].locks) > 0 {
			return true
		}
		for _, f := range w.ends[end].faults {
			switch p := &w.plan.faults[f]; p.kind {
			case api.FaultOutage, api.FaultError, api.FaultRefuse, api.FaultTimeout:
				if p.share >= 100_000 {
					return true
				}
			}
		}
	}
	return false
}

// bounded cuts a list where a playbook's limits are reached.
func (w *world) bounded(list []int32, b engine.Bounds) []int32 {
	most, bounded := b.Amount[w.plan.currency]
	var amount int64
	for n, i := range list {
		amount += w.items[i].value
		if b.Items > 0 && int64(n) >= b.Items || bounded && amount > most {
			return list[:n]
		}
	}
	return list
}

// move puts one item where an action wants it.
func (w *world) move(h *handPlan, i int32, remediation string) {
	switch h.effect {
	case api.EffectHold:
		w.settle(i, held)
		if w.holds == nil {
			w.holds = map[int32]string{}
		}
		w.holds[i] = remediation
	case api.EffectRelease:
		if w.freed == nil {
			w.freed = map[int32]string{}
		}
		delete(w.holds, i)
		w.freed[i] = remediation
		w.items[i].tries = 0
		w.settle(i, waiting)
	default:
		it := &w.items[i]
		it.tries, it.call, it.moved = 0, 0, min(it.moved, 250)+1
		if h.to.step >= 0 && h.to.step != int(it.step) {
			w.enter(i, h.to.step, int(it.prev))
			return
		}
		w.settle(i, waiting)
	}
}

// serve is about workers and locks.
func (w *world) serve(h *handPlan) int64 {
	switch {
	case h.place.step < 0:
		return w.mend(func(f *faultPlan) bool { return f.kind == api.FaultLock && f.system == h.place.system })
	case h.effect == api.EffectHold:
		w.steps[h.place.step].paused = true
	case h.effect == api.EffectRelease:
		w.steps[h.place.step].paused = false
		w.dispatch(w.plan.steps[h.place.step].pool)
	default:
		w.mend(func(f *faultPlan) bool { return f.kind == api.FaultStop && f.step == h.place.step })
	}
	return 0
}

// resolve asks the endpoint of each item that is in doubt.
func (w *world) resolve(h *handPlan, list []int32) (items, amount int64) {
	for _, i := range list {
		it := &w.items[i]
		call := &w.plan.steps[it.step].calls[it.call]
		end := int(it.endpoint)
		switch {
		case w.unreachable(end, i):
			continue
		case call.effect >= 0 && w.has(i, call.effect, end):
			items++
			amount += it.value
			w.resume(i)
		case w.now-it.since < h.delay || !h.voids:
			continue // too early for a no, or only to be reported
		default:
			items++
			amount += it.value
			it.tries, it.pinned = 0, h.pins
			w.settle(i, waiting)
		}
	}
	return items, amount
}

// unreachable tells whether a look-up would get no answer.
func (w *world) unreachable(end int, i int32) bool {
	for _, f := range w.ends[end].faults {
		if k := w.plan.faults[f].kind; (k == api.FaultOutage || k == api.FaultError) && w.strikes(f, w.chance(i)|1<<63) {
			return true
		}
	}
	return false
}

// undo restores what was before.
func (w *world) undo(h *handPlan, c *engine.Command) api.Outcome {
	var before string
	if c.Estimate != nil {
		before = routeBefore(c.Estimate.Before) // without one there is nothing to restore
	}
	switch {
	case h.effect == api.EffectRoute:
		for e := range w.plan.endpoints {
			if w.plan.endpoints[e].system == h.system && w.plan.endpoints[e].short == before {
				w.systems[h.system].active = e
			}
		}
	case h.effect == api.EffectReroute:
		if before == rerouteBack {
			w.steps[h.to.step].divert = h.place.step
		} else {
			w.steps[h.place.step].divert = -1
		}
	case h.place.worker && (h.effect == api.EffectHold || h.effect == api.EffectRelease):
		w.steps[h.place.step].paused = h.effect == api.EffectRelease
		w.dispatch(w.plan.steps[h.place.step].pool)
	case h.effect == api.EffectHold:
		w.putBack(w.holds, c.Remediation, held, waiting)
	case h.effect == api.EffectRelease:
		w.putBack(w.freed, c.Remediation, waiting, held)
	default:
		return api.Outcome{Result: api.ResultRefused, Text: "It cannot be undone."}
	}
	return api.Outcome{Result: api.ResultDone, Text: "Put back."}
}

// putBack brings the items that a remediation moved back from one state to the other; those that went on meanwhile stay where they are.
func (w *world) putBack(whose map[int32]string, remediation string, from, to state) {
	for i := range int32(len(w.items)) {
		if r, moved := whose[i]; moved && r == remediation {
			delete(whose, i)
			if w.items[i].state == from {
				w.settle(i, to)
			}
		}
	}
}
