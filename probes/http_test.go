package probes

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// tlsServer serves with a certificate for 127.0.0.1 that expires after left; ca is a file that trusts it.
func tlsServer(t *testing.T, left time.Duration, handler http.Handler) (url, ca string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gateway"}, NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(left),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL, ca
}

func TestHTTPCertificates(t *testing.T) {
	proto := make(chan string, 10)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case proto <- r.Proto:
		default:
		}
		fmt.Fprint(w, `{"n":3}`)
	})
	good, goodCA := tlsServer(t, 30*24*time.Hour, handler)
	expired, expiredCA := tlsServer(t, -time.Hour, handler)
	for _, c := range []struct {
		name    string
		url     string
		with    HTTPParams
		verdict api.Verdict
		reason  string
	}{
		{"trusted", good, HTTPParams{TLS: TLSParams{CA: goodCA}, Value: "n"}, api.OK, ""},
		{"not trusted", good, HTTPParams{}, api.Bad, "certificate"},
		{"other authority", good, HTTPParams{TLS: TLSParams{CA: expiredCA}}, api.Bad, "certificate"},
		{"expired", expired, HTTPParams{TLS: TLSParams{CA: expiredCA}}, api.Bad, "expired"},
		{"other name", good, HTTPParams{TLS: TLSParams{CA: goodCA, ServerName: "other.example"}}, api.Bad, "other.example"},
		{"days left", good, HTTPParams{TLS: TLSParams{CA: goodCA, LeftMin: api.Seconds(20 * 86400)}}, api.OK, ""},
		{"too few days left", good, HTTPParams{TLS: TLSParams{CA: goodCA, LeftMin: api.Seconds(40 * 86400)}}, api.Bad, "expires in 30.0 days"},
		{"no such authority file", good, HTTPParams{TLS: TLSParams{CA: "/nowhere/ca.pem"}}, api.Unknown, "/nowhere/ca.pem"},
		{"authority file is none", good, HTTPParams{TLS: TLSParams{CA: os.Args[0]}}, api.Unknown, ""},
		{"TLS to a plain port", "https://" + script(t, func(nc net.Conn) { nc.Write([]byte("220 mail\r\n")) }), HTTPParams{}, api.Bad, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.with.URL = text(c.url)
			p := build(t, newEnv(t), "http", &c.with)
			for range 2 {
				want(t, run(t, p, 2*time.Second), c.verdict, c.reason)
			}
		})
	}
	if got := <-proto; got != "HTTP/2.0" {
		t.Errorf("spoke %s over TLS, want HTTP/2.0", got)
	}
}

func TestHTTPRedirects(t *testing.T) {
	var authorized atomic.Int32
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/here":
			http.Redirect(w, r, "/there?token=s3cret", http.StatusFound)
		case "/out":
			http.Redirect(w, r, "http://"+strings.Replace(r.Host, "127.0.0.1", "localhost", 1)+"/there", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/file":
			w.Header().Set("Location", "file:///etc/passwd")
			w.WriteHeader(302)
		case "/there":
			if r.Header.Get("Authorization") != "" {
				authorized.Add(1)
			}
			if r.Method != "GET" || r.ContentLength > 0 {
				t.Errorf("the redirect was followed with %s and %d bytes", r.Method, r.ContentLength)
			}
		}
	}))
	defer plain.Close()
	down, ca := tlsServer(t, time.Hour, http.RedirectHandler(plain.URL+"/there", http.StatusFound))
	for _, c := range []struct {
		name, url, follow, method string
		verdict                   api.Verdict
		reason                    string
		authorized                int32
	}{
		{"none", plain.URL + "/here", "", "GET", api.Bad, "status 302, a redirect to /there", 0},
		{"same host", plain.URL + "/here", "same-host", "GET", api.OK, "", 1},
		{"POST", plain.URL + "/here", "same-host", "POST", api.OK, "", 1},
		{"other host", plain.URL + "/out", "same-host", "GET", api.Bad, "another host, localhost", 0},
		{"any host, without credentials", plain.URL + "/out", "any", "GET", api.OK, "", 0},
		{"loop", plain.URL + "/loop", "any", "GET", api.Bad, "more than 10 redirects", 0},
		{"to a file", plain.URL + "/file", "any", "GET", api.Bad, "never followed", 0},
		{"to less safety", down, "any", "GET", api.Bad, "from https to http, which is never followed", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			authorized.Store(0)
			p := build(t, newEnv(t), "http", &HTTPParams{URL: text(c.url), Follow: c.follow, Method: c.method, TLS: TLSParams{CA: ca},
				Headers: map[string]api.Secret{"Authorization": text("Bearer x")}})
			o := run(t, p, 2*time.Second)
			want(t, o, c.verdict, c.reason)
			if strings.Contains(o.Reason, "s3cret") {
				t.Errorf("the reason shows a token: %s", o.Reason)
			}
			if n := authorized.Load(); n != c.authorized {
				t.Errorf("%d requests carried the credential, want %d", n, c.authorized)
			}
		})
	}
}

