package probes

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

var httpType = Type{
	Name:    "http",
	Summary: "Sends an HTTP request and looks at status, latency, body, JSON and certificate.",
	Params:  func() any { return new(HTTPParams) },
	Build:   buildHTTP,
}

// HTTPParams are the parameters of an http probe.
type HTTPParams struct {
	URL        api.Secret            `json:"url,omitempty" doc:"Where to ask; the integration's endpoint when left out."`
	Path       string                `json:"path,omitempty" doc:"Appended to the address, with its query: /health?deep=1."`
	Method     string                `json:"method,omitempty" rule:"oneof=GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS" default:"GET" doc:"The request's method."`
	Headers    map[string]api.Secret `json:"headers,omitempty" doc:"Headers to send; a value may be {env: NAME} or {file: PATH}."`
	Body       api.Secret            `json:"body,omitempty" doc:"Body to send."`
	Status     []any                 `json:"status,omitempty" doc:"Statuses that are good: 200, 2xx or 200-299. 2xx when left out."`
	LatencyMax api.Duration          `json:"latencyMax,omitempty" doc:"Slower than this is bad."`
	Contains   []string              `json:"contains,omitempty" doc:"Texts that the body must contain."`
	Matches    string                `json:"matches,omitempty" doc:"Regular expression (RE2) that the body must match."`
	JSON       []string              `json:"json,omitempty" doc:"Conditions on a JSON body: 'status == \"ok\"', 'queue.depth < 100', 'items[0].id exists', 'errors.# == 0'. A body that is not JSON is bad."`
	Value      string                `json:"value,omitempty" doc:"JSON path of the number that is the probe's value; the latency in seconds when left out."`
	Total      string                `json:"total,omitempty" doc:"JSON path of the number that value is a part of."`
	Follow     string                `json:"follow,omitempty" rule:"oneof=none|same-host|any" default:"none" doc:"Which redirects to follow. One from https to http is never followed."`
	BodyMax    int64                 `json:"bodyMax,omitempty" rule:"min=1,max=67108864" default:"1048576" doc:"Bytes of the body that are read at most; conditions on a longer body fail."`
	TLS        TLSParams             `json:"tls,omitempty" doc:"Certificates."`
	Proxy      api.Secret            `json:"proxy,omitempty" doc:"URL of a proxy; none when left out, whatever the environment says."`
}

// TLSParams are about certificates. There is no switch to accept any certificate: name the authority instead.
type TLSParams struct {
	CA         string       `json:"ca,omitempty" doc:"PEM file of the authorities to trust instead of the system's."`
	Cert       string       `json:"cert,omitempty" doc:"PEM file of the client certificate, with key."`
	Key        string       `json:"key,omitempty" doc:"PEM file of the client certificate's key."`
	ServerName string       `json:"serverName,omitempty" doc:"Name expected in the server's certificate instead of the URL's host."`
	LeftMin    api.Duration `json:"leftMin,omitempty" doc:"Bad when a certificate of the server expires within this time, such as 14d."`
}

// statusRange is a range of HTTP statuses, both ends included.
type statusRange struct{ from, to int }

// parseStatus reads 200, 2xx or 200-299.
func parseStatus(text string) (s statusRange, err error) {
	text = strings.ToLower(text)
	if len(text) == 3 && strings.HasSuffix(text, "xx") && text[0] >= '1' && text[0] <= '5' {
		from := int(text[0]-'0') * 100
		return statusRange{from, from + 99}, nil
	}
	from, to, ranged := strings.Cut(text, "-")
	if !ranged {
		to = from
	}
	var err1, err2 error
	s.from, err1 = strconv.Atoi(strings.TrimSpace(from))
	s.to, err2 = strconv.Atoi(strings.TrimSpace(to))
	if err1 != nil || err2 != nil || s.from < 100 || s.to > 999 || s.from > s.to {
		return s, fmt.Errorf("%.40q is not an HTTP status", text)
	}
	return s, nil
}

const (
	hopsMax        = 10
	bodyMaxDefault = 1 << 20
)

