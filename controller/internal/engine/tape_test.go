package engine

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// tapeEvents are one of each kind.
func tapeEvents() []Event {
	at := t0.Add(123456789)
	a := api.Anomaly{Name: "p0/down", Probe: "p0", Key: "k", Opened: at, At: at, Value: 3, Text: "It is down."}
	return []Event{
		{At: at, Restarted: true},
		{At: at, Config: &Config{Digest: "sha256:abc"}},
		{At: at.Add(1), Tick: true},
		{At: at.Add(-time.Second), Refused: "no"},
		{At: at, Anomaly: &a},
		{At: at, Eyes: &Eyes{Probes: 100, Bad: 3, Unknown: 1}},
		{At: at, Verdict: &Verdict{Probe: "p0", Verdict: api.Unknown}},
		{At: at, Seen: "p0"},
		{At: at, Value: &Value{Probe: "p1", Value: -2.5}},
		{At: at, Value: &Value{Probe: "p1", Value: math.Inf(1)}},
		{At: at, Result: &Result{Command: "r/s/plan-1.1", Estimate: &api.Estimate{Text: "x", Items: 3, Before: json.RawMessage(`{"a":1}`)}, Outcome: api.Outcome{Result: api.ResultDone}}},
		{At: at, Decision: &api.Decision{Verb: api.VerbApprove, By: "ada", Target: "r"}},
		{At: at, Pause: &api.Pause{Owner: "ada", Reason: "r", At: at}},
		{At: at, Resume: &api.Pause{Owner: "ada"}},
		{At: at, Stopping: true},
	}
}

func TestTape(t *testing.T) {
	var tape Tape
	events := tapeEvents()
	for range 2 { // the second block knows no name of the first
		for i := range events {
			tape.Add(&events[i], i%3)
		}
		tape.Lost(t0.UnixNano(), 4)
		tape.Add(&Event{At: t0, Verdict: &Verdict{Probe: "p0", Verdict: "fine"}}, 0)
		tape.Add(&Event{At: t0, Result: &Result{Estimate: &api.Estimate{Before: json.RawMessage(`{`)}}}, 1)
		n := 0
		err := ReadTape(tape.Cut(nil), func(in *Input) bool {
			if n >= len(events) {
				if want := []int{4, 0, 1}[n-len(events)]; !in.Lost || in.Entries != want {
					t.Errorf("what cannot be kept came back as %+v", in)
				}
			} else if got, want := wiredEvent(t, in.Event), wiredEvent(t, events[n]); got != want || in.Entries != n%3 || in.Lost {
				t.Errorf("event %d came back as\n%s, want\n%s", n, got, want)
			}
			n++
			return true
		})
		if err != nil || n != len(events)+3 {
			t.Fatalf("%d events came back: %v", n, err)
		}
	}
	if err := ReadTape([]byte{tapeVersion + 1}, nil); err == nil {
		t.Error("a block of a newer version was read")
	}
}

func wiredEvent(t *testing.T, e Event) string {
	t.Helper()
	if e.Value != nil && math.IsInf(e.Value.Value, 1) { // JSON has no such number
		e.Value = &Value{Probe: e.Value.Probe, Value: 1e300}
	}
	if e.Config != nil {
		return e.At.String() + e.Config.Digest
	}
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What comes often must cost next to nothing: the loop that decides adds it.
func TestTapeAllocates(t *testing.T) {
	var tape Tape
	seen, value, tick := Event{At: t0, Seen: "p0"}, Event{At: t0, Value: &Value{Probe: "p0", Value: 7}}, Event{At: t0, Tick: true}
	buf := make([]byte, 0, 1<<20)
	tape.Cut(buf)
	tape.Add(&seen, 0)
	if n := testing.AllocsPerRun(1000, func() {
		tape.Add(&seen, 0)
		tape.Add(&value, 0)
		tape.Add(&tick, 2)
	}); n > 0 {
		t.Errorf("three events cost %v allocations", n)
	}
}

func BenchmarkTape(b *testing.B) {
	var tape Tape
	e := Event{At: t0, Seen: "gateway-07"}
	b.Run("seen", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			e.At = e.At.Add(time.Millisecond)
			if tape.Add(&e, 0); tape.Len() > 64<<10 {
				tape.Cut(tape.block)
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		tape.Cut(nil)
		for range 10_000 {
			e.At = e.At.Add(time.Millisecond)
			tape.Add(&e, 0)
		}
		block := tape.Cut(nil)
		for b.Loop() {
			if err := ReadTape(block, func(*Input) bool { return true }); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(block))/10_000, "B/event")
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000, "ns/event")
	})
}

func FuzzReadTape(f *testing.F) {
	var tape Tape
	for _, e := range tapeEvents() {
		tape.Add(&e, 1)
	}
	f.Add(tape.Cut(nil))
	f.Add([]byte{tapeVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again Tape
		var want []string
		err := ReadTape(b, func(in *Input) bool {
			if in.Lost {
				again.Lost(in.Event.At.UnixNano(), in.Entries)
				want = append(want, "lost")
				return true
			}
			if v := in.Event.Value; v != nil && (math.IsNaN(v.Value) || math.IsInf(v.Value, 0)) {
				v.Value = 0
			}
			if y := in.Event.At.Year(); y < 1678 || y > 2261 {
				return false
			}
			again.Add(&in.Event, in.Entries)
			want = append(want, "")
			return true
		})
		if err != nil || len(want) == 0 {
			return
		}
		n := 0
		if err := ReadTape(again.Cut(nil), func(*Input) bool { n++; return true }); err != nil || n != len(want) {
			t.Errorf("%d events came back as %d: %v", len(want), n, err)
		}
	})
}
