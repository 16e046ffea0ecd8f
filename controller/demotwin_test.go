package controller

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/demo"
	"github.com/backstay/backstay/controller/internal/rig"
)

// demoFiles writes the demo's configuration for a seed, with addresses that nobody listens at, and gives its folder.
func demoFiles(t *testing.T, seed uint64, change ...string) string {
	t.Helper()
	dir := t.TempDir()
	base := "http://127.0.0.1:1"
	at := demo.Addresses{GatewayA: base, GatewayB: base, Router: base, ERP: base, Supervisor: base, Database: filepath.Join(dir, "orders.db"), Seed: seed}
	if err := demo.WriteConfig(dir, at); err != nil {
		t.Fatal(err)
	}
	if len(change) == 0 {
		return dir
	}
	name := filepath.Join(dir, "2-probes.yaml")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(strings.NewReplacer(change...).Replace(string(text))), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func demoInTwin(t *testing.T, seed uint64, days int, change ...string) *DemoTwin {
	t.Helper()
	played, err := demoTwin(t.Context(), filepath.Join(demoFiles(t, seed, change...), demoScenario), days)
	if err != nil {
		t.Fatal(err)
	}
	return played
}

func TestDemoConfigurationIsClean(t *testing.T) {
	findings, err := Check([]string{demoFiles(t, 7)})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		if f.Severity != api.SeverityNote { // that nobody has signed anything is what the demo is like
			t.Errorf("backstay check of a demo's folder: %s", f)
		}
	}
}

// TestDemoComparison holds the three ways of the same bad day against each other, and against a second time.
func TestDemoComparison(t *testing.T) {
	for seed := uint64(1); seed <= 3; seed++ {
		played := demoInTwin(t, seed, 10)
		if broken := played.broken(); len(broken) > 0 {
			t.Errorf("seed %d: %s", seed, strings.Join(broken, "; "))
		}
		for _, v := range played.Variants {
			if v.Variant == api.VariantNone && !math.IsInf(float64(v.Recovered.Least), 1) {
				t.Errorf("seed %d: with nobody who acts, all was well again after %v s", seed, v.Recovered.Least)
			}
		}
		var read DemoTwin
		if text, err := json.Marshal(played); err != nil || json.Unmarshal(text, &read) != nil || !strings.Contains(string(text), `"recovered":{"median":"never"`) {
			t.Errorf("seed %d: as JSON it is %s, %v", seed, text, err)
		}
		again := demoInTwin(t, seed, 10)
		again.Took = played.Took
		if !reflect.DeepEqual(played, again) {
			t.Errorf("seed %d: a second time gave other figures:\n%+v\n%+v", seed, played, again)
		}
	}
}

// TestDemoComparisonCanFail: a comparison whose controls do no harm, or whose playbooks do, says so.
func TestDemoComparisonCanFail(t *testing.T) {
	played := demoInTwin(t, 1, 20)
	for i := range played.Variants {
		v := &played.Variants[i]
		v.Left, v.DoubleCharged = DemoRange{}, DemoRange{}
		if v.Variant == api.VariantCurrent {
			v.DoubleCharged.Greatest = 1
		}
		if v.Holds() {
			t.Errorf("variant %s holds: %+v", v.Variant, v)
		}
	}
	card := DemoCard{Twin: played}
	if text := strings.Join(card.broken(nil), "\n"); strings.Count(text, "played in the twin: ") != 3 {
		t.Errorf("the card says only:\n%s", text)
	}
}

// liveDays is how many days of the twin make the interval that a real run is held against.
const liveDays = 200

// landed counts for each fault in how many seeds the real run lay within the twin's interval.
type landed struct {
	detected, healed int
	width            [2]float64 // of the intervals, against their middle, summed up
}

