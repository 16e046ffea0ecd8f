package live

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/store"
	"github.com/backstay/backstay/playbooks"
	"github.com/backstay/backstay/probes"
)

// cpuTime is what this process has used so far, user and system.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// residentMB is the memory that the process holds now, in MB.
func residentMB(b *testing.B) float64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		b.Skip("no /proc here: ", err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if kb, found := strings.CutPrefix(s.Text(), "VmRSS:"); found {
			var n float64
			if _, err := fmt.Sscan(kb, &n); err != nil {
				b.Fatal(err)
			}
			return n / 1024
		}
	}
	b.Fatal("no VmRSS in /proc/self/status")
	return 0
}

// steady measures a shell at its steady pace over ten seconds: CPU per 1,000 runs, lateness, skips and memory.
func steady(b *testing.B, j journal, list []Probe) {
	for range b.N {
		var mu sync.Mutex
		late := make([]time.Duration, 0, len(list)*2)
		s, err := newShell(Options{Config: Config{Probes: list}}, j)
		if err != nil {
			b.Fatal(err)
		}
		s.empty = func() core { return &script{} }
		s.sched.late = func(d time.Duration) { mu.Lock(); late = append(late, d); mu.Unlock() }
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		time.Sleep(2 * time.Second) // the heap and the workers settle
		mu.Lock()
		late = late[:0]
		mu.Unlock()
		cpu := cpuTime(b)
		time.Sleep(10 * time.Second)
		cpu = cpuTime(b) - cpu
		mu.Lock()
		slices.Sort(late)
		runs := len(late)
		b.ReportMetric(float64(cpu.Microseconds())/float64(runs), "cpu-ms/1000-runs")
		b.ReportMetric(float64(late[runs*99/100].Microseconds())/1000, "late-p99-ms")
		b.ReportMetric(float64(late[runs-1].Microseconds())/1000, "late-max-ms")
		b.ReportMetric(float64(runs)/10, "runs/s")
		mu.Unlock()
		var skipped, ill int64
		for _, p := range s.Probes() {
			skipped += p.Skipped
			ill += p.BadRuns
			if p.Last.Verdict != api.OK && p.Runs > 0 {
				b.Fatalf("%s says %s: %s", p.Name, p.Last.Verdict, p.Last.Reason)
			}
		}
		b.ReportMetric(float64(skipped), "skipped")
		b.ReportMetric(float64(ill), "bad")
		debug.FreeOSMemory()
		b.ReportMetric(residentMB(b), "RSS-MB")
		workers, _ := s.sched.counts()
		b.ReportMetric(float64(workers), "workers")
		b.ReportMetric(0, "ns/op")
		cancel()
		if err := <-ended; err != nil {
			b.Fatal(err)
		}
	}
}

func noop(int) sight { return good }

// BenchmarkThousandPerSecond is the scheduler's own cost: 10,000 probes at 10 s that do nothing.
func BenchmarkThousandPerSecond(b *testing.B) {
	steady(b, &memory{}, manyProbes(10_000, 10*time.Second, noop))
}

// BenchmarkFiftyThousand holds 50,000 probes at 10 s: none may be skipped.
func BenchmarkFiftyThousand(b *testing.B) {
	steady(b, &memory{}, manyProbes(50_000, 10*time.Second, noop))
}

// BenchmarkHTTP runs the real thing at 1,000 probes a second: HTTP with a JSON assertion against a server in a process of its own,
// detection, and minutes stored in the real journal.
func BenchmarkHTTP(b *testing.B) {
	url := serverProcess(b)
	env := probes.NewEnv()
	defer env.Close()
	kind, found := probes.Find("http")
	if !found {
		b.Fatal("no http probe")
	}
	st, err := store.Open(context.Background(), store.Options{Dir: b.TempDir(), Origin: "backstay.test/bench"})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	list := manyProbes(10_000, 10*time.Second, noop)
	for i := range list {
		var with api.Params
		if err := json.Unmarshal([]byte(`{"url": "`+url+`", "json": ["status == \"up\"", "queue.depth < 100"], "value": "queue.depth"}`), &with); err != nil {
			b.Fatal(err)
		}
		params := kind.Params()
		if findings := with.Decode(params); findings.Failed() {
			b.Fatal(findings)
		}
		list[i].Spec.With = with
		if list[i].Prober, err = kind.Build(list[i].Name, list[i].Spec, params, env); err != nil {
			b.Fatal(err)
		}
	}
	steady(b, st, list)
}

// serverProcess starts this test binary as an HTTP server and gives its address.
func serverProcess(b *testing.B) string {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childServer+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// BenchmarkMemory holds 100 results of each of 50,000 probes.
func BenchmarkMemory(b *testing.B) {
	for range b.N {
		debug.FreeOSMemory()
		before := residentMB(b)
		s, err := newShell(Options{Config: Config{Probes: manyProbes(50_000, 10*time.Second, noop)}}, &memory{})
		if err != nil {
			b.Fatal(err)
		}
		at := time.Now()
		for i := range ringMax {
			for _, p := range s.order {
				o := api.Observation{Probe: p.name, Verdict: api.OK, Value: float64(i), At: at.Add(time.Duration(i) * 10 * time.Second), Took: time.Millisecond}
				s.saw(p, &o)
			}
		}
		s.rollups.rows = nil
		debug.FreeOSMemory()
		grown := residentMB(b) - before
		b.ReportMetric(grown, "RSS-MB")
		b.ReportMetric(grown*1024/50_000, "KB/probe")
		b.ReportMetric(0, "ns/op")
		runtime.KeepAlive(s)
	}
}

// BenchmarkFirstBadToCommand is the way from a bad answer to the first call of an action, through the real journal.
func BenchmarkFirstBadToCommand(b *testing.B) {
	st, err := store.Open(context.Background(), store.Options{Dir: b.TempDir(), Origin: "backstay.test/bench"})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	called := make(chan time.Time, 1)
	act := plainHand(func(context.Context, playbooks.Call) api.Outcome {
		called <- time.Now()
		return api.Outcome{Result: api.ResultDone, Text: "switched"}
	})
	c := ill(act)
	c.Probes[0].Spec.Every = api.Duration{Duration: time.Hour}
	s, err := newShell(Options{Config: c}, st)
	if err != nil {
		b.Fatal(err)
	}
	seq := 0
	script := oneStep(runStep)
	s.empty = func() core { return script }
	inner := script.step
	script.step = func(e engine.Event) engine.Output {
		out := inner(e)
		for i := range out.Commands {
			seq++
			out.Commands[i].ID = fmt.Sprintf("r%d/switch/run-1.1", seq)
		}
		return out
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	for s.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
	p := s.find("gateway")
	var took []time.Duration
	at := time.Now()
	for i := 0; b.Loop(); i++ {
		for k, v := range []api.Verdict{api.OK, api.OK, api.Bad} {
			o := api.Observation{Probe: p.name, Verdict: v, At: at.Add(time.Duration(3*i+k) * time.Second), Reason: "refused"}
			begin := time.Now()
			s.saw(p, &o)
			if v == api.Bad {
				took = append(took, (<-called).Sub(begin))
			}
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}
