package twin

import (
	"slices"
	"time"

	"github.com/backstay/backstay/api"
)

// ReportFormat is the form that reports have. It rises when a field changes its meaning; fields may join with omitempty.
const ReportFormat = "backstay.dev/simulation/v1"

// Verdict is what a scenario says of the playbooks under test.
type Verdict string

// The verdicts.
const (
	Pass         Verdict = "pass"
	Fail         Verdict = "fail"
	Inconclusive Verdict = "inconclusive" // it was not put to the test: a fault touched nothing, or a step was never reached
)

// Report is what a study found. The same scenario, model, playbooks, seed and build give the same report to the byte, on every machine and
// with any number of workers. How long it took is no part of it.
type Report struct {
	Format   string       `json:"format"`
	Scenario string       `json:"scenario"`
	Summary  string       `json:"summary,omitempty"`
	Verdict  Verdict      `json:"verdict"`
	Reasons  []string     `json:"reasons,omitempty"` // why it is not pass
	Subject  api.Variant  `json:"subject"`           // the variant under test
	Start    time.Time    `json:"start"`
	Warmup   api.Duration `json:"warmup,omitzero"`
	Horizon  api.Duration `json:"horizon"`
	Seed     uint64       `json:"seed"`
	Days     int          `json:"days"`              // replications of each variant
	Only     int          `json:"only,omitempty"`    // the one day that was played, from 1
	Stopped  string       `json:"stopped"`           // why after so many
	Partial  bool         `json:"partial,omitempty"` // somebody ended it early
	Currency string       `json:"currency"`

	Variants     []VariantReport `json:"variants"`
	Differences  []Difference    `json:"differences,omitempty"` // of the variant under test to each other one
	Expected     []Expected      `json:"expected,omitempty"`
	NotSimulated []string        `json:"notSimulated,omitempty"`
	Assumed      []string        `json:"assumed,omitempty"` // what the twin takes for granted
	Story        *Story          `json:"story,omitempty"`

	Build   string  `json:"build"`
	Digests Digests `json:"digests"`
	Digest  string  `json:"digest,omitempty"` // of all the rest; see Seal
}

// Digests identify what was played.
type Digests struct {
	Scenario  string `json:"scenario"`
	Model     string `json:"model"`
	Current   string `json:"current"` // the whole configuration
	Candidate string `json:"candidate,omitempty"`
	Begin     string `json:"begin,omitempty"` // the state of a running controller that it began with
}

// VariantReport is one variant.
type VariantReport struct {
	Variant    api.Variant      `json:"variant"`
	Figures    []FigureReport   `json:"figures"`
	Faults     []FaultReport    `json:"faults,omitempty"`
	Playbooks  []PlaybookReport `json:"playbooks,omitempty"`
	Violations []DayViolation   `json:"violations,omitempty"` // the first ten
	Cut        []DayViolation   `json:"cut,omitempty"`        // days that ended before their time
	Events     int64            `json:"events"`
}

// FigureReport is one figure of a variant over all days.
type FigureReport struct {
	Name     string   `json:"name"`
	Unit     string   `json:"unit"`
	Happened int      `json:"happened"`           // days
	Never    int      `json:"never,omitempty"`    // days
	Violated *int     `json:"violated,omitempty"` // days above zero; for safety figures
	Bound    string   `json:"bound,omitempty"`    // "≤ 3/N": with 95 % confidence it happens on no larger share of days (rule of three)
	Mean     Number   `json:"mean"`
	Half     Number   `json:"half"` // half-width of the 95 % interval of the mean
	P5       Number   `json:"p5"`
	P50      Number   `json:"p50"`
	P95      Number   `json:"p95"`
	Least    Number   `json:"least"`
	Greatest Number   `json:"greatest"`
	Spread   []Number `json:"spread,omitempty"` // 41 evenly spaced quantiles, of the figures that charts show
}

// FaultReport says on how many days a fault touched something.
type FaultReport struct {
	Name string `json:"name"`
	Days int    `json:"days"`
}

