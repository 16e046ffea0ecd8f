package playbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

type resolveParams struct {
	Integration string        `json:"integration" rule:"required,name" doc:"The integration whose endpoints have the work that is in doubt."`
	Unknown     unknownParams `json:"unknown" rule:"required" doc:"How to list the work that is in doubt."`
	Lookup      lookupParams  `json:"lookup" rule:"required" doc:"How to ask an endpoint whether it has a piece of work."`
	Settle      settleParams  `json:"settle" rule:"required" doc:"What to write down about work that did happen."`
	Retry       *retryParams  `json:"retry,omitempty" doc:"Allows one repeat with the same key at the same endpoint, for work that definitely did not happen. Without it such work is only reported."`
	Void        *settleParams `json:"void,omitempty" doc:"What to write down about work that definitely did not happen, where it is not to be repeated. Give this or retry."`
	Personal    bool          `json:"personal,omitempty" doc:"The keys of the work name people: facts, texts and the ledger hold keyed hashes of them, the same as those of a probe marked personal. The endpoint, settle and retry still get the true key."`
	Most        int           `json:"most,omitempty" rule:"min=1,max=5000" default:"500" doc:"Most pieces of work in one run; the oldest listed come first, the others wait for the next run."`
}

type lookupParams struct {
	Path     string                `json:"path" rule:"required" doc:"Path of a GET, with {key}: /captures?reference={key}."`
	Headers  map[string]api.Secret `json:"headers,omitempty" doc:"Headers of look-up and retry; credentials as {env: NAME} or {file: PATH}."`
	Missing  []int                 `json:"missing,omitempty" doc:"Statuses that say definitely: no such work. 404 when left out."`
	Pick     string                `json:"pick,omitempty" doc:"Where the answer has the state, such as data.0.state. Without it any 2xx says that the work happened."`
	Happened []string              `json:"happened,omitempty" doc:"States that say that it happened."`
	Never    []string              `json:"never,omitempty" doc:"States that say that it did not and will not happen. Any other state is still in doubt."`
	Delay    api.Duration          `json:"delay,omitempty" default:"10s" doc:"How long after the attempt the endpoint may still not show work that it has. A missing answer counts only after this."`
}

type retryParams struct {
	Method    string          `json:"method,omitempty" rule:"oneof=POST|PUT" default:"POST" doc:"Method of the repeat."`
	Path      string          `json:"path" rule:"required" doc:"Path of the repeat; {key} may stand in it."`
	Body      json.RawMessage `json:"body" rule:"required" doc:"JSON body; a text that is exactly $key, $amount or $currency becomes that value."`
	Header    string          `json:"header,omitempty" default:"Idempotency-Key" doc:"Header that carries the key; the endpoint must recognise it."`
	Retention api.Duration    `json:"retention" rule:"required,min=1m" doc:"How long the endpoint recognises a key, by its documentation. Older work is never repeated."`
}

var resolveInfo = api.ActionInfo{
	Name: "resolve", Version: "1", Effect: api.EffectRepair, Danger: api.D3, Repeat: api.Idempotent, Counts: true,
	Summary: "Asks the endpoint that has it about each piece of work that is in doubt; settles what happened, and repeats at most once, with the same key at the same endpoint, what definitely did not.",
}

var resolve = Action{
	Info:   resolveInfo,
	Params: func() any { return new(resolveParams) },
	Build: func(step api.Step, params any, env *Env) (Runner, api.StepPlan, error) {
		p := params.(*resolveParams)
		in, err := env.integration(p.Integration)
		if err != nil {
			return nil, api.StepPlan{}, err
		}
		if err := errors.Join(p.Unknown.check(env), p.Lookup.check(), p.Settle.check(env), p.checkRetry(env)); err != nil {
			return nil, api.StepPlan{}, err
		}
		names, err := env.namer(p.Personal)
		if err != nil {
			return nil, api.StepPlan{}, err
		}
		r := &resolveRun{env: env, p: *p, in: in, scope: "resolve/" + p.Integration, names: names}
		return r, planOf(step, resolveInfo, "integration/"+p.Integration, "in-doubt/"+p.Integration), nil
	},
}

