package playbooks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	amqp "github.com/rabbitmq/amqp091-go"
)

// hashed stands for the controller's keyed hash.
func hashed(key string) string {
	mac := hmac.New(sha256.New, []byte("the folder's key"))
	mac.Write([]byte(key))
	return "p:" + hex.EncodeToString(mac.Sum(nil)[:8])
}

// unnamed looks for keys in all that a step leaves behind: its outcome and the ledger.
func unnamed(t *testing.T, l *memoryLedger, out api.Outcome, keys ...string) string {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	all, err := json.Marshal([]any{out})
	if err != nil {
		t.Fatal(err)
	}
	text := string(all)
	for where, row := range l.rows { // order does not matter: a search
		text += fmt.Sprintf("\n%s %+v", where, row)
	}
	for _, key := range keys {
		if at := strings.Index(text, key); at >= 0 {
			t.Errorf("%s is named: %.120s", key, text[max(0, at-60):])
		}
	}
	return text
}

func TestResolvePersonal(t *testing.T) {
	a := newGateway(t, "ann-1")
	rig := newResolveRig(t, a, newGateway(t))
	rig.with["personal"] = true
	rig.refuse(t, "resolve", rig.with, "no key for hashes")
	rig.Personal = hashed
	mustExec(t, rig.db, `CREATE TRIGGER stubborn BEFORE UPDATE ON captures WHEN new.ref = 'eve-5' BEGIN SELECT RAISE(ABORT, 'eve-5 is locked'); END`)
	a.book["eve-5"] = 1
	rig.doubt(t, "ann-1", "a", time.Hour)
	rig.doubt(t, "bob-2", "a", time.Hour)
	rig.doubt(t, "cid-3", "a", 48*time.Hour)
	rig.doubt(t, "dan-4", "nowhere", time.Hour)
	rig.doubt(t, "eve-5", "a", time.Hour)
	people := []string{"ann-1", "bob-2", "cid-3", "dan-4", "eve-5"}
	r, _ := rig.build(t, "resolve", rig.with)
	out, _ := perform(t, r, aCall)
	want(t, out, api.ResultFailed, "4 piece(s) of work asked about at gw: 1 had happened, 1 repeated once with the same key, 0 did not happen, 3 still open")
	text := unnamed(t, rig.ledger, out, people...)
	for _, key := range people {
		if !strings.Contains(text, hashed(key)) {
			t.Errorf("%s cannot be followed: %s is nowhere in %s", key, hashed(key), text)
		}
	}
	if a.requests["bob-2"] != 1 || rig.state(t, "ann-1") != "captured ch_ann-1" {
		t.Error("the gateway or the database did not get the true keys", a.requests, rig.state(t, "ann-1"))
	}
	if _, err := rig.db.Exec(`DROP TABLE captures; CREATE VIEW captures AS SELECT json_extract('ann-1', '$') AS ref, '' AS gateway, 0 AS amount, '' AS currency, 0 AS tried, 'unknown' AS state`); err != nil {
		t.Fatal(err)
	}
	if out = r.Run(within(t, time.Second), aCall); out.Result != api.ResultFailed || !strings.Contains(out.Text, "its words are left out") {
		t.Errorf("%+v", out)
	}
}

// TestResolvePersonalSwitch: what was repeated once is never repeated again, whether the step is marked personal later, or no more.
func TestResolvePersonalSwitch(t *testing.T) {
	for _, first := range []bool{false, true} {
		a := newGateway(t)
		a.fault, a.blind = "before", true
		rig := newResolveRig(t, a, newGateway(t))
		rig.Personal = hashed
		rig.doubt(t, "ann-1", "a", time.Hour)
		for i, personal := range []bool{first, !first, first} {
			rig.with["personal"] = personal
			r, _ := rig.build(t, "resolve", rig.with)
			out, _ := perform(t, r, aCall)
			if a.requests["ann-1"] != 1 {
				t.Fatalf("%d requests after run %d: %+v", a.requests["ann-1"], i+1, out)
			}
		}
	}
}

