package probes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"

	"github.com/backstay/backstay/api"
)

var amqpQueueType = Type{
	Name:    "amqp-queue",
	Summary: "Reads the figures of a RabbitMQ queue from outside; it never gets a message, for on a quorum queue that counts as a delivery.",
	Params:  func() any { return new(AMQPQueueParams) },
	Build:   buildAMQPQueue,
}

// AMQPQueueParams are the parameters of an amqp-queue probe. The figures come from the prometheus plugin where an address
// for it is known, for those of the management API lag by seconds and are null for new quorum queues.
type AMQPQueueParams struct {
	Queue        string     `json:"queue,omitempty" doc:"The queue; needed for every value but dead-lettered."`
	VHost        string     `json:"vhost,omitempty" default:"/" doc:"The queue's virtual host."`
	Value        string     `json:"value,omitempty" rule:"oneof=ready|unacked|total|consumers|dead-lettered" default:"ready" doc:"The probe's value. dead-lettered is the counter of the whole node, by reason and strategy; strategy disabled means that messages were dropped."`
	ConsumersMin int        `json:"consumersMin,omitempty" rule:"min=0" doc:"Fewer consumers than this are bad."`
	Metrics      api.Secret `json:"metrics,omitempty" doc:"URL of the prometheus plugin, such as http://mq:15692; the integration's endpoint named metrics when left out."`
	Management   api.Secret `json:"management,omitempty" doc:"URL of the management API with a user for monitoring; the integration's endpoint named management when left out."`
}

// metricsBytesMax bounds what is read: some 50,000 queues.
const metricsBytesMax = 16 << 20

type amqpProbe struct {
	env     *Env
	spec    api.ProbeSpec
	with    AMQPQueueParams
	unit    string
	metrics lastCall
	manage  lastCall
}

func buildAMQPQueue(_ string, spec api.ProbeSpec, params any, env *Env) (Prober, error) {
	p := &amqpProbe{env: env, spec: spec, with: *params.(*AMQPQueueParams)}
	if p.with.Metrics.IsZero() && p.with.Management.IsZero() && spec.Integration == "" {
		return nil, errNoTarget
	}
	if p.with.VHost == "" {
		p.with.VHost = "/"
	}
	if p.with.Value == "" {
		p.with.Value = "ready"
	}
	if p.with.Queue == "" && p.with.Value != "dead-lettered" {
		return nil, fmt.Errorf("queue is missing: value %s is a figure of one queue", p.with.Value)
	}
	p.unit = "messages"
	if p.with.Value == "consumers" {
		p.unit = "consumers"
	}
	p.unit = unitOr(&spec, p.unit)
	return p, nil
}

// queueFigures are a queue's figures; NaN where the broker does not know.
type queueFigures struct{ ready, unacked, total, consumers float64 }

func noFigures() queueFigures {
	nan := math.NaN()
	return queueFigures{nan, nan, nan, nan}
}

// Probe reads the figures once.
func (p *amqpProbe) Probe(ctx context.Context) api.Observation {
	metrics, metricsErr := p.address(p.with.Metrics, "metrics")
	management, managementErr := p.address(p.with.Management, "management")
	if p.with.Value == "dead-lettered" {
		if metricsErr != nil {
			return blind(p.unit, metricsErr)
		}
		return p.deadLettered(ctx, metrics)
	}
	if metricsErr == nil {
		o, found := p.fromMetrics(ctx, metrics)
		if found || managementErr != nil {
			return o
		}
	}
	if managementErr == nil {
		return p.fromManagement(ctx, management)
	}
	return blind(p.unit, errors.Join(metricsErr, managementErr))
}

// address finds one of the two addresses. Where the spec names an endpoint, it is that of the management API.
func (p *amqpProbe) address(own api.Secret, endpoint string) (string, error) {
	if endpoint == "management" && p.spec.Endpoint != "" && p.spec.Endpoint != "metrics" {
		endpoint = p.spec.Endpoint
	}
	return p.env.target(own, p.spec.Integration, endpoint)
}

// get fetches a page. done says that the observation is the result already.
func (p *amqpProbe) get(ctx context.Context, last *lastCall, s callSpec, a *answer) (o api.Observation, done bool) {
	s.method, s.bodyMax = http.MethodGet, metricsBytesMax
	c, err := last.call(p.env, s)
	if err != nil {
		return blind(p.unit, err), true
	}
	doing := "ask " + c.of.host
	if err := p.env.do(ctx, c, a); err != nil {
		return failed(ctx, p.unit, doing, err), true
	}
	switch {
	case a.status == 401 || a.status == 403:
		return blind(p.unit, fmt.Errorf("%s: status %d; give a user with the tag monitoring", doing, a.status)), true
	case a.status == 404:
		return o, false
	case a.status != 200:
		return bad(p.unit, fmt.Sprintf("%s: status %d", doing, a.status)), true
	case a.cut:
		return blind(p.unit, fmt.Errorf("%s: the answer is over %d bytes", doing, metricsBytesMax)), true
	}
	return o, false
}

