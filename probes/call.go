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
	"sync"
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

// call is a request made ready, to be sent many times. There may be 50,000, so what many have in common is held once.
type call struct {
	of   *origin
	path string
	url  *url.URL // nil where wire is enough
	wire []byte   // the request as bytes; nil where net/http must send it
}

// origin is what a call was made of, but its path.
type origin struct {
	callSpec
	host    string  // as the address has it
	addr    string  // HOST:PORT
	headers []field // those of the address too
}

// originKey finds the origin of calls that hold nothing which may be secret.
type originKey struct {
	method, url string
	bodyMax     int64
	via         route
}

// originsMax bounds how many are remembered to be shared.
const originsMax = 1024

// origins lets calls share what they were made of.
type origins struct {
	mu  sync.Mutex
	all map[originKey]*origin
}

// share gives the origin that calls like this one have already, or takes this one.
func (s *origins) share(o *origin) *origin {
	if len(o.headers) > 0 || o.body != "" || o.via.proxy != "" {
		return o
	}
	key := originKey{o.method, o.url, o.bodyMax, o.via}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.all[key]; known != nil {
		return known
	}
	if s.all == nil || len(s.all) >= originsMax {
		s.all = map[originKey]*origin{}
	}
	s.all[key] = o
	return o
}

const (
	userAgent   = "backstay"
	wireBodyMax = 16 << 10 // a longer request body could block while the server answers
)

// netHTTPOnly are headers whose meaning for the connection only net/http knows.
var netHTTPOnly = []string{"Connection", "Expect", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "Te", "Upgrade", "Http2-Settings"}

// equal tells whether a call made of s would be this one.
func (c *call) equal(s *callSpec) bool {
	o := c.of
	return s.url == o.url && s.path == c.path && s.method == o.method && s.body == o.body && s.bodyMax == o.bodyMax &&
		s.via == o.via && slices.Equal(s.headers, o.callSpec.headers)
}

// lastCall keeps the call of the last run, which mostly is that of the next one too.
type lastCall struct{ made *call }

func (l *lastCall) call(e *Env, s callSpec) (*call, error) {
	if l.made != nil && l.made.equal(&s) {
		return l.made, nil
	}
	c, err := newCall(s)
	if err != nil {
		return nil, err
	}
	c.of = e.origins.share(c.of)
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
	u, err := s.link()
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, fmt.Errorf("address %q is not an http or https URL", u.Redacted())
	}
	o := &origin{callSpec: s, host: u.Host, addr: u.Host, headers: slices.Clone(s.headers)}
	o.path = ""
	if u.User != nil && !slices.ContainsFunc(o.headers, func(f field) bool { return f.name == "Authorization" }) {
		password, _ := u.User.Password()
		basic := base64.StdEncoding.EncodeToString([]byte(u.User.Username() + ":" + password))
		o.headers = append(o.headers, field{"Authorization", "Basic " + basic})
	}
	for _, f := range o.headers {
		if err := f.check(); err != nil {
			return nil, err
		}
	}
	if u.Port() == "" {
		o.addr = u.Host + ":" + defaultPorts[u.Scheme]
	}
	c := &call{of: o, path: s.path}
	if o.plain(u) {
		c.wire = o.encode(u)
	} else {
		c.url = u
	}
	return c, nil
}

// link parses the whole address.
func (s *callSpec) link() (*url.URL, error) {
	target, err := withPath(s.url, s.path)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(target)
	if err != nil {
		return nil, errors.New("the address is not a URL")
	}
	return u, nil
}

// link gives the whole address. A plain call does not keep it: only faults and redirects ask for it.
func (c *call) link() *url.URL {
	if c.url != nil {
		return c.url
	}
	s := callSpec{url: c.of.url, path: c.path}
	u, err := s.link()
	if err != nil { // cannot be: the call was made of it
		return &url.URL{Host: c.of.host}
	}
	return u
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
func (o *origin) plain(u *url.URL) bool {
	if u.Scheme != "http" || o.via != (route{}) || len(o.body) > wireBodyMax {
		return false
	}
	for i := range len(u.Host) {
		if b := u.Host[i]; b <= ' ' || b >= 0x7f || b == '%' {
			return false
		}
	}
	return !slices.ContainsFunc(o.headers, func(f field) bool { return slices.Contains(netHTTPOnly, f.name) })
}

// encode writes the request as net/http would.
func (o *origin) encode(u *url.URL) []byte {
	host, agent := u.Host, userAgent
	var rest strings.Builder
	for _, f := range o.headers {
		switch f.name {
		case "Host":
			host = f.value
		case "User-Agent":
			agent = f.value
		default:
			rest.WriteString(f.name + ": " + f.value + "\r\n")
		}
	}
	head := o.method + " " + u.RequestURI() + " HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: " + agent + "\r\n"
	if o.body != "" || o.method == http.MethodPost || o.method == http.MethodPut || o.method == http.MethodPatch {
		head += "Content-Length: " + strconv.Itoa(len(o.body)) + "\r\n"
	}
	return []byte(head + rest.String() + "\r\n" + o.body)
}

// repeatable tells whether sending the call twice does no more than sending it once.
func (c *call) repeatable() bool {
	switch c.of.method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return slices.ContainsFunc(c.of.headers, func(f field) bool { return f.name == "Idempotency-Key" || f.name == "X-Idempotency-Key" })
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
