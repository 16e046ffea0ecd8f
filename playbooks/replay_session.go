package playbooks

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	amqp "github.com/rabbitmq/amqp091-go"
)

// How a message is moved, and why nothing is lost or doubled when this process, or the connection, dies at any point.
//
// RabbitMQ has no command that moves a message. Publish, wait for the confirm, then acknowledge, is safe against loss, but a
// death between confirm and acknowledgement leaves a message of which nobody can say later whether it was published. Publish and
// acknowledge in one AMQP transaction closes that gap for a dying client, because the broker's channel process carries out a
// commit whole or not at all, but opens a worse one for a dying broker: the acknowledgement may be on disk before the copy is,
// and then the message is gone. So both halves are used, each for what it is good at:
//
//   - One commit holds the copies of a batch and, for each copy, a receipt: a small durable message in a queue of our own that
//     names the copy. To a client that dies, copies and receipts are there together or not at all.
//   - Only when the broker has answered that commit, so that the copies are on disk, does the NEXT commit acknowledge the dead
//     letters of the batch, together with their receipts. So at every moment each message is in FROM or in TO, safely.
//   - After a death the dead letters that were not acknowledged are delivered again. One that has a receipt was copied: only
//     its acknowledgement is missing. One without was not copied: it is moved now.
//   - The channel that commits is also the one exclusive consumer of the receipts. So becoming that consumer proves that the old
//     channel has ended, that no commit of it is still to come, and that all its receipts are there: the broker delivers what one
//     channel sends to one queue in order, its own end last. It also keeps two replays of one queue apart.
//
// What remains is a broker that dies, or calls a commit incomplete (a full queue that rejects), while that commit is under way:
// then receipt and copy may part. The ledger names the messages under way before each commit, and a transient marker among the
// receipts, which does not outlive the broker's queue, tells whether the broker died since. Such messages are never published
// again blindly: they go to quarantine, are reported as unknown, by id, and a person decides. A queue that vanishes between the
// commit and its answer while this process dies in the same instant is the one case in which a receipt could lie.

// refresh is the pause before the broker is asked again.
const refresh = 200 * time.Millisecond

// session is one connection's worth of a replay.
type session struct {
	*replaying
	conn     *amqp.Connection
	ch       *amqp.Channel // everything that changes anything goes through this one, in transactions
	returns  chan amqp.Return
	letters  *inbox
	slips    *inbox
	receipts map[string][]receipt // left by an earlier session, by mark
	stale    []uint64             // receipts that prove nothing any more; acknowledged with the next commit
	boot     string               // the life of the broker's queue
	start    int64                // messages in FROM when the session began
	seen     int64                // of them, looked at
	unacked  []move               // moved by the last commit; acknowledged by the next
	room     int64                // most messages TO may hold; -1 where it has no limit
	heldMax  int64
	held     int64           // looked at and left
	holding  map[string]bool // order values that are held back
	back     int64           // seen again after this run had replayed them
	acked    int64
}

// receipt says that a copy of a message was published, and what for.
type receipt struct {
	tag   uint64
	state string
}

