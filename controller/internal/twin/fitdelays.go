package twin

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/backstay/backstay/api"
)

// What counts as a delay that no worker explains.
const (
	delayGap   = 1_000_000  // microseconds: somebody who is free for less has no chance to begin
	delayLeast = 60_000_000 // microseconds: less is no delay
	delayShare = 0.05       // of a step's samples that must be delayed, so that it is modelled
	busyMax    = 2000       // pieces of work that are looked at for one delay
)

// busy is when somebody works, by start.
type busy struct {
	spans   [][2]int64
	longest int64
	many    bool // does several things at once: is never taken to be busy
}

// delaysSeen is what was seen of the delays before one activity.
type delaysSeen struct {
	waits float64 // microseconds in all
	n     int
	open  map[int][]seen // as much of it as lies in hours, by the step before
}

func (d *delaysSeen) add(from int, open seen) {
	if d.open == nil {
		d.open = map[int][]seen{}
	}
	d.n++
	d.open[from] = append(d.open[from], open)
}

// steps writes the steps with their times.
func (f *fitter) steps(s *api.ModelSpec) {
	n := len(f.log.Activities)
	takes, delays := make([][]seen, n), make([]delaysSeen, n)
	work := f.busyTimes()
	for i := range f.cases {
		for k, e := range f.cases[i].events {
			p := &f.pools[f.poolOf[e.activity]]
			takes[e.activity] = append(takes[e.activity], sampleOf(f.worked(p, e.start, e.end)))
			if k > 0 {
				d := &delays[e.activity]
				d.waits += float64(e.start - e.ready)
				last := f.unexplained(p, &e, work)
				d.add(f.first(e.from), within(f.inHours(p, e.ready, last), f.inHours(p, e.ready, e.start)))
			}
		}
		f.cutDelay(&f.cases[i], delays)
	}
	for a := range n {
		p := &f.pools[f.poolOf[a]]
		c := productLimit(takes[a])
		step := api.ModelStep{Name: f.names[a], Label: f.log.Activities[a], Pool: p.name, Takes: fitTimes(takes[a])}
		found := FitStep{Name: step.Name, Label: step.Label, Pool: p.name, Samples: len(takes[a]), Takes: spanOf(c.mean())}
		f.guessed(len(takes[a]), "takes of %s", f.names[a])
		if d := &delays[a]; d.n > 0 {
			var all []seen
			for _, from := range keysOf(d.open) {
				all = append(all, d.open[from]...)
			}
			c := likeliest(all)
			found.Waits, found.Delayed = spanOf(d.waits/float64(d.n)), c.beyond(delayLeast)
			if found.Delayed >= delayShare {
				found.Delay = spanOf(c.mean())
			}
			f.stepDelays(&step, d)
			step.DelayPauses = p.hours != nil && (step.Delay != nil || len(step.Delays) > 0)
		}
		s.Steps = append(s.Steps, step)
		f.found = append(f.found, found)
	}
}

func spanOf(micros float64) time.Duration { return time.Duration(min(micros, 9e15)) * time.Microsecond }

// first stands for the block that an activity belongs to.
func (f *fitter) first(activity int) int {
	if activity >= 0 && f.block[activity] >= 0 {
		return f.blocks[f.block[activity]][0]
	}
	return activity
}

// inHours is how much of a time lies in a pool's hours.
func (f *fitter) inHours(p *fitPool, from, to int64) int64 {
	if p.hours == nil {
		return to - from
	}
	return openTime(p.hours, f.at(from), f.at(to))
}

// stepDelays writes the delay before a step: by the step before, where that makes a difference beyond chance.
func (f *fitter) stepDelays(step *api.ModelStep, d *delaysSeen) {
	var rest []seen
	for _, from := range keysOf(d.open) {
		var others []seen
		for _, k := range keysOf(d.open) {
			if k != from {
				others = append(others, d.open[k]...)
			}
		}
		if from < 0 || !differ(d.open[from], others) {
			rest = append(rest, d.open[from]...)
			continue
		}
		delay := api.ModelDelay{After: f.names[from]}
		if c := likeliest(d.open[from]); c.beyond(delayLeast) >= delayShare {
			delay.Time = fitTimes(d.open[from])
		}
		step.Delays = append(step.Delays, delay)
	}
	if c := likeliest(rest); len(rest) > 0 && c.beyond(delayLeast) >= delayShare {
		step.Delay = fitTimes(rest)
		f.guessed(len(rest), "delay of %s", step.Name)
	}
	if step.Delay == nil && !slices.ContainsFunc(step.Delays, func(d api.ModelDelay) bool { return d.Time != nil }) {
		step.Delays = nil
	}
}

