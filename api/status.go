package api

import "time"

// Incident is the present view of an incident: anomalies with one root cause.
type Incident struct {
	ID           string    `json:"id"`
	Root         string    `json:"root"`  // node: integration/NAME or workflow/NAME/STEP
	Title        string    `json:"title"` // one plain sentence
	Workflows    []string  `json:"workflows,omitempty"`
	Opened       time.Time `json:"opened"`
	Closed       time.Time `json:"closed,omitzero"`
	MergedInto   string    `json:"mergedInto,omitempty"`
	Anomalies    []Anomaly `json:"anomalies"` // open and cleared, the root's first
	AtRiskItems  int64     `json:"atRiskItems,omitempty"`
	AtRisk       Money     `json:"atRisk,omitempty"`
	Remediations []string  `json:"remediations,omitempty"`
	Refusals     []Refusal `json:"refusals,omitempty"` // the last one of each playbook and guard
}

// Remediation is the present view of one run of one playbook for one incident.
type Remediation struct {
	ID       string         `json:"id"`
	Incident string         `json:"incident"`
	Playbook string         `json:"playbook"`
	Digest   string         `json:"digest"`
	State    string         `json:"state"` // waiting, running, undoing, verifying, ended
	End      RemediationEnd `json:"end,omitempty"`
	Opened   time.Time      `json:"opened"`
	Ended    time.Time      `json:"ended,omitzero"`
	Text     string         `json:"text"`
	Plan     string         `json:"plan,omitempty"`  // digest of what a person is asked to approve
	Asked    string         `json:"asked,omitempty"` // the open question
	Answer   time.Time      `json:"answerBy,omitzero"`
	Steps    []StepStatus   `json:"steps"`
	Undo     []StepStatus   `json:"undo,omitempty"`
}

// StepState is where a step stands in its life.
type StepState string

// The states of a step, as DESIGN's step life has them.
const (
	StepReady      StepState = "ready"
	StepAsking     StepState = "asking"
	StepIntended   StepState = "intended"
	StepCalling    StepState = "calling"
	StepDone       StepState = "done"
	StepSkipped    StepState = "skipped"
	StepRefused    StepState = "refused"
	StepFailed     StepState = "failed"
	StepUncertain  StepState = "uncertain"
	StepReconciled StepState = "reconciled"
	StepRepeated   StepState = "repeated"
	StepHandedOver StepState = "handed-over"
)

// StepStatus is the present view of one step.
type StepStatus struct {
	Name    string    `json:"name"`
	Do      string    `json:"do"`
	State   StepState `json:"state"`
	Attempt int       `json:"attempt,omitempty"`
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	Items   int64     `json:"items,omitempty"`
	Amount  Money     `json:"amount,omitempty"`
	Text    string    `json:"text,omitempty"`
}

// ProbeStatus is the present view of a probe.
type ProbeStatus struct {
	Name     string        `json:"name"`
	Type     string        `json:"type"`
	Node     string        `json:"node,omitempty"`
	Every    Duration      `json:"every"`
	Last     Observation   `json:"last"`
	Open     []Anomaly     `json:"open,omitempty"`
	Runs     int64         `json:"runs"`
	BadRuns  int64         `json:"badRuns"`
	Skipped  int64         `json:"skipped"`  // runs not started because the one before was still going, or for overload
	Lateness time.Duration `json:"lateness"` // of the last start behind its plan
}

// PlaybookStatus is the present view of a playbook.
type PlaybookStatus struct {
	Name    string                   `json:"name"`
	Digest  string                   `json:"digest"`
	Mode    Mode                     `json:"mode"`
	Summary string                   `json:"summary,omitempty"`
	Danger  string                   `json:"danger"` // the highest class among its steps
	Trigger string                   `json:"trigger"`
	Runs    int64                    `json:"runs"`
	Ends    map[RemediationEnd]int64 `json:"ends,omitempty"`
	LastRun time.Time                `json:"lastRun,omitzero"`
	Refused int64                    `json:"refused"`
	LastNo  *Refusal                 `json:"lastRefusal,omitempty"`

	ModeWritten   Mode      `json:"modeWritten,omitempty"` // what the playbook says, where approvals allow less: Mode is what holds
	ModeWhy       string    `json:"modeWhy,omitempty"`     // and why they allow less
	ApprovedBy    []string  `json:"approvedBy,omitempty"`
	ApprovedUntil time.Time `json:"approvedUntil,omitzero"`

	Demoted string `json:"demoted,omitempty"` // why it only suggests, until a person acknowledges or it is changed
	Unacked string `json:"unacked,omitempty"` // the run that a person must acknowledge before it runs again
}

// Status is the controller at a glance.
type Status struct {
	Version   string    `json:"version"`
	Ready     bool      `json:"ready"`
	Problem   string    `json:"problem,omitempty"` // why it is not ready
	Probes    int       `json:"probes"`
	Ill       int       `json:"ill"`     // probes whose last run was bad
	Unknown   int       `json:"unknown"` // probes that could not run
	Incidents int       `json:"incidents"`
	Pauses    []Pause   `json:"pauses,omitempty"`
	Time      time.Time `json:"time"`
}

// Why is the chain of evidence and guards behind an incident, a remediation, or a playbook that did or did not run.
type Why struct {
	Subject     string       `json:"subject"` // what the id turned out to be, in words
	Incident    *Incident    `json:"incident,omitempty"`
	Remediation *Remediation `json:"remediation,omitempty"`
	Entries     []Entry      `json:"entries"` // in the order of the log
}
