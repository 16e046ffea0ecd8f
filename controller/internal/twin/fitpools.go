package twin

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/backstay/backstay/api"
)

// fitPool is activities that the same people do.
type fitPool struct {
	name       string
	activities []int
	members    []fitMember // none where the log names nobody
	peak       int         // most that was done at once
	hours      *hours      // from f.from on, in microseconds; nil: always
	spans      []api.WeekSpan
	pauses     bool
}

// fitMember is somebody, or one hand of somebody who does several things at once.
type fitMember struct {
	who    int
	name   string
	events int
	spans  []api.WeekSpan // nil: the pool's
}

// Which activities are done by the same people.
const poolAlike = 0.3 // so much of their work is done by the same ones, in the same shares

// findPools groups activities by who does them, and finds the hours of each group.
func (f *fitter) findPools() {
	n := len(f.log.Activities)
	work := make([]map[int]int, n) // by activity: events by resource; -1: nobody is named
	total := make([]int, n)
	for a := range work {
		work[a] = map[int]int{}
	}
	for i := range f.cases {
		for _, e := range f.cases[i].events {
			work[e.activity][e.who]++
			total[e.activity]++
		}
	}
	f.poolOf = make([]int, n)
	for a := range n {
		f.poolOf[a] = -1
		for b := range a {
			if f.poolOf[a] < 0 && alike(work[a], work[b], total[a], total[b]) >= poolAlike {
				f.poolOf[a] = f.poolOf[b]
			}
		}
		if f.poolOf[a] < 0 {
			f.poolOf[a] = len(f.pools)
			f.pools = append(f.pools, fitPool{})
		}
		p := &f.pools[f.poolOf[a]]
		p.activities = append(p.activities, a)
	}
	labels := make([]string, len(f.pools))
	for k := range f.pools {
		labels[k] = f.poolLabel(&f.pools[k], work)
	}
	f.findWeek()
	for k, name := range stepNames(labels) {
		f.pools[k].name = name
		f.findMembers(k, work)
		f.findHours(k)
	}
}

// alike is which share of the work on two activities the same people do in the same shares.
func alike(x, y map[int]int, nx, ny int) float64 {
	sum := 0.0
	for _, who := range keysOf(x) {
		if who >= 0 {
			sum += min(float64(x[who])/float64(nx), float64(y[who])/float64(ny))
		}
	}
	return sum
}

// poolLabel names a pool by what its people's names have in common, or by its first activity.
func (f *fitter) poolLabel(p *fitPool, work []map[int]int) string {
	common, any := "", false
	for _, a := range p.activities {
		for _, who := range keysOf(work[a]) {
			if who < 0 {
				continue
			}
			name := f.log.Resources[who]
			if !any {
				common, any = name, true
			}
			k := 0
			for k < len(common) && k < len(name) && common[k] == name[k] {
				k++
			}
			common = common[:k]
		}
	}
	end := len(common)
	for end > 0 && (common[end-1] >= '0' && common[end-1] <= '9' || common[end-1] == '-' || common[end-1] == '_' || common[end-1] == ' ') {
		end--
	}
	if common = common[:end]; len(common) >= 3 {
		return common
	}
	if len(p.activities) == len(f.log.Activities) && any {
		return "people"
	}
	return "for " + f.names[p.activities[0]]
}

// laneMax bounds how many things one name is taken to do at once.
const laneMax = 50

// findMembers lists who works in a pool. A name that does several things at once, as a system or a group does, has several hands.
func (f *fitter) findMembers(k int, work []map[int]int) {
	p := &f.pools[k]
	events := map[int]int{}
	for _, a := range p.activities {
		for _, who := range keysOf(work[a]) {
			events[who] += work[a][who]
		}
	}
	spans := map[int][][2]int64{}
	for i := range f.cases {
		for _, e := range f.cases[i].events {
			if f.poolOf[e.activity] == k {
				spans[e.who] = append(spans[e.who], [2]int64{e.start, e.end})
			}
		}
	}
	for _, who := range keysOf(events) {
		lanes := handsOf(spans[who])
		if who < 0 {
			p.peak += len(lanes)
			continue
		}
		for n, count := range lanes[:min(len(lanes), laneMax)] {
			m := fitMember{who: who, name: f.log.Resources[who], events: count}
			if n > 0 {
				m.name = fmt.Sprintf("%s (%d)", m.name, n+1)
			}
			p.members = append(p.members, m)
		}
	}
	p.peak += len(p.members)
	if len(events) > 0 && events[-1]*2 > sumOf(events) || len(p.members) > fitMembersMax {
		p.members = nil
	}
}

