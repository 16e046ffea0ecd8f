package eventlog

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
)

const depthMax = 64

// xes is the state of reading an XES file: a log, in it traces, in them events, in them attributes, which may nest.
type xes struct {
	*reader
	open   []string // names of the open elements
	traces int
	owner  int32 // the case of the open trace
	rows   int   // events of the open trace
	before int   // rows kept of the traces before
	event  xesEvent
}

// xesEvent gathers the attributes of the open event; of an attribute that comes twice, the first counts.
type xesEvent struct {
	line                                         int
	activity, resource, transition, at, startsAt []byte
	bad                                          bool // an attribute is not UTF-8, or names an unknown entity
}

func (r *reader) readXES() error {
	r.out.Format = "xes"
	x := &xes{reader: r}
	var buf []byte
	for {
		t, kept, err := r.nextTag(buf)
		if err != nil {
			return err
		}
		buf = kept
		if !t.closing {
			if err := x.begin(t); err != nil {
				return err
			}
		}
		if t.closing || t.empty {
			if err := x.end(t); err != nil {
				return err
			}
		}
		if len(x.open) == 0 {
			return x.drain()
		}
	}
}

// drain reads what follows the log, so that damage there is noticed too, and nothing more than comments is passed over.
func (x *xes) drain() error {
	for {
		part, err := x.in.ReadSlice('<')
		x.line += bytes.Count(part, []byte{'\n'})
		if err != nil && err != bufio.ErrBufferFull && err != io.EOF {
			return x.broken(err)
		}
		if text := bytes.TrimSpace(bytes.TrimSuffix(part, []byte{'<'})); len(text) > 0 {
			return x.fail("%.40q follows the end of the log: a file holds one log", text)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			continue
		}
		if skipped, err := x.skipOther(); err != nil {
			return err
		} else if !skipped {
			return x.fail("a tag follows the end of the log: a file holds one log")
		}
	}
}

// elementName is a name as a string; the names that matter and the common ones cost no memory.
func elementName(b []byte) string {
	switch string(b) {
	case "log":
		return "log"
	case "trace":
		return "trace"
	case "event":
		return "event"
	case "string":
		return "string"
	case "date":
		return "date"
	}
	return string(b)
}

// within says that these elements are open, from the outermost on, and no others.
func (x *xes) within(names ...string) bool {
	if len(x.open) != len(names) {
		return false
	}
	for i, name := range names {
		if x.open[i] != name {
			return false
		}
	}
	return true
}

func (x *xes) begin(t tag) error {
	name := elementName(t.name)
	switch {
	case len(x.open) == depthMax:
		return x.fail("elements nest deeper than %d: this is no XES", depthMax)
	case len(x.open) == 0 && name != "log":
		return x.fail("the file begins with <%.40s> and not with <log>: this is no XES", t.name)
	case name == "trace" && x.within("log"):
		x.traces++
		x.owner, x.rows, x.before = x.newCase(""), 0, x.count
	case name == "event" && !x.within("log", "trace"):
		x.out.Rows++
		x.out.skip("it stands outside any trace", t.line)
	case name == "event":
		e := &x.event
		*e = xesEvent{t.line, e.activity[:0], e.resource[:0], e.transition[:0], e.at[:0], e.startsAt[:0], false}
	case x.within("log", "trace"):
		if value, ok := x.attribute(t); ok && string(value.key) == "concept:name" && x.cases[x.owner] == "" {
			if len(value.text) > nameBytesMax {
				return x.fail("the name of this trace is longer than %d bytes: shorten it", nameBytesMax)
			}
			x.cases[x.owner] = string(value.text)
		}
	case x.within("log", "trace", "event"):
		x.eventAttribute(t)
	}
	x.open = append(x.open, name)
	return nil
}

type keyed struct{ key, text []byte }

// attribute reads key and value of an element; ok is false where the value is not text.
func (x *xes) attribute(t tag) (a keyed, ok bool) {
	for rest := t.attributes; ; {
		var key, value []byte
		if key, value, rest = nextAttribute(rest); key == nil {
			break
		}
		switch string(key) {
		case "key":
			a.key = value
		case "value":
			a.text = value
		}
	}
	a.text, ok = unescape(a.text)
	a.text = bytes.TrimSpace(a.text)
	return a, ok
}

func (x *xes) eventAttribute(t tag) {
	a, ok := x.attribute(t)
	e := &x.event
	if !ok {
		e.bad = true
		return
	}
	var place *[]byte
	switch string(a.key) {
	case "concept:name":
		place = &e.activity
	case "org:resource":
		place = &e.resource
	case "lifecycle:transition":
		place = &e.transition
	case "time:timestamp":
		place = &e.at
	case "start_timestamp":
		place = &e.startsAt
	default:
		return
	}
	if len(*place) == 0 {
		*place = append(*place, a.text...)
	}
}

func (x *xes) end(t tag) error {
	last := len(x.open) - 1
	if last < 0 || x.open[last] != string(t.name) {
		open := "nothing"
		if last >= 0 {
			open = "<" + x.open[last] + ">"
		}
		return x.fail("</%.40s> closes %.40s: this is no XML", t.name, open)
	}
	name := x.open[last]
	x.open = x.open[:last]
	switch {
	case name == "event" && x.within("log", "trace"):
		return x.endEvent()
	case name == "trace" && x.within("log"):
		if x.rows == 0 {
			x.out.EmptyTraces++
		}
		switch {
		case x.count == x.before:
			x.dropCase()
		case x.cases[x.owner] == "":
			x.cases[x.owner] = fmt.Sprintf("trace %d", x.traces)
		}
	}
	return nil
}

// endEvent takes the event that ends here, or counts it as left out.
func (x *xes) endEvent() error {
	if x.full() {
		return x.tooMany()
	}
	x.out.Rows++
	x.rows++
	if reason := x.takeEvent(); reason != "" {
		x.out.skip(reason, x.event.line)
	}
	return nil
}

func (x *xes) takeEvent() string {
	e := &x.event
	if e.bad {
		return "it is not UTF-8, or names a character that XML does not know"
	}
	in := row{activity: e.activity, resource: e.resource, transition: e.transition, line: e.line}
	var ok bool
	if in.end, ok = x.times.micros(e.at); !ok {
		return "its time:timestamp is no time"
	}
	in.start = in.end
	if len(e.startsAt) > 0 {
		if in.start, ok = x.times.micros(e.startsAt); !ok {
			return "its start_timestamp is no time"
		}
		in.transition = nil // the event tells both its ends
	}
	if reason := x.unusable(in); reason != "" {
		return reason
	}
	x.add(x.owner, in)
	return ""
}
