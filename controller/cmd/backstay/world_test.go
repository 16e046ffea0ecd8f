package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/rig"
)

// world is what one script has started: the controller, and the systems around it.
type world struct {
	t        testing.TB
	work     string
	running  *process
	args     []string // of the process, to start it again
	api      string   // its address
	token    string
	gateways map[string]*rig.Gateway
	proxy    *proxyWatch
	load     *load
	orders   *orders
	letters  *letters
	listener *listener
	sessions map[string]*session
}

type worldKey struct{}

func newWorld(env *testscript.Env) *world {
	w := &world{t: env.T().(testing.TB), work: env.WorkDir, gateways: map[string]*rig.Gateway{}, sessions: map[string]*session{}}
	env.Defer(w.end) // before the script's folder goes away
	return w
}

func (w *world) end() {
	if w.load != nil {
		w.load.end()
	}
	if w.orders != nil {
		w.orders.end()
	}
	if w.running != nil && w.t.Failed() {
		all, err := w.entries()
		w.t.Logf("the log has %d entries (%v):", len(all), err)
		for _, e := range all {
			w.t.Log(entryLine(e))
		}
	}
	if w.running != nil {
		_ = w.running.stop(syscall.SIGKILL) // it ends by the signal
		if w.t.Failed() {
			w.t.Logf("backstay said:\n%s", tail(filepath.Join(w.work, logFile)))
		}
	}
}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

type command = func(ts *testscript.TestScript, neg bool, args []string)

// worldCommands are the commands of the scripts beside testscript's own.
//
//	start backstay ARGS...       starts backstay in the background and waits until it is ready; it writes to backstay.log;
//	                             its address and tokens as $API, $TOKEN and $HEARTBEAT_TOKEN
//	signal NAME                  sends it HUP
//	stop [INT|TERM|KILL]         ends it, by TERM unless told otherwise; its exit code must be 0, and by KILL must not
//	await TIME REGEXP COMMAND... runs a command again and again until its output matches; stdout is its last output
//	http METHOD URL [H:V]... [BODY]  sends a request; stdout is status and body
//	port NAME                    a free loopback port, as $NAME
//	expand FILE...               replaces ${NAME} in files
//	ids                          the newest remediation of each playbook, as $PLAYBOOK
//	readonly DIR CODE COMMAND... like exits, while nobody may write to the folder
//	isjson                       fails where the last stdout is not JSON
//	generate KIND FILE           writes a hostile file: alias-bomb, big, deep
//	entries [REGEXP]             the log so far, one entry a line: number, kind, step, text; fails where no line matches
var worldCommands = func() map[string]command {
	all := map[string]command{
		"start": cmdStart, "signal": cmdSignal, "end": cmdEnd, "await": cmdAwait, "http": cmdHTTP, "port": cmdPort, "expand": cmdExpand, "generate": cmdGenerate,
		"entries": cmdEntries, "ids": cmdIDs, "readonly": cmdReadonly, "isjson": cmdIsJSON,
	}
	for _, more := range []map[string]command{gatewayCommands, rabbitCommands, databaseCommands, auditCommands, stripeCommands} {
		maps.Copy(all, more)
	}
	return all
}()

func usage(ts *testscript.TestScript, ok bool, text string) {
	if !ok {
		ts.Fatalf("usage: %s", text)
	}
}

func cmdPort(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, len(args) == 1, "port NAME")
	ts.Setenv(args[0], strconv.Itoa(rig.Port(worldOf(ts).t)))
}

func cmdExpand(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, len(args) > 0, "expand FILE...")
	name := regexp.MustCompile(`\$\{(\w+)\}`)
	for _, file := range args {
		text := name.ReplaceAllStringFunc(ts.ReadFile(file), func(v string) string {
			value := ts.Getenv(v[2 : len(v)-1])
			if value == "" {
				ts.Fatalf("expand %s: %s is not set", file, v)
			}
			return value
		})
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(text), 0o644))
	}
}

