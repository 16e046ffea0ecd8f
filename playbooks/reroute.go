package playbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/backstay/backstay/api"
)

// RerouteParams are the parameters of reroute.
type RerouteParams struct {
	Integration string       `json:"integration,omitempty" doc:"The broker: an integration with endpoints named amqp and management. May be left out when there is only one."`
	Exchange    string       `json:"exchange" rule:"required" doc:"The exchange that messages are published to."`
	From        string       `json:"from" rule:"required" doc:"The queue that gets them now."`
	To          string       `json:"to" rule:"required" doc:"The queue that shall get them. It must exist."`
	RoutingKey  string       `json:"routingKey,omitempty" doc:"Only bindings with this routing key; all of FROM's bindings to the exchange when left out."`
	Drain       api.Duration `json:"drain,omitempty" doc:"Then wait so long for FROM to run empty; the step fails when it does not."`
}

// reroute moves the bindings of a queue to another queue. Each binding is added before the old one is removed, so that no
// message finds none: for a moment both queues get a copy, and their consumers must recognise a repeat. It sets a state, so
// repeating it is safe.
var reroute = Action{Info: rerouteInfo, Params: func() any { return &RerouteParams{} }, Build: buildReroute}

var rerouteInfo = api.ActionInfo{
	Name: "reroute", Version: "1", Summary: "Move RabbitMQ bindings from one queue to another: add, read again, then remove.",
	Effect: api.EffectReroute, Danger: api.D2, Repeat: api.Idempotent, Undo: true,
}

type rerouteRun struct {
	rabbit rabbit
	p      RerouteParams
}

func buildReroute(step api.Step, params any, env *Env) (Runner, api.StepPlan, error) {
	p := *params.(*RerouteParams)
	plan := planOf(step, rerouteInfo, "queue/"+p.From, "queue/"+p.To)
	if p.From == p.To {
		return nil, plan, errors.New("from and to are the same queue")
	}
	b, err := env.rabbit(p.Integration)
	if err != nil {
		return nil, plan, err
	}
	return &rerouteRun{b, p}, plan, nil
}

// binding is one binding of a queue as the management API has it.
type binding struct {
	RoutingKey string         `json:"routing_key"`
	Arguments  map[string]any `json:"arguments"`
	Properties string         `json:"properties_key,omitempty"` // its name within exchange and queue
}

func (b binding) same(c binding) bool {
	return b.RoutingKey == c.RoutingKey && (len(b.Arguments) == 0 && len(c.Arguments) == 0 || reflect.DeepEqual(b.Arguments, c.Arguments))
}

func has(list []binding, b binding) bool {
	for _, c := range list {
		if b.same(c) {
			return true
		}
	}
	return false
}

// routing is both queues' bindings to the exchange: the before-image.
//
// Compatibility: it is stored as JSON within an estimate; fields are only added.
type routing struct {
	From []binding `json:"from"`
	To   []binding `json:"to"`
}

// read asks the broker for the bindings.
func (r *rerouteRun) read(ctx context.Context) (now routing, err error) {
	if now.From, err = r.bindings(ctx, r.p.From); err != nil {
		return now, err
	}
	now.To, err = r.bindings(ctx, r.p.To)
	return now, err
}

func (r *rerouteRun) bindings(ctx context.Context, queue string) ([]binding, error) {
	vhost, err := r.rabbit.vhost()
	if err != nil {
		return nil, err
	}
	if _, err := r.rabbit.queue(ctx, queue); err != nil {
		return nil, err // a queue that is missing has an empty list of bindings, which is not the same
	}
	var all []binding
	if err := r.rabbit.read(ctx, &all, "bindings", vhost, "e", r.p.Exchange, "q", queue); err != nil {
		return nil, fmt.Errorf("read the bindings of queue %s: %w", queue, err)
	}
	list := []binding{}
	for _, b := range all {
		if r.p.RoutingKey == "" || b.RoutingKey == r.p.RoutingKey {
			list = append(list, b)
		}
	}
	return list, nil
}

// Plan reads the bindings.
func (r *rerouteRun) Plan(ctx context.Context, call Call) (api.Estimate, error) {
	now, err := r.read(ctx)
	if err != nil {
		return api.Estimate{}, err
	}
	if len(now.From) == 0 && len(now.To) == 0 {
		return api.Estimate{}, fmt.Errorf("exchange %s has no such binding to queue %s: nothing to reroute", r.p.Exchange, r.p.From)
	}
	before, err := json.Marshal(now)
	if err != nil {
		return api.Estimate{}, fmt.Errorf("write the before-image: %w", err)
	}
	return api.Estimate{
		Text:   fmt.Sprintf("move %d binding(s) of exchange %s from queue %s to queue %s", len(now.From), r.p.Exchange, r.p.From, r.p.To),
		Before: before, Noop: len(now.From) == 0,
	}, nil
}

// before is what Plan found.
func before(call Call) (routing, error) {
	var image routing
	if call.Estimate == nil || len(call.Estimate.Before) == 0 {
		return image, errors.New("there is no before-image; plan the step first")
	}
	if err := json.Unmarshal(call.Estimate.Before, &image); err != nil {
		return image, fmt.Errorf("read the before-image: %w", err)
	}
	return image, nil
}

