package web

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

func (s *server) decide(r *http.Request) (any, error) {
	var d api.Decision
	if err := decodeBody(r, &d); err != nil {
		return nil, err
	}
	switch d.Verb {
	case api.VerbApprove, api.VerbDeny, api.VerbCancel, api.VerbSettled, api.VerbVoid, api.VerbAck:
	default:
		return nil, api.Errorf(api.CodeUsage, "%q is not a decision: approve, deny, cancel, settled, void or ack", d.Verb)
	}
	if strings.TrimSpace(d.By) == "" || d.Target == "" {
		return nil, api.Errorf(api.CodeUsage, "a decision names who decides (by) and what it is about (target)")
	}
	if err := s.shown(r.Context(), d); err != nil {
		return nil, err
	}
	if err := s.Shell.Decide(r.Context(), d); err != nil {
		return nil, err
	}
	return d, nil
}

// shown demands of a yes that it names the plan it was given to, so that it counts for nothing that changed since.
func (s *server) shown(ctx context.Context, d api.Decision) error {
	if d.Verb != api.VerbApprove || d.Plan != "" {
		return nil
	}
	id, _, _ := strings.Cut(d.Target, "/")
	r, err := s.Store.Remediation(ctx, id)
	if err != nil || r.Plan == "" {
		return nil // there is nothing to say yes to; the engine says so, and records it
	}
	return &api.Error{Code: api.CodeUsage, Message: "a yes names the plan that was shown (plan)", Hint: "read it with GET /api/v1/remediations/" + r.ID}
}

// approve takes an Approval as YAML or JSON.
func (s *server) approve(r *http.Request) (any, error) {
	doc, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, api.Errorf(api.CodeUsage, "read the approval: %w", err)
	}
	return s.Approve(r.Context(), doc)
}

func (s *server) pause(r *http.Request) (any, error) {
	var p api.Pause
	if err := decodeBody(r, &p); err != nil {
		return nil, err
	}
	p.At = time.Now().UTC()
	switch {
	case strings.TrimSpace(p.Owner) == "" || strings.TrimSpace(p.Reason) == "":
		return nil, api.Errorf(api.CodeUsage, "a pause names its owner and a reason: the next shift reads them")
	case !p.Expires.IsZero() && !p.Expires.After(p.At):
		return nil, api.Errorf(api.CodeUsage, "the pause would have expired at %s already", p.Expires.Format(time.RFC3339))
	}
	if err := s.knownPlaybook(p.Playbook); err != nil {
		return nil, err
	}
	if err := s.Shell.Pause(r.Context(), p); err != nil {
		return nil, err
	}
	return p, nil
}

func (s *server) resume(r *http.Request) (any, error) {
	p := api.Pause{Playbook: r.FormValue("playbook"), Owner: r.FormValue("by"), Reason: r.FormValue("reason"), At: time.Now().UTC()}
	if strings.TrimSpace(p.Owner) == "" {
		return nil, api.Errorf(api.CodeUsage, "lifting a pause names who does it (by)")
	}
	for _, q := range s.Shell.Pauses() {
		if q.Playbook == p.Playbook {
			return p, s.Shell.Resume(r.Context(), p)
		}
	}
	return nil, api.Errorf(api.CodeNotFound, "nothing is paused there")
}

func (s *server) knownPlaybook(name string) error {
	if name == "" {
		return nil
	}
	_, err := find(s.Shell.Playbooks(), "playbook", name, func(p api.PlaybookStatus) string { return p.Name })
	return err
}
