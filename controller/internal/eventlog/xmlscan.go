package eventlog

import (
	"bufio"
	"bytes"
	"strconv"
	"unicode/utf8"
)

// tagBytesMax bounds one tag with its attributes.
const tagBytesMax = 1 << 20

// tag is one start or end tag. Its bytes hold until the next one is read.
type tag struct {
	name       []byte // without namespace
	attributes []byte // as in the file
	closing    bool   // </name>
	empty      bool   // <name/>
	line       int    // where it begins
}

// nextTag goes to the next tag, past text, comments and declarations. It takes as much of XML as XES needs, and reads four times as fast as
// encoding/xml; bytes that are not UTF-8 pass, so that they cost one event and not the whole file.
func (r *reader) nextTag(buf []byte) (tag, []byte, error) {
	for {
		if err := r.skipPast('<', nil); err != nil {
			return tag{}, buf, err
		}
		line := r.line
		skipped, err := r.skipOther()
		if err != nil {
			return tag{}, buf, err
		}
		if skipped {
			continue
		}
		if buf, err = r.tagBytes(buf[:0]); err != nil {
			return tag{}, buf, err
		}
		t, ok := splitTag(buf)
		if !ok {
			r.line = line
			return tag{}, buf, r.fail("<%.40s> is no tag: this is no XML", buf)
		}
		t.line = line
		return t, buf, nil
	}
}

// skipOther skips what begins with a < that was just read, unless it is a tag.
func (r *reader) skipOther() (skipped bool, err error) {
	lead, err := r.in.Peek(1)
	if err != nil {
		return false, r.broken(err)
	}
	switch lead[0] {
	case '!':
		return true, r.skipDeclaration()
	case '?':
		return true, r.instruction()
	}
	return false, nil
}

// skipPast reads until end has been read; before, when given, must stand right before it.
func (r *reader) skipPast(end byte, before []byte) error {
	var tail [2]byte // what stood before, across the buffer's borders
	for {
		part, err := r.in.ReadSlice(end)
		r.line += bytes.Count(part, []byte{'\n'})
		if err != nil && err != bufio.ErrBufferFull {
			return r.broken(err)
		}
		text := part
		if err == nil {
			text = part[:len(part)-1]
		}
		switch len(text) {
		case 0:
		case 1:
			tail[0], tail[1] = tail[1], text[0]
		default:
			copy(tail[:], text[len(text)-2:])
		}
		if err == nil {
			if bytes.HasSuffix(tail[:], before) {
				return nil
			}
			tail[0], tail[1] = tail[1], end
		}
	}
}

// skipDeclaration skips a comment, a section of literal text, or a DOCTYPE without declarations of its own.
func (r *reader) skipDeclaration() error {
	lead, err := r.in.Peek(8)
	switch {
	case bytes.HasPrefix(lead, []byte("!--")):
		if _, err := r.in.Discard(3); err != nil {
			return r.broken(err)
		}
		return r.skipPast('>', []byte("--"))
	case bytes.HasPrefix(lead, []byte("![CDATA[")):
		return r.skipPast('>', []byte("]]"))
	case bytes.HasPrefix(lead, []byte("!DOCTYPE")):
		return r.fail("a DOCTYPE has no place in XES: remove it")
	case err != nil:
		return r.broken(err)
	}
	return r.fail("<%.8s is no XML", lead)
}

// instruction reads <?...?>, and the encoding in it.
func (r *reader) instruction() error {
	text, err := r.tagBytes(nil)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(text, []byte("?xml ")) {
		return nil
	}
	for rest := text[5:]; ; {
		var key, value []byte
		if key, value, rest = nextAttribute(rest); key == nil {
			return nil
		}
		if string(key) != "encoding" {
			continue
		}
		switch string(bytes.ToLower(value)) {
		case "utf-8", "utf8", "us-ascii", "ascii":
			return nil
		}
		return r.fail("the encoding is %.40q: convert the file to UTF-8 first, for example with iconv, and say so in this line", value)
	}
}

