package probes

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
)

// This file speaks plain HTTP/1.1 over pooled connections at a third of the cost of net/http's Transport: no goroutines
// per connection, no header map. Its own parser takes only the plainest responses; everything else on the same
// connection is read by net/http's own parser, so the answers are the same by construction.

const (
	headBytesMax   = 256 << 10 // response headers, interim ones included
	answerBufBytes = 8 << 10
)

// answer is what came back. body is valid until the answer is released.
type answer struct {
	status   int
	location string // where a redirect points
	body     []byte
	cut      bool // the body was longer than wanted
	cert     certificate

	buf []byte // what was received
	big []byte // a body that does not fit into buf
}

var answers = sync.Pool{New: func() any { return &answer{buf: make([]byte, answerBufBytes)} }}

func newAnswer() *answer { return answers.Get().(*answer) }

// release gives the answer's memory back for the next one.
func (a *answer) release() {
	if cap(a.big) > 1<<20 {
		a.big = nil
	}
	*a = answer{buf: a.buf, big: a.big[:0]}
	answers.Put(a)
}

func (a *answer) reset() { *a = answer{buf: a.buf, big: a.big[:0]} }

// exchange sends a call and reads the answer. A connection from the pool that broke before anything came back is
// replaced by a new one, once, and only where a repeat can do no harm.
func (p *connPool) exchange(ctx context.Context, c *call, a *answer) error {
	for fresh := false; ; fresh = true {
		conn, reused, err := p.get(ctx, c.of.addr, fresh)
		if err != nil {
			return err
		}
		stop := onCancel(ctx, conn)
		a.reset()
		received, keep, err := conn.roundTrip(c, a)
		if !stop() {
			keep = false // the deadline may have been moved to the past
		}
		if keep && err == nil {
			p.put(conn)
			return nil
		}
		conn.Close()
		var timeout net.Error
		if err == nil || !reused || fresh || received || !c.repeatable() || ctx.Err() != nil || errors.As(err, &timeout) && timeout.Timeout() {
			return err
		}
	}
}

// roundTrip sends the call and reads the answer. received tells whether anything came back, keep whether the connection
// can be used again.
func (c *conn) roundTrip(call *call, a *answer) (received, keep bool, err error) {
	_, sendErr := c.Write(call.wire)
	n, h, err := c.readHead(a)
	if err != nil && (n == 0 || !errors.Is(err, io.EOF)) {
		return n > 0, false, errors.Join(sendErr, err)
	}
	if err != nil || !h.plain {
		keep, err = c.readByNetHTTP(call, a, n)
		return true, keep && sendErr == nil, err
	}
	a.status, a.location = h.status, h.location
	if h.bodyless(call.of.method) {
		return true, !h.close && n == h.size && sendErr == nil, nil
	}
	keep, err = c.readBody(call, a, h, n)
	return true, keep && !h.close && sendErr == nil, err
}

// readHead reads until the header is whole or turns out not to be plain. n is how much is in a.buf.
func (c *conn) readHead(a *answer) (n int, h head, err error) {
	for {
		m, err := c.Read(a.buf[n:])
		n += m
		if m > 0 {
			if h, whole := parseHead(a.buf[:n]); whole {
				return n, h, nil
			}
		}
		if err != nil {
			return n, head{}, err
		}
		if n == len(a.buf) {
			return n, head{}, nil // not plain: too long for the buffer
		}
	}
}

// readBody reads a body of known length, or one that ends with the connection.
func (c *conn) readBody(call *call, a *answer, h head, n int) (keep bool, err error) {
	got := a.buf[h.size:n]
	want := call.of.bodyMax + 1
	if h.length >= 0 {
		want = min(h.length, want)
	}
	if int64(len(got)) < want && h.length >= 0 && int64(h.size)+want <= int64(len(a.buf)) {
		for int64(len(got)) < want && err == nil {
			var m int
			m, err = c.Read(a.buf[n:])
			n += m
			got = a.buf[h.size:n]
		}
	} else if int64(len(got)) < want {
		a.big = append(a.big[:0], got...)
		a.big, err = appendUpTo(a.big, c, want)
		got = a.big
	}
	if int64(len(got)) < want {
		if errors.Is(err, io.EOF) && h.length >= 0 {
			err = io.ErrUnexpectedEOF
		}
		if !errors.Is(err, io.EOF) {
			return false, err
		}
	}
	keep = h.length >= 0 && int64(len(got)) == h.length
	a.setBody(got[:min(int64(len(got)), want)], call.of.bodyMax)
	return keep, nil
}

// setBody takes a body that was read up to one byte beyond the bound.
func (a *answer) setBody(body []byte, bodyMax int64) {
	if int64(len(body)) > bodyMax {
		a.cut, body = true, body[:bodyMax]
	}
	a.body = body
}

// appendUpTo reads until b has want bytes. io.EOF says that the reader ended before.
func appendUpTo(b []byte, r io.Reader, want int64) ([]byte, error) {
	for int64(len(b)) < want {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		m, err := r.Read(b[len(b):min(int64(cap(b)), want)])
		b = b[:len(b)+m]
		if err != nil {
			return b, err
		}
	}
	return b, nil
}

