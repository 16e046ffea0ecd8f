package engine

import (
	"strconv"
	"strings"

	"github.com/backstay/backstay/api"
)

// config reads a configuration in the compact notation of the scripts.
func (p *player) config(text string) *Config {
	c := &Config{Digest: hash(8, text)}
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		a := parse(line)
		name := a.words[1]
		switch a.words[0] {
		case "integration":
			c.Integrations = append(c.Integrations, api.Integration{Metadata: api.Metadata{Name: name}, Spec: api.IntegrationSpec{DependsOn: a.list("dependsOn")}})
		case "workflow":
			if n := len(c.Workflows); n == 0 || c.Workflows[n-1].Metadata.Name != name {
				c.Workflows = append(c.Workflows, api.Workflow{Metadata: api.Metadata{Name: name}})
			}
			w := &c.Workflows[len(c.Workflows)-1]
			w.Spec.Steps = append(w.Spec.Steps, api.WorkflowStep{Name: a.words[2], Uses: a.list("uses"), After: a.list("after")})
			if a.keys["countedBy"] != "" {
				w.Spec.Value = api.Value{CountedBy: a.keys["countedBy"], PerItem: p.money(a.keys["perItem"])}
			}
		case "probe":
			spec := api.ProbeSpec{Every: api.Duration{Duration: p.duration(a.keys["every"])}, Integration: a.keys["integration"], Workflow: a.keys["workflow"], Step: a.keys["step"]}
			for _, d := range a.list("detect") {
				spec.Detect = append(spec.Detect, api.Detector{Name: d})
			}
			c.Probes = append(c.Probes, api.Probe{Metadata: api.Metadata{Name: name}, Spec: spec})
		case "calendar":
			from, to, _ := strings.Cut(a.keys["freeze"], "..")
			c.Calendars = append(c.Calendars, api.Calendar{Metadata: api.Metadata{Name: name}, Spec: api.CalendarSpec{Freezes: []api.Freeze{{Name: "freeze", From: from, To: to}}}})
		case "storm":
			c.Storm.Least = int(p.number(a.words[1]))
		case "playbook":
			c.Playbooks = append(c.Playbooks, p.playbook(name, a))
		case "step":
			p.step(&c.Playbooks[len(c.Playbooks)-1], name, a)
		default:
			p.t.Fatalf("%q: unknown word", line)
		}
	}
	for i := range c.Playbooks {
		c.Playbooks[i].Digest = hash(8, c.Digest, c.Playbooks[i].Name)
	}
	return c
}

func (p *player) playbook(name string, a args) Playbook {
	sp := api.PlaybookSpec{Mode: api.Mode(a.keys["mode"]), Calendar: a.keys["calendar"], Otherwise: a.keys["otherwise"], Notify: a.list("notify")}
	sp.On = api.Trigger{Anomaly: a.keys["on"], When: a.keys["when"]}
	if least, of, ok := strings.Cut(a.keys["confirm"], ":"); ok {
		sp.On.Confirm = &api.Confirm{AtLeast: int(p.number(least)), Of: strings.Split(of, ",")}
	}
	sp.Limits = api.Limits{Items: p.number(a.keys["items"]), Amount: p.money(a.keys["amount"]), Cooldown: api.Duration{Duration: p.duration(a.keys["cooldown"])}}
	sp.Limits.CooldownTarget.Duration, sp.Limits.CooldownAll.Duration = p.duration(a.keys["cooldownTarget"]), p.duration(a.keys["cooldownAll"])
	sp.Acknowledge, sp.DemoteAfter = a.keys["acknowledge"], int(p.number(a.keys["demoteAfter"]))
	for _, text := range strings.Split(a.keys["budget"], ";") {
		if text != "" {
			sp.Limits.Within = append(sp.Limits.Within, p.budget(text))
		}
	}
	if parts := strings.Split(a.keys["total"], ":"); len(parts) > 1 {
		sp.Totals = []api.Total{{Name: parts[0], Probes: strings.Split(parts[1], "+"), Moved: strings.Join(parts[2:], "")}}
	}
	if a.keys["runs"] != "" {
		rate, err := api.ParseRate(a.keys["runs"])
		if err != nil {
			p.t.Fatal(err)
		}
		sp.Limits.Runs = rate
	}
	if a.keys["share"] != "" {
		share, err := api.ParsePercent(a.keys["share"])
		if err != nil {
			p.t.Fatal(err)
		}
		sp.Limits.Share = share
	}
	sp.Verify = api.Verify{Probes: a.list("verify"), Within: api.Duration{Duration: p.duration(a.keys["within"])}, Hold: api.Duration{Duration: p.duration(a.keys["hold"])}}
	return Playbook{Name: name, Spec: sp}
}

// budget reads a budget: 1h target items:30 amount:EUR:1000.
func (p *player) budget(text string) api.Budget {
	words := strings.Fields(text)
	b := api.Budget{Per: api.Duration{Duration: p.duration(words[0])}}
	for _, w := range words[1:] {
		switch k, v, found := strings.Cut(w, ":"); {
		case !found:
			b.Of = w
		case k == "runs":
			b.Runs = p.number(v)
		case k == "items":
			b.Items = p.number(v)
		case k == "amount":
			b.Amount = p.money(v)
		case k == "share":
			if err := b.Share.UnmarshalText([]byte(v)); err != nil {
				p.t.Fatal(err)
			}
		default:
			p.t.Fatalf("%q: unknown bound", w)
		}
	}
	return b
}

func (p *player) step(pb *Playbook, name string, a args) {
	st := api.Step{Name: name, Do: a.keys["do"], When: a.keys["when"], Ask: a.keys["ask"], Timeout: api.Duration{Duration: p.duration(a.keys["timeout"])}}
	if a.keys["retry"] != "" {
		st.Retry = &api.Retry{Attempts: int(p.number(a.keys["retry"]))}
	}
	plan := api.StepPlan{Name: name, Targets: a.list("targets"), Action: api.ActionInfo{Name: st.Do, Repeat: api.Repeat(a.keys["repeat"]),
		Retention: p.duration(a.keys["retention"]), Undo: a.has("undo"), Counts: a.has("counts")}}
	if d, err := strconv.Atoi(strings.TrimPrefix(a.keys["danger"], "D")); err == nil {
		plan.Action.Danger = api.Danger(d + 1)
	}
	switch st.Do {
	case "wait":
		plan.Control.Wait = p.duration(a.keys["for"])
	case "ask":
		plan.Control.Ask = &api.Question{Text: a.keys["question"], People: int(p.number(a.keys["people"])), Deadline: p.duration(a.keys["deadline"]), Default: a.keys["default"]}
	case "expect":
		plan.Control.Expect = &api.Expectation{Probes: a.list("probes"), OK: 3, Within: p.duration(a.keys["within"])}
		if a.keys["equals"] != "" {
			v := float64(p.number(a.keys["equals"]))
			plan.Control.Expect.Equals = &v
		}
	}
	pb.Spec.Steps = append(pb.Spec.Steps, st)
	pb.Steps = append(pb.Steps, plan)
}
