package playbooks

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// proxy is a scripted HAProxy: the runtime API over one backend gw, on a unix socket.
type proxy struct {
	mu      sync.Mutex
	servers []haproxyServer
	socket  string
	log     []string
	refuse  string // answered to every set command
	lie     bool   // set commands are taken and not done
	mute    bool   // set commands are done, and the connection is closed without an answer to anything after
}

func newProxy(t *testing.T, servers ...haproxyServer) *proxy {
	t.Helper()
	p := &proxy{servers: servers, socket: filepath.Join(t.TempDir(), "s")}
	l, err := net.Listen("unix", p.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

func (p *proxy) serve(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	io.WriteString(c, p.answer(strings.TrimSpace(string(buf[:n]))))
}

func (p *proxy) answer(command string) string {
	p.log = append(p.log, command)
	var server, what, value string
	if n, _ := fmt.Sscanf(strings.ReplaceAll(command, "/", " "), "set server gw %s %s %s", &server, &what, &value); n == 3 {
		if p.refuse != "" {
			return p.refuse + "\n\n"
		}
		for i := range p.servers {
			if s := &p.servers[i]; s.Name == server && !p.lie {
				switch what {
				case "state":
					s.Admin = value
				case "weight":
					fmt.Sscan(value, &s.Weight)
				}
			}
		}
		return "\n"
	}
	if p.mute {
		return ""
	}
	var b strings.Builder
	switch command {
	case "show servers state gw":
		b.WriteString("1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight\n")
		for i, s := range p.servers {
			op, admin := 2, map[string]int{haproxyReady: 0, haproxyMaint: 1, haproxyDrain: 8}[s.Admin]
			if !s.Up || s.Admin == haproxyMaint {
				op = 0
			}
			fmt.Fprintf(&b, "3 gw %d %s 127.0.0.1 %d %d %d 100\n", i+1, s.Name, op, admin, s.Weight)
		}
	case "show stat gw 4 -1":
		b.WriteString("# pxname,svname,scur,status,bck,\n")
		for _, s := range p.servers {
			bck := 0
			if s.Backup {
				bck = 1
			}
			fmt.Fprintf(&b, "gw,%s,%d,%s,%d,\n", s.Name, s.Open, s.Status, bck)
		}
	default:
		return "Unknown command.\n"
	}
	return b.String() + "\n"
}

func gw(t *testing.T, driver string, with any) *world {
	t.Helper()
	in := integration("gw", "primary=http://127.0.0.1:1", "standby=http://127.0.0.1:2")
	in.Spec.Route = &api.Driver{Driver: driver, With: api.ParamsOf(with)}
	return newWorld(in)
}

func pair() []haproxyServer {
	return []haproxyServer{
		{Name: "gwA", Admin: haproxyReady, Weight: 100, Up: true, Status: "UP"},
		{Name: "gwB", Admin: haproxyReady, Weight: 0, Up: true, Status: "UP"},
	}
}

func (p *proxy) world(t *testing.T) *world {
	return gw(t, "haproxy", map[string]any{"socket": p.socket, "backend": "gw", "servers": map[string]string{"primary": "gwA", "standby": "gwB"}})
}

// state is the proxy's servers as NAME STATE WEIGHT.
func (p *proxy) state() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var parts []string
	for _, s := range p.servers {
		parts = append(parts, fmt.Sprintf("%s %s %d", s.Name, s.Admin, s.Weight))
	}
	return strings.Join(parts, ", ")
}

func TestFailoverHAProxy(t *testing.T) {
	p := newProxy(t, pair()...)
	w := p.world(t)
	r, plan := w.build(t, "failover", map[string]any{"integration": "gw", "to": "standby", "ramp": []int{10, 50, 100}, "every": "1ms"})
	if plan.Targets[0] != "integration/gw" || plan.Action.Danger != api.D1 || plan.Action.Repeat != api.Idempotent {
		t.Fatalf("%+v", plan)
	}
	out, call := perform(t, r, aCall)
	want(t, out, api.ResultDone, "all new work of gw goes to standby")
	if got := p.state(); got != "gwA drain 100, gwB ready 100" {
		t.Fatal(got)
	}
	sets := strings.Join(p.log, "\n")
	for _, command := range []string{"weight 10\n", "gwA weight 90\n", "gwA weight 50\n", "gwA state drain"} {
		if !strings.Contains(sets, command) {
			t.Errorf("the ramp never said %q:\n%s", command, sets)
		}
	}
	if out.Facts[0].Value != "primary 100%" || out.Facts[1].Value != "primary 90%, standby 10%" || len(out.Calls) == 0 {
		t.Fatalf("%+v", out)
	}
	// A repeat after a crash changes nothing; a plan says so.
	out, _ = perform(t, r, call)
	want(t, out, api.ResultDone, "standby")
	if again, err := r.(Planner).Plan(t.Context(), aCall); err != nil || !again.Noop {
		t.Fatal(again, err)
	}
	out = r.(Undoer).Undo(within(t, time.Second), call)
	want(t, out, api.ResultDone, "restore")
	if got := p.state(); got != "gwA ready 100, gwB ready 0" {
		t.Fatal(got)
	}
}

func TestFailbackHAProxy(t *testing.T) {
	servers := pair()
	servers[0].Admin, servers[1].Weight = haproxyDrain, 100
	p := newProxy(t, servers...)
	r, _ := p.world(t).build(t, "failback", map[string]any{"integration": "gw", "every": "1ms"})
	out, _ := perform(t, r, aCall)
	want(t, out, api.ResultDone, "goes to primary")
	if got := p.state(); got != "gwA ready 100, gwB drain 100" || len(out.Facts) != 4 {
		t.Fatal(got, out.Facts)
	}
}

func TestFailoverRefusals(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*proxy)
		ramp   []int
		result api.Result
		word   string
		state  string
	}{
		{"the standby is down", func(p *proxy) { p.servers[1].Up, p.servers[1].Status = false, "DOWN" }, []int{100}, api.ResultRefused, "DOWN", "gwA ready 100, gwB ready 0"},
		{"a backup cannot share", func(p *proxy) { p.servers[1].Backup = true }, []int{50, 100}, api.ResultRefused, "backup", "gwA ready 100, gwB ready 0"},
		{"HAProxy says no", func(p *proxy) { p.refuse = "Permission denied" }, []int{100}, api.ResultRefused, "Permission denied", "gwA ready 100, gwB ready 0"},
		{"HAProxy takes it and does nothing", func(p *proxy) { p.lie = true }, []int{100}, api.ResultFailed, "but the route reads primary 100%", "gwA ready 100, gwB ready 0"},
		{"a server that no endpoint maps", func(p *proxy) {
			p.servers = append(p.servers, haproxyServer{Name: "gwC", Admin: haproxyReady, Weight: 1, Up: true})
		}, []int{100}, api.ResultFailed, "gwC", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProxy(t, pair()...)
			w := p.world(t)
			r, _ := w.build(t, "failover", map[string]any{"integration": "gw", "ramp": c.ramp, "every": "1ms"})
			e, err := r.(Planner).Plan(t.Context(), aCall)
			if err != nil {
				t.Fatal(err)
			}
			c.change(p)
			call := aCall
			call.Estimate = &e
			out := r.Run(within(t, time.Second), call)
			want(t, out, c.result, c.word)
			if got := p.state(); c.state != "" && got != c.state {
				t.Fatal(got)
			}
		})
	}
}

