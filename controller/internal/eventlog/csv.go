package eventlog

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Columns names the column of a CSV file for each role.
type Columns struct {
	Case, Activity, Resource, Start, End, Transition string
}

// roles are the roles of columns, with the names that tools give them, best first, without case and punctuation (CaseID, case_id and
// "Case ID" are one). A log needs a case, an activity and at least one of the two times.
var roles = []struct {
	what  string
	known []string
	of    func(*Columns) *string
}{
	{"case", []string{"caseconceptname", "caseid", "case", "caseidentifier", "traceid", "trace", "processid", "processinstanceid"},
		func(c *Columns) *string { return &c.Case }},
	{"activity", []string{"conceptname", "activity", "activityname", "activityid", "task", "taskname", "eventname", "event"},
		func(c *Columns) *string { return &c.Activity }},
	{"resource", []string{"orgresource", "resource", "resourcename", "resourceid", "user", "userid", "agent", "performer", "originator"},
		func(c *Columns) *string { return &c.Resource }},
	{"start", []string{"starttimestamp", "starttime", "timestart", "start", "startdate", "startedat", "begin", "begintime"},
		func(c *Columns) *string { return &c.Start }},
	{"end", []string{"endtimestamp", "endtime", "timeend", "timetimestamp", "timestamp", "end", "enddate", "completetimestamp",
		"completetime", "completiontime", "completedat", "time"},
		func(c *Columns) *string { return &c.End }},
	{"transition", []string{"lifecycletransition", "lifecycle", "transition"},
		func(c *Columns) *string { return &c.Transition }},
}

// rowBytesMax bounds one row, so that a quote that is never closed does not take the rest of the file for one field.
const rowBytesMax = 1 << 20

// rowLimit hands on at most rowBytesMax bytes, and a little that is read ahead, until the next row begins.
type rowLimit struct {
	in   io.Reader
	left int
}

var errRowTooLong = errors.New("row too long")

func (l *rowLimit) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errRowTooLong
	}
	n, err := l.in.Read(p)
	l.left -= n
	return n, err
}

// places are the indexes of the roles' columns in a row, in the order of roles; -1 where there is none.
type places [6]int

func (r *reader) readCSV() error {
	r.out.Format = "csv"
	header, err := r.header()
	if err != nil {
		return err
	}
	at, err := r.findColumns(header)
	if err != nil {
		return err
	}
	limit := &rowLimit{in: r.in}
	rows := csv.NewReader(limit)
	rows.Comma, rows.ReuseRecord, rows.FieldsPerRecord = rune(r.opts.Comma), true, len(header)
	before, cases := r.line, names{}
	for {
		limit.left = rowBytesMax
		fields, err := rows.Read()
		if err == io.EOF {
			return nil
		}
		var bad *csv.ParseError
		if errors.As(err, &bad) {
			r.line = before + bad.StartLine
			if err := r.badRow(bad, before); err != nil {
				return err
			}
			continue
		}
		if errors.Is(err, errRowTooLong) {
			r.line++
			return r.fail("the row that begins here or soon after is longer than 1 MiB: close the quote in it")
		}
		if err != nil {
			r.line++
			return r.broken(err)
		}
		line, _ := rows.FieldPos(0)
		r.line = before + line
		if r.full() {
			return r.tooMany()
		}
		r.out.Rows++
		if reason := r.csvRow(fields, at, &cases); reason != "" {
			r.out.skip(reason, r.line)
		}
	}
}

// badRow counts a row that is no CSV, unless its end cannot be told.
func (r *reader) badRow(bad *csv.ParseError, before int) error {
	switch {
	case errors.Is(bad.Err, csv.ErrFieldCount):
		r.out.Rows++
		r.out.skip("it has not as many fields as the header", r.line)
		return nil
	case bad.Line > bad.StartLine:
		return r.fail("a quote that opens in this row is not properly closed by line %d: close it, or double the quotes within it", before+bad.Line)
	}
	r.out.Rows++
	r.out.skip("a quote in it is out of place", r.line)
	return nil
}

