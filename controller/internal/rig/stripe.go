package rig

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// stripeMock is the version whose answers the contract tests were written against.
const stripeMock = "v0.203.0"

// Stripe is a running stripe-mock. It is stateless: good for the contract of the API, not for money.
type Stripe struct {
	URL string // http://127.0.0.1:PORT
	*server
}

// StripeMock starts stripe-mock, building it first where this account's cache does not hold it.
func StripeMock(t testing.TB) *Stripe {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatalf("find the cache folder for stripe-mock: %v", err)
	}
	bin := filepath.Join(cache, "backstay-rig", "stripe-mock-"+stripeMock)
	exe := filepath.Join(bin, "stripe-mock")
	if _, err := os.Stat(exe); err != nil {
		cmd := exec.Command("go", "install", "github.com/stripe/stripe-mock@"+stripeMock)
		cmd.Dir = t.TempDir() // outside any module
		cmd.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			lack(t, "stripe-mock "+stripeMock+" does not build ("+err.Error()+"): "+string(out))
		}
	}
	dir, err := newDir("stripe", nil)
	if err != nil {
		t.Fatal(err)
	}
	// Both addresses, always: with one alone it opens the other on all interfaces.
	addr, tls := local(Port(t)), local(Port(t))
	s, err := start(launch{name: "stripe-mock", dir: dir, argv: []string{exe, "-http-addr", addr, "-https-addr", tls}})
	if err != nil {
		t.Fatal(err)
	}
	s.attach(t)
	if err := s.ready(30*time.Second, func() error { return dialable(addr) }); err != nil {
		t.Fatal(err)
	}
	return &Stripe{URL: "http://" + addr, server: s}
}
