package controller

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/store"
)

// Report is what the log says about a period: incidents opened in it, remediations opened in it, and every "no" written in it.
// All of it comes from entries, so two people with the same log read the same figures.
type Report struct {
	From        time.Time         `json:"from"`
	To          time.Time         `json:"to"` // not included
	Log         string            `json:"log"`
	Entries     int64             `json:"entries"` // of the whole log, when it was read
	All         Figures           `json:"all"`
	Playbooks   []PlaybookFigures `json:"playbooks"`
	WhyNot      []Tally           `json:"whyNot"` // by guard, the most frequent first
	Objectives  []Kept            `json:"objectives"`
	Incidents   []IncidentLine    `json:"incidents"`
	Definitions []Definition      `json:"definitions"`
}

// Figures sum up incidents and remediations. A Mean says of how many it is: what the log does not know is left out, not guessed.
type Figures struct {
	Incidents    int     `json:"incidents"`
	Closed       int     `json:"closed"`
	Detect       Mean    `json:"mttd"`
	Act          Mean    `json:"mtta"`
	Recover      Mean    `json:"mttr"`
	Automated    Share   `json:"automated"` // of closed incidents
	Remediations int     `json:"remediations"`
	Verified     Share   `json:"verified"` // of ended remediations
	Ends         []Tally `json:"ends"`
	Refused      int     `json:"refused"` // times that a guard said no
}

// PlaybookFigures are those of one playbook.
type PlaybookFigures struct {
	Name         string  `json:"name"`
	Remediations int     `json:"remediations"`
	Act          Mean    `json:"mtta"` // from incident to the first step
	Heal         Mean    `json:"heal"` // from begin to verified
	Verified     Share   `json:"verified"`
	Alone        Share   `json:"automated"` // of ended remediations
	Ends         []Tally `json:"ends"`
	WhyNot       []Tally `json:"whyNot"`
}

// Mean is a mean of durations.
type Mean struct {
	N       int     `json:"n"`
	Seconds float64 `json:"seconds"` // 0 where N is 0
	Longest float64 `json:"longestSeconds"`
}

func (m *Mean) add(d time.Duration) {
	s := max(d, 0).Seconds()
	m.Seconds = (m.Seconds*float64(m.N) + s) / float64(m.N+1)
	m.N++
	m.Longest = max(m.Longest, s)
}

// Share is a part of a whole.
type Share struct {
	Of    int `json:"of"`
	Count int `json:"count"`
}

func (s *Share) add(is bool) {
	s.Of++
	if is {
		s.Count++
	}
}

// Tally counts one name.
type Tally struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

// Kept holds one objective of a workflow against the log.
type Kept struct {
	Workflow  string `json:"workflow"`
	Objective string `json:"objective"` // turnaround, backlog, accuracy
	Promise   string `json:"promise"`
	Kept      string `json:"kept"` // yes, no, or not known
	Text      string `json:"text"` // what the log knows
}

// IncidentLine is one incident in a list.
type IncidentLine struct {
	ID           string        `json:"id"`
	Title        string        `json:"title"`
	Opened       time.Time     `json:"opened"`
	Lasted       time.Duration `json:"lasted"` // nanoseconds; 0 while open
	Open         bool          `json:"open,omitempty"`
	Automated    bool          `json:"automated"`
	Remediations int           `json:"remediations"`
}

// Definition says what a figure means, in the report itself: a figure without one is an opinion.
type Definition struct{ Name, Text string }

// reportKinds are the entries that a report reads.
var reportKinds = []api.EntryKind{api.EntryConfigured, api.EntryAnomalyOpened, api.EntryIncidentOpened, api.EntryIncidentRooted, api.EntryIncidentMerged,
	api.EntryIncidentClosed, api.EntryRefused, api.EntryRemediationOpened, api.EntryRemediationEnded, api.EntryStepRefused, api.EntryStepIntended,
	api.EntryStepHandedOver, api.EntryAsked, api.EntryDecided}

