package playbooks

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// gateway is a stateful payment gateway that can lose its tongue before or after it captures. Its book is the judge.
type gateway struct {
	*httptest.Server
	mu       sync.Mutex
	book     map[string]int // captures by key: never more than one, or money was taken twice
	requests map[string]int
	fault    string // of the next POSTs: "", before, after, 402, 429
	blind    bool   // it does not recognise a key
	lookup   int    // status of look-ups, when set
}

func newGateway(t *testing.T, captured ...string) *gateway {
	g := &gateway{book: map[string]int{}, requests: map[string]int{}}
	for _, key := range captured {
		g.book[key] = 1
	}
	g.Server = httptest.NewServer(http.HandlerFunc(g.serve))
	t.Cleanup(g.Close)
	return g
}

func (g *gateway) serve(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.Method == http.MethodGet {
		key := r.URL.Query().Get("reference")
		switch {
		case g.lookup != 0:
			w.WriteHeader(g.lookup)
		case strings.HasPrefix(key, "pending"):
			fmt.Fprint(w, `{"data": [{"state": "processing"}]}`)
		case g.book[key] == 0:
			fmt.Fprint(w, `{"data": []}`)
		default:
			fmt.Fprintf(w, `{"data": [{"id": "ch_%s", "state": "captured"}]}`, key)
		}
		return
	}
	key := r.Header.Get("Idempotency-Key")
	g.requests[key]++
	capture := func() {
		if g.book[key] == 0 || g.blind {
			g.book[key]++
		}
	}
	switch g.fault {
	case "before":
		panic(http.ErrAbortHandler)
	case "after":
		capture()
		panic(http.ErrAbortHandler)
	case "402":
		w.WriteHeader(http.StatusPaymentRequired)
	case "429":
		w.WriteHeader(http.StatusTooManyRequests)
	default:
		var body struct {
			Amount   int64
			Currency string
		}
		if json.NewDecoder(r.Body).Decode(&body) != nil || body.Amount == 0 || body.Currency == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		capture()
	}
}

const captures = `CREATE TABLE captures (ref TEXT PRIMARY KEY, gateway TEXT, amount INTEGER, currency TEXT, tried INTEGER, state TEXT, charge TEXT)`

type resolveRig struct {
	*world
	a, b *gateway
	db   *sql.DB
	with map[string]any
}

func newResolveRig(t *testing.T, a, b *gateway) *resolveRig {
	db, url := sqliteFile(t, captures)
	rig := &resolveRig{world: newWorld(integration("gw", "a="+a.URL, "b="+b.URL), integration("orders", "main="+url)), a: a, b: b, db: db}
	rig.with = map[string]any{
		"integration": "gw",
		"unknown": map[string]any{
			"integration": "orders",
			"query":       "SELECT ref AS key, gateway AS endpoint, amount, currency, tried AS at FROM captures WHERE state = 'unknown' ORDER BY ref",
		},
		"lookup": map[string]any{"path": "/captures?reference={key}", "pick": "data.0.state", "happened": []string{"captured"}, "delay": "15s"},
		"settle": map[string]any{"integration": "orders", "statement": "UPDATE captures SET state = 'captured', charge = ? WHERE ref = ?", "args": []string{"answer.data.0.id", "key"}},
		"retry":  map[string]any{"path": "/captures", "body": map[string]any{"amount": "$amount", "currency": "$currency"}, "retention": "24h"},
	}
	return rig
}

func (rig *resolveRig) doubt(t *testing.T, key, endpoint string, age time.Duration) {
	mustExec(t, rig.db, `INSERT INTO captures VALUES (?, ?, 1000, 'EUR', ?, 'unknown', NULL)`, key, endpoint, time.Now().Add(-age).Unix())
}

func (rig *resolveRig) state(t *testing.T, key string) string {
	return oneText(t, rig.db, `SELECT state || ' ' || coalesce(charge, '-') FROM captures WHERE ref = '`+key+`'`)
}

