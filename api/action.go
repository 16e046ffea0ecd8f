package api

import "time"

// Effect is what an action does to the world, from a closed set: the twin simulates effects, never actions.
type Effect string

// The effects.
const (
	EffectRoute     Effect = "route"
	EffectRedeliver Effect = "redeliver"
	EffectReroute   Effect = "reroute"
	EffectHold      Effect = "hold"
	EffectRelease   Effect = "release"
	EffectRestart   Effect = "restart"
	EffectScale     Effect = "scale"
	EffectRepair    Effect = "repair"
	EffectNotify    Effect = "notify"
	EffectObserve   Effect = "observe"
)

// Danger is the danger class of an action; the core enforces what each class demands.
type Danger int

// The danger classes. The zero value is no class at all, so an action that forgets to say is refused.
const (
	D0 Danger = iota + 1 // observe and notify
	D1                   // reversible infrastructure
	D2                   // reversible flow
	D3                   // replay with possible outside effect
	D4                   // moves money or master data: always two people
	D5                   // never automated
)

// String prints the class as people write it, D0 to D5.
func (d Danger) String() string {
	if d < D0 || d > D5 {
		return "D?"
	}
	return "D" + string(rune('0'+int(d-D0)))
}

// Repeat is the repeat class of an action. It decides what a crash or a time-out means.
type Repeat string

// The repeat classes.
const (
	Idempotent Repeat = "idempotent" // sets a state: repeat
	Keyed      Repeat = "keyed"      // repeat with the same key within its retention
	Queryable  Repeat = "queryable"  // wait past the deadline, ask the target, then decide
	Blind      Repeat = "blind"      // never repeat alone; a person decides
)

// ActionInfo is what the brain must know of the hands, as plain data.
type ActionInfo struct {
	Name      string        `json:"name"`
	Version   string        `json:"version"` // rises when the action's behaviour changes; part of a playbook's digest
	Summary   string        `json:"summary"`
	Effect    Effect        `json:"effect"`
	Danger    Danger        `json:"danger"`
	Repeat    Repeat        `json:"repeat"`
	Retention time.Duration `json:"retention,omitempty"` // how long the target recognises a key; for Keyed
	Undo      bool          `json:"undo"`                // it can be undone from Estimate.Before
	Counts    bool          `json:"counts"`              // its Estimate and Outcome count items or money
}

// StepPlan is one step of a playbook made ready: what its action, with these params, will do to which target.
// ActionInfo inside it may be sharper than the action's own (an http GET is less dangerous than a POST).
type StepPlan struct {
	Name    string     `json:"name"`
	Action  ActionInfo `json:"action"`
	Targets []string   `json:"targets,omitempty"` // single-flight keys: "integration/card-gateway", "queue/captures" ...
	Control Control    `json:"control,omitempty"` // set for steps that the core or the shell performs itself
}

// Control is set for the steps that need no driver: wait, ask and expect. At most one field is set.
type Control struct {
	Wait   time.Duration `json:"wait,omitempty"`
	Ask    *Question     `json:"ask,omitempty"`
	Expect *Expectation  `json:"expect,omitempty"`
}

// Question is put to a person.
type Question struct {
	Text     string        `json:"text"`
	People   int           `json:"people"`   // distinct people who must say yes
	Deadline time.Duration `json:"deadline"` // then Default applies
	Default  string        `json:"default"`  // "deny" or "approve": what no answer means
}

// Expectation is what probes must show: used by the expect action and by a playbook's verification.
type Expectation struct {
	Probes []string      `json:"probes"`
	OK     int           `json:"ok"`             // good runs in a row that each probe must show, all newer than the start
	Within time.Duration `json:"within"`         // by then
	Hold   time.Duration `json:"hold,omitempty"` // and without a bad run or an open anomaly for this long

	// A run counts as good only where its value also meets these; a run whose value cannot be trusted meets none.
	Equals *float64 `json:"equals,omitempty"`
	Below  *float64 `json:"below,omitempty"`
	Above  *float64 `json:"above,omitempty"`

	Values bool `json:"values,omitempty"` // report the last value of each probe as a fact named by ValueFact
}

// ValueFact names the fact that carries a probe's value.
func ValueFact(probe string) string { return "value/" + probe }
