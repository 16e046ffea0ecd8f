package controller_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/rig"
	"github.com/backstay/backstay/playbooks"
	amqp "github.com/rabbitmq/amqp091-go"
	_ "modernc.org/sqlite"
)

// TestMain lets a test start this binary again as a process that it may kill.
func TestMain(m *testing.M) {
	if text := os.Getenv("BACKSTAY_TEST_REPLAY"); text != "" {
		os.Exit(replayChild(text))
	}
	os.Exit(m.Run())
}

// replayJob is what a child process is to do.
type replayJob struct {
	AMQP, Management, Ledger, Key string
	Params                        map[string]any
	Items                         int64
	Amount                        api.Money
	Timeout                       time.Duration
}

// replayChild runs one replay and prints its outcome.
func replayChild(text string) int {
	var job replayJob
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	out, err := job.run()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (j replayJob) runner() (playbooks.Runner, func(), error) {
	ledger, err := openLedger(j.Ledger)
	if err != nil {
		return nil, nil, err
	}
	env := rabbitEnv(j.AMQP, j.Management)
	env.Ledger = ledger
	step := api.Step{Name: "replay", Do: "replay", With: api.ParamsOf(j.Params), Timeout: api.Duration{Duration: j.Timeout}}
	runner, _, findings := playbooks.Build(step, env)
	if findings.Failed() {
		ledger.db.Close()
		return nil, nil, findings
	}
	return runner, func() { ledger.db.Close() }, nil
}

func (j replayJob) call() playbooks.Call {
	return playbooks.Call{Key: j.Key, Remediation: "rem-1", Step: "replay", Items: j.Items, Amount: j.Amount}
}

func (j replayJob) run() (api.Outcome, error) {
	runner, done, err := j.runner()
	if err != nil {
		return api.Outcome{}, err
	}
	defer done()
	ctx, cancel := context.WithTimeout(context.Background(), j.Timeout)
	defer cancel()
	return runner.Run(ctx, j.call()), nil
}

// rabbitEnv is an environment with one integration: a broker.
func rabbitEnv(amqpURL, management string) *playbooks.Env {
	broker := api.Integration{Metadata: api.Metadata{Name: "broker"}, Spec: api.IntegrationSpec{Endpoints: []api.Endpoint{
		{Name: "amqp", URL: api.Secret{Text: amqpURL}}, {Name: "management", URL: api.Secret{Text: management}},
	}}}
	return &playbooks.Env{
		Integration:  func(name string) (api.Integration, bool) { return broker, name == "broker" },
		Integrations: func() []api.Integration { return []api.Integration{broker} },
		Secret:       func(s api.Secret) (string, error) { return s.Text, nil },
		HTTP:         playbooks.NewOutbound(),
		Personal: func(key string) string {
			return fmt.Sprintf("p:%x", sha256.Sum256([]byte("key of the folder "+key)))[:18]
		},
	}
}

// fileLedger is the ledger on SQLite, as durable as the real one.
type fileLedger struct{ db *sql.DB }

func openLedger(path string) (*fileLedger, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return nil, err
	}
	_, err = db.Exec(`create table if not exists ledger (scope text, key text, state text, hash text, run text, note text, at text, primary key (scope, key))`)
	return &fileLedger{db}, err
}

func (l *fileLedger) Get(ctx context.Context, scope, key string) (playbooks.LedgerRow, error) {
	row := playbooks.LedgerRow{Scope: scope, Key: key}
	err := l.db.QueryRowContext(ctx, `select state, hash, run, note from ledger where scope = ? and key = ?`, scope, key).Scan(&row.State, &row.Hash, &row.Run, &row.Note)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return row, err
}

