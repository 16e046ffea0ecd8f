package playbooks

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	amqp "github.com/rabbitmq/amqp091-go"
)

func dead(body string, headers amqp.Table) amqp.Delivery {
	h := amqp.Table{
		"x-death":              []any{amqp.Table{"reason": "expired", "exchange": "orders", "routing-keys": []any{"order.new"}, "original-expiration": "5000", "time": time.Unix(1000, 0)}},
		"x-first-death-reason": "expired", "CC": []any{"other"}, "x-tenant": "t1",
	}
	for name, v := range headers {
		h[name] = v
	}
	return amqp.Delivery{MessageId: "m-1", Body: []byte(body), Headers: h, UserId: "alice", Expiration: "1"}
}

func TestReplayedCopyCarriesNoOrdersToTheBroker(t *testing.T) {
	p := ReplayParams{OrderBy: "routing-key"}
	l := p.read(dead(`{}`, nil), "run-1")
	c := l.copy("run-1", "")
	for _, name := range []string{"x-death", "x-first-death-reason", "CC"} {
		if c.Headers[name] != nil {
			t.Errorf("the copy has %s", name)
		}
	}
	want := amqp.Table{"x-tenant": "t1", headerReplays: int64(1), headerRun: "run-1", headerRouting: "order.new", headerExchange: "orders", headerTTL: "5000", headerUser: "alice"}
	for name, v := range want {
		if c.Headers[name] != v {
			t.Errorf("%s is %v, want %v", name, c.Headers[name], v)
		}
	}
	if c.UserId != "" || c.Expiration != "" || c.MessageId != "m-1" || c.DeliveryMode != amqp.Persistent || l.order != "order.new" {
		t.Errorf("copy %+v, order %q", c, l.order)
	}
	if q := l.copy("run-1", "poison"); q.Headers["x-death"] == nil || q.Headers[headerReason] != "poison" || q.Headers[headerReplays] != nil {
		t.Errorf("quarantined: %v", q.Headers)
	}
}

func TestReplayJudgesLetters(t *testing.T) {
	p := ReplayParams{JSON: true, Attempts: 2, AmountFrom: "a", Currency: "EUR", Reasons: []string{"expired"}, OlderThan: api.Seconds(10)}
	now := time.Unix(1020, 0)
	for _, c := range []struct {
		body    string
		headers amqp.Table
		poison  string
		wanted  bool
	}{
		{`{"a":5}`, nil, "", true},
		{`{"a":5}`, amqp.Table{headerReplays: int64(2)}, "came back", true},
		{`{"a":5`, nil, "not JSON", true},
		{`{"a":5.5}`, nil, "no amount", true},
		{`{"a":-5}`, nil, "no amount", true},
		{`{"a":5}`, amqp.Table{"x-death": []any{amqp.Table{"reason": "rejected", "time": time.Unix(1000, 0)}}}, "", false},
		{`{"a":5}`, amqp.Table{"x-death": []any{amqp.Table{"reason": "expired", "time": time.Unix(1015, 0)}}}, "", false},
		{`{"a":5}`, amqp.Table{"x-death": "nonsense"}, "", false},
	} {
		l := p.read(dead(c.body, c.headers), "run")
		if got := p.poison(l); (got == "") != (c.poison == "") || !strings.Contains(got, c.poison) {
			t.Errorf("%s %v: poison %q, want %q", c.body, c.headers, got, c.poison)
		}
		if got := p.wanted(l, now); got != c.wanted {
			t.Errorf("%s %v: wanted %v", c.body, c.headers, got)
		}
	}
}

