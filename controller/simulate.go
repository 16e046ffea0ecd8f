package controller

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/twin"
)

// Simulation says what to play. Zero values leave it to the scenario.
type Simulation struct {
	File     string
	Scenario string // which one, where the file has several
	Variants []api.Variant
	Seed     uint64
	Days     int // replications; 0: until the figures are precise
	Day      int // only this one, from 1
	Workers  int // 0: one for each processor
	Begin    Beginning
	Progress func(SimulationProgress)
}

// SimulationProgress is how far it is. Days is how many it will take, as far as that can be told.
type SimulationProgress struct {
	Scenario   string
	Done, Days int
	Elapsed    time.Duration
	Left       time.Duration // 0: not known
}

// SimulationReport is what was found; see package twin for its fields.
type SimulationReport struct {
	*twin.Report
	File string        `json:"-"`
	Took time.Duration `json:"-"`
}

// Verdicts of reports.
const (
	VerdictPass         = twin.Pass
	VerdictFail         = twin.Fail
	VerdictInconclusive = twin.Inconclusive
)

// Simulate plays a scenario until its figures are precise, somebody ends it, or as many days as were asked for have gone. A context that
// ends gives the report of the days so far, marked as partial. Findings with an error mean that nothing was played.
func Simulate(ctx context.Context, o Simulation) (*SimulationReport, api.Findings, error) {
	if o.Days < 0 || o.Days > twin.RunsMax || o.Day < 0 || o.Day > twin.RunsMax {
		return nil, nil, api.Errorf(api.CodeUsage, "days are from 1 to %d", twin.RunsMax)
	}
	list, findings, err := readScenarios(o.File, change{o.Variants, o.Seed, func(s *twin.Setup) (*twin.Live, error) {
		if o.Scenario != "" && s.Scenario.Metadata.Name != o.Scenario {
			return nil, nil
		}
		return o.Begin.read(ctx, s)
	}})
	if err != nil || findings.Failed() {
		return nil, findings, err
	}
	chosen, err := chooseScenario(list, o)
	if err != nil {
		return nil, findings, err
	}
	report, err := chosen.play(ctx, o)
	return report, findings, err
}

func chooseScenario(list []*scenario, o Simulation) (*scenario, error) {
	var names []string
	for _, s := range list {
		if name := s.spec.Metadata.Name; name == o.Scenario || o.Scenario == "" && len(list) == 1 {
			return s, nil
		}
		names = append(names, s.spec.Metadata.Name)
	}
	if o.Scenario == "" {
		return nil, &api.Error{Code: api.CodeUsage, Message: fmt.Sprintf("there are %d scenarios in %s", len(list), o.File), Hint: fmt.Sprintf("name one with --scenario: %q", names)}
	}
	return nil, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("there is no scenario %q in %s", o.Scenario, o.File), Hint: fmt.Sprintf("there are: %q", names)}
}

// player plays one scenario.
type player struct {
	o     Simulation
	plan  *twin.Plan
	study *twin.Study
	began time.Time
	name  string

	mu      sync.Mutex
	done    int // days, of all variants
	expects int // days
}

func (s *scenario) play(ctx context.Context, o Simulation) (*SimulationReport, error) {
	plan, findings := twin.Compile(s.setup)
	if findings.Failed() {
		return nil, findings
	}
	study, err := twin.NewStudy(plan)
	if err != nil {
		return nil, err
	}
	p := &player{o: o, plan: plan, study: study, began: time.Now(), name: s.spec.Metadata.Name, expects: o.Days}
	if p.expects == 0 {
		p.expects = twin.RunsMin
	}
	facts := twin.Facts{Build: buildOf(), Assumed: s.assumed, Only: o.Day}
	facts.Stopped, facts.Partial, err = p.days(ctx)
	if err != nil {
		return nil, err
	}
	if study.Days() > 0 {
		variant, day, why := study.Telling()
		if o.Day > 0 {
			why = "it was asked for"
		}
		run := plan.Run(variant, day, twin.Options{Story: true})
		facts.Story = twin.Tell(&run, why)
	}
	report := &SimulationReport{Report: study.Report(facts), File: s.file, Took: time.Since(p.began)}
	for i := range s.pos {
		report.Expected[i].Pos = s.pos[i]
	}
	return report, nil
}

// days plays until there are enough, and says why it stopped.
func (p *player) days(ctx context.Context) (why string, partial bool, err error) {
	if p.o.Day > 0 {
		p.expects = 1
		done, err := p.block(ctx, p.o.Day-1, 1)
		return fmt.Sprintf("only day %d was asked for", p.o.Day), done == 0, err
	}
	for {
		from := p.study.Days()
		block := twin.RunBlock
		if p.o.Days > 0 {
			block = min(block, p.o.Days-from)
		}
		done, err := p.block(ctx, from, block)
		if err != nil {
			return "", false, err
		}
		if done < block {
			return fmt.Sprintf("it was ended early, after %d days", p.study.Days()), true, nil
		}
		n := p.study.Days()
		settled, open := twin.Settled(p.study.Tallies())
		switch {
		case p.o.Days > 0 && n >= p.o.Days:
			return fmt.Sprintf("%d days were asked for", n), false, nil
		case p.o.Days > 0:
		case settled:
			return "half of the 95 % interval of detected, acted, recovered, late and atRisk is at most 5 % of its mean in each variant", false, nil
		case n >= twin.RunsMax:
			return fmt.Sprintf("%d days are the most, although half of the 95 %% interval of %s is still above 5 %% of its mean", n, open), false, nil
		default:
			p.expect(twin.StillNeeded(p.study.Tallies()))
		}
	}
}

func (p *player) expect(days int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expects = max(days, p.study.Days()+twin.RunBlock)
}

// block plays so many days of all variants side by side, and adds those that were played to their end, in their order. It gives how many.
func (p *player) block(ctx context.Context, from, n int) (int, error) {
	variants := p.plan.Variants()
	runs := make([]twin.Run, n*len(variants))
	whole := make([]bool, len(runs))
	workers := p.o.Workers
	if workers <= 0 {
		workers = runtime.NumCPU()
	}
	var group errgroup.Group
	group.SetLimit(workers)
	ended := func() bool { return ctx.Err() != nil }
	for i := range runs {
		if ended() {
			break
		}
		group.Go(func() error {
			runs[i] = p.plan.Run(variants[i%len(variants)], from+i/len(variants), twin.Options{Until: ended})
			whole[i] = runs[i].Cut == "" || !ended()
			if whole[i] {
				p.tick(len(variants))
			}
			return nil
		})
	}
	err := group.Wait()
	for day := range n {
		of := runs[day*len(variants) : (day+1)*len(variants)]
		for i := range of {
			if !whole[day*len(variants)+i] {
				return day, err
			}
		}
		p.study.Add(of)
	}
	return n, err
}

// tick counts one run, and tells how far it is.
func (p *player) tick(variants int) {
	if p.o.Progress == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	now := SimulationProgress{Scenario: p.name, Done: p.done / variants, Days: p.expects, Elapsed: time.Since(p.began)}
	if total := p.expects * variants; p.done > 0 && p.done <= total {
		now.Left = now.Elapsed / time.Duration(p.done) * time.Duration(total-p.done)
	}
	p.o.Progress(now)
}
