package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver of PostgreSQL
	"github.com/rogpeppe/go-internal/testscript"
	_ "modernc.org/sqlite" // the driver of SQLite

	"github.com/backstay/backstay/controller/internal/rig"
)

// databaseCommands are about databases and those who work on them.
//
//	postgres                 a PostgreSQL server; its URL as $POSTGRES
//	sql DATABASE STATEMENT   runs statements and prints rows; DATABASE is a URL, or the path of an SQLite file
//	hold NAME STATEMENT      a session, with this application name, that runs a statement and then sits idle in its transaction
//	query NAME STATEMENT     a session that runs a statement in the background
//	[!] alive NAME           whether the server still knows the session of hold
//	answered NAME            waits until the statement of query has been answered without an error
//	commit NAME              ends the transaction of hold
//	orders place DB N RATE   places N orders, RATE a second, in an SQLite file
//	orders work DB A B       a worker that takes their money at the gateway that the route in the same file names
//	orders naive DB A B      the same, but after a time-out it tries the other gateway at once
//	orders settled TIME      waits until every placed order is captured, then stops the worker
var databaseCommands = map[string]command{
	"postgres": cmdPostgres,
	"sql":      cmdSQL,
	"hold":     cmdHold,
	"query":    cmdQuery,
	"alive":    cmdAlive,
	"answered": cmdAnswered,
	"commit":   cmdCommit,
	"orders":   cmdOrders,
}

func cmdPostgres(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Setenv("POSTGRES", rig.PostgreSQL(worldOf(ts).t).URL)
}

func openSQL(ts *testscript.TestScript, name string) *sql.DB {
	driver, dsn := "pgx", name
	if !strings.Contains(name, "://") {
		driver, dsn = "sqlite", "file:"+ts.MkAbs(name)+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)"
	}
	db, err := sql.Open(driver, dsn)
	ts.Check(err)
	return db
}

func cmdSQL(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, len(args) == 2, "sql DATABASE STATEMENT")
	db := openSQL(ts, args[0])
	defer db.Close()
	ts.Check(readRows(db, args[1], func(row []any) {
		fmt.Fprintln(ts.Stdout(), strings.TrimSuffix(fmt.Sprintln(row...), "\n"))
	}))
}

// session is one connection to PostgreSQL, with a name that the server shows.
type session struct {
	db       *sql.DB
	conn     *sql.Conn
	pid      int
	answered chan error
}

func newSession(ts *testscript.TestScript, name string) *session {
	w := worldOf(ts)
	usage(ts, w.sessions[name] == nil, "a session's name is its own")
	db := openSQL(ts, ts.Getenv("POSTGRES")+"&application_name="+name)
	w.t.Cleanup(func() { db.Close() })
	conn, err := db.Conn(context.Background())
	ts.Check(err)
	s := &session{db: db, conn: conn, answered: make(chan error, 1)}
	ts.Check(conn.QueryRowContext(context.Background(), "select pg_backend_pid()").Scan(&s.pid))
	w.sessions[name] = s
	return s
}

func sessionOf(ts *testscript.TestScript, args []string) *session {
	usage(ts, len(args) == 1 && worldOf(ts).sessions[args[0]] != nil, "name a session of hold or query")
	return worldOf(ts).sessions[args[0]]
}

func cmdHold(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, len(args) == 2, "hold NAME STATEMENT")
	s := newSession(ts, args[0])
	for _, statement := range []string{"begin", args[1]} {
		_, err := s.conn.ExecContext(context.Background(), statement)
		ts.Check(err)
	}
}

func cmdQuery(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, len(args) == 2, "query NAME STATEMENT")
	s := newSession(ts, args[0])
	go func() {
		_, err := s.conn.ExecContext(context.Background(), args[1])
		s.answered <- err
	}()
}

func cmdAlive(ts *testscript.TestScript, neg bool, args []string) {
	s := sessionOf(ts, args)
	db := openSQL(ts, ts.Getenv("POSTGRES"))
	defer db.Close()
	var n int
	ts.Check(db.QueryRow("select count(*) from pg_stat_activity where pid = $1", s.pid).Scan(&n))
	if (n == 0) != neg {
		ts.Fatalf("the server knows %d sessions with the pid of %s", n, args[0])
	}
}

func cmdAnswered(ts *testscript.TestScript, _ bool, args []string) {
	select {
	case err := <-sessionOf(ts, args).answered:
		ts.Check(err)
	case <-time.After(10 * time.Second):
		ts.Fatalf("%s still waits for its answer", args[0])
	}
}

