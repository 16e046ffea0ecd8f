package twin

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/eventlog"
)

// FidelityDays is how many replications a comparison has unless it says otherwise.
const FidelityDays = 21

// Fidelity is how near a model comes to work that it has not seen, beside how near the past itself comes to it.
type Fidelity struct {
	Cases  int                  `json:"cases"`  // of the part that was held back, and of each replication
	Events int                  `json:"events"` // of the part that was held back
	Played int                  `json:"played"` // cases of a replication: fewer than Cases where so many do not come in a year
	Days   int                  `json:"replications"`
	Twin   eventlog.Distances   `json:"twin"`  // median over the replications, distance by distance
	Low    eventlog.Distances   `json:"low"`   // 5 of 100 replications are nearer
	High   eventlog.Distances   `json:"high"`  // 5 of 100 are farther
	Floor  eventlog.Distances   `json:"floor"` // of whole cases of the past, resampled; see eventlog.Floor
	Runs   []eventlog.Distances `json:"-"`
}

// FidelityOptions say how to compare.
type FidelityOptions struct {
	Days int         // replications; FidelityDays when 0
	Seed uint64      // 1 when 0
	Stop func() bool // asked before each replication; true ends with what there is
}

// Against plays a model for the time of a log that it was not fitted to and measures the distance between the two. Of that log the
// model is told when it begins and how many cases it has; past is what the floor is drawn from.
func Against(m api.Model, past, held *eventlog.Log, o FidelityOptions) (*Fidelity, error) {
	o.Days, o.Seed = cmp.Or(o.Days, FidelityDays), cmp.Or(o.Seed, 1)
	out := &Fidelity{Cases: len(held.Cases), Events: held.Events()}
	begin := held.Cases[0].Start()
	for _, c := range held.Cases {
		begin = min(begin, c.Start())
	}
	r, err := newReplayer(m, ReplayOptions{Begin: time.UnixMicro(begin).UTC(), Cases: len(held.Cases), Seed: o.Seed, Past: past})
	if err != nil {
		return nil, err
	}
	for day := range o.Days {
		if o.Stop != nil && o.Stop() {
			break
		}
		made, err := r.replay(day)
		if err != nil {
			return nil, err
		}
		out.Played = len(made.Cases)
		d, err := eventlog.Compare(made, held)
		if err != nil {
			return nil, fmt.Errorf("comparing replication %d: %w", day+1, err)
		}
		out.Runs = append(out.Runs, d)
	}
	if out.Days = len(out.Runs); out.Days == 0 {
		return nil, fmt.Errorf("comparing the model with the log: it was ended before the first replication was done")
	}
	out.Twin, out.Low, out.High = quantileOf(out.Runs, 0.5), quantileOf(out.Runs, 0.05), quantileOf(out.Runs, 0.95)
	out.Floor, err = eventlog.Floor(past, held, out.Days, o.Seed)
	return out, err
}

// quantileOf takes a quantile of each distance by itself.
func quantileOf(runs []eventlog.Distances, p float64) eventlog.Distances {
	at := func(of func(*eventlog.Distances) float64) float64 {
		all := make([]float64, len(runs))
		for i := range runs {
			all[i] = of(&runs[i])
		}
		slices.Sort(all)
		place := p * float64(len(all)-1)
		i := int(place)
		j := min(i+1, len(all)-1)
		return all[i] + float64((place-float64(i))*(all[j]-all[i]))
	}
	return eventlog.Distances{
		NGram:     at(func(d *eventlog.Distances) float64 { return d.NGram }),
		Absolute:  at(func(d *eventlog.Distances) float64 { return d.Absolute }),
		Circadian: at(func(d *eventlog.Distances) float64 { return d.Circadian }),
		Relative:  at(func(d *eventlog.Distances) float64 { return d.Relative }),
		CycleTime: at(func(d *eventlog.Distances) float64 { return d.CycleTime }),
		Arrival:   at(func(d *eventlog.Distances) float64 { return d.Arrival }),
	}
}

// ReplayOptions say which log to make up.
type ReplayOptions struct {
	Begin       time.Time // cases that arrive from then on count
	Cases       int       // so many of them
	Seed        uint64
	Replication int
	Past        *eventlog.Log // how long cases take and how often they come, to know how long to play; nil: a guess
}

const week = 7 * 24 * hour

// Replay lets a model work and gives its work as an event log.
func Replay(m api.Model, o ReplayOptions) (*eventlog.Log, error) {
	r, err := newReplayer(m, o)
	if err != nil {
		return nil, err
	}
	return r.replay(o.Replication)
}

// replayer is a model ready to be played: so long before Begin, to fill the house, and so long after.
type replayer struct {
	model      api.Model
	o          ReplayOptions
	warm, play int64
	most       int64 // play is never longer
	plan       *Plan
}

func newReplayer(m api.Model, o ReplayOptions) (*replayer, error) {
	longest, rate, span := 30*24*hour, 0.0, week
	if o.Past != nil {
		longest, rate, span = pace(o.Past)
	}
	r := &replayer{model: m, o: o, warm: min(max((longest+week-1)/week, 1), 8) * week, play: 2*week + 2*longest, most: playMax}
	if span < week { // it knows nothing of weeks
		r.warm, r.play = span, span+2*longest
	}
	if rate > 0 {
		r.play += int64(min(float64(o.Cases)/rate*1.2, float64(playMax)))
		r.most = max(int64(min(max(replayCases, 2*float64(o.Cases))/rate, float64(playMax))), hour)
		r.warm = min(r.warm, r.most)
	}
	r.warm = max(r.warm, 0) + inStep(&m, o.Begin, r.warm)
	r.play = min(max(r.play, hour), r.most)
	return r, r.compile()
}