func (p *lookupParams) check() error {
	if len(p.Missing) == 0 {
		p.Missing = []int{404}
	}
	if (p.Pick == "") != (len(p.Happened) == 0) || p.Pick == "" && len(p.Never) > 0 {
		return errors.New("lookup: pick and happened belong together: where the state is, and which states mean that it happened")
	}
	if slices.ContainsFunc(p.Missing, func(status int) bool { return status/100 != 4 }) {
		return errors.New("lookup: missing lists a status that is no definite no; only 4xx can be")
	}
	return checkItemPath("lookup", p.Path)
}

// checkItemPath demands that a path is about one piece of work.
func checkItemPath(what, path string) error {
	if !strings.Contains(path, "{key}") {
		return fmt.Errorf("%s: path %q has no {key}, so it asks about no work in particular", what, path)
	}
	_, err := joinURL("http://host", path, map[string]string{"key": "k"})
	return err
}

func (p *resolveParams) checkRetry(env *Env) error {
	switch {
	case p.Retry != nil && p.Void != nil:
		return errors.New("give retry or void, not both: work that did not happen is repeated or written off")
	case p.Void != nil:
		return p.Void.check(env)
	case p.Retry == nil:
		return nil
	}
	if p.Retry.Retention.Duration <= p.Lookup.Delay.Duration {
		return errors.New("retry: retention must be longer than lookup.delay")
	}
	if _, err := joinURL("http://host", p.Retry.Path, map[string]string{"key": "k"}); err != nil {
		return err
	}
	_, err := fillBody(p.Retry.Body, map[string]any{"key": "", "amount": int64(0), "currency": ""})
	return err
}

// doubt is one piece of work whose outcome is not known.
type doubt struct {
	key, endpoint string
	amount        int64
	currency      string
	at            time.Time // of the attempt; zero where the list does not say, and then it is never repeated
}

func (d doubt) money() api.Money {
	if d.currency == "" {
		return nil
	}
	return api.Money{d.currency: d.amount}
}

// resolveRun settles work in doubt.
//
// Its repeat class is idempotent although it may cause an outside effect, for these reasons. Every run starts by asking the
// endpoint. Writing down what happened sets a state. The one thing that must not be repeated, the retry, is fenced twice: the
// ledger row "retrying" is durable before the request is sent, and a piece of work that has such a row is never sent again,
// by no run and no remediation; and the request carries the key of the first attempt, within the time that the endpoint
// recognises it, so that even an attempt that was merely slow is not doubled. A crash anywhere leads back to the question.
// Nothing ever moves to another endpoint: another endpoint does not know the key.
type resolveRun struct {
	env   *Env
	p     resolveParams
	in    api.Integration
	scope string
	names namer
}

// The states of a piece of work in the ledger. Only the first two allow a retry later.
const (
	resolveAsked    = "asked"
	resolveRetrying = "retrying" // durable before the repeat is sent: never again
	resolveSettled  = "settled"
	resolveVoid     = "void"
)

// Plan lists what is in doubt.
func (r *resolveRun) Plan(ctx context.Context, call Call) (api.Estimate, error) {
	work, err := r.list(ctx)
	if err != nil {
		return api.Estimate{}, fmt.Errorf("list the work in doubt: %w", err)
	}
	e := api.Estimate{Items: int64(len(work)), Noop: len(work) == 0}
	for _, d := range work {
		e.Amount = e.Amount.Plus(d.money())
	}
	e.Text = fmt.Sprintf("Ask %s about %d piece(s) of work in doubt", r.in.Metadata.Name, len(work))
	if r.p.Retry != nil {
		e.Text += "; repeat once, with the same key at the same endpoint, what definitely did not happen"
	}
	e.Text += "."
	return e, nil
}