func TestHTTPBuildRefuses(t *testing.T) {
	for _, c := range []struct {
		with   HTTPParams
		reason string
	}{
		{HTTPParams{}, "no address"},
		{HTTPParams{URL: text("http://x"), Matches: "("}, "matches"},
		{HTTPParams{URL: text("http://x"), JSON: []string{"a =="}}, "needs a value"},
		{HTTPParams{URL: text("http://x"), JSON: []string{"a[x] == 1"}}, "not an index"},
		{HTTPParams{URL: text("http://x"), JSON: []string{"a < b"}}, "compares numbers"},
		{HTTPParams{URL: text("http://x"), JSON: []string{"a"}}, "no operator"},
		{HTTPParams{URL: text("http://x"), JSON: []string{"a == {}"}}, "cannot be compared"},
		{HTTPParams{URL: text("http://x"), Value: "a..b"}, "name is missing"},
		{HTTPParams{URL: text("http://x"), Total: "a"}, "total needs value"},
		{HTTPParams{URL: text("http://x"), Headers: map[string]api.Secret{"a b": text("c")}}, "header name"},
		{HTTPParams{URL: text("http://x"), Headers: map[string]api.Secret{"a": text("c\r\nd: e")}}, "control character"},
		{HTTPParams{URL: text("http://x"), Headers: map[string]api.Secret{"content-length": text("3")}}, "leave it out"},
	} {
		if _, err := buildHTTP("x", api.ProbeSpec{}, &c.with, NewEnv()); err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%+v: got %v, want %q", c.with, err, c.reason)
		}
	}
}

func TestHTTPUsesIntegration(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RequestURI() != "/base/health?deep=1" {
			w.WriteHeader(404)
		}
	}))
	defer server.Close()
	env := newEnv(t)
	address := "http://" + refusing(t)
	env.Integration = func(name string) (api.Integration, bool) {
		return api.Integration{Spec: api.IntegrationSpec{Endpoints: []api.Endpoint{{Name: "primary", URL: text(address + "/base")}}}}, name == "gw"
	}
	p := buildSpec(t, env, api.ProbeSpec{Type: "http", Integration: "gw", Endpoint: "primary"}, &HTTPParams{Path: "/health?deep=1"})
	want(t, run(t, p, time.Second), api.Bad, "connection refused")
	address = server.URL // a reload moved the endpoint
	want(t, run(t, p, time.Second), api.OK, "")
	gone := buildSpec(t, env, api.ProbeSpec{Type: "http", Integration: "gw", Endpoint: "standby"}, &HTTPParams{})
	want(t, run(t, gone, time.Second), api.Unknown, `no endpoint "standby"`)
}