// PlaybookReport is what a playbook did on all days together.
type PlaybookReport struct {
	Name      string       `json:"name"`
	Digest    string       `json:"digest,omitempty"`
	Mode      api.Mode     `json:"mode,omitempty"`
	Triggered int          `json:"triggered"`
	Opened    int          `json:"opened"`
	Held      int          `json:"held,omitempty"`
	Undone    int          `json:"undone,omitempty"`
	Ends      []EndReport  `json:"ends,omitempty"`
	Steps     []StepReport `json:"steps,omitempty"`
	Again     string       `json:"again,omitempty"` // what a second run would have changed
	AgainDays int          `json:"againDays,omitempty"`
}

// EndReport counts remediations by their end.
type EndReport struct {
	End   api.RemediationEnd `json:"end"`
	Count int                `json:"count"`
}

// StepReport counts which branches of a step were reached.
type StepReport struct {
	Name    string `json:"name"`
	Done    int    `json:"done,omitempty"`
	Skipped int    `json:"skipped,omitempty"`
	Refused int    `json:"refused,omitempty"`
	Failed  int    `json:"failed,omitempty"`
	Unknown int    `json:"unknown,omitempty"`
	Held    int    `json:"held,omitempty"`
	Reached bool   `json:"reached"`
}

// DayViolation is one thing that must not happen, with its day from 1.
type DayViolation struct {
	Day  int     `json:"day"`
	At   float64 `json:"at,omitempty"` // seconds since the start of what counts
	What string  `json:"what"`
	Text string  `json:"text"`
}

// Difference compares two variants day by day: A minus B.
type Difference struct {
	A      api.Variant `json:"a"`
	B      api.Variant `json:"b"`
	Figure string      `json:"figure"`
	Unit   string      `json:"unit"`
	Days   int         `json:"days"`            // on which it happened in both
	OnlyA  int         `json:"onlyA,omitempty"` // days on which it happened in A alone
	OnlyB  int         `json:"onlyB,omitempty"`
	Mean   Number      `json:"mean"`
	Half   Number      `json:"half"`
}

// Story is one day as it went.
type Story struct {
	Variant api.Variant `json:"variant"`
	Day     int         `json:"day"` // from 1
	Why     string      `json:"why"` // it was chosen
	Lines   []StoryLine `json:"lines"`
}

// StoryLine is one line of it.
type StoryLine struct {
	At   float64 `json:"at"` // seconds since the start of what counts
	Kind string  `json:"kind"`
	Text string  `json:"text"`
}

// Facts are what a report says beside what was found.
type Facts struct {
	Build   string
	Stopped string
	Partial bool
	Only    int // the one day that was played, from 1; 0: all
	Assumed []string
	Story   *Story
}

// spreadOf are the figures that charts show, and in how many quantiles.
var spreadOf = []Figure{Recovered, Late, Backlog}

const spreadPoints = 41

// Report sums up what was added so far.
func (s *Study) Report(f Facts) *Report {
	sc := &s.plan.setup.Scenario
	r := &Report{Format: ReportFormat, Scenario: sc.Metadata.Name, Summary: sc.Spec.Summary, Subject: s.subject, Start: s.plan.start.Add(time.Duration(s.plan.from)), Warmup: api.Duration{Duration: time.Duration(s.plan.from)},
		Horizon: sc.Spec.Horizon, Seed: s.plan.seed, Days: s.Days(), Only: f.Only, Stopped: f.Stopped, Partial: f.Partial, Currency: s.plan.currency,
		NotSimulated: s.plan.NotSimulated(), Assumed: f.Assumed, Story: f.Story, Build: f.Build}
	r.Digests = Digests{Scenario: ScenarioDigest(sc), Model: ModelDigest(&s.plan.setup.Model), Current: s.plan.setup.Current.Digest}
	if c := s.plan.setup.Candidate; c != nil {
		r.Digests.Candidate = c.Digest
	}
	if l := s.plan.setup.Live; l != nil {
		r.Digests.Begin = l.digest()
	}
	for i := range s.expect {
		x, _ := s.judge(&s.expect[i])
		r.Expected = append(r.Expected, x)
	}
	r.Verdict, r.Reasons = s.verdict(r.Expected)
	for i, t := range s.tallies {
		r.Variants = append(r.Variants, s.variant(t, s.gone[i]))
		if t.Variant != s.subject {
			r.Differences = append(r.Differences, s.differences(t)...)
		}
	}
	r.Seal()
	return r
}

