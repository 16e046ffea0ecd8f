package detect

import (
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/backstay/backstay/api"
)

// told is one thing that a proof is told: a run of a probe, or an anomaly that opened or cleared.
type told struct {
	at    float64 // seconds after the start
	probe string
	what  string // ok, bad, unknown, opened, cleared
}

func feed(p *Proof, x told) {
	at := t0.Add(time.Duration(x.at * float64(time.Second)))
	switch x.what {
	case "opened", "cleared":
		p.Anomaly(api.Anomaly{Name: x.probe + "/d", Probe: x.probe, At: at, Cleared: x.what == "cleared", Text: "at 812 items"})
	default:
		reason := ""
		if x.what == "bad" {
			reason = "connection refused"
		}
		p.Observe(&api.Observation{Probe: x.probe, At: at, Verdict: api.Verdict(x.what), Reason: reason})
	}
}

// prove plays a script and asks at each step and at each wake, as a shell does; it gives the result and when it was known.
func prove(t testing.TB, e api.Expectation, script []told) (api.Outcome, float64) {
	t.Helper()
	p := NewProof(e, t0)
	next := 0
	for now := t0; ; {
		out, decided, wake := p.Result(now)
		if decided {
			return out, now.Sub(t0).Seconds()
		}
		if !wake.After(now) {
			t.Fatalf("at %s asked to wake at %s", now.Sub(t0), wake.Sub(t0))
		}
		now = wake
		if next < len(script) {
			if at := t0.Add(time.Duration(script[next].at * float64(time.Second))); !at.After(wake) {
				now = at
				feed(p, script[next])
				next++
			}
		}
	}
}

