package playbooks

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/backstay/backstay/api"
)

// RequeueParams are the parameters of requeue. A table marks what is being worked on in one of two ways: a column with
// the time of the claim (claimed), or one with a state (state, stuck, ready).
type RequeueParams struct {
	Integration string          `json:"integration" rule:"required,name" doc:"The database."`
	Endpoint    string          `json:"endpoint,omitempty" doc:"Which endpoint of it; the first when left out."`
	Table       string          `json:"table" rule:"required" doc:"The outbox or task table, or schema.table."`
	ID          string          `json:"id,omitempty" default:"id" doc:"The column that tells rows apart and rises with time."`
	Claimed     string          `json:"claimed,omitempty" doc:"The column that a worker sets to the time when it takes a row; requeue clears it."`
	Finished    string          `json:"finished,omitempty" doc:"The column that is null until the work is done."`
	State       string          `json:"state,omitempty" doc:"The column with the row's state, instead of claimed."`
	Stuck       json.RawMessage `json:"stuck,omitempty" doc:"The state that is stuck, such as dead or working."`
	Ready       json.RawMessage `json:"ready,omitempty" doc:"The state that makes a worker take it again, such as ready."`
	Since       string          `json:"since,omitempty" doc:"The column with the time since which it is so: a timestamp, or whole seconds or milliseconds since 1970. The claimed column when left out."`
	OlderThan   api.Duration    `json:"olderThan" rule:"required" doc:"Only rows that have been so for this long: longer than any honest work takes."`
	OrderBy     string          `json:"orderBy,omitempty" doc:"The column of what must stay in order: a row that is left holds back all later ones with the same value."`
	Limit       int64           `json:"limit,omitempty" rule:"min=1,max=10000" default:"1000" doc:"Most rows one step takes."`
	Attempts    int64           `json:"attempts,omitempty" rule:"min=1,max=100" default:"3" doc:"A row that was requeued this often is poison: it is left and reported."`
	Personal    bool            `json:"personal,omitempty" doc:"The ids of the rows name people: facts, texts and the ledger hold keyed hashes of them, the same as those of a probe marked personal."`
	Wake        string          `json:"wake,omitempty" doc:"A PostgreSQL channel to notify, for workers that listen."`
}

// requeue gives stuck rows of an outbox back to its workers.
//
// It compares and sets: a row is changed only while it still has the state and the time that were read, within one
// transaction, under a lock. A repeat finds rows that were requeued no longer stuck, or claimed anew and too young; so its
// repeat class is idempotent. What a worker did before it got stuck may be done again: hence D3.
var requeue = Action{Info: requeueInfo, Params: func() any { return &RequeueParams{} }, Build: buildRequeue}

var requeueInfo = api.ActionInfo{
	Name: "requeue", Version: "1", Summary: "Give stuck rows of an outbox or task table back to its workers, in order, with a bound.",
	Effect: api.EffectRedeliver, Danger: api.D3, Repeat: api.Idempotent, Counts: true,
}

// requeueScanMax bounds the rows that are looked at for one step.
const requeueScanMax = 10_000

type requeueRun struct {
	env          *Env
	p            RequeueParams
	stuck, ready any
	names        namer
}

func buildRequeue(step api.Step, params any, env *Env) (Runner, api.StepPlan, error) {
	p := *params.(*RequeueParams)
	plan := planOf(step, requeueInfo, "table/"+p.Integration+"/"+p.Table)
	r := &requeueRun{env: env, p: p}
	if (p.Claimed == "") == (p.State == "") {
		return nil, plan, errors.New("give either claimed, or state with stuck and ready")
	}
	if p.State != "" {
		if len(p.Stuck) == 0 || len(p.Ready) == 0 || p.Since == "" {
			return nil, plan, errors.New("state needs stuck, ready and since")
		}
		var err error
		if r.stuck, err = flagValue(p.Stuck, nil); err != nil {
			return nil, plan, err
		}
		if r.ready, err = flagValue(p.Ready, nil); err != nil {
			return nil, plan, err
		}
		if r.stuck == nil {
			return nil, plan, errors.New("stuck must be a value, not null")
		}
	}
	if r.p.Since == "" {
		r.p.Since = p.Claimed
	}
	for _, name := range [][2]string{{"table", p.Table}, {"id", p.ID}, {"claimed", p.Claimed}, {"finished", p.Finished}, {"state", p.State}, {"since", r.p.Since}, {"orderBy", p.OrderBy}} {
		if name[1] == "" {
			continue
		}
		if err := checkIdentifier(name[0], name[1]); err != nil {
			return nil, plan, err
		}
	}
	if _, err := env.integration(p.Integration); err != nil {
		return nil, plan, err
	}
	var err error
	r.names, err = env.namer(p.Personal)
	return r, plan, err
}

