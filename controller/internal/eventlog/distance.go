package eventlog

import (
	"cmp"
	"errors"
	"slices"
)

const (
	hourMicros = 3_600_000_000
	dayMicros  = 24 * hourMicros
	weekMicros = 7 * dayMicros
)

// Distances are how far two logs lie apart, each in one respect; 0 is alike. Except for NGram they are earth mover's distances: how far the
// observations of one log must be moved, on average, to lie as those of the other do, each log's observations weighing 1 in all.
type Distances struct {
	NGram     float64 `json:"ngd"` // order of activities: the share of 3-grams that have no counterpart, 0 to 1
	Absolute  float64 `json:"aed"` // when events start and end, on the time line, hours
	Circadian float64 `json:"ced"` // at what hour they start and end, weekday by weekday, hours; a weekday only one log works on counts 23
	Relative  float64 `json:"red"` // when they start and end since their case began, hours
	CycleTime float64 `json:"ctd"` // how long cases last from first start to last end, hours
	Arrival   float64 `json:"car"` // when cases arrive, on the time line, hours
}

// ErrEmpty is the error for a log without events: it has no distance to anything.
var ErrEmpty = errors.New("comparing event logs: one of them has no events")

// Compare gives the distances between two logs, in O(n log n) for n events in both. They are symmetric, and exact but for rounding.
// Activities are compared by their names. NGram compares counts, as published: it only means something for logs of about as many cases.
func Compare(a, b *Log) (Distances, error) {
	if a.Events() == 0 || b.Events() == 0 {
		return Distances{}, ErrEmpty
	}
	return Distances{
		NGram: nGram(a, b), Absolute: absolute(a, b), Circadian: circadian(a, b),
		Relative: relative(a, b), CycleTime: cycleTime(a, b), Arrival: arrival(a, b),
	}, nil
}

// gram is three activities that follow one another in a case, as numbers from 1; 0 stands before the first and after the last, twice.
type gram [3]int32

func nGram(a, b *Log) float64 {
	renumber := commonActivities(a, b)
	x, y := grams(a, renumber[0]), grams(b, renumber[1])
	differ, i, j := 0, 0, 0
	for i < len(x) && j < len(y) {
		switch c := compareGrams(x[i], y[j]); {
		case c == 0:
			i, j = i+1, j+1
		case c < 0:
			differ, i = differ+1, i+1
		default:
			differ, j = differ+1, j+1
		}
	}
	differ += len(x) - i + len(y) - j
	return float64(differ) / float64(len(x)+len(y))
}

// commonActivities numbers the activities of both logs alike, from 1.
func commonActivities(logs ...*Log) [][]int32 {
	numbers := names{}
	all := make([][]int32, len(logs))
	for i, l := range logs {
		for _, name := range l.Activities {
			all[i] = append(all[i], numbers.number([]byte(name))+1)
		}
	}
	return all
}

// grams lists every 3-gram of every case, sorted.
func grams(l *Log, renumber []int32) []gram {
	all := make([]gram, 0, l.Events()+2*len(l.Cases))
	for _, c := range l.Cases {
		var g gram
		for _, e := range c.Events {
			g = gram{g[1], g[2], renumber[e.Activity]}
			all = append(all, g)
		}
		all = append(all, gram{g[1], g[2], 0}, gram{g[2], 0, 0})
	}
	slices.SortFunc(all, compareGrams)
	return all
}

func compareGrams(x, y gram) int {
	return cmp.Or(cmp.Compare(x[0], y[0]), cmp.Compare(x[1], y[1]), cmp.Compare(x[2], y[2]))
}

// absolute counts hours from the hour of the earliest start in either log.
func absolute(a, b *Log) float64 {
	zero := floorDiv(min(firstStart(a), firstStart(b)), hourMicros)
	hours := func(l *Log) []int64 {
		all := make([]int64, 0, 2*l.Events())
		for _, c := range l.Cases {
			for _, e := range c.Events {
				all = append(all, floorDiv(e.Start, hourMicros)-zero, floorDiv(e.End, hourMicros)-zero)
			}
		}
		return all
	}
	return moverDistance(hours(a), hours(b))
}

