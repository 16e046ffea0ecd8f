package controller_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"
)

// BenchmarkGoals measures what Backstay promises about speed and memory, each beside what this machine could do at best at the
// same moment, and prints one table. It takes the program from BACKSTAY_BIN; `make bench` builds it and sets that. It never fails
// because something is slow, only where something could not be measured. Run single parts with -bench 'BenchmarkGoals/journal'.
func BenchmarkGoals(b *testing.B) {
	bin := os.Getenv("BACKSTAY_BIN")
	if bin == "" {
		b.Fatal("BACKSTAY_BIN names no program to measure; run make bench")
	}
	bin, err := filepath.Abs(bin)
	if err != nil {
		b.Fatal(err)
	}
	table := &goalTable{bin: bin}
	b.Cleanup(func() { table.print(os.Stdout) })
	for _, part := range []struct {
		name string
		run  func(b *testing.B, t *goalTable)
	}{
		{"saturated", benchSaturated},
		{"paced", benchPaced},
		{"held", benchHeld},
		{"fifty-thousand", benchFiftyThousand},
		{"command", benchFirstBadToCommand},
		{"guards", benchGuards},
		{"approvals", benchApprovals},
		{"journal", benchJournal},
		{"log", benchLog},
		{"verify", benchVerify},
		{"backtest", benchBacktest},
		{"idle", benchIdle},
		{"size", benchSize},
		{"twin", benchTwin},
		{"demo", benchDemo},
	} {
		b.Run(part.name, func(b *testing.B) {
			fmt.Fprintf(os.Stderr, "measuring: %s\n", part.name)
			part.run(b, table)
			b.ReportMetric(0, "ns/op")
		})
	}
}

// goalTable gathers the figures of one run.
type goalTable struct {
	bin  string
	rows []goal
}

// goal is one promise and what came of it. Raw is what the machine itself can do; a bound may be a multiple of it.
type goal struct {
	what     string
	unit     string
	limit    float64 // of measured
	least    bool    // measured must be at least the limit, not at most
	measured float64
	raw      float64 // in the same unit; 0 where nothing compares
	rawWhat  string
	ratioMax float64 // of measured to raw; 0 where only limit counts
	format   string  // of a figure; %.1f when empty
}

func (t *goalTable) add(g goal) { t.rows = append(t.rows, g) }

func (g goal) holds() bool {
	switch {
	case g.ratioMax > 0 && g.measured > g.ratioMax*g.raw:
		return false
	case g.ratioMax > 0 && g.limit == 0:
		return true
	case g.least:
		return g.measured >= g.limit
	}
	return g.measured <= g.limit
}

func (g goal) text() (want, measured, raw, ratio string) {
	format := g.format
	if format == "" {
		format = "%.1f"
	}
	figure := func(v float64) string { return fmt.Sprintf(format, v) + " " + g.unit }
	sign := "≤ "
	if g.least {
		sign = "≥ "
	}
	want = sign + strings.TrimSuffix(fmt.Sprintf("%g ", g.limit)+g.unit, " ")
	if g.ratioMax > 0 && g.limit == 0 {
		want = fmt.Sprintf("≤ %g × raw", g.ratioMax)
	}
	raw, ratio = "-", "-"
	if g.raw > 0 {
		raw, ratio = figure(g.raw)+" "+g.rawWhat, fmt.Sprintf("%.2f", g.measured/g.raw)
	}
	return want, figure(g.measured), raw, ratio
}

func (t *goalTable) print(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "\nwhat\tgoal\tmeasured\traw limit of this machine, same run\tratio\tverdict\n")
	for _, g := range t.rows {
		want, measured, raw, ratio := g.text()
		verdict := "holds"
		if !g.holds() {
			verdict = "DOES NOT HOLD"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", g.what, want, measured, raw, ratio, verdict)
	}
	tw.Flush()
}
