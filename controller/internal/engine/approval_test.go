package engine

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// desk is an engine with one playbook, whose steps and approval a test chooses, and a channel to be told.
type desk struct {
	t       *testing.T
	s       *State
	cfg     *Config
	at      time.Time
	entries []api.Entry
}

func newDesk(t *testing.T, mode api.Mode, danger api.Danger, a *Approval) *desk {
	d := &desk{t: t, s: New(), at: t0}
	d.cfg = &Config{Digest: "c1",
		Integrations: []api.Integration{{Metadata: api.Metadata{Name: "gw"}}, {Metadata: api.Metadata{Name: "pager"}, Spec: api.IntegrationSpec{Channel: &api.Driver{Driver: "webhook"}}}},
		Probes:       []api.Probe{{Metadata: api.Metadata{Name: "auth"}, Spec: api.ProbeSpec{Integration: "gw", Detect: []api.Detector{{Name: "down"}}}}},
		Playbooks: []Playbook{{Name: "switch", Digest: "p1", Approval: a,
			Spec:  api.PlaybookSpec{Mode: mode, On: api.Trigger{Anomaly: "auth/down"}, Steps: []api.Step{{Name: "route", Do: "failover"}}},
			Steps: []api.StepPlan{{Name: "route", Action: api.ActionInfo{Name: "failover", Danger: danger, Repeat: api.Idempotent}, Targets: []string{"integration/gw"}}}}}}
	d.step(Event{Restarted: true})
	d.step(Event{Config: d.cfg})
	return d
}

func (d *desk) step(e Event) Output {
	e.At = d.at
	d.at = d.at.Add(time.Second)
	out := d.s.Step(e)
	d.entries = append(d.entries, out.Entries...)
	return out
}

// ill opens the anomaly that starts the playbook, and gives the id of the remediation; empty where there is none.
func (d *desk) ill() string {
	d.step(Event{Anomaly: &api.Anomaly{Name: "auth/down", Probe: "auth", Opened: d.at, At: d.at, Text: "down"}})
	if e := d.last(api.EntryRemediationOpened); e != nil {
		return e.Remediation
	}
	return ""
}

func (d *desk) last(kind api.EntryKind) *api.Entry {
	for i := len(d.entries) - 1; i >= 0; i-- {
		if d.entries[i].Kind == kind {
			return &d.entries[i]
		}
	}
	return nil
}

// replayed holds that the log alone gives the same state.
func (d *desk) replayed() {
	d.t.Helper()
	again := New()
	for i, e := range d.entries {
		e.Seq = int64(i)
		if err := again.Apply(e); err != nil {
			d.t.Fatal(err)
		}
	}
	want, err := d.s.Snapshot()
	if err != nil {
		d.t.Fatal(err)
	}
	if got, err := again.Snapshot(); err != nil || string(got) != string(want) {
		d.t.Errorf("replay differs (%v)", err)
	}
}

