package live

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/store"
	"github.com/backstay/backstay/playbooks"
)

// marathon is a playbook of n short steps for a gateway that stays down.
func marathon(n int, run plainHand) Config {
	c := failover(run, func() bool { return false })
	p := &c.Engine.Playbooks[0]
	step, plan := p.Spec.Steps[0], p.Steps[0]
	p.Spec.Steps, p.Steps, c.Steps = nil, nil, map[StepKey]runner{}
	for i := range n {
		step.Name = fmt.Sprintf("step-%d", i)
		plan.Name = step.Name
		p.Spec.Steps, p.Steps = append(p.Spec.Steps, step), append(p.Steps, plan)
		c.Steps[StepKey{p.Digest, step.Name}] = run
	}
	return c
}

// A pause stops new steps within a second, although the controller is flooded with observations and results; once Pause has
// returned nothing new starts at all. After a crash it still holds, and lifting it lets the next step go.
func TestPauseStopsNewStepsWithinASecond(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	st, err := store.Open(t.Context(), store.Options{Dir: dir, Origin: "backstay.test/live"})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var mu sync.Mutex
	var starts []time.Time
	act := func(_ context.Context, c playbooks.Call) api.Outcome {
		mu.Lock()
		starts = append(starts, time.Now())
		mu.Unlock()
		time.Sleep(5 * time.Millisecond)
		return api.Outcome{Result: api.ResultDone, Text: "switched"}
	}
	begun := func() int { mu.Lock(); defer mu.Unlock(); return len(starts) }
	life := func() (s *Shell, end func()) {
		s, err := New(Options{Store: st, Config: marathon(2000, act)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		return s, func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Run ended with %v", err)
			}
		}
	}
	await := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s did not come", what)
			}
		}
	}

	s, end := life()
	await("the twentieth step", func() bool { return begun() >= 20 })
	for range 50_000 { // a flood in front of the pause
		s.queue.put(item{event: engine.Event{Seen: "gateway"}})
	}
	asked := time.Now()
	if err := s.Pause(t.Context(), api.Pause{Owner: "ada", Reason: "looking"}); err != nil {
		t.Fatal(err)
	}
	took := time.Since(asked)
	time.Sleep(50 * time.Millisecond) // what was handed out before may still be starting
	last := begun()
	mu.Lock()
	latest := starts[len(starts)-1].Sub(asked)
	mu.Unlock()
	if took > time.Second || latest > time.Second {
		t.Errorf("the pause took %s and the last step began %s after it was asked for; want at most 1s", took, latest)
	}
	time.Sleep(300 * time.Millisecond)
	if n := begun(); n != last {
		t.Errorf("%d steps began after the pause", n-last)
	}
	end()

	s, end = life()
	defer func() { end() }()
	time.Sleep(time.Second)
	if n := begun(); n != last || len(s.Pauses()) != 1 {
		t.Errorf("after a restart %d steps began, and the pauses are %v", n-last, s.Pauses())
	}
	if err := s.Resume(t.Context(), api.Pause{Owner: "ada"}); err != nil {
		t.Fatal(err)
	}
	await("a step after the pause", func() bool { return begun() > last })
	t.Logf("with 50,000 events before it the pause was durable after %s, and the last step began %s after it was asked for", took, latest)
}

// A pause that cannot be made durable is refused, and the controller ends rather than act on what it could not record.
func TestPauseFailsClosed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	st, err := store.Open(t.Context(), store.Options{Dir: dir, Origin: "backstay.test/live"})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	begun := 0
	act := func(_ context.Context, c playbooks.Call) api.Outcome {
		mu.Lock()
		begun++
		mu.Unlock()
		return api.Outcome{Result: api.ResultDone}
	}
	s, err := New(Options{Store: st, Config: marathon(2000, act)})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context()) }()
	for count := 0; count < 5; time.Sleep(5 * time.Millisecond) {
		mu.Lock()
		count = begun
		mu.Unlock()
	}
	if err := st.Close(); err != nil { // the disk is gone
		t.Fatal(err)
	}
	if err := s.Pause(t.Context(), api.Pause{Owner: "ada", Reason: "looking"}); err == nil {
		t.Error("a pause that nobody recorded was reported as set")
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the controller ended as if all were well")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the controller goes on although it cannot record anything")
	}
	mu.Lock()
	last := begun
	mu.Unlock()
	time.Sleep(300 * time.Millisecond)
	mu.Lock()
	defer mu.Unlock()
	if begun > last {
		t.Errorf("%d steps began after the controller had ended", begun-last)
	}
}
