package playbooks

import (
	"context"
	"crypto/tls"
	"net"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// use is one use of a connection: what had been written to it before.
type use struct {
	conn    *countedConn // nil where it is not one of ours
	written int64
}

// sent tells whether anything of the call may have left this machine.
func (s *callState) sent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.uses {
		if u.conn == nil || u.conn.written.Load() > u.written {
			return true
		}
	}
	return false
}

// got notes a connection before anything of the call is written to it.
func (s *callState) got(info httptrace.GotConnInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	conn := info.Conn
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	u := use{}
	if u.conn, _ = conn.(*countedConn); u.conn != nil {
		u.written = u.conn.written.Load()
	}
	s.uses = append(s.uses, u)
}

// countedConn counts writes that may have left this machine, so that a kept connection that turns out to be dead before the
// first byte is told from one that broke after it.
type countedConn struct {
	net.Conn
	written atomic.Int64
}

// Write counts first: a write that is under way at a deadline may have left.
func (c *countedConn) Write(b []byte) (int, error) {
	c.written.Add(1)
	n, err := c.Conn.Write(b)
	if n == 0 && err != nil {
		c.written.Add(-1)
	}
	return n, err
}

func dialCounted(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &countedConn{Conn: conn}, nil
}
