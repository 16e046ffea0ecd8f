package playbooks

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

const invoices = `
CREATE TABLE invoices (id TEXT PRIMARY KEY, party TEXT, amount INTEGER, currency TEXT, blocked BOOLEAN);
INSERT INTO invoices VALUES ('i1', 'p', 1000, 'EUR', 0), ('i2', 'p', 2000, 'EUR', NULL), ('i3', 'p', 500, 'USD', 1), ('i4', 'q', 9, 'EUR', 0)`

var invoiceFlag = map[string]any{"table": "invoices", "key": "id", "flag": "blocked", "amount": "amount", "currency": "currency"}

// TestHold: the hold touches what is free, its undo and its release only what it held itself, never what a person did.
func TestHold(t *testing.T) {
	db, url := sqliteFile(t, invoices)
	w := newWorld(integration("erp", "main="+url))
	state := func() string {
		return oneText(t, db, `SELECT group_concat(id || coalesce(blocked, '-'), ' ') FROM (SELECT * FROM invoices ORDER BY id)`)
	}
	with := map[string]any{"integration": "erp", "query": "SELECT id AS key FROM invoices WHERE party = 'p'", "sql": invoiceFlag}
	r, plan := w.build(t, "hold", with)
	if plan.Action.Danger != api.D2 || plan.Targets[0] != "table/erp/invoices" {
		t.Fatalf("%+v", plan)
	}
	call := aCall
	call.Step = "hold"
	out, call := perform(t, r, call)
	want(t, out, api.ResultDone, "2 item(s) held")
	if got := state(); got != "i11 i21 i31 i40" {
		t.Fatal(got)
	}
	if call.Estimate.Items != 2 || call.Estimate.Amount.String() != "30.00 EUR" || out.Items != 2 || out.Amount.String() != "30.00 EUR" {
		t.Fatalf("%+v %+v", call.Estimate, out)
	}
	out, _ = perform(t, r, call) // a repeat after a crash still knows what is its own
	want(t, out, api.ResultDone, "2 item(s) held")

	free, plan := w.build(t, "release", map[string]any{"integration": "erp", "sql": invoiceFlag, "of": "hold"})
	if plan.Action.Danger != api.D2 {
		t.Fatalf("%+v", plan.Action)
	}
	back := aCall
	back.Step = "release"
	stranger := back
	stranger.Remediation = "rem-2"
	out, _ = perform(t, free, stranger)
	if out.Items != 0 || state() != "i11 i21 i31 i40" {
		t.Fatal("another remediation released what is not its own:", out)
	}
	out, back = perform(t, free, back)
	want(t, out, api.ResultDone, "2 of 2 item(s) released")
	if got := state(); got != "i10 i20 i31 i40" {
		t.Fatal(got)
	}
	want(t, free.(Undoer).Undo(t.Context(), back), api.ResultDone, "2 of 2")
	if got := state(); got != "i11 i21 i31 i40" {
		t.Fatal(got)
	}
}

func TestHoldUndo(t *testing.T) {
	db, url := sqliteFile(t, invoices)
	w := newWorld(integration("erp", "main="+url))
	r, _ := w.build(t, "hold", map[string]any{"integration": "erp", "keys": []string{"i1", "i2", "i3"}, "sql": invoiceFlag})
	out, call := perform(t, r, aCall)
	want(t, out, api.ResultDone, "2 item(s)")
	mustExec(t, db, `UPDATE invoices SET blocked = 0 WHERE id = 'i1'`) // a person let it go meanwhile
	want(t, r.(Undoer).Undo(t.Context(), call), api.ResultDone, "1 of 2")
	if got := oneText(t, db, `SELECT group_concat(id || coalesce(blocked, '-'), ' ') FROM invoices`); got != "i10 i2- i31 i40" {
		t.Fatal(got)
	}
}

