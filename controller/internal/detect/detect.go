// Package detect turns observations into anomalies. It is pure: time arrives inside observations, and the same
// code runs live, in the twin and in a backtest. Its windows are volatile; after a restart it simply reports what it sees.
package detect

import (
	"time"

	"github.com/backstay/backstay/api"
)

// Watch holds all detectors of one probe. It is not safe for concurrent use; a probe never overlaps itself, so
// whoever runs the probe owns its Watch.
type Watch struct {
}

// New makes the detectors of a probe. It refuses what validation would have refused.
func New(name string, spec api.ProbeSpec) (*Watch, error) { return &Watch{}, nil }

// Observe takes one observation and appends to changes the anomalies that opened or cleared by it.
// It allocates nothing while nothing changes. Observations older than the last one are ignored.
func (w *Watch) Observe(o *api.Observation, changes []api.Anomaly) []api.Anomaly { return changes }

// Open lists the anomalies that are open now.
func (w *Watch) Open() []api.Anomaly { return nil }

// Suspicious tells whether the last observation was a first bad answer whose confirmation should not wait for
// the next regular run: the scheduler then repeats the probe after 100 to 200 ms.
func (w *Watch) Suspicious() bool { return false }

// Proof tracks an api.Expectation over the observations of its probes: the shell feeds it, in every shell alike.
type Proof struct {
}

// NewProof starts tracking at the given time. Observations from before it never count.
func NewProof(e api.Expectation, start time.Time) *Proof { return &Proof{} }

// Observe takes one observation of any probe.
func (p *Proof) Observe(o *api.Observation) {}

// Anomaly takes an anomaly that opened or cleared: an open one on an expected probe breaks the hold.
func (p *Proof) Anomaly(a api.Anomaly) {}

// Result tells whether the expectation is decided at the given time, how (ResultDone or ResultFailed, with text and
// facts for people), and when to ask again at the latest.
func (p *Proof) Result(now time.Time) (out api.Outcome, decided bool, wake time.Time) {
	return api.Outcome{}, false, time.Time{}
}
