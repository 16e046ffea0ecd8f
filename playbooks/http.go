package playbooks

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/backstay/backstay/api"
)

type httpParams struct {
	Integration string                `json:"integration" rule:"required,name" doc:"The HTTP API that is called."`
	Endpoint    string                `json:"endpoint,omitempty" doc:"Its endpoint; the first when left out."`
	Method      string                `json:"method,omitempty" rule:"oneof=GET|HEAD|PUT|POST|PATCH|DELETE" default:"POST" doc:"The method."`
	Path        string                `json:"path" rule:"required" doc:"The path; {key} becomes the step's idempotency key."`
	Headers     map[string]api.Secret `json:"headers,omitempty" doc:"Headers; credentials as {env: NAME} or {file: PATH}."`
	Body        json.RawMessage       `json:"body,omitempty" doc:"JSON body; a text that is exactly $key, $remediation, $incident or $step becomes that value."`
	Form        map[string]string     `json:"form,omitempty" doc:"Body as a web form, for APIs such as Stripe's; a value that is exactly $key, $remediation, $incident or $step becomes that value. Give this or body."`
	Effect      api.Effect            `json:"effect,omitempty" rule:"oneof=route|redeliver|reroute|hold|release|restart|scale|repair|notify|observe" doc:"What it does to the world: observe for GET and HEAD, else repair when left out."`
	Danger      string                `json:"danger,omitempty" rule:"oneof=D0|D1|D2|D3|D4" doc:"Its danger class: D0 for GET and HEAD, else D3 when left out."`
	Repeat      api.Repeat            `json:"repeat,omitempty" rule:"oneof=idempotent|keyed|blind" doc:"What a repeat does: idempotent for GET and HEAD, else blind when left out."`
	Retention   api.Duration          `json:"retention,omitempty" doc:"How long the target recognises a key, by its documentation; for keyed."`
	KeyHeader   string                `json:"keyHeader,omitempty" default:"Idempotency-Key" doc:"Header that carries the key; for keyed."`
	OK          []int                 `json:"ok,omitempty" doc:"Statuses that mean done; any 2xx when left out."`
	NoEffect    []int                 `json:"noEffect,omitempty" doc:"Statuses that the target documents as without effect, such as 503 of a gateway that queues nothing."`
	Answer      *answerParams         `json:"answer,omitempty" doc:"What the JSON answer must say for the call to count as done."`
	Proof       *proofParams          `json:"proof,omitempty" doc:"A GET that tells whether an attempt with this key happened; makes a blind call queryable."`
}

type answerParams struct {
	Pick string   `json:"pick" rule:"required" doc:"A path into the answer, such as data.state."`
	Is   []string `json:"is" rule:"required" doc:"The values that mean done."`
}

type proofParams struct {
	Path    string        `json:"path" rule:"required" doc:"Path of the GET, with {key}."`
	Missing []int         `json:"missing,omitempty" doc:"Statuses that say definitely: it did not happen. 404 when left out."`
	Answer  *answerParams `json:"answer,omitempty" doc:"What the answer must say; any 2xx without it."`
}

var httpInfo = api.ActionInfo{
	Name: "http", Version: "1", Effect: api.EffectRepair, Danger: api.D3, Repeat: api.Blind,
	Summary: "Calls an HTTP API. What the call does and what a repeat of it means must be said; left out, the worst is taken.",
}

var httpAction = Action{
	Info:   httpInfo,
	Params: func() any { return new(httpParams) },
	Build: func(step api.Step, params any, env *Env) (Runner, api.StepPlan, error) {
		p := params.(*httpParams)
		in, err := env.integration(p.Integration)
		if err != nil {
			return nil, api.StepPlan{}, err
		}
		if !hasEndpoint(in, p.Endpoint) {
			return nil, api.StepPlan{}, fmt.Errorf("integration %q has no endpoint %q", p.Integration, p.Endpoint)
		}
		p.Method = cmp.Or(p.Method, http.MethodPost)
		p.KeyHeader = cmp.Or(p.KeyHeader, "Idempotency-Key")
		info, err := p.info()
		if err != nil {
			return nil, api.StepPlan{}, err
		}
		if _, err := joinURL("http://host", p.Path, map[string]string{"key": "k"}); err != nil {
			return nil, api.StepPlan{}, err
		}
		if _, _, err := p.fill(Call{}); err != nil {
			return nil, api.StepPlan{}, err
		}
		r := &httpRun{env: env, p: *p, repeat: info.Repeat}
		plan := planOf(step, info, "integration/"+p.Integration)
		if p.Proof != nil {
			return &provenHTTPRun{r}, plan, nil
		}
		return r, plan, nil
	},
}

