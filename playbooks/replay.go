package playbooks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/backstay/backstay/api"
)

// ReplayParams are the parameters of replay.
type ReplayParams struct {
	Integration string       `json:"integration,omitempty" doc:"The broker: an integration with endpoints named amqp and management. May be left out when there is only one."`
	From        string       `json:"from" rule:"required" doc:"The queue of dead letters."`
	To          string       `json:"to" rule:"required" doc:"The queue that they go back to, through the default exchange, so that no other queue gets a copy."`
	Quarantine  string       `json:"quarantine,omitempty" doc:"The queue for poison messages; FROM.quarantine when left out. It is made, durable, when missing."`
	Canary      []int        `json:"canary,omitempty" doc:"Sizes of the first waves; after each one replay waits and looks whether it came back. [1, 10] when left out, [] for none."`
	CanaryWait  api.Duration `json:"canaryWait,omitempty" default:"5s" doc:"How long to look after each wave, and once more at the end."`
	StopAbove   api.Percent  `json:"stopAbove,omitempty" default:"10%" doc:"Stop when more than this share of what was replayed came back as dead letters."`
	Rate        api.Rate     `json:"rate,omitempty" doc:"Most messages in a time, such as 20/s."`
	Batch       int          `json:"batch,omitempty" rule:"min=1,max=500" default:"50" doc:"Messages per commit."`
	Limit       int64        `json:"limit,omitempty" rule:"min=0" doc:"Most messages one step takes."`
	Share       api.Percent  `json:"share,omitempty" doc:"Most of the waiting dead letters one step takes."`
	Attempts    int          `json:"attempts,omitempty" rule:"min=1,max=100" default:"1" doc:"A message that came back after this many replays is poison."`
	JSON        bool         `json:"json,omitempty" doc:"A body that is not JSON is poison."`
	Reasons     []string     `json:"reasons,omitempty" doc:"Take only messages that died of these: rejected, expired, maxlen, delivery_limit."`
	OlderThan   api.Duration `json:"olderThan,omitempty" doc:"Take only messages that died at least this long ago."`
	YoungerThan api.Duration `json:"youngerThan,omitempty" doc:"Take only messages that died at most this long ago."`
	OrderBy     string       `json:"orderBy,omitempty" doc:"What must stay in order: header:NAME, body:PATH or routing-key. A message that is left or quarantined holds back all later ones with the same value."`
	AmountFrom  string       `json:"amountFrom,omitempty" doc:"Path in the JSON body to the amount, an integer in minor units. Needed where the playbook limits money."`
	Currency    string       `json:"currency,omitempty" doc:"The amounts' currency, such as EUR; or body:PATH."`
	Personal    bool         `json:"personal,omitempty" doc:"The message ids, or what orderBy names, name people: facts and the ledger hold keyed hashes of them, the same as those of a probe marked personal, and of the payload. The messages themselves stay as they are."`
	Idle        bool         `json:"idle,omitempty" doc:"Replay even while nobody consumes TO; the canary then proves little."`
}

// replay moves dead letters back to where they are worked on.
//
// Its repeat class is keyed: the key names the run, and every message the run ever moved left a receipt in the broker and
// a row in the ledger, neither of which expires. Repeating an attempt that was cut off at any point goes on where it stopped.
// The retention is the time for which the ledger's rows are kept at least.
var replay = Action{Info: replayInfo, Params: func() any { return &ReplayParams{} }, Build: buildReplay}

var replayInfo = api.ActionInfo{
	Name: "replay", Version: "1", Summary: "Move RabbitMQ dead letters back to a queue: canary first, in order, each exactly once, poison to quarantine.",
	Effect: api.EffectRedeliver, Danger: api.D3, Repeat: api.Keyed, Retention: 30 * 24 * time.Hour, Counts: true,
}

// replayRun is a replay step made ready.
type replayRun struct {
	rabbit  rabbit
	p       ReplayParams
	timeout time.Duration
	names   namer
}

func buildReplay(step api.Step, params any, env *Env) (Runner, api.StepPlan, error) {
	p := *params.(*ReplayParams)
	if p.Quarantine == "" {
		p.Quarantine = p.From + ".quarantine"
	}
	if p.Canary == nil {
		p.Canary = []int{1, 10}
	}
	plan := planOf(step, replayInfo, "queue/"+p.From, "queue/"+p.To)
	if err := p.check(); err != nil {
		return nil, plan, err
	}
	b, err := env.rabbit(p.Integration)
	if err != nil {
		return nil, plan, err
	}
	names, err := env.namer(p.Personal)
	return &replayRun{b, p, step.Timeout.Duration, names}, plan, err
}

// check refuses what cannot work.
func (p ReplayParams) check() error {
	switch {
	case p.From == p.To || p.Quarantine == p.From || p.Quarantine == p.To:
		return errors.New("from, to and quarantine must be three different queues")
	case slices.ContainsFunc(p.Canary, func(n int) bool { return n < 1 }):
		return errors.New("canary: every wave needs at least 1 message; write [] for no canary")
	case p.AmountFrom != "" && p.Currency == "":
		return errors.New("amountFrom needs currency: a code such as EUR, or body:PATH")
	}
	for _, reason := range p.Reasons {
		if !slices.Contains([]string{"rejected", "expired", "maxlen", "delivery_limit"}, reason) {
			return fmt.Errorf("reasons: %q is none; write rejected, expired, maxlen or delivery_limit", reason)
		}
	}
	if p.OrderBy != "" {
		if _, err := parseSource(p.OrderBy); err != nil {
			return fmt.Errorf("orderBy: %w", err)
		}
	}
	return nil
}

// receipts is the queue in which moved messages leave their receipts. It stays, empty, after the run.
func (p ReplayParams) receipts() string { return "backstay.receipts." + p.From }

