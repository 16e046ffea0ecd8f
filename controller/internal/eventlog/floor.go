package eventlog

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
)

// Floor gives the distances to test of the past itself: the median, distance by distance, of n runs. In each, the past is laid over the period
// of test anew, by whole cases: for each week from the first arrival in test on, a week of train is drawn, with replacement, and all cases
// that arrived in it move there by whole weeks, until there are as many cases as test has. So cases keep their weekday and hour, and
// arrivals their rhythm; and like a model that was fitted to train, this knows of test nothing but its begin and its number of cases.
// Such a model cannot do much better, and one that does far worse has missed what the past could have told.
//
// Where train holds no whole week, days are drawn instead of weeks, and where it holds no whole day, the whole of train.
// The same logs, n and seed give the same distances.
func Floor(train, test *Log, n int, seed uint64) (Distances, error) {
	if n < 1 {
		return Distances{}, fmt.Errorf("resampling an event log: %d runs: ask for one or more", n)
	}
	if train.Events() == 0 || test.Events() == 0 {
		return Distances{}, ErrEmpty
	}
	blocks, err := cutBlocks(train, firstStart(test), len(test.Cases))
	if err != nil {
		return Distances{}, err
	}
	runs := make([]Distances, n)
	for i := range runs {
		past := blocks.draw(len(test.Cases), rand.New(rand.NewPCG(seed, uint64(i))))
		if runs[i], err = Compare(past, test); err != nil {
			return Distances{}, err
		}
	}
	return medians(runs), nil
}

func medians(runs []Distances) Distances {
	median := func(of func(Distances) float64) float64 {
		all := make([]float64, len(runs))
		for i, d := range runs {
			all[i] = of(d)
		}
		slices.Sort(all)
		return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
	}
	return Distances{
		NGram:     median(func(d Distances) float64 { return d.NGram }),
		Absolute:  median(func(d Distances) float64 { return d.Absolute }),
		Circadian: median(func(d Distances) float64 { return d.Circadian }),
		Relative:  median(func(d Distances) float64 { return d.Relative }),
		CycleTime: median(func(d Distances) float64 { return d.CycleTime }),
		Arrival:   median(func(d Distances) float64 { return d.Arrival }),
	}
}

// blocks is a past cut into pieces of equal length, which begin at the hour of the week (or of the day) at which the new period begins.
type blocks struct {
	past   *Log
	cases  []Case // of past, by arrival
	first  int64  // where the first piece begins
	count  int64
	length int64 // microseconds
	to     int64 // where the new period begins
}

// periodMax bounds the period over which a past is laid, microseconds: a thousand years. Only a log with wild times needs more.
const periodMax = 1000 * 365 * dayMicros

// cutBlocks finds the whole weeks of a past, from which n cases are to be drawn. Weeks in which nothing arrived are kept: they are part of its rhythm.
func cutBlocks(past *Log, to int64, n int) (*blocks, error) {
	b := &blocks{past: past, cases: slices.Clone(past.Cases), to: to}
	slices.SortStableFunc(b.cases, func(x, y Case) int { return cmp.Compare(x.Start(), y.Start()) })
	first, last := b.cases[0].Start(), b.cases[len(b.cases)-1].Start()
	enough := func() bool {
		cases := len(b.arrivals(b.first, b.count*b.length))
		period := float64(n) / float64(cases) * float64(b.count) * float64(b.length)
		return cases > 0 && period <= periodMax
	}
	for _, b.length = range []int64{weekMicros, dayMicros} {
		b.first = to - floorDiv(to-first, b.length)*b.length
		b.count = max(0, floorDiv(last-b.first, b.length))
		if enough() {
			return b, nil
		}
	}
	b.first, b.count, b.length = first, 1, last-first+1
	if !enough() {
		return nil, fmt.Errorf("resampling an event log: %d cases over %d years are too sparse to draw %d from: look at the times in the log",
			len(b.cases), b.length/(365*dayMicros), n)
	}
	return b, nil
}

// arrivals are the cases that arrived in a period.
func (b *blocks) arrivals(begin, length int64) []Case {
	from := sort.Search(len(b.cases), func(i int) bool { return b.cases[i].Start() >= begin })
	until := sort.Search(len(b.cases), func(i int) bool { return b.cases[i].Start() >= begin+length })
	return b.cases[from:until]
}

// draw lays blocks one after another until they hold n cases.
func (b *blocks) draw(n int, chance *rand.Rand) *Log {
	l := &Log{Activities: b.past.Activities, Resources: b.past.Resources}
	for to := b.to; len(l.Cases) < n; to += b.length {
		begin := b.first + chance.Int64N(b.count)*b.length
		for _, c := range b.arrivals(begin, b.length) {
			if len(l.Cases) < n {
				l.Cases = append(l.Cases, moved(c, to-begin))
			}
		}
	}
	return l
}

func moved(c Case, by int64) Case {
	events := slices.Clone(c.Events)
	for i := range events {
		events[i].Start += by
		events[i].End += by
	}
	return Case{ID: c.ID, Events: events}
}