// TestFailoverUnreadable: a change that was sent to a proxy that cannot be read any more is unknown, not done.
func TestFailoverUnreadable(t *testing.T) {
	p := newProxy(t, pair()...)
	r, _ := p.world(t).build(t, "failover", map[string]any{"integration": "gw"})
	e, err := r.(Planner).Plan(t.Context(), aCall)
	if err != nil {
		t.Fatal(err)
	}
	run := r.(*failoverRun)
	state, err := run.route.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := run.route.Shift(t.Context(), state, "standby", 100); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.mute = true
	p.mu.Unlock()
	want(t, run.confirm(t.Context(), nil, "send 100% to standby", func(RouteState) bool { return true }), api.ResultUnknown, "cannot be read")
	call := aCall
	call.Estimate = &e
	want(t, r.Run(within(t, time.Second), call), api.ResultFailed, "nothing was changed")
}

func TestBackupServerTakesAll(t *testing.T) {
	servers := pair()
	servers[1].Backup, servers[1].Weight = true, 1
	p := newProxy(t, servers...)
	w := p.world(t)
	r, _ := w.build(t, "failover", map[string]any{"integration": "gw", "drain": "500ms"})
	out, call := perform(t, r, aCall)
	want(t, out, api.ResultDone, "standby")
	if got := p.state(); got != "gwA drain 100, gwB ready 1" || out.Facts[len(out.Facts)-1].Value != "0" {
		t.Fatal(got, out.Facts)
	}
	back, _ := w.build(t, "failback", map[string]any{"integration": "gw"})
	out, _ = perform(t, back, aCall)
	want(t, out, api.ResultDone, "primary") // a backup cannot share, so the ramp of a failback that asked for none is one step
	want(t, r.(Undoer).Undo(within(t, time.Second), call), api.ResultDone, "primary 100%")
}

