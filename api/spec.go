package api

// Kind names what a document describes.
type Kind string

// The kinds of document that Backstay reads.
const (
	KindIntegration Kind = "Integration"
	KindWorkflow    Kind = "Workflow"
	KindProbe       Kind = "Probe"
	KindPlaybook    Kind = "Playbook"
	KindCalendar    Kind = "Calendar"
)

// Metadata names an object. Names are unique per kind: lower-case letters, digits and '-', at most
// 63 characters, so that they fit Kubernetes, file names and metric labels alike.
type Metadata struct {
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`
	Name   string            `json:"name" rule:"required,name" doc:"Unique per kind: lower-case letters, digits and '-'."`
	Labels map[string]string `json:"labels,omitempty" doc:"Free key and value pairs, for people and for selection."`
}

// Integration is an outside system with named endpoints and one route: how its traffic is switched.
type Integration struct {
	Metadata Metadata        `json:"metadata" rule:"required" doc:"Names the object."`
	Spec     IntegrationSpec `json:"spec" rule:"required" doc:"What it is."`
	Pos      Pos             `json:"-"`
}

// IntegrationSpec is the part of an Integration that people write.
type IntegrationSpec struct {
	Summary   string     `json:"summary,omitempty" doc:"One sentence for the person who reads it at 3 a.m."`
	Endpoints []Endpoint `json:"endpoints,omitempty" doc:"The addresses of the system, by name: primary, standby, amqp, management ..."`
	DependsOn []string   `json:"dependsOn,omitempty" doc:"Integrations that this one cannot work without."`
	Route     *Driver    `json:"route,omitempty" doc:"How traffic is switched between endpoints: haproxy, http, sql or file."`
	Channel   *Driver    `json:"channel,omitempty" doc:"Makes this integration a notification channel: webhook, slack, pagerduty or smtp."`
}

// Endpoint is one address of an integration.
type Endpoint struct {
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`
	Name string `json:"name" rule:"required,name" doc:"The endpoint's name, such as primary or standby."`
	URL  Secret `json:"url" rule:"required" doc:"Where it is: http, https, tcp, amqp, postgres, mysql or sqlite URL; or {env: NAME} or {file: PATH} when it holds a credential."`
}

// Driver picks one of several ways to do a thing, with parameters that only that way knows.
type Driver struct {
	// +kubebuilder:validation:MinLength=1
	Driver string `json:"driver" rule:"required" doc:"Which driver."`
	With   Params `json:"with,omitempty" doc:"The driver's parameters."`
}

// Workflow is a graph of back-office steps and the integrations that each step uses.
type Workflow struct {
	Metadata Metadata     `json:"metadata" rule:"required" doc:"Names the object."`
	Spec     WorkflowSpec `json:"spec" rule:"required" doc:"What it is."`
	Pos      Pos          `json:"-"`
}

// WorkflowSpec is the part of a Workflow that people write.
type WorkflowSpec struct {
	Summary string `json:"summary,omitempty" doc:"One sentence: what this work is and for whom."`
	// +kubebuilder:validation:MinItems=1
	Steps      []WorkflowStep `json:"steps" rule:"required" doc:"The steps; after and uses make them a graph without cycles."`
	Objectives Objectives     `json:"objectives,omitempty" doc:"What was promised."`
	Value      Value          `json:"value,omitempty" doc:"What an incident puts at risk, in business units."`
}

