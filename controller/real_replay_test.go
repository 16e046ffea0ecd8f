package controller_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/rig"
	"github.com/backstay/backstay/playbooks"
	amqp "github.com/rabbitmq/amqp091-go"
)

// run runs the job in this process.
func (d *deadLetters) run() api.Outcome {
	d.t.Helper()
	out, err := d.job.run()
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

// wants checks result and counts.
func wants(t *testing.T, out api.Outcome, result api.Result, facts map[string]string) {
	t.Helper()
	if out.Result != result {
		t.Errorf("result %s, want %s: %s", out.Result, result, out.Text)
	}
	for name, want := range facts {
		if got := fact(out, name); got != want {
			t.Errorf("%s: %s, want %s: %s", name, got, want, out.Text)
		}
	}
}

func TestReplayIsKilledAtFullSpeed(t *testing.T) {
	for _, kind := range []string{"classic", "quorum"} {
		t.Run(kind, func(t *testing.T) {
			d := newDeadLetters(t, rig.RabbitMQ(t), kind, nil)
			d.fill(3000, 0)
			d.job.Params["canary"], d.job.Params["batch"] = []int{}, 7
			a := d.consume("captures")
			kills := 0
			for range 40 {
				cmd, _, _ := d.start()
				seen := a.count()
				a.wait(seen+1, 5*time.Second)
				time.Sleep(time.Duration(rand.IntN(20_000)) * time.Microsecond)
				cmd.Process.Kill()
				if cmd.Wait() == nil {
					break
				}
				kills++
			}
			t.Logf("killed %d times; %d had arrived by then", kills, a.count())
			if kills < 10 {
				t.Errorf("killed only %d times", kills)
			}
			wants(t, d.run(), api.ResultDone, map[string]string{"replayed": "3000", "quarantined": "0", "in doubt": "0", "left": "0"})
			a.exactly(t, 3000)
			d.reconciled(map[string]int64{"done": 3000})
		})
	}
}

// A replay marked personal loses and doubles nothing when it is killed, and its ledger names nobody; neither does one that is marked
// between two attempts, or no longer is.
func TestReplayPersonalOverKills(t *testing.T) {
	for _, switched := range []bool{false, true} {
		d := newDeadLetters(t, rig.RabbitMQ(t), "classic", nil)
		d.fill(600, 0)
		d.job.Params["canary"], d.job.Params["batch"], d.job.Params["rate"] = []int{}, 10, "1000/s"
		a := d.consume("captures")
		for kills := range 10 {
			d.job.Params["personal"] = !switched || kills%2 == 0
			cmd, stdout, stderr := d.start()
			if want := 50 * (kills + 1); !a.wait(want, 30*time.Second) {
				t.Fatalf("only %d of %d arrived: %s%s", a.count(), want, stdout, stderr)
			}
			cmd.Process.Kill()
			if cmd.Wait() == nil {
				t.Fatalf("the child ended by itself after %d kills", kills)
			}
		}
		wants(t, d.run(), api.ResultDone, map[string]string{"replayed": "600", "quarantined": "0", "in doubt": "0", "left": "0"})
		a.exactly(t, 600)
		if switched {
			continue
		}
		d.reconciled(map[string]int64{"done": 600})
		l, err := openLedger(d.job.Ledger)
		if err != nil {
			t.Fatal(err)
		}
		named, all := 0, 0
		err = l.db.QueryRow(`select count(*), sum(key || hash || note like '%m-%' or key not like 'p:%' and scope not like '%/notes') from ledger`).Scan(&all, &named)
		if err != nil || all < 600 || named > 0 {
			t.Errorf("%d of %d lines of the ledger name a message: %v", named, all, err)
		}
		l.db.Close()
	}
}

// Twins have no message id and the same payload: they cannot be told apart, and none may be lost or doubled.
func TestReplayKeepsTwinsApartOverKills(t *testing.T) {
	d := newDeadLetters(t, rig.RabbitMQ(t), "classic", nil)
	for range 600 {
		if err := d.ch.PublishWithContext(context.Background(), "", "captures.dlq", true, false, amqp.Publishing{Body: []byte(`{"tick":1}`), DeliveryMode: amqp.Persistent}); err != nil {
			t.Fatal(err)
		}
	}
	d.await("captures.dlq", 600)
	d.job.Params["orderBy"], d.job.Params["rate"], d.job.Params["batch"] = "", "1000/s", 10
	a := d.consume("captures")
	wants(t, d.killed(10, 600, a), api.ResultDone, map[string]string{"replayed": "600", "quarantined": "0"})
	if a.wait(601, time.Second); a.count() != 600 {
		t.Errorf("%d twins arrived, want 600", a.count())
	}
}

// A broker that dies in the middle may part a copy from its receipt. Then nothing is lost or doubled either: what cannot
// be told is in quarantine, and named.
func TestReplayOverBrokerCrashes(t *testing.T) {
	r := rig.OwnRabbitMQ(t)
	for round, kind := range []string{"classic", "quorum"} {
		if round > 0 {
			for _, q := range []string{"captures", "captures.dlq", "captures.dlq.quarantine"} {
				manage(t, r, http.MethodDelete, "/api/queues/"+r.VHost+"/"+q, nil, nil)
			}
		}
		d := newDeadLetters(t, r, kind, nil)
		d.fillConfirmed(2000)
		time.Sleep(6 * time.Second) // a broker that dies within seconds of a quorum queue's birth forgets the queue
		d.job.Params["idle"], d.job.Params["canary"], d.job.Params["batch"] = true, []int{}, 20
		ended := make(chan api.Outcome)
		go func() {
			out, err := d.job.run()
			if err != nil {
				t.Error(err)
			}
			ended <- out
		}()
		for deadline := time.Now().Add(10 * time.Second); d.ready("captures") < 300+rand.IntN(300) && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		r.Kill()
		r.Start(t)
		out := <-ended
		d.connect()
		if fact(out, "left") != "0" { // it gave up waiting for the broker: a repeat finishes it
			t.Logf("first attempt: %s: %s", out.Result, out.Text)
			out = d.run()
		}
		ids := map[string]int{}
		for _, queue := range []string{"captures", "captures.dlq", "captures.dlq.quarantine"} {
			for range d.ready(queue) {
				m, ok, err := d.ch.Get(queue, true)
				if err != nil || !ok {
					t.Fatalf("read %s: %v, %v", queue, ok, err)
				}
				ids[m.MessageId]++
			}
		}
		doubt := fact(out, "in doubt")
		t.Logf("%s: %s in doubt; %s", kind, doubt, out.Text)
		if len(ids) != 2000 {
			t.Errorf("%d of 2000 messages are left", len(ids))
		}
		twice := 0
		for _, n := range ids {
			if n > 1 {
				twice++
			}
		}
		if doubt == "0" && (twice > 0 || out.Result != api.ResultDone) || doubt != "0" && (out.Result != api.ResultUnknown || fact(out, "in doubt: message ids") == "") {
			t.Errorf("%d twice, %s in doubt: %+v", twice, doubt, out)
		}
	}
}

// fillConfirmed puts messages into the dead-letter queue and waits until they are on disk: what a broker dead-letters by itself
// it may lose in a crash.
func (d *deadLetters) fillConfirmed(n int) {
	d.t.Helper()
	confirms := d.ch.NotifyPublish(make(chan amqp.Confirmation, n))
	for i := range n {
		m := amqp.Publishing{MessageId: fmt.Sprintf("m-%d", i), Body: fmt.Appendf(nil, `{"order":"o-%d"}`, i), DeliveryMode: amqp.Persistent}
		if err := d.ch.PublishWithContext(context.Background(), "", "captures.dlq", true, false, m); err != nil {
			d.t.Fatal(err)
		}
	}
	for range n {
		if c := <-confirms; !c.Ack {
			d.t.Fatal("the broker refused a message")
		}
	}
	d.await("captures.dlq", n)
}

func TestReplayComesBackAfterALostConnection(t *testing.T) {
	d := newDeadLetters(t, rig.RabbitMQ(t), "classic", nil)
	d.fill(1000, 0)
	d.job.Params["canary"] = []int{}
	target, err := url.Parse(d.r.URL)
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(t, target.Host)
	d.job.AMQP = strings.Replace(d.r.URL, target.Host, w.addr, 1)
	a := d.consume("captures")
	ended := make(chan api.Outcome)
	go func() {
		out, err := d.job.run()
		if err != nil {
			t.Error(err)
		}
		ended <- out
	}()
	cuts := 0
	for _, at := range []int{100, 400, 700} {
		a.wait(at, 20*time.Second)
		cuts += w.cut()
	}
	out := <-ended
	if cuts < 3 {
		t.Errorf("%d connections were cut, want 3", cuts)
	}
	wants(t, out, api.ResultDone, map[string]string{"replayed": "1000", "left": "0"})
	a.exactly(t, 1000)
}

// wire is a stretch of network between us and a server that can be cut.
type wire struct {
	addr string
	mu   sync.Mutex
	ends []net.Conn
}

// newWire listens and passes everything on.
func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{addr: l.Addr().String()}
	t.Cleanup(func() { l.Close(); w.cut() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			w.mu.Lock()
			w.ends = append(w.ends, near, far)
			w.mu.Unlock()
			pass := func(dst, src net.Conn) {
				_, _ = io.Copy(dst, src) // a cut ends it
				dst.Close()
			}
			go pass(near, far)
			go pass(far, near)
		}
	}()
	return w
}

