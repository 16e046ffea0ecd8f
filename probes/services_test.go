package probes

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

const rabbitDetailed = `# TYPE rabbitmq_detailed_queue_messages_ready gauge
rabbitmq_detailed_queue_messages_ready{vhost="/",queue="captures"} 12
rabbitmq_detailed_queue_messages_unacked{vhost="/",queue="captures"} 3
rabbitmq_detailed_queue_messages{vhost="/",queue="captures"} 15
rabbitmq_detailed_queue_consumers{vhost="/",queue="captures"} 0
rabbitmq_detailed_queue_messages_ready{vhost="eu",queue="captures"} 99
rabbitmq_detailed_queue_messages_ready{vhost="/",queue="odd \"name\\"} NaN
`

const rabbitGlobal = `rabbitmq_global_messages_dead_lettered_rejected_total{queue_type="rabbit_quorum_queue",dead_letter_strategy="at_most_once"} 5
rabbitmq_global_messages_dead_lettered_rejected_total{queue_type="rabbit_classic_queue",dead_letter_strategy="at_most_once"} 2
rabbitmq_global_messages_dead_lettered_expired_total{queue_type="rabbit_classic_queue",dead_letter_strategy="disabled"} 1
rabbitmq_global_messages_dead_lettered_confirmed_total{queue_type="rabbit_quorum_queue",dead_letter_strategy="at_least_once"} 4
`

// fakeRabbit answers as the two plugins of RabbitMQ do.
func fakeRabbit(t *testing.T) (metrics, management string) {
	prom := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/metrics/detailed":
			if r.URL.Query().Get("vhost") != "/" {
				t.Errorf("asked for virtual host %q", r.URL.Query().Get("vhost"))
			}
			fmt.Fprint(w, rabbitDetailed)
		case "/metrics":
			fmt.Fprint(w, rabbitGlobal)
		default:
			w.WriteHeader(404)
		}
	}))
	t.Cleanup(prom.Close)
	manage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			t.Errorf("a probe sent %s %s", r.Method, r.URL)
		}
		if user, _, _ := r.BasicAuth(); user != "monitor" {
			w.WriteHeader(401)
			return
		}
		switch r.URL.EscapedPath() {
		case "/api/queues/%2F/elsewhere":
			fmt.Fprint(w, `{"name":"elsewhere","state":"running","messages":4,"messages_ready":4,"messages_unacknowledged":0,"consumers":1}`)
		case "/api/queues/%2F/new":
			fmt.Fprint(w, `{"name":"new","state":"running","messages":null,"consumers":1}`)
		case "/api/queues/%2F/minority":
			fmt.Fprint(w, `{"name":"minority","state":"minority","messages":1}`)
		default:
			w.WriteHeader(404)
		}
	}))
	t.Cleanup(manage.Close)
	return prom.URL, manage.URL
}

