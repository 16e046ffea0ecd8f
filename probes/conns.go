package probes

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Bounds of the connection pool. 50,000 probes must not mean 50,000 connections: what is over the bound is closed,
// oldest first, and a probe that finds no free slot within its deadline is Unknown, for that is our limit, not the target's.
const (
	connsMax        = 4096
	idlePerHostMax  = 64
	idleAgeMax      = 90 * time.Second
	sweepEvery      = 5 * time.Second
	dialsPerHostMax = 32                     // at once; more would overflow the target's own queue and look as if it were down
	backoffAfter    = 3                      // failures in a row; fewer are always tried anew, so that quick confirmation is real
	backoffFirst    = 100 * time.Millisecond // doubles with each further failure
	backoffLongest  = 500 * time.Millisecond
	forgetHostAfter = time.Minute
)

// connPool holds plain TCP connections, idle ones by address. It owns no goroutine: what is too old goes when another
// connection comes back.
type connPool struct {
	slots   chan struct{} // one token for each open connection
	waiting atomic.Int32  // callers that wait for a slot

	mu    sync.Mutex
	hosts map[string]*hostConns
	idle  *list.List // of *conn, the one idle longest in front
	swept time.Time
}

type hostConns struct {
	idle    []*conn // used last at the end
	fails   int     // dials that failed in a row
	err     error   // of the last one
	failed  time.Time
	retryAt time.Time

	dialling int
	waiters  []chan *conn // for a connection, or for leave to dial: nil
}

// conn is one connection; closing it gives its slot back.
type conn struct {
	net.Conn
	pool   *connPool
	addr   string
	raw    syscall.RawConn
	listen func(fd uintptr) bool // hear, bound once
	heard  [1]byte
	quiet  bool
	since  time.Time     // idle since
	elem   *list.Element // in pool.idle
	closed atomic.Bool
}

func newConnPool() *connPool {
	limit := connsMax
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) == nil && files.Cur/2 < connsMax {
		limit = max(int(files.Cur/2), 16)
	}
	return &connPool{slots: make(chan struct{}, limit), hosts: map[string]*hostConns{}, idle: list.New()}
}

// Close closes the connection, once.
func (c *conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	err := c.Conn.Close()
	<-c.pool.slots
	return err
}

// get gives an idle connection to addr that is still alive, or dials one.
func (p *connPool) get(ctx context.Context, addr string, fresh bool) (c *conn, reused bool, err error) {
	deadline, _ := ctx.Deadline()
	for {
		c, reused, err := p.idleOrDial(ctx, addr, fresh)
		if err != nil {
			return nil, false, err
		}
		c.SetDeadline(deadline)
		if !reused || c.alive() {
			return c, reused, nil
		}
		c.Close()
	}
}

// idleOrDial takes an idle connection, or dials. Where enough dials are under way already it waits for whichever comes first:
// a connection that another probe gives back, or its turn to dial. fresh asks for a new one at once.
func (p *connPool) idleOrDial(ctx context.Context, addr string, fresh bool) (c *conn, reused bool, err error) {
	p.mu.Lock()
	h := p.host(addr)
	switch {
	case !fresh && len(h.idle) > 0:
		c = p.takeIdle(h)
		p.mu.Unlock()
		return c, true, nil
	case fresh || h.dialling < dialsPerHostMax:
		h.dialling++
		p.mu.Unlock()
	default:
		turn := make(chan *conn, 1)
		h.waiters = append(h.waiters, turn)
		p.mu.Unlock()
		select {
		case c = <-turn:
			if c != nil {
				return c, true, nil
			}
		case <-ctx.Done():
			p.giveUp(h, turn)
			return nil, false, fmt.Errorf("%d connections to %s are being opened already, and none was free: %w", dialsPerHostMax, addr, ctx.Err())
		}
	}
	c, err = p.dial(ctx, addr)
	p.dialEnded(h)
	return c, false, err
}

// dialEnded gives the leave to dial to the next who waits for it.
func (p *connPool) dialEnded(h *hostConns) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !h.handOver(nil) {
		h.dialling--
	}
}

// handOver gives a connection, or leave to dial, to the first who waits; false where nobody does. The caller holds the pool's mu.
func (h *hostConns) handOver(c *conn) bool {
	if len(h.waiters) == 0 {
		return false
	}
	h.waiters[0] <- c // has room: it is filled once
	h.waiters = h.waiters[1:]
	return true
}

// giveUp waits no longer. What was handed over meanwhile goes on to the next.
func (p *connPool) giveUp(h *hostConns, turn chan *conn) {
	p.mu.Lock()
	if i := slices.Index(h.waiters, turn); i >= 0 {
		h.waiters = slices.Delete(h.waiters, i, i+1)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	if c := <-turn; c != nil {
		p.put(c)
	} else {
		p.dialEnded(h)
	}
}

// takeIdle takes the connection that was used last. The caller holds mu and knows that there is one.
func (p *connPool) takeIdle(h *hostConns) *conn {
	c := h.idle[len(h.idle)-1]
	h.idle[len(h.idle)-1] = nil
	h.idle = h.idle[:len(h.idle)-1]
	p.idle.Remove(c.elem)
	c.elem = nil
	return c
}

// alive tells whether the peer has neither closed the idle connection nor said anything unasked.
func (c *conn) alive() bool {
	c.quiet = false
	return c.raw.Read(c.listen) == nil && c.quiet
}

// hear looks whether there is anything to read, without waiting for it.
func (c *conn) hear(fd uintptr) bool {
	n, err := syscall.Read(int(fd), c.heard[:])
	c.quiet = n < 0 && (errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR))
	return true
}

