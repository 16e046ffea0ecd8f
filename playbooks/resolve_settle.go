package playbooks

import (
	"cmp"
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

// settleParams say how the fate of a piece of work is written down: by one SQL statement, or one HTTP call.
type settleParams struct {
	Integration string                `json:"integration" rule:"required,name" doc:"The database or HTTP API that is told."`
	Endpoint    string                `json:"endpoint,omitempty" doc:"Its endpoint; the first when left out."`
	Statement   string                `json:"statement,omitempty" doc:"One SQL statement with placeholders of the database; it may touch one row. Give this or path."`
	Args        []string              `json:"args,omitempty" doc:"What is bound, in order: key, endpoint, amount, currency, or answer.PATH into the look-up's answer."`
	Method      string                `json:"method,omitempty" rule:"oneof=PUT|POST|PATCH" default:"PUT" doc:"Method of the HTTP call, which must set a state or recognise Idempotency-Key."`
	Path        string                `json:"path,omitempty" doc:"Path of the HTTP call, with {key}."`
	Body        json.RawMessage       `json:"body,omitempty" doc:"JSON body; a text that is exactly $key, $endpoint, $amount, $currency or $answer becomes that value."`
	Headers     map[string]api.Secret `json:"headers,omitempty" doc:"Headers of the HTTP call; credentials as {env: NAME} or {file: PATH}."`
}

func (p *settleParams) check(env *Env) error {
	in, err := env.integration(p.Integration)
	if err != nil {
		return err
	}
	if !hasEndpoint(in, p.Endpoint) {
		return fmt.Errorf("integration %q has no endpoint %q", p.Integration, p.Endpoint)
	}
	if (p.Statement == "") == (p.Path == "") {
		return errors.New("settle: give either statement or path")
	}
	for _, name := range p.Args {
		if !slices.Contains([]string{"key", "endpoint", "amount", "currency"}, name) && !strings.HasPrefix(name, "answer.") {
			return fmt.Errorf("settle: args has %q; write key, endpoint, amount, currency or answer.PATH", name)
		}
	}
	if p.Statement != "" {
		if !slices.Contains(p.Args, "key") {
			return errors.New("settle: args does not bind key, so the statement is about no work in particular")
		}
		return checkStatement(p.Statement)
	}
	if _, err := fillBody(p.Body, doubt{}.values(nil)); err != nil {
		return err
	}
	_, err = joinURL("http://host", p.Path, map[string]string{"key": "k"})
	return err
}

func (d doubt) values(answer any) map[string]any {
	return map[string]any{"key": d.key, "endpoint": d.endpoint, "amount": d.amount, "currency": d.currency, "answer": answer}
}

// settle writes it down. That no row was touched is fine: somebody else wrote it down meanwhile, and then the work is not in
// doubt any more.
func (env *Env) settle(ctx context.Context, p settleParams, d doubt, found lookup) api.Outcome {
	if p.Path != "" {
		return env.settleHTTP(ctx, p, d, found)
	}
	values, args := d.values(nil), make([]any, len(p.Args))
	for i, name := range p.Args {
		path, isAnswer := strings.CutPrefix(name, "answer.")
		if !isAnswer {
			args[i] = values[name]
			continue
		}
		v, err := pick(found.body, path)
		text, ok := scalar(v)
		if err != nil || !ok {
			return failed("settle: the look-up's answer has no text or number at %s", path)
		}
		args[i] = text
	}
	db, err := env.database(p.Integration, p.Endpoint)
	if err != nil {
		return failed("settle: %s", err)
	}
	defer db.Close()
	return db.change(ctx, 1, func(tx *sql.Tx) (int64, error) {
		res, err := tx.ExecContext(ctx, p.Statement, args...)
		if err != nil {
			return 0, err
		}
		return res.RowsAffected()
	}).outcome()
}

func (env *Env) settleHTTP(ctx context.Context, p settleParams, d doubt, found lookup) api.Outcome {
	e, base, err := env.endpoint(p.Integration, p.Endpoint)
	if err != nil {
		return failed("settle: %s", err)
	}
	target, err := joinURL(base, p.Path, map[string]string{"key": d.key})
	if err != nil {
		return failed("settle: %s", err)
	}
	header, secrets, err := env.headers(p.Headers)
	if err != nil {
		return failed("settle: %s", err)
	}
	body, err := fillBody(p.Body, d.values(found.body))
	if err != nil {
		return failed("settle: %s", err)
	}
	header["Idempotency-Key"] = "settle-" + d.endpoint + "-" + d.key
	q := exchange{
		method: cmp.Or(p.Method, http.MethodPut), url: target, target: p.Integration + "/" + e.Name + " " + p.Path,
		header: header, secrets: secrets, body: body, repeat: api.Keyed,
	}
	return env.send(ctx, q).outcome(q)
}
