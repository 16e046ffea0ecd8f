package live

import (
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/detect"
	"github.com/backstay/backstay/controller/internal/engine"
)

// Reload puts a new verified configuration in force, durably before it returns. Probes whose spec is the same go on as if nothing
// had happened: phase, detectors, results and counts stay. Running remediations go on with the runners that they began with.
func (s *Shell) Reload(c Config) error {
	made, err := s.makeProbes(c.Probes)
	if err != nil {
		return api.Errorf(api.CodeInvalid, "reload: %w", err)
	}
	s.mergeRunners(c)
	answer := make(chan error, 1)
	done := func(_ []api.Entry, err error) { answer <- err }
	if err := s.queue.put(item{event: engine.Event{Config: &c.Engine}, reload: &reload{c, made}, done: done}); err != nil {
		return err
	}
	return <-answer
}

// reload is a configuration on its way to the loop, with the probes that it would need anew.
type reload struct {
	config Config
	made   []*probe
}

// apply puts a reload in force once its entry is durable.
func (l *loop) apply(r *reload) {
	l.s.setProbes(r.config, r.made)
	l.s.prune(r.config, l.working)
	l.rewatch()
}

// makeProbes builds the state of each probe, as if none had been there before.
func (s *Shell) makeProbes(list []Probe) ([]*probe, error) {
	out, nodes := make([]*probe, 0, len(list)), map[string]string{}
	for _, p := range list {
		q, err := makeProbe(p, nodes)
		if err != nil {
			return nil, err
		}
		out = append(out, q)
	}
	return out, nil
}

// setProbes puts the probes of a configuration in the place of those that run, keeping the unchanged ones. The engine itself clears
// the anomalies of detectors that the configuration no longer has.
func (s *Shell) setProbes(c Config, made []*probe) {
	s.mu.Lock()
	defer s.mu.Unlock()
	counted := map[string]bool{}
	for _, w := range c.Engine.Workflows {
		if w.Spec.Value.CountedBy != "" {
			counted[w.Spec.Value.CountedBy] = true
		}
	}
	confirms := map[string]bool{}
	for i := range c.Engine.Playbooks {
		if want := c.Engine.Playbooks[i].Spec.On.Confirm; want != nil {
			for _, anomaly := range want.Of {
				probe, _, _ := strings.Cut(anomaly, "/")
				confirms[probe] = true
			}
		}
	}
	before := s.probes
	s.probes = make(map[string]*probe, len(made))
	s.order = make([]*probe, 0, len(made))
	var fresh []*probe
	for i, p := range made {
		old := before[p.name]
		delete(before, p.name)
		if old != nil && old.spec == p.spec {
			old.mu.Lock()
			old.prober = p.prober // it may look at another address now
			old.mu.Unlock()
			p = old
		} else {
			s.equip(p, c.Probes[i])
			if old != nil {
				p.running = old.running
				p.inherit(old.remove(&s.eyes), c.Probes[i].Spec, s.clock.now())
			}
			fresh = append(fresh, p)
		}
		p.counted.Store(counted[p.name])
		p.confirms.Store(confirms[p.name])
		s.probes[p.name] = p
		s.order = append(s.order, p)
	}
	for _, old := range before {
		old.remove(&s.eyes)
	}
	s.eyes.probes.Store(int64(len(s.order)))
	s.config = c
	s.config.Probes = nil // a spec is large and nobody here reads it again
	for _, p := range fresh {
		s.sched.add(p)
	}
}

// equip gives a new probe its place: phase, target and counters.
func (s *Shell) equip(p *probe, from Probe) {
	p.phase = phaseOf(p.name, p.every)
	p.target = s.sched.targetOf(targetKey(from))
	k := s.kinds[p.typeName]
	if k == nil {
		k = &kind{}
		s.kinds[p.typeName] = k
	}
	p.kind = k
}

// inherit takes over the open anomalies of the detectors that the probe still has.
func (p *probe) inherit(open []api.Anomaly, spec api.ProbeSpec, now time.Time) {
	p.mu.Lock()
	p.adopted = detect.Adopt(open, p.name, &spec, now)
	p.mu.Unlock()
}

// mergeRunners adds the runners of a configuration. Those of older digests stay for the remediations that use them.
func (s *Shell) mergeRunners(c Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, r := range c.Steps {
		s.runners[key] = r
	}
}

// prune drops runners that neither the configuration nor a running remediation names.
func (s *Shell) prune(c Config, working map[string]string) {
	used := map[string]bool{}
	for _, digest := range working {
		used[digest] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.runners {
		if _, configured := c.Steps[key]; !configured && !used[key.Digest] {
			delete(s.runners, key)
		}
	}
}

// targetKey names what a probe looks at, so that all probes of a hanging target share one bound: what the prober itself says, else
// its integration, else the host of the first address among its parameters, else the probe alone.
func targetKey(p Probe) string {
	if t, ok := p.Prober.(interface{ Target() string }); ok {
		if key := t.Target(); key != "" {
			return key
		}
	}
	if p.Spec.Integration != "" {
		return "integration/" + p.Spec.Integration + "/" + p.Spec.Endpoint
	}
	if host := hostIn(p.Spec.With); host != "" {
		return "host/" + host
	}
	return "probe/" + p.Name
}

// hostIn finds the host of the first address in a probe's parameters.
func hostIn(with api.Params) string {
	b, err := json.Marshal(with)
	if err != nil {
		return ""
	}
	var fields map[string]any
	if json.Unmarshal(b, &fields) != nil {
		return ""
	}
	for _, key := range []string{"url", "address", "source", "dsn"} {
		text, _ := fields[key].(string)
		if u, err := url.Parse(text); err == nil && u.Host != "" {
			return u.Host
		}
	}
	return ""
}
