package demo

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// How the workers work: they look for rows, take up so many at once, and look again a while after all of them are done.
const (
	batch     = 32
	pollPause = 50 * time.Millisecond
	bookTries = 3
	bookWaits = 2 * time.Second
)

// Orders is the order desk: the database, the customers' own list, and the two workers.
type Orders struct {
	db          *sql.DB
	router, erp string
	client      *http.Client

	mu     sync.Mutex
	placed []Order // what customers know they ordered
}

// Order is one customer's order; Amount is in minor units.
type Order struct {
	ID       string `json:"id"`
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
}

// An order is worth from orderLeast up to, and without, orderLeast + orderSpread.
const orderLeast, orderSpread = 500, 20_000

// Place lets customers order, at an even pace of perSecond, for a time; the seed fixes how much each order is worth.
func (o *Orders) Place(ctx context.Context, perSecond float64, lasting time.Duration, seed uint64) error {
	random := rand.New(rand.NewPCG(seed, 1))
	gap := time.Duration(float64(time.Second) / perSecond)
	tick := time.NewTicker(gap)
	defer tick.Stop()
	for n := 1; time.Duration(n)*gap < lasting; n++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		order := Order{ID: fmt.Sprintf("ord-%05d", n), Amount: orderLeast + random.Int64N(orderSpread), Currency: "EUR"}
		now := time.Now().UnixMilli()
		if _, err := o.db.ExecContext(ctx, `insert into orders(id, amount, currency, state, placed_at, changed_at) values (?, ?, ?, 'new', ?, ?)`,
			order.ID, order.Amount, order.Currency, now, now); err != nil {
			return fmt.Errorf("place order %s: %w", order.ID, err)
		}
		o.mu.Lock()
		o.placed = append(o.placed, order)
		o.mu.Unlock()
	}
	return nil
}

// Placed is the customers' own list.
func (o *Orders) Placed() []Order {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]Order(nil), o.placed...)
}

// capture is the worker that takes the money of new orders, several at a time, through the router. A capture whose answer is lost
// is in doubt: it stays with its gateway until somebody has looked. This worker never retries it.
func (o *Orders) capture(ctx context.Context) {
	o.poll(ctx, `select id, amount, currency from orders where state = 'new' and hold = 0 order by placed_at limit ?`, func(ctx context.Context, order Order) error {
		state, gateway := o.captureOne(ctx, order)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		tx, err := o.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		now := time.Now().UnixMilli()
		if _, err := tx.ExecContext(ctx, `update orders set state = ?, gateway = ?, changed_at = ? where id = ?`, state, gateway, now, order.ID); err != nil {
			return err
		}
		return tx.Commit()
	})
}

func (o *Orders) captureOne(ctx context.Context, order Order) (state, gateway string) {
	status, header, _ := o.post(ctx, o.router+"/captures", order.ID, map[string]any{"key": order.ID, "amount": order.Amount, "currency": order.Currency})
	gateway = header.Get("X-Endpoint")
	switch {
	case status >= 200 && status < 300:
		return "captured", gateway
	case status == http.StatusServiceUnavailable && header.Get("X-Sent") == "no":
		return "new", "" // the router could not even send it
	}
	return "in_doubt", gateway
}

// enqueue keeps the outbox in step with what is captured: also with what an operator has settled by looking it up.
func (o *Orders) enqueue(ctx context.Context) error {
	now := time.Now().UnixMilli()
	_, err := o.db.ExecContext(ctx, `insert into outbox(order_id, enqueued_at, changed_at)
		select id, ?, ? from orders where state = 'captured' and not exists (select 1 from outbox where order_id = orders.id)`, now, now)
	return err
}

// book is the worker that tells the ERP system of captured orders; after three refusals a row is dead.
func (o *Orders) book(ctx context.Context) {
	o.poll(ctx, `select o.id, o.amount, o.currency from outbox b join orders o on o.id = b.order_id where b.state = 'ready' order by b.id limit ?`, func(ctx context.Context, order Order) error {
		status, _, note := o.post(ctx, o.erp+"/bookings", order.ID, order)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		now := time.Now().UnixMilli()
		if status < 200 || status > 299 {
			_, err := o.db.ExecContext(ctx, `update outbox set attempts = attempts + 1, note = ?, changed_at = ?,
				state = case when attempts + 1 >= ? then 'dead' else 'ready' end where order_id = ?`, note, now, bookTries, order.ID)
			return err
		}
		tx, err := o.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, `update outbox set state = 'done', changed_at = ? where order_id = ?`, now, order.ID); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `update orders set state = 'booked', changed_at = ? where id = ?`, now, order.ID); err != nil {
			return err
		}
		return tx.Commit()
	})
}

// poll works on what a query finds, until the worker is stopped. A row that cannot be worked on is left for the next round.
func (o *Orders) poll(ctx context.Context, query string, work func(context.Context, Order) error) {
	for ctx.Err() == nil {
		if err := o.enqueue(ctx); err == nil {
			orders, err := o.find(ctx, query)
			if err == nil {
				var group sync.WaitGroup
				for _, order := range orders {
					group.Go(func() { _ = work(ctx, order) }) // an error leaves the row as it was
				}
				group.Wait()
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(pollPause):
		}
	}
}

func (o *Orders) find(ctx context.Context, query string) ([]Order, error) {
	rows, err := o.db.QueryContext(ctx, query, batch)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []Order
	for rows.Next() {
		var order Order
		if err := rows.Scan(&order.ID, &order.Amount, &order.Currency); err != nil {
			return nil, err
		}
		found = append(found, order)
	}
	return found, rows.Err()
}

// post sends JSON with an idempotency key; status 0 means that no answer came.
func (o *Orders) post(ctx context.Context, url, key string, body any) (status int, header http.Header, note string) {
	b, err := json.Marshal(body)
	if err != nil {
		return 0, http.Header{}, err.Error()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(b))
	if err != nil {
		return 0, http.Header{}, err.Error()
	}
	req.Header.Set("Idempotency-Key", key)
	resp, err := o.client.Do(req)
	if err != nil {
		return 0, http.Header{}, err.Error()
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	return resp.StatusCode, resp.Header, string(answer) + errText(err)
}

func errText(err error) string {
	if err == nil || errors.Is(err, io.EOF) {
		return ""
	}
	return err.Error()
}