func firstStart(l *Log) int64 {
	first := l.Cases[0].Start()
	for _, c := range l.Cases[1:] {
		first = min(first, c.Start())
	}
	return first
}

// weekHours counts starts and ends by weekday and hour of the day, in UTC.
type weekHours [7][24]int64

func hoursOfWeek(l *Log) *weekHours {
	var w weekHours
	count := func(at int64) {
		day := floorDiv(at, dayMicros)
		weekday := (day + 3) - 7*floorDiv(day+3, 7) // 1970-01-01 was a Thursday; Monday is 0
		w[weekday][(at-day*dayMicros)/hourMicros]++
	}
	for _, c := range l.Cases {
		for _, e := range c.Events {
			count(e.Start)
			count(e.End)
		}
	}
	return &w
}

// circadianMax is the farthest that two hours of one day can lie apart: what a weekday counts on which only one of the logs has events.
const circadianMax = 23

func circadian(a, b *Log) float64 {
	x, y := hoursOfWeek(a), hoursOfWeek(b)
	sum := 0.0
	for day := range x {
		sum += circadianDay(&x[day], &y[day])
	}
	return sum / float64(len(x))
}

func circadianDay(x, y *[24]int64) float64 {
	var m, n int64
	for hour := range x {
		m, n = m+x[hour], n+y[hour]
	}
	switch {
	case m == 0 && n == 0:
		return 0
	case m == 0 || n == 0:
		return circadianMax
	}
	var upToX, upToY int64
	sum := 0.0
	for hour := range x {
		upToX, upToY = upToX+x[hour], upToY+y[hour]
		sum += float64(absInt(upToX*n - upToY*m))
	}
	return sum / float64(m) / float64(n)
}

func relative(a, b *Log) float64 {
	hours := func(l *Log) []int64 {
		all := make([]int64, 0, 2*l.Events())
		for _, c := range l.Cases {
			for _, e := range c.Events {
				all = append(all, (e.Start-c.Start())/hourMicros, (e.End-c.Start())/hourMicros)
			}
		}
		return all
	}
	return moverDistance(hours(a), hours(b))
}

// cycleTime counts hours beyond the shortest case of either log, as published; bins that began at 0 would give slightly other figures.
func cycleTime(a, b *Log) float64 {
	x, y := cycleTimes(a), cycleTimes(b)
	shortest := min(slices.Min(x), slices.Min(y))
	for _, all := range [][]int64{x, y} {
		for i := range all {
			all[i] = (all[i] - shortest) / hourMicros
		}
	}
	return moverDistance(x, y)
}

func cycleTimes(l *Log) []int64 {
	all := make([]int64, len(l.Cases))
	for i, c := range l.Cases {
		all[i] = c.End() - c.Start()
	}
	return all
}

func arrival(a, b *Log) float64 {
	zero := floorDiv(min(firstStart(a), firstStart(b)), hourMicros)
	hours := func(l *Log) []int64 {
		all := make([]int64, len(l.Cases))
		for i, c := range l.Cases {
			all[i] = floorDiv(c.Start(), hourMicros) - zero
		}
		return all
	}
	return moverDistance(hours(a), hours(b))
}

// moverDistance is the earth mover's distance between two samples on a line, each weighing 1 in all: the area between their distribution
// functions. The difference of the functions is kept as an exact fraction, so only the sum is rounded. It sorts x and y.
func moverDistance(x, y []int64) float64 {
	slices.Sort(x)
	slices.Sort(y)
	m, n := int64(len(x)), int64(len(y))
	var i, j, at int64
	sum := 0.0
	for i < m || j < n {
		next := int64(0)
		if j == n || (i < m && x[i] <= y[j]) {
			next = x[i]
		} else {
			next = y[j]
		}
		sum += float64(absInt(i*n-j*m)) * float64(next-at)
		at = next
		for i < m && x[i] == at {
			i++
		}
		for j < n && y[j] == at {
			j++
		}
	}
	return sum / float64(m) / float64(n)
}

func absInt(n int64) int64 { return max(n, -n) }
