package twin

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/backstay/backstay/api"
)

// counting are the types of probes whose value may be a number of items.
var counting = []string{"sql", "amqp-queue", "prometheus"}

// flow is what a count says of how work comes in.
type flow struct {
	probe   string
	counter bool // it only ever rises: it counts arrivals; else it counts what is there, and its rises are the least that came
	came    float64
	hours   [168]float64 // items, by hour of the week in UTC
	time    [168]float64 // hours looked at
}

// gapMost is the longest time between two readings that is one step.
const gapMost = 2 * time.Hour

// flow reads a probe's counts as a flow.
func (w *Watched) flow() flow {
	out := flow{probe: w.Probe, counter: true}
	var last *Reading
	for i := range w.Readings {
		r := &w.Readings[i]
		if r.Runs == r.Unknown || r.Bad > 0 || math.IsNaN(r.Last) {
			continue
		}
		if last != nil {
			rise := r.Last - last.Last
			end := r.At.Add(r.Span)
			took := end.Sub(last.At.Add(last.Span))
			out.counter = out.counter && rise >= 0
			if took > 0 && took <= gapMost {
				h := hourOfWeek(end.Add(-took / 2))
				out.time[h] += took.Hours()
				out.hours[h] += max(rise, 0)
				out.came += max(rise, 0)
			}
		}
		last = r
	}
	out.counter = out.counter && out.came > 0
	return out
}

// hourOfWeek counts from Monday 00:00 UTC.
func hourOfWeek(t time.Time) int {
	t = t.UTC()
	return (int(t.Weekday())+6)%7*24 + t.Hour()
}

// arrivals fits how work comes in to the probe that counts it.
func (f *telemetryFit) arrivals(w *api.Workflow) error {
	from, err := f.chooseFlow(w)
	if err != nil {
		return err
	}
	var hours float64
	known := 0
	if from != nil {
		for h := range from.time {
			hours += from.time[h]
			if from.time[h] > 0 {
				known++
			}
		}
	}
	if from == nil || hours == 0 {
		f.Model.Spec.Arrivals.PerHour, f.peak = 60, 60
		f.guess("arrivals (no probe counts them)")
		f.comment("arrivals", "a guess: no probe counts what comes in; name one that counts all orders ever with --arrivals")
		return nil
	}
	mean := from.came / hours
	how := fmt.Sprintf("probe %s counts what came: %.0f in %.1f hours", from.probe, from.came, hours)
	if !from.counter {
		how = fmt.Sprintf("a guess: probe %s counts what is there, and where as much goes as comes it shows nothing; it rose by %.0f in %.1f hours, which is the least that came", from.probe, from.came, hours)
		f.guess("arrivals (only what probe %s rose)", from.probe)
	}
	f.comment("arrivals", "%s", how)
	f.peak = mean
	if known < 24 {
		f.Model.Spec.Arrivals.PerHour = hundredths(mean)
		if from.came < guessBelow && from.counter {
			f.guess("arrivals (%.0f samples)", from.came)
		}
		return nil
	}
	list, few := make([]float64, 168), 0
	for h := range list {
		list[h] = hundredths(mean)
		if from.time[h] > 0 {
			list[h] = hundredths(from.hours[h] / from.time[h])
		}
		if from.hours[h] < guessBelow {
			few++
		}
		f.peak = max(f.peak, list[h])
	}
	f.Model.Spec.Arrivals.Hours = list
	if few > 0 {
		f.guess("arrivals in %d of 168 hours of the week (fewer than %d samples each)", few, guessBelow)
	}
	if known < 168 {
		f.Comments["arrivals"] += fmt.Sprintf("; %d hours of the week were never seen and have the mean", 168-known)
	}
	return nil
}

func hundredths(x float64) float64 { return math.Round(x*100) / 100 }

