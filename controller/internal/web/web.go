// Package web serves the HTTP API on loopback: the command line and, later, the pages use the same handlers.
//
// Everything under /api and /tiles wants the bearer token of the data folder, but for one thing: a job reports its heartbeat with a
// token of its own that can do nothing else. /healthz, /readyz and /metrics are open, and say nothing but figures.
package web

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/live"
	"github.com/backstay/backstay/controller/internal/store"
)

// bodyMax bounds what a caller may send, in bytes.
const bodyMax = 64 << 10

// Options are what the handlers work on.
type Options struct {
	Shell          *live.Shell
	Store          *store.Store
	Beat           func(job string, b Beat) bool // a job reports; false where no probe listens for it
	Set            func() api.Set                // the configuration in force
	Approve        func(ctx context.Context, doc []byte) (any, error)
	Metrics        http.Handler
	Token          string // for people and the command line
	HeartbeatToken string // for jobs
	Version        string
	Log            *slog.Logger
}

// Beat is what a job reports.
type Beat struct {
	Failed bool    `json:"failed"` // the job says that it failed
	Value  float64 `json:"value"`
	Text   string  `json:"text"`
}

type server struct{ Options }

// New makes the handler of the whole API.
func New(o Options) http.Handler {
	s := &server{o}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", o.Metrics)
	for pattern, h := range s.routes() {
		mux.Handle(pattern, s.authorised(o.Token, h))
	}
	mux.Handle("POST /api/v1/heartbeats/{name}", s.authorised(o.HeartbeatToken, handler(s.beat)))
	return http.MaxBytesHandler(hardened(mux), bodyMax)
}

// handler answers with a value to encode, or with a coded error.
type handler func(r *http.Request) (any, error)

func (s *server) routes() map[string]http.Handler {
	plain := map[string]handler{
		"GET /api/v1/status":            s.status,
		"GET /api/v1/incidents":         s.incidents,
		"GET /api/v1/incidents/{id}":    s.incident,
		"GET /api/v1/remediations":      s.remediations,
		"GET /api/v1/remediations/{id}": s.remediation,
		"GET /api/v1/probes":            s.probes,
		"GET /api/v1/probes/{name}":     s.probe,
		"GET /api/v1/playbooks":         s.playbooks,
		"GET /api/v1/playbooks/{name}":  s.playbook,
		"GET /api/v1/integrations":      s.integrations,
		"GET /api/v1/workflows":         s.workflows,
		"GET /api/v1/entries":           s.entries,
		"GET /api/v1/why/{id}":          s.why,
		"POST /api/v1/decisions":        s.decide,
		"POST /api/v1/approvals":        s.approve,
		"GET /api/v1/pauses":            s.pauses,
		"POST /api/v1/pauses":           s.pause,
		"DELETE /api/v1/pauses":         s.resume,
	}
	routes := map[string]http.Handler{"GET /api/v1/watch": http.HandlerFunc(s.watch), "GET /tiles/{path...}": http.HandlerFunc(s.tiles)}
	for pattern, h := range plain {
		routes[pattern] = h
	}
	return routes
}

// ServeHTTP encodes what the handler answers.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v, err := h(r)
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the caller went away: nobody is left to tell
}

func writeError(w http.ResponseWriter, err error) {
	var coded *api.Error
	if !errors.As(err, &coded) {
		coded = &api.Error{Code: api.CodeInternal, Message: err.Error()}
	}
	writeErrorAs(w, coded.Code.HTTPStatus(), coded)
}

func writeErrorAs(w http.ResponseWriter, status int, coded *api.Error) {
	body := *coded
	body.Message = strings.TrimSuffix(coded.Error(), " ("+coded.Hint+")")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// authorised compares in constant time, over hashes so that the length tells nothing either.
func (s *server) authorised(token string, next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(given))
		if token == "" || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			coded := api.Errorf(api.CodeDenied, "no or wrong token")
			coded.Hint = "send Authorization: Bearer with the token of the controller's data folder"
			writeErrorAs(w, http.StatusUnauthorized, coded)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hardened keeps pages of other origins from changing anything, and answers out of caches.
func hardened(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if r.Header.Get("Origin") != "" && r.Method != http.MethodGet {
			writeError(w, api.Errorf(api.CodeDenied, "a browser page of another origin may not change anything here"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *server) healthz(w http.ResponseWriter, _ *http.Request) {
	if err := s.Shell.Health(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}

func (s *server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.Shell.Ready(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}

func decodeBody(r *http.Request, into any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return api.Errorf(api.CodeUsage, "read the request's JSON: %w", err)
	}
	return nil
}

func (s *server) beat(r *http.Request) (any, error) {
	var b Beat
	if r.ContentLength != 0 {
		if err := decodeBody(r, &b); err != nil {
			return nil, err
		}
	}
	name := r.PathValue("name")
	if !s.Beat(name, b) {
		coded := api.Errorf(api.CodeNotFound, "no heartbeat probe listens for %q", name)
		coded.Hint = "a job reports to the probe's name, or to the name in its with.job"
		return nil, coded
	}
	return map[string]bool{"recorded": true}, nil
}

// watch streams entries as server-sent events, one JSON object each, from now on.
func (s *server) watch(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	entries := s.Shell.Subscribe(ctx)
	w.Header().Set("Content-Type", "text/event-stream")
	rc := http.NewResponseController(w)
	if err := rc.Flush(); err != nil {
		return
	}
	ping := time.NewTicker(15 * time.Second) // keeps proxies and dead peers honest
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ping.C:
			if _, err := io.WriteString(w, ": still here\n\n"); err != nil || rc.Flush() != nil {
				return
			}
		case e, open := <-entries:
			if !open {
				return
			}
			b, err := json.Marshal(e)
			if err != nil {
				s.Log.Error("encode an entry for a watcher", "seq", e.Seq, "err", err)
				return
			}
			if _, err := io.WriteString(w, "data: "+string(b)+"\n\n"); err != nil || rc.Flush() != nil {
				return
			}
		}
	}
}
