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
	outside  string // why it is not in this world; empty where it is

	system   int
	endpoint int  // to route to
	place    spot // where its items or workers are
	to       spot // where they go
	resolve  bool // look up what is in doubt
	delay    int64
	voids    bool // what definitely did not happen is freed, or repeated with its key
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
	silent  bool // nobody learns that it was done
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

func (e *estimate) noop() bool { return e.same || e.items == 0 && e.text == "" }

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
		e := w.would(h, engine.Bounds{})
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
		if w.keys[c.Key] {
			r = api.ResultDone
		}
		w.later(c, latencyDefault, engine.Result{Outcome: api.Outcome{Result: r, Text: "The target was asked."}})
	case engine.Run:
		b.run(w, c, h)
	case engine.Undo:
		w.deeds = append(w.deeds, deed{command: c, hand: h, do: true})
		w.heap.push(w.now+h.takes.draw(w.luck[luckDeed].at(uint64(len(w.deeds)))), evDeed, int32(len(w.deeds)-1), 0, 0)
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
	u := w.luck[luckDeed].at(uint64(len(w.deeds)))
	d := deed{command: c, hand: h, do: true}
	v := scramble(u)
	switch {
	case hits(v, h.refused):
		d.do, d.result.Outcome = false, api.Outcome{Result: api.ResultRefused, Text: "The target said no."}
	case hits(v, h.refused+h.fails):
		d.do, d.result.Outcome = false, api.Outcome{Result: api.ResultFailed, Text: "It failed without an effect."}
	case hits(v, h.refused+h.fails+h.unknown):
		d.do, d.silent = v&1 == 0, true
		d.result.Outcome = api.Outcome{Result: api.ResultUnknown, Text: "There was no answer by the deadline."}
	case hits(v, h.refused+h.fails+h.unknown+h.partial):
		d.part = true
	}
	r := b.rems[c.Remediation]
	if r == nil {
		r = &remedy{playbook: b.playbook(w, c.Playbook)}
		b.rems[c.Remediation] = r
	}
	w.judgeRun(r, h)
	w.acting(h.targets, c.Remediation, c.ID)
	at := w.now + h.takes.draw(u)
	if h.each > 0 {
		at += h.each * w.would(h, c.Bounds).items
	}
	if d.silent {
		at = max(int64(c.Deadline.Sub(w.plan.start)), at)
	}
	w.deeds = append(w.deeds, d)
	w.heap.push(at, evDeed, int32(len(w.deeds)-1), 0, 0)
}

// judgeRun holds an action against what was written and signed.
func (w *world) judgeRun(r *remedy, h *handPlan) {
	if r.playbook < 0 {
		return
	}
	p := &w.cast.config.Playbooks[r.playbook]
	var expires time.Time
	if p.Approval != nil {
		expires = p.Approval.Expires
	}
	w.allowedBy(&p.Spec, r.yes, h.danger, expires)
}

// deedDone is the end of a command: its effect, if it has one, and its result.
func (w *world) deedDone(n int) {
	d := w.deeds[n]
	w.deeds[n] = deed{} // let go of what it held
	if d.do && d.hand != nil {
		w.perform(&d)
	}
	w.mind.result(w, &d)
}

// perform changes the world as a deed wants it.
func (w *world) perform(d *deed) {
	c := &d.command
	if c.Kind == engine.Undo {
		d.result.Outcome = w.undo(d.hand, c)
		return
	}
	if d.hand.repeat != api.Blind && w.keys[c.Key] {
		if !d.silent {
			d.result.Outcome = api.Outcome{Result: api.ResultDone, Text: "The target recognised the key: it was done before."}
		}
		return
	}
	bounds := c.Bounds
	if d.part {
		bounds.Items = max(w.would(d.hand, bounds).items/2, 1)
	}
	back := d.hand.canary > 0 && w.failing(d.hand)
	if back {
		bounds.Items = d.hand.canary
	}
	items, amount := w.do(d.hand, bounds, c.Remediation)
	if w.keys == nil {
		w.keys = map[string]bool{}
	}
	w.keys[c.Key] = true
	if d.hand.effect != api.EffectNotify && d.hand.effect != api.EffectObserve {
		w.figures.first(w, Acted)
		w.figures.count(Actions)
	}
	w.judgeLimits(c, items, amount)
	switch {
	case d.silent:
	case back:
		d.result.Outcome = api.Outcome{Result: api.ResultFailed, Text: "The first ones came back; the rest was left.", Items: items, Amount: w.money(amount)}
	case d.part:
		d.result.Outcome = api.Outcome{Result: api.ResultFailed, Text: "It did a part and failed.", Items: items, Amount: w.money(amount)}
	default:
		d.result.Outcome = api.Outcome{Result: api.ResultDone, Text: fmt.Sprintf("Done: %s.", d.hand.effect), Items: items, Amount: w.money(amount)}
	}
}

