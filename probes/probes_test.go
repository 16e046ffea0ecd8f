package probes

import (
	"context"
	"database/sql"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// build makes a probe of a type from its params.
func build(t testing.TB, env *Env, kind string, params any) Prober {
	t.Helper()
	return buildSpec(t, env, api.ProbeSpec{Type: kind}, params)
}

func buildSpec(t testing.TB, env *Env, spec api.ProbeSpec, params any) Prober {
	t.Helper()
	kind, found := Find(spec.Type)
	if !found {
		t.Fatalf("no probe type %q", spec.Type)
	}
	p, err := kind.Build("test", spec, params, env)
	if err != nil {
		t.Fatalf("build %s: %v", spec.Type, err)
	}
	return p
}

// run runs a probe once with a deadline, and sees that it keeps it.
func run(t testing.TB, p Prober, timeout time.Duration) api.Observation {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	start := time.Now()
	o := p.Probe(ctx)
	if late := time.Since(start) - timeout; late > 500*time.Millisecond {
		t.Fatalf("the probe came back %s after its deadline", late)
	}
	return o
}

// want checks verdict and a part of the reason.
func want(t testing.TB, o api.Observation, verdict api.Verdict, reason string) {
	t.Helper()
	if o.Verdict != verdict || !strings.Contains(o.Reason, reason) {
		t.Fatalf("got %s %q, want %s with %q", o.Verdict, o.Reason, verdict, reason)
	}
}

func newEnv(t testing.TB) *Env {
	env := NewEnv()
	t.Cleanup(func() { env.Close() })
	return env
}

func text(s string) api.Secret { return api.Secret{Text: s} }

// script is a TCP server on loopback that gives each connection to serve.
func script(t testing.TB, serve func(nc net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); close(done) })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				go func() { <-done; nc.Close() }()
				serve(nc)
			}()
		}
	}()
	return l.Addr().String()
}

// refusing gives an address on which nothing listens.
func refusing(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestHTTPVerdicts(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(`{"status":"ok","queue":{"depth":7,"total":"20"},"items":[{"id":1}]}`))
	})
	mux.HandleFunc("/html", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(`<html>login</html>`)) })
	mux.HandleFunc("/500", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) { time.Sleep(30 * time.Millisecond) })
	mux.HandleFunc("/hang", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/auth", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer s3cret" {
			w.WriteHeader(401)
		}
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				return
			}
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	t.Setenv("TEST_TOKEN", "Bearer s3cret")
	for _, c := range []struct {
		name    string
		with    HTTPParams
		verdict api.Verdict
		reason  string
	}{
		{"good", HTTPParams{Path: "/ok", JSON: []string{`status == "ok"`, "queue.depth < 10", "items.# == 1", "items[0].id exists", "error absent"}}, api.OK, ""},
		{"value", HTTPParams{Path: "/ok", Value: "queue.depth", Total: "queue.total"}, api.OK, ""},
		{"json fails", HTTPParams{Path: "/ok", JSON: []string{"queue.depth < 5"}}, api.Bad, "queue.depth is 7"},
		{"html is not json", HTTPParams{Path: "/html", JSON: []string{"status exists"}}, api.Bad, "not JSON"},
		{"status", HTTPParams{Path: "/500"}, api.Bad, "status 500"},
		{"status wanted", HTTPParams{Path: "/500", Status: []any{404, "500-599"}}, api.OK, ""},
		{"slow", HTTPParams{Path: "/slow", LatencyMax: api.Seconds(0.01)}, api.Bad, "at most 10ms"},
		{"hang", HTTPParams{Path: "/hang"}, api.Bad, "no answer within"},
		{"contains", HTTPParams{Path: "/html", Contains: []string{"logout"}}, api.Bad, `does not contain "logout"`},
		{"matches", HTTPParams{Path: "/html", Matches: `log(in|out)`}, api.OK, ""},
		{"secret", HTTPParams{Path: "/auth", Headers: map[string]api.Secret{"authorization": {Env: "TEST_TOKEN"}}}, api.OK, ""},
		{"no secret", HTTPParams{Path: "/auth", Headers: map[string]api.Secret{"authorization": {Env: "TEST_NONE"}}}, api.Unknown, "TEST_NONE is not set"},
		{"endless", HTTPParams{Path: "/endless", Contains: []string{"x"}}, api.Bad, "over 1048576 bytes"},
		{"endless, no condition", HTTPParams{Path: "/endless"}, api.OK, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.with.URL = text(server.URL)
			p := build(t, newEnv(t), "http", &c.with)
			for range 2 {
				timeout := 5 * time.Second
				if c.name == "hang" {
					timeout = 100 * time.Millisecond
				}
				o := run(t, p, timeout)
				want(t, o, c.verdict, c.reason)
				if c.name == "value" && (o.Value != 7 || o.Total != 20) {
					t.Fatalf("value %v of %v, want 7 of 20", o.Value, o.Total)
				}
			}
		})
	}
}