func TestRequeuePersonal(t *testing.T) {
	db, url := sqliteFile(t, `create table outbox (id text primary key, state text, changed_at integer)`)
	w := newWorld(integration("orders", "db="+url))
	w.Personal = hashed
	with := map[string]any{"integration": "orders", "table": "outbox", "state": "state", "stuck": "dead", "ready": "ready", "since": "changed_at", "olderThan": "1m", "attempts": 2}
	stick := func() {
		mustExec(t, db, `insert or replace into outbox values ('ann-1', 'dead', ?), ('bob-2', 'done', 0)`, time.Now().Add(-time.Hour).Unix())
	}
	for i, personal := range []bool{false, true, true} {
		with["personal"] = personal
		r, _ := w.build(t, "requeue", with)
		stick()
		out, _ := perform(t, r, aCall)
		wanted := int64(1)
		if i == 2 {
			wanted = 0 // it was requeued twice, once under each name
		}
		if out.Result != api.ResultDone || out.Items != wanted {
			t.Fatalf("run %d: %+v", i+1, out)
		}
		if i == 2 && (len(out.Facts) != 1 || out.Facts[0].Value != "["+hashed("ann-1")+"]") {
			t.Errorf("%+v", out.Facts)
		}
	}
	mustExec(t, db, `create trigger stubborn before update on outbox when new.id = 'cid-3' begin select raise(abort, 'cid-3 is locked'); end`)
	mustExec(t, db, `delete from outbox`)
	mustExec(t, db, `insert into outbox values ('cid-3', 'dead', 0)`)
	w.ledger.rows = map[string]LedgerRow{}
	r, _ := w.build(t, "requeue", with)
	out, _ := perform(t, r, aCall)
	want(t, out, api.ResultFailed, hashed("cid-3")+" is locked")
	unnamed(t, w.ledger, out, "cid-3")
}

// TestReplayPersonal: a message marked personal is known by hashes alone, and is recognised over the change of the mark, whether it
// was done or under way.
func TestReplayPersonal(t *testing.T) {
	w := newWorld(integration("mq", "amqp=amqp://127.0.0.1:1/", "management=http://127.0.0.1:1"))
	w.Personal = hashed
	begin := func(personal bool) *session {
		r, _ := w.build(t, "replay", map[string]any{"integration": "mq", "from": "dlq", "to": "q", "orderBy": "body:customer", "personal": personal})
		state, err := r.(*replayRun).begin(t.Context(), aCall)
		if err != nil {
			t.Fatal(err)
		}
		return &session{replaying: state, receipts: map[string][]receipt{}, holding: map[string]bool{}, boot: "one"}
	}
	dead := func(id string) amqp.Delivery {
		return amqp.Delivery{MessageId: id, Body: []byte(`{"customer": "ann-1"}`), Headers: amqp.Table{}}
	}
	book := func(s *session, m move) {
		m.row = s.row(m, m.state)
		s.hold(m.letter)
		s.progress.book(m)
		if err := s.save(t.Context(), []LedgerRow{m.row}); err != nil {
			t.Fatal(err)
		}
	}
	for _, personal := range []bool{true, false} {
		w.ledger.rows = map[string]LedgerRow{}
		s := begin(personal)
		for _, id := range []string{"ann-1-first", ""} {
			l := s.take(dead(id))
			if same := s.take(dead(id)); same.mark != l.mark || personal != (l.order == hashed("ann-1")) {
				t.Errorf("%+v and %+v", l, same)
			}
			book(s, move{letter: l, state: letterUnknown, to: "quarantine"})
		}
		s.flight.Open = append(s.flight.Open, openMark{s.take(dead("ann-1-second")).mark, "one"})
		if err := s.save(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if personal {
			text := unnamed(t, w.ledger, s.ended(api.ResultUnknown, ""), "ann-1", s.p.read(dead(""), "").hash)
			if !strings.Contains(text, hashed("ann-1-first")) || !strings.Contains(text, hashed("ann-1")) {
				t.Errorf("nobody can be followed in %s", text)
			}
		}
		s = begin(!personal)
		if again, err := s.seenBefore(t.Context(), s.take(dead("ann-1-first"))); err != nil || !again {
			t.Errorf("personal first %t: it was done, but is not recognised: %v", personal, err)
		}
		s.boot = "two" // the broker died meanwhile
		if m, taken, err := s.judge(t.Context(), s.take(dead("ann-1-second")), mainPass); err != nil || !taken || m.state != letterUnknown {
			t.Errorf("personal first %t: it was under way, but is not recognised: %+v %t %v", personal, m, taken, err)
		}
		if m, taken, err := s.judge(t.Context(), s.take(dead("cid-3")), mainPass); err != nil || taken && m.state == letterUnknown {
			t.Errorf("personal first %t: a new one is taken for an old one: %+v %t %v", personal, m, taken, err)
		}
	}
}

// TestVeil: keys are hidden in the words of others, however they are escaped, the longer one first.
func TestVeil(t *testing.T) {
	n := namer{true, hashed}
	veil := n.veil([]string{"ann", "ann ö&1", "7"})
	for text, want := range map[string]string{
		"no ann here":             "no " + hashed("ann") + " here",
		"/c?ref=ann+%C3%B6%261":   "/c?ref=" + hashed("ann ö&1"),
		"/c/ann%20%C3%B6&1 (404)": "/c/" + hashed("ann ö&1") + " (404)",
		`{"ref": "ann ö\u00261"}`: `{"ref": "` + hashed("ann ö&1") + `"}`,
		"7 pieces":                "7 pieces",
	} {
		if got := veil(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	if got := (namer{}).veil([]string{"ann"})("ann"); got != "ann" {
		t.Error(got)
	}
}
