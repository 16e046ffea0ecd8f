package twin

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

// Plan is a scenario made ready: all that does not change between replications. It is safe for concurrent use.
type Plan struct {
	setup    Setup
	start    time.Time
	from     int64 // nanoseconds since the start: what counts begins
	end      int64
	seed     uint64
	promise  int64
	currency string
	value    *table

	arrivals  arrivals
	steps     []stepPlan
	begin     ways
	pools     []poolPlan
	systems   []systemPlan
	endpoints []endpointPlan
	effects   []string
	faults    []faultPlan
	people    []personPlan
	open      []api.Anomaly     // when a live start was taken
	underWay  []engine.UnderWay // likewise
	fans      [][]int           // steps that are begun at once; the first is the item's own
	casts     []cast            // by variant, in the order of variants
	variants  []api.Variant
	notes     []string // what is not simulated
	customers int64
	maxEvents int64
	maxItems  int
	good      bool // no finding was an error
}

// stepPlan is a step made ready.
type stepPlan struct {
	name        string
	pool        int
	takes       *table
	delay       *table
	delays      map[int]*table // by the step before, where that matters
	delayPauses bool           // it passes only in the pool's hours
	calls       []callPlan
	tries       uint16
	pause       int64
	then        state
	unanswered  string
	most        int64
	lease       int64
	next        ways
	effects     bool // some call has one
}

// callPlan is a call made ready.
type callPlan struct {
	system   int
	endpoint int // -1: the one that the route names
	effect   int // -1: it only reads
	money    bool
	keyed    bool
	timeout  int64
}

// ways are where items may go from a step. The ways of an item depend on the step that it came from where the model says so.
type ways struct {
	all   fork
	after map[int]fork // by the step before; -1: it began here
	// beside are the steps that are begun at once with others.
	beside []int
}

type fork struct {
	to     []int // -1: finished
	weight []uint64
}

// poolPlan is people or workers made ready.
type poolPlan struct {
	name    string
	size    int
	hours   *hours       // of those who are all alike
	members []memberPlan // where they differ
	open    *hours       // when anybody is there
	pauses  bool         // work is laid aside when hours end
	steps   []int
	rounds  int64 // they take items up in rounds, so long after the last one ended; 0: at any time
}

type memberPlan struct {
	hours *hours
	share uint64
}

// systemPlan is an integration made ready.
type systemPlan struct {
	name   string
	first  int // of its endpoints
	count  int
	active int
	locks  bool
}

// endpointPlan is an endpoint made ready.
type endpointPlan struct {
	name                  string // INTEGRATION/ENDPOINT
	short                 string
	system                int
	takes                 *table
	refuses, fails, loses int64 // parts of a million
	most                  api.Rate
	keeps, shows          int64
	confirms              *table
	doubles               int64
}

type personPlan struct {
	name           string
	answers        *table
	hours          *hours
	denies, silent int64
}

// cast is who decides in one variant, and with which eyes and hands.
type cast struct {
	variant api.Variant
	config  *engine.Config
	eyes    []eyePlan
	hands   map[handKey]*handPlan
	lucks   []string // names of the streams of steps of playbooks
}

// The most events of one run, so that a model in which something goes round for ever ends with a reason.
const eventsMax = 200_000_000

// Compile makes a scenario ready. The plan is good only where no finding is an error.
func Compile(s Setup) (*Plan, api.Findings) {
	c := compiler{p: &Plan{setup: s, maxEvents: eventsMax, maxItems: itemsMax}}
	if !c.numbers() {
		return c.p, c.findings
	}
	c.frame()
	c.systems()
	c.steps()
	c.arrivals()
	c.people()
	c.faults()
	c.live()
	for _, v := range c.p.variants {
		c.cast(v)
	}
	for i := range c.p.pools {
		c.p.pools[i].open = c.p.pools[i].anybody()
	}
	slices.Sort(c.p.notes)
	c.p.notes = slices.Compact(c.p.notes)
	c.p.good = !c.findings.Failed()
	return c.p, c.findings
}

