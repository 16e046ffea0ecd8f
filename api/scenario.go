package api

// KindScenario is the kind of document that tests playbooks in virtual time.
const KindScenario Kind = "Scenario"

// Scenario is faults on a modelled world plus expectations: a test of playbooks in virtual time.
type Scenario struct {
	Metadata Metadata     `json:"metadata" rule:"required" doc:"Names the object."`
	Spec     ScenarioSpec `json:"spec" rule:"required" doc:"What it is."`
	Pos      Pos          `json:"-"`
}

// Variant is a way to run the same day.
type Variant string

// The variants. All of one replication meet the same arrivals, values and faults.
const (
	VariantNone      Variant = "none"      // nobody does anything
	VariantCurrent   Variant = "current"   // the playbooks as they are
	VariantCandidate Variant = "candidate" // with the files of candidate in place of those of the same name
	VariantNaive     Variant = "naive"     // a careless controller: no guards, an unknown outcome is a failure, a failure is repeated elsewhere
)

// ScenarioSpec is the part of a Scenario that people write.
type ScenarioSpec struct {
	Summary   string   `json:"summary,omitempty" doc:"One sentence: what goes wrong, and what should come of it."`
	Use       []string `json:"use,omitempty" doc:"Files and folders of the configuration and the model, beside this file; its own folder when left out."`
	Candidate []string `json:"candidate,omitempty" doc:"Files and folders whose objects take the place of those of the same name in variant candidate."`
	Model     string   `json:"model,omitempty" doc:"The model; may be left out where there is one."`
	Start     string   `json:"start,omitempty" doc:"When it begins, RFC 3339, since calendars matter; Monday 2026-01-05T09:00:00Z when left out."`
	Warmup    Duration `json:"warmup,omitempty" rule:"max=7d" doc:"Time before anything counts, so that the world is not empty."`
	Horizon   Duration `json:"horizon" rule:"required,min=1s,max=31d" doc:"How long it lasts, after the warm-up."`
	Seed      uint64   `json:"seed,omitempty" doc:"The same seed gives the same days; 1 when left out."`
	// +kubebuilder:validation:Minimum=0
	Replications int64           `json:"replications,omitempty" rule:"min=0,max=2000" doc:"Days that backstay test plays; 20 when left out. backstay simulate plays as many as its figures need."`
	Waiting      []ScenarioStock `json:"waiting,omitempty" doc:"Items that are there at the start."`
	Faults       []Fault         `json:"faults,omitempty" doc:"What goes wrong."`
	// +kubebuilder:validation:items:Enum=none;current;candidate;naive
	Variants []Variant `json:"variants,omitempty" rule:"oneof=none|current|candidate|naive" doc:"What is compared: current when left out, and candidate where there is one."`
	Expect   []string  `json:"expect,omitempty" doc:"What must hold on each day: detected <= 60s, doubled == 0, or any CEL condition; naive.doubled > 0 asks about another variant."`
	Covers   []string  `json:"covers,omitempty" doc:"Playbooks that this is a test of, each step of which must be reached on some day; those that a fault sets off when left out."`
}

// ScenarioStock is items that are there at the start.
type ScenarioStock struct {
	Step string `json:"step" rule:"required" doc:"The step."`
	// +kubebuilder:validation:Enum=waiting;in-doubt;dead;held
	State string   `json:"state,omitempty" rule:"oneof=waiting|in-doubt|dead|held" default:"waiting" doc:"Their state."`
	Items int64    `json:"items" rule:"required,min=1,max=10000000" doc:"How many."`
	Age   Duration `json:"age,omitempty" doc:"How long they have been there."`
}

// FaultKind is a way for things to go wrong, from a closed set.
type FaultKind string

// The faults.
const (
	FaultOutage     FaultKind = "outage"      // an endpoint refuses connections
	FaultError      FaultKind = "error"       // an endpoint answers with errors, without an effect (5xx)
	FaultRefuse     FaultKind = "refuse"      // an endpoint declines (4xx)
	FaultTimeout    FaultKind = "timeout"     // no answer and no effect
	FaultLostAnswer FaultKind = "lost-answer" // the effect happens, the answer does not come
	FaultSlow       FaultKind = "slow"        // answers take By longer
	FaultRateLimit  FaultKind = "rate-limit"  // an endpoint takes only Most
	FaultStale      FaultKind = "stale"       // look-ups and reads lag behind by By
	FaultDuplicate  FaultKind = "duplicate"   // callbacks come twice
	FaultLate       FaultKind = "late"        // callbacks come By later
	FaultStop       FaultKind = "stop"        // a step's workers stop
	FaultLock       FaultKind = "lock"        // a database's lock is held: calls hang until it goes
	FaultPoison     FaultKind = "poison"      // items that fail at a step whatever is done
	FaultRedeliver  FaultKind = "redeliver"   // a queue hands an item out twice
	FaultSurge      FaultKind = "surge"       // Times as many arrivals
	FaultSilence    FaultKind = "silence"     // nothing arrives
	FaultAbsent     FaultKind = "absent"      // a person does not answer
	FaultBlind      FaultKind = "blind"       // a probe cannot run
	FaultLies       FaultKind = "lies"        // a probe says bad of what is well
)

// Fault is one thing that goes wrong.
type Fault struct {
	Name    string    `json:"name,omitempty" doc:"What reports call it; its kind and place when left out."`
	Kind    FaultKind `json:"kind" rule:"required,oneof=outage|error|refuse|timeout|lost-answer|slow|rate-limit|stale|duplicate|late|stop|lock|poison|redeliver|surge|silence|absent|blind|lies" doc:"How."`
	On      string    `json:"on,omitempty" doc:"Where: integration/NAME/ENDPOINT, integration/NAME, step/NAME, probe/NAME, person/NAME; nothing for surge and silence."`
	At      Duration  `json:"at,omitempty" doc:"When it begins, after the warm-up."`
	Jitter  Duration  `json:"jitter,omitempty" doc:"It begins up to this much later, by chance."`
	Lasting Duration  `json:"lasting,omitempty" doc:"How long; until an action mends it, or to the end, when left out."`
	Every   Duration  `json:"every,omitempty" doc:"With lasting: it comes back this often, as an outage that goes on and off; jitter moves each by itself."`
	Share   Percent   `json:"share,omitempty" doc:"Of the calls, items or callbacks; all when left out."`
	By      Duration  `json:"by,omitempty" doc:"With slow, stale and late."`
	Most    Rate      `json:"most,omitempty" doc:"With rate-limit."`
	Times   float64   `json:"times,omitempty" rule:"min=0" doc:"With surge: how many times as much."`
}
