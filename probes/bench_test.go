package probes

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

const (
	benchServerEnv = "PROBES_BENCH_SERVER"
	benchBody      = `{"status":"ok","queue":{"depth":7,"total":20},"version":"1.4.2","checks":[{"name":"db","ok":true},{"name":"mq","ok":true}]}`
)

// TestMain lets the test binary be the server of the benchmarks too, so that only the client's CPU is counted.
func TestMain(m *testing.M) {
	if os.Getenv(benchServerEnv) != "" {
		benchServe()
		return
	}
	os.Exit(m.Run())
}

// benchServe serves until its standard input ends, which it does when the parent dies.
func benchServe() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(l.Addr())
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, benchBody)
	}))
	io.Copy(io.Discard, os.Stdin)
}

func startBenchServer(tb testing.TB) (addr string) {
	tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), benchServerEnv+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { in.Close(); cmd.Wait() })
	addr, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSpace(addr)
}

// cpu is the CPU time that this process has used.
func cpu(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// perThousand runs one a thousand times per unit of the benchmark's patience and reports the client's CPU.
func perThousand(b *testing.B, one func() error) {
	if err := one(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	start := cpu(b)
	for range b.N {
		if err := one(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpu(b)-start).Microseconds())/float64(b.N), "cpu-ms/1000")
}

// BenchmarkHTTPProbe compares our probe with a bare net/http loop that does the same work, and with the least that any
// client could do: write and read on one connection. Run it with -cpu 1 for the cost on one core.
func BenchmarkHTTPProbe(b *testing.B) {
	addr := startBenchServer(b)
	b.Run("probe", func(b *testing.B) {
		p := build(b, newEnv(b), "http", &HTTPParams{URL: text("http://" + addr + "/health"), JSON: []string{`status == "ok"`}})
		perThousand(b, func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			if o := p.Probe(ctx); o.Verdict != api.OK {
				return fmt.Errorf("%s: %s", o.Verdict, o.Reason)
			}
			return nil
		})
	})
	b.Run("nethttp", func(b *testing.B) {
		client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableCompression: true}}
		perThousand(b, func() error {
			resp, err := client.Get("http://" + addr + "/health")
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				return err
			}
			var doc struct{ Status string }
			if err := json.Unmarshal(body, &doc); err != nil || doc.Status != "ok" || resp.StatusCode != 200 {
				return fmt.Errorf("status %d, %v", resp.StatusCode, err)
			}
			return nil
		})
	})
	b.Run("raw", func(b *testing.B) {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		defer nc.Close()
		request := []byte("GET /health HTTP/1.1\r\nHost: " + addr + "\r\n\r\n")
		buf := make([]byte, 16<<10)
		perThousand(b, func() error {
			if _, err := nc.Write(request); err != nil {
				return err
			}
			n, err := nc.Read(buf)
			if err == nil && !strings.HasSuffix(string(buf[:n]), benchBody) {
				err = fmt.Errorf("short read")
			}
			return err
		})
	})
}