// cut breaks all connections and says how many.
func (w *wire) cut() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.ends) / 2
	for _, c := range w.ends {
		c.Close()
	}
	w.ends = nil
	return n
}

// manage calls the management API.
// policyShown waits until the management API shows a policy on a queue, which is some seconds after it was set.
func (d *deadLetters) policyShown(queue, policy string) {
	d.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		var shown struct {
			Policy string `json:"policy"`
		}
		manage(d.t, d.r, http.MethodGet, "/api/queues/"+d.r.VHost+"/"+queue, nil, &shown)
		if shown.Policy == policy {
			return
		}
	}
	d.t.Fatalf("the management API never showed policy %s on queue %s", policy, queue)
}

func manage(t *testing.T, r *rig.Rabbit, method, path string, body, into any) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(method, r.Management+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 && resp.StatusCode != http.StatusNotFound {
		t.Fatalf("%s %s: %s", method, path, resp.Status)
	}
	if into != nil {
		if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
			t.Fatal(err)
		}
	}
}

// A message that fails again is poison after so many replays; one run finds it out and quarantines it.
func TestReplayQuarantinesWhatComesBack(t *testing.T) {
	for _, attempts := range []int{1, 2} {
		t.Run(fmt.Sprint(attempts), func(t *testing.T) {
			d := newDeadLetters(t, rig.RabbitMQ(t), "classic", nil)
			d.fill(100, 5)
			d.job.Params["json"], d.job.Params["attempts"], d.job.Params["orderBy"], d.job.Params["stopAbove"] = false, attempts, "", "20%"
			d.job.Params["canary"] = []int{1}
			tried := map[string]int{}
			ch, err := d.conn.Channel()
			if err != nil {
				t.Fatal(err)
			}
			from, err := ch.Consume("captures", "", false, false, false, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan bool)
			go func() {
				defer close(ended)
				for m := range from {
					tried[m.MessageId]++
					if strings.HasPrefix(m.MessageId, "p-") {
						_ = m.Reject(false)
					} else {
						_ = m.Ack(false)
					}
				}
			}()
			wants(t, d.run(), api.ResultDone, map[string]string{"replayed": fmt.Sprint(100 + 5*attempts), "quarantined": "5", "left": "0"})
			d.await("captures.dlq.quarantine", 5)
			ch.Close()
			<-ended
			for id, n := range tried {
				if want := 1; n != want && !strings.HasPrefix(id, "p-") || strings.HasPrefix(id, "p-") && n != attempts {
					t.Errorf("%s was tried %d times", id, n)
				}
			}
			m, _, err := d.ch.Get("captures.dlq.quarantine", true)
			if err != nil || m.Headers["x-death"] == nil || !strings.Contains(fmt.Sprint(m.Headers["backstay-quarantine-reason"]), "came back") {
				t.Errorf("quarantined headers %v, %v", m.Headers, err)
			}
		})
	}
}

