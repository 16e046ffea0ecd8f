package engine

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/calendar"
)

// plan is a playbook as a remediation was opened with it. It travels in the entry that opens the remediation, so that a
// remediation goes on as planned after the playbook was edited, also across a restart. Parameters of actions are not in
// it: the shell finds the runner by digest and step.
//
// Compatibility: as for durable.
type plan struct {
	Name      string            `json:"name"`
	Digest    string            `json:"digest"`
	Mode      api.Mode          `json:"mode"`
	Trigger   api.Trigger       `json:"trigger"`
	Limits    api.Limits        `json:"limits,omitzero"`
	Calendar  string            `json:"calendar,omitempty"`
	Days      *api.CalendarSpec `json:"days,omitempty"` // the calendar itself
	Steps     []planned         `json:"steps"`
	Proof     api.Expectation   `json:"proof"`
	Otherwise string            `json:"otherwise"`
	Notify    []string          `json:"notify,omitempty"`
	People    int               `json:"people,omitempty"` // who must say yes before it begins
	Danger    api.Danger        `json:"danger"`           // the highest class among its steps
	Targets   []string          `json:"targets,omitempty"`
	Approval  *Approval         `json:"approval,omitempty"`

	Totals      []api.Total `json:"totals,omitempty"`
	Acknowledge string      `json:"acknowledge,omitempty"`
	DemoteAfter int         `json:"demoteAfter,omitempty"`
	Tells       bool        `json:"tells,omitempty"` // it changes nothing and has nothing to prove

	cal    *calendar.Calendar // Days made ready, when first asked
	calErr error
}

// planned is one step of a plan.
type planned struct {
	Name    string        `json:"name"`
	Do      string        `json:"do"`
	When    string        `json:"when,omitempty"`
	Ask     string        `json:"ask,omitempty"`
	Timeout time.Duration `json:"timeout"`
	Tries   int           `json:"tries"`
	Wait    time.Duration `json:"wait,omitempty"`
	Plan    api.StepPlan  `json:"plan"`
}

// Defaults where a spec says nothing.
const (
	stepTimeout   = 30 * time.Second
	verifyWithin  = 2 * time.Minute
	verifyOK      = 2               // good runs in a row that prove a repair
	answerWait    = time.Hour       // how long people have for a yes
	settleWait    = time.Hour       // how long a remediation waits for a person's word on a step in doubt
	resultGrace   = 5 * time.Second // how long after its deadline a silent command is given up
	repeatsMax    = 5               // attempts of one step whose outcome stays unknown
	orphansMax    = 50              // attempts of one step that restarts interrupted
	orphanWait    = 2 * time.Second // what a dead process has sent arrives within this
	looksMax      = 8               // questions to a target that cannot tell
	breaksMax     = 6               // times that an open breaker holds a step
	breakWait     = 30 * time.Second
	againWait     = time.Minute // least pause before a playbook runs again in one incident; doubles
	againWaitMax  = time.Hour
	whenWait      = 30 * time.Second // how often a condition on time or figures is asked again
	staleWait     = 15 * time.Minute // how long an anomaly from before a restart may go without being seen again
	keepEnded     = time.Hour        // closed incidents and ended remediations stay in the state
	keepRuns      = 32 * 24 * time.Hour
	keepRunsCount = 500 // per playbook
)

// newPlan makes a playbook's plan.
func newPlan(p *Playbook, calendars []api.Calendar) *plan {
	sp := &p.Spec
	out := &plan{Name: p.Name, Digest: p.Digest, Mode: modeOf(sp), Approval: p.Approval, Trigger: sp.On, Limits: sp.Limits,
		Calendar: sp.Calendar, Otherwise: cmp.Or(sp.Otherwise, "undo"), Notify: sp.Notify, Totals: sp.Totals, Acknowledge: sp.Acknowledge, DemoteAfter: sp.DemoteAfter}
	if a := p.Approval; a != nil && out.Mode.Rank() > api.ModeSuggest.Rank() {
		out.Mode = out.Mode.Lesser(a.Mode)
		if out.Mode.Rank() < api.ModeSuggest.Rank() {
			out.Mode = api.ModeSuggest
		}
	}
	for i := range calendars {
		if sp.Calendar != "" && calendars[i].Metadata.Name == sp.Calendar {
			out.Days = &calendars[i].Spec
		}
	}
	for i, st := range p.Spec.Steps {
		q := planned{Name: st.Name, Do: st.Do, When: st.When, Ask: st.Ask, Tries: 1, Timeout: cmp.Or(st.Timeout.Duration, stepTimeout)}
		if i < len(p.Steps) {
			q.Plan = p.Steps[i]
		}
		if st.Retry != nil {
			q.Tries, q.Wait = max(1, st.Retry.Attempts), cmp.Or(st.Retry.Wait.Duration, time.Second)
		}
		out.Steps = append(out.Steps, q)
		out.Danger = max(out.Danger, q.danger())
		if q.danger() > api.D0 { // telling and looking collides with nothing
			out.Targets = append(out.Targets, q.Plan.Targets...)
		}
	}
	if out.Danger > api.D0 {
		out.Targets = append(out.Targets, "playbook/"+p.Name)
	}
	slices.Sort(out.Targets)
	out.Targets = slices.Compact(out.Targets)
	if out.Mode == api.ModeApprove {
		out.People = 1
	}
	if out.Danger >= api.D4 {
		out.People = 2
	}
	out.Proof = api.Expectation{OK: verifyOK, Within: cmp.Or(sp.Verify.Within.Duration, verifyWithin), Hold: sp.Verify.Hold.Duration}
	out.Proof.Probes = append(append(out.Proof.Probes, sp.Verify.Probes...), sp.Verify.Reconcile...)
	if len(out.Proof.Probes) == 0 {
		probe, _, _ := strings.Cut(sp.On.Anomaly, "/")
		out.Proof.Probes = []string{probe}
	}
	out.Tells = out.tells(sp)
	return out
}

// modeOf is the mode that is written in a playbook.
func modeOf(sp *api.PlaybookSpec) api.Mode { return cmp.Or(sp.Mode, api.ModeSuggest) }

// danger is the step's class. A step that forgot to say counts as the worst one, so that it never runs.
func (q *planned) danger() api.Danger {
	if q.control() {
		return api.D0
	}
	if q.Plan.Action.Danger < api.D0 {
		return api.D5
	}
	return q.Plan.Action.Danger
}

// control tells whether the core or the shell performs the step itself.
func (q *planned) control() bool {
	c := q.Plan.Control
	return c.Wait > 0 || c.Ask != nil || c.Expect != nil
}

// repeat is the step's repeat class; blind where it forgot to say.
func (q *planned) repeat() api.Repeat { return cmp.Or(q.Plan.Action.Repeat, api.Blind) }

// next is the name of the next playbook of the ladder; empty for undo and stop.
func (p *plan) next() string {
	if p.Otherwise == "undo" || p.Otherwise == "stop" {
		return ""
	}
	return p.Otherwise
}

// hash gives n hexadecimal digits over the parts.
func hash(n int, parts ...string) string {
	h := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(h[:])[:n]
}

// digestOf is the digest of what a person is asked to approve.
func digestOf(p *plan, step string, e *api.Estimate) string {
	b, err := json.Marshal(struct {
		Plan     *plan         `json:"plan"`
		Step     string        `json:"step"`
		Estimate *api.Estimate `json:"estimate"`
	}{p, step, e})
	if err != nil {
		return ""
	}
	return hash(16, string(b))
}

// overlap tells whether two sorted or unsorted lists share a name.
func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(x string) bool { return slices.Contains(b, x) })
}