// tagBytes reads until the > that ends a tag, which is not the > in a quoted value, and leaves it out.
func (r *reader) tagBytes(buf []byte) ([]byte, error) {
	quote, seen := byte(0), 0
	for {
		part, err := r.in.ReadSlice('>')
		r.line += bytes.Count(part, []byte{'\n'})
		buf = append(buf, part...)
		if len(buf) > tagBytesMax {
			return buf, r.fail("a tag that ends here or later is longer than 1 MiB: close the quote in it")
		}
		if err != nil && err != bufio.ErrBufferFull {
			return buf, r.broken(err)
		}
		for seen < len(buf) {
			if quote == 0 {
				i := bytes.IndexAny(buf[seen:], `"'`)
				if i < 0 {
					seen = len(buf)
					break
				}
				quote, seen = buf[seen+i], seen+i+1
			}
			i := bytes.IndexByte(buf[seen:], quote)
			if i < 0 {
				seen = len(buf)
				break
			}
			quote, seen = 0, seen+i+1
		}
		if err == nil && quote == 0 {
			return buf[:len(buf)-1], nil
		}
	}
}

func splitTag(b []byte) (t tag, ok bool) {
	if len(b) > 0 && b[0] == '/' {
		t.closing, b = true, b[1:]
	} else if len(b) > 0 && b[len(b)-1] == '/' {
		t.empty, b = true, b[:len(b)-1]
	}
	n := bytes.IndexAny(b, " \t\r\n")
	if n < 0 {
		n = len(b)
	}
	t.name, t.attributes = b[:n], b[n:]
	if i := bytes.IndexByte(t.name, ':'); i >= 0 {
		t.name = t.name[i+1:]
	}
	return t, len(t.name) > 0 && !bytes.ContainsAny(t.name, `<"'=&`)
}

// nextAttribute takes the first attribute; key is nil after the last, or where there is none any more.
func nextAttribute(b []byte) (key, value, rest []byte) {
	b = bytes.TrimLeft(b, " \t\r\n")
	eq := bytes.IndexByte(b, '=')
	if eq <= 0 {
		return nil, nil, nil
	}
	key, b = bytes.TrimRight(b[:eq], " \t\r\n"), bytes.TrimLeft(b[eq+1:], " \t\r\n")
	if len(b) == 0 || (b[0] != '"' && b[0] != '\'') {
		return nil, nil, nil
	}
	end := bytes.IndexByte(b[1:], b[0])
	if end < 0 {
		return nil, nil, nil
	}
	return key, b[1 : 1+end], b[2+end:]
}

// unescape turns &amp; and the like into what they stand for, and checks that the text is UTF-8. It gives a copy only where something changes.
func unescape(b []byte) (text []byte, ok bool) {
	if !utf8.Valid(b) {
		return nil, false
	}
	for {
		i := bytes.IndexByte(b, '&')
		if i < 0 {
			if text == nil {
				return b, true
			}
			return append(text, b...), true
		}
		end := bytes.IndexByte(b[i:], ';')
		if end < 0 {
			return nil, false
		}
		c := entity(b[i+1 : i+end])
		if c < 0 {
			return nil, false
		}
		text = utf8.AppendRune(append(text, b[:i]...), c)
		b = b[i+end+1:]
	}
}

// entity is the character that a name between & and ; stands for; -1 for none.
func entity(name []byte) rune {
	switch string(name) {
	case "amp":
		return '&'
	case "lt":
		return '<'
	case "gt":
		return '>'
	case "quot":
		return '"'
	case "apos":
		return '\''
	}
	if len(name) < 2 || name[0] != '#' {
		return -1
	}
	digits, base := name[1:], 10
	if digits[0] == 'x' {
		digits, base = digits[1:], 16
	}
	n, err := strconv.ParseUint(string(digits), base, 32)
	if err != nil || n == 0 || !utf8.ValidRune(rune(n)) {
		return -1
	}
	return rune(n)
}
