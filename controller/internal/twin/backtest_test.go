package twin

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

var pastStart = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// pastConfig has one integration, one probe and one playbook of two steps, as a test changes it.
func pastConfig(change func(*api.PlaybookSpec)) *engine.Config {
	spec := api.PlaybookSpec{Mode: api.ModeAuto, On: api.Trigger{Anomaly: "gateway/down"}, Limits: api.Limits{Items: 50},
		Steps: []api.Step{{Name: "switch", Do: "failover", Timeout: api.Seconds(10)}, {Name: "replay", Do: "replay", Timeout: api.Seconds(10)}}}
	digest := "d1"
	if change != nil {
		change(&spec)
		digest = "d2"
	}
	return &engine.Config{Digest: "config-" + digest,
		Integrations: []api.Integration{{Metadata: api.Metadata{Name: "cards"}}},
		Probes: []api.Probe{{Metadata: api.Metadata{Name: "gateway"}, Spec: api.ProbeSpec{Every: api.Seconds(10), Integration: "cards",
			Detect: []api.Detector{{Name: "down", Failures: &api.Failures{AtLeast: 3, Of: 3}}}}}},
		Playbooks: []engine.Playbook{{Name: "heal", Digest: digest, Spec: spec, Steps: []api.StepPlan{
			{Name: "switch", Targets: []string{"integration/cards"}, Action: api.ActionInfo{Name: "failover", Danger: api.D1, Repeat: api.Idempotent}},
			{Name: "replay", Targets: []string{"queue/cards"}, Action: api.ActionInfo{Name: "replay", Danger: api.D3, Repeat: api.Keyed, Retention: time.Hour, Counts: true}}}}}}
}

// pastOf plays n incidents, one every ten minutes, with a shell that answers at once: each touches 10 items, and ends well.
func pastOf(n int, c *engine.Config) []api.Entry {
	s, log := engine.New(), []api.Entry(nil)
	var feed func(e engine.Event)
	feed = func(e engine.Event) {
		out := s.Step(e)
		for i := range out.Entries {
			out.Entries[i].Seq = int64(len(log))
			log = append(log, out.Entries[i])
		}
		for _, cmd := range out.Commands {
			res := engine.Result{Command: cmd.ID, Outcome: api.Outcome{Result: api.ResultDone, Text: "ok"}}
			switch cmd.Kind {
			case engine.Plan:
				res.Estimate = &api.Estimate{Text: "It will act.", Items: 10, Total: 1000}
			case engine.Run:
				res.Outcome.Items = 10
			case engine.Notify:
				continue
			}
			feed(engine.Event{At: e.At.Add(50 * time.Millisecond), Result: &res})
		}
	}
	feed(engine.Event{At: pastStart, Restarted: true})
	feed(engine.Event{At: pastStart.Add(time.Millisecond), Config: c})
	for i := range n {
		at := pastStart.Add(time.Duration(i+1) * 10 * time.Minute)
		a := api.Anomaly{Name: "gateway/down", Probe: "gateway", Opened: at, At: at, Text: "The gateway does not answer."}
		feed(engine.Event{At: at, Anomaly: &a})
		b := a
		b.At, b.Cleared = at.Add(30*time.Second), true
		feed(engine.Event{At: b.At, Anomaly: &b})
	}
	return log
}

func recordedAs(c *engine.Config) func(string) *engine.Config {
	return func(string) *engine.Config { return c }
}

