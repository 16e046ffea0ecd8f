package live

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/playbooks"
)

// oneStep is a core that answers the first anomaly with an intended step, and each result with an entry.
func oneStep(c engine.Command) *script {
	core := &script{}
	core.step = func(e engine.Event) (out engine.Output) {
		switch {
		case e.Restarted:
			out.Entries = []api.Entry{{Kind: api.EntryStarted}}
		case e.Anomaly != nil && !e.Anomaly.Cleared:
			c.Deadline = e.At.Add(10 * time.Second)
			out.Entries = []api.Entry{{Kind: api.EntryAnomalyOpened, At: e.At}, {Kind: api.EntryStepIntended, At: e.At, Step: c.Step}}
			out.Commands = []engine.Command{c}
		case e.Result != nil:
			kind := api.EntryStepEnded
			if e.Result.Outcome.Result == api.ResultUnknown {
				kind = api.EntryStepUncertain
			}
			if strings.HasSuffix(e.Result.Command, lateSuffix) {
				kind = api.EntryLateResult
			}
			o := e.Result.Outcome
			out.Entries = []api.Entry{{Kind: kind, At: e.At, Outcome: &o}}
		case e.Stopping:
			out.Entries = []api.Entry{{Kind: api.EntryStopped}}
		}
		return out
	}
	return core
}

var runStep = engine.Command{ID: "r1/switch/run-1.1", Kind: engine.Run, Digest: "d1", Step: "switch", Playbook: "failover", Key: "k1"}

// ill is a configuration whose one probe is bad at once, with one action.
func ill(r runner) Config {
	p := Probe{Name: "gateway", Spec: spec(10*time.Second, 1), Prober: sight(func(context.Context) api.Observation {
		return api.Observation{Verdict: api.Bad, Reason: "refused"}
	})}
	return Config{Probes: []Probe{p}, Steps: map[StepKey]runner{{"d1", "switch"}: r}}
}

// The intent is durable before the action is called, also when the disk is slow.
func TestEntriesAreDurableFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &memory{slow: 300 * time.Millisecond}
		var called atomic.Bool
		act := plainHand(func(_ context.Context, c playbooks.Call) api.Outcome {
			called.Store(true)
			if disk.count(api.EntryStepIntended) != 1 {
				t.Error("the action was called before its intent was durable")
			}
			if c.Key != "k1" || c.Step != "switch" || c.Playbook != "failover" {
				t.Errorf("the action was called with %+v", c)
			}
			return api.Outcome{Result: api.ResultDone, Text: "switched"}
		})
		r := start(t, Options{Config: ill(act)}, disk, oneStep(runStep))
		time.Sleep(20 * time.Second)
		r.stop()
		want := []api.EntryKind{api.EntryStarted, api.EntryAnomalyOpened, api.EntryStepIntended, api.EntryStepEnded, api.EntryStopped}
		if got := disk.kinds(); !called.Load() || !slices.Equal(got, want) {
			t.Errorf("called %v, journal %v; want %v", called.Load(), got, want)
		}
	})
}

// A store error ends Run, and nothing is done that is not recorded.
func TestStoreErrorEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		act := plainHand(func(context.Context, playbooks.Call) api.Outcome {
			t.Error("the action was called although its intent was not recorded")
			return api.Outcome{Result: api.ResultDone}
		})
		r := start(t, Options{Config: ill(act)}, &memory{failAt: 1}, oneStep(runStep))
		err := <-r.ended
		if !errors.Is(err, errDisk) {
			t.Errorf("Run ended with %v, want the store's error", err)
		}
		if r.Health() == nil || r.Ready() == nil {
			t.Error("a dead shell says that it is well")
		}
		if err := r.Pause(context.Background(), api.Pause{Reason: "too late"}); api.CodeOf(err) != api.CodeUnavailable {
			t.Errorf("a dead shell answered a pause with %v", err)
		}
		if _, open := <-r.Subscribe(context.Background()); open {
			t.Error("a dead shell takes subscribers")
		}
		r.cancel()
	})
}