// Run moves the bindings that Plan found.
func (r *rerouteRun) Run(ctx context.Context, call Call) (out api.Outcome) {
	ctx, record := recording(ctx)
	defer func() { record(&out) }()
	image, err := before(call)
	if err != nil {
		return refused("%s", err)
	}
	if out := r.move(ctx, image.From, r.p.From, r.p.To); out.Result != api.ResultDone {
		return out
	}
	out = done("%d binding(s) of exchange %s lead to queue %s and no longer to %s, as read again", len(image.From), r.p.Exchange, r.p.To, r.p.From)
	if r.p.Drain.Duration > 0 {
		return r.drained(ctx, out)
	}
	return out
}

// Undo puts the bindings back, and takes from TO those that it did not have before.
func (r *rerouteRun) Undo(ctx context.Context, call Call) (out api.Outcome) {
	ctx, record := recording(ctx)
	defer func() { record(&out) }()
	image, err := before(call)
	if err != nil {
		return refused("%s", err)
	}
	var back, keep []binding
	for _, b := range image.From {
		if has(image.To, b) {
			keep = append(keep, b)
		} else {
			back = append(back, b)
		}
	}
	if out := r.add(ctx, r.p.From, keep); out.Result != api.ResultDone {
		return out
	}
	if out := r.move(ctx, back, r.p.To, r.p.From); out.Result != api.ResultDone {
		return out
	}
	return done("%d binding(s) of exchange %s lead to queue %s again, as read again", len(image.From), r.p.Exchange, r.p.From)
}

// move adds the bindings to one queue, sees them there, and only then takes them from the other.
func (r *rerouteRun) move(ctx context.Context, list []binding, from, to string) api.Outcome {
	if out := r.add(ctx, to, list); out.Result != api.ResultDone {
		return out
	}
	old, err := r.bindings(ctx, from)
	if err != nil {
		return failed("queue %s has the new bindings, but %s could not be read, so it keeps its own: %s", to, from, err)
	}
	for _, b := range old {
		if !has(list, b) {
			continue
		}
		out := r.call(ctx, http.MethodDelete, nil, "q", from, b.Properties)
		if out.Result != api.ResultDone {
			return out
		}
	}
	if old, err = r.bindings(ctx, from); err != nil {
		return unknown("the bindings were removed from queue %s, but it could not be read again: %s", from, err)
	}
	for _, b := range list {
		if has(old, b) {
			return unknown("queue %s still has binding %q after it was removed", from, b.RoutingKey)
		}
	}
	return done("moved")
}

// add makes bindings and sees that they are there.
func (r *rerouteRun) add(ctx context.Context, queue string, list []binding) api.Outcome {
	have, err := r.bindings(ctx, queue)
	if err != nil {
		return failed("nothing was changed: %s", err)
	}
	for _, b := range list {
		if has(have, b) {
			continue
		}
		arguments := b.Arguments
		if arguments == nil {
			arguments = map[string]any{}
		}
		out := r.call(ctx, http.MethodPost, map[string]any{"routing_key": b.RoutingKey, "arguments": arguments}, "q", queue)
		if out.Result != api.ResultDone {
			return out
		}
	}
	if have, err = r.bindings(ctx, queue); err != nil {
		return unknown("bindings were added to queue %s, but it could not be read again: %s", queue, err)
	}
	for _, b := range list {
		if !has(have, b) {
			return failed("queue %s does not show binding %q after it was added; the old ones were left", queue, b.RoutingKey)
		}
	}
	return done("added")
}

// call changes one binding.
func (r *rerouteRun) call(ctx context.Context, method string, body any, tail ...string) api.Outcome {
	vhost, err := r.rabbit.vhost()
	if err != nil {
		return failed("%s", err)
	}
	a, q, err := r.rabbit.manage(ctx, method, append([]string{"bindings", vhost, "e", r.p.Exchange}, tail...), body)
	if err != nil {
		return failed("%s", err)
	}
	if method == http.MethodDelete && a.status == http.StatusNotFound {
		return done("it is gone already")
	}
	return a.outcome(q)
}

// drained waits until FROM holds nothing more.
func (r *rerouteRun) drained(ctx context.Context, out api.Outcome) api.Outcome {
	conn, err := r.rabbit.dial(ctx, "backstay reroute "+r.p.From)
	if err != nil {
		return failed("%s; whether it runs empty could not be seen: %s", out.Text, err)
	}
	defer conn.Close()
	until := time.Now().Add(r.p.Drain.Duration)
	for {
		ready, _, err := depth(conn, r.p.From)
		switch {
		case err != nil:
			return failed("%s; whether it runs empty could not be seen: %s", out.Text, err)
		case ready == 0:
			out.Text += "; " + r.p.From + " is empty"
			return out
		case time.Now().After(until) || pause(ctx, refresh) != nil:
			return failed("%s; but %d message(s) still wait in %s after %s", out.Text, ready, r.p.From, r.p.Drain)
		}
	}
}