func sumOf(m map[int]int) int {
	n := 0
	for _, k := range keysOf(m) {
		n += m[k]
	}
	return n
}

// handsOf tells how many hands somebody needs for what he did, and how many pieces of work each of them has. Less than one in twenty that
// overlap is a slip of the log's clock.
func handsOf(spans [][2]int64) []int {
	slices.SortFunc(spans, func(x, y [2]int64) int { return cmp.Or(cmp.Compare(x[0], y[0]), cmp.Compare(x[1], y[1])) })
	var free []int64
	var count []int
	for _, s := range spans {
		hand := slices.IndexFunc(free, func(at int64) bool { return at <= s[0] })
		if hand < 0 {
			if len(free) >= laneMax*20 {
				hand = 0
			} else {
				hand = len(free)
				free, count = append(free, 0), append(count, 0)
			}
		}
		free[hand] = max(free[hand], s[1])
		count[hand]++
	}
	for len(count) > 1 && count[len(count)-1]*20 < len(spans) {
		count[len(count)-2] += count[len(count)-1]
		count = count[:len(count)-1]
	}
	return count
}

// poolSpecs writes the pools.
func (f *fitter) poolSpecs(s *api.ModelSpec) {
	for k := range f.pools {
		p := &f.pools[k]
		out := api.ModelPool{Name: p.name, Pauses: p.pauses}
		if len(p.members) == 0 {
			out.Size = int64(max(p.peak*crowdFactor, 1))
			out.Size = min(out.Size, 100_000)
			out.Hours = modelHours(p.spans)
		}
		total := 0
		for _, m := range p.members {
			total += m.events
		}
		used := map[string]bool{}
		for _, m := range p.members {
			spans := p.spans
			if m.spans != nil {
				spans = m.spans
			}
			name := m.name
			for n := 2; used[name]; n++ {
				name = fmt.Sprintf("%s (%d)", m.name, n)
			}
			used[name] = true
			share := float64(m.events) * float64(len(p.members)) / float64(total)
			out.Members = append(out.Members, api.ModelMember{Name: name, Share: roundTo(share, 3), Hours: modelHours(spans)})
			f.guessed(m.events, "hours of %s", m.name)
		}
		s.Pools = append(s.Pools, out)
	}
}

// crowdFactor is how many more there are of a pool that the log does not name than were ever seen at work at once.
const crowdFactor = 2

func modelHours(spans []api.WeekSpan) *api.ModelHours {
	if spans == nil {
		return nil
	}
	return &api.ModelHours{Days: spans}
}

// roundTo keeps so many decimals, and never makes nothing of something.
func roundTo(x float64, decimals int) float64 {
	scale := 1.0
	for range decimals {
		scale *= 10
	}
	n := float64(int64(x*scale + 0.5))
	return max(n, 1) / scale
}

// at is a log's time as the hours of this package have it: from the window's begin, here in microseconds.
func (f *fitter) at(micros int64) int64 { return micros - f.from }

// worked is how long somebody worked between two times, microseconds, where work is laid aside out of hours.
func (f *fitter) worked(p *fitPool, from, to int64) int64 {
	if !p.pauses || p.hours == nil {
		return to - from
	}
	return openTime(p.hours, f.at(from), f.at(to))
}

// openTime is how much of a span lies in hours.
func openTime(h *hours, from, to int64) int64 {
	var sum int64
	for from < to {
		open, until := h.open(from)
		until = min(until, to)
		if open {
			sum += until - from
		}
		from = until
	}
	return sum
}

// lay makes hours of spans over the log's window and a little more, in microseconds from its begin.
func (f *fitter) lay(spans []api.WeekSpan) *hours {
	if spans == nil {
		return nil
	}
	start := time.UnixMicro(f.from).UTC()
	h, err := layHours(spans, nil, time.UTC, start, (f.to-f.from)*1000+int64(14*24*time.Hour))
	if err != nil {
		return nil // the spans are our own
	}
	for i := range h.spans {
		h.spans[i][0], h.spans[i][1] = h.spans[i][0]/1000, h.spans[i][1]/1000
	}
	return h
}