func TestResolve(t *testing.T) {
	a, b := newGateway(t, "o1", "o2"), newGateway(t)
	rig := newResolveRig(t, a, b)
	rig.doubt(t, "o1", "a", time.Hour)
	rig.doubt(t, "o2", "a", time.Hour)
	rig.doubt(t, "o3", "b", time.Hour)            // never happened: is repeated once
	rig.doubt(t, "o4", "b", time.Second)          // may still show
	rig.doubt(t, "o5", "b", 48*time.Hour)         // its key is forgotten
	rig.doubt(t, "o6", "nowhere", time.Hour)      // no such endpoint
	rig.doubt(t, "pending-7", "a", 2*time.Minute) // neither yes nor no
	r, plan := rig.build(t, "resolve", rig.with)
	if plan.Action.Danger != api.D3 {
		t.Fatal(plan)
	}
	out, call := perform(t, r, aCall)
	want(t, out, api.ResultFailed, "6 piece(s) of work asked about at gw: 2 had happened, 1 repeated once with the same key, 0 did not happen, 4 still open")
	if call.Estimate.Items != 7 || call.Estimate.Amount["EUR"] != 7000 || out.Items != 3 || out.Amount["EUR"] != 3000 {
		t.Fatalf("%+v %+v", call.Estimate, out)
	}
	for key, want := range map[string]string{"o1": "captured ch_o1", "o3": "captured ch_o3", "o4": "unknown -", "o5": "unknown -", "o6": "unknown -", "pending-7": "unknown -"} {
		if got := rig.state(t, key); got != want {
			t.Errorf("%s: want %s, have %s", key, want, got)
		}
	}
	if len(a.requests) != 0 || len(b.requests) != 1 || b.book["o3"] != 1 {
		t.Fatal("work crossed to another endpoint or was repeated too often:", a.requests, b.requests, b.book)
	}
}

// TestResolveWaits: work that may still show is waited for before it counts as missing.
func TestResolveWaits(t *testing.T) {
	a := newGateway(t)
	rig := newResolveRig(t, a, newGateway(t))
	rig.doubt(t, "late", "a", 12*time.Second)
	rig.doubt(t, "never", "a", 12*time.Second)
	time.AfterFunc(300*time.Millisecond, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.book["late"] = 1
	})
	r, _ := rig.build(t, "resolve", rig.with)
	out, _ := perform(t, r, aCall)
	want(t, out, api.ResultDone, "2 piece(s) of work asked about at gw: 1 had happened, 1 repeated once")
	if a.requests["late"] != 0 || a.requests["never"] != 1 {
		t.Fatal(a.requests)
	}
}

// TestResolveRetryOnce: a repeat whose answer is lost is looked up, and never sent again, whatever the look-up says.
func TestResolveRetryOnce(t *testing.T) {
	for _, c := range []struct {
		fault, word string
		result      api.Result
		requests    int // after three runs
	}{
		{"after", "1 repeated once", api.ResultDone, 1},
		{"before", "1 still open", api.ResultUnknown, 1},
		{"402", "1 still open", api.ResultFailed, 3}, // a definite no is no repeat that happened
		{"429", "1 still open", api.ResultFailed, 3},
	} {
		t.Run(c.fault, func(t *testing.T) {
			a := newGateway(t)
			a.fault, a.blind = c.fault, true
			rig := newResolveRig(t, a, newGateway(t))
			rig.doubt(t, "o1", "a", time.Hour)
			r, _ := rig.build(t, "resolve", rig.with)
			out, _ := perform(t, r, aCall)
			want(t, out, c.result, c.word)
			other := aCall
			other.Remediation = "rem-2"
			perform(t, r, aCall)
			perform(t, r, other)
			if a.requests["o1"] != c.requests || a.book["o1"] > 1 {
				t.Fatalf("%d requests, %d captures", a.requests["o1"], a.book["o1"])
			}
		})
	}
}

// TestResolveCrash kills the run at random places, again and again: nothing is ever taken twice, even by a gateway that
// forgets its keys; and a naive repeater on the same faults does take twice, or this test would prove nothing.
func TestResolveCrash(t *testing.T) {
	const seed = 20260101
	rng := rand.New(rand.NewPCG(seed, seed))
	naiveTwice := 0
	for round := range 60 {
		a := newGateway(t)
		a.blind = true
		rig := newResolveRig(t, a, newGateway(t))
		for i := range 4 {
			rig.doubt(t, fmt.Sprintf("o%d", i), "a", time.Hour)
		}
		naive := newGateway(t)
		naive.blind = true
		r, _ := rig.build(t, "resolve", rig.with)
		for range 4 {
			fault := []string{"", "before", "after", "429"}[rng.IntN(4)]
			for _, g := range []*gateway{a, naive} {
				g.mu.Lock()
				g.fault = fault
				g.mu.Unlock()
			}
			rig.ledger.mu.Lock()
			rig.ledger.fail = rng.IntN(5) == 0
			rig.ledger.mu.Unlock()
			r.Run(within(t, time.Duration(1+rng.IntN(30))*time.Millisecond), aCall)
			if res, err := http.DefaultClient.Do(naiveRequest(t, naive.URL)); err == nil {
				res.Body.Close()
			}
		}
		naive.mu.Lock()
		if naive.book["n"] > 1 {
			naiveTwice++
		}
		naive.mu.Unlock()
		a.mu.Lock()
		for key, n := range a.book {
			if n > 1 {
				t.Fatalf("seed %d round %d: %s was captured %d times", seed, round, key, n)
			}
		}
		a.mu.Unlock()
	}
	if naiveTwice == 0 {
		t.Fatal("the naive repeater never captured twice: the faults do not bite")
	}
}

