package controller

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/twin"
)

// DemoTwin is the same bad day, played in the twin: what it comes to with nobody who acts, with a naive program, and with the playbooks.
type DemoTwin struct {
	Days     int           `json:"days"` // how many were played of each, alike in their faults and different in their chance
	Took     time.Duration `json:"took"`
	Variants []DemoVariant `json:"variants"`
	Faults   []DemoExpect  `json:"faults"` // what the twin expects of the real run
	Inside   int           `json:"inside"` // times of the real run that lie within the twin's interval ...
	Compared int           `json:"compared"`
	Real     DemoOutcome   `json:"real"` // the real run's own figures
}

// DemoVariant is what came of the day in one variant, over all days that were played.
type DemoVariant struct {
	Variant       api.Variant `json:"variant"`
	BookedInTime  DemoRange   `json:"bookedInTime"` // orders booked within the workflow's turnaround
	Late          DemoRange   `json:"late"`         // orders booked later, or not at all
	DoubleCharged DemoRange   `json:"doubleCharged"`
	Left          DemoRange   `json:"left"` // orders not booked at the end
	Recovered     DemoRange   `json:"recovered"`
}

// DemoOutcome is what came of one day.
type DemoOutcome struct {
	BookedInTime  int         `json:"bookedInTime"`
	Late          int         `json:"late"`
	DoubleCharged int         `json:"doubleCharged"`
	Left          int         `json:"left"`
	Recovered     twin.Number `json:"recovered"` // seconds from the first fault until the last anomaly cleared
}

// Middle is the middle of each figure over the days.
func (v *DemoVariant) Middle() DemoOutcome {
	return DemoOutcome{BookedInTime: int(v.BookedInTime.Median), Late: int(v.Late.Median), DoubleCharged: int(v.DoubleCharged.Median), Left: int(v.Left.Median), Recovered: v.Recovered.Median}
}

// DemoRange is a figure over the days of a variant: the middle one, all but the lowest and highest 5 %, and the extremes. Times are in
// seconds; what never happened is later than any time.
type DemoRange struct {
	Median   twin.Number `json:"median"`
	Low      twin.Number `json:"p5"`
	High     twin.Number `json:"p95"`
	Least    twin.Number `json:"least"`
	Greatest twin.Number `json:"greatest"`
}

// DemoExpect is what the twin expects of one fault, in seconds since it began.
type DemoExpect struct {
	Name     string    `json:"name"`
	Detected DemoRange `json:"detected"`
	Acted    DemoRange `json:"acted"`
	Verified DemoRange `json:"verified"`
}

// demoScenario is the file that the demo leaves beside its configuration.
const demoScenario = "bad-day.scenario.yaml"

// demoDays is how many days the score card plays: a second or so of work.
const demoDays = 100

// demoTwin plays the scenario that lies beside a demo's configuration.
func demoTwin(ctx context.Context, file string, days int) (*DemoTwin, error) {
	began := time.Now()
	list, findings, err := readScenarios(file, change{})
	if err != nil {
		return nil, err
	}
	if findings.Failed() || len(list) != 1 {
		return nil, fmt.Errorf("read the demo's scenario: %w", findings)
	}
	plan, wrong := twin.Compile(list[0].setup)
	if wrong.Failed() {
		return nil, fmt.Errorf("make the demo's scenario ready: %w", wrong)
	}
	out := &DemoTwin{Days: days}
	played, err := playDemoDays(ctx, plan, days)
	if err != nil {
		return nil, err
	}
	for i, v := range plan.Variants() {
		out.Variants = append(out.Variants, played.variant(i, v))
		if v == api.VariantCurrent {
			out.Faults = played.expects(i)
		}
	}
	out.Took = time.Since(began)
	return out, nil
}

// demoDay is one day of one variant, with how each fault fared.
type demoDay struct {
	run    twin.Run
	faults []DemoFault
}

// demoPlayed is all days, by variant.
type demoPlayed [][]demoDay