// httpProbe is small, for there may be 50,000 of them: what many have in common is held once.
type httpProbe struct {
	*httpRest
	env         *Env
	url         *api.Secret // nil where the integration's address is meant
	path        string
	integration string
	endpoint    string
	unit        string

	last lastCall
}

// httpRest is all of an http probe but its target, compiled.
type httpRest struct {
	with    HTTPParams // without URL and Path
	status  []statusRange
	matches *regexp.Regexp
	json    []jsonCheck
	value   jsonPath
	total   jsonPath
}

func buildHTTP(_ string, spec api.ProbeSpec, params any, env *Env) (Prober, error) {
	with := *params.(*HTTPParams)
	if err := needsTarget(with.URL, &spec); err != nil {
		return nil, err
	}
	if with.Method == "" {
		with.Method = http.MethodGet
	}
	if with.BodyMax == 0 {
		with.BodyMax = bodyMaxDefault
	}
	if err := checked(&with); err != nil {
		return nil, err
	}
	p := &httpProbe{env: env, path: with.Path, integration: spec.Integration, endpoint: spec.Endpoint, unit: spec.Unit}
	if !with.URL.IsZero() {
		own := with.URL
		p.url = &own
	}
	if with.Value == "" {
		p.unit = unitOr(&spec, "seconds")
	}
	with.URL, with.Path = api.Secret{}, ""
	var err error
	p.httpRest, err = env.rest(with)
	return p, err
}

// restsMax bounds how many are remembered to be shared; where they all differ there is nothing to gain.
const restsMax = 1024

// rest gives the compiled form of parameters, the same one for the same parameters. Those that hold text which may be secret are
// never compared.
func (e *Env) rest(with HTTPParams) (*httpRest, error) {
	made := &httpRest{with: with}
	if len(with.Headers) > 0 || !with.Body.IsZero() || !with.Proxy.IsZero() {
		return made, made.compile()
	}
	key := fmt.Sprintf("%#v", with)
	e.restsMu.Lock()
	defer e.restsMu.Unlock()
	if known := e.rests[key]; known != nil {
		return known, nil
	}
	if err := made.compile(); err != nil {
		return nil, err
	}
	if e.rests == nil || len(e.rests) >= restsMax {
		e.rests = map[string]*httpRest{}
	}
	e.rests[key] = made
	return made, nil
}

// Check finds conditions and headers that can never work, each with its place in the spec.
func (w *HTTPParams) Check(report func(field, rule, message, hint string)) {
	for i, status := range w.Status {
		if _, err := parseStatus(fmt.Sprint(status)); err != nil {
			report(fmt.Sprintf("status[%d]", i), "bad-value", err.Error(), "write 200, 2xx or 200-299")
		}
	}
	for i, text := range w.JSON {
		if _, err := parseJSONCheck(text); err != nil {
			report(fmt.Sprintf("json[%d]", i), "bad-condition", err.Error(), `write PATH OPERATOR VALUE, such as status == "ok"`)
		}
	}
	for _, path := range []field{{"value", w.Value}, {"total", w.Total}} {
		if _, err := parseJSONPath(path.value); err != nil {
			report(path.name, "bad-path", err.Error(), "write a path such as queue.depth or items[0].n")
		}
	}
	if w.Total != "" && w.Value == "" {
		report("total", "bad-path", "total needs value, which is its part", "add value")
	}
	if _, err := regexp.Compile(w.Matches); err != nil {
		report("matches", "bad-pattern", err.Error(), "write a regular expression of RE2")
	}
	if w.Path != "" {
		if _, err := withPath("http://host", w.Path); err != nil {
			report("path", "bad-path", err.Error(), "write /health")
		}
	}
	for _, f := range sortedFields(texts(w.Headers)) {
		if err := f.check(); err != nil {
			report("headers", "bad-header", err.Error(), "correct or remove the header")
		}
	}
}

