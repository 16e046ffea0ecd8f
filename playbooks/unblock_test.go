package playbooks

import (
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// TestUnblockMay: who may be ended, and why all others are left alone. What PostgreSQL answers is tested with a real one.
func TestUnblockMay(t *testing.T) {
	w := newWorld(integration("orders", "main=postgres://h/db"))
	r, plan := w.build(t, "unblock", map[string]any{
		"integration": "orders", "minAge": "30s", "allow": []any{map[string]string{"application": "report-*"}, map[string]string{"application": "etl", "user": "batch"}},
	})
	if plan.Action.Repeat != api.Idempotent || plan.Action.Danger != api.D1 || plan.Targets[0] != "integration/orders" {
		t.Fatalf("%+v", plan)
	}
	well := blocker{PID: 7, Started: time.Unix(1, 0), Application: "report-7", User: "reader", State: "idle in transaction", Age: time.Minute, Kind: "client backend", Waiting: 2}
	run := r.(*unblockRun)
	for why, change := range map[string]func(*blocker){
		"":                               func(*blocker) {},
		"it is not on the allow-list":    func(b *blocker) { b.Application = "posting" },
		"it is active":                   func(b *blocker) { b.State = "active" },
		"it has not been so for 30s yet": func(b *blocker) { b.Age = time.Second },
		"it is no client but the server's own autovacuum worker": func(b *blocker) { b.Kind = "autovacuum worker" },
		"it is not on the allow-list (II)":                       func(b *blocker) { b.Application, b.User = "etl", "posting" },
	} {
		b := well
		change(&b)
		got := run.may(b)
		if why = strings.TrimSuffix(why, " (II)"); got != why {
			t.Errorf("want %q, have %q", why, got)
		}
	}
	b := well
	b.Application, b.User = "etl", "batch"
	end, leave := run.sort([]blocker{well, b})
	if len(end) != 1 || len(leave) != 1 || !strings.Contains(leave[0], "at most 1") {
		t.Fatal(end, leave)
	}
	later := well
	later.Started = time.Unix(2, 0)
	if !among([]blocker{well}, well) || among([]blocker{well}, later) {
		t.Fatal("a later session with the same number was taken for the one that was seen")
	}
	w.refuse(t, "unblock", map[string]any{"integration": "orders", "allow": []any{map[string]string{"application": "*"}}}, "every session")
	w.refuse(t, "unblock", map[string]any{"integration": "orders", "allow": []any{map[string]string{"user": "[a"}}}, "not a pattern")
	w.refuse(t, "unblock", map[string]any{"integration": "orders", "allow": []any{map[string]string{"user": "a"}}, "states": []string{"idle"}}, "not ended")
	_, url := sqliteFile(t, `CREATE TABLE x (y)`)
	w.ins[0] = integration("orders", "main="+url)
	if _, err := run.Plan(t.Context(), aCall); err == nil || !strings.Contains(err.Error(), "not a PostgreSQL database") {
		t.Fatal(err)
	}
}
