// Package demo is a small back office on loopback, to watch Backstay at work: customers place orders, a worker captures the
// money through a router at one of two payment gateways, another books the orders in an ERP system by way of an outbox table.
// All of it is real HTTP and a real SQLite database, with faults on a fixed seed.
//
// The office knows nothing of Backstay. Its judge reads the gateways' own ledgers and the customers' own list, so that the
// verdict does not rest on what the controller says of itself.
package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the order database
)

// Office is a running back office.
type Office struct {
	A, B   *Gateway
	Router *Router
	ERP    *ERP
	Orders *Orders
	Boss   *Supervisor

	servers []*http.Server
	wait    sync.WaitGroup
	stop    context.CancelFunc
}

// Addresses is where everything listens, for the configuration of whoever watches the office.
type Addresses struct {
	GatewayA, GatewayB, Router, ERP, Supervisor string // base URLs
	Database                                    string // path
	Seed                                        uint64 // of the bad day
}

// Open starts the office in a folder of its own. Orders come once Place is called.
func Open(dir string, seed uint64) (*Office, Addresses, error) {
	db, err := openOrders(filepath.Join(dir, "orders.db"))
	if err != nil {
		return nil, Addresses{}, err
	}
	ctx, stop := context.WithCancel(context.Background())
	o := &Office{A: NewGateway("a", seed), B: NewGateway("b", seed+1), ERP: &ERP{}, stop: stop}
	at := Addresses{Database: filepath.Join(dir, "orders.db"), Seed: seed}
	var problems []error
	serve := func(h http.Handler) string {
		base, err := o.serve(h)
		problems = append(problems, err)
		return base
	}
	at.GatewayA, at.GatewayB, at.ERP = serve(o.A), serve(o.B), serve(o.ERP)
	o.Router = newRouter(map[string]string{"primary": at.GatewayA, "standby": at.GatewayB})
	at.Router = serve(o.Router)
	o.Orders = &Orders{db: db, router: at.Router, erp: at.ERP, client: &http.Client{Timeout: bookWaits}}
	o.Boss = newSupervisor(ctx, &o.wait, o.Orders)
	at.Supervisor = serve(o.Boss)
	if err := errors.Join(problems...); err != nil {
		o.Close()
		return nil, Addresses{}, fmt.Errorf("open the demo's back office: %w", err)
	}
	o.Boss.start("capture")
	o.Boss.start("booking")
	return o, at, nil
}

func (o *Office) serve(h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	o.servers = append(o.servers, s)
	o.wait.Go(func() { _ = s.Serve(l) }) // ends with ErrServerClosed on Close
	return "http://" + l.Addr().String(), nil
}

// Close ends every server and worker.
func (o *Office) Close() {
	o.stop()
	o.A.Close()
	o.B.Close()
	for _, s := range o.servers {
		_ = s.Close()
	}
	o.wait.Wait()
	if o.Orders != nil {
		_ = o.Orders.db.Close()
	}
}

func openOrders(path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)&_pragma=synchronous(normal)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(4)
	_, err = db.Exec(`
create table orders (
	id text primary key, amount integer not null, currency text not null,
	state text not null,               -- new, captured, in_doubt, booked
	gateway text not null default '',  -- where the capture was sent: primary or standby
	hold integer not null default 0,
	placed_at integer not null, changed_at integer not null  -- Unix milliseconds
);
create index orders_state on orders(state, changed_at);
create table outbox (
	id integer primary key, order_id text not null references orders(id),
	state text not null default 'ready', -- ready, dead, done
	attempts integer not null default 0, note text not null default '',
	enqueued_at integer not null, changed_at integer not null
);
create index outbox_state on outbox(state, enqueued_at);`)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the order database %s: %w", path, err), db.Close())
	}
	return db, nil
}