// texts gives the plain texts of headers; those that are references are empty.
func texts(headers map[string]api.Secret) map[string]string {
	plain := make(map[string]string, len(headers))
	for name, value := range headers {
		plain[name] = value.Text
	}
	return plain
}

// checked gives the first thing that Check finds, for params that were not decoded from a spec.
func checked(w interface {
	Check(report func(field, rule, message, hint string))
}) (err error) {
	w.Check(func(field, _, message, _ string) {
		if err == nil {
			err = fmt.Errorf("%s: %s", field, message)
		}
	})
	return err
}

// compile makes the conditions ready; Check has found them sound.
func (p *httpRest) compile() (err error) {
	if p.with.Matches != "" {
		if p.matches, err = regexp.Compile(p.with.Matches); err != nil {
			return err
		}
	}
	for _, status := range p.with.Status {
		s, err := parseStatus(fmt.Sprint(status))
		if err != nil {
			return err
		}
		p.status = append(p.status, s)
	}
	for _, text := range p.with.JSON {
		check, err := parseJSONCheck(text)
		if err != nil {
			return err
		}
		p.json = append(p.json, check)
	}
	if p.value, err = parseJSONPath(p.with.Value); err == nil {
		p.total, err = parseJSONPath(p.with.Total)
	}
	return err
}

// Probe asks once, following redirects as far as allowed.
func (p *httpProbe) Probe(ctx context.Context) api.Observation {
	c, err := p.call()
	if err != nil {
		return blind(p.unit, err)
	}
	a := newAnswer()
	defer a.release()
	start := time.Now()
	for hop := 0; ; hop++ {
		if err := p.env.do(ctx, c, a); err != nil {
			return failed(ctx, p.unit, c.of.method+" "+c.link().Redacted(), err)
		}
		if a.location == "" || !redirects(a.status) || p.with.Follow == "" || p.with.Follow == "none" {
			break
		}
		if c, err = p.redirect(c, a, hop); err != nil {
			return bad(p.unit, err.Error())
		}
	}
	return p.judge(a, time.Since(start))
}

// call gives the request, made anew only when an address or a credential has changed.
func (p *httpProbe) call() (*call, error) {
	var own api.Secret
	if p.url != nil {
		own = *p.url
	}
	target, err := p.env.target(own, p.integration, p.endpoint)
	if err != nil {
		return nil, err
	}
	s := callSpec{method: p.with.Method, bodyMax: p.with.BodyMax, url: target, path: p.path}
	if s.body, err = p.env.secret(p.with.Body); err != nil {
		return nil, err
	}
	s.via = route{ca: p.with.TLS.CA, cert: p.with.TLS.Cert, key: p.with.TLS.Key, serverName: p.with.TLS.ServerName}
	if s.via.proxy, err = p.env.secret(p.with.Proxy); err != nil {
		return nil, err
	}
	if len(p.with.Headers) > 0 {
		values := make(map[string]string, len(p.with.Headers))
		for name, value := range p.with.Headers {
			if values[name], err = p.env.secret(value); err != nil {
				return nil, fmt.Errorf("header %s: %w", name, err)
			}
		}
		s.headers = sortedFields(values)
	}
	return p.last.call(p.env, s)
}

func redirects(status int) bool {
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308
}

// redirect makes the next request as net/http's client would, within the policy. Headers go along to the same host only.
func (p *httpProbe) redirect(c *call, a *answer, hop int) (*call, error) {
	next, err := c.link().Parse(a.location)
	if err != nil {
		return nil, fmt.Errorf("%s redirects to something that is not a URL", c.link().Redacted())
	}
	switch from, to := c.link().Scheme, next.Scheme; {
	case hop >= hopsMax:
		return nil, fmt.Errorf("more than %d redirects, last from %s", hopsMax, c.link().Redacted())
	case from == "https" && to != "https", to != "http" && to != "https":
		return nil, fmt.Errorf("%s redirects from %s to %s, which is never followed", c.link().Redacted(), from, to)
	case p.with.Follow != "any" && !strings.EqualFold(next.Hostname(), p.last.made.link().Hostname()):
		return nil, fmt.Errorf("%s redirects to another host, %s; allow it with follow: any", c.link().Redacted(), next.Hostname())
	}
	s := callSpec{method: c.of.method, url: next.String(), body: c.of.body, bodyMax: c.of.bodyMax, via: c.of.via, headers: p.last.made.of.callSpec.headers}
	if a.status <= 303 && c.of.method != http.MethodGet && c.of.method != http.MethodHead {
		s.method, s.body = http.MethodGet, ""
	}
	s.headers = slices.DeleteFunc(slices.Clone(s.headers), func(f field) bool {
		same := strings.EqualFold(next.Hostname(), p.last.made.link().Hostname())
		return f.name == "Host" || !same && !strings.HasPrefix(f.name, "Accept")
	})
	return newCall(s)
}

