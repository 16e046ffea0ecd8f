package api

// KindModel is the kind of document that describes a back office for the twin.
const KindModel Kind = "Model"

// Model is a back office as the twin plays it: work that arrives, steps that do it, systems that they lean on, and what probes and
// playbooks see and change of all that. A running controller does not read it.
type Model struct {
	Metadata Metadata  `json:"metadata" rule:"required" doc:"Names the object."`
	Spec     ModelSpec `json:"spec" rule:"required" doc:"What it is."`
	Pos      Pos       `json:"-"`
}

// ModelSpec is the part of a Model that people write, or that backstay fit writes for them.
type ModelSpec struct {
	Summary  string        `json:"summary,omitempty" doc:"One sentence: whose work this is."`
	Workflow string        `json:"workflow,omitempty" doc:"The workflow that this is a model of; its promises and values hold here where the model says nothing."`
	Fitted   *Fitted       `json:"fitted,omitempty" doc:"What the figures were taken from; left out, they are what people believe."`
	Arrivals Arrivals      `json:"arrivals,omitempty" doc:"How work comes in."`
	Items    ModelItems    `json:"items,omitempty" doc:"What one item is."`
	Pools    []ModelPool   `json:"pools,omitempty" doc:"People or workers that several steps share."`
	Steps    []ModelStep   `json:"steps" rule:"required" doc:"What is done with each item. An item begins with the first step, unless begin says otherwise."`
	Begin    []ModelNext   `json:"begin,omitempty" doc:"With which step items begin, where that is not always the first."`
	Systems  []ModelSystem `json:"systems,omitempty" doc:"How integrations behave; one that is not named answers at once and is always right."`
	Sees     []ModelSight  `json:"sees,omitempty" doc:"What each probe sees of this world. An http or tcp probe of an integration needs no line: it calls the endpoint as a step does."`
	Places   []ModelPlace  `json:"places,omitempty" doc:"What the targets of actions are in this world, such as queue/captures.dlq."`
	Actions  []ModelAction `json:"actions,omitempty" doc:"How long actions take and how often they fail; half a second and never, where nothing is said."`
	People   []ModelPerson `json:"people,omitempty" doc:"Who answers when a playbook asks. Nobody answers where nobody is named."`
}

// Fitted says what a model's figures were taken from.
type Fitted struct {
	From    string   `json:"from,omitempty" doc:"The log or the telemetry."`
	Digest  string   `json:"digest,omitempty" doc:"SHA-256 of the log, so that the same one can be found again."`
	Window  []string `json:"window,omitempty" doc:"First and last time that was looked at, RFC 3339."`
	Cases   int64    `json:"cases,omitempty" rule:"min=0" doc:"How many cases."`
	Events  int64    `json:"events,omitempty" rule:"min=0" doc:"How many events."`
	Skipped int64    `json:"skipped,omitempty" rule:"min=0" doc:"Rows that could not be used."`
	Guesses []string `json:"guesses,omitempty" doc:"Figures that rest on fewer than 30 samples."`
}

// Arrivals is how work comes in. Exactly one of its ways is used: perHour, hours, gaps, every or times.
type Arrivals struct {
	PerHour float64   `json:"perHour,omitempty" rule:"min=0" doc:"Items an hour, at random times."`
	Hours   []float64 `json:"hours,omitempty" doc:"Items an hour for each hour of the week, from Monday 00:00 in zone: 168 figures."`
	Zone    string    `json:"zone,omitempty" doc:"IANA time zone of hours; UTC when left out."`
	Gaps    *Times    `json:"gaps,omitempty" doc:"Time between two arrivals, within the hours of calendar."`
	// Calendar only goes with gaps and every.
	Calendar *ModelHours `json:"calendar,omitempty" doc:"When anything arrives at all; gaps count only these hours."`
	Every    Duration    `json:"every,omitempty" doc:"A file or batch drops this often, with batch items."`
	Batch    int64       `json:"batch,omitempty" rule:"min=0,max=1000000" doc:"Items of one drop; 1 when left out."`
	Times    []Duration  `json:"times,omitempty" doc:"Exactly these times since the start: a recorded stream."`
}

// ModelItems is what one item is.
type ModelItems struct {
	Value    *Amounts `json:"value,omitempty" doc:"What one item is worth, in minor units."`
	Currency string   `json:"currency,omitempty" doc:"ISO 4217; that of the workflow's value, or EUR, when left out."`
	Promise  Duration `json:"promise,omitempty" doc:"An item that takes longer than this in all is late; the workflow's turnaround when left out."`
	// +kubebuilder:validation:Minimum=0
	Customers int64 `json:"customers,omitempty" rule:"min=0" doc:"Items belong to this many customers, and those of one customer must be finished in the order in which they came; no order matters when left out."`
}

