package probes

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// callSpec is an HTTP request as a probe wants it, credentials resolved.
type callSpec struct {
	method  string
	url     string
	path    string  // appended to url, with its query
	headers []field // names in canonical form, in order
	body    string
	bodyMax int64 // of the answer
	via     route
}

// field is one header.
type field struct{ name, value string }

// call is a request made ready, to be sent many times.
type call struct {
	of      callSpec // what it was made of
	url     *url.URL
	headers []field

	addr string // HOST:PORT
	wire []byte // the request as bytes; nil where net/http must send it
}

const (
	userAgent   = "backstay"
	wireBodyMax = 16 << 10 // a longer request body could block while the server answers
)

// netHTTPOnly are headers whose meaning for the connection only net/http knows.
var netHTTPOnly = []string{"Connection", "Expect", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "Te", "Upgrade", "Http2-Settings"}

func (s *callSpec) equal(o *callSpec) bool {
	return s.url == o.url && s.path == o.path && s.method == o.method && s.body == o.body && s.bodyMax == o.bodyMax &&
		s.via == o.via && slices.Equal(s.headers, o.headers)
}

// lastCall keeps the call of the last run, which mostly is that of the next one too.
type lastCall struct{ made *call }

func (l *lastCall) call(s callSpec) (*call, error) {
	if l.made != nil && l.made.of.equal(&s) {
		return l.made, nil
	}
	c, err := newCall(s)
	if err != nil {
		return nil, err
	}
	l.made = c
	return c, nil
}

// withPath appends a path, and perhaps a query, to an address.
func withPath(target, path string) (string, error) {
	if path == "" {
		return target, nil
	}
	u, err := url.Parse(target)
	if err != nil {
		return "", errors.New("the address is not a URL")
	}
	more, err := url.Parse(path)
	if err != nil || more.Scheme != "" || more.Host != "" {
		return "", fmt.Errorf("path %q is not a path: write /health or /health?deep=1", path)
	}
	joined := u.JoinPath(more.EscapedPath())
	if joined.RawQuery == "" || more.RawQuery == "" {
		joined.RawQuery += more.RawQuery
	} else {
		joined.RawQuery += "&" + more.RawQuery
	}
	return joined.String(), nil
}

// newCall makes a call ready. Its errors mean that the request cannot be sent at all; they name no credential.
func newCall(s callSpec) (*call, error) {
	target, err := withPath(s.url, s.path)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(target)
	if err != nil {
		return nil, errors.New("the address is not a URL")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, fmt.Errorf("address %q is not an http or https URL", u.Redacted())
	}
	c := &call{of: s, url: u, headers: slices.Clone(s.headers)}
	if u.User != nil && !slices.ContainsFunc(c.headers, func(f field) bool { return f.name == "Authorization" }) {
		password, _ := u.User.Password()
		basic := base64.StdEncoding.EncodeToString([]byte(u.User.Username() + ":" + password))
		c.headers = append(c.headers, field{"Authorization", "Basic " + basic})
	}
	for _, f := range c.headers {
		if err := f.check(); err != nil {
			return nil, err
		}
	}
	c.addr = u.Host
	if u.Port() == "" {
		c.addr = u.Host + ":" + defaultPorts[u.Scheme]
	}
	if c.plain() {
		c.wire = c.encode()
	}
	return c, nil
}

func (f field) check() error {
	for i := range len(f.name) {
		if !tokenByte[f.name[i]] {
			return fmt.Errorf("header name %q has a byte that HTTP does not allow", f.name)
		}
	}
	if f.name == "" {
		return fmt.Errorf("a header has no name")
	}
	for i := range len(f.value) {
		if c := f.value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return fmt.Errorf("the value of header %s has a control character, perhaps a line end", f.name)
		}
	}
	switch f.name {
	case "Content-Length", "Transfer-Encoding", "Trailer":
		return fmt.Errorf("header %s is set by the probe itself; leave it out", f.name)
	}
	return nil
}

// plain tells whether the call can go over the pool's own connections.
func (c *call) plain() bool {
	if c.url.Scheme != "http" || c.of.via != (route{}) || len(c.of.body) > wireBodyMax {
		return false
	}
	for i := range len(c.url.Host) {
		if b := c.url.Host[i]; b <= ' ' || b >= 0x7f || b == '%' {
			return false
		}
	}
	return !slices.ContainsFunc(c.headers, func(f field) bool { return slices.Contains(netHTTPOnly, f.name) })
}

// encode writes the request as net/http would.
func (c *call) encode() []byte {
	host, agent := c.url.Host, userAgent
	var rest strings.Builder
	for _, f := range c.headers {
		switch f.name {
		case "Host":
			host = f.value
		case "User-Agent":
			agent = f.value
		default:
			rest.WriteString(f.name + ": " + f.value + "\r\n")
		}
	}
	head := c.of.method + " " + c.url.RequestURI() + " HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: " + agent + "\r\n"
	if c.of.body != "" || c.of.method == http.MethodPost || c.of.method == http.MethodPut || c.of.method == http.MethodPatch {
		head += "Content-Length: " + strconv.Itoa(len(c.of.body)) + "\r\n"
	}
	return []byte(head + rest.String() + "\r\n" + c.of.body)
}

// repeatable tells whether sending the call twice does no more than sending it once.
func (c *call) repeatable() bool {
	switch c.of.method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return slices.ContainsFunc(c.headers, func(f field) bool { return f.name == "Idempotency-Key" || f.name == "X-Idempotency-Key" })
}

// do sends the call over the cheapest way that can carry it.
func (e *Env) do(ctx context.Context, c *call, a *answer) error {
	e.open()
	if c.wire != nil {
		return e.conns.exchange(ctx, c, a)
	}
	return e.slow.exchange(ctx, c, a)
}

// sortedFields gives headers in the order of their names.
func sortedFields(headers map[string]string) []field {
	fields := make([]field, 0, len(headers))
	for name, value := range headers {
		fields = append(fields, field{textproto.CanonicalMIMEHeaderKey(name), strings.TrimSpace(value)})
	}
	slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
	return fields
}