// judge looks at a whole answer.
func (p *httpProbe) judge(a *answer, took time.Duration) api.Observation {
	o := api.Observation{Verdict: api.OK, Value: took.Seconds(), Unit: p.unit}
	if p.value != nil {
		o.Value = 0
	}
	reason := p.fault(a, &o)
	if limit := p.with.LatencyMax.Duration; reason == "" && limit > 0 && took > limit {
		reason = fmt.Sprintf("it took %s, at most %s is allowed", took.Round(time.Microsecond), limit)
	}
	if reason != "" {
		o.Verdict, o.Reason = api.Bad, sentence(reason)
	}
	return o
}

// fault says in one sentence what is wrong with an answer; empty where nothing is. It takes the value on the way.
func (p *httpProbe) fault(a *answer, o *api.Observation) string {
	if !p.statusOK(a.status) {
		return fmt.Sprintf("status %d%s", a.status, p.location(a))
	}
	if left := p.with.TLS.LeftMin.Duration; left > 0 && !a.cert.notAfter.IsZero() {
		if rest := time.Until(a.cert.notAfter); rest < left {
			return fmt.Sprintf("certificate %q expires in %.1f days, on %s", a.cert.subject, rest.Hours()/24, a.cert.notAfter.UTC().Format(time.RFC3339))
		}
	}
	if len(p.with.Contains) == 0 && p.matches == nil && len(p.json) == 0 && p.value == nil {
		return ""
	}
	if a.cut {
		return fmt.Sprintf("the body is over %d bytes, so its conditions fail; raise bodyMax if it should be", p.with.BodyMax)
	}
	for _, text := range p.with.Contains {
		if !bytes.Contains(a.body, []byte(text)) {
			return fmt.Sprintf("the body does not contain %q", text)
		}
	}
	if p.matches != nil && !p.matches.Match(a.body) {
		return fmt.Sprintf("the body does not match %q", p.with.Matches)
	}
	return p.jsonFault(a, o)
}

func (p *httpProbe) jsonFault(a *answer, o *api.Observation) string {
	if len(p.json) == 0 && p.value == nil {
		return ""
	}
	doc, err := parseJSON(a.body)
	if err != nil {
		return "the body is not JSON: " + err.Error()
	}
	for i := range p.json {
		if fault := p.json[i].fault(doc); fault != "" {
			return fault
		}
	}
	if p.value == nil {
		return ""
	}
	if o.Value, err = p.value.number(doc); err != nil {
		return "value: " + err.Error()
	}
	if p.total != nil {
		if o.Total, err = p.total.number(doc); err != nil {
			return "total: " + err.Error()
		}
	}
	return ""
}

func (p *httpProbe) statusOK(status int) bool {
	if len(p.status) == 0 {
		return status >= 200 && status <= 299
	}
	return slices.ContainsFunc(p.status, func(s statusRange) bool { return s.from <= status && status <= s.to })
}

// location tells where an unwanted redirect points, without query, which may hold a token.
func (p *httpProbe) location(a *answer) string {
	if !redirects(a.status) || a.location == "" {
		return ""
	}
	where, _, _ := strings.Cut(a.location, "?")
	return ", a redirect to " + where
}
