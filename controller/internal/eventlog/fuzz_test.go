package eventlog

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"
)

func FuzzCSV(f *testing.F) {
	for _, name := range []string{"monday.csv", "twodays.csv"} {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(zipped(f, b))
	}
	f.Add([]byte("case,activity,time,lifecycle\n1,a,2024-01-01,start\n1,a,2024-01-02,complete\n1,a,2024-01-02,complete\n\"1\n\",a,2024-01-01,start\n"))
	f.Fuzz(checkRead)
}

func FuzzXES(f *testing.F) {
	b, err := os.ReadFile("testdata/lifecycle.xes")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(zipped(f, b))
	f.Add([]byte("<log><!----><![CDATA[ ]]]]>]]><trace><event><a key = 'time:timestamp'\nvalue=\"2024-01-01T00:00Z\"/><a key='concept:name' value='&#65;'/></event></trace></log>\n<!-- -->"))
	f.Fuzz(checkRead)
}

// checkRead holds what is true of every file: a log in order whose rows add up and which is at no distance from itself, or an error that names
// the file; and the same again the second time.
func checkRead(t *testing.T, b []byte) {
	opts := Options{Name: "x", EventsMax: 10_000}
	l, report, err := Read(bytes.NewReader(b), opts)
	if err != nil {
		if !strings.HasPrefix(err.Error(), "x:") {
			t.Errorf("an error that does not name the file: %v", err)
		}
		return
	}
	checkLog(t, l, report)
	if d, err := Compare(l, l); err != nil || d != (Distances{}) {
		t.Errorf("the log is %+v from itself: %v", d, err)
	}
	if _, err := Floor(l, l, 1, 1); err != nil && !strings.Contains(err.Error(), "too sparse") {
		t.Error(err)
	}
	again, _, err := Read(bytes.NewReader(b), opts)
	if err != nil || !reflect.DeepEqual(l, again) {
		t.Errorf("read again, it is another log: %v", err)
	}
}
