package controller_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// benchProcess is a running `backstay run`.
type benchProcess struct {
	pid  int
	base string // of its HTTP API
	stop func() // ends it; at the latest the end of the measurement does
}

// startBenchProcess runs the program on a configuration until the measurement ends, and waits until it is ready.
func startBenchProcess(b *testing.B, bin, config string, env ...string) benchProcess {
	b.Helper()
	return startBenchProcessOn(b, bin, config, filepath.Join(b.TempDir(), "data"), env...)
}

// startBenchProcessOn is the same on a data folder that may have been used before.
func startBenchProcessOn(b *testing.B, bin, config, data string, env ...string) benchProcess {
	b.Helper()
	logs := new(bytes.Buffer)
	if err := os.Remove(filepath.Join(data, "address")); err != nil && !errors.Is(err, os.ErrNotExist) { // of an earlier run
		b.Fatal(err)
	}
	cmd := exec.Command(bin, "run", "--config", config, "--data", data, "--listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = logs
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop := sync.OnceFunc(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				b.Errorf("backstay run ended with %v: %s", err, logs)
			}
		case <-time.After(30 * time.Second):
			cmd.Process.Kill()
			b.Error("backstay run did not end within 30 s of SIGTERM")
		}
	})
	b.Cleanup(stop)
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-ended:
			ended <- err
			b.Fatalf("backstay run ended at once with %v: %s", err, logs)
		default:
		}
		addr, err := os.ReadFile(filepath.Join(data, "address"))
		if err != nil {
			continue
		}
		p := benchProcess{cmd.Process.Pid, "http://" + strings.TrimSpace(string(addr)), stop}
		if resp, err := http.Get(p.base + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return p
			}
		}
	}
	b.Fatalf("backstay run was not ready within 2 minutes: %s", logs)
	return benchProcess{}
}

// cpu is the CPU time that the process has used; the kernel counts it in hundredths of a second.
func (p benchProcess) cpu(b *testing.B) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var ticks int64
	for _, f := range fields[11:13] { // utime and stime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// residentMB is the memory that a process holds now.
func residentMB(b *testing.B, pid int) float64 {
	b.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if kb, found := strings.CutPrefix(s.Text(), "VmRSS:"); found {
			n, err := strconv.ParseFloat(strings.Fields(kb)[0], 64)
			if err != nil {
				b.Fatal(err)
			}
			return n / 1024
		}
	}
	b.Fatal("no VmRSS in /proc")
	return 0
}

// residentOver gives the most memory that the process held in a time, in MB, looked at each half second.
func (p benchProcess) residentOver(b *testing.B, long time.Duration) (most float64) {
	for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		most = max(most, residentMB(b, p.pid))
	}
	return most
}

// scrape is what /metrics says of probing.
type scrape struct {
	ok, ill, skipped float64
	late             map[float64]float64 // runs that started within so many seconds of their plan
}

func (p benchProcess) scrape(b *testing.B) scrape {
	b.Helper()
	resp, err := http.Get(p.base + "/metrics")
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	s := scrape{late: map[float64]float64{}}
	found := 0
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		line := lines.Text()
		name, rest, labelled := strings.Cut(line, "{")
		labels, value, ended := strings.Cut(rest, "} ")
		if !labelled || !ended {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			b.Fatalf("/metrics says %q", line)
		}
		switch {
		case name == "backstay_probe_runs_total" && strings.Contains(labels, `verdict="ok"`):
			s.ok += n
		case name == "backstay_probe_runs_total":
			s.ill += n
		case name == "backstay_probe_runs_skipped_total":
			s.skipped += n
		case name == "backstay_probe_lateness_seconds_bucket":
			bound, err := strconv.ParseFloat(strings.Trim(strings.TrimPrefix(labels, "le="), `"`), 64)
			if err != nil {
				b.Fatalf("/metrics says %q", line)
			}
			s.late[bound] = n
		default:
			continue
		}
		found++
	}
	if found < 15 { // three verdicts, four reasons, a histogram
		b.Fatalf("/metrics has %d of the figures of probing", found)
	}
	return s
}

// since is what happened between two scrapes.
func (s scrape) since(before scrape) scrape {
	d := scrape{ok: s.ok - before.ok, ill: s.ill - before.ill, skipped: s.skipped - before.skipped, late: map[float64]float64{}}
	for bound, n := range s.late {
		d.late[bound] = n - before.late[bound]
	}
	return d
}

// lateP99 is the lateness in ms below which 99 of 100 starts lay: the bound of the metric's bucket, so never too good.
func (s scrape) lateP99() float64 {
	best, all := 0.0, 0.0
	for _, n := range s.late {
		all = max(all, n)
	}
	for bound, n := range s.late {
		if n >= 0.99*all && (best == 0 || bound < best) {
			best = bound
		}
	}
	return best * 1000
}

// benchConfig writes n probes of the target, 1,000 to a file, with an integration for each 100 of them.
func benchConfig(b *testing.B, t benchTarget, n int, every time.Duration) (dir string) {
	b.Helper()
	dir = b.TempDir()
	for from := 0; from < n; from += 1000 {
		var text strings.Builder
		for i := from; i < min(n, from+1000); i++ {
			if i%100 == 0 {
				fmt.Fprintf(&text, "---\napiVersion: backstay.dev/v1alpha1\nkind: Integration\nmetadata: {name: target-%03d}\n"+
					"spec:\n  summary: Answers.\n  endpoints: [{name: main, url: \"http://%s\"}]\n", i/100, t.addr)
			}
			fmt.Fprintf(&text, `---
apiVersion: backstay.dev/v1alpha1
kind: Probe
metadata: {name: probe-%05d}
spec:
  summary: The target answers that it is up.
  type: http
  integration: target-%03d
  every: %s
  with: {path: /p/%d, json: ['status == "up"', 'queue.depth < 100'], value: queue.depth}
  detect:
    - {name: down, failures: {atLeast: 3, of: 3}}
    - {name: deep, threshold: {above: 50, clear: 40}}
`, i, i/100, every, i)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("probes-%02d.yaml", from/1000)), []byte(text.String()), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}