func (r *replayer) compile() error {
	p, findings := Compile(Setup{Model: r.model, Scenario: api.Scenario{Spec: api.ScenarioSpec{
		Start: r.o.Begin.Format(time.RFC3339Nano), Seed: r.o.Seed, Warmup: api.Duration{Duration: time.Duration(r.warm)},
		Horizon: api.Duration{Duration: time.Duration(r.play)}, Variants: []api.Variant{api.VariantNone}}}})
	if findings.Failed() {
		return fmt.Errorf("playing the model: %w", findings)
	}
	r.plan = p
	return nil
}

// replay plays once, and longer where too few cases came.
func (r *replayer) replay(replication int) (*eventlog.Log, error) {
	for {
		b := newBookkeeper(r.plan, &r.model.Spec)
		run := r.plan.Run(api.VariantNone, replication, Options{Record: b.record})
		if run.Cut != "" {
			return nil, fmt.Errorf("playing the model: %s", run.Cut)
		}
		switch arrived := b.close(r.o.Cases); {
		case arrived >= r.o.Cases || r.play == r.most && arrived > 0:
			return &b.log, nil
		case r.play == r.most:
			return nil, fmt.Errorf("playing the model: nothing was done in %s of its time: do its arrivals and hours fit together?", api.Duration{Duration: time.Duration(r.play)})
		}
		r.play = min(2*r.play, r.most)
		if err := r.compile(); err != nil {
			return nil, err
		}
	}
}

// replayCases bounds the cases of a replication.
const replayCases = 5e5

// playMax is the longest time that is played: the longest horizon of a scenario.
const playMax = 366 * 24 * hour

// pace is how long the longest cases of a log take (nearly), nanoseconds, how many cases come in a nanosecond, and over how long a time.
func pace(l *eventlog.Log) (longest int64, rate float64, span int64) {
	times := make([]int64, len(l.Cases))
	first, last := l.Cases[0].Start(), l.Cases[0].Start()
	for i, c := range l.Cases {
		times[i] = c.End() - c.Start()
		first, last = min(first, c.Start()), max(last, c.Start())
	}
	slices.Sort(times)
	longest = min(times[len(times)*99/100], playMax/1000) * 1000
	span = min(last-first, playMax/1000) * 1000
	if last > first {
		rate = float64(len(l.Cases)-1) / (float64(last-first) * 1000)
	}
	return longest, rate, span
}

// inStep is how much earlier to begin, so that arrivals with a fixed rhythm are in step with the time that counts.
func inStep(m *api.Model, begin time.Time, warm int64) int64 {
	a := &m.Spec.Arrivals
	if a.Every.Duration <= 0 {
		return 0
	}
	every := int64(a.Every.Duration)
	before := 2 * week
	h, err := makeHours(a.Calendar, nil, begin.Add(time.Duration(-warm-before)), warm+3*before)
	if err != nil {
		return 0 // Compile says so
	}
	w := world{}
	for early := every; early < before; early += every {
		if w.inHours(h, before-early, every) == before {
			return early
		}
	}
	return 0
}

// bookkeeper writes a log of what is done.
type bookkeeper struct {
	plan *Plan
	log  eventlog.Log
	zero int64 // of the world's time, microseconds
	work map[int32][]eventlog.Event
	born map[int32]int64
	list []int32
	who  []int32 // by pool: the resource that its first member is; None where nobody is named
}

func newBookkeeper(p *Plan, m *api.ModelSpec) *bookkeeper {
	b := &bookkeeper{plan: p, zero: p.start.UnixMicro(), work: map[int32][]eventlog.Event{}, born: map[int32]int64{}}
	for _, s := range m.Steps {
		b.log.Activities = append(b.log.Activities, cmp.Or(s.Label, s.Name))
	}
	for i := range p.pools {
		if len(p.pools[i].members) == 0 {
			b.who = append(b.who, eventlog.None)
			continue
		}
		b.who = append(b.who, int32(len(b.log.Resources)))
		for k := range p.pools[i].members {
			b.log.Resources = append(b.log.Resources, m.Pools[i].Members[k].Name)
		}
	}
	return b
}

func (b *bookkeeper) record(w Work) {
	if w.Born < b.plan.from {
		return
	}
	if _, known := b.born[w.Item]; !known {
		b.born[w.Item] = w.Born
		b.list = append(b.list, w.Item)
	}
	who := b.who[b.plan.steps[w.Step].pool]
	if who != eventlog.None {
		who += int32(w.Member)
	}
	b.work[w.Item] = append(b.work[w.Item], eventlog.Event{Activity: int32(w.Step), Resource: who, Start: b.zero + w.Start/1000, End: b.zero + w.End/1000})
}

// close makes a log of the first cases; it tells how many there were in all.
func (b *bookkeeper) close(cases int) int {
	slices.SortFunc(b.list, func(x, y int32) int { return cmp.Or(cmp.Compare(b.born[x], b.born[y]), cmp.Compare(x, y)) })
	for _, i := range b.list[:min(cases, len(b.list))] {
		events := b.work[i]
		slices.SortStableFunc(events, func(x, y eventlog.Event) int { return cmp.Or(cmp.Compare(x.Start, y.Start), cmp.Compare(x.End, y.End)) })
		b.log.Cases = append(b.log.Cases, eventlog.Case{ID: fmt.Sprint(i), Events: events})
	}
	slices.SortStableFunc(b.log.Cases, func(x, y eventlog.Case) int { return cmp.Compare(x.Start(), y.Start()) })
	return len(b.list)
}
