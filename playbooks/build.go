package playbooks

import (
	"fmt"
	"strings"

	"github.com/backstay/backstay/api"
)

// Build finds a step's action, decodes its params strictly and builds it; it does no I/O. The runner is nil for steps with a
// Control. Findings that are errors mean that the step cannot be used; their places are those of the params or the step.
func Build(step api.Step, env *Env) (Runner, api.StepPlan, api.Findings) {
	action, ok := Find(step.Do)
	if !ok {
		names := make([]string, len(Actions))
		for i, a := range Actions {
			names[i] = a.Info.Name
		}
		return nil, api.StepPlan{}, finding(step.Pos, "unknown-action", fmt.Sprintf("step %q: there is no action %q", step.Name, step.Do), "the actions are "+strings.Join(names, ", "))
	}
	params := action.Params()
	findings := step.With.Decode(params)
	if findings.Failed() {
		return nil, api.StepPlan{}, placed(findings, step.Pos)
	}
	runner, plan, err := action.Build(step, params, env)
	if nested, ok := err.(api.Findings); ok {
		return nil, api.StepPlan{}, placed(append(findings, nested...), step.Pos)
	}
	if err != nil {
		return nil, api.StepPlan{}, append(findings, finding(step.Pos, "bad-params", fmt.Sprintf("step %q: %s: %s", step.Name, step.Do, err), "")...)
	}
	return runner, plan, findings
}

// placed gives findings without a place the place of their step.
func placed(fs api.Findings, pos api.Pos) api.Findings {
	for i := range fs {
		if fs[i].Line == 0 {
			fs[i].Pos = pos
		}
	}
	return fs
}

// finding is one error.
func finding(pos api.Pos, rule, message, hint string) api.Findings {
	return api.Findings{{Pos: pos, Severity: api.SeverityError, Rule: rule, Message: message, Hint: hint}}
}

// planOf starts a step's plan with its action's own info.
func planOf(step api.Step, info api.ActionInfo, targets ...string) api.StepPlan {
	return api.StepPlan{Name: step.Name, Action: info, Targets: targets}
}

// integration finds an integration that a step names.
func (env *Env) integration(name string) (api.Integration, error) {
	in, ok := env.Integration(name)
	if !ok {
		return in, fmt.Errorf("there is no integration %q", name)
	}
	return in, nil
}

// hasEndpoint tells whether an integration has an endpoint of that name; the empty name means the first.
func hasEndpoint(in api.Integration, name string) bool {
	for _, e := range in.Spec.Endpoints {
		if e.Name == name || name == "" {
			return true
		}
	}
	return false
}
