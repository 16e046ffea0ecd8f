package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"time"

	"github.com/backstay/backstay/api"
)

// lateMost is how long after its request an effect may come. It is shorter than the time-out of a step, as the answer of a
// queryable target counts only after that.
const lateMost = 1200 * time.Millisecond

// till is a target with one business item at a time that waits to be paid, and the ledger that judges: it counts what each
// request really did. It behaves as its repeat class says, and its requests go wrong in all ways that leave somebody in doubt.
type till struct {
	class api.Repeat
	*httptest.Server

	mu       sync.Mutex
	rng      *rand.Rand
	calm     bool // no more faults, no more items
	item     int
	waiting  bool
	since    time.Time   // when it began to wait
	good     int         // good looks since the last item was paid
	effects  map[int]int // item -> effects
	received map[string]int
	landed   map[string]int // key -> effects
	mended   int
	late     int
	seen     chan struct{} // gets one when a request comes, if somebody waits for that
}

func newTill(class api.Repeat, seed uint64) *till {
	t := &till{class: class, rng: rand.New(rand.NewPCG(seed, 11)), effects: map[int]int{}, received: map[string]int{}, landed: map[string]int{}, seen: make(chan struct{}, 1)}
	t.raise()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", t.health)
	mux.HandleFunc("GET /work", t.work)
	mux.HandleFunc("GET /proof/{key}", t.proof)
	mux.HandleFunc("/pay", t.pay)
	t.Server = httptest.NewServer(mux)
	return t
}

func (t *till) raise() { t.item, t.waiting, t.since, t.good = t.item+1, true, time.Now(), 0 }

func (t *till) look() {
	select {
	case t.seen <- struct{}{}:
	default:
	}
}

// health is ill while an item waits. A little after its probe has seen it well, the next item comes.
func (t *till) health(w http.ResponseWriter, _ *http.Request) {
	t.look()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting {
		http.Error(w, "an item waits", http.StatusServiceUnavailable)
		return
	}
	if t.good++; t.good > 3 && !t.calm && t.rng.Float64() < 0.5 {
		t.raise()
	}
}

// work is the number of the item that waits, for the control.
func (t *till) work(w http.ResponseWriter, _ *http.Request) {
	t.look()
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.waiting && !t.calm {
		t.raise()
	}
	if t.waiting {
		fmt.Fprint(w, t.item)
	}
}

func (t *till) proof(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.landed[r.PathValue("key")] == 0 {
		http.NotFound(w, r)
	}
}

// pay takes a request: what becomes of it, and what the caller hears, do not follow from each other.
func (t *till) pay(w http.ResponseWriter, r *http.Request) {
	var in struct{ Key string }
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &in)
	}
	if err != nil || in.Key == "" {
		http.Error(w, "a payment needs its key", http.StatusBadRequest)
		return
	}
	t.mu.Lock()
	item := t.item
	if named, err := strconv.Atoi(r.URL.Query().Get("item")); err == nil {
		item = named
	}
	t.received[in.Key]++
	p, share := t.rng.Float64(), t.rng.Float64()
	if t.calm {
		p = 0
	}
	t.mu.Unlock()
	part := func(d time.Duration) time.Duration { return time.Duration(share * float64(d)) }
	switch {
	case p < 0.45:
		t.land(in.Key, item)
		time.Sleep(part(50 * time.Millisecond))
	case p < 0.60: // the effect comes late, whoever waits for it
		done := make(chan struct{})
		time.AfterFunc(part(lateMost), func() { t.land(in.Key, item); close(done) })
		t.mu.Lock()
		t.late++
		t.mu.Unlock()
		<-done
	case p < 0.75: // the answer comes late
		t.land(in.Key, item)
		time.Sleep(part(3 * time.Second))
	case p < 0.85: // no answer, though it happened
		t.land(in.Key, item)
		panic(http.ErrAbortHandler)
	case p < 0.95: // no answer, and nothing happened
		panic(http.ErrAbortHandler)
	default:
		http.Error(w, "nothing happened, though no paper says so", http.StatusServiceUnavailable)
	}
}

// land is the effect.
func (t *till) land(key string, item int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.class == api.Keyed && t.landed[key] > 0 {
		return // recognised
	}
	t.landed[key]++
	if t.effects[item]++; t.class == api.Idempotent {
		t.effects[item] = 1 // a state that is set
	}
	if item == t.item {
		t.waiting, t.good = false, 0
	}
}

// mend is a person who pays by another way what waited too long.
func (t *till) mend() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting && time.Since(t.since) > 8*time.Second {
		t.waiting, t.good = false, 0
		t.mended++
	}
}

func (t *till) soothe() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calm = true
}

// paid tells whether anything happened under a key.
func (t *till) paid(key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.landed[key] > 0
}

// doubled counts items that were paid more than once.
func (t *till) doubled() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, times := range t.effects { // order does not matter: they are counted
		if times > 1 {
			n++
		}
	}
	return n
}