// info is what this call does, as its params declare it. GET and HEAD read, whatever is declared.
func (p *httpParams) info() (api.ActionInfo, error) {
	info := httpInfo
	info.Repeat = cmp.Or(p.Repeat, api.Blind)
	info.Effect = cmp.Or(p.Effect, api.EffectRepair)
	if p.Danger != "" {
		info.Danger = api.Danger(p.Danger[1]-'0') + api.D0
	}
	if p.Method == http.MethodGet || p.Method == http.MethodHead {
		info.Repeat, info.Effect, info.Danger = api.Idempotent, api.EffectObserve, api.D0
		if len(p.Body) > 0 || len(p.Form) > 0 {
			return info, fmt.Errorf("a %s has no body", p.Method)
		}
		return info, nil
	}
	if info.Danger == api.D0 || info.Effect == api.EffectObserve && info.Danger > api.D0 {
		return info, fmt.Errorf("a %s is more than observing; declare its effect and a danger of at least D1", p.Method)
	}
	if p.Proof != nil {
		if !strings.Contains(p.Proof.Path, "{key}") {
			return info, errors.New("proof: its path has no {key}, so it proves nothing about this call")
		}
		if _, err := joinURL("http://host", p.Proof.Path, map[string]string{"key": "k"}); err != nil {
			return info, err
		}
		if info.Repeat == api.Blind {
			info.Repeat = api.Queryable
		}
	}
	switch {
	case info.Repeat == api.Keyed && p.Retention.Duration <= 0:
		return info, errors.New("repeat: keyed needs retention: how long the target recognises a key")
	case info.Repeat == api.Keyed:
		info.Retention = p.Retention.Duration
	case info.Repeat == api.Idempotent && p.Method == http.MethodPost:
		return info, errors.New("a POST is not idempotent by itself; declare repeat: keyed with a retention, or blind")
	}
	return info, nil
}

func bodyValues(call Call) map[string]any {
	return map[string]any{"key": call.Key, "remediation": call.Remediation, "incident": call.Incident, "step": call.Step}
}

// fill makes the body of a call, and names its media type.
func (p *httpParams) fill(call Call) (body []byte, media string, err error) {
	if len(p.Form) == 0 {
		body, err = fillBody(p.Body, bodyValues(call))
		return body, "application/json", err
	}
	if len(p.Body) > 0 {
		return nil, "", errors.New("give body or form, not both")
	}
	form := url.Values{}
	for name, template := range p.Form { // order does not matter: Encode sorts
		v, err := fillTree(template, bodyValues(call))
		if err != nil {
			return nil, "", fmt.Errorf("form: %s: %w", name, err)
		}
		form.Set(name, fmt.Sprint(v))
	}
	return []byte(form.Encode()), "application/x-www-form-urlencoded", nil
}

type httpRun struct {
	env    *Env
	p      httpParams
	repeat api.Repeat
}

// Run makes the call.
func (r *httpRun) Run(ctx context.Context, call Call) (out api.Outcome) {
	ctx, record := recording(ctx)
	defer func() { record(&out) }()
	q, err := r.exchange(call, r.p.Method, r.p.Path)
	if err != nil {
		return failed("%s; nothing was sent", err)
	}
	if q.body, q.media, err = r.p.fill(call); err != nil {
		return failed("%s; nothing was sent", err)
	}
	if r.repeat == api.Keyed || r.repeat == api.Queryable {
		q.header[r.p.KeyHeader] = call.Key
	}
	q.repeat, q.ok, q.noEffect = r.repeat, r.p.OK, r.p.NoEffect
	if r.repeat == api.Queryable {
		q.repeat, q.once = api.Blind, true
	}
	a := r.env.send(ctx, q)
	out = a.outcome(q)
	if out.Result == api.ResultDone && r.p.Answer != nil {
		if text, ok := r.p.Answer.holds(a.body); !ok {
			// The target answered well, yet not that it did what was wanted: an effect cannot be ruled out.
			out.Result, out.Text = api.ResultUnknown, out.Text+", but "+text
			if q.reads() {
				out.Result = api.ResultFailed
			}
		}
	}
	return out
}

// holds tells whether an answer says what it must; else why not.
func (p *answerParams) holds(body []byte) (string, bool) {
	tree, err := decodeJSON(body)
	if err != nil {
		return "it is not JSON", false
	}
	v, err := pick(tree, p.Pick)
	if err != nil {
		return err.Error(), false
	}
	text, ok := scalar(v)
	if !ok || !slices.Contains(p.Is, text) {
		return fmt.Sprintf("its %s is %.80v", p.Pick, v), false
	}
	return "", true
}

func (r *httpRun) exchange(call Call, method, path string) (exchange, error) {
	e, base, err := r.env.endpoint(r.p.Integration, r.p.Endpoint)
	if err != nil {
		return exchange{}, err
	}
	target, err := joinURL(base, path, map[string]string{"key": call.Key})
	if err != nil {
		return exchange{}, err
	}
	header, secrets, err := r.env.headers(r.p.Headers)
	if err != nil {
		return exchange{}, err
	}
	return exchange{method: method, url: target, target: r.p.Integration + "/" + e.Name + " " + path, header: header, secrets: secrets, repeat: api.Idempotent}, nil
}

// provenHTTPRun is a call whose effect can be looked up.
type provenHTTPRun struct{ *httpRun }

// Look asks whether an attempt with this key happened.
func (r *provenHTTPRun) Look(ctx context.Context, call Call) (out api.Outcome) {
	ctx, record := recording(ctx)
	defer func() { record(&out) }()
	q, err := r.exchange(call, http.MethodGet, r.p.Proof.Path)
	if err != nil {
		return unknown("look up the call: %s", err)
	}
	a := r.env.send(ctx, q)
	absent := r.p.Proof.Missing
	if len(absent) == 0 {
		absent = []int{http.StatusNotFound}
	}
	if a.err == nil && slices.Contains(absent, a.status) {
		return refused("the target answered %d to the look-up: it did not happen", a.status)
	}
	if result, text := classify(a, q); result != api.ResultDone {
		return unknown("look up the call: %s", q.blot(text))
	}
	if r.p.Proof.Answer != nil {
		if text, ok := r.p.Proof.Answer.holds(a.body); !ok {
			return unknown("the look-up answered, but %s", text)
		}
	}
	return done("the target knows the call: it happened")
}
