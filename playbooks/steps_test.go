package playbooks

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

func TestControls(t *testing.T) {
	w := newWorld()
	r, plan := w.build(t, "wait", map[string]any{"for": "90s"})
	if r != nil || plan.Control.Wait != 90*time.Second {
		t.Fatalf("%v %+v", r, plan)
	}
	r, plan = w.build(t, "ask", map[string]any{"question": "Go on?", "people": 2})
	if q := plan.Control.Ask; r != nil || q.People != 2 || q.Default != "deny" || q.Deadline != 30*time.Minute {
		t.Fatalf("%v %+v", r, plan.Control.Ask)
	}
	r, plan = w.build(t, "expect", map[string]any{"probe": "a", "probes": []string{"b"}, "ok": 3, "hold": "1m"})
	if e := plan.Control.Expect; r != nil || strings.Join(e.Probes, " ") != "a b" || e.OK != 3 || e.Within != time.Minute || e.Hold != time.Minute {
		t.Fatalf("%v %+v", r, plan.Control.Expect)
	}
	w.refuse(t, "wait", map[string]any{"for": "0s"}, "least")
	w.refuse(t, "ask", map[string]any{"question": "Go on?", "people": 2, "default": "approve"}, "silence")
	w.refuse(t, "expect", map[string]any{"ok": 1}, "no probe")
}