func playDemoDays(ctx context.Context, plan *twin.Plan, days int) (demoPlayed, error) {
	played := make(demoPlayed, len(plan.Variants()))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	for i, v := range plan.Variants() {
		played[i] = make([]demoDay, days)
		for n := range days {
			group.Go(func() error {
				played[i][n] = playDemoDay(ctx, plan, v, n)
				return ctx.Err()
			})
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, of := range played {
		for n := range of {
			if cut := of[n].run.Cut; cut != "" {
				return nil, fmt.Errorf("play the demo's bad day in the twin: day %d ended early: %s", n+1, cut)
			}
		}
	}
	return played, nil
}

// playDemoDay plays one day, and asks its log the same questions as that of the real run.
func playDemoDay(ctx context.Context, plan *twin.Plan, v api.Variant, n int) demoDay {
	var entries []api.Entry
	run := plan.Run(v, n, twin.Options{Until: func() bool { return ctx.Err() != nil }, Entry: func(e *api.Entry) { entries = append(entries, *e) }})
	day := demoDay{run: run}
	for _, pair := range demoPlaybooks {
		f := DemoFault{Name: pair.fault, Playbook: pair.playbook}
		if i := slices.IndexFunc(run.Faults, func(f twin.FaultRun) bool { return f.Name == pair.fault }); i >= 0 && v == api.VariantCurrent {
			f = fared(entries, twin.DefaultStart.Add(run.Faults[i].Began), f)
		}
		day.faults = append(day.faults, f)
	}
	return day
}

func (p demoPlayed) variant(i int, v api.Variant) DemoVariant {
	tally := func(value func(f *[twin.Figures]float64) float64) DemoRange {
		values := make([]float64, len(p[i]))
		for n := range p[i] {
			values[n] = value(&p[i][n].run.Figures)
		}
		return rangeOf(values)
	}
	figure := func(k twin.Figure) DemoRange {
		return tally(func(f *[twin.Figures]float64) float64 { return f[k] })
	}
	return DemoVariant{
		Variant: v,
		BookedInTime: tally(func(f *[twin.Figures]float64) float64 { // the scenario lasts until each order is booked, or late
			return f[twin.Finished] + f[twin.Left] - f[twin.Late]
		}),
		Late: figure(twin.Late), DoubleCharged: figure(twin.Doubled), Left: figure(twin.Left), Recovered: figure(twin.Recovered),
	}
}

// expects is how the faults fared over the days of a variant.
func (p demoPlayed) expects(i int) []DemoExpect {
	var out []DemoExpect
	for k, pair := range demoPlaybooks {
		x := DemoExpect{Name: pair.fault}
		of := func(d func(f *DemoFault) time.Duration) DemoRange {
			values := make([]float64, len(p[i]))
			for n := range p[i] {
				f := &p[i][n].faults[k]
				if values[n] = d(f).Seconds(); !f.Healed {
					values[n] = math.NaN()
				}
			}
			return rangeOf(values)
		}
		x.Detected = of(func(f *DemoFault) time.Duration { return f.Detected })
		x.Acted = of(func(f *DemoFault) time.Duration { return f.Acted })
		x.Verified = of(func(f *DemoFault) time.Duration { return f.Verified })
		out = append(out, x)
	}
	return out
}

func rangeOf(values []float64) DemoRange {
	sorted := slices.Clone(values)
	for i, v := range sorted {
		if math.IsNaN(v) {
			sorted[i] = math.Inf(1)
		}
	}
	slices.Sort(sorted)
	at := func(share float64) twin.Number {
		return twin.Number(sorted[int(math.Round(share*float64(len(sorted)-1)))])
	}
	return DemoRange{Median: at(0.5), Low: at(0.05), High: at(0.95), Least: at(0), Greatest: at(1)}
}

// holds tells whether a time lies within the twin's 90 % interval.
func (r DemoRange) holds(d time.Duration) bool {
	return d.Seconds() >= float64(r.Low) && d.Seconds() <= float64(r.High)
}

// compare holds the times of a real run against what the twin expected.
func (t *DemoTwin) compare(real []DemoFault) {
	for i, f := range real {
		for _, c := range []struct {
			expected DemoRange
			was      time.Duration
		}{{t.Faults[i].Detected, f.Detected}, {t.Faults[i].Verified, f.Verified}} {
			t.Compared++
			if f.Healed && c.expected.holds(c.was) {
				t.Inside++
			}
		}
	}
}

// Holds tells whether a variant came to what it must: the controls do harm, so that there was something at stake, and the playbooks do none
// on any day.
func (v *DemoVariant) Holds() bool { return v.broken() == "" }

func (v *DemoVariant) broken() string {
	switch {
	case v.Variant == api.VariantNone && v.Left.Low <= 0:
		return "with the controller off no order is left behind: nothing was at stake"
	case v.Variant == api.VariantNaive && v.DoubleCharged.Low <= 0:
		return "a naive retry charges nobody twice: nothing was at stake"
	case v.Variant == api.VariantCurrent && v.DoubleCharged.Greatest > 0:
		return fmt.Sprintf("the playbooks charge up to %.0f orders twice", float64(v.DoubleCharged.Greatest))
	case v.Variant == api.VariantCurrent && v.Left.Greatest > 0:
		return fmt.Sprintf("the playbooks leave up to %.0f orders behind", float64(v.Left.Greatest))
	}
	return ""
}

// broken lists what does not hold of the comparison.
func (t *DemoTwin) broken() []string {
	var out []string
	for i := range t.Variants {
		if wrong := t.Variants[i].broken(); wrong != "" {
			out = append(out, "played in the twin: "+wrong)
		}
	}
	return out
}
