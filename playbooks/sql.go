package playbooks

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/backstay/backstay/api"
)

type sqlParams struct {
	Integration string     `json:"integration" rule:"required,name" doc:"The database."`
	Endpoint    string     `json:"endpoint,omitempty" doc:"Its endpoint; the first when left out."`
	Statement   string     `json:"statement" rule:"required" doc:"One SQL statement, with placeholders of the database: $1 for PostgreSQL, ? for MySQL and SQLite."`
	Args        []argParam `json:"args,omitempty" doc:"What is bound to the placeholders, in order."`
	Rows        int64      `json:"rows" rule:"required,min=1,max=100000" doc:"Most rows that it may touch; more is rolled back."`
	Count       string     `json:"count,omitempty" doc:"SQL that counts beforehand what the statement would touch: columns items, and amount with currency, of one row. It has no placeholders."`
	Effect      api.Effect `json:"effect,omitempty" rule:"oneof=route|redeliver|reroute|hold|release|restart|scale|repair|notify" default:"repair" doc:"What it does to the world."`
	Danger      string     `json:"danger,omitempty" rule:"oneof=D1|D2|D3|D4" default:"D3" doc:"Its danger class."`
	Repeat      api.Repeat `json:"repeat,omitempty" rule:"oneof=idempotent|blind" default:"blind" doc:"idempotent where it sets a state, so that a repeat changes nothing."`
	Proof       *sqlProof  `json:"proof,omitempty" doc:"A query that tells whether an attempt happened; makes a blind statement queryable."`
}

// argParam is one bound value: a constant, or something of the call. Exactly one field is set.
type argParam struct {
	Text   *string  `json:"text,omitempty" doc:"A text."`
	Number *float64 `json:"number,omitempty" doc:"A number; whole ones are bound as such."`
	Bool   *bool    `json:"bool,omitempty" doc:"true or false."`
	Of     string   `json:"of,omitempty" rule:"oneof=key|remediation|incident|playbook|step" doc:"The step's idempotency key, or a name of the call."`
}

type sqlProof struct {
	Query string     `json:"query" rule:"required" doc:"SQL whose first value says how many: 0 or no row means that it did not happen, more that it did."`
	Args  []argParam `json:"args" rule:"required" doc:"What is bound; of: key belongs among it, or whatever else tells this attempt from others."`
}

var sqlInfo = api.ActionInfo{
	Name: "sql", Version: "1", Effect: api.EffectRepair, Danger: api.D3, Repeat: api.Blind, Counts: true,
	Summary: "Runs one SQL statement in a transaction that is rolled back when it touches more rows than it may.",
}

var sqlAction = Action{
	Info:   sqlInfo,
	Params: func() any { return new(sqlParams) },
	Build: func(step api.Step, params any, env *Env) (Runner, api.StepPlan, error) {
		p := params.(*sqlParams)
		in, err := env.integration(p.Integration)
		if err != nil {
			return nil, api.StepPlan{}, err
		}
		if !hasEndpoint(in, p.Endpoint) {
			return nil, api.StepPlan{}, fmt.Errorf("integration %q has no endpoint %q", p.Integration, p.Endpoint)
		}
		if err := checkStatement(p.Statement); err != nil {
			return nil, api.StepPlan{}, err
		}
		info := sqlInfo
		info.Effect, info.Repeat = cmp.Or(p.Effect, api.EffectRepair), cmp.Or(p.Repeat, api.Blind)
		if p.Danger != "" {
			info.Danger = api.Danger(p.Danger[1]-'0') + api.D0
		}
		info.Counts = p.Count != ""
		args := p.Args
		if p.Proof != nil {
			args = append(append([]argParam{}, args...), p.Proof.Args...)
			if info.Repeat == api.Blind {
				info.Repeat = api.Queryable
			}
		}
		for i, a := range args {
			if _, err := a.value(Call{}); err != nil {
				return nil, api.StepPlan{}, fmt.Errorf("args[%d]: %w", i, err)
			}
		}
		r := &sqlRun{env: env, p: *p}
		return r.with(p), planOf(step, info, "integration/"+p.Integration), nil
	},
}

// value is what is bound.
func (a argParam) value(call Call) (any, error) {
	set := 0
	var v any
	if a.Text != nil {
		set, v = set+1, *a.Text
	}
	if a.Number != nil {
		set, v = set+1, sqlFlag(*a.Number)
	}
	if a.Bool != nil {
		set, v = set+1, *a.Bool
	}
	switch a.Of {
	case "":
	case "key":
		set, v = set+1, call.Key
	case "remediation":
		set, v = set+1, call.Remediation
	case "incident":
		set, v = set+1, call.Incident
	case "playbook":
		set, v = set+1, call.Playbook
	case "step":
		set, v = set+1, call.Step
	default:
		return nil, fmt.Errorf("there is no %q to bind", a.Of)
	}
	if set != 1 {
		return nil, errors.New("give exactly one of text, number, bool or of")
	}
	return v, nil
}

