package detect

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/backstay/backstay/api"
)

var update = flag.Bool("update", false, "write what was seen into testdata/*.txtar; regenerate only what you understand")

// TestScripts plays testdata/*.txtar: probe.yaml, then runs, one a line, and the changes wanted:
//
//	+10s [xN] ok|bad|unknown [VALUE | FROM..TO | PART/TOTAL] [KEY=VALUE ...] [; reason]
//
// The time is since the run before; xN repeats the line, FROM..TO then is a straight line. Nothing else is in the file: what
// opens and clears, with its figures, is all that a detector says.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 8 {
		t.Fatalf("want a script for each detector, found %d: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(a.Files) != 3 || a.Files[0].Name != "probe.yaml" || a.Files[1].Name != "runs" || a.Files[2].Name != "want" {
				t.Fatal("want the sections probe.yaml, runs and want")
			}
			got := play(t, a.Files[0].Data, a.Files[1].Data)
			if again := play(t, a.Files[0].Data, a.Files[1].Data); got != again {
				t.Fatalf("the same runs twice differ:\n%s\n%s", got, again)
			}
			if *update {
				a.Files[2].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := string(a.Files[2].Data); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func play(t *testing.T, probe, runs []byte) string {
	set, findings := api.Decode("probe.yaml", probe)
	if findings.Failed() || len(set.Probes) != 1 {
		t.Fatalf("probe.yaml: %v", findings)
	}
	name := set.Probes[0].Metadata.Name
	w, err := New(name, set.Probes[0].Spec)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	now := t0
	suspicious := false
	for i, line := range strings.Split(string(runs), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		step, observations, err := parseRuns(name, line)
		if err != nil {
			t.Fatalf("runs:%d: %q: %v", i+1, line, err)
		}
		for _, o := range observations {
			now = now.Add(step)
			o.At, o.Unit = now, set.Probes[0].Spec.Unit
			for _, a := range w.Observe(&o, nil) {
				tell(&out, a)
			}
			if s := w.Suspicious(); s != suspicious {
				suspicious = s
				fmt.Fprintf(&out, "%s suspicious: %v\n", now.Sub(t0), s)
			}
		}
	}
	for _, a := range w.Open() {
		fmt.Fprintf(&out, "at the end open: %s: %s\n", a.ID(), a.Text)
	}
	return out.String()
}

func tell(out *bytes.Buffer, a api.Anomaly) {
	verb := "opened"
	if a.Cleared {
		verb = "cleared"
	}
	fmt.Fprintf(out, "%s %s %s: %s\n   ", a.At.Sub(t0), verb, a.ID(), a.Text)
	for _, n := range a.Evidence {
		fmt.Fprintf(out, " %s=%s", strings.ReplaceAll(n.Name, " ", "-"), strings.ReplaceAll(amount(n.Value, n.Unit), " ", ""))
	}
	out.WriteByte('\n')
}

// parseRuns reads one line of a script.
func parseRuns(probe, line string) (step time.Duration, out []api.Observation, err error) {
	line, reason, _ := strings.Cut(line, ";")
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return 0, nil, fmt.Errorf("want +TIME and a verdict")
	}
	if step, err = time.ParseDuration(strings.TrimPrefix(fields[0], "+")); err != nil {
		return 0, nil, err
	}
	fields = fields[1:]
	n := 1
	if count, found := strings.CutPrefix(fields[0], "x"); found {
		if n, err = strconv.Atoi(count); err != nil {
			return 0, nil, err
		}
		fields = fields[1:]
	}
	for i := range n {
		o := api.Observation{Probe: probe, Verdict: api.Verdict(fields[0]), Reason: strings.TrimSpace(reason)}
		for _, f := range fields[1:] {
			if err := field(&o, f, float64(i)/float64(max(n-1, 1))); err != nil {
				return 0, nil, err
			}
		}
		out = append(out, o)
	}
	return step, out, nil
}

// field reads VALUE, FROM..TO, PART/TOTAL or KEY=VALUE into an observation that is so far along its line.
func field(o *api.Observation, f string, along float64) (err error) {
	if key, value, found := strings.Cut(f, "="); found {
		v, err := strconv.ParseFloat(value, 64)
		o.Series = append(o.Series, api.Sample{Key: key, Value: v})
		return err
	}
	if part, total, found := strings.Cut(f, "/"); found {
		if o.Total, err = strconv.ParseFloat(total, 64); err != nil {
			return err
		}
		f = part
	}
	from, to, found := strings.Cut(f, "..")
	if o.Value, err = strconv.ParseFloat(from, 64); err != nil || !found {
		return err
	}
	end, err := strconv.ParseFloat(to, 64)
	o.Value += (end - o.Value) * along
	return err
}