func TestTCPVerdicts(t *testing.T) {
	banner := script(t, func(nc net.Conn) { nc.Write([]byte("220 ready\r\n")); nc.Read(make([]byte, 1)) })
	mute := script(t, func(nc net.Conn) { nc.Read(make([]byte, 1)) })
	for _, c := range []struct {
		name    string
		with    TCPParams
		verdict api.Verdict
		reason  string
	}{
		{"banner", TCPParams{Address: text(banner), Expect: "220"}, api.OK, ""},
		{"connect", TCPParams{Address: text("tcp://" + mute)}, api.OK, ""},
		{"mute", TCPParams{Address: text(mute), Expect: "220"}, api.Bad, "no answer within"},
		{"refused", TCPParams{Address: text(refusing(t))}, api.Bad, "refused"},
		{"no address", TCPParams{Address: text("nonsense")}, api.Unknown, "HOST:PORT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want(t, run(t, build(t, newEnv(t), "tcp", &c.with), 200*time.Millisecond), c.verdict, c.reason)
		})
	}
}

func TestSQLite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "orders #1?.db")
	db, err := sql.Open("sqlite", "file:"+strings.NewReplacer("#", "%23", "?", "%3f").Replace(file))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`create table o(id integer primary key, state text, amount real); insert into o(state,amount) values('new',1.5),('new',2.5),('done',null)`); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		with    SQLParams
		verdict api.Verdict
		reason  string
		value   float64
	}{
		{"value", SQLParams{Query: "select count(*) from o"}, api.OK, "", 3},
		{"ratio", SQLParams{Query: "select sum(state='new'), count(*) from o", Read: "ratio"}, api.OK, "", 2},
		{"series", SQLParams{Query: "select state, count(*) from o group by 1 order by 1", Read: "series"}, api.OK, "", 3},
		{"keys", SQLParams{Query: "select id from o order by 1", Read: "keys"}, api.OK, "", 3},
		{"rows", SQLParams{Query: "select * from o", Read: "rows", RowsMax: 2, Expect: "none"}, api.Bad, "more than 2 rows", 2},
		{"none", SQLParams{Query: "select * from o where amount < 0", Read: "rows", Expect: "none"}, api.OK, "", 0},
		{"some", SQLParams{Query: "select * from o where amount < 0", Read: "rows", Expect: "some"}, api.Bad, "no row", 0},
		{"null", SQLParams{Query: "select max(amount) from o where id > 9"}, api.Unknown, "NULL", 0},
		{"null is zero", SQLParams{Query: "select max(amount) from o where id > 9", Null: "zero"}, api.OK, "", 0},
		{"too many rows", SQLParams{Query: "select id from o", Read: "keys", RowsMax: 2}, api.Unknown, "more than 2 rows", 2},
		{"wrong SQL", SQLParams{Query: "select count(* from o"}, api.Unknown, "syntax error", 0},
		{"no table", SQLParams{Query: "select 1 from p"}, api.Unknown, "no such table", 0},
		{"writes", SQLParams{Query: "delete from o"}, api.Unknown, "readonly", 0},
		{"writes after a pragma", SQLParams{Query: "pragma query_only=0; delete from o"}, api.Unknown, "readonly", 0},
		{"endless", SQLParams{Query: "with recursive c(x) as (select 1 union all select x+1 from c) select count(*) from c"}, api.Bad, "", 0},
		{"wrong shape", SQLParams{Query: "select 1, 2"}, api.Unknown, "wants 1 columns", 0},
		{"text", SQLParams{Query: "select 'abc'"}, api.Unknown, `"abc" where a number is wanted`, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.with.DSN = text("sqlite://" + strings.NewReplacer("#", "%23", "?", "%3f").Replace(file))
			o := run(t, build(t, newEnv(t), "sql", &c.with), 300*time.Millisecond)
			want(t, o, c.verdict, c.reason)
			if c.verdict != api.Unknown && o.Value != c.value {
				t.Fatalf("value %v, want %v", o.Value, c.value)
			}
		})
	}
	var left int
	if err := db.QueryRow("select count(*) from o").Scan(&left); err != nil || left != 3 {
		t.Fatalf("%d rows left (%v), a probe must not write", left, err)
	}
}