// scope names the stream of messages in the ledger.
func (r *replayRun) scope() string { return "replay/" + r.rabbit.integration + "/" + r.p.From }

// Plan counts the dead letters; it takes none.
func (r *replayRun) Plan(ctx context.Context, call Call) (api.Estimate, error) {
	conn, err := r.rabbit.dial(ctx, "backstay plan "+r.p.From)
	if err != nil {
		return api.Estimate{}, err
	}
	defer conn.Close()
	waiting, _, err := depth(conn, r.p.From)
	if err != nil {
		return api.Estimate{}, err
	}
	queued, consumers, err := depth(conn, r.p.To)
	if err != nil {
		return api.Estimate{}, err
	}
	e := api.Estimate{Items: r.p.bound(waiting, 0), Total: waiting + queued, Noop: waiting == 0}
	e.Text = fmt.Sprintf("move %d of %d dead letters from %s to %s, where %d consumer(s) work", e.Items, waiting, r.p.From, r.p.To, consumers)
	if need := r.p.duration(e.Items); need > r.timeout && r.timeout > 0 {
		e.Text += fmt.Sprintf("; that takes about %s, longer than the step's timeout of %s: it will stop half-way and say so", need.Round(time.Second), r.timeout)
	}
	return e, nil
}

// bound is how many messages one step takes of those that wait; most is the caller's bound, 0 for none.
func (p ReplayParams) bound(waiting, most int64) int64 {
	n := waiting
	if p.Limit > 0 {
		n = min(n, p.Limit)
	}
	if p.Share.PPM > 0 {
		n = min(n, waiting*p.Share.PPM/1_000_000)
	}
	if most > 0 {
		n = min(n, most)
	}
	return n
}

// duration is how long replaying n messages takes at the given rate, without the broker's own time.
func (p ReplayParams) duration(n int64) time.Duration {
	d := time.Duration(len(p.Canary)+1) * p.CanaryWait.Duration
	if !p.Rate.IsZero() {
		d += time.Duration(float64(n) / p.Rate.PerSecond() * float64(time.Second))
	}
	return d
}

// Run moves the messages. Where the connection breaks it comes back and settles what was under way, until the deadline.
func (r *replayRun) Run(ctx context.Context, call Call) api.Outcome {
	if len(call.Amount) > 0 && r.p.AmountFrom == "" {
		return refused("the playbook limits money, but replay cannot count it: set amountFrom and currency")
	}
	w, err := r.begin(ctx, call)
	if err != nil {
		return failed("begin the replay of %s: %s", r.p.From, err)
	}
	wait := 100 * time.Millisecond
	for try := 1; ; try++ {
		err := w.session(ctx)
		var no refusal
		switch {
		case err == nil:
			return w.outcome()
		case errors.As(err, &no):
			return w.ended(api.ResultRefused, no.Error())
		case ctx.Err() != nil || try == 8:
			return w.broken(err)
		}
		if pause(ctx, wait) != nil {
			return w.broken(err)
		}
		wait = min(2*wait, 3*time.Second)
	}
}

// refusal is a precondition that does not hold; nothing more was touched.
type refusal struct{ text string }

func (r refusal) Error() string { return r.text }

func refuse(format string, args ...any) error { return refusal{fmt.Sprintf(format, args...)} }

// outcome tells how a run ended that the broker did not cut off.
func (w *replaying) outcome() api.Outcome {
	if w.stop != "" {
		return w.ended(api.ResultFailed, w.stop)
	}
	return w.ended(api.ResultDone, "")
}

// broken tells how a run ended that was cut off. Nothing is lost: what was not acknowledged is in FROM again, and the next
// attempt with the same key finds out what happened to it.
func (w *replaying) broken(err error) api.Outcome {
	if len(w.flight.Open) > 0 {
		return w.ended(api.ResultUnknown, fmt.Sprintf("cut off with %d message(s) under way, which a repeat settles: %s", len(w.flight.Open), err))
	}
	return w.ended(api.ResultFailed, "cut off: "+err.Error())
}

// ended puts the counts into words.
func (w *replaying) ended(result api.Result, why string) api.Outcome {
	p := w.progress
	if p.InDoubt > 0 && result != api.ResultRefused {
		result = api.ResultUnknown
		why = joinText(why, fmt.Sprintf("whether %d message(s) had reached %s before the broker failed cannot be told; they are in %s", p.InDoubt, w.p.To, w.p.Quarantine))
	}
	text := fmt.Sprintf("%d dead letter(s) moved from %s to %s, %d to %s", p.Replayed, w.p.From, w.p.To, p.Quarantined+p.InDoubt, w.p.Quarantine)
	if w.left > 0 {
		text += fmt.Sprintf(", %d left where they were", w.left)
	}
	out := outcome(result, "%s", joinText(text, why))
	out.Items, out.Amount = p.Replayed+p.Quarantined+p.InDoubt, p.Amount
	add := func(name string, n int64) { out.Facts = append(out.Facts, api.Fact{Name: name, Value: fmt.Sprint(n)}) }
	add("replayed", p.Replayed)
	add("quarantined", p.Quarantined)
	add("in doubt", p.InDoubt)
	if w.finished {
		add("left", w.left)
	}
	add("came back", w.cameBack)
	if len(p.Doubts) > 0 {
		out.Facts = append(out.Facts, api.Fact{Name: "in doubt: message ids", Value: cut(fmt.Sprint(p.Doubts), 1000)})
	}
	if took := w.moving.Seconds(); w.moved > 0 && took > 0 {
		out.Facts = append(out.Facts, api.Fact{Name: "messages per second", Value: fmt.Sprintf("%.0f", float64(w.moved)/took)})
	}
	return out
}

func joinText(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}
