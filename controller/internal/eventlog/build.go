package eventlog

import (
	"bytes"
	"cmp"
	"slices"
)

// nameBytesMax bounds each name, so that the cap on events bounds memory.
const nameBytesMax = 512

// kind says what a row tells.
type kind int32

const (
	whole     kind = iota // an event with start and end
	started               // the start of an event
	completed             // the completion of an event
)

// kept is a usable row, 32 bytes of it.
type kept struct {
	owner     int32 // the case
	activity  int32
	resource  int32
	kind      kind
	start     int64 // or the only time there is
	endOrLine int64 // of a whole event its end, else the line in the file
}

// chunk is so many rows that are kept together: a list that grows by chunks needs no room for copies of itself.
const chunk = 1 << 16

// row is what a file says in one row or event; the strings are only borrowed.
type row struct {
	activity, resource, transition []byte
	start, end                     int64
	line                           int
}

// builder gathers rows in the order of a file and makes a Log of them.
type builder struct {
	report     *Report
	eventsMax  int
	activities names
	resources  names
	cases      []string
	last       []int64 // of each case: the latest start so far
	rows       [][]kept
	count      int // of rows
	completed  int // those that tell a completion
	whole      int // those that tell an event
}

// names gives each distinct name a number.
type names struct {
	list  []string
	index map[string]int32
}

func (n *names) number(b []byte) int32 {
	if i, found := n.index[string(b)]; found {
		return i
	}
	if n.index == nil {
		n.index = map[string]int32{}
	}
	s, i := string(b), int32(len(n.list))
	n.list = append(n.list, s)
	n.index[s] = i
	return i
}

// full says that the cap is reached.
func (b *builder) full() bool { return b.count >= b.eventsMax }

func (b *builder) newCase(id string) int32 {
	b.cases = append(b.cases, id)
	b.last = append(b.last, -1<<63)
	return int32(len(b.cases) - 1)
}

// dropCase takes back the case that was begun last, of which nothing was kept, so that empty traces cost no memory.
func (b *builder) dropCase() {
	b.cases = b.cases[:len(b.cases)-1]
	b.last = b.last[:len(b.last)-1]
}

// unusable says why a row cannot become an event of a case; empty when it can.
func (b *builder) unusable(r row) string {
	switch {
	case len(r.activity) == 0:
		return "no activity"
	case len(r.activity) > nameBytesMax || len(r.resource) > nameBytesMax:
		return "a name longer than 512 bytes"
	case r.end < r.start:
		return "it ends before it starts"
	}
	if r.transition != nil && !isStart(r.transition) && !isComplete(r.transition) {
		return "its transition is neither start nor complete"
	}
	return ""
}

func isStart(b []byte) bool { return bytes.EqualFold(b, []byte("start")) }

func isComplete(b []byte) bool { return len(b) == 0 || bytes.EqualFold(b, []byte("complete")) }

// add takes a usable row. A row with a transition tells one end of an event, at its end time.
func (b *builder) add(owner int32, r row) {
	activity, resource := b.activities.number(r.activity), None
	if len(r.resource) > 0 {
		resource = b.resources.number(r.resource)
	}
	if r.start < b.last[owner] {
		b.report.Disordered++
	}
	b.last[owner] = max(b.last[owner], r.start)
	k := kept{owner, activity, resource, whole, r.start, r.end}
	switch {
	case r.transition == nil:
		b.whole++
	case isComplete(r.transition):
		k.kind, k.start, k.endOrLine = completed, r.end, int64(r.line)
		b.completed++
	default:
		k.kind, k.start, k.endOrLine = started, r.end, int64(r.line)
	}
	if b.count%chunk == 0 {
		b.rows = append(b.rows, make([]kept, 0, min(b.count, chunk))) // the first one grows
	}
	last := &b.rows[len(b.rows)-1]
	*last = append(*last, k)
	b.count++
}

// log puts every event in its place.
func (b *builder) log() *Log {
	l := &Log{Activities: b.activities.list, Resources: b.resources.list}
	events := make([]Event, 0, b.whole+b.completed)
	order, ends := b.byCase()
	var marks []kept
	var unfinished []int
	begin := int32(0)
	for i, end := range ends {
		from := len(events)
		marks = marks[:0]
		for _, at := range order[begin:end] {
			k := b.rows[at/chunk][at%chunk]
			if k.kind == whole {
				events = append(events, Event{k.activity, k.resource, k.start, k.endOrLine})
			} else {
				marks = append(marks, k)
			}
		}
		begin = end
		events, unfinished = b.pair(marks, events, unfinished)
		if len(events) == from {
			continue // it has only starts
		}
		c := Case{ID: b.cases[i], Events: events[from:len(events):len(events)]}
		slices.SortStableFunc(c.Events, func(x, y Event) int { return cmp.Or(cmp.Compare(x.Start, y.Start), cmp.Compare(x.End, y.End)) })
		l.Cases = append(l.Cases, c)
	}
	b.rows = nil
	slices.SortStableFunc(l.Cases, func(x, y Case) int { return cmp.Compare(x.Start(), y.Start()) })
	slices.Sort(unfinished)
	for _, line := range unfinished {
		b.report.skip("started and never completed", line)
	}
	b.report.Events = len(events)
	return l
}

// byCase gives the numbers of the rows case by case, in the order of the file within each, and where each case ends among them.
func (b *builder) byCase() (order, ends []int32) {
	ends = make([]int32, len(b.cases))
	for _, rows := range b.rows {
		for _, k := range rows {
			ends[k.owner]++
		}
	}
	next := make([]int32, len(ends))
	for i := 1; i < len(ends); i++ {
		next[i] = ends[i-1]
		ends[i] += ends[i-1]
	}
	order = make([]int32, b.count)
	for i, rows := range b.rows {
		for j, k := range rows {
			order[next[k.owner]] = int32(i*chunk + j)
			next[k.owner]++
		}
	}
	return order, ends
}

// pair joins the n-th start of an activity in a case to its n-th completion, by time; a completion before which no start is left stands for an
// event of an instant, and a start that is never completed has no end and is left out, its line remembered.
func (b *builder) pair(marks []kept, events []Event, unfinished []int) ([]Event, []int) {
	slices.SortStableFunc(marks, func(x, y kept) int {
		return cmp.Or(cmp.Compare(x.activity, y.activity), cmp.Compare(x.start, y.start), cmp.Compare(x.kind, y.kind))
	})
	var open []kept // starts not yet completed
	for i, m := range marks {
		switch {
		case m.kind == started:
			open = append(open, m)
		case len(open) > 0:
			if m.resource == None {
				m.resource = open[0].resource
			}
			events = append(events, Event{m.activity, m.resource, open[0].start, m.start})
			b.report.Paired++
			open = open[1:]
		default:
			events = append(events, Event{m.activity, m.resource, m.start, m.start})
		}
		if i+1 == len(marks) || marks[i+1].activity != m.activity {
			for _, s := range open {
				unfinished = append(unfinished, int(s.endOrLine))
			}
			open = nil
		}
	}
	return events, unfinished
}