func TestRedactsPasswords(t *testing.T) {
	dead := refusing(t)
	for _, kind := range []struct {
		name   string
		params any
	}{
		{"http", &HTTPParams{URL: text("http://user:s3cret@" + dead)}},
		{"http", &HTTPParams{URL: text("http://user:s3cret@%zz")}},
		{"sql", &SQLParams{DSN: text("postgres://user:s3cret@" + dead + "/db"), Query: "select 1"}},
		{"sql", &SQLParams{DSN: text("mysql://user:s3cret@" + dead + "/db"), Query: "select 1"}},
		{"sql", &SQLParams{DSN: text("oracle://user:s3cret@" + dead + "/db"), Query: "select 1"}},
		{"amqp-queue", &AMQPQueueParams{Queue: "q", Management: text("http://user:s3cret@" + dead)}},
		{"tcp", &TCPParams{Address: text("tcp://user:s3cret@x")}},
	} {
		o := run(t, build(t, newEnv(t), kind.name, kind.params), time.Second)
		if o.Verdict == api.OK || o.Reason == "" || strings.Contains(o.Reason, "s3cret") {
			t.Errorf("%s: %s %q", kind.name, o.Verdict, o.Reason)
		}
	}
}

// TestManyProbesFewConnections holds the promise that probes cost neither connections nor goroutines of their own.
func TestManyProbesFewConnections(t *testing.T) {
	var open, most atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			most.Store(max(most.Load(), open.Add(1)))
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		}
	}
	server.Start()
	defer server.Close()
	env := newEnv(t)
	before := runtime.NumGoroutine()
	var probers []Prober
	for range 5000 {
		probers = append(probers, build(t, env, "http", &HTTPParams{URL: text(server.URL)}))
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("building 5,000 probes started %d goroutines", n-before)
	}
	const workers = 8
	var wg sync.WaitGroup
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := w; i < len(probers); i += workers {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				if o := probers[i].Probe(ctx); o.Verdict != api.OK {
					t.Errorf("%s: %s", o.Verdict, o.Reason)
				}
				cancel()
			}
		}()
	}
	wg.Wait()
	if most.Load() > workers {
		t.Errorf("%d connections were open at once, want at most %d", most.Load(), workers)
	}
}

