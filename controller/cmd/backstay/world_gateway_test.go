package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/demo"
	"github.com/backstay/backstay/controller/internal/rig"
)

// gatewayCommands are about payment gateways and the proxy before them.
//
//	gateway NAME             a payment gateway with a ledger; its URL as $NAME, host:port as $NAME_ADDR
//	fault NAME KEY=VALUE...  what it does wrong: hang-after=0.5 hang-before=.. errors=.. latency=..; none: nothing
//	down NAME, up NAME       closes and opens its port
//	charged once A B         fails where an order was charged more than once, over these gateways by their ledgers
//	charged twice A B        fails where none was: the control that must fail
//	haproxy FILE             an HAProxy with these frontends and backends; its runtime socket as $HAPROXY
//	servers                  what HAProxy itself says of its servers: NAME ready|drain|maint WEIGHT
//	ramp REGEXP              all states that HAProxy was in so far, as one line: the servers and weights in turn
//	load start URL RATE      sends captures, RATE a second, until load stop
//	load stop STEP           ends it; fails where a capture was lost that was sent after this step ended, by the log's own time
var gatewayCommands = map[string]command{
	"gateway": cmdGateway,
	"fault":   cmdFault,
	"down":    func(ts *testscript.TestScript, _ bool, args []string) { gatewayOf(ts, args).Down() },
	"up":      func(ts *testscript.TestScript, _ bool, args []string) { gatewayOf(ts, args).Up(worldOf(ts).t) },
	"charged": cmdCharged,
	"haproxy": cmdHAProxy,
	"servers": cmdServers,
	"ramp":    cmdRamp,
	"load":    cmdLoad,
}

func cmdGateway(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, len(args) == 1, "gateway NAME")
	g := rig.NewGateway(worldOf(ts).t, args[0])
	worldOf(ts).gateways[args[0]] = g
	ts.Setenv(args[0], g.URL)
	ts.Setenv(args[0]+"_ADDR", strings.TrimPrefix(g.URL, "http://"))
}

func gatewayOf(ts *testscript.TestScript, args []string) *rig.Gateway {
	if len(args) == 0 || worldOf(ts).gateways[args[0]] == nil {
		ts.Fatalf("no such gateway: %v", args)
	}
	return worldOf(ts).gateways[args[0]]
}

func cmdFault(ts *testscript.TestScript, _ bool, args []string) {
	g := gatewayOf(ts, args)
	var f demo.Faults
	for _, arg := range args[1:] {
		key, value, _ := strings.Cut(arg, "=")
		share, err := strconv.ParseFloat(value, 64)
		switch key {
		case "hang-after":
			f.HangAfter = share
		case "hang-before":
			f.HangBefore = share
		case "errors":
			f.Errors = share
		case "latency":
			f.Latency, err = time.ParseDuration(value)
		default:
			ts.Fatalf("no such fault: %s", key)
		}
		ts.Check(err)
	}
	g.Set(f)
}

func cmdCharged(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, len(args) >= 2 && (args[0] == "twice" || args[0] == "once"), "charged once|twice GATEWAY...")
	var all []*demo.Gateway
	for i := range args[1:] {
		all = append(all, gatewayOf(ts, args[i+1:]).Gateway)
	}
	charged, twice := demo.Charged(all...), 0
	for _, n := range charged {
		if n > 1 {
			twice++
		}
	}
	fmt.Fprintf(ts.Stdout(), "%d orders charged, %d of them more than once\n", len(charged), twice)
	if len(charged) == 0 || (twice > 0) != (args[0] == "twice") {
		ts.Fatalf("%d orders were charged, %d of them more than once", len(charged), twice)
	}
}

// proxyWatch keeps looking at an HAProxy, so that a state that lasts a moment is seen too.
type proxyWatch struct {
	admin string
	mu    sync.Mutex
	seen  []string
}

func cmdHAProxy(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, len(args) == 1, "haproxy FILE")
	w := worldOf(ts)
	p := rig.HAProxy(w.t, ts.ReadFile(args[0]))
	ts.Setenv("HAPROXY", p.Socket)
	w.proxy = &proxyWatch{admin: p.Admin}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				w.proxy.look()
			}
		}
	}()
	w.t.Cleanup(func() {
		close(stop)
		<-done
	})
}

