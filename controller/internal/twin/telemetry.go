package twin

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

// A model from telemetry holds what probes can know of an office: how long endpoints take, how often they fail while nothing is wrong with
// them, and, where a probe counts it, how work comes in. Servers and service times no probe sees; they are guesses that are written as such.

// Telemetry is what a running controller has recorded.
type Telemetry struct {
	Config   *engine.Config
	Workflow string // which one the model is of, where there are several
	Arrivals string // the probe that counts arrivals; empty: the one that can be it
	From     string // what people call the source
	Watched  []Watched
}

// Watched is what there is of one probe.
type Watched struct {
	Probe    string
	Readings []Reading      // in order
	Ill      [][2]time.Time // while an anomaly of it was open
}

// Reading is what a probe saw in a minute, or in an hour where the minutes are gone.
type Reading struct {
	At                 time.Time // its start
	Span               time.Duration
	Runs, Bad, Unknown int
	Last               float64 // value
	TookSum, TookMax   time.Duration
}

// Fitting is a model, and what is to be said of its figures. Comments are by the place of the figure, such as steps.capture.workers.
type Fitting struct {
	Model    api.Model
	Comments map[string]string
}

// guessBelow is how many samples a figure needs to be more than a guess.
const guessBelow = 30

// telemetryFit is a fitting in the making.
type telemetryFit struct {
	Telemetry
	Fitting
	first, last time.Time
	latency     map[string]float64 // mean seconds, by integration
	peak        float64            // most arrivals an hour
}

// FitTelemetry makes a model of what was recorded. The same telemetry gives the same model.
func FitTelemetry(t Telemetry) (*Fitting, error) {
	f := &telemetryFit{Telemetry: t, Fitting: Fitting{Comments: map[string]string{}}, latency: map[string]float64{}}
	f.Model.Spec.Fitted = &api.Fitted{From: t.From}
	w, err := f.workflow()
	if err != nil {
		return nil, err
	}
	f.window()
	if f.first.IsZero() {
		return nil, &api.Error{Code: api.CodeNotFound, Message: "fit a model: there are no roll-ups of the probes of this configuration", Hint: "a controller must have run with them for at least a minute"}
	}
	f.systems()
	if err := f.arrivals(w); err != nil {
		return nil, err
	}
	f.steps(w)
	f.sights(w)
	slices.Sort(f.Model.Spec.Fitted.Guesses)
	return &f.Fitting, nil
}

// workflow is the one that the model is of; nil where the configuration has none.
func (f *telemetryFit) workflow() (*api.Workflow, error) {
	var names []string
	for i := range f.Config.Workflows {
		w := &f.Config.Workflows[i]
		if name := w.Metadata.Name; name == f.Workflow || f.Workflow == "" && len(f.Config.Workflows) == 1 {
			f.Model.Metadata.Name, f.Model.Spec.Workflow, f.Model.Spec.Summary = name, name, w.Spec.Summary
			return w, nil
		}
		names = append(names, w.Metadata.Name)
	}
	switch {
	case f.Workflow != "":
		return nil, api.Errorf(api.CodeNotFound, "there is no workflow %q; there are: %s", f.Workflow, cmp.Or(strings.Join(names, ", "), "none"))
	case len(names) > 1:
		return nil, &api.Error{Code: api.CodeUsage, Message: "the configuration has several workflows, and a model is of one", Hint: "name it with --workflow: " + strings.Join(names, ", ")}
	}
	f.Model.Metadata.Name = "office"
	return nil, nil
}

// window is the time that the readings cover.
func (f *telemetryFit) window() {
	for _, w := range f.Watched {
		for _, r := range w.Readings {
			f.Model.Spec.Fitted.Events += int64(r.Runs)
			if f.first.IsZero() || r.At.Before(f.first) {
				f.first = r.At
			}
			if end := r.At.Add(r.Span); end.After(f.last) {
				f.last = end
			}
		}
	}
	f.Model.Spec.Fitted.Window = []string{f.first.UTC().Format(time.RFC3339), f.last.UTC().Format(time.RFC3339)}
}

func (f *telemetryFit) guess(format string, args ...any) {
	f.Model.Spec.Fitted.Guesses = append(f.Model.Spec.Fitted.Guesses, fmt.Sprintf(format, args...))
}

func (f *telemetryFit) comment(at, format string, args ...any) {
	f.Comments[at] = fmt.Sprintf(format, args...)
}

func (f *telemetryFit) watched(probe string) *Watched {
	for i := range f.Watched {
		if f.Watched[i].Probe == probe {
			return &f.Watched[i]
		}
	}
	return &Watched{}
}

// ill tells whether an anomaly was open at some time of a reading: what was seen then is no sign of how things are while nothing is wrong.
func (w *Watched) ill(r *Reading) bool {
	return slices.ContainsFunc(w.Ill, func(span [2]time.Time) bool { return r.At.Before(span[1]) && span[0].Before(r.At.Add(r.Span)) })
}

