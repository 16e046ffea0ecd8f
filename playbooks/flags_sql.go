package playbooks

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/backstay/backstay/api"
)

type sqlFlagParams struct {
	Table    string          `json:"table" rule:"required" doc:"The table, or schema.table."`
	Key      string          `json:"key" rule:"required" doc:"The column that tells items apart."`
	Flag     string          `json:"flag" rule:"required" doc:"The column that is the flag."`
	On       json.RawMessage `json:"on,omitempty" doc:"Its value for held: true when left out."`
	Off      json.RawMessage `json:"off,omitempty" doc:"Its value for free: false when left out."`
	Amount   string          `json:"amount,omitempty" doc:"The column with the amount in minor units."`
	Currency string          `json:"currency,omitempty" doc:"The column with its ISO 4217 currency."`
}

func (p *sqlFlagParams) check() error {
	for _, name := range [][2]string{{"table", p.Table}, {"key", p.Key}, {"flag", p.Flag}, {"amount", p.Amount}, {"currency", p.Currency}} {
		if (name[0] == "amount" || name[0] == "currency") && name[1] == "" {
			continue
		}
		if err := checkIdentifier(name[0], name[1]); err != nil {
			return err
		}
	}
	if (p.Amount == "") != (p.Currency == "") {
		return fmt.Errorf("amount and currency belong together")
	}
	_, err := flagValue(p.On, true)
	if err == nil {
		_, err = flagValue(p.Off, false)
	}
	return err
}

// flagValue reads a flag's value: a JSON scalar.
func flagValue(raw json.RawMessage, otherwise any) (any, error) {
	if len(raw) == 0 {
		return otherwise, nil
	}
	v, err := decodeJSON(raw)
	if err != nil {
		return nil, fmt.Errorf("read the flag's value: %w", err)
	}
	switch t := v.(type) {
	case nil, bool, string:
		return t, nil
	case json.Number:
		n, err := t.Int64()
		return n, err
	}
	return nil, fmt.Errorf("the flag's value %s is not a text, a whole number, true, false or null", raw)
}

// sameFlag compares flags as databases give them back: true may come as 1, "1" or "t".
func sameFlag(a, b any) bool {
	x, xok := flagText(a)
	y, yok := flagText(b)
	if xok != yok {
		return false
	}
	_, xbool := a.(bool)
	_, ybool := b.(bool)
	if xbool != ybool {
		p, perr := strconv.ParseBool(x)
		q, qerr := strconv.ParseBool(y)
		return perr == nil && qerr == nil && p == q
	}
	return x == y
}

// flagText prints a flag; false for null.
func flagText(v any) (string, bool) {
	switch t := v.(type) {
	case nil:
		return "", false
	case []byte:
		return string(t), true
	case float64: // from a before-image in JSON
		return strconv.FormatFloat(t, 'f', -1, 64), true
	}
	return fmt.Sprint(v), true
}

// sqlFlags are flags in a column.
type sqlFlags struct {
	env  *Env
	p    holdParams
	sql  sqlFlagParams
	most int64
}

func (f *sqlFlags) on() any  { v, _ := flagValue(f.sql.On, true); return v }   // checked when built
func (f *sqlFlags) off() any { v, _ := flagValue(f.sql.Off, false); return v } // checked when built

