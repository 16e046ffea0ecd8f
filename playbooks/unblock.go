package playbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

type unblockParams struct {
	Integration string         `json:"integration" rule:"required,name" doc:"The PostgreSQL database. Its user needs pg_signal_backend, and pg_read_all_stats to see who blocks."`
	Endpoint    string         `json:"endpoint,omitempty" doc:"Its endpoint; the first when left out."`
	Allow       []sessionMatch `json:"allow" rule:"required" doc:"Sessions that may be ended: each entry names application, user or both. Anything else is reported and left alone."`
	States      []string       `json:"states,omitempty" doc:"States in which a session may be ended; idle in transaction (also aborted) when left out."`
	MinAge      api.Duration   `json:"minAge,omitempty" rule:"min=1s" default:"1m" doc:"Shortest time that a session must have been in that state; of an active one, in its transaction."`
	Most        int            `json:"most,omitempty" rule:"min=1,max=20" default:"1" doc:"Most sessions ended in one run."`
}

// sessionMatch names sessions by patterns with * and ?.
type sessionMatch struct {
	Application string `json:"application,omitempty" doc:"Pattern of application_name, such as report-*."`
	User        string `json:"user,omitempty" doc:"Pattern of the database user."`
}

var unblockInfo = api.ActionInfo{
	Name: "unblock", Version: "1", Effect: api.EffectRepair, Danger: api.D1, Repeat: api.Idempotent, Counts: true,
	Summary: "Finds the sessions at the root of a PostgreSQL lock queue and ends those that are on an allow-list and idle in a transaction; their transactions roll back.",
}

var unblock = Action{
	Info:   unblockInfo,
	Params: func() any { return new(unblockParams) },
	Build: func(step api.Step, params any, env *Env) (Runner, api.StepPlan, error) {
		p := params.(*unblockParams)
		in, err := env.integration(p.Integration)
		if err != nil {
			return nil, api.StepPlan{}, err
		}
		if !hasEndpoint(in, p.Endpoint) {
			return nil, api.StepPlan{}, fmt.Errorf("integration %q has no endpoint %q", p.Integration, p.Endpoint)
		}
		for _, m := range p.Allow {
			if strings.Trim(m.Application, "*") == "" && strings.Trim(m.User, "*") == "" {
				return nil, api.StepPlan{}, errors.New("allow has an entry that matches every session; name an application or a user")
			}
			for _, pattern := range []string{m.Application, m.User} {
				if _, err := path.Match(pattern, ""); err != nil {
					return nil, api.StepPlan{}, fmt.Errorf("allow: %q is not a pattern", pattern)
				}
			}
		}
		if len(p.States) == 0 {
			p.States = []string{"idle in transaction", "idle in transaction (aborted)"}
		}
		for _, s := range p.States {
			if !slices.Contains([]string{"idle in transaction", "idle in transaction (aborted)", "active"}, s) {
				return nil, api.StepPlan{}, fmt.Errorf("states: a session in state %q is not ended; the states are idle in transaction, idle in transaction (aborted) and active", s)
			}
		}
		p.Most = max(p.Most, 1)
		return &unblockRun{env: env, p: *p}, planOf(step, unblockInfo, "integration/"+p.Integration), nil
	},
}

// blocker is a session at the root of a lock queue: others wait for it, it waits for none.
type blocker struct {
	PID         int64         `json:"pid"`
	Started     time.Time     `json:"started"` // with PID it tells this session from a later one of the same number
	Application string        `json:"application"`
	User        string        `json:"user"`
	Client      string        `json:"client,omitempty"`
	State       string        `json:"state"`
	Age         time.Duration `json:"age"` // in that state; of an active one, in its transaction
	Kind        string        `json:"kind"`
	Waiting     int64         `json:"waiting"`
}

// String says who it is. The statement is left out, because it may hold personal data.
func (b blocker) String() string {
	who := fmt.Sprintf("pid %d, application %q, user %q", b.PID, b.Application, b.User)
	if b.Client != "" {
		who += ", from " + b.Client
	}
	return fmt.Sprintf("%s, %s for %s, %d waiting", who, b.State, b.Age.Truncate(100*time.Millisecond), b.Waiting)
}

