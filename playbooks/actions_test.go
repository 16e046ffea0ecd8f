package playbooks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// TestActions holds every action to what the core needs to know of it.
func TestActions(t *testing.T) {
	effects := []api.Effect{
		api.EffectRoute, api.EffectRedeliver, api.EffectReroute, api.EffectHold, api.EffectRelease, api.EffectRestart,
		api.EffectScale, api.EffectRepair, api.EffectNotify, api.EffectObserve,
	}
	repeats := []api.Repeat{api.Idempotent, api.Keyed, api.Queryable, api.Blind}
	seen := map[string]bool{}
	for _, a := range Actions {
		i := a.Info
		if i.Name == "" || seen[i.Name] {
			t.Errorf("action %q has no name of its own", i.Name)
		}
		seen[i.Name] = true
		if i.Version == "" || i.Summary == "" || !strings.HasSuffix(i.Summary, ".") {
			t.Errorf("%s: version %q or summary %q is missing", i.Name, i.Version, i.Summary)
		}
		if !slices.Contains(effects, i.Effect) || !slices.Contains(repeats, i.Repeat) || i.Danger < api.D0 || i.Danger > api.D5 {
			t.Errorf("%s: effect %q, repeat class %q or danger class %s is missing", i.Name, i.Effect, i.Repeat, i.Danger)
		}
		if a.Build == nil || a.Params == nil {
			t.Errorf("%s cannot be built", i.Name)
			continue
		}
		documented(t, i.Name, reflect.TypeOf(a.Params()).Elem())
	}
	for _, d := range Drivers {
		documented(t, "route "+d.Name, reflect.TypeOf(d.Params()).Elem())
	}
	for _, c := range Channels {
		documented(t, "channel "+c.Name, reflect.TypeOf(c.Params()).Elem())
	}
}

// documented demands a doc tag on every parameter, since reference pages and schema are made of them.
func documented(t *testing.T, name string, typ reflect.Type) {
	t.Helper()
	for i := range typ.NumField() {
		f := typ.Field(i)
		if f.Anonymous {
			documented(t, name, f.Type)
			continue
		}
		if f.Tag.Get("json") == "" || f.Tag.Get("doc") == "" {
			t.Errorf("%s: parameter %s has no json or doc tag", name, f.Name)
		}
		inner := f.Type
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && inner.PkgPath() == typ.PkgPath() {
			documented(t, name+"."+f.Name, inner)
		}
	}
}

// world is an Env of fakes: integrations by name, a ledger in memory, the real outbound client.
type world struct {
	*Env
	ins    []api.Integration
	ledger *memoryLedger
}

func newWorld(ins ...api.Integration) *world {
	w := &world{ins: ins, ledger: &memoryLedger{rows: map[string]LedgerRow{}}}
	w.Env = &Env{
		Integration: func(name string) (api.Integration, bool) {
			for _, in := range w.ins {
				if in.Metadata.Name == name {
					return in, true
				}
			}
			return api.Integration{}, false
		},
		Integrations: func() []api.Integration { return w.ins },
		Secret: func(s api.Secret) (string, error) {
			if s.Env != "" {
				if v := os.Getenv(s.Env); v != "" {
					return v, nil
				}
				return "", fmt.Errorf("environment variable %s is not set", s.Env)
			}
			return s.Text, nil
		},
		HTTP:   NewOutbound(),
		Ledger: w.ledger,
	}
	return w
}

// integration is a fake one; endpoints are NAME=URL.
func integration(name string, endpoints ...string) api.Integration {
	in := api.Integration{Metadata: api.Metadata{Name: name}}
	for _, e := range endpoints {
		n, url, _ := strings.Cut(e, "=")
		in.Spec.Endpoints = append(in.Spec.Endpoints, api.Endpoint{Name: n, URL: api.Secret{Text: url}})
	}
	return in
}

// build builds a step through Build, as the controller does.
func (w *world) build(t *testing.T, do string, with any) (Runner, api.StepPlan) {
	t.Helper()
	r, plan, fs := Build(api.Step{Name: "step", Do: do, With: api.ParamsOf(with)}, w.Env)
	if fs.Failed() {
		t.Fatalf("build %s: %v", do, fs)
	}
	return r, plan
}

// refuse expects Build to say no, with a word in its reason.
func (w *world) refuse(t *testing.T, do string, with any, word string) {
	t.Helper()
	_, _, fs := Build(api.Step{Name: "step", Do: do, With: api.ParamsOf(with)}, w.Env)
	if !fs.Failed() || !strings.Contains(fs.Error(), word) {
		t.Errorf("build %s with %v: want a finding with %q, have %v", do, with, word, fs)
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// perform plans and runs a step.
func perform(t *testing.T, r Runner, call Call) (api.Outcome, Call) {
	t.Helper()
	if p, ok := r.(Planner); ok && call.Estimate == nil {
		e, err := p.Plan(within(t, 10*time.Second), call)
		if err != nil {
			t.Fatalf("plan: %v", err)
		}
		call.Estimate = &e
	}
	out := r.Run(within(t, 10*time.Second), call)
	call.Outcome = &out
	return out, call
}

func want(t *testing.T, out api.Outcome, result api.Result, word string) {
	t.Helper()
	if out.Result != result || !strings.Contains(out.Text, word) {
		t.Fatalf("want %s with %q, have %s: %s %v", result, word, out.Result, out.Text, out.Facts)
	}
}

var aCall = Call{Key: "key-1", Remediation: "rem-1", Incident: "inc-1", Playbook: "pb", Step: "step", Attempt: 1}

// memoryLedger keeps rows in memory; fail makes the next Put fail.
type memoryLedger struct {
	mu   sync.Mutex
	rows map[string]LedgerRow
	fail bool
}

func (l *memoryLedger) Get(_ context.Context, scope, key string) (LedgerRow, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rows[scope+"\x00"+key], nil
}

func (l *memoryLedger) Put(_ context.Context, rows ...LedgerRow) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail {
		return errors.New("the disk is full")
	}
	for _, r := range rows {
		l.rows[r.Scope+"\x00"+r.Key] = r
	}
	return nil
}

func (l *memoryLedger) Count(_ context.Context, scope string) (map[string]int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := map[string]int64{}
	for _, r := range l.rows {
		if r.Scope == scope {
			n[r.State]++
		}
	}
	return n, nil
}
