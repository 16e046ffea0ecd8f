package twin

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

// Seen is what a probe saw last.
type Seen struct {
	Probe   string
	Verdict api.Verdict // unknown where it was now good, now bad
	Value   float64
	At      time.Time
}

// present makes a state to start from.
type present struct {
	*Setup
	live Live
	seen map[string]Seen
}

// Present makes the state to start from of what a controller knows at a time: its engine's state, and what its probes saw last. What the
// model says that probes see is read backwards: counts become items, ages their age, route probes the endpoint in use, and anomalies of
// endpoints, workers, locks and lags the faults that they are signs of. What cannot be known is in the notes.
func Present(s *Setup, state *engine.State, at time.Time, seen []Seen) (*Live, error) {
	p := present{Setup: s, live: Live{At: at.UTC(), Active: map[string]string{}}, seen: map[string]Seen{}}
	for _, x := range seen {
		p.seen[x.Probe] = x
	}
	raw, err := state.Snapshot()
	if err != nil {
		return nil, err
	}
	p.live.Snapshot = raw
	if err := p.stock(); err != nil {
		return nil, err
	}
	p.routes(state)
	for _, a := range state.Open() {
		p.ill(&a)
	}
	p.hidden()
	return &p.live, nil
}

func (p *present) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(p.live.Notes, text) {
		p.live.Notes = append(p.live.Notes, text)
	}
}

// number is what a probe counted last; the error says where it cannot be right.
func (p *present) number(probe string) (n int64, known bool, err error) {
	x, found := p.seen[probe]
	switch {
	case !found || x.Verdict == api.Bad: // a bad run brings no value
		p.note("What probe %s counts is not known: it saw nothing lately.", probe)
		return 0, false, nil
	case math.IsNaN(x.Value) || x.Value < 0 || x.Value > stockMax:
		return 0, false, api.Errorf(api.CodeInvalid, "begin with the present: probe %s counts %g items, and from 0 to %d can be played", probe, x.Value, stockMax)
	}
	return int64(math.Round(x.Value)), true, nil
}

// stock turns counts into items: those of one step, then those of any step, then what is open beside.
func (p *present) stock() error {
	var at, anywhere, open []api.ModelSight
	for _, m := range p.Model.Spec.Sees {
		same := func(o api.ModelSight) bool { return o.Count == m.Count && o.Of == m.Of }
		switch {
		case !slices.Contains([]string{"waiting", "in-doubt", "dead", "held", "open"}, m.Count) || slices.ContainsFunc(slices.Concat(at, anywhere, open), same):
		case m.Count == "open":
			open = append(open, m)
		case m.Of != "":
			at = append(at, m)
		default:
			anywhere = append(anywhere, m)
		}
	}
	counted, all := map[string]int64{}, int64(0)
	for _, m := range slices.Concat(at, anywhere, open) {
		n, known, err := p.number(m.Probe)
		if err != nil {
			return err
		}
		step, state := cmp.Or(m.Of, p.first()), m.Count
		switch {
		case m.Count == "open":
			n, state = n-all, "waiting"
		case m.Of == "":
			n -= counted[state]
		}
		if !known || n <= 0 {
			continue
		}
		if m.Count == "open" {
			p.note("Of %d items it is known only that they are open: they wait at step %s, also those that somebody was working on.", n, step)
		} else if m.Of == "" && len(p.Model.Spec.Steps) > 1 {
			p.note("At which step %d items are %s is not known: they are at step %s.", n, state, step)
		}
		counted[state] += n
		all += n
		p.lots(step, state, n)
	}
	if len(at)+len(anywhere)+len(open) == 0 {
		p.note("No probe of this model counts items: this world begins empty.")
	}
	return nil
}

// lotsMax is how finely ages are spread.
const lotsMax = 10

// lots puts items into the stock. Where the age of the oldest is known, theirs are spread evenly up to it.
func (p *present) lots(step, state string, n int64) {
	oldest := p.age(step, state)
	if oldest == 0 {
		p.note("How long the items at step %s are %s already is not known: that counts from now.", step, state)
		p.live.Stock = append(p.live.Stock, api.ScenarioStock{Step: step, State: state, Items: n})
		return
	}
	lots := min(n, lotsMax)
	for i := range lots {
		age := oldest / time.Duration(lots) * time.Duration(lots-i)
		p.live.Stock = append(p.live.Stock, api.ScenarioStock{Step: step, State: state, Items: n*(i+1)/lots - n*i/lots, Age: api.Duration{Duration: age.Round(time.Second)}})
	}
}

// age is the age of the oldest item in a state at a step; 0 where no probe tells.
func (p *present) age(step, state string) time.Duration {
	for _, exact := range []bool{true, false} {
		for _, m := range p.Model.Spec.Sees {
			x, found := p.seen[m.Probe]
			fits := m.Age == state && m.Of == step || !exact && (m.Age == state || m.Age == "open") && m.Of == ""
			if m.Age != "" && fits && found && x.Verdict != api.Bad && x.Value >= 1 && x.Value < 1e8 {
				return time.Duration(x.Value * float64(time.Second))
			}
		}
	}
	return 0
}

func (p *present) first() string {
	if len(p.Model.Spec.Steps) == 0 {
		return ""
	}
	return p.Model.Spec.Steps[0].Name
}

