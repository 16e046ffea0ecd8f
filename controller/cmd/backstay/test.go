package main

import (
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller"
)

func newTest() *cobra.Command {
	var o controller.ScenarioTests
	cmd := &cobra.Command{
		Use:   "test [PATH...]",
		Short: "Run the scenarios beside playbooks as tests: *.scenario.yaml",
		Long: `Plays each scenario in virtual time (20 days, or as many as it says itself) and holds what happened against what it expects. A playbook
also fails where a second run right after a verified one would act again.

PATH is a file, a folder, or a folder with /... for all below it; this folder when left out.

Exit codes: 0 all passed, 1 some failed, 3 errors in the files, 6 none failed but some are inconclusive.`,
		Example: `  backstay test ./...
  backstay test ./payments --run 'outage' -v
  backstay test ./... --junit result.xml`,
	}
	flags := cmd.Flags()
	run := flags.String("run", "", "only scenarios whose name matches this regular expression")
	junit := flags.String("junit", "", "file to write the results to, in JUnit's XML")
	verbose := flags.BoolP("verbose", "v", false, "print the figures of each scenario")
	flags.Uint64Var(&o.Seed, "seed", 0, "another seed than those of the scenarios")
	flags.IntVar(&o.Workers, "workers", 0, "days that are played side by side; one for each processor when left out")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if o.Paths = args; len(args) == 0 {
			o.Paths = []string{"."}
		}
		if *run != "" {
			var err error
			if o.Run, err = regexp.Compile(*run); err != nil {
				return api.Errorf(api.CodeUsage, "--run: %w", err)
			}
		}
		w := cmd.OutOrStdout()
		p := newPainter(w)
		o.Each = func(t *controller.ScenarioTest) { testLine(w, p, t, *verbose) }
		tests, err := controller.TestScenarios(cmd.Context(), o)
		if err != nil {
			return err
		}
		if len(tests) == 0 {
			return &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("no scenario matches --run %q", *run), Hint: "leave --run out to run all"}
		}
		if *junit != "" {
			if err := writeOver(*junit, func(w io.Writer) error { return controller.WriteJUnit(w, tests) }); err != nil {
				return err
			}
		}
		return testVerdict(cmd, tests)
	}
	return cmd
}

// testLine prints one scenario, and why it did not pass.
func testLine(w io.Writer, p painter, t *controller.ScenarioTest, verbose bool) {
	switch {
	case t.Report == nil:
		fmt.Fprintf(w, "%s  %s  %s\n", p.red("ERROR"), t.Name, t.File)
	case t.Report.Verdict == controller.VerdictPass:
		fmt.Fprintf(w, "%s     %s  %s  %d days  %.2fs\n", p.green("ok"), t.Name, t.File, t.Report.Days, t.Took.Seconds())
	case t.Report.Verdict == controller.VerdictFail:
		fmt.Fprintf(w, "%s   %s  %s  %d days  %.2fs\n", p.red("FAIL"), t.Name, t.File, t.Report.Days, t.Took.Seconds())
	default:
		fmt.Fprintf(w, "%s  %s  %s  %d days  %.2fs\n", p.amber("INCONCLUSIVE"), t.Name, t.File, t.Report.Days, t.Took.Seconds())
	}
	for _, line := range t.Complaints() {
		fmt.Fprintf(w, "       %s\n", line)
	}
	if verbose && t.Report != nil {
		var b strings.Builder
		figureTable(t.Report).write(&b, true)
		for line := range strings.Lines(b.String()) {
			fmt.Fprint(w, "       ", line)
		}
	}
}

// testVerdict sums up, and gives the exit code.
func testVerdict(cmd *cobra.Command, tests []*controller.ScenarioTest) error {
	passed, failed, open, broken := 0, 0, 0, 0
	for _, t := range tests {
		switch {
		case t.Report == nil:
			broken++
		case t.Report.Verdict == controller.VerdictPass:
			passed++
		case t.Report.Verdict == controller.VerdictFail:
			failed++
		default:
			open++
		}
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%d passed, %d failed, %d inconclusive, %d with errors.\n", passed, failed, open, broken)
	switch {
	case broken > 0:
		return exitVerdict(3)
	case failed > 0:
		return exitVerdict(1)
	case open > 0:
		return exitVerdict(6)
	}
	return nil
}
