package playbooks

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// phase says which messages are taken.
type phase int

const (
	mainPass   phase = iota // those that waited when the session began
	returned                // only those that this run replayed and that came back
	settleOnly              // only those that an earlier session left under way
)

// work moves messages until the bound, the end of the queue, or a reason to stop.
func (s *session) work(ctx context.Context) error {
	if err := s.prepare(); err != nil {
		return err
	}
	if s.stop != "" {
		if err := s.pass(ctx, settleOnly); err != nil {
			return err
		}
		return s.finish(ctx)
	}
	if err := s.pass(ctx, mainPass); err != nil {
		return err
	}
	for round := 0; s.stop == "" && round <= s.p.Attempts && s.progress.Replayed > 0; round++ {
		before := s.moved
		if err := s.watch(ctx); err != nil {
			return err
		}
		if s.stop != "" || s.seen < s.start {
			break
		}
		if err := s.pass(ctx, returned); err != nil {
			return err
		}
		if s.moved == before {
			break
		}
	}
	return s.finish(ctx)
}

// prepare checks the queues that messages go to.
func (s *session) prepare() error {
	_, consumers, err := depth(s.conn, s.p.To)
	if err != nil {
		return asRefusal(err)
	}
	if consumers == 0 && !s.p.Idle && s.stop == "" && s.start > 0 {
		return refuse("nobody consumes queue %s: start its consumer first, or set idle", s.p.To)
	}
	_, _, err = depth(s.conn, s.p.Quarantine)
	var none errNoQueue
	if !errors.As(err, &none) {
		return err
	}
	if _, err := s.ch.QueueDeclare(s.p.Quarantine, true, false, false, false, nil); err != nil {
		return fmt.Errorf("make queue %s: %w", s.p.Quarantine, redacted{err})
	}
	return nil
}

// finish acknowledges the last batch and counts what is left.
func (s *session) finish(ctx context.Context) error {
	if err := s.flush(ctx); err != nil {
		return err
	}
	if s.seen >= s.start && len(s.flight.Open) == 0 {
		if err := s.sweep(); err != nil {
			return err
		}
	}
	received := s.letters.received() // before the rest is counted: what arrives in between must not count twice
	ready, _, err := depth(s.conn, s.p.From)
	if err != nil {
		return err
	}
	s.left, s.finished = max(s.start, ready+received)-s.acked, true
	return nil
}

