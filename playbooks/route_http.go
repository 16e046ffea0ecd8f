package playbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"

	"github.com/backstay/backstay/api"
)

type httpRouteParams struct {
	URL     api.Secret            `json:"url" rule:"required" doc:"Base URL of the router's admin API."`
	Headers map[string]api.Secret `json:"headers,omitempty" doc:"Headers of every call; credentials as {env: NAME} or {file: PATH}."`
	Get     string                `json:"get" rule:"required" doc:"Path that a GET reads the route from, such as /route."`
	Active  string                `json:"active,omitempty" doc:"Where the answer names the active endpoint: a path such as data.active. Give this or shares."`
	Shares  string                `json:"shares,omitempty" doc:"Where the answer has an object of weights by endpoint, such as {a: 90, b: 10}. Give this or active."`
	Method  string                `json:"method,omitempty" rule:"oneof=PUT|POST|PATCH" default:"PUT" doc:"Method that sets the route."`
	Set     string                `json:"set,omitempty" doc:"Path that sets the route; the path of get when left out."`
	Body    json.RawMessage       `json:"body" rule:"required" doc:"JSON body that sets the route; a text that is exactly $endpoint, $from or $shares becomes that value."`
	Values  map[string]string     `json:"values,omitempty" doc:"What the API calls each endpoint: {primary: gateway-a}; the endpoint's own name where left out."`
}

var httpRouteDriver = RouteDriver{
	Name:    "http",
	Summary: "Sets the route by an HTTP admin API that reads by GET and is set by PUT, POST or PATCH with a JSON body.",
	Params:  func() any { return new(httpRouteParams) },
	Build: func(in api.Integration, params any, env *Env) (Route, error) {
		p := params.(*httpRouteParams)
		if (p.Active == "") == (p.Shares == "") {
			return nil, errors.New("give either active or shares: where the answer says how the route stands")
		}
		if p.Set == "" {
			p.Set = p.Get
		}
		if p.Method == "" {
			p.Method = http.MethodPut
		}
		r := &httpRoute{in: in, env: env, p: *p, values: p.Values}
		probe := map[string]any{"endpoint": "", "from": "", "shares": map[string]any{}}
		if body, err := fillBody(p.Body, probe); err != nil {
			return nil, err
		} else if len(body) == 0 {
			return nil, errors.New("body is missing: the JSON that sets the route, such as {active: $endpoint}")
		}
		return r, nil
	},
}

type httpRoute struct {
	in     api.Integration
	env    *Env
	p      httpRouteParams
	values valueMap
}

// Read asks the admin API.
func (r *httpRoute) Read(ctx context.Context) (RouteState, error) {
	a, q, err := r.call(ctx, http.MethodGet, r.p.Get, nil)
	if err != nil {
		return RouteState{}, err
	}
	if result, text := classify(a, q); result != api.ResultDone {
		return RouteState{}, errors.New(q.blot(text))
	}
	return r.parse(a.body)
}

// parse reads the route out of the API's answer.
func (r *httpRoute) parse(body []byte) (RouteState, error) {
	tree, err := decodeJSON(body)
	if err != nil {
		return RouteState{}, fmt.Errorf("the route's answer is not JSON: %w", err)
	}
	if r.p.Active != "" {
		v, err := pick(tree, r.p.Active)
		if err != nil {
			return RouteState{}, err
		}
		name, _ := scalar(v)
		endpoint, ok := r.values.endpoint(r.in, name)
		if !ok {
			return RouteState{}, fmt.Errorf("the route is at %v, which is no endpoint of %s", v, r.in.Metadata.Name)
		}
		return RouteState{Shares: whole(r.in, endpoint)}, nil
	}
	v, err := pick(tree, r.p.Shares)
	if err != nil {
		return RouteState{}, err
	}
	weights, ok := v.(map[string]any)
	if !ok {
		return RouteState{}, fmt.Errorf("the answer's %s is not an object of weights", r.p.Shares)
	}
	return r.weighed(weights)
}