func TestHTTPAction(t *testing.T) {
	var got atomic.Value
	status, answer := http.StatusOK, `{"state": "accepted"}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.WriteHeader(status)
			w.Write([]byte(answer))
			return
		}
		var body map[string]any
		json.NewDecoder(r.Body).Decode(&body)
		got.Store(strings.Join([]string{r.Method, r.URL.EscapedPath(), r.Header.Get("Idempotency-Key"), body["ref"].(string), r.Header.Get("X-Token")}, " "))
		w.WriteHeader(status)
		w.Write([]byte(answer))
	}))
	defer s.Close()
	w := newWorld(integration("erp", "main="+s.URL+"/api"))
	t.Setenv("ERP_TOKEN", "t0p-secret")
	with := map[string]any{
		"integration": "erp", "path": "/jobs/{key}", "body": map[string]any{"ref": "$key"}, "headers": map[string]any{"X-Token": map[string]string{"env": "ERP_TOKEN"}},
		"repeat": "keyed", "retention": "24h", "answer": map[string]any{"pick": "state", "is": []string{"accepted", "done"}},
	}
	r, plan := w.build(t, "http", with)
	if plan.Action.Repeat != api.Keyed || plan.Action.Retention != 24*time.Hour || plan.Action.Danger != api.D3 {
		t.Fatalf("%+v", plan.Action)
	}
	call := aCall
	call.Key = "a/b"
	out, _ := perform(t, r, call)
	want(t, out, api.ResultDone, "200")
	if got.Load() != "POST /api/jobs/a%2Fb a/b a/b t0p-secret" {
		t.Fatal(got.Load())
	}
	answer = `{"state": "refused, t0p-secret"}`
	out, _ = perform(t, r, call)
	want(t, out, api.ResultUnknown, "its state is refused")
	if strings.Contains(out.Facts[0].Value, "t0p-secret") {
		t.Fatal("a secret came through:", out)
	}
	delete(with, "retention")
	w.refuse(t, "http", with, "needs retention")
	with["repeat"] = "idempotent"
	w.refuse(t, "http", with, "not idempotent")

	r, plan = w.build(t, "http", map[string]any{"integration": "erp", "path": "/x", "body": map[string]any{"ref": "1"}, "danger": "D1", "effect": "restart", "proof": map[string]any{"path": "/jobs/{key}"}})
	if plan.Action.Repeat != api.Queryable || plan.Action.Danger != api.D1 || plan.Action.Effect != api.EffectRestart {
		t.Fatalf("%+v", plan.Action)
	}
	look := r.(Looker)
	want(t, look.Look(within(t, time.Second), call), api.ResultDone, "happened")
	status = http.StatusNotFound
	want(t, look.Look(within(t, time.Second), call), api.ResultRefused, "did not happen")
	status = http.StatusBadGateway
	want(t, look.Look(within(t, time.Second), call), api.ResultUnknown, "502")

	if r, plan = w.build(t, "http", map[string]any{"integration": "erp", "path": "/x", "method": "GET", "danger": "D4"}); plan.Action.Danger != api.D0 || plan.Action.Effect != api.EffectObserve {
		t.Fatalf("%+v", plan.Action)
	}
	if _, looks := r.(Looker); looks {
		t.Fatal("a call without proof says that it can be looked up")
	}
	if _, plan = w.build(t, "http", map[string]any{"integration": "erp", "path": "/x"}); plan.Action.Repeat != api.Blind || plan.Action.Danger != api.D3 {
		t.Fatalf("the worst must be taken where nothing is said: %+v", plan.Action)
	}
	w.refuse(t, "http", map[string]any{"integration": "erp", "path": "/x", "danger": "D0"}, "more than observing")
	w.refuse(t, "http", map[string]any{"integration": "erp", "path": "/x/{id}"}, "{id}")
}

func TestSQLAction(t *testing.T) {
	db, url := sqliteFile(t, `CREATE TABLE jobs (id INTEGER PRIMARY KEY, state TEXT, amount INTEGER, by TEXT); INSERT INTO jobs VALUES (1, 'stuck', 100, ''), (2, 'stuck', 200, ''), (3, 'ok', 1, '')`)
	w := newWorld(integration("orders", "main="+url))
	with := map[string]any{
		"integration": "orders", "statement": "UPDATE jobs SET state = ?, by = ? WHERE state = 'stuck'", "args": []any{map[string]any{"text": "ready'; DROP TABLE jobs"}, map[string]any{"of": "key"}},
		"rows": 2, "count": "SELECT count(*) AS items, sum(amount) AS amount, 'EUR' AS currency FROM jobs WHERE state = 'stuck'",
		"proof": map[string]any{"query": "SELECT count(*) FROM jobs WHERE by = ?", "args": []any{map[string]any{"of": "key"}}},
	}
	r, plan := w.build(t, "sql", with)
	if plan.Action.Repeat != api.Queryable || !plan.Action.Counts {
		t.Fatalf("%+v", plan.Action)
	}
	want(t, r.(Looker).Look(t.Context(), aCall), api.ResultRefused, "did not happen")
	out, call := perform(t, r, aCall)
	want(t, out, api.ResultDone, "2 row(s)")
	if call.Estimate.Items != 2 || out.Amount["EUR"] != 300 || out.Items != 2 {
		t.Fatalf("%+v %+v", call.Estimate, out)
	}
	want(t, r.(Looker).Look(t.Context(), aCall), api.ResultDone, "happened")
	if got := oneText(t, db, `SELECT state FROM jobs WHERE id = 1`); got != "ready'; DROP TABLE jobs" {
		t.Fatal(got)
	}
	mustExec(t, db, `UPDATE jobs SET state = 'stuck'`)
	out, _ = perform(t, r, aCall)
	want(t, out, api.ResultRefused, "rolled back")
	if got := oneText(t, db, `SELECT count(*) FROM jobs WHERE state = 'stuck'`); got != "3" {
		t.Fatal("more rows than allowed were touched:", got)
	}
	with["statement"] = "UPDATE nowhere SET state = ?, by = ?"
	r, _ = w.build(t, "sql", with)
	out, _ = perform(t, r, aCall)
	want(t, out, api.ResultFailed, "no such table")
	with["statement"] = "UPDATE jobs SET state = ?; COMMIT"
	w.refuse(t, "sql", with, "one statement")
	with["statement"] = "UPDATE jobs SET state = ?"
	with["args"] = []any{map[string]any{"text": "a", "of": "key"}}
	w.refuse(t, "sql", with, "exactly one")
	if _, plan = w.build(t, "sql", map[string]any{"integration": "orders", "statement": "DELETE FROM jobs", "rows": 1}); plan.Action.Repeat != api.Blind {
		t.Fatalf("%+v", plan.Action)
	}
}

func TestRestart(t *testing.T) {
	folder := t.TempDir()
	script := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	mark := filepath.Join(folder, "mark")
	well := script("well", `echo "$@" "$BACKSTAY_KEY" "${SECRET_OF_OURS-none}"; env | wc -l`)
	code := script("code", "exit 5")
	slow := script("slow", `(sleep 1; touch `+mark+`) & sleep 30`)
	loud := script("loud", `yes | head -c 1000000; echo the end`)
	t.Setenv("SECRET_OF_OURS", "x")
	w := newWorld()
	w.Commands = []string{well, code, slow, loud}
	r, plan := w.build(t, "restart", map[string]any{"command": []string{well, "$(id)", "a b;c"}, "target": "worker/outbox", "repeat": "idempotent"})
	if plan.Action.Repeat != api.Idempotent || plan.Targets[0] != "worker/outbox" {
		t.Fatalf("%+v", plan)
	}
	out, _ := perform(t, r, aCall)
	want(t, out, api.ResultDone, "ended with 0")
	if output := out.Facts[2].Value; !strings.HasPrefix(output, "$(id) a b;c key-1 none") {
		t.Fatal(output)
	}
	r, _ = w.build(t, "restart", map[string]any{"command": []string{code}})
	out, _ = perform(t, r, aCall)
	want(t, out, api.ResultUnknown, "ended with 5")
	r, _ = w.build(t, "restart", map[string]any{"command": []string{code}, "exit": map[string]any{"refused": []int{5}}})
	out, _ = perform(t, r, aCall)
	want(t, out, api.ResultRefused, "a no")
	r, _ = w.build(t, "restart", map[string]any{"command": []string{loud}})
	out, _ = perform(t, r, aCall)
	want(t, out, api.ResultDone, "0")
	if output := out.Facts[2].Value; len(output) > commandOutputMax+10 || !strings.HasSuffix(output, "the end\n") {
		t.Fatal(len(output))
	}
	r, _ = w.build(t, "restart", map[string]any{"command": []string{slow}, "grace": "200ms"})
	start := time.Now()
	want(t, r.Run(within(t, 700*time.Millisecond), aCall), api.ResultUnknown, "was ended")
	if took := time.Since(start); took > 700*time.Millisecond {
		t.Fatal("the deadline was passed:", took)
	}
	time.Sleep(1200 * time.Millisecond)
	if _, err := os.Stat(mark); err == nil {
		t.Fatal("a child of the command went on after the deadline")
	}
	want(t, r.Run(within(t, time.Millisecond), aCall), api.ResultFailed, "not started")
	w.refuse(t, "restart", map[string]any{"command": []string{"/bin/sh", "-c", "x"}}, "allow-list")
	w.refuse(t, "restart", map[string]any{"command": []string{"well"}}, "absolute path")
}

func TestJoinURL(t *testing.T) {
	for _, c := range []struct{ base, path, key, want string }{
		{"http://h/api/", "/x/{key}", "a/../b?c#d", "http://h/api/x/a%2F..%2Fb%3Fc%23d"},
		{"http://h", "x?ref={key}&y=1", "a&b=c", "http://h/x?ref=a%26b%3Dc&y=1"},
		{"https://u:p@h/api?t=1", "/x?y={key}", "k", "https://u:p@h/api/x?t=1&y=k"},
		{"http://h/api", "", "k", "http://h/api"},
		{"http://h", "/x/{key}", "..", ""},
		{"http://h", "/x/{key}/y", "", ""},
		{"http://h", "/x/{other}", "k", ""},
		{"ftp://h", "/x", "k", ""},
	} {
		got, err := joinURL(c.base, c.path, map[string]string{"key": c.key})
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s + %s with %q: want %q, have %q %v", c.base, c.path, c.key, c.want, got, err)
		}
	}
}

// FuzzJoinURL: no value can leave its place in the path or the query.
func FuzzJoinURL(f *testing.F) {
	f.Add("a/../b")
	f.Add("%2e%2e")
	f.Add("x&admin=1#")
	f.Fuzz(func(t *testing.T, key string) {
		got, err := joinURL("http://h/api", "/items/{key}/hold?ref={key}", map[string]string{"key": key})
		if err != nil {
			return
		}
		u, err := url.Parse(got)
		if err != nil {
			t.Fatal(err)
		}
		if u.Host != "h" || u.Fragment != "" || strings.Count(u.EscapedPath(), "/") != 4 || u.Path != "/api/items/"+key+"/hold" {
			t.Fatalf("%q became %q", key, got)
		}
		if q, err := url.ParseQuery(u.RawQuery); err != nil || len(q) != 1 || q.Get("ref") != key {
			t.Fatalf("%q became %q", key, u.RawQuery)
		}
	})
}

// FuzzFillBody: a value stays one JSON string, whatever is in it.
func FuzzFillBody(f *testing.F) {
	f.Add(`", "admin": true, "x": "`)
	f.Add("$key")
	f.Fuzz(func(t *testing.T, value string) {
		body, err := fillBody(json.RawMessage(`{"a": {"ref": "$key"}, "price": 12.50, "dollar": "$$key"}`), map[string]any{"key": value})
		if err != nil {
			t.Fatal(err)
		}
		var back struct {
			A      map[string]string
			Price  json.Number
			Dollar string
		}
		if err := json.Unmarshal(body, &back); err != nil || len(back.A) != 1 || back.Price != "12.50" || back.Dollar != "$key" {
			t.Fatalf("%q became %s: %v", value, body, err)
		}
		if want := strings.ToValidUTF8(value, "\ufffd"); back.A["ref"] != want && back.A["ref"] != value && len([]rune(back.A["ref"])) != len([]rune(value)) {
			t.Fatalf("%q became %q", value, back.A["ref"])
		}
	})
}

// FuzzPick: no answer of a target brings down the controller.
func FuzzPick(f *testing.F) {
	f.Add(`{"data": [{"state": "x"}]}`, "data.0.state")
	f.Add(`[]`, "0")
	f.Add(`{"a": 1e999}`, "a")
	f.Fuzz(func(t *testing.T, body, path string) {
		tree, err := decodeJSON([]byte(body))
		if err != nil {
			return
		}
		v, err := pick(tree, path)
		if err == nil {
			scalar(v)
		}
		emptyList(tree, path)
		(&httpRoute{in: integration("gw", "a=x"), p: httpRouteParams{Shares: path}}).parse([]byte(body))
	})
}
