package twin

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/backstay/backstay/api"
)

// What a plan can hold. Whoever writes YAML is told by api's validation, with line and column; these hold for everybody.
const (
	longestMax   = int64(10 * 365 * 24 * time.Hour)
	horizonMax   = 366 * 24 * time.Hour
	stepsMax     = math.MaxInt16
	callsMax     = math.MaxUint8 - 1
	endpointsMax = math.MaxInt16
	effectsMax   = 255
	workersMax   = 100_000
	triesMax     = 1000
	stockMax     = 10_000_000
	customersMax = 1 << 31
	valueMax     = int64(5e11) // so that the sum of all items is a number too
	rateMax      = 1e9
)

// checker finds numbers that no world can have, before anything is made of them.
type checker struct{ c *compiler }

func (k checker) model(format string, args ...any) {
	k.c.errorf(k.c.p.setup.Model.Pos, "bad-value", "", format, args...)
}

func (k checker) scenario(format string, args ...any) {
	k.c.errorf(k.c.p.setup.Scenario.Pos, "bad-value", "", format, args...)
}

// numbers checks all that the setup says.
func (c *compiler) numbers() bool {
	k := checker{c}
	k.frame()
	k.arrivals()
	k.steps()
	k.behaviour()
	k.config()
	return !c.findings.Failed()
}

func (k checker) frame() {
	s, m := &k.c.p.setup.Scenario.Spec, &k.c.p.setup.Model.Spec
	if s.Horizon.Duration <= 0 || s.Horizon.Duration > horizonMax {
		k.scenario("horizon is %s: give more than nothing and at most %s", s.Horizon, horizonMax)
	}
	if s.Warmup.Duration < 0 || s.Warmup.Duration > horizonMax {
		k.scenario("warmup is %s: give at most %s", s.Warmup, horizonMax)
	}
	var stock int64
	for _, w := range s.Waiting {
		stock = min(stock+w.Items, stockMax+1)
		if w.Items < 0 || stock > stockMax {
			k.scenario("%d items wait at step %s: give at most %d in all", w.Items, w.Step, stockMax)
		}
		if state := stateOf(w.State); w.State != "" && stateNames[state] != w.State || state == working || state == done || state == dropped {
			k.scenario("items cannot be %q at the start: write waiting, in-doubt, dead or held", w.State)
		}
		k.span(k.scenario, "age of the items at step "+w.Step, w.Age)
		if !slices.ContainsFunc(m.Steps, func(s api.ModelStep) bool { return s.Name == w.Step }) {
			k.scenario("items wait at a step %q that there is not", w.Step)
		}
	}
	k.span(k.model, "promise", m.Items.Promise)
	if m.Items.Customers < 0 || m.Items.Customers > customersMax {
		k.model("%d customers: give at most %d", m.Items.Customers, customersMax)
	}
	if a := m.Items.Value; a != nil {
		for _, v := range append([]int64{a.Fixed, a.Median, a.P95}, a.Quantiles...) {
			if v < 0 || v > valueMax {
				k.model("an item is worth %d minor units: give 0 to %d", v, valueMax)
			}
		}
		k.shape("the value of an item", a.Median, a.P95, a.Quantiles)
	}
}

// span checks one length of time.
func (k checker) span(complain func(string, ...any), what string, d api.Duration) {
	if d.Duration < 0 || int64(d.Duration) > longestMax {
		complain("%s is %s: give nothing negative, and at most ten years", what, d)
	}
}

// shape checks a distribution.
func (k checker) shape(what string, median, p95 int64, quantiles []int64) {
	if p95 != 0 && p95 < median {
		k.model("%s: p95 is less than the median", what)
	}
	if len(quantiles) == 1 {
		k.model("%s: one quantile is no distribution; give the least and the greatest at least", what)
	}
	if !slices.IsSorted(quantiles) {
		k.model("%s: the quantiles do not ascend", what)
	}
}

func (k checker) times(what string, t *api.Times) {
	if t == nil {
		return
	}
	list := make([]int64, len(t.Quantiles))
	for i, q := range t.Quantiles {
		list[i] = int64(q.Duration)
	}
	for _, d := range append([]api.Duration{t.Fixed, t.Mean, t.Median, t.P95, t.Tail, t.Longest}, t.Quantiles...) {
		k.span(k.model, what, d)
	}
	k.shape(what, int64(t.Median.Duration), int64(t.P95.Duration), list)
}

func (k checker) figure(what string, x, most float64) {
	if !(x >= 0 && x <= most) {
		k.model("%s is %v: give 0 to %g", what, x, most)
	}
}

