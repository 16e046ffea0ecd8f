package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller"
)

func newSimulate() *cobra.Command {
	var o controller.Simulation
	cmd := &cobra.Command{
		Use:   "simulate FILE | --against LOG",
		Short: "Play a scenario in virtual time: what would go wrong, what playbooks would do, and how sure that is",
		Long: `Plays the days of a scenario with the same code that detects and decides live, until half of the 95 % interval of the times to detect, act
and recover, of late items and of money at risk is at most 5 % of its mean (30 to 2,000 days), or as many days as --replications says.
All variants of a day meet the same arrivals and faults. Ctrl-C gives the result so far.

With --data it begins with the present of a controller, which may run meanwhile: open incidents, budgets, cool-downs and remediations under
way from its log; the items that its probes count, their age and the routes in use, by what the model says that probes see. Nothing is
written to the data folder. What cannot be known is listed under "Not simulated".

With --against it plays no scenario: it fits a model to the earlier part of an event log (or takes --model), plays it for the time of the
later part, of which it knows only the begin and the number of cases, and measures how far the two lie apart, by published distances.

The verdict is inconclusive unless each fault touched something, the playbooks under test were set off, and each of their steps was tried.

Exit codes: 0 pass, 1 fail, 3 errors in the files, 6 inconclusive.`,
		Example: `  backstay simulate card-gateway.scenario.yaml
  backstay simulate card-gateway.scenario.yaml -o html --report result.html
  backstay simulate card-gateway.scenario.yaml --seed 7 --day 12 --story
  backstay simulate next-hour.scenario.yaml --data /var/lib/backstay --story
  backstay simulate --against orders.csv.gz`,
		Args: cobra.MaximumNArgs(1),
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Scenario, "scenario", "", "which scenario, where the file has several")
	variants := flags.StringSlice("variant", nil, "play these variants instead of the scenario's: "+variantNames())
	flags.IntVar(&o.Days, "replications", 0, "play so many days instead of as many as the figures need")
	flags.IntVar(&o.Day, "day", 0, "play only this day, as backstay test names it")
	flags.Uint64Var(&o.Seed, "seed", 0, "another seed than the scenario's")
	flags.IntVar(&o.Workers, "workers", 0, "days that are played side by side; one for each processor when left out")
	form := flags.StringP("output", "o", "table", "output: table, json or html")
	path := flags.String("report", "", "file to write to instead of stdout")
	flags.StringVar(&o.Begin.File, "start", "", "begin with the state in this file")
	flags.StringVar(&o.Begin.Save, "save-start", "", "with --data: save the state that it begins with to this file")
	story := flags.Bool("story", false, "tell one day line by line: the first that failed, else the one in the middle")
	against := againstFlags(flags)
	format := logFormatFlags(flags)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (len(args) == 1) == (against.Log != "") {
			return api.Errorf(api.CodeUsage, "name a scenario's file, or --against LOG")
		}
		if !slices.Contains([]string{"table", "json", "html"}, *form) {
			return api.Errorf(api.CodeUsage, "output %q is not table, json or html", *form)
		}
		for _, v := range *variants {
			if !slices.Contains(api.Variants, api.Variant(v)) {
				return api.Errorf(api.CodeUsage, "there is no variant %q: %s", v, variantNames())
			}
			o.Variants = append(o.Variants, api.Variant(v))
		}
		if against.Log != "" {
			against.Format, against.Days, against.Seed = *format, o.Days, o.Seed
			return simulateAgainst(cmd, against, *form, *path)
		}
		o.File = args[0]
		if cmd.Flags().Changed("data") { // only where it is said: a scenario begins with nothing else
			o.Begin.Data = dataDir(cmd)
		}
		meter := newMeter(cmd.ErrOrStderr())
		o.Progress = meter.show
		report, findings, err := controller.Simulate(cmd.Context(), o)
		meter.clear()
		if err != nil {
			return err
		}
		for _, f := range findings {
			if f.Severity != api.SeverityNote {
				fmt.Fprintln(cmd.ErrOrStderr(), f)
			}
		}
		if findings.Failed() {
			return exitVerdict(3)
		}
		if err := writeSimulation(cmd, report, *form, *path, *story); err != nil {
			return err
		}
		return verdictOf(report)
	}
	return cmd
}

