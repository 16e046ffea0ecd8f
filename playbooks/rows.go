package playbooks

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// table is what a query gave: text instead of bytes, and never more rows than allowed.
type table struct {
	columns []string
	values  [][]any
}

// column finds a column by name, without regard to case; -1 where there is none.
func (t table) column(name string) int {
	for i, c := range t.columns {
		if strings.EqualFold(c, name) {
			return i
		}
	}
	return -1
}

// readRows runs a query. More than most rows are an error: what was not read cannot be counted.
func readRows(ctx context.Context, tx *sql.Tx, query string, most int, args ...any) (table, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return table{}, fmt.Errorf("run the query: %w", redacted{err})
	}
	defer rows.Close()
	t := table{}
	if t.columns, err = rows.Columns(); err != nil {
		return table{}, fmt.Errorf("read the columns: %w", redacted{err})
	}
	for rows.Next() {
		if len(t.values) == most {
			return table{}, fmt.Errorf("the query gives more than %d rows; narrow it", most)
		}
		row, into := make([]any, len(t.columns)), make([]any, len(t.columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return table{}, fmt.Errorf("read a row: %w", redacted{err})
		}
		for i := range row {
			if b, ok := row[i].([]byte); ok {
				row[i] = string(b)
			}
		}
		t.values = append(t.values, row)
	}
	if err := rows.Err(); err != nil {
		return table{}, fmt.Errorf("read the rows: %w", redacted{err})
	}
	return t, nil
}

// wholeAmount reads an amount in minor units; a fraction is a mistake of the query and never rounded.
func wholeAmount(v any) (int64, error) {
	switch t := v.(type) {
	case nil:
		return 0, nil
	case int64:
		return t, nil
	case float64:
		if t == math.Trunc(t) && math.Abs(t) < 1<<53 {
			return int64(t), nil
		}
	}
	text := fmt.Sprint(v)
	if whole, zeros, found := strings.Cut(text, "."); found && strings.Trim(zeros, "0") == "" {
		text = whole
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%v is not a whole number of minor units", v)
	}
	return n, nil
}

// moment reads a time as databases and APIs give it: a time, unix seconds, or a text in UTC.
func moment(v any) (time.Time, bool) {
	switch t := v.(type) {
	case time.Time:
		return t, true
	case int64:
		return time.Unix(t, 0), true
	case float64:
		return time.UnixMilli(int64(t * 1000)), true
	}
	text := fmt.Sprint(v)
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		return time.UnixMilli(int64(seconds * 1000)), true
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999-07:00", "2006-01-02 15:04:05.999999999", time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}
