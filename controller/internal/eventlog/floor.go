package eventlog

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
)

// Floor gives the distances to test of the past itself: the median, distance by distance, of n runs. In each, as many cases as test has are
// drawn from train with replacement, whole, and moved to the period in which cases of test arrive. A case moves by whole weeks, so that
// it keeps its weekday and hour; every pair of a case and a week within the period is as likely as any other. Where the period has no room for that, cases move
// by whole days, and else freely. A model that was fitted to train cannot do much better than this, for it knows no more.
//
// The same logs, n and seed give the same distances.
func Floor(train, test *Log, n int, seed uint64) (Distances, error) {
	if n < 1 {
		return Distances{}, fmt.Errorf("resampling an event log: %d runs: ask for one or more", n)
	}
	if train.Events() == 0 || test.Events() == 0 {
		return Distances{}, ErrEmpty
	}
	moves := newMoves(train, test)
	runs := make([]Distances, n)
	for i := range runs {
		past := moves.draw(len(test.Cases), rand.New(rand.NewPCG(seed, uint64(i))))
		var err error
		if runs[i], err = Compare(past, test); err != nil {
			return Distances{}, err
		}
	}
	median := func(of func(Distances) float64) float64 {
		all := make([]float64, n)
		for i, d := range runs {
			all[i] = of(d)
		}
		slices.Sort(all)
		return (all[(n-1)/2] + all[n/2]) / 2
	}
	return Distances{
		NGram:     median(func(d Distances) float64 { return d.NGram }),
		Absolute:  median(func(d Distances) float64 { return d.Absolute }),
		Circadian: median(func(d Distances) float64 { return d.Circadian }),
		Relative:  median(func(d Distances) float64 { return d.Relative }),
		CycleTime: median(func(d Distances) float64 { return d.CycleTime }),
		Arrival:   median(func(d Distances) float64 { return d.Arrival }),
	}, nil
}

// moves are all the ways of moving a case of the past into the period, counted up: case i has the ways from upTo[i-1] to upTo[i].
type moves struct {
	past   *Log
	period int64   // by multiples of which cases move, microseconds
	least  []int64 // of each case: the least multiple that brings it into the period
	upTo   []int64
}

func newMoves(past, to *Log) moves {
	from, until := firstStart(to), firstStart(to)
	for _, c := range to.Cases {
		until = max(until, c.Start())
	}
	var m moves
	for _, period := range []int64{weekMicros, dayMicros, 1} {
		m = moves{past: past, period: period}
		ways := int64(0)
		for _, c := range past.Cases {
			least := -floorDiv(c.Start()-from, period) // rounded up
			most := floorDiv(until-c.Start(), period)
			ways += max(0, most-least+1)
			m.least, m.upTo = append(m.least, least), append(m.upTo, ways)
		}
		if ways > 0 {
			break
		}
	}
	return m
}

// draw makes a log of n cases.
func (m moves) draw(n int, chance *rand.Rand) *Log {
	l := &Log{Activities: m.past.Activities, Resources: m.past.Resources}
	for range n {
		way := chance.Int64N(m.upTo[len(m.upTo)-1])
		i := sort.Search(len(m.upTo), func(i int) bool { return m.upTo[i] > way })
		before := int64(0)
		if i > 0 {
			before = m.upTo[i-1]
		}
		l.Cases = append(l.Cases, moved(m.past.Cases[i], (m.least[i]+way-before)*m.period))
	}
	slices.SortStableFunc(l.Cases, func(x, y Case) int { return cmp.Compare(x.Start(), y.Start()) })
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