func variantNames() string {
	names := make([]string, len(api.Variants))
	for i, v := range api.Variants {
		names[i] = string(v)
	}
	return strings.Join(names, ", ")
}

// verdictOf is the exit code of a verdict.
func verdictOf(r *controller.SimulationReport) error {
	switch r.Verdict {
	case controller.VerdictFail:
		return exitVerdict(1)
	case controller.VerdictInconclusive:
		return exitVerdict(6)
	}
	return nil
}

func writeSimulation(cmd *cobra.Command, r *controller.SimulationReport, form, path string, story bool) error {
	write := func(w io.Writer) error {
		switch form {
		case "json":
			enc := json.NewEncoder(w)
			enc.SetIndent("", "  ")
			enc.SetEscapeHTML(false) // people read <= in it
			return enc.Encode(r.Report)
		case "html":
			return r.WriteHTML(w)
		}
		simulationText(w, r, story)
		return nil
	}
	if path == "" {
		return write(cmd.OutOrStdout())
	}
	if err := writeOver(path, write); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Report written to %s.\n", path)
	return nil
}

// writeOver writes a file, also over one that is there.
func writeOver(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	err = write(f)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// simulationText prints a report for a terminal.
func simulationText(w io.Writer, r *controller.SimulationReport, story bool) {
	p := newPainter(w)
	fmt.Fprintf(w, "%s  %s  %s\n", verdictWord(p, r), p.bold(r.Scenario), r.Summary)
	for _, reason := range r.Reasons {
		fmt.Fprintf(w, "  %s\n", reason)
	}
	fmt.Fprintf(w, "\n%d days of %s, seed %d. Stopped because %s.\n\n", r.Days, r.Horizon, r.Seed, r.Stopped)
	figureTable(r).write(w, true)
	if t := reachedTable(r); len(t.rows) > 0 {
		fmt.Fprintf(w, "\n%s\n", p.bold("Branches reached"))
		t.write(w, true)
	}
	if t := differenceTable(r); len(t.rows) > 0 {
		fmt.Fprintf(w, "\n%s\n", p.bold("Differences on the same days"))
		t.write(w, true)
	}
	if len(r.Expected) > 0 {
		fmt.Fprintf(w, "\n%s\n", p.bold("Expected"))
	}
	for i := range r.Expected {
		if x := &r.Expected[i]; !x.Implied || !x.Met() {
			mark := p.green("held  ")
			if !x.Met() {
				mark = p.red("failed")
			}
			fmt.Fprintf(w, "  %s  %s  %s\n", mark, x.Text, p.dim(strings.TrimSuffix(fmt.Sprintf("%d of %d days; %s", x.Held, x.Days, x.Saw), "; ")))
		}
	}
	sentences(w, p.bold("Not simulated"), r.NotSimulated)
	sentences(w, p.bold("Assumed"), r.Assumed)
	if story && r.Story != nil {
		fmt.Fprintf(w, "\n%s of variant %s, %s\n", p.bold(fmt.Sprintf("Day %d", r.Story.Day)), r.Story.Variant, r.Story.Why)
		for _, l := range r.Story.Lines {
			fmt.Fprintf(w, "  %10s  %-9s %s\n", clockText(l.At), l.Kind, l.Text)
		}
	}
	fmt.Fprintf(w, "\n%s\n", p.dim("report "+r.Digest))
}

func sentences(w io.Writer, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", title)
	for _, l := range lines {
		fmt.Fprintf(w, "  %s\n", l)
	}
}

func verdictWord(p painter, r *controller.SimulationReport) string {
	word := strings.ToUpper(string(r.Verdict))
	if r.Partial {
		word += " SO FAR"
	}
	switch r.Verdict {
	case controller.VerdictPass:
		return p.green(word)
	case controller.VerdictFail:
		return p.red(word)
	}
	return p.amber(word)
}

// clockText prints a time since the start: +01:02:03.4; what was before the start begins with a minus.
func clockText(seconds float64) string {
	sign := "+"
	if seconds < 0 {
		sign, seconds = "-", -seconds
	}
	tenths := int64(seconds*10 + 0.5)
	return fmt.Sprintf("%s%02d:%02d:%02d.%d", sign, tenths/36000, tenths/600%60, tenths/10%60, tenths%10)
}

// figureTable has a line for each figure and a column for each variant.
func figureTable(r *controller.SimulationReport) *table {
	t := &table{columns: []string{"FIGURE"}}
	for _, v := range r.Variants {
		t.columns = append(t.columns, strings.ToUpper(string(v.Variant)))
	}
	if len(r.Variants) == 0 {
		return t
	}
	for i := range r.Variants[0].Figures {
		row := []string{r.Variants[0].Figures[i].Name}
		for k := range r.Variants {
			row = append(row, r.Cell(k, i))
		}
		t.add(row...)
	}
	return t
}

func reachedTable(r *controller.SimulationReport) *table {
	t := &table{columns: []string{"PLAYBOOK/STEP", "DONE", "SKIPPED", "REFUSED", "FAILED", "UNKNOWN", "HELD"}}
	for _, v := range r.Variants {
		if v.Variant != r.Subject {
			continue
		}
		for _, p := range v.Playbooks {
			if p.Triggered == 0 {
				continue
			}
			for _, s := range p.Steps {
				t.add(p.Name+"/"+s.Name, count(s.Done), count(s.Skipped), count(s.Refused), count(s.Failed), count(s.Unknown), count(s.Held))
			}
			var ends []string
			for _, e := range p.Ends {
				ends = append(ends, fmt.Sprintf("%d %s", e.Count, e.End))
			}
			t.add(fmt.Sprintf("  set off %d, begun %d, undone %d: %s", p.Triggered, p.Opened, p.Undone, dash(strings.Join(ends, ", "))), "", "", "", "", "", "")
		}
	}
	return t
}

func count(n int) string {
	if n == 0 {
		return "·"
	}
	return fmt.Sprint(n)
}

func differenceTable(r *controller.SimulationReport) *table {
	t := &table{columns: []string{"FIGURE", "OF", "MEAN DIFFERENCE", "DAYS", "ONLY IN ONE"}}
	for i := range r.Differences {
		d := &r.Differences[i]
		only := ""
		if d.OnlyA > 0 {
			only = fmt.Sprintf("%d only in %s", d.OnlyA, d.A)
		}
		if d.OnlyB > 0 {
			only = strings.TrimPrefix(fmt.Sprintf("%s, %d only in %s", only, d.OnlyB, d.B), ", ")
		}
		t.add(d.Figure, fmt.Sprintf("%s - %s", d.A, d.B), r.DifferenceText(i), fmt.Sprint(d.Days), only)
	}
	return t
}

// meter shows how far a simulation is, on a terminal only.
type meter struct {
	w    io.Writer
	live bool
	mu   sync.Mutex
	last time.Time
}

func newMeter(w io.Writer) *meter {
	f, isFile := w.(*os.File)
	return &meter{w: w, live: isFile && isatty.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb"}
}

func (m *meter) show(p controller.SimulationProgress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.live || time.Since(m.last) < 200*time.Millisecond {
		return
	}
	m.last = time.Now()
	left := ""
	if p.Left > 0 {
		left = ", about " + span(p.Left) + " left"
	}
	fmt.Fprintf(m.w, "\r\x1b[K%s: %d of about %d days%s", p.Scenario, p.Done, p.Days, left)
}

func (m *meter) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.live && !m.last.IsZero() {
		fmt.Fprint(m.w, "\r\x1b[K")
	}
}