func backtested(t *testing.T, p Past) *DecisionTest {
	t.Helper()
	got, err := Backtest(p)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestBacktestUnchanged(t *testing.T) {
	c := pastConfig(nil)
	log := pastOf(20, c)
	got := backtested(t, Past{Entries: log, Configs: recordedAs(c)})
	if got.Same != 20 || got.Diverged != 0 || len(got.Outside) > 0 || got.Matched != len(log) {
		t.Errorf("%d incidents the same, %d diverge, %d of %d entries match, outside %v", got.Same, got.Diverged, got.Matched, len(log), got.Outside)
	}
	if n := got.Ends[api.EndVerified]; n != [2]int{20, 20} {
		t.Errorf("verified: recorded and replayed %v, want 20 and 20", n)
	}
}

// A changed playbook parts from the log where it decides otherwise, and nowhere else.
func TestBacktestChanged(t *testing.T) {
	c := pastConfig(nil)
	log := pastOf(3, c)
	for _, tt := range []struct {
		name   string
		change func(*api.PlaybookSpec)
		first  api.EntryKind // replayed
		was    api.EntryKind // recorded
		guard  api.Guard     // of the first replayed one
		gone   api.EntryKind // something that the replay does no more
	}{
		{"only suggests", func(p *api.PlaybookSpec) { p.Mode = api.ModeSuggest }, api.EntrySuggested, api.EntryRemediationOpened, "", api.EntryStepIntended},
		{"a lower limit", func(p *api.PlaybookSpec) { p.Limits.Items = 15 }, api.EntryStepRefused, api.EntryStepIntended, api.GuardItems, api.EntryStepIntended},
		{"asks first", func(p *api.PlaybookSpec) { p.Steps[1].Ask = "items > 5" }, api.EntryAsked, api.EntryStepIntended, "", api.EntryStepIntended},
		{"once an hour", func(p *api.PlaybookSpec) { p.Limits.Runs = api.Rate{N: 1, Per: time.Hour} }, api.EntryRefused, api.EntryRefused, api.GuardRuns, api.EntryRefused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := backtested(t, Past{Entries: log, Configs: recordedAs(c), Changed: pastConfig(tt.change)})
			if got.Diverged == 0 {
				t.Fatal("nothing diverges")
			}
			last := got.Incidents[slices.IndexFunc(got.Incidents, func(i IncidentTest) bool { return !i.Same })]
			first := last.First
			if first.Replayed == nil || first.Replayed.Kind != tt.first || first.Recorded == nil || first.Recorded.Kind != tt.was {
				t.Fatalf("the first diverging entries are recorded %+v and replayed %+v", first.Recorded, first.Replayed)
			}
			if tt.guard != "" && (first.Replayed.Refusal == nil || first.Replayed.Refusal.Guard != tt.guard) {
				t.Errorf("refused by %+v, want guard %s", first.Replayed.Refusal, tt.guard)
			}
			if !slices.ContainsFunc(last.Gone, func(s Side) bool { return s.Kind == tt.gone }) {
				t.Errorf("%s is not among what is gone: %+v", tt.gone, last.Gone)
			}
		})
	}
	t.Run("what is still open takes in what follows", func(t *testing.T) {
		got := backtested(t, Past{Entries: log, Configs: recordedAs(c), Changed: pastConfig(func(p *api.PlaybookSpec) { p.Steps[1].Ask = "items > 5" })})
		if s := got.Incidents[1].First.Replayed; s == nil || s.Kind != api.EntryAnomalyOpened || !strings.Contains(s.Text, got.Incidents[0].ID) {
			t.Errorf("the second incident's first replayed entry is %+v, want its anomaly in %s", s, got.Incidents[0].ID)
		}
	})
	t.Run("as it was", func(t *testing.T) {
		got := backtested(t, Past{Entries: log, Configs: recordedAs(c), Changed: pastConfig(func(p *api.PlaybookSpec) { p.Limits.Items = 40 })})
		if got.Diverged != 0 || got.Same != 3 {
			t.Errorf("a limit that nothing reaches changes %d incidents", got.Diverged)
		}
	})
}

// What the log never called is supposed to go as planned, and says so, together with everything after it.
func TestBacktestAssumes(t *testing.T) {
	quiet := pastConfig(func(p *api.PlaybookSpec) { p.Mode = api.ModeObserve })
	log := pastOf(2, quiet)
	got := backtested(t, Past{Entries: log, Configs: recordedAs(quiet), Changed: pastConfig(nil)})
	if got.Diverged != 2 || got.Fired != 4 {
		t.Fatalf("%d incidents diverge and %d calls are new, want 2 and 4", got.Diverged, got.Fired)
	}
	inc := got.Incidents[0]
	if inc.Assumed == 0 {
		t.Error("no entry rests on an assumption")
	}
	for _, s := range inc.Would {
		if s.Kind == api.EntryRemediationEnded {
			if s.End != api.EndVerified || !strings.Contains(s.Assumed, "supposed") {
				t.Errorf("ended %s, supposing %q", s.End, s.Assumed)
			}
			return
		}
	}
	t.Errorf("the replay never ends: %+v", inc.Would)
}

// Before --since the recorded configuration is in force.
func TestBacktestSince(t *testing.T) {
	c := pastConfig(nil)
	log := pastOf(4, c)
	since := pastStart.Add(25 * time.Minute)
	got := backtested(t, Past{Entries: log, Configs: recordedAs(c), Since: since, Changed: pastConfig(func(p *api.PlaybookSpec) { p.Mode = api.ModeSuggest })})
	if got.Same != 2 || got.Diverged != 2 {
		t.Errorf("%d incidents the same and %d diverge, want the first two of four the same", got.Same, got.Diverged)
	}
}

