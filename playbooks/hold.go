package playbooks

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/backstay/backstay/api"
)

// heldMax is the most items that one hold or release touches: its before-image goes into the log.
const heldMax = 5000

type holdParams struct {
	Integration string          `json:"integration" rule:"required,name" doc:"The database, or the HTTP API, that has the flag."`
	Endpoint    string          `json:"endpoint,omitempty" doc:"Its endpoint; the first when left out."`
	Keys        []string        `json:"keys,omitempty" doc:"The items, by key. Give this or query; release of a hold's own items needs neither in SQL. Keys stand in the log as they are, because undo needs them; where they would name people, choose a column that does not."`
	Query       string          `json:"query,omitempty" doc:"SQL that selects the items: column key, and amount (minor units) with currency where money counts."`
	SQL         *sqlFlagParams  `json:"sql,omitempty" doc:"The flag is a column. Give this or http."`
	HTTP        *httpFlagParams `json:"http,omitempty" doc:"The flag is set by an HTTP API, item by item."`
	Most        int64           `json:"most,omitempty" rule:"min=1,max=5000" default:"500" doc:"Most items; more is refused."`
}

type releaseParams struct {
	holdParams
	Of string `json:"of,omitempty" doc:"Name of the hold step of the same playbook: only what that step held in this remediation is released, which is D2. Without it the release is D4, because it may let payments go that a person stopped."`
}

var holdInfo = api.ActionInfo{
	Name: "hold", Version: "1", Effect: api.EffectHold, Danger: api.D2, Repeat: api.Idempotent, Undo: true, Counts: true,
	Summary: "Puts a hold flag on items, such as a payment block on invoices. Undo takes it off exactly the items that this hold put it on.",
}

var hold = Action{
	Info:   holdInfo,
	Params: func() any { return new(holdParams) },
	Build: func(step api.Step, params any, env *Env) (Runner, api.StepPlan, error) {
		p := params.(*holdParams)
		if len(p.Keys) == 0 && p.Query == "" {
			return nil, api.StepPlan{}, errors.New("no items are named; give keys or query")
		}
		r, err := newFlagRun(p, env)
		if err != nil {
			return nil, api.StepPlan{}, err
		}
		return &holdRun{r}, planOf(step, holdInfo, r.target), nil
	},
}

var releaseInfo = api.ActionInfo{
	Name: "release", Version: "1", Effect: api.EffectRelease, Danger: api.D4, Repeat: api.Idempotent, Undo: true, Counts: true,
	Summary: "Takes a hold flag off items. With of it is D2 and touches only what a hold step of the same remediation held; without it is D4.",
}

var release = Action{
	Info:   releaseInfo,
	Params: func() any { return new(releaseParams) },
	Build: func(step api.Step, params any, env *Env) (Runner, api.StepPlan, error) {
		p := params.(*releaseParams)
		if len(p.Keys) == 0 && p.Query == "" && (p.Of == "" || p.SQL == nil) {
			return nil, api.StepPlan{}, errors.New("no items are named; give keys or query, or of with sql")
		}
		r, err := newFlagRun(&p.holdParams, env)
		if err != nil {
			return nil, api.StepPlan{}, err
		}
		info := releaseInfo
		if p.Of != "" {
			info.Danger = api.D2
		}
		return &releaseRun{r, p.Of}, planOf(step, info, r.target), nil
	},
}

// flagItem is one item with its flag.
type flagItem struct {
	Key      string `json:"key"`
	Flag     any    `json:"flag"` // as it was: text, number, bool or null
	Amount   int64  `json:"amount,omitempty"`
	Currency string `json:"currency,omitempty"`
}

// flags is where the flags of items are.
type flags interface {
	// find lists the items that the params name, with their flags; held asks for items with the flag on where none are named.
	find(ctx context.Context, held bool) ([]flagItem, error)
	// set puts flags from what they were to a value, and leaves alone those that somebody changed meanwhile. The outcome's
	// Items counts what was set.
	set(ctx context.Context, items []flagItem, to func(flagItem) any) api.Outcome
	on() any  // the flag's value for held
	off() any // and for free
}

