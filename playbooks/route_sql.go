package playbooks

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/backstay/backstay/api"
)

type sqlRouteParams struct {
	Database string            `json:"database" rule:"required,name" doc:"The integration that is the database."`
	Endpoint string            `json:"endpoint,omitempty" doc:"Its endpoint; the first when left out."`
	Table    string            `json:"table" rule:"required" doc:"The table, or schema.table, that holds the route."`
	Key      string            `json:"key" rule:"required" doc:"The column that finds the route's row."`
	ID       string            `json:"id" rule:"required" doc:"The value of that column."`
	Column   string            `json:"column" rule:"required" doc:"The column that names the active endpoint."`
	Values   map[string]string `json:"values,omitempty" doc:"What the column says for each endpoint; the endpoint's own name where left out."`
}

var sqlRouteDriver = RouteDriver{
	Name:    "sql",
	Summary: "Sets one column of exactly one row of a settings table, in a transaction that is rolled back when it would touch any other number of rows.",
	Params:  func() any { return new(sqlRouteParams) },
	Build: func(in api.Integration, params any, env *Env) (Route, error) {
		p := params.(*sqlRouteParams)
		for _, name := range [][2]string{{"table", p.Table}, {"key", p.Key}, {"column", p.Column}} {
			if err := checkIdentifier(name[0], name[1]); err != nil {
				return nil, err
			}
		}
		database, err := env.integration(p.Database)
		if err != nil {
			return nil, err
		}
		if !hasEndpoint(database, p.Endpoint) {
			return nil, fmt.Errorf("integration %q has no endpoint %q", p.Database, p.Endpoint)
		}
		return &sqlRoute{in: in, env: env, p: *p, values: p.Values}, nil
	},
}

type sqlRoute struct {
	in     api.Integration
	env    *Env
	p      sqlRouteParams
	values valueMap
}

// Read selects the row.
func (r *sqlRoute) Read(ctx context.Context) (RouteState, error) {
	db, err := r.env.database(r.p.Database, r.p.Endpoint)
	if err != nil {
		return RouteState{}, err
	}
	defer db.Close()
	query := fmt.Sprintf("SELECT %s FROM %s WHERE %s = %s", db.quote(r.p.Column), db.quote(r.p.Table), db.quote(r.p.Key), db.mark(1))
	var value sql.NullString
	if err := db.QueryRowContext(ctx, query, r.p.ID).Scan(&value); errors.Is(err, sql.ErrNoRows) {
		return RouteState{}, fmt.Errorf("table %s has no row with %s = %q", r.p.Table, r.p.Key, r.p.ID)
	} else if err != nil {
		return RouteState{}, fmt.Errorf("read the route from %s: %s", db.target, plainError(err))
	}
	endpoint, ok := r.values.endpoint(r.in, value.String)
	if !ok {
		return RouteState{}, fmt.Errorf("the route is at %q, which is no endpoint of %s", value.String, r.in.Metadata.Name)
	}
	image, err := json.Marshal(value.String)
	return RouteState{Shares: whole(r.in, endpoint), Image: image}, err
}

// Ready refuses shares.
func (r *sqlRoute) Ready(_ RouteState, _ string, percent int) error {
	return wholeOnly("sql", percent)
}

// Shift sets the row.
func (r *sqlRoute) Shift(ctx context.Context, _ RouteState, to string, _ int) error {
	return r.set(ctx, r.values.value(to))
}

// Restore sets the row to what it said.
func (r *sqlRoute) Restore(ctx context.Context, before RouteState) error {
	var value string
	if err := json.Unmarshal(before.Image, &value); err != nil {
		return notTaken{"read the before-image of the route: " + err.Error()}
	}
	return r.set(ctx, value)
}

func (r *sqlRoute) set(ctx context.Context, value string) error {
	db, err := r.env.database(r.p.Database, r.p.Endpoint)
	if err != nil {
		return notTaken{err.Error()}
	}
	defer db.Close()
	update := fmt.Sprintf("UPDATE %s SET %s = %s WHERE %s = %s", db.quote(r.p.Table), db.quote(r.p.Column), db.mark(1), db.quote(r.p.Key), db.mark(2))
	c := db.change(ctx, 1, func(tx *sql.Tx) (int64, error) {
		res, err := tx.ExecContext(ctx, update, value, r.p.ID)
		if err != nil {
			return 0, err
		}
		n, err := res.RowsAffected()
		if err == nil && n == 0 {
			err = fmt.Errorf("table %s has no row with %s = %q", r.p.Table, r.p.Key, r.p.ID)
		}
		return n, err
	})
	if c.err != nil && !c.again {
		return notTaken{c.err.Error()}
	}
	return c.err
}
