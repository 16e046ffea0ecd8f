package live

import (
	"context"
	"time"

	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/store"
)

// The recorder's measures.
const (
	recordEvery = 5 * time.Second       // inputs that led to no entry are kept as often as this
	recordWait  = 20 * time.Millisecond // entries wait this long for what led to them
	recordMost  = 16 << 20              // bytes that wait while the database is busy; beyond it they are lost, and backtests infer them
)

// recorder keeps what reaches the engine, for backtests. What led to entries is kept before they are, so that it survives whatever ends the
// process once they are durable; the rest may die with the process, as all that it led to does. Nothing ever waits long for it, and nothing stops
// where it cannot be kept.
type recorder struct {
	s      *Shell
	tape   engine.Tape
	first  int64 // entry that the first event on the tape led to, or would have
	kept   time.Time
	block  []byte     // on its way to the store
	saving chan error // answers once; nil where no block is on its way
}

// add records an event that led to so many entries, the first of them numbered next.
func (r *recorder) add(e *engine.Event, entries int, next int64) {
	if r.s.store == nil {
		return
	}
	r.begin(next)
	r.tape.Add(e, entries)
}

// shell records that the next entry is the shell's own.
func (r *recorder) shell(next int64) {
	if r.s.store == nil {
		return
	}
	r.begin(next)
	r.tape.Lost(r.s.clock.now().UnixNano(), 1)
}

func (r *recorder) begin(next int64) {
	if r.tape.Len() > recordMost {
		r.tape.Cut(nil)
	}
	if r.tape.Len() == 0 {
		r.first = next
	}
}

// keep stores what was recorded, before the entries that it led to are made durable.
func (r *recorder) keep(entries bool) {
	now := r.s.clock.now()
	switch {
	case r.tape.Len() == 0:
	case entries:
		r.save(now, recordWait)
	case now.Sub(r.kept) >= recordEvery:
		r.save(now, 0)
	}
}

// save hands a block to the store and waits for it, within bounds. While one is on its way the tape goes on.
func (r *recorder) save(now time.Time, wait time.Duration) {
	if !r.saved(wait) || r.tape.Len() == 0 {
		return
	}
	r.kept, r.block = now, r.tape.Cut(r.block)
	b, saving := store.InputBlock{First: r.first, At: now, Block: r.block}, make(chan error, 1)
	r.saving = saving
	go func() { saving <- r.s.store.SaveInputs(context.Background(), b) }()
	r.saved(wait)
}

// saved tells whether no block is on its way any more.
func (r *recorder) saved(wait time.Duration) bool {
	if r.saving == nil {
		return true
	}
	var err error
	select {
	case err = <-r.saving:
	default:
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case err = <-r.saving:
		case <-timer.C:
			return false
		}
	}
	r.saving = nil
	if err != nil {
		r.s.log.Warn("record what was decided on; a backtest will infer it", "err", err)
	}
	return true
}

// end stores the rest.
func (r *recorder) end() {
	if r.save(r.s.clock.now(), stopWait); !r.saved(0) {
		r.s.log.Warn("the last inputs were not recorded in time; a backtest will infer them")
	}
}
