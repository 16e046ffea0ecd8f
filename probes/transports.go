package probes

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// route is all that decides which net/http transport carries a call; calls with the same route share one.
type route struct {
	ca         string // file of certificates to trust instead of the system's
	cert, key  string // files of our own certificate, where the server asks for one
	serverName string // expected in the server's certificate instead of the URL's host
	proxy      string // URL
}

// certificate is what the server showed.
type certificate struct {
	notAfter time.Time // of the certificate that expires first in the chain; zero without TLS
	subject  string
}

const (
	transportsMax = 256 // distinct routes held; more start anew
	caBytesMax    = 4 << 20
)

// transports carries what the own client does not: TLS, HTTP/2 and proxies. One http.Transport per route, never per probe.
type transports struct {
	mu  sync.Mutex
	all map[route]*routeTransport
}

type routeTransport struct {
	*http.Transport
	stamp time.Time // newest file that it was made of
}

func newTransports() *transports { return &transports{all: map[route]*routeTransport{}} }

func (t *transports) closeIdle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, tr := range t.all {
		tr.CloseIdleConnections()
	}
}

// of gives the transport of a route, made anew when one of its files has changed.
func (t *transports) of(r route) (*http.Transport, error) {
	stamp, err := r.newestFile()
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if tr := t.all[r]; tr != nil && tr.stamp.Equal(stamp) {
		return tr.Transport, nil
	}
	tr, err := r.transport()
	if err != nil {
		return nil, err
	}
	if old := t.all[r]; old != nil {
		old.CloseIdleConnections()
	} else if len(t.all) >= transportsMax {
		for other, old := range t.all {
			old.CloseIdleConnections()
			delete(t.all, other)
			break
		}
	}
	t.all[r] = &routeTransport{tr, stamp}
	return tr, nil
}

func (r route) newestFile() (newest time.Time, err error) {
	for _, file := range []string{r.ca, r.cert, r.key} {
		if file == "" {
			continue
		}
		info, err := os.Stat(file)
		if err != nil {
			return newest, &ownError{err}
		}
		if info.ModTime().After(newest) {
			newest = info.ModTime()
		}
	}
	return newest, nil
}

func (r route) transport() (*http.Transport, error) {
	config := &tls.Config{ServerName: r.serverName, MinVersion: tls.VersionTLS12}
	if r.ca != "" {
		pem, err := readBounded(r.ca, caBytesMax)
		if err != nil {
			return nil, &ownError{err}
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &ownError{fmt.Errorf("%s holds no PEM certificate", r.ca)}
		}
	}
	if r.cert != "" || r.key != "" {
		own, err := tls.LoadX509KeyPair(r.cert, r.key)
		if err != nil {
			return nil, &ownError{fmt.Errorf("load client certificate: %w", err)}
		}
		config.Certificates = []tls.Certificate{own}
	}
	tr := &http.Transport{
		TLSClientConfig: config, ForceAttemptHTTP2: true, DisableCompression: true,
		MaxIdleConns: 256, MaxIdleConnsPerHost: 16, IdleConnTimeout: idleAgeMax,
		MaxResponseHeaderBytes: headBytesMax, ExpectContinueTimeout: time.Second,
	}
	if r.proxy != "" {
		proxy, err := url.Parse(r.proxy)
		if err != nil || proxy.Host == "" {
			return nil, &ownError{errors.New("the proxy is not a URL")}
		}
		tr.Proxy = http.ProxyURL(proxy)
	}
	return tr, nil
}

func readBounded(path string, bytesMax int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, bytesMax+1))
	if err == nil && int64(len(data)) > bytesMax {
		err = fmt.Errorf("%s is over %d bytes", path, bytesMax)
	}
	return data, err
}

// exchange sends a call by net/http and reads the answer.
func (t *transports) exchange(ctx context.Context, c *call, a *answer) error {
	tr, err := t.of(c.of.via)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, c.of.method, c.link().String(), strings.NewReader(c.of.body))
	if err != nil {
		return &ownError{err}
	}
	req.Header.Set("User-Agent", userAgent)
	for _, f := range c.of.headers {
		if f.name == "Host" {
			req.Host = f.value
			continue
		}
		req.Header.Set(f.name, f.value)
	}
	a.reset()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	a.status, a.location = resp.StatusCode, resp.Header.Get("Location")
	if resp.TLS != nil {
		a.cert = firstToExpire(resp.TLS.PeerCertificates)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	a.big, err = appendUpTo(a.big[:0], resp.Body, c.of.bodyMax+1)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	a.setBody(a.big, c.of.bodyMax)
	return nil
}

func firstToExpire(chain []*x509.Certificate) (first certificate) {
	for _, c := range chain {
		if first.notAfter.IsZero() || c.NotAfter.Before(first.notAfter) {
			first = certificate{c.NotAfter, c.Subject.CommonName}
		}
	}
	return first
}
