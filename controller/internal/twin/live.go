package twin

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/detect"
	"github.com/backstay/backstay/controller/internal/engine"
)

// Live is the state of a running controller to start from; see Present. As JSON it is the form of a file that people may keep and play
// again.
//
// Compatibility: fields are only added, with omitempty; none is renamed, reused or removed.
type Live struct {
	At       time.Time           `json:"at"`
	Snapshot json.RawMessage     `json:"snapshot,omitempty"` // of the engine: open incidents, budgets, remediations under way
	Stock    []api.ScenarioStock `json:"stock,omitempty"`    // what probes count now
	Active   map[string]string   `json:"active,omitempty"`   // integration to the endpoint that its route names
	Faults   []api.Fault         `json:"faults,omitempty"`   // what is ill now, and stays so until an action mends it, or to the end
	Notes    []string            `json:"notes,omitempty"`    // what could not be known
}

// digest identifies the state by its JSON.
func (l *Live) digest() string {
	raw, err := json.Marshal(l)
	if err != nil {
		panic("twin: encode a state to start from: " + err.Error()) // its snapshot was read before
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256(raw))
}

// badStart reports that the state to start from cannot be used.
func (c *compiler) badStart(format string, args ...any) {
	c.errorf(c.p.setup.Scenario.Pos, "bad-start", "write it anew with backstay simulate --data DIR --save-start FILE", "the state to start from: "+format, args...)
}

// live takes the state to start from. It stands after steps, systems and faults, against whose names it holds the state.
func (c *compiler) live() {
	l := c.p.setup.Live
	if l == nil {
		return
	}
	sc := &c.p.setup.Scenario.Spec
	if sc.Warmup.Duration > 0 {
		c.note("The warm-up of the scenario is left out: this world begins with the present.")
	}
	if sc.Start != "" {
		c.note("The start of the scenario is left out: this world begins at %s.", l.At.UTC().Format(time.RFC3339))
	}
	if year := l.At.Year(); year < 2000 || year > 2200 {
		c.badStart("it is of %s, which cannot be", l.At.Format(time.RFC3339))
	}
	var sum int64
	for _, s := range l.Stock {
		sum += max(s.Items, 0)
		switch {
		case c.step(s.Step) < 0:
			c.badStart("the model has no step %q", s.Step)
		case !slices.Contains([]string{"", "waiting", "in-doubt", "dead", "held"}, s.State):
			c.badStart("items cannot be %q", s.State)
		case s.Items < 1 || s.Items > stockMax || sum > stockMax:
			c.badStart("%d items at step %s: from 1 to %d can be there in all", s.Items, s.Step, stockMax)
		case s.Age.Duration < 0 || s.Age.Duration > 10*365*24*time.Hour:
			c.badStart("items at step %s cannot be of the age %s", s.Step, s.Age)
		}
	}
	for _, name := range sortedKeys(l.Active) {
		if c.endpointOf(name+"/"+l.Active[name]) < 0 {
			c.badStart("there is no endpoint %s of %s, which its route names", l.Active[name], name)
		}
	}
	for _, note := range l.Notes {
		c.note("%s", note)
	}
	c.underWay(l)
}

// underWay reads what the engine had open.
func (c *compiler) underWay(l *Live) {
	if len(l.Snapshot) == 0 {
		return
	}
	s, err := engine.Restore(l.Snapshot)
	if err != nil {
		c.badStart("%v", err)
		return
	}
	c.p.open, c.p.underWay = s.Open(), s.UnderWay()
	if halted := s.Halted(); halted != "" {
		c.badStart("the engine had stopped acting: %s", halted)
	}
	for _, u := range c.p.underWay {
		if !slices.ContainsFunc(c.p.setup.Current.Playbooks, func(p engine.Playbook) bool { return p.Digest == u.Digest }) {
			c.note("Remediation %s goes on with a version of playbook %s that this configuration has not: what is left of it changes nothing in this world.", u.ID, u.Playbook)
		}
		for _, st := range u.Steps {
			if st.Unknown {
				c.note("Nobody knew whether step %s of remediation %s had happened: in this world it had not.", st.Name, u.ID)
			}
		}
	}
}

