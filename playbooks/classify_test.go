package playbooks

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// rawServer answers each request by a script on the bare connection; it counts the requests that it read.
func rawServer(t *testing.T, script func(c *net.TCPConn)) (address string, requests *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	requests = new(atomic.Int64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
					return
				}
				requests.Add(1)
				script(c.(*net.TCPConn))
			}()
		}
	}()
	return l.Addr().String(), requests
}

func say(text string) func(*net.TCPConn) {
	return func(c *net.TCPConn) { fmt.Fprint(c, text) }
}

func status(line string) func(*net.TCPConn) {
	return say("HTTP/1.1 " + line + "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

func reset(c *net.TCPConn) { c.SetLinger(0) } // the close that follows sends RST

// TestClassify walks the table of classify with a server that misbehaves on the wire.
func TestClassify(t *testing.T) {
	const d, r, f, u = api.ResultDone, api.ResultRefused, api.ResultFailed, api.ResultUnknown
	cases := []struct {
		name                string
		script              func(*net.TCPConn)
		reads, keyed, blind api.Result
	}{
		{"200", say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), d, d, d},
		{"closes before the header", func(*net.TCPConn) {}, f, u, u},
		{"resets before the header", reset, f, u, u},
		{"closes within the header", say("HTTP/1.1 200 OK\r\nContent-Le"), f, u, u},
		{"closes within the body", say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), f, u, u},
		{"says nothing", func(*net.TCPConn) { time.Sleep(2 * time.Second) }, f, u, u},
		{"speaks something else", say("220 mail.example ESMTP\r\n"), f, u, u},
		{"302", say("HTTP/1.1 302 Found\r\nLocation: http://elsewhere.invalid/\r\nContent-Length: 0\r\n\r\n"), r, u, u},
		{"307", say("HTTP/1.1 307 Moved\r\nLocation: http://elsewhere.invalid/\r\nContent-Length: 0\r\n\r\n"), r, r, r},
		{"400", status("400 Bad Request"), r, r, r},
		{"404", status("404 Not Found"), r, r, r},
		{"408", status("408 Request Timeout"), f, u, u},
		{"409", status("409 Conflict"), r, u, r},
		{"425", status("425 Too Early"), f, f, f},
		{"429", status("429 Too Many Requests"), f, f, f},
		{"500", status("500 Internal Server Error"), f, u, u},
		{"501", status("501 Not Implemented"), r, r, r},
		{"503", status("503 Service Unavailable"), f, u, u},
		{"504", status("504 Gateway Timeout"), f, u, u},
		{"511, documented as without effect", status("511 Network Authentication Required"), f, f, f},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address, _ := rawServer(t, c.script)
			for _, q := range []struct {
				method string
				repeat api.Repeat
				want   api.Result
			}{{"GET", api.Idempotent, c.reads}, {"POST", api.Keyed, c.keyed}, {"POST", api.Blind, c.blind}} {
				w := newWorld()
				ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
				ctx, record := recording(ctx)
				e := exchange{method: q.method, url: "http://" + address + "/x", target: "gw/primary /x", repeat: q.repeat, body: []byte(`{}`), noEffect: []int{511}}
				if q.method == "GET" {
					e.body = nil
				}
				out := w.send(ctx, e).outcome(e)
				record(&out)
				cancel()
				if out.Result != q.want {
					t.Errorf("%s %s: want %s, have %s: %s", q.method, q.repeat, q.want, out.Result, out.Text)
				}
				if len(out.Calls) == 0 || out.Calls[0].Target != address {
					t.Errorf("%s %s: the call was not recorded: %v", q.method, q.repeat, out.Calls)
				}
			}
		})
	}
}

// TestNothingSent covers what fails before a request exists on the wire: definitely no effect, also for a blind call.
func TestNothingSent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	plain, _ := rawServer(t, func(*net.TCPConn) {})
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of what is tested here
	untrusted.StartTLS()
	defer untrusted.Close()
	for name, url := range map[string]string{
		"refused": "http://" + closed + "/", "no such host": "http://nowhere.invalid/", "no TLS": "https://" + plain + "/", "unknown CA": untrusted.URL,
	} {
		w := newWorld()
		e := exchange{method: "POST", url: url, target: "gw/primary", repeat: api.Blind, body: []byte(`{}`)}
		out := w.send(within(t, 2*time.Second), e).outcome(e)
		if out.Result != api.ResultFailed || !strings.Contains(out.Text, "nothing was sent") {
			t.Errorf("%s: want failed with nothing sent, have %s: %s", name, out.Result, out.Text)
		}
	}
}

// TestBlindIsSentOnce: whatever the target answers, a blind request reaches it once.
func TestBlindIsSentOnce(t *testing.T) {
	for _, line := range []string{"503 Service Unavailable\r\nRetry-After: 0", "429 Too Many Requests\r\nRetry-After: 0", "500 Internal Server Error"} {
		address, requests := rawServer(t, status(line))
		w := newWorld()
		e := exchange{method: "POST", url: "http://" + address, target: "gw", repeat: api.Keyed, once: true, header: map[string]string{"Idempotency-Key": "k"}}
		w.send(within(t, 3*time.Second), e)
		if n := requests.Load(); n != 1 {
			t.Errorf("%q: sent %d times", line, n)
		}
	}
}

