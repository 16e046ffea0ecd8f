package api

import (
	"encoding/json"
	"time"
)

// Entry is one line of the audit log: what was decided or done, or what was not and why.
//
// Compatibility: entries are hashed and signed as the bytes of their JSON encoding and are never
// rewritten. Fields are only ever added, with omitempty, at the end; none is renamed, reused or removed.
// A reader that meets a Kind it does not know keeps the bytes and shows the Text.
type Entry struct {
	Seq         int64     `json:"seq"` // gapless from 0, in commit order; also the leaf index in the Merkle tree
	At          time.Time `json:"at"`  // UTC, as the deciding replica saw it
	Kind        EntryKind `json:"kind"`
	Text        string    `json:"text"`            // one plain sentence for a person
	Actor       string    `json:"actor,omitempty"` // a person, or empty for Backstay itself
	Incident    string    `json:"incident,omitempty"`
	Remediation string    `json:"remediation,omitempty"`
	Playbook    string    `json:"playbook,omitempty"`
	Digest      string    `json:"digest,omitempty"` // of the playbook, or of the configuration
	Step        string    `json:"step,omitempty"`
	Attempt     int       `json:"attempt,omitempty"`
	Node        string    `json:"node,omitempty"` // of the dependency graph: integration/NAME or workflow/NAME/STEP

	Anomaly  *Anomaly       `json:"anomaly,omitempty"`
	Refusal  *Refusal       `json:"refusal,omitempty"`
	Estimate *Estimate      `json:"estimate,omitempty"`
	Intent   *Intent        `json:"intent,omitempty"`
	Outcome  *Outcome       `json:"outcome,omitempty"`
	Pause    *Pause         `json:"pause,omitempty"`
	Decision *Decision      `json:"decision,omitempty"`
	End      RemediationEnd `json:"end,omitempty"`
	Facts    []Fact         `json:"facts,omitempty"`

	Plan json.RawMessage `json:"plan,omitempty"` // of remediation.opened: the playbook as it was then, in the engine's own form

	Document string `json:"document,omitempty"` // of playbook.recorded: the playbook's canonical text, see PlaybookText
	Nth      int64  `json:"nth,omitempty"`      // counts the entries of Incident from 1, so that a gap among them shows
}

// EntryKind says what an entry is about.
type EntryKind string

// The kinds of entry.
const (
	EntryStarted           EntryKind = "controller.started" // with Digest of the configuration
	EntryStopped           EntryKind = "controller.stopped" // graceful stop
	EntryConfigured        EntryKind = "config.loaded"      // a new configuration took effect
	EntryConfigRefused     EntryKind = "config.refused"     // a bad one did not; the old one goes on
	EntryRecorded          EntryKind = "playbook.recorded"  // Playbook, Digest, Document: when a text first takes effect
	EntryAnomalyOpened     EntryKind = "anomaly.opened"     // Anomaly, Incident, Node
	EntryAnomalyCleared    EntryKind = "anomaly.cleared"
	EntryIncidentOpened    EntryKind = "incident.opened" // Node is the root
	EntryIncidentRooted    EntryKind = "incident.rooted" // a deeper cause was found: Node is the new root
	EntryIncidentMerged    EntryKind = "incident.merged" // Facts name the incident that took it in
	EntryIncidentClosed    EntryKind = "incident.closed"
	EntryRefused           EntryKind = "playbook.refused"   // Refusal: why not, and when it would pass
	EntryObserved          EntryKind = "playbook.observed"  // mode observe: it would have run
	EntrySuggested         EntryKind = "playbook.suggested" // mode suggest
	EntryRemediationOpened EntryKind = "remediation.opened"
	EntryRemediationEnded  EntryKind = "remediation.ended" // End
	EntryStepSkipped       EntryKind = "step.skipped"      // its when was false, or nothing to do
	EntryStepRefused       EntryKind = "step.refused"      // Refusal
	EntryStepIntended      EntryKind = "step.intended"     // Intent, Estimate: durable before anything is called
	EntryStepEnded         EntryKind = "step.ended"        // Outcome: done, refused or failed
	EntryStepUncertain     EntryKind = "step.uncertain"    // Outcome unknown
	EntryStepReconciled    EntryKind = "step.reconciled"   // the target was asked and said what happened: Outcome
	EntryStepRepeated      EntryKind = "step.repeated"     // intended again, same key
	EntryStepHandedOver    EntryKind = "step.handed-over"  // a person must decide
	EntryUndoIntended      EntryKind = "undo.intended"
	EntryUndoEnded         EntryKind = "undo.ended" // Outcome
	EntryVerifyStarted     EntryKind = "verify.started"
	EntryVerifyEnded       EntryKind = "verify.ended"      // Outcome
	EntryAsked             EntryKind = "person.asked"      // Facts: question, deadline, default
	EntryDecided           EntryKind = "person.decided"    // Decision
	EntryLapsed            EntryKind = "person.lapsed"     // no answer by the deadline: the default applied
	EntryPaused            EntryKind = "pause.set"         // Pause
	EntryResumed           EntryKind = "pause.lifted"      // by a person, or because it expired
	EntryNotified          EntryKind = "person.notified"   // Outcome of telling a channel
	EntryLateResult        EntryKind = "step.late-result"  // a result after its step had ended: evidence, never applied
	EntryInvariant         EntryKind = "controller.halted" // a broken invariant: acting stops, probing goes on
	EntryWordRefused       EntryKind = "person.refused"    // a Decision was not taken: Refusal. Older logs say playbook.refused
	EntryDemoted           EntryKind = "playbook.demoted"  // too many runs in a row did not verify: it only suggests
	EntryMeasured          EntryKind = "verify.measured"   // control totals before the first step: Facts
	EntryUndoVerified      EntryKind = "undo.verified"     // Outcome: whether the target shows that the undo took
)

