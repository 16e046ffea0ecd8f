package probes

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// jsonPath points into a JSON document: a.b[0]["odd key"], and .# at the end for the number of elements. nil points nowhere.
type jsonPath []jsonStep

type jsonStep struct {
	member bool // of an object, by key; else an element of an array, by index
	key    string
	index  int // from the end when negative
	count  bool
	text   string
}

// parseJSONPath reads a path; an empty text gives nil. A leading $. is allowed, as people write it.
func parseJSONPath(text string) (jsonPath, error) {
	if text == "" {
		return nil, nil
	}
	path, rest, err := cutJSONPath(text)
	if err == nil && rest != "" {
		err = fmt.Errorf("unexpected %q", rest)
	}
	if err != nil {
		return nil, fmt.Errorf("path %q: %w", text, err)
	}
	return path, nil
}

// cutJSONPath reads the path that text begins with; rest is what follows it.
func cutJSONPath(text string) (path jsonPath, rest string, err error) {
	path = jsonPath{}
	rest = strings.TrimPrefix(text, "$")
	for first := true; rest != "" && rest[0] != ' '; first = false {
		var step jsonStep
		switch {
		case rest[0] == '[':
			step, rest, err = cutBracket(rest)
		case rest[0] == '.' || first:
			step, rest, err = cutName(strings.TrimPrefix(rest, "."))
		default:
			err = fmt.Errorf("unexpected %q", rest)
		}
		if err != nil {
			return nil, "", err
		}
		if len(path) > 0 && path[len(path)-1].count {
			return nil, "", errors.New(".# must be the end of a path")
		}
		path = append(path, step)
	}
	if len(path) == 0 && !strings.HasPrefix(text, "$") {
		return nil, "", errors.New("it is empty")
	}
	return path, rest, nil
}

func cutName(text string) (step jsonStep, rest string, err error) {
	end := strings.IndexAny(text, ".[ =!<>")
	if end < 0 {
		end = len(text)
	}
	name := text[:end]
	switch {
	case name == "":
		return step, "", errors.New("a name is missing")
	case strings.ContainsAny(name, "\"'](){},*"):
		return step, "", fmt.Errorf(`%q is not a name: write ["..."] around names with such characters`, name)
	}
	return jsonStep{member: true, key: name, count: name == "#", text: name}, text[end:], nil
}

func cutBracket(text string) (step jsonStep, rest string, err error) {
	inner := text[1:]
	if strings.HasPrefix(inner, `"`) {
		quoted, err := strconv.QuotedPrefix(inner)
		if err != nil || !strings.HasPrefix(inner[len(quoted):], "]") {
			return step, "", errors.New(`["..."] is not closed`)
		}
		key, err := strconv.Unquote(quoted)
		return jsonStep{member: true, key: key, text: "[" + quoted + "]"}, inner[len(quoted)+1:], err
	}
	number, rest, closed := strings.Cut(inner, "]")
	index, err := strconv.Atoi(number)
	if err != nil || !closed {
		return step, "", fmt.Errorf("[%s] is not an index", number)
	}
	return jsonStep{index: index, text: "[" + number + "]"}, rest, nil
}

// String writes the path for people.
func (p jsonPath) String() string {
	var b strings.Builder
	for i, step := range p {
		if i > 0 && !strings.HasPrefix(step.text, "[") {
			b.WriteByte('.')
		}
		b.WriteString(step.text)
	}
	if b.Len() == 0 {
		return "$"
	}
	return b.String()
}

// find looks the path up in a valid document.
func (p jsonPath) find(doc jsonDoc) (value any, found bool) {
	raw := doc
	for i := range p {
		if p[i].count {
			n, counted := raw.count()
			return float64(n), counted
		}
		if raw, found = raw.child(&p[i]); !found {
			return nil, false
		}
	}
	return raw.value(), true
}

// number gives the number at the path; texts that are numbers count, for many systems send amounts so.
func (p jsonPath) number(doc jsonDoc) (float64, error) {
	value, found := p.find(doc)
	if !found {
		return 0, fmt.Errorf("%s is not there", p)
	}
	n, ok := asNumber(value)
	if !ok {
		return 0, fmt.Errorf("%s is %s, not a number", p, shown(value))
	}
	return n, nil
}

func asNumber(value any) (float64, bool) {
	switch v := value.(type) {
	case float64:
		return v, true
	case string:
		n, err := strconv.ParseFloat(v, 64)
		return n, err == nil && !math.IsNaN(n) && !math.IsInf(n, 0)
	}
	return 0, false
}

