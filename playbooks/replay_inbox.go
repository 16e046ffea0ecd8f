package playbooks

import (
	"context"
	"errors"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// errBroken says that the connection to the broker is gone.
var errBroken = errors.New("the connection to the broker broke")

// inbox collects what a consumer is given, so that it can be counted before it is looked at.
type inbox struct {
	mu     sync.Mutex
	items  []amqp.Delivery
	total  int64 // ever received
	closed bool
	bell   chan struct{}
}

// collect starts an inbox; it ends with the channel.
func collect(from <-chan amqp.Delivery) *inbox {
	b := &inbox{bell: make(chan struct{}, 1)}
	go func() {
		for d := range from {
			b.mu.Lock()
			b.items = append(b.items, d)
			b.total++
			b.mu.Unlock()
			b.ring()
		}
		b.mu.Lock()
		b.closed = true
		b.mu.Unlock()
		b.ring()
	}()
	return b
}

func (b *inbox) ring() {
	select {
	case b.bell <- struct{}{}:
	default:
	}
}

// next takes one delivery, waiting for it at most so long; false when none came.
func (b *inbox) next(ctx context.Context, wait time.Duration) (amqp.Delivery, bool, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		b.mu.Lock()
		if len(b.items) > 0 {
			d := b.items[0]
			b.items[0] = amqp.Delivery{} // let go of the body
			b.items = b.items[1:]
			b.mu.Unlock()
			return d, true, nil
		}
		closed := b.closed
		b.mu.Unlock()
		if closed {
			return amqp.Delivery{}, false, errBroken
		}
		select {
		case <-b.bell:
		case <-timer.C:
			return amqp.Delivery{}, false, nil
		case <-ctx.Done():
			return amqp.Delivery{}, false, ctx.Err()
		}
	}
}

// received counts the deliveries so far.
func (b *inbox) received() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total
}

// count counts the deliveries that nobody took yet and that match.
func (b *inbox) count(match func(amqp.Delivery) bool) (n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range b.items {
		if match(d) {
			n++
		}
	}
	return n
}