// weighed turns weights into percents; only a lone endpoint has 100.
func (r *httpRoute) weighed(weights map[string]any) (RouteState, error) {
	figures := make([]float64, len(r.in.Spec.Endpoints))
	sum, known := 0.0, 0
	for i, e := range r.in.Spec.Endpoints {
		v, ok := weights[r.values.value(e.Name)]
		if !ok {
			continue
		}
		known++
		n, _ := v.(json.Number)
		f, err := strconv.ParseFloat(n.String(), 64)
		if err != nil || f < 0 || math.IsInf(f, 0) {
			return RouteState{}, fmt.Errorf("the weight of %s is %v, not a number from 0 up", e.Name, v)
		}
		figures[i] = f
		sum += f
	}
	if known != len(weights) {
		return RouteState{}, fmt.Errorf("the route has weights for %d targets, of which %d are endpoints of %s", len(weights), known, r.in.Metadata.Name)
	}
	state := RouteState{Shares: make([]RouteShare, len(figures))}
	for i, e := range r.in.Spec.Endpoints {
		share := RouteShare{Endpoint: e.Name}
		switch {
		case figures[i] > 0 && figures[i] == sum:
			share.Percent = 100
		case figures[i] > 0 && sum > 0 && !math.IsInf(sum, 0):
			share.Percent = min(99, max(1, int(math.Round(figures[i]/sum*100))))
		}
		state.Shares[i] = share
	}
	return state, nil
}

// Ready refuses shares where the API knows only one active endpoint.
func (r *httpRoute) Ready(_ RouteState, _ string, percent int) error {
	if r.p.Shares != "" {
		return nil
	}
	return wholeOnly("http with active", percent)
}

// Shift sets the route.
func (r *httpRoute) Shift(ctx context.Context, before RouteState, to string, percent int) error {
	rest, from := 0, ""
	for _, share := range before.Shares {
		if share.Endpoint != to {
			rest += share.Percent
			if share.Percent > 0 && from == "" {
				from = share.Endpoint
			}
		}
	}
	shares := make([]RouteShare, len(before.Shares))
	for i, share := range before.Shares {
		shares[i] = RouteShare{Endpoint: share.Endpoint}
		switch {
		case share.Endpoint == to:
			shares[i].Percent = percent
		case rest > 0:
			shares[i].Percent = (100 - percent) * share.Percent / rest
		}
	}
	return r.set(ctx, shares, to, from)
}

// Restore sets the shares of before.
func (r *httpRoute) Restore(ctx context.Context, before RouteState) error {
	to := ""
	for _, share := range before.Shares {
		if share.Percent > 0 && to == "" {
			to = share.Endpoint
		}
	}
	return r.set(ctx, before.Shares, to, "")
}

func (r *httpRoute) set(ctx context.Context, shares []RouteShare, to, from string) error {
	object := map[string]any{}
	for _, share := range shares {
		object[r.values.value(share.Endpoint)] = share.Percent
	}
	body, err := fillBody(r.p.Body, map[string]any{"endpoint": r.values.value(to), "from": r.values.value(from), "shares": object})
	if err != nil {
		return notTaken{err.Error()}
	}
	a, q, err := r.call(ctx, r.p.Method, r.p.Set, body)
	if err != nil {
		return notTaken{err.Error()}
	}
	switch result, text := classify(a, q); result {
	case api.ResultDone:
		return nil
	case api.ResultRefused:
		return notTaken{q.blot(text)}
	default:
		return errors.New(q.blot(text))
	}
}

func (r *httpRoute) call(ctx context.Context, method, path string, body []byte) (answer, exchange, error) {
	base, err := r.env.Secret(r.p.URL)
	if err != nil {
		return answer{}, exchange{}, fmt.Errorf("read the URL of the route's admin API: %w", err)
	}
	target, err := joinURL(base, path, nil)
	if err != nil {
		return answer{}, exchange{}, err
	}
	header, secrets, err := r.env.headers(r.p.Headers)
	if err != nil {
		return answer{}, exchange{}, err
	}
	q := exchange{method: method, url: target, target: r.in.Metadata.Name + " route " + path, header: header, secrets: secrets, body: body, repeat: api.Idempotent}
	return r.env.send(ctx, q), q, nil
}
