package eventlog

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

// checkLog holds what is true of every log that was read.
func checkLog(t testing.TB, l *Log, report Report) {
	t.Helper()
	if report.Rows != report.Events+report.Paired+report.Lost() {
		t.Errorf("rows do not add up: %+v", report)
	}
	if l.Events() != report.Events {
		t.Errorf("%d events, the report says %d", l.Events(), report.Events)
	}
	var before int64 = -1 << 63
	for _, c := range l.Cases {
		if len(c.Events) == 0 || c.ID == "" || c.Start() < before {
			t.Fatalf("case %q: %d events, arrives %d after %d", c.ID, len(c.Events), c.Start(), before)
		}
		before = c.Start()
		for i, e := range c.Events {
			if e.End < e.Start || (i > 0 && e.Start < c.Events[i-1].Start) {
				t.Fatalf("case %q: event %d is out of order", c.ID, i)
			}
			if int(e.Activity) >= len(l.Activities) || e.Activity < 0 || int(e.Resource) >= len(l.Resources) || e.Resource < None {
				t.Fatalf("case %q: event %d has activity %d, resource %d", c.ID, i, e.Activity, e.Resource)
			}
		}
	}
}

// text shows a log in words, one event a line.
func text(l *Log) string {
	var b strings.Builder
	for _, c := range l.Cases {
		for _, e := range c.Events {
			who := "-"
			if e.Resource != None {
				who = l.Resources[e.Resource]
			}
			show := func(at int64) string { return time.UnixMicro(at).UTC().Format("2006-01-02T15:04:05.999999") }
			fmt.Fprintf(&b, "%s|%s|%s|%s|%s\n", c.ID, l.Activities[e.Activity], who, show(e.Start), show(e.End))
		}
	}
	return b.String()
}

func lines(s ...string) string { return strings.Join(s, "\n") + "\n" }