func (k checker) arrivals() {
	a := &k.c.p.setup.Model.Spec.Arrivals
	k.figure("arrivals.perHour", a.PerHour, rateMax)
	for _, x := range a.Hours {
		k.figure("arrivals.hours", x, rateMax)
	}
	k.times("arrivals.gaps", a.Gaps)
	k.span(k.model, "arrivals.every", a.Every)
	for _, t := range a.Times {
		k.span(k.model, "arrivals.times", t)
	}
	if a.Batch < 0 || a.Batch > 1_000_000 {
		k.model("arrivals.batch is %d: give at most a million", a.Batch)
	}
}

func (k checker) steps() {
	m := &k.c.p.setup.Model.Spec
	if len(m.Steps) > stepsMax {
		k.model("%d steps are more than the %d that a model can have", len(m.Steps), stepsMax)
	}
	for _, p := range m.Pools {
		if p.Size < 0 || p.Size > workersMax || len(p.Members) > workersMax {
			k.model("pool %s has %d workers: give 1 to %d", p.Name, p.Size, workersMax)
		}
		for _, who := range p.Members {
			k.figure("share of "+who.Name, who.Share, 1e9)
		}
	}
	for i := range m.Steps {
		s := &m.Steps[i]
		name := "step " + s.Name
		if s.Workers < 0 || s.Workers > workersMax {
			k.model("%s has %d workers: give 1 to %d", name, s.Workers, workersMax)
		}
		if s.Tries < 0 || s.Tries > triesMax {
			k.model("%s is tried %d times: give 1 to %d", name, s.Tries, triesMax)
		}
		if s.Queue < 0 {
			k.model("the queue of %s holds %d items: give 1 or more", name, s.Queue)
		}
		if len(s.Calls) > callsMax {
			k.model("%s makes %d calls: a step can make %d", name, len(s.Calls), callsMax)
		}
		if !slices.Contains([]string{"", "dead", "hold", "drop"}, s.Then) || !slices.Contains([]string{"", "in-doubt", "retry", "fail"}, s.Unanswered) {
			k.model("%s: then is %q and unanswered is %q: write dead, hold or drop, and in-doubt, retry or fail", name, s.Then, s.Unanswered)
		}
		k.times(name+".takes", s.Takes)
		k.times(name+".delay", s.Delay)
		k.span(k.model, name+".pause", s.Pause)
		k.span(k.model, name+".lease", s.Lease)
		for _, c := range s.Calls {
			k.span(k.model, name+": timeout of a call", c.Timeout)
		}
		k.ways(name, s.Next)
	}
	k.ways("begin", m.Begin)
}

func (k checker) ways(what string, next []api.ModelNext) {
	for _, n := range next {
		k.figure(what+": share of a way", n.Share, 1e9)
	}
}

// parts checks shares of which only one can happen at a time.
func (k checker) parts(what string, shares ...api.Percent) {
	var sum int64
	for _, s := range shares {
		if s.PPM < 0 || s.PPM > 1_000_000 {
			k.model("%s: a share of %s: give 0%% to 100%%", what, s)
		}
		sum += s.PPM
	}
	if sum > 1_000_000 {
		k.model("%s: shares that exclude each other are more than 100%% together", what)
	}
}

// behaviour checks how systems, actions and people behave.
func (k checker) behaviour() {
	m := &k.c.p.setup.Model.Spec
	for _, s := range m.Systems {
		for _, e := range s.Endpoints {
			what := "endpoint " + s.Integration + "/" + e.Name
			k.times(what+".takes", e.Takes)
			k.times(what+".confirms", e.Confirms)
			k.span(k.model, what+".keeps", e.Keeps)
			k.span(k.model, what+".shows", e.Shows)
			k.parts(what, e.Refuses, e.Fails, e.Loses)
			k.parts(what+".doubles", e.Doubles)
			k.rate(k.model, what+".most", e.Most)
		}
	}
	for _, a := range m.Actions {
		k.times("action "+a.Action, a.Takes)
		k.parts("action "+a.Action, a.Refused, a.Fails, a.Unknown, a.Partial)
	}
	for _, p := range m.People {
		k.times("answers of "+p.Name, p.Answers)
		k.parts("person "+p.Name, p.Denies, p.Silent)
	}
	for _, s := range m.Sees {
		if s.Count != "" && !slices.Contains([]string{"open", "late", "doubled", "working", "delayed", "done"}, s.Count) && !atRest(s.Count) || s.Age != "" && s.Age != "open" && !atRest(s.Age) {
			k.model("probe %s counts items in a state %q that there is not", s.Probe, s.Count+s.Age)
		}
	}
	for _, p := range m.Places {
		if p.State != "" && p.State != "workers" && !atRest(p.State) {
			k.model("place %s: items in state %q cannot be taken from there", p.Target, p.State)
		}
	}
}

