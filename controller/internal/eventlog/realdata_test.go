package eventlog

import (
	"bytes"
	"compress/gzip"
	"encoding/xml"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// realData finds the folder of real event logs, shared/data/eventlogs beside the repository's. The logs are other people's and no part of the
// repository, so their absence is said and never an error.
func realData(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
	}
	logs := filepath.Join(filepath.Dir(dir), "shared", "data", "eventlogs")
	if _, err := os.Stat(logs); err != nil {
		t.Skipf("NOT TESTED on real event logs: there is no folder %s", logs)
	}
	return logs
}

func realBytes(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(realData(t), name))
	if err != nil {
		t.Skipf("NOT TESTED on %s: %v", name, err)
	}
	return b
}

func readReal(t testing.TB, name string) (*Log, Report) {
	t.Helper()
	l, report, err := Read(bytes.NewReader(realBytes(t, name)), Options{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	checkLog(t, l, report)
	return l, report
}

// TestRealLogs counts what is in logs that nobody here made. A row is an event of the file; a start and its completion make one event of two rows.
func TestRealLogs(t *testing.T) {
	for _, tt := range []struct {
		name                                           string
		cases, rows, paired, disordered, activities, r int
	}{
		{"agentsim_LoanApp_train.csv.gz", 797, 5976, 0, 0, 12, 19},
		{"agentsim_LoanApp_test.csv.gz", 200, 1490, 0, 0, 12, 19},
		{"bpic2012_W_train.csv.gz", 3030, 16338, 0, 0, 6, 47},
		{"bpic2012_W_test.csv.gz", 2976, 18568, 0, 0, 6, 53},
		{"synthetic_p2p.csv.gz", 1000, 13290, 0, 0, 24, 21},
		{"synthetic_insurance_claims.csv.gz", 1000, 5443, 0, 0, 7, 130},
		{"synthetic_loan_application.csv.gz", 1000, 11805, 0, 1869, 17, 47}, // in the order of completion
		{"bpic2020_PermitLog.xes.gz", 6426, 81092, 0, 0, 49, 2},
		{"bpic2020_DomesticDeclarations.xes.gz", 10357, 55628, 0, 0, 14, 2},
		{"helpdesk.xes.gz", 4580, 21348, 0, 0, 14, 22},
		{"teleclaims.xes.gz", 3512, 46138, 21313, 0, 11, 4}, // every start has its completion
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, r := readReal(t, tt.name)
			if len(l.Cases) != tt.cases || r.Rows != tt.rows || r.Paired != tt.paired || r.Disordered != tt.disordered || r.Lost() != 0 {
				t.Errorf("%d cases, report %+v; want %+v", len(l.Cases), r, tt)
			}
			if len(l.Activities) != tt.activities || len(l.Resources) != tt.r {
				t.Errorf("%d activities and %d resources, want %d and %d", len(l.Activities), len(l.Resources), tt.activities, tt.r)
			}
		})
	}
}

// TestRealXESAgainstLibrary reads the same files with encoding/xml and time.Parse, and finds the same names and times.
func TestRealXESAgainstLibrary(t *testing.T) {
	for _, name := range []string{"helpdesk.xes.gz", "teleclaims.xes.gz"} {
		compressed := realBytes(t, name)
		l, _ := readReal(t, name)
		var got, want int64
		count := map[string]int{}
		for _, c := range l.Cases {
			for _, e := range c.Events {
				got += e.End
				if e.Start != e.End {
					got += e.Start
				}
				count[c.ID+"/"+l.Activities[e.Activity]]++
			}
		}
		var file struct {
			Traces []struct {
				Strings []attribute `xml:"string"`
				Events  []struct {
					Strings []attribute `xml:"string"`
					Dates   []attribute `xml:"date"`
				} `xml:"event"`
			} `xml:"trace"`
		}
		z, err := gzip.NewReader(bytes.NewReader(compressed))
		if err != nil {
			t.Fatal(err)
		}
		if err := xml.NewDecoder(z).Decode(&file); err != nil {
			t.Fatal(err)
		}
		starts := map[string]int64{} // of activities whose completion comes at the same instant: those count once
		for _, c := range file.Traces {
			id := valueOf(c.Strings, "concept:name")
			for _, e := range c.Events {
				at, err := time.Parse(time.RFC3339, valueOf(e.Dates, "time:timestamp"))
				if err != nil {
					t.Fatal(err)
				}
				key := id + "/" + valueOf(e.Strings, "concept:name")
				want += at.UnixMicro()
				if valueOf(e.Strings, "lifecycle:transition") == "start" {
					starts[key] = at.UnixMicro()
					continue
				}
				if s, found := starts[key]; found && s == at.UnixMicro() {
					want -= s
				}
				delete(starts, key)
				count[key]--
			}
		}
		if got != want {
			t.Errorf("%s: the times add up to %d, with the library to %d", name, got, want)
		}
		for key, n := range count {
			if n != 0 {
				t.Errorf("%s: %s: %d events too many", name, key, n)
			}
		}
	}
}