// shown writes a value for people, bounded.
func shown(value any) string {
	switch v := value.(type) {
	case map[string]any:
		return fmt.Sprintf("an object of %d fields", len(v))
	case []any:
		return fmt.Sprintf("an array of %d elements", len(v))
	}
	text, err := json.Marshal(value)
	if err != nil {
		return "unreadable"
	}
	if len(text) > 80 {
		return strings.ToValidUTF8(string(text[:80]), "") + " ..."
	}
	return string(text)
}

// jsonCheck is one condition on a JSON document. It fails closed: what is absent or of another kind fulfils nothing but
// the condition "absent".
type jsonCheck struct {
	text    string
	path    jsonPath
	op      string
	want    any // nil, bool, float64 or string
	pattern *regexp.Regexp
}

// jsonOps are the operators, longer ones first where one begins another.
var jsonOps = []string{"==", "!=", "<=", ">=", "<", ">", "contains", "matches", "exists", "absent"}

// parseJSONCheck reads PATH OP VALUE; VALUE is a JSON scalar, or bare words for a text.
func parseJSONCheck(text string) (jsonCheck, error) {
	path, rest, err := cutJSONPath(strings.TrimSpace(text))
	if err != nil {
		return jsonCheck{}, err
	}
	c := jsonCheck{text: text, path: path}
	rest = strings.TrimSpace(rest)
	for _, op := range jsonOps {
		if value, found := strings.CutPrefix(rest, op); found {
			c.op = op
			return c, c.operand(strings.TrimSpace(value))
		}
	}
	return c, fmt.Errorf("no operator after the path: write one of %s", strings.Join(jsonOps, " "))
}

func (c *jsonCheck) operand(text string) error {
	if c.op == "exists" || c.op == "absent" {
		if text != "" {
			return fmt.Errorf("%s takes no value", c.op)
		}
		return nil
	}
	if text == "" {
		return fmt.Errorf("%s needs a value", c.op)
	}
	if err := json.Unmarshal([]byte(text), &c.want); err != nil {
		if strings.ContainsAny(text, `"{}[]`) {
			return fmt.Errorf("%q is not a JSON value", text)
		}
		c.want = text
	}
	switch c.op {
	case "<", "<=", ">", ">=":
		if _, ok := c.want.(float64); !ok {
			return fmt.Errorf("%s compares numbers, %s is none", c.op, text)
		}
	case "matches":
		pattern, ok := c.want.(string)
		if !ok {
			return errors.New("matches needs a text")
		}
		var err error
		c.pattern, err = regexp.Compile(pattern)
		return err
	case "==", "!=":
		switch c.want.(type) {
		case map[string]any, []any:
			return errors.New("objects and arrays cannot be compared; name their fields")
		}
	}
	return nil
}

// fault says what is wrong; empty where the condition holds.
func (c *jsonCheck) fault(doc jsonDoc) string {
	value, found := c.path.find(doc)
	if c.op == "absent" {
		if found {
			return fmt.Sprintf("JSON: %s is there, %s", c.path, shown(value))
		}
		return ""
	}
	if !found {
		return fmt.Sprintf("JSON: %s is not there, wanted %s", c.path, c.text)
	}
	if !c.holds(value) {
		return fmt.Sprintf("JSON: %s is %s, wanted %s", c.path, shown(value), c.text)
	}
	return ""
}

func (c *jsonCheck) holds(value any) bool {
	switch c.op {
	case "exists":
		return true
	case "==":
		return value == c.want
	case "!=":
		switch value.(type) {
		case map[string]any, []any:
			return false
		}
		return value != c.want
	case "contains":
		return contains(value, c.want)
	case "matches":
		text, ok := value.(string)
		return ok && c.pattern.MatchString(text)
	}
	n, ok := asNumber(value)
	limit := c.want.(float64)
	switch c.op {
	case "<":
		return ok && n < limit
	case "<=":
		return ok && n <= limit
	case ">":
		return ok && n > limit
	}
	return ok && n >= limit
}

// contains tells whether a text contains a text, or an array a scalar.
func contains(value, want any) bool {
	switch v := value.(type) {
	case string:
		part, ok := want.(string)
		return ok && strings.Contains(v, part)
	case []any:
		for _, element := range v {
			switch element.(type) {
			case map[string]any, []any:
			default:
				if element == want {
					return true
				}
			}
		}
	}
	return false
}
