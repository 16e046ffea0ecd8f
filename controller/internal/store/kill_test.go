package store

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

const killEnv = "BACKSTAY_TEST_KILL_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killEnv); dir != "" {
		appendUntilKilled(dir)
	}
	if dir := os.Getenv(diskEnv); dir != "" {
		if err := workOnDisk(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// appendUntilKilled writes batches from several goroutines and says on stdout what was acknowledged.
func appendUntilKilled(dir string) {
	ctx := context.Background()
	s, err := Open(ctx, Options{Dir: dir, Origin: "backstay.test/log"})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	run := os.Getpid()
	lines := make(chan string)
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d-%d-%d", run, w, i)
				e := sample(i)
				e.Text = key
				first, err := s.Append(ctx, Batch{Entries: []api.Entry{e, e, e}, Incidents: []api.Incident{sampleIncident(i % 50)}})
				if err != nil {
					lines <- "error " + err.Error()
					return
				}
				lines <- fmt.Sprintf("entry %d %s", first, key)
				if err := s.Ledger().Put(ctx, LedgerRow{Scope: "kill", Key: key, State: "done"}); err != nil {
					lines <- "error " + err.Error()
					return
				}
				lines <- "ledger " + key
				if i%10 == 9 {
					if err := s.SaveSnapshot(ctx, first, []byte(key)); err != nil {
						lines <- "error " + err.Error()
						return
					}
				}
			}
		}()
	}
	for line := range lines {
		fmt.Println(line)
	}
}

// TestKill ends the writing process with SIGKILL at random moments: whatever it had acknowledged is there, numbers have no gap,
// and the log verifies.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	entries, rows := map[int64]string{}, map[string]bool{}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 20 {
		acknowledged := runAndKill(t, dir, time.Duration(rnd.IntN(120))*time.Millisecond)
		for _, line := range acknowledged {
			switch f := strings.Fields(line); f[0] {
			case "entry":
				seq, err := strconv.ParseInt(f[1], 10, 64)
				must(t, err)
				if old, twice := entries[seq]; twice {
					t.Fatalf("number %d was given to %s and to %s", seq, old, f[2])
				}
				entries[seq] = f[2]
			case "ledger":
				rows[f[1]] = true
			default:
				t.Fatal(line)
			}
		}
		checkKilled(t, dir, entries, rows)
	}
	if len(entries) < 100 {
		t.Fatalf("only %d batches were acknowledged: too few for a test", len(entries))
	}
	t.Logf("%d batches and %d ledger rows acknowledged, none lost", len(entries), len(rows))
}

// runAndKill lets a process write for a while after its first acknowledgement.
func runAndKill(t *testing.T, dir string, after time.Duration) (lines []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	in := bufio.NewReader(out)
	armed := false
	for {
		line, err := in.ReadString('\n')
		if err != nil { // a line cut off by the end was not acknowledged
			break
		}
		lines = append(lines, strings.TrimSpace(line))
		if !armed {
			armed = true
			timer := time.AfterFunc(after, func() { cmd.Process.Kill() })
			defer timer.Stop()
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the writer ended by itself")
	}
	return lines
}

func checkKilled(t *testing.T, dir string, entries map[int64]string, rows map[string]bool) {
	t.Helper()
	ctx := t.Context()
	s, err := Open(ctx, Options{Dir: dir})
	must(t, err)
	defer s.Close()
	if r := s.RolledBack(); r != nil {
		t.Fatal(r.Text)
	}
	if r, err := s.Verify(ctx, VerifyOptions{}); err != nil || !r.OK() {
		t.Fatalf("%v, %v", r.Damages, err)
	}
	found := map[int64]string{}
	must(t, s.Replay(ctx, 0, func(e api.Entry) error { found[e.Seq] = e.Text; return nil }))
	if int64(len(found)) != s.Head().Size || len(found)%3 != 0 {
		t.Fatalf("%d entries, head %d", len(found), s.Head().Size)
	}
	for seq, key := range entries {
		if found[seq] != key || found[seq+1] != key || found[seq+2] != key {
			t.Fatalf("acknowledged batch %s at %d is not there", key, seq)
		}
	}
	for key := range rows {
		if row, err := s.Ledger().Get(ctx, "kill", key); err != nil || row.State != "done" {
			t.Fatalf("acknowledged ledger row %s: %+v, %v", key, row, err)
		}
	}
	if next, state, err := s.LoadSnapshot(ctx); err != nil || state != nil && found[next] != string(state) {
		t.Fatalf("snapshot at %d is %q, %v", next, state, err)
	}
}