func TestFailoverParams(t *testing.T) {
	w := newProxy(t, pair()...).world(t)
	w.refuse(t, "failover", map[string]any{"integration": "other"}, "no integration")
	w.refuse(t, "failover", map[string]any{"integration": "gw", "to": "moon"}, "no endpoint")
	w.refuse(t, "failover", map[string]any{"integration": "gw", "ramp": []int{50, 10, 100}}, "rise")
	w.refuse(t, "failover", map[string]any{"integration": "gw", "ramp": []int{50}}, "end at 100")
	w.refuse(t, "failover", map[string]any{"integration": "gw", "rampp": 1}, "rampp")
	w.refuse(t, "fail-over", map[string]any{}, "unknown-action")
	file := gw(t, "file", map[string]any{"path": "/tmp/x"})
	file.refuse(t, "failover", map[string]any{"integration": "gw", "ramp": []int{50, 100}}, "ramp: [100]")
	gw(t, "haproxy", map[string]any{"socket": "10.0.0.1:99", "backend": "gw"}).refuse(t, "failover", map[string]any{"integration": "gw"}, "this machine")
	gw(t, "haproxy", map[string]any{"socket": "/s", "backend": "gw; shutdown"}).refuse(t, "failover", map[string]any{"integration": "gw"}, "name")
	gw(t, "smoke", map[string]any{}).refuse(t, "failover", map[string]any{"integration": "gw"}, "no route driver")
	gw(t, "sql", map[string]any{"database": "gw", "table": "t; drop table t", "key": "k", "id": "1", "column": "c"}).refuse(t, "failover", map[string]any{"integration": "gw"}, "plain name")
}

func TestFileRoute(t *testing.T) {
	path := filepath.Join(t.TempDir(), "route")
	if err := os.WriteFile(path, []byte("gateway-a\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	w := gw(t, "file", map[string]any{"path": path, "values": map[string]string{"primary": "gateway-a", "standby": "gateway-b"}})
	r, _ := w.build(t, "failover", map[string]any{"integration": "gw"})
	out, call := perform(t, r, aCall)
	want(t, out, api.ResultDone, "standby")
	if b, _ := os.ReadFile(path); string(b) != "gateway-b\n" {
		t.Fatalf("%q", b)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Fatal(info, err)
	}
	want(t, r.(Undoer).Undo(t.Context(), call), api.ResultDone, "primary 100%")
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".backstay-*")); len(left) > 0 {
		t.Fatal(left)
	}
	os.WriteFile(path, []byte("gateway-c"), 0o640)
	if _, err := r.(Planner).Plan(t.Context(), aCall); err == nil || !strings.Contains(err.Error(), "gateway-c") {
		t.Fatal(err)
	}
}

func TestSQLRoute(t *testing.T) {
	db, url := sqliteFile(t, `CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT); INSERT INTO settings VALUES ('gw', 'primary'), ('x', 'y')`)
	w := gw(t, "sql", map[string]any{"database": "orders", "table": "settings", "key": "name", "id": "gw", "column": "value"})
	w.ins = append(w.ins, integration("orders", "main="+url))
	r, _ := w.build(t, "failover", map[string]any{"integration": "gw"})
	out, call := perform(t, r, aCall)
	want(t, out, api.ResultDone, "standby")
	if got := oneText(t, db, `SELECT group_concat(name || value) FROM settings`); got != "gwstandby,xy" {
		t.Fatal(got)
	}
	want(t, r.(Undoer).Undo(t.Context(), call), api.ResultDone, "primary")
	mustExec(t, db, `DELETE FROM settings WHERE name = 'gw'`)
	want(t, r.Run(within(t, time.Second), call), api.ResultFailed, "no row")
}

