package controller

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/live"
	"github.com/backstay/backstay/controller/internal/store"
	"github.com/backstay/backstay/controller/internal/web"
	"github.com/backstay/backstay/playbooks"
	"github.com/backstay/backstay/probes"
)

// Options say what a controller works on.
type Options struct {
	Config   string   // folder or file of specs
	Data     string   // data folder; made when missing
	Listen   string   // address of the HTTP API
	Commands []string // executables that the restart action may run: absolute paths

	CheckpointCopy string // file on another disk or share that the newest checkpoint is published to as well; empty: none
	Witness        string // address of a witness that cosigns the log; empty: none
	WitnessKey     string // its public key
	Log            *slog.Logger
}

// Run runs a controller until ctx ends, and then until everything in flight has ended as done or uncertain. It returns an error
// where the configuration, the data folder or the address cannot be used, and where the log can no longer be written.
func Run(ctx context.Context, o Options) error {
	p, err := open(ctx, o)
	if err != nil {
		return err
	}
	return p.run(ctx)
}

// process is one controller, from open to the end of run.
type process struct {
	Options
	loader  *loader
	store   *store.Store
	witness *follower // nil: none
	shell   *live.Shell
	inForce string          // digest of the configuration in force
	asked   chan chan error // for a reload at once: how it went
	server  *http.Server
	address net.Addr
	listen  net.Listener
}

func open(ctx context.Context, o Options) (_ *process, err error) {
	for _, c := range o.Commands {
		if !filepath.IsAbs(c) {
			return nil, api.Errorf(api.CodeUsage, "the allowed command %q is not an absolute path", c)
		}
	}
	p := &process{Options: o, asked: make(chan chan error)}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	ledger := &live.Ledger{}
	p.loader = newLoader(playbooks.Env{HTTP: playbooks.NewOutbound(), Ledger: ledger, Commands: o.Commands})
	p.loader.running = true
	p.loader.court.given = filepath.Join(o.Data, approvalsFolder)
	cfg, set, findings, err := p.loader.load(o.Config) // before the data folder is touched
	if err != nil {
		return nil, err
	} else if findings.Failed() {
		return nil, &api.Error{Code: api.CodeInvalid, Message: "the configuration has errors:\n" + findings.Error(), Hint: "backstay check " + o.Config}
	}
	if p.store, err = store.Open(ctx, store.Options{Dir: o.Data, Origin: origin(), Copy: o.CheckpointCopy}); err != nil {
		return nil, err
	}
	ledger.Use(p.store)
	if o.Witness != "" || o.WitnessKey != "" {
		if p.witness, err = follow(ctx, p.store, o); err != nil {
			return nil, err
		}
	}
	if p.loader.border.key, err = loadPersonalKey(o.Data, true); err != nil {
		return nil, err
	}
	o.Log = p.loader.border.logger(o.Log)
	p.Log = o.Log
	set.Slim()
	p.inForce = cfg.Engine.Digest
	p.keep()
	logFindings(o.Log, findings)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if p.shell, err = live.New(live.Options{Store: p.store, Config: cfg, Log: o.Log, Registry: registry, Border: p.loader.border.live(), Version: Version()}); err != nil {
		return nil, err
	}
	p.loader.eyes.Last = p.shell.Last
	return p, p.bind(registry)
}

// origin is the log's name in its checkpoints.
func origin() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "unnamed"
	}
	return "backstay.local/" + strings.ToLower(host)
}

// bind opens the address and writes where it is and with which token, for the command line.
func (p *process) bind(registry *prometheus.Registry) error {
	tokens := map[string]string{}
	for _, name := range []string{"token", "heartbeat-token"} {
		token, err := tokenFile(filepath.Join(p.Data, name))
		if err != nil {
			return err
		}
		tokens[name] = token
	}
	l, err := net.Listen("tcp", p.Listen)
	if err != nil {
		return &api.Error{Code: api.CodeUnavailable, Message: "listen on " + p.Listen, Err: err, Hint: "is another controller running there? choose another --listen"}
	}
	p.listen, p.address = l, l.Addr()
	handler := web.New(web.Options{
		Shell: p.shell, Store: p.store, Beat: p.beat, Set: func() api.Set { return *p.loader.set.Load() }, Approve: p.approve,
		Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}),
		Token:   tokens["token"], HeartbeatToken: tokens["heartbeat-token"], Version: Version(), Log: p.Log,
	})
	p.server = &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10}
	if err := os.WriteFile(filepath.Join(p.Data, "address"), []byte(l.Addr().String()+"\n"), 0o644); err != nil {
		return fmt.Errorf("write the address for the command line: %w", err)
	}
	return nil
}