func cmdCommit(ts *testscript.TestScript, _ bool, args []string) {
	_, err := sessionOf(ts, args).conn.ExecContext(context.Background(), "commit")
	ts.Check(err)
}

// orders is a worker that takes the money of orders in an SQLite file.
type orders struct {
	db       *sql.DB
	gateways map[string]string // URL by endpoint
	naive    bool
	client   *http.Client
	cancel   context.CancelFunc
	wait     sync.WaitGroup
}

const ordersTables = `
create table if not exists orders (id text primary key, state text not null default 'new', gateway text not null default '', changed_at integer not null default 0);
create table if not exists route (name text primary key, active text not null);
insert or ignore into route values ('cards', 'primary');`

func cmdOrders(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, len(args) >= 2, "orders place DB N RATE | orders work DB A B | orders naive DB A B | orders settled TIME")
	w := worldOf(ts)
	switch args[0] {
	case "place":
		usage(ts, len(args) == 4, "orders place DB N RATE")
		n, rate := number(ts, args[2]), number(ts, args[3])
		db := openSQL(ts, args[1])
		defer db.Close()
		for i := range n {
			_, err := db.Exec("insert into orders (id) values (?)", fmt.Sprintf("order-%d-%d", time.Now().UnixNano(), i))
			ts.Check(err)
			time.Sleep(time.Second / time.Duration(rate))
		}
	case "work", "naive":
		usage(ts, len(args) == 4 && w.orders == nil, "orders work|naive DB A B, one at a time")
		db := openSQL(ts, args[1])
		_, err := db.Exec(ordersTables)
		ts.Check(err)
		ctx, cancel := context.WithCancel(context.Background())
		w.orders = &orders{db: db, naive: args[0] == "naive", cancel: cancel, client: &http.Client{Timeout: 400 * time.Millisecond},
			gateways: map[string]string{"primary": gatewayOf(ts, args[2:3]).URL, "standby": gatewayOf(ts, args[3:]).URL}}
		w.orders.wait.Go(func() { w.orders.work(ctx) })
	case "settled":
		atMost, err := time.ParseDuration(args[1])
		ts.Check(err)
		left, end := 1, time.Now().Add(atMost)
		for left > 0 && time.Now().Before(end) {
			ts.Check(w.orders.db.QueryRow("select count(*) from orders where state <> 'captured'").Scan(&left))
			time.Sleep(50 * time.Millisecond)
		}
		w.orders.end()
		w.orders = nil
		if left > 0 {
			ts.Fatalf("%d orders are not captured", left)
		}
	}
}

func (o *orders) end() {
	o.cancel()
	o.wait.Wait()
	o.db.Close()
}

// work takes new orders, a few at a time, until it is ended.
func (o *orders) work(ctx context.Context) {
	for ctx.Err() == nil {
		var group sync.WaitGroup
		for _, id := range o.list(ctx) {
			group.Go(func() { o.one(ctx, id) })
		}
		group.Wait()
		time.Sleep(20 * time.Millisecond)
	}
}

func (o *orders) list(ctx context.Context) (ids []string) {
	rows, err := o.db.QueryContext(ctx, "select id from orders where state = 'new' limit 16")
	if err != nil {
		return nil // comes again
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if rows.Scan(&id) == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// one asks one gateway for the money. Where no answer comes, the order is in doubt and stays with that gateway; the naive worker
// believes that no answer means no money, and tries the other one.
func (o *orders) one(ctx context.Context, id string) {
	var active string
	if o.db.QueryRowContext(ctx, "select active from route where name = 'cards'").Scan(&active) != nil {
		return // comes again
	}
	// Written down first: whoever finds the order after a crash knows where to look.
	if !o.set(ctx, id, "in_doubt", active) {
		return
	}
	err := capture(o.client, o.gateways[active], id)
	if err != nil && o.naive {
		other := map[string]string{"primary": "standby", "standby": "primary"}[active]
		err = capture(o.client, o.gateways[other], id)
	}
	if err == nil {
		o.set(ctx, id, "captured", active)
	}
}

func (o *orders) set(ctx context.Context, id, state, gateway string) bool {
	_, err := o.db.ExecContext(context.WithoutCancel(ctx), "update orders set state = ?, gateway = ?, changed_at = ? where id = ?", state, gateway, time.Now().UnixMilli(), id)
	return err == nil
}
