package twin

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

var update = flag.Bool("update", false, "write testdata anew; do so only where you understand why it changed")

const goldenFile = "testdata/digests.txt"

// digests plays twenty drawn days and gives a line for each: the seed, how many events it had, and the digest over all of them and all
// entries of the log.
func digests(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	for seed := uint64(1); seed <= 20; seed++ {
		p := compiled(t, drawn(seed))
		for _, v := range []api.Variant{api.VariantCurrent, api.VariantNaive} {
			r := p.Run(v, int(seed)%3, Options{Digest: true})
			fmt.Fprintf(&out, "%d %s %d %x\n", seed, v, r.Events, r.Digest)
		}
	}
	return out.String()
}

// TestGolden holds twenty days against what they were when somebody last looked, on whatever processor this runs.
func TestGolden(t *testing.T) {
	got := digests(t)
	if *update {
		if err := os.WriteFile(goldenFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		for i, line := range strings.Split(string(want), "\n") {
			if now := strings.Split(got, "\n"); i < len(now) && now[i] != line {
				t.Errorf("the day was  %s\nand is now   %s", line, now[i])
			}
		}
		t.Error("where detect, engine or twin changed on purpose, write the digests anew: go test ./controller/internal/twin -run TestGolden -update")
	}
}

// TestGoldenOnArm64 plays the same days on another processor, where the compiler may fuse a product with a sum.
func TestGoldenOnArm64(t *testing.T) {
	if testing.Short() {
		t.Skip("building for another processor takes a while")
	}
	emulator, err := exec.LookPath("qemu-aarch64")
	if err != nil {
		message := "qemu-aarch64 is not here, so nobody knows whether the twin gives the same on arm64: apt-get install qemu-user"
		if os.Getenv("CI") != "" {
			t.Fatal(message)
		}
		t.Skip("SKIPPED: " + message)
	}
	binary := filepath.Join(t.TempDir(), "twin.test")
	build := exec.Command("go", "test", "-c", "-o", binary, ".")
	build.Env = append(os.Environ(), "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build for arm64: %v\n%s", err, out)
	}
	if out, err := exec.Command(emulator, binary, "-test.run=^(TestGolden|TestFunctionsOfTheirOwn|TestTablesHoldTheirLimits)$", "-test.v").CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestGolden") {
		t.Fatalf("on arm64: %v\n%s", err, out)
	}
}

// One plan, played by one and by many goroutines at once, gives the same runs.
func TestManyGoroutinesPlayTheSame(t *testing.T) {
	for _, seed := range []uint64{3, 8} {
		p := compiled(t, drawn(seed))
		const n = 24
		runs := make([]Run, n)
		var players sync.WaitGroup
		for k := range n {
			players.Go(func() { runs[k] = p.Run(api.VariantCurrent, k/4, Options{Digest: true, Story: true}) })
		}
		players.Wait()
		for k := range n {
			alone := p.Run(api.VariantCurrent, k/4, Options{Digest: true, Story: true})
			if runs[k].Digest != alone.Digest || runs[k].Events != alone.Events || !reflect.DeepEqual(runs[k].Story, alone.Story) {
				t.Fatalf("seed %d: replication %d is another one among others", seed, k/4)
			}
		}
	}
}

// itemLucks gives when each item was born, what it is worth and the luck that its work has.
func itemLucks(t *testing.T, s Setup, v api.Variant) (out []string) {
	t.Helper()
	s.Scenario.Spec.Variants = []api.Variant{api.VariantNone, api.VariantCurrent, api.VariantNaive}
	w := compiled(t, s).world(v, 0, Options{})
	w.play()
	for i := range w.items {
		it := &w.items[i]
		out = append(out, fmt.Sprint(it.born, it.value, w.luck[luckWork].of(int32(i), 1)))
	}
	return out
}

// A new component or fault shifts nobody's chance, and all variants meet the same arrivals and values.
func TestNobodyShiftsOthers(t *testing.T) {
	random := func(s *Setup) {
		s.Model.Spec.Arrivals = api.Arrivals{PerHour: 1000}
		s.Model.Spec.Items.Value = &api.Amounts{Median: 4000, P95: 20_000}
		s.Model.Spec.Steps[0].Takes = mean(time.Second)
		s.Model.Spec.Systems[0].Endpoints[0].Takes = mean(time.Second)
	}
	plain := func(change ...func(*Setup)) Setup {
		return healing(append([]func(*Setup){random, playbook("heal", "auth/down", failover("standby"), settles(10*time.Second))}, change...)...)
	}
	base := itemLucks(t, plain(), api.VariantCurrent)
	for name, got := range map[string][]string{
		"variant none":  itemLucks(t, plain(), api.VariantNone),
		"variant naive": itemLucks(t, plain(), api.VariantNaive),
		"one more fault, system, step, probe and playbook": itemLucks(t, plain(fault(api.Fault{Kind: api.FaultSlow, On: primary, By: dur(time.Second), Share: percent(50)}),
			sees(time.Second, api.ModelSight{Probe: "another", Count: "open"}, above(3)), func(s *Setup) {
				s.Current.Integrations = append([]api.Integration{{Metadata: meta("other")}}, s.Current.Integrations...)
				s.Model.Spec.Steps = append(s.Model.Spec.Steps, api.ModelStep{Name: "more", Takes: mean(time.Second)})
			}, playbook("another", "another/many", failover("standby"))), api.VariantCurrent),
	} {
		if !reflect.DeepEqual(got, base) {
			t.Errorf("%s: the items are others", name)
		}
	}
	// What probes see of an endpoint does not depend on who else looks.
	verdicts := func(s Setup) (out []bool) {
		s.Scenario.Spec.Faults = []api.Fault{{Kind: api.FaultError, On: primary, Share: percent(50)}}
		s.Scenario.Spec.Variants = []api.Variant{api.VariantNone}
		w := compiled(t, s).world(api.VariantNone, 0, Options{})
		for k := range w.cast.eyes {
			if w.cast.eyes[k].name != "auth" {
				continue
			}
			runs := uint64(0)
			w.options.Trace = func(string) {
				if e := &w.eyes.probes[k]; e.runs != runs {
					runs = e.runs
					out = append(out, e.coming.Verdict == api.OK)
				}
			}
		}
		w.play()
		return out
	}
	sight := sees(5*time.Second, api.ModelSight{Probe: "auth", Endpoint: "gateway/primary"})
	alone, beside := verdicts(made(sight)), verdicts(made(sees(time.Second, api.ModelSight{Probe: "aaa", Endpoint: "gateway/primary"}), sight))
	if len(alone) < 100 || !reflect.DeepEqual(alone, beside) {
		t.Errorf("a probe sees other things because another looks too: %d and %d runs", len(alone), len(beside))
	}
}