func TestHeartbeat(t *testing.T) {
	env := newEnv(t)
	p := build(t, env, "heartbeat", &HeartbeatParams{Job: "payroll", Within: api.Duration{Duration: 60 * time.Millisecond}})
	want(t, run(t, p, time.Second), api.Unknown, "has not reported")
	if env.Heartbeats.Report("other", Beat{}) {
		t.Fatal("a beat of an unwatched job was taken")
	}
	time.Sleep(80 * time.Millisecond)
	want(t, run(t, p, time.Second), api.Bad, "has not reported for")
	if !env.Heartbeats.Report("payroll", Beat{}) {
		t.Fatal("a beat of a watched job was refused")
	}
	want(t, run(t, p, time.Second), api.OK, "")
	env.Heartbeats.Report("payroll", Beat{Failed: true, Text: "tax table missing"})
	want(t, run(t, p, time.Second), api.Bad, "tax table missing")
	time.Sleep(80 * time.Millisecond)
	want(t, run(t, p, time.Second), api.Bad, "last reported")
}

func TestHeartbeatsTogether(t *testing.T) {
	h := NewHeartbeats()
	if err := h.watch("a"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 500 {
				h.Report("a", Beat{Value: 1})
				h.look("a")
			}
		}()
	}
	wg.Wait()
	if j, known := h.look("a"); !known || j.beats != 8*500 {
		t.Fatalf("%d beats, want %d", j.beats, 8*500)
	}
	newer := time.Now()
	h.Report("a", Beat{At: newer, Value: 2})
	h.Report("a", Beat{At: newer.Add(-time.Hour), Value: 3})
	if j, _ := h.look("a"); j.last.Value != 2 {
		t.Errorf("an older beat replaced a newer one: %v", j.last)
	}
	h.Report("a", Beat{At: newer.Add(time.Hour)})
	if j, _ := h.look("a"); j.last.At.After(time.Now()) {
		t.Errorf("a beat from the future was taken as it is: %v", j.last.At)
	}
	h.Keep([]string{"b"})
	if h.Report("a", Beat{}) {
		t.Error("a forgotten job still reports")
	}
}

// TestSlowLoris holds that a server which sends a byte now and then is ended by the deadline of the whole run.
func TestSlowLoris(t *testing.T) {
	drip := script(t, func(nc net.Conn) {
		for _, b := range []byte("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + strings.Repeat("x", 1000)) {
			if _, err := nc.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	for _, path := range []string{"/", "/again"} {
		p := build(t, newEnv(t), "http", &HTTPParams{URL: text("http://" + drip), Path: path})
		want(t, run(t, p, 200*time.Millisecond), api.Bad, "no answer within")
	}
}
