package demo

import (
	"encoding/json"
	"hash/fnv"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Gateway is a payment gateway that remembers. It speaks HTTP like the real ones, with idempotency keys, look-ups and voids, and
// it can be told to misbehave in the ways that cost money. Its ledger, and nobody else's memory, says whether an order was
// charged twice.
//
//	POST /captures                  {"key": "order-1", "amount": 4200, "currency": "EUR"}, header Idempotency-Key
//	GET  /captures?key=order-1      the captures of an order; 404 where there are none
//	GET  /captures?idempotencyKey=K the capture made under an idempotency key; 404 where there is none
//	POST /captures/ID/void          gives the money back; a second time changes nothing
//	POST /authorizations            a charge of nothing, for probes: leaves no trace
//	GET  /healthz                   200, or what Faults make of it
//
// A Gateway is safe for concurrent use.
type Gateway struct {
	name string
	seed uint64
	mux  *http.ServeMux

	mu       sync.Mutex
	faults   Faults
	captures []Capture
	keys     map[string]keyed
	calls    map[string]int // captures asked for, by key: the tries of one key need not fare alike
	stats    GatewayStats
	gone     chan struct{} // closed by Close: lets go of calls that hang
	closed   bool
}

// Faults are what a gateway does wrong. The zero value is a gateway that is well. Which calls a share hits depends only on
// the seed, the idempotency key and the try, so that two runs over the same calls agree.
type Faults struct {
	Latency    time.Duration // added to every answer
	Down       bool          // every connection breaks off without an answer
	Errors     float64       // share of captures, 0 to 1, answered 503 with nothing done
	Declines   float64       // share of captures answered 402: a definite no
	HangBefore float64       // share of captures that never answer, with nothing done
	HangAfter  float64       // share of captures that never answer though the money was taken
	KeyLife    time.Duration // how long a key is remembered; 0 is for ever. A forgotten key is a new charge
	Visible    time.Duration // a capture shows in look-ups only this long after it was made
}

// Capture is one taking of money.
type Capture struct {
	ID       string    `json:"id"`
	Gateway  string    `json:"gateway"`
	Key      string    `json:"key"`    // the business key: what must be charged once
	Amount   int64     `json:"amount"` // in minor units
	Currency string    `json:"currency"`
	IdemKey  string    `json:"idempotencyKey,omitempty"`
	At       time.Time `json:"at"`
	Voided   bool      `json:"voided,omitempty"`
}

// GatewayStats counts what a gateway was asked and how it answered.
type GatewayStats struct {
	Calls     int64 `json:"calls"`
	Captured  int64 `json:"captured"`
	Repeated  int64 `json:"repeated"` // answered from a remembered key
	Declined  int64 `json:"declined"`
	Errors    int64 `json:"errors"`
	HungAfter int64 `json:"hungAfter"` // money taken, no answer given
	HungEarly int64 `json:"hungEarly"`
	LookUps   int64 `json:"lookUps"`
}

type keyed struct {
	capture int // index into captures
	order   string
	at      time.Time
}

// NewGateway makes a gateway; serve it like any http.Handler. Seed decides which calls a share of faults hits.
func NewGateway(name string, seed uint64) *Gateway {
	g := &Gateway{name: name, seed: seed, mux: http.NewServeMux(), keys: map[string]keyed{}, calls: map[string]int{}, gone: make(chan struct{})}
	g.mux.HandleFunc("POST /captures", g.capture)
	g.mux.HandleFunc("GET /captures", g.lookUp)
	g.mux.HandleFunc("POST /captures/{id}/void", g.void)
	g.mux.HandleFunc("POST /authorizations", g.authorize)
	g.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"status": "ok", "gateway": g.name})
	})
	return g
}

// Set changes what the gateway does wrong, from the next call on.
func (g *Gateway) Set(f Faults) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.faults = f
}

// Close lets go of the calls that hang, so that a server can shut down.
func (g *Gateway) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.closed = true
		close(g.gone)
	}
}

// Captures lists all captures in the order they were made: the ledger.
func (g *Gateway) Captures() []Capture {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.captures)
}

// Stats counts the calls so far.
func (g *Gateway) Stats() GatewayStats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stats
}

// Charged counts the captures per order that were not given back, over all the gateways of a back office. An order with
// more than one was charged twice.
func Charged(gateways ...*Gateway) map[string]int {
	charged := map[string]int{}
	for _, g := range gateways {
		for _, c := range g.Captures() {
			if !c.Voided {
				charged[c.Key]++
			}
		}
	}
	return charged
}

// ServeHTTP answers one call.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	f := g.faults
	g.stats.Calls++
	g.mu.Unlock()
	if f.Down {
		reset(w)
		return
	}
	if f.Latency > 0 {
		select {
		case <-time.After(f.Latency):
		case <-r.Context().Done():
			return
		case <-g.gone:
		}
	}
	g.mux.ServeHTTP(w, r)
}

// reset breaks the connection off, as a dead server's machine would.
func reset(w http.ResponseWriter) {
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	conn, _, err := hijacker.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // only makes the break harder
	}
	conn.Close()
}