func TestAMQPQueue(t *testing.T) {
	metrics, management := fakeRabbit(t)
	withUser := "http://monitor:s3cret@" + management[len("http://"):]
	env := newEnv(t)
	env.Integration = func(name string) (api.Integration, bool) {
		return api.Integration{Spec: api.IntegrationSpec{Endpoints: []api.Endpoint{
			{Name: "amqp", URL: text("amqp://127.0.0.1")}, {Name: "metrics", URL: text(metrics + "/metrics")}, {Name: "management", URL: text(withUser)},
		}}}, name == "mq"
	}
	for _, c := range []struct {
		name    string
		with    AMQPQueueParams
		verdict api.Verdict
		reason  string
		value   float64
	}{
		{"ready", AMQPQueueParams{Queue: "captures"}, api.OK, "", 12},
		{"unacked", AMQPQueueParams{Queue: "captures", Value: "unacked"}, api.OK, "", 3},
		{"total", AMQPQueueParams{Queue: "captures", Value: "total"}, api.OK, "", 15},
		{"no consumer", AMQPQueueParams{Queue: "captures", ConsumersMin: 1}, api.Bad, "0 consumers", 12},
		{"unknown figure", AMQPQueueParams{Queue: `odd "name\`}, api.Unknown, "does not know", 0},
		{"on another node", AMQPQueueParams{Queue: "elsewhere"}, api.OK, "", 4},
		{"null is not zero", AMQPQueueParams{Queue: "new"}, api.Unknown, "does not know", 0},
		{"minority", AMQPQueueParams{Queue: "minority"}, api.Bad, "is minority", 0},
		{"absent", AMQPQueueParams{Queue: "nowhere"}, api.Bad, "does not exist", 0},
		{"dead letters", AMQPQueueParams{Value: "dead-lettered"}, api.OK, "", 8},
		{"wrong user", AMQPQueueParams{Queue: "nowhere", Management: text(management)}, api.Unknown, "status 401", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := run(t, buildSpec(t, env, api.ProbeSpec{Type: "amqp-queue", Integration: "mq"}, &c.with), time.Second)
			want(t, o, c.verdict, c.reason)
			if o.Value != c.value {
				t.Fatalf("value %v, want %v", o.Value, c.value)
			}
			if c.name == "dead letters" && !reflect.DeepEqual(o.Series, []api.Sample{{Key: "rejected/at_most_once", Value: 7}, {Key: "expired/disabled", Value: 1}}) {
				t.Fatalf("rows %v", o.Series)
			}
		})
	}
}

func TestPrometheus(t *testing.T) {
	answers := map[string]struct {
		status int
		body   string
	}{
		"one":    {200, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"3.5"]}]}}`},
		"two":    {200, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"x","q":"b"},"value":[1,"2"]},{"metric":{"q":"a"},"value":[1,"1"]},{"metric":{"q":"c"},"value":[1,"NaN"]}]}}`},
		"scalar": {200, `{"status":"success","data":{"resultType":"scalar","result":[1,"7"]}}`},
		"none":   {200, `{"status":"success","data":{"resultType":"vector","result":[]}}`},
		"inf":    {200, `{"status":"success","data":{"resultType":"scalar","result":[1,"+Inf"]}}`},
		"matrix": {200, `{"status":"success","data":{"resultType":"matrix","result":[]}}`},
		"wrong(": {400, `{"status":"error","errorType":"bad_data","error":"1:6: parse error: unclosed left parenthesis"}`},
		"down":   {503, `{"status":"error","error":"query timed out"}`},
		"html":   {200, `<html>`},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/prom/api/v1/query" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		a := answers[r.URL.Query().Get("query")]
		w.WriteHeader(a.status)
		fmt.Fprint(w, a.body)
	}))
	defer server.Close()
	for _, c := range []struct {
		query, noData string
		verdict       api.Verdict
		reason        string
		value         float64
	}{
		{"one", "", api.OK, "", 3.5},
		{"two", "", api.OK, "", 3},
		{"scalar", "", api.OK, "", 7},
		{"none", "", api.Unknown, "no data", 0},
		{"none", "bad", api.Bad, "no data", 0},
		{"none", "ok", api.OK, "", 0},
		{"inf", "", api.Unknown, "not a finite number", 0},
		{"matrix", "", api.Unknown, "gives a matrix", 0},
		{"wrong(", "", api.Unknown, "1:6: parse error", 0},
		{"down", "", api.Bad, "503 query timed out", 0},
		{"html", "", api.Bad, "not that of Prometheus", 0},
	} {
		t.Run(c.query+c.noData, func(t *testing.T) {
			o := run(t, build(t, newEnv(t), "prometheus", &PrometheusParams{URL: text(server.URL + "/prom"), Query: c.query, NoData: c.noData}), time.Second)
			want(t, o, c.verdict, c.reason)
			if o.Value != c.value {
				t.Fatalf("value %v, want %v", o.Value, c.value)
			}
			if c.query == "two" && !reflect.DeepEqual(o.Series, []api.Sample{{Key: "q=a", Value: 1}, {Key: "q=b", Value: 2}}) {
				t.Fatalf("rows %v", o.Series)
			}
		})
	}
}

func TestReconcile(t *testing.T) {
	now := time.Now()
	sees := func(value float64, keys ...string) api.Observation {
		return api.Observation{At: now, Verdict: api.OK, Value: value, Keys: keys}
	}
	stale, blindSide := sees(5), sees(5)
	stale.At = now.Add(-time.Hour)
	blindSide.Verdict = api.Unknown
	for _, c := range []struct {
		name        string
		with        ReconcileParams
		left, right api.Observation
		verdict     api.Verdict
		reason      string
		value       float64
	}{
		{"equal", ReconcileParams{}, sees(5), sees(5), api.OK, "", 0},
		{"differ", ReconcileParams{}, sees(5), sees(7), api.Bad, "differ by 2", -2},
		{"tolerated", ReconcileParams{Tolerance: 2}, sees(5), sees(7), api.OK, "", -2},
		{"tolerated share", ReconcileParams{Share: api.Percent{PPM: 10_000}}, sees(1000), sees(1009), api.OK, "", -9},
		{"too large a share", ReconcileParams{Share: api.Percent{PPM: 10_000}}, sees(1000), sees(1011), api.Bad, "differ by 11", -11},
		{"lag", ReconcileParams{Lag: api.Seconds(60)}, sees(5), sees(7), api.OK, "", -2},
		{"stale", ReconcileParams{}, stale, sees(7), api.Unknown, "last looked 1h", 0},
		{"blind side", ReconcileParams{}, sees(5), blindSide, api.Unknown, "probe right is unknown", 0},
		{"same keys", ReconcileParams{Compare: "keys"}, sees(2, "a", "b"), sees(2, "b", "a"), api.OK, "", 0},
		{"missing keys", ReconcileParams{Compare: "keys"}, sees(0, "a", "b", "c", "d", "e"), sees(0, "e", "f"), api.Bad, "left lacks 1: f; right lacks 4: a, b, c ...", 5},
		{"booked twice", ReconcileParams{Compare: "keys"}, sees(0, "a"), sees(0, "a", "a"), api.Bad, "left lacks 1: a", 1},
		{"keys on their way", ReconcileParams{Compare: "keys", Lag: api.Seconds(60)}, sees(0, "a"), sees(0), api.OK, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newEnv(t)
			env.Last = func(probe string) (api.Observation, bool) {
				return map[string]api.Observation{"left": c.left, "right": c.right}[probe], true
			}
			c.with.Left, c.with.Right = "left", "right"
			p := build(t, env, "reconcile", &c.with)
			for range 2 {
				o := run(t, p, time.Second)
				want(t, o, c.verdict, c.reason)
				if o.Value != c.value {
					t.Fatalf("value %v, want %v", o.Value, c.value)
				}
			}
		})
	}
}

func TestReconcileLag(t *testing.T) {
	env := newEnv(t)
	env.Last = func(probe string) (api.Observation, bool) {
		o := api.Observation{At: time.Now(), Verdict: api.OK}
		if probe == "left" {
			o.Keys = []string{"a"}
		}
		return o, true
	}
	p := build(t, env, "reconcile", &ReconcileParams{Left: "left", Right: "right", Compare: "keys", Lag: api.Seconds(0.05)})
	want(t, run(t, p, time.Second), api.OK, "")
	time.Sleep(60 * time.Millisecond)
	want(t, run(t, p, time.Second), api.Bad, "right lacks 1: a")
}
