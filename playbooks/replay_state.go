package playbooks

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/backstay/backstay/api"
	"golang.org/x/time/rate"
)

// The states of a message in the ledger.
const (
	letterIntended    = "intended"
	letterDone        = "done"
	letterQuarantined = "quarantined"
	letterUnknown     = "unknown" // quarantined, and nobody can tell whether it had been replayed before
	letterReturned    = "returned"
)

// progress is what one run did so far, over all its attempts.
//
// Compatibility: it is stored as JSON; fields are only added.
type progress struct {
	Bound       int64     `json:"bound"` // most messages the run takes, fixed by its first attempt
	Taken       int64     `json:"taken"` // of Bound
	Replayed    int64     `json:"replayed"`
	Quarantined int64     `json:"quarantined"`
	InDoubt     int64     `json:"inDoubt"`
	Amount      api.Money `json:"amount,omitempty"`
	Wave        int       `json:"wave"`             // canary waves that passed
	InWave      int       `json:"inWave"`           // messages of the wave under way
	Held        []string  `json:"held,omitempty"`   // order values of quarantined messages, which hold back later ones
	Doubts      []string  `json:"doubts,omitempty"` // names of the messages in doubt
}

// flight is what was under way in a queue when it was last written: the batch of which nobody had yet heard that it was
// committed. It belongs to the queue, not to a run: a later run finds what an earlier one left.
//
// Compatibility: as progress.
type flight struct {
	Open []openMark `json:"open"`
}

// openMark is one message under way. Boot names the life of the broker's queue in which it was sent; "" is a commit that
// the broker itself called incomplete.
type openMark struct {
	Mark string `json:"mark"`
	Boot string `json:"boot"`
}

// replaying is one attempt of a run.
type replaying struct {
	*replayRun
	call     Call
	progress progress
	flight   flight
	limiter  *rate.Limiter
	stop     string // why it ended early
	left     int64  // messages that are in FROM at the end
	finished bool   // left was counted
	cameBack int64
	moved    int64
	moving   time.Duration
	hashed   bool // the ledger of this queue has names that are hashes
}

// begin reads what earlier attempts of the same call did, and what was under way.
func (r *replayRun) begin(ctx context.Context, call Call) (*replaying, error) {
	w := &replaying{replayRun: r, call: call, limiter: rate.NewLimiter(rate.Inf, 1)}
	if !r.p.Rate.IsZero() {
		w.limiter = rate.NewLimiter(rate.Limit(r.p.Rate.PerSecond()), 1)
	}
	if err := w.load(ctx, w.runRow(), &w.progress); err != nil {
		return nil, err
	}
	if err := w.load(ctx, flightRow, &w.flight); err != nil {
		return nil, err
	}
	return w, w.naming(ctx)
}

// naming finds out whether some messages are known by hashes; it notes so before the first one is.
func (w *replaying) naming(ctx context.Context) error {
	row, err := w.rabbit.env.Ledger.Get(ctx, w.notes(), hashedRow)
	if err != nil {
		return fmt.Errorf("read the replay ledger: %w", err)
	}
	if w.hashed = row.State != ""; w.hashed || !w.names.personal {
		return nil
	}
	if err := w.rabbit.env.Ledger.Put(ctx, LedgerRow{Scope: w.notes(), Key: hashedRow, State: "note", Run: w.call.Remediation + "/" + w.call.Step, At: time.Now().UTC()}); err != nil {
		return fmt.Errorf("write the replay ledger: %w", err)
	}
	w.hashed = true
	return nil
}

// The rows beside those of the messages live in a scope of their own, so that the counts of the messages stay true.
const (
	flightRow = "under-way"
	hashedRow = "hashed"
)

func (w *replaying) runRow() string { return "run/" + w.call.Key }

func (w *replaying) notes() string { return w.scope() + "/notes" }

func (w *replaying) load(ctx context.Context, key string, into any) error {
	row, err := w.rabbit.env.Ledger.Get(ctx, w.notes(), key)
	if err != nil {
		return fmt.Errorf("read the replay ledger: %w", err)
	}
	if row.Note == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(row.Note), into); err != nil {
		return fmt.Errorf("read the replay ledger, row %s: %w", key, err)
	}
	return nil
}

// save makes message rows, progress and flight durable together.
func (w *replaying) save(ctx context.Context, rows []LedgerRow) error {
	now := time.Now().UTC()
	for _, note := range []struct {
		key   string
		value any
	}{{w.runRow(), w.progress}, {flightRow, w.flight}} {
		text, err := json.Marshal(note.value)
		if err != nil {
			return fmt.Errorf("write the replay ledger: %w", err)
		}
		rows = append(rows, LedgerRow{Scope: w.notes(), Key: note.key, State: "note", Note: string(text)})
	}
	for i := range rows {
		rows[i].Run, rows[i].At = w.call.Remediation+"/"+w.call.Step, now
	}
	if err := w.rabbit.env.Ledger.Put(ctx, rows...); err != nil {
		return fmt.Errorf("write the replay ledger: %w", err)
	}
	return nil
}

// row is a message's line in the ledger. A message without an id of its own shares its mark with its twins, so its line
// carries a number of the run.
func (w *replaying) row(m move, state string) LedgerRow {
	key := m.key
	if !m.named() {
		key += fmt.Sprintf("|%s#%d", w.call.Key, w.progress.Taken)
	}
	return LedgerRow{Scope: w.scope(), Key: key, State: state, Hash: m.hash, Note: m.why}
}

// open finds a mark that was under way.
func (f *flight) open(mark string) (openMark, bool) {
	i := slices.IndexFunc(f.Open, func(o openMark) bool { return o.Mark == mark })
	if i < 0 {
		return openMark{}, false
	}
	return f.Open[i], true
}

// settle takes one mark off.
func (f *flight) settle(mark string) {
	if i := slices.IndexFunc(f.Open, func(o openMark) bool { return o.Mark == mark }); i >= 0 {
		f.Open = slices.Delete(f.Open, i, i+1)
	}
}

// doubt says of everything under way that its commit was incomplete.
func (f *flight) doubt() {
	for i := range f.Open {
		f.Open[i].Boot = ""
	}
}

// move is one message on its way to another queue, or back from doubt.
type move struct {
	letter
	to    string // queue; "" where it was moved before and only the acknowledgement is missing
	state string // what the ledger will say
	why   string
	row   LedgerRow

	slip    uint64 // delivery tag of the receipt that an earlier session left; 0 where this session moves it
	counted bool   // an earlier session did not only move it, but knew that it had
}

// book counts a move that is known to have happened.
func (p *progress) book(m move) {
	switch m.state {
	case letterDone:
		p.Replayed++
		p.Amount = p.Amount.Plus(m.amount)
		p.InWave++
	case letterQuarantined:
		p.Quarantined++
	case letterUnknown:
		p.InDoubt++
		if len(p.Doubts) < 20 {
			p.Doubts = append(p.Doubts, m.name())
		}
	}
	if !m.ours {
		p.Taken++
	}
}