// flagRun is what hold and release share.
type flagRun struct {
	flags
	ledger Ledger
	target string
	scope  string
	most   int64
}

func newFlagRun(p *holdParams, env *Env) (*flagRun, error) {
	in, err := env.integration(p.Integration)
	if err != nil {
		return nil, err
	}
	if !hasEndpoint(in, p.Endpoint) {
		return nil, fmt.Errorf("integration %q has no endpoint %q", p.Integration, p.Endpoint)
	}
	if (p.SQL == nil) == (p.HTTP == nil) {
		return nil, errors.New("give either sql or http: where the flag is")
	}
	if len(p.Keys) > 0 && p.Query != "" {
		return nil, errors.New("give keys or query, not both")
	}
	r := &flagRun{ledger: env.Ledger, most: cmp.Or(p.Most, 500)}
	if p.SQL != nil {
		if err := p.SQL.check(); err != nil {
			return nil, err
		}
		r.flags = &sqlFlags{env: env, p: *p, sql: *p.SQL, most: r.most}
		r.target = "table/" + p.Integration + "/" + p.SQL.Table
		r.scope = "hold/" + p.Integration + "/" + p.SQL.Table + "." + p.SQL.Flag
		return r, nil
	}
	if p.Query != "" {
		return nil, errors.New("query selects from a database; an HTTP flag needs keys")
	}
	if err := p.HTTP.check(); err != nil {
		return nil, err
	}
	r.flags = &httpFlags{env: env, p: *p, http: *p.HTTP}
	r.target = "integration/" + p.Integration
	r.scope = "hold/" + p.Integration + "/" + p.HTTP.Get
	return r, nil
}

// wanted lists the items that a run would change: those whose flag is not as wanted.
func (r *flagRun) wanted(ctx context.Context, on bool, ours func(flagItem) (bool, error)) ([]flagItem, error) {
	items, err := r.find(ctx, !on)
	if err != nil {
		return nil, err
	}
	var list []flagItem
	for _, item := range items {
		if sameFlag(item.Flag, r.on()) == on {
			continue
		}
		mine, err := ours(item)
		if err != nil {
			return nil, err
		}
		if mine {
			list = append(list, item)
		}
	}
	if int64(len(list)) > r.most {
		return nil, fmt.Errorf("%d items are more than the %d that this step may touch", len(list), r.most)
	}
	return list, nil
}

func estimateOf(items []flagItem, text string) (api.Estimate, error) {
	before, err := json.Marshal(items)
	if err != nil {
		return api.Estimate{}, fmt.Errorf("keep the before-image: %w", err)
	}
	return api.Estimate{Text: text, Items: int64(len(items)), Amount: amountOf(items), Before: before, Noop: len(items) == 0}, nil
}

func amountOf(items []flagItem) api.Money {
	sum := api.Money{}
	for _, item := range items {
		if item.Currency != "" {
			sum[item.Currency] += item.Amount
		}
	}
	return sum
}

// overBounds says no to a run that would touch more than what was allowed.
func overBounds(call Call, items int64, amount api.Money) (api.Outcome, bool) {
	if call.Items > 0 && items > call.Items {
		return refused("%d items are more than the %d that are allowed; nothing was changed", items, call.Items), true
	}
	if amount.Exceeds(call.Amount) {
		return refused("%s is more than the %s that is allowed; nothing was changed", amount, call.Amount), true
	}
	return api.Outcome{}, false
}

// planned keeps the items of a fresh look that the plan had seen already. Items that turned up since were not estimated, not
// held against the limits, and have no before-image; they wait for the next run.
func planned(call Call, items []flagItem) ([]flagItem, error) {
	if call.Estimate == nil {
		return items, nil
	}
	var before []flagItem
	if err := json.Unmarshal(call.Estimate.Before, &before); err != nil {
		return nil, fmt.Errorf("read the before-image: %w", err)
	}
	seen := map[string]bool{}
	for _, item := range before {
		seen[item.Key] = true
	}
	return slices.DeleteFunc(items, func(item flagItem) bool { return !seen[item.Key] }), nil
}

