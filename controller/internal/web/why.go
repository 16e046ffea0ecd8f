package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/store"
)

// The bounds of an answer; the newest entries win.
const (
	whyMax      = 2000
	whyPage     = 250 // entries read at once
	whyEnough   = 40  // of one playbook
	whyPatience = 30 * time.Millisecond

	whyLeast        = 2 // a playbook that has done less is looked for longer: an empty answer would mislead
	whyPatienceMost = 5 * time.Second
)

func (s *server) why(r *http.Request) (any, error) {
	ctx, id := r.Context(), r.PathValue("id")
	switch {
	case strings.HasPrefix(id, "inc-"):
		return s.whyIncident(ctx, id)
	case strings.HasPrefix(id, "rem-"):
		return s.whyRemediation(ctx, id)
	}
	if err := s.knownPlaybook(id); err != nil {
		coded := api.Errorf(api.CodeNotFound, "%q is no incident, remediation or playbook", id)
		coded.Hint = "ids: backstay get incidents, backstay get remediations, backstay get playbooks"
		return nil, coded
	}
	return s.whyPlaybook(ctx, id)
}

// whyPlaybook reads back from the newest entry until there is enough to see, or for as long as a person waits without noticing.
func (s *server) whyPlaybook(ctx context.Context, id string) (any, error) {
	begin, why := time.Now(), api.Why{Subject: "playbook " + id, Entries: []api.Entry{}}
	for to := s.Store.Head().Size; to > 0; {
		page, err := s.Store.Entries(ctx, store.Query{To: to, Limit: whyPage, Newest: true, Kinds: []api.EntryKind{
			api.EntryRefused, api.EntryObserved, api.EntrySuggested, api.EntryRemediationOpened, api.EntryRemediationEnded,
			api.EntryDemoted, api.EntryDecided, api.EntryWordRefused, api.EntryPaused, api.EntryResumed}})
		if err != nil {
			return nil, err
		}
		for _, e := range slices.Backward(page) {
			if e.Playbook == id {
				why.Entries = append(why.Entries, e)
			}
		}
		if len(page) < whyPage || len(why.Entries) >= whyEnough {
			break
		}
		patience := whyPatience
		if len(why.Entries) < whyLeast {
			patience = whyPatienceMost
		}
		if to = page[0].Seq; time.Since(begin) > patience {
			why.Subject += fmt.Sprintf(", back to entry %d (backstay audit show has what came before)", to)
			break
		}
	}
	slices.Reverse(why.Entries)
	return why, nil
}

func (s *server) whyIncident(ctx context.Context, id string) (any, error) {
	inc, err := s.Store.Incident(ctx, id)
	if err != nil {
		return nil, err
	}
	entries, err := s.Store.Entries(ctx, store.Query{Incident: id, Limit: whyMax})
	return api.Why{Subject: "incident " + id, Incident: &inc, Entries: entries}, err
}

// whyRemediation shows the remediation's own entries and, before them, what its incident rests on.
func (s *server) whyRemediation(ctx context.Context, id string) (any, error) {
	rem, err := s.Store.Remediation(ctx, id)
	if err != nil {
		return nil, err
	}
	own, err := s.Store.Entries(ctx, store.Query{Remediation: id, Limit: whyMax})
	if err != nil {
		return nil, err
	}
	cause := store.Query{Incident: rem.Incident, Limit: whyMax, Kinds: []api.EntryKind{
		api.EntryAnomalyOpened, api.EntryAnomalyCleared, api.EntryIncidentOpened, api.EntryIncidentRooted, api.EntryIncidentClosed}}
	before, err := s.Store.Entries(ctx, cause)
	if err != nil {
		return nil, err
	}
	all := append(before, own...)
	slices.SortFunc(all, func(a, b api.Entry) int { return cmp.Compare(a.Seq, b.Seq) })
	return api.Why{Subject: "remediation " + id, Remediation: &rem, Entries: slices.CompactFunc(all, func(a, b api.Entry) bool { return a.Seq == b.Seq })}, nil
}