func TestReadXES(t *testing.T) {
	l := readFile(t, "lifecycle.xes")
	want := lines(
		"trace 2|call|-|2024-01-01T07:00:00|2024-01-01T07:10:00",
		`order 1|pack & ship|the "night" shift > day|2024-01-01T09:00:00|2024-01-01T10:30:00`,
		"order 1|pack & ship|-|2024-01-01T10:00:00|2024-01-01T11:00:00",
	)
	if got := text(l); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestReportOfXES(t *testing.T) {
	var doc bytes.Buffer
	doc.WriteString("<log>\n<event/><list><trace><event></event></trace></list>\n<trace><string key='concept:name' value='1'/>\n")
	for _, at := range []string{"2024-01-01T10:00:00Z", "2024-01-01T09:00:00Z", "2024-13-01T09:00:00Z"} {
		fmt.Fprintf(&doc, "<event><string key='concept:name' value='a'/><date key='time:timestamp' value='%s'/></event>\n", at)
	}
	doc.WriteString("<event><string key='concept:name' value='\xff'/></event>\n<event><string key='concept:name' value='&who;'/></event>\n</trace><trace></trace></log>")
	l, report, err := Read(&doc, Options{})
	if err != nil {
		t.Fatal(err)
	}
	checkLog(t, l, report)
	want := Report{Format: "xes", Rows: 7, Events: 2, Disordered: 1, EmptyTraces: 1, Skipped: []Skip{
		{"it stands outside any trace", 2, []int{2, 2}},
		{"its time:timestamp is no time", 1, []int{6}},
		{"it is not UTF-8, or names a character that XML does not know", 2, []int{7, 8}},
	}}
	if !reflect.DeepEqual(report, want) {
		t.Errorf("got  %+v\nwant %+v", report, want)
	}
}

func TestReadCSV(t *testing.T) {
	for _, tt := range []struct {
		name, in, want string
		opts           Options
		report         Report
	}{
		{
			name: "of pm4py, with starts and completions as rows",
			in: lines("case:concept:name,concept:name,org:resource,time:timestamp,lifecycle:transition",
				"1,a,ann,2024-01-01 10:00:00+00:00,start", "1,a,ann,2024-01-01 10:30:00+00:00,complete",
				"1,b,,2024-01-01 11:00:00+00:00,complete", "1,c,bob,2024-01-01 12:00:00+00:00,start", "1,c,bob,2024-01-01 12:00:00+00:00,suspend"),
			want: lines("1|a|ann|2024-01-01T10:00:00|2024-01-01T10:30:00", "1|b|-|2024-01-01T11:00:00|2024-01-01T11:00:00"),
			report: Report{Format: "csv", Columns: Columns{"case:concept:name", "concept:name", "org:resource", "", "time:timestamp", "lifecycle:transition"},
				Rows: 5, Events: 2, Paired: 1, Skipped: []Skip{{"its transition is neither start nor complete", 1, []int{6}}, {"started and never completed", 1, []int{5}}}},
		},
		{
			name: "rows that cannot be used",
			in: lines("CaseID;activity_name;start;end;note", "1;a;2024-01-01T10:00:00Z;2024-01-01T09:00:00Z;", "1;a;2024-01-01T10:00:00Z;later;",
				"1;a;;2024-01-01T09:00:00Z;", "1;a", `1;a"b;2024-01-01T10:00:00Z;2024-01-01T10:00:00Z;`, "1;a;2024-01-01T10:00:00Z;2024-01-01T10:00:00Z;caf\xe9",
				";a;2024-01-01T10:00:00Z;2024-01-01T10:00:00Z;", "", `"1";"a;""b""";2024-01-01T10:00:00Z;2024-01-01T10:00:00.5Z;"two`, `lines"`,
				"1;;2024-01-01T10:00:00Z;2024-01-01T10:00:00Z;", "1;"+strings.Repeat("x", 513)+";2024-01-01T10:00:00Z;2024-01-01T10:00:00Z;"),
			want: lines(`1|a;"b"|-|2024-01-01T10:00:00|2024-01-01T10:00:00.5`),
			report: Report{Format: "csv", Columns: Columns{Case: "CaseID", Activity: "activity_name", Start: "start", End: "end"}, Rows: 10, Events: 1, Skipped: []Skip{
				{"it ends before it starts", 1, []int{2}}, {"its end is no time", 1, []int{3}}, {"its start is no time", 1, []int{4}},
				{"it has not as many fields as the header", 1, []int{5}}, {"a quote in it is out of place", 1, []int{6}}, {"it is not UTF-8", 1, []int{7}},
				{"no case", 1, []int{8}}, {"no activity", 1, []int{12}}, {"a name longer than 512 bytes", 1, []int{13}}}},
		},
		{
			name:   "columns, layout and zone from options; out of order",
			opts:   Options{Columns: Columns{Case: "Vorgang", Activity: "Schritt", End: "Zeit"}, Comma: '|', TimeLayout: "02.01.2006 15:04", Zone: time.FixedZone("", 3600)},
			in:     lines("\xef\xbb\xbfVorgang|Schritt|Zeit", "1|b|02.01.2024 00:30", "1|a|01.01.2024 00:30", "0|a|01.01.2024 00:30"),
			want:   lines("1|a|-|2023-12-31T23:30:00|2023-12-31T23:30:00", "1|b|-|2024-01-01T23:30:00|2024-01-01T23:30:00", "0|a|-|2023-12-31T23:30:00|2023-12-31T23:30:00"),
			report: Report{Format: "csv", Columns: Columns{Case: "Vorgang", Activity: "Schritt", End: "Zeit"}, Rows: 3, Events: 3, Disordered: 1},
		},
		{
			name:   "the better of two names, tabs, no last line end",
			in:     "agent\tresource\ttask\tcase\ttimestamp\n7\tann\ta\t1\t2024-01-01",
			want:   lines("1|a|ann|2024-01-01T00:00:00|2024-01-01T00:00:00"),
			report: Report{Format: "csv", Columns: Columns{Case: "case", Activity: "task", Resource: "resource", End: "timestamp"}, Rows: 1, Events: 1},
		},
	} {
		for _, compressed := range []bool{false, true} {
			in := []byte(tt.in)
			if compressed {
				in = zipped(t, in)
			}
			l, report, err := Read(bytes.NewReader(in), tt.opts)
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			checkLog(t, l, report)
			if got := text(l); got != tt.want {
				t.Errorf("%s: got\n%swant\n%s", tt.name, got, tt.want)
			}
			if !reflect.DeepEqual(report, tt.report) {
				t.Errorf("%s: report\n%+v\nwant\n%+v", tt.name, report, tt.report)
			}
		}
	}
}

func zipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestReadErrors(t *testing.T) {
	csv := lines("case,activity,time", "1,a,2024-01-01") + strings.Repeat("1,a,2024-01-01 10:00\n", 5000)
	whole, damaged := zipped(t, []byte(csv)), zipped(t, []byte(csv))
	damaged[len(damaged)-6] ^= 1 // in the checksum
	event := "<event><string key='concept:name' value='a'/><date key='time:timestamp' value='2024-01-01'/></event>"
	for _, tt := range []struct{ name, in, want string }{
		{"missing columns", "id,what,when\n1,2,3\n", `x:1: no column for case (such as case_id or case:concept:name), activity (such as activity or concept:name), start or end time (such as start_time, end_time or time:timestamp) among ["id" "what" "when"]: rename`},
		{"empty", "", "x:1: the file is empty"},
		{"blank", "\n \n", "x:3: the file holds nothing but spaces"},
		{"header alone", "case,activity,time\n", "x: none of its 0 rows could be used: give a log with at least one event"},
		{"nothing usable", "case,activity,time\n1,a,never\n", "x: none of its 1 rows could be used: line 2: its end is no time"},
		{"UTF-16", "\xff\xfec\x00", "x:1: this is UTF-16"},
		{"header not UTF-8", "case,activit\xe9\n", "x:1: the header is not UTF-8"},
		{"open quote", "case,activity,time\n1,a,2024-01-01\n\"1,a,2024-01-01\n1,a,2024-01-01\n", "x:3: a quote that opens in this row is not properly closed by line 4"},
		{"open quote, long", "case,activity,time\n\"" + strings.Repeat("1,a,2024-01-01\n", 1<<17), "x:2: the row that begins here or soon after is longer than 1 MiB"},
		{"too many", csv, "x:1002: the log has more than 1000 events, the cap"},
		{"truncated gzip", string(whole[:len(whole)/2]), "the file ends too early: fetch it again"},
		{"gzip without a body", string(whole[:12]), "x:1: the file ends too early"},
		{"damaged gzip", string(damaged), "x:5003: the compressed data are damaged"},
		{"truncated XML", "<log>\n<trace>\n<event>\n<string key='a", "x:4: the file ends too early"},
		{"truncated comment", "<log>\n<!-- <trace>\n", "x:3: the file ends too early"},
		{"other XML", "<?xml version='1.0'?>\n<html></html>", "x:2: the file begins with <html> and not with <log>"},
		{"crossed tags", "<log>\n<trace></log></trace>", "x:2: </log> closes <trace>"},
		{"encoding", "<?xml version='1.0' encoding='ISO-8859-1'?>\n<log/>", `x:1: the encoding is "ISO-8859-1": convert`},
		{"DOCTYPE", "<!DOCTYPE log [<!ENTITY a 'b'>]>\n<log/>", "x:1: a DOCTYPE has no place in XES"},
		{"no tag", "<log>< >", "x:1: < > is no tag"},
		{"deep", "<log>" + strings.Repeat("<list>", 100), "x:1: elements nest deeper than 64"},
		{"long tag", "<log><event a='" + strings.Repeat("x", 1<<20+1), "longer than 1 MiB"},
		{"two logs", "<log></log>\n<!-- -->\n<log></log>", "x:3: a tag follows the end of the log"},
		{"text at the end", "<log></log>\nlog", `x:2: "log" follows the end of the log`},
		{"no events", "<log><trace></trace></log>", "x: none of its 0 rows could be used"},
		{"too many in XES", "<log><trace>\n" + strings.Repeat(event+"\n", 1001), "x:1002: the log has more than 1000 events"},
	} {
		opts := Options{Name: "x"}
		if strings.HasPrefix(tt.name, "too many") {
			opts.EventsMax = 1000
		}
		_, _, err := Read(strings.NewReader(tt.in), opts)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "x:") {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
}

// TestAskedColumn names a column that is not there.
func TestAskedColumn(t *testing.T) {
	_, _, err := Read(strings.NewReader("case,activity,time\n"), Options{Columns: Columns{Activity: "step"}})
	if want := `log:1: no column for activity ("step" was asked for) among ["case" "activity" "time"]`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// endless is a file without an end.
type endless struct{ head, row string }

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.head)
	e.head = e.head[n:]
	for n < len(p) && e.head == "" {
		k := copy(p[n:], e.row)
		n += k
		e.head = e.row[k:]
	}
	return n, nil
}

// TestReadStreams: a file without an end is refused at the cap, so nothing waits for the end of a file.
func TestReadStreams(t *testing.T) {
	for _, in := range []io.Reader{
		&endless{"case,activity,time\n", "1,a,2024-01-01\n"},
		&endless{"<log><trace>", "<event><string key='concept:name' value='a'/><date key='time:timestamp' value='2024-01-01'/></event>"},
	} {
		if _, _, err := Read(in, Options{EventsMax: 20_000}); err == nil || !strings.Contains(err.Error(), "more than 20000 events") {
			t.Errorf("got %v", err)
		}
	}
}