// Variants are what the plan compares.
func (p *Plan) Variants() []api.Variant { return p.variants }

// NotSimulated says in plain sentences what of the configuration is not in this world.
func (p *Plan) NotSimulated() []string { return p.notes }

// compiler makes a plan and gathers what is wrong.
type compiler struct {
	p        *Plan
	findings api.Findings
}

func (c *compiler) errorf(pos api.Pos, rule, hint, format string, args ...any) {
	c.findings = append(c.findings, api.Finding{Pos: pos, Severity: api.SeverityError, Rule: rule, Message: fmt.Sprintf(format, args...), Hint: hint})
}

func (c *compiler) note(format string, args ...any) {
	c.p.notes = append(c.p.notes, fmt.Sprintf(format, args...))
}

// DefaultStart is when a scenario begins that does not say.
var DefaultStart = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)

// frame sets time, promise and value.
func (c *compiler) frame() {
	p, sc, m := c.p, &c.p.setup.Scenario.Spec, &c.p.setup.Model.Spec
	p.start = DefaultStart
	if sc.Start != "" {
		at, err := time.Parse(time.RFC3339, sc.Start)
		if err != nil {
			c.errorf(c.p.setup.Scenario.Pos, "bad-value", "write it like 2026-01-05T09:00:00Z", "start %q is not a time", sc.Start)
		} else {
			p.start = at
		}
	}
	warmup := sc.Warmup.Duration
	if l := p.setup.Live; l != nil {
		p.start, warmup = l.At, 0 // it is as it is
	}
	p.seed = cmp.Or(sc.Seed, 1)
	p.from = int64(warmup)
	p.end = p.from + int64(sc.Horizon.Duration)
	p.start = p.start.Add(-warmup).UTC()
	p.customers = m.Items.Customers
	p.promise, p.currency = int64(m.Items.Promise.Duration), m.Items.Currency
	for _, w := range p.setup.Current.Workflows {
		if w.Metadata.Name != m.Workflow {
			continue
		}
		if p.promise == 0 {
			p.promise = int64(w.Spec.Objectives.Turnaround.Duration)
		}
		if each := w.Spec.Value.PerItem.Currencies(); len(each) > 0 {
			p.currency = cmp.Or(p.currency, each[0])
			if m.Items.Value == nil {
				p.value = fixedTable(w.Spec.Value.PerItem[each[0]])
			}
		}
	}
	p.currency = cmp.Or(p.currency, "EUR")
	if m.Items.Value != nil {
		p.value = amountsTable(m.Items.Value)
	}
	p.variants = sc.Variants
	if len(p.variants) == 0 {
		p.variants = []api.Variant{api.VariantCurrent}
		if p.setup.Candidate != nil {
			p.variants = append(p.variants, api.VariantCandidate)
		}
	}
}

