package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/rig"
)

// killsEach is how often one data folder's process is killed before the judge looks at it; verifyEvery is after how many kills
// the log must verify.
const (
	killsEach   = 50
	verifyEvery = 25
)

// TestKill kills backstay with SIGKILL at random moments, again and again on the same data folder, while it pays items at targets
// of each repeat class whose requests arrive late, whose answers are lost, and which go on with what a dead process has sent. The
// targets' own ledgers judge. The same harness kills a program that does and then marks, which must pay twice.
func TestKill(t *testing.T) {
	s := rig.Suite{Name: "kill -9 of the real process, live targets, late requests", Runs: 300, Hold: "0 lost, 0 doubled, 0 repeats of blind steps"}
	switch {
	case rig.Soak():
		s.Runs = 10_000
	case testing.Short():
		s.Runs = 50
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		total killed
		lanes = make(chan int)
	)
	for range 6 {
		wg.Go(func() {
			for n := range lanes {
				got := newLane(t, n, rand.New(rand.NewPCG(seed, uint64(n)))).run(min(killsEach, s.Runs-n*killsEach))
				mu.Lock()
				total.add(got)
				mu.Unlock()
			}
		})
	}
	doubled := make(chan int, 1)
	wg.Go(func() { doubled <- killControl(t, rand.New(rand.NewPCG(seed, 1<<40))) })
	for n := 0; n*killsEach < s.Runs; n++ {
		lanes <- n
	}
	close(lanes)
	wg.Wait()
	control := <-doubled
	s.Runs, s.Broken = total.kills, len(total.broken)
	s.Control = fmt.Sprintf("do-then-mark doubled %d items", control)
	for _, b := range total.broken[:min(20, len(total.broken))] {
		t.Error(b)
	}
	if control == 0 {
		t.Error("the control, which does and then marks, doubled nothing: this suite proves nothing")
	}
	if !testing.Short() && (total.effects < s.Runs/5 || total.late == 0 || total.restarted == 0 || total.reconciled == 0 || total.handed == 0) {
		t.Errorf("too little was at stake: %+v", total)
	}
	s.Report(t)
	t.Logf("%d kills, %d effects, %d requests late, %d steps found under way by a restart, %d repeated, %d reconciled, %d settled by a person, %d remediations (%s), %d items paid by hand, the log verified %d times",
		total.kills, total.effects, total.late, total.restarted, total.repeated, total.reconciled, total.handed, total.remediations, total.endings(), total.mended, total.verified)
}

// killed is what became of the kills.
type killed struct {
	kills, effects, late, restarted, repeated, reconciled, handed, remediations, mended, verified int

	ends   []api.RemediationEnd
	broken []string
}

func (k *killed) add(o killed) {
	k.kills, k.effects, k.late, k.restarted, k.repeated = k.kills+o.kills, k.effects+o.effects, k.late+o.late, k.restarted+o.restarted, k.repeated+o.repeated
	k.reconciled, k.handed, k.remediations = k.reconciled+o.reconciled, k.handed+o.handed, k.remediations+o.remediations
	k.mended, k.verified = k.mended+o.mended, k.verified+o.verified
	k.ends, k.broken = append(k.ends, o.ends...), append(k.broken, o.broken...)
}

func (k *killed) endings() string {
	count := map[api.RemediationEnd]int{}
	for _, e := range k.ends {
		count[e]++
	}
	var parts []string
	for _, e := range []api.RemediationEnd{api.EndVerified, api.EndNotVerified, api.EndInDoubt, api.EndBlocked, api.EndCancelled, api.EndFailed} {
		parts = append(parts, fmt.Sprintf("%d %s", count[e], e))
	}
	return strings.Join(parts, ", ")
}

// lane is one data folder, its targets, and the process that is killed.
type lane struct {
	t     *testing.T
	n     int
	dir   string
	rng   *rand.Rand
	tills []*till
	log   []api.Entry          // as far as it was read
	asked map[string]time.Time // steps that wait for a person's word, and since when
	killed
}

var killClasses = []api.Repeat{api.Idempotent, api.Keyed, api.Queryable, api.Blind}

