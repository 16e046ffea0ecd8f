package controller_test

import (
	"testing"
	"time"
)

// benchSaturated asks 15,000 times a second on one core, which leaves it little rest: HTTP with two JSON conditions, detection, a
// minute's roll-up stored.
func benchSaturated(b *testing.B, t *goalTable) {
	target := startBenchTarget(b)
	var raw, plain []float64
	loops := func() {
		raw = append(raw, benchLoop(b, 2*time.Second, target.rawLoop))
		plain = append(plain, benchLoop(b, 2*time.Second, target.netHTTPLoop))
	}
	loops()
	loops()
	p := startBenchProcess(b, t.bin, benchConfig(b, target, 15_000, time.Second), "GOMAXPROCS=1")
	time.Sleep(5 * time.Second)
	before, cpu := p.scrape(b), p.cpu(b)
	time.Sleep(time.Minute) // each minute's roll-up is stored once in it
	cpu = p.cpu(b) - cpu
	seen := p.scrape(b).since(before)
	p.stop()
	loops()
	loops()
	if seen.ok < 100_000 || seen.ill > 0.01*seen.ok {
		b.Fatalf("%.0f runs were well and %.0f were not: that measures something else", seen.ok, seen.ill)
	}
	b.Logf("%.0f runs in a minute, %.0f skipped", seen.ok, seen.skipped)
	each := float64(cpu.Microseconds()) / (seen.ok + seen.ill)
	t.add(goal{what: "HTTP probing saturated, CPU per 1,000", unit: "ms", measured: each, raw: median(plain...), rawWhat: "bare net/http loop", ratioMax: 1.25})
	t.add(goal{what: "the same, own fast path", unit: "ms", limit: 20, measured: each, raw: median(raw...), rawWhat: "write and read"})
}

// benchPaced holds 10,000 probes at 10 s, which is 1,000 runs a second.
func benchPaced(b *testing.B, t *goalTable) {
	const n, every = 10_000, 10 * time.Second
	target := startBenchTarget(b)
	rawCPU, rawLate := target.rawPaced(b, 5*time.Second)
	p := startBenchProcess(b, t.bin, benchConfig(b, target, n, every))
	ready := time.Now()
	time.Sleep(every + 2*time.Second)
	each, newest := target.seen(b)
	before, cpu := p.scrape(b), p.cpu(b)
	time.Sleep(time.Minute)
	cpu = p.cpu(b) - cpu
	seen := p.scrape(b).since(before)
	if seen.ok < 0.9*n*6 {
		b.Fatalf("%.0f runs in a minute were well and %.0f were not; 60,000 were planned", seen.ok, seen.ill)
	}
	moreCPU, moreLate := target.rawPaced(b, 5*time.Second)
	t.add(goal{what: "1,000 probes/s (10,000 at 10 s), CPU per 1,000", unit: "ms", limit: 60, measured: float64(cpu.Microseconds()) / (seen.ok + seen.ill),
		raw: median(rawCPU, moreCPU), rawWhat: "write and read, paced"})
	t.add(goal{what: "the same, lateness p99", unit: "ms", limit: 25, measured: seen.lateP99(), raw: max(rawLate, moreLate), rawWhat: "a paced loop's"})
	t.add(goal{what: "the same, skipped in a minute", unit: "runs", limit: 0, measured: seen.skipped, format: "%.0f"})
	t.add(goal{what: "the same, probed once after", unit: "s", limit: every.Seconds(), measured: newest.Sub(ready).Seconds()})
	t.add(goal{what: "the same, probes that were seen by then", unit: "probes", limit: n, least: true, measured: float64(each), format: "%.0f"})
}

// benchHeld lets 10,000 probes fill their 100 results at a shorter interval, and looks at the memory then.
func benchHeld(b *testing.B, t *goalTable) {
	const n, every, held = 10_000, 1500 * time.Millisecond, 100
	target := startBenchTarget(b)
	empty := residentMB(b, target.pid)
	p := startBenchProcess(b, t.bin, benchConfig(b, target, n, every))
	deadline := time.Now().Add(3 * held * every)
	for p.scrape(b).ok < n*(held+2) {
		if time.Now().After(deadline) {
			b.Fatalf("the probes did not run %d times each within %s", held, 3*held*every)
		}
		time.Sleep(time.Second)
	}
	most := p.residentOver(b, 10*time.Second)
	t.add(goal{what: "10,000 probes with 100 results each, RSS", unit: "MB", limit: 80, measured: most, raw: empty, rawWhat: "the bench server at rest"})
}

// benchFiftyThousand holds 50,000 probes at 60 s.
func benchFiftyThousand(b *testing.B, t *goalTable) {
	const n, every = 50_000, time.Minute
	target := startBenchTarget(b)
	empty := residentMB(b, target.pid)
	p := startBenchProcess(b, t.bin, benchConfig(b, target, n, every))
	ready := time.Now()
	time.Sleep(every + time.Second)
	before, cpu := p.scrape(b), p.cpu(b)
	most := p.residentOver(b, every)
	cpu = p.cpu(b) - cpu
	seen := p.scrape(b).since(before)
	each, newest := target.seen(b)
	if each != n {
		b.Fatalf("the target met %d of %d probes", each, n)
	}
	t.add(goal{what: "50,000 probes at 60 s, RSS", unit: "MB", limit: 300, measured: most, raw: empty, rawWhat: "the bench server at rest"})
	t.add(goal{what: "the same, skipped in all", unit: "runs", limit: 0, measured: seen.skipped + before.skipped, format: "%.0f"})
	t.add(goal{what: "the same, lateness p99", unit: "ms", limit: 25, measured: seen.lateP99()})
	t.add(goal{what: "the same, CPU per 1,000", unit: "ms", limit: 60, measured: float64(cpu.Microseconds()) / (seen.ok + seen.ill)})
	t.add(goal{what: "the same, probed once after", unit: "s", limit: every.Seconds(), measured: newest.Sub(ready).Seconds()})
}
