package playbooks

import (
	"errors"
	"time"

	"github.com/backstay/backstay/api"
)

// The three steps here need no driver: the core and the shell perform them, so Build gives a plan with a Control and no Runner.

var waitInfo = api.ActionInfo{
	Name: "wait", Version: "1", Effect: api.EffectObserve, Danger: api.D0, Repeat: api.Idempotent,
	Summary: "Lets time pass, such as for a cache to expire or a queue to settle.",
}

type waitParams struct {
	For api.Duration `json:"for" rule:"required,min=1ms,max=7d" doc:"How long."`
}

var wait = Action{
	Info:   waitInfo,
	Params: func() any { return new(waitParams) },
	Build: func(step api.Step, params any, _ *Env) (Runner, api.StepPlan, error) {
		plan := planOf(step, waitInfo)
		plan.Control.Wait = params.(*waitParams).For.Duration
		if plan.Control.Wait <= 0 {
			return nil, plan, errors.New("for must be longer than nothing")
		}
		return nil, plan, nil
	},
}

var askInfo = api.ActionInfo{
	Name: "ask", Version: "1", Effect: api.EffectObserve, Danger: api.D0, Repeat: api.Idempotent,
	Summary: "Asks people a question and goes on when enough of them say yes; what no answer means is written down beforehand.",
}

type askParams struct {
	Question string       `json:"question" rule:"required" doc:"What people are asked, in one plain sentence."`
	People   int          `json:"people,omitempty" rule:"min=1,max=5" default:"1" doc:"Distinct people who must say yes."`
	Within   api.Duration `json:"within,omitempty" rule:"min=1s,max=7d" default:"30m" doc:"Then no answer counts as the default."`
	Default  string       `json:"default,omitempty" rule:"oneof=deny|approve" default:"deny" doc:"What no answer means."`
}

var ask = Action{
	Info:   askInfo,
	Params: func() any { return new(askParams) },
	Build: func(step api.Step, params any, _ *Env) (Runner, api.StepPlan, error) {
		p := params.(*askParams)
		if p.Default == "approve" && p.People > 1 {
			return nil, api.StepPlan{}, errors.New("default approve with several people would let silence outvote them; use default: deny")
		}
		plan := planOf(step, askInfo)
		plan.Control.Ask = &api.Question{Text: p.Question, People: max(p.People, 1), Deadline: p.Within.Duration, Default: p.Default}
		return nil, plan, nil
	},
}

var expectInfo = api.ActionInfo{
	Name: "expect", Version: "1", Effect: api.EffectObserve, Danger: api.D0, Repeat: api.Idempotent,
	Summary: "Waits until probes show that the steps before have worked, or that work in flight has come to rest, and fails where they do not in time.",
}

type expectParams struct {
	Probe  string       `json:"probe,omitempty" doc:"The probe that must be ok. Give this or probes."`
	Probes []string     `json:"probes,omitempty" doc:"Several probes that must all be ok."`
	OK     int          `json:"ok,omitempty" rule:"min=1,max=1000" default:"1" doc:"Good runs in a row that each must show, all newer than the start of this step."`
	Within api.Duration `json:"within,omitempty" rule:"min=100ms,max=1d" default:"60s" doc:"By then."`
	Hold   api.Duration `json:"hold,omitempty" doc:"And without a bad run or an open anomaly for this long."`
	Equals *float64     `json:"equals,omitempty" doc:"Only runs with exactly this value count as good: 0 for a queue of work in flight that must have run dry."`
	Below  *float64     `json:"below,omitempty" doc:"Only runs with a value below this count as good."`
	Above  *float64     `json:"above,omitempty" doc:"Only runs with a value above this count as good."`
}

var expect = Action{
	Info:   expectInfo,
	Params: func() any { return new(expectParams) },
	Build: func(step api.Step, params any, _ *Env) (Runner, api.StepPlan, error) {
		p := params.(*expectParams)
		probes := p.Probes
		if p.Probe != "" {
			probes = append([]string{p.Probe}, probes...)
		}
		if len(probes) == 0 {
			return nil, api.StepPlan{}, errors.New("no probe is named; give probe or probes")
		}
		if p.Hold.Duration > 24*time.Hour {
			return nil, api.StepPlan{}, errors.New("hold is longer than a day")
		}
		if p.Equals != nil && (p.Below != nil || p.Above != nil) || p.Below != nil && p.Above != nil && *p.Above >= *p.Below {
			return nil, api.StepPlan{}, errors.New("no value meets all of equals, below and above; give equals alone, or below greater than above")
		}
		plan := planOf(step, expectInfo)
		plan.Control.Expect = &api.Expectation{Probes: probes, OK: max(p.OK, 1), Within: p.Within.Duration, Hold: p.Hold.Duration,
			Equals: p.Equals, Below: p.Below, Above: p.Above}
		return nil, plan, nil
	},
}