// put takes a connection back for the next probe.
func (p *connPool) put(c *conn) {
	now := time.Now()
	var old []*conn
	p.mu.Lock()
	h := p.host(c.addr)
	switch {
	case h.handOver(c):
	case p.waiting.Load() > 0 || len(h.idle) >= idlePerHostMax:
		old = append(old, c)
	default:
		c.since = now
		c.elem = p.idle.PushBack(c)
		h.idle = append(h.idle, c)
	}
	if now.Sub(p.swept) > sweepEvery {
		p.swept = now
		old = p.sweep(now, old)
	}
	p.mu.Unlock()
	for _, c := range old {
		c.Close()
	}
}

// host finds or makes the entry of an address. The caller holds mu.
func (p *connPool) host(addr string) *hostConns {
	h := p.hosts[addr]
	if h == nil {
		h = &hostConns{}
		p.hosts[addr] = h
	}
	return h
}

// sweep takes out what has been idle for too long, and hosts that nobody asks for. The caller holds mu.
func (p *connPool) sweep(now time.Time, old []*conn) []*conn {
	for front := p.idle.Front(); front != nil && now.Sub(front.Value.(*conn).since) > idleAgeMax; front = p.idle.Front() {
		old = append(old, p.removeOldest())
	}
	for addr, h := range p.hosts {
		if len(h.idle) == 0 && h.dialling == 0 && len(h.waiters) == 0 && now.Sub(h.failed) > forgetHostAfter {
			delete(p.hosts, addr)
		}
	}
	return old
}

// removeOldest takes the connection that has been idle longest out of the pool; nil where none is. The caller holds mu.
func (p *connPool) removeOldest() *conn {
	front := p.idle.Front()
	if front == nil {
		return nil
	}
	c := p.idle.Remove(front).(*conn)
	h := p.hosts[c.addr]
	for i, other := range h.idle {
		if other == c {
			h.idle = append(h.idle[:i], h.idle[i+1:]...)
			break
		}
	}
	c.elem = nil
	return c
}

func (p *connPool) closeIdle() {
	p.mu.Lock()
	var old []*conn
	for c := p.removeOldest(); c != nil; c = p.removeOldest() {
		old = append(old, c)
	}
	p.mu.Unlock()
	for _, c := range old {
		c.Close()
	}
}

// dial opens a connection within ctx's deadline. An address that refused several times in a row is left in peace for a
// moment: callers then get the error of the last try at once.
func (p *connPool) dial(ctx context.Context, addr string) (*conn, error) {
	if err := p.inBackoff(addr); err != nil {
		return nil, err
	}
	if err := p.acquire(ctx); err != nil {
		return nil, err
	}
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", addr)
	if errors.Is(ctx.Err(), context.Canceled) || (err != nil && isOurs(ctx, err)) {
		// It says nothing about the target.
	} else {
		p.dialled(addr, err)
	}
	if err != nil {
		<-p.slots
		return nil, err
	}
	c := &conn{Conn: nc, pool: p, addr: addr}
	raw, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("connection to %s: %w", addr, err)
	}
	c.raw, c.listen = raw, c.hear
	return c, nil
}

// acquire takes a slot; idle connections make room where there is none.
func (p *connPool) acquire(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	default:
	}
	p.waiting.Add(1)
	defer p.waiting.Add(-1)
	p.mu.Lock()
	oldest := p.removeOldest()
	p.mu.Unlock()
	if oldest != nil {
		oldest.Close()
	}
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w (%d are in use)", errOwnLimit, cap(p.slots))
	}
}

func (p *connPool) inBackoff(addr string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hosts[addr]
	if h == nil || h.fails < backoffAfter {
		return nil
	}
	if wait := time.Until(h.retryAt); wait > 0 {
		return fmt.Errorf("not dialled again for %s after %d tries in a row: %w", wait.Round(time.Millisecond), h.fails, h.err)
	}
	return nil
}

// dialled remembers how a dial ended.
func (p *connPool) dialled(addr string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		if h := p.hosts[addr]; h != nil {
			h.fails, h.err = 0, nil
		}
		return
	}
	h := p.host(addr)
	h.fails++
	h.err, h.failed = err, time.Now()
	if h.fails >= backoffAfter {
		h.retryAt = h.failed.Add(min(backoffFirst<<min(h.fails-backoffAfter, 8), backoffLongest))
	}
}

// onCancel breaks calls on nc off when ctx is cancelled. stop says false where that has happened. nc has the deadline of ctx already,
// so a context that can tell of a stop alone, at less cost, need not tell of that.
func onCancel(ctx context.Context, nc net.Conn) (stop func() bool) {
	if c, is := ctx.(interface{ OnStop(func()) func() bool }); is {
		return c.OnStop(func() { nc.SetDeadline(time.Unix(1, 0)) })
	}
	if ctx.Done() == nil {
		return func() bool { return true }
	}
	return context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
}

// replayReader reads what was already received first, then the connection. limit bounds what it takes from the
// connection; negative means no bound.
type replayReader struct {
	head  []byte
	conn  io.Reader
	limit int64
	err   error // other than the end
}

var errHeadTooBig = fmt.Errorf("response header is over %d bytes", headBytesMax)

func (r *replayReader) Read(b []byte) (int, error) {
	if r.limit == 0 {
		r.err = errHeadTooBig
		return 0, errHeadTooBig
	}
	if r.limit > 0 && int64(len(b)) > r.limit {
		b = b[:r.limit]
	}
	var n int
	var err error
	if len(r.head) > 0 {
		n = copy(b, r.head)
		r.head = r.head[n:]
	} else {
		if n, err = r.conn.Read(b); err != nil && !errors.Is(err, io.EOF) {
			r.err = err
		}
	}
	if r.limit > 0 {
		r.limit -= int64(n)
	}
	return n, err
}
