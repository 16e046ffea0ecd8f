package playbooks

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/backstay/backstay/api"
)

// ChannelDriver is one way to tell people something.
type ChannelDriver struct {
	Name    string
	Summary string
	Params  func() any // pointer to a new params struct; its tags are the documentation and the schema
	// Build makes the function that tells one message. It does no I/O.
	Build func(in api.Integration, params any, env *Env) (tell, error)
}

// tell tells one message; key is the same for every repeat of it.
type tell func(ctx context.Context, m Message, key string) api.Outcome

// Channels lists all channel drivers, in the order of the reference pages. A new one is one file and one line here.
var Channels = []ChannelDriver{webhookChannel, slackChannel, pagerdutyChannel, smtpChannel}

// BuildChannel makes an integration's channel; its Runner tells Call.Message. It does no I/O.
func BuildChannel(in api.Integration, env *Env) (Runner, error) {
	spec := in.Spec.Channel
	if spec == nil {
		return nil, finding(in.Pos, "no-channel", fmt.Sprintf("integration %q is no channel", in.Metadata.Name), "give it spec.channel with a driver")
	}
	i := slices.IndexFunc(Channels, func(d ChannelDriver) bool { return d.Name == spec.Driver })
	if i < 0 {
		names := make([]string, len(Channels))
		for i, d := range Channels {
			names[i] = d.Name
		}
		return nil, finding(in.Pos, "unknown-driver", fmt.Sprintf("integration %q: there is no channel driver %q", in.Metadata.Name, spec.Driver), "the drivers are "+strings.Join(names, ", "))
	}
	params := Channels[i].Params()
	if fs := spec.With.Decode(params); fs.Failed() {
		return nil, placed(fs, in.Pos)
	}
	t, err := Channels[i].Build(in, params, env)
	if err != nil {
		return nil, finding(in.Pos, "bad-params", fmt.Sprintf("integration %q: channel: %s", in.Metadata.Name, err), "")
	}
	return &notifyRun{tells: []tell{t}, names: []string{in.Metadata.Name}}, nil
}

var notifyInfo = api.ActionInfo{
	Name: "notify", Version: "1", Effect: api.EffectNotify, Danger: api.D0, Repeat: api.Idempotent,
	Summary: "Tells people through one or more channels. A message told twice carries the same key, and does no harm.",
}

type notifyParams struct {
	Channel  string   `json:"channel,omitempty" doc:"The integration with a channel. Give this or channels."`
	Channels []string `json:"channels,omitempty" doc:"Several of them."`
	Title    string   `json:"title,omitempty" doc:"One line; made from playbook and incident when left out."`
	Text     string   `json:"text,omitempty" doc:"Plain sentences."`
	Severity string   `json:"severity,omitempty" rule:"oneof=info|warning|critical" default:"warning" doc:"How bad it is."`
}

var notify = Action{
	Info:   notifyInfo,
	Params: func() any { return new(notifyParams) },
	Build: func(step api.Step, params any, env *Env) (Runner, api.StepPlan, error) {
		p := params.(*notifyParams)
		names := p.Channels
		if p.Channel != "" {
			names = append([]string{p.Channel}, names...)
		}
		if len(names) == 0 {
			return nil, api.StepPlan{}, fmt.Errorf("nobody is named; give channel or channels")
		}
		r := &notifyRun{names: names, params: *p}
		for _, name := range names {
			in, err := env.integration(name)
			if err != nil {
				return nil, api.StepPlan{}, err
			}
			one, err := BuildChannel(in, env)
			if err != nil {
				return nil, api.StepPlan{}, err
			}
			r.tells = append(r.tells, one.(*notifyRun).tells...)
		}
		return r, planOf(step, notifyInfo), nil
	},
}

// notifyRun tells a message to channels. Repeat class idempotent: to be told twice is a nuisance, never to be told is worse;
// PagerDuty and webhooks moreover recognise the repeat by its key.
type notifyRun struct {
	tells  []tell
	names  []string
	params notifyParams
}

// Run tells every channel, also after one failed.
func (r *notifyRun) Run(ctx context.Context, call Call) (out api.Outcome) {
	ctx, record := recording(ctx)
	defer func() { record(&out) }()
	m := r.message(call)
	result := done("told %s: %s", strings.Join(r.names, ", "), m.Title)
	for i, t := range r.tells {
		if one := t(ctx, m, call.Key); one.Result != api.ResultDone {
			one.Text = fmt.Sprintf("tell %s: %s", r.names[i], one.Text)
			if result.Result != api.ResultDone {
				one.Text = result.Text + "; " + one.Text
			}
			result = one
		}
	}
	return result
}

func (r *notifyRun) message(call Call) Message {
	if call.Message != nil {
		return *call.Message
	}
	return Message{
		Title:    cmp.Or(r.params.Title, fmt.Sprintf("Backstay playbook %s: step %s", call.Playbook, call.Step)),
		Text:     cmp.Or(r.params.Text, fmt.Sprintf("Incident %s, remediation %s.", call.Incident, call.Remediation)),
		Severity: r.params.Severity,
		Dedup:    call.Incident,
	}
}
