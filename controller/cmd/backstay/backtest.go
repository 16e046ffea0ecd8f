package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller"
)

func newBacktest() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backtest",
		Short: "Replay the log through changed playbooks or detectors: what would have fired, what would have been blocked, and when",
		Long: `Reads the log, what was recorded of its inputs and the roll-ups in the data folder, beside a running controller or without one, and replays them through the same
code that decides live. Without --config it replays them unchanged, which must give the log again: exit code 1 where it does not.

A controller records all that reaches its deciding core: what probes said and when, people's words, what came of commands, the time itself. It keeps
the last 30 days and its present life, 256 MB at most. Where that covers the log the replay feeds exactly it; elsewhere it infers what led to each
entry, which can miss. The report says which share was exact. Only a data folder can be replayed: what backstay audit export wrote is evidence
for people, not an input.

Decisions: recorded inputs meet the changed playbooks. A command that the log issued too has the result that it had then; any other is supposed to
go as planned, and what comes after it in its incident is marked as resting on that.

Detection: roll-ups of each minute meet the changed detectors. They do not hold the order within a minute, so times are good to a minute and
what depends on the order is marked unsure. --observations FILE (one observation as JSON a line, plain or gzip) is exact.

Times: 2026-11-01 (UTC), 2026-11-01T08:00:00Z, or 7d and 12h for that long ago.`,
		Example: `  backstay backtest
  backstay backtest --config ./changed --since 30d
  backstay backtest --config ./changed -o json`,
		Args: cobra.NoArgs,
	}
	var o controller.BacktestOptions
	cmd.Flags().StringVar(&o.Config, "config", "", "folder or file of the changed configuration; as recorded when left out")
	since := cmd.Flags().String("since", "", "when the changed configuration takes effect; the beginning of the log when left out")
	until := cmd.Flags().String("until", "", "end of what is replayed, not included; the end of the log when left out")
	cmd.Flags().StringVar(&o.Observations, "observations", "", "file of observations for the detectors; roll-ups when left out")
	form := cmd.Flags().StringP("output", "o", "table", "output: table or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *form != "table" && *form != "json" {
			return api.Errorf(api.CodeUsage, "output %q is not table or json", *form)
		}
		now := time.Now()
		for _, t := range []struct {
			text string
			to   *time.Time
		}{{*since, &o.Since}, {*until, &o.Until}} {
			if t.text == "" {
				continue
			}
			at, err := parseTime(t.text, now)
			if err != nil {
				return err
			}
			*t.to = at
		}
		o.Data = dataDir(cmd)
		report, err := controller.Backtest(cmd.Context(), o)
		if err != nil {
			return err
		}
		if *form == "json" {
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			err = enc.Encode(report)
		} else {
			writeBacktest(cmd.OutOrStdout(), report)
		}
		if err == nil && !report.Changed && (report.Decisions.Diverged > 0 || len(report.Decisions.Outside) > 0) {
			return exitVerdict(1)
		}
		return err
	}
	return cmd
}

// writeBacktest tells the report.
func writeBacktest(w io.Writer, r *controller.BacktestReport) {
	d := r.Decisions
	what := "unchanged"
	if r.Changed {
		what = "through the changed configuration"
	}
	fmt.Fprintf(w, "%d entries from %s to %s replayed %s in %.1f s.\n\n", d.Entries, instant(r.From), instant(r.To), what, r.Took)
	fmt.Fprintf(w, "DECISIONS: %d incidents, %d the same, %d diverge. %d calls and %d refusals that the log does not have.\n", len(d.Incidents), d.Same, d.Diverged, d.Fired, d.Blocked)
	fmt.Fprintf(w, "  by recorded inputs: %d of %d entries%s\n", d.Exact, d.Entries, map[bool]string{true: "", false: "; what led to the others is inferred, which can miss"}[d.Exact == d.Entries])
	for _, end := range []api.RemediationEnd{api.EndVerified, api.EndNotVerified, api.EndInDoubt, api.EndBlocked, api.EndCancelled, api.EndFailed, api.EndTold} {
		if n := d.Ends[end]; n[0]+n[1] > 0 {
			fmt.Fprintf(w, "  ended %-13s recorded %d, replayed %d\n", string(end)+":", n[0], n[1])
		}
	}
	for i := range d.Outside {
		fmt.Fprintf(w, "  outside of incidents: %s\n", sideText(&d.Outside[i]))
	}
	for i := range d.Incidents {
		if t := &d.Incidents[i]; !t.Same {
			writeDivergence(w, t)
		}
	}
	writeNotes(w, d.Notes)
	if r.Detection != nil {
		writeDetection(w, r.Detection)
	}
}

