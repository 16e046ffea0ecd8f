package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/audit"
)

// cpuTime is what the process has used, user and system.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRawSync is the machine's limit: append 512 bytes to a file, fsync. The lone entry is measured against it.
func BenchmarkRawSync(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "raw"))
	must(b, err)
	defer f.Close()
	line := make([]byte, 512)
	for b.Loop() {
		if _, err := f.Write(line); err != nil {
			b.Fatal(err)
		}
		must(b, f.Sync())
	}
}

// BenchmarkAppendLone commits one entry at a time and waits for each; raw appends with fsync alternate with it, so that both
// meet the same disk.
func BenchmarkAppendLone(b *testing.B) {
	dir := b.TempDir()
	s := open(b, dir)
	f, err := os.Create(filepath.Join(dir, "raw"))
	must(b, err)
	defer f.Close()
	line := make([]byte, 512)
	var raw, lone time.Duration
	i := 0
	for b.Loop() {
		start := time.Now()
		if _, err := f.Write(line); err != nil {
			b.Fatal(err)
		}
		must(b, f.Sync())
		mid := time.Now()
		_, err := s.Append(context.Background(), Batch{Entries: samples(i, 1)})
		must(b, err)
		raw, lone = raw+mid.Sub(start), lone+time.Since(mid)
		i++
	}
	b.ReportMetric(float64(raw.Microseconds())/float64(i), "raw-µs")
	b.ReportMetric(float64(lone.Microseconds())/float64(i), "entry-µs")
	b.ReportMetric(float64(lone)/float64(raw), "entry/raw")
}

// BenchmarkAppend commits batches: of one caller, with and without views, and of many callers with one entry each.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("batch%d", n), func(b *testing.B) {
			s := open(b, b.TempDir())
			batch := samples(0, n)
			start, cpu, i := time.Now(), cpuTime(), 0
			for b.Loop() {
				_, err := s.Append(context.Background(), Batch{Entries: batch})
				must(b, err)
				i++
			}
			b.ReportMetric(float64(i*n)/time.Since(start).Seconds(), "entries/s")
			b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(i*n), "cpu-µs/entry")
		})
	}
	b.Run("batch100+10views", func(b *testing.B) {
		s := open(b, b.TempDir())
		start, i := time.Now(), 0
		for b.Loop() {
			batch := Batch{Entries: samples(0, 100)}
			for v := range 5 {
				batch.Incidents = append(batch.Incidents, sampleIncident(i*3+v))
				batch.Remediations = append(batch.Remediations, sampleRemediation(i*3+v))
			}
			_, err := s.Append(context.Background(), batch)
			must(b, err)
			i++
		}
		b.ReportMetric(float64(i*100)/time.Since(start).Seconds(), "entries/s")
	})
	b.Run("callers64", func(b *testing.B) {
		s := open(b, b.TempDir())
		start := time.Now()
		var wg sync.WaitGroup
		work := make(chan int)
		for range 64 {
			wg.Go(func() {
				for i := range work {
					if _, err := s.Append(context.Background(), Batch{Entries: samples(i, 1)}); err != nil {
						b.Error(err)
					}
				}
			})
		}
		i := 0
		for b.Loop() {
			work <- i
			i++
		}
		close(work)
		wg.Wait()
		b.ReportMetric(float64(i)/time.Since(start).Seconds(), "entries/s")
	})
}

// BenchmarkMerkle is what tree and signatures cost of a batch of 100: to be held against cpu-µs/entry of BenchmarkAppend/batch100.
func BenchmarkMerkle(b *testing.B) {
	s := open(b, b.TempDir())
	var bodies [][]byte
	for i := range 100 {
		body, err := audit.Encode(sample(i))
		must(b, err)
		bodies = append(bodies, body)
	}
	tree, st := audit.Tree{}, state{}
	i := 0
	cpu := cpuTime()
	for b.Loop() {
		for _, body := range bodies {
			tree.Append(audit.Leaf(body), nil)
		}
		_, err := audit.Checkpoint{Origin: "backstay.test/log", Size: tree.Size(), Root: tree.Root()}.Sign(s.signer)
		must(b, err)
		_, err = audit.State{Origin: "backstay.test/log", Size: tree.Size(), Digest: st.sum.Digest()}.Sign(s.signer)
		must(b, err)
		i += len(bodies)
	}
	b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/1000/float64(i), "cpu-µs/entry")
}

// BenchmarkVerify verifies a log of BACKSTAY_BENCH_ENTRIES entries (default 100,000).
func BenchmarkVerify(b *testing.B) {
	n := 100_000
	if text := os.Getenv("BACKSTAY_BENCH_ENTRIES"); text != "" {
		if _, err := fmt.Sscan(text, &n); err != nil {
			b.Fatal(err)
		}
	}
	dir := b.TempDir()
	s := open(b, dir)
	for i := 0; i < n; i += 1000 {
		_, err := s.Append(context.Background(), Batch{Entries: samples(i, 1000)})
		must(b, err)
	}
	must(b, s.Close())
	for b.Loop() {
		start := time.Now()
		r := verifyFolder(b, dir)
		if !r.OK() || r.Entries != int64(n) {
			b.Fatalf("%+v", r)
		}
		b.ReportMetric(float64(n)/time.Since(start).Seconds(), "entries/s")
	}
	info, err := os.Stat(filepath.Join(dir, fileJournal))
	must(b, err)
	b.ReportMetric(float64(info.Size())/float64(n), "bytes/entry")
	b.ReportMetric(float64(runtime.GOMAXPROCS(0)), "cores")
}

// BenchmarkSaveRollups stores one minute of 10,000 probes.
func BenchmarkSaveRollups(b *testing.B) {
	s := open(b, b.TempDir())
	i := 0
	for b.Loop() {
		must(b, s.SaveRollups(context.Background(), minuteOf(10_000, t0.Add(time.Duration(i)*time.Minute))))
		i++
	}
}

// BenchmarkReplay is what a restart without a snapshot costs an entry.
func BenchmarkReplay(b *testing.B) {
	s := open(b, b.TempDir())
	for i := 0; i < 10_000; i += 1000 {
		_, err := s.Append(context.Background(), Batch{Entries: samples(i, 1000)})
		must(b, err)
	}
	n := 0
	for b.Loop() {
		must(b, s.Replay(context.Background(), 0, func(api.Entry) error { n++; return nil }))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/entry")
}
