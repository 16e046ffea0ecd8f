package calendar

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/backstay/backstay/api"
)

// Limits of an iCalendar file, far above what banks and calendars on the web publish.
const (
	icalBytesMax    = 10 << 20
	icalLineMax     = 64 << 10 // bytes of one unfolded line
	icalEventsMax   = 10_000
	icalDaysMax     = 10_000 // holidays of all events together
	icalSpanDaysMax = 366    // days of one event
	icalDepthMax    = 10
	icalFindingsMax = 50
)

// Imported is what an iCalendar file says, in our words.
type Imported struct {
	Title  string // the calendar's own name
	Spec   api.CalendarSpec
	Labels []string // what each of Spec.Holidays is
}

// ImportICalendar reads an iCalendar file (RFC 5545): events of whole days become holidays, those with times freezes, and yearly
// repeats of one day rules. zone is the zone of the calendar; where it is "", the file tells, or else it is UTC. What cannot be
// said in our words is an error with its line, never left out silently; what does not matter is a warning. file is for findings only.
func ImportICalendar(file string, data []byte, zone string) (Imported, api.Findings) {
	p := &icalReader{file: file}
	p.read(data)
	b := icalBuilder{icalReader: p, out: Imported{Title: p.title}, names: map[string]bool{}}
	b.build(zone)
	p.findings.Sort()
	return b.out, p.findings
}

// icalReader takes a file apart into events.
type icalReader struct {
	file     string
	findings api.Findings
	title    string
	zone     string
	events   []icalEvent
}

// icalProp is one content line.
type icalProp struct {
	line   int
	name   string
	params []icalParam
	value  string
}

type icalParam struct{ name, value string }

// param gives the value of a parameter; "" where there is none.
func (p *icalProp) param(name string) string {
	for _, x := range p.params {
		if x.name == name {
			return x.value
		}
	}
	return ""
}

// icalEvent is one VEVENT.
type icalEvent struct {
	line                           int
	summary                        string
	cancelled                      bool
	start, end, duration, rule     *icalProp
	without, unsupported, override *icalProp // EXDATE, RDATE, RECURRENCE-ID
}

func (p *icalReader) report(severity api.Severity, line int, rule, message, hint string) {
	if len(p.findings) < icalFindingsMax {
		p.findings = append(p.findings, api.Finding{Pos: api.Pos{File: p.file, Line: line, Col: 1}, Severity: severity, Rule: rule, Message: message, Hint: hint})
	}
}

func (p *icalReader) wrong(line int, rule, message, hint string) {
	p.report(api.SeverityError, line, rule, message, hint)
}

func (p *icalReader) read(data []byte) {
	switch {
	case len(data) > icalBytesMax:
		p.wrong(1, "too-large", fmt.Sprintf("the file has %d bytes; the most is %d", len(data), icalBytesMax), "export a shorter time")
		return
	case !utf8.Valid(data):
		p.wrong(1, "encoding", "this is not UTF-8 text", "save the file as UTF-8")
		return
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	var open []string
	for line := 1; len(data) > 0; {
		first := line
		var text string
		text, data, line = unfold(data, line)
		if strings.TrimSpace(text) == "" {
			continue
		}
		prop, ok := p.property(text, first)
		if !ok {
			return
		}
		if open, ok = p.component(open, &prop); !ok {
			return
		}
	}
	if len(open) > 0 {
		p.wrong(1, "syntax", "the file ends within "+open[len(open)-1], "fetch the whole file again")
	} else if len(p.events) == 0 && len(p.findings) == 0 {
		p.report(api.SeverityWarning, 1, "empty", "there is no event in this file", "check that it is the right one")
	}
}

// unfold takes one content line off: a line and the ones after it that start with a space or tab.
func unfold(data []byte, line int) (text string, rest []byte, next int) {
	var b strings.Builder
	for {
		end := bytes.IndexByte(data, '\n')
		part := data
		if end >= 0 {
			part, data = data[:end], data[end+1:]
		} else {
			data = nil
		}
		line++
		b.Write(bytes.TrimSuffix(part, []byte("\r")))
		if len(data) == 0 || data[0] != ' ' && data[0] != '\t' {
			return b.String(), data, line
		}
		data = data[1:]
	}
}

// property parts NAME;PARAM=VALUE:VALUE. Quoted values of parameters may hold colons and semicolons.
func (p *icalReader) property(text string, line int) (icalProp, bool) {
	prop := icalProp{line: line}
	if len(text) > icalLineMax {
		p.wrong(line, "too-large", fmt.Sprintf("the line has %d bytes; the most is %d", len(text), icalLineMax), "shorten the description of the event")
		return prop, false
	}
	var parts []string
	quoted, start := false, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case c == ';' && !quoted:
			parts, start = append(parts, text[start:i]), i+1
		case c == ':' && !quoted:
			parts = append(parts, text[start:i])
			prop.name, prop.value = strings.ToUpper(strings.TrimSpace(parts[0])), text[i+1:]
			for _, part := range parts[1:] {
				name, value, _ := strings.Cut(part, "=")
				prop.params = append(prop.params, icalParam{strings.ToUpper(name), strings.Trim(value, `"`)})
			}
			return prop, true
		}
	}
	p.wrong(line, "syntax", "this line has no NAME:VALUE", "check that the file is iCalendar (BEGIN:VCALENDAR ...), complete and not edited by hand")
	return prop, false
}

