package live

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
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
func steady(b *testing.B, n int, every time.Duration, f func(int) sight) {
	for range b.N {
		var mu sync.Mutex
		late := make([]time.Duration, 0, n*2)
		s, err := newShell(Options{Config: Config{Probes: manyProbes(n, every, f)}}, &memory{})
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
		skipped := int64(0)
		for _, p := range s.Probes() {
			skipped += p.Skipped
		}
		b.ReportMetric(float64(skipped), "skipped")
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
func BenchmarkThousandPerSecond(b *testing.B) { steady(b, 10_000, 10*time.Second, noop) }

// BenchmarkFiftyThousand holds 50,000 probes at 10 s: none may be skipped.
func BenchmarkFiftyThousand(b *testing.B) { steady(b, 50_000, 10*time.Second, noop) }

// BenchmarkHTTP probes a server on loopback in the same process with a raw keep-alive exchange, so that workers wait for I/O as
// they do in earnest. The server's CPU is part of the figure.
func BenchmarkHTTP(b *testing.B) {
	addr := echoServer(b)
	pool := make(chan net.Conn, 1000)
	steady(b, 10_000, 10*time.Second, func(int) sight {
		return func(context.Context) api.Observation {
			var c net.Conn
			select {
			case c = <-pool:
			default:
				var err error
				if c, err = net.Dial("tcp", addr); err != nil {
					return api.Observation{Verdict: api.Bad, Reason: err.Error()}
				}
			}
			var buf [64]byte
			if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
				return api.Observation{Verdict: api.Bad, Reason: err.Error()}
			}
			if _, err := c.Read(buf[:]); err != nil {
				return api.Observation{Verdict: api.Bad, Reason: err.Error()}
			}
			pool <- c
			return api.Observation{Verdict: api.OK}
		}
	})
}

func echoServer(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				var buf [256]byte
				for {
					if _, err := c.Read(buf[:]); err != nil {
						return
					}
					if _, err := c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
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
