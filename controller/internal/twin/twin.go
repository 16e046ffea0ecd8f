// Package twin plays a back office in virtual time, with the same detect and engine code that runs live, to see what playbooks
// would do before anybody approves them. It is pure: a replication is one function call without a goroutine, and the same Plan, variant
// and replication give the same Run to the byte on every machine.
//
// # How a day is played
//
// Work arrives, waits, is worked on and calls systems; faults strike. Everything that happens is an event on one heap, ordered by time,
// priority and sequence. Probes look at the world when they are due (eyes.go), their detectors judge, and what changes goes to
// the engine, whose commands change the world (hands.go). Variant none has nobody to decide, naive has a careless program in the engine's place.
//
// # Who judges
//
// The ledger (ledger.go) stands outside of all that: it books every effect at every outside system by business key, whoever caused it, and
// counts what must not be: paid twice, lost, out of order, without approval, beyond a limit, two actors at once.
//
// # What is the same and what is not
//
// Random streams are keyed by seed, replication, component and purpose (stream.go): so a new component shifts nobody else's chance,
// and all variants of one replication meet the same arrivals, values and faults. Times and money are integers; distributions are
// tables of integers (times.go), so that no processor's way of rounding shows.
package twin

import (
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

// Setup is what a scenario needs, read and validated.
type Setup struct {
	Scenario  api.Scenario
	Model     api.Model
	Current   engine.Config
	Candidate *engine.Config // nil where the scenario has none
	Live      *Live          // nil: from nothing
}

// Figure is one measure of a run. Durations are in seconds, money in minor units of the model's currency.
type Figure int

// The figures.
const (
	Detected   Figure = iota // from the first fault to the first anomaly
	Acted                    // from the first fault to the first step that changes something
	Recovered                // from the first fault until nothing was ill any more and the backlog was back to what it was
	Late                     // items beyond their promise, finished or not
	Breached                 // seconds during which some item was late
	AtRisk                   // greatest value of the items that waited, in minor units
	Backlog                  // most items that waited at once
	Left                     // items unfinished at the end
	Finished                 // items finished
	Actions                  // steps that changed something
	Asked                    // questions to people
	Held                     // times that a guard said no
	Verified                 // remediations that ended verified
	Unproved                 // remediations that ended otherwise
	Doubled                  // business keys on which an effect happened twice
	Lost                     // items that are nowhere
	Disorder                 // customers whose items were finished out of order
	Unapproved               // actions without a valid approval or beyond their mode
	OverLimit                // actions beyond their limits
	TwoActors                // two actions on one target at once
	Figures                  // how many there are
)

// FigureInfo describes a figure for reports and conditions.
type FigureInfo struct {
	Name   string // as conditions write it
	Unit   string // s, items, money, count
	Doc    string
	Safety bool // a violation: none may happen
	Never  bool // may be absent: it never happened
}

// FigureInfos are in the order of the figures.
var FigureInfos = [Figures]FigureInfo{
	{"detected", "s", "from the first fault to the first anomaly", false, true},
	{"acted", "s", "from the first fault to the first step that changes something", false, true},
	{"recovered", "s", "from the first fault until all is well and the backlog is gone", false, true},
	{"late", "items", "items beyond their promise", false, false},
	{"breached", "s", "time during which an item was late", false, false},
	{"atRisk", "money", "greatest value of the items that waited", false, false},
	{"backlog", "items", "most items that waited at once", false, false},
	{"left", "items", "items unfinished at the end", false, false},
	{"finished", "items", "items finished", false, false},
	{"actions", "count", "steps that changed something", false, false},
	{"asked", "count", "questions to people", false, false},
	{"held", "count", "times that a guard said no", false, false},
	{"verified", "count", "remediations that ended verified", false, false},
	{"unproved", "count", "remediations that ended otherwise", false, false},
	{"doubled", "items", "items on which an effect happened twice", true, false},
	{"lost", "items", "items that are nowhere", true, false},
	{"disorder", "items", "items that overtook an earlier one of the same customer", true, false},
	{"unapproved", "count", "actions without a valid approval or beyond their mode", true, false},
	{"overLimit", "count", "actions beyond their limits", true, false},
	{"twoActors", "count", "two actions on one target at once", true, false},
}

// Run is one replication of one variant.
type Run struct {
	Variant     api.Variant
	Replication int
	Figures     [Figures]float64 // NaN where it never happened
	Faults      []FaultRun       // in the order of the scenario
	Playbooks   []PlaybookRun    // in the order of the configuration
	Violations  []Violation      // the first hundred
	Story       []Line           // where Options.Story asked for it
	Events      int64            // of the world
	Digest      [32]byte         // over all events, where Options.Digest asked for it; always over the entries of the log
	Cut         string           // why the run was ended before its time: events without end, a broken invariant; empty where it was not
}

// FaultRun is what came of a fault.
type FaultRun struct {
	Name     string
	Began    time.Duration // since the start of what counts
	Ended    time.Duration
	Injected bool // it touched at least one call, item or run of a probe
}

// PlaybookRun is what a playbook did in a run.
type PlaybookRun struct {
	Name      string
	Triggered int // its anomaly opened
	Opened    int // remediations
	Held      int // a guard said no
	Ends      map[api.RemediationEnd]int
	Steps     []StepRun // in the order of the playbook
	Undone    int       // steps undone
	Again     string    // what a second run right after a verified first one would have changed; empty where nothing
}

// StepRun counts how often a step ended in which way.
type StepRun struct {
	Name                                          string
	Done, Skipped, Refused, Failed, Unknown, Held int
}

// Violation is one thing that must not happen.
type Violation struct {
	At   time.Duration
	What Figure // one of the safety figures
	Text string
}

// Line is one line of a told day.
type Line struct {
	At   time.Duration
	Kind string // fault, over, detected, cause, no, playbook, act, done, unsure, verified, closed, asked, answered, doubled, lost
	Text string
}

// Options say what else a run should give.
type Options struct {
	Story  bool
	Digest bool             // chain every event into Run.Digest
	Until  func() bool      // asked now and then; true ends the run early, with Cut set; nil: never
	Record func(Work)       // told of each step that was done on an item; nil: no
	Trace  func(string)     // for tests: each event, one line; nil: no
	Entry  func(*api.Entry) // takes each entry of the log as it is made, with the world's time; nil: no
}

// StoryKind is what sort of line an entry of the log is in a told day; empty where it is left out of it. The world tells itself when
// anomalies open.
func StoryKind(k api.EntryKind) string {
	switch k {
	case api.EntryIncidentOpened, api.EntryIncidentRooted:
		return "cause"
	case api.EntryRefused, api.EntryStepRefused:
		return "no"
	case api.EntryRemediationOpened:
		return "playbook"
	case api.EntryStepIntended, api.EntryUndoIntended:
		return "act"
	case api.EntryStepEnded, api.EntryUndoEnded, api.EntryStepReconciled, api.EntryStepSkipped:
		return "done"
	case api.EntryStepUncertain, api.EntryStepHandedOver:
		return "unsure"
	case api.EntryAsked:
		return "asked"
	case api.EntryDecided, api.EntryLapsed:
		return "answered"
	case api.EntryRemediationEnded:
		return "verified"
	case api.EntryIncidentClosed:
		return "closed"
	}
	return ""
}