func writeDivergence(w io.Writer, t *controller.IncidentTest) {
	only := ""
	if !t.Recorded {
		only = ", only in the replay"
	}
	fmt.Fprintf(w, "\n%s on %s, opened %s%s\n", t.ID, t.Root, instant(t.Opened), only)
	for _, s := range []struct {
		name string
		side *controller.BacktestSide
	}{{"recorded", t.First.Recorded}, {"replayed", t.First.Replayed}} {
		text := "nothing"
		if s.side != nil {
			text = sideText(s.side)
		}
		fmt.Fprintf(w, "  first: %s  %s\n", s.name, text)
	}
	for _, list := range []struct {
		name  string
		sides []controller.BacktestSide
	}{{"would", t.Would}, {"blocked", t.Blocked}, {"gone", t.Gone}} {
		for i := range list.sides {
			fmt.Fprintf(w, "  %-8s %s\n", list.name, sideText(&list.sides[i]))
		}
	}
	if t.Assumed > 0 {
		fmt.Fprintf(w, "  %d entries of the replay rest on an assumption\n", t.Assumed)
	}
}

// sideText is one entry of either history in a line.
func sideText(s *controller.BacktestSide) string {
	parts := []string{instant(s.At), string(s.Kind)}
	if s.Playbook != "" {
		name := s.Playbook
		if s.Step != "" {
			name += "/" + s.Step
		}
		parts = append(parts, name)
	}
	if s.Refusal != nil {
		parts = append(parts, "["+string(s.Refusal.Guard)+"]")
	}
	text := strings.Join(parts, " ") + "  " + s.Text
	if s.Assumed != "" {
		text += " (supposing: " + s.Assumed + ")"
	}
	return text
}

func writeDetection(w io.Writer, t *controller.DetectTest) {
	n := map[string]int{}
	for i := range t.Anomalies {
		n[t.Anomalies[i].Verdict]++
	}
	fmt.Fprintf(w, "\nDETECTION: %d probes by observations, %d by roll-ups, %d not seen. Anomalies: %d the same, %d new, %d gone, %d unsure.\n", t.Exact, t.Rolled, len(t.Nothing),
		n["same"], n["new"], n["gone"], n["unsure"])
	for i := range t.Anomalies {
		a := &t.Anomalies[i]
		if a.Verdict == "same" {
			continue
		}
		fmt.Fprintf(w, "  %-7s %s  recorded %s, replayed %s", a.Verdict, a.Name, interval(a.Recorded), interval(a.Replayed))
		if a.Why != "" {
			fmt.Fprintf(w, "  (%s)", a.Why)
		}
		fmt.Fprintln(w)
	}
	writeNotes(w, t.Notes)
}

func interval(i *controller.BacktestInterval) string {
	switch {
	case i == nil:
		return "never"
	case i.Cleared.IsZero():
		return "from " + instant(i.Opened)
	}
	return instant(i.Opened) + " to " + instant(i.Cleared)
}

func writeNotes(w io.Writer, notes []string) {
	for _, note := range notes {
		fmt.Fprintf(w, "  note: %s.\n", note)
	}
}

// instant is a time to the millisecond.
func instant(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
