package probes

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/backstay/backstay/api"
)

var prometheusType = Type{
	Name:    "prometheus",
	Summary: "Runs an instant query on Prometheus, or on what speaks its API.",
	Params:  func() any { return new(PrometheusParams) },
	Build:   buildPrometheus,
}

// PrometheusParams are the parameters of a prometheus probe.
type PrometheusParams struct {
	URL    api.Secret `json:"url,omitempty" doc:"Address of the server, without /api/v1; the integration's endpoint when left out."`
	Query  string     `json:"query" rule:"required" doc:"PromQL. Several results become one row for each set of labels; the probe's value is their sum."`
	NoData string     `json:"noData,omitempty" rule:"oneof=unknown|bad|ok" default:"unknown" doc:"What an empty result, or one that is only NaN, means. ok gives the value 0."`
	Token  api.Secret `json:"token,omitempty" doc:"Bearer token."`
	CA     string     `json:"ca,omitempty" doc:"PEM file of the authorities to trust instead of the system's."`
}

const (
	promBytesMax  = 4 << 20
	promSeriesMax = 1000
)

type prometheusProbe struct {
	env  *Env
	spec api.ProbeSpec
	with PrometheusParams
	last lastCall
}

func buildPrometheus(_ string, spec api.ProbeSpec, params any, env *Env) (Prober, error) {
	p := &prometheusProbe{env: env, spec: spec, with: *params.(*PrometheusParams)}
	if strings.TrimSpace(p.with.Query) == "" {
		return nil, errors.New("query is empty")
	}
	return p, needsTarget(p.with.URL, &spec)
}

// promAnswer is the answer of /api/v1/query.
type promAnswer struct {
	Status string `json:"status"`
	Error  string `json:"error"`
	Data   struct {
		Type   string          `json:"resultType"`
		Result json.RawMessage `json:"result"`
	} `json:"data"`
}

// Probe asks once. A query that the server does not understand is our mistake: unknown.
func (p *prometheusProbe) Probe(ctx context.Context) api.Observation {
	unit := p.spec.Unit
	c, err := p.call()
	if err != nil {
		return blind(unit, err)
	}
	a := newAnswer()
	defer a.release()
	doing := "query " + c.of.host
	if err := p.env.do(ctx, c, a); err != nil {
		return failed(ctx, unit, doing, err)
	}
	var got promAnswer
	jsonErr := json.Unmarshal(a.body, &got)
	switch {
	case a.status == 401 || a.status == 403:
		return blind(unit, fmt.Errorf("%s: status %d; give a token that may read", doing, a.status))
	case a.status == 400 || a.status == 422:
		return blind(unit, fmt.Errorf("%s: %s", doing, cmp.Or(got.Error, "status "+strconv.Itoa(a.status))))
	case a.status != 200:
		return bad(unit, fmt.Sprintf("%s: status %d %s", doing, a.status, got.Error))
	case a.cut:
		return blind(unit, fmt.Errorf("%s: the answer is over %d bytes; aggregate in the query", doing, promBytesMax))
	case jsonErr != nil || got.Status != "success":
		return bad(unit, doing+": the answer is not that of Prometheus")
	}
	samples, err := got.samples()
	if err != nil {
		return blind(unit, fmt.Errorf("%s: %w", doing, err))
	}
	return p.judge(samples, got.Data.Type == "vector")
}

func (p *prometheusProbe) call() (*call, error) {
	target, err := p.env.target(p.with.URL, p.spec.Integration, p.spec.Endpoint)
	if err != nil {
		return nil, err
	}
	s := callSpec{method: http.MethodGet, url: target, path: "/api/v1/query?query=" + url.QueryEscape(p.with.Query), bodyMax: promBytesMax}
	s.via.ca = p.with.CA
	if !p.with.Token.IsZero() {
		token, err := p.env.secret(p.with.Token)
		if err != nil {
			return nil, err
		}
		s.headers = []field{{"Authorization", "Bearer " + token}}
	}
	return p.last.call(p.env, s)
}

// samples reads scalar and vector; NaN counts as no data.
func (a *promAnswer) samples() ([]api.Sample, error) {
	type point [2]any // seconds, text of the number
	var rows []struct {
		Metric map[string]string `json:"metric"`
		Value  point             `json:"value"`
	}
	var err error
	switch a.Data.Type {
	case "scalar":
		rows = append(rows, struct {
			Metric map[string]string `json:"metric"`
			Value  point             `json:"value"`
		}{})
		err = json.Unmarshal(a.Data.Result, &rows[0].Value)
	case "vector":
		err = json.Unmarshal(a.Data.Result, &rows)
	default:
		return nil, fmt.Errorf("the query gives a %s; write one that gives a scalar or an instant vector", a.Data.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("read result: %w", err)
	}
	if len(rows) > promSeriesMax {
		return nil, fmt.Errorf("the query gives %d results, at most %d are taken; aggregate in the query", len(rows), promSeriesMax)
	}
	var samples []api.Sample
	for _, row := range rows {
		text, _ := row.Value[1].(string)
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsInf(n, 0) {
			return nil, fmt.Errorf("the result %q is not a finite number", text)
		}
		if !math.IsNaN(n) {
			samples = append(samples, api.Sample{Key: labelKey(row.Metric), Value: n})
		}
	}
	slices.SortFunc(samples, func(a, b api.Sample) int { return strings.Compare(a.Key, b.Key) })
	return samples, nil
}

// labelKey names a row by its labels: a=1,b=2.
func labelKey(labels map[string]string) string {
	parts := make([]string, 0, len(labels))
	for name, value := range labels {
		if name != "__name__" {
			parts = append(parts, name+"="+value)
		}
	}
	slices.Sort(parts)
	return cellText(strings.Join(parts, ","))
}

func (p *prometheusProbe) judge(samples []api.Sample, vector bool) api.Observation {
	o := api.Observation{Verdict: api.OK, Unit: p.spec.Unit}
	if len(samples) == 0 {
		o.Reason = "the query gave no data"
		switch p.with.NoData {
		case "ok":
			o.Reason = ""
		case "bad":
			o.Verdict = api.Bad
		default:
			o.Verdict = api.Unknown
		}
		return o
	}
	for _, s := range samples {
		o.Value += s.Value
	}
	if vector && (len(samples) > 1 || samples[0].Key != "") {
		o.Series = samples
	}
	return o
}