// chooseFlow finds the probe that counts arrivals: the one that was named; else the only counter that there is; else what waits, of which
// only the rises are known.
func (f *telemetryFit) chooseFlow(w *api.Workflow) (*flow, error) {
	var counters []flow
	for i := range f.Config.Probes {
		p := &f.Config.Probes[i]
		name := p.Metadata.Name
		if name == f.Arrivals {
			from := f.watched(name).flow()
			return &from, nil
		}
		if slices.Contains(counting, p.Spec.Type) {
			if from := f.watched(name).flow(); from.counter && len(f.watched(name).Readings) >= guessBelow {
				counters = append(counters, from)
			}
		}
	}
	switch {
	case f.Arrivals != "":
		return nil, api.Errorf(api.CodeNotFound, "there is no probe %q to count arrivals", f.Arrivals)
	case len(counters) == 1:
		return &counters[0], nil
	case w != nil && w.Spec.Value.CountedBy != "":
		from := f.watched(w.Spec.Value.CountedBy).flow()
		from.counter = false
		return &from, nil
	}
	return nil, nil
}

// serviceGuess is how long the work of a step takes where nobody knows.
const serviceGuess = time.Second

// steps are those of the workflow, with the integrations that they call. Who does them and how long it takes, no probe sees.
func (f *telemetryFit) steps(w *api.Workflow) {
	steps := []api.WorkflowStep{{Name: "work"}}
	if w != nil {
		steps = w.Spec.Steps
	} else {
		for _, s := range f.Model.Spec.Systems {
			steps[0].Uses = append(steps[0].Uses, s.Integration)
		}
	}
	for _, s := range steps {
		m := api.ModelStep{Name: s.Name, Takes: &api.Times{Fixed: api.Duration{Duration: serviceGuess}}}
		busy := serviceGuess.Seconds()
		for _, name := range s.Uses {
			if slices.ContainsFunc(f.Config.Integrations, func(in api.Integration) bool { return in.Metadata.Name == name && in.Spec.Channel == nil }) {
				m.Calls = append(m.Calls, api.ModelCall{To: name})
				busy += f.latency[name]
			}
		}
		m.Workers = max(1, int64(math.Ceil(min(2*f.peak/3600*busy, 10_000))))
		f.comment("steps."+s.Name+".workers", "a guess: twice as many as the busiest hour needs")
		f.comment("steps."+s.Name+".takes", "a guess: no probe sees how long the work takes")
		if len(m.Calls) > 0 {
			f.comment("steps."+s.Name+".calls", "say which of them brings something about: effect, money, keyed")
		}
		f.guess("workers of step %s (no samples)", s.Name)
		f.guess("time of step %s (no samples)", s.Name)
		f.Model.Spec.Steps = append(f.Model.Spec.Steps, m)
	}
}

// sights says what counting probes see, as far as the configuration tells.
func (f *telemetryFit) sights(w *api.Workflow) {
	for i := range f.Config.Probes {
		p := &f.Config.Probes[i]
		name := p.Metadata.Name
		if !slices.Contains(counting, p.Spec.Type) {
			continue
		}
		var m api.ModelSight
		switch {
		case w != nil && w.Spec.Value.CountedBy == name:
			m = api.ModelSight{Probe: name, Count: "open"}
		case w != nil && p.Spec.Workflow == w.Metadata.Name && p.Spec.Step != "":
			m = api.ModelSight{Probe: name, Count: "waiting", Of: p.Spec.Step}
			f.guess("what probe %s sees", name)
		default:
			f.comment("unseen."+name, "%s", f.watched(name).values())
			continue
		}
		f.Model.Spec.Sees = append(f.Model.Spec.Sees, m)
		f.comment("sees."+name, "%s", f.watched(name).values())
	}
}

// values sums up what a probe counted.
func (w *Watched) values() string {
	var sum, most float64
	n := 0
	for i := range w.Readings {
		if r := &w.Readings[i]; r.Runs > r.Unknown && r.Bad == 0 {
			sum, most, n = sum+r.Last, max(most, r.Last), n+1
		}
	}
	if n == 0 {
		return "it saw nothing"
	}
	return fmt.Sprintf("%.4g on average, %.4g at most, in %d readings", sum/float64(n), most, n)
}