// TestApprovedMode: the engine takes the lesser of what is written and what is approved, and says why.
func TestApprovedMode(t *testing.T) {
	for name, c := range map[string]struct {
		mode     api.Mode
		approval *Approval
		want     api.Mode
		why      string
	}{
		"not enforced":           {api.ModeAuto, nil, api.ModeAuto, ""},
		"approved":               {api.ModeAuto, &Approval{Mode: api.ModeAuto, By: []string{"ada"}, Expires: t0.Add(time.Hour)}, api.ModeAuto, ""},
		"approved without end":   {api.ModeAuto, &Approval{Mode: api.ModeAuto, By: []string{"ada"}}, api.ModeAuto, ""},
		"nobody":                 {api.ModeAuto, &Approval{Mode: api.ModeSuggest, Why: "nobody has approved it"}, api.ModeSuggest, "nobody has approved it"},
		"an empty fact":          {api.ModeAuto, &Approval{}, api.ModeSuggest, "nobody approved it for more"},
		"for less":               {api.ModeAuto, &Approval{Mode: api.ModeApprove, By: []string{"ada"}, Why: "it is approved for mode approve only"}, api.ModeApprove, "approve only"},
		"for more":               {api.ModeApprove, &Approval{Mode: api.ModeAuto, By: []string{"ada"}}, api.ModeApprove, ""},
		"expired":                {api.ModeAuto, &Approval{Mode: api.ModeAuto, By: []string{"ada", "bob"}, Expires: t0.Add(time.Second)}, api.ModeSuggest, "its approval by ada and bob expired at 09:00:01 on 2 March 2026"},
		"observe needs none":     {api.ModeObserve, &Approval{Mode: api.ModeSuggest, Why: "nobody has approved it"}, api.ModeObserve, ""},
		"suggest needs none":     {api.ModeSuggest, &Approval{Mode: api.ModeSuggest, Why: "nobody has approved it"}, api.ModeSuggest, ""},
		"suggest never expires":  {api.ModeSuggest, &Approval{Mode: api.ModeAuto, By: []string{"ada"}, Expires: t0}, api.ModeSuggest, ""},
		"an unknown mode is low": {api.ModeAuto, &Approval{Mode: "everything"}, api.ModeSuggest, "nobody approved it for more"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, c.mode, api.D1, c.approval)
			id := d.ill()
			st := d.s.Playbooks()[0]
			if st.Mode != c.want || !strings.Contains(st.ModeWhy, c.why) || (c.why == "") != (st.ModeWhy == "") {
				t.Errorf("get playbooks says %s because of %q, want %s because of %q", st.Mode, st.ModeWhy, c.want, c.why)
			}
			if c.why != "" && st.ModeWritten != c.mode {
				t.Errorf("the mode that is written is %s", st.ModeWritten)
			}
			switch c.want {
			case api.ModeAuto:
				if id == "" || d.s.Remediation(id).Asked != "" {
					t.Errorf("it did not begin on its own: %+v", d.entries)
				}
			case api.ModeApprove:
				if id == "" || d.s.Remediation(id).Asked == "" {
					t.Errorf("it did not ask: %+v", d.entries)
				}
			case api.ModeSuggest:
				if id != "" || d.last(api.EntrySuggested) == nil {
					t.Errorf("it did not suggest: %+v", d.entries)
				}
			}
			no := d.last(api.EntryRefused)
			if refused := c.why != "" && c.want == api.ModeSuggest; refused != (no != nil) {
				t.Fatalf("a refusal: %+v", no)
			} else if refused && (no.Refusal.Guard != api.GuardApproval || !strings.Contains(no.Refusal.Reason, c.why)) {
				t.Errorf("it was refused by %s: %s", no.Refusal.Guard, no.Refusal.Reason)
			}
			d.replayed()
		})
	}
}

// TestApprovalInEntries: the log says what was approved when, and each remediation carries the approval that it ran on.
func TestApprovalInEntries(t *testing.T) {
	d := newDesk(t, api.ModeAuto, api.D1, &Approval{Mode: api.ModeAuto, By: []string{"ada", "bob"}, Expires: t0.Add(time.Hour)})
	want := []api.Fact{{Name: "approval/switch", Value: "mode auto, by ada and bob, until 2026-03-02T10:00:00Z"}}
	if got := d.last(api.EntryConfigured).Facts; !slices.Contains(got, want[0]) {
		t.Errorf("%+v", got)
	}
	d.ill()
	if e := d.last(api.EntryRemediationOpened); e == nil || !strings.Contains(string(e.Plan), `"by":["ada","bob"]`) {
		t.Errorf("%+v", e)
	}
	lost := *d.cfg
	lost.Digest = "c2"
	lost.Playbooks = slices.Clone(lost.Playbooks)
	lost.Playbooks[0].Approval = &Approval{Mode: api.ModeSuggest, Why: "nobody has approved it"}
	d.step(Event{Config: &lost})
	if got := d.last(api.EntryConfigured).Facts; !slices.Contains(got, api.Fact{Name: "approval/switch", Value: "mode suggest: nobody has approved it"}) {
		t.Errorf("%+v", got)
	}
}

// TestOldRungLets: an upper rung of a ladder that may only suggest keeps the lower ones from nothing.
func TestOldRungLets(t *testing.T) {
	d := newDesk(t, api.ModeAuto, api.D1, &Approval{Mode: api.ModeAuto, By: []string{"ada"}, Expires: t0.Add(time.Second)})
	lower := d.cfg.Playbooks[0]
	lower.Name, lower.Digest, lower.Approval = "lower", "p2", &Approval{Mode: api.ModeAuto, By: []string{"ada"}}
	c := *d.cfg
	c.Digest, c.Playbooks = "c2", []Playbook{d.cfg.Playbooks[0], lower}
	c.Playbooks[0].Spec.Otherwise = "lower"
	d.step(Event{Config: &c})
	d.ill()
	if e := d.last(api.EntryRemediationOpened); e == nil || e.Playbook != "lower" {
		t.Errorf("%+v", d.entries)
	}
}