// unseen notes the open anomalies that nothing in this world can clear.
func (c *compiler) unseen(eyes []eyePlan) {
	for _, a := range c.p.open {
		if !slices.ContainsFunc(eyes, func(p eyePlan) bool { return p.name == a.Probe && p.sight != seesNothing }) {
			c.note("Anomaly %s is open, and its probe sees nothing of this world: it stays open.", a.ID())
		}
	}
}

// begins are the faults of a plan: those of the scenario, then what was ill already.
func (c *compiler) begins() []api.Fault {
	all := c.p.setup.Scenario.Spec.Faults
	if l := c.p.setup.Live; l != nil {
		all = append(all[:len(all):len(all)], l.Faults...)
	}
	return all
}

// past books what an item from before the start has brought about at the steps before its own.
func (w *world) past(i int32) {
	it := &w.items[i]
	for k := range int(it.step) {
		for n := range w.plan.steps[k].calls {
			call := &w.plan.steps[k].calls[n]
			if call.effect < 0 {
				continue
			}
			end := call.endpoint
			if end < 0 {
				end = w.systems[call.system].active
			}
			w.ledger.book(w, i, call, end)
		}
	}
}

// adopt lets a probe take over the anomalies that were open before its detectors began.
func (w *world) adopt(p *eyePlan, e *eye) {
	var open []api.Anomaly
	for _, a := range w.plan.open {
		if a.Probe == p.name {
			open = append(open, a)
		}
	}
	if e.adopted = detect.Adopt(open, p.name, p.spec, w.clock()); e.adopted != nil {
		w.figures.anomalies += len(e.adopted.Anomalies)
	}
}

// settleAdopted goes on with the adopted anomalies of a probe after a run of it.
func (w *world) settleAdopted(e *eye, o *api.Observation, changes []api.Anomaly) []api.Anomaly {
	for _, a := range changes {
		if !a.Cleared && slices.ContainsFunc(e.adopted.Anomalies, func(b api.Anomaly) bool { return a.ID() == b.ID() }) {
			w.figures.anomalies-- // it is the same one
		}
	}
	changes = e.adopted.Settle(o, e.watch.Open(), changes)
	if len(e.adopted.Anomalies) == 0 {
		e.adopted = nil
	}
	return changes
}

// inherit tells the judge of the remediations that are under way.
func (b *brain) inherit(w *world) {
	for _, u := range w.plan.underWay {
		r := &remedy{playbook: b.playbook(w, u.Playbook), opened: w.now, acted: u.Began, items: u.Items, amount: u.Amount[w.plan.currency]}
		for _, who := range u.Yes {
			r.approved("", who)
		}
		for _, st := range u.Steps {
			for _, who := range st.Yes {
				r.approved(st.Name, who)
			}
			if st.Asked != nil {
				r.question(st.Name, st.Asked)
			}
		}
		b.rems[u.ID] = r
	}
}

// askAgain puts the questions that are open to the people of this world, unless the engine has just done so.
func (b *brain) askAgain(w *world) {
	for _, u := range w.plan.underWay {
		var steps []string
		if u.Asks {
			steps = append(steps, "")
		}
		for _, st := range u.Steps {
			if st.Asks {
				steps = append(steps, st.Name)
			}
		}
		for _, step := range steps {
			target := strings.TrimSuffix(u.ID+"/"+step, "/")
			if !slices.ContainsFunc(b.asked, func(a asking) bool { return a.decision.Target == target }) {
				b.ask(w, &api.Entry{Remediation: u.ID, Step: step})
			}
		}
	}
}

// routeBefore is the endpoint to which most went in the before-image of a route: an endpoint's name, as this world keeps it, or the shares
// that an action has read from the real one.
func routeBefore(image json.RawMessage) string {
	var name string
	if json.Unmarshal(image, &name) == nil {
		return name
	}
	var state struct {
		Shares []struct {
			Endpoint string `json:"endpoint"`
			Percent  int    `json:"percent"`
		} `json:"shares"`
	}
	most := 0
	if json.Unmarshal(image, &state) == nil {
		for _, s := range state.Shares {
			if s.Percent > most {
				name, most = s.Endpoint, s.Percent
			}
		}
	}
	return name
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m { // sorted below
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