// header reads the first row, and finds the delimiter when it is not given.
func (r *reader) header() ([]string, error) {
	var line []byte
	for {
		part, err := r.in.ReadSlice('\n')
		line = append(line, part...)
		if err == nil || err == io.EOF {
			break
		}
		if err != bufio.ErrBufferFull {
			return nil, r.broken(err)
		}
		if len(line) > rowBytesMax {
			return nil, r.fail("the header is longer than 1 MiB: this is no CSV file")
		}
	}
	if !utf8.Valid(line) {
		return nil, r.fail("the header is not UTF-8: convert the file first, for example with iconv -f WINDOWS-1252 -t UTF-8")
	}
	if r.opts.Comma == 0 {
		r.opts.Comma = ','
		for _, c := range []byte(";\t") {
			if bytes.Count(line, []byte{c}) > bytes.Count(line, []byte{r.opts.Comma}) {
				r.opts.Comma = c
			}
		}
	}
	rows := csv.NewReader(bytes.NewReader(line))
	rows.Comma = rune(r.opts.Comma)
	header, err := rows.Read()
	if err != nil {
		return nil, r.fail("the header is no row of CSV: %w", err)
	}
	return header, nil
}

// findColumns finds each role's column in the header, by the name in the options or else by the names that tools use.
func (r *reader) findColumns(header []string) (at places, err error) {
	var missing []string
	for i, role := range roles {
		given := *role.of(&r.opts.Columns)
		at[i] = -1
		if given != "" {
			at[i] = slices.IndexFunc(header, func(h string) bool { return strings.TrimSpace(h) == given })
			if at[i] < 0 {
				missing = append(missing, fmt.Sprintf("%s (%q was asked for)", role.what, given))
			}
		} else {
			at[i] = firstKnown(header, role.known)
		}
		if at[i] >= 0 {
			*role.of(&r.out.Columns) = strings.TrimSpace(header[at[i]])
		}
	}
	for i := range 2 {
		if at[i] < 0 && *roles[i].of(&r.opts.Columns) == "" {
			missing = append(missing, fmt.Sprintf("%s (such as %s)", roles[i].what, examples[i]))
		}
	}
	if at[3] < 0 && at[4] < 0 && r.opts.Columns.Start == "" && r.opts.Columns.End == "" {
		missing = append(missing, "start or end time (such as "+examples[2]+")")
	}
	if len(missing) > 0 {
		return at, r.fail("no column for %s among %s: rename the columns or say which is which",
			strings.Join(missing, ", "), quoted(header))
	}
	return at, nil
}

var examples = [3]string{"case_id or case:concept:name", "activity or concept:name", "start_time, end_time or time:timestamp"}

// quoted shows at most twenty names of columns.
func quoted(header []string) string {
	shown, rest := header, ""
	if len(shown) > 20 {
		shown, rest = header[:20], fmt.Sprintf(" and %d more", len(header)-20)
	}
	return fmt.Sprintf("%q%s", shown, rest)
}

func firstKnown(header, known []string) int {
	for _, name := range known {
		if i := slices.IndexFunc(header, func(h string) bool { return plain(h) == name }); i >= 0 {
			return i
		}
	}
	return -1
}

// plain is a name of a column without case and punctuation.
func plain(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'A' && c <= 'Z':
			return c + 'a' - 'A'
		case (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'):
			return c
		}
		return -1
	}, name)
}

// csvRow takes one row, or says why it cannot.
func (r *reader) csvRow(fields []string, at places, cases *names) string {
	for _, f := range fields {
		if !utf8.ValidString(f) {
			return "it is not UTF-8"
		}
	}
	field := func(i int) []byte {
		if at[i] < 0 {
			return nil
		}
		return []byte(strings.TrimSpace(fields[at[i]]))
	}
	id := field(0)
	if len(id) == 0 {
		return "no case"
	}
	if len(id) > nameBytesMax {
		return "a name longer than 512 bytes"
	}
	in := row{activity: field(1), resource: field(2), line: r.line}
	start, end := field(3), field(4)
	if start == nil {
		start = end
	}
	if end == nil {
		end = start
	}
	var ok bool
	if in.end, ok = r.times.micros(end); !ok {
		return "its end is no time"
	}
	if in.start, ok = r.times.micros(start); !ok {
		return "its start is no time"
	}
	if at[3] < 0 || at[4] < 0 {
		in.transition = field(5) // the row tells one end of an event
	}
	if reason := r.unusable(in); reason != "" {
		return reason
	}
	known := len(cases.list)
	owner := cases.number(id)
	if len(cases.list) > known {
		r.newCase(cases.list[owner])
	}
	r.add(owner, in)
	return ""
}
