package twin

import (
	"fmt"
	"slices"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

// remedy is what the judge knows of a remediation: what people said to it, and what it touched. It is kept apart from what the engine
// knows, so that a mistake there shows here.
type remedy struct {
	playbook int
	opened   int64
	acted    bool
	yes      []string            // who approved it
	stepYes  map[string][]string // who approved one of its steps
	asked    map[string]*api.Estimate
	items    int64
	amount   int64
}

// approved notes a person's yes. The same person counts once.
func (r *remedy) approved(step, by string) {
	if step == "" {
		if !slices.Contains(r.yes, by) {
			r.yes = append(r.yes, by)
		}
		return
	}
	if r.stepYes == nil {
		r.stepYes = map[string][]string{}
	}
	if !slices.Contains(r.stepYes[step], by) {
		r.stepYes[step] = append(r.stepYes[step], by)
	}
}

// question notes the figures that people are asked about.
func (r *remedy) question(step string, e *api.Estimate) {
	if r.asked == nil {
		r.asked = map[string]*api.Estimate{}
	}
	r.asked[step] = e
}

// judgeRun holds an action, before it begins, against what was written and signed.
func (w *world) judgeRun(b *brain, r *remedy, h *handPlan) {
	if r.playbook < 0 || h.danger <= api.D0 {
		return
	}
	p := &w.cast.config.Playbooks[r.playbook]
	if why := unapproved(p, r, h, w.clock()); why != "" {
		w.violated(Unapproved, "%s/%s: %s", p.Name, h.step, why)
	}
	if r.acted {
		return
	}
	r.acted = true
	b.began[r.playbook] = append(b.began[r.playbook], r.opened)
	if most := p.Spec.Limits.Runs; most.N > 0 && p.Spec.Mode == api.ModeAuto {
		var n int64
		for _, at := range b.began[r.playbook] {
			if at > r.opened-int64(most.Per) {
				n++
			}
		}
		if n > most.N {
			w.violated(OverLimit, "%s ran %d times within %s; its limit is %s", p.Name, n, most.Per, most)
		}
	}
}

// unapproved says why an action may not be; empty where it may.
func unapproved(p *engine.Playbook, r *remedy, h *handPlan, now time.Time) string {
	mode := p.Spec.Mode
	if a := p.Approval; a != nil {
		mode = mode.Lesser(a.Mode)
		if !a.Expires.IsZero() && !now.Before(a.Expires) {
			return "an action after its approval expired"
		}
	}
	need := 0
	if mode == api.ModeApprove {
		need = 1
	}
	if h.danger == api.D4 {
		need = 2
	}
	switch {
	case mode != api.ModeAuto && mode != api.ModeApprove:
		return fmt.Sprintf("an action in mode %s", mode)
	case h.danger >= api.D5:
		return "an action of class D5"
	case len(r.yes) < need:
		return fmt.Sprintf("an action of class %s in mode %s with %d of %d approvals", h.danger, mode, len(r.yes), need)
	}
	for k := range p.Spec.Steps {
		if p.Spec.Steps[k].Name == h.step {
			break
		}
		q := p.Steps[k].Control.Ask
		if q != nil && q.Default != "approve" && p.Spec.Steps[k].When == "" && len(r.stepYes[p.Spec.Steps[k].Name]) < max(1, q.People) {
			return fmt.Sprintf("an action although question %s was not answered with yes", p.Spec.Steps[k].Name)
		}
	}
	return ""
}

// judgeLimits holds what was really touched against what the playbook allows. A step whose figures people approved may touch those.
func (w *world) judgeLimits(c *engine.Command, items, amount int64) {
	b, ok := w.mind.(*brain)
	if !ok {
		return
	}
	r := b.rems[c.Remediation]
	if r == nil || r.playbook < 0 {
		return
	}
	if e := r.asked[c.Step]; e != nil && len(r.stepYes[c.Step]) > 0 {
		if items > e.Items || amount > e.Amount[w.plan.currency] && len(e.Amount) > 0 {
			w.violated(OverLimit, "%s/%s touched %d items; people approved %d", c.Playbook, c.Step, items, e.Items)
		}
		return
	}
	r.items += items
	r.amount += amount
	l := &w.cast.config.Playbooks[r.playbook].Spec.Limits
	if l.Items > 0 && items > 0 && r.items > l.Items {
		w.violated(OverLimit, "%s touched %d items; its limit is %d", c.Playbook, r.items, l.Items)
	}
	if most, bounded := l.Amount[w.plan.currency]; bounded && amount > 0 && r.amount > most {
		w.violated(OverLimit, "%s touched %s; its limit is %s", c.Playbook, w.money(r.amount), l.Amount)
	}
}
