package demo

import (
	"context"
	"fmt"
	"time"
)

// Judgement is what really happened, by the gateways' ledgers, the ERP system's books and the customers' own list.
type Judgement struct {
	Placed        int   `json:"placed"`
	Booked        int   `json:"booked"`
	InTime        int   `json:"inTime"`        // booked within the promise to customers
	DoubleCharged int   `json:"doubleCharged"` // orders that were charged more than once, over both gateways
	Lost          int   `json:"lost"`          // placed, and not both charged and booked
	WrongAmount   int   `json:"wrongAmount"`   // charged or booked with another amount than ordered
	AmountMinor   int64 `json:"amountMinor"`   // charged in all, in minor units of EUR
	UnansweredA   int64 `json:"unansweredA"`   // captures that gateway A made and never answered: what a naive retry elsewhere would double
}

// promise is how long after an order it shall be booked.
const promise = 30 * time.Second

// Judge compares the books.
func (o *Office) Judge(ctx context.Context) (Judgement, error) {
	charges := Charged(o.A, o.B)
	amounts := map[string]int64{}
	for _, g := range []*Gateway{o.A, o.B} {
		for _, c := range g.Captures() {
			if !c.Voided {
				amounts[c.Key] = c.Amount
			}
		}
	}
	booked := o.ERP.Booked()
	j := Judgement{UnansweredA: o.A.Stats().HungAfter}
	for _, order := range o.Orders.Placed() {
		j.Placed++
		amount, inBooks := booked[order.ID]
		if inBooks {
			j.Booked++
		}
		if charges[order.ID] > 1 {
			j.DoubleCharged++
		}
		if charges[order.ID] == 0 || !inBooks {
			j.Lost++
		} else if amount != order.Amount || amounts[order.ID] != order.Amount {
			j.WrongAmount++
		}
		j.AmountMinor += amounts[order.ID]
	}
	err := o.Orders.db.QueryRowContext(ctx, `select count(*) from orders where state = 'booked' and changed_at - placed_at <= ?`, promise.Milliseconds()).Scan(&j.InTime)
	if err != nil {
		return j, fmt.Errorf("count the orders that were booked in time: %w", err)
	}
	return j, nil
}

// Settled waits until every order that was placed is booked, at most for a time.
func (o *Office) Settled(ctx context.Context, atMost time.Duration) error {
	end := time.After(atMost)
	for {
		var open int
		if err := o.Orders.db.QueryRowContext(ctx, `select count(*) from orders where state <> 'booked'`).Scan(&open); err != nil {
			return fmt.Errorf("count the orders that are not booked: %w", err)
		}
		if open == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end:
			return fmt.Errorf("%d orders are not booked after %s: %s", open, atMost, o.Orders.stuck(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// stuck names a few orders that are not booked and where they are.
func (o *Orders) stuck(ctx context.Context) string {
	var text string
	err := o.db.QueryRowContext(ctx, `select group_concat(id || ' ' || state || ' at ' || gateway, ', ')
		from (select * from orders where state <> 'booked' order by placed_at limit 3)`).Scan(&text)
	if err != nil {
		return err.Error()
	}
	return text
}

// Pulse is how the office stands at a moment.
type Pulse struct {
	Placed, Booked, InDoubt, Waiting, Dead int
	Route                                  string
}

// Pulse counts.
func (o *Office) Pulse(ctx context.Context) (Pulse, error) {
	p := Pulse{Route: o.Router.Active(), Placed: len(o.Orders.Placed())}
	err := o.Orders.db.QueryRowContext(ctx, `select count(*) filter (where state = 'booked'), count(*) filter (where state = 'in_doubt'),
		count(*) filter (where state in ('new', 'captured')), (select count(*) from outbox where state = 'dead') from orders`).Scan(&p.Booked, &p.InDoubt, &p.Waiting, &p.Dead)
	return p, err
}
