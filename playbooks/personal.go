package playbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
)

// namer gives items the names under which texts, facts and the ledger know them: their keys or, where the step is marked
// personal, keyed hashes of them. The hash is the one that probes marked personal use, so a customer can be followed from what a
// probe saw to what an action did. The outside world is always told the true key.
//
// The ledger is looked up under both names: a step that was marked, or is so no longer, still knows what it did before.
type namer struct {
	personal bool
	hash     func(key string) string // nil where there is none
}

// namer makes one for a step.
func (env *Env) namer(personal bool) (namer, error) {
	if personal && env.Personal == nil {
		return namer{}, errors.New("personal: there is no key for hashes here")
	}
	return namer{personal, env.Personal}, nil
}

// name is what a key is called here.
func (n namer) name(key string) string {
	if n.personal {
		return n.hash(key)
	}
	return key
}

// row reads an item's line in the ledger, also one from before the step was marked personal or after. The key may have a prefix
// that names nobody.
func (n namer) row(ctx context.Context, l Ledger, scope, prefix, key string) (LedgerRow, error) {
	row, err := l.Get(ctx, scope, prefix+n.name(key))
	if err != nil || row.State != "" || n.hash == nil {
		return row, err
	}
	return l.Get(ctx, scope, prefix+namer{!n.personal, n.hash}.name(key))
}

// veil gives what replaces keys by their names in the words of others, also where they stand escaped. Our own words are to use the
// names in the first place: they may have digits that look like a key.
func (n namer) veil(keys []string) func(text string) string {
	if !n.personal {
		return func(text string) string { return text }
	}
	var pairs []string
	keys = slices.Clone(keys)
	slices.SortStableFunc(keys, func(a, b string) int { return len(b) - len(a) }) // no end of a longer one may stay
	for _, key := range keys {
		if len(key) <= 2 {
			continue // as good as any other digit
		}
		forms := []string{key, url.QueryEscape(key), url.PathEscape(key), strings.Trim(fmt.Sprintf("%q", key), `"`)}
		if quoted, err := json.Marshal(key); err == nil {
			forms = append(forms, strings.Trim(string(quoted), `"`))
		}
		for _, form := range forms {
			pairs = append(pairs, form, n.hash(key))
		}
	}
	return strings.NewReplacer(pairs...).Replace
}

// reading is an error of reading items. A database quotes what it stumbled over, so of a step that is marked personal only the
// error's number is kept.
func (n namer) reading(err error) error {
	var postgres *pgconn.PgError
	var maria *mysql.MySQLError
	var lite interface{ Code() int }
	number := ""
	switch {
	case err == nil || !n.personal:
		return err
	case errors.As(err, &postgres):
		number = "SQLSTATE " + postgres.Code
	case errors.As(err, &maria):
		number = fmt.Sprintf("error %d", maria.Number)
	case errors.As(err, &lite):
		number = fmt.Sprintf("SQLite error %d", lite.Code())
	default:
		return err
	}
	return fmt.Errorf("the database answered with %s; its words are left out, because they may name people", number)
}
