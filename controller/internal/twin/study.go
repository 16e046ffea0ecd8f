package twin

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

// Study gathers the days of a scenario, and makes a report of them. Days are added in their order, all variants of a day together, so
// that the report does not depend on who played them when.
type Study struct {
	plan    *Plan
	subject api.Variant
	expect  []expectation
	tallies []*Tally
	gone    []*going
	first   int // replication of the first day
}

// going is what happened in one variant beside the figures.
type going struct {
	faults    []FaultReport
	playbooks []PlaybookRun // sums
	again     []int         // days on which a second run would have changed something, by playbook
	violated  []DayViolation
	cut       []DayViolation
	events    int64
}

// violationsMax is how many violations a report names, of each variant.
const violationsMax = 10

// NewStudy makes an empty study of a plan.
func NewStudy(p *Plan) (*Study, error) {
	s := &Study{plan: p, subject: SubjectOf(p.Variants())}
	var err error
	if s.expect, err = expectations(&p.setup.Scenario, s.subject); err != nil {
		return nil, err
	}
	for _, v := range p.Variants() {
		s.tallies = append(s.tallies, &Tally{Variant: v})
		s.gone = append(s.gone, &going{})
	}
	return s, nil
}

// SubjectOf is the variant under test: the candidate where there is one, else the playbooks as they are, else the last one.
func SubjectOf(variants []api.Variant) api.Variant {
	for _, v := range []api.Variant{api.VariantCandidate, api.VariantCurrent} {
		if slices.Contains(variants, v) {
			return v
		}
	}
	if len(variants) == 0 {
		return api.VariantCurrent
	}
	return variants[len(variants)-1]
}

// Days is how many were added.
func (s *Study) Days() int {
	if len(s.tallies) == 0 {
		return 0
	}
	return s.tallies[0].N()
}

// Tallies are the figures by variant.
func (s *Study) Tallies() []*Tally { return s.tallies }

// Add takes in the next day: one run for each variant, in the order of the plan.
func (s *Study) Add(runs []Run) {
	if s.Days() == 0 && len(runs) > 0 {
		s.first = runs[0].Replication
	}
	for i := range runs {
		s.tallies[i].Add(&runs[i])
		s.gone[i].add(&runs[i])
	}
}

func (s *Study) tally(v api.Variant) *Tally {
	i := slices.IndexFunc(s.tallies, func(t *Tally) bool { return t.Variant == v })
	if i < 0 {
		return nil
	}
	return s.tallies[i]
}

// add takes in one run.
func (g *going) add(r *Run) {
	day := r.Replication + 1
	g.events += r.Events
	for i, f := range r.Faults {
		if i == len(g.faults) {
			g.faults = append(g.faults, FaultReport{Name: f.Name})
		}
		if f.Injected {
			g.faults[i].Days++
		}
	}
	for i := range r.Playbooks {
		if i == len(g.playbooks) {
			g.playbooks = append(g.playbooks, PlaybookRun{Name: r.Playbooks[i].Name, Ends: map[api.RemediationEnd]int{}})
			g.again = append(g.again, 0)
		}
		g.playbook(i, &r.Playbooks[i])
	}
	for _, v := range r.Violations {
		if len(g.violated) < violationsMax {
			g.violated = append(g.violated, DayViolation{Day: day, At: v.At.Seconds(), What: FigureInfos[v.What].Name, Text: v.Text})
		}
	}
	if r.Cut != "" && len(g.cut) < violationsMax {
		g.cut = append(g.cut, DayViolation{Day: day, What: "cut", Text: r.Cut})
	}
}

func (g *going) playbook(i int, p *PlaybookRun) {
	sum := &g.playbooks[i]
	sum.Triggered += p.Triggered
	sum.Opened += p.Opened
	sum.Held += p.Held
	sum.Undone += p.Undone
	for _, end := range endsOf(p.Ends) {
		sum.Ends[end] += p.Ends[end]
	}
	if p.Again != "" {
		sum.Again = cmp.Or(sum.Again, p.Again)
		g.again[i]++
	}
	for k, step := range p.Steps {
		if k == len(sum.Steps) {
			sum.Steps = append(sum.Steps, StepRun{Name: step.Name})
		}
		to := &sum.Steps[k]
		to.Done += step.Done
		to.Skipped += step.Skipped
		to.Refused += step.Refused
		to.Failed += step.Failed
		to.Unknown += step.Unknown
		to.Held += step.Held
	}
}

// endsOf lists the ends in one order.
func endsOf(ends map[api.RemediationEnd]int) []api.RemediationEnd {
	out := make([]api.RemediationEnd, 0, len(ends))
	for end := range ends { // sorted below
		out = append(out, end)
	}
	slices.Sort(out)
	return out
}

