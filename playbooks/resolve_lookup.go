package playbooks

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/backstay/backstay/api"
)

// unknownParams list work in doubt, from a database or an HTTP API.
type unknownParams struct {
	Integration string                `json:"integration" rule:"required,name" doc:"The database or HTTP API that knows which work is in doubt."`
	Endpoint    string                `json:"endpoint,omitempty" doc:"Its endpoint; the first when left out."`
	Query       string                `json:"query,omitempty" doc:"SQL with columns key and endpoint; at (time of the attempt, needed for a retry), amount (minor units) and currency where they are known. Give this or path."`
	Path        string                `json:"path,omitempty" doc:"Path of a GET that answers with a JSON list of objects with the same fields. Give this or query."`
	Items       string                `json:"items,omitempty" doc:"Where in the answer the list is, such as data."`
	Headers     map[string]api.Secret `json:"headers,omitempty" doc:"Headers of the GET; credentials as {env: NAME} or {file: PATH}."`
}

func (p *unknownParams) check(env *Env) error {
	if (p.Query == "") == (p.Path == "") {
		return errors.New("unknown: give either query or path")
	}
	in, err := env.integration(p.Integration)
	if err == nil && !hasEndpoint(in, p.Endpoint) {
		err = fmt.Errorf("integration %q has no endpoint %q", p.Integration, p.Endpoint)
	}
	return err
}

// list asks what is in doubt now.
func (r *resolveRun) list(ctx context.Context) ([]doubt, error) {
	var t table
	var err error
	if r.p.Unknown.Query != "" {
		t, err = r.env.queryTable(ctx, r.p.Unknown)
	} else {
		t, err = r.env.listTable(ctx, r.p.Unknown)
	}
	if err != nil {
		return nil, r.names.reading(err)
	}
	key, endpoint := t.column("key"), t.column("endpoint")
	if key < 0 || endpoint < 0 {
		if len(t.values) == 0 {
			return nil, nil
		}
		return nil, errors.New("the list has no columns key and endpoint")
	}
	work, seen := make([]doubt, 0, len(t.values)), map[string]bool{}
	for _, row := range t.values {
		var d doubt
		d.key, _ = flagText(row[key])
		d.endpoint, _ = flagText(row[endpoint])
		if d.key == "" {
			return nil, errors.New("the list has a row without a key")
		}
		if seen[d.endpoint+"/"+d.key] {
			return nil, fmt.Errorf("the list has key %q twice", r.names.name(d.key))
		}
		seen[d.endpoint+"/"+d.key] = true
		if i := t.column("amount"); i >= 0 {
			if d.amount, err = wholeAmount(row[i]); err != nil {
				return nil, fmt.Errorf("amount of %s: %w", r.names.name(d.key), err)
			}
		}
		if i := t.column("currency"); i >= 0 {
			d.currency, _ = flagText(row[i])
		}
		if i := t.column("at"); i >= 0 && row[i] != nil {
			d.at, _ = moment(row[i])
		}
		work = append(work, d)
	}
	if r.p.Most > 0 && len(work) > r.p.Most {
		work = work[:r.p.Most]
	}
	return work, nil
}

// listMax is the most rows that a list of work in doubt may have.
const listMax = 50_000

func (env *Env) queryTable(ctx context.Context, p unknownParams) (table, error) {
	db, err := env.database(p.Integration, p.Endpoint)
	if err != nil {
		return table{}, err
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: db.dialect != "sqlite"})
	if err != nil {
		return table{}, fmt.Errorf("begin on %s: %s", db.target, plainError(err))
	}
	defer tx.Rollback() // it only reads
	return readRows(ctx, tx, p.Query, listMax)
}