func everyItem(flagItem) (bool, error) { return true, nil }

// rows makes ledger rows of one state.
func (r *flagRun) rows(items []flagItem, state, run string) []LedgerRow {
	rows := make([]LedgerRow, len(items))
	for i, item := range items {
		rows[i] = LedgerRow{Scope: r.scope, Key: item.Key, State: state, Run: run, At: time.Now().UTC()}
	}
	return rows
}

// heldBy tells whether an item was held by that run of a step.
func (r *flagRun) heldBy(ctx context.Context, run string) func(flagItem) (bool, error) {
	return func(item flagItem) (bool, error) {
		row, err := r.ledger.Get(ctx, r.scope, item.Key)
		return row.Run == run && (row.State == "intended" || row.State == "held"), err
	}
}

func runOf(call Call, step string) string { return call.Remediation + "/" + step }

// holdRun holds. Setting a flag is idempotent; the ledger says which flags this very step set, so that undo and release can
// leave alone what a person held.
type holdRun struct{ *flagRun }

// Plan lists what is not held yet.
func (r *holdRun) Plan(ctx context.Context, call Call) (api.Estimate, error) {
	items, err := r.wanted(ctx, true, everyItem)
	if err != nil {
		return api.Estimate{}, fmt.Errorf("look for items to hold: %w", err)
	}
	return estimateOf(items, fmt.Sprintf("Hold %d item(s) in %s.", len(items), r.target))
}

// Run holds them.
func (r *holdRun) Run(ctx context.Context, call Call) (out api.Outcome) {
	ctx, record := recording(ctx)
	defer func() { record(&out) }()
	items, err := r.wanted(ctx, true, everyItem)
	if err == nil {
		items, err = planned(call, items)
	}
	if err != nil {
		return failed("look for items to hold: %s; nothing was changed", err)
	}
	if no, over := overBounds(call, int64(len(items)), amountOf(items)); over {
		return no
	}
	run := runOf(call, call.Step)
	if len(items) > 0 {
		if err := r.ledger.Put(ctx, r.rows(items, "intended", run)...); err != nil {
			return failed("remember what is to be held: %s; nothing was changed", err)
		}
		if out = r.set(ctx, items, func(flagItem) any { return r.on() }); out.Result != api.ResultDone {
			return r.disown(ctx, run, out)
		}
	}
	return r.settled(ctx, call, out)
}

// disown forgets what a hold that did not go well left free, so that its undo cannot free what a person holds later. What
// cannot be read or written now stays remembered as intended, which the outcome says.
func (r *holdRun) disown(ctx context.Context, run string, out api.Outcome) api.Outcome {
	all, err := r.find(ctx, false)
	var free []flagItem
	for _, item := range all {
		if !sameFlag(item.Flag, r.on()) {
			free = append(free, item)
		}
	}
	if err == nil && len(free) > 0 {
		err = r.ledger.Put(ctx, r.rows(free, "not held", run)...)
	}
	if err != nil {
		out.Facts = append(out.Facts, api.Fact{Name: "not known", Value: "which items are held by this step: " + err.Error()})
	}
	return out
}

// settled reads again and counts what is held now by this step.
func (r *holdRun) settled(ctx context.Context, call Call, out api.Outcome) api.Outcome {
	all, err := r.find(ctx, false)
	if err != nil {
		return unknown("hold items: they were set, but cannot be read again: %s", err)
	}
	ours := r.heldBy(ctx, runOf(call, call.Step))
	var held []flagItem
	for _, item := range all {
		mine, err := ours(item)
		if err != nil {
			return unknown("hold items: they were set, but the ledger cannot be read: %s", err)
		}
		if mine && sameFlag(item.Flag, r.on()) {
			held = append(held, item)
		}
	}
	if len(held) > 0 {
		if err := r.ledger.Put(ctx, r.rows(held, "held", runOf(call, call.Step))...); err != nil {
			return unknown("hold items: they were set, but the ledger cannot be written: %s", err)
		}
	}
	result := done("%d item(s) held by this step in %s, and read again", len(held), r.target)
	result.Items, result.Amount, result.Facts = int64(len(held)), amountOf(held), out.Facts
	return result
}

