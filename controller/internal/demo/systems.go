package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// routerWaits is how long the router waits for a gateway's answer.
const routerWaits = 700 * time.Millisecond

// Router sends captures to the gateway that its route names, and tells nobody how to choose: that is what its admin API is for.
//
//	POST /captures  forwards; X-Endpoint names where it went; 504 when the gateway gave no answer in time
//	GET  /admin/route  {"active": "primary"}
//	PUT  /admin/route  {"active": "standby"}
type Router struct {
	mux    *http.ServeMux
	client *http.Client
	bases  map[string]string

	mu     sync.Mutex
	active string
}

func newRouter(bases map[string]string) *Router {
	r := &Router{mux: http.NewServeMux(), client: &http.Client{Timeout: routerWaits}, bases: bases, active: "primary"}
	r.mux.HandleFunc("POST /captures", r.forward)
	r.mux.HandleFunc("GET /admin/route", r.getRoute)
	r.mux.HandleFunc("PUT /admin/route", r.putRoute)
	return r
}

// ServeHTTP serves the routes above.
func (r *Router) ServeHTTP(w http.ResponseWriter, req *http.Request) { r.mux.ServeHTTP(w, req) }

// Active names the endpoint that new captures go to.
func (r *Router) Active() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.active
}

func (r *Router) forward(w http.ResponseWriter, req *http.Request) {
	endpoint := r.Active()
	w.Header().Set("X-Endpoint", endpoint)
	body, err := io.ReadAll(io.LimitReader(req.Body, 1<<16))
	if err != nil {
		http.Error(w, "read the capture: "+err.Error(), http.StatusBadRequest)
		return
	}
	out, err := http.NewRequestWithContext(req.Context(), http.MethodPost, r.bases[endpoint]+"/captures", bytes.NewReader(body))
	if err != nil {
		w.Header().Set("X-Sent", "no")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	out.Header.Set("Idempotency-Key", req.Header.Get("Idempotency-Key"))
	out.Header.Set("Content-Type", "application/json")
	resp, err := r.client.Do(out)
	if err != nil {
		http.Error(w, "the gateway gave no answer: "+err.Error(), http.StatusGatewayTimeout)
		return
	}
	defer resp.Body.Close()
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, io.LimitReader(resp.Body, 1<<16)) // the caller went away: it will see no answer
}

func (r *Router) getRoute(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]string{"active": r.Active()})
}

func (r *Router) putRoute(w http.ResponseWriter, req *http.Request) {
	var want struct {
		Active string `json:"active"`
	}
	err := json.NewDecoder(io.LimitReader(req.Body, 4096)).Decode(&want)
	if _, known := r.bases[want.Active]; err != nil || !known {
		http.Error(w, `want {"active": "primary"} or {"active": "standby"}`, http.StatusUnprocessableEntity)
		return
	}
	r.mu.Lock()
	r.active = want.Active
	r.mu.Unlock()
	answer(w, http.StatusOK, want)
}

// ERP books each order once, however often it is told.
//
//	POST /bookings  {"id": "ord-00001", ...}
//	GET  /healthz
type ERP struct {
	mu       sync.Mutex
	refusing bool
	booked   map[string]int64 // order: amount
}

// Refuse makes the ERP system answer 503 to everything, or well again.
func (e *ERP) Refuse(on bool) {
	e.mu.Lock()
	e.refusing = on
	e.mu.Unlock()
}

// Booked copies what is booked: order and amount.
func (e *ERP) Booked() map[string]int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make(map[string]int64, len(e.booked))
	for id, amount := range e.booked {
		out[id] = amount
	}
	return out
}

// ServeHTTP serves the routes above.
func (e *ERP) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refusing {
		http.Error(w, `{"error": "posting period service is not available"}`, http.StatusServiceUnavailable)
		return
	}
	if req.Method == http.MethodGet {
		answer(w, http.StatusOK, map[string]any{"status": "up", "booked": len(e.booked)})
		return
	}
	var order Order
	if err := json.NewDecoder(io.LimitReader(req.Body, 4096)).Decode(&order); err != nil || order.ID == "" {
		http.Error(w, `{"error": "want an order"}`, http.StatusUnprocessableEntity)
		return
	}
	if e.booked == nil {
		e.booked = map[string]int64{}
	}
	e.booked[order.ID] = order.Amount
	answer(w, http.StatusOK, map[string]string{"booked": order.ID})
}

// Supervisor runs the workers.
//
//	GET /workers/NAME  {"running": true}
//	PUT /workers/NAME  {"running": true} starts it where it is not running
type Supervisor struct {
	ctx  context.Context
	wait *sync.WaitGroup
	work map[string]func(context.Context)

	mu      sync.Mutex
	running map[string]context.CancelFunc
}

func newSupervisor(ctx context.Context, wait *sync.WaitGroup, o *Orders) *Supervisor {
	return &Supervisor{ctx: ctx, wait: wait, work: map[string]func(context.Context){"capture": o.capture, "booking": o.book}, running: map[string]context.CancelFunc{}}
}

func (s *Supervisor) start(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[name] != nil {
		return
	}
	ctx, cancel := context.WithCancel(s.ctx)
	s.running[name] = cancel
	s.wait.Go(func() { s.work[name](ctx) })
}

// Stop ends a worker as a crash would: between two rows.
func (s *Supervisor) Stop(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.running[name]; cancel != nil {
		cancel()
		delete(s.running, name)
	}
}

// ServeHTTP serves the routes above.
func (s *Supervisor) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	name, _ := strings.CutPrefix(req.URL.Path, "/workers/")
	if s.work[name] == nil {
		http.Error(w, "no such worker", http.StatusNotFound)
		return
	}
	if req.Method == http.MethodPut {
		var want struct {
			Running bool `json:"running"`
		}
		if err := json.NewDecoder(io.LimitReader(req.Body, 4096)).Decode(&want); err != nil {
			http.Error(w, `want {"running": true} or {"running": false}`, http.StatusUnprocessableEntity)
			return
		}
		if want.Running {
			s.start(name)
		} else {
			s.Stop(name)
		}
	}
	s.mu.Lock()
	running := s.running[name] != nil
	s.mu.Unlock()
	answer(w, http.StatusOK, map[string]bool{"running": running})
}
