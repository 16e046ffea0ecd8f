package probes

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// jsonDoc is a JSON value, known to be valid. Conditions look at few fields of a document, so only those are decoded; the
// rest is skipped, at a third of the cost of decoding all. Of equal keys the last one counts, as in encoding/json.
type jsonDoc []byte

// parseJSON checks the whole body: half a document, or something after it, is none.
func parseJSON(body []byte) (jsonDoc, error) {
	if !json.Valid(body) {
		var doc any
		return nil, json.Unmarshal(body, &doc) // says where and why
	}
	return jsonDoc(bytes.Trim(body, jsonSpace)), nil
}

const jsonSpace = " \t\r\n"

func (d jsonDoc) skipSpace() jsonDoc {
	for len(d) > 0 && (d[0] == ' ' || d[0] == '\t' || d[0] == '\r' || d[0] == '\n') {
		d = d[1:]
	}
	return d
}

// cut splits the value that d begins with from what follows it.
func (d jsonDoc) cut() (value, rest jsonDoc) {
	depth := 0
	for i := 0; i < len(d); i++ {
		switch d[i] {
		case '"':
			i += d[i:].stringEnd() - 1
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		default:
			if depth > 0 {
				continue
			}
			for i+1 < len(d) && !endsScalar(d[i+1]) {
				i++
			}
		}
		if depth == 0 {
			return d[:i+1], d[i+1:]
		}
	}
	return d, nil
}

func endsScalar(c byte) bool {
	return c == ',' || c == '}' || c == ']' || c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ':'
}

// stringEnd is the length of the string that d begins with, quotes included.
func (d jsonDoc) stringEnd() int {
	for i := 1; i < len(d); i++ {
		switch d[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(d)
}

// each calls visit for the members of an object or the elements of an array; key is empty for the latter. It says false
// for a scalar.
func (d jsonDoc) each(visit func(key, value jsonDoc)) bool {
	if len(d) == 0 || d[0] != '{' && d[0] != '[' {
		return false
	}
	isObject := d[0] == '{'
	for rest := d[1:].skipSpace(); len(rest) > 0 && rest[0] != '}' && rest[0] != ']'; {
		var key, value jsonDoc
		if isObject {
			key, rest = rest.cut()
			rest = rest.skipSpace()[1:].skipSpace() // the colon
		}
		value, rest = rest.cut()
		visit(key, value)
		if rest = rest.skipSpace(); len(rest) > 0 && rest[0] == ',' {
			rest = rest[1:].skipSpace()
		}
	}
	return true
}

// child finds a member or an element.
func (d jsonDoc) child(step *jsonStep) (found jsonDoc, ok bool) {
	if len(d) == 0 || (d[0] == '{') != step.member {
		return nil, false
	}
	want := step.index
	if !step.member && want < 0 {
		n, _ := d.count()
		want += n
	}
	at := 0
	d.each(func(key, value jsonDoc) {
		if step.member && key.isText(step.key) || !step.member && at == want {
			found, ok = value, true
		}
		at++
	})
	return found, ok
}

// count is the number of elements of an array, or of distinct keys of an object.
func (d jsonDoc) count() (n int, ok bool) {
	if len(d) > 0 && d[0] == '{' {
		keys := map[string]bool{}
		d.each(func(key, _ jsonDoc) { keys[key.text()] = true })
		return len(keys), true
	}
	ok = d.each(func(_, _ jsonDoc) { n++ })
	return n, ok
}

// plain tells whether a string stands for itself: no escapes, and nothing that is not ASCII.
func (d jsonDoc) plain() bool {
	for _, c := range d {
		if c == '\\' || c >= 0x80 {
			return false
		}
	}
	return true
}

func (d jsonDoc) isText(want string) bool {
	if d.plain() {
		return string(d[1:len(d)-1]) == want
	}
	return d.text() == want
}

func (d jsonDoc) text() string {
	if d.plain() {
		return string(d[1 : len(d)-1])
	}
	var text string
	if json.Unmarshal(d, &text) != nil {
		return ""
	}
	return text
}

// value decodes.
func (d jsonDoc) value() any {
	switch d[0] {
	case '"':
		return d.text()
	case 't':
		return true
	case 'f':
		return false
	case 'n':
		return nil
	case '{', '[':
		var value any
		_ = json.Unmarshal(d, &value) // valid; a number out of range stays nil
		return value
	}
	n, err := strconv.ParseFloat(string(d), 64)
	if err != nil {
		return string(d) // out of range: shown as it stands, and no number
	}
	return n
}