// MakeReport reads the log of a data folder, beside a running controller or without one.
func MakeReport(ctx context.Context, dir string, from, to time.Time) (*Report, error) {
	if !from.Before(to) {
		return nil, api.Errorf(api.CodeUsage, "a period ends after it begins: from %s to %s", from.Format(time.RFC3339), to.Format(time.RFC3339))
	}
	r, err := store.OpenReader(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	c := newCounting(from, to)
	if head, _, err := r.ProveAll(ctx, nil); err != nil {
		return nil, err
	} else if c.report.Log, c.report.Entries = head.Origin, head.Size; head.Size == 0 {
		return c.finish(nil), nil
	}
	if err := c.promises(ctx, r); err != nil {
		return nil, err
	}
	const page = 5000
	for next := int64(0); ; {
		entries, err := r.Entries(ctx, store.Query{From: next, Since: from, Kinds: reportKinds, Limit: page})
		if err != nil {
			return nil, err
		}
		for i := range entries {
			c.count(&entries[i])
		}
		if len(entries) < page {
			break
		}
		next = entries[len(entries)-1].Seq + 1
	}
	workflows := map[string][]string{}
	for id := range c.incidents {
		view, err := r.Incident(ctx, id)
		if err != nil && api.CodeOf(err) != api.CodeNotFound {
			return nil, err
		}
		workflows[id] = view.Workflows
	}
	return c.finish(workflows), nil
}

// promises reads the objectives that were in force when the period began.
func (c *counting) promises(ctx context.Context, r *store.Reader) error {
	first, err := r.Entries(ctx, store.Query{Since: c.report.From, Limit: 1})
	if err != nil || len(first) == 0 || first[0].Seq == 0 {
		return err
	}
	before, err := r.Entries(ctx, store.Query{To: first[0].Seq, Kinds: []api.EntryKind{api.EntryConfigured}, Newest: true, Limit: 1})
	for i := range before {
		c.objectives(&before[i])
	}
	return err
}

// counting is a report in the making.
type counting struct {
	report    Report
	incidents map[string]*countedIncident
	runs      map[string]*countedRun
	playbooks map[string]*PlaybookFigures
	whyNot    map[string]int      // by guard
	promised  map[string]*promise // by workflow
	peaks     map[string]float64  // by probe: the highest value of its anomalies in the period
}

type countedIncident struct {
	line   IncidentLine
	since  time.Time // first bad run or value
	acted  time.Time
	closed time.Time
	merged bool
	person bool // somebody had to decide, or was handed a step
	healed bool // a remediation was verified
}

type countedRun struct {
	playbook, incident string
	opened, acted      time.Time
	person             bool
}

type promise struct{ turnaround, backlog, accuracy, probe string }

func newCounting(from, to time.Time) *counting {
	return &counting{report: Report{From: from, To: to}, incidents: map[string]*countedIncident{}, runs: map[string]*countedRun{}, playbooks: map[string]*PlaybookFigures{},
		whyNot: map[string]int{}, promised: map[string]*promise{}, peaks: map[string]float64{}}
}

// count takes in one entry. Entries after the period only end what began in it.
func (c *counting) count(e *api.Entry) {
	within := !e.At.Before(c.report.From) && e.At.Before(c.report.To)
	inc := c.incidents[e.Incident]
	switch e.Kind {
	case api.EntryConfigured:
		if within {
			c.objectives(e)
		}
	case api.EntryIncidentOpened:
		if within {
			c.incidents[e.Incident] = &countedIncident{line: IncidentLine{ID: e.Incident, Title: e.Text, Opened: e.At, Open: true}}
		}
	case api.EntryAnomalyOpened:
		if within && e.Anomaly != nil {
			c.peaks[e.Anomaly.Probe] = max(c.peaks[e.Anomaly.Probe], e.Anomaly.Value)
		}
		if inc != nil && e.Anomaly != nil && !e.Anomaly.Since.IsZero() && (inc.since.IsZero() || e.Anomaly.Since.Before(inc.since)) {
			inc.since = e.Anomaly.Since
		}
	case api.EntryRefused, api.EntryStepRefused:
		if within && e.Refusal != nil && e.Decision == nil {
			c.refused(e)
		}
	case api.EntryRemediationOpened:
		if within {
			c.runs[e.Remediation] = &countedRun{playbook: e.Playbook, incident: e.Incident, opened: e.At}
			c.book(e.Playbook).Remediations++
		}
	default:
		c.went(e, inc)
	}
}

// went takes in what happens to incidents and remediations that are counted.
func (c *counting) went(e *api.Entry, inc *countedIncident) {
	run := c.runs[e.Remediation]
	if inc == nil {
		inc = &countedIncident{} // it opened before the period
	}
	switch e.Kind {
	case api.EntryIncidentRooted:
		inc.line.Title = e.Text
	case api.EntryIncidentMerged:
		inc.merged = true
	case api.EntryIncidentClosed:
		inc.closed, inc.line.Open, inc.line.Lasted = e.At, false, e.At.Sub(inc.line.Opened)
	case api.EntryStepIntended, api.EntryDecided:
		if inc.acted.IsZero() {
			inc.acted = e.At
		}
		if e.Kind == api.EntryDecided {
			inc.person = true
			if run != nil {
				run.person = true
			}
		} else if run != nil && run.acted.IsZero() {
			run.acted = e.At
			if !inc.line.Opened.IsZero() {
				c.book(run.playbook).Act.add(e.At.Sub(inc.line.Opened))
			}
		}
	case api.EntryStepHandedOver, api.EntryAsked:
		inc.person = true
		if run != nil {
			run.person = true
		}
	case api.EntryRemediationEnded:
		inc.line.Remediations++
		inc.healed = inc.healed || e.End == api.EndVerified
		if run != nil {
			c.ended(e, run)
		}
	}
}

func (c *counting) ended(e *api.Entry, run *countedRun) {
	b := c.book(run.playbook)
	verified := e.End == api.EndVerified
	b.Verified.add(verified)
	b.Alone.add(verified && !run.person)
	if verified {
		b.Heal.add(e.At.Sub(run.opened))
	}
	b.Ends = tally(b.Ends, string(e.End))
	c.report.All.Verified.add(verified)
	c.report.All.Ends = tally(c.report.All.Ends, string(e.End))
}

func (c *counting) refused(e *api.Entry) {
	guard := string(e.Refusal.Guard)
	c.report.All.Refused++
	c.whyNot[guard]++
	b := c.book(e.Playbook)
	b.WhyNot = tally(b.WhyNot, guard)
}

func tally(list []Tally, name string) []Tally {
	i := slices.IndexFunc(list, func(t Tally) bool { return t.Name == name })
	if i < 0 {
		return append(list, Tally{name, 1})
	}
	list[i].Count++
	return list
}

func (c *counting) book(name string) *PlaybookFigures {
	b := c.playbooks[name]
	if b == nil {
		b = &PlaybookFigures{Name: name}
		c.playbooks[name] = b
	}
	return b
}

// objectives reads what was promised, as the entry of a configuration says it. The last one in the period counts.
func (c *counting) objectives(e *api.Entry) {
	c.promised = map[string]*promise{}
	for _, f := range e.Facts {
		rest, is := strings.CutPrefix(f.Name, "objective ")
		name, what, found := strings.Cut(rest, " ")
		if !is || !found {
			continue
		}
		p := c.promised[name]
		if p == nil {
			p = &promise{}
			c.promised[name] = p
		}
		switch what {
		case "turnaround":
			p.turnaround = f.Value
		case "backlog":
			p.backlog = f.Value
		case "counted by":
			p.probe = f.Value
		case "accuracy":
			p.accuracy = f.Value
		}
	}
}

// finish sums up.
func (c *counting) finish(workflows map[string][]string) *Report {
	r := &c.report
	r.Incidents, r.Playbooks, r.WhyNot, r.Objectives, r.Definitions = []IncidentLine{}, []PlaybookFigures{}, []Tally{}, []Kept{}, definitions
	for _, id := range slices.Sorted(maps.Keys(c.incidents)) {
		inc := c.incidents[id]
		if inc.merged {
			continue // its entries count for the one that took it in
		}
		r.All.Incidents++
		if !inc.since.IsZero() {
			r.All.Detect.add(inc.line.Opened.Sub(inc.since))
		}
		if !inc.acted.IsZero() {
			r.All.Act.add(inc.acted.Sub(inc.line.Opened))
		}
		if !inc.closed.IsZero() {
			r.All.Closed++
			r.All.Recover.add(inc.closed.Sub(inc.line.Opened))
			inc.line.Automated = inc.healed && !inc.person
			r.All.Automated.add(inc.line.Automated)
		}
		r.Incidents = append(r.Incidents, inc.line)
	}
	slices.SortStableFunc(r.Incidents, func(a, b IncidentLine) int { return a.Opened.Compare(b.Opened) })
	for _, name := range slices.Sorted(maps.Keys(c.playbooks)) {
		b := c.playbooks[name]
		r.All.Remediations += b.Remediations
		sortTallies(b.Ends)
		sortTallies(b.WhyNot)
		r.Playbooks = append(r.Playbooks, *b)
	}
	for guard, n := range c.whyNot {
		r.WhyNot = append(r.WhyNot, Tally{guard, n})
	}
	sortTallies(r.WhyNot)
	sortTallies(r.All.Ends)
	for _, name := range slices.Sorted(maps.Keys(c.promised)) {
		r.Objectives = append(r.Objectives, c.kept(name, workflows)...)
	}
	return r
}

func sortTallies(list []Tally) {
	slices.SortFunc(list, func(a, b Tally) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name)) })
}

