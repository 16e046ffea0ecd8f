package engine

import (
	"time"

	"github.com/backstay/backstay/api"
)

// State is everything that the engine knows. One goroutine owns it.
type State struct {
	d durable // changed by apply alone

	// Indexes over d, kept by apply and rebuilt by Restore.
	open  map[string]*incident // anomaly id -> the open incident that holds it
	names map[string][]string  // anomaly name -> ids of the open ones
	byID  map[string]*incident // incidents
	rems  map[string]*remediation
	books map[string]*book
	past  history // runs, as sums

	// Volatile: lost in a crash, and safe to lose.
	now      time.Time
	cfg      *compiled // nil until the first Config: nothing is decided before
	eyes     Eyes
	values   map[string]float64
	verdicts map[string]api.Verdict
	sights   map[string]time.Time // when a probe was last seen well or ill
	stale    map[string]bool      // ids of anomalies not seen again since the restart: they trigger and corroborate nothing
	booted   time.Time
	stopping bool
	stopped  bool
	storming bool
	dirty    bool
	sent     int64 // commands so far in this life
	seen     ring  // results that came
	out      Output
}

// durable is the state that entries alone change, in the form that Snapshot writes.
//
// Compatibility: fields are only added, with omitempty or omitzero; none is renamed, reused or removed.
type durable struct {
	Version      int            `json:"version"` // of this form; Restore refuses a higher one
	Count        int64          `json:"count"`   // entries applied
	Last         time.Time      `json:"last,omitzero"`
	Epoch        int64          `json:"epoch,omitempty"` // starts of the controller
	Fence        int64          `json:"fence,omitempty"`
	Config       string         `json:"config,omitempty"`
	Halted       string         `json:"halted,omitempty"`
	Pauses       []api.Pause    `json:"pauses,omitempty"`
	Incidents    []*incident    `json:"incidents,omitempty"`
	Remediations []*remediation `json:"remediations,omitempty"`
	Doubts       []doubt        `json:"doubts,omitempty"`
	Runs         []*run         `json:"runs,omitempty"`
	Books        []*book        `json:"books,omitempty"`
	Texts        []recorded     `json:"texts,omitempty"`
}

// incident is one root cause and all that hangs on it.
type incident struct {
	ID           string    `json:"id"`
	Root         string    `json:"root"`
	Title        string    `json:"title"`
	Opened       time.Time `json:"opened"`
	Closed       time.Time `json:"closed,omitzero"`
	MergedInto   string    `json:"mergedInto,omitempty"`
	Anomalies    []finding `json:"anomalies,omitempty"`
	Remediations []string  `json:"remediations,omitempty"`
	No           []no      `json:"no,omitempty"`
	Said         []string  `json:"said,omitempty"` // playbooks in mode observe or suggest that were recorded
	Rung         string    `json:"rung,omitempty"` // the next playbook of an escalation ladder
	RungOn       string    `json:"rungOn,omitempty"`
	Nth          int64     `json:"nth,omitempty"` // of its last entry

	dirty bool
	next  time.Time // when to consider it again without being asked
}

// finding is an anomaly and its place in the graph.
type finding struct {
	api.Anomaly
	Node string `json:"node"`
}

// no is the last refusal of one playbook by one guard.
type no struct {
	Playbook string `json:"playbook"`
	api.Refusal
	Current bool `json:"current,omitempty"` // it is what holds the playbook back now
}