// Times is a length of time as it varies: exactly one of fixed, mean, median or quantiles.
type Times struct {
	Fixed     Duration   `json:"fixed,omitempty" doc:"Always the same."`
	Mean      Duration   `json:"mean,omitempty" doc:"Exponential with this mean."`
	Median    Duration   `json:"median,omitempty" doc:"Log-normal with this median and p95."`
	P95       Duration   `json:"p95,omitempty" doc:"With median: 95 of 100 are shorter."`
	Quantiles []Duration `json:"quantiles,omitempty" rule:"max=1001" doc:"Evenly spaced quantiles from the least to the greatest: two or more."`
	Tail      Duration   `json:"tail,omitempty" doc:"With quantiles: beyond the last but one, times exceed it by an exponential with this mean."`
	Longest   Duration   `json:"longest,omitempty" doc:"Nothing takes longer than this."`
	Samples   int64      `json:"samples,omitempty" rule:"min=0" doc:"How many observations this rests on; fewer than 30 make it a guess."`
}

// Amounts is an amount as it varies: exactly one of fixed, median or quantiles.
type Amounts struct {
	Fixed     int64   `json:"fixed,omitempty" rule:"min=0" doc:"Always the same."`
	Median    int64   `json:"median,omitempty" rule:"min=0" doc:"Log-normal with this median and p95."`
	P95       int64   `json:"p95,omitempty" rule:"min=0" doc:"With median: 95 of 100 are less."`
	Quantiles []int64 `json:"quantiles,omitempty" rule:"max=1001" doc:"Evenly spaced quantiles from the least to the greatest: two or more."`
}

// ModelHours is when people or workers are there.
type ModelHours struct {
	Calendar string     `json:"calendar,omitempty" doc:"Only on business days of this Calendar, in its zone."`
	Zone     string     `json:"zone,omitempty" doc:"IANA time zone of days; UTC when left out."`
	Days     []WeekSpan `json:"days,omitempty" doc:"Spans of the week; always when left out."`
}

// WeekSpan is a span of some days of the week.
type WeekSpan struct {
	// +kubebuilder:validation:items:Enum=mon;tue;wed;thu;fri;sat;sun
	On   []string `json:"on" rule:"required,oneof=mon|tue|wed|thu|fri|sat|sun" doc:"Days: mon, tue ..."`
	From string   `json:"from" rule:"required" doc:"Time of day: 09:00."`
	To   string   `json:"to" rule:"required" doc:"Time of day, after from; 24:00 is the end of the day."`
}

// ModelPool is people or workers that steps share.
type ModelPool struct {
	Name  string      `json:"name" rule:"required,name" doc:"The pool's name."`
	Size  int64       `json:"size,omitempty" rule:"min=0,max=100000" doc:"How many; 1 when left out."`
	Hours *ModelHours `json:"hours,omitempty" doc:"When they are there."`
	// Pauses goes with hours.
	Pauses bool `json:"pauses,omitempty" doc:"Work that is not done when hours end is laid aside and goes on when they begin again; left out, whoever began it stays until it is done."`
	// Members refine Size: one line per person, as a fitted log knows them.
	Members []ModelMember `json:"members,omitempty" doc:"Each by itself, instead of size and hours."`
}

// ModelMember is one person or worker of a pool.
type ModelMember struct {
	Name  string      `json:"name" rule:"required" doc:"Who."`
	Share float64     `json:"share,omitempty" rule:"min=0" doc:"How often they are chosen where several are free, against the others; 1 when left out."`
	Hours *ModelHours `json:"hours,omitempty" doc:"When they are there."`
}