// session connects, settles what was under way, and moves messages until there is nothing more to do.
func (w *replaying) session(ctx context.Context) error {
	rules, err := w.rules(ctx)
	if err != nil {
		return err
	}
	conn, err := w.rabbit.dial(ctx, "backstay replay "+w.p.From)
	if err != nil {
		return err
	}
	defer conn.Close()
	s := &session{replaying: w, conn: conn, receipts: map[string][]receipt{}, holding: map[string]bool{}, room: rules}
	for _, value := range w.progress.Held {
		s.holding[value] = true
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	return s.work(ctx)
}

// rules refuses queues whose own rules would lose messages, and gives the most messages that TO may hold.
func (w *replaying) rules(ctx context.Context) (room int64, err error) {
	from, err := w.rabbit.queue(ctx, w.p.From)
	if err != nil {
		return 0, asRefusal(err)
	}
	to, err := w.rabbit.queue(ctx, w.p.To)
	if err != nil {
		return 0, asRefusal(err)
	}
	if from.Type == "stream" || to.Type == "stream" {
		return 0, refuse("a stream is not a queue: nothing can be moved from or to it")
	}
	if limit := from.number("delivery-limit"); from.Type == "quorum" && limit >= 0 && from.text("dead-letter-exchange") == "" {
		return 0, refuse("queue %s drops a message that was handed back %d times, and replay hands back what it leaves: give it a dead-letter exchange or lift its delivery-limit", w.p.From, limit)
	}
	if to.number("max-length-bytes") >= 0 {
		return 0, refuse("queue %s has a max-length-bytes, so it may drop or reject what is moved there and replay cannot see how much room is left: lift it for the replay", w.p.To)
	}
	return to.number("max-length"), nil
}

// open reads the receipts, and starts to consume.
func (s *session) open(ctx context.Context) error {
	left, err := s.own(ctx)
	if err != nil {
		return err
	}
	for range left {
		got, err := s.slip(ctx, 10*time.Second)
		if err != nil {
			return err
		}
		if !got {
			return fmt.Errorf("read queue %s: it holds %d receipt(s) but did not deliver them all within 10s", s.p.receipts(), left)
		}
	}
	if err := s.mark(ctx); err != nil {
		return err
	}
	return s.consume(ctx)
}

// own becomes the only consumer of the receipts and counts those that an earlier session left. It waits while another
// session is alive, or not yet known to be dead.
func (s *session) own(ctx context.Context) (left int64, err error) {
	for {
		if left, err = s.tryOwn(); err == nil || !errors.Is(err, errOwned) {
			return left, err
		}
		if pause(ctx, refresh) != nil {
			return 0, refuse("another replay of queue %s is under way", s.p.From)
		}
	}
}

var errOwned = errors.New("the receipts have a consumer")

func (s *session) tryOwn() (left int64, err error) {
	if s.ch, err = s.conn.Channel(); err != nil {
		return 0, fmt.Errorf("open a channel: %w", redacted{err})
	}
	s.returns = s.ch.NotifyReturn(make(chan amqp.Return, 4096))
	if err := s.ch.Tx(); err != nil {
		return 0, fmt.Errorf("begin transactions: %w", redacted{err})
	}
	left, consumers, err := depth(s.conn, s.p.receipts())
	var none errNoQueue
	switch {
	case errors.As(err, &none):
		if _, err = s.ch.QueueDeclare(s.p.receipts(), true, false, false, false, nil); err != nil {
			return 0, fmt.Errorf("make queue %s: %w", s.p.receipts(), redacted{err})
		}
	case err != nil:
		return 0, err
	case consumers > 0:
		return 0, errOwned
	}
	from, err := s.ch.Consume(s.p.receipts(), "backstay-receipts", false, true, false, false, nil)
	if amqpCode(err) == amqp.AccessRefused && strings.Contains(err.Error(), "exclusive use") {
		return 0, errOwned
	}
	if err != nil {
		return 0, fmt.Errorf("consume queue %s: %w", s.p.receipts(), redacted{err})
	}
	s.slips = collect(from)
	return left, nil
}

// mark finds or leaves the marker of the life of the broker's queue: a transient message, which a restart removes.
func (s *session) mark(ctx context.Context) error {
	if s.boot != "" {
		return nil
	}
	s.boot = rand.Text()
	marker := amqp.Publishing{Type: "backstay-boot", MessageId: s.boot, DeliveryMode: amqp.Transient}
	if err := s.ch.PublishWithContext(ctx, "", s.p.receipts(), true, false, marker); err != nil {
		return fmt.Errorf("mark queue %s: %w", s.p.receipts(), redacted{err})
	}
	if err := s.ch.TxCommit(); err != nil {
		return fmt.Errorf("mark queue %s: %w", s.p.receipts(), redacted{err})
	}
	return nil
}

// slip takes one receipt, or the marker.
func (s *session) slip(ctx context.Context, wait time.Duration) (bool, error) {
	d, got, err := s.slips.next(ctx, wait)
	if err != nil || !got {
		return false, err
	}
	if d.Type == "backstay-boot" {
		s.boot = d.MessageId
	} else {
		state, _ := d.Headers["state"].(string)
		s.receipts[d.MessageId] = append(s.receipts[d.MessageId], receipt{d.DeliveryTag, state})
	}
	return true, nil
}

// consume checks that FROM has no other consumer, counts it and starts to consume it.
func (s *session) consume(ctx context.Context) error {
	var ready int64
	for try := 1; ; try++ {
		var consumers int
		var err error
		if ready, consumers, err = depth(s.conn, s.p.From); err != nil {
			return asRefusal(err)
		}
		if consumers == 0 { // whatever an earlier session held is back
			break
		}
		if try == 15 || pause(ctx, refresh) != nil {
			return refuse("queue %s has %d consumer(s) already: they would take messages out of order", s.p.From, consumers)
		}
	}
	s.start = ready
	if s.progress.Bound == 0 {
		s.progress.Bound = s.p.bound(ready, s.call.Items)
	}
	prefetch := 1000
	if len(s.p.Reasons) > 0 || s.p.OlderThan.Duration > 0 || s.p.YoungerThan.Duration > 0 || s.p.OrderBy != "" {
		prefetch = int(min(max(1000, ready+2*int64(s.p.Batch)), 20_000))
	}
	s.heldMax = int64(prefetch - 2*s.p.Batch)
	if s.heldMax < 1 {
		prefetch, s.heldMax = 2*s.p.Batch+1000, 1000
	}
	if err := s.ch.Qos(prefetch, 0, false); err != nil {
		return fmt.Errorf("bound what queue %s delivers: %w", s.p.From, redacted{err})
	}
	from, err := s.ch.Consume(s.p.From, "backstay-replay", false, true, false, false, nil)
	if err != nil {
		return fmt.Errorf("consume queue %s: %w", s.p.From, redacted{err})
	}
	s.letters = collect(from)
	return nil
}

// asRefusal makes a refusal of what waiting does not mend: a missing queue, a call that was answered with a no.
func asRefusal(err error) error {
	var none errNoQueue
	var no answered
	if errors.As(err, &none) || errors.As(err, &no) && no.result == api.ResultRefused && no.status != 0 {
		return refuse("%s", err)
	}
	return err
}

// commit moves a batch: intents into the ledger, copies and receipts into one transaction together with the
// acknowledgements of the batch before, then the results into the ledger.
func (s *session) commit(ctx context.Context, batch []move) error {
	began := time.Now()
	if err := s.intend(ctx, batch); err != nil {
		return err
	}
	for _, m := range batch {
		if m.to == "" {
			continue
		}
		quarantine := ""
		if m.to == s.p.Quarantine {
			quarantine = m.why
		}
		if err := s.publish(ctx, m.to, m.copy(s.call.Key, quarantine)); err != nil {
			return err
		}
		slip := amqp.Publishing{Type: "backstay-receipt", MessageId: m.mark, DeliveryMode: amqp.Persistent, Headers: amqp.Table{"state": m.state}}
		if err := s.publish(ctx, s.p.receipts(), slip); err != nil {
			return err
		}
	}
	if err := s.acknowledge(ctx); err != nil {
		return err
	}
	if err := s.ch.TxCommit(); err != nil {
		if amqpCode(err) == amqp.PreconditionFailed { // the broker says itself that not all of it was done
			s.flight.doubt()
			s.stop = fmt.Sprintf("the broker refused part of a batch for %s, which is perhaps full: nothing more was sent", s.p.To)
			return joinErrors(s.save(ctx, nil), fmt.Errorf("commit: %w", redacted{err}))
		}
		return fmt.Errorf("commit: %w", redacted{err})
	}
	s.unacked = batch
	err := s.conclude(ctx, batch)
	s.moving += time.Since(began)
	return err
}

func joinErrors(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

func (s *session) publish(ctx context.Context, queue string, m amqp.Publishing) error {
	if err := s.ch.PublishWithContext(ctx, "", queue, true, false, m); err != nil {
		return fmt.Errorf("publish to %s: %w", queue, redacted{err})
	}
	return nil
}

// intend records what the next commit will do.
func (s *session) intend(ctx context.Context, batch []move) error {
	if len(batch) == 0 {
		return nil
	}
	var rows []LedgerRow
	for i := range batch {
		m := &batch[i]
		m.row = s.row(*m, m.state)
		if !m.named() {
			m.row.Key += fmt.Sprintf(".%d", i)
		}
		if m.to == "" {
			continue
		}
		s.flight.settle(m.mark) // as an earlier session left it; it is under way anew
		row := m.row
		row.State = letterIntended
		rows = append(rows, row)
		s.flight.Open = append(s.flight.Open, openMark{m.mark, s.boot})
	}
	if len(rows) == 0 {
		return nil
	}
	return s.save(ctx, rows)
}

// acknowledge adds to the transaction: the dead letters that the last commit moved, their receipts, and stale receipts.
func (s *session) acknowledge(ctx context.Context) error {
	tags := s.stale
	for _, m := range s.unacked {
		tag := m.slip
		for tag == 0 && len(s.receipts[m.mark]) == 0 {
			got, err := s.slip(ctx, 10*time.Second)
			if err != nil {
				return err
			}
			if !got {
				return fmt.Errorf("wait for the receipt of a copy in %s: it did not come within 10s", s.p.receipts())
			}
		}
		if tag == 0 {
			tag = s.pop(m.mark).tag
		}
		tags = append(tags, tag)
		if m.state != letterReturned {
			tags = append(tags, m.DeliveryTag)
			s.acked++
		}
	}
	for _, tag := range tags {
		if err := s.ch.Ack(tag, false); err != nil {
			return fmt.Errorf("acknowledge: %w", redacted{err})
		}
	}
	s.unacked, s.stale = nil, nil
	return nil
}

// pop takes the oldest receipt of a mark.
func (s *session) pop(mark string) receipt {
	first := s.receipts[mark][0]
	if s.receipts[mark] = s.receipts[mark][1:]; len(s.receipts[mark]) == 0 {
		delete(s.receipts, mark)
	}
	return first
}

// conclude records what the commit did. What came back as unroutable is not moved: its receipt goes, it stays.
func (s *session) conclude(ctx context.Context, batch []move) error {
	back := map[string]bool{}
	for len(s.returns) > 0 {
		r := <-s.returns
		back[r.RoutingKey] = true
		s.stop = fmt.Sprintf("queue %s is gone: the broker returned what was sent there", r.RoutingKey)
	}
	var rows []LedgerRow
	for i := range batch {
		m := &batch[i]
		if m.counted {
			continue
		}
		s.flight.settle(m.mark)
		if m.to != "" && back[m.to] {
			m.state, m.row.State = letterReturned, letterReturned
		} else {
			s.progress.book(*m)
			s.moved++
		}
		rows = append(rows, m.row)
	}
	if len(rows) == 0 {
		return nil
	}
	return s.save(ctx, rows)
}

// flush acknowledges the last batch.
func (s *session) flush(ctx context.Context) error {
	if len(s.unacked)+len(s.stale) == 0 {
		return nil
	}
	return s.commit(ctx, nil)
}

// sweep takes away receipts that belong to no message any more; only after all of FROM was seen.
func (s *session) sweep() error {
	marks := make([]string, 0, len(s.receipts))
	for mark := range s.receipts { // sorted below
		marks = append(marks, mark)
	}
	slices.Sort(marks)
	for _, mark := range marks {
		for _, r := range s.receipts[mark] {
			if err := s.ch.Ack(r.tag, false); err != nil {
				return fmt.Errorf("acknowledge an old receipt: %w", redacted{err})
			}
		}
	}
	clear(s.receipts)
	if len(marks) == 0 {
		return nil
	}
	if err := s.ch.TxCommit(); err != nil {
		return fmt.Errorf("acknowledge old receipts: %w", redacted{err})
	}
	return nil
}