func (p *process) beat(job string, b web.Beat) bool {
	return p.loader.eyes.Heartbeats.Report(job, probes.Beat{At: time.Now(), Failed: b.Failed, Value: b.Value, Text: b.Text})
}

// tokenFile reads a token, or makes one at the first start.
func tokenFile(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil && len(strings.TrimSpace(string(b))) >= 20 {
		return strings.TrimSpace(string(b)), nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read the token of the HTTP API: %w", err)
	}
	token := rand.Text()
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("write the token of the HTTP API: %w", err)
	}
	return token, nil
}

func (p *process) run(ctx context.Context) error {
	defer p.close()
	p.Log.Info("backstay runs", "version", Version(), "address", "http://"+p.address.String(), "data", p.Data, "config", p.Config)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.shell.Run(ctx) })
	group.Go(func() error { return p.watch(ctx) })
	if p.witness != nil {
		group.Go(func() error { return p.witness.run(ctx, p.shell) })
	}
	group.Go(func() error {
		if err := p.server.Serve(p.listen); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve the HTTP API: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		// Streams never end by themselves; what is short gets a moment.
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if p.server.Shutdown(short) != nil {
			return p.server.Close()
		}
		return nil
	})
	err := group.Wait()
	if err == nil {
		p.Log.Info("backstay has stopped; nothing is in flight")
	}
	return err
}

func (p *process) close() {
	if p.listen != nil {
		_ = p.listen.Close() // closed already where the server ran
		_ = os.Remove(filepath.Join(p.Data, "address"))
	}
	if p.loader != nil {
		if err := p.loader.eyes.Close(); err != nil {
			p.Log.Warn("close the probes' connections", "err", err)
		}
	}
	if p.store != nil {
		if err := p.store.Close(); err != nil {
			p.Log.Error("close the log", "err", err)
		}
	}
}

// settledAfter is how long after a configuration was read its memory goes back to the system.
const settledAfter = 2 * time.Second

// watch takes up changed files: on SIGHUP, and when the folder changes and then rests for a moment.
func (p *process) watch(ctx context.Context) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	changes, err := watchFiles(ctx, p.Config)
	if err != nil {
		p.Log.Warn("changed files are taken up on SIGHUP only", "err", err)
	}
	settled := time.After(settledAfter)
	for {
		var answer chan error
		timer := p.loader.court.alarm() // approvals end, and so do keys, though no file changes
		select {
		case <-ctx.Done():
			return nil
		case <-settled:
			debug.FreeOSMemory() // reading a configuration takes many times what it leaves
			continue
		case <-hup:
		case <-changes:
		case <-timer:
		case answer = <-p.asked:
		}
		err := p.reload()
		settled = time.After(settledAfter)
		if answer != nil {
			answer <- err
		}
	}
}

// reload takes up what changed. The error says why the old configuration goes on; it has been logged and recorded.
func (p *process) reload() error {
	before := p.loader.set.Load()
	cfg, set, findings, err := p.loader.load(p.Config)
	switch {
	case err != nil:
		p.Log.Error("the changed configuration cannot be read; the old one goes on", "err", err)
		p.shell.RefuseConfig(err.Error())
		return err
	case findings.Failed():
		for _, f := range findings {
			p.Log.Error(f.String())
		}
		p.Log.Error("the changed configuration has errors; the old one goes on", "findings", len(findings))
		p.shell.RefuseConfig(findings.Error())
		return findings
	case cfg.Engine.Digest == p.inForce:
		return nil // saved without a change
	}
	set.Slim()
	if err := p.shell.Reload(cfg); err != nil {
		p.Log.Error("take up the changed configuration; the old one goes on", "err", err)
		p.loader.set.Store(before)
		p.shell.RefuseConfig(err.Error())
		return err
	}
	p.inForce = cfg.Engine.Digest
	p.keep()
	p.loader.eyes.Heartbeats.Keep(jobs(cfg))
	logFindings(p.Log, findings)
	p.Log.Info("the changed configuration is in force", "probes", len(set.Probes), "playbooks", len(set.Playbooks))
	return nil
}

// logFindings logs what does not keep a configuration from working.
func logFindings(log *slog.Logger, findings api.Findings) {
	for _, f := range findings {
		if f.Severity == api.SeverityNote {
			log.Info(f.String())
		} else {
			log.Warn(f.String())
		}
	}
}

// jobs lists the names that heartbeat probes listen for.
func jobs(cfg live.Config) []string {
	var names []string
	for _, p := range cfg.Probes {
		if heartbeat, is := p.Prober.(interface{ Job() string }); is {
			names = append(names, heartbeat.Job())
		}
	}
	return names
}