// WorkflowStep is one stage of the work.
type WorkflowStep struct {
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`
	Name  string   `json:"name" rule:"required,name" doc:"The step's name within the workflow."`
	After []string `json:"after,omitempty" doc:"Steps of this workflow that feed this one."`
	Uses  []string `json:"uses,omitempty" doc:"Integrations that this step cannot work without."`
}

// Objectives are the promises of a workflow.
type Objectives struct {
	Turnaround Duration `json:"turnaround,omitempty" doc:"Longest acceptable time from first to last step."`
	Accuracy   Percent  `json:"accuracy,omitempty" doc:"Least acceptable share of items done right."`
	// +kubebuilder:validation:Minimum=0
	Backlog int64 `json:"backlog,omitempty" rule:"min=0" doc:"Most items that may wait."`
}

// Value tells how to count what an incident puts at risk: waiting items times value per item.
type Value struct {
	CountedBy string `json:"countedBy,omitempty" doc:"Probe whose value is the number of items that wait."`
	PerItem   Money  `json:"perItem,omitempty" doc:"Value of one item, in minor units per currency: {EUR: 4200} is 42.00 EUR."`
}

// Probe is one repeated observation of one target, with the detectors that watch it.
type Probe struct {
	Metadata Metadata  `json:"metadata" rule:"required" doc:"Names the object."`
	Spec     ProbeSpec `json:"spec" rule:"required" doc:"What it is."`
	Pos      Pos       `json:"-"`
}

// ProbeSpec is the part of a Probe that people write. A probe watches an integration (or one of
// its endpoints), or one step of a workflow; that says where in the dependency graph its anomalies belong.
type ProbeSpec struct {
	Summary string `json:"summary,omitempty" doc:"One sentence: what a bad answer means to the business."`
	// +kubebuilder:validation:MinLength=1
	Type        string `json:"type" rule:"required" doc:"The probe type: http, tcp, sql, amqp-queue, heartbeat, file-drop, prometheus, reconcile."`
	Integration string `json:"integration,omitempty" doc:"The integration that this probe watches."`
	Endpoint    string `json:"endpoint,omitempty" doc:"Which endpoint of the integration; the first when left out."`
	Workflow    string `json:"workflow,omitempty" doc:"The workflow that this probe watches, with step."`
	Step        string `json:"step,omitempty" doc:"The workflow step that this probe watches."`
	// +kubebuilder:default="30s"
	Every   Duration `json:"every,omitempty" rule:"min=100ms" default:"30s" doc:"Time between two runs."`
	Timeout Duration `json:"timeout,omitempty" rule:"min=1ms" doc:"Longest time for one run; longer counts as bad. As long as every, but at most 5s, when left out."`
	Unit    string   `json:"unit,omitempty" doc:"Unit of the value, such as items, seconds, EUR."`
	With    Params   `json:"with,omitempty" doc:"The probe type's parameters."`
	// Personal probes keep keyed hashes (p:4f9c...) instead of keys.
	Personal bool       `json:"personal,omitempty" doc:"Its keys (rows and business keys) name people: they are kept as keyed hashes, so that one customer can be followed without being named."`
	Detect   []Detector `json:"detect,omitempty" doc:"What counts as an anomaly."`
}

// Detector is one rule over the observations of a probe; its anomaly is called PROBE/NAME.
// Exactly one of the rule fields is set.
type Detector struct {
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`
	Name      string     `json:"name" rule:"required,name" doc:"The anomaly is called PROBE/NAME."`
	Failures  *Failures  `json:"failures,omitempty" doc:"Opens when at least m of the last n runs were bad."`
	Threshold *Threshold `json:"threshold,omitempty" doc:"Opens when the value leaves a band for a time."`
	Trend     *Trend     `json:"trend,omitempty" doc:"Opens when the value grows too fast, or will breach a limit soon."`
	Absence   *Absence   `json:"absence,omitempty" doc:"Opens when no good run was seen for a time."`
	Flatline  *Flatline  `json:"flatline,omitempty" doc:"Opens when the value has not moved for a time."`
	Ratio     *Ratio     `json:"ratio,omitempty" doc:"Opens when a share is over (or under) a limit with statistical confidence."`
	BurnRate  *BurnRate  `json:"burnRate,omitempty" doc:"Opens when an error budget burns too fast over two windows."`
	Baseline  *Baseline  `json:"baseline,omitempty" doc:"Opens when the value leaves the band learned for this hour of the week."`
}

// Failures is m of n: it opens when at least AtLeast of the last Of runs were bad, and clears after
// Clear good runs in a row. Runs that could not tell (unknown) count neither way.
type Failures struct {
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:default=3
	AtLeast int `json:"atLeast,omitempty" rule:"min=1" default:"3" doc:"Bad runs that open the anomaly."`
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	// +kubebuilder:default=3
	Of int `json:"of,omitempty" rule:"min=1,max=1000" default:"3" doc:"Among this many last runs."`
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:default=2
	Clear int `json:"clear,omitempty" rule:"min=1" default:"2" doc:"Good runs in a row that clear it."`
}