// Intent is what was about to be done, durable before it was done.
type Intent struct {
	Command  string    `json:"command"`  // the command's id
	Key      string    `json:"key"`      // idempotency key: the same for every repeat of this step
	Fence    int64     `json:"fence"`    // rises with every owner; a target that checks it refuses an older one
	Deadline time.Time `json:"deadline"` // nothing of this attempt is sent after this
	Repeat   Repeat    `json:"repeat"`
	Targets  []string  `json:"targets,omitempty"`
	Until    time.Time `json:"until,omitzero"` // until when the target recognises Key, for Keyed

	Items  int64 `json:"items,omitempty"`  // reserved in the limits until the outcome says what was touched
	Amount Money `json:"amount,omitempty"` // the same for money
}

// Refusal is a recorded "no".
type Refusal struct {
	Guard  Guard     `json:"guard"`
	Reason string    `json:"reason"`
	Next   time.Time `json:"next,omitzero"` // when it would next pass; zero: not by waiting alone
}

// Guard names what held an action back.
type Guard string

// The guards.
const (
	GuardPause    Guard = "pause"         // the pause switch
	GuardHalted   Guard = "halted"        // a broken invariant
	GuardApproval Guard = "approval"      // no valid approval
	GuardMode     Guard = "mode"          // observe or suggest
	GuardWhen     Guard = "when"          // the playbook's condition is false
	GuardConfirm  Guard = "corroboration" // too few independent, fresh signals
	GuardUnknown  Guard = "unknown"       // the trigger rests on probes that could not run
	GuardRuns     Guard = "runs"
	GuardCooldown Guard = "cooldown"
	GuardItems    Guard = "items"
	GuardAmount   Guard = "amount"
	GuardShare    Guard = "share"
	GuardCalendar Guard = "calendar"
	GuardFlight   Guard = "single-flight" // another remediation works on the same target
	GuardStorm    Guard = "storm-brake"   // too much ill at once: perhaps our own eyes are
	GuardBreaker  Guard = "breaker"       // the circuit breaker of the target is open
	GuardDanger   Guard = "danger"        // class D5, or D4 without two people
	GuardInDoubt  Guard = "in-doubt"      // an earlier outcome on this target is still unknown
	GuardAck      Guard = "acknowledge"   // a person must acknowledge the last run first
	GuardDemoted  Guard = "demoted"       // too many runs in a row did not verify
	GuardTotals   Guard = "totals"        // the control totals could not be taken
	GuardLadder   Guard = "ladder"        // the playbook above it on the escalation ladder goes first
	GuardTold     Guard = "told"          // it only tells, and has told of this incident
)

// Pause stops all new steps, on every playbook or on one.
type Pause struct {
	Playbook string    `json:"playbook,omitempty"` // empty: everything
	Reason   string    `json:"reason"`
	Owner    string    `json:"owner"`
	At       time.Time `json:"at"`
	Expires  time.Time `json:"expires,omitzero"` // zero: until lifted
}

// Decision is a person's word.
type Decision struct {
	Verb   Verb   `json:"verb"`
	By     string `json:"by"`
	Reason string `json:"reason,omitempty"`
	Target string `json:"target"`         // remediation id, or REMEDIATION/STEP; for ack a playbook or one of its remediations
	Plan   string `json:"plan,omitempty"` // digest of the plan that the person saw; refused when it has changed

	BreakGlass bool `json:"breakGlass,omitempty"` // an approval that counts as all who were asked; needs Reason
}

// Verb is what a person decided.
type Verb string

// The verbs.
const (
	VerbApprove Verb = "approve"
	VerbDeny    Verb = "deny"
	VerbCancel  Verb = "cancel"
	VerbSettled Verb = "settled" // of an in-doubt step: it happened
	VerbVoid    Verb = "void"    // of an in-doubt step: it did not happen
	VerbAck     Verb = "ack"     // of a playbook: its last run was looked at, and it may run again as its mode says
)

// RemediationEnd says how a remediation ended; never "completed" alone.
type RemediationEnd string

// The ends.
const (
	EndVerified    RemediationEnd = "verified"
	EndNotVerified RemediationEnd = "not-verified" // undone where it could be
	EndInDoubt     RemediationEnd = "in-doubt"
	EndBlocked     RemediationEnd = "blocked"
	EndCancelled   RemediationEnd = "cancelled"
	EndFailed      RemediationEnd = "failed"
	EndTold        RemediationEnd = "told" // it changed nothing and so proved nothing: people were told, or something was looked at
)