// atRest tells whether items in this state stay where they are until somebody moves them.
func atRest(name string) bool {
	return slices.Contains([]string{"waiting", "in-doubt", "dead", "held"}, name)
}

func (k checker) rate(complain func(string, ...any), what string, r api.Rate) {
	if r.N < 0 || r.N > 0 && r.Per <= 0 || int64(r.Per) > longestMax {
		complain("%s is %d per %s, which is no rate", what, r.N, r.Per)
	}
}

// config checks what the twin reads of the configuration.
func (k checker) config() {
	s := &k.c.p.setup
	endpoints := 0
	for i := range s.Current.Integrations {
		endpoints += max(len(s.Current.Integrations[i].Spec.Endpoints), 1)
	}
	if endpoints > endpointsMax {
		k.scenario("%d endpoints are more than the %d that a world can have", endpoints, endpointsMax)
	}
	effects := map[string]bool{}
	for _, step := range s.Model.Spec.Steps {
		for _, c := range step.Calls {
			effects[c.Effect] = true
		}
	}
	if len(effects) > effectsMax {
		k.model("%d different effects are more than the %d that a world can have", len(effects), effectsMax)
	}
	playbooks, probes := s.Current.Playbooks, s.Current.Probes
	if s.Candidate != nil {
		playbooks, probes = append(playbooks[:len(playbooks):len(playbooks)], s.Candidate.Playbooks...), append(probes[:len(probes):len(probes)], s.Candidate.Probes...)
	}
	for i := range playbooks {
		if p := &playbooks[i]; len(p.Steps) != len(p.Spec.Steps) {
			k.scenario("playbook %s has %d steps and plans for %d of them: make it ready before", p.Name, len(p.Spec.Steps), len(p.Steps))
		}
	}
	for i := range probes {
		if d := probes[i].Spec.Every.Duration; d != 0 && (d < time.Millisecond || int64(d) > longestMax) {
			k.c.errorf(probes[i].Pos, "bad-value", "", "probe %s looks every %s: give a millisecond or more", probes[i].Metadata.Name, d)
		}
	}
}

var faultKinds = []api.FaultKind{api.FaultOutage, api.FaultError, api.FaultRefuse, api.FaultTimeout, api.FaultLostAnswer, api.FaultSlow, api.FaultRateLimit,
	api.FaultStale, api.FaultDuplicate, api.FaultLate, api.FaultStop, api.FaultLock, api.FaultPoison, api.FaultRedeliver, api.FaultSurge, api.FaultSilence,
	api.FaultAbsent, api.FaultBlind, api.FaultLies}

// faultFigures checks the numbers of a fault, and that those it needs are there.
func (c *compiler) faultFigures(f *api.Fault) {
	k := checker{c}
	name := "fault " + f.Called()
	for what, d := range [...]api.Duration{f.At, f.Jitter, f.Lasting, f.By, f.Every} {
		k.span(k.scenario, name+": "+[...]string{"at", "jitter", "lasting", "by", "every"}[what], d)
	}
	if f.Every.Duration > 0 && (f.Lasting.Duration <= 0 || f.Lasting.Duration+f.Jitter.Duration >= f.Every.Duration) {
		k.scenario("%s: every is %s: a fault that comes back must be over before it does", name, f.Every)
	}
	k.rate(k.scenario, name+".most", f.Most)
	switch {
	case f.Share.PPM < 0 || f.Share.PPM > 1_000_000:
		k.scenario("%s: a share of %s: give 0%% to 100%%", name, f.Share)
	case f.Kind == api.FaultSurge && !(f.Times > 0 && f.Times <= 1e6):
		k.scenario("%s: times is %v: say how many times as much arrives", name, f.Times)
	case f.Kind == api.FaultRateLimit && f.Most.N <= 0:
		k.scenario("%s: say with most what it takes", name)
	case (f.Kind == api.FaultSlow || f.Kind == api.FaultStale || f.Kind == api.FaultLate) && f.By.Duration <= 0:
		k.scenario("%s: say with by how much", name)
	case !slices.Contains(faultKinds, f.Kind):
		k.scenario("%s", fmt.Sprintf("%s: there is no fault of kind %q", name, f.Kind))
	}
}