// Threshold is a static band with hysteresis.
type Threshold struct {
	Above *float64 `json:"above,omitempty" doc:"Opens above this value."`
	Below *float64 `json:"below,omitempty" doc:"Opens below this value."`
	Clear *float64 `json:"clear,omitempty" doc:"Clears on the good side of this value; the limit itself when left out."`
	For   Duration `json:"for,omitempty" doc:"How long the value must stay there before it opens."`
}

// Trend watches the rate of change of a backlog (robust slope over Window).
type Trend struct {
	// +kubebuilder:default="5m"
	Window       Duration `json:"window,omitempty" rule:"min=1s" default:"5m" doc:"The slope is taken over this window."`
	PerMinute    *float64 `json:"perMinute,omitempty" doc:"Opens when the value grows by more than this a minute."`
	Limit        *float64 `json:"limit,omitempty" doc:"With breachWithin: the value that must not be reached."`
	BreachWithin Duration `json:"breachWithin,omitempty" doc:"Opens when at the present slope the limit is reached within this time."`
}

// Absence opens when no good observation arrived for a time.
type Absence struct {
	For Duration `json:"for" rule:"required" doc:"Longest time without a good run."`
}

// Flatline opens when a value that should move has stood still.
type Flatline struct {
	For Duration `json:"for" rule:"required" doc:"Longest time without a change."`
	// +kubebuilder:validation:Minimum=0
	Epsilon float64 `json:"epsilon,omitempty" rule:"min=0" doc:"A change of at most this much is none."`
}

// Ratio compares a share with a limit by its Wilson bound, so that 1 of 2 does not alarm and 60 of 1,000 does.
// The share is value/total where the probe reports a total, else bad runs of all runs.
type Ratio struct {
	Above *Percent `json:"above,omitempty" doc:"Opens when the share is above this with confidence."`
	Below *Percent `json:"below,omitempty" doc:"Opens when the share is below this with confidence."`
	// +kubebuilder:default="10m"
	Window Duration `json:"window,omitempty" rule:"min=1s" default:"10m" doc:"The share is taken over this window."`
	// +kubebuilder:default="95%"
	Confidence Percent `json:"confidence,omitempty" default:"95%" doc:"Confidence of the bound."`
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:default=10
	MinTotal int64 `json:"minTotal,omitempty" rule:"min=1" default:"10" doc:"Fewer than this many say nothing."`
}

// BurnRate is the multi-window burn-rate alert of the SRE workbook.
type BurnRate struct {
	Objective Percent `json:"objective" rule:"required" doc:"Share of good runs that was promised, such as 99.9%."`
	// +kubebuilder:default="5m"
	Short Duration `json:"short,omitempty" default:"5m" doc:"The short window, which lets the anomaly clear soon."`
	// +kubebuilder:default="1h"
	Long Duration `json:"long,omitempty" default:"1h" doc:"The long window, which keeps blips from opening it."`
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:default=14.4
	Factor float64 `json:"factor,omitempty" rule:"min=1" default:"14.4" doc:"Opens when both windows burn at this multiple of the budget."`
}

// Baseline is a learned, robust, seasonal band.
type Baseline struct {
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:default=5
	Sensitivity float64 `json:"sensitivity,omitempty" rule:"min=1" default:"5" doc:"Half-width of the band in robust standard deviations."`
	// +kubebuilder:validation:Enum=both;above;below
	// +kubebuilder:default="both"
	Direction string `json:"direction,omitempty" rule:"oneof=both|above|below" default:"both" doc:"Which side matters."`
	// +kubebuilder:validation:Enum=none;hour-of-day;hour-of-week
	// +kubebuilder:default="hour-of-week"
	Season string `json:"season,omitempty" rule:"oneof=none|hour-of-day|hour-of-week" default:"hour-of-week" doc:"What is compared with what."`
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:default=60
	MinSamples int      `json:"minSamples,omitempty" rule:"min=10" default:"60" doc:"It says nothing before it has learned from this many."`
	For        Duration `json:"for,omitempty" doc:"How long the value must stay outside before it opens."`
}

