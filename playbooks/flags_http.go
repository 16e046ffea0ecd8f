package playbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/backstay/backstay/api"
)

type httpFlagParams struct {
	Get     string                `json:"get" rule:"required" doc:"Path that reads one item: /invoices/{key}."`
	Pick    string                `json:"pick" rule:"required" doc:"Where the answer has the flag: a path such as data.hold."`
	Method  string                `json:"method,omitempty" rule:"oneof=PUT|POST|PATCH" default:"PUT" doc:"Method that sets the flag; it must set a state, so that a repeat does no harm."`
	Set     string                `json:"set" rule:"required" doc:"Path that sets the flag of one item: /invoices/{key}/hold."`
	Body    json.RawMessage       `json:"body" rule:"required" doc:"JSON body; a text that is exactly $flag or $key becomes that value."`
	On      json.RawMessage       `json:"on,omitempty" doc:"The flag's value for held: true when left out."`
	Off     json.RawMessage       `json:"off,omitempty" doc:"The flag's value for free: false when left out."`
	Headers map[string]api.Secret `json:"headers,omitempty" doc:"Headers of every call; credentials as {env: NAME} or {file: PATH}."`
}

func (p *httpFlagParams) check() error {
	on, err := flagValue(p.On, true)
	if err != nil {
		return err
	}
	off, err := flagValue(p.Off, false)
	if err != nil {
		return err
	}
	if sameFlag(on, off) {
		return errors.New("on and off are the same value")
	}
	for _, path := range []string{p.Get, p.Set} {
		if _, err := joinURL("http://host", path, map[string]string{"key": "k"}); err != nil {
			return err
		}
	}
	_, err = fillBody(p.Body, map[string]any{"flag": on, "key": ""})
	return err
}

// httpFlags are flags behind an HTTP API, read and set one by one.
type httpFlags struct {
	env  *Env
	p    holdParams
	http httpFlagParams
}

func (f *httpFlags) on() any  { v, _ := flagValue(f.http.On, true); return v }   // checked when built
func (f *httpFlags) off() any { v, _ := flagValue(f.http.Off, false); return v } // checked when built

func (f *httpFlags) find(ctx context.Context, _ bool) ([]flagItem, error) {
	items := make([]flagItem, 0, len(f.p.Keys))
	for _, key := range f.p.Keys {
		flag, err := f.read(ctx, key)
		if err != nil {
			return nil, err
		}
		items = append(items, flagItem{Key: key, Flag: flag})
	}
	return items, nil
}

func (f *httpFlags) read(ctx context.Context, key string) (any, error) {
	a, q, err := f.call(ctx, "GET", f.http.Get, key, nil)
	if err != nil {
		return nil, err
	}
	if result, text := classify(a, q); result != api.ResultDone {
		return nil, errors.New(q.blot(text))
	}
	tree, err := decodeJSON(a.body)
	if err != nil {
		return nil, fmt.Errorf("the answer about %s is not JSON: %w", key, err)
	}
	v, err := pick(tree, f.http.Pick)
	if n, ok := v.(json.Number); ok && err == nil {
		return n.Int64()
	}
	return v, err
}

// set goes item by item: read, set where the flag still is as it was, read again. It stops at the first that does not go well,
// and counts those that did.
func (f *httpFlags) set(ctx context.Context, items []flagItem, to func(flagItem) any) api.Outcome {
	var count int64
	stop := func(out api.Outcome) api.Outcome {
		if count > 0 && out.Result == api.ResultRefused {
			out.Result = api.ResultFailed // in part it was done
		}
		out.Items = count
		return out
	}
	for _, item := range items {
		now, err := f.read(ctx, item.Key)
		if err != nil {
			return stop(failed("read item %s: %s", item.Key, err))
		}
		if !sameFlag(now, item.Flag) {
			continue // somebody changed it meanwhile: not ours to touch
		}
		body, err := fillBody(f.http.Body, map[string]any{"flag": to(item), "key": item.Key})
		if err != nil {
			return stop(failed("%s", err))
		}
		a, q, err := f.call(ctx, f.http.Method, f.http.Set, item.Key, body)
		if err != nil {
			return stop(failed("%s", err))
		}
		set := a.outcome(q)
		now, err = f.read(ctx, item.Key)
		switch {
		case err == nil && sameFlag(now, to(item)):
			count++
		case err != nil:
			return stop(unknown("%s, and item %s cannot be read again: %s", set.Text, item.Key, err))
		case set.Result == api.ResultRefused:
			return stop(set)
		default:
			return stop(failed("%s, but item %s reads %v", set.Text, item.Key, now))
		}
	}
	out := done("%d item(s) set", count)
	out.Items = count
	return out
}

func (f *httpFlags) call(ctx context.Context, method, path, key string, body []byte) (answer, exchange, error) {
	e, base, err := f.env.endpoint(f.p.Integration, f.p.Endpoint)
	if err != nil {
		return answer{}, exchange{}, err
	}
	target, err := joinURL(base, path, map[string]string{"key": key})
	if err != nil {
		return answer{}, exchange{}, err
	}
	header, secrets, err := f.env.headers(f.http.Headers)
	if err != nil {
		return answer{}, exchange{}, err
	}
	q := exchange{method: method, url: target, target: f.p.Integration + "/" + e.Name + " " + path, header: header, secrets: secrets, body: body, repeat: api.Idempotent}
	return f.env.send(ctx, q), q, nil
}
