package playbooks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/backstay/backstay/api"
)

// classify says what an answer, or its absence, means for the effect of a call. The table:
//
//	seen                                            | a call that reads | sets a state or keyed | blind
//	breaker open                                    | refused           | refused               | refused
//	no connection: DNS, dial, TLS handshake         | failed            | failed                | failed
//	no complete answer after a connection was had   | failed            | unknown               | unknown
//	2xx, or a status that the step lists as ok      | done              | done                  | done
//	2xx whose body breaks off                       | failed            | unknown               | unknown
//	307, 308: sent elsewhere, nothing happened here | refused           | refused               | refused
//	other 3xx: often "done, look there"             | refused           | unknown               | unknown
//	408: the target gave up waiting                 | failed            | unknown               | unknown
//	409: perhaps our own earlier call is under way  | refused           | unknown (keyed)       | refused
//	425, 429: not taken up, come again              | failed            | failed                | failed
//	other 4xx                                       | refused           | refused               | refused
//	501, 505: the target cannot do this at all      | refused           | refused               | refused
//	other 5xx                                       | failed            | unknown               | unknown
//	a status that the step lists as without effect  | failed            | failed                | failed
//
// A proxy may answer 503 or 504 for a request that its server carries out all the same, so a 5xx is no proof of
// anything unless the target's documentation says so and the step lists it.
func classify(a answer, q exchange) (api.Result, string) {
	reads := q.reads()
	ill := func(text string) (api.Result, string) { // no effect for a call that reads; nobody can tell for any other
		if reads {
			return api.ResultFailed, text
		}
		return api.ResultUnknown, text
	}
	if a.err != nil && a.status == 0 {
		var open *BreakerOpenError
		var call *CallError
		switch {
		case errors.As(a.err, &open):
			return api.ResultRefused, open.Error()
		case errors.As(a.err, &call) && !call.Sent:
			return api.ResultFailed, call.Error()
		}
		return ill(a.err.Error())
	}
	text := fmt.Sprintf("%s %s answered %d %s", q.method, q.target, a.status, http.StatusText(a.status))
	switch {
	case slices.Contains(q.noEffect, a.status):
		return api.ResultFailed, text + ", which this target documents as without effect"
	case len(q.ok) > 0 && slices.Contains(q.ok, a.status), len(q.ok) == 0 && a.status/100 == 2:
		if a.err != nil {
			return ill(text + ", but its body broke off: " + plainError(a.err))
		}
		return api.ResultDone, text
	case a.status == http.StatusTemporaryRedirect, a.status == http.StatusPermanentRedirect:
		return api.ResultRefused, text + ": redirects to another place are not followed"
	case a.status/100 == 3 && reads:
		return api.ResultRefused, text + ": redirects to another place are not followed"
	case a.status == http.StatusConflict && q.repeat != api.Keyed, reads && a.status == http.StatusConflict:
		return api.ResultRefused, text
	case a.status == http.StatusTooManyRequests, a.status == http.StatusTooEarly:
		return api.ResultFailed, text + ": it was not taken up"
	case a.status == http.StatusRequestTimeout, a.status == http.StatusConflict:
		return ill(text)
	case a.status/100 == 4, a.status == http.StatusNotImplemented, a.status == http.StatusHTTPVersionNotSupported:
		return api.ResultRefused, text
	}
	return ill(text)
}

// plainError says in a few words why a call failed, without the URL that net/http puts in front.
func plainError(err error) string {
	var (
		wrapped *url.Error
		call    *CallError
		dns     *net.DNSError
		op      *net.OpError
		record  tls.RecordHeaderError
		cert    *tls.CertificateVerificationError
		host    x509.HostnameError
	)
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return "deadline exceeded"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.As(err, &dns):
		return "no such host " + strconv.Quote(dns.Name)
	case errors.As(err, &cert), errors.As(err, &host):
		return "its certificate is not valid: " + api.Redact(rootError(err).Error())
	case errors.As(err, &record):
		return "it does not speak TLS"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "connection reset"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "connection closed before the answer was complete"
	case errors.As(err, &op):
		return op.Op + ": " + op.Err.Error()
	case errors.As(err, &call) && call.Err != nil && call.Err != err:
		return plainError(call.Err)
	case errors.As(err, &wrapped):
		return api.Redact(wrapped.Err.Error())
	}
	return api.Redact(err.Error())
}

func rootError(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// tryStatus is the status of one try in a CallFact.
func tryStatus(res *http.Response, err error) string {
	var open *BreakerOpenError
	switch {
	case errors.As(err, &open):
		return "breaker open"
	case err != nil:
		return plainError(err)
	}
	return strconv.Itoa(res.StatusCode)
}

// The outcomes, with one plain sentence each.
func done(format string, args ...any) api.Outcome { return outcome(api.ResultDone, format, args...) }

func refused(format string, args ...any) api.Outcome {
	return outcome(api.ResultRefused, format, args...)
}

func failed(format string, args ...any) api.Outcome {
	return outcome(api.ResultFailed, format, args...)
}

func unknown(format string, args ...any) api.Outcome {
	return outcome(api.ResultUnknown, format, args...)
}

func outcome(result api.Result, format string, args ...any) api.Outcome {
	return api.Outcome{Result: result, Text: cut(api.Redact(fmt.Sprintf(format, args...)), 600)}
}

// cut shortens a text for the log.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + " …"
}
