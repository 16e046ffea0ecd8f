package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// Limits of what is read. They are far above any real configuration, and keep a hostile file from costing more than a moment.
const (
	fileMax     = 10 << 20  // bytes of one file
	tokenMax    = 3_000_000 // about the keys and values of one file
	chunkMax    = 1 << 20   // bytes of one document, as in Kubernetes; also of all documents with syntax errors together
	documentMax = 100_000   // documents in one file
	depthMax    = 100       // levels of nesting
	findingsMax = 200       // findings reported per file
)

// reader turns the text of one file into documents, and collects what is wrong with the text itself.
type reader struct {
	file     string
	findings Findings
}

// add reports a finding unless the file has too many already; the last one says so.
func (r *reader) add(f Finding) {
	switch {
	case len(r.findings) < findingsMax:
		r.findings = append(r.findings, f)
	case len(r.findings) == findingsMax:
		r.findings = append(r.findings, Finding{Pos: f.Pos, Severity: SeverityError, Rule: "too-many",
			Message: fmt.Sprintf("more than %d findings in this file; the rest is not shown", findingsMax), Hint: "mend the first ones and check again"})
	}
}

func (r *reader) errorAt(line, col int, rule, message, hint string) {
	r.add(Finding{Pos: Pos{r.file, line, col}, Severity: SeverityError, Rule: rule, Message: message, Hint: hint})
}

// source is where a document was read from: enough to read it again when a later finding needs a place in it. That costs
// nothing until there is one, while keeping every document would cost ten times the file.
type source struct {
	file  string
	chunk []byte // of the file
	lines int    // of the file before the chunk
	nth   int    // of the documents in the chunk; nearly always 0
	line  int    // on which the document starts
}

// read reads the document once more.
func (s source) read() *node {
	docs, _ := (&reader{file: s.file}).parse(s.chunk, s.lines)
	if s.nth >= len(docs) {
		return &node{line: int32(s.line), col: 1}
	}
	return &docs[s.nth]
}

// documents reads every document of a file and calls each for it. A document with a syntax error is reported and left out;
// the others are read all the same.
func (r *reader) documents(data []byte, each func(*node, source)) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if !r.acceptable(data) {
		return
	}
	count, line, bad := 0, 0, 0
	for ; len(data) > 0 && len(r.findings) <= findingsMax; count++ {
		chunk, rest := cutDocument(data)
		switch {
		case count == documentMax:
			r.errorAt(line+1, 1, "too-large", fmt.Sprintf("the file has more than %d documents", documentMax), "split it into several files")
			return
		case len(chunk) > chunkMax:
			r.errorAt(line+1, 1, "too-large", fmt.Sprintf("the document has %d bytes; the most is %d (1 MB)", len(chunk), chunkMax), "keep data out of specs, or split them")
			return
		}
		docs, ok := r.parse(chunk, line)
		if !ok {
			if bad += len(chunk); bad > chunkMax {
				r.errorAt(line+1, 1, "too-many", "too much of this file is not YAML; the rest was not read", "mend the first findings and check again")
				return
			}
		}
		for i := range docs {
			each(&docs[i], source{r.file, chunk, line, i, int(docs[i].line)})
		}
		line += bytes.Count(chunk, []byte("\n"))
		data = rest
	}
}

// acceptable refuses what must not reach the parser.
func (r *reader) acceptable(data []byte) bool {
	if len(data) > fileMax {
		r.errorAt(1, 1, "too-large", fmt.Sprintf("the file has %d bytes; the most is %d (10 MB)", len(data), fileMax), "split it into several files")
		return false
	}
	if !utf8.Valid(data) {
		line, col := 1, 1
		for rest := data; len(rest) > 0; {
			c, size := utf8.DecodeRune(rest)
			if c == utf8.RuneError && size == 1 {
				break
			}
			if col++; c == '\n' {
				line, col = line+1, 1
			}
			rest = rest[size:]
		}
		r.errorAt(line, col, "encoding", "this is not UTF-8 text", "save the file as UTF-8")
		return false
	}
	if n := tokens(data); n > tokenMax {
		r.errorAt(1, 1, "too-large", fmt.Sprintf("the file has about %d keys and values; the most is %d", n, tokenMax), "split it into several files")
		return false
	}
	return true
}