func bind(args []argParam, call Call) ([]any, error) {
	values := make([]any, len(args))
	for i, a := range args {
		v, err := a.value(call)
		if err != nil {
			return nil, fmt.Errorf("args[%d]: %w", i, err)
		}
		values[i] = v
	}
	return values, nil
}

type sqlRun struct {
	env *Env
	p   sqlParams
}

// The runners of a statement differ in what they can say: what it would touch, and whether it happened.
type (
	countedSQLRun struct{ *sqlRun }
	provenSQLRun  struct{ *sqlRun }
	fullSQLRun    struct {
		countedSQLRun
		provenSQLRun
	}
)

// Run is that of the statement, however it was reached.
func (r fullSQLRun) Run(ctx context.Context, call Call) api.Outcome {
	return r.countedSQLRun.Run(ctx, call)
}

func (r *sqlRun) with(p *sqlParams) Runner {
	switch {
	case p.Count != "" && p.Proof != nil:
		return fullSQLRun{countedSQLRun{r}, provenSQLRun{r}}
	case p.Count != "":
		return countedSQLRun{r}
	case p.Proof != nil:
		return provenSQLRun{r}
	}
	return r
}

// Run runs the statement.
func (r *sqlRun) Run(ctx context.Context, call Call) api.Outcome {
	args, err := bind(r.p.Args, call)
	if err != nil {
		return failed("%s; nothing was changed", err)
	}
	db, err := r.env.database(r.p.Integration, r.p.Endpoint)
	if err != nil {
		return failed("%s; nothing was changed", err)
	}
	defer db.Close()
	most := r.p.Rows
	if call.Items > 0 {
		most = min(most, call.Items)
	}
	c := db.change(ctx, most, func(tx *sql.Tx) (int64, error) {
		res, err := tx.ExecContext(ctx, r.p.Statement, args...)
		if err != nil {
			return 0, err
		}
		return res.RowsAffected()
	})
	out := c.outcome()
	if c.err == nil {
		out.Items = c.rows
		if call.Estimate != nil {
			out.Amount = call.Estimate.Amount
		}
	}
	return out
}

// Plan counts what the statement would touch.
func (r countedSQLRun) Plan(ctx context.Context, call Call) (api.Estimate, error) {
	t, err := r.query(ctx, r.p.Count)
	if err != nil {
		return api.Estimate{}, fmt.Errorf("count what the statement would touch: %w", err)
	}
	e := api.Estimate{}
	items, amount, currency := t.column("items"), t.column("amount"), t.column("currency")
	if items < 0 || (amount < 0) != (currency < 0) {
		return e, errors.New("count what the statement would touch: the query needs columns items, and amount with currency or neither")
	}
	for _, row := range t.values {
		n, err := wholeAmount(row[items])
		if err != nil {
			return e, fmt.Errorf("count what the statement would touch: %w", err)
		}
		e.Items += n
		if amount >= 0 && row[currency] != nil {
			n, err := wholeAmount(row[amount])
			if err != nil {
				return e, fmt.Errorf("count what the statement would touch: %w", err)
			}
			code, _ := flagText(row[currency])
			e.Amount = e.Amount.Plus(api.Money{code: n})
		}
	}
	e.Text, e.Noop = fmt.Sprintf("Run a statement on %s that touches %d item(s).", r.p.Integration, e.Items), e.Items == 0
	return e, nil
}

// Look asks whether the statement happened.
func (r provenSQLRun) Look(ctx context.Context, call Call) api.Outcome {
	args, err := bind(r.p.Proof.Args, call)
	if err != nil {
		return unknown("look whether the statement happened: %s", err)
	}
	t, err := r.query(ctx, r.p.Proof.Query, args...)
	if err != nil {
		return unknown("look whether the statement happened: %s", err)
	}
	if len(t.values) == 0 {
		return refused("the proof query gives no row: it did not happen")
	}
	n, err := wholeAmount(t.values[0][0])
	if b, ok := t.values[0][0].(bool); ok {
		n, err = 0, nil
		if b {
			n = 1
		}
	}
	switch {
	case err != nil:
		return unknown("the proof query gives %v, not a count", t.values[0][0])
	case n > 0:
		return done("the proof query gives %d: it happened", n)
	}
	return refused("the proof query gives 0: it did not happen")
}

func (r *sqlRun) query(ctx context.Context, query string, args ...any) (table, error) {
	db, err := r.env.database(r.p.Integration, r.p.Endpoint)
	if err != nil {
		return table{}, err
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: db.dialect != "sqlite"})
	if err != nil {
		return table{}, fmt.Errorf("begin on %s: %s", db.target, plainError(err))
	}
	defer tx.Rollback() // it only reads
	return readRows(ctx, tx, query, 1000, args...)
}