// A graceful stop lets a step in flight finish.
func TestStopWaitsForSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &memory{}
		began := make(chan struct{})
		act := plainHand(func(ctx context.Context, _ playbooks.Call) api.Outcome {
			close(began)
			select {
			case <-time.After(5 * time.Second):
				return api.Outcome{Result: api.ResultDone, Text: "switched"}
			case <-ctx.Done():
				return api.Outcome{Result: api.ResultUnknown, Text: "cut short"}
			}
		})
		r := start(t, Options{Config: ill(act)}, disk, oneStep(runStep))
		<-began
		r.stop()
		if disk.count(api.EntryStepEnded) != 1 || disk.count(api.EntryStopped) != 1 {
			t.Errorf("journal %v: the step was forgotten", disk.kinds())
		}
		if disk.next != int64(len(disk.entries)) || string(disk.state) != "state" {
			t.Errorf("the snapshot at the stop covers %d of %d entries", disk.next, len(disk.entries))
		}
	})
}

// A step that ignores everything is reported as unknown, and the stop goes on.
func TestStopCutsHangingStepsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &memory{}
		began, release := make(chan struct{}), make(chan struct{})
		act := plainHand(func(context.Context, playbooks.Call) api.Outcome {
			close(began)
			<-release
			return api.Outcome{Result: api.ResultDone}
		})
		r := start(t, Options{Config: ill(act), Grace: 3 * time.Second}, disk, oneStep(runStep))
		<-began
		asked := time.Now()
		r.stop()
		if took := time.Since(asked); took > 3*time.Second+2*cutShortWait {
			t.Errorf("the stop took %s", took)
		}
		if disk.count(api.EntryStepUncertain) != 1 {
			t.Errorf("journal %v: want the step as uncertain", disk.kinds())
		}
		close(release)
	})
}

// A runner that outlives its deadline is unknown at the deadline; what it says later is kept as evidence.
func TestDeadlinesHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &memory{}
		act := plainHand(func(ctx context.Context, _ playbooks.Call) api.Outcome {
			time.Sleep(15 * time.Second) // the deadline is after 10
			if ctx.Err() == nil {
				t.Error("the context has no deadline")
			}
			return api.Outcome{Result: api.ResultDone, Text: "switched after all"}
		})
		r := start(t, Options{Config: ill(act)}, disk, oneStep(runStep))
		time.Sleep(40 * time.Second)
		r.stop()
		var intended, uncertain, late api.Entry
		for _, e := range disk.entries {
			switch e.Kind {
			case api.EntryStepIntended:
				intended = e
			case api.EntryStepUncertain:
				uncertain = e
			case api.EntryLateResult:
				late = e
			}
		}
		if got := uncertain.At.Sub(intended.At); got != 10*time.Second {
			t.Errorf("unknown after %s, want at the deadline of 10 s", got)
		}
		if got := late.At.Sub(intended.At); got != 15*time.Second || late.Outcome.Result != api.ResultDone {
			t.Errorf("the late result came after %s as %+v", got, late.Outcome)
		}
	})
}

func TestWhatRunnersCannotDo(t *testing.T) {
	panics := plainHand(func(context.Context, playbooks.Call) api.Outcome { panic("nil map") })
	nonsense := plainHand(func(context.Context, playbooks.Call) api.Outcome { return api.Outcome{Result: "great"} })
	cases := []struct {
		name   string
		kind   engine.CommandKind
		digest string
		act    runner
		want   api.Result
	}{
		{"run panics", engine.Run, "d1", panics, api.ResultUnknown},
		{"run answers nonsense", engine.Run, "d1", nonsense, api.ResultUnknown},
		{"run of a digest that nobody knows", engine.Run, "d0", panics, api.ResultRefused},
		{"undo of what cannot be undone", engine.Undo, "d1", panics, api.ResultRefused},
		{"look at what cannot be asked", engine.Look, "d1", panics, api.ResultUnknown},
		{"look with a digest that nobody knows", engine.Look, "d0", panics, api.ResultUnknown},
		{"plan panics", engine.Plan, "d1", hand{plan: func(context.Context, playbooks.Call) (api.Estimate, error) { panic("nil map") }}, api.ResultFailed},
		{"plan fails", engine.Plan, "d1", hand{plan: func(context.Context, playbooks.Call) (api.Estimate, error) {
			return api.Estimate{}, errors.New("queue captures.dlq: not found")
		}}, api.ResultFailed},
		{"notify without a channel", engine.Notify, "d1", panics, api.ResultRefused},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cmd := runStep
				cmd.Kind, cmd.Digest = c.kind, c.digest
				core := oneStep(cmd)
				r := start(t, Options{Config: ill(c.act)}, nil, core)
				time.Sleep(15 * time.Second)
				r.stop()
				var got []api.Outcome
				for _, e := range core.events {
					if e.Result != nil {
						got = append(got, e.Result.Outcome)
					}
				}
				if len(got) != 1 || got[0].Result != c.want || got[0].Text == "" {
					t.Errorf("results %+v; want one, %s, with its reason", got, c.want)
				}
			})
		})
	}
}