func TestConnPoolBounds(t *testing.T) {
	addr := script(t, func(nc net.Conn) { nc.Read(make([]byte, 1)) })
	p := newConnPool()
	p.slots = make(chan struct{}, 2)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	var held []*conn
	for range 2 {
		c, err := p.dial(ctx, addr)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	if _, err := p.dial(ctx, addr); !errors.Is(err, errOwnLimit) || !isOurs(context.Background(), err) {
		t.Fatalf("a third connection: %v, want our own limit", err)
	}
	p.put(held[0])
	fresh, cancel2 := context.WithTimeout(context.Background(), time.Second)
	defer cancel2()
	c, err := p.dial(fresh, addr)
	if err != nil {
		t.Fatalf("an idle connection made no room: %v", err)
	}
	c.Close()
	held[1].Close()
	held[1].Close() // twice does no harm
	if n := len(p.slots); n != 0 {
		t.Fatalf("%d slots are still taken", n)
	}
}

// Many probes that begin at once dial their host a few at a time, and all get their answer.
func TestDialsAreBounded(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(20 * time.Millisecond) }))
	defer server.Close()
	env := newEnv(t).open()
	var wg sync.WaitGroup
	begin := make(chan struct{}) // all at once, and only when somebody looks
	for range 500 {
		p := build(t, env, "http", &HTTPParams{URL: text(server.URL)})
		wg.Go(func() {
			<-begin
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if o := p.Probe(ctx); o.Verdict != api.OK {
				t.Errorf("%s: %s", o.Verdict, o.Reason)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	most, waited := 0, 0
	look := func() (dialling, waiting int) {
		env.conns.mu.Lock()
		defer env.conns.mu.Unlock()
		for _, h := range env.conns.hosts {
			dialling, waiting = dialling+h.dialling, waiting+len(h.waiters)
		}
		return dialling, waiting
	}
	close(begin)
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		case <-time.After(20 * time.Microsecond):
			dialling, waiting := look()
			most, waited = max(most, dialling), max(waited, waiting)
		}
	}
	if most > dialsPerHostMax || waited == 0 {
		t.Errorf("%d dials at once, want at most %d; at most %d probes waited for one", most, dialsPerHostMax, waited)
	}
	if dialling, waiting := look(); dialling != 0 || waiting != 0 {
		t.Errorf("%d dials and %d waiters are left", dialling, waiting)
	}
}

// Who waits for a dial gives up with its deadline; what was handed over at that moment goes on to the next.
func TestWaitingForADialEnds(t *testing.T) {
	p := newConnPool()
	h := p.host("192.0.2.1:80")
	h.dialling = dialsPerHostMax
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := p.get(ctx, "192.0.2.1:80", false); !errors.Is(err, context.DeadlineExceeded) || isOurs(ctx, err) {
		t.Errorf("the wait ended with %v; want the deadline, which is the target's fault", err)
	}
	first, second := make(chan *conn, 1), make(chan *conn, 1)
	h.waiters = append(h.waiters, first, second)
	p.dialEnded(h)
	p.giveUp(h, first)
	select {
	case c := <-second:
		if c != nil {
			t.Error("a connection came from nowhere")
		}
	default:
		t.Error("the leave to dial was lost")
	}
	p.dialEnded(h)
	if len(h.waiters) != 0 || h.dialling != dialsPerHostMax-1 {
		t.Errorf("%d waiters and %d dials are left", len(h.waiters), h.dialling)
	}
}

func TestDialBackoff(t *testing.T) {
	p, addr := newConnPool(), refusing(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for try := range 3 {
		if _, err := p.dial(ctx, addr); err == nil || strings.Contains(err.Error(), "not dialled") {
			t.Fatalf("try %d: %v, want a real dial", try, err)
		}
	}
	_, err := p.dial(ctx, addr)
	if err == nil || !strings.Contains(err.Error(), "not dialled again") || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("after three failures: %v, want the error of the last try at once", err)
	}
	time.Sleep(backoffFirst + 10*time.Millisecond)
	if _, err := p.dial(ctx, addr); err == nil || strings.Contains(err.Error(), "not dialled") {
		t.Fatalf("after the back-off: %v, want a real dial", err)
	}
}

func TestWhoseFault(t *testing.T) {
	live := context.Background()
	stopped, cancel := context.WithCancel(live)
	cancel()
	dialErr := func(err error) error { return &net.OpError{Op: "dial", Err: os.NewSyscallError("socket", err)} }
	for _, c := range []struct {
		ctx  context.Context
		err  error
		ours bool
	}{
		{live, dialErr(syscall.EMFILE), true},
		{live, dialErr(syscall.EADDRNOTAVAIL), true},
		{live, dialErr(syscall.ENETUNREACH), true},
		{live, dialErr(syscall.ECONNREFUSED), false},
		{live, dialErr(syscall.EHOSTUNREACH), false},
		{live, dialErr(syscall.ECONNRESET), false},
		{live, context.DeadlineExceeded, false},
		{live, &net.DNSError{IsNotFound: true}, false},
		{live, &net.DNSError{IsTimeout: true}, true},
		{stopped, dialErr(syscall.ECONNREFUSED), true},
		{live, &ownError{errors.New("x")}, true},
	} {
		if got := isOurs(c.ctx, c.err); got != c.ours {
			t.Errorf("%v: ours %v, want %v", c.err, got, c.ours)
		}
	}
}

// TestStopsAtOnce holds that a cancelled probe comes back long before its deadline.
func TestStopsAtOnce(t *testing.T) {
	mute := script(t, func(nc net.Conn) { nc.Read(make([]byte, 1)); time.Sleep(time.Minute) })
	for _, p := range []Prober{
		build(t, newEnv(t), "http", &HTTPParams{URL: text("http://" + mute)}),
		build(t, newEnv(t), "http", &HTTPParams{URL: text("https://" + mute)}),
		build(t, newEnv(t), "tcp", &TCPParams{Address: text(mute), Expect: "x"}),
		build(t, newEnv(t), "sql", &SQLParams{DSN: text("postgres://u@" + mute + "/d?sslmode=disable"), Query: "select 1"}),
		build(t, newEnv(t), "sql", &SQLParams{DSN: text("mysql://u@" + mute + "/d"), Query: "select 1"}),
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		time.AfterFunc(50*time.Millisecond, cancel)
		start := time.Now()
		want(t, p.Probe(ctx), api.Unknown, "stopped before it ended")
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%T came back after %s", p, took)
		}
	}
}