// systems describes the endpoints that http and tcp probes call.
func (f *telemetryFit) systems() {
	for _, in := range f.Config.Integrations {
		s := api.ModelSystem{Integration: in.Metadata.Name}
		var sum, n float64
		for i, e := range in.Spec.Endpoints {
			for k := range f.Config.Probes {
				p := &f.Config.Probes[k].Spec
				if p.Integration != in.Metadata.Name || p.Endpoint != e.Name && (p.Endpoint != "" || i > 0) || p.Type != "http" && p.Type != "tcp" {
					continue
				}
				if m, mean, ok := f.endpoint(in.Metadata.Name, e.Name, f.watched(f.Config.Probes[k].Metadata.Name)); ok {
					s.Endpoints = append(s.Endpoints, m)
					sum, n = sum+mean, n+1
					break // a second probe of the same endpoint says the same
				}
			}
		}
		if n > 0 {
			f.latency[in.Metadata.Name] = sum / n
			f.Model.Spec.Systems = append(f.Model.Spec.Systems, s)
		}
	}
}

// spent is a time, and how many runs took as long.
type spent struct {
	took   float64 // seconds
	weight int
}

// endpoint fits one endpoint to what a probe saw of it; mean is in seconds.
func (f *telemetryFit) endpoint(integration, name string, w *Watched) (m api.ModelEndpoint, mean float64, ok bool) {
	place := integration + "/" + name
	samples, n := w.latencies(true)
	if n < guessBelow {
		samples, n = w.latencies(false) // hours know less of how times vary, and are better than nothing
	}
	runs, bad := 0, 0
	for i := range w.Readings {
		if r := &w.Readings[i]; !w.ill(r) {
			runs += r.Runs - r.Unknown
			bad += r.Bad
		}
	}
	if n == 0 && runs == 0 {
		return m, 0, false
	}
	m.Name = name
	if n > 0 {
		m.Takes, mean = spentTimes(samples, n)
		if n < guessBelow {
			f.guess("times of %s (%d samples)", place, n)
		}
	}
	if bad > 0 {
		m.Fails = api.Percent{PPM: int64(math.Round(float64(bad) / float64(runs) * 1e6))}
	}
	if runs < guessBelow {
		f.guess("failures of %s (%d samples)", place, runs)
	}
	f.comment("systems."+place, "probe %s: %d of %d runs were bad while no anomaly was open; whether the effect of such a call happened, no probe sees", w.Probe, bad, runs)
	return m, mean, true
}

// latencies are the times of runs in which all went well. Of each reading the longest time is known, and the mean of the others.
func (w *Watched) latencies(minutes bool) (out []spent, n int) {
	for i := range w.Readings {
		r := &w.Readings[i]
		if r.Runs == 0 || r.Bad+r.Unknown > 0 || minutes && r.Span > time.Minute || w.ill(r) {
			continue
		}
		longest := min(r.TookMax, r.TookSum)
		out = append(out, spent{longest.Seconds(), 1})
		if r.Runs > 1 {
			out = append(out, spent{(r.TookSum - longest).Seconds() / float64(r.Runs-1), r.Runs - 1})
		}
		n += r.Runs
	}
	slices.SortFunc(out, func(a, b spent) int { return cmp.Compare(a.took, b.took) })
	return out, n
}

// quantilesOf is how many steps the quantiles of a fitted time have.
const quantilesOf = 20

// spentTimes fits a time to sorted samples: evenly spaced quantiles, and beyond the last but one an exponential tail.
func spentTimes(samples []spent, n int) (*api.Times, float64) {
	at := func(rank int) float64 {
		for _, s := range samples {
			if rank -= s.weight; rank < 0 {
				return s.took
			}
		}
		return samples[len(samples)-1].took
	}
	var sum float64
	for _, s := range samples {
		sum += s.took * float64(s.weight)
	}
	mean := sum / float64(n)
	t := &api.Times{Samples: int64(n)}
	if samples[0].took == samples[len(samples)-1].took {
		t.Fixed = tidy(mean)
		return t, mean
	}
	for q := range quantilesOf + 1 {
		t.Quantiles = append(t.Quantiles, tidy(at(min(q*n/quantilesOf, n-1))))
	}
	bend := t.Quantiles[quantilesOf-1].Seconds()
	var over float64
	beyond := 0
	for _, s := range samples {
		if s.took > bend {
			over, beyond = over+(s.took-bend)*float64(s.weight), beyond+s.weight
		}
	}
	if n >= guessBelow && beyond > 0 {
		t.Tail = tidy(over / float64(beyond))
		t.Longest = tidy(10 * samples[len(samples)-1].took) // ten times what was ever seen
	}
	return t, mean
}

// tidy rounds seconds to four digits, so that people can read them.
func tidy(seconds float64) api.Duration {
	d := max(time.Duration(seconds*float64(time.Second)), time.Microsecond) // no time at all would be no time said
	unit := time.Nanosecond
	for d/unit >= 10_000 {
		unit *= 10
	}
	return api.Duration{Duration: d.Round(unit)}
}
