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

// hands makes the steps of a variant's playbooks ready.
func (c *compiler) hands(cfg *engine.Config) (map[handKey]*handPlan, []string) {
	out := map[handKey]*handPlan{}
	var lucks []string
	for i := range cfg.Playbooks {
		p := &cfg.Playbooks[i]
		for k := range p.Spec.Steps {
			if p.Steps[k].Control != (api.Control{}) {
				continue
			}
			h := c.hand(p, k)
			h.luck = len(lucks)
			lucks = append(lucks, "playbook "+p.Name+"/"+h.step)
			out[handKey{p.Digest, h.step}] = h
			if h.outside != "" {
				c.note("Step %s of playbook %s: %s", h.step, p.Name, strings.TrimPrefix(h.outside, "!"))
			}
		}
	}
	return out, lucks
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
	h := &handPlan{playbook: p.Name, step: spec.Name, effect: plan.Action.Effect, targets: plan.Targets, danger: plan.Action.Danger, repeat: plan.Action.Repeat, keeps: int64(plan.Action.Retention),
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
	h.voids, h.pins = len(with.Void)+len(with.Retry) > 0, len(with.Retry) > 0
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
	case api.EffectScale:
		h.outside = "more or fewer workers are not simulated."
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
	hands, lucks := c.hands(cfg)
	c.p.casts = append(c.p.casts, cast{variant: v, config: cfg, eyes: c.eyes(cfg), hands: hands, lucks: lucks})
}
