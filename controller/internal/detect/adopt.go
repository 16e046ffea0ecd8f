package detect

import (
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

// Adopted are anomalies that the engine holds open although the detectors that would clear them have just begun: after a restart,
// after the probe's detectors were edited, or in a twin that begins with the present. Detectors open them again if the trouble is still
// there, and clear them as usual. If it is not, nobody would ever clear them; so they are cleared here, once the probe was good for long
// enough that a new detector would have spoken.
type Adopted struct {
	Anomalies []api.Anomaly // those that are still open
	after     time.Time     // not before
	good      int           // good runs in a row
	goodLeast int
}

// Adopt makes the list for a probe whose detectors begin now; nil where nothing is open. Anomalies of detectors that the probe no longer
// has are left out.
func Adopt(open []api.Anomaly, probe string, spec *api.ProbeSpec, now time.Time) *Adopted {
	var kept []api.Anomaly
	for _, a := range open {
		detector := strings.TrimPrefix(a.Name, probe+"/")
		if slices.ContainsFunc(spec.Detect, func(d api.Detector) bool { return d.Name == detector }) {
			kept = append(kept, a)
		}
	}
	if len(kept) == 0 {
		return nil
	}
	wait, least := settleTime(spec)
	return &Adopted{Anomalies: kept, after: now.Add(wait), goodLeast: least}
}

// settleTime is how long, and for how many good runs, new detectors may need before their silence means that all is well.
func settleTime(spec *api.ProbeSpec) (wait time.Duration, good int) {
	good = 2
	for _, d := range spec.Detect {
		switch {
		case d.Failures != nil:
			good = max(good, d.Failures.Clear)
		case d.Threshold != nil:
			wait = max(wait, d.Threshold.For.Duration)
		case d.Trend != nil:
			wait = max(wait, d.Trend.Window.Duration)
		case d.Absence != nil:
			wait = max(wait, d.Absence.For.Duration)
		case d.Flatline != nil:
			wait = max(wait, d.Flatline.For.Duration)
		case d.Ratio != nil:
			wait = max(wait, d.Ratio.Window.Duration)
		case d.BurnRate != nil:
			wait = max(wait, d.BurnRate.Short.Duration)
		case d.Baseline != nil:
			wait = max(wait, d.Baseline.For.Duration)
		}
	}
	return wait, good
}

// Settle takes an observation, drops what the new detectors have opened themselves, and appends to changes what is now clear. open are the
// anomalies that the new detectors hold open.
func (d *Adopted) Settle(o *api.Observation, open, changes []api.Anomaly) []api.Anomaly {
	keep := d.Anomalies[:0:0]
	for _, a := range d.Anomalies {
		if !holds(open, a.ID()) && !holds(changes, a.ID()) {
			keep = append(keep, a)
		}
	}
	d.Anomalies = keep
	switch o.Verdict {
	case api.OK:
		d.good++
	case api.Bad:
		d.good = 0
	}
	if d.good < d.goodLeast || o.At.Before(d.after) {
		return changes
	}
	for _, a := range d.Anomalies {
		changes = append(changes, cleared(a, o.At, a.Name+" is well again; it cleared while its detectors were starting."))
	}
	d.Anomalies = nil
	return changes
}

// cleared is an anomaly's end, as a detector would have told it.
func cleared(a api.Anomaly, at time.Time, text string) api.Anomaly {
	a.Cleared, a.At, a.Text, a.Evidence = true, at, text, nil
	return a
}

func holds(list []api.Anomaly, id string) bool {
	for _, a := range list {
		if a.ID() == id {
			return true
		}
	}
	return false
}