// kept holds the promises of one workflow against what the log knows.
func (c *counting) kept(name string, workflows map[string][]string) []Kept {
	p := c.promised[name]
	var out []Kept
	if limit, err := time.ParseDuration(p.turnaround); err == nil {
		k := Kept{Workflow: name, Objective: "turnaround", Promise: p.turnaround, Kept: "yes"}
		n, over, open := 0, 0, 0
		var longest time.Duration
		for id, inc := range c.incidents {
			if inc.merged || !slices.Contains(workflows[id], name) {
				continue
			}
			n++
			longest = max(longest, inc.line.Lasted)
			switch {
			case inc.line.Open:
				open++
			case inc.line.Lasted > limit:
				over++
			}
		}
		k.Text = strconv.Itoa(n) + " incidents touched it, " + strconv.Itoa(over) + " of them longer than promised; the longest took " + longest.Round(100*time.Millisecond).String()
		switch {
		case over > 0:
			k.Kept = "no"
		case open > 0:
			k.Kept, k.Text = "not known", k.Text+"; "+strconv.Itoa(open)+" still open"
		}
		out = append(out, k)
	}
	if limit, err := strconv.ParseFloat(p.backlog, 64); err == nil {
		k := Kept{Workflow: name, Objective: "backlog", Promise: p.backlog, Kept: "not known", Text: "no probe counts what waits (value.countedBy)"}
		if p.probe != "" {
			k.Kept, k.Text = "yes", "no anomaly of probe "+p.probe+" was above it"
			if peak := c.peaks[p.probe]; peak > limit {
				k.Kept, k.Text = "no", "probe "+p.probe+" was at "+strconv.FormatFloat(peak, 'f', -1, 64)
			}
		}
		out = append(out, k)
	}
	if p.accuracy != "" {
		out = append(out, Kept{name, "accuracy", p.accuracy, "not known", "the log holds what was repaired, not which items came out right"})
	}
	return out
}