// Playbook is trigger, guards, steps, verification, and what to do otherwise.
type Playbook struct {
	Metadata Metadata     `json:"metadata" rule:"required" doc:"Names the object."`
	Spec     PlaybookSpec `json:"spec" rule:"required" doc:"What it is."`
	Pos      Pos          `json:"-"`
}

// Mode says how far a playbook may go on its own.
type Mode string

// The modes, from least to most trust.
const (
	ModeObserve Mode = "observe" // records that it would have run
	ModeSuggest Mode = "suggest" // tells people what it would do
	ModeApprove Mode = "approve" // prepares, and waits for a person's yes
	ModeAuto    Mode = "auto"    // runs within its guards
)

// PlaybookSpec is the part of a Playbook that people write.
type PlaybookSpec struct {
	Summary string `json:"summary,omitempty" doc:"One sentence: what it does and when."`
	// +kubebuilder:validation:Enum=observe;suggest;approve;auto
	// +kubebuilder:default="suggest"
	Mode     Mode    `json:"mode,omitempty" rule:"oneof=observe|suggest|approve|auto" default:"suggest" doc:"How far it may go on its own."`
	On       Trigger `json:"on" rule:"required" doc:"What starts it."`
	Limits   Limits  `json:"limits,omitempty" doc:"Blast radius in business units."`
	Calendar string  `json:"calendar,omitempty" doc:"No action in a freeze of this calendar, none close to its cut-offs."`
	// +kubebuilder:validation:MinItems=1
	Steps  []Step  `json:"steps" rule:"required" doc:"What it does, in order."`
	Verify Verify  `json:"verify,omitempty" doc:"What must be true afterwards, and for how long."`
	Totals []Total `json:"totals,omitempty" doc:"Control totals: sums that must be the same after the last step as before the first."`
	// +kubebuilder:default="undo"
	Otherwise string   `json:"otherwise,omitempty" default:"undo" doc:"When a step fails or verification does not pass: undo, stop, or the name of the next playbook."`
	Notify    []string `json:"notify,omitempty" doc:"Integrations with a channel that are told of start and end."`
	// +kubebuilder:validation:Enum=unverified;always
	Acknowledge string `json:"acknowledge,omitempty" rule:"oneof=unverified|always" doc:"It does not run again before a person has acknowledged its last run: after each run that was not verified, or after every run; never needed when left out."`
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	DemoteAfter int `json:"demoteAfter,omitempty" rule:"min=0,max=100" doc:"After so many runs in a row that did not verify it only suggests, until a person acknowledges or it is changed; 3 when left out."`
}

// Trigger says what starts a playbook.
type Trigger struct {
	// +kubebuilder:validation:MinLength=1
	Anomaly string   `json:"anomaly" rule:"required" doc:"PROBE/DETECTOR whose anomaly starts it."`
	Confirm *Confirm `json:"confirm,omitempty" doc:"Independent signals that must agree."`
	When    string   `json:"when,omitempty" doc:"CEL condition over incident, such as incident.root == \"card-gateway\"."`
}

// Confirm demands that several independent probes agree.
type Confirm struct {
	// +kubebuilder:validation:Minimum=1
	AtLeast int `json:"atLeast" rule:"required,min=1" doc:"How many of them must be open and fresh."`
	// +kubebuilder:validation:MinItems=1
	Of []string `json:"of" rule:"required" doc:"Anomalies, PROBE/DETECTOR; two of one probe count once."`
}

