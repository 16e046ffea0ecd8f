package web

import (
	"net/http"
	"strconv"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/store"
)

func (s *server) status(r *http.Request) (any, error) {
	st := api.Status{Version: s.Version, Ready: true, Pauses: s.Shell.Pauses(), Time: time.Now().UTC()}
	if err := s.Shell.Ready(); err != nil {
		st.Ready, st.Problem = false, err.Error()
	}
	for _, p := range s.Shell.Probes() {
		st.Probes++
		switch p.Last.Verdict {
		case api.Bad:
			st.Ill++
		case api.Unknown:
			st.Unknown++
		}
	}
	open, err := s.Store.Incidents(r.Context(), true, 0)
	st.Incidents = len(open)
	return st, err
}

func (s *server) incidents(r *http.Request) (any, error) {
	limit, err := intParam(r, "limit", 100)
	if err != nil {
		return nil, err
	}
	return list(s.Store.Incidents(r.Context(), r.FormValue("open") == "true", limit))
}

func (s *server) incident(r *http.Request) (any, error) {
	return s.Store.Incident(r.Context(), r.PathValue("id"))
}

func (s *server) remediations(r *http.Request) (any, error) {
	limit, err := intParam(r, "limit", 100)
	if err != nil {
		return nil, err
	}
	return list(s.Store.Remediations(r.Context(), r.FormValue("incident"), limit))
}

func (s *server) remediation(r *http.Request) (any, error) {
	return s.Store.Remediation(r.Context(), r.PathValue("id"))
}

func (s *server) probes(*http.Request) (any, error) { return list(s.Shell.Probes(), nil) }

func (s *server) probe(r *http.Request) (any, error) {
	return find(s.Shell.Probes(), "probe", r.PathValue("name"), func(p api.ProbeStatus) string { return p.Name })
}

func (s *server) playbooks(*http.Request) (any, error) { return list(s.Shell.Playbooks(), nil) }

func (s *server) playbook(r *http.Request) (any, error) {
	return find(s.Shell.Playbooks(), "playbook", r.PathValue("name"), func(p api.PlaybookStatus) string { return p.Name })
}

func (s *server) integrations(*http.Request) (any, error) {
	shown := []api.Integration{}
	for _, in := range s.Set().Integrations {
		shown = append(shown, in.Shown())
	}
	return list(shown, nil)
}

func (s *server) workflows(*http.Request) (any, error) { return list(s.Set().Workflows, nil) }

func (s *server) pauses(*http.Request) (any, error) { return list(s.Shell.Pauses(), nil) }

func (s *server) entries(r *http.Request) (any, error) {
	from, err := intParam(r, "from", 0)
	if err != nil {
		return nil, err
	}
	limit, err := intParam(r, "limit", 1000)
	if err != nil {
		return nil, err
	}
	q := store.Query{From: int64(from), Limit: limit, Incident: r.FormValue("incident"), Remediation: r.FormValue("remediation")}
	for _, k := range r.Form["kind"] {
		q.Kinds = append(q.Kinds, api.EntryKind(k))
	}
	return list(s.Store.Entries(r.Context(), q))
}

// list answers [] for nothing, never null: a caller's loop needs no special case.
func list[T any](items []T, err error) (any, error) {
	if items == nil {
		items = []T{}
	}
	return items, err
}

func find[T any](items []T, what, name string, nameOf func(T) string) (any, error) {
	for _, it := range items {
		if nameOf(it) == name {
			return it, nil
		}
	}
	return nil, api.Errorf(api.CodeNotFound, "there is no %s called %q", what, name)
}

func intParam(r *http.Request, name string, fallback int) (int, error) {
	text := r.FormValue(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 100_000 && name == "limit" {
		return 0, api.Errorf(api.CodeUsage, "%s=%s is not a number from 0 to 100000", name, text)
	}
	return n, nil
}
