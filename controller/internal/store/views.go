package store

import (
	"context"
	"encoding/json"

	"github.com/backstay/backstay/api"
)

// Incidents lists the newest first; open ones only where asked. Limit 0 means 1,000.
func (r *Reader) Incidents(ctx context.Context, openOnly bool, limit int) ([]api.Incident, error) {
	where := "ORDER BY opened DESC, id DESC LIMIT ?"
	if openOnly {
		where = "WHERE closed = 0 " + where
	}
	return readViews[api.Incident](ctx, r, incidents, where, limitOr(limit, 1000))
}

// Incident reads one.
func (r *Reader) Incident(ctx context.Context, id string) (api.Incident, error) {
	return readView[api.Incident](ctx, r, incidents, id)
}

// Remediations lists the newest first; those of one incident where it is not empty. Limit 0 means 1,000.
func (r *Reader) Remediations(ctx context.Context, incident string, limit int) ([]api.Remediation, error) {
	const order = "ORDER BY opened DESC, id DESC LIMIT ?"
	if incident == "" {
		return readViews[api.Remediation](ctx, r, remediations, order, limitOr(limit, 1000))
	}
	return readViews[api.Remediation](ctx, r, remediations, "WHERE incident = ? "+order, incident, limitOr(limit, 1000))
}

// Remediation reads one.
func (r *Reader) Remediation(ctx context.Context, id string) (api.Remediation, error) {
	return readView[api.Remediation](ctx, r, remediations, id)
}

func readView[V any](ctx context.Context, r *Reader, t *table, id string) (view V, err error) {
	views, err := readViews[V](ctx, r, t, t.byKey(), id)
	if err != nil {
		return view, err
	}
	if len(views) == 0 {
		return view, &api.Error{Code: api.CodeNotFound, Message: t.label([]any{id}) + " is not known", Hint: "backstay get " + t.name + " lists them"}
	}
	return views[0], nil
}

func readViews[V any](ctx context.Context, r *Reader, t *table, where string, args ...any) ([]V, error) {
	rows, err := t.find(ctx, r.read, where, args...)
	if err != nil {
		return nil, err
	}
	views := make([]V, 0, len(rows))
	for _, values := range rows {
		body, _ := values[len(values)-1].([]byte)
		var v V
		if err := json.Unmarshal(body, &v); err != nil {
			return nil, tampered("read %s: %w", t.label(values), err)
		}
		views = append(views, v)
	}
	return views, nil
}