// differ tells whether two sets of samples are so unlike that chance does not explain it, by the greatest distance between their
// distributions (Smirnov); of what is only known to within bounds, the lower one counts.
func differ(x, y []seen) bool {
	if len(x) < guessSamples || len(y) < guessSamples {
		return false
	}
	byValue := func(a, b seen) int { return cmp.Compare(a.least, b.least) }
	slices.SortFunc(x, byValue)
	slices.SortFunc(y, byValue)
	n, m := float64(len(x)), float64(len(y))
	most, i, k := 0.0, 0, 0
	for i < len(x) && k < len(y) {
		at := min(x[i].least, y[k].least)
		for i < len(x) && x[i].least == at {
			i++
		}
		for k < len(y) && y[k].least == at {
			k++
		}
		most = max(most, math.Abs(float64(i)/n-float64(k)/m))
	}
	return most > 0.1 && most*most > 3.8*(n+m)/(n*m) // one in a thousand by chance
}

// busyTimes are the times at which each named person works.
func (f *fitter) busyTimes() []busy {
	out := make([]busy, len(f.log.Resources))
	for i := range f.cases {
		for _, e := range f.cases[i].events {
			if e.who >= 0 && e.end > e.start {
				b := &out[e.who]
				b.spans = append(b.spans, [2]int64{e.start, e.end})
				b.longest = max(b.longest, e.end-e.start)
			}
		}
	}
	for k := range out {
		b := &out[k]
		slices.SortFunc(b.spans, func(x, y [2]int64) int { return cmp.Or(cmp.Compare(x[0], y[0]), cmp.Compare(x[1], y[1])) })
		b.many = len(handsOf(slices.Clone(b.spans))) > 1
	}
	return out
}

// unexplained is the last moment, between when an event could begin and when it began, at which its worker was free and in hours: then
// something else must have been missing. The delay lasted at least until that moment, and at most until the event began; what came between
// the worker's other work or hours explain. Where that is the whole wait, the moment is when the event could begin: there may have been no
// delay at all.
func (f *fitter) unexplained(p *fitPool, e *fitEvent, work []busy) int64 {
	if e.start-e.ready < delayLeast {
		return e.start
	}
	var off [][2]int64
	if e.who >= 0 && !work[e.who].many {
		b := &work[e.who]
		i, _ := slices.BinarySearchFunc(b.spans, e.ready-b.longest, func(s [2]int64, at int64) int { return cmp.Compare(s[0], at) })
		for n := 0; i < len(b.spans) && b.spans[i][0] < e.start && n < busyMax; i, n = i+1, n+1 {
			if b.spans[i][1] > e.ready {
				off = append(off, b.spans[i])
			}
		}
	}
	if p.hours != nil {
		for at := f.at(e.ready); at < f.at(e.start); {
			open, until := p.hours.open(at)
			if !open {
				off = append(off, [2]int64{at + f.from, min(until+f.from, e.start)})
			}
			at = until
		}
		slices.SortFunc(off, func(x, y [2]int64) int { return cmp.Compare(x[0], y[0]) })
	}
	at, last := e.ready, e.ready
	free := func(to int64) {
		if to-at >= delayGap {
			last = to
		}
	}
	for _, s := range off {
		free(min(s[0], e.start))
		at = max(at, s[1])
	}
	free(e.start)
	return last
}

// cutDelay counts the wait that the end of the log cut off: for each step that may come next, as much as it usually does.
func (f *fitter) cutDelay(c *fitCase, delays []delaysSeen) {
	if !c.open {
		return
	}
	last := c.events[len(c.events)-1]
	for a, share := range f.follow(last.activity) {
		if share > 0 && f.to > last.end {
			p := &f.pools[f.poolOf[a]]
			delays[a].add(f.first(last.activity), beyond(f.inHours(p, last.end, f.to), share))
		}
	}
}

// follow is how often each activity comes after one.
func (f *fitter) follow(activity int) []float64 {
	if f.after == nil {
		f.after = make([][]float64, len(f.log.Activities))
		for i := range f.cases {
			events := f.cases[i].events
			for k := range events[1:] {
				a := events[k].activity
				if f.after[a] == nil {
					f.after[a] = make([]float64, len(f.log.Activities))
				}
				f.after[a][events[k+1].activity]++
			}
		}
		for _, row := range f.after {
			sum := 0.0
			for _, n := range row {
				sum += n
			}
			for b := range row {
				row[b] /= max(sum, 1)
			}
		}
	}
	return f.after[activity]
}
