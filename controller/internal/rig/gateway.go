package rig

import (
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/backstay/backstay/controller/internal/demo"
)

// Gateway is a payment gateway with a ledger, on a port that it keeps while it is down.
type Gateway struct {
	*demo.Gateway
	URL string // http://127.0.0.1:PORT
	mu  sync.Mutex
	srv *http.Server
}

// NewGateway starts a gateway.
func NewGateway(t testing.TB, name string) *Gateway {
	t.Helper()
	g := &Gateway{Gateway: demo.NewGateway(name, 1), URL: "http://" + local(Port(t))}
	g.Up(t)
	t.Cleanup(func() {
		g.Close()
		g.Down()
	})
	return g
}

// Down closes the port and every connection: calls are refused, as by a machine whose program has died.
func (g *Gateway) Down() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.srv != nil {
		g.srv.Close()
		g.srv = nil
	}
}

// Up listens again on the same port.
func (g *Gateway) Up(t testing.TB) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.srv != nil {
		return
	}
	l, err := net.Listen("tcp", g.URL[len("http://"):])
	if err != nil {
		t.Fatalf("start gateway: %v", err)
	}
	g.srv = &http.Server{Handler: g.Gateway}
	go g.srv.Serve(l)
}