// remediation is one run of one playbook.
type remediation struct {
	ID       string             `json:"id"`
	Incident string             `json:"incident"`
	Trigger  string             `json:"trigger"` // name of the anomaly
	Plan     *plan              `json:"plan"`
	Opened   time.Time          `json:"opened"`
	Claim    int64              `json:"claim,omitempty"` // order in which it claimed its targets; 0: not allowed to begin yet
	Yes      []string           `json:"yes,omitempty"`   // who approved
	AskUntil time.Time          `json:"askUntil,omitzero"`
	Denied   string             `json:"denied,omitempty"`    // who said no
	Cancel   string             `json:"cancelled,omitempty"` // who called it off
	Glass    string             `json:"glass,omitempty"`     // who broke the glass: one yes in place of all
	Steps    []step             `json:"steps"`
	Items    int64              `json:"items,omitempty"` // touched so far, or reserved
	Amount   api.Money          `json:"amount,omitempty"`
	Totals   []float64          `json:"totals,omitempty"`   // before the first step, in the order of the plan's
	NoTotals string             `json:"noTotals,omitempty"` // why they could not be taken
	Proving  time.Time          `json:"proving,omitzero"`   // verification began
	Proof    api.Result         `json:"proof,omitempty"`
	End      api.RemediationEnd `json:"end,omitempty"`
	Ended    time.Time          `json:"ended,omitzero"`
	Text     string             `json:"text,omitempty"`

	pend     *pending  // the one command under way
	due      time.Time // when it must be looked at again
	totalled bool      // the control totals are of now, not of before a long wait
}

// step is one step's life, and its undoing.
type step struct {
	State    api.StepState `json:"state"`
	Attempt  int           `json:"attempt,omitempty"`  // times intended
	Tries    int           `json:"tries,omitempty"`    // definite failures
	Unknowns int           `json:"unknowns,omitempty"` // attempts whose outcome nobody saw
	Open     int           `json:"open,omitempty"`     // those of them that may have happened: a later definite failure settles none of them
	Orphans  int           `json:"orphans,omitempty"`  // those of them that a restart interrupted
	Orphan   bool          `json:"orphan,omitempty"`   // the last one was
	DarkAt   time.Time     `json:"darkAt,omitzero"`    // since when its outcome is unknown
	Absent   bool          `json:"absent,omitempty"`   // the target was asked and says that it did not happen
	Breaks   int           `json:"breaks,omitempty"`   // times that an open breaker held it
	Hard     bool          `json:"hard,omitempty"`     // refused for good
	NextAt   time.Time     `json:"nextAt,omitzero"`    // not tried again before
	Started  time.Time     `json:"started,omitzero"`
	Ended    time.Time     `json:"ended,omitzero"`
	HandedAt time.Time     `json:"handedAt,omitzero"`
	Until    time.Time     `json:"until,omitzero"` // the key is good until then
	Intent   *api.Intent   `json:"intent,omitempty"`
	Estimate *api.Estimate `json:"estimate,omitempty"`
	Outcome  *api.Outcome  `json:"outcome,omitempty"`
	No       *api.Refusal  `json:"no,omitempty"` // what holds it back now
	Text     string        `json:"text,omitempty"`

	Held       int64     `json:"held,omitempty"` // items that count in limits until the outcome is known
	HeldAmount api.Money `json:"heldAmount,omitempty"`

	Question string        `json:"question,omitempty"`
	AskUntil time.Time     `json:"askUntil,omitzero"`
	People   int           `json:"people,omitempty"`
	Yes      []string      `json:"yes,omitempty"`
	Approved bool          `json:"approved,omitempty"`
	Asked    *api.Estimate `json:"asked,omitempty"` // the figures that people said yes to

	UndoState   api.StepState `json:"undoState,omitempty"`
	UndoAttempt int           `json:"undoAttempt,omitempty"`
	UndoIntent  *api.Intent   `json:"undoIntent,omitempty"`
	UndoStarted time.Time     `json:"undoStarted,omitzero"`
	UndoEnded   time.Time     `json:"undoEnded,omitzero"`
	UndoText    string        `json:"undoText,omitempty"`
	UndoProved  bool          `json:"undoProved,omitempty"` // the target was read again, and does not show the step's effect

	est    *api.Estimate // of the Plan that just came back
	looks  int
	lookAt time.Time

	proves  int // readings of the target after an undo
	proveAt time.Time
}