// systems makes integrations and their endpoints ready; the configuration has them, the model says how they behave.
func (c *compiler) systems() {
	for _, in := range c.p.setup.Current.Integrations {
		m, said := c.modelOf(in.Metadata.Name)
		s := systemPlan{name: in.Metadata.Name, first: len(c.p.endpoints), locks: m.Locks}
		endpoints := in.Spec.Endpoints
		if m.Active != "" && !slices.ContainsFunc(endpoints, func(e api.Endpoint) bool { return e.Name == m.Active }) {
			c.errorf(c.p.setup.Model.Pos, "unknown-reference", "", "the route of %s begins with an endpoint %q that it has not", in.Metadata.Name, m.Active)
		}
		if len(endpoints) == 0 {
			endpoints = []api.Endpoint{{Name: "main"}}
		}
		for i, e := range endpoints {
			behaves := api.ModelEndpoint{Name: e.Name}
			for k, b := range m.Endpoints {
				if b.Name == e.Name || k == 0 && behaves.Takes == nil {
					behaves = b
				}
			}
			c.p.endpoints = append(c.p.endpoints, c.endpoint(in.Metadata.Name, e.Name, len(c.p.systems), behaves, said))
			if e.Name == m.Active {
				s.active = s.first + i
			}
		}
		s.count = len(c.p.endpoints) - s.first
		s.active = max(s.active, s.first)
		if l := c.p.setup.Live; l != nil {
			for i := s.first; i < s.first+s.count; i++ {
				if c.p.endpoints[i].short == l.Active[s.name] {
					s.active = i
				}
			}
		}
		c.p.systems = append(c.p.systems, s)
	}
	for _, m := range c.p.setup.Model.Spec.Systems {
		if c.system(m.Integration) < 0 {
			c.errorf(c.p.setup.Model.Pos, "unknown-reference", "name an integration of the configuration", "the model describes an integration %q that there is not", m.Integration)
		}
	}
}

func (c *compiler) modelOf(integration string) (api.ModelSystem, bool) {
	for _, m := range c.p.setup.Model.Spec.Systems {
		if m.Integration == integration {
			return m, true
		}
	}
	return api.ModelSystem{}, false
}

// latencyDefault is how long an endpoint takes of which nothing is said.
const latencyDefault = int64(50 * time.Millisecond)

func (c *compiler) endpoint(integration, name string, system int, m api.ModelEndpoint, said bool) endpointPlan {
	e := endpointPlan{name: integration + "/" + name, short: name, system: system, takes: timesTable(m.Takes), refuses: m.Refuses.PPM, fails: m.Fails.PPM,
		loses: m.Loses.PPM, most: m.Most, keeps: int64(m.Keeps.Duration), shows: int64(m.Shows.Duration), confirms: timesTable(m.Confirms), doubles: m.Doubles.PPM}
	if e.takes == nil && said {
		e.takes = fixedTable(latencyDefault)
	}
	return e
}

// system finds an integration; -1 where there is none.
func (c *compiler) system(name string) int {
	return slices.IndexFunc(c.p.systems, func(s systemPlan) bool { return s.name == name })
}

// endpointOf finds INTEGRATION/ENDPOINT, or an integration's first endpoint; -1 where there is none.
func (c *compiler) endpointOf(name string) int {
	integration, endpoint, _ := strings.Cut(name, "/")
	for i := range c.p.endpoints {
		e := &c.p.endpoints[i]
		if c.p.systems[e.system].name == integration && (e.short == endpoint || endpoint == "") {
			return i
		}
	}
	return -1
}

// step finds a step; -1 where there is none.
func (c *compiler) step(name string) int {
	return slices.IndexFunc(c.p.steps, func(s stepPlan) bool { return s.name == name })
}

func (c *compiler) effect(name string) int {
	if name == "" {
		return -1
	}
	if i := slices.Index(c.p.effects, name); i >= 0 {
		return i
	}
	c.p.effects = append(c.p.effects, name)
	return len(c.p.effects) - 1
}

// calendarsOf are the calendars that hours may name.
func (c *compiler) hours(m *api.ModelHours, what string) *hours {
	h, err := makeHours(m, c.p.setup.Current.Calendars, c.p.start, c.p.end)
	if err != nil {
		c.errorf(c.p.setup.Model.Pos, "bad-value", "", "hours of %s: %v", what, err)
	}
	return h
}

func (c *compiler) people() {
	for _, m := range c.p.setup.Model.Spec.People {
		p := personPlan{name: m.Name, answers: timesTable(m.Answers), hours: c.hours(m.Hours, m.Name), denies: m.Denies.PPM, silent: m.Silent.PPM}
		if p.answers == nil {
			p.answers = fixedTable(int64(5 * time.Minute))
		}
		c.p.people = append(c.p.people, p)
	}
}
