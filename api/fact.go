package api

import (
	"encoding/json"
	"time"
)

// Verdict is what one run of a probe concluded.
type Verdict string

// The verdicts. Unknown means that the probe itself could not run; it never triggers more than a notification.
const (
	OK      Verdict = "ok"
	Bad     Verdict = "bad"
	Unknown Verdict = "unknown"
)

// Observation is what a probe saw once.
type Observation struct {
	Probe   string        `json:"probe"`
	At      time.Time     `json:"at"` // when the run ended
	Verdict Verdict       `json:"verdict"`
	Value   float64       `json:"value"`           // in Unit; 0 where the probe has no value
	Total   float64       `json:"total,omitempty"` // with Value as its part: what a ratio is taken of; 0 where there is none
	Unit    string        `json:"unit,omitempty"`
	Took    time.Duration `json:"took"`             // nanoseconds
	Reason  string        `json:"reason,omitempty"` // one sentence: why bad or unknown
	Series  []Sample      `json:"series,omitempty"` // one value per row, for probes that see several
	Keys    []string      `json:"keys,omitempty"`   // business keys seen, for reconcile; bounded by the probe's row cap
}

// Sample is one row of an observation that has several.
type Sample struct {
	Key   string  `json:"key"`
	Value float64 `json:"value"`
}

// Anomaly is a detector's finding. It opens, may be updated, and clears.
type Anomaly struct {
	Name     string    `json:"name"` // PROBE/DETECTOR
	Probe    string    `json:"probe"`
	Key      string    `json:"key,omitempty"` // the row it is about, for probes that see several
	Opened   time.Time `json:"opened"`
	At       time.Time `json:"at"` // of the observation that opened, updated or cleared it
	Cleared  bool      `json:"cleared,omitempty"`
	Value    float64   `json:"value"`
	Limit    float64   `json:"limit"`
	Unit     string    `json:"unit,omitempty"`
	Evidence []Number  `json:"evidence,omitempty"` // the figures behind it
	Text     string    `json:"text"`               // one plain sentence
	Since    time.Time `json:"since,omitzero"`     // of the first bad run or value that led to it, where the detector knows; only when it opens
}

// ID tells one anomaly from another: PROBE/DETECTOR, and the row where there are several.
func (a Anomaly) ID() string {
	if a.Key == "" {
		return a.Name
	}
	return a.Name + "[" + a.Key + "]"
}

// Number is one named figure of evidence.
type Number struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit,omitempty"`
}

// Result says how an action, or one call of it, ended.
type Result string

// The results. ResultUnknown is a state, not a guess: the effect may or may not have happened.
const (
	ResultDone    Result = "done"    // the effect happened and was seen to have happened
	ResultRefused Result = "refused" // the target said no, or a precondition did: no effect
	ResultFailed  Result = "failed"  // definitely no effect, or a partial one that Outcome counts
	ResultUnknown Result = "unknown" // nobody here can tell
)

// Outcome is what came of one attempt of a step.
type Outcome struct {
	Result Result     `json:"result"`
	Text   string     `json:"text"`             // one plain sentence
	Items  int64      `json:"items,omitempty"`  // business items touched
	Amount Money      `json:"amount,omitempty"` // money touched, minor units per currency
	Facts  []Fact     `json:"facts,omitempty"`  // evidence: what was sent, answered, re-read
	Calls  []CallFact `json:"calls,omitempty"`  // outbound calls within the attempt, retries and breaker refusals included
}

// Fact is one named piece of evidence.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// CallFact is one outbound call within an attempt.
type CallFact struct {
	Target string        `json:"target"` // host or integration/endpoint; never a credential
	Try    int           `json:"try"`
	Status string        `json:"status"` // "200", "dial refused", "breaker open" ...
	Took   time.Duration `json:"took"`   // nanoseconds
}

// Estimate is what a step would touch: read-only, taken before the step is intended.
type Estimate struct {
	Text   string          `json:"text"` // one plain sentence: what the step will do
	Items  int64           `json:"items,omitempty"`
	Amount Money           `json:"amount,omitempty"`
	Total  int64           `json:"total,omitempty"`  // work in progress that Items is a share of; 0 where unknown
	Before json.RawMessage `json:"before,omitempty"` // the action's own before-image: what Undo restores
	Noop   bool            `json:"noop,omitempty"`   // what the step wants already is so
}
