// Package detect turns observations into anomalies. It is pure: time arrives inside observations, and the same
// code runs live, in the twin and in a backtest. Its windows are volatile; after a restart it simply reports what it sees.
//
// What counts, for every detector:
//   - Unknown observations count neither way. Only absence goes on, because not knowing is no good run either.
//   - A bad run that brings no value (0, no total, no rows) says nothing about the value: a refused connection is not a
//     queue of length 0. NaN and infinite values are no values.
//   - An observation that is not newer than the last one is ignored. Three such in a row, each newer than the one before,
//     mean that the clock was set back: windows start afresh, open anomalies stay open.
//   - After a pause of more than ten intervals (at least a minute) in which nothing was seen, time spent outside a limit
//     or without a change is counted from now on, because nobody looked meanwhile.
//   - Where a probe sees several rows, value detectors judge each row by itself, up to MaxKeys rows.
//
// Changes are only "opened" and "cleared", strictly in turn for each anomaly; Open gives today's figures.
package detect

import (
	"time"

	"github.com/backstay/backstay/api"
)

// MaxKeys bounds the rows that one detector watches, so that a query without a limit cannot eat the memory.
const MaxKeys = 256

// confirmMax bounds how many quick repeats one suspicion may cost.
const confirmMax = 10

// Watch holds all detectors of one probe. It is not safe for concurrent use; a probe never overlaps itself, so
// whoever runs the probe owns its Watch.
type Watch struct {
	name      string
	every     time.Duration
	detectors []detector

	last      int64 // time of the last observation, Unix nanoseconds; 0 before the first
	known     int64 // time of the last one that was not unknown
	late      int64 // time of the last observation that was ignored as not newer
	lateRow   int8  // how many of those in a row
	quick     int8  // quick repeats since the last good run
	verdict   byte  // first letter of the last verdict
	keyed     bool  // the probe reports rows
	unwatched int   // rows of the last observation beyond MaxKeys
}

// New makes the detectors of a probe. It refuses what validation would have refused. Zero fields mean their defaults.
func New(name string, spec api.ProbeSpec) (*Watch, error) {
	w := &Watch{name: name, every: spec.Every.Duration, detectors: make([]detector, len(spec.Detect))}
	if w.every <= 0 {
		w.every = 30 * time.Second
	}
	for i := range spec.Detect {
		d := &w.detectors[i]
		d.spec = &spec.Detect[i]
		r, err := newRule(d.spec, w.every)
		if err != nil {
			return nil, api.Errorf(api.CodeInvalid, "build detector %s/%s: %w", name, d.spec.Name, err)
		}
		d.one.rule = r
		d.byRow = d.spec.Threshold != nil || d.spec.Trend != nil || d.spec.Flatline != nil || d.spec.Baseline != nil
	}
	return w, nil
}

// Observe takes one observation and appends to changes the anomalies that opened or cleared by it.
// It allocates nothing while nothing changes. Observations not newer than the last one are ignored.
func (w *Watch) Observe(o *api.Observation, changes []api.Anomaly) []api.Anomaly {
	sec := o.At.Unix()
	if sec < 0 || sec >= 9e9 {
		return changes // no clock that we can reckon with
	}
	p := point{at: o.At.UnixNano(), verdict: verdictOf(o.Verdict), value: o.Value, total: o.Total, unit: o.Unit, reason: o.Reason}
	if w.last != 0 && p.at <= w.last && !w.setBack(p.at) {
		return changes
	}
	w.lateRow = 0
	wasSuspicious := w.Suspicious()
	p.first = w.last == 0
	p.repeat = wasSuspicious && p.at-w.last < int64(w.every)/2
	p.gap = w.known != 0 && p.verdict != unknown && p.at-w.known > w.gapMax()
	p.hasValue = p.verdict != unknown && (p.verdict == good || p.value != 0 || p.total != 0) && finite(p.value)
	w.last, w.verdict = p.at, p.verdict
	switch {
	case p.verdict == good:
		w.quick = 0
	case wasSuspicious:
		w.quick++
	}
	if p.verdict != unknown {
		w.known = p.at
	}
	if len(o.Series) > 0 && p.verdict != unknown {
		w.keyed = true
	}
	w.unwatched = 0
	for i := range w.detectors {
		d := &w.detectors[i]
		if d.byRow && w.keyed {
			changes = w.rows(d, o, p, changes)
			continue
		}
		changes = w.judge(d, &d.one, p, changes)
	}
	return changes
}

// gapMax is the longest pause, in nanoseconds, over which time spent outside a limit still counts.
func (w *Watch) gapMax() int64 { return int64(max(10*w.every, time.Minute)) }

// setBack tells whether an observation that is not newer shows that the clock was set back; then all windows start afresh.
func (w *Watch) setBack(at int64) bool {
	if w.lateRow == 0 || at > w.late {
		w.lateRow++
	} else {
		w.lateRow = 1
	}
	w.late = at
	if w.lateRow < 3 || at == w.last {
		return false
	}
	for i := range w.detectors {
		d := &w.detectors[i]
		d.one.rule.reset()
		for _, s := range d.rows {
			s.rule.reset()
		}
	}
	w.known = 0
	return true
}

// judge lets one slot take the point, and reports the change if there is one.
func (w *Watch) judge(d *detector, s *slot, p point, changes []api.Anomaly) []api.Anomaly {
	open := s.rule.observe(p, s.open)
	if open == s.open {
		return changes
	}
	if open {
		s.open, s.opened = true, p.at
		return append(changes, w.anomaly(d, s, false))
	}
	a := w.anomaly(d, s, true)
	s.open = false
	return append(changes, a)
}

// Open lists the anomalies that are open now, with today's figures.
func (w *Watch) Open() []api.Anomaly {
	var open []api.Anomaly
	for i := range w.detectors {
		d := &w.detectors[i]
		if d.one.open {
			open = append(open, w.anomaly(d, &d.one, false))
		}
		for _, s := range d.rows {
			if s.open {
				open = append(open, w.anomaly(d, s, false))
			}
		}
	}
	return open
}

// Suspicious tells whether the last observation was a bad answer whose confirmation should not wait for
// the next regular run: the scheduler then repeats the probe after 100 to 200 ms. It ends with a good or unknown answer, when
// the anomaly opens, and after ten repeats.
func (w *Watch) Suspicious() bool {
	if w.verdict != bad || w.quick >= confirmMax {
		return false
	}
	for i := range w.detectors {
		f, ok := w.detectors[i].one.rule.(*failures)
		if ok && f.atLeast > 1 && !w.detectors[i].one.open {
			return true
		}
	}
	return false
}

// Unwatched is how many rows of the last observation no detector watched, because there were more than MaxKeys.
func (w *Watch) Unwatched() int { return w.unwatched }