// A consumer that still has its bug sends the canary back: nothing more is sent.
func TestReplayStopsAtTheCanary(t *testing.T) {
	d := newDeadLetters(t, rig.RabbitMQ(t), "classic", nil)
	d.fill(200, 0)
	d.job.Params["canaryWait"] = "2s"
	ch, err := d.conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	from, err := ch.Consume("captures", "", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for m := range from {
			_ = m.Reject(false) // a channel that closed ends the loop
		}
	}()
	out := d.run()
	wants(t, out, api.ResultFailed, map[string]string{"replayed": "1", "came back": "1", "left": "200"})
	if !strings.Contains(out.Text, "came back") {
		t.Error(out.Text)
	}
	d.await("captures.dlq", 200)
}

func TestReplayBounds(t *testing.T) {
	d := newDeadLetters(t, rig.RabbitMQ(t), "classic", nil)
	d.fill(100, 0)
	t.Run("nobody consumes", func(t *testing.T) {
		out := d.run()
		wants(t, out, api.ResultRefused, map[string]string{"replayed": "0"})
	})
	a := d.consume("captures")
	next := func(key string) { d.job.Key, d.job.Items, d.job.Amount = key, 0, nil }
	t.Run("plan takes nothing", func(t *testing.T) {
		runner, done, err := d.job.runner()
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		e, err := runner.(playbooks.Planner).Plan(context.Background(), d.job.call())
		if err != nil || e.Items != 100 || e.Total != 100 || e.Noop {
			t.Errorf("%+v, %v", e, err)
		}
		d.await("captures.dlq", 100)
	})
	t.Run("items", func(t *testing.T) {
		next("items")
		d.job.Items = 30
		wants(t, d.run(), api.ResultDone, map[string]string{"replayed": "30", "left": "70"})
		wants(t, d.run(), api.ResultDone, map[string]string{"replayed": "30", "left": "70"}) // the same key: the bound is spent
	})
	t.Run("money without amounts", func(t *testing.T) {
		next("money")
		d.job.Amount = api.Money{"EUR": 2000}
		wants(t, d.run(), api.ResultRefused, map[string]string{})
	})
	t.Run("money", func(t *testing.T) {
		next("money")
		d.job.Amount, d.job.Params["amountFrom"], d.job.Params["currency"] = api.Money{"EUR": 2050}, "amount", "body:currency"
		out := d.run()
		wants(t, out, api.ResultFailed, map[string]string{"replayed": "20", "left": "50"})
		if out.Amount["EUR"] != 2000 {
			t.Errorf("amount %v", out.Amount)
		}
	})
	t.Run("filter", func(t *testing.T) {
		next("filter")
		d.job.Params["reasons"] = []string{"expired"}
		wants(t, d.run(), api.ResultDone, map[string]string{"replayed": "0", "left": "50"})
		d.job.Params["reasons"], d.job.Params["olderThan"] = []string{"rejected"}, "1h"
		wants(t, d.run(), api.ResultDone, map[string]string{"replayed": "0", "left": "50"})
	})
	t.Run("the rest", func(t *testing.T) {
		next("rest")
		delete(d.job.Params, "olderThan")
		wants(t, d.run(), api.ResultDone, map[string]string{"replayed": "50", "left": "0"})
		a.exactly(t, 100)
	})
	t.Run("no such queue", func(t *testing.T) {
		d.job.Params["to"] = "nowhere"
		next("nowhere")
		if out := d.run(); out.Result == api.ResultDone || out.Items != 0 {
			t.Errorf("%+v", out)
		}
	})
}

