package playbooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/hashicorp/go-retryablehttp"
	"github.com/sony/gobreaker/v2"
)

// The bounds of outbound calls.
const (
	triesMax        = 3 // within one attempt of a step
	retryWaitMin    = 100 * time.Millisecond
	retryWaitMax    = 5 * time.Second
	breakerFailures = 5                // in a row, before a target is left alone
	breakerOpenFor  = 15 * time.Second // until one call may try it again
	answerBytesMax  = 1 << 20          // of an answer's body that is read
	redirectsMax    = 5
)

// NewOutbound makes the client through which every action calls out. It
//   - repeats a call within its context's deadline, and only where a repeat is harmless: always when the request had not
//     been sent, after 429 and 503 where the request is keyed or sets a state, never where it is blind and bytes were sent;
//   - keeps one circuit breaker per host, so that a dead target costs nothing and is left in peace (BreakerOpenError);
//   - records each try in the recorder of the context, refusals of the breaker included;
//   - never follows a redirect to another host or scheme, nor any redirect of a request that is not a GET or HEAD.
//
// Errors are *CallError, which knows whether the request may have reached the target. One client serves the whole process.
func NewOutbound() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = http.ProxyFromEnvironment
	transport.MaxIdleConnsPerHost = 4
	transport.DialContext = dialCounted
	return newOutbound(transport, breakerOpenFor)
}