// pass takes messages batch by batch. Waves of the canary end with a look at what came back.
func (s *session) pass(ctx context.Context, which phase) error {
	looked := time.Now()
	for s.stop == "" || which == settleOnly {
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < 1500*time.Millisecond {
			s.stop = joinText(s.stop, "the step's time was over: run it again for the rest")
			return nil
		}
		most := s.p.Batch
		if s.room >= 0 {
			most = min(most, max(1, int(s.room/2))) // a batch that is larger than the queue would wait for ever
		}
		inWave := s.progress.Wave < len(s.p.Canary)
		if inWave && s.progress.InWave >= s.p.Canary[s.progress.Wave] { // cut off while it waited
			if err := s.endWave(ctx); err != nil {
				return err
			}
			continue
		}
		if inWave {
			most = min(most, s.p.Canary[s.progress.Wave]-s.progress.InWave)
		} else if !s.p.Rate.IsZero() {
			most = min(most, max(1, int(s.p.Rate.PerSecond()/10)))
		}
		batch, err := s.gather(ctx, most, which)
		if err != nil || len(batch) == 0 {
			return err
		}
		if err := s.throttle(ctx, batch); err != nil {
			return err
		}
		if err := s.commit(ctx, batch); err != nil {
			return err
		}
		switch {
		case inWave && s.progress.InWave >= s.p.Canary[s.progress.Wave]:
			err = s.endWave(ctx)
		case time.Since(looked) > time.Second:
			looked = time.Now()
			err = s.look()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// endWave waits and looks whether the canary came back.
func (s *session) endWave(ctx context.Context) error {
	if err := s.flush(ctx); err != nil {
		return err
	}
	if err := s.watch(ctx); err != nil || s.stop != "" {
		return err
	}
	s.progress.Wave++
	s.progress.InWave = 0
	return s.save(ctx, nil)
}

// throttle waits until the rate, and the room in TO, allow a batch.
func (s *session) throttle(ctx context.Context, batch []move) error {
	copies := int64(0)
	for _, m := range batch {
		if m.to != s.p.To {
			continue
		}
		copies++
		if err := s.limiter.Wait(ctx); err != nil {
			return fmt.Errorf("wait for the rate: %w", err)
		}
	}
	for s.room >= 0 && copies > 0 {
		ready, _, err := depth(s.conn, s.p.To)
		if err != nil {
			return asRefusal(err)
		}
		if ready+copies <= s.room {
			return nil
		}
		if err := pause(ctx, refresh); err != nil {
			return fmt.Errorf("wait for room in queue %s, which holds at most %d: %w", s.p.To, s.room, err)
		}
	}
	return nil
}

// gather takes the next messages that are to be moved, at most so many of them to TO.
func (s *session) gather(ctx context.Context, most int, which phase) ([]move, error) {
	var batch []move
	copies := 0
	for copies < most && len(batch) < s.p.Batch {
		if which == mainPass && (s.seen >= s.start || s.progress.Taken+int64(copies) >= s.progress.Bound) || which == settleOnly && len(s.flight.Open) == 0 {
			break
		}
		wait := 10 * time.Millisecond
		if len(batch) == 0 {
			wait = time.Second
		}
		if which == returned {
			wait = 10 * time.Millisecond
		}
		d, got, err := s.letters.next(ctx, wait)
		if err != nil {
			return nil, err
		}
		if !got {
			break
		}
		s.seen++
		m, taken, err := s.judge(ctx, s.take(d), which)
		if err != nil {
			return nil, err
		}
		if taken && m.to == s.p.To && s.overMoney(batch, m) {
			taken, s.stop = false, fmt.Sprintf("one more message would exceed the limit of %s", s.call.Amount)
		}
		if !taken {
			if s.held++; s.held >= s.heldMax {
				s.stop = fmt.Sprintf("%d messages were left aside, more than can be held at once", s.held)
			}
			if s.stop != "" && which != settleOnly {
				break
			}
			continue
		}
		if m.to == s.p.To {
			copies++
		}
		batch = append(batch, m)
	}
	return batch, nil
}

// overMoney tells whether one more message would exceed the caller's bound.
func (s *session) overMoney(batch []move, m move) bool {
	sum := s.progress.Amount.Plus(m.amount)
	for _, b := range batch {
		if b.to == s.p.To {
			sum = sum.Plus(b.amount)
		}
	}
	return sum.Exceeds(s.call.Amount)
}

// judge decides what becomes of one message: moved, or left (false).
func (s *session) judge(ctx context.Context, l letter, which phase) (move, bool, error) {
	if l.ours {
		s.back++
	}
	if l.was != "" {
		if _, before := s.flight.open(l.was); before || len(s.receipts[l.was]) > 0 {
			l.mark = l.was // under way since then
		}
	}
	under, open := s.flight.open(l.mark)
	if len(s.receipts[l.mark]) > 0 && (!open || under.Boot == s.boot) {
		r := s.pop(l.mark)
		m := move{letter: l, state: r.state, slip: r.tag, counted: !open, why: "found copied after a break"}
		if r.state != letterDone {
			s.hold(l)
		}
		return m, true, nil
	}
	if open && under.Boot != s.boot {
		for len(s.receipts[l.mark]) > 0 {
			s.stale = append(s.stale, s.pop(l.mark).tag)
		}
		s.hold(l)
		return move{letter: l, to: s.p.Quarantine, state: letterUnknown, why: "in doubt: the broker failed while this was being replayed"}, true, nil
	}
	if which == settleOnly && !open || which == returned && !l.ours {
		return move{}, false, nil
	}
	if l.named() && !open {
		if again, err := s.seenBefore(ctx, l); err != nil {
			return move{}, false, err
		} else if again {
			s.hold(l)
			return move{letter: l, to: s.p.Quarantine, state: letterQuarantined, why: "was replayed already and is here again without the mark of its replay"}, true, nil
		}
	}
	switch why := s.p.poison(l); {
	case l.ordered && s.holding[l.order]:
		return move{}, false, nil
	case !s.p.wanted(l, time.Now()):
		if l.ordered {
			s.holding[l.order] = true // while it is here: a later run sees it again
		}
		return move{}, false, nil
	case why != "":
		s.hold(l)
		return move{letter: l, to: s.p.Quarantine, state: letterQuarantined, why: why}, true, nil
	}
	return move{letter: l, to: s.p.To, state: letterDone}, true, nil
}

// hold keeps back later messages with the same order value, also in later attempts of this run.
func (s *session) hold(l letter) {
	if l.ordered && !s.holding[l.order] {
		s.holding[l.order] = true
		s.progress.Held = append(s.progress.Held, l.order)
	}
}

// seenBefore asks the ledger. A person may put a quarantined message back by hand: it carries the reason for its quarantine
// and is judged anew.
func (s *session) seenBefore(ctx context.Context, l letter) (bool, error) {
	row, err := s.rabbit.env.Ledger.Get(ctx, s.scope(), l.key)
	if err == nil && row.State == "" && l.was != "" {
		row, err = s.rabbit.env.Ledger.Get(ctx, s.scope(), l.was)
	}
	if err != nil {
		return false, fmt.Errorf("read the replay ledger: %w", err)
	}
	_, byHand := l.Headers[headerReason]
	switch row.State {
	case "", letterReturned:
		return false, nil
	case letterDone:
		return true, nil
	}
	return !byHand, nil
}

// watch waits for canaryWait and looks whether too much comes back.
func (s *session) watch(ctx context.Context) error {
	until := time.Now().Add(s.p.CanaryWait.Duration)
	for s.stop == "" {
		if err := s.look(); err != nil {
			return err
		}
		left := time.Until(until)
		if left <= 0 {
			return nil
		}
		if pause(ctx, min(left, refresh)) != nil {
			s.stop = "the step's time was over while waiting whether the messages come back"
		}
	}
	return nil
}

// look stops the run when too much of what was replayed came back, or when nobody is left to work on it. While part of
// FROM is still out of sight, anything that arrives there counts as come back: it may be.
func (s *session) look() error {
	received := s.letters.received() // before the rest is counted: what arrives in between must not count twice
	ready, _, err := depth(s.conn, s.p.From)
	if err != nil {
		return err
	}
	_, consumers, err := depth(s.conn, s.p.To)
	if err != nil {
		return err
	}
	back := s.back + s.letters.count(func(d amqp.Delivery) bool { return s.p.read(d, s.call.Key).ours })
	if ready > 0 {
		back = max(back, ready+received-s.start)
	}
	s.cameBack = max(s.cameBack, back)
	switch {
	case back > 0 && float64(back) > s.p.StopAbove.Ratio()*float64(s.progress.Replayed):
		s.stop = fmt.Sprintf("stopped: %d of %d replayed message(s) came back to %s, more than %s", back, s.progress.Replayed, s.p.From, s.p.StopAbove)
	case consumers == 0 && !s.p.Idle:
		s.stop = fmt.Sprintf("stopped: nobody consumes queue %s any more", s.p.To)
	}
	return nil
}
