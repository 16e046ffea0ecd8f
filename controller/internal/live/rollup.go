package live

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/store"
)

// minute sums up the running minute of one probe.
type minute struct {
	start               int64 // Unix minutes; 0 where nothing was seen yet
	runs, bad, unknown  int32
	min, max, sum, last float64
	tookSum, tookMax    time.Duration
}

// add takes an observation. Where it begins a new minute, the one before comes back, finished.
func (m *minute) add(name string, o *api.Observation) (done store.Rollup, finished bool) {
	start := o.At.Unix() / 60
	if m.start != 0 && start != m.start {
		done, finished = m.row(name), true
		*m = minute{}
	}
	if m.runs == 0 {
		m.start, m.min, m.max = start, math.Inf(1), math.Inf(-1)
	}
	m.runs++
	switch o.Verdict {
	case api.Bad:
		m.bad++
	case api.Unknown:
		m.unknown++
	}
	if o.Verdict != api.Unknown { // a probe that could not run has no value
		m.min, m.max, m.last = min(m.min, o.Value), max(m.max, o.Value), o.Value
		m.sum += o.Value
	}
	m.tookSum += o.Took
	m.tookMax = max(m.tookMax, o.Took)
	return done, finished
}

func (m *minute) row(name string) store.Rollup {
	r := store.Rollup{
		Probe: name, Minute: time.Unix(m.start*60, 0).UTC(), Runs: m.runs, Bad: m.bad, Unknown: m.unknown,
		Min: m.min, Max: m.max, Sum: m.sum, Last: m.last, TookSum: m.tookSum, TookMax: m.tookMax,
	}
	if m.runs == m.unknown {
		r.Min, r.Max = 0, 0
	}
	return r
}

// The bounds of roll-ups on their way to the store.
const (
	rollupEvery   = 5 * time.Second
	rollupBatch   = 1000    // rows in one transaction, so that entries never wait long for the disk
	rollupRowsMax = 250_000 // waiting; then the oldest are lost, and counted
)

// rollups carries finished minutes to the store in the background.
type rollups struct {
	journal journal
	log     *slog.Logger
	lost    atomic.Int64

	mu   sync.Mutex
	rows []store.Rollup
}

func (r *rollups) add(row store.Rollup) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.rows) >= rollupRowsMax {
		n := rollupRowsMax / 10
		r.rows = append(r.rows[:0], r.rows[n:]...)
		r.lost.Add(int64(n))
	}
	r.rows = append(r.rows, row)
}

func (r *rollups) waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.rows)
}

// run saves until ctx ends. list gives the probes whose minutes may have ended without another run.
func (r *rollups) run(ctx context.Context, list func() []*probe, now func() time.Time) {
	tick := time.NewTicker(rollupEvery)
	defer tick.Stop()
	var swept int64
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if m := now().Unix() / 60; m != swept {
			r.sweep(list(), m)
			swept = m
		}
		r.flush(ctx)
	}
}

// sweep takes the minutes that ended before the given one.
func (r *rollups) sweep(list []*probe, before int64) {
	for _, p := range list {
		p.mu.Lock()
		if p.minute.start != 0 && p.minute.start < before {
			row := p.minute.row(p.name)
			p.minute = minute{}
			r.add(row)
		}
		p.mu.Unlock()
	}
}

// flush saves what waits, in batches. What could not be saved waits for the next time.
func (r *rollups) flush(ctx context.Context) {
	r.mu.Lock()
	rows := r.rows
	r.rows = nil
	r.mu.Unlock()
	for len(rows) > 0 {
		n := min(rollupBatch, len(rows))
		if err := r.journal.SaveRollups(ctx, rows[:n]); err != nil {
			r.log.Warn("save roll-ups; they are kept and tried again", "rows", len(rows), "err", err)
			r.mu.Lock()
			r.rows = append(rows[:len(rows):len(rows)], r.rows...)
			r.mu.Unlock()
			return
		}
		rows = rows[n:]
	}
}
