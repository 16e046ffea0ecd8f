// Package engine decides: incidents, guards, remediations, approvals. It is pure. Events go in; entries for the log,
// commands for the shell and a time to be woken come out.
//
// The shell's contract, in this order and without exception:
//  1. feed an Event to Step;
//  2. make Output.Entries durable (a failure to do so ends the process);
//  3. perform Output.Commands, concurrently if it likes, and feed each one's result back as an Event;
//  4. bring a Tick at Output.Wake at the latest.
//
// Durable state changes only by applying entries: Step calls the same apply for the entries it emits as a restart does for
// the entries it reads. So snapshot + entries is the whole state, and the same entries give the same state to the byte.
// After New or Restore (and Apply of the entries since) the shell feeds Restarted, then a Config; nothing is decided before the
// Config. Then it reports what its probes see: anomalies from before the restart trigger and corroborate nothing until they are
// seen again (Open lists them; feed a cleared one for each that is over; the engine itself clears one that a well probe has not
// reported for 15 minutes). The engine then says what to do about every step that was under way.
//
// More that the shell must keep:
//   - Event.At comes from a clock that does not jump forward within one life of the process: take the wall clock at the start
//     and add monotonic time. Deadlines rest on it: nothing of a command may be sent after its Deadline.
//   - Every command but Notify gets exactly one result; one that gets none is given up 5 s after its deadline, as unknown (Run,
//     Undo, Look) or failed (Plan, Expect). A result after that, or a second and different one, is kept as evidence and changes nothing.
//   - Plan for an action that cannot plan: an empty Estimate. Look for one that cannot look: unknown. A missing runner: refused.
//   - A call that an open circuit breaker held back: refused, with "breaker open" in its text or in a call's status.
//   - After Stopping, wait for the entry controller.stopped, which comes when no Run and no Undo is in the air.
//   - An error of Apply or Restore means that log and snapshot are not of one history: stop and say so.
//   - Touched lists the views that entries change.
//
// What the engine decides, and where it is written down: incidents (incident.go), which playbook and why not (choose.go,
// guards.go), steps (remediation.go), outcomes that nobody saw (unknown.go), undo (undo.go), proof (verify.go), people
// (people.go). The scripts in testdata show each by example.
package engine

import (
	"time"

	"github.com/backstay/backstay/api"
)

// Config is what the engine works on: verified facts only. A new Config arrives as an Event.
type Config struct {
	Digest       string // of the whole configuration
	Integrations []api.Integration
	Workflows    []api.Workflow
	Probes       []api.Probe
	Calendars    []api.Calendar
	Playbooks    []Playbook
	Storm        Storm
}

// Playbook is a playbook made ready: its spec, its digest, and what each step will do.
type Playbook struct {
	Name     string
	Digest   string
	Spec     api.PlaybookSpec
	Steps    []api.StepPlan // same order as Spec.Steps
	Approval *Approval      // nil: approvals are not enforced
	Text     string         // canonical, see api.PlaybookText; kept in the log when it first takes effect
}

// Storm is when too much is ill at once to trust our own eyes: automation holds until it is over.
type Storm struct {
	Share float64 // of all probes that are bad or unknown at once; default 0.6
	Least int     // and at least this many; default 8
}

// Event is one thing that happened. Exactly one field beside At is set.
type Event struct {
	At time.Time // never goes back; the engine treats an earlier time as the last one

	Tick      bool
	Restarted bool          // first event after Restore
	Config    *Config       // a new configuration was verified
	Refused   string        // a new configuration was refused: the reason
	Anomaly   *api.Anomaly  // opened or cleared
	Eyes      *Eyes         // how many probes are well; volatile
	Verdict   *Verdict      // what a probe says now; volatile
	Seen      string        // a probe that was seen well or ill just now, as before; for probes that corroborate; volatile
	Value     *Value        // a probe's value that an incident's value at risk is counted by; volatile
	Result    *Result       // of a Command
	Decision  *api.Decision // a person's word
	Pause     *api.Pause    // set
	Resume    *api.Pause    // lifted: Playbook, Owner and Reason are read
	Stopping  bool          // graceful stop: nothing new starts
}

// Eyes counts how well our own eyes are.
type Eyes struct{ Probes, Bad, Unknown int }

// Verdict is what a probe says now; sent when it changes. An anomaly whose probe cannot run any more corroborates nothing.
type Verdict struct {
	Probe   string
	Verdict api.Verdict
}

// Value is the last value of a probe.
type Value struct {
	Probe string
	Value float64
}

// Result is what came of a command.
type Result struct {
	Command  string        // its ID
	Estimate *api.Estimate // for Plan
	Outcome  api.Outcome
}

// CommandKind says what a command asks of the shell.
type CommandKind string

// The kinds of command. Plan and Look only read. Run and Undo come only after an entry that intends them.
const (
	Plan   CommandKind = "plan"   // estimate the step and take its before-image
	Run    CommandKind = "run"    // perform it
	Look   CommandKind = "look"   // ask the target whether an earlier attempt happened
	Undo   CommandKind = "undo"   // restore the before-image
	Expect CommandKind = "expect" // watch probes until Expectation is decided
	Notify CommandKind = "notify" // tell a channel
)

// Command is one thing for the shell to do. A command is never performed twice under one ID.
type Command struct {
	ID          string // deterministic
	Kind        CommandKind
	Remediation string
	Incident    string
	Playbook    string
	Digest      string
	Step        string
	Attempt     int
	Key         string // idempotency key; the same for every repeat of the step
	Fence       int64
	Deadline    time.Time        // nothing of it is sent after this; the shell reports unknown (Run, Undo) or failed at the latest then
	Bounds      Bounds           // for Run: what it may touch at most
	Estimate    *api.Estimate    // for Run and Undo: what Plan found
	Outcome     *api.Outcome     // for Undo and Look: what the forward attempt reported, nil when it never did
	Expectation *api.Expectation // for Expect
	Channel     string           // for Notify: the integration
	Message     *Message         // for Notify
}

// Bounds are what is left of a playbook's limits; zero means no bound.
type Bounds struct {
	Items  int64
	Amount api.Money
}

// Message is what people are told.
type Message struct {
	Title    string // one line
	Text     string // plain sentences
	Severity string // info, warning, critical
	Dedup    string // the same for all messages of one incident
	Resolved bool
}

// Output is what Step decided.
type Output struct {
	Entries  []api.Entry // Seq is set by the store
	Commands []Command
	Wake     time.Time // zero: no need
}