// component follows BEGIN and END, and keeps the properties of the calendar and its events; those of time zones and alarms say
// nothing to us.
func (p *icalReader) component(open []string, prop *icalProp) ([]string, bool) {
	value := strings.ToUpper(strings.TrimSpace(prop.value))
	switch {
	case prop.name == "BEGIN":
		if len(open) == 0 != (value == "VCALENDAR") || len(open) == icalDepthMax {
			p.wrong(prop.line, "syntax", "BEGIN:"+short(value)+" has no place here", "check that the file is iCalendar and complete")
			return open, false
		}
		if len(open) == 1 && value == "VEVENT" {
			if len(p.events) == icalEventsMax {
				p.wrong(prop.line, "too-large", fmt.Sprintf("the file has more than %d events", icalEventsMax), "export a shorter time")
				return open, false
			}
			p.events = append(p.events, icalEvent{line: prop.line})
		}
		return append(open, value), true
	case prop.name == "END":
		if len(open) == 0 || open[len(open)-1] != value {
			p.wrong(prop.line, "syntax", "END:"+short(value)+" ends nothing that is open", "check that the file is iCalendar and complete")
			return open, false
		}
		return open[:len(open)-1], true
	case len(open) == 0:
		p.wrong(prop.line, "syntax", "this is no iCalendar file: it does not start with BEGIN:VCALENDAR", "name an .ics file")
		return open, false
	case len(open) == 1 && prop.name == "X-WR-CALNAME":
		p.title = unescape(prop.value)
	case len(open) == 1 && prop.name == "X-WR-TIMEZONE":
		p.zone = strings.TrimSpace(prop.value)
	case len(open) == 2 && open[1] == "VEVENT":
		p.events[len(p.events)-1].take(prop)
	}
	return open, true
}

// take keeps a property of an event. One that is given twice cannot be read, but for EXDATE, whose dates add up.
func (e *icalEvent) take(prop *icalProp) {
	keep := func(slot **icalProp) {
		if *slot == nil {
			*slot = prop
		} else if *slot != e.without {
			e.unsupported = prop
		} else {
			e.without.value += "," + prop.value
		}
	}
	switch prop.name {
	case "SUMMARY":
		e.summary = unescape(prop.value)
	case "STATUS":
		e.cancelled = strings.EqualFold(strings.TrimSpace(prop.value), "CANCELLED")
	case "DTSTART":
		keep(&e.start)
	case "DTEND":
		keep(&e.end)
	case "DURATION":
		keep(&e.duration)
	case "RRULE":
		keep(&e.rule)
	case "EXDATE":
		keep(&e.without)
	case "RECURRENCE-ID":
		keep(&e.override)
	case "RDATE", "EXRULE":
		e.unsupported = prop
	}
}

// unescape reads the escapes of a text; line breaks become spaces, since a name has one line.
func unescape(s string) string {
	return strings.TrimSpace(strings.NewReplacer(`\\`, `\`, `\n`, " ", `\N`, " ", `\,`, ",", `\;`, ";").Replace(s))
}

func short(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "..."
	}
	return s
}

// icalTime reads a date (whole is true) or a point in time, in the property's own zone or else the calendar's.
func icalTime(value, tzid string, zone *time.Location) (t time.Time, whole bool, err error) {
	value = strings.TrimSpace(value)
	if len(value) == 8 {
		t, err = time.Parse("20060102", value)
		return t, true, err
	}
	if utc, found := strings.CutSuffix(value, "Z"); found {
		t, err = time.ParseInLocation("20060102T150405", utc, time.UTC)
		return t, false, err
	}
	if tzid != "" {
		if zone, err = time.LoadLocation(tzid); err != nil || tzid == "Local" {
			return time.Time{}, false, fmt.Errorf("there is no time zone %q", short(tzid))
		}
	}
	c := Calendar{zone: zone}
	wall, err := time.Parse("20060102T150405", value)
	if err != nil {
		return time.Time{}, false, err
	}
	return c.clock(dayOf(wall), wall.Hour(), wall.Minute()).Add(time.Duration(wall.Second()) * time.Second), false, nil
}
