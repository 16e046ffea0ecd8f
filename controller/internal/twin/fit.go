package twin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/eventlog"
)

// Fitting a model to an event log. What is found, and how:
//
//   - which activities are done beside one another, from their order and overlap within cases (fitcases.go);
//   - ways from step to step, with the step before as context where that matters (fitways.go);
//   - pools of people who do the same work, and the hours of the week at which they do (fitpools.go);
//   - working times, and delays before a step that neither a busy nor an absent worker explains, by the method of
//     D. Chapela-Campa and M. Dumas, "Enhancing business process simulation models with extraneous activity delays" (2024);
//     cases that the end of the log cut off count by the estimator of E. Kaplan and P. Meier (1958) (fittimes.go, fitdelays.go);
//   - how work arrives: in a regular rhythm, or at random with a rate for each hour of the week (fitarrivals.go).

// Bounds of a fitted model, so that it stays small enough to be read, by people and by api.
const (
	fitStepsMax   = 2000
	fitMembersMax = 1000 // of one pool; more are counted instead of named
	guessSamples  = 30   // fewer make a guess
)

// FitSource says where a log came from.
type FitSource struct {
	Name    string // of the model; a valid name
	From    string // file or files
	Digest  string // sha256:... of the bytes
	Skipped int64  // rows that were left out
}

// LogFit is a model and how it came about.
type LogFit struct {
	Model  api.Model
	Steps  []FitStep // in the order of the model's steps
	Begun  int       // cases that are unfinished as far as can be told; they count as cut off
	Beside [][]string
}

// FitStep is what was found about one step.
type FitStep struct {
	Name, Label string
	Pool        string
	Samples     int           // how often it was done
	Takes       time.Duration // mean working time
	Waits       time.Duration // mean time from when it could begin until it began
	Delay       time.Duration // mean of that which no worker explains, in hours of the pool
	Delayed     float64       // share of the samples with such a delay
}

// fitter is one fitting.
type fitter struct {
	log    *eventlog.Log
	source FitSource
	names  []string // of steps, by activity
	cases  []fitCase
	from   int64 // the log's window, microseconds
	to     int64
	beside [][]bool // activities that are done beside one another
	blocks [][]int  // groups of them that begin at once; the first stands for all
	block  []int    // by activity; -1: none
	pools  []fitPool
	poolOf []int // by activity
	week   fitWeek
	begun  int
	guess  []string
	found  []FitStep
	after  [][]float64 // by activity: how often each comes next
}

// fitCase is a case.
type fitCase struct {
	events []fitEvent // by start, then end
	open   bool       // the end of the log cut it off
	steps  []int      // activities in order, where a block counts once
}

// fitEvent is one activity of a case.
type fitEvent struct {
	activity int
	who      int // resource; -1: nobody is named
	start    int64
	end      int64
	ready    int64 // since when it could begin; -1 for the first of a case
	from     int   // the activity whose end made it ready; -1
}

// FitLog makes a model of a log. The model validates and runs. An error says what the log lacks.
func FitLog(l *eventlog.Log, source FitSource) (*LogFit, error) {
	if l == nil || l.Events() == 0 {
		return nil, fmt.Errorf("fitting a model: the log has no events: give one with cases, activities and times")
	}
	if n := len(l.Activities); n > fitStepsMax {
		return nil, fmt.Errorf("fitting a model: %d activities are more than a model can have steps (%d): is the right column the activity?", n, fitStepsMax)
	}
	f := &fitter{log: l, source: source}
	f.names = stepNames(l.Activities)
	f.readCases()
	f.findBeside()
	f.findBlocks()
	f.whenReady()
	f.cutOff()
	f.findPools()
	m := api.Model{Metadata: api.Metadata{Name: source.Name}}
	s := &m.Spec
	s.Summary = "As the log " + source.From + " has it."
	f.steps(s)
	f.ways(s)
	f.arrivals(s)
	f.poolSpecs(s)
	s.Fitted = &api.Fitted{From: source.From, Digest: source.Digest, Window: []string{stampOf(f.from), stampOf(f.to)},
		Cases: int64(len(f.cases)), Events: int64(l.Events()), Skipped: source.Skipped, Guesses: f.guess}
	out := &LogFit{Model: m, Steps: f.found, Begun: f.begun}
	for _, b := range f.blocks {
		var names []string
		for _, a := range b {
			names = append(names, f.names[a])
		}
		out.Beside = append(out.Beside, names)
	}
	return out, nil
}

func stampOf(micros int64) string { return time.UnixMicro(micros).UTC().Format(time.RFC3339) }

// guessed remembers a figure that rests on few samples.
func (f *fitter) guessed(n int, format string, args ...any) {
	if n < guessSamples {
		f.guess = append(f.guess, fmt.Sprintf(format, args...)+fmt.Sprintf(" (%d)", n))
	}
}

// stepNames makes valid, distinct names of what a log calls its activities or people.
func stepNames(labels []string) []string {
	out := make([]string, len(labels))
	used := map[string]bool{}
	for i, label := range labels {
		base := plainName(label)
		name := base
		for n := 2; used[name]; n++ {
			end := fmt.Sprintf("-%d", n)
			name = strings.Trim(base[:min(len(base), 60-len(end))], "-") + end
		}
		used[name] = true
		out[i] = name
	}
	return out
}

// plainName keeps letters and digits of ASCII, in lower case, with dashes between.
func plainName(label string) string {
	var b strings.Builder
	dash := false
	for _, r := range strings.ToLower(label) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			if dash && b.Len() > 0 {
				b.WriteByte('-')
			}
			b.WriteRune(r)
			dash = false
		} else {
			dash = true
		}
		if b.Len() >= 58 {
			break
		}
	}
	if b.Len() == 0 {
		return "step"
	}
	return b.String()
}

// keysOf are the keys of a count, in order.
func keysOf[K int | int64, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m { // sorted below
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