// Limits bound a playbook; zero means no limit of that sort. Items and money count from the moment an attempt is intended, at the
// figures of its estimate, until its outcome says what was really touched; an outcome that nobody knows counts in full.
type Limits struct {
	Runs           Rate     `json:"runs,omitempty" doc:"Most runs in a time, such as 2 per 1h."`
	Cooldown       Duration `json:"cooldown,omitempty" doc:"Shortest time between two runs of this playbook."`
	CooldownTarget Duration `json:"cooldownTarget,omitzero" doc:"Shortest time since any playbook acted on one of the same targets."`
	CooldownAll    Duration `json:"cooldownAll,omitzero" doc:"Shortest time since any playbook acted on anything."`
	// +kubebuilder:validation:Minimum=0
	Items  int64    `json:"items,omitempty" rule:"min=0" doc:"Most items (messages, invoices, rows) one run may touch."`
	Amount Money    `json:"amount,omitempty" doc:"Most money one run may touch, in minor units per currency."`
	Share  Percent  `json:"share,omitempty" doc:"Most of the work in progress one run may touch."`
	Within []Budget `json:"within,omitempty" doc:"What may be done in a time over several runs, such as {per: 24h, items: 5000}."`
}

// Budget bounds what several runs may do together in a time that slides: the last hour, not the hour on the clock.
type Budget struct {
	Per Duration `json:"per" rule:"required,min=1m,max=31d" doc:"How far back is counted, such as 1h or 24h."`
	// +kubebuilder:validation:Enum=playbook;target;all
	Of string `json:"of,omitempty" rule:"oneof=playbook|target|all" doc:"Whose runs count: this playbook's, those of any playbook on one of the same targets, or all; playbook when left out."`
	// +kubebuilder:validation:Minimum=0
	Runs int64 `json:"runs,omitempty" rule:"min=0" doc:"Most runs."`
	// +kubebuilder:validation:Minimum=0
	Items  int64   `json:"items,omitempty" rule:"min=0" doc:"Most items."`
	Amount Money   `json:"amount,omitempty" doc:"Most money, in minor units per currency."`
	Share  Percent `json:"share,omitempty" doc:"Most of the work in progress."`
}

// Total is a control total: the sum of the values of its probes must be the same after the last step as before the first. A
// difference makes the run not verified, whatever else is well.
type Total struct {
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`
	Name string `json:"name" rule:"required,name" doc:"Such as captures or ledger-sum."`
	// +kubebuilder:validation:MinItems=1
	Probes []string `json:"probes" rule:"required" doc:"Probes whose values are added up: name every place between which items may move."`
	// +kubebuilder:validation:Enum=in;out
	Moved string `json:"moved,omitempty" rule:"oneof=in|out" doc:"The items that the steps report are expected to have come in to the sum, or to have gone out of it; left out, nothing may come or go."`
}

// Step is one action of a playbook.
type Step struct {
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`
	Name string `json:"name" rule:"required,name" doc:"The step's name within the playbook."`
	// +kubebuilder:validation:MinLength=1
	Do   string `json:"do" rule:"required" doc:"The action."`
	With Params `json:"with,omitempty" doc:"The action's parameters."`
	When string `json:"when,omitempty" doc:"CEL condition; the step is skipped, with an entry, where it is false."`
	Ask  string `json:"ask,omitempty" doc:"CEL condition; a person is asked first where it is true, such as amount > limits.amount."`
	// +kubebuilder:default="30s"
	Timeout Duration `json:"timeout,omitempty" default:"30s" doc:"Deadline of one attempt."`
	Retry   *Retry   `json:"retry,omitempty" doc:"Repeats after a definite failure; an unknown outcome follows the action's repeat class instead."`
	Pos     Pos      `json:"-"`
}

// Retry repeats a step whose attempt definitely had no effect.
type Retry struct {
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=20
	Attempts int `json:"attempts" rule:"required,min=1,max=20" doc:"Attempts in all."`
	// +kubebuilder:default="1s"
	Wait Duration `json:"wait,omitempty" default:"1s" doc:"Pause before the second attempt; doubles each time."`
}

// Verify is what must hold after the last step. "The action returned 200" never counts.
type Verify struct {
	Probes    []string `json:"probes,omitempty" doc:"Probes that must be ok."`
	Reconcile []string `json:"reconcile,omitempty" doc:"Probes of type reconcile that must be ok."`
	// +kubebuilder:default="2m"
	Within Duration `json:"within,omitempty" default:"2m" doc:"They must become ok within this time."`
	Hold   Duration `json:"hold,omitempty" doc:"And stay ok for this long."`
}