// unblockRun ends blockers. It is idempotent: it ends only sessions that Plan saw, told apart by pid and start, so a repeat
// finds them gone and can reach no other.
type unblockRun struct {
	env *Env
	p   unblockParams
}

const blockersQuery = `
WITH waiting AS (
	SELECT pid, unnest(pg_blocking_pids(pid)) AS blocker FROM pg_stat_activity
	WHERE datname = current_database() AND wait_event_type = 'Lock'
)
SELECT a.pid, a.backend_start, coalesce(a.application_name, ''), coalesce(a.usename::text, ''), coalesce(host(a.client_addr), ''),
	coalesce(a.state, ''), coalesce(a.backend_type, ''), count(DISTINCT w.pid),
	coalesce(extract(epoch FROM clock_timestamp() - CASE WHEN a.state = 'active' THEN a.xact_start ELSE a.state_change END), 0)::float8
FROM waiting w JOIN pg_stat_activity a ON a.pid = w.blocker
WHERE a.pid <> pg_backend_pid() AND NOT EXISTS (SELECT 1 FROM waiting x WHERE x.pid = a.pid)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 9
ORDER BY 8 DESC, 1`

func (r *unblockRun) blockers(ctx context.Context, db *database) ([]blocker, error) {
	rows, err := db.QueryContext(ctx, blockersQuery)
	if err != nil {
		return nil, fmt.Errorf("ask %s who blocks: %s", db.target, plainError(err))
	}
	defer rows.Close()
	var list []blocker
	for rows.Next() {
		var b blocker
		var seconds float64
		if err := rows.Scan(&b.PID, &b.Started, &b.Application, &b.User, &b.Client, &b.State, &b.Kind, &b.Waiting, &seconds); err != nil {
			return nil, fmt.Errorf("ask %s who blocks: %s", db.target, plainError(err))
		}
		b.Age = time.Duration(seconds * float64(time.Second))
		list = append(list, b)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("ask %s who blocks: %s", db.target, plainError(err))
	}
	return list, nil
}

// may says why a session must be left alone; "" where it may be ended.
func (r *unblockRun) may(b blocker) string {
	allowed := slices.ContainsFunc(r.p.Allow, func(m sessionMatch) bool {
		application, user := true, true
		if m.Application != "" {
			application, _ = path.Match(m.Application, b.Application) // checked when built
		}
		if m.User != "" {
			user, _ = path.Match(m.User, b.User)
		}
		return application && user
	})
	switch {
	case b.Kind != "client backend":
		return "it is no client but the server's own " + b.Kind
	case !allowed:
		return "it is not on the allow-list"
	case !slices.Contains(r.p.States, b.State):
		return "it is " + b.State
	case b.Age < r.p.MinAge.Duration:
		return fmt.Sprintf("it has not been so for %s yet", r.p.MinAge)
	}
	return ""
}

// sort parts blockers into those to end and sentences about those to leave alone.
func (r *unblockRun) sort(list []blocker) (end []blocker, leave []string) {
	for _, b := range list {
		if why := r.may(b); why != "" {
			leave = append(leave, b.String()+": "+why)
		} else if len(end) == r.p.Most {
			leave = append(leave, fmt.Sprintf("%s: at most %d are ended in one run", b, r.p.Most))
		} else {
			end = append(end, b)
		}
	}
	return end, leave
}

func (r *unblockRun) open() (*database, error) {
	db, err := r.env.database(r.p.Integration, r.p.Endpoint)
	if err == nil && db.dialect != "postgres" {
		db.Close()
		return nil, fmt.Errorf("%s is not a PostgreSQL database", db.target)
	}
	return db, err
}