func TestProof(t *testing.T) {
	three := api.Expectation{Probes: []string{"a"}, OK: 3, Within: time.Minute}
	hold := api.Expectation{Probes: []string{"a"}, OK: 2, Within: time.Minute, Hold: 30 * time.Second}
	two := api.Expectation{Probes: []string{"a", "b"}, OK: 2, Within: time.Minute}
	for _, x := range []struct {
		name   string
		want   api.Expectation
		script []told
		result api.Result
		at     float64
		text   string
	}{
		{"three good", three, []told{{1, "a", "ok"}, {2, "a", "ok"}, {3, "a", "ok"}}, "done", 3, "a answered well 3 times in a row"},
		{"a bad one starts again", three, []told{{1, "a", "ok"}, {2, "a", "ok"}, {3, "a", "bad"}, {4, "a", "ok"}, {5, "a", "ok"}, {6, "a", "ok"}}, "done", 6, "3 times"},
		{"unknown neither helps nor breaks", three, []told{{1, "a", "ok"}, {2, "a", "ok"}, {3, "a", "unknown"}, {4, "a", "ok"}}, "done", 4, "3 times"},
		{"runs from before do not count", three, []told{{-1, "a", "ok"}, {0, "a", "ok"}, {1, "a", "ok"}, {2, "a", "ok"}, {70, "a", "ok"}}, "failed", 60, "a had 2 good in a row, the last ok (wanted 3 good in a row)"},
		{"the same run twice counts once", three, []told{{1, "a", "ok"}, {1, "a", "ok"}, {1, "a", "ok"}}, "failed", 60, "a had 1 good"},
		{"other probes do not matter", three, []told{{1, "x", "bad"}, {1, "a", "ok"}, {2, "a", "ok"}, {3, "x", "opened"}, {3, "a", "ok"}}, "done", 3, ""},
		{"nothing ran", three, nil, "failed", 60, "not well within 1m: a did not run (wanted 3 good in a row)"},
		{"bad until the end", three, []told{{5, "a", "bad"}}, "failed", 60, "a had 0 good in a row, the last bad: connection refused"},
		{"both at once", two, []told{{1, "a", "ok"}, {2, "a", "ok"}, {3, "b", "ok"}, {4, "a", "bad"}, {5, "b", "ok"}, {6, "a", "ok"}, {7, "a", "ok"}}, "done", 7, "a, b answered"},
		{"one of two", two, []told{{1, "a", "ok"}, {2, "a", "ok"}, {3, "b", "ok"}}, "failed", 60, "b had 1 good"},
		{"hold", hold, []told{{1, "a", "ok"}, {2, "a", "ok"}, {15, "a", "ok"}}, "done", 32, "a answered well 2 times in a row and stayed well for 30s"},
		{"a bad run breaks the hold, and there is time for another", hold, []told{{1, "a", "ok"}, {2, "a", "ok"}, {10, "a", "bad"}, {20, "a", "ok"}, {30, "a", "ok"}, {40, "a", "ok"}}, "done", 60, "stayed well"},
		{"and when there is none", hold, []told{{50, "a", "ok"}, {55, "a", "ok"}, {65, "a", "bad"}}, "failed", 65, "a was bad again during the hold: connection refused"},
		{"an anomaly breaks it", hold, []told{{50, "a", "ok"}, {55, "a", "ok"}, {65, "a", "opened"}}, "failed", 65, "a/d opened during the hold: at 812 items"},
		{"no hold before an open anomaly clears", hold, []told{{0, "a", "opened"}, {1, "a", "ok"}, {2, "a", "ok"}, {20, "a", "cleared"}, {30, "a", "ok"}}, "done", 50, "stayed well"},
		{"it never clears", hold, []told{{0, "a", "opened"}, {1, "a", "ok"}, {2, "a", "ok"}}, "failed", 60, "still open: a/d"},
		{"silence passes no hold", hold, []told{{1, "a", "ok"}, {2, "a", "ok"}}, "failed", 92, "the hold could not be shown"},
		{"a good run after the hold's time will do", hold, []told{{1, "a", "ok"}, {2, "a", "ok"}, {40, "a", "ok"}}, "done", 40, "stayed well"},
		{"the last run must be good", hold, []told{{1, "a", "ok"}, {2, "a", "ok"}, {10, "a", "ok"}, {30, "a", "unknown"}, {45, "a", "ok"}}, "done", 45, "stayed well"},
		{"unknown to the end", hold, []told{{1, "a", "ok"}, {2, "a", "ok"}, {10, "a", "ok"}, {30, "a", "unknown"}, {91, "a", "unknown"}}, "failed", 92, "the hold could not be shown"},
		{"a bad run just after the hold is too late to break it", hold, []told{{1, "a", "ok"}, {2, "a", "ok"}, {31, "a", "ok"}, {32.5, "a", "bad"}}, "done", 32, "stayed well"},
		{"no probe", api.Expectation{OK: 1, Within: time.Minute}, nil, "failed", 0, "names no probe"},
		{"zero good means one", api.Expectation{Probes: []string{"a", "a"}}, []told{{100, "a", "ok"}}, "done", 100, "a answered well once"},
	} {
		t.Run(x.name, func(t *testing.T) {
			out, at := prove(t, x.want, x.script)
			if out.Result != x.result || at != x.at || !strings.Contains(out.Text, x.text) {
				t.Errorf("%s at %vs: %s; want %s at %vs: %s", out.Result, at, out.Text, x.result, x.at, x.text)
			}
			if len(x.want.Probes) > 0 && len(out.Facts) < 2 {
				t.Errorf("facts %v say nothing of the probes", out.Facts)
			}
		})
	}
}