// logFile is where a started backstay writes.
const logFile = "backstay.log"

// process is a backstay in the background.
type process struct {
	cmd  *exec.Cmd
	done chan error
}

func cmdStart(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	usage(ts, len(args) > 1 && w.running == nil, "start backstay ARGS..., once at a time")
	w.args = args
	ts.Check(w.start(ts))
}

func (w *world) start(ts *testscript.TestScript) error {
	log, err := os.OpenFile(filepath.Join(w.work, logFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	address := filepath.Join(ts.Getenv("BACKSTAY_DATA"), "address")
	_ = os.Remove(address) // a killed one leaves it behind
	p := &process{cmd: inScript(ts, w.args), done: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return err
	}
	go func() { p.done <- p.cmd.Wait() }()
	w.running = p
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		select {
		case err := <-p.done:
			w.running = nil
			return fmt.Errorf("%v ended before it was ready: %v\n%s", w.args, err, tail(filepath.Join(w.work, logFile)))
		default:
		}
		at, err := os.ReadFile(address)
		if err == nil {
			var resp *http.Response
			if resp, err = http.Get("http://" + strings.TrimSpace(string(at)) + "/readyz"); err == nil {
				resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					w.api, w.token = "http://"+strings.TrimSpace(string(at)), strings.TrimSpace(ts.ReadFile(filepath.Join(ts.Getenv("BACKSTAY_DATA"), "token")))
					ts.Setenv("API", w.api)
					for name, file := range map[string]string{"TOKEN": "token", "HEARTBEAT_TOKEN": "heartbeat-token"} {
						ts.Setenv(name, strings.TrimSpace(ts.ReadFile(filepath.Join(ts.Getenv("BACKSTAY_DATA"), file))))
					}
					return nil
				}
				err = errors.New(resp.Status)
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("%v was not ready in time: %v", w.args, err)
		}
	}
}

func (p *process) stop(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return err
	}
	select {
	case err := <-p.done:
		return err
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Kill() // it is past help
		return fmt.Errorf("it did not end within 30 s of %v", sig)
	}
}

var signals = map[string]syscall.Signal{"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}

func cmdSignal(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	usage(ts, len(args) == 1 && w.running != nil && signals[args[0]] != 0, "signal HUP, while backstay runs")
	ts.Check(w.running.cmd.Process.Signal(signals[args[0]]))
}

func cmdEnd(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	name := strings.Join(args, "")
	if name == "" {
		name = "TERM"
	}
	usage(ts, w.running != nil && signals[name] != 0, "end [INT|TERM|KILL], while backstay runs")
	err := w.running.stop(signals[name])
	w.running = nil
	if (err == nil) == (name == "KILL") {
		ts.Fatalf("after %s it ended with: %v", name, err)
	}
}

// inScript makes a command with the script's folder, variables and programs.
func inScript(ts *testscript.TestScript, args []string) *exec.Cmd {
	bin := args[0]
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if path := filepath.Join(dir, args[0]); filepath.IsAbs(path) {
			if _, err := os.Stat(path); err == nil {
				bin = path
				break
			}
		}
	}
	cmd := exec.Command(bin, args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "NO_COLOR", "BACKSTAY_DATA", "STRIPE_AUTH"} {
		if value := ts.Getenv(name); value != "" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	return cmd
}

func cmdAwait(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, len(args) >= 3, "await TIME REGEXP COMMAND...")
	atMost, err := time.ParseDuration(args[0])
	ts.Check(err)
	want, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	end := time.Now().Add(atMost)
	for {
		out, err := inScript(ts, args[2:]).CombinedOutput()
		if want.Match(out) {
			_, _ = ts.Stdout().Write(out) // a buffer
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%v did not come to match %q within %s; at last (%v):\n%s", args[2:], args[1], atMost, err, out)
		}
		time.Sleep(150 * time.Millisecond)
	}
}

