package detect

import (
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

// detector is one rule of the spec with its state: one slot, or one per row.
type detector struct {
	spec  *api.Detector
	one   slot
	rows  []*slot // sorted by key, at most MaxKeys
	byRow bool
}

// slot is one anomaly that may be open.
type slot struct {
	rule   rule
	key    string
	opened int64 // Unix nanoseconds
	seen   int64 // time of the last observation that had this row
	open   bool
}

// anomaly builds the finding of a slot as of the last observation.
func (w *Watch) anomaly(d *detector, s *slot, cleared bool) api.Anomaly {
	f := s.rule.explain(w.last, cleared)
	a := api.Anomaly{
		Name: w.name + "/" + d.spec.Name, Probe: w.name, Key: s.key,
		Opened: utc(s.opened), At: utc(w.last), Cleared: cleared,
		Value: within(f.value), Limit: within(f.limit), Unit: f.unit, Evidence: f.evidence, Text: f.text,
	}
	if r, knows := s.rule.(interface{ began() int64 }); knows && !cleared && r.began() > 0 {
		a.Since = utc(r.began())
	}
	if s.key != "" {
		a.Text = clip(s.key, 80) + ": " + a.Text
	}
	if cleared {
		lasted := time.Duration(max(w.last-s.opened, 0))
		a.Evidence = append(a.Evidence, api.Number{Name: "lasted", Value: lasted.Seconds(), Unit: "s"})
		a.Text += "; it lasted " + span(lasted)
	}
	for i := range a.Evidence {
		a.Evidence[i].Value = within(a.Evidence[i].Value)
	}
	return a
}

// rows lets a detector judge each row by itself. Rows that vanish clear; what was learned of them stays as long as there is room.
func (w *Watch) rows(d *detector, o *api.Observation, p point, changes []api.Anomaly) []api.Anomaly {
	if p.verdict == unknown || p.verdict == bad && len(o.Series) == 0 {
		return changes // the rows were not seen
	}
	if d.one.open { // from before the first rows
		changes = append(changes, w.vanished(d, &d.one))
	}
	unwatched := 0
	for i := range o.Series {
		s := w.row(d, o.Series[i].Key)
		if s == nil {
			unwatched++
			continue
		}
		if s.seen == p.at {
			continue // a second row of the same key
		}
		q := p
		q.value, q.total, q.hasValue = o.Series[i].Value, 0, finite(o.Series[i].Value)
		q.gap = q.gap || s.seen != 0 && p.at-s.seen > w.gapMax()
		s.seen = p.at
		changes = w.judge(d, s, q, changes)
	}
	for _, s := range d.rows {
		if s.seen == p.at {
			continue
		}
		if s.open {
			changes = append(changes, w.vanished(d, s))
		}
		s.rule.reset()
	}
	w.unwatched = max(w.unwatched, unwatched)
	return changes
}

// row finds the slot of a key, or makes one; nil where there is no room.
func (w *Watch) row(d *detector, key string) *slot {
	i, found := slices.BinarySearchFunc(d.rows, key, func(s *slot, k string) int { return strings.Compare(s.key, k) })
	if found {
		return d.rows[i]
	}
	if len(d.rows) >= MaxKeys {
		if !d.forget(w.last) {
			return nil
		}
		i, _ = slices.BinarySearchFunc(d.rows, key, func(s *slot, k string) int { return strings.Compare(s.key, k) })
	}
	r, err := newRule(d.spec, w.every)
	if err != nil {
		return nil // cannot be: New made the same rule
	}
	s := &slot{rule: r, key: strings.Clone(key)}
	d.rows = slices.Insert(d.rows, i, s)
	return s
}

// forget drops the closed row that was not seen for longest. It says false where all were seen just now or are open.
func (d *detector) forget(now int64) bool {
	oldest := -1
	for i, s := range d.rows {
		if s.open || s.seen == now {
			continue
		}
		if oldest < 0 || s.seen < d.rows[oldest].seen {
			oldest = i
		}
	}
	if oldest < 0 {
		return false
	}
	d.rows = slices.Delete(d.rows, oldest, oldest+1)
	return true
}

// vanished clears a slot whose row is no longer there.
func (w *Watch) vanished(d *detector, s *slot) api.Anomaly {
	a := w.anomaly(d, s, true)
	a.Text = "no longer reported; it lasted " + span(a.At.Sub(a.Opened))
	if s.key != "" {
		a.Text = clip(s.key, 80) + ": " + a.Text
	}
	s.open = false
	return a
}

func utc(nanos int64) time.Time { return time.Unix(0, nanos).UTC() }
