package playbooks

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/backstay/backstay/api"
)

// exchange is one HTTP call to an endpoint of an integration.
type exchange struct {
	method   string
	url      string
	target   string // for texts: INTEGRATION/ENDPOINT and path, never a credential
	header   map[string]string
	secrets  []string // values that no text may show
	body     []byte
	media    string // of body; application/json when empty
	repeat   api.Repeat
	once     bool  // the client must not repeat it, whatever its repeat class
	ok       []int // statuses that mean done; any 2xx when empty
	noEffect []int // statuses that the target documents as without effect
}

func (q exchange) reads() bool { return q.method == http.MethodGet || q.method == http.MethodHead }

// answer is what came back; err without a status means that nothing did.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error
}

// send makes the call. It returns by the context's deadline.
func (env *Env) send(ctx context.Context, q exchange) answer {
	repeat := q.repeat
	if q.once {
		repeat = api.Blind
	}
	req, err := http.NewRequestWithContext(withRepeat(ctx, repeat), q.method, q.url, bytes.NewReader(q.body))
	if err != nil {
		return answer{err: &CallError{Target: q.target, Err: fmt.Errorf("the URL or method is not valid; look at the endpoint's url")}}
	}
	if len(q.body) > 0 {
		req.Header.Set("Content-Type", cmp.Or(q.media, "application/json"))
	}
	req.Header.Set("User-Agent", "backstay")
	for name, value := range q.header { // order does not matter: a header is a map
		req.Header.Set(name, value)
	}
	res, err := env.HTTP.Do(req)
	if err != nil {
		return answer{err: callError(q.target, err)}
	}
	defer res.Body.Close()
	body, err := readBody(res.Body, answerBytesMax)
	return answer{status: res.StatusCode, header: res.Header, body: body, err: err}
}

// outcome classifies an answer and blots out the secrets of the call.
func (a answer) outcome(q exchange) api.Outcome {
	result, text := classify(a, q)
	out := outcome(result, "%s", q.blot(text))
	if a.status != 0 {
		out.Facts = append(out.Facts, api.Fact{Name: "answer", Value: cut(q.blot(api.Redact(string(a.body))), 400)})
	}
	return out
}

// blot removes the call's secrets from a text.
func (q exchange) blot(text string) string {
	for _, s := range q.secrets {
		if len(s) >= 4 {
			text = strings.ReplaceAll(text, s, "xxxxx")
		}
	}
	return text
}

// callError keeps what is known about whether the request was sent; without such knowledge it may have been.
func callError(target string, err error) error {
	var open *BreakerOpenError
	if errors.As(err, &open) {
		return open
	}
	var call *CallError
	if errors.As(err, &call) {
		return &CallError{Target: target, Sent: call.Sent, Err: call.Err}
	}
	return &CallError{Target: target, Sent: true, Err: err}
}

// endpoint finds an endpoint of an integration and resolves its URL; an empty name is the first endpoint.
func (env *Env) endpoint(integration, name string) (api.Endpoint, string, error) {
	in, ok := env.Integration(integration)
	if !ok {
		return api.Endpoint{}, "", fmt.Errorf("there is no integration %q", integration)
	}
	for _, e := range in.Spec.Endpoints {
		if e.Name != name && name != "" {
			continue
		}
		address, err := env.Secret(e.URL)
		if err != nil {
			return e, "", fmt.Errorf("read the URL of %s/%s: %w", integration, e.Name, err)
		}
		return e, address, nil
	}
	return api.Endpoint{}, "", fmt.Errorf("integration %q has no endpoint %q", integration, name)
}

// headers resolves header values, some of which are secrets.
func (env *Env) headers(specs map[string]api.Secret) (values map[string]string, secrets []string, err error) {
	values = map[string]string{}
	for name, spec := range specs { // order does not matter: a header is a map
		value, err := env.Secret(spec)
		if err != nil {
			return nil, nil, fmt.Errorf("read the value of header %s: %w", name, err)
		}
		values[name] = value
		secrets = append(secrets, value)
		if _, credential, found := strings.Cut(value, " "); found {
			secrets = append(secrets, credential)
		}
	}
	return values, secrets, nil
}

