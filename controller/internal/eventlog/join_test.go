package eventlog

import (
	"strings"
	"testing"
)

func TestJoinAndSplit(t *testing.T) {
	read := func(text string) *Log {
		t.Helper()
		l, _, err := Read(strings.NewReader("case,activity,resource,start,end\n"+text), Options{})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	a := read("1,book,ann,2026-01-05T09:00:00Z,2026-01-05T09:10:00Z\n1,ship,ben,2026-01-05T10:00:00Z,2026-01-05T10:10:00Z\n")
	b := read("2,ship,,2026-01-04T09:00:00Z,2026-01-04T09:10:00Z\n2,book,ben,2026-01-06T09:00:00Z,2026-01-06T09:10:00Z\n")
	l := Join(a, b)
	if len(l.Cases) != 2 || l.Cases[0].ID != "2" || strings.Join(l.Activities, " ") != "book ship" || strings.Join(l.Resources, " ") != "ann ben" {
		t.Fatalf("%+v", l)
	}
	if e := l.Cases[0].Events[0]; l.Activities[e.Activity] != "ship" || e.Resource != None {
		t.Errorf("the first event is %+v", e)
	}
	if e := l.Cases[0].Events[1]; l.Activities[e.Activity] != "book" || l.Resources[e.Resource] != "ben" {
		t.Errorf("the second event is %+v", e)
	}
	for _, share := range []float64{0, 0.5, 0.99, 1} {
		if x, y := l.Split(share); len(x.Cases) != 1 || len(y.Cases) != 1 || x.Cases[0].ID != "2" {
			t.Errorf("split at %g: %d and %d cases", share, len(x.Cases), len(y.Cases))
		}
	}
	if x, y := a.Split(0.8); len(x.Cases) != 1 || len(y.Cases) != 0 {
		t.Errorf("one case is parted into %d and %d", len(x.Cases), len(y.Cases))
	}
}