// ModelDigest covers all of a model but labels and layout.
func ModelDigest(m *api.Model) string {
	return api.CanonicalDigest(struct {
		Name string
		Spec api.ModelSpec
	}{m.Metadata.Name, m.Spec})
}

// ScenarioDigest covers what is played, and what covers: [] says that a missing one does not.
func ScenarioDigest(sc *api.Scenario) string {
	return api.CanonicalDigest(struct {
		Name   string
		Spec   api.ScenarioSpec
		Covers bool
	}{sc.Metadata.Name, sc.Spec, sc.Spec.Covers != nil})
}

// Seal gives the report its digest: SHA-256 over its canonical JSON without the field digest. An approval may carry it.
func (r *Report) Seal() {
	r.Digest = ""
	r.Digest = api.CanonicalDigest(r)
}

func (s *Study) variant(t *Tally, g *going) VariantReport {
	out := VariantReport{Variant: t.Variant, Faults: g.faults, Violations: g.violated, Cut: g.cut, Events: g.events}
	for f := range Figures {
		out.Figures = append(out.Figures, figureReport(t, f))
	}
	config := s.configOf(t.Variant)
	for i := range g.playbooks {
		p := &g.playbooks[i]
		line := PlaybookReport{Name: p.Name, Triggered: p.Triggered, Opened: p.Opened, Held: p.Held, Undone: p.Undone, Again: p.Again, AgainDays: g.again[i]}
		for _, end := range endsOf(p.Ends) {
			line.Ends = append(line.Ends, EndReport{end, p.Ends[end]})
		}
		for k := range p.Steps {
			x := &p.Steps[k]
			line.Steps = append(line.Steps, StepReport{x.Name, x.Done, x.Skipped, x.Refused, x.Failed, x.Unknown, x.Held, x.tried()})
		}
		if config != nil {
			for k := range config.Playbooks {
				if c := &config.Playbooks[k]; c.Name == p.Name {
					line.Digest, line.Mode = c.Digest, c.Spec.Mode
				}
			}
		}
		out.Playbooks = append(out.Playbooks, line)
	}
	return out
}

func figureReport(t *Tally, f Figure) FigureReport {
	info, x := FigureInfos[f], t.Stat(f)
	out := FigureReport{Name: info.Name, Unit: info.Unit, Happened: x.Days - x.Never, Never: x.Never, Mean: x.Mean, Half: x.Half, P5: x.P5, P50: x.P50, P95: x.P95, Least: x.Least, Greatest: x.Greatest}
	if info.Safety {
		out.Violated = &x.Violated
		if x.Violated == 0 && x.Days > 0 {
			out.Bound = "≤ 3/" + Number(x.Days).Text("count", "")
		}
	}
	if slices.Contains(spreadOf, f) && x.Days > 1 {
		out.Spread = t.Spread(f, spreadPoints)
	}
	return out
}

// differences compares the variant under test with another one. Figures that never differ are left out.
func (s *Study) differences(other *Tally) []Difference {
	var out []Difference
	for f := range Figures {
		p := Compare(s.tally(s.subject), other, f)
		if p.OnlyA+p.OnlyB == 0 && (p.Days == 0 || p.Mean == 0 && !(p.Half > 0)) {
			continue
		}
		out = append(out, Difference{s.subject, other.Variant, FigureInfos[f].Name, FigureInfos[f].Unit, p.Days, p.OnlyA, p.OnlyB, p.Mean, p.Half})
	}
	return out
}

// Tell makes a story of a run that was asked for one.
func Tell(r *Run, why string) *Story {
	s := &Story{Variant: r.Variant, Day: r.Replication + 1, Why: why}
	for _, l := range r.Story {
		s.Lines = append(s.Lines, StoryLine{l.At.Seconds(), l.Kind, l.Text})
	}
	return s
}
