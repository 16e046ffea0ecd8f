package probes

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

var reconcileType = Type{
	Name:    "reconcile",
	Summary: "Compares what two other probes saw last: counts, sums, or business keys that one side lacks.",
	Params:  func() any { return new(ReconcileParams) },
	Build:   buildReconcile,
}

// ReconcileParams are the parameters of a reconcile probe.
type ReconcileParams struct {
	Left      string       `json:"left" rule:"required,name" doc:"The probe that saw one side, such as captures at the gateway."`
	Right     string       `json:"right" rule:"required,name" doc:"The probe that saw the other side, such as orders in the ERP."`
	Compare   string       `json:"compare,omitempty" rule:"oneof=value|keys" default:"value" doc:"value: the probes' values; this probe's value is left minus right. keys: their business keys; this probe's value is how many one side lacks."`
	Tolerance float64      `json:"tolerance,omitempty" rule:"min=0" doc:"A difference of values of at most this much is none."`
	Share     api.Percent  `json:"share,omitempty" doc:"A difference of values of at most this share of the larger one is none."`
	Fresh     api.Duration `json:"fresh,omitempty" rule:"min=1s" default:"5m" doc:"Both probes must have looked within this time, else the verdict is unknown."`
	Lag       api.Duration `json:"lag,omitempty" doc:"A difference, or a missing key, counts only when it has lasted this long: work on its way is no break."`
}

const (
	freshDefault = 5 * time.Minute
	keysNamed    = 3 // missing keys that a reason names for each side
)

type reconcileProbe struct {
	env    *Env
	with   ReconcileParams
	unit   string
	since  time.Time            // values have differed since then
	absent map[string]time.Time // side and key, missing since then; bounded by the row caps of both probes
}

func buildReconcile(name string, spec api.ProbeSpec, params any, env *Env) (Prober, error) {
	p := &reconcileProbe{env: env, with: *params.(*ReconcileParams), unit: spec.Unit}
	if p.with.Left == "" || p.with.Right == "" || p.with.Left == p.with.Right || p.with.Left == name || p.with.Right == name {
		return nil, errors.New("left and right must be two other probes")
	}
	if p.with.Fresh.Duration == 0 {
		p.with.Fresh.Duration = freshDefault
	}
	if p.with.Compare == "keys" {
		p.unit = unitOr(&spec, "keys")
	}
	return p, nil
}

// Probe compares the last observations of both sides; it asks no outside system.
func (p *reconcileProbe) Probe(context.Context) api.Observation {
	now := time.Now()
	left, err := p.side(p.with.Left, now)
	if err != nil {
		return blind(p.unit, err)
	}
	right, err := p.side(p.with.Right, now)
	if err != nil {
		return blind(p.unit, err)
	}
	if p.with.Compare == "keys" {
		return p.keys(left, right, now)
	}
	return p.values(left, right, now)
}

// side gives what a probe saw last, if that can be relied on.
func (p *reconcileProbe) side(name string, now time.Time) (o api.Observation, err error) {
	if p.env.Last == nil {
		return o, errors.New("no other probes are known here")
	}
	o, seen := p.env.Last(name)
	switch {
	case !seen || o.At.IsZero():
		return o, fmt.Errorf("probe %s has not looked yet", name)
	case o.Verdict != api.OK:
		return o, fmt.Errorf("probe %s is %s itself: %s", name, o.Verdict, o.Reason)
	case now.Sub(o.At) > p.with.Fresh.Duration:
		return o, fmt.Errorf("probe %s last looked %s ago, at most %s is allowed", name, now.Sub(o.At).Round(time.Second), p.with.Fresh.Duration)
	}
	return o, nil
}

func (p *reconcileProbe) values(left, right api.Observation, now time.Time) api.Observation {
	o := api.Observation{Verdict: api.OK, Unit: p.unit, Value: left.Value - right.Value}
	limit := max(p.with.Tolerance, p.with.Share.Ratio()*max(math.Abs(left.Value), math.Abs(right.Value)))
	if math.Abs(o.Value) <= limit {
		p.since = time.Time{}
		return o
	}
	if p.since.IsZero() {
		p.since = now
	}
	if now.Sub(p.since) >= p.with.Lag.Duration {
		o.Verdict, o.Reason = api.Bad, fmt.Sprintf("%s has %v, %s has %v: they differ by %v, at most %v is allowed",
			p.with.Left, left.Value, p.with.Right, right.Value, math.Abs(o.Value), limit)
	}
	return o
}

// keys compares how often each key occurs, so that an item booked twice on one side shows too.
func (p *reconcileProbe) keys(left, right api.Observation, now time.Time) api.Observation {
	surplus := make(map[string]int, len(left.Keys)) // positive: the right side lacks it
	for _, key := range left.Keys {
		surplus[key]++
	}
	for _, key := range right.Keys {
		surplus[key]--
	}
	absent := map[string]time.Time{}
	var lackLeft, lackRight []string
	for key, n := range surplus {
		if n == 0 {
			continue
		}
		id := "l" + key
		if n > 0 {
			id = "r" + key
		}
		since, known := p.absent[id]
		if !known {
			since = now
		}
		absent[id] = since
		switch {
		case now.Sub(since) < p.with.Lag.Duration:
		case n > 0:
			lackRight = append(lackRight, key)
		default:
			lackLeft = append(lackLeft, key)
		}
	}
	p.absent = absent
	o := api.Observation{Verdict: api.OK, Unit: p.unit, Value: float64(len(lackLeft) + len(lackRight)), Total: float64(len(surplus))}
	o.Series = []api.Sample{{Key: "missing-in-" + p.with.Left, Value: float64(len(lackLeft))}, {Key: "missing-in-" + p.with.Right, Value: float64(len(lackRight))}}
	if o.Value == 0 {
		return o
	}
	o.Verdict = api.Bad
	o.Reason = sentence(strings.Join(slices.Concat(lacks(p.with.Left, lackLeft), lacks(p.with.Right, lackRight)), "; "))
	return o
}

// lacks says in words what a side lacks, naming some keys.
func lacks(side string, keys []string) []string {
	if len(keys) == 0 {
		return nil
	}
	slices.Sort(keys)
	named, more := keys, ""
	if len(keys) > keysNamed {
		named, more = keys[:keysNamed], " ..."
	}
	return []string{fmt.Sprintf("%s lacks %d: %s%s", side, len(keys), strings.Join(named, ", "), more)}
}
