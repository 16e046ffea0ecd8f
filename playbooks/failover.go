package playbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

type failoverParams struct {
	Integration string       `json:"integration" rule:"required,name" doc:"The integration whose traffic is moved."`
	To          string       `json:"to,omitempty" doc:"The endpoint that is to have the traffic. For failover the second endpoint when left out, for failback the first."`
	Ramp        []int        `json:"ramp,omitempty" doc:"Percent of new work in each step, rising to 100. Failover goes to [100] at once, failback by [10, 50, 100] where the route has weights."`
	Every       api.Duration `json:"every,omitempty" default:"2s" doc:"Pause between two steps of the ramp; the route is read before and after each."`
	Drain       api.Duration `json:"drain,omitempty" doc:"Wait at most this long for open sessions to leave the other endpoints; sessions that stay are reported, not cut."`
}

var failoverInfo = api.ActionInfo{
	Name: "failover", Version: "1", Effect: api.EffectRoute, Danger: api.D1, Repeat: api.Idempotent, Undo: true,
	Summary: "Sends new work to another endpoint, by steps if wanted, and reads the route again after each. Work under way stays where it is.",
}

var failover = Action{
	Info:   failoverInfo,
	Params: func() any { return new(failoverParams) },
	Build:  buildFailover,
}

var failbackInfo = api.ActionInfo{
	Name: "failback", Version: "1", Effect: api.EffectRoute, Danger: api.D1, Repeat: api.Idempotent, Undo: true,
	Summary: "Brings new work back to the first endpoint, or the one named, by steps where the route has weights.",
}

var failback = Action{
	Info:   failbackInfo,
	Params: func() any { return new(failoverParams) },
	Build:  buildFailover,
}

func buildFailover(step api.Step, params any, env *Env) (Runner, api.StepPlan, error) {
	p := params.(*failoverParams)
	in, err := env.integration(p.Integration)
	if err != nil {
		return nil, api.StepPlan{}, err
	}
	info, at := failoverInfo, 1
	if step.Do == failbackInfo.Name {
		info, at = failbackInfo, 0
	}
	if len(in.Spec.Endpoints) < 2 {
		return nil, api.StepPlan{}, fmt.Errorf("integration %q has fewer than two endpoints: there is nowhere to move to", p.Integration)
	}
	r := &failoverRun{integration: in, to: p.To, ramp: p.Ramp, every: p.Every.Duration, drain: p.Drain.Duration}
	if r.to == "" {
		r.to = in.Spec.Endpoints[at].Name
	}
	if !hasEndpoint(in, r.to) {
		return nil, api.StepPlan{}, fmt.Errorf("integration %q has no endpoint %q", p.Integration, r.to)
	}
	route, findings := BuildRoute(in, env)
	if findings.Failed() {
		return nil, api.StepPlan{}, findings
	}
	r.route = route
	if len(r.ramp) == 0 {
		r.ramp = []int{100}
		if at == 0 && route.Ready(RouteState{}, r.to, 50) == nil {
			r.ramp, r.gentle = []int{10, 50, 100}, true
		}
	}
	for i, percent := range r.ramp {
		if percent < 1 || percent > 100 || i > 0 && percent <= r.ramp[i-1] {
			return nil, api.StepPlan{}, fmt.Errorf("ramp %v does not rise from 1 to 100", r.ramp)
		}
		if err := route.Ready(RouteState{}, r.to, percent); err != nil {
			return nil, api.StepPlan{}, err
		}
	}
	if r.ramp[len(r.ramp)-1] != 100 {
		return nil, api.StepPlan{}, fmt.Errorf("ramp %v does not end at 100", r.ramp)
	}
	if pauses := r.every * time.Duration(len(r.ramp)-1); step.Timeout.Duration > 0 && pauses+r.drain >= step.Timeout.Duration {
		return nil, api.StepPlan{}, fmt.Errorf("the ramp's pauses and drain take %s, but the step's timeout is %s; raise timeout", pauses+r.drain, step.Timeout)
	}
	return r, planOf(step, info, "integration/"+p.Integration), nil
}

// failoverRun moves a route. Setting a route is idempotent: a repeat after a crash reads where the route stands, and goes on
// from the step of the ramp that is above it; it never falls back to a smaller share.
type failoverRun struct {
	integration api.Integration
	route       Route
	to          string
	ramp        []int
	gentle      bool // the ramp is ours, not the playbook's: one step where the route cannot share
	every       time.Duration
	drain       time.Duration
}

// Plan reads the route and says what will move.
func (r *failoverRun) Plan(ctx context.Context, call Call) (api.Estimate, error) {
	state, err := r.route.Read(ctx)
	if err != nil {
		return api.Estimate{}, fmt.Errorf("read the route of %s: %w", r.integration.Metadata.Name, err)
	}
	before, err := json.Marshal(state)
	if err != nil {
		return api.Estimate{}, fmt.Errorf("keep the route of %s: %w", r.integration.Metadata.Name, err)
	}
	name := r.integration.Metadata.Name
	if state.Share(r.to) == 100 {
		return api.Estimate{Text: fmt.Sprintf("%s already sends all new work to %s.", name, r.to), Before: before, Noop: true}, nil
	}
	how := "all at once"
	if ramp := r.steps(state); len(ramp) > 1 {
		how = "in steps of " + strings.ReplaceAll(strings.Trim(fmt.Sprint(ramp), "[]"), " ", ", ") + " percent"
	}
	return api.Estimate{Text: fmt.Sprintf("Send new work of %s to %s, %s; now it goes to %s.", name, r.to, how, state), Before: before}, nil
}