// tally counts what a run came to.
type tally struct {
	asked, happened, repeated, void int64
	open                            []string // why what is left is left, one sentence each
	young                           []doubt  // not there, but it may still show
	unknown                         bool     // a repeat was sent whose outcome is not known
	amount                          api.Money
}

// Run asks, settles, and repeats where that is allowed.
func (r *resolveRun) Run(ctx context.Context, call Call) (out api.Outcome) {
	ctx, record := recording(ctx)
	defer func() { record(&out) }()
	work, err := r.list(ctx)
	if err != nil {
		return failed("list the work in doubt: %s; nothing was changed", err)
	}
	t := &tally{}
	items, amount := int64(0), api.Money(nil)
	for _, d := range work {
		if call.Items > 0 && items+1 > call.Items || amount.Plus(d.money()).Exceeds(call.Amount) {
			t.open = append(t.open, r.names.name(d.key)+" is beyond what this run may touch")
			continue
		}
		items, amount = items+1, amount.Plus(d.money())
		if ctx.Err() != nil {
			t.open = append(t.open, r.names.name(d.key)+": the deadline passed before it was asked about")
			continue
		}
		r.one(ctx, call, d, t)
	}
	r.wait(ctx, call, t)
	return t.outcome(r.in.Metadata.Name)
}

// wait asks once more about work that was too young to be missed, when it is old enough, as far as the deadline allows.
func (r *resolveRun) wait(ctx context.Context, call Call, t *tally) {
	young := t.young
	t.young = nil
	slices.SortStableFunc(young, func(a, b doubt) int { return a.at.Compare(b.at) })
	for _, d := range young {
		if pause(ctx, time.Until(d.at.Add(r.p.Lookup.Delay.Duration))) != nil {
			t.young = append(t.young, d)
			continue
		}
		t.asked-- // counted when it was asked about first
		r.one(ctx, call, d, t)
	}
	for _, d := range t.young { // also what a clock that was set back makes young again
		shows := d.at.Add(r.p.Lookup.Delay.Duration).UTC().Format(time.RFC3339)
		t.open = append(t.open, fmt.Sprintf("%s at %s: the endpoint does not know it yet; it may show until %s", r.names.name(d.key), d.endpoint, shows))
	}
}

func (t *tally) outcome(name string) api.Outcome {
	text := fmt.Sprintf("%d piece(s) of work asked about at %s: %d had happened, %d repeated once with the same key, %d did not happen, %d still open",
		t.asked, name, t.happened, t.repeated, t.void, len(t.open))
	out := done("%s", text)
	switch {
	case t.unknown:
		out = unknown("%s", text)
	case len(t.open) > 0:
		out = failed("%s", text)
	}
	out.Items, out.Amount = t.happened+t.repeated+t.void, t.amount
	for i, why := range t.open {
		if i == 20 {
			out.Facts = append(out.Facts, api.Fact{Name: "still open", Value: fmt.Sprintf("and %d more", len(t.open)-i)})
			break
		}
		out.Facts = append(out.Facts, api.Fact{Name: "still open", Value: cut(api.Redact(why), 200)})
	}
	return out
}