// fromMetrics reads the prometheus plugin. A node shows only queues whose leader it holds, so found is false where the
// queue is not there and the management API should be asked.
func (p *amqpProbe) fromMetrics(ctx context.Context, target string) (o api.Observation, found bool) {
	a := newAnswer()
	defer a.release()
	path := "/metrics/detailed?family=queue_coarse_metrics&family=queue_consumer_count&vhost=" + url.QueryEscape(p.with.VHost)
	o, done := p.get(ctx, &p.metrics, callSpec{url: metricsBase(target), path: path}, a)
	if done {
		return o, true
	}
	if a.status == 404 {
		return blind(p.unit, errors.New("the prometheus plugin has no /metrics/detailed; it needs RabbitMQ 3.10 or later")), false
	}
	f := noFigures()
	err := promLines(a.body, []string{"rabbitmq_detailed_queue_"}, func(l *promLine) {
		if l.label("queue") != p.with.Queue || l.label("vhost") != p.with.VHost {
			return
		}
		found = true
		switch l.name {
		case "rabbitmq_detailed_queue_messages_ready":
			f.ready = l.value
		case "rabbitmq_detailed_queue_messages_unacked":
			f.unacked = l.value
		case "rabbitmq_detailed_queue_messages":
			f.total = l.value
		case "rabbitmq_detailed_queue_consumers":
			f.consumers = l.value
		}
	})
	if err != nil {
		return bad(p.unit, err.Error()), true
	}
	if !found {
		return bad(p.unit, p.missing()), false
	}
	return p.judge(f), true
}

func (p *amqpProbe) missing() string {
	return fmt.Sprintf("queue %q does not exist in virtual host %q", p.with.Queue, p.with.VHost)
}

// metricsBase lets people write the plugin's address with or without /metrics.
func metricsBase(target string) string {
	return strings.TrimSuffix(strings.TrimSuffix(target, "/"), "/metrics")
}

// fromManagement reads the management API. Its figures may be null, which means unknown and never zero.
func (p *amqpProbe) fromManagement(ctx context.Context, target string) api.Observation {
	a := newAnswer()
	defer a.release()
	path := "/api/queues/" + url.PathEscape(p.with.VHost) + "/" + url.PathEscape(p.with.Queue) +
		"?columns=name,state,messages,messages_ready,messages_unacknowledged,consumers"
	if o, done := p.get(ctx, &p.manage, callSpec{url: target, path: path}, a); done {
		return o
	}
	if a.status == 404 {
		return bad(p.unit, p.missing())
	}
	var q struct {
		Name      *string  `json:"name"`
		State     string   `json:"state"`
		Total     *float64 `json:"messages"`
		Ready     *float64 `json:"messages_ready"`
		Unacked   *float64 `json:"messages_unacknowledged"`
		Consumers *float64 `json:"consumers"`
	}
	if err := json.Unmarshal(a.body, &q); err != nil {
		return bad(p.unit, "the management API did not answer in JSON: "+err.Error())
	}
	switch q.State {
	case "down", "crashed", "stopped", "minority":
		return bad(p.unit, fmt.Sprintf("queue %q is %s", p.with.Queue, q.State))
	}
	known := func(n *float64) float64 {
		if n == nil {
			return math.NaN()
		}
		return *n
	}
	return p.judge(queueFigures{ready: known(q.Ready), unacked: known(q.Unacked), total: known(q.Total), consumers: known(q.Consumers)})
}

func (p *amqpProbe) judge(f queueFigures) api.Observation {
	value := map[string]float64{"ready": f.ready, "unacked": f.unacked, "total": f.total, "consumers": f.consumers}[p.with.Value]
	if math.IsNaN(value) || p.with.ConsumersMin > 0 && math.IsNaN(f.consumers) {
		return blind(p.unit, fmt.Errorf("the broker does not know this figure of queue %q yet", p.with.Queue))
	}
	o := api.Observation{Verdict: api.OK, Value: value, Unit: p.unit}
	if p.with.ConsumersMin > 0 && f.consumers < float64(p.with.ConsumersMin) {
		o.Verdict, o.Reason = api.Bad, fmt.Sprintf("queue %q has %.0f consumers, at least %d are expected", p.with.Queue, f.consumers, p.with.ConsumersMin)
	}
	return o
}

// deadLetterPrefix begins the node's counters rabbitmq_global_messages_dead_lettered_REASON_total.
const deadLetterPrefix = "rabbitmq_global_messages_dead_lettered_"

// deadLettered sums the node's counters, one row for each reason and strategy.
func (p *amqpProbe) deadLettered(ctx context.Context, target string) api.Observation {
	a := newAnswer()
	defer a.release()
	if o, done := p.get(ctx, &p.metrics, callSpec{url: metricsBase(target), path: "/metrics"}, a); done {
		return o
	}
	o := api.Observation{Verdict: api.OK, Unit: p.unit}
	rows := map[string]int{}
	err := promLines(a.body, []string{deadLetterPrefix}, func(l *promLine) {
		reason, isTotal := strings.CutSuffix(strings.TrimPrefix(l.name, deadLetterPrefix), "_total")
		if !isTotal || reason == "confirmed" || math.IsNaN(l.value) { // confirmed ones are counted under their reason already
			return
		}
		key := reason + "/" + l.label("dead_letter_strategy")
		at, seen := rows[key]
		if !seen {
			at = len(o.Series)
			rows[key] = at
			o.Series = append(o.Series, api.Sample{Key: key})
		}
		o.Series[at].Value += l.value
		o.Value += l.value
	})
	if err != nil {
		return bad(p.unit, err.Error())
	}
	if a.status == 404 || len(o.Series) == 0 {
		return blind(p.unit, errors.New("the prometheus plugin shows no dead-letter counters; they need RabbitMQ 3.10 or later"))
	}
	return o
}