// judgeLimits holds what was really touched against what the playbook allows.
func (w *world) judgeLimits(c *engine.Command, items, amount int64) {
	b, ok := w.mind.(*brain)
	if !ok {
		return
	}
	r := b.rems[c.Remediation]
	if r == nil || r.playbook < 0 {
		return
	}
	r.items += items
	r.amount += amount
	if r.said[c.Step] {
		return // a person saw the figures; the engine asks again where they have grown
	}
	l := &w.cast.config.Playbooks[r.playbook].Spec.Limits
	if l.Items > 0 && r.items > l.Items {
		w.violated(OverLimit, "%s touched %d items; its limit is %d", c.Playbook, r.items, l.Items)
	}
	if most, bounded := l.Amount[w.plan.currency]; bounded && r.amount > most {
		w.violated(OverLimit, "%s touched %s; its limit is %s", c.Playbook, w.money(r.amount), l.Amount)
	}
}

func (w *world) money(amount int64) api.Money {
	if amount == 0 {
		return nil
	}
	return api.Money{w.plan.currency: amount}
}

// would tells what a step would touch now.
func (w *world) would(h *handPlan, _ engine.Bounds) estimate {
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
		return w.wouldMove(h, w.doubted(h), "look up")
	}
	if h.place.worker || h.place.step < 0 {
		return w.wouldServe(h)
	}
	return w.wouldMove(h, w.found(h), string(h.effect))
}