// stuckRow is one row that is stuck for long enough.
type stuckRow struct {
	id, since any
	key       string // the id as text
	name      string // what it is called in texts and the ledger
	order     string
	times     int64 // requeued before
}

// stuckRows is what a look at the table gave.
type stuckRows struct {
	take   []stuckRow
	poison []string // names of rows that were requeued too often
	all    int64    // rows that are stuck or being worked on
}

func (r *requeueRun) scope() string { return "requeue/" + r.p.Integration + "/" + r.p.Table }

// query reads what is stuck, oldest first. A worker that holds a row's lock is alive: its row is skipped, or with an order
// to keep, stops the step.
func (r *requeueRun) query(db *database, lock bool) (text string, args []any) {
	order := "''"
	if r.p.OrderBy != "" {
		order = db.quote(r.p.OrderBy)
	}
	text = fmt.Sprintf("select %s, %s, %s, current_timestamp from %s where ", db.quote(r.p.ID), db.quote(r.p.Since), order, db.quote(r.p.Table))
	if r.p.State != "" {
		text += db.quote(r.p.State) + " = " + db.mark(1)
		args = append(args, r.stuck)
	} else {
		text += db.quote(r.p.Claimed) + " is not null"
	}
	if r.p.Finished != "" {
		text += " and " + db.quote(r.p.Finished) + " is null"
	}
	text += " order by " + db.quote(r.p.ID) + " limit " + strconv.Itoa(requeueScanMax)
	switch {
	case db.dialect == "sqlite" || !lock: // SQLite's transaction holds the only write lock there is
	case r.p.OrderBy == "":
		text += " for update skip locked"
	default:
		text += " for update nowait"
	}
	return text, args
}

// find reads the table and decides which rows to take, at most so many.
func (r *requeueRun) find(ctx context.Context, db *database, tx *sql.Tx, most int64) (found stuckRows, err error) {
	text, args := r.query(db, most > 0)
	t, err := readRows(ctx, tx, text, requeueScanMax, args...)
	if err != nil {
		return found, r.names.reading(err)
	}
	held := map[string]bool{}
	for _, v := range t.values {
		found.all++
		row := stuckRow{id: v[0], since: v[1], key: fmt.Sprint(v[0]), order: fmt.Sprint(v[2])}
		row.name = r.names.name(row.key)
		age, err := rowAge(v[1], v[3])
		if err != nil {
			return found, fmt.Errorf("row %s: column %s: %w", row.name, r.p.Since, err)
		}
		take := age >= r.p.OlderThan.Duration && !held[row.order] && (most == 0 || int64(len(found.take)) < most)
		if take {
			if row.times, err = r.times(ctx, row.key); err != nil {
				return found, err
			}
			if row.times >= r.p.Attempts {
				found.poison = append(found.poison, row.name)
				take = false
			}
		}
		if take {
			found.take = append(found.take, row)
		} else if r.p.OrderBy != "" {
			held[row.order] = true
		}
	}
	return found, nil
}

// times is how often a row was requeued before.
func (r *requeueRun) times(ctx context.Context, key string) (int64, error) {
	row, err := r.names.row(ctx, r.env.Ledger, r.scope(), "", key)
	if err != nil {
		return 0, fmt.Errorf("read the ledger: %w", err)
	}
	if row.Note == "" {
		return 0, nil
	}
	return strconv.ParseInt(row.Note, 10, 64)
}

// rowAge compares a time of a row with the database's own clock. Whole numbers are compared with ours.
func rowAge(since, now any) (time.Duration, error) {
	switch s := since.(type) {
	case int64:
		if s > 100_000_000_000 { // milliseconds: as seconds it would be the year 5138
			return time.Since(time.UnixMilli(s)), nil
		}
		return time.Since(time.Unix(s, 0)), nil
	case time.Time:
		n, ok := now.(time.Time)
		if !ok {
			n = time.Now()
		}
		return n.Sub(s), nil
	case string:
		from, err := parseRowTime(s)
		if err != nil {
			return 0, err
		}
		switch n := now.(type) {
		case time.Time:
			return n.Sub(from), nil
		case string:
			to, err := parseRowTime(n)
			return to.Sub(from), err
		}
	}
	return 0, fmt.Errorf("%v is not a time", since)
}

func parseRowTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999-07:00"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%.40q is not a time", s)
}

