package twin

import (
	"fmt"
	"slices"

	"github.com/backstay/backstay/api"
)

// The hours of people are found cell by cell of the week, an hour each, as the calendars of Prosimos and Simod are. A cell counts as worked
// when enough begins in it. Where a pool has too few events to tell, all people's cells stand in; where a person has, the pool's.
const (
	cellShare      = 0.1 // of the mean of the cells in which anything begins: less is overtime
	weekSupport    = 4   // events for each cell, so that anybody has hours
	poolSupport    = 8   // events for each cell, so that a pool has its own hours
	personExpected = 3   // events that a cell without any should have, so that a person is taken to be off
	edgeShare      = 0.98
	edgeSamples    = 15 // an edge to the minute needs so many
	minuteMicros   = 60_000_000
	hourMicros     = 60 * minuteMicros
	dayMicros      = 24 * hourMicros
	centuryMicros  = 36525 * dayMicros
)

// fitWeek counts by hour of the week, from Monday 00:00 UTC.
type fitWeek struct {
	begins [168]int
	open   [168]bool
}

// cellOf is the hour of the week of a time, and the minute within it.
func cellOf(micros int64) (cell, minute int) {
	day := floorTo(micros, dayMicros)
	weekday := int(((day/dayMicros+3)%7 + 7) % 7) // 1970-01-01 was a Thursday
	rest := micros - day
	return weekday*24 + int(rest/hourMicros), int(rest % hourMicros / minuteMicros)
}

func floorTo(x, unit int64) int64 {
	r := x % unit
	if r < 0 {
		r += unit
	}
	return x - r
}

// findWeek counts the whole log.
func (f *fitter) findWeek() {
	for i := range f.cases {
		for _, e := range f.cases[i].events {
			cell, _ := cellOf(e.start)
			f.week.begins[cell]++
		}
	}
	f.week.open = openCells(&f.week.begins)
}

// openCells are the cells in which enough begins.
func openCells(begins *[168]int) [168]bool {
	sum, some := 0, 0
	for _, n := range begins {
		if n > 0 {
			sum, some = sum+n, some+1
		}
	}
	var open [168]bool
	enough := func(n int, share float64) bool { return n > 0 && float64(n)*float64(some) >= share*float64(sum) }
	for hour := range 24 {
		days, sure := 0, 0 // on which anything begins at this hour, and for sure
		for c := hour; c < 168; c += 24 {
			if begins[c] > 0 {
				days++
			}
			if open[c] = enough(begins[c], cellShare); open[c] {
				sure++
			}
		}
		for c := hour; c < 168; c += 24 {
			if sure*2 >= days { // it is an hour like others, and was hit less often
				open[c] = enough(begins[c], cellShare/2)
			}
		}
	}
	return open
}

func countOpen(open *[168]bool) int {
	n := 0
	for _, o := range open {
		if o {
			n++
		}
	}
	return n
}

// findHours finds when a pool works, whether its people lay work aside, and who of them has other hours.
func (f *fitter) findHours(k int) {
	p := &f.pools[k]
	var begins [168]int
	people := map[int]*[168]int{}
	total := 0
	for i := range f.cases {
		for _, e := range f.cases[i].events {
			if f.poolOf[e.activity] != k {
				continue
			}
			cell, _ := cellOf(e.start)
			begins[cell]++
			total++
			if people[e.who] == nil {
				people[e.who] = new([168]int)
			}
			people[e.who][cell]++
		}
	}
	if total < guessSamples || f.to-f.from < 2*7*dayMicros || f.log.Events() < weekSupport*countOpen(&f.week.open) {
		f.guess = append(f.guess, fmt.Sprintf("hours of %s (%d events in %.1f days)", p.name, total, float64(f.to-f.from)/float64(dayMicros)))
	}
	if f.to-f.from < 7*dayMicros || f.to-f.from > centuryMicros {
		return // less than a week tells nothing about weeks, and a century's times are wild: always
	}
	open := f.week.open
	if f.log.Events() < weekSupport*countOpen(&open) {
		return // too few to tell hours from chance
	}
	if total >= poolSupport*countOpen(&open) {
		open = openCells(&begins)
	}
	if countOpen(&open) >= 160 {
		return // always, as machines
	}
	p.pauses = f.layAside(k, &open)
	p.spans = f.spansOf(&open, k)
	p.hours = f.lay(p.spans)
	for m := range p.members {
		if mine, other := ownCells(people[p.members[m].who], &begins, &open); other {
			p.members[m].spans = f.spansOf(&mine, k)
		}
	}
}

