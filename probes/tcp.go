package probes

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

var tcpType = Type{
	Name:    "tcp",
	Summary: "Connects to a TCP port and, where asked, speaks one line and looks at the answer.",
	Params:  func() any { return new(TCPParams) },
	Build:   buildTCP,
}

// TCPParams are the parameters of a tcp probe.
type TCPParams struct {
	Address    api.Secret   `json:"address,omitempty" doc:"HOST:PORT; the integration's endpoint when left out."`
	Send       api.Secret   `json:"send,omitempty" doc:"Text sent after connecting; end lines with \\r\\n in double quotes."`
	Expect     string       `json:"expect,omitempty" doc:"Text that must arrive: a banner, or the answer to send."`
	LatencyMax api.Duration `json:"latencyMax,omitempty" doc:"Slower than this is bad."`
}

// bannerBytesMax bounds what is read in search of the expected text.
const bannerBytesMax = 64 << 10

type tcpProbe struct {
	env  *Env
	spec api.ProbeSpec
	with TCPParams
	unit string
}

func buildTCP(_ string, spec api.ProbeSpec, params any, env *Env) (Prober, error) {
	p := params.(*TCPParams)
	if err := needsTarget(p.Address, &spec); err != nil {
		return nil, err
	}
	return &tcpProbe{env: env, spec: spec, with: *p, unit: unitOr(&spec, "seconds")}, nil
}

// Probe connects anew each time: whether the port still accepts is what it is asked. The value is the time to connect
// and, with expect, to the end of the expected text.
func (p *tcpProbe) Probe(ctx context.Context) api.Observation {
	target, err := p.env.target(p.with.Address, p.spec.Integration, p.spec.Endpoint)
	if err != nil {
		return blind(p.unit, err)
	}
	address, err := hostPort(target)
	if err != nil {
		return blind(p.unit, err)
	}
	send, err := p.env.secret(p.with.Send)
	if err != nil {
		return blind(p.unit, err)
	}
	start := time.Now()
	conn, err := p.env.open().conns.dial(ctx, address)
	if err != nil {
		return failed(ctx, p.unit, "connect to "+address, err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	defer onCancel(ctx, conn)()
	if send != "" {
		if _, err := conn.Write([]byte(send)); err != nil {
			return failed(ctx, p.unit, "send to "+address, err)
		}
	}
	if p.with.Expect != "" {
		if err := readUntil(conn, []byte(p.with.Expect)); err != nil {
			return failed(ctx, p.unit, fmt.Sprintf("wait for %q from %s", p.with.Expect, address), err)
		}
	}
	took := time.Since(start)
	o := api.Observation{Verdict: api.OK, Value: took.Seconds(), Unit: p.unit}
	if limit := p.with.LatencyMax.Duration; limit > 0 && took > limit {
		o.Verdict, o.Reason = api.Bad, fmt.Sprintf("%s took %s, at most %s is allowed", address, took.Round(time.Microsecond), limit)
	}
	return o
}

// readUntil reads until want has arrived.
func readUntil(conn net.Conn, want []byte) error {
	buf := make([]byte, 0, 4096)
	for {
		if bytes.Contains(buf, want) {
			return nil
		}
		if len(buf) >= bannerBytesMax {
			return fmt.Errorf("it was not within the first %d bytes", bannerBytesMax)
		}
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
		}
		n, err := conn.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err != nil && !bytes.Contains(buf, want) {
			return fmt.Errorf("%w after %d other bytes", err, len(buf))
		}
	}
}

// defaultPorts are the ports of the schemes that endpoints may have.
var defaultPorts = map[string]string{
	"http": "80", "https": "443", "amqp": "5672", "amqps": "5671", "postgres": "5432", "postgresql": "5432",
	"mysql": "3306", "mariadb": "3306", "redis": "6379",
}

// hostPort gives HOST:PORT of an address or URL; for well-known schemes the port may be left out.
func hostPort(target string) (string, error) {
	address := target
	if strings.Contains(target, "://") {
		u, err := url.Parse(target)
		if err != nil {
			return "", fmt.Errorf("address %q is not a URL", api.Redact(target))
		}
		address = u.Host
		if u.Port() == "" && defaultPorts[u.Scheme] != "" {
			address = net.JoinHostPort(u.Hostname(), defaultPorts[u.Scheme])
		}
	}
	if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
		return "", fmt.Errorf("address %q is not HOST:PORT", api.Redact(target))
	}
	return address, nil
}