// tokens counts what parts keys and values from each other: about as many as there are.
func tokens(data []byte) int {
	n := 0
	for _, c := range data {
		switch c {
		case '\n', '\r', ',', ':', '-', '?', '[', '{', '"', '\'', '!', '&', '*':
			n++
		}
	}
	return n
}

// cutDocument splits off the first document: up to the next line that starts with "---". At the start of a line that always
// is a document marker, also within block texts and quotes.
func cutDocument(data []byte) (doc, rest []byte) {
	for at := 0; ; {
		i := bytes.Index(data[at:], []byte("\n---"))
		if i < 0 {
			return data, nil
		}
		at += i + 1
		if end := at + 3; end == len(data) || bytes.IndexByte([]byte(" \t\r\n"), data[end]) >= 0 {
			return data[:at], data[at:]
		}
	}
}

var yamlLimits = loaderlimits.New(loaderlimits.DepthValue(depthMax))

// parse reads one chunk; line is the number of lines before it. It tells whether the parser understood all of it.
func (r *reader) parse(chunk []byte, line int) ([]node, bool) {
	loader, err := yaml.NewLoader(bytes.NewReader(chunk), yaml.WithPlugin(yamlLimits))
	if err != nil {
		r.errorAt(line+1, 1, "syntax", err.Error(), "")
		return nil, false
	}
	var docs []node
	for {
		var doc yaml.Node
		if err := loader.Load(&doc); errors.Is(err, io.EOF) {
			return docs, true
		} else if err != nil {
			r.syntax(err, chunk, line)
			return docs, false
		}
		if len(doc.Content) == 0 || isEmpty(doc.Content[0]) {
			continue
		}
		c := converter{reader: r, lines: bytes.Split(chunk, []byte("\n")), line: line}
		docs = append(docs, c.convert(doc.Content[0], 0))
	}
}

func isEmpty(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null" && n.Value == ""
}

// syntax reports a parser's error at its place, in words that say what to do.
func (r *reader) syntax(err error, chunk []byte, before int) {
	var load *yaml.LoadError
	if !errors.As(err, &load) {
		r.errorAt(before+1, 1, "syntax", err.Error(), "")
		return
	}
	line, col := load.Mark.Line, load.Mark.Column
	if line == 0 {
		line, col = controlCharacter(chunk)
	}
	if last := lineBreaks(chunk) + 1; line > last { // the parser adds a line break at the end of the text
		line, col = last, utf8.RuneCountInString(lineText(chunk, last))+1
	}
	message := load.Message
	if load.ContextMsg != "" {
		message = load.ContextMsg + ": " + message
		if load.ContextMark.Line > 0 && load.ContextMark.Line != line {
			message += fmt.Sprintf(" (it began on line %d)", before+load.ContextMark.Line)
		}
	}
	rule, hint := "syntax", syntaxHint(load.Message, lineText(chunk, line))
	if strings.Contains(load.Message, "max depth") {
		rule, message, hint = "too-deep", fmt.Sprintf("nested deeper than %d levels", depthMax), "flatten the document"
	}
	if strings.Contains(load.Message, "unknown anchor") {
		rule, hint = "alias", "anchors and aliases are not read: write the value out"
	}
	r.errorAt(before+max(line, 1), max(col, 1), rule, message, hint)
}

// lineBreaks counts what YAML takes for one.
func lineBreaks(text []byte) int {
	n := -bytes.Count(text, []byte("\r\n"))
	for _, b := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} {
		n += bytes.Count(text, []byte(b))
	}
	return n
}

func lineText(chunk []byte, line int) string {
	lines := bytes.SplitN(chunk, []byte("\n"), line+1)
	if line < 1 || line > len(lines) {
		return ""
	}
	return string(lines[line-1])
}

// controlCharacter finds the first character that YAML does not allow.
func controlCharacter(chunk []byte) (line, col int) {
	line, col = 1, 1
	for _, c := range string(chunk) {
		if c < 0x20 && c != '\t' && c != '\n' && c != '\r' || c >= 0x7f && c < 0xa0 && c != 0x85 || c == 0xfffe || c == 0xffff {
			return line, col
		}
		if col++; c == '\n' {
			line, col = line+1, 1
		}
	}
	return 1, 1
}