func TestBacktestRefuses(t *testing.T) {
	c := pastConfig(nil)
	log := pastOf(2, c)
	gap := slices.Delete(slices.Clone(log), 3, 4)
	newer := slices.Clone(log)
	newer[4].Kind = "incident.teleported"
	back := slices.Clone(log)
	back[5].At = pastStart.Add(-time.Hour)
	for _, tt := range []struct {
		name string
		past Past
		want string
	}{
		{"a gap", Past{Entries: gap, Configs: recordedAs(c)}, "entry 3 is missing"},
		{"the end only", Past{Entries: log[5:], Configs: recordedAs(c)}, "begins with entry 5"},
		{"time goes back", Past{Entries: back, Configs: recordedAs(c)}, "older than the one before"},
		{"nobody kept it", Past{Entries: log}, "nobody kept the configuration"},
		{"a newer program wrote it", Past{Entries: newer, Configs: recordedAs(c)}, "run the newer program"},
	} {
		if _, err := Backtest(tt.past); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: the error is %v, want one with %q", tt.name, err, tt.want)
		}
	}
}

// BenchmarkBacktest replays 10,000 incidents, unchanged and with a playbook whose every run is refused.
func BenchmarkBacktest(b *testing.B) {
	c := pastConfig(nil)
	log := pastOf(10_000, c)
	for _, bb := range []struct {
		name    string
		changed *engine.Config
	}{{"unchanged", nil}, {"changed", pastConfig(func(p *api.PlaybookSpec) { p.Limits.Items = 15 })}} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				got, err := Backtest(Past{Entries: log, Configs: recordedAs(c), Changed: bb.changed})
				if err != nil || len(got.Incidents) != 10_000 || (got.Diverged == 0) != (bb.changed == nil) {
					b.Fatal(fmt.Sprint(err, len(got.Incidents), got.Diverged))
				}
			}
			b.ReportMetric(float64(10_000*b.N)/b.Elapsed().Seconds(), "incidents/s")
		})
	}
}

// A condition on what is at risk is decided by the values that were seen, which no entry holds, also by a changed one.
func TestBacktestValues(t *testing.T) {
	config := func(when string) *engine.Config {
		c := pastConfig(func(p *api.PlaybookSpec) { p.On.When = when })
		c.Probes = append(c.Probes, api.Probe{Metadata: api.Metadata{Name: "backlog"}})
		c.Workflows = []api.Workflow{{Metadata: api.Metadata{Name: "orders"}, Spec: api.WorkflowSpec{Steps: []api.WorkflowStep{{Name: "capture", Uses: []string{"cards"}}},
			Value: api.Value{CountedBy: "backlog"}}}}
		return c
	}
	c := config("incident.items > 20")
	log, inputs := taped(engine.New(), []engine.Event{
		{At: pastStart, Restarted: true},
		{At: pastStart, Config: c},
		{At: pastStart.Add(time.Second), Value: &engine.Value{Probe: "backlog", Value: 30}},
		{At: pastStart.Add(time.Minute), Anomaly: &api.Anomaly{Name: "gateway/down", Probe: "gateway", Opened: pastStart.Add(time.Minute), At: pastStart.Add(time.Minute), Text: "Down."}},
	})
	if !slices.ContainsFunc(log, func(e api.Entry) bool { return e.Kind == api.EntryRemediationOpened }) {
		t.Fatalf("nothing was begun: %+v", log)
	}
	past := Past{Entries: log, Configs: recordedAs(c)}
	if got := backtested(t, past); got.Diverged != 1 {
		t.Errorf("without the values %d incidents diverge, want 1: this test proves nothing", got.Diverged)
	}
	past.Inputs = inputs
	if got := backtested(t, past); got.Same != 1 || got.Exact != len(log) {
		t.Errorf("with the values %d incidents are the same and %d of %d entries exact", got.Same, got.Exact, len(log))
	}
	past.Changed = config("incident.items > 25")
	if got := backtested(t, past); got.Same != 1 {
		t.Errorf("a lower bound that the value passes: %+v", got.Incidents)
	}
	past.Changed = config("incident.items > 35")
	if got := backtested(t, past); got.Diverged != 1 {
		t.Errorf("a bound that the value does not pass changes nothing")
	}
	past.Changed.Playbooks = nil
	if got := backtested(t, past); len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "no playbook heal") {
		t.Errorf("the notes are %q, want one on the playbook that is missing", got.Notes)
	}
}

// taped feeds events, each recorded in a block of its own.
func taped(s *engine.State, events []engine.Event) (log []api.Entry, inputs []engine.Taped) {
	var tape engine.Tape
	for _, e := range events {
		out := s.Step(e)
		tape.Add(&e, len(out.Entries))
		inputs = append(inputs, engine.Taped{First: int64(len(log)), Block: tape.Cut(nil)})
		for i := range out.Entries {
			out.Entries[i].Seq = int64(len(log))
			log = append(log, out.Entries[i])
		}
	}
	return log, inputs
}