// readByNetHTTP lets net/http's parser read the response whose first n bytes are in a.buf.
func (c *conn) readByNetHTTP(call *call, a *answer, n int) (keep bool, err error) {
	source := &replayReader{head: bytes.Clone(a.buf[:n]), conn: c, limit: headBytesMax}
	r := bufio.NewReader(source)
	req := &http.Request{Method: call.of.method}
	var resp *http.Response
	for {
		resp, err = http.ReadResponse(r, req)
		if err != nil {
			switch {
			case source.err != nil: // what broke the reading off explains more than what was missing then
				return false, source.err
			case errors.Is(err, io.ErrUnexpectedEOF):
				return false, err
			}
			return false, &malformedError{err}
		}
		if resp.StatusCode > 199 || resp.StatusCode == http.StatusSwitchingProtocols || resp.StatusCode < 100 {
			break
		}
	}
	source.limit = -1
	a.status, a.location = resp.StatusCode, resp.Header.Get("Location")
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return false, nil
	}
	a.big, err = appendUpTo(a.big[:0], resp.Body, call.of.bodyMax+1)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	keep = err != nil && !resp.Close && resp.StatusCode > 199 && r.Buffered() == 0 && len(source.head) == 0
	a.setBody(a.big, call.of.bodyMax)
	return keep, nil
}

// malformedError says that what came back is not HTTP.
type malformedError struct{ err error }

func (e *malformedError) Error() string { return "the answer is not HTTP: " + e.err.Error() }
func (e *malformedError) Unwrap() error { return e.err }

// head is the header of a plain response.
type head struct {
	plain    bool // false: net/http's parser must read it
	close    bool
	status   int
	length   int64 // of the body; -1 where it ends with the connection
	size     int   // bytes of the header
	location string
	located  bool // a Location was there
}

// bodyless tells whether a response has no body, whatever its header says.
func (h *head) bodyless(method string) bool {
	return method == http.MethodHead || h.status == http.StatusNoContent || h.status == http.StatusNotModified
}

// parseHead reads the header of a plain response: HTTP/1.1, three digits of a final status, lines that end in CRLF, and no
// more than one Content-Length. whole is false while more bytes are needed to tell.
func parseHead(b []byte) (h head, whole bool) {
	const proto = "HTTP/1.1 "
	h.length = -1
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		return head{}, false
	}
	if end < len(proto)+4 || b[end-1] != '\r' || string(b[:len(proto)]) != proto {
		return head{}, true
	}
	for _, digit := range b[len(proto) : len(proto)+3] {
		if digit < '0' || digit > '9' {
			return head{}, true
		}
		h.status = h.status*10 + int(digit-'0')
	}
	if h.status < 200 || b[len(proto)+3] != ' ' && end != len(proto)+4 {
		return head{}, true
	}
	for {
		line := end + 1
		next := bytes.IndexByte(b[line:], '\n')
		if next < 0 {
			return head{}, false
		}
		end = line + next
		if next == 0 || b[end-1] != '\r' {
			return head{}, true
		}
		if next == 1 {
			h.plain, h.size = true, end+1
			return h, true
		}
		if !h.field(b[line : end-1]) {
			return head{}, true
		}
	}
}

// field takes one header line; false where it is not plain.
func (h *head) field(line []byte) bool {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return false
	}
	name, value := line[:colon], bytes.Trim(line[colon+1:], " \t")
	for _, c := range name {
		if !tokenByte[c] {
			return false
		}
	}
	for _, c := range value {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	switch len(name) {
	case len("Connection"):
		if bytes.EqualFold(name, []byte("Connection")) {
			h.close = h.close || bytes.EqualFold(value, []byte("close"))
			return h.close || bytes.EqualFold(value, []byte("keep-alive"))
		}
	case len("Content-Length"):
		if bytes.EqualFold(name, []byte("Content-Length")) {
			return h.contentLength(value)
		}
	case len("Location"):
		if bytes.EqualFold(name, []byte("Location")) {
			if h.located {
				return false
			}
			h.location, h.located = string(value), true
		}
	case len("Transfer-Encoding"):
		return !bytes.EqualFold(name, []byte("Transfer-Encoding"))
	case len("Trailer"):
		return !bytes.EqualFold(name, []byte("Trailer")) && !bytes.EqualFold(name, []byte("Upgrade"))
	}
	return true
}

func (h *head) contentLength(value []byte) bool {
	if h.length >= 0 || len(value) == 0 || len(value) > 18 {
		return false
	}
	h.length = 0
	for _, digit := range value {
		if digit < '0' || digit > '9' {
			return false
		}
		h.length = h.length*10 + int64(digit-'0')
	}
	return true
}

// tokenByte marks the bytes that a header name may have (RFC 9110, section 5.6.2).
var tokenByte = func() (set [256]bool) {
	for c := '0'; c <= '9'; c++ {
		set[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		set[c], set[c-'a'+'A'] = true, true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		set[c] = true
	}
	return set
}()
