package engine

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

// compiled is a Config made fast: everything that can be worked out once per configuration.
type compiled struct {
	*Config
	graph     graph
	node      map[string]string // probe -> node of the graph
	every     map[string]time.Duration
	detectors map[string]bool   // names of the anomalies that the configuration can raise
	plans     []*plan           // of the playbooks, in order
	forms     []json.RawMessage // the same as they go into an entry
	byTrigger map[string][]int  // anomaly name -> playbooks, in order
	byName    map[string]int
	uppers    map[string][]int // playbook -> those whose ladder leads to it
	conds     map[string]condition
}

// condition is a compiled CEL condition, or why there is none.
type condition struct {
	cond *api.Condition
	err  error
}

func compile(c *Config) *compiled {
	out := &compiled{Config: c, node: map[string]string{}, every: map[string]time.Duration{}, detectors: map[string]bool{}, byTrigger: map[string][]int{},
		byName: map[string]int{}, uppers: map[string][]int{}, conds: map[string]condition{}}
	out.graph = newGraph(c)
	for i := range c.Probes {
		p := &c.Probes[i]
		name := p.Metadata.Name
		out.node[name] = nodeOf(name, &p.Spec)
		out.every[name] = p.Spec.Every.Duration
		for _, d := range p.Spec.Detect {
			out.detectors[name+"/"+d.Name] = true
		}
	}
	for i := range c.Playbooks {
		p := newPlan(&c.Playbooks[i], c.Calendars)
		form, err := json.Marshal(p)
		if err != nil { // a plan is plain data; should it ever not be, it must not run
			form, p.Danger = nil, api.D5
		}
		out.plans, out.forms = append(out.plans, p), append(out.forms, form)
		out.byTrigger[p.Trigger.Anomaly] = append(out.byTrigger[p.Trigger.Anomaly], i)
		out.byName[p.Name] = i
		if next := p.next(); next != "" && p.Mode != api.ModeObserve && p.Mode != api.ModeSuggest {
			out.uppers[next] = append(out.uppers[next], i)
		}
		out.condition(p.Trigger.When)
		for _, q := range p.Steps {
			out.condition(q.When)
			out.condition(q.Ask)
		}
	}
	return out
}

// condition compiles a condition once per configuration.
func (c *compiled) condition(expr string) condition {
	if expr == "" {
		return condition{}
	}
	got, ok := c.conds[expr]
	if !ok {
		got.cond, got.err = api.CompileCondition(expr)
		c.conds[expr] = got
	}
	return got
}

// nodeOf is where a probe's anomalies belong.
func nodeOf(name string, p *api.ProbeSpec) string {
	switch {
	case p.Workflow != "" && p.Step != "":
		return "workflow/" + p.Workflow + "/" + p.Step
	case p.Integration != "":
		return "integration/" + p.Integration
	}
	return "probe/" + name
}

// graph is the dependency graph: a step depends on the integrations that it uses and on the steps before it, an
// integration on others.
type graph struct {
	index    map[string]int
	deps     [][]int
	closure  [][]uint64 // closure[a] has bit b where a depends on b, directly or not
	workflow []int      // of each node; -1 for integrations
}

func newGraph(c *Config) graph {
	g := graph{index: map[string]int{}}
	add := func(name string, workflow int) int {
		if i, ok := g.index[name]; ok {
			return i
		}
		g.index[name] = len(g.deps)
		g.deps, g.workflow = append(g.deps, nil), append(g.workflow, workflow)
		return len(g.deps) - 1
	}
	for i := range c.Integrations {
		add("integration/"+c.Integrations[i].Metadata.Name, -1)
	}
	for i := range c.Integrations {
		from := add("integration/"+c.Integrations[i].Metadata.Name, -1)
		for _, to := range c.Integrations[i].Spec.DependsOn {
			g.deps[from] = append(g.deps[from], add("integration/"+to, -1))
		}
	}
	for i := range c.Workflows {
		prefix := "workflow/" + c.Workflows[i].Metadata.Name + "/"
		for _, st := range c.Workflows[i].Spec.Steps {
			from := add(prefix+st.Name, i)
			for _, to := range st.Uses {
				to := add("integration/"+to, -1)
				g.deps[from] = append(g.deps[from], to)
			}
			for _, to := range st.After {
				to := add(prefix+to, i)
				g.deps[from] = append(g.deps[from], to)
			}
		}
	}
	g.close()
	return g
}

// close works out the closure, depth first; an edge back (a cycle, which check refuses) is left out.
func (g *graph) close() {
	words := (len(g.deps) + 63) / 64
	g.closure = make([][]uint64, len(g.deps))
	var visit func(n int)
	visit = func(n int) {
		set := make([]uint64, words)
		g.closure[n] = set
		for _, to := range g.deps[n] {
			if g.closure[to] == nil {
				visit(to)
			}
			set[to/64] |= 1 << (to % 64)
			for w, bits := range g.closure[to] {
				set[w] |= bits
			}
		}
	}
	for n := range g.deps {
		if g.closure[n] == nil {
			visit(n)
		}
	}
}

// dependsOn tells whether node a cannot work without node b.
func (g *graph) dependsOn(a, b string) bool {
	i, ok := g.index[a]
	j, ok2 := g.index[b]
	return ok && ok2 && g.closure[i][j/64]&(1<<(j%64)) != 0
}

// touched lists the workflows that cannot work without a node, in the order of the configuration.
func (c *compiled) touched(node string) []int {
	var out []int
	j, ok := c.graph.index[node]
	if !ok {
		return nil
	}
	for i, w := range c.graph.workflow {
		if w >= 0 && !slices.Contains(out, w) && (i == j || c.graph.closure[i][j/64]&(1<<(j%64)) != 0) {
			out = append(out, w)
		}
	}
	slices.Sort(out)
	return out
}

// plain puts a node into words: integration card-gateway, step capture of workflow order-to-cash.
func plain(node string) string {
	parts := strings.SplitN(node, "/", 3)
	switch {
	case len(parts) == 3 && parts[0] == "workflow":
		return "step " + parts[2] + " of workflow " + parts[1]
	case len(parts) == 2:
		return parts[0] + " " + parts[1]
	}
	return node
}
