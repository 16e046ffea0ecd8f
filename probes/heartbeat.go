package probes

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/backstay/backstay/api"
)

var heartbeatType = Type{
	Name:    "heartbeat",
	Summary: "Waits for a job to report; the absence of a report is the signal.",
	Params:  func() any { return new(HeartbeatParams) },
	Build:   buildHeartbeat,
}

// HeartbeatParams are the parameters of a heartbeat probe.
type HeartbeatParams struct {
	Job    string       `json:"job,omitempty" rule:"name" doc:"The name under which the job reports; the probe's own name when left out."`
	Within api.Duration `json:"within" rule:"required,min=1s" doc:"Longest time between two reports."`
	Value  string       `json:"value,omitempty" rule:"oneof=age|reported" default:"age" doc:"The probe's value: seconds since the last report, or the number that the job reported."`
}

// namesMax bounds how many jobs may report, so that nobody can fill the memory by names.
const namesMax = 100_000

// Heartbeats is where jobs report; the HTTP API writes it, heartbeat probes read it. It holds one beat per watched job.
type Heartbeats struct {
	mu   sync.Mutex
	jobs map[string]*job
}

type job struct {
	since time.Time // watched since then
	beats int64
	last  Beat
}

// NewHeartbeats makes an empty one.
func NewHeartbeats() *Heartbeats { return &Heartbeats{jobs: map[string]*job{}} }

// Beat is one report of a job.
type Beat struct {
	At     time.Time
	Failed bool // the job says that it failed
	Value  float64
	Text   string
}

// Report records a beat. It says false for a name that no heartbeat probe watches. A beat from the future counts as of
// now, and an older beat never replaces a newer one.
func (h *Heartbeats) Report(name string, b Beat) bool {
	if now := time.Now(); b.At.IsZero() || b.At.After(now) {
		b.At = now
	}
	b.Text = sentence(b.Text)
	h.mu.Lock()
	defer h.mu.Unlock()
	j := h.jobs[name]
	if j == nil {
		return false
	}
	j.beats++
	if !b.At.Before(j.last.At) {
		j.last = b
	}
	return true
}

// Keep forgets all jobs but these: for the shell, after a reload took probes away.
func (h *Heartbeats) Keep(jobs []string) {
	keep := make(map[string]bool, len(jobs))
	for _, name := range jobs {
		keep[name] = true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for name := range h.jobs {
		if !keep[name] {
			delete(h.jobs, name)
		}
	}
}

// watch makes a name known; a name that is known already keeps its beats.
func (h *Heartbeats) watch(name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.jobs == nil {
		h.jobs = map[string]*job{}
	}
	if h.jobs[name] == nil {
		if len(h.jobs) >= namesMax {
			return fmt.Errorf("more than %d jobs report heartbeats", namesMax)
		}
		h.jobs[name] = &job{since: time.Now()}
	}
	return nil
}

// look gives a copy of what is known of a job.
func (h *Heartbeats) look(name string) (job, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	j := h.jobs[name]
	if j == nil {
		return job{}, false
	}
	return *j, true
}

type heartbeatProbe struct {
	env      *Env
	job      string
	within   time.Duration
	reported bool
	unit     string
}

// Job is the name under which the job reports; Heartbeats.Keep wants the names of all.
func (p *heartbeatProbe) Job() string { return p.job }

func buildHeartbeat(name string, spec api.ProbeSpec, params any, env *Env) (Prober, error) {
	p := params.(*HeartbeatParams)
	if p.Within.Duration <= 0 {
		return nil, fmt.Errorf("within must be longer than zero")
	}
	if env.Heartbeats == nil {
		return nil, fmt.Errorf("nothing here takes heartbeats")
	}
	b := &heartbeatProbe{env: env, job: p.Job, within: p.Within.Duration, reported: p.Value == "reported"}
	if b.job == "" {
		b.job = name
	}
	b.unit = spec.Unit
	if !b.reported {
		b.unit = unitOr(&spec, "seconds")
	}
	return b, env.Heartbeats.watch(b.job)
}

// Probe looks how long ago the job reported. A restart of this process forgets beats, so until a whole interval has
// passed since then, silence says nothing.
func (p *heartbeatProbe) Probe(context.Context) api.Observation {
	j, known := p.env.Heartbeats.look(p.job)
	if !known {
		return blind(p.unit, fmt.Errorf("job %q is not watched any more", p.job))
	}
	now := time.Now()
	if j.beats == 0 {
		waited := now.Sub(j.since)
		if waited <= p.within {
			return blind(p.unit, fmt.Errorf("job %q has not reported in the %s since watching began; it has %s",
				p.job, waited.Round(time.Second), p.within))
		}
		o := bad(p.unit, fmt.Sprintf("job %q has not reported for %s, at most %s is expected", p.job, waited.Round(time.Second), p.within))
		if !p.reported {
			o.Value = waited.Seconds()
		}
		return o
	}
	age := now.Sub(j.last.At)
	o := api.Observation{Verdict: api.OK, Unit: p.unit, Value: age.Seconds()}
	if p.reported {
		o.Value = j.last.Value
	}
	switch {
	case age > p.within:
		o.Verdict, o.Reason = api.Bad, fmt.Sprintf("job %q last reported %s ago, at most %s is expected", p.job, age.Round(time.Second), p.within)
	case j.last.Failed:
		o.Verdict, o.Reason = api.Bad, sentence(fmt.Sprintf("job %q reported a failure: %s", p.job, j.last.Text))
	}
	return o
}