// TestKeyedIsRepeated: a keyed request is repeated with the same key where the target asks for it, within the deadline only.
func TestKeyedIsRepeated(t *testing.T) {
	var keys []string
	var after atomic.Value
	after.Store("0")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		keys = append(keys, r.Header.Get("Idempotency-Key"))
		if len(keys) < 3 {
			w.Header().Set("Retry-After", after.Load().(string))
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer s.Close()
	w := newWorld()
	e := exchange{method: "POST", url: s.URL, target: "gw", repeat: api.Keyed, header: map[string]string{"Idempotency-Key": "k-7"}, body: []byte(`{}`)}
	ctx, record := recording(within(t, 3*time.Second))
	out := w.send(ctx, e).outcome(e)
	record(&out)
	want(t, out, api.ResultDone, "200")
	if strings.Join(keys, " ") != "k-7 k-7 k-7" || len(out.Calls) != 3 || out.Calls[2].Try != 3 {
		t.Fatalf("keys %v, calls %v", keys, out.Calls)
	}
	keys = nil
	after.Store("60")
	start := time.Now()
	out = w.send(within(t, 2*time.Second), e).outcome(e)
	want(t, out, api.ResultUnknown, "503")
	if len(keys) != 1 || time.Since(start) > time.Second {
		t.Fatalf("a Retry-After beyond the deadline was waited for: %d tries in %s", len(keys), time.Since(start))
	}
}

// TestBreaker: after five failures in a row the target is left alone, the refusal says until when, and one call tries it then.
func TestBreaker(t *testing.T) {
	var ill atomic.Bool
	ill.Store(true)
	var requests atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if ill.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer s.Close()
	w := newWorld()
	w.HTTP = newOutbound(http.DefaultTransport, 300*time.Millisecond)
	e := exchange{method: "POST", url: s.URL, target: "gw", repeat: api.Blind}
	send := func() api.Outcome {
		ctx, record := recording(within(t, time.Second))
		out := w.send(ctx, e).outcome(e)
		record(&out)
		return out
	}
	for range breakerFailures {
		want(t, send(), api.ResultUnknown, "500")
	}
	out := send()
	want(t, out, api.ResultRefused, "breaker open")
	if !strings.Contains(out.Text, "next try at 2") || out.Calls[0].Status != "breaker open" || requests.Load() != breakerFailures {
		t.Fatalf("%+v, %d requests", out, requests.Load())
	}
	ill.Store(false)
	time.Sleep(350 * time.Millisecond)
	want(t, send(), api.ResultDone, "200")
	want(t, send(), api.ResultDone, "200")
}

// TestRedirects: a GET may be led on within its host, nothing else is.
func TestRedirects(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("another host was called") }))
	defer other.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/near":
			http.Redirect(w, r, "/there", http.StatusFound)
		case "/far":
			http.Redirect(w, r, other.URL, http.StatusFound)
		case "/posted":
			http.Redirect(w, r, "/there", http.StatusSeeOther)
		}
	}))
	defer s.Close()
	w := newWorld()
	for _, c := range []struct {
		method, path string
		want         api.Result
	}{{"GET", "/near", api.ResultDone}, {"GET", "/far", api.ResultRefused}, {"POST", "/posted", api.ResultUnknown}} {
		e := exchange{method: c.method, url: s.URL + c.path, target: "gw", repeat: api.Blind}
		if out := w.send(within(t, time.Second), e).outcome(e); out.Result != c.want {
			t.Errorf("%s %s: want %s, have %s: %s", c.method, c.path, c.want, out.Result, out.Text)
		}
	}
}

// TestSecretsStayOut: neither a credential that the target echoes nor one in a URL reaches an outcome.
func TestSecretsStayOut(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, "bad token %s for postgres://u:hunter2@db/x", r.Header.Get("Authorization"))
	}))
	defer s.Close()
	w := newWorld()
	header, secrets, err := w.headers(map[string]api.Secret{"Authorization": {Text: "Bearer s3cr3t-token"}})
	if err != nil {
		t.Fatal(err)
	}
	e := exchange{method: "POST", url: s.URL, target: "gw", repeat: api.Blind, header: header, secrets: secrets}
	out := w.send(within(t, time.Second), e).outcome(e)
	want(t, out, api.ResultRefused, "403")
	if text := fmt.Sprint(out); strings.Contains(text, "s3cr3t") || strings.Contains(text, "hunter2") || !strings.Contains(text, "xxxxx") {
		t.Fatal(text)
	}
}

// TestEndlessBody: an answer without end is cut off, and half an answer is no answer.
func TestEndlessBody(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		chunk := []byte(strings.Repeat("x", 64<<10))
		for r.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}))
	defer s.Close()
	w := newWorld()
	e := exchange{method: "GET", url: s.URL, target: "gw", repeat: api.Idempotent}
	out := w.send(within(t, 3*time.Second), e).outcome(e)
	want(t, out, api.ResultFailed, "longer than")
}

// TestDeadKeptConnection: a kept connection that was closed meanwhile, and a target that is gone, are no reason to doubt.
func TestDeadKeptConnection(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	w := newWorld()
	e := exchange{method: "POST", url: s.URL, target: "gw", repeat: api.Blind, body: []byte(`{}`)}
	want(t, w.send(within(t, time.Second), e).outcome(e), api.ResultRefused, "404")
	s.Close()
	time.Sleep(100 * time.Millisecond)
	want(t, w.send(within(t, time.Second), e).outcome(e), api.ResultFailed, "nothing was sent")
}