// A hanging channel delays no step.
func TestHangingChannelDelaysNoStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &memory{}
		var ran atomic.Bool
		c := ill(plainHand(func(context.Context, playbooks.Call) api.Outcome {
			ran.Store(true)
			return api.Outcome{Result: api.ResultDone}
		}))
		c.Channels = map[string]runner{"oncall": plainHand(func(ctx context.Context, c playbooks.Call) api.Outcome {
			if c.Message == nil || c.Message.Title != "down" {
				t.Errorf("the channel was told %+v", c.Message)
			}
			<-ctx.Done()
			return api.Outcome{Result: api.ResultFailed, Text: "no answer"}
		})}
		core := oneStep(runStep)
		inner := core.step
		core.step = func(e engine.Event) engine.Output {
			out := inner(e)
			if len(out.Commands) > 0 {
				for range 100 {
					out.Commands = append([]engine.Command{{ID: "notify/1", Kind: engine.Notify, Channel: "oncall", Message: &engine.Message{Title: "down"},
						Deadline: e.At.Add(time.Minute)}}, out.Commands...)
				}
			}
			return out
		}
		r := start(t, Options{Config: c}, disk, core)
		time.Sleep(10 * time.Second)
		if !ran.Load() || disk.count(api.EntryStepEnded) != 1 {
			t.Errorf("the step waited for the channel: ran %v, journal %v", ran.Load(), disk.kinds())
		}
		r.stop()
	})
}

func TestPeopleAreAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &memory{}
		core := &script{}
		core.step = func(e engine.Event) (out engine.Output) {
			switch {
			case e.Pause != nil:
				out.Entries = []api.Entry{{Kind: api.EntryPaused, Pause: e.Pause}}
			case e.Decision != nil && e.Decision.By == "":
				out.Entries = []api.Entry{{Kind: api.EntryRefused, Refusal: &api.Refusal{Guard: api.GuardApproval, Reason: "it does not say whose word it is"}}}
			case e.Decision != nil:
				out.Entries = []api.Entry{{Kind: api.EntryDecided, Decision: e.Decision}}
			case e.Refused != "":
				out.Entries = []api.Entry{{Kind: api.EntryConfigRefused, Text: e.Refused}}
			}
			return out
		}
		r := start(t, Options{}, disk, core)
		time.Sleep(time.Second)
		ctx := context.Background()
		if err := r.Ready(); err != nil {
			t.Errorf("not ready: %v", err)
		}
		entries := r.Subscribe(ctx)
		if err := r.Pause(ctx, api.Pause{Reason: "maintenance", Owner: "ana"}); err != nil || disk.count(api.EntryPaused) != 1 {
			t.Errorf("pause: %v, journal %v", err, disk.kinds())
		}
		if e := <-entries; e.Kind != api.EntryPaused || e.Seq != 0 {
			t.Errorf("the subscriber saw %+v", e)
		}
		if err := r.Decide(ctx, api.Decision{Verb: api.VerbApprove, By: "ana", Target: "r1"}); err != nil {
			t.Errorf("decide: %v", err)
		}
		err := r.Decide(ctx, api.Decision{Verb: api.VerbApprove, Target: "r1"})
		if api.CodeOf(err) != api.CodeDenied || !strings.Contains(err.Error(), "whose word") {
			t.Errorf("a refused decision gave %v", err)
		}
		if err := r.Resume(ctx, api.Pause{Owner: "ana"}); api.CodeOf(err) != api.CodeConflict {
			t.Errorf("resume of nothing gave %v", err)
		}
		r.RefuseConfig("probes.yaml:3:1: unknown key")
		synctest.Wait()
		if disk.count(api.EntryConfigRefused) != 1 {
			t.Errorf("journal %v: the refused configuration is missing", disk.kinds())
		}
		r.stop()
		if err := r.Pause(ctx, api.Pause{}); api.CodeOf(err) != api.CodeUnavailable {
			t.Errorf("after the stop a pause gave %v", err)
		}
	})
}