// chance is a number from 0 to 1 that depends on seed, key and try alone.
func (g *Gateway) chance(what, key string, try int) float64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(what + "\x00" + key + "\x00" + strconv.Itoa(try) + "\x00" + strconv.FormatUint(g.seed, 10))) // never fails
	x := h.Sum64()
	x ^= x >> 33 // fnv alone is weak in its high bits for short texts
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return float64(x>>11) / (1 << 53)
}

func (g *Gateway) capture(w http.ResponseWriter, r *http.Request) {
	var ask Capture
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&ask); err != nil || ask.Key == "" || ask.Amount <= 0 || ask.Currency == "" {
		answer(w, http.StatusBadRequest, map[string]string{"error": "want key, amount above 0 and currency"})
		return
	}
	ask.IdemKey = r.Header.Get("Idempotency-Key")
	status, c, hang := g.take(ask)
	if hang {
		select {
		case <-r.Context().Done():
		case <-g.gone:
		}
		panic(http.ErrAbortHandler)
	}
	switch status {
	case http.StatusOK, http.StatusCreated:
		answer(w, status, c)
	case http.StatusPaymentRequired:
		answer(w, status, map[string]string{"error": "card declined"})
	case http.StatusConflict:
		answer(w, status, map[string]string{"error": "this key was used for another order"})
	default:
		answer(w, status, map[string]string{"error": "temporarily unavailable"})
	}
}

// take decides and books one capture; hang means that no answer leaves.
func (g *Gateway) take(ask Capture) (status int, c Capture, hang bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, f := time.Now(), g.faults
	if k, seen := g.keys[ask.IdemKey]; seen && ask.IdemKey != "" && (f.KeyLife <= 0 || now.Sub(k.at) < f.KeyLife) {
		if k.order != ask.Key {
			return http.StatusConflict, Capture{}, false
		}
		g.stats.Repeated++
		return http.StatusOK, g.captures[k.capture], false
	}
	id := ask.IdemKey
	if id == "" {
		id = ask.Key
	}
	g.calls[id]++
	try := g.calls[id]
	switch {
	case g.chance("errors", id, try) < f.Errors:
		g.stats.Errors++
		return http.StatusServiceUnavailable, Capture{}, false
	case g.chance("declines", id, try) < f.Declines:
		g.stats.Declined++
		return http.StatusPaymentRequired, Capture{}, false
	case g.chance("before", id, try) < f.HangBefore:
		g.stats.HungEarly++
		return 0, Capture{}, true
	}
	c = ask
	c.ID, c.Gateway, c.At, c.Voided = "cap-"+g.name+"-"+strconv.Itoa(len(g.captures)+1), g.name, now.UTC(), false
	g.captures = append(g.captures, c)
	g.keys[ask.IdemKey] = keyed{len(g.captures) - 1, ask.Key, now}
	g.stats.Captured++
	if g.chance("after", id, try) < f.HangAfter {
		g.stats.HungAfter++
		return 0, c, true
	}
	return http.StatusCreated, c, false
}

func (g *Gateway) lookUp(w http.ResponseWriter, r *http.Request) {
	order, key := r.URL.Query().Get("key"), r.URL.Query().Get("idempotencyKey")
	g.mu.Lock()
	g.stats.LookUps++
	visible := time.Now().Add(-g.faults.Visible)
	found := []Capture{}
	for _, c := range g.captures {
		if (c.Key == order && order != "" || c.IdemKey == key && key != "") && !c.At.After(visible) {
			found = append(found, c)
		}
	}
	g.mu.Unlock()
	switch {
	case order == "" && key == "":
		answer(w, http.StatusBadRequest, map[string]string{"error": "want key or idempotencyKey"})
	case len(found) == 0:
		answer(w, http.StatusNotFound, map[string]string{"error": "no such capture"})
	default:
		answer(w, http.StatusOK, map[string]any{"captures": found})
	}
}

func (g *Gateway) void(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	i := slices.IndexFunc(g.captures, func(c Capture) bool { return c.ID == r.PathValue("id") })
	var c Capture
	if i >= 0 {
		g.captures[i].Voided = true
		c = g.captures[i]
	}
	g.mu.Unlock()
	if i < 0 {
		answer(w, http.StatusNotFound, map[string]string{"error": "no such capture"})
		return
	}
	answer(w, http.StatusOK, c)
}

// authorize fares as a capture would, but takes nothing: a probe sees what customers see.
func (g *Gateway) authorize(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	g.calls["probe"]++
	try, f := g.calls["probe"], g.faults
	g.mu.Unlock()
	hang := f.HangBefore + (1-f.HangBefore)*f.HangAfter // as often as a capture
	switch {
	case g.chance("errors", "probe", try) < f.Errors:
		answer(w, http.StatusServiceUnavailable, map[string]string{"error": "temporarily unavailable"})
	case g.chance("hang", "probe", try) < hang:
		select {
		case <-r.Context().Done():
		case <-g.gone:
		}
		panic(http.ErrAbortHandler)
	default:
		answer(w, http.StatusCreated, map[string]string{"status": "approved", "gateway": strings.ToLower(g.name)})
	}
}

// answer writes JSON; an error here means that the caller went away, which is its own affair.
func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