// ModelStep is one thing that is done with items.
type ModelStep struct {
	Name    string      `json:"name" rule:"required,name" doc:"The step, as the workflow has it."`
	Label   string      `json:"label,omitempty" doc:"The activity's name in the log that this was fitted to."`
	Pool    string      `json:"pool,omitempty" doc:"Who does it; its own workers when left out."`
	Workers int64       `json:"workers,omitempty" rule:"min=0,max=100000" doc:"Without a pool: how many items it does at once; 1 when left out."`
	Hours   *ModelHours `json:"hours,omitempty" doc:"Without a pool: when they work."`
	Rounds  Duration    `json:"rounds,omitempty" doc:"Without a pool: they take up items in rounds, as a program that polls does: the next begins so long after all items of the last are done. At any time when left out."`
	Takes   *Times      `json:"takes,omitempty" doc:"Time that the work takes, beside its calls."`
	Delay   *Times      `json:"delay,omitempty" doc:"Time before an item can be worked on that no worker explains: a customer's answer, a courier."`
	// Delays refine Delay.
	Delays []ModelDelay `json:"delays,omitempty" doc:"Instead of delay, for items that came from particular steps."`
	// DelayPauses goes with delay.
	DelayPauses bool        `json:"delayPauses,omitempty" doc:"The delay passes only in hours in which somebody of the pool is there; left out, it passes at all times."`
	Calls       []ModelCall `json:"calls,omitempty" doc:"Calls of integrations, one after the other, before the work itself."`
	Tries       int64       `json:"tries,omitempty" rule:"min=0,max=1000" doc:"A step whose call was refused or failed is tried so often in all; 3 when left out."`
	Pause       Duration    `json:"pause,omitempty" doc:"Before the next try; doubles each time. 1s when left out."`
	// +kubebuilder:validation:Enum=dead;hold;drop
	Then string `json:"then,omitempty" rule:"oneof=dead|hold|drop" default:"dead" doc:"What becomes of an item after the last try: it is a dead letter, it is held, or it is dropped and so lost."`
	// +kubebuilder:validation:Enum=in-doubt;retry;fail
	Unanswered string `json:"unanswered,omitempty" rule:"oneof=in-doubt|retry|fail" default:"in-doubt" doc:"What the step itself makes of a call without an answer: it leaves the item in doubt, tries again, or takes it for failed."`
	// +kubebuilder:validation:Minimum=0
	Queue int64       `json:"queue,omitempty" rule:"min=0" doc:"Most items that may wait; more are refused and become what then says. No limit when left out."`
	Lease Duration    `json:"lease,omitempty" doc:"An item whose worker was stopped is taken up again after this (a queue's visibility); at once when left out."`
	Next  []ModelNext `json:"next,omitempty" doc:"Where items go from here; the workflow's next step, or the end, when left out."`
}

// ModelDelay is the delay of items that came from one step.
type ModelDelay struct {
	After string `json:"after" rule:"required" doc:"The step that they came from."`
	Time  *Times `json:"time,omitempty" doc:"How long; none when left out."`
}

// ModelNext is one way that items may go. Shares of one step are weighed against each other.
type ModelNext struct {
	To    string  `json:"to,omitempty" doc:"The next step; left out, the item is finished."`
	Share float64 `json:"share,omitempty" rule:"min=0" doc:"How often, against the others; 1 when left out."`
	// With makes several steps begin at once.
	With  []string `json:"with,omitempty" doc:"Steps that begin at the same time as to; the item goes on from there when all of them are done, whatever their own next says."`
	After string   `json:"after,omitempty" doc:"Only for items that came to this step from that one; the most particular lines hold."`
	First bool     `json:"first,omitempty" doc:"Only for items that began with this step."`
}

// ModelCall is one call of an integration.
type ModelCall struct {
	To       string   `json:"to" rule:"required" doc:"The integration."`
	Endpoint string   `json:"endpoint,omitempty" doc:"Which endpoint; the one that the route names when left out."`
	Effect   string   `json:"effect,omitempty" doc:"What it brings about outside, once for each item: charge, booking ... Left out, it only reads."`
	Money    bool     `json:"money,omitempty" doc:"The effect moves the item's value."`
	Keyed    bool     `json:"keyed,omitempty" doc:"It carries an idempotency key."`
	Timeout  Duration `json:"timeout,omitempty" doc:"How long an answer is waited for; 5s when left out."`
}

// ModelSystem is how an integration behaves.
type ModelSystem struct {
	Integration string          `json:"integration" rule:"required" doc:"The integration."`
	Endpoints   []ModelEndpoint `json:"endpoints,omitempty" doc:"Each endpoint; one that is not named behaves like the first."`
	Active      string          `json:"active,omitempty" doc:"The endpoint that the route names at first; the integration's first when left out."`
	Locks       bool            `json:"locks,omitempty" doc:"It is a database that sessions can lock."`
}

// ModelEndpoint is how one endpoint behaves while nothing is wrong with it.
type ModelEndpoint struct {
	Name     string   `json:"name" rule:"required,name" doc:"The endpoint."`
	Takes    *Times   `json:"takes,omitempty" doc:"Time to an answer; 50ms when left out."`
	Refuses  Percent  `json:"refuses,omitempty" doc:"Calls that it declines for good reasons."`
	Fails    Percent  `json:"fails,omitempty" doc:"Calls that it answers with an error, without an effect."`
	Loses    Percent  `json:"loses,omitempty" doc:"Calls whose effect happens and whose answer is lost."`
	Most     Rate     `json:"most,omitempty" doc:"Rate limit; calls beyond it are refused for now."`
	Keeps    Duration `json:"keeps,omitempty" doc:"How long it recognises an idempotency key; not at all when left out."`
	Shows    Duration `json:"shows,omitempty" doc:"How long after an effect a look-up finds it; at once when left out."`
	Confirms *Times   `json:"confirms,omitempty" doc:"The effect is confirmed by a callback this much later, instead of in the answer."`
	Doubles  Percent  `json:"doubles,omitempty" doc:"Callbacks that come twice."`
}