func newOutbound(base http.RoundTripper, openFor time.Duration) *http.Client {
	one := &http.Client{
		Transport:     &tries{base: base, openFor: openFor, breakers: map[string]*breaker{}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	again := &retryablehttp.Client{
		HTTPClient: one, RetryMax: triesMax - 1, RetryWaitMin: retryWaitMin, RetryWaitMax: retryWaitMax,
		CheckRetry: mayRepeat, Backoff: repeatWait, ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	return &http.Client{Transport: outbound{again}, CheckRedirect: sameHost}
}

// CallError is a call that brought no answer.
type CallError struct {
	Target string // host
	Sent   bool   // the request may have reached the target: its effect is unknown
	Err    error
}

// Error names the target and says whether anything was sent.
func (e *CallError) Error() string {
	if e.Sent {
		return fmt.Sprintf("call %s: no answer after the request was sent: %s", e.Target, plainError(e.Err))
	}
	return fmt.Sprintf("call %s: nothing was sent: %s", e.Target, plainError(e.Err))
}

// Unwrap gives the cause.
func (e *CallError) Unwrap() error { return e.Err }

// BreakerOpenError says that a target failed so often in a row that it is left alone for a while. Nothing was sent.
type BreakerOpenError struct {
	Target string
	Next   time.Time // when the next call may try
}

// Error names the target and the time of the next try.
func (e *BreakerOpenError) Error() string {
	return fmt.Sprintf("breaker open for %s after %d failures in a row, next try at %s", e.Target, breakerFailures, e.Next.UTC().Format(time.RFC3339))
}

type outbound struct{ again *retryablehttp.Client }

// RoundTrip makes the tries of one call.
func (o outbound) RoundTrip(r *http.Request) (*http.Response, error) {
	state := &callState{safe: r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions}
	repeat, _ := r.Context().Value(repeatKey{}).(api.Repeat)
	state.again = repeat == api.Idempotent || repeat == api.Keyed || repeat == "" && r.Header.Get("Idempotency-Key") != ""
	req, err := retryablehttp.FromRequest(r.WithContext(context.WithValue(r.Context(), callKey{}, state)))
	if err != nil {
		return nil, &CallError{Target: r.URL.Host, Err: fmt.Errorf("read the request's body: %w", err)}
	}
	res, err := o.again.Do(req)
	if err == nil {
		return res, nil
	}
	if res != nil {
		res.Body.Close()
	}
	if state.answered != nil { // a deadline during the pause before a repeat must not hide the answer that was had
		return state.answered, nil
	}
	return nil, &CallError{Target: r.URL.Host, Sent: state.sent(), Err: err}
}

type (
	callKey   struct{}
	repeatKey struct{}
	recordKey struct{}
)

// callState is what is known of one call while its tries go on.
type callState struct {
	safe, again bool
	mu          sync.Mutex
	uses        []use // connections that its tries were given
	try         int
	answered    *http.Response // the last answer, without its body
}

// withRepeat tells the outbound client the repeat class of the calls made under the context.
func withRepeat(ctx context.Context, repeat api.Repeat) context.Context {
	return context.WithValue(ctx, repeatKey{}, repeat)
}

// recorder gathers the calls of one attempt.
type recorder struct {
	mu    sync.Mutex
	calls []api.CallFact
}

// recording gives a context under which outbound calls are recorded, and the function that puts them into the outcome.
func recording(ctx context.Context) (context.Context, func(*api.Outcome)) {
	r := &recorder{}
	return context.WithValue(ctx, recordKey{}, r), func(o *api.Outcome) {
		r.mu.Lock()
		defer r.mu.Unlock()
		o.Calls = append(o.Calls, r.calls...)
	}
}

// recordCall adds a call that did not go through the outbound client, such as one on a socket.
func recordCall(ctx context.Context, fact api.CallFact) {
	r, ok := ctx.Value(recordKey{}).(*recorder)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, fact)
}

// mayRepeat decides whether a try is followed by another one.
func mayRepeat(ctx context.Context, res *http.Response, err error) (bool, error) {
	state := ctx.Value(callKey{}).(*callState)
	if ctx.Err() != nil {
		return false, nil
	}
	wait := retryWaitMin
	switch {
	case err != nil:
		var open *BreakerOpenError
		if errors.As(err, &open) || state.sent() && !state.safe {
			return false, nil
		}
	case res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusServiceUnavailable:
		after, ok := retryAfter(res)
		if !ok || !state.safe && !state.again {
			return false, nil
		}
		wait = after
		state.answered = &http.Response{Status: res.Status, StatusCode: res.StatusCode, Proto: res.Proto, Header: res.Header, Body: http.NoBody, Request: res.Request}
	default:
		return false, nil
	}
	deadline, bounded := ctx.Deadline()
	return !bounded || time.Until(deadline) > wait, nil
}

func repeatWait(low, high time.Duration, try int, res *http.Response) time.Duration {
	if res != nil {
		if after, ok := retryAfter(res); ok {
			return after
		}
	}
	return min(low<<min(try, 10), high)
}

// retryAfter reads Retry-After in seconds; a date is not honoured, because clocks differ.
func retryAfter(res *http.Response) (time.Duration, bool) {
	n, err := strconv.ParseUint(res.Header.Get("Retry-After"), 10, 16)
	return max(time.Duration(n)*time.Second, retryWaitMin), err == nil
}

func sameHost(r *http.Request, via []*http.Request) error {
	first := via[0]
	if (r.Method != http.MethodGet && r.Method != http.MethodHead) || first.Method != r.Method ||
		r.URL.Host != first.URL.Host || r.URL.Scheme != first.URL.Scheme || len(via) > redirectsMax {
		return http.ErrUseLastResponse
	}
	return nil
}

// tries performs single tries behind a breaker per host.
type tries struct {
	base     http.RoundTripper
	openFor  time.Duration
	mu       sync.Mutex
	breakers map[string]*breaker
}

type breaker struct {
	*gobreaker.CircuitBreaker[*http.Response]
	opened atomic.Int64 // unix nanoseconds
}

func (t *tries) breaker(host string) *breaker {
	t.mu.Lock()
	defer t.mu.Unlock()
	b, ok := t.breakers[host]
	if !ok {
		b = &breaker{}
		b.CircuitBreaker = gobreaker.NewCircuitBreaker[*http.Response](gobreaker.Settings{
			Name: host, Timeout: t.openFor,
			ReadyToTrip:   func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakerFailures },
			OnStateChange: func(_ string, _, to gobreaker.State) { b.stateChanged(to) },
			IsSuccessful:  func(err error) bool { return err == nil },
			IsExcluded:    func(err error) bool { return errors.Is(err, context.Canceled) },
		})
		t.breakers[host] = b
	}
	return b
}

func (b *breaker) stateChanged(to gobreaker.State) {
	if to == gobreaker.StateOpen {
		b.opened.Store(time.Now().UnixNano())
	}
}

// errServer marks an answer of 500 and above: an answer to the caller, a failure to the breaker.
var errServer = errors.New("server error")

// RoundTrip makes one try and records it.
func (t *tries) RoundTrip(r *http.Request) (*http.Response, error) {
	state := r.Context().Value(callKey{}).(*callState)
	state.try++
	start := time.Now()
	b := t.breaker(r.URL.Host)
	trace := &httptrace.ClientTrace{GotConn: state.got}
	var answer *http.Response
	_, err := b.Execute(func() (*http.Response, error) {
		sent := r.WithContext(httptrace.WithClientTrace(r.Context(), trace))
		if !state.safe {
			sent.Header = withoutReplay(sent.Header)
		}
		res, err := t.base.RoundTrip(sent)
		if err != nil {
			return nil, err
		}
		answer = res
		if res.StatusCode >= 500 {
			return nil, errServer
		}
		return res, nil
	})
	if errors.Is(err, errServer) {
		err = nil
	}
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		err = &BreakerOpenError{Target: r.URL.Host, Next: time.Unix(0, b.opened.Load()).Add(t.openFor)}
	}
	recordCall(r.Context(), api.CallFact{Target: r.URL.Host, Try: state.try, Status: tryStatus(answer, err), Took: time.Since(start)})
	return answer, err
}

// withoutReplay keeps net/http from sending a request again on its own: it does so, unseen by us, when a kept connection breaks
// and the request has an Idempotency-Key in its canonical spelling. Targets read header names without regard to case.
func withoutReplay(h http.Header) http.Header {
	h = h.Clone()
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if values, ok := h[name]; ok {
			delete(h, name)
			h[strings.ToLower(name)] = values
		}
	}
	return h
}

// readBody reads an answer's body up to limit bytes; one byte more is an error, because half a JSON text proves nothing.
func readBody(body io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err == nil && int64(len(b)) > limit {
		return b[:limit], fmt.Errorf("the answer is longer than %d bytes", limit)
	}
	return b, err
}