// TestSQLRouteTwoRows: a key that is not unique would move something else too, so nothing is moved.
func TestSQLRouteTwoRows(t *testing.T) {
	db, url := sqliteFile(t, `CREATE TABLE settings (name TEXT, value TEXT); INSERT INTO settings VALUES ('gw', 'primary'), ('gw', 'primary')`)
	w := gw(t, "sql", map[string]any{"database": "orders", "table": "settings", "key": "name", "id": "gw", "column": "value"})
	w.ins = append(w.ins, integration("orders", "main="+url))
	r, _ := w.build(t, "failover", map[string]any{"integration": "gw"})
	out, _ := perform(t, r, aCall)
	want(t, out, api.ResultRefused, "rolled back")
	if got := oneText(t, db, `SELECT count(*) FROM settings WHERE value = 'primary'`); got != "2" {
		t.Fatal(got)
	}
}

func TestHTTPRoute(t *testing.T) {
	var mu sync.Mutex
	weights, answer := map[string]int{"a": 100, "b": 0}, http.StatusOK
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Method == http.MethodPut {
			var body struct{ Weights map[string]int }
			if json.NewDecoder(r.Body).Decode(&body) == nil && answer == http.StatusOK {
				weights = body.Weights
			}
			w.WriteHeader(answer)
		}
		json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"weights": weights}})
	}))
	defer s.Close()
	w := gw(t, "http", map[string]any{
		"url": s.URL, "get": "/route", "shares": "data.weights", "body": map[string]any{"weights": "$shares"},
		"values": map[string]string{"primary": "a", "standby": "b"},
	})
	r, _ := w.build(t, "failover", map[string]any{"integration": "gw", "ramp": []int{25, 100}, "every": "1ms"})
	out, call := perform(t, r, aCall)
	want(t, out, api.ResultDone, "standby")
	if out.Facts[1].Value != "primary 75%, standby 25%" || weights["b"] != 100 || len(out.Calls) < 5 {
		t.Fatal(out, weights)
	}
	want(t, r.(Undoer).Undo(t.Context(), call), api.ResultDone, "primary 100%")
	answer = http.StatusForbidden
	out, _ = perform(t, r, aCall)
	want(t, out, api.ResultRefused, "403")
	answer = http.StatusInternalServerError
	out, _ = perform(t, r, aCall)
	want(t, out, api.ResultFailed, "the route reads primary 100%")
}

func TestHTTPRouteActive(t *testing.T) {
	active := "primary"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			var body struct{ Target string }
			json.NewDecoder(r.Body).Decode(&body)
			active = body.Target
		}
		json.NewEncoder(w).Encode(map[string]any{"active": active})
	}))
	defer s.Close()
	with := map[string]any{"url": s.URL, "get": "/route", "method": "POST", "set": "/switch", "active": "active", "body": map[string]any{"target": "$endpoint"}}
	w := gw(t, "http", with)
	r, _ := w.build(t, "failover", map[string]any{"integration": "gw"})
	out, _ := perform(t, r, aCall)
	want(t, out, api.ResultDone, "standby")
	w.refuse(t, "failover", map[string]any{"integration": "gw", "ramp": []int{10, 100}}, "ramp: [100]")
	with["body"] = map[string]any{"target": "$nothing"}
	gw(t, "http", with).refuse(t, "failover", map[string]any{"integration": "gw"}, "$nothing")
}

func FuzzParseServersState(f *testing.F) {
	f.Add("1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight\n3 gw 1 gwA 127.0.0.1 2 0 100\n\n")
	f.Add("Can't find backend.\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		servers, err := parseServersState(text, "gw")
		if (err == nil) != (len(servers) > 0) {
			t.Fatal(servers, err)
		}
		for _, s := range servers {
			if s.Name == "" || s.Weight < 0 || s.Admin == "" {
				t.Fatalf("%+v", s)
			}
		}
	})
}

func FuzzParseStat(f *testing.F) {
	f.Add("# pxname,svname,scur,status,bck,\ngw,gwA,3,UP,0,\n")
	f.Add("# pxname,svname,scur,status,bck\ngw,gwA,,\"no, check\",1\n")
	f.Fuzz(func(t *testing.T, text string) {
		servers := []haproxyServer{{Name: "gwA"}}
		if parseStat(text, "gw", servers) == nil && servers[0].Open < 0 {
			t.Fatalf("%+v", servers)
		}
	})
}
