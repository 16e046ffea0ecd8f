package rig

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Rabbit is a virtual host of a running RabbitMQ broker, with the management and prometheus plugins.
type Rabbit struct {
	URL        string // amqp://guest:guest@127.0.0.1:PORT/VHOST
	Management string // http://guest:guest@127.0.0.1:PORT
	Prometheus string // http://127.0.0.1:PORT
	VHost      string
	broker     *broker
}

type broker struct {
	amqp, management, prometheus, dist, epmd int
	bin, epmdBin, dir                        string
	servers                                  []*server
}

var shared struct {
	sync.Mutex
	broker *broker
	vhosts atomic.Int64
}

// RabbitMQ gives a fresh virtual host on a broker that all tests of one test binary share, because booting one takes
// seconds. The broker goes away with the test binary.
func RabbitMQ(t testing.TB) *Rabbit {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.broker == nil {
		shared.broker = newBroker(t)
	}
	b := shared.broker
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("rabbitmq said:\n%s", b.logs())
		}
	})
	return b.vhost(t, "t"+strconv.FormatInt(shared.vhosts.Add(1), 10))
}

// OwnRabbitMQ starts a broker for this test alone, which it may kill and start again.
func OwnRabbitMQ(t testing.TB) *Rabbit {
	t.Helper()
	b := newBroker(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("rabbitmq said:\n%s", b.logs())
		}
		b.stop(false)
	})
	return b.vhost(t, "t")
}

// Kill ends the broker without a chance to write anything, as a crash of its process would.
func (r *Rabbit) Kill() { r.broker.stop(true) }

// Start starts the broker again after Kill, on the same ports and files.
func (r *Rabbit) Start(t testing.TB) {
	t.Helper()
	if err := r.broker.start(); err != nil {
		t.Fatal(err)
	}
}

func newBroker(t testing.TB) *broker {
	t.Helper()
	b := &broker{bin: need(t, "rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmq-server", "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server")}
	b.epmdBin = need(t, "erlang-base", "/usr/bin/epmd", "epmd")
	b.amqp, b.management, b.prometheus, b.dist, b.epmd = Port(t), Port(t), Port(t), Port(t), Port(t)
	var err error
	if b.dir, err = newDir("rabbit", nil); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`listeners.tcp.1 = %s
management.tcp.ip = 127.0.0.1
management.tcp.port = %d
prometheus.tcp.ip = 127.0.0.1
prometheus.tcp.port = %d
management.rates_mode = none
collect_statistics_interval = 1000
`, local(b.amqp), b.management, b.prometheus)
	files := map[string]string{"rabbit.conf": config, "plugins": "[rabbitmq_management,rabbitmq_prometheus].\n", "env.conf": ""}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.start(); err != nil {
		b.stop(false)
		t.Fatal(err)
	}
	return b
}

// start boots the broker, and before its first start its port mapper, which is ours too: the machine's own epmd is left alone.
func (b *broker) start() error {
	if len(b.servers) == 0 {
		epmd, err := start(launch{name: "epmd", dir: b.dir, argv: []string{b.epmdBin, "-port", strconv.Itoa(b.epmd), "-address", "127.0.0.1"}})
		if err != nil {
			return err
		}
		b.servers = append(b.servers, epmd)
		if err := epmd.ready(10*time.Second, func() error { return dialable(local(b.epmd)) }); err != nil {
			return err
		}
	}
	at := func(name string) string { return filepath.Join(b.dir, name) }
	s, err := start(launch{name: "rabbitmq", dir: b.dir, argv: []string{b.bin}, env: []string{
		"RABBITMQ_NODENAME=rig" + strconv.Itoa(b.amqp) + "@localhost",
		"RABBITMQ_MNESIA_BASE=" + at("mnesia"),
		"RABBITMQ_LOG_BASE=" + at("log"),
		"RABBITMQ_CONFIG_FILE=" + at("rabbit.conf"),
		"RABBITMQ_CONF_ENV_FILE=" + at("env.conf"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + at("plugins"),
		"RABBITMQ_DIST_PORT=" + strconv.Itoa(b.dist),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"ERL_EPMD_PORT=" + strconv.Itoa(b.epmd),
	}})
	if err != nil {
		return err
	}
	b.servers = append(b.servers, s)
	return s.ready(90*time.Second, func() error {
		if err := b.call(http.MethodGet, "/api/overview"); err != nil {
			return err
		}
		return dialable(local(b.amqp))
	})
}

// stop ends the broker; its port mapper and folder stay if it is to start again. It never asks politely: a broker takes
// seconds to leave, and must bear a crash anyway.
func (b *broker) stop(again bool) {
	for len(b.servers) > 0 && !(again && len(b.servers) == 1) {
		last := len(b.servers) - 1
		b.servers[last].stop("kill")
		b.servers = b.servers[:last]
	}
	if !again {
		os.RemoveAll(b.dir)
	}
}

func (b *broker) logs() string {
	if len(b.servers) == 0 {
		return "it never ran"
	}
	return b.servers[0].logs()
}

func (b *broker) call(method, path string) error {
	req, err := http.NewRequest(method, "http://"+local(b.management)+path, strings.NewReader(""))
	if err != nil {
		return err
	}
	req.SetBasicAuth("guest", "guest")
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	return nil
}

func (b *broker) vhost(t testing.TB, name string) *Rabbit {
	t.Helper()
	if err := b.call(http.MethodPut, "/api/vhosts/"+url.PathEscape(name)); err != nil {
		t.Fatal(err)
	}
	if err := b.grant(name); err != nil {
		t.Fatal(err)
	}
	return &Rabbit{
		URL:        "amqp://guest:guest@" + local(b.amqp) + "/" + name,
		Management: "http://guest:guest@" + local(b.management),
		Prometheus: "http://" + local(b.prometheus),
		VHost:      name, broker: b,
	}
}

// grant waits until the user may use the new virtual host: the broker grants its maker all rights by itself, a moment later.
func (b *broker) grant(vhost string) error {
	var err error
	for range 50 {
		if err = b.call(http.MethodGet, "/api/permissions/"+url.PathEscape(vhost)+"/guest"); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}