func naiveRequest(t *testing.T, url string) *http.Request {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(`{"amount": 1, "currency": "EUR"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Idempotency-Key", "n")
	return req
}

func TestResolveBounds(t *testing.T) {
	a := newGateway(t, "o1", "o2", "o3")
	rig := newResolveRig(t, a, newGateway(t))
	for _, key := range []string{"o1", "o2", "o3"} {
		rig.doubt(t, key, "a", time.Hour)
	}
	r, _ := rig.build(t, "resolve", rig.with)
	call := aCall
	call.Amount = api.Money{"EUR": 1500}
	out, _ := perform(t, r, call)
	want(t, out, api.ResultFailed, "1 had happened, 0 repeated once with the same key, 0 did not happen, 2 still open")
	call.Amount, call.Items = nil, 1
	out, _ = perform(t, r, call)
	want(t, out, api.ResultFailed, "1 had happened")
	rig.ledger.fail = true
	out, _ = perform(t, r, aCall)
	want(t, out, api.ResultFailed, "1 still open")
	a.lookup = http.StatusBadGateway
	rig.ledger.fail = false
	mustExec(t, rig.db, `UPDATE captures SET state = 'unknown'`)
	out, _ = perform(t, r, aCall)
	want(t, out, api.ResultFailed, "3 still open")
}

// TestResolveVoid: work that did not happen can be written off instead; and the list may come by HTTP.
func TestResolveVoid(t *testing.T) {
	a := newGateway(t, "o1")
	list := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"items": [{"key": "o1", "endpoint": "a", "amount": 5, "currency": "JPY", "at": %d}, {"key": "o2", "endpoint": "a", "amount": 7, "currency": "JPY", "at": %d}]}`,
			time.Now().Add(-time.Hour).Unix(), time.Now().Add(-time.Hour).Unix())
	}))
	defer list.Close()
	var told []string
	erp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		json.NewDecoder(r.Body).Decode(&body)
		told = append(told, fmt.Sprint(r.Method, r.URL.Path, body["amount"], r.Header.Get("Idempotency-Key") != ""))
	}))
	defer erp.Close()
	w := newWorld(integration("gw", "a="+a.URL), integration("erp", "list="+list.URL, "api="+erp.URL))
	r, _ := w.build(t, "resolve", map[string]any{
		"integration": "gw",
		"unknown":     map[string]any{"integration": "erp", "path": "/in-doubt", "items": "items"},
		"lookup":      map[string]any{"path": "/captures?reference={key}", "pick": "data.0.state", "happened": []string{"captured"}},
		"settle":      map[string]any{"integration": "erp", "endpoint": "api", "path": "/captures/{key}", "body": map[string]any{"amount": "$amount", "charge": "$answer"}},
		"void":        map[string]any{"integration": "erp", "endpoint": "api", "method": "POST", "path": "/void/{key}", "body": map[string]any{"amount": "$amount"}},
	})
	out, _ := perform(t, r, aCall)
	want(t, out, api.ResultDone, "1 had happened, 0 repeated once with the same key, 1 did not happen, 0 still open")
	if strings.Join(told, " ") != "PUT/captures/o15 true POST/void/o27 true" || out.Amount["JPY"] != 12 {
		t.Fatal(told, out.Amount)
	}
}

func TestResolveParams(t *testing.T) {
	rig := newResolveRig(t, newGateway(t), newGateway(t))
	change := func(part, key string, value any) map[string]any {
		with := map[string]any{}
		for k, v := range rig.with {
			with[k] = v
		}
		inner := map[string]any{}
		for k, v := range with[part].(map[string]any) {
			inner[k] = v
		}
		inner[key] = value
		with[part] = inner
		return with
	}
	rig.refuse(t, "resolve", change("lookup", "path", "/captures"), "no {key}")
	rig.refuse(t, "resolve", change("lookup", "missing", []int{500}), "4xx")
	rig.refuse(t, "resolve", change("lookup", "pick", ""), "belong together")
	rig.refuse(t, "resolve", change("settle", "args", []string{"amount"}), "bind key")
	rig.refuse(t, "resolve", change("settle", "statement", "DROP TABLE captures"), "begins with")
	rig.refuse(t, "resolve", change("retry", "body", map[string]any{"x": "$secret"}), "$secret")
	rig.refuse(t, "resolve", change("retry", "retention", "1s"), "retention")
	rig.refuse(t, "resolve", change("unknown", "path", "/x"), "either query or path")
}