// Calendar holds business days, cut-offs and freezes of one time zone.
type Calendar struct {
	Metadata Metadata     `json:"metadata" rule:"required" doc:"Names the object."`
	Spec     CalendarSpec `json:"spec" rule:"required" doc:"What it is."`
	Pos      Pos          `json:"-"`
}

// CalendarSpec is the part of a Calendar that people write. Everything that says a day (on) is a DayRule: jul 4, 4th thu nov,
// easter-2, last business day, fri.
type CalendarSpec struct {
	Summary string `json:"summary,omitempty" doc:"Whose calendar this is."`
	// +kubebuilder:validation:Enum=us-fed;target2
	Base string `json:"base,omitempty" rule:"oneof=us-fed|target2" doc:"A shipped calendar whose zone, weekend and holidays hold here too; zone and weekend below replace its own, holidays add to them."`
	Zone string `json:"zone,omitempty" doc:"IANA time zone, such as America/New_York; that of base, or UTC, when left out."`
	// +kubebuilder:validation:items:Enum=mon;tue;wed;thu;fri;sat;sun
	Weekend  []string  `json:"weekend,omitempty" rule:"oneof=mon|tue|wed|thu|fri|sat|sun" doc:"Days without business: sat, sun ..."`
	Holidays []string  `json:"holidays,omitempty" doc:"Dates without business: 2026-12-25."`
	Yearly   []Holiday `json:"yearly,omitempty" doc:"Holidays of every year, by rule."`
	Workdays []string  `json:"workdays,omitempty" doc:"Dates of business although weekend or holiday says otherwise: 2026-10-12."`
	CutOffs  []CutOff  `json:"cutOffs,omitempty" doc:"Times by which work must be out, on business days."`
	Freezes  []Freeze  `json:"freezes,omitempty" doc:"Spans in which nothing is changed."`
}

// Holiday is a day without business in every year.
type Holiday struct {
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`
	Name string `json:"name" rule:"required,name" doc:"Such as independence-day."`
	// +kubebuilder:validation:MinLength=1
	On string `json:"on" rule:"required" doc:"Which day of the year: jul 4, 4th thu nov, last mon may or easter-2."`
	// +kubebuilder:validation:Enum=none;nearest;monday;us-fed
	// +kubebuilder:default="none"
	Observed string `json:"observed,omitempty" rule:"oneof=none|nearest|monday|us-fed" default:"none" doc:"Where it goes from a weekend. none: nowhere; nearest: from Saturday to Friday, from Sunday to Monday; monday: to Monday, or the next day that is no holiday; us-fed: from Sunday to Monday, from Saturday nowhere."`
	// +kubebuilder:validation:Minimum=0
	Since int `json:"since,omitempty" rule:"min=0" doc:"First year in which it is held; always when left out."`
}

// CutOff is a time of day by which work must be out.
type CutOff struct {
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`
	Name string `json:"name" rule:"required,name" doc:"Such as fed-window-3."`
	// +kubebuilder:validation:MinLength=1
	At      string   `json:"at" rule:"required" doc:"Time of day in the calendar's zone: 16:45."`
	On      []string `json:"on,omitempty" doc:"Which of the business days: fri, last business day ...; all of them when left out."`
	Guard   Duration `json:"guard,omitempty" rule:"max=7d" doc:"No action starts within this time before the cut-off."`
	Reopens string   `json:"reopens,omitempty" doc:"Time of day at which the next window opens, later that day or on the next business day: 08:30. No action starts between cut-off and then, because it is too late."`
}

// Freeze is a span in which nothing is changed: one span between two points in time, or one that comes again and again.
type Freeze struct {
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`
	Name string `json:"name" rule:"required,name" doc:"Such as month-end."`
	// +kubebuilder:validation:MinLength=1
	From string `json:"from" rule:"required" doc:"Start in the calendar's zone: 2026-12-31T18:00, or a rule such as last business day 18:00."`
	// +kubebuilder:validation:MinLength=1
	To string `json:"to" rule:"required" doc:"End in the calendar's zone: 2027-01-02T06:00, or a rule such as 1st business day 06:00; the first one after the start."`
}
