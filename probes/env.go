package probes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/backstay/backstay/api"
)

// Env is what probes share: look-ups into the configuration, and pools of connections. One Env lives as long as the
// process. The look-ups are called by many probes at once and must see through to the present configuration, so that a
// reload needs no new Env; the pools stay.
type Env struct {
	Integration func(name string) (api.Integration, bool)
	Secret      func(api.Secret) (string, error)           // ResolveSecret where nil
	Last        func(probe string) (api.Observation, bool) // the last observation of another probe, for reconcile
	Heartbeats  *Heartbeats

	once  sync.Once
	conns *connPool   // plain HTTP/1.1 connections
	slow  *transports // net/http, for everything else
	dbs   *databases

	origins origins

	restsMu sync.Mutex
	rests   map[string]*httpRest // what http probes share
}

// NewEnv makes an Env with empty pools. The caller sets Integration and Last before the first probe runs.
func NewEnv() *Env {
	return &Env{Secret: ResolveSecret, Heartbeats: NewHeartbeats()}
}

// open makes the pools when they are first needed; building probes needs none.
func (e *Env) open() *Env {
	e.once.Do(func() {
		e.conns, e.slow, e.dbs = newConnPool(), newTransports(), newDatabases()
	})
	return e
}

// Close closes all idle connections. No probe may run any more.
func (e *Env) Close() error {
	e.open()
	e.conns.closeIdle()
	e.slow.closeIdle()
	return e.dbs.close()
}

// secretBytesMax bounds a file that holds a credential.
const secretBytesMax = 64 << 10

// ResolveSecret gives the text that a Secret stands for: from the spec, the environment or a file, without the line end
// that editors leave. An empty or missing credential is an error, never an empty text.
func ResolveSecret(s api.Secret) (string, error) {
	switch {
	case s.Env != "":
		text := os.Getenv(s.Env)
		if text == "" {
			return "", api.Errorf(api.CodeUnavailable, "read credential: environment variable %s is not set; set it for this process", s.Env)
		}
		return text, nil
	case s.File != "":
		return secretFile(s.File)
	}
	return s.Text, nil
}

func secretFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read credential: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, secretBytesMax+1))
	if err != nil {
		return "", fmt.Errorf("read credential: %w", err)
	}
	text := strings.TrimRight(string(data), "\r\n")
	if text == "" || len(data) > secretBytesMax {
		return "", api.Errorf(api.CodeUnavailable, "read credential: %s is empty or longer than %d bytes", path, secretBytesMax)
	}
	return text, nil
}

func (e *Env) secret(s api.Secret) (string, error) {
	if e.Secret == nil {
		return ResolveSecret(s)
	}
	if s.Env == "" && s.File == "" {
		return s.Text, nil
	}
	return e.Secret(s)
}

// target gives the address a probe looks at: its own parameter, or the endpoint of its integration (the first where none is
// named). Every error means that the probe cannot run.
func (e *Env) target(own api.Secret, name, endpoint string) (string, error) {
	if !own.IsZero() {
		return e.secret(own)
	}
	if e.Integration == nil || name == "" {
		return "", errNoTarget
	}
	integration, found := e.Integration(name)
	if !found {
		return "", fmt.Errorf("integration %q does not exist", name)
	}
	for _, candidate := range integration.Spec.Endpoints {
		if endpoint == "" || candidate.Name == endpoint {
			return e.secret(candidate.URL)
		}
	}
	return "", fmt.Errorf("integration %q has no endpoint %q", name, endpoint)
}

var errNoTarget = errors.New("no address to look at: name an integration, or give the address in the parameters")

// needsTarget is the check of Build: a probe without any address can never run.
func needsTarget(own api.Secret, spec *api.ProbeSpec) error {
	if own.IsZero() && spec.Integration == "" {
		return errNoTarget
	}
	return nil
}

// blind is an observation of a probe that could not run.
func blind(unit string, err error) api.Observation {
	return api.Observation{Verdict: api.Unknown, Unit: unit, Reason: sentence(err.Error())}
}

// bad is an observation of a target that does not answer well.
func bad(unit, reason string) api.Observation {
	return api.Observation{Verdict: api.Bad, Unit: unit, Reason: sentence(reason)}
}

// reasonMax bounds a reason, in bytes: peers may put whole pages into an error.
const reasonMax = 400

// sentence makes an error text fit for a person and for the log: redacted, on one line, bounded.
func sentence(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(api.Redact(text), "?")), " ")
	if len(text) > reasonMax {
		text = strings.ToValidUTF8(text[:reasonMax], "") + " ..."
	}
	return text
}

// errOwnLimit means that this process, not the target, is at its limit.
var errOwnLimit = errors.New("no free connection slot on our side")

// ownError is a fault of our own configuration, such as a file of certificates that is not there.
type ownError struct{ err error }

func (e *ownError) Error() string { return e.err.Error() }
func (e *ownError) Unwrap() error { return e.err }

// failed turns the error of a call into an observation. The rule: what the target did (refused, hung, reset, wrong
// certificate, no such host) is Bad; what this machine lacks (file descriptors, ports, memory, permission, a route, a
// name server that answers) is Unknown.
func failed(ctx context.Context, unit, doing string, err error) api.Observation {
	text := doing + ": " + plainError(ctx, err)
	if isOurs(ctx, err) {
		return blind(unit, errors.New(text))
	}
	return bad(unit, text)
}

func isOurs(ctx context.Context, err error) bool {
	for _, own := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL,
		syscall.EACCES, syscall.EPERM, syscall.ENETUNREACH, syscall.EAFNOSUPPORT, errOwnLimit} {
		if errors.Is(err, own) {
			return true
		}
	}
	if errors.Is(ctx.Err(), context.Canceled) || errors.As(err, new(*ownError)) {
		return true
	}
	var dns *net.DNSError
	return errors.As(err, &dns) && !dns.IsNotFound
}

// plainError says time-outs in plain words; everything else speaks for itself.
func plainError(ctx context.Context, err error) string {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return "stopped before it ended"
	case errors.Is(err, errOwnLimit), errors.As(err, new(*ownError)), errors.As(err, new(*net.DNSError)):
		return err.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer within the probe's timeout"
	}
	return err.Error()
}

// unitOr gives the unit that the spec asks for, else the type's own.
func unitOr(spec *api.ProbeSpec, unit string) string {
	if spec.Unit != "" {
		return spec.Unit
	}
	return unit
}