// Plan counts what is stuck; it changes nothing and leaves no lock.
func (r *requeueRun) Plan(ctx context.Context, call Call) (api.Estimate, error) {
	db, err := r.env.database(r.p.Integration, r.p.Endpoint)
	if err != nil {
		return api.Estimate{}, err
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: db.dialect != "sqlite"})
	if err != nil {
		return api.Estimate{}, fmt.Errorf("begin on %s: %s", db.target, plainError(err))
	}
	defer tx.Rollback() // it only reads
	found, err := r.find(ctx, db, tx, 0)
	if err != nil {
		return api.Estimate{}, fmt.Errorf("read %s: %w", db.target, err)
	}
	n := min(int64(len(found.take)), r.p.Limit)
	text := fmt.Sprintf("requeue %d of %d row(s) of %s", n, found.all, r.p.Table)
	if len(found.poison) > 0 {
		text += fmt.Sprintf("; %d were requeued %d time(s) and are left", len(found.poison), r.p.Attempts)
	}
	return api.Estimate{Text: text, Items: n, Total: found.all, Noop: n == 0}, nil
}

// Run requeues. The ledger knows of each row before the change is committed, so that a crash can only make it count once too often.
func (r *requeueRun) Run(ctx context.Context, call Call) api.Outcome {
	db, err := r.env.database(r.p.Integration, r.p.Endpoint)
	if err != nil {
		return failed("%s", err)
	}
	defer db.Close()
	most := r.p.Limit
	if call.Items > 0 {
		most = min(most, call.Items)
	}
	var found stuckRows
	result := db.change(ctx, most, func(tx *sql.Tx) (int64, error) {
		if found, err = r.find(ctx, db, tx, most); err != nil {
			return 0, err
		}
		if err := r.record(ctx, call, found.take, "intended"); err != nil {
			return 0, err
		}
		return r.set(ctx, db, tx, found.take)
	})
	out := result.outcome()
	if len(found.poison) > 0 {
		out.Facts = append(out.Facts, api.Fact{Name: "poison", Value: cut(fmt.Sprint(found.poison), 1000)})
	}
	if out.Result != api.ResultDone {
		keys := make([]string, len(found.take))
		for i, row := range found.take {
			keys[i] = row.key
		}
		out.Text = r.names.veil(keys)(out.Text)
		return out
	}
	out.Items = result.rows
	out.Text = fmt.Sprintf("%d row(s) of %s given back to the workers", result.rows, r.p.Table)
	if len(found.poison) > 0 {
		out.Text += fmt.Sprintf("; %d were requeued %d time(s) before and are left for a person", len(found.poison), r.p.Attempts)
	}
	if err := r.record(ctx, call, found.take, "requeued"); err != nil {
		out.Text += "; the ledger still says intended: " + err.Error()
	}
	return out
}

// set changes the rows, each only if it still is as it was read.
func (r *requeueRun) set(ctx context.Context, db *database, tx *sql.Tx, rows []stuckRow) (n int64, err error) {
	column := r.p.Claimed
	if r.p.State != "" {
		column = r.p.State
	}
	text := fmt.Sprintf("update %s set %s = %s where %s = %s and %s = %s", db.quote(r.p.Table), db.quote(column), db.mark(1), db.quote(r.p.ID), db.mark(2), db.quote(r.p.Since), db.mark(3))
	for _, row := range rows {
		args := []any{r.ready, row.id, row.since}
		query := text
		if r.p.State != "" {
			query, args = text+" and "+db.quote(column)+" = "+db.mark(4), append(args, r.stuck)
		}
		res, err := tx.ExecContext(ctx, query, args...)
		if err != nil {
			return 0, err
		}
		changed, err := res.RowsAffected()
		if err != nil {
			return 0, err
		}
		if changed > 1 {
			return 0, fmt.Errorf("column %s does not tell rows apart: %d have the value %s", r.p.ID, changed, row.name)
		}
		n += changed
	}
	if r.p.Wake != "" && n > 0 {
		if db.dialect != "postgres" {
			return 0, errors.New("wake is for PostgreSQL only")
		}
		if _, err := tx.ExecContext(ctx, "select pg_notify($1, '')", r.p.Wake); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// record writes the rows into the ledger.
func (r *requeueRun) record(ctx context.Context, call Call, rows []stuckRow, state string) error {
	list := make([]LedgerRow, len(rows))
	for i, row := range rows {
		list[i] = LedgerRow{Scope: r.scope(), Key: row.name, State: state, Run: call.Remediation + "/" + call.Step, Note: strconv.FormatInt(row.times+1, 10), At: time.Now().UTC()}
	}
	if len(list) == 0 {
		return nil
	}
	if err := r.env.Ledger.Put(ctx, list...); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	return nil
}