func (l *fileLedger) Put(ctx context.Context, rows ...playbooks.LedgerRow) error {
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, r := range rows {
		if _, err := tx.ExecContext(ctx, `insert or replace into ledger values (?, ?, ?, ?, ?, ?, ?)`, r.Scope, r.Key, r.State, r.Hash, r.Run, r.Note, r.At.Format(time.RFC3339Nano)); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (l *fileLedger) Count(ctx context.Context, scope string) (map[string]int64, error) {
	rows, err := l.db.QueryContext(ctx, `select state, count(*) from ledger where scope = ? group by state`, scope)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	counts := map[string]int64{}
	for rows.Next() {
		var state string
		var n int64
		if err := rows.Scan(&state, &n); err != nil {
			return nil, err
		}
		counts[state] = n
	}
	return counts, rows.Err()
}

// deadLetters is a queue with a dead-letter queue behind it, on a real broker.
type deadLetters struct {
	t    *testing.T
	r    *rig.Rabbit
	conn *amqp.Connection
	ch   *amqp.Channel
	job  replayJob
}

// newDeadLetters makes queues captures and captures.dlq of the given type, with some more arguments for captures.
func newDeadLetters(t *testing.T, r *rig.Rabbit, kind string, arguments amqp.Table) *deadLetters {
	t.Helper()
	d := &deadLetters{t: t, r: r, job: replayJob{
		AMQP: r.URL, Management: r.Management, Ledger: filepath.Join(t.TempDir(), "ledger.db"), Key: "key-1", Timeout: time.Minute,
		Params: map[string]any{"from": "captures.dlq", "to": "captures", "canaryWait": "200ms", "json": true, "orderBy": "header:order-key"},
	}}
	d.connect()
	args := amqp.Table{"x-queue-type": kind, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "captures.dlq"}
	for name, value := range arguments {
		args[name] = value
	}
	d.declare("captures", args)
	d.declare("captures.dlq", amqp.Table{"x-queue-type": kind})
	return d
}

func (d *deadLetters) connect() {
	d.t.Helper()
	var err error
	if d.conn, err = amqp.Dial(d.r.URL); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { d.conn.Close() })
	if d.ch, err = d.conn.Channel(); err != nil {
		d.t.Fatal(err)
	}
	if err := d.ch.Confirm(false); err != nil {
		d.t.Fatal(err)
	}
}

func (d *deadLetters) declare(name string, args amqp.Table) {
	d.t.Helper()
	if _, err := d.ch.QueueDeclare(name, true, false, false, false, args); err != nil {
		d.t.Fatal(err)
	}
}

func (d *deadLetters) ready(queue string) int {
	d.t.Helper()
	q, err := d.ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	return q.Messages
}

// await waits until a queue holds so many messages.
func (d *deadLetters) await(queue string, n int) {
	d.t.Helper()
	for range 400 {
		if d.ready(queue) == n {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	d.t.Fatalf("queue %s holds %d messages, want %d", queue, d.ready(queue), n)
}

// fill publishes good messages in ten orders and poison between them, and lets a consumer with a bug reject them all.
func (d *deadLetters) fill(good, poison int) {
	d.t.Helper()
	publish := func(m amqp.Publishing) {
		m.DeliveryMode = amqp.Persistent
		if err := d.ch.PublishWithContext(context.Background(), "", "captures", true, false, m); err != nil {
			d.t.Fatal(err)
		}
	}
	confirms := d.ch.NotifyPublish(make(chan amqp.Confirmation, good+poison))
	for i := range good {
		publish(amqp.Publishing{
			MessageId: fmt.Sprintf("m-%d", i), Headers: amqp.Table{"order-key": fmt.Sprintf("k-%d", i%10), "seq": int64(i / 10)},
			Body: fmt.Appendf(nil, `{"order":"o-%d","amount":100,"currency":"EUR"}`, i), ContentType: "application/json",
		})
		if poison > 0 && i%(good/poison) == good/poison/2 && i/(good/poison) < poison {
			publish(amqp.Publishing{MessageId: fmt.Sprintf("p-%d", i), Body: []byte("<not json"), Headers: amqp.Table{"seq": int64(0)}})
		}
	}
	for range good + poison {
		if c := <-confirms; !c.Ack {
			d.t.Fatal("the broker refused a message")
		}
	}
	ch, err := d.conn.Channel()
	if err != nil {
		d.t.Fatal(err)
	}
	from, err := ch.Consume("captures", "buggy", false, false, false, false, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	for range good + poison {
		if err := (<-from).Reject(false); err != nil {
			d.t.Fatal(err)
		}
	}
	d.await("captures.dlq", good+poison)
	if err := ch.Close(); err != nil {
		d.t.Fatal(err)
	}
}

// arrivals is a consumer that is well: it counts what comes and checks the order.
type arrivals struct {
	mu       sync.Mutex
	times    map[string]int
	last     map[string]int64
	disorder []string
	total    int
	headers  map[string]amqp.Table
}

func (d *deadLetters) consume(queue string) *arrivals {
	d.t.Helper()
	a := &arrivals{times: map[string]int{}, last: map[string]int64{}, headers: map[string]amqp.Table{}}
	ch, err := d.conn.Channel()
	if err != nil {
		d.t.Fatal(err)
	}
	from, err := ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	go func() {
		for m := range from {
			a.take(m)
			_ = m.Ack(false) // a channel that closed ends the loop
		}
	}()
	return a
}

func (a *arrivals) take(m amqp.Delivery) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.total++
	a.times[m.MessageId]++
	a.headers[m.MessageId] = m.Headers
	key, _ := m.Headers["order-key"].(string)
	seq, _ := m.Headers["seq"].(int64)
	if last, seen := a.last[key]; seen && seq <= last && key != "" {
		a.disorder = append(a.disorder, fmt.Sprintf("%s: %d after %d", key, seq, last))
	}
	a.last[key] = seq
}

func (a *arrivals) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.total
}

// wait waits for n arrivals; false when they do not come in time.
func (a *arrivals) wait(n int, limit time.Duration) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if a.count() >= n {
			return true
		}
	}
	return a.count() >= n
}

