package live

import (
	"context"
	"fmt"
	"sync"

	"github.com/backstay/backstay/api"
)

// KindGap marks the last entry that a subscriber gets who did not keep up. It is never in the log. Its Seq is the first entry
// that was not delivered.
const KindGap api.EntryKind = "subscription.gap"

// subscriberMax is how many entries may wait for one subscriber.
const subscriberMax = 1024

// hub hands durable entries to subscribers and never waits for one.
type hub struct {
	mu     sync.Mutex
	subs   map[*subscriber]struct{}
	closed bool
}

type subscriber struct {
	ch   chan api.Entry // has room for one more than subscriberMax: the notice of a gap
	stop func() bool
}

func newHub() *hub { return &hub{subs: map[*subscriber]struct{}{}} }

func (h *hub) subscribe(ctx context.Context) <-chan api.Entry {
	sub := &subscriber{ch: make(chan api.Entry, subscriberMax+1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		close(sub.ch)
		return sub.ch
	}
	h.subs[sub] = struct{}{}
	sub.stop = context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.drop(sub)
	})
	return sub.ch
}

// drop ends a subscription. The caller holds the lock.
func (h *hub) drop(sub *subscriber) {
	if _, there := h.subs[sub]; !there {
		return
	}
	delete(h.subs, sub)
	sub.stop()
	close(sub.ch)
}

func (h *hub) publish(entries []api.Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for sub := range h.subs {
		for _, e := range entries {
			if len(sub.ch) >= subscriberMax {
				sub.ch <- api.Entry{Seq: e.Seq, At: e.At, Kind: KindGap,
					Text: fmt.Sprintf("You did not keep up: entries from %d on were not sent; read them from the log.", e.Seq)}
				h.drop(sub)
				break
			}
			sub.ch <- e
		}
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for sub := range h.subs {
		h.drop(sub)
	}
}