// wouldServe is about workers and locks.
func (w *world) wouldServe(h *handPlan) estimate {
	switch {
	case h.place.step < 0: // a lock
		if w.systems[h.place.system].locked == 0 {
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
	case w.steps[h.place.step].stopped == 0:
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

func (w *world) wouldMove(h *handPlan, list []int32, verb string) estimate {
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
func (w *world) found(h *handPlan) []int32 {
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
		if it.gen == p.gen && w.now-it.since >= h.older && (h.attempts == 0 || int64(it.moved) < h.attempts) && (h.most == 0 || int64(len(out)) < h.most) {
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
	for _, i := range w.bounded(w.found(h), b) {
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
		if w.systems[call.system].locked > 0 {
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
		if h.undoes == "" || w.holds[i] == remediation {
			delete(w.holds, i)
			w.settle(i, waiting)
		}
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
			w.settled(i)
		case w.now-it.since < h.delay || !h.voids:
			continue // too early for a no, or only to be reported
		default:
			items++
			amount += it.value
			it.tries = 0
			w.settle(i, waiting)
		}
	}
	return items, amount
}

// unreachable tells whether a look-up would get no answer.
func (w *world) unreachable(end int, i int32) bool {
	for _, f := range w.ends[end].faults {
		if k := w.plan.faults[f].kind; (k == api.FaultOutage || k == api.FaultError) && w.strikes(f, i, 100) {
			return true
		}
	}
	return false
}

// settled goes on with an item whose call is known to have happened.
func (w *world) settled(i int32) {
	it := &w.items[i]
	it.call++
	if int(it.call) < len(w.plan.steps[it.step].calls) {
		w.enqueueAgain(i)
		return
	}
	w.enter(i, w.plan.steps[it.step].next.choose(int(it.prev), w.luck[luckWay].of(i, it.visits)), int(it.step))
}

// undo restores what was before.
func (w *world) undo(h *handPlan, c *engine.Command) api.Outcome {
	var before string
	if c.Estimate != nil {
		_ = json.Unmarshal(c.Estimate.Before, &before) // without one there is nothing to restore
	}
	switch h.effect {
	case api.EffectRoute:
		for e := range w.plan.endpoints {
			if w.plan.endpoints[e].system == h.system && w.plan.endpoints[e].short == before {
				w.systems[h.system].active = e
			}
		}
	case api.EffectReroute:
		if before == rerouteBack {
			w.steps[h.to.step].divert = h.place.step
			break
		}
		w.steps[h.place.step].divert = -1
	case api.EffectHold, api.EffectRelease:
		hold := h.effect == api.EffectHold
		if h.place.worker {
			w.steps[h.place.step].paused = !hold
			w.dispatch(w.plan.steps[h.place.step].pool)
			break
		}
		for i := range w.items {
			if hold && w.holds[int32(i)] == c.Remediation && w.items[i].state == held {
				w.settle(int32(i), waiting)
			}
		}
	default:
		return api.Outcome{Result: api.ResultRefused, Text: "It cannot be undone."}
	}
	return api.Outcome{Result: api.ResultDone, Text: "Put back."}
}

// hands makes the steps of a variant's playbooks ready.
func (c *compiler) hands(cfg *engine.Config) map[handKey]*handPlan {
	out := map[handKey]*handPlan{}
	for i := range cfg.Playbooks {
		p := &cfg.Playbooks[i]
		for k := range p.Spec.Steps {
			if p.Steps[k].Control != (api.Control{}) {
				continue
			}
			h := c.hand(p, k)
			out[handKey{p.Digest, h.step}] = h
			if h.outside != "" {
				c.note("Step %s of playbook %s: %s", h.step, p.Name, strings.TrimPrefix(h.outside, "!"))
			}
		}
	}
	return out
}

// params are the parameters that the twin reads, whatever the action.
type params struct {
	Integration string          `json:"integration"`
	To          string          `json:"to"`
	From        string          `json:"from"`
	Most        int64           `json:"most"`
	Limit       int64           `json:"limit"`
	OlderThan   api.Duration    `json:"olderThan"`
	Of          string          `json:"of"`
	Attempts    int64           `json:"attempts"`
	Canary      []int64         `json:"canary"`
	Void        json.RawMessage `json:"void"`
	Retry       json.RawMessage `json:"retry"`
	Lookup      *struct {
		Delay api.Duration `json:"delay"`
	} `json:"lookup"`
}

func (c *compiler) hand(p *engine.Playbook, k int) *handPlan {
	spec, plan := &p.Spec.Steps[k], &p.Steps[k]
	h := &handPlan{playbook: p.Name, step: spec.Name, effect: plan.Action.Effect, targets: plan.Targets, danger: plan.Action.Danger, repeat: plan.Action.Repeat,
		place: spot{step: -1, system: -1}, to: spot{step: -1, system: -1}, takes: fixedTable(int64(500 * time.Millisecond))}
	for _, m := range c.p.setup.Model.Spec.Actions {
		if m.Action != spec.Do && m.Action != p.Name+"/"+spec.Name {
			continue
		}
		if m.Effect != "" {
			h.effect = m.Effect
		}
		if m.Takes != nil {
			h.takes = timesTable(m.Takes)
		}
		h.each = int64(m.Each.Duration)
		h.refused, h.fails, h.unknown, h.partial = m.Refused.PPM, m.Fails.PPM, m.Unknown.PPM, m.Partial.PPM
	}
	var with params
	if raw, err := spec.With.MarshalJSON(); err == nil {
		_ = json.Unmarshal(raw, &with) // a parameter of another shape belongs to an action that the twin reads nothing of
	}
	h.most, h.older, h.undoes = max(with.Most, with.Limit), int64(with.OlderThan.Duration), with.Of
	h.voids = len(with.Void)+len(with.Retry) > 0
	if h.effect == api.EffectRedeliver {
		h.redelivers(spec.Do, &with)
	}
	c.aim(h, spec, plan, with)
	return h
}

// redelivers takes what bounds a redelivery, with the defaults of the actions that do so.
func (h *handPlan) redelivers(action string, with *params) {
	h.attempts = with.Attempts
	switch action {
	case "replay":
		h.attempts = max(h.attempts, 1)
		h.canary = 1
		if with.Canary != nil {
			h.canary = 0
		}
		if len(with.Canary) > 0 {
			h.canary = max(with.Canary[0], 1)
		}
	case "requeue":
		if h.attempts == 0 {
			h.attempts = 3
		}
	}
}

// aim finds out where in this world a step acts.
func (c *compiler) aim(h *handPlan, spec *api.Step, plan *api.StepPlan, with params) {
	switch h.effect {
	case api.EffectNotify, api.EffectObserve:
		return
	case api.EffectRoute:
		if h.system = c.system(with.Integration); h.system < 0 {
			h.outside = "there is no integration " + with.Integration + " in this world."
			return
		}
		s := &c.p.systems[h.system]
		h.endpoint = s.first
		if with.To == "" && spec.Do == "failover" {
			h.endpoint = s.first + min(1, s.count-1)
		}
		if with.To != "" {
			if h.endpoint = c.endpointOf(with.Integration + "/" + with.To); h.endpoint < 0 {
				h.outside = "!There is no endpoint " + with.To + "."
			}
		}
		return
	}
	if with.Lookup != nil {
		h.resolve, h.system, h.delay = true, c.system(with.Integration), int64(with.Lookup.Delay.Duration)
		if h.system < 0 {
			h.outside = "there is no integration " + with.Integration + " in this world."
		}
		return
	}
	if at, ok := c.place(plan.Targets, 0); ok {
		h.place = at
		if to, ok := c.place(plan.Targets, 1); ok {
			h.to = to
		} else if len(plan.Targets) > 1 {
			h.outside = fmt.Sprintf("!There is no %s in this world.", plan.Targets[1])
		} else if h.effect == api.EffectReroute {
			h.outside = "the model does not say where it sends work to."
		}
		return
	}
	if system := c.system(with.Integration); system >= 0 && c.p.systems[system].locks {
		h.place.system = system
		return
	}
	h.outside = fmt.Sprintf("the model does not say what %s is.", strings.Join(plan.Targets, ", "))
	if c.placed(plan.Targets) {
		h.outside = "!There is no such thing in this world: " + strings.Join(plan.Targets, ", ") + "."
	}
}

// placed tells whether the model places targets of this sort at all, so that one it does not know is a mistake and no gap.
func (c *compiler) placed(targets []string) bool {
	for _, t := range targets {
		sort, _, _ := strings.Cut(t, "/")
		if slices.ContainsFunc(c.p.setup.Model.Spec.Places, func(m api.ModelPlace) bool { return strings.HasPrefix(m.Target, sort+"/") }) {
			return true
		}
	}
	return false
}

// place is where the n-th target of a step is.
func (c *compiler) place(targets []string, n int) (spot, bool) {
	if n >= len(targets) {
		return spot{}, false
	}
	for _, m := range c.p.setup.Model.Spec.Places {
		if m.Target != targets[n] {
			continue
		}
		s := spot{step: -1, system: -1, worker: m.State == "workers", state: stateOf(m.State)}
		if m.Step != "" {
			s.step = c.step(m.Step)
		}
		if m.System != "" {
			s.system = c.system(m.System)
		}
		if s.step < 0 && s.system < 0 {
			c.errorf(c.p.setup.Model.Pos, "unknown-reference", "", "place %s: there is no such step or integration", m.Target)
		}
		return s, s.step >= 0 || s.system >= 0
	}
	return spot{}, false
}

// cast makes a variant ready.
func (c *compiler) cast(v api.Variant) {
	cfg := &c.p.setup.Current
	if v == api.VariantCandidate {
		if cfg = c.p.setup.Candidate; cfg == nil {
			c.errorf(c.p.setup.Scenario.Pos, "missing-key", "say in candidate which files take the place of those of the same name", "variant candidate is asked for, and the scenario has no candidate")
			return
		}
	}
	c.p.casts = append(c.p.casts, cast{variant: v, config: cfg, eyes: c.eyes(cfg), hands: c.hands(cfg)})
}