// look asks HAProxy over its runtime API, in our own words and with none of the product's code.
func (p *proxyWatch) look() (string, error) {
	conn, err := net.DialTimeout("tcp", p.admin, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "show servers state\n"); err != nil {
		return "", err
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		return "", err
	}
	var parts []string
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line) // be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight ...
		if len(f) < 8 || f[0] == "#" {
			continue
		}
		state, err := strconv.Atoi(f[6])
		if err != nil {
			return "", err
		}
		word := "ready"
		switch {
		case state&1 != 0:
			word = "maint"
		case state&8 != 0:
			word = "drain"
		}
		parts = append(parts, f[3]+" "+word+" "+f[7])
	}
	now := strings.Join(parts, ", ")
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.seen); n == 0 || p.seen[n-1] != now {
		p.seen = append(p.seen, now)
	}
	return now, nil
}

func cmdServers(ts *testscript.TestScript, _ bool, _ []string) {
	now, err := worldOf(ts).proxy.look()
	ts.Check(err)
	fmt.Fprintln(ts.Stdout(), now)
}

func cmdRamp(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, len(args) == 1, "ramp REGEXP")
	p := worldOf(ts).proxy
	p.mu.Lock()
	all := strings.Join(p.seen, "; ")
	p.mu.Unlock()
	fmt.Fprintln(ts.Stdout(), all)
	if !regexp.MustCompile(args[0]).MatchString(all) {
		ts.Fatalf("HAProxy went through: %s", all)
	}
}

// load sends captures at a steady rate, each on its own, as customers do: nobody repeats one.
type load struct {
	url  string
	stop chan struct{}
	once sync.Once
	wait sync.WaitGroup

	mu   sync.Mutex
	sent int
	lost []loss
}

type loss struct {
	sent time.Time
	why  string
}

func cmdLoad(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, len(args) >= 2, "load start URL RATE | load stop STEP")
	w := worldOf(ts)
	switch args[0] {
	case "start":
		usage(ts, len(args) == 3 && w.load == nil, "load start URL RATE")
		rate, err := strconv.ParseFloat(args[2], 64)
		ts.Check(err)
		w.load = &load{url: args[1], stop: make(chan struct{})}
		w.load.wait.Go(func() { w.load.run(time.Duration(float64(time.Second) / rate)) })
	case "stop":
		w.load.end()
		since := stepEnded(ts, args[1])
		before, after := 0, []string{}
		for _, l := range w.load.lost {
			if l.sent.After(since) {
				after = append(after, l.sent.Format("15:04:05.000 ")+l.why)
			} else {
				before++
			}
		}
		fmt.Fprintf(ts.Stdout(), "%d sent, %d lost before %s, %d after\n", w.load.sent, before, args[1], len(after))
		if w.load.sent < 100 || before == 0 || len(after) > 0 {
			ts.Fatalf("of %d captures %d were lost before %s (some must be, or nothing was at stake) and %d after: %.3q", w.load.sent, before, args[1], len(after), after)
		}
		w.load = nil
	}
}

// stepEnded is when the log says that a step ended well.
func stepEnded(ts *testscript.TestScript, step string) time.Time {
	all, err := worldOf(ts).entries()
	ts.Check(err)
	for _, e := range all {
		if e.Kind == api.EntryStepEnded && e.Step == step && e.Outcome != nil && e.Outcome.Result == api.ResultDone {
			return e.At
		}
	}
	ts.Fatalf("the log has no good end of step %s", step)
	return time.Time{}
}

func (l *load) end() {
	l.once.Do(func() { close(l.stop) })
	l.wait.Wait()
}

func (l *load) run(every time.Duration) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-l.stop:
			return
		case <-tick.C:
		}
		l.wait.Go(func() { l.send(client, n) })
	}
}

func (l *load) send(client *http.Client, n int) {
	start := time.Now()
	order := fmt.Sprintf("load-%d", n)
	err := capture(client, l.url, order)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	if err != nil {
		l.lost = append(l.lost, loss{start, err.Error()})
	}
}

// capture asks for the money of one order, once.
func capture(client *http.Client, url, order string) error {
	body := fmt.Sprintf(`{"key": %q, "amount": 4200, "currency": "EUR"}`, order)
	req, err := http.NewRequest(http.MethodPost, url+"/captures", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.GetBody = nil // the transport must not repeat it either
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("status %s", resp.Status)
	}
	return nil
}