// Plan finds who blocks and who of them may be ended.
func (r *unblockRun) Plan(ctx context.Context, call Call) (api.Estimate, error) {
	db, err := r.open()
	if err != nil {
		return api.Estimate{}, err
	}
	defer db.Close()
	list, err := r.blockers(ctx, db)
	if err != nil {
		return api.Estimate{}, err
	}
	end, leave := r.sort(list)
	before, err := json.Marshal(end)
	if err != nil {
		return api.Estimate{}, fmt.Errorf("keep what was seen: %w", err)
	}
	e := api.Estimate{Items: int64(len(end)), Before: before, Noop: len(list) == 0, Text: "No session blocks others."}
	if len(list) > 0 {
		e.Text = fmt.Sprintf("End %d of %d blocking session(s).", len(end), len(list))
	}
	for _, b := range end {
		e.Text += " End " + b.String() + "."
	}
	for _, why := range leave {
		e.Text += " Leave " + why + "."
	}
	e.Text = cut(e.Text, 1000)
	return e, nil
}

// Run ends them and waits until they are gone.
func (r *unblockRun) Run(ctx context.Context, call Call) api.Outcome {
	var seen []blocker
	if call.Estimate == nil || json.Unmarshal(call.Estimate.Before, &seen) != nil {
		return failed("end blocking sessions: there is no plan that says which; nothing was done")
	}
	db, err := r.open()
	if err != nil {
		return failed("%s; nothing was done", err)
	}
	defer db.Close()
	list, err := r.blockers(ctx, db)
	if err != nil {
		return failed("%s; nothing was done", err)
	}
	end, leave := r.sort(list)
	end = slices.DeleteFunc(end, func(b blocker) bool { return !among(seen, b) })
	facts := []api.Fact{}
	for _, why := range leave {
		facts = append(facts, api.Fact{Name: "left alone", Value: why})
	}
	if call.Items > 0 && int64(len(end)) > call.Items {
		return withFacts(refused("%d sessions are more than the %d that are allowed; none was ended", len(end), call.Items), facts)
	}
	if len(seen) > 0 && !slices.ContainsFunc(list, func(b blocker) bool { return among(seen, b) }) {
		return withFacts(done("none of the %d session(s) that were to be ended blocks others any more", len(seen)), facts)
	}
	if len(end) == 0 && len(leave) > 0 {
		return withFacts(refused("no session was ended: %s", strings.Join(leave, "; ")), facts)
	}
	var ended int64
	for _, b := range end {
		facts = append(facts, api.Fact{Name: "ended", Value: b.String()})
		if out := r.end(ctx, db, b); out.Result != api.ResultDone {
			if ended > 0 && out.Result == api.ResultRefused {
				out.Result = api.ResultFailed
			}
			out.Items, out.Facts = ended, facts
			return out
		}
		ended++
	}
	out := withFacts(done("%d blocking session(s) ended and seen to be gone", ended), facts)
	out.Items = ended
	return out
}

// among tells whether a session is one of a list: the same number and the same start.
func among(list []blocker, b blocker) bool {
	return slices.ContainsFunc(list, func(s blocker) bool { return s.PID == b.PID && s.Started.Equal(b.Started) })
}

// end asks the server to end one session, in a statement that checks once more that it is the same one, doing the same, and
// then waits until it is gone.
func (r *unblockRun) end(ctx context.Context, db *database, b blocker) api.Outcome {
	rows, err := db.QueryContext(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2 AND state = $3`, b.PID, b.Started, b.State)
	signalled, found := false, false
	if err == nil {
		for rows.Next() {
			found = true
			err = rows.Scan(&signalled)
		}
		err = errors.Join(err, rows.Err(), rows.Close())
	}
	if err != nil && strings.Contains(err.Error(), "42501") { // insufficient_privilege
		return refused("end pid %d: %s; grant pg_signal_backend", b.PID, plainError(err))
	}
	if err == nil && found && !signalled {
		return refused("end pid %d: the server did not signal it", b.PID)
	}
	for {
		var left int64
		readErr := db.QueryRowContext(ctx, `SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2`, b.PID, b.Started).Scan(&left)
		switch {
		case readErr != nil:
			return unknown("end pid %d: whether it is gone cannot be read: %s", b.PID, plainError(readErr))
		case left == 0:
			return done("pid %d is gone", b.PID)
		case err != nil:
			return failed("end pid %d: %s; it is still there", b.PID, plainError(err))
		case !found:
			return refused("pid %d went on working meanwhile and was left alone", b.PID)
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return unknown("end pid %d: it was signalled, but is still there at the deadline", b.PID)
		}
	}
}