func FuzzReplayLetter(f *testing.F) {
	f.Add([]byte(`{"k":"a","a":1,"c":"EUR"}`), "m-1", int64(1), "rejected")
	f.Add([]byte(`{"k":[`), "", int64(-1), "")
	f.Fuzz(func(t *testing.T, body []byte, id string, replays int64, reason string) {
		p := ReplayParams{JSON: true, Attempts: 1, OrderBy: "body:k", AmountFrom: "a", Currency: "body:c"}
		d := amqp.Delivery{MessageId: id, Body: body, Headers: amqp.Table{headerReplays: replays, "x-death": []any{amqp.Table{"reason": reason}}}}
		l := p.read(d, "run")
		if again := p.read(d, "run"); again.mark != l.mark {
			t.Fatalf("marks %q and %q", l.mark, again.mark)
		}
		if p.poison(l) == "" && !json.Valid(body) {
			t.Fatal("a body that is not JSON passed")
		}
		for _, quarantine := range []string{"", "why"} {
			c := l.copy("run", quarantine)
			if !bytes.Equal(c.Body, body) || c.Headers.Validate() != nil {
				t.Fatalf("copy %+v", c)
			}
		}
		if next := p.read(amqp.Delivery{MessageId: id, Body: body, Headers: l.copy("run", "").Headers}, "run"); next.mark == l.mark || !next.ours {
			t.Fatalf("a replayed copy is not told from its original: %q", next.mark)
		}
	})
}

func TestRequeueGivesBackWhatIsStuck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders.db")
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ms := func(age time.Duration) int64 { return time.Now().Add(-age).UnixMilli() }
	if _, err := db.Exec(`create table outbox (id integer primary key, customer text, state text, changed_at integer)`); err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		customer, state string
		age             time.Duration
	}{{"a", "dead", time.Hour}, {"b", "dead", time.Second}, {"b", "dead", time.Hour}, {"c", "done", time.Hour}, {"a", "dead", time.Hour}, {"d", "dead", time.Hour}} {
		if _, err := db.Exec(`insert into outbox (customer, state, changed_at) values (?, ?, ?)`, r.customer, r.state, ms(r.age)); err != nil {
			t.Fatal(err)
		}
	}
	in := api.Integration{Metadata: api.Metadata{Name: "orders"}, Spec: api.IntegrationSpec{Endpoints: []api.Endpoint{{Name: "db", URL: api.Secret{Text: "sqlite:" + path}}}}}
	env := &Env{
		Integration: func(name string) (api.Integration, bool) { return in, name == "orders" },
		Secret:      func(s api.Secret) (string, error) { return s.Text, nil }, Ledger: &memoryLedger{rows: map[string]LedgerRow{}},
	}
	step := api.Step{Name: "again", Do: "requeue", With: api.ParamsOf(map[string]any{
		"integration": "orders", "table": "outbox", "state": "state", "stuck": "dead", "ready": "ready", "since": "changed_at", "olderThan": "1m", "orderBy": "customer", "attempts": 1})}
	runner, _, findings := Build(step, env)
	if findings.Failed() {
		t.Fatal(findings)
	}
	e, err := runner.(Planner).Plan(t.Context(), Call{})
	if err != nil || e.Items != 3 || e.Total != 5 {
		t.Fatalf("plan %+v, %v", e, err)
	}
	states := func() (s string) {
		t.Helper()
		if err := db.QueryRow(`select group_concat(state, ' ') from (select state from outbox order by id)`).Scan(&s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	if out := runner.Run(t.Context(), Call{Items: 2}); out.Result != api.ResultDone || out.Items != 2 {
		t.Fatalf("%+v", out)
	}
	// Row 2 is too young, so row 3 of the same customer waits for it; row 6 is over the bound.
	if got := states(); got != "ready dead dead done ready dead" {
		t.Fatal(got)
	}
	if _, err := db.Exec(`update outbox set state = 'dead' where id = 1`); err != nil {
		t.Fatal(err)
	}
	out := runner.Run(t.Context(), Call{})
	if got := states(); out.Result != api.ResultDone || out.Items != 1 || got != "dead dead dead done ready ready" || !strings.Contains(out.Text, "left for a person") {
		t.Fatalf("%s: %+v", got, out)
	}
	for _, bad := range []string{"outbox; drop table outbox", `out"box`, "a.b.c"} {
		step.With = api.ParamsOf(map[string]any{"integration": "orders", "table": bad, "claimed": "claimed_at", "olderThan": "1m"})
		if _, _, findings := Build(step, env); !findings.Failed() {
			t.Errorf("table %q was accepted", bad)
		}
	}
}