// one resolves one piece of work.
func (r *resolveRun) one(ctx context.Context, call Call, d doubt, t *tally) {
	leave := func(format string, args ...any) {
		t.open = append(t.open, fmt.Sprintf("%s at %s: ", r.names.name(d.key), d.endpoint)+fmt.Sprintf(format, args...))
	}
	if d.endpoint == "" || !hasEndpoint(r.in, d.endpoint) {
		leave("%s has no such endpoint, and no other one knows this work", r.in.Metadata.Name)
		return
	}
	row, err := r.names.row(ctx, r.env.Ledger, r.scope, d.endpoint+"/", d.key)
	if err != nil {
		leave("read the ledger: %s", err)
		return
	}
	t.asked++
	found := r.ask(ctx, d)
	switch {
	case found.state == happened:
		if err := r.settle(ctx, call, d, found, r.p.Settle, resolveSettled); err != nil {
			leave("it happened, but that cannot be written down: %s", err)
			return
		}
		t.happened++
		t.amount = t.amount.Plus(d.money())
	case found.state == inDoubt:
		leave("%s", found.text)
	case row.State == resolveRetrying:
		leave("it was repeated once already, at %s, and still does not show; a person must look", row.At.Format(time.RFC3339))
	case found.state == notThere && d.at.IsZero():
		leave("the endpoint does not know it, but the list does not say when it was tried")
	case found.state == notThere && time.Since(d.at) < r.p.Lookup.Delay.Duration:
		t.young = append(t.young, d)
	case r.p.Void != nil:
		if err := r.settle(ctx, call, d, found, *r.p.Void, resolveVoid); err != nil {
			leave("it did not happen, but that cannot be written down: %s", err)
			return
		}
		t.void++
		t.amount = t.amount.Plus(d.money())
	case r.p.Retry == nil:
		leave("it did not happen (%s); no retry is allowed here", found.text)
	case found.state == never:
		leave("it did not and will not happen (%s); a person must decide", found.text)
	case time.Since(d.at)+time.Minute >= r.p.Retry.Retention.Duration:
		leave("it did not happen, but its key is too old to be repeated safely")
	default:
		r.retry(ctx, call, d, t)
	}
}

// retry sends the work once more, with its own key to its own endpoint, and asks again.
func (r *resolveRun) retry(ctx context.Context, call Call, d doubt, t *tally) {
	leave := func(format string, args ...any) {
		t.open = append(t.open, fmt.Sprintf("%s at %s: ", r.names.name(d.key), d.endpoint)+fmt.Sprintf(format, args...))
	}
	q, err := r.exchange(d, r.p.Retry.Method, r.p.Retry.Path)
	if err == nil {
		q.body, err = fillBody(r.p.Retry.Body, map[string]any{"key": d.key, "amount": d.amount, "currency": d.currency})
	}
	if err != nil {
		leave("prepare the repeat: %s", err)
		return
	}
	q.header[r.p.Retry.Header] = d.key
	q.repeat, q.once = api.Keyed, true // the ledger allows one request: the client must not make it two
	err = r.put(ctx, call, d, resolveRetrying, "")
	if err != nil {
		leave("remember the repeat before it is sent: %s; it was not sent", err)
		return
	}
	sent := r.env.send(ctx, q).outcome(q)
	sent.Text = r.names.veil([]string{d.key})(sent.Text)
	switch sent.Result {
	case api.ResultRefused, api.ResultFailed:
		// A definite no: the work may be asked about and repeated by a later run.
		if err := r.put(ctx, call, d, resolveAsked, sent.Text); err != nil {
			leave("the repeat had no effect (%s), and the ledger cannot be written: %s", sent.Text, err)
			return
		}
		leave("the repeat had no effect: %s", sent.Text)
		return
	}
	found := r.ask(ctx, d)
	if found.state != happened {
		t.unknown = true
		leave("the repeat was sent (%s), but a look-up says: %s", sent.Text, found.text)
		return
	}
	if err := r.settle(ctx, call, d, found, r.p.Settle, resolveSettled); err != nil {
		leave("the repeat happened, but that cannot be written down: %s", err)
		return
	}
	t.repeated++
	t.amount = t.amount.Plus(d.money())
}

func (r *resolveRun) put(ctx context.Context, call Call, d doubt, state, note string) error {
	return r.env.Ledger.Put(ctx, LedgerRow{
		Scope: r.scope, Key: d.endpoint + "/" + r.names.name(d.key), State: state, Run: runOf(call, call.Step), Note: cut(note, 200), At: time.Now().UTC(),
	})
}

// settle writes down what became of a piece of work, there and in the ledger.
func (r *resolveRun) settle(ctx context.Context, call Call, d doubt, found lookup, how settleParams, state string) error {
	if out := r.env.settle(ctx, how, d, found); out.Result != api.ResultDone {
		return errors.New(r.names.veil([]string{d.key})(out.Text))
	}
	return r.put(ctx, call, d, state, found.text)
}