func syntaxHint(message, text string) string {
	trimmed := strings.TrimLeft(text, " \t")
	switch {
	case strings.Contains(message, "tab") || strings.Contains(text[:len(text)-len(trimmed)], "\t"):
		return "indent with spaces, never with tabs"
	case strings.Contains(message, "mapping values are not allowed"):
		return "indent this key like its neighbours, or quote a text that contains ': '"
	case strings.Contains(message, "cannot start any token"):
		return "quote a text that starts with @, ` or %"
	case strings.Contains(message, "control characters"):
		return "remove the character, or write it as an escape in double quotes"
	case strings.Contains(message, "unexpected end of stream"):
		return "close the quote"
	case strings.Contains(message, "',' or ']'"), strings.Contains(message, "',' or '}'"):
		return "close the bracket, or put a comma between the elements"
	case strings.Contains(message, "incompatible YAML document"), strings.Contains(message, "directive"):
		return "remove the lines that start with %"
	case strings.Contains(message, "expected key"), strings.Contains(message, "'-' indicator"), strings.Contains(message, "document start"):
		return "indent this line like its neighbours"
	case strings.Contains(message, "could not find expected ':'"):
		return "write key: value, with a space after the colon"
	}
	return "look at the line and the one before it: indentation, quotes and brackets"
}

// converter makes nodes of a parser's nodes.
type converter struct {
	*reader
	lines [][]byte
	line  int // lines before the chunk
}

func (c *converter) convert(y *yaml.Node, depth int) node {
	n := node{line: int32(c.line + y.Line), col: int32(y.Column)}
	if y.Kind == yaml.AliasNode {
		c.errorAt(int(n.line), int(n.col), "alias", "aliases (*"+y.Value+") are not read", "write the value out, so that a spec says in one place what it does")
		n.tagged = true
		return n
	}
	switch y.Kind {
	case yaml.ScalarNode:
		c.scalar(&n, y)
		return n
	case yaml.SequenceNode:
		n.kind = nodeList
	case yaml.MappingNode:
		n.kind = nodeMap
	}
	if tag := y.ShortTag(); tag != "!!seq" && tag != "!!map" {
		c.foreignTag(&n, tag)
	}
	if depth >= depthMax {
		c.errorAt(int(n.line), int(n.col), "too-deep", fmt.Sprintf("nested deeper than %d levels", depthMax), "flatten the document")
		n.tagged = true
		return n
	}
	n.items = make([]node, 0, len(y.Content))
	for _, child := range y.Content {
		n.items = append(n.items, c.convert(child, depth+1))
	}
	if n.kind == nodeMap {
		c.keys(&n)
	}
	return n
}

// scalar fills in kind, value and where the text starts.
func (c *converter) scalar(n *node, y *yaml.Node) {
	n.value, n.inner = y.Value, n.col
	switch tag := y.ShortTag(); tag {
	case "!!null":
		n.kind = nodeNull
	case "!!bool":
		n.kind = nodeBool
	case "!!int":
		n.kind = nodeInt
	case "!!float":
		n.kind = nodeFloat
	case "!!str", "!!timestamp", "!!merge":
		n.kind = nodeText
	default:
		n.kind = nodeText
		c.foreignTag(n, tag)
	}
	switch {
	case y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		n.inner++
	case y.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		n.block = true
		if y.Line < len(c.lines) {
			text := c.lines[y.Line]
			n.inner = int32(len(text) - len(bytes.TrimLeft(text, " ")) + 1)
		}
	}
}

func (c *converter) foreignTag(n *node, tag string) {
	c.errorAt(int(n.line), int(n.col), "tag", "the tag "+tag+" means nothing here", "remove the tag")
	n.tagged = true
}

// keys reports keys that are no texts, merge keys and duplicates; of duplicates the first stays.
func (c *converter) keys(n *node) {
	seen := make(map[string]int32, len(n.items)/2)
	kept := n.items[:0]
	for i := 0; i+1 < len(n.items); i += 2 {
		key, value := n.items[i], n.items[i+1]
		first, twice := seen[key.value]
		switch {
		case key.tagged:
		case key.kind == nodeList || key.kind == nodeMap:
			c.errorAt(int(key.line), int(key.col), "wrong-type", "a key must be a text, not "+key.describe(), "write key: value")
		case key.value == "<<":
			c.errorAt(int(key.line), int(key.col), "alias", "merge keys (<<) are not read", "write the keys out")
		case twice:
			c.errorAt(int(key.line), int(key.col), "duplicate-key", fmt.Sprintf("the key %q is already given on line %d", key.value, first), "keep one of the two")
		default:
			seen[key.value] = key.line
			kept = append(kept, key, value)
		}
	}
	n.items = kept
}
