package live

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/backstay/backstay/api"
	"github.com/prometheus/client_golang/prometheus"
)

// probeSeriesMax is how many probes get series of their own; more would be a burden to whoever scrapes. With more probes than
// this none has any, and backstay_probe_series_omitted says how many are left out.
const probeSeriesMax = 2000

// figures are what cannot be read from the state at the time of a scrape.
type figures struct {
	lateness prometheus.Histogram
	commit   prometheus.Histogram
	working  atomic.Int64

	mu        sync.Mutex
	entries   map[api.EntryKind]int64
	ends      map[api.RemediationEnd]int64
	incidents int64 // opened less closed and merged, since the start
}

func (f *figures) init() {
	f.lateness = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "backstay_probe_lateness_seconds", Help: "Start of a run behind its plan.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5},
	})
	f.commit = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "backstay_commit_duration_seconds", Help: "Time to make one batch of entries durable.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5},
	})
	f.entries, f.ends = map[api.EntryKind]int64{}, map[api.RemediationEnd]int64{}
}

// count takes a durable entry.
func (f *figures) count(e *api.Entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entries[e.Kind]++
	switch e.Kind {
	case api.EntryRemediationEnded:
		f.ends[e.End]++
	case api.EntryIncidentOpened:
		f.incidents++
	case api.EntryIncidentClosed, api.EntryIncidentMerged:
		f.incidents--
	}
}

func (f *figures) opened(n int) {
	f.mu.Lock()
	f.incidents += int64(n)
	f.mu.Unlock()
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("backstay_"+name, help, labels, nil)
}

var (
	descRuns      = desc("probe_runs_total", "Finished runs of probes.", "type", "verdict")
	descSkipped   = desc("probe_runs_skipped_total", "Planned runs that were not started.", "type", "reason")
	descProbes    = desc("probes", "Configured probes by what they say now.", "verdict")
	descUp        = desc("probe_up", "1 where the last run was good, 0 where it was bad; absent where it could not run.", "probe")
	descValue     = desc("probe_value", "Last value, in the probe's unit.", "probe")
	descOmitted   = desc("probe_series_omitted", "Probes without series of their own, because there are too many.")
	descWorkers   = desc("probe_workers", "Workers that run probes.", "state")
	descEntries   = desc("audit_entries_total", "Entries made durable since the start.", "kind")
	descEnds      = desc("remediations_ended_total", "Remediations that ended since the start.", "end")
	descOpen      = desc("remediations_open", "Remediations that have not ended.")
	descIncidents = desc("incidents_open", "Open incidents.")
	descQueue     = desc("event_queue_length", "Events that wait to be decided on.")
	descPaused    = desc("pauses", "Pauses in force.")
	descHalted    = desc("halted", "1 where acting stopped because of a broken invariant.")
	descRollups   = desc("rollups_waiting", "Finished minutes that wait to be stored.")
	descLost      = desc("rollups_lost_total", "Finished minutes that were given up because the store was too slow.")
)

// collector reads the figures at scrape time, so that probing pays nothing for them.
type collector struct{ s *Shell }

// Describe announces the fixed part.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descRuns, descSkipped, descProbes, descUp, descValue, descOmitted, descWorkers, descEntries, descEnds,
		descOpen, descIncidents, descQueue, descPaused, descHalted, descRollups, descLost} {
		ch <- d
	}
	c.s.figures.lateness.Describe(ch)
	c.s.figures.commit.Describe(ch)
}

// Collect reads everything once.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.s
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	s.mu.Lock()
	for name, k := range s.kinds {
		counter(descRuns, k.ok.Load(), name, string(api.OK))
		counter(descRuns, k.bad.Load(), name, string(api.Bad))
		counter(descRuns, k.unknown.Load(), name, string(api.Unknown))
		for why := range k.skipped {
			counter(descSkipped, k.skipped[why].Load(), name, skipNames[why])
		}
	}
	list := s.order
	s.mu.Unlock()
	e := s.eyes.counts()
	gauge(descProbes, float64(e.Probes-e.Bad-e.Unknown), string(api.OK))
	gauge(descProbes, float64(e.Bad), string(api.Bad))
	gauge(descProbes, float64(e.Unknown), string(api.Unknown))
	c.probes(list, gauge)
	workers, busy := s.sched.counts()
	gauge(descWorkers, float64(busy), "busy")
	gauge(descWorkers, float64(workers-busy), "idle")
	f := &s.figures
	f.mu.Lock()
	for kind, n := range f.entries {
		counter(descEntries, n, string(kind))
	}
	for end, n := range f.ends {
		counter(descEnds, n, string(end))
	}
	gauge(descIncidents, float64(f.incidents))
	f.mu.Unlock()
	gauge(descOpen, float64(f.working.Load()))
	gauge(descQueue, float64(s.queue.len()))
	gauge(descPaused, float64(len(s.Pauses())))
	halted := 0.0
	if s.haltedBy() != "" {
		halted = 1
	}
	gauge(descHalted, halted)
	gauge(descRollups, float64(s.rollups.waiting()))
	counter(descLost, s.rollups.lost.Load())
	f.lateness.Collect(ch)
	f.commit.Collect(ch)
}

// probes gives the series of single probes.
func (c *collector) probes(list []*probe, gauge func(*prometheus.Desc, float64, ...string)) {
	if len(list) > probeSeriesMax {
		gauge(descOmitted, float64(len(list)))
		return
	}
	gauge(descOmitted, 0)
	for _, p := range list {
		o, ran := p.lastSeen()
		if !ran || o.Verdict == api.Unknown {
			continue
		}
		up := 0.0
		if o.Verdict == api.OK {
			up = 1
		}
		name := strings.ToValidUTF8(p.name, "?")
		gauge(descUp, up, name)
		gauge(descValue, o.Value, name)
	}
}