// TestProofOfValues: a good run counts only where its value is the expected one too, and the last value is told on request.
func TestProofOfValues(t *testing.T) {
	number := func(v float64) *float64 { return &v }
	type seen struct {
		verdict api.Verdict
		value   float64
	}
	for _, x := range []struct {
		name   string
		want   api.Expectation
		runs   []seen
		result api.Result
		text   string
	}{
		{"it runs dry", api.Expectation{Equals: number(0)}, []seen{{api.OK, 3}, {api.OK, 1}, {api.OK, 0}}, "done", "answered well once"},
		{"it does not", api.Expectation{Equals: number(0)}, []seen{{api.OK, 3}, {api.OK, 1}}, "failed", "its value is 1, not 0"},
		{"a refused connection is no empty queue", api.Expectation{Equals: number(0)}, []seen{{api.Bad, 0}, {api.Unknown, 0}}, "failed", "0 good in a row"},
		{"no number", api.Expectation{Equals: number(0)}, []seen{{api.OK, math.NaN()}}, "failed", "not 0"},
		{"below", api.Expectation{Below: number(5)}, []seen{{api.OK, 5}, {api.OK, 4.5}}, "done", ""},
		{"above", api.Expectation{Above: number(5)}, []seen{{api.OK, 5}}, "failed", "its value is 5, not above 5"},
		{"between", api.Expectation{Above: number(1), Below: number(2)}, []seen{{api.OK, 1}, {api.OK, 2}, {api.OK, 1.5}}, "done", ""},
		{"twice in a row", api.Expectation{Equals: number(0), OK: 2}, []seen{{api.OK, 0}, {api.OK, 1}, {api.OK, 0}}, "failed", "1 good in a row"},
	} {
		t.Run(x.name, func(t *testing.T) {
			x.want.Probes, x.want.Within, x.want.Values = []string{"a"}, time.Minute, true
			p := NewProof(x.want, t0)
			for i, s := range x.runs {
				p.Observe(&api.Observation{Probe: "a", At: t0.Add(time.Duration(i+1) * time.Second), Verdict: s.verdict, Value: s.value})
			}
			out, decided, _ := p.Result(t0.Add(time.Minute))
			if !decided || out.Result != x.result || !strings.Contains(out.Text, x.text) {
				t.Errorf("%v %s: %s; want %s: %s", decided, out.Result, out.Text, x.result, x.text)
			}
			told := slices.ContainsFunc(out.Facts, func(f api.Fact) bool {
				return f.Name == api.ValueFact("a") && f.Value == strconv.FormatFloat(x.runs[len(x.runs)-1].value, 'g', -1, 64)
			})
			if x.result == api.ResultDone && !told {
				t.Errorf("the last value is not told: %v", out.Facts)
			}
		})
	}
}

// TestProofNeedsGoodRuns draws scripts: what is done was shown, and asking at other times changes nothing.
func TestProofNeedsGoodRuns(t *testing.T) {
	done := 0
	rapid.Check(t, func(rt *rapid.T) {
		e := api.Expectation{Probes: []string{"a", "b"}[:rapid.IntRange(1, 2).Draw(rt, "probes")], OK: rapid.IntRange(1, 3).Draw(rt, "ok"),
			Within: time.Minute, Hold: time.Duration(rapid.IntRange(0, 40).Draw(rt, "hold")) * time.Second}
		var script []told
		at := 0.0
		for range rapid.IntRange(0, 40).Draw(rt, "runs") {
			at += float64(rapid.IntRange(1, 10).Draw(rt, "step"))
			script = append(script, told{at, rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "probe"),
				rapid.SampledFrom([]string{"ok", "ok", "ok", "ok", "ok", "bad", "unknown", "opened", "cleared"}).Draw(rt, "what")})
		}
		out, when := prove(t, e, script)
		quiet := NewProof(e, t0) // asked only once, at the end
		for _, x := range script {
			feed(quiet, x)
		}
		late, decided, _ := quiet.Result(t0.Add(time.Hour))
		if !decided || !reflect.DeepEqual(out, late) {
			rt.Fatalf("asked at each step %+v, asked late %+v", out, late)
		}
		if out.Result != api.ResultDone {
			return
		}
		done++
		if !slices.ContainsFunc(script, func(x told) bool { return shown(e, script, x.at, when) }) {
			rt.Fatalf("done at %vs, but no moment of %v begins a hold that was shown", when, script)
		}
	})
	if done == 0 {
		t.Error("no script was proved: the property says nothing")
	}
}

// shown tells from the script alone whether a hold from one time to another was shown: enough good runs in a row on each probe
// before it; a good one, none bad, and a good last one inside it.
func shown(e api.Expectation, script []told, from, to float64) bool {
	if to-from < e.Hold.Seconds() {
		return false
	}
	for _, name := range e.Probes {
		before, inside, last := 0, 0, ""
		for _, x := range script {
			switch {
			case x.probe != name || x.at > to || x.at == to && x.what != "ok": // a hold ends just before its end
			case x.what == "ok" && x.at <= from:
				before, last = before+1, "ok"
			case x.what == "ok":
				inside, last = inside+1, "ok"
			case x.what == "bad" && x.at <= from:
				before = 0
			case x.what == "bad" || x.what == "opened" && x.at > from && e.Hold > 0:
				return false
			case x.what == "unknown":
				last = "unknown"
			}
		}
		if before < e.OK || e.Hold > 0 && (inside == 0 || last != "ok") {
			return false
		}
	}
	return true
}