// What follows a quarantined message of the same order waits for a person.
func TestReplayHoldsAnOrderBack(t *testing.T) {
	d := newDeadLetters(t, rig.RabbitMQ(t), "classic", nil)
	for i := range 30 {
		body := `{"ok":true}`
		if i == 4 {
			body = "<not json"
		}
		m := amqp.Publishing{MessageId: fmt.Sprintf("m-%d", i), Headers: amqp.Table{"order-key": fmt.Sprintf("k-%d", i%3), "seq": int64(i / 3)}, Body: []byte(body), DeliveryMode: amqp.Persistent}
		if err := d.ch.PublishWithContext(context.Background(), "", "captures.dlq", true, false, m); err != nil {
			t.Fatal(err)
		}
	}
	d.await("captures.dlq", 30)
	a := d.consume("captures")
	wants(t, d.run(), api.ResultDone, map[string]string{"replayed": "21", "quarantined": "1", "left": "8"})
	d.await("captures.dlq", 8)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.times["m-1"] != 1 || a.times["m-7"] != 0 || len(a.disorder) > 0 {
		t.Errorf("m-1 %d times, m-7 %d times, disorder %v", a.times["m-1"], a.times["m-7"], a.disorder)
	}
}

// A queue with a length limit that rejects what is too much is filled only as far as it has room.
func TestReplayWaitsForRoom(t *testing.T) {
	for _, overflow := range []string{"reject-publish", "drop-head"} {
		t.Run(overflow, func(t *testing.T) {
			d := newDeadLetters(t, rig.RabbitMQ(t), "classic", nil)
			d.fill(200, 0)
			manage(t, d.r, http.MethodPut, "/api/policies/"+d.r.VHost+"/short", map[string]any{
				"pattern": "^captures$", "apply-to": "queues", "definition": map[string]any{"max-length": 40, "overflow": overflow}}, nil)
			d.policyShown("captures", "short")
			d.job.Params["idle"], d.job.Params["canary"] = true, []int{}
			ended := make(chan api.Outcome)
			go func() {
				out, err := d.job.run()
				if err != nil {
					t.Error(err)
				}
				ended <- out
			}()
			time.Sleep(1500 * time.Millisecond)
			if n := d.ready("captures"); n > 40 || n == 0 {
				t.Errorf("%d messages in a queue for 40", n)
			}
			a := d.consume("captures")
			wants(t, <-ended, api.ResultDone, map[string]string{"replayed": "200", "in doubt": "0", "left": "0"})
			a.exactly(t, 200)
		})
	}
}

