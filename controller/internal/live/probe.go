package live

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/detect"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/store"
	"github.com/backstay/backstay/probes"
)

// watcher is a probe's detectors: detect.Watch, and scripts in tests.
type watcher interface {
	Observe(o *api.Observation, changes []api.Anomaly) []api.Anomaly
	Suspicious() bool
}

// probe is one scheduled probe with all that is kept of it. There may be 50,000, so it stays small: about 1 KB with a full ring.
type probe struct {
	name     string
	typeName string
	node     string
	unit     string
	every    time.Duration
	timeout  time.Duration
	phase    int64 // of the plan: starts are due at phase + n*every after the scheduler's base, in nanoseconds
	spec     [sha256.Size]byte
	target   *target
	kind     *kind
	running  *atomic.Bool // shared with the probe that this one replaced, so that they never overlap either
	watching atomic.Int32 // expectations that wait for this probe
	hurry    atomic.Int32 // good runs that an expectation still wants soon
	counted  atomic.Bool  // its value tells what an incident puts at risk
	confirms atomic.Bool  // a playbook wants it to corroborate, so that the engine must know when it was last seen
	gone     atomic.Bool  // no longer part of the configuration
	personal bool         // its keys name people
	extra    bool         // a repeat is on the heap; under the scheduler's lock

	watch watcher // owned by whoever runs the probe

	mu       sync.Mutex
	prober   probes.Prober
	last     kept
	ring     ring
	minute   minute
	open     []api.Anomaly
	adopted  *detect.Adopted // anomalies that were open before the detectors began; nil once settled
	runs     int64
	bad      int64
	skipped  int64
	lateness time.Duration
}

// kind counts the runs of all probes of one type, the removed ones included, so that counters never fall.
type kind struct {
	ok, bad, unknown atomic.Int64
	skipped          [skipReasons]atomic.Int64
}

// skipReason says why a run was not started.
type skipReason int

const (
	skipOverlap skipReason = iota // the run before was still going
	skipTarget                    // too many runs against the same target were going
	skipWorkers                   // too many runs in all were going
	skipLate                      // this process was too late to start it
	skipReasons
)

var skipNames = [skipReasons]string{"overlap", "target", "workers", "late"}

// makeProbe builds the state of a probe that was not there before. Probes of the same place share its name in nodes.
func makeProbe(p Probe, nodes map[string]string) (*probe, error) {
	w, err := detect.New(p.Name, p.Spec)
	if err != nil {
		return nil, fmt.Errorf("make the detectors of probe %s: %w", p.Name, err)
	}
	sum, err := specSum(p.Spec)
	if err != nil {
		return nil, fmt.Errorf("compare probe %s: %w", p.Name, err)
	}
	node := nodeOf(p.Spec)
	if known, is := nodes[node]; is {
		node = known
	} else {
		nodes[node] = node
	}
	q := &probe{
		name: p.Name, typeName: p.Spec.Type, node: node, unit: p.Spec.Unit, every: p.Spec.Every.Duration,
		timeout: p.Spec.Timeout.Duration, spec: sum, watch: w, prober: p.Prober, running: new(atomic.Bool), personal: p.Spec.Personal,
	}
	if q.every <= 0 {
		q.every = everyDefault
	}
	if q.timeout <= 0 {
		q.timeout = timeoutDefault
	}
	return q, nil
}

// What a spec means that came without its defaults.
const (
	everyDefault   = 30 * time.Second
	timeoutDefault = 5 * time.Second
)

func specSum(spec api.ProbeSpec) ([sha256.Size]byte, error) {
	b, err := json.Marshal(spec)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	return sha256.Sum256(b), nil
}

// nodeOf says where in the dependency graph a probe looks.
func nodeOf(spec api.ProbeSpec) string {
	switch {
	case spec.Integration != "":
		return "integration/" + spec.Integration
	case spec.Workflow != "" && spec.Step != "":
		return "workflow/" + spec.Workflow + "/" + spec.Step
	case spec.Workflow != "":
		return "workflow/" + spec.Workflow
	}
	return ""
}

// seen is what one observation changed, for the event loop.
type seen struct {
	verdict bool // it differs from the one before
	value   bool
	again   bool // confirmation should not wait for the next regular run
	minute  store.Rollup
	closed  bool // minute is a finished minute
}

// eyes counts probes by what they say now.
type eyes struct{ probes, bad, unknown atomic.Int64 }

func (e *eyes) counts() engine.Eyes {
	return engine.Eyes{Probes: int(e.probes.Load()), Bad: int(e.bad.Load()), Unknown: int(e.unknown.Load())}
}

