// Package playbooks holds the hands: one file per action. An action decodes its own parameters strictly, documents them by
// struct tags, declares effect, danger class, repeat class and undo, and does no I/O when built.
package playbooks

import (
	"context"
	"net/http"
	"time"

	"github.com/backstay/backstay/api"
)

// Action is one kind of step.
type Action struct {
	Info   api.ActionInfo
	Params func() any // pointer to a new params struct; its tags are the documentation and the schema
	// Build makes a step from its decoded params. It does no I/O. The plan may sharpen Info and names the targets.
	Build func(step api.Step, params any, env *Env) (Runner, api.StepPlan, error)
}

// Actions lists all actions, in the order of the reference pages. A new action is one file and one line here.
var Actions = []Action{
	failover,
	failback,
	hold,
	release,
	replay,
	requeue,
	reroute,
	resolve,
	restart,
	httpAction,
	sqlAction,
	unblock,
	expect,
	wait,
	ask,
	notify,
}

// Runner performs one step. Run returns by ctx's deadline. It reports Unknown whenever the effect may have happened and
// nobody here can tell: a time-out after sending is Unknown, a refused connection is Failed.
// Steps with a Control (wait, ask, expect) have no Runner.
type Runner interface {
	Run(ctx context.Context, call Call) api.Outcome
}

// Planner is a Runner that can say beforehand, by reading only, what it would touch; every action that counts or can be
// undone is one.
type Planner interface {
	Plan(ctx context.Context, call Call) (api.Estimate, error)
}

// Looker is a Runner whose target can be asked whether an earlier attempt with the same key happened.
// Done: it happened. Refused: it definitely did not. Unknown: cannot tell yet.
type Looker interface {
	Look(ctx context.Context, call Call) api.Outcome
}

// Undoer is a Runner that can restore Estimate.Before.
type Undoer interface {
	Undo(ctx context.Context, call Call) api.Outcome
}

// Call is one attempt.
type Call struct {
	Key         string // idempotency key: the same for every repeat of the step
	Remediation string
	Incident    string
	Playbook    string
	Step        string
	Attempt     int
	Fence       int64
	Items       int64         // most items it may touch; 0 means no bound
	Amount      api.Money     // most money it may touch; empty means no bound
	Estimate    *api.Estimate // what Plan found
	Outcome     *api.Outcome  // for Look and Undo: what the forward attempt reported, if it did
	Message     *Message      // for notify: what to tell
}

// Message is what people are told.
type Message struct {
	Title, Text, Severity, Dedup string
	Resolved                     bool
}

// Env is what actions share. One Env lives as long as the process.
type Env struct {
	Integration  func(name string) (api.Integration, bool)
	Integrations func() []api.Integration
	Secret       func(api.Secret) (string, error)
	HTTP         *http.Client // the outbound client: retries within one attempt, a circuit breaker per target; see NewOutbound
	Ledger       Ledger
	Commands     []string                // executables that restart may run: absolute paths
	Personal     func(key string) string // hashes a key that names a person, as probes marked personal do; nil: no step can be marked
}

// Ledger remembers what was done to each item, durably, so that a crash in the middle of a batch repeats nothing.
// Scope names the batch's stream (such as "replay/captures.dlq"); key names the item.
type Ledger interface {
	// Get gives the state of an item; "" where it was never seen.
	Get(ctx context.Context, scope, key string) (LedgerRow, error)
	// Put records states, all or none, durable when it returns.
	Put(ctx context.Context, rows ...LedgerRow) error
	// Count counts the items of a scope by state.
	Count(ctx context.Context, scope string) (map[string]int64, error)
}

// LedgerRow is one item's state.
type LedgerRow struct {
	Scope, Key string
	State      string // the action's own word: intended, done, quarantined, unknown ...
	Hash       string // of the item's payload
	Run        string // remediation and step
	Note       string
	At         time.Time
}

// Find gives the action of that name.
func Find(name string) (Action, bool) {
	for _, a := range Actions {
		if a.Info.Name == name {
			return a, true
		}
	}
	return Action{}, false
}