// Run moves the route up its ramp.
func (r *failoverRun) Run(ctx context.Context, call Call) (out api.Outcome) {
	ctx, record := recording(ctx)
	defer func() { record(&out) }()
	state, err := r.route.Read(ctx)
	if err != nil {
		return failed("read the route of %s: %s; nothing was changed", r.integration.Metadata.Name, err)
	}
	before, facts := state, []api.Fact{{Name: "route before", Value: state.String()}}
	if call.Estimate != nil && len(call.Estimate.Before) > 0 {
		if err := json.Unmarshal(call.Estimate.Before, &before); err != nil {
			return failed("read the before-image of the route: %s; nothing was changed", err)
		}
	}
	ramp := r.steps(state)
	start := slices.IndexFunc(ramp, func(percent int) bool { return percent > state.Share(r.to) })
	if start < 0 {
		start = len(ramp) - 1 // all of it is there already: set it once more, which also repairs a half-done last step
	}
	for i, percent := range ramp[start:] {
		if i > 0 {
			if err := pause(ctx, r.every); err != nil {
				return withFacts(failed("%s stands at %s: the deadline passed during the ramp", r.integration.Metadata.Name, state), facts)
			}
		}
		next := r.advance(ctx, before, percent)
		facts = append(facts, next.Facts...)
		if next.Result != api.ResultDone {
			if i > 0 && next.Result == api.ResultRefused { // the steps before had an effect
				next.Result = api.ResultFailed
			}
			return withFacts(next, facts)
		}
	}
	return withFacts(done("all new work of %s goes to %s; the route was read again and says so", r.integration.Metadata.Name, r.to), append(facts, r.drained(ctx)...))
}

// steps is the ramp that this route can go as it is now.
func (r *failoverRun) steps(state RouteState) []int {
	if r.gentle && r.route.Ready(state, r.to, r.ramp[0]) != nil {
		return []int{100}
	}
	return r.ramp
}

// advance makes one step of the ramp and reads it back.
func (r *failoverRun) advance(ctx context.Context, before RouteState, percent int) api.Outcome {
	state, err := r.route.Read(ctx)
	if err != nil {
		return failed("read the route: %s", err)
	}
	if err := r.route.Ready(state, r.to, percent); err != nil {
		return refused("send %d%% to %s: %s", percent, r.to, err)
	}
	shiftErr := r.route.Shift(ctx, before, r.to, percent)
	return r.confirm(ctx, shiftErr, fmt.Sprintf("send %d%% to %s", percent, r.to), func(s RouteState) bool { return near(s.Share(r.to), percent) })
}

// confirm reads a route after a change and decides by what it reads, not by what the change answered.
func (r *failoverRun) confirm(ctx context.Context, changeErr error, what string, holds func(RouteState) bool) api.Outcome {
	after, err := r.route.Read(ctx)
	var none notTaken
	switch {
	case err == nil && holds(after):
		return withFacts(done("%s", what), []api.Fact{{Name: "route read again", Value: after.String()}})
	case errors.As(changeErr, &none) && err == nil:
		return withFacts(refused("%s: %s", what, changeErr), []api.Fact{{Name: "route read again", Value: after.String()}})
	case err != nil && changeErr != nil:
		return unknown("%s: %s; and the route cannot be read: %s", what, changeErr, err)
	case err != nil:
		return unknown("%s: it was taken, but the route cannot be read: %s", what, err)
	case changeErr != nil:
		return withFacts(failed("%s: %s; the route reads %s", what, changeErr, after), []api.Fact{{Name: "route read again", Value: after.String()}})
	}
	return withFacts(failed("%s: it was taken, but the route reads %s", what, after), []api.Fact{{Name: "route read again", Value: after.String()}})
}

// near allows the rounding of integer weights.
func near(got, want int) bool {
	if want == 100 || want == 0 {
		return got == want
	}
	return got >= want-1 && got <= want+1
}

// drained waits for sessions to leave the endpoints that get no new work.
func (r *failoverRun) drained(ctx context.Context) []api.Fact {
	d, ok := r.route.(drainer)
	if !ok || r.drain <= 0 {
		return nil
	}
	until := time.Now().Add(r.drain)
	for {
		var open int64
		for _, e := range r.integration.Spec.Endpoints {
			if e.Name == r.to {
				continue
			}
			n, err := d.Sessions(ctx, e.Name)
			if err != nil {
				return []api.Fact{{Name: "sessions left", Value: "not known: " + err.Error()}}
			}
			open += n
		}
		if open == 0 || time.Now().After(until) || pause(ctx, 200*time.Millisecond) != nil {
			return []api.Fact{{Name: "sessions left", Value: fmt.Sprint(open)}}
		}
	}
}

// Undo restores the route as Plan saw it.
func (r *failoverRun) Undo(ctx context.Context, call Call) (out api.Outcome) {
	ctx, record := recording(ctx)
	defer func() { record(&out) }()
	var before RouteState
	if call.Estimate == nil || json.Unmarshal(call.Estimate.Before, &before) != nil || len(before.Shares) == 0 {
		return refused("there is no before-image of the route of %s to restore", r.integration.Metadata.Name)
	}
	err := r.route.Restore(ctx, before)
	return r.confirm(ctx, err, fmt.Sprintf("restore the route of %s to %s", r.integration.Metadata.Name, before), func(s RouteState) bool {
		for _, share := range before.Shares {
			if !near(s.Share(share.Endpoint), share.Percent) {
				return false
			}
		}
		return true
	})
}

// withFacts replaces an outcome's facts.
func withFacts(o api.Outcome, facts []api.Fact) api.Outcome {
	o.Facts = facts
	return o
}

// pause waits, or ends with the context.
func pause(ctx context.Context, d time.Duration) error {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return context.DeadlineExceeded
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