func TestHoldBounds(t *testing.T) {
	db, url := sqliteFile(t, invoices)
	w := newWorld(integration("erp", "main="+url))
	with := map[string]any{"integration": "erp", "query": "SELECT id FROM invoices", "sql": invoiceFlag}
	r, _ := w.build(t, "hold", with)
	call := aCall
	call.Items = 2
	out, _ := perform(t, r, call)
	want(t, out, api.ResultRefused, "more than the 2")
	call.Items, call.Amount = 0, api.Money{"EUR": 100}
	out, _ = perform(t, r, call)
	want(t, out, api.ResultRefused, "more than the 1.00 EUR")
	with["most"] = 1
	r, _ = w.build(t, "hold", with)
	if _, err := r.(Planner).Plan(t.Context(), aCall); err == nil || !strings.Contains(err.Error(), "more than the 1") {
		t.Fatal(err)
	}
	w.ledger.fail = true
	r, _ = w.build(t, "hold", map[string]any{"integration": "erp", "keys": []string{"i1"}, "sql": invoiceFlag})
	out, _ = perform(t, r, aCall)
	want(t, out, api.ResultFailed, "disk is full")
	if got := oneText(t, db, `SELECT count(*) FROM invoices WHERE blocked`); got != "1" {
		t.Fatal("something was held without being remembered:", got)
	}
	// What turns up between plan and run waits for the next run.
	w.ledger.fail = false
	with["most"] = 10
	r, _ = w.build(t, "hold", with)
	e, err := r.(Planner).Plan(t.Context(), aCall)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, `INSERT INTO invoices VALUES ('i9', 'p', 1, 'EUR', 0)`)
	call = aCall
	call.Estimate = &e
	want(t, r.Run(within(t, time.Second), call), api.ResultDone, "3 item(s)")
	if got := oneText(t, db, `SELECT blocked FROM invoices WHERE id = 'i9'`); got != "0" && got != "false" {
		t.Fatal(got)
	}
}

func TestHoldParams(t *testing.T) {
	_, url := sqliteFile(t, invoices)
	w := newWorld(integration("erp", "main="+url))
	bad := func(flag map[string]any, more map[string]any) map[string]any {
		with := map[string]any{"integration": "erp", "keys": []string{"i1"}, "sql": flag}
		for k, v := range more {
			with[k] = v
		}
		return with
	}
	w.refuse(t, "hold", bad(map[string]any{"table": "invoices; --", "key": "id", "flag": "f"}, nil), "plain name")
	w.refuse(t, "hold", bad(map[string]any{"table": "a.b.c", "key": "id", "flag": "f"}, nil), "plain name")
	w.refuse(t, "hold", bad(map[string]any{"table": "t", "key": "id", "flag": "f", "amount": "a"}, nil), "belong together")
	w.refuse(t, "hold", bad(map[string]any{"table": "t", "key": "id", "flag": "f", "on": []int{1}}, nil), "not a text")
	w.refuse(t, "hold", bad(invoiceFlag, map[string]any{"query": "SELECT 1"}), "not both")
	w.refuse(t, "hold", map[string]any{"integration": "erp", "sql": invoiceFlag}, "no items")
	w.refuse(t, "release", map[string]any{"integration": "erp", "sql": invoiceFlag}, "no items")
	_, plan := w.build(t, "release", bad(invoiceFlag, nil))
	if plan.Action.Danger != api.D4 {
		t.Fatalf("a release of anything but one's own must be D4: %+v", plan.Action)
	}
}

func TestHoldHTTP(t *testing.T) {
	var mu sync.Mutex
	held := map[string]bool{"a/b": false, "c": false, "d": true}
	ill := ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		key := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/api/invoices/"), "/hold")
		if _, ok := held[key]; !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if r.Method == http.MethodPut {
			var body struct{ Hold bool }
			if json.NewDecoder(r.Body).Decode(&body) != nil || key == ill {
				w.WriteHeader(http.StatusConflict)
				return
			}
			held[key] = body.Hold
		}
		fmt.Fprintf(w, `{"data": {"hold": %v}}`, held[key])
	}))
	defer s.Close()
	w := newWorld(integration("erp", "main="+s.URL+"/api"))
	with := map[string]any{"integration": "erp", "keys": []string{"a/b", "c", "d"}, "http": map[string]any{
		"get": "/invoices/{key}", "pick": "data.hold", "set": "/invoices/{key}/hold", "body": map[string]any{"hold": "$flag"},
	}}
	r, _ := w.build(t, "hold", with)
	out, call := perform(t, r, aCall)
	want(t, out, api.ResultDone, "2 item(s)")
	if !held["a/b"] || !held["c"] || len(out.Calls) == 0 {
		t.Fatal(held, out)
	}
	want(t, r.(Undoer).Undo(within(t, time.Second), call), api.ResultDone, "2 of 2")
	if held["a/b"] || held["c"] || !held["d"] {
		t.Fatal(held)
	}
	ill = "c"
	out, _ = perform(t, r, aCall)
	want(t, out, api.ResultFailed, "409") // the first was held: in part done
	if out.Items != 1 || !held["a/b"] {
		t.Fatal(out, held)
	}
}