func newLane(t *testing.T, n int, rng *rand.Rand) *lane {
	l := &lane{t: t, n: n, dir: filepath.Join(t.TempDir(), fmt.Sprint(n)), rng: rng, asked: map[string]time.Time{}}
	var config strings.Builder
	for _, class := range killClasses {
		till := newTill(class, rng.Uint64())
		t.Cleanup(till.Close)
		l.tills = append(l.tills, till)
		config.WriteString(strings.NewReplacer("NAME", string(class), "URL", till.URL, "REPEAT", killRepeat[class]).Replace(killConfig))
	}
	if err := os.MkdirAll(filepath.Join(l.dir, "config"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.dir, "config", "all.yaml"), []byte(config.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return l
}

var killRepeat = map[api.Repeat]string{
	api.Idempotent: "method: PUT, repeat: idempotent",
	api.Keyed:      "repeat: keyed, retention: 1h",
	api.Queryable:  "proof: {path: '/proof/{key}'}",
	api.Blind:      "repeat: blind",
}

const killConfig = `---
apiVersion: backstay.dev/v1alpha1
kind: Integration
metadata: {name: NAME}
spec: {endpoints: [{name: main, url: 'URL'}]}
---
apiVersion: backstay.dev/v1alpha1
kind: Probe
metadata: {name: see-NAME}
spec:
  type: http
  integration: NAME
  every: 100ms
  timeout: 2s
  with: {path: /health}
  detect: [{name: waits, failures: {atLeast: 1, of: 1, clear: 1}}]
---
apiVersion: backstay.dev/v1alpha1
kind: Playbook
metadata: {name: pay-NAME}
spec:
  mode: auto
  on: {anomaly: see-NAME/waits}
  steps: [{name: pay, do: http, timeout: 2s, with: {integration: NAME, path: /pay, REPEAT, body: {key: $key}}}]
  verify: {probes: [see-NAME], within: 3s}
  otherwise: stop
  demoteAfter: 100
`

// run kills so many times, then lets everything come to rest, and judges.
func (l *lane) run(kills int) killed {
	for range kills {
		p := l.start()
		if p == nil {
			return l.killed
		}
		l.live(p)
		l.end(p, syscall.SIGKILL)
		if l.kills++; l.kills%verifyEvery == 0 || l.kills == kills {
			l.verify()
		}
	}
	l.rest()
	l.verify()
	l.judge()
	return l.killed
}

func (l *lane) fail(format string, args ...any) {
	l.broken = append(l.broken, fmt.Sprintf("lane %d after %d kills: ", l.n, l.kills)+fmt.Sprintf(format, args...))
}

func (l *lane) data() string { return filepath.Join(l.dir, "data") }

// start starts backstay on the lane's folder.
func (l *lane) start() *process {
	_ = os.Remove(filepath.Join(l.data(), "address")) // a killed one leaves it behind
	for _, till := range l.tills {
		select {
		case <-till.seen:
		default:
		}
	}
	log, err := os.OpenFile(filepath.Join(l.dir, logFile), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		l.fail("open its output: %v", err)
		return nil
	}
	defer log.Close()
	p := &process{cmd: l.command("run", "--config", filepath.Join(l.dir, "config"), "--listen", "127.0.0.1:0"), done: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		l.fail("start it: %v", err)
		return nil
	}
	go func() { p.done <- p.cmd.Wait() }()
	return p
}

func (l *lane) command(args ...string) *exec.Cmd {
	cmd := exec.Command("backstay", args...)
	cmd.Env = append(os.Environ(), "BACKSTAY_DATA="+l.data(), "NO_COLOR=1")
	return cmd
}

// live gives a process a life: a quarter die while they start, the rest between a moment and two seconds after their first look
// at a target. Meanwhile a person does what people are asked to.
func (l *lane) live(p *process) {
	if l.rng.Float64() < 0.25 {
		time.Sleep(time.Duration(l.rng.Int64N(int64(200 * time.Millisecond))))
		return
	}
	select {
	case <-l.tills[0].seen:
	case <-l.tills[2].seen:
	case <-time.After(30 * time.Second):
		l.fail("it did not look at its targets within 30 s; it said:\n%s", tail(filepath.Join(l.dir, logFile)))
		return
	}
	long := time.Duration(l.rng.Int64N(int64(900 * time.Millisecond)))
	if l.rng.Float64() < 0.3 {
		long += time.Duration(l.rng.Int64N(int64(2 * time.Second)))
	}
	for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(min(200*time.Millisecond, max(0, time.Until(end)))) {
		if time.Until(end) > 300*time.Millisecond {
			l.person()
		}
	}
}

// end ends a process. One that ended by itself is a find.
func (l *lane) end(p *process, sig syscall.Signal) {
	select {
	case err := <-p.done:
		l.fail("it ended by itself: %v; it said:\n%s", err, tail(filepath.Join(l.dir, logFile)))
		return
	default:
	}
	if err := p.stop(sig); err != nil && sig != syscall.SIGKILL {
		l.fail("after %v it ended with: %v", sig, err)
	}
}

// verify has the log verified by the program itself, while nothing runs.
func (l *lane) verify() {
	out, err := l.command("audit", "verify").CombinedOutput()
	if err != nil {
		l.fail("the log does not verify: %v\n%s", err, out)
	}
	l.verified++
}

// call calls the API. A process that is not up yet, or not any more, is no find.
func (l *lane) call(method, path string, in, out any) error {
	address, err := os.ReadFile(filepath.Join(l.data(), "address"))
	if err != nil {
		return err
	}
	token, err := os.ReadFile(filepath.Join(l.data(), "token"))
	if err != nil {
		return err
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, "http://"+strings.TrimSpace(string(address))+"/api/v1"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("Content-Type", "application/json")
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %.300s", resp.Status, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// read reads what the log has more than was read before.
func (l *lane) read() error {
	for {
		var more []api.Entry
		if err := l.call(http.MethodGet, fmt.Sprintf("/entries?from=%d&limit=1000", len(l.log)), nil, &more); err != nil {
			return err
		}
		if len(more) == 0 {
			return nil
		}
		for _, e := range more {
			if e.Seq != int64(len(l.log)) {
				return fmt.Errorf("entry %d came where %d was awaited", e.Seq, len(l.log))
			}
			l.log = append(l.log, e)
			switch step := e.Remediation + "/" + e.Step; {
			case e.Kind == api.EntryStepHandedOver:
				l.asked[step] = time.Now()
				l.handed++
			case e.Kind == api.EntryDecided && e.Decision != nil:
				delete(l.asked, e.Decision.Target)
			}
		}
	}
}

// person pays by hand what waited too long, and looks at the ledger for steps in doubt: once nothing can still be on its way.
func (l *lane) person() {
	for _, till := range l.tills {
		till.mend()
	}
	if l.read() != nil {
		return // it is not up
	}
	for step, since := range l.asked { // order does not matter: each is settled by itself
		if time.Since(since) < lateMost+300*time.Millisecond {
			continue
		}
		d := api.Decision{Verb: api.VerbVoid, By: "nora", Reason: "looked at the ledger", Target: step}
		if key, class := l.keyOf(step); l.till(class).paid(key) {
			d.Verb = api.VerbSettled
		}
		_ = l.call(http.MethodPost, "/decisions", d, nil) // refused or swallowed by a crash: asked again
	}
}

func (l *lane) keyOf(step string) (key string, class api.Repeat) {
	for _, e := range slices.Backward(l.log) {
		if e.Intent != nil && e.Remediation+"/"+e.Step == step {
			return e.Intent.Key, e.Intent.Repeat
		}
	}
	return "", ""
}

func (l *lane) till(class api.Repeat) *till {
	return l.tills[max(0, slices.Index(killClasses, class))]
}

// rest lets everything come to its end, without faults and kills.
func (l *lane) rest() {
	for _, till := range l.tills {
		till.soothe()
	}
	p := l.start()
	if p == nil {
		return
	}
	open := []string{"the log was never read"}
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		l.person()
		if open = l.open(); len(open) == 0 && len(l.log) > 0 {
			break
		}
	}
	for _, id := range open {
		l.fail("lost: remediation %s never ended:\n%s", id, l.story(id))
	}
	l.end(p, syscall.SIGTERM)
}

// open lists the remediations that have not ended.
func (l *lane) open() []string {
	var ids []string
	for _, e := range l.log {
		switch e.Kind {
		case api.EntryRemediationOpened:
			ids = append(ids, e.Remediation)
		case api.EntryRemediationEnded:
			ids = slices.DeleteFunc(ids, func(id string) bool { return id == e.Remediation })
		}
	}
	for _, till := range l.tills {
		till.mu.Lock()
		if till.waiting {
			ids = append(ids, "of the item that waits at "+string(till.class))
		}
		till.mu.Unlock()
	}
	return ids
}

// story is what the log says of one remediation.
func (l *lane) story(id string) string {
	var b strings.Builder
	for _, e := range l.log {
		if e.Remediation == id {
			fmt.Fprintf(&b, "  %s %s\n", e.At.Format("15:04:05.000"), entryLine(e))
		}
	}
	return b.String()
}

// killControl kills a program that does and then marks, and counts the items that it paid twice.
func killControl(t *testing.T, rng *rand.Rand) int {
	till := newTill("control", rng.Uint64())
	defer till.Close()
	marks := filepath.Join(t.TempDir(), "marks")
	for range 40 {
		cmd := exec.Command("do-then-mark", till.URL, marks)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Error(err)
			return 0
		}
		select {
		case <-till.seen:
		case <-time.After(15 * time.Second):
			t.Error("the control did not begin within 15 s")
		}
		time.Sleep(time.Duration(rng.Int64N(int64(600 * time.Millisecond))))
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it ended by the signal
	}
	time.Sleep(lateMost)
	return till.doubled()
}

// doThenMark is the control: it writes down what is to do, does it, and only then marks it as done. What is not marked is done
// again at the next start.
func doThenMark(base, marks string) error {
	f, err := os.OpenFile(marks, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	todo := ""
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if word, item, _ := strings.Cut(lines.Text(), " "); word == "todo" {
			todo = item
		} else {
			todo = ""
		}
	}
	for {
		if todo == "" {
			resp, err := http.Get(base + "/work")
			if err != nil {
				return err
			}
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if todo = string(b); err != nil || todo == "" {
				return err
			}
			fmt.Fprintf(f, "todo %s\n", todo)
		}
		resp, err := http.Post(base+"/pay?item="+url.QueryEscape(todo), "application/json", strings.NewReader(`{"key": "item-`+todo+`"}`))
		if err == nil {
			resp.Body.Close()
		}
		fmt.Fprintf(f, "done %s\n", todo)
		todo = ""
	}
}
