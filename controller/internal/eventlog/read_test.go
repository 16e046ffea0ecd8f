package eventlog

import "testing"

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

func (d Distances) list() []float64 {
	return []float64{d.NGram, d.Absolute, d.Circadian, d.Relative, d.CycleTime, d.Arrival}
}
