package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/demo"
	"github.com/backstay/backstay/controller/internal/twin"
)

// DemoOptions say how to run the demo.
type DemoOptions struct {
	Seed   uint64
	Data   string              // folder for everything; a temporary one, removed at the end, when empty
	Keep   bool                // leave it running after the score card, until ctx ends
	Listen string              // address of the controller's HTTP API
	Log    *slog.Logger        // the controller's log
	Tell   func(DemoEvent)     // the story as it happens; called by one goroutine at a time
	Pulse  func(DemoPulse)     // how the office stands, twice a second
	Kept   func(folder string) // with Keep: called once when the score card can be shown
	Card   func(DemoCard)      // called with the score card

	short *demoShort // for tests: a shorter day
}

// demoShort is a day with other faults, which ends earlier.
type demoShort struct {
	placing time.Duration
	faults  []demo.Fault
}

// DemoEvent is one line of the story.
type DemoEvent struct {
	At   time.Duration `json:"at"`   // since the first order
	Kind string        `json:"kind"` // fault, over, detected, cause, no, playbook, act, done, unsure, verified, closed
	Text string        `json:"text"`
}

// DemoPulse is how the simulated back office stands at a moment.
type DemoPulse = demo.Pulse

// demoSettling is how long everything may take to settle once no more orders come.
const demoSettling = 25 * time.Second

// Demo runs the real controller beside a small simulated back office that has a bad day, and judges both. The error says that the demo
// itself could not run; whether every figure holds is in the card.
func Demo(ctx context.Context, o DemoOptions) (DemoCard, error) {
	dir, err := demoFolder(o.Data)
	if err != nil {
		return DemoCard{}, err
	}
	if o.Data == "" {
		defer os.RemoveAll(dir)
	}
	office, addresses, err := demo.Open(dir, o.Seed)
	if err != nil {
		return DemoCard{}, err
	}
	defer office.Close()
	if err := demo.WriteConfig(filepath.Join(dir, "config"), addresses); err != nil {
		return DemoCard{}, err
	}
	p, err := open(ctx, Options{Config: filepath.Join(dir, "config"), Data: filepath.Join(dir, "data"), Listen: o.Listen, Log: o.Log})
	if err != nil {
		return DemoCard{}, err
	}
	run := &demoRun{DemoOptions: o, office: office, process: p, dir: dir}
	return run.play(ctx)
}

// demoFolder makes the folder of one demo. An older demo's data there would mix two stories.
func demoFolder(wanted string) (string, error) {
	if wanted == "" {
		return os.MkdirTemp("", "backstay-demo-")
	}
	if entries, err := os.ReadDir(wanted); err == nil && len(entries) > 0 {
		return "", api.Errorf(api.CodeUsage, "the folder %s is not empty: name a new one, so that two stories do not mix", wanted)
	}
	if err := os.MkdirAll(wanted, 0o755); err != nil {
		return "", fmt.Errorf("make the demo's folder: %w", err)
	}
	return wanted, nil
}

// demoRun is one demo under way.
type demoRun struct {
	DemoOptions
	office  *demo.Office
	process *process
	dir     string
	start   time.Time

	mu      sync.Mutex
	faults  map[string]time.Time
	entries []api.Entry
}

func (d *demoRun) play(ctx context.Context) (DemoCard, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.start, d.faults = time.Now(), map[string]time.Time{}
	day := demoShort{demo.Placing, demo.Timetable(d.Seed)}
	if d.short != nil {
		day = *d.short
	}
	stream := d.process.shell.Subscribe(ctx)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.process.run(ctx) })
	group.Go(func() error { d.listen(stream); return nil })
	group.Go(func() error { d.pulse(ctx); return nil })
	group.Go(func() error {
		d.office.Misbehave(ctx, day.faults, d.fault)
		return nil
	})

	var card DemoCard
	group.Go(func() error {
		defer cancel()
		if err := d.office.Orders.Place(ctx, demo.PerSecond, day.placing, d.Seed); err != nil {
			return err
		}
		late := d.office.Settled(ctx, demoSettling)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.rest(ctx)
		card = d.judge(ctx, late)
		d.Card(card)
		if d.Keep {
			d.Kept(d.dir)
			<-ctx.Done()
		}
		return nil
	})
	err := group.Wait()
	if d.Keep && card.Seed == d.Seed && errors.Is(err, context.Canceled) {
		err = nil // Ctrl-C is how one that was kept ends
	}
	return card, err
}

// rest waits until no remediation is under way, at most for a while: the last verification has a hold-down.
func (d *demoRun) rest(ctx context.Context) {
	for range 100 {
		busy := false
		all, err := d.process.store.Remediations(ctx, "", 100)
		for _, r := range all {
			busy = busy || r.Ended.IsZero()
		}
		open, openErr := d.process.store.Incidents(ctx, true, 10)
		if err == nil && openErr == nil && !busy && len(open) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (d *demoRun) pulse(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if pulse, err := d.office.Pulse(ctx); err == nil {
				d.mu.Lock()
				d.Pulse(pulse)
				d.mu.Unlock()
			}
		}
	}
}

func (d *demoRun) fault(f demo.Fault, on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	kind, text := "over", f.Over
	if on {
		d.faults[f.Name] = time.Now()
		kind, text = "fault", f.Title
	}
	d.Tell(DemoEvent{time.Since(d.start), kind, text})
}

// listen tells the story of the log.
func (d *demoRun) listen(stream <-chan api.Entry) {
	for e := range stream {
		d.mu.Lock()
		d.entries = append(d.entries, e)
		if kind := storyKind(e); kind != "" {
			d.Tell(DemoEvent{e.At.Sub(d.start), kind, storyText(e)})
		}
		d.mu.Unlock()
	}
}

// storyText names what an anomaly is about: in the log that stands beside the sentence.
func storyText(e api.Entry) string {
	if e.Kind == api.EntryAnomalyOpened && e.Anomaly != nil {
		return e.Anomaly.ID() + ": " + e.Text
	}
	return e.Text
}

// storyKind picks what belongs into the story; the log has more.
func storyKind(e api.Entry) string {
	if e.Kind == api.EntryAnomalyOpened {
		return "detected"
	}
	return twin.StoryKind(e.Kind)
}