func (f *sqlFlags) find(ctx context.Context, held bool) ([]flagItem, error) {
	db, err := f.env.database(f.p.Integration, f.p.Endpoint)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: db.dialect != "sqlite"})
	if err != nil {
		return nil, fmt.Errorf("begin on %s: %s", db.target, plainError(err))
	}
	defer tx.Rollback() // it only reads
	keys := make([]any, len(f.p.Keys))
	for i, k := range f.p.Keys {
		keys[i] = k
	}
	if f.p.Query != "" {
		if keys, err = queryKeys(ctx, tx, f.p.Query); err != nil {
			return nil, err
		}
	}
	columns := db.quote(f.sql.Key) + ", " + db.quote(f.sql.Flag)
	if f.sql.Amount != "" {
		columns += ", " + db.quote(f.sql.Amount) + ", " + db.quote(f.sql.Currency)
	}
	base := fmt.Sprintf("SELECT %s FROM %s WHERE ", columns, db.quote(f.sql.Table))
	if len(keys) == 0 && f.p.Query == "" { // a release of what was held: everything with the flag on
		if !held {
			return nil, nil
		}
		items, err := f.scan(ctx, tx, base+db.quote(f.sql.Flag)+" = "+db.mark(1), []any{f.on()})
		return items, err
	}
	var items []flagItem
	for len(keys) > 0 {
		n := min(len(keys), 200)
		some, err := f.scan(ctx, tx, base+db.quote(f.sql.Key)+" IN ("+db.marks(1, n)+")", keys[:n])
		if err != nil {
			return nil, err
		}
		items, keys = append(items, some...), keys[n:]
	}
	return items, nil
}

// queryKeys runs the query that selects items; its column key, or its first one, is the key.
func queryKeys(ctx context.Context, tx *sql.Tx, query string) ([]any, error) {
	rows, err := readRows(ctx, tx, query, heldMax)
	if err != nil {
		return nil, err
	}
	keys := make([]any, 0, len(rows.values))
	column := max(0, rows.column("key"))
	for _, row := range rows.values {
		if row[column] != nil {
			keys = append(keys, row[column])
		}
	}
	return keys, nil
}

func (f *sqlFlags) scan(ctx context.Context, tx *sql.Tx, query string, args []any) ([]flagItem, error) {
	rows, err := readRows(ctx, tx, query, heldMax, args...)
	if err != nil {
		return nil, err
	}
	items := make([]flagItem, 0, len(rows.values))
	for _, row := range rows.values {
		key, _ := flagText(row[0])
		item := flagItem{Key: key, Flag: row[1]}
		if f.sql.Amount != "" {
			item.Currency, _ = flagText(row[3])
			if item.Amount, err = wholeAmount(row[2]); err != nil {
				return nil, fmt.Errorf("amount of item %s: %w", key, err)
			}
		}
		items = append(items, item)
	}
	return items, nil
}

// set changes each row only where its flag still is what was seen, all in one transaction.
func (f *sqlFlags) set(ctx context.Context, items []flagItem, to func(flagItem) any) api.Outcome {
	db, err := f.env.database(f.p.Integration, f.p.Endpoint)
	if err != nil {
		return failed("%s; nothing was changed", err)
	}
	defer db.Close()
	c := db.change(ctx, f.most, func(tx *sql.Tx) (int64, error) {
		var total int64
		for _, item := range items {
			update := fmt.Sprintf("UPDATE %s SET %s = %s WHERE %s = %s AND %s ", db.quote(f.sql.Table), db.quote(f.sql.Flag), db.mark(1), db.quote(f.sql.Key), db.mark(2), db.quote(f.sql.Flag))
			args := []any{sqlFlag(to(item)), item.Key}
			if item.Flag == nil {
				update += "IS NULL"
			} else {
				update += "= " + db.mark(3)
				args = append(args, sqlFlag(item.Flag))
			}
			res, err := tx.ExecContext(ctx, update, args...)
			if err != nil {
				return 0, err
			}
			n, err := res.RowsAffected()
			if err != nil {
				return 0, err
			}
			if n > 1 {
				return 0, fmt.Errorf("%w: column %s is not unique, key %s has %d rows", errRowCap, f.sql.Key, item.Key, n)
			}
			total += n
		}
		return total, nil
	})
	out := c.outcome()
	if c.err == nil {
		out.Items = c.rows
	}
	return out
}

// sqlFlag makes a value of a before-image fit for a statement: JSON knows only one kind of number.
func sqlFlag(v any) any {
	if f, ok := v.(float64); ok && f == float64(int64(f)) {
		return int64(f)
	}
	return v
}