// TestLiveAgainstTwin runs the demo in earnest and plays the same seed in the twin. At full length, for 20 seeds; otherwise one short day with
// two of the faults, where each time must lie within what the twin's days span.
func TestLiveAgainstTwin(t *testing.T) {
	if testing.Short() {
		t.Skip("a demo in earnest takes its time")
	}
	t.Parallel()
	if !rig.Soak() {
		shortAgainstTwin(t)
		return
	}
	const seeds, share, together = 20, 0.8, 2
	cards := make([]DemoCard, seeds)
	var group errgroup.Group
	group.SetLimit(together)
	for i := range cards {
		group.Go(func() (err error) {
			cards[i], err = Demo(t.Context(), headless(uint64(i+1)))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	real := make([]landed, len(demoPlaybooks))
	control := make([]landed, len(demoPlaybooks))
	for _, card := range cards {
		if !card.OK {
			t.Errorf("seed %d: %s", card.Seed, strings.Join(card.Broken, "; "))
		}
		land(t, real, card.Faults, demoInTwin(t, card.Seed, liveDays).Faults)
		land(nil, control, card.Faults, demoInTwin(t, card.Seed, liveDays, "every: 1s", "every: 30s").Faults)
	}
	broken, inside, controlInside := 0, 0, 0
	for i, pair := range demoPlaybooks {
		t.Logf("%s: detected within in %d, healed within in %d of %d seeds; intervals are on average %.2f and %.2f times as wide as their middle",
			pair.fault, real[i].detected, real[i].healed, seeds, real[i].width[0]/seeds, real[i].width[1]/seeds)
		for _, n := range []int{real[i].detected, real[i].healed} {
			if float64(n) < share*seeds {
				broken++
				t.Errorf("%s: only %d of %d real runs lie within the twin's interval", pair.fault, n, seeds)
			}
		}
		inside += real[i].detected + real[i].healed
		controlInside += control[i].detected + control[i].healed
	}
	if controlInside*2 > inside {
		t.Errorf("a twin whose probes look every 30 s holds %d times of the real runs, the right one %d: the comparison finds nothing out", controlInside, inside)
	}
	rig.Suite{
		Name: "live against twin", Runs: seeds, Hold: "each fault is detected and healed within the twin's 90 % interval in 80 % of seeds", Broken: broken,
		Control: fmt.Sprintf("probes every 30 s: %d of %d times within, instead of %d", controlInside, 2*seeds*len(demoPlaybooks), inside),
	}.Report(t)
}

// headless runs a demo without anybody who looks on.
func headless(seed uint64) DemoOptions {
	return DemoOptions{
		Seed: seed, Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler),
		Tell: func(DemoEvent) {}, Pulse: func(DemoPulse) {}, Card: func(DemoCard) {},
	}
}

// land counts what lies within, and tells of what does not.
func land(t *testing.T, sums []landed, faults []DemoFault, expected []DemoExpect) {
	for i, f := range faults {
		x := &expected[i]
		for k, r := range []DemoRange{x.Detected, x.Verified} {
			was := []time.Duration{f.Detected, f.Verified}[k]
			sums[i].width[k] += float64((r.High - r.Low) / r.Median)
			switch {
			case f.Healed && r.holds(was) && k == 0:
				sums[i].detected++
			case f.Healed && r.holds(was):
				sums[i].healed++
			case t != nil:
				t.Logf("%s: %s after %s, not within %.2f and %.2f s", f.Name, []string{"detected", "healed"}[k], was.Round(10*time.Millisecond), float64(r.Low), float64(r.High))
			}
		}
	}
}

// shortAgainstTwin is a day of twenty seconds.
func shortAgainstTwin(t *testing.T) {
	const seed, busy = 1, 250 * time.Millisecond // so far off may a busy machine be
	day := demo.Timetable(seed)
	erp, worker := day[1], day[2]
	worker.At, erp.At = 2*time.Second, 9*time.Second
	o := headless(seed)
	o.short = &demoShort{placing: 12 * time.Second, faults: []demo.Fault{worker, erp}}
	card, err := Demo(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if card.Booked != card.Placed || card.DoubleCharged > 0 || !card.Verified {
		t.Errorf("the short day went wrong: %+v", card)
	}
	expected, control := demoInTwin(t, seed, liveDays).Faults, demoInTwin(t, seed, liveDays, "every: 1s", "every: 30s").Faults
	inside := 0
	for i, f := range card.Faults {
		if f.Name == "gateway" {
			continue
		}
		for k, was := range []time.Duration{f.Detected, f.Verified} {
			r, wrong := []DemoRange{expected[i].Detected, expected[i].Verified}[k], []DemoRange{control[i].Detected, control[i].Verified}[k]
			if !f.Healed || (was+busy).Seconds() < float64(r.Least) || (was-busy).Seconds() > float64(r.Greatest) {
				t.Errorf("%s: %s after %s; the twin's days are from %.2f to %.2f s", f.Name, []string{"detected", "healed"}[k], was, float64(r.Least), float64(r.Greatest))
			}
			if f.Healed && wrong.holds(was) {
				inside++
			}
		}
	}
	if inside == 4 {
		t.Error("a twin whose probes look every 30 s expects just the same")
	}
}
