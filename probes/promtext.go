package probes

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// promLine is one sample of the Prometheus text format.
type promLine struct {
	name   string
	labels []field
	value  float64
}

// label gives a label's value; empty where it is not there.
func (l *promLine) label(name string) string {
	for _, f := range l.labels {
		if f.name == name {
			return f.value
		}
	}
	return ""
}

// promLines calls each for the samples whose name begins with one of prefixes, and stops at the first line of those that
// is broken: half a figure is no figure.
func promLines(body []byte, prefixes []string, each func(*promLine)) error {
	var l promLine
	for len(body) > 0 {
		raw, rest, _ := bytes.Cut(body, []byte("\n"))
		body = rest
		line := strings.TrimSpace(string(raw))
		if !hasAnyPrefix(line, prefixes) {
			continue
		}
		if err := l.parse(line); err != nil {
			return fmt.Errorf("metrics line %.80q: %w", line, err)
		}
		each(&l)
	}
	return nil
}

func hasAnyPrefix(text string, prefixes []string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return false
}

// parse reads NAME{LABEL="VALUE",...} NUMBER [TIMESTAMP].
func (l *promLine) parse(line string) error {
	*l = promLine{labels: l.labels[:0]}
	end := strings.IndexAny(line, "{ \t")
	if end <= 0 {
		return fmt.Errorf("no value")
	}
	l.name = line[:end]
	rest := line[end:]
	if rest[0] == '{' {
		var err error
		if rest, err = l.parseLabels(rest[1:]); err != nil {
			return err
		}
	}
	figures := strings.Fields(rest)
	if len(figures) < 1 || len(figures) > 2 {
		return fmt.Errorf("no value")
	}
	value, err := strconv.ParseFloat(figures[0], 64)
	if err != nil {
		return fmt.Errorf("%q is not a number", figures[0])
	}
	l.value = value
	return nil
}

func (l *promLine) parseLabels(text string) (rest string, err error) {
	for {
		text = strings.TrimLeft(text, " \t,")
		if strings.HasPrefix(text, "}") {
			return text[1:], nil
		}
		name, after, found := strings.Cut(text, "=")
		after = strings.TrimLeft(after, " \t")
		if !found || !strings.HasPrefix(after, `"`) {
			return "", fmt.Errorf("a label has no value")
		}
		value, more, err := promQuoted(after[1:])
		if err != nil {
			return "", err
		}
		l.labels = append(l.labels, field{strings.TrimSpace(name), value})
		text = more
	}
}

// promQuoted reads up to the closing quote; \\, \" and \n are the escapes of the format.
func promQuoted(text string) (value, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '"':
			return b.String(), text[i+1:], nil
		case '\\':
			i++
			if i == len(text) {
				break
			}
			if text[i] == 'n' {
				b.WriteByte('\n')
			} else {
				b.WriteByte(text[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", "", fmt.Errorf("a label's value is not closed")
}
