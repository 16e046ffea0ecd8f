package playbooks

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

type webhookParams struct {
	URL     api.Secret            `json:"url" rule:"required" doc:"Where the message is POSTed as JSON: {title, text, severity, dedup, resolved, key}."`
	Headers map[string]api.Secret `json:"headers,omitempty" doc:"Headers; credentials as {env: NAME} or {file: PATH}."`
	Sign    api.Secret            `json:"sign,omitempty" doc:"Key of an HMAC-SHA256 over TIMESTAMP.BODY, sent as X-Backstay-Signature: t=TIMESTAMP,v1=HEX."`
}

var webhookChannel = ChannelDriver{
	Name: "webhook", Summary: "POSTs the message as JSON, signed where a key is given.",
	Params: func() any { return new(webhookParams) },
	Build: func(in api.Integration, params any, env *Env) (tell, error) {
		p := params.(*webhookParams)
		return func(ctx context.Context, m Message, key string) api.Outcome {
			header, secrets, err := env.headers(p.Headers)
			if err != nil {
				return failed("%s", err)
			}
			body, err := json.Marshal(map[string]any{"title": m.Title, "text": m.Text, "severity": m.Severity, "dedup": m.Dedup, "resolved": m.Resolved, "key": key})
			if err != nil {
				return failed("write the message: %s", err)
			}
			header["Idempotency-Key"] = key
			if !p.Sign.IsZero() {
				secret, err := env.Secret(p.Sign)
				if err != nil {
					return failed("read the signing key: %s", err)
				}
				header["X-Backstay-Signature"] = signature(secret, time.Now(), body)
			}
			return env.post(ctx, posting{in: in, url: p.URL, header: header, secrets: secrets, body: body})
		}, nil
	},
}

// signature is what a receiver recomputes over the bytes that it got.
func signature(secret string, at time.Time, body []byte) string {
	stamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(stamp + "."))
	mac.Write(body)
	return "t=" + stamp + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

type slackParams struct {
	URL api.Secret `json:"url" rule:"required" doc:"The incoming webhook's URL, which is a credential: {env: NAME} or {file: PATH}."`
}

var slackChannel = ChannelDriver{
	Name: "slack", Summary: "Posts to a Slack incoming webhook.",
	Params: func() any { return new(slackParams) },
	Build: func(in api.Integration, params any, env *Env) (tell, error) {
		p := params.(*slackParams)
		return func(ctx context.Context, m Message, _ string) api.Outcome {
			title := m.Title
			if m.Resolved {
				title = "Resolved: " + title
			}
			body, err := json.Marshal(map[string]any{"text": slackText("*" + title + "*\n" + m.Text)})
			if err != nil {
				return failed("write the message: %s", err)
			}
			return env.post(ctx, posting{in: in, url: p.URL, body: body})
		}, nil
	},
}

// slackText escapes what Slack would take for a mention or a link, so that text from a target pages nobody.
func slackText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

type pagerdutyParams struct {
	RoutingKey api.Secret `json:"routingKey" rule:"required" doc:"Integration key of the service, {env: NAME} or {file: PATH}."`
	URL        api.Secret `json:"url,omitempty" default:"https://events.pagerduty.com/v2/enqueue" doc:"The Events API v2."`
	Source     string     `json:"source,omitempty" default:"backstay" doc:"What PagerDuty shows as the source."`
}

var pagerdutyChannel = ChannelDriver{
	Name: "pagerduty", Summary: "Triggers and resolves alerts by PagerDuty Events v2; one incident is one alert, by its dedup key.",
	Params: func() any { return new(pagerdutyParams) },
	Build: func(in api.Integration, params any, env *Env) (tell, error) {
		p := params.(*pagerdutyParams)
		if p.URL.IsZero() {
			p.URL = api.Secret{Text: "https://events.pagerduty.com/v2/enqueue"}
		}
		return func(ctx context.Context, m Message, key string) api.Outcome {
			routing, err := env.Secret(p.RoutingKey)
			if err != nil {
				return failed("read the routing key: %s", err)
			}
			event := map[string]any{"routing_key": routing, "event_action": "trigger", "dedup_key": cut(cmp.Or(m.Dedup, key), 250)}
			if m.Resolved {
				event["event_action"] = "resolve"
			} else {
				event["payload"] = map[string]any{
					"summary": cut(m.Title, 1000), "source": cmp.Or(p.Source, "backstay"), "severity": pagerdutySeverity(m.Severity),
					"custom_details": map[string]string{"text": m.Text},
				}
			}
			body, err := json.Marshal(event)
			if err != nil {
				return failed("write the event: %s", err)
			}
			return env.post(ctx, posting{in: in, url: p.URL, secrets: []string{routing}, body: body})
		}, nil
	},
}

// pagerdutySeverity maps ours to what Events v2 accepts: critical, error, warning, info.
func pagerdutySeverity(s string) string {
	switch s {
	case "critical", "warning", "info":
		return s
	}
	return "error"
}

// posting is one message as an HTTP POST.
type posting struct {
	in      api.Integration
	url     api.Secret
	header  map[string]string
	secrets []string
	body    []byte
}

// post sends a message. Its texts never show the URL, which with Slack is the credential.
func (env *Env) post(ctx context.Context, m posting) api.Outcome {
	base, err := env.Secret(m.url)
	if err != nil {
		return failed("read the channel's URL: %s", err)
	}
	if !strings.HasPrefix(base, "https://") && !strings.HasPrefix(base, "http://") {
		return failed("the channel's URL is not an http or https URL")
	}
	q := exchange{
		method: http.MethodPost, url: base, target: fmt.Sprintf("channel %s", m.in.Metadata.Name), header: m.header,
		secrets: append(m.secrets, base), body: m.body, repeat: api.Idempotent,
	}
	return env.send(ctx, q).outcome(q)
}