// exactly checks that each good message arrived once, in order.
func (a *arrivals) exactly(t *testing.T, good int) {
	t.Helper()
	a.wait(good, 5*time.Second)
	a.mu.Lock()
	defer a.mu.Unlock()
	lost, twice := 0, 0
	for i := range good {
		switch n := a.times[fmt.Sprintf("m-%d", i)]; {
		case n == 0:
			lost++
		case n > 1:
			twice++
		}
	}
	if lost > 0 || twice > 0 || a.total != good || len(a.disorder) > 0 {
		t.Errorf("%d lost, %d twice, %d arrivals of %d, %d out of order: %.5q", lost, twice, a.total, good, len(a.disorder), a.disorder)
	}
}

// start starts a child process that replays.
func (d *deadLetters) start() (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	d.t.Helper()
	text, err := json.Marshal(d.job)
	if err != nil {
		d.t.Fatal(err)
	}
	cmd, stdout, stderr = exec.Command(os.Args[0]), &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Env = append(os.Environ(), "BACKSTAY_TEST_REPLAY="+string(text))
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	return cmd, stdout, stderr
}

// killed replays in child processes that are killed so many times on the way, then lets one finish.
func (d *deadLetters) killed(kills, good int, a *arrivals) (out api.Outcome) {
	d.t.Helper()
	real := 0
	for i := 1; real < kills; i++ {
		cmd, stdout, stderr := d.start()
		want := good * real / (kills + 1)
		if !a.wait(min(want+1, good), 30*time.Second) {
			d.t.Fatalf("only %d of %d arrived: %s%s", a.count(), want, stdout, stderr)
		}
		time.Sleep(time.Duration(rand.IntN(4000)) * time.Microsecond)
		cmd.Process.Kill()
		if err := cmd.Wait(); err == nil {
			d.t.Fatalf("the child ended by itself after %d kills, at %d arrivals: too fast to be killed\n%s", real, a.count(), stdout)
		}
		real++
	}
	cmd, stdout, stderr := d.start()
	if err := cmd.Wait(); err != nil {
		d.t.Fatalf("replay: %v\n%s", err, stderr)
	}
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil {
		d.t.Fatalf("read the outcome: %v\n%s", err, stdout)
	}
	return out
}

// reconciled checks the ledger against what is known.
func (d *deadLetters) reconciled(want map[string]int64) {
	d.t.Helper()
	l, err := openLedger(d.job.Ledger)
	if err != nil {
		d.t.Fatal(err)
	}
	defer l.db.Close()
	got, err := l.Count(context.Background(), "replay/broker/captures.dlq")
	if err != nil {
		d.t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		d.t.Errorf("ledger has %v, want %v", got, want)
	}
}

func fact(o api.Outcome, name string) string {
	i := slices.IndexFunc(o.Facts, func(f api.Fact) bool { return f.Name == name })
	if i < 0 {
		return ""
	}
	return o.Facts[i].Value
}

func TestReplayIsKilledTenTimes(t *testing.T) {
	for _, kind := range []string{"classic", "quorum"} {
		t.Run(kind, func(t *testing.T) {
			d := newDeadLetters(t, rig.RabbitMQ(t), kind, nil)
			d.fill(500, 7)
			d.job.Params["rate"], d.job.Params["batch"] = "1000/s", 10
			a := d.consume("captures")
			out := d.killed(10, 500, a)
			a.exactly(t, 500)
			if out.Result != api.ResultDone || fact(out, "replayed") != "500" || fact(out, "quarantined") != "7" || out.Items != 507 {
				t.Errorf("outcome: %+v", out)
			}
			d.await("captures.dlq.quarantine", 7)
			d.await("captures.dlq", 0)
			d.await("captures", 0)
			d.await("backstay.receipts.captures.dlq", 1) // the marker of the queue's life
			d.reconciled(map[string]int64{"done": 500, "quarantined": 7})
		})
	}
}

// TestReplaySpeed prints how fast messages move; it checks that all of them do.
func TestReplaySpeed(t *testing.T) {
	for _, kind := range []string{"classic", "quorum"} {
		d := newDeadLetters(t, rig.RabbitMQ(t), kind, nil)
		d.fill(5000, 0)
		a := d.consume("captures")
		began := time.Now()
		out, err := d.job.run()
		if err != nil {
			t.Fatal(err)
		}
		a.exactly(t, 5000)
		if out.Result != api.ResultDone {
			t.Errorf("outcome: %+v", out)
		}
		t.Logf("%s: %s messages/s, %s with canary and last look; %s", kind, fact(out, "messages per second"), time.Since(began).Round(time.Millisecond), strings.TrimSpace(out.Text))
	}
}