// ownCells are the pool's cells without those in which a person began next to nothing, where by the person's share of the work there should
// have been more than chance explains; other tells whether that makes a difference.
func ownCells(own, pool *[168]int, open *[168]bool) (mine [168]bool, other bool) {
	sum, all, gone := 0, 0, 0
	for c := range own {
		sum, all = sum+own[c], all+pool[c]
	}
	mine = *open
	for c := range own {
		expected := float64(sum) * float64(pool[c]) / float64(all)
		if open[c] && expected >= personExpected && float64(own[c]) < cellShare*expected {
			mine[c] = false
			gone++
		}
	}
	left := countOpen(&mine)
	return mine, left > 0 && gone*10 >= countOpen(open)
}

// layAside tells whether work that spans closed hours is more often over in open ones than in closed ones: then it was laid aside.
func (f *fitter) layAside(k int, open *[168]bool) bool {
	aside, overtime := 0, 0
	for i := range f.cases {
		for _, e := range f.cases[i].events {
			if f.poolOf[e.activity] != k || e.end-e.start > 7*dayMicros {
				continue
			}
			end, minute := cellOf(e.end)
			closed := false
			for at := floorTo(e.start, hourMicros) + hourMicros; at < e.end; at += hourMicros {
				if c, _ := cellOf(at); !open[c] {
					closed = true
				}
			}
			switch {
			case closed && open[end]:
				aside++
			case closed && minute > 0:
				overtime++
			}
		}
	}
	return aside > 5 && aside > 2*overtime
}

// spansOf makes spans of the days of cells, with edges to the minute as the pool has them. Days with the same spans are joined.
func (f *fitter) spansOf(open *[168]bool, k int) []api.WeekSpan {
	first, last := f.edges(open, k)
	var out []api.WeekSpan
	for day := range 7 {
		for hour := 0; hour < 24; hour++ {
			if !open[day*24+hour] {
				continue
			}
			from := hour
			for hour < 24 && open[day*24+hour] {
				hour++
			}
			begin, end := from*60+first[from], (hour-1)*60+last[hour-1]
			if from == 0 && open[(day*24+167)%168] {
				begin = 0 // a night goes on at midnight
			}
			if hour == 24 && open[(day*24+24)%168] {
				end = 24 * 60
			}
			if end <= begin {
				end = begin + 1
			}
			span := api.WeekSpan{On: []string{weekNames[day]}, From: clockText(begin), To: clockText(end)}
			same := slices.IndexFunc(out, func(s api.WeekSpan) bool { return s.From == span.From && s.To == span.To })
			if same >= 0 {
				out[same].On = append(out[same].On, weekNames[day])
			} else {
				out = append(out, span)
			}
		}
	}
	return out
}

var weekNames = [7]string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}

func clockText(minute int) string { return fmt.Sprintf("%02d:%02d", minute/60, minute%60) }

// edges finds, hour of the day by hour of the day, the minute at which work in an hour begins where the hour before is closed, and the one
// at which it ends where the hour after is: so that a day that ends at 17:30, or one on which things begin at 17:00 sharp and no later, is
// told from one that ends at 18:00.
func (f *fitter) edges(open *[168]bool, k int) (first, last [24]int) {
	var begins, ends [24][]int
	p := &f.pools[k]
	note := func(at int64) {
		c, minute := cellOf(at)
		if !open[c] {
			return
		}
		if !open[(c+167)%168] {
			begins[c%24] = append(begins[c%24], minute)
		}
		if !open[(c+1)%168] {
			ends[c%24] = append(ends[c%24], minute)
		}
	}
	for i := range f.cases {
		for _, e := range f.cases[i].events {
			if f.poolOf[e.activity] != k {
				continue
			}
			note(e.start)
			if p.pauses {
				note(e.end)
			}
		}
	}
	for hour := range 24 {
		last[hour] = 60
		if m := ends[hour]; len(m) >= edgeSamples {
			slices.Sort(m)
			switch late := m[int(edgeShare*float64(len(m)-1))]; {
			case m[len(m)-1] == 0:
				last[hour] = 1
			case late < 50:
				last[hour] = min(late/5*5+5, 60)
			}
		}
		if m := begins[hour]; len(m) >= guessSamples {
			slices.Sort(m)
			if early := m[int((1-edgeShare)*float64(len(m)-1))]; early >= 10 {
				first[hour] = early / 5 * 5
			}
		}
	}
	return first, last
}