// listTable reads a JSON list of objects into a table.
func (env *Env) listTable(ctx context.Context, p unknownParams) (table, error) {
	e, base, err := env.endpoint(p.Integration, p.Endpoint)
	if err != nil {
		return table{}, err
	}
	target, err := joinURL(base, p.Path, nil)
	if err != nil {
		return table{}, err
	}
	header, secrets, err := env.headers(p.Headers)
	if err != nil {
		return table{}, err
	}
	q := exchange{method: http.MethodGet, url: target, target: p.Integration + "/" + e.Name + " " + p.Path, header: header, secrets: secrets, repeat: api.Idempotent}
	a := env.send(ctx, q)
	if result, text := classify(a, q); result != api.ResultDone {
		return table{}, errors.New(q.blot(text))
	}
	tree, err := decodeJSON(a.body)
	if err == nil {
		tree, err = pick(tree, p.Items)
	}
	if err != nil {
		return table{}, fmt.Errorf("read the list of %s: %w", q.target, err)
	}
	list, ok := tree.([]any)
	if !ok {
		return table{}, fmt.Errorf("the answer of %s is not a list", q.target)
	}
	t := table{columns: []string{"key", "endpoint", "amount", "currency", "at"}}
	for _, item := range list {
		object, ok := item.(map[string]any)
		if !ok {
			return table{}, fmt.Errorf("the list of %s has something that is no object", q.target)
		}
		row := make([]any, len(t.columns))
		for i, name := range t.columns {
			row[i] = object[name]
			if n, ok := row[i].(json.Number); ok {
				row[i] = n.String()
			}
		}
		t.values = append(t.values, row)
	}
	return t, nil
}

// lookup is what an endpoint says about a piece of work.
type lookup struct {
	state whereabouts
	text  string
	body  any // the answer, for settling
}

type whereabouts int

const (
	inDoubt  whereabouts = iota // nobody can tell yet
	happened                    // it has the work
	notThere                    // it says that it does not know it
	never                       // it knows it, and says that it did not and will not happen
)

// ask asks the endpoint of a piece of work about it.
func (r *resolveRun) ask(ctx context.Context, d doubt) lookup {
	found := r.lookUp(ctx, d)
	found.text = r.names.veil([]string{d.key})(found.text)
	return found
}

func (r *resolveRun) lookUp(ctx context.Context, d doubt) lookup {
	q, err := r.exchange(d, http.MethodGet, r.p.Lookup.Path)
	if err != nil {
		return lookup{text: err.Error()}
	}
	a := r.env.send(ctx, q)
	if a.err == nil && slices.Contains(r.p.Lookup.Missing, a.status) {
		return lookup{state: notThere, text: fmt.Sprintf("look-up answered %d", a.status)}
	}
	if result, text := classify(a, q); result != api.ResultDone {
		return lookup{text: "look-up: " + q.blot(text)}
	}
	tree, err := decodeJSON(a.body)
	if err != nil {
		return lookup{text: "the look-up's answer is not JSON"}
	}
	if r.p.Lookup.Pick == "" {
		return lookup{state: happened, text: fmt.Sprintf("look-up answered %d", a.status), body: tree}
	}
	v, err := pick(tree, r.p.Lookup.Pick)
	state, ok := scalar(v)
	switch {
	case err != nil && emptyList(tree, r.p.Lookup.Pick):
		return lookup{state: notThere, text: "look-up found an empty list"}
	case err != nil || !ok:
		return lookup{text: "the look-up's answer has no state at " + r.p.Lookup.Pick}
	case slices.Contains(r.p.Lookup.Happened, state):
		return lookup{state: happened, text: "look-up says " + state, body: tree}
	case slices.Contains(r.p.Lookup.Never, state):
		return lookup{state: never, text: "look-up says " + state, body: tree}
	}
	return lookup{text: "look-up says " + state + ", which is neither yes nor no"}
}

// emptyList tells whether a path ends in an empty list, as a search answers that finds nothing: data.0.state of {"data": []}.
func emptyList(tree any, path string) bool {
	parts := strings.Split(path, ".")
	for i, part := range parts {
		list, ok := tree.([]any)
		if ok {
			return len(list) == 0 && part == "0"
		}
		var err error
		if tree, err = pick(tree, parts[i]); err != nil {
			return false
		}
	}
	return false
}

// exchange prepares a call to the endpoint that has the work, and to no other one.
func (r *resolveRun) exchange(d doubt, method, path string) (exchange, error) {
	_, base, err := r.env.endpoint(r.in.Metadata.Name, d.endpoint)
	if err != nil {
		return exchange{}, err
	}
	target, err := joinURL(base, path, map[string]string{"key": d.key})
	if err != nil {
		return exchange{}, err
	}
	header, secrets, err := r.env.headers(r.p.Lookup.Headers)
	if err != nil {
		return exchange{}, err
	}
	return exchange{method: method, url: target, target: r.in.Metadata.Name + "/" + d.endpoint + " " + path, header: header, secrets: secrets, repeat: api.Idempotent}, nil
}