// A broken core stops acting and says so; probing goes on.
func TestBrokenCoreHaltsActing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &memory{}
		core := &script{step: func(e engine.Event) engine.Output {
			if e.Anomaly != nil {
				panic("remediation r1 has no plan")
			}
			return engine.Output{}
		}}
		r := start(t, Options{Config: ill(plainHand(nil))}, disk, core)
		time.Sleep(30 * time.Second)
		if disk.count(api.EntryInvariant) != 1 || r.Ready() == nil || r.Health() != nil {
			t.Errorf("journal %v, ready %v, health %v", disk.kinds(), r.Ready(), r.Health())
		}
		if s := r.status("gateway"); s.Runs < 3 {
			t.Errorf("%d runs in 30 s: probing stopped too", s.Runs)
		}
		if err := r.Decide(context.Background(), api.Decision{Target: "r1"}); api.CodeOf(err) != api.CodeUnavailable {
			t.Errorf("a halted shell answered %v", err)
		}
		r.stop()
	})
}

// The engine gets its ticks, and one that asks for them at once cannot take the whole processor.
func TestTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core := &script{}
		core.step = func(e engine.Event) (out engine.Output) {
			if e.Restarted {
				out.Wake = e.At.Add(30 * time.Second)
			}
			return out
		}
		r := start(t, Options{}, nil, core)
		time.Sleep(31 * time.Second)
		r.stop()
		if n := core.seen(func(e engine.Event) bool { return e.Tick }); n != 1 {
			t.Errorf("%d ticks, want one at the time asked for", n)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		core := &script{step: func(e engine.Event) engine.Output { return engine.Output{Wake: e.At} }}
		r := start(t, Options{}, nil, core)
		time.Sleep(100 * time.Millisecond)
		r.stop()
		if n := core.seen(func(e engine.Event) bool { return e.Tick }); n < 50 || n > 110 {
			t.Errorf("%d ticks in 100 ms, want about one a millisecond", n)
		}
	})
}

func TestSlowSubscribersAreDropped(t *testing.T) {
	h := newHub()
	fast, slow := h.subscribe(context.Background()), h.subscribe(context.Background())
	for i := range subscriberMax + 10 {
		h.publish([]api.Entry{{Seq: int64(i), Kind: api.EntryNotified}})
		if e := <-fast; e.Seq != int64(i) {
			t.Fatalf("the fast subscriber saw %d, want %d", e.Seq, i)
		}
	}
	var last api.Entry
	n := 0
	for e := range slow {
		last = e
		n++
	}
	if n != subscriberMax+1 || last.Kind != KindGap || last.Seq != subscriberMax {
		t.Errorf("the slow subscriber saw %d entries, the last %+v", n, last)
	}
	ctx, cancel := context.WithCancel(context.Background())
	third := h.subscribe(ctx)
	cancel()
	if _, open := <-third; open {
		t.Error("a subscriber that left still gets entries")
	}
}

// A disk that hangs stops deciding, and the shell says so; probing goes on.
func TestHungJournalIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &memory{}
		r := start(t, Options{Config: ill(plainHand(func(context.Context, playbooks.Call) api.Outcome { return api.Outcome{Result: api.ResultDone} }))}, disk, oneStep(runStep))
		time.Sleep(time.Second)
		disk.mu.Lock()
		disk.slow = time.Minute
		disk.mu.Unlock()
		time.Sleep(30 * time.Second)
		if err := r.Ready(); api.CodeOf(err) != api.CodeUnavailable || !strings.Contains(err.Error(), "journal") {
			t.Errorf("with a journal that hangs for 20 s the shell is %v", err)
		}
		if s := r.status("gateway"); s.Runs < 3 {
			t.Errorf("%d runs in 30 s: probing waits for the journal", s.Runs)
		}
		r.stop()
	})
}