// routes finds the endpoint that each route names: as a probe saw it last, unless an action has moved it since.
func (p *present) routes(state *engine.State) {
	at := map[string]time.Time{}
	for _, m := range p.Model.Spec.Sees {
		integration, endpoint, _ := strings.Cut(m.Route, "/")
		x, found := p.seen[m.Probe]
		switch {
		case m.Route == "" || p.live.Active[integration] != "" || !found:
		case x.Verdict == api.OK:
			p.live.Active[integration], at[integration] = endpoint, x.At
		case x.Verdict == api.Bad:
			if others := slices.DeleteFunc(p.endpoints(integration), func(name string) bool { return name == endpoint }); len(others) == 1 {
				p.live.Active[integration], at[integration] = others[0], x.At
			}
		}
	}
	p.moved(state, at)
	for _, in := range p.Current.Integrations {
		if name := in.Metadata.Name; in.Spec.Route != nil && len(in.Spec.Endpoints) > 1 && p.live.Active[name] == "" {
			p.note("Which endpoint the route of %s names is not known: it is the one that the model has.", name)
		}
	}
}

// moved follows the routes that actions have moved since they were last seen.
func (p *present) moved(state *engine.State, at map[string]time.Time) {
	plan, findings := Compile(Setup{Scenario: p.Scenario, Model: p.Model, Current: p.Current})
	if findings.Failed() || len(plan.casts) == 0 {
		return // nothing will be played
	}
	hands := plan.casts[0].hands
	for _, d := range state.DoneSteps() {
		h := hands[handKey{d.Digest, d.Step}]
		if h == nil || h.effect != api.EffectRoute || h.outside != "" {
			continue
		}
		name := plan.systems[h.system].name
		to := plan.endpoints[h.endpoint].short
		if d.Undone {
			to = routeBefore(d.Before)
		}
		if slices.Contains(p.endpoints(name), to) && !d.At.Before(at[name]) {
			p.live.Active[name], at[name] = to, d.At
		}
	}
}

func (p *present) endpoints(integration string) []string {
	var names []string
	for _, in := range p.Current.Integrations {
		if in.Metadata.Name == integration {
			for _, e := range in.Spec.Endpoints {
				names = append(names, e.Name)
			}
		}
	}
	return names
}

// ill makes of an open anomaly the fault that it is a sign of. A fault of the scenario on the same thing from its beginning on takes its
// place: so people can say how long it lasts.
func (p *present) ill(a *api.Anomaly) {
	probe := slices.IndexFunc(p.Current.Probes, func(o api.Probe) bool { return o.Metadata.Name == a.Probe })
	if probe < 0 {
		return // its detectors are gone: the engine clears it
	}
	f, is := p.sign(a, &p.Current.Probes[probe].Spec)
	switch {
	case !is:
		return
	case f.Kind == "":
		p.note("Anomaly %s is open; what causes it is not in this world.", a.ID())
		return
	case slices.ContainsFunc(p.live.Faults, func(o api.Fault) bool { return o.On == f.On && o.Kind == f.Kind }):
		return
	case slices.ContainsFunc(p.Scenario.Spec.Faults, func(o api.Fault) bool {
		return (o.On == f.On || strings.HasPrefix(f.On, o.On+"/")) && o.At.Duration == 0
	}):
		return
	}
	f.Name = fmt.Sprintf("%s %s, from before", f.Kind, f.On)
	p.live.Faults = append(p.live.Faults, f)
	p.note("Anomaly %s is open. For this world that is a fault of kind %s on %s, which lasts until an action mends it, or to the end; a fault of the scenario on the same thing from 0s on takes its place.",
		a.ID(), f.Kind, f.On)
}

// sign is the fault that an anomaly is a sign of: none where stock and routes show it already, one without a kind where nothing does.
func (p *present) sign(a *api.Anomaly, spec *api.ProbeSpec) (f api.Fault, is bool) {
	var m api.ModelSight
	if i := slices.IndexFunc(p.Model.Spec.Sees, func(m api.ModelSight) bool { return m.Probe == a.Probe }); i >= 0 {
		m = p.Model.Spec.Sees[i]
	} else if spec.Integration != "" && (spec.Type == "http" || spec.Type == "tcp") {
		m.Endpoint = spec.Integration + "/" + spec.Endpoint
	}
	switch {
	case m.Endpoint != "":
		integration, endpoint, _ := strings.Cut(m.Endpoint, "/")
		if names := p.endpoints(integration); endpoint == "" && len(names) > 0 {
			endpoint = names[0]
		}
		if !ofVerdicts(a, spec) {
			return f, true // a latency: this world's answers take what the model says
		}
		return api.Fault{Kind: api.FaultOutage, On: "integration/" + integration + "/" + endpoint}, true
	case m.Running != "":
		return api.Fault{Kind: api.FaultStop, On: "step/" + m.Running}, true
	case m.Locked != "":
		return api.Fault{Kind: api.FaultLock, On: "integration/" + m.Locked}, true
	case m.Lag != "":
		by := time.Duration(max(0, min(a.Value, 1e6)) * float64(time.Second))
		return api.Fault{Kind: api.FaultStale, On: "integration/" + m.Lag, By: api.Duration{Duration: by}}, true
	case m.Count != "" || m.Age != "" || m.Route != "" || m.Fixed != "":
		return f, false
	}
	return f, true
}

// ofVerdicts tells whether an anomaly is about good and bad runs, not about a value.
func ofVerdicts(a *api.Anomaly, spec *api.ProbeSpec) bool {
	for _, d := range spec.Detect {
		if a.Probe+"/"+d.Name == a.Name {
			return d.Failures != nil || d.Absence != nil || d.BurnRate != nil || d.Ratio != nil
		}
	}
	return false
}

// hidden notes what earlier actions may have left that nobody can see.
func (p *present) hidden() {
	for i := range p.Current.Playbooks {
		for _, s := range p.Current.Playbooks[i].Steps {
			if s.Action.Effect == api.EffectHold || s.Action.Effect == api.EffectReroute {
				p.note("Whether an action had held an intake or rerouted work before is not known: in this world none had.")
			}
		}
	}
}
