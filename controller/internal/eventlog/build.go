package eventlog

import (
	"bytes"
	"cmp"
	"slices"
)

// nameBytesMax bounds each name, so that the cap on events bounds memory.
const nameBytesMax = 512

// span is an event with start and end, before it finds its place in its case, the owner.
type span struct {
	owner int32
	event Event
}

// mark is the start or the completion of an event, told by a row of its own.
type mark struct {
	owner, activity, resource int32
	complete                  bool
	at, line                  int64
}

// row is what a file says in one row or event; the strings are only borrowed.
type row struct {
	activity, resource, transition []byte
	start, end                     int64
	line                           int
}

// builder gathers rows in the order of a file and makes a Log of them. The rows lie in two flat lists, which costs less than a slice per case.
type builder struct {
	report     *Report
	eventsMax  int
	activities names
	resources  names
	cases      []string
	last       []int64 // of each case: the latest start so far
	spans      []span
	marks      []mark
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
func (b *builder) full() bool { return len(b.spans)+len(b.marks) >= b.eventsMax }

func (b *builder) newCase(id string) int32 {
	b.cases = append(b.cases, id)
	b.last = append(b.last, -1<<63)
	return int32(len(b.cases) - 1)
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
	if r.transition == nil {
		b.spans = append(b.spans, span{owner, Event{activity, resource, r.start, r.end}})
		return
	}
	b.marks = append(b.marks, mark{owner, activity, resource, isComplete(r.transition), r.end, int64(r.line)})
}

// pair joins the n-th start of an activity in a case to its n-th completion, by time; a completion before any start that is left stands for an
// event of an instant, and a start that is never completed has no end and is left out.
func (b *builder) pair() {
	var unfinished []int
	for _, marks := range byOwner(b.marks, len(b.cases), func(m mark) int32 { return m.owner }) {
		slices.SortStableFunc(marks, func(x, y mark) int {
			return cmp.Or(cmp.Compare(x.activity, y.activity), cmp.Compare(x.at, y.at), startFirst(x, y))
		})
		var open []mark // starts not yet completed
		for i, m := range marks {
			switch {
			case !m.complete:
				open = append(open, m)
			case len(open) > 0:
				b.spans = append(b.spans, joined(open[0], m))
				b.report.Paired++
				open = open[1:]
			default:
				b.spans = append(b.spans, joined(m, m))
			}
			if i+1 == len(marks) || marks[i+1].activity != m.activity {
				for _, s := range open {
					unfinished = append(unfinished, int(s.line))
				}
				open = nil
			}
		}
	}
	slices.Sort(unfinished)
	for _, line := range unfinished {
		b.report.skip("started and never completed", line)
	}
	b.marks = nil
}

func joined(start, complete mark) span {
	resource := complete.resource
	if resource == None {
		resource = start.resource
	}
	return span{complete.owner, Event{complete.activity, resource, start.at, complete.at}}
}

func startFirst(x, y mark) int {
	switch {
	case x.complete == y.complete:
		return 0
	case y.complete:
		return -1
	}
	return 1
}

// log puts every event in its place.
func (b *builder) log() *Log {
	b.pair()
	l := &Log{Activities: b.activities.list, Resources: b.resources.list}
	spans := b.spans
	b.spans = nil
	events := make([]Event, 0, len(spans))
	for i, own := range byOwner(spans, len(b.cases), func(s span) int32 { return s.owner }) {
		from := len(events)
		for _, s := range own {
			events = append(events, s.event)
		}
		if len(own) == 0 {
			continue // nothing of it could be used
		}
		c := Case{ID: b.cases[i], Events: events[from:len(events):len(events)]}
		slices.SortStableFunc(c.Events, func(x, y Event) int { return cmp.Or(cmp.Compare(x.Start, y.Start), cmp.Compare(x.End, y.End)) })
		l.Cases = append(l.Cases, c)
	}
	slices.SortStableFunc(l.Cases, func(x, y Case) int { return cmp.Compare(x.Start(), y.Start()) })
	b.report.Events = len(events)
	return l
}

// byOwner groups items by their owner, 0 to owners-1, and keeps their order within each.
func byOwner[T any](items []T, owners int, owner func(T) int32) [][]T {
	if len(items) == 0 {
		return nil
	}
	ends := make([]int, owners)
	for _, item := range items {
		ends[owner(item)]++
	}
	for i := 1; i < owners; i++ {
		ends[i] += ends[i-1]
	}
	grouped := make([]T, len(items))
	next := make([]int, owners)
	groups := make([][]T, owners)
	from := 0
	for i, end := range ends {
		next[i], groups[i], from = from, grouped[from:end:end], end
	}
	for _, item := range items {
		at := &next[owner(item)]
		grouped[*at] = item
		*at++
	}
	return groups
}
