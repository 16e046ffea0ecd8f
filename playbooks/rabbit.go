package playbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	amqp "github.com/rabbitmq/amqp091-go"
)

// The endpoints that an integration with a RabbitMQ broker has.
const (
	endpointAMQP       = "amqp"       // amqp://user:password@host:port/vhost
	endpointManagement = "management" // http://user:password@host:port
)

// rabbit is one virtual host of a broker.
type rabbit struct {
	env         *Env
	integration string
}

// rabbit finds the broker that a step means: the integration it names, or the only one that has an amqp endpoint.
func (env *Env) rabbit(name string) (rabbit, error) {
	var found []string
	for _, in := range env.Integrations() {
		if hasEndpoint(in, endpointAMQP) && (name == "" || name == in.Metadata.Name) {
			found = append(found, in.Metadata.Name)
		}
	}
	switch {
	case len(found) == 0 && name != "":
		return rabbit{}, fmt.Errorf("integration %q has no endpoint named amqp", name)
	case len(found) == 0:
		return rabbit{}, errors.New("no integration has an endpoint named amqp")
	case len(found) > 1:
		return rabbit{}, fmt.Errorf("several integrations have an amqp endpoint (%s): say which with integration", strings.Join(found, ", "))
	}
	if in, _ := env.Integration(found[0]); !hasEndpoint(in, endpointManagement) {
		return rabbit{}, fmt.Errorf("integration %q has no endpoint named management: the queues' limits are read there", found[0])
	}
	return rabbit{env, found[0]}, nil
}

// dial connects. The connection breaks at the context's deadline, so that no call on it outlives a step.
func (b rabbit) dial(ctx context.Context, name string) (*amqp.Connection, error) {
	_, address, err := b.env.endpoint(b.integration, endpointAMQP)
	if err != nil {
		return nil, err
	}
	conn, err := amqp.DialConfig(address, amqp.Config{
		Heartbeat:  10 * time.Second,
		Properties: amqp.Table{"connection_name": name, "product": "backstay"},
		Dial: func(network, addr string) (net.Conn, error) {
			d := net.Dialer{Timeout: 5 * time.Second}
			c, err := d.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return c, c.SetDeadline(time.Now().Add(10 * time.Second)) // for the handshake; the library lifts it
		},
	})
	if err != nil {
		return nil, fmt.Errorf("connect to %s/%s: %w", b.integration, endpointAMQP, redacted{err})
	}
	context.AfterFunc(ctx, func() { _ = conn.CloseDeadline(time.Now().Add(100 * time.Millisecond)) }) // its error changes nothing
	return conn, nil
}

// vhost is the virtual host of the amqp endpoint.
func (b rabbit) vhost() (string, error) {
	_, address, err := b.env.endpoint(b.integration, endpointAMQP)
	if err != nil {
		return "", err
	}
	uri, err := amqp.ParseURI(address)
	if err != nil {
		return "", fmt.Errorf("the url of %s/%s is not an amqp URL", b.integration, endpointAMQP)
	}
	return uri.Vhost, nil
}

// manage calls the management API. The path is made of escaped segments.
func (b rabbit) manage(ctx context.Context, method string, segments []string, body any) (answer, exchange, error) {
	_, base, err := b.env.endpoint(b.integration, endpointManagement)
	if err != nil {
		return answer{}, exchange{}, err
	}
	escaped := make([]string, len(segments))
	for i, s := range segments {
		escaped[i] = url.PathEscape(s)
	}
	path := "/api/" + strings.Join(escaped, "/")
	q := exchange{method: method, url: strings.TrimRight(base, "/") + path, target: b.integration + "/" + endpointManagement + path, repeat: api.Idempotent}
	if u, err := url.Parse(base); err == nil && u.User != nil {
		if password, ok := u.User.Password(); ok {
			q.secrets = append(q.secrets, password)
		}
	}
	if body != nil {
		if q.body, err = json.Marshal(body); err != nil {
			return answer{}, q, fmt.Errorf("write the body of %s: %w", q.target, err)
		}
	}
	return b.env.send(ctx, q), q, nil
}

// read calls the management API and decodes its answer.
func (b rabbit) read(ctx context.Context, into any, segments ...string) error {
	a, q, err := b.manage(ctx, http.MethodGet, segments, nil)
	if err != nil {
		return err
	}
	if result, text := classify(a, q); result != api.ResultDone {
		return answered{result, a.status, q.blot(text)}
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		return fmt.Errorf("read the answer of %s: %w", q.target, err)
	}
	return nil
}

// answered is why a call to the management API gave nothing to read.
type answered struct {
	result api.Result
	status int
	text   string
}

func (e answered) Error() string { return e.text }

// queueRules are what the broker does to a queue's messages by itself.
type queueRules struct {
	Type      string         `json:"type"`
	Arguments map[string]any `json:"arguments"`
	Policy    map[string]any `json:"effective_policy_definition"`
}

// queue reads the rules of a queue.
func (b rabbit) queue(ctx context.Context, name string) (queueRules, error) {
	vhost, err := b.vhost()
	if err != nil {
		return queueRules{}, err
	}
	var rules queueRules
	if err := b.read(ctx, &rules, "queues", vhost, name); err != nil {
		var a answered
		if errors.As(err, &a) && a.status == http.StatusNotFound {
			return rules, errNoQueue{name}
		}
		return rules, fmt.Errorf("read the rules of queue %s: %w", name, err)
	}
	return rules, nil
}

// text is a rule such as overflow; an argument wins over a policy.
func (r queueRules) text(name string) string {
	if s, ok := r.Arguments["x-"+name].(string); ok {
		return s
	}
	s, _ := r.Policy[name].(string)
	return s
}

// number is a rule such as max-length, the lower of argument and policy as the broker applies it; -1 where there is none.
func (r queueRules) number(name string) int64 {
	least := math.Inf(1)
	for _, v := range []any{r.Arguments["x-"+name], r.Policy[name]} {
		if f, ok := v.(float64); ok && f >= 0 {
			least = min(least, f)
		}
	}
	if math.IsInf(least, 1) {
		return -1
	}
	return int64(least)
}

// depth counts what waits in a queue and who consumes it, without taking anything. A queue that is missing closes the
// channel it was asked on, so each call opens its own.
func depth(conn *amqp.Connection, queue string) (ready int64, consumers int, err error) {
	ch, err := conn.Channel()
	if err != nil {
		return 0, 0, fmt.Errorf("count queue %s: %w", queue, redacted{err})
	}
	q, err := ch.QueueDeclarePassive(queue, false, false, false, false, nil)
	if err != nil {
		if missing(err) {
			return 0, 0, errNoQueue{queue}
		}
		return 0, 0, fmt.Errorf("count queue %s: %w", queue, redacted{err})
	}
	if err := ch.Close(); err != nil {
		return 0, 0, fmt.Errorf("count queue %s: %w", queue, redacted{err})
	}
	return int64(q.Messages), q.Consumers, nil
}

// errNoQueue says that a queue does not exist.
type errNoQueue struct{ name string }

func (e errNoQueue) Error() string { return "there is no queue " + e.name }

func missing(err error) bool { return amqpCode(err) == amqp.NotFound }

// amqpCode is the broker's reply code; 0 where the error is not one of the broker's.
func amqpCode(err error) int {
	var e *amqp.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}