// tried tells whether a step was reached: its action was called, whatever came of it. One that was only skipped or held was not.
func (s *StepRun) tried() bool { return s.Done+s.Refused+s.Failed+s.Unknown > 0 }

// verdict weighs it all. A day on which the faults struck and something failed that must hold is proof, whatever else was not reached; without
// proof nothing is said of what was not reached.
func (s *Study) verdict(expected []Expected) (Verdict, []string) {
	if s.Days() == 0 {
		return Inconclusive, []string{"no day was played to its end"}
	}
	g := s.gone[slices.Index(s.plan.Variants(), s.subject)]
	var missed, failed []string
	for _, f := range g.faults {
		if f.Days == 0 {
			missed = append(missed, fmt.Sprintf("the fault %q touched nothing on any day", f.Name))
		}
	}
	if len(missed) > 0 {
		return Inconclusive, append(missed, s.uncovered(g)...)
	}
	for i := range expected {
		if x := &expected[i]; !x.Met() {
			failed = append(failed, x.reason())
		}
	}
	for _, c := range g.cut {
		failed = append(failed, fmt.Sprintf("day %d was ended before its time: %s", c.Day, c.Text))
	}
	for i, n := range g.again {
		if n > 0 {
			failed = append(failed, fmt.Sprintf("a second run of playbook %s right after a verified one would act again: %s (%d of %d days)", g.playbooks[i].Name, g.playbooks[i].Again, n, s.Days()))
		}
	}
	missed = s.uncovered(g)
	switch {
	case len(failed) > 0:
		return Fail, append(failed, missed...)
	case len(missed) > 0:
		return Inconclusive, missed
	}
	return Pass, nil
}

func (x *Expected) reason() string {
	if x.Error != "" {
		return fmt.Sprintf("%s cannot be answered: %s", x.Text, x.Error)
	}
	return fmt.Sprintf("%s failed on %d of %d days: %s", x.Text, x.Days-x.Held, x.Days, x.Saw)
}

// uncovered says what of the playbooks under test was never reached.
func (s *Study) uncovered(g *going) []string {
	covers := s.plan.setup.Scenario.Spec.Covers
	var out []string
	for _, name := range covers {
		i := slices.IndexFunc(g.playbooks, func(p PlaybookRun) bool { return p.Name == name })
		if i < 0 {
			out = append(out, fmt.Sprintf("there is no playbook %s in variant %s", name, s.subject))
			continue
		}
		out = append(out, unreached(&g.playbooks[i])...)
	}
	if covers != nil { // covers: [] is a test that nothing runs
		return out
	}
	set := false
	for i := range g.playbooks {
		if p := &g.playbooks[i]; p.Triggered > 0 {
			set = true
			out = append(out, unreached(p)...)
		}
	}
	if !set && len(g.playbooks) > 0 && len(g.faults) > 0 {
		out = append(out, "no playbook was set off; where that is what should happen, write covers: []")
	}
	return out
}

func unreached(p *PlaybookRun) []string {
	if p.Triggered == 0 {
		return []string{fmt.Sprintf("playbook %s was never set off: its anomaly did not open", p.Name)}
	}
	var out []string
	for i := range p.Steps {
		step := &p.Steps[i]
		switch {
		case step.tried():
		case step.Held > 0:
			out = append(out, fmt.Sprintf("step %s of playbook %s was never tried: a guard held it back", step.Name, p.Name))
		case step.Skipped > 0:
			out = append(out, fmt.Sprintf("step %s of playbook %s was always skipped", step.Name, p.Name))
		default:
			out = append(out, fmt.Sprintf("step %s of playbook %s was never reached", step.Name, p.Name))
		}
	}
	return out
}

// Telling is the day that is worth telling: the first one on which something failed that must hold, else the one in the middle by the time to
// recover.
func (s *Study) Telling() (variant api.Variant, replication int, why string) {
	first, text := -1, ""
	for i := range s.expect {
		if x, day := s.judge(&s.expect[i]); day >= 0 && (first < 0 || day < first) {
			first, text = day, x.Text
		}
	}
	if first >= 0 {
		return s.subject, s.first + first, "the first day on which " + text + " failed"
	}
	day := s.tally(s.subject).Median(Recovered)
	return s.subject, s.first + day, "in the middle of all days by the time to recover"
}

// configOf is the configuration of a variant; nil where nobody decides by one.
func (s *Study) configOf(v api.Variant) *engine.Config {
	switch v {
	case api.VariantCurrent, api.VariantNaive:
		return &s.plan.setup.Current
	case api.VariantCandidate:
		return s.plan.setup.Candidate
	}
	return nil
}