// TestBreakGlass: one person stands in for two, with a reason, loudly; never without the reason, and never for D5.
func TestBreakGlass(t *testing.T) {
	d := newDesk(t, api.ModeAuto, api.D4, nil)
	id := d.ill()
	yes := api.Decision{Verb: api.VerbApprove, By: "ada", Target: id, Plan: d.s.Remediation(id).Plan, BreakGlass: true}
	d.step(Event{Decision: &yes})
	if no := d.last(api.EntryWordRefused); no == nil || !strings.Contains(no.Refusal.Reason, "reason") || d.last(api.EntryDecided) != nil {
		t.Fatalf("without a reason: %+v", no)
	}
	deny := api.Decision{Verb: api.VerbDeny, By: "ada", Target: id, Reason: "no", BreakGlass: true}
	d.step(Event{Decision: &deny})
	if d.last(api.EntryDecided) != nil {
		t.Fatal("a no that breaks the glass was taken")
	}
	stale := yes
	stale.Reason, stale.Plan = "the bank closes in 5 minutes", "another plan"
	d.step(Event{Decision: &stale})
	if d.last(api.EntryDecided) != nil {
		t.Fatal("the glass was broken for another plan than the one that was shown")
	}
	yes.Reason = stale.Reason
	out := d.step(Event{Decision: &yes})
	e := d.last(api.EntryDecided)
	if e == nil || !strings.HasPrefix(e.Text, "BREAK-GLASS: ada ALONE APPROVED PLAYBOOK switch, IN PLACE OF TWO PEOPLE.") || !strings.Contains(e.Text, yes.Reason) || e.Actor != "ada" || !e.Decision.BreakGlass {
		t.Fatalf("%+v", e)
	}
	told := slices.ContainsFunc(out.Commands, func(c Command) bool {
		return c.Kind == Notify && c.Channel == "pager" && strings.Contains(c.Message.Text, "BREAK-GLASS") && c.Message.Severity == "critical"
	})
	plan := slices.IndexFunc(out.Commands, func(c Command) bool { return c.Kind == Plan })
	if !told || plan < 0 {
		t.Fatalf("told %t, commands %+v", told, out.Commands)
	}
	out = d.step(Event{Result: &Result{Command: out.Commands[plan].ID, Estimate: &api.Estimate{Text: "Pay."}}})
	if !slices.ContainsFunc(out.Commands, func(c Command) bool { return c.Kind == Run }) {
		t.Errorf("the step of class D4 does not run: %+v", out.Entries)
	}
	d.replayed()
	d.step(Event{Decision: &yes})
	if no := d.last(api.EntryWordRefused); no == nil || !strings.Contains(no.Refusal.Reason, "plan is not the one") {
		t.Errorf("the glass was broken twice: %+v", no)
	}

	never := newDesk(t, api.ModeAuto, api.D5, nil)
	if id := never.ill(); id != "" {
		t.Error("a step of class D5 was offered to people")
	}
}

// TestBreakGlassOnStep: it answers a question that wants several people, also after one of them has said yes.
func TestBreakGlassOnStep(t *testing.T) {
	d := newDesk(t, api.ModeAuto, api.D0, nil)
	c := *d.cfg
	c.Digest = "c2"
	c.Playbooks = slices.Clone(c.Playbooks)
	c.Playbooks[0].Steps = []api.StepPlan{{Name: "route", Control: api.Control{Ask: &api.Question{Text: "Really?", People: 3, Deadline: time.Hour}}}}
	d.step(Event{Config: &c})
	id := d.ill()
	plan := d.s.Remediation(id).Plan
	d.step(Event{Decision: &api.Decision{Verb: api.VerbApprove, By: "ada", Target: id + "/route", Plan: plan}})
	if st := d.s.Remediation(id).Steps[0].State; st != api.StepAsking {
		t.Fatalf("one of three was enough: %s", st)
	}
	d.step(Event{Decision: &api.Decision{Verb: api.VerbApprove, By: "ada", Target: id + "/route", Plan: plan, Reason: "nobody answers the phone", BreakGlass: true}})
	if st := d.s.Remediation(id).Steps[0].State; st != api.StepDone {
		t.Errorf("the step is %s", st)
	}
	if e := d.last(api.EntryDecided); !strings.HasPrefix(e.Text, "BREAK-GLASS: ada ALONE APPROVED STEP route OF PLAYBOOK switch, IN PLACE OF 3 PEOPLE.") {
		t.Error(e.Text)
	}
	d.replayed()
}

// BenchmarkApproval is what an approval adds to a decision: the mode that a playbook may have now.
func BenchmarkApproval(b *testing.B) {
	c := many(100)
	for i := range c.Playbooks {
		c.Playbooks[i].Approval = &Approval{Mode: api.ModeAuto, By: []string{"ada", "bob"}, Expires: t0.Add(time.Hour)}
	}
	s := New()
	s.Step(Event{At: t0, Restarted: true})
	s.Step(Event{At: t0, Config: c})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if mode, _ := s.allowed(i % 100); mode != api.ModeAuto {
			b.Fatal(mode)
		}
	}
}