// pending is a command whose result is awaited.
type pending struct {
	id       string
	kind     CommandKind
	step     int  // or what a command that is not for a step is for
	undoing  bool // a Plan that reads whether an undo took
	deadline time.Time
}

// doubt is an outcome that nobody could settle; it keeps automation off its targets until a person does.
type doubt struct {
	Remediation string   `json:"remediation"`
	Step        string   `json:"step"`
	Targets     []string `json:"targets"`
}

// run is what limits and cool-downs count: it outlives the remediation.
type run struct {
	ID       string    `json:"id"`
	Playbook string    `json:"playbook"`
	Incident string    `json:"incident"`
	At       time.Time `json:"at"`
	Ended    time.Time `json:"ended,omitzero"`
	Targets  []string  `json:"targets,omitempty"`
	Acted    bool      `json:"acted,omitempty"` // a step that may change something was intended
	Items    int64     `json:"items,omitempty"` // touched, or reserved
	Amount   api.Money `json:"amount,omitempty"`
	Total    int64     `json:"total,omitempty"` // the greatest work in progress that it saw
	More     int64     `json:"more,omitempty"`  // older runs that this one stands for too
}

// book is a playbook's record.
type book struct {
	Name    string                       `json:"name"`
	Runs    int64                        `json:"runs,omitempty"`
	Ends    map[api.RemediationEnd]int64 `json:"ends,omitempty"`
	LastRun time.Time                    `json:"lastRun,omitzero"`
	Refused int64                        `json:"refused,omitempty"`
	LastNo  *api.Refusal                 `json:"lastNo,omitempty"`
	Digest  string                       `json:"digest,omitempty"`  // of its last run
	Streak  int                          `json:"streak,omitempty"`  // runs in a row that acted and did not verify
	Demoted *mark                        `json:"demoted,omitempty"` // it only suggests since
	Unacked *mark                        `json:"unacked,omitempty"` // the run that a person must acknowledge
}

// New makes an empty state.
func New() *State {
	s := &State{d: durable{Version: formVersion}}
	s.index()
	return s
}

// index rebuilds what is derived from the durable state.
func (s *State) index() {
	s.open, s.names = map[string]*incident{}, map[string][]string{}
	s.byID, s.rems = map[string]*incident{}, map[string]*remediation{}
	s.values, s.verdicts, s.stale = map[string]float64{}, map[string]api.Verdict{}, map[string]bool{}
	s.sights, s.books, s.past = map[string]time.Time{}, map[string]*book{}, newHistory(s.d.Runs)
	for _, b := range s.d.Books {
		s.books[b.Name] = b
	}
	for _, inc := range s.d.Incidents {
		s.byID[inc.ID] = inc
		for _, f := range inc.Anomalies {
			if !f.Cleared && inc.Closed.IsZero() {
				s.open[f.ID()] = inc
				s.names[f.Name] = append(s.names[f.Name], f.ID())
			}
		}
	}
	for _, r := range s.d.Remediations {
		s.rems[r.ID] = r
	}
	s.now = s.d.Last
}

// book finds or makes the record of a playbook. Only apply may call it.
func (s *State) book(name string) *book {
	if b := s.books[name]; b != nil {
		return b
	}
	b := &book{Name: name}
	s.d.Books, s.books[name] = append(s.d.Books, b), b
	return b
}

// ring remembers the last results. The same result twice is a repeat; another one for the same command is evidence.
type ring struct {
	ids  map[string]bool
	fifo []string
}

const ringSize = 4096

func (r *ring) has(res *Result) bool { return r.ids[res.Command+" "+string(res.Outcome.Result)] }

func (r *ring) add(res *Result) {
	if r.ids == nil {
		r.ids = map[string]bool{}
	}
	id := res.Command + " " + string(res.Outcome.Result)
	if r.ids[id] {
		return
	}
	r.ids[id] = true
	r.fifo = append(r.fifo, id)
	if len(r.fifo) > ringSize {
		delete(r.ids, r.fifo[0])
		r.fifo = r.fifo[1:]
	}
}
