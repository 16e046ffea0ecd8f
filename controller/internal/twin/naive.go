package twin

import (
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

// naive is the control: a careless program in the engine's place. It acts on the first sign, asks nobody, keeps no limit, takes an
// unknown outcome for a failure, sends what failed or is in doubt again wherever the route leads, and takes out what it redelivers before
// it has put it back.
type naive struct {
	last []int64 // when each playbook ran last; -1: never
	open []int   // anomalies open now, by playbook
}

// naiveWait is how long it waits before it does the same again.
const naiveWait = int64(30 * time.Second)

func newNaive(w *world) *naive {
	n := &naive{last: make([]int64, len(w.cast.config.Playbooks)), open: make([]int, len(w.cast.config.Playbooks))}
	for i := range n.last {
		n.last[i] = -naiveWait
	}
	return n
}

func (n *naive) seen(w *world, _ int, _ *api.Observation, changes []api.Anomaly, _ news) {
	for i := range changes {
		for k := range w.cast.config.Playbooks {
			if w.cast.config.Playbooks[k].Spec.On.Anomaly != changes[i].Name {
				continue
			}
			if changes[i].Cleared {
				n.open[k]--
				continue
			}
			n.open[k]++
			n.act(w, k)
		}
	}
}

// act runs all steps of a playbook at once, without a look at anything.
func (n *naive) act(w *world, k int) {
	if w.now-n.last[k] < naiveWait {
		w.heap.push(n.last[k]+naiveWait, evWake, 0, 0, 0)
		return
	}
	n.last[k] = w.now
	p := &w.cast.config.Playbooks[k]
	w.tell("act", "the naive program runs "+p.Name)
	for i := range p.Spec.Steps {
		h := w.cast.hands[handKey{p.Digest, p.Spec.Steps[i].Name}]
		if h == nil || h.outside != "" || h.effect == api.EffectNotify || h.effect == api.EffectObserve {
			continue
		}
		w.figures.first(w, Acted)
		w.figures.count(Actions)
		if h.effect == api.EffectRedeliver && h.place.step >= 0 && !h.place.worker && n.loses(w, h) {
			continue
		}
		if !h.resolve {
			w.do(h, engine.Bounds{}, "naive")
			continue
		}
		for _, item := range w.doubted(h) { // it was not answered, so it failed: once more
			w.items[item].tries = 0
			w.settle(item, waiting)
		}
	}
	w.heap.push(w.now+naiveWait, evWake, 0, 0, 0)
}

// loses tells whether a redelivery broke off. A careless one takes items out before it has put them back, so that half of them are gone.
func (n *naive) loses(w *world, h *handPlan) bool {
	if !hits(w.deedLuck(h), h.fails+h.unknown+h.partial) {
		return false
	}
	list := w.found(h, "naive")
	for _, i := range list[:len(list)/2] {
		w.settle(i, dropped)
		w.gone(i)
		w.ledger.lose(w, i, "was taken out of "+w.plan.steps[h.place.step].name+" and never put back")
	}
	return true
}

func (n *naive) wake(w *world) {
	for k := range n.open {
		if n.open[k] > 0 && w.now-n.last[k] >= naiveWait {
			n.act(w, k)
		}
	}
}

func (n *naive) result(*world, *deed)         {}
func (n *naive) decided(*world, api.Decision) {}
func (n *naive) close(*world)                 {}
