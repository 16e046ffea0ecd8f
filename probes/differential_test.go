package probes

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// differential is one server script, spoken to by our client and by net/http; both must see the same.
type differential struct {
	name    string
	method  string            // GET where empty
	headers map[string]string // of the request
	body    string            // of the request
	bodyMax int64
	// answers are what the server sends to the first, second ... request, the last one for all further requests.
	// {close} closes the connection, {hang} keeps it open in silence, {pause} waits a moment.
	answers []string
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

var differentials = []differential{
	{name: "plain", answers: []string{okAnswer}},
	{name: "no reason", answers: []string{"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"}},
	{name: "two CRs", answers: []string{"HTTP/1.1 200\r\r\nContent-Length: 2\r\n\r\nok{close}"}},
	{name: "empty reason", answers: []string{"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok"}},
	{name: "empty body", answers: []string{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}},
	{name: "in small pieces", answers: []string{"HTTP/1.1 20{pause}0 OK\r\nContent-Le{pause}ngth: 6\r\n\r{pause}\nabc{pause}def"}},
	{name: "chunked", answers: []string{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"}},
	{name: "chunked, extension and trailer", answers: []string{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n"}},
	{name: "chunked and length", answers: []string{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"}},
	{name: "bad chunk", answers: []string{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n{close}"}},
	{name: "chunk too long", answers: []string{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n{close}"}},
	{name: "chunks break off", answers: []string{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab{close}"}},
	{name: "unknown transfer encoding", answers: []string{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc{close}"}},
	{name: "two transfer encodings", answers: []string{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{close}"}},
	{name: "to the end", answers: []string{"HTTP/1.1 200 OK\r\n\r\nabc{pause}def{close}"}},
	{name: "HTTP/1.0", answers: []string{"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok{close}"}},
	{name: "HTTP/1.0 keep-alive", answers: []string{"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"}},
	{name: "HTTP/2.0 in clear", answers: []string{"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok{close}"}},
	{name: "close", answers: []string{"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok{close}"}},
	{name: "close is said, not done", answers: []string{"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"}},
	{name: "close among others", answers: []string{"HTTP/1.1 200 OK\r\nConnection: foo, Close\r\nContent-Length: 2\r\n\r\nok"}},
	{name: "keep-alive and close", answers: []string{"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"}},
	{name: "100 before", answers: []string{"HTTP/1.1 100 Continue\r\n\r\n" + okAnswer}},
	{name: "103 before", answers: []string{"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{pause}" + okAnswer}},
	{name: "many 1xx", answers: []string{strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 20_000) + okAnswer + "{close}"}},
	{name: "101", answers: []string{"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n{hang}"}},
	{name: "HEAD", method: "HEAD", answers: []string{"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"}},
	{name: "HEAD with chunked", method: "HEAD", answers: []string{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"}},
	{name: "HEAD with a body", method: "HEAD", answers: []string{okAnswer}},
	{name: "204", answers: []string{"HTTP/1.1 204 No Content\r\n\r\n"}},
	{name: "204 with length", answers: []string{"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"}},
	{name: "204 with a body", answers: []string{"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok"}},
	{name: "304", answers: []string{"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n"}},
	{name: "500", answers: []string{"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno"}},
	{name: "redirect", answers: []string{"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n"}},
	{name: "two locations", answers: []string{"HTTP/1.1 302 Found\r\nLocation: \r\nLocation: /there\r\nContent-Length: 0\r\n\r\n"}},
	{name: "status 099", answers: []string{"HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nok{close}"}},
	{name: "status 999", answers: []string{"HTTP/1.1 999 High\r\nContent-Length: 2\r\n\r\nok"}},
	{name: "status of two digits", answers: []string{"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok{close}"}},
	{name: "status of four digits", answers: []string{"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok{close}"}},
	{name: "status with sign", answers: []string{"HTTP/1.1 +20 OK\r\nContent-Length: 2\r\n\r\nok{close}"}},
	{name: "equal lengths", answers: []string{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"}},
	{name: "conflicting lengths", answers: []string{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk{close}"}},
	{name: "length list", answers: []string{"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok{close}"}},
	{name: "negative length", answers: []string{"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok{close}"}},
	{name: "length with sign", answers: []string{"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok{close}"}},
	{name: "empty length", answers: []string{"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nok{close}"}},
	{name: "huge length", answers: []string{"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok{close}"}},
	{name: "length with leading zeros", answers: []string{"HTTP/1.1 200 OK\r\nContent-Length: 0000000000000000000002\r\n\r\nok"}},
	{name: "folded header", answers: []string{"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok"}},
	{name: "folded length", answers: []string{"HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n\r\nok"}},
	{name: "folded first line", answers: []string{"HTTP/1.1 200 OK\r\n X: a\r\nContent-Length: 2\r\n\r\nok{close}"}},
	{name: "lines end in LF", answers: []string{"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"}},
	{name: "lines end in both", answers: []string{"HTTP/1.1 200 OK\r\nContent-Length: 2\n\r\nok"}},
	{name: "bare CR", answers: []string{"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok{close}"}},
	{name: "NUL in a value", answers: []string{"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nok{close}"}},
	{name: "8-bit value", answers: []string{"HTTP/1.1 200 OK\r\nX: \xe4\xff\r\nContent-Length: 2\r\n\r\nok"}},
	{name: "space before colon", answers: []string{"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok{close}"}},
	{name: "no colon", answers: []string{"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 2\r\n\r\nok{close}"}},
	{name: "no name", answers: []string{"HTTP/1.1 200 OK\r\n: x\r\nContent-Length: 2\r\n\r\nok{close}"}},
	{name: "odd name", answers: []string{"HTTP/1.1 200 OK\r\nX(y): x\r\nContent-Length: 2\r\n\r\nok{close}"}},
	{name: "tab around value", answers: []string{"HTTP/1.1 200 OK\r\nContent-Length:\t2\t\r\n\r\nok"}},
	{name: "long header", answers: []string{"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 40_000) + "\r\nContent-Length: 2\r\n\r\nok"}},
	{name: "huge header", answers: []string{"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 2*headBytesMax) + "\r\nContent-Length: 2\r\n\r\nok{close}"}},
	{name: "endless header", answers: []string{"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: a\r\n", 100_000) + "{close}"}},
	{name: "body over the buffer", answers: []string{"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + strings.Repeat("x", 60_000)}},
	{name: "body at the bound", bodyMax: 8, answers: []string{"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n12345678"}},
	{name: "body over the bound", bodyMax: 8, answers: []string{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123456789"}},
	{name: "endless body", bodyMax: 1000, answers: []string{"HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 100_000) + "{hang}"}},
	{name: "endless chunks", bodyMax: 1000, answers: []string{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("4\r\nxxxx\r\n", 10_000) + "{hang}"}},
	{name: "body too short", answers: []string{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok{close}"}},
	{name: "body too long", answers: []string{"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nok"}},
	{name: "answer nobody asked for", answers: []string{okAnswer + okAnswer}},
	{name: "header breaks off", answers: []string{"HTTP/1.1 200 OK\r\nContent-Le{close}"}},
	{name: "status breaks off", answers: []string{"HTTP/1{close}"}},
	{name: "nothing", answers: []string{"{close}"}},
	{name: "silence", answers: []string{"{hang}"}},
	{name: "silence within the header", answers: []string{"HTTP/1.1 200 OK\r\nConte{hang}"}},
	{name: "silence within the body", answers: []string{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok{hang}"}},
	{name: "silence within a chunk", answers: []string{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok{hang}"}},
	{name: "not HTTP", answers: []string{"220 mail.example ready\r\n{close}"}},
	{name: "SSH", answers: []string{"SSH-2.0-OpenSSH_9.2\r\n{hang}"}},
	{name: "empty line first", answers: []string{"\r\n" + okAnswer + "{close}"}},
	{name: "POST", method: "POST", body: `{"a":1}`, answers: []string{okAnswer}},
	{name: "POST of nothing", method: "POST", answers: []string{okAnswer}},
	{name: "PUT", method: "PUT", body: strings.Repeat("y", 10_000), answers: []string{okAnswer}},
	{name: "DELETE", method: "DELETE", answers: []string{okAnswer}},
	{name: "headers", headers: map[string]string{"x-one": "1", "Accept": "text/html", "Host": "other.example", "User-Agent": "me"}, answers: []string{okAnswer}},
	{name: "stale connection, GET", answers: []string{okAnswer, "{close}", okAnswer}},
	{name: "stale connection, POST", method: "POST", body: "x", answers: []string{okAnswer, "{close}", okAnswer}},
	{name: "stale connection, POST with key", method: "POST", body: "x", headers: map[string]string{"Idempotency-Key": "k"}, answers: []string{okAnswer, "{close}", okAnswer}},
	{name: "stale connection, DELETE", method: "DELETE", answers: []string{okAnswer, "{close}", okAnswer}},
	{name: "stale connection that still says something", answers: []string{okAnswer, "H{close}", okAnswer}},
	{name: "connection closed while idle, POST", method: "POST", body: "x", answers: []string{okAnswer + "{close}", okAnswer}},
}

// diffServer speaks a script and notes what it was asked.
type diffServer struct {
	addr  string
	conns atomic.Int32
	mu    sync.Mutex
	asked []string
}

func newDiffServer(t testing.TB, answers []string) *diffServer {
	s := &diffServer{}
	s.addr = script(t, func(nc net.Conn) {
		s.conns.Add(1)
		r := bufio.NewReader(nc)
		for {
			asked, err := readRequest(r)
			if err != nil {
				return
			}
			s.mu.Lock()
			n := len(s.asked)
			s.asked = append(s.asked, asked)
			s.mu.Unlock()
			if !speak(nc, answers[min(n, len(answers)-1)]) {
				return
			}
		}
	})
	return s
}

// readRequest reads one request as it came over the wire, without the address, which differs.
func readRequest(r *bufio.Reader) (string, error) {
	var head strings.Builder
	length := 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		fmt.Sscanf(line, "Content-Length: %d", &length)
		if !strings.HasPrefix(line, "Host: 127.") {
			head.WriteString(line)
		}
		if line == "\r\n" {
			break
		}
	}
	body := make([]byte, length)
	_, err := io.ReadFull(r, body)
	return head.String() + string(body), err
}

// speak sends an answer; false where the connection is to be closed.
func speak(nc net.Conn, answer string) bool {
	for answer != "" {
		text, rest, marked := strings.Cut(answer, "{")
		io.WriteString(nc, text)
		if !marked {
			return true
		}
		mark, after, _ := strings.Cut(rest, "}")
		answer = after
		switch mark {
		case "close":
			return false
		case "pause":
			time.Sleep(5 * time.Millisecond)
		case "hang":
			nc.Read(make([]byte, 1))
			return false
		}
	}
	return true
}

// seen is what a client saw of one call.
type seen struct {
	status   int
	location string
	body     string
	cut      bool
	failed   bool
}

type exchanger interface {
	exchange(context.Context, *call, *answer) error
}

func (d *differential) call(t testing.TB, addr string) *call {
	s := callSpec{method: d.method, url: "http://" + addr + "/a?b=c", headers: sortedFields(d.headers), body: d.body, bodyMax: d.bodyMax}
	if s.method == "" {
		s.method = "GET"
	}
	if s.bodyMax == 0 {
		s.bodyMax = 1 << 20
	}
	c, err := newCall(s)
	if err != nil || c.wire == nil {
		t.Fatalf("not a call for our own client: %v", err)
	}
	return c
}

func (d *differential) ask(t testing.TB, client exchanger) (saw []seen, server *diffServer) {
	server = newDiffServer(t, d.answers)
	c := d.call(t, server.addr)
	for range 3 {
		a := newAnswer()
		ctx, cancel := context.WithTimeout(context.Background(), 250*time.Millisecond)
		err := client.exchange(ctx, c, a)
		if err != nil {
			saw = append(saw, seen{failed: true})
		} else {
			saw = append(saw, seen{a.status, a.location, string(a.body), a.cut, false})
		}
		cancel()
		a.release()
		time.Sleep(3 * time.Millisecond) // net/http takes connections back, and sees them closed, in the background
	}
	return saw, server
}

func TestSameAnswersAsNetHTTP(t *testing.T) {
	for _, d := range differentials {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			own, theirs := newConnPool(), newTransports()
			defer own.closeIdle()
			defer theirs.closeIdle()
			ownSaw, ownServer := d.ask(t, own)
			theirSaw, theirServer := d.ask(t, theirs)
			if fmt.Sprint(ownSaw) != fmt.Sprint(theirSaw) {
				t.Errorf("we saw      %.300q\nnet/http saw %.300q", fmt.Sprint(ownSaw), fmt.Sprint(theirSaw))
			}
			if o, n := ownServer.conns.Load(), theirServer.conns.Load(); o != n {
				t.Errorf("we opened %d connections, net/http %d", o, n)
			}
			ownServer.mu.Lock()
			defer ownServer.mu.Unlock()
			theirServer.mu.Lock()
			defer theirServer.mu.Unlock()
			if fmt.Sprintf("%q", ownServer.asked) != fmt.Sprintf("%q", theirServer.asked) {
				t.Errorf("we sent      %.600q\nnet/http sent %.600q", ownServer.asked, theirServer.asked)
			}
		})
	}
}

// deafConn is a connection to a server that waits for the request, says what it has to say, and closes.
type deafConn struct {
	net.Conn
	once  sync.Once
	asked chan struct{}
	says  *bytes.Reader
}

func newDeafConn(says []byte) *deafConn {
	return &deafConn{asked: make(chan struct{}), says: bytes.NewReader(says)}
}

func (c *deafConn) Write(b []byte) (int, error) {
	c.once.Do(func() { close(c.asked) })
	return len(b), nil
}
func (c *deafConn) Read(b []byte) (int, error)       { <-c.asked; return c.says.Read(b) }
func (c *deafConn) Close() error                     { c.once.Do(func() { close(c.asked) }); return nil }
func (c *deafConn) SetDeadline(time.Time) error      { return nil }
func (c *deafConn) SetReadDeadline(time.Time) error  { return nil }
func (c *deafConn) SetWriteDeadline(time.Time) error { return nil }
func (c *deafConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *deafConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

func FuzzResponse(f *testing.F) {
	for _, d := range differentials {
		for _, answer := range d.answers {
			for _, mark := range []string{"{close}", "{hang}", "{pause}"} {
				answer = strings.ReplaceAll(answer, mark, "")
			}
			if len(answer) < 2000 {
				f.Add([]byte(answer), d.method == "HEAD")
			}
		}
	}
	f.Fuzz(func(t *testing.T, says []byte, isHead bool) {
		method := "GET"
		if isHead {
			method = "HEAD"
		}
		d := differential{method: method, bodyMax: 50}
		c := d.call(t, "127.0.0.1:80")
		a := newAnswer()
		defer a.release()
		_, _, err := (&conn{Conn: newDeafConn(says)}).roundTrip(c, a)
		own := seen{failed: true}
		if err == nil {
			own = seen{a.status, a.location, string(a.body), a.cut, false}
		}
		tr := &http.Transport{DisableCompression: true, MaxResponseHeaderBytes: headBytesMax,
			DialContext: func(context.Context, string, string) (net.Conn, error) { return newDeafConn(says), nil }}
		defer tr.CloseIdleConnections()
		theirs := &transports{all: map[route]*routeTransport{{}: {Transport: tr}}}
		b := newAnswer()
		defer b.release()
		net := seen{failed: true}
		if err := theirs.exchange(context.Background(), c, b); err == nil {
			net = seen{b.status, b.location, string(b.body), b.cut, false}
		}
		if own != net {
			t.Errorf("we see %+v (%v), net/http sees %+v", own, err, net)
		}
	})
}

func FuzzJSONCheck(f *testing.F) {
	f.Add(`status == "ok"`, `{"status":"ok"}`)
	f.Add(`a.b[0]["x y"].# >= 2`, `{"a":{"b":[{"x y":[1,2]}]}}`)
	f.Add(`$[-1] contains x`, `["x"]`)
	f.Add(`a matches "^b+$"`, `{"a":"bb"}`)
	f.Add(`error absent`, `null`)
	f.Add(`a == 1`, ` {"a" : 0 , "\u0061":1, "b":[ ] , "c":{}, "\xff":"\""} `)
	f.Add(`b.# == 2`, `{"b":{"x":1,"x":2,"y":[[],{}]}}`)
	f.Add(`b[-2] == 2`, "[1,\n2,-3e5]")
	f.Fuzz(func(t *testing.T, check, body string) {
		c, err := parseJSONCheck(check)
		if err != nil {
			return
		}
		if again, err := parseJSONPath(c.path.String()); err != nil || again.String() != c.path.String() {
			t.Errorf("path %q of %q cannot be read again: %v", c.path, check, err)
		}
		var all any
		wanted := json.Unmarshal([]byte(body), &all)
		doc, err := parseJSON([]byte(body))
		if err != nil {
			if wanted == nil {
				t.Errorf("%q is JSON, and was refused: %v", body, err)
			}
			return
		}
		if wanted != nil {
			return // a number out of range somewhere, which matters only where it is asked for
		}
		value, found := c.path.find(doc)
		theirs, foundToo := findDecoded(c.path, all)
		if found != foundToo || !reflect.DeepEqual(value, theirs) {
			t.Errorf("%q in %q: we find %v %v, in the decoded document it is %v %v", c.path, body, value, found, theirs, foundToo)
		}
		if !found && c.op != "absent" && c.fault(doc) == "" {
			t.Errorf("%q holds on %q, though nothing is there", check, body)
		}
	})
}

// findDecoded looks a path up in a document that encoding/json decoded as a whole.
func findDecoded(p jsonPath, doc any) (value any, found bool) {
	for _, step := range p {
		found = false
		switch node := doc.(type) {
		case map[string]any:
			switch {
			case step.count:
				doc, found = float64(len(node)), true
			case step.member:
				doc, found = node[step.key]
			}
		case []any:
			index := step.index
			if index < 0 {
				index += len(node)
			}
			switch {
			case step.count:
				doc, found = float64(len(node)), true
			case !step.member && index >= 0 && index < len(node):
				doc, found = node[index], true
			}
		}
		if !found {
			return nil, false
		}
	}
	return doc, true
}

func FuzzPromText(f *testing.F) {
	f.Add(rabbitDetailed)
	f.Add(rabbitGlobal)
	f.Add("rabbitmq_x{a=\"b\\\"\\\\\\n\",} 1e3 1700000000\n")
	f.Fuzz(func(t *testing.T, body string) {
		promLines([]byte(body), []string{"rabbitmq_"}, func(l *promLine) {
			if !strings.HasPrefix(l.name, "rabbitmq_") {
				t.Errorf("name %q was not asked for", l.name)
			}
		})
	})
}

func FuzzStatus(f *testing.F) {
	for _, text := range []string{"200", "2xx", "200-299", "999-100", "xx"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseStatus(text)
		if err == nil && (s.from < 100 || s.to > 999 || s.from > s.to) {
			t.Errorf("%q became %+v", text, s)
		}
	})
}