func cmdHTTP(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, len(args) >= 2, "http METHOD URL [HEADER:VALUE]... [BODY]")
	body, headers := "", args[2:]
	if n := len(headers); n > 0 && !regexp.MustCompile(`^[\w-]+:`).MatchString(headers[n-1]) {
		body, headers = headers[n-1], headers[:n-1]
	}
	req, err := http.NewRequest(args[0], args[1], strings.NewReader(body))
	ts.Check(err)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ":")
		req.Header.Set(name, strings.TrimSpace(value))
	}
	client := &http.Client{Timeout: 10 * time.Second}
	resp, err := client.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%s\n%s\n", resp.Status, text)
}

// entries reads the whole log over the API, in the order of its entries.
func (w *world) entries() ([]api.Entry, error) {
	req, err := http.NewRequest(http.MethodGet, w.api+"/api/v1/entries?limit=100000", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+w.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var all []api.Entry
	return all, json.NewDecoder(resp.Body).Decode(&all)
}

func entryLine(e api.Entry) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s %s %s", e.Seq, e.Kind, e.Step, e.Text))
}

func cmdEntries(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, len(args) <= 1, "entries [REGEXP]")
	want := regexp.MustCompile(strings.Join(args, ""))
	found := false
	all, err := worldOf(ts).entries()
	ts.Check(err)
	for _, e := range all {
		found = found || want.MatchString(entryLine(e))
		fmt.Fprintln(ts.Stdout(), entryLine(e))
	}
	if !found {
		ts.Fatalf("no entry matches %q", want)
	}
}

func cmdIDs(ts *testscript.TestScript, _ bool, _ []string) {
	out, err := inScript(ts, []string{"backstay", "get", "remediations", "-o", "json"}).Output()
	ts.Check(err)
	var all []api.Remediation
	ts.Check(json.Unmarshal(out, &all))
	for _, r := range slices.Backward(all) { // the newest come first
		ts.Setenv(r.Playbook, r.ID)
	}
}

// cmdReadonly takes the right to write: from root, too, who otherwise may do so everywhere.
func cmdReadonly(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) >= 3, "readonly DIR CODE COMMAND...")
	dir := ts.MkAbs(args[0])
	ts.Check(os.Chmod(dir, 0o500))
	defer os.Chmod(dir, 0o700)
	rest := args[1:]
	if os.Getuid() == 0 {
		rest = append([]string{args[1], "setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", "--inh-caps=-all"}, args[2:]...)
	}
	cmdExits(ts, neg, rest)
}

func cmdIsJSON(ts *testscript.TestScript, _ bool, _ []string) {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
}

// tail is the end of a file.
func tail(path string) []byte {
	b, err := os.ReadFile(path)
	if err != nil {
		return []byte(err.Error())
	}
	return b[max(0, len(b)-8000):]
}

func cmdGenerate(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, len(args) == 2, "generate alias-bomb|big|deep FILE")
	var b bytes.Buffer
	switch args[0] {
	case "alias-bomb": // ten to the ninth, in half a kilobyte
		b.WriteString("a: &a [x, x, x, x, x, x, x, x, x, x]\n")
		for c := 'b'; c <= 'j'; c++ {
			fmt.Fprintf(&b, "%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c-1), 10), ", "))
		}
	case "big": // ten megabytes of good documents
		for n := 0; b.Len() < 10<<20; n++ {
			fmt.Fprintf(&b, "apiVersion: backstay.dev/v1alpha1\nkind: Integration\nmetadata: {name: i-%d}\nspec: {endpoints: [{name: main, url: 'http://127.0.0.1:9'}]}\n---\n", n)
		}
	case "deep":
		b.WriteString("a: " + strings.Repeat("[", 100_000))
	default:
		ts.Fatalf("generate: no such kind: %s", args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b.Bytes(), 0o644))
}
