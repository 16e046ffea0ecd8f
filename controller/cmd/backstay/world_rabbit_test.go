package main

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/backstay/backstay/controller/internal/rig"
)

// rabbitCommands are about messages that died.
//
//	rabbit                        a virtual host of a RabbitMQ broker: $AMQP, $MANAGEMENT, $METRICS and $VHOST
//	letters bug GOOD POISON DB    publishes messages in ten orders, poison between them, and lets a consumer with a bug reject
//	                              them all; the good ones are in table sent of an SQLite file
//	letters consume               a consumer without the bug; what arrives is in table arrived
//	letters killed N              N times: waits until more have arrived, kills backstay in the middle, and starts it again
//	letters arrived N             fails unless N messages have arrived, each once, in the order of their keys
//	queue NAME N                  fails unless a queue holds N messages
var rabbitCommands = map[string]command{"rabbit": cmdRabbit, "letters": cmdLetters, "queue": cmdQueue}

// letters is a queue, its dead letters, and those who work on it.
type letters struct {
	conn *amqp.Connection
	ch   *amqp.Channel
	db   *sql.DB

	mu       sync.Mutex
	times    map[string]int
	last     map[string]int64
	disorder []string
	failed   error
}

func cmdRabbit(ts *testscript.TestScript, _ bool, _ []string) {
	w := worldOf(ts)
	r := rig.RabbitMQ(w.t)
	for name, value := range map[string]string{"AMQP": r.URL, "MANAGEMENT": r.Management, "METRICS": r.Prometheus, "VHOST": r.VHost} {
		ts.Setenv(name, value)
	}
	conn, err := amqp.Dial(r.URL)
	ts.Check(err)
	w.t.Cleanup(func() { conn.Close() })
	l := &letters{conn: conn, times: map[string]int{}, last: map[string]int64{}}
	l.ch, err = conn.Channel()
	ts.Check(err)
	for name, args := range map[string]amqp.Table{
		"captures":     {"x-queue-type": "quorum", "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "captures.dlq"},
		"captures.dlq": {"x-queue-type": "quorum"},
	} {
		_, err := l.ch.QueueDeclare(name, true, false, false, false, args)
		ts.Check(err)
	}
	w.letters = l
}

func cmdQueue(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, len(args) == 2, "queue NAME N")
	n := worldOf(ts).letters.depth(ts, args[0])
	if n != number(ts, args[1]) {
		ts.Fatalf("queue %s holds %d messages", args[0], n)
	}
}

func (l *letters) depth(ts *testscript.TestScript, queue string) int {
	q, err := l.ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	ts.Check(err)
	return q.Messages
}

func cmdLetters(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, len(args) >= 1, "letters bug|consume|killed|arrived ...")
	w := worldOf(ts)
	l := w.letters
	switch args[0] {
	case "bug":
		usage(ts, len(args) == 4, "letters bug GOOD POISON DB")
		l.db = openSQL(ts, args[3])
		w.t.Cleanup(func() { l.db.Close() })
		_, err := l.db.Exec("create table sent (id text primary key); create table arrived (id text not null)")
		ts.Check(err)
		l.fill(ts, number(ts, args[1]), number(ts, args[2]))
	case "consume":
		from, err := l.ch.Consume("captures", "", false, false, false, false, nil)
		ts.Check(err)
		go func() {
			for m := range from {
				l.take(m)
				_ = m.Ack(false) // a channel that closed ends the loop
			}
		}()
	case "killed":
		usage(ts, len(args) == 2 && w.running != nil, "letters killed N, while backstay runs")
		for range number(ts, args[1]) {
			l.more(ts, 10)
			_ = w.running.stop(syscall.SIGKILL) // it ends by the signal
			w.running = nil
			ts.Check(w.start(ts))
		}
		fmt.Fprintf(ts.Stdout(), "killed %s times; %d have arrived\n", args[1], l.count())
	case "arrived":
		usage(ts, len(args) == 2, "letters arrived N")
		l.judge(ts, number(ts, args[1]))
	default:
		ts.Fatalf("letters: no such verb: %s", args[0])
	}
}

// fill publishes, and rejects all of it as a consumer with a bug would.
func (l *letters) fill(ts *testscript.TestScript, good, poison int) {
	publish := func(m amqp.Publishing) {
		m.DeliveryMode = amqp.Persistent
		ts.Check(l.ch.PublishWithContext(context.Background(), "", "captures", true, false, m))
	}
	for i := range good {
		id := fmt.Sprintf("m-%d", i)
		_, err := l.db.Exec("insert into sent values (?)", id)
		ts.Check(err)
		publish(amqp.Publishing{MessageId: id, Headers: amqp.Table{"order-key": fmt.Sprintf("k-%d", i%10), "seq": int64(i / 10)}, Body: fmt.Appendf(nil, `{"order": %q, "amount": 100}`, id)})
		if poison > 0 && i%(good/poison) == good/poison/2 && i/(good/poison) < poison {
			publish(amqp.Publishing{MessageId: fmt.Sprintf("p-%d", i), Body: []byte("<not json")})
		}
	}
	ch, err := l.conn.Channel()
	ts.Check(err)
	from, err := ch.Consume("captures", "buggy", false, false, false, false, nil)
	ts.Check(err)
	for range good + poison {
		ts.Check((<-from).Reject(false))
	}
	for end := time.Now().Add(20 * time.Second); l.depth(ts, "captures.dlq") != good+poison; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("%d dead letters, want %d", l.depth(ts, "captures.dlq"), good+poison)
		}
	}
	ts.Check(ch.Close())
}

func (l *letters) take(m amqp.Delivery) {
	_, err := l.db.Exec("insert into arrived values (?)", m.MessageId)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed = err
	}
	l.times[m.MessageId]++
	key, _ := m.Headers["order-key"].(string) // poison has none, and must not come
	seq, _ := m.Headers["seq"].(int64)
	if last, seen := l.last[key]; seen && seq <= last {
		l.disorder = append(l.disorder, fmt.Sprintf("%s: %d after %d", key, seq, last))
	}
	l.last[key] = seq
}

func (l *letters) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.times)
}

// more waits until at least n more have arrived than now.
func (l *letters) more(ts *testscript.TestScript, n int) {
	want := l.count() + n
	for end := time.Now().Add(30 * time.Second); l.count() < want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("only %d messages have arrived; %d were expected by now", l.count(), want)
		}
	}
}

func (l *letters) judge(ts *testscript.TestScript, want int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ts.Check(l.failed)
	twice := 0
	for _, n := range l.times {
		if n > 1 {
			twice++
		}
	}
	fmt.Fprintf(ts.Stdout(), "%d arrived, %d twice, %d out of order\n", len(l.times), twice, len(l.disorder))
	if len(l.times) != want || twice > 0 || len(l.disorder) > 0 {
		ts.Fatalf("%d arrived, %d twice, out of order: %v", len(l.times), twice, l.disorder)
	}
}