// joinURL puts a path under an endpoint's URL. Each {name} in the path is replaced by an escaped segment or query value,
// so that no value can reach another path or parameter.
func joinURL(base, path string, values map[string]string) (string, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", fmt.Errorf("the endpoint's url is not an http or https URL")
	}
	route, query, hasQuery := strings.Cut(path, "?")
	route, err = fillTemplate(route, values, segment)
	if err != nil {
		return "", err
	}
	if hasQuery {
		if query, err = fillTemplate(query, values, func(v string) (string, error) { return url.QueryEscape(v), nil }); err != nil {
			return "", err
		}
	}
	joined := strings.TrimRight(u.EscapedPath(), "/") + "/" + strings.TrimLeft(route, "/")
	if route == "" {
		joined = u.EscapedPath()
	}
	out := u.Scheme + "://"
	if u.User != nil {
		out += u.User.String() + "@"
	}
	out += u.Host + joined
	switch {
	case hasQuery && u.RawQuery != "":
		out += "?" + u.RawQuery + "&" + query
	case hasQuery:
		out += "?" + query
	case u.RawQuery != "":
		out += "?" + u.RawQuery
	}
	if _, err := url.Parse(out); err != nil {
		return "", fmt.Errorf("path %q does not make a URL", path)
	}
	return out, nil
}

// segment escapes a value for one path segment. A dot segment would climb, so it is refused.
func segment(v string) (string, error) {
	if v == "" || v == "." || v == ".." {
		return "", fmt.Errorf("%q cannot stand in a path", v)
	}
	return url.PathEscape(v), nil
}

func fillTemplate(text string, values map[string]string, escape func(string) (string, error)) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "{")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		value, known := values[name]
		if !closed || !known {
			return "", fmt.Errorf("path has {%s}, which is not one of its values", name)
		}
		escaped, err := escape(value)
		if err != nil {
			return "", fmt.Errorf("fill {%s}: %w", name, err)
		}
		out.WriteString(escaped)
		text = after
	}
}

// fillBody builds a JSON body from a template: a string that is exactly $name becomes the typed value of that name.
// Nothing is ever spliced into JSON text, so no value can change the body's shape.
func fillBody(template json.RawMessage, values map[string]any) ([]byte, error) {
	if len(template) == 0 {
		return nil, nil
	}
	tree, err := decodeJSON(template)
	if err != nil {
		return nil, fmt.Errorf("read the body: %w", err)
	}
	filled, err := fillTree(tree, values)
	if err != nil || filled == nil {
		return nil, err
	}
	return json.Marshal(filled)
}

func fillTree(tree any, values map[string]any) (any, error) {
	var err error
	switch t := tree.(type) {
	case string:
		if !strings.HasPrefix(t, "$") {
			return t, nil
		}
		if strings.HasPrefix(t, "$$") { // an escaped dollar sign
			return t[1:], nil
		}
		value, ok := values[t[1:]]
		if !ok {
			return nil, fmt.Errorf("the body has %q, which is not one of its values; write $$ for a dollar sign", t)
		}
		return value, nil
	case []any:
		for i := range t {
			if t[i], err = fillTree(t[i], values); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range t { // order does not matter: each value is replaced in place
			if t[k], err = fillTree(t[k], values); err != nil {
				return nil, err
			}
		}
	}
	return tree, nil
}

// decodeJSON reads one JSON value, numbers kept exact.
func decodeJSON(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, fmt.Errorf("there is more than one JSON value")
	}
	return tree, nil
}

// pick walks a JSON value by a path such as data.items.0.state; an empty path is the value itself.
func pick(tree any, path string) (any, error) {
	if path == "" {
		return tree, nil
	}
	for _, part := range strings.Split(path, ".") {
		switch t := tree.(type) {
		case map[string]any:
			next, ok := t[part]
			if !ok {
				return nil, fmt.Errorf("the answer has no %q of path %q", part, path)
			}
			tree = next
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(t) {
				return nil, fmt.Errorf("the answer has no element %q of path %q", part, path)
			}
			tree = t[i]
		default:
			return nil, fmt.Errorf("the answer has nothing below %q of path %q", part, path)
		}
	}
	return tree, nil
}

// scalar prints a JSON scalar as people write it.
func scalar(v any) (string, bool) {
	switch t := v.(type) {
	case string:
		return t, true
	case json.Number:
		return t.String(), true
	case bool:
		return strconv.FormatBool(t), true
	}
	return "", false
}
