package live

import (
	"sync"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

// item is one thing for the event loop.
type item struct {
	event   engine.Event
	obs     *api.Observation // for running expectations; not an event of the engine
	command *engine.Command  // what event.Result is the result of
	probe   *probe           // what saw event.Anomaly
	reload  *reload          // takes effect once the event's entries are durable, before any command
	done    func(entries []api.Entry, err error)
}

// latest names what only the last of counts.
type latest struct {
	probe   string
	verdict bool
}

// queue carries items to the event loop. Putting never blocks: probing must go on while the loop waits for the disk. What can
// pile up meanwhile is bounded by what the probes do: values and verdicts replace those of the same probe that still wait.
type queue struct {
	mu     sync.Mutex
	items  []item
	latest map[latest]int // index of the waiting value or verdict
	signal chan struct{}  // holds one token while items wait
	closed error
}

func newQueue() *queue { return &queue{latest: map[latest]int{}, signal: make(chan struct{}, 1)} }

func (it *item) latest() (latest, bool) {
	switch {
	case it.event.Value != nil:
		return latest{it.event.Value.Probe, false}, true
	case it.event.Verdict != nil:
		return latest{it.event.Verdict.Probe, true}, true
	}
	return latest{}, false
}

// put adds an item. After close it refuses.
func (q *queue) put(it item) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed != nil {
		return q.closed
	}
	if key, only := it.latest(); only {
		if i, waits := q.latest[key]; waits {
			q.items[i] = it
			return nil
		}
		q.latest[key] = len(q.items)
	}
	q.items = append(q.items, it)
	select {
	case q.signal <- struct{}{}:
	default:
	}
	return nil
}

// take gives all that waits and reuses the given slice for what comes next.
func (q *queue) take(reuse []item) []item {
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	q.items = reuse[:0]
	clear(q.latest)
	return items
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

// close refuses all that waits and all that comes.
func (q *queue) close(why error) {
	q.mu.Lock()
	items := q.items
	q.items, q.closed = nil, why
	q.mu.Unlock()
	for _, it := range items {
		if it.done != nil {
			it.done(nil, why)
		}
	}
}