type attribute struct {
	Key   string `xml:"key,attr"`
	Value string `xml:"value,attr"`
}

func valueOf(list []attribute, key string) string {
	for _, a := range list {
		if a.Key == key {
			return a.Value
		}
	}
	return ""
}

// TestPublishedDistances compares with figures that a second program found: the published definitions written down step by step in Python, with
// exact fractions, datetime.fromisoformat for times, and the area between two distribution functions summed over every distinct hour.
func TestPublishedDistances(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want Distances
	}{
		{"agentsim_LoanApp_train.csv.gz", "agentsim_LoanApp_test.csv.gz",
			Distances{0.600422833, 1053.241170723, 0.156935903, 0.650364433, 1.070138018, 1051.924592221}},
		{"bpic2012_W_train.csv.gz", "bpic2012_W_test.csv.gz",
			Distances{0.075365531, 2038.451646590, 0.880911034, 9.740357333, 27.985019429, 1983.305251916}},
		{"synthetic_p2p.csv.gz", "synthetic_insurance_claims.csv.gz",
			Distances{1, 1027.209861190, 13.309214845, 29.516403311, 42.299, 1018.096}},
	} {
		a, _ := readReal(t, tt.a)
		b, _ := readReal(t, tt.b)
		got, err := Compare(a, b)
		if err != nil {
			t.Fatal(err)
		}
		for i, d := range got.list() {
			if want := tt.want.list()[i]; math.Abs(d-want) > 1e-8*math.Max(1, want) {
				t.Errorf("%s and %s: distance %d is %.9f, want %.9f", tt.a, tt.b, i, d, want)
			}
		}
	}
}

// TestRealFloor: what resampling the past gives on logs whose published figures are known.
func TestRealFloor(t *testing.T) {
	for _, name := range []string{"agentsim_LoanApp", "bpic2012_W"} {
		train, _ := readReal(t, name+"_train.csv.gz")
		test, _ := readReal(t, name+"_test.csv.gz")
		floor, err := Floor(train, test, 20, 1)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %+v", name, floor)
		apart, err := Compare(train, test)
		if err != nil {
			t.Fatal(err)
		}
		if floor.Absolute > apart.Absolute/10 || floor.Arrival > apart.Arrival/10 {
			t.Errorf("%s: the past was not moved to the test's period: %+v", name, floor)
		}
	}
}

func BenchmarkReadCSV(b *testing.B) { benchmarkRead(b, "bpic2012_W_test.csv.gz") }

func BenchmarkReadXES(b *testing.B) { benchmarkRead(b, "bpic2020_PermitLog.xes.gz") }

// benchmarkRead counts the bytes of the file as it is when decompressed, and leaves the decompression out.
func benchmarkRead(b *testing.B, name string) {
	z, err := gzip.NewReader(bytes.NewReader(realBytes(b, name)))
	if err != nil {
		b.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Read(bytes.NewReader(text), Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompare(b *testing.B) {
	train, _ := readReal(b, "bpic2012_W_train.csv.gz")
	test, _ := readReal(b, "bpic2012_W_test.csv.gz")
	for b.Loop() {
		if _, err := Compare(train, test); err != nil {
			b.Fatal(err)
		}
	}
}