// definitions of all that a report prints.
var definitions = []Definition{
	{"Period", "Incidents and remediations count in the period in which they were opened; refusals in the one in which they were written. Incidents that turned out to be part of another count with that one."},
	{"MTTD", "Mean time to detect: from the first bad run or value that led to an anomaly of the incident, until the incident was opened. Only failures and threshold detectors know that time; incidents without it are left out (n says how many count). What went wrong before a probe first saw it is in no log: add at most one interval of the probe."},
	{"MTTA", "Mean time to act: from the opening of the incident until the first step was intended or the first person decided. Incidents in which nothing was done are left out."},
	{"MTTR", "Mean time to recovery: from the opening of the incident until all its anomalies had cleared, as the probes saw it."},
	{"Automation rate", "Share of closed incidents in which a remediation was verified, and nobody was asked, decided or was handed a step. For a playbook: share of its ended remediations that were verified without a person."},
	{"Verified rate", "Share of ended remediations whose repair was seen to hold by probes and reconciliations. That the action returned well does not count."},
	{"Why not", "Times that a guard held back a playbook or a step, by guard. A refusal is written when the reason changes, not at every look."},
	{"Turnaround", "Kept where no incident that touched the workflow lasted longer than the promise: work that came in as it began could then still be done in time. The log does not hold single items."},
	{"Backlog", "Kept where no anomaly of the probe that counts what waits was opened at a value above the promise. It takes a detector at or below that value."},
}
