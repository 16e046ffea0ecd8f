package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// node is one value of a document with its place: a compact tree that outlives the YAML parser's own. Documents
// and Params are trees of them, whether they came from YAML, from JSON or from Go.
type node struct {
	kind   nodeKind
	block  bool   // a text written as a block (| or >): its lines start at column inner of the following lines
	value  string // scalars: text as written, numbers included
	line   int32
	col    int32
	inner  int32  // column where a text's first character stands: after the quote, or the block's indentation
	items  []node // list: the elements; map: keys and values in turn
	tagged bool   // repaired after a finding (an alias, a foreign tag): no second finding about its type
}

type nodeKind uint8

const (
	nodeNull nodeKind = iota
	nodeBool
	nodeInt
	nodeFloat
	nodeText
	nodeList
	nodeMap
)

// describe names a node for a person: the number 30, the text "x", a list.
func (n *node) describe() string {
	short := n.value
	if r := []rune(short); len(r) > 40 {
		short = string(r[:40]) + "..."
	}
	switch n.kind {
	case nodeNull:
		return "nothing"
	case nodeBool:
		return short
	case nodeInt, nodeFloat:
		return "the number " + short
	case nodeText:
		return "the text " + strconv.Quote(Redact(short))
	case nodeList:
		return "a list"
	}
	return "a mapping (key: value)"
}

// get finds the value of a key in a map; nil where there is none.
func (n *node) get(key string) *node {
	if n == nil || n.kind != nodeMap {
		return nil
	}
	for i := 0; i+1 < len(n.items); i += 2 {
		if n.items[i].value == key {
			return &n.items[i+1]
		}
	}
	return nil
}

// at follows a path such as steps[2].with.url as far as it goes, and gives the deepest node that is there. For a
// path that leads to a key's value, the place that a person looks for is the value.
func (n *node) at(path string) *node {
	for n != nil && path != "" {
		var next *node
		if path[0] == '[' {
			end := strings.IndexByte(path, ']')
			if end < 0 {
				return n
			}
			i, err := strconv.Atoi(path[1:end])
			if err == nil && n.kind == nodeList && i >= 0 && i < len(n.items) {
				next = &n.items[i]
			}
			path = strings.TrimPrefix(path[end+1:], ".")
		} else {
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			next = n.get(path[:end])
			path = strings.TrimPrefix(path[end:], ".")
		}
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)

// canonical appends the node as JSON with sorted keys and numbers in one notation, so that equal values have equal bytes.
func (n *node) canonical(b *bytes.Buffer) {
	if n == nil {
		b.WriteString("null")
		return
	}
	switch n.kind {
	case nodeNull:
		b.WriteString("null")
	case nodeBool:
		b.WriteString(strings.ToLower(n.value))
	case nodeInt, nodeFloat:
		b.WriteString(canonicalNumber(n.value))
	case nodeText:
		writeJSON(b, n.value)
	case nodeList:
		b.WriteByte('[')
		for i := range n.items {
			if i > 0 {
				b.WriteByte(',')
			}
			n.items[i].canonical(b)
		}
		b.WriteByte(']')
	case nodeMap:
		order := make([]int, 0, len(n.items)/2)
		for i := 0; i+1 < len(n.items); i += 2 {
			order = append(order, i)
		}
		slices.SortStableFunc(order, func(i, j int) int { return strings.Compare(n.items[i].value, n.items[j].value) })
		b.WriteByte('{')
		for i, k := range order {
			if i > 0 {
				b.WriteByte(',')
			}
			writeJSON(b, n.items[k].value)
			b.WriteByte(':')
			n.items[k+1].canonical(b)
		}
		b.WriteByte('}')
	}
}

// canonicalNumber writes a number in one way: integers in decimal, everything else as the shortest exact float.
func canonicalNumber(s string) string {
	if decimal.MatchString(s) && s != "-0" {
		return s
	}
	if i, err := strconv.ParseInt(s, 0, 64); err == nil {
		return strconv.FormatInt(i, 10)
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return strconv.Quote(s)
	}
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return strconv.FormatInt(int64(f), 10)
	}
	b, _ := json.Marshal(f)
	return string(b)
}

func writeJSON(b *bytes.Buffer, s string) {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string into memory cannot go wrong
	b.Truncate(b.Len() - 1)
}

// redacted is a copy without the passwords of URLs in its texts.
func (n *node) redacted() *node {
	if n == nil {
		return nil
	}
	c := *n
	if c.kind == nodeText {
		c.value = Redact(c.value)
	}
	c.items = make([]node, len(n.items))
	for i := range n.items {
		c.items[i] = *n.items[i].redacted()
	}
	return &c
}

// nodeFromJSON reads one JSON value; places stay zero, since JSON from an API has no file.
func nodeFromJSON(data []byte) (*node, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	n, err := nextJSON(dec, 0)
	if err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	if dec.More() {
		return nil, fmt.Errorf("read JSON: something follows the value")
	}
	return n, nil
}

func nextJSON(dec *json.Decoder, depth int) (*node, error) {
	if depth > depthMax {
		return nil, fmt.Errorf("nested deeper than %d levels", depthMax)
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case nil:
		return &node{kind: nodeNull}, nil
	case bool:
		return &node{kind: nodeBool, value: strconv.FormatBool(t)}, nil
	case string:
		return &node{kind: nodeText, value: t}, nil
	case json.Number:
		if decimal.MatchString(t.String()) {
			return &node{kind: nodeInt, value: t.String()}, nil
		}
		return &node{kind: nodeFloat, value: t.String()}, nil
	}
	n := &node{kind: nodeList}
	if token == json.Delim('{') {
		n.kind = nodeMap
	}
	for dec.More() {
		child, err := nextJSON(dec, depth+1)
		if err != nil {
			return nil, err
		}
		n.items = append(n.items, *child)
	}
	_, err = dec.Token()
	return n, err
}
