package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Proxy is a running HAProxy.
type Proxy struct {
	Admin  string // host:port of the runtime API
	Socket string // the same as a unix socket
	*server
}

// HAProxy starts an HAProxy with these frontends and backends; global and defaults sections are given. The frontends listen
// on ports from Port.
func HAProxy(t testing.TB, config string) *Proxy {
	t.Helper()
	bin := need(t, "haproxy", "/usr/sbin/haproxy", "haproxy")
	dir, err := newDir("haproxy", nil)
	if err != nil {
		t.Fatal(err)
	}
	admin, socket := local(Port(t)), filepath.Join(dir, "admin.sock")
	text := fmt.Sprintf(`global
  stats socket ipv4@%s level admin
  stats socket %s mode 600 level admin
  stats timeout 10s
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
%s
`, admin, socket, config)
	path := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := start(launch{name: "haproxy", dir: dir, argv: []string{bin, "-db", "-f", path}})
	if err != nil {
		t.Fatal(err)
	}
	s.attach(t)
	if err := s.ready(10*time.Second, func() error { return dialable(admin) }); err != nil {
		t.Fatal(err)
	}
	return &Proxy{Admin: admin, Socket: socket, server: s}
}
