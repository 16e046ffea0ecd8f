package controller_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// benchTargetEnv makes this test binary the server that the measurements probe, in a process of its own.
const benchTargetEnv = "BACKSTAY_BENCH_TARGET"

const benchAnswer = `{"status":"up","queue":{"depth":7,"total":20},"version":"1.4.2","checks":[{"name":"db","ok":true},{"name":"mq","ok":true}]}`

// benchSeen counts which of the paths /p/0 to /p/65535 were asked for, and since when.
type benchSeen struct {
	asked  [1 << 16]atomic.Bool
	each   atomic.Int64
	newest atomic.Int64 // Unix milliseconds of the last path asked for the first time
}

// TestBenchTarget is the server: as cheap as Go allows, so that what is measured has the machine. It ends with its standard input.
func TestBenchTarget(t *testing.T) {
	if os.Getenv(benchTargetEnv) == "" {
		t.Skip("this is the server of BenchmarkGoals, not a test")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("listening %s\n", l.Addr())
	var seen benchSeen
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go seen.serve(c)
		}
	}()
	io.Copy(io.Discard, os.Stdin)
	l.Close()
}

func (s *benchSeen) serve(c net.Conn) {
	defer c.Close()
	const head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Sat, 28 Feb 2026 12:00:00 GMT\r\nContent-Length: %d\r\n\r\n%s"
	answer := fmt.Appendf(nil, head, len(benchAnswer), benchAnswer)
	buf, n := make([]byte, 4096), 0
	for {
		m, err := c.Read(buf[n:])
		if err != nil {
			return
		}
		n += m
		if !bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
			continue
		}
		reply := answer
		if bytes.HasPrefix(buf, []byte("GET /seen ")) {
			body := fmt.Sprintf(`{"each": %d, "newest": %d}`, s.each.Load(), s.newest.Load())
			reply = fmt.Appendf(nil, head, len(body), body)
		} else {
			s.count(buf[:n])
		}
		n = 0
		if _, err := c.Write(reply); err != nil {
			return
		}
	}
}

// count notes a path that is asked for the first time.
func (s *benchSeen) count(request []byte) {
	rest, found := bytes.CutPrefix(request, []byte("GET /p/"))
	id := 0
	for i := 0; i < len(rest) && rest[i] >= '0' && rest[i] <= '9'; i++ {
		id = id*10 + int(rest[i]-'0')
	}
	if found && id < len(s.asked) && !s.asked[id].Load() && !s.asked[id].Swap(true) {
		s.each.Add(1)
		s.newest.Store(time.Now().UnixMilli())
	}
}

// benchTarget is a running server.
type benchTarget struct {
	addr string
	pid  int
}

func startBenchTarget(b *testing.B) benchTarget {
	b.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestBenchTarget$")
	cmd.Env = append(os.Environ(), benchTargetEnv+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); io.Copy(io.Discard, out); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	addr, found := strings.CutPrefix(strings.TrimSpace(line), "listening ")
	if err != nil || !found {
		b.Fatalf("the server said %q (%v)", line, err)
	}
	return benchTarget{addr, cmd.Process.Pid}
}

// seen asks the server how many different probes it has met, and when it met the last one.
func (t benchTarget) seen(b *testing.B) (each int, newest time.Time) {
	b.Helper()
	resp, err := http.Get("http://" + t.addr + "/seen")
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	var s struct{ Each, Newest int64 }
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		b.Fatal(err)
	}
	return int(s.Each), time.UnixMilli(s.Newest)
}

// ownCPU is the CPU time of this process, user and system.
func ownCPU(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchLoop keeps 16 connections busy on one core for a while and gives the CPU in ms per 1,000 requests. make gives each
// connection a function that asks once and looks at the answer.
func benchLoop(b *testing.B, long time.Duration, make func() (func() error, error)) float64 {
	b.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var n atomic.Int64
	var wg sync.WaitGroup
	cpu, end := ownCPU(b), time.Now().Add(long)
	for range 16 {
		one, err := make()
		if err != nil {
			b.Fatal(err)
		}
		wg.Go(func() {
			for time.Now().Before(end) {
				if err := one(); err != nil {
					b.Error(err)
					return
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
	return float64((ownCPU(b) - cpu).Microseconds()) / float64(n.Load())
}

// netHTTPLoop is what most people would write: a client with keep-alive, the body read and decoded, one field compared.
func (t benchTarget) netHTTPLoop() (func() error, error) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableCompression: true}}
	return func() error {
		resp, err := client.Get("http://" + t.addr + "/")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		var doc struct{ Status string }
		if err := json.Unmarshal(body, &doc); err != nil || doc.Status != "up" || resp.StatusCode != 200 {
			return fmt.Errorf("status %d, %v", resp.StatusCode, err)
		}
		return nil
	}, nil
}

// rawLoop is the least that any client could do: write, read, look at the end.
func (t benchTarget) rawLoop() (func() error, error) {
	c, err := net.Dial("tcp", t.addr)
	if err != nil {
		return nil, err
	}
	request, buf, want := []byte("GET / HTTP/1.1\r\nHost: "+t.addr+"\r\n\r\n"), make([]byte, 4096), []byte(benchAnswer)
	return func() error {
		if _, err := c.Write(request); err != nil {
			return err
		}
		n, err := c.Read(buf)
		if err == nil && !bytes.HasSuffix(buf[:n], want) {
			err = errors.New("a short answer")
		}
		return err
	}, nil
}

// rawPaced asks 1,000 times a second in bundles of 20, as cheaply as possible. It gives the CPU in ms per 1,000 and the p99 of how
// late the machine lets a sleeping process start, in ms.
func (t benchTarget) rawPaced(b *testing.B, long time.Duration) (cpuMS, lateMS float64) {
	b.Helper()
	one, err := t.rawLoop()
	if err != nil {
		b.Fatal(err)
	}
	var late []float64
	n, cpu, start := 0, ownCPU(b), time.Now()
	for due := start; due.Before(start.Add(long)); due = due.Add(20 * time.Millisecond) {
		time.Sleep(time.Until(due))
		for range 20 {
			late = append(late, float64(time.Since(due).Microseconds())/1000)
			if err := one(); err != nil {
				b.Fatal(err)
			}
			n++
		}
	}
	return float64((ownCPU(b) - cpu).Microseconds()) / float64(n), quantile(late, 0.99)
}

// quantile sorts values and gives the one below which the share q lies.
func quantile(values []float64, q float64) float64 {
	slices.Sort(values)
	return values[min(int(float64(len(values))*q), len(values)-1)]
}

func median(values ...float64) float64 { return quantile(values, 0.5) }
