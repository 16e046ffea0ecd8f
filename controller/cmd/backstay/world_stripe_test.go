package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/backstay/backstay/controller/internal/rig"
)

// stripeCommands are about the contract with Stripe, as its own mock checks it.
//
//	stripe           a stripe-mock; as $STRIPE the address of a listener in front of it that keeps what is sent
//	sent REGEXP      fails unless a request matches: METHOD PATH?QUERY, Idempotency-Key, Authorization, -> status
var stripeCommands = map[string]command{"stripe": cmdStripe, "sent": cmdSent}

// listener keeps one line for each request that passed through it.
type listener struct {
	mu    sync.Mutex
	lines []string
}

func cmdStripe(ts *testscript.TestScript, _ bool, _ []string) {
	w := worldOf(ts)
	to, err := url.Parse(rig.StripeMock(w.t).URL)
	ts.Check(err)
	w.listener = &listener{}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ModifyResponse = func(resp *http.Response) error {
		r := resp.Request
		w.listener.mu.Lock()
		defer w.listener.mu.Unlock()
		w.listener.lines = append(w.listener.lines, fmt.Sprintf("%s %s Idempotency-Key=%q Authorization=%q -> %d",
			r.Method, r.URL.RequestURI(), r.Header.Get("Idempotency-Key"), r.Header.Get("Authorization"), resp.StatusCode))
		return nil
	}
	server := httptest.NewServer(proxy)
	w.t.Cleanup(server.Close)
	ts.Setenv("STRIPE", server.URL)
}

func cmdSent(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, len(args) == 1, "sent REGEXP")
	l := worldOf(ts).listener
	l.mu.Lock()
	defer l.mu.Unlock()
	all := strings.Join(l.lines, "\n")
	fmt.Fprintln(ts.Stdout(), all)
	if !regexp.MustCompile("(?m)" + args[0]).MatchString(all) {
		ts.Fatalf("no request matches %q; there were:\n%s", args[0], all)
	}
}