func (e *eyes) move(v api.Verdict, n int64) {
	switch v {
	case api.Bad:
		e.bad.Add(n)
	case api.Unknown:
		e.unknown.Add(n)
	}
}

// take files an observation: ring, minute, counts and detectors. Only the probe's worker calls it.
func (p *probe) take(o *api.Observation, eyes *eyes, changes []api.Anomaly) (seen, []api.Anomaly) {
	changes = p.watch.Observe(o, changes)
	s := seen{again: p.watch.Suspicious()}
	switch o.Verdict {
	case api.OK:
		p.kind.ok.Add(1)
	case api.Bad:
		p.kind.bad.Add(1)
	default:
		p.kind.unknown.Add(1)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	// A probe that starts well says nothing new, unless the engine holds an anomaly of it open from before.
	s.verdict = o.Verdict != p.last.verdict && (p.last.verdict != "" || o.Verdict != api.OK || p.adopted != nil)
	if o.Verdict != p.last.verdict && !p.gone.Load() {
		eyes.move(p.last.verdict, -1)
		eyes.move(o.Verdict, 1)
	}
	s.value = o.Verdict != api.Unknown && (p.runs == 0 || o.Value != p.last.value)
	p.runs++
	if o.Verdict == api.Bad {
		p.bad++
	}
	p.last.keep(o)
	p.ring.add(o, p.every)
	s.minute, s.closed = p.minute.add(p.name, o)
	if len(changes) > 0 {
		p.noteOpen(changes)
	}
	if p.adopted != nil {
		changes = p.adopted.Settle(o, p.open, changes)
		if len(p.adopted.Anomalies) == 0 {
			p.adopted = nil
		}
	}
	return s, changes
}

// noteOpen keeps the list of open anomalies that pages and expectations read. The caller holds p.mu.
func (p *probe) noteOpen(changes []api.Anomaly) {
	for _, a := range changes {
		at := -1
		for i := range p.open {
			if p.open[i].ID() == a.ID() {
				at = i
			}
		}
		switch {
		case a.Cleared && at >= 0:
			p.open = append(p.open[:at:at], p.open[at+1:]...) // a new array: readers may hold the old one
		case a.Cleared:
		case at >= 0:
			p.open = append([]api.Anomaly(nil), p.open...)
			p.open[at] = a
		default:
			p.open = append(p.open[:len(p.open):len(p.open)], a)
		}
	}
}

func (p *probe) skip(why skipReason, n int64) {
	p.kind.skipped[why].Add(n)
	p.mu.Lock()
	p.skipped += n
	p.mu.Unlock()
}

// remove takes the probe out of the configuration and gives the anomalies that were open on it.
func (p *probe) remove(eyes *eyes) []api.Anomaly {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone.Store(true)
	eyes.move(p.last.verdict, -1)
	open := p.open
	if p.adopted != nil {
		open = append(open[:len(open):len(open)], p.adopted.Anomalies...)
	}
	return open
}

// kept is the last observation, without what the probe knows already. Most observations have none of the rest.
type kept struct {
	at           int64 // Unix nanoseconds
	verdict      api.Verdict
	value, total float64
	took         time.Duration
	unit         string
	more         *more
}

type more struct {
	reason string
	series []api.Sample
	keys   []string
}

func (k *kept) keep(o *api.Observation) {
	*k = kept{at: o.At.UnixNano(), verdict: o.Verdict, value: o.Value, total: o.Total, took: o.Took, unit: o.Unit}
	if o.Reason != "" || o.Series != nil || o.Keys != nil {
		k.more = &more{o.Reason, o.Series, o.Keys}
	}
}

// seen gives the last observation; zero before the first. The caller holds p.mu.
func (p *probe) seen() api.Observation {
	k := &p.last
	if k.verdict == "" {
		return api.Observation{}
	}
	o := api.Observation{Probe: p.name, At: time.Unix(0, k.at).UTC(), Verdict: k.verdict, Value: k.value, Total: k.total, Took: k.took, Unit: k.unit}
	if k.more != nil {
		o.Reason, o.Series, o.Keys = k.more.reason, k.more.series, k.more.keys
	}
	return o
}

// status is the present view of the probe.
func (p *probe) status() api.ProbeStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	open := p.open
	if p.adopted != nil {
		open = append(open[:len(open):len(open)], p.adopted.Anomalies...)
	}
	return api.ProbeStatus{
		Name: p.name, Type: p.typeName, Node: p.node, Every: api.Duration{Duration: p.every}, Last: p.seen(), Open: open,
		Runs: p.runs, BadRuns: p.bad, Skipped: p.skipped, Lateness: p.lateness,
	}
}

func (p *probe) lastSeen() (api.Observation, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen(), p.runs > 0
}