func TestReroute(t *testing.T) {
	d := newDeadLetters(t, rig.RabbitMQ(t), "classic", nil)
	if err := d.ch.ExchangeDeclare("orders", "topic", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	d.declare("standby", nil)
	for _, key := range []string{"order.*", "refund.#"} {
		if err := d.ch.QueueBind("captures", key, "orders", false, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.ch.QueueBind("standby", "refund.#", "orders", false, nil); err != nil { // it had one of them before
		t.Fatal(err)
	}
	step := api.Step{Name: "r", Do: "reroute", With: api.ParamsOf(map[string]any{"exchange": "orders", "from": "captures", "to": "standby", "drain": "2s"})}
	runner, _, findings := playbooks.Build(step, rabbitEnv(d.r.URL, d.r.Management))
	if findings.Failed() {
		t.Fatal(findings)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	e, err := runner.(playbooks.Planner).Plan(ctx, playbooks.Call{})
	if err != nil {
		t.Fatal(err)
	}
	bound := func(queue string) (keys []string) {
		var list []struct {
			Key string `json:"routing_key"`
		}
		manage(t, d.r, http.MethodGet, "/api/bindings/"+d.r.VHost+"/e/orders/q/"+queue, nil, &list)
		for _, b := range list {
			keys = append(keys, b.Key)
		}
		slices.Sort(keys)
		return keys
	}
	call := playbooks.Call{Key: "k", Estimate: &e}
	for range 2 { // repeating it changes nothing
		wants(t, runner.Run(ctx, call), api.ResultDone, nil)
		if from, to := bound("captures"), bound("standby"); len(from) != 0 || fmt.Sprint(to) != "[order.* refund.#]" {
			t.Errorf("bindings: %v and %v", from, to)
		}
	}
	for range 2 {
		wants(t, runner.(playbooks.Undoer).Undo(ctx, call), api.ResultDone, nil)
		if from, to := bound("captures"), bound("standby"); fmt.Sprint(from) != "[order.* refund.#]" || fmt.Sprint(to) != "[refund.#]" {
			t.Errorf("bindings after undo: %v and %v", from, to)
		}
	}
	if err := d.ch.PublishWithContext(ctx, "orders", "order.1", true, false, amqp.Publishing{Body: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	d.await("captures", 1)
	wants(t, runner.Run(ctx, call), api.ResultFailed, nil) // nobody drains it
}