// Undo gives the items that this hold set their old flags, where nobody changed them since.
func (r *holdRun) Undo(ctx context.Context, call Call) (out api.Outcome) {
	ctx, record := recording(ctx)
	defer func() { record(&out) }()
	var before []flagItem
	if call.Estimate == nil || json.Unmarshal(call.Estimate.Before, &before) != nil {
		return refused("undo the hold: there is no before-image")
	}
	old, ours := map[string]any{}, r.heldBy(ctx, runOf(call, call.Step))
	var items []flagItem
	for _, item := range before {
		mine, err := ours(item)
		if err != nil {
			return failed("undo the hold: read the ledger: %s; nothing was changed", err)
		}
		if mine {
			old[item.Key] = item.Flag
			item.Flag = r.on()
			items = append(items, item)
		}
	}
	if out = r.set(ctx, items, func(item flagItem) any { return old[item.Key] }); out.Result != api.ResultDone {
		return out
	}
	if err := r.ledger.Put(ctx, r.rows(items, "released", runOf(call, call.Step))...); err != nil {
		return unknown("undo the hold: the flags were restored, but the ledger cannot be written: %s", err)
	}
	out.Text = fmt.Sprintf("%d of %d item(s) that this step held are free again", out.Items, len(items))
	return out
}

// releaseRun releases.
type releaseRun struct {
	*flagRun
	of string
}

func (r *releaseRun) ours(ctx context.Context, call Call) func(flagItem) (bool, error) {
	if r.of == "" {
		return everyItem
	}
	return r.heldBy(ctx, runOf(call, r.of))
}

// Plan lists what is held and may be released.
func (r *releaseRun) Plan(ctx context.Context, call Call) (api.Estimate, error) {
	items, err := r.wanted(ctx, false, r.ours(ctx, call))
	if err != nil {
		return api.Estimate{}, fmt.Errorf("look for items to release: %w", err)
	}
	return estimateOf(items, fmt.Sprintf("Release %d item(s) in %s.", len(items), r.target))
}

// Run releases them.
func (r *releaseRun) Run(ctx context.Context, call Call) (out api.Outcome) {
	ctx, record := recording(ctx)
	defer func() { record(&out) }()
	items, err := r.wanted(ctx, false, r.ours(ctx, call))
	if err == nil {
		items, err = planned(call, items)
	}
	if err != nil {
		return failed("look for items to release: %s; nothing was changed", err)
	}
	amount := amountOf(items)
	if no, over := overBounds(call, int64(len(items)), amount); over {
		return no
	}
	if out = r.set(ctx, items, func(flagItem) any { return r.off() }); out.Result != api.ResultDone {
		return out
	}
	if err := r.ledger.Put(ctx, r.rows(items, "released", runOf(call, call.Step))...); err != nil {
		return unknown("release items: the flags are off, but the ledger cannot be written: %s", err)
	}
	out.Text, out.Amount = fmt.Sprintf("%d of %d item(s) released in %s", out.Items, len(items), r.target), amount
	return out
}

// Undo holds again what this release freed, where nobody changed it since.
func (r *releaseRun) Undo(ctx context.Context, call Call) (out api.Outcome) {
	ctx, record := recording(ctx)
	defer func() { record(&out) }()
	var before []flagItem
	if call.Estimate == nil || json.Unmarshal(call.Estimate.Before, &before) != nil {
		return refused("undo the release: there is no before-image")
	}
	old := map[string]any{}
	for i, item := range before {
		old[item.Key] = item.Flag
		before[i].Flag = r.off()
	}
	out = r.set(ctx, before, func(item flagItem) any { return old[item.Key] })
	if out.Result == api.ResultDone {
		out.Text = fmt.Sprintf("%d of %d item(s) are held again", out.Items, len(before))
	}
	return out
}