// ModelSight is what a probe sees. Exactly one of endpoint, route, running, count, age, sum, arrived or lag is set.
type ModelSight struct {
	Probe    string `json:"probe" rule:"required" doc:"The probe."`
	Endpoint string `json:"endpoint,omitempty" doc:"It calls INTEGRATION/ENDPOINT, and is bad where a step's call would fail."`
	Route    string `json:"route,omitempty" doc:"It is bad unless the route of INTEGRATION/ENDPOINT names that endpoint."`
	Running  string `json:"running,omitempty" doc:"It is bad unless a worker of this step runs."`
	// +kubebuilder:validation:Enum=waiting;in-doubt;dead;held;open;done;late;doubled
	Count string `json:"count,omitempty" rule:"oneof=waiting|in-doubt|dead|held|open|done|late|doubled" doc:"Its value is the number of items in this state; open is all that are not finished."`
	// +kubebuilder:validation:Enum=waiting;in-doubt;dead;held;open
	Age     string  `json:"age,omitempty" rule:"oneof=waiting|in-doubt|dead|held|open" doc:"Its value is the age in seconds of the oldest item in this state."`
	Of      string  `json:"of,omitempty" doc:"With count and age: only items at this step."`
	Sum     string  `json:"sum,omitempty" doc:"Its value is the sum in minor units of this effect, as the outside systems have it."`
	Against string  `json:"against,omitempty" doc:"With sum: less the sum of this effect. The probe is bad where they differ beyond within."`
	Within  float64 `json:"within,omitempty" rule:"min=0" doc:"With against: greatest difference that is still good."`
	Arrived string  `json:"arrived,omitempty" doc:"Its value is the number of items that came to this step since the last look (flatlines when none do)."`
	Lag     string  `json:"lag,omitempty" doc:"Its value is how many seconds this integration's answers are behind (stale reads)."`
	Locked  string  `json:"locked,omitempty" doc:"Its value is the number of sessions that wait for a lock of this integration."`
	Fixed   string  `json:"fixed,omitempty" rule:"oneof=ok" doc:"It is outside this world and always well."`
}

// ModelPlace says what a target of actions is in this world.
type ModelPlace struct {
	Target string `json:"target" rule:"required" doc:"As backstay simulate lists it: queue/captures.dlq, integration/workers ..."`
	Step   string `json:"step,omitempty" doc:"The step whose items or workers it holds."`
	// +kubebuilder:validation:Enum=waiting;in-doubt;dead;held;workers
	State  string `json:"state,omitempty" rule:"oneof=waiting|in-doubt|dead|held|workers" doc:"Which of them."`
	System string `json:"system,omitempty" doc:"Or the integration that it belongs to."`
}

// ModelAction is how an action behaves in this world.
type ModelAction struct {
	Action  string   `json:"action" rule:"required" doc:"The action, such as failover; or PLAYBOOK/STEP for one step."`
	Effect  Effect   `json:"effect,omitempty" rule:"oneof=route|redeliver|reroute|hold|release|restart|scale|repair|notify|observe" doc:"What it does, where its own word is not enough."`
	Takes   *Times   `json:"takes,omitempty" doc:"How long it takes."`
	Each    Duration `json:"each,omitempty" doc:"And how much longer for each item that it touches."`
	Refused Percent  `json:"refused,omitempty" doc:"How often its target says no."`
	Fails   Percent  `json:"fails,omitempty" doc:"How often it fails without an effect."`
	Unknown Percent  `json:"unknown,omitempty" doc:"How often nobody can tell whether it happened; half of those did."`
	Partial Percent  `json:"partial,omitempty" doc:"How often it does half of it and fails."`
}

// ModelPerson is somebody who answers questions and gives approvals.
type ModelPerson struct {
	Name    string      `json:"name" rule:"required,name" doc:"Who."`
	Answers *Times      `json:"answers,omitempty" doc:"Time to an answer, while they are there; 5m when left out."`
	Hours   *ModelHours `json:"hours,omitempty" doc:"When they are there."`
	Denies  Percent     `json:"denies,omitempty" doc:"How often they say no."`
	Silent  Percent     `json:"silent,omitempty" doc:"How often they never answer."`
}
