package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller"
)

// logFormatFlags adds how to read event logs.
func logFormatFlags(flags *pflag.FlagSet) *controller.LogFormat {
	f := &controller.LogFormat{}
	flags.StringVar(&f.Case, "case", "", "of a CSV log: column of the case; found by its name when left out, as those below")
	flags.StringVar(&f.Activity, "activity", "", "of a CSV log: column of the activity")
	flags.StringVar(&f.Resource, "resource", "", "of a CSV log: column of who did it")
	flags.StringVar(&f.Start, "started", "", "of a CSV log: column of the time at which it began")
	flags.StringVar(&f.End, "ended", "", "of a CSV log: column of the time at which it was done")
	flags.StringVar(&f.Transition, "transition", "", "of a CSV log: column that says start or complete, where these are rows of their own")
	flags.StringVar(&f.Comma, "delimiter", "", "of a CSV log: , or ; or \\t; found when left out")
	flags.StringVar(&f.TimeLayout, "time-layout", "", "of a log: times as Go writes them, such as 02.01.2006 15:04, where they begin with day or month")
	flags.StringVar(&f.Zone, "zone", "", "of a log: IANA zone of times that name none; UTC when left out")
	return f
}

// fitLogs writes a model of event logs, and says what it rests on.
func fitLogs(cmd *cobra.Command, paths []string, format controller.LogFormat, name, to string) error {
	if cmd.Flags().Changed("data") {
		return api.Errorf(api.CodeUsage, "a model is fitted to logs or to --data, not to both: leave one out")
	}
	fit, err := controller.FitLogs(paths, format, name)
	if err != nil {
		return err
	}
	fitted := fit.Model.Spec.Fitted
	w := cmd.ErrOrStderr()
	fmt.Fprintf(w, "Fitted to %d cases and %d events from %s to %s, in %s.\n", fitted.Cases, fitted.Events, fitted.Window[0], fitted.Window[1], fit.Took.Round(time.Millisecond))
	for i := range fit.Files {
		for _, text := range fit.Files[i].SkippedText() {
			fmt.Fprintln(w, text)
		}
	}
	if fit.Begun > 0 {
		fmt.Fprintf(w, "%d cases count as cut off by the end of the log.\n", fit.Begun)
	}
	for _, names := range fit.Beside {
		fmt.Fprintf(w, "Begun at once: %s.\n", strings.Join(names, ", "))
	}
	for i, g := range fitted.Guesses {
		if i == guessesShown {
			fmt.Fprintf(w, "... and %d more guesses; the model lists them.\n", len(fitted.Guesses)-i)
			break
		}
		fmt.Fprintf(w, "A guess: %s.\n", g)
	}
	if to == "" {
		_, err := cmd.OutOrStdout().Write(fit.YAML)
		return err
	}
	if err := os.WriteFile(to, fit.YAML, 0o644); err != nil {
		return fmt.Errorf("write the model: %w", err)
	}
	fmt.Fprintf(w, "Model written to %s.\n", to)
	return nil
}

// guessesShown is how many guesses are listed on a terminal.
const guessesShown = 10

// againstFlags adds the comparison of a model with a log to simulate.
func againstFlags(flags *pflag.FlagSet) *controller.AgainstOptions {
	o := &controller.AgainstOptions{}
	flags.StringVar(&o.Log, "against", "", "instead of a scenario: measure how near a model comes to the later part of this event log, which it has not seen")
	flags.StringVar(&o.Train, "train", "", "with --against: fit to this log, and compare with the whole of the other")
	flags.Float64Var(&o.Share, "share", 0.8, "with --against: fit to this share of the cases, those that arrived first")
	flags.StringVar(&o.Model, "model", "", "with --against: take the model in this file instead of fitting one")
	return o
}

// simulateAgainst compares and prints.
func simulateAgainst(cmd *cobra.Command, o *controller.AgainstOptions, form, path string) error {
	if form == "html" {
		return api.Errorf(api.CodeUsage, "a comparison with a log is a table or json: leave out -o html")
	}
	o.Stop = func() bool { return cmd.Context().Err() != nil }
	r, err := controller.Against(*o)
	if err != nil {
		return err
	}
	write := func(w io.Writer) error {
		if form == "json" {
			enc := json.NewEncoder(w)
			enc.SetIndent("", "  ")
			return enc.Encode(r)
		}
		againstText(w, r)
		return nil
	}
	for _, text := range r.Read {
		fmt.Fprintln(cmd.ErrOrStderr(), text)
	}
	if path != "" {
		return writeOver(path, write)
	}
	return write(cmd.OutOrStdout())
}

func againstText(w io.Writer, r *controller.AgainstReport) {
	d := r.Result
	fmt.Fprintf(w, "%s: %d cases from %s on, which the model has not seen; it rests on %d earlier ones (%s).\n", r.Log, d.Cases, r.From, r.Past, r.Model)
	fmt.Fprintf(w, "Median of %d replications, in %.1f s. The floor is what whole cases of the past give, resampled.\n\n", d.Days, r.Took)
	t := &table{columns: []string{"DISTANCE", "TWIN", "5 TO 95 OF 100", "FLOOR", "UNIT", "OF"}}
	number := func(x float64) string { return strconv.FormatFloat(x, 'f', 3, 64) }
	row := func(name, unit, of string, twin, low, high, floor float64) {
		t.add(name, number(twin), number(low)+" to "+number(high), number(floor), unit, of)
	}
	row("NGD", "share", "the order of activities (3-grams)", d.Twin.NGram, d.Low.NGram, d.High.NGram, d.Floor.NGram)
	row("AED", "hours", "when events are, on the time line", d.Twin.Absolute, d.Low.Absolute, d.High.Absolute, d.Floor.Absolute)
	row("CED", "hours", "at what hour of the day they are", d.Twin.Circadian, d.Low.Circadian, d.High.Circadian, d.Floor.Circadian)
	row("RED", "hours", "when they are since their case began", d.Twin.Relative, d.Low.Relative, d.High.Relative, d.Floor.Relative)
	row("CTD", "hours", "how long cases take", d.Twin.CycleTime, d.Low.CycleTime, d.High.CycleTime, d.Floor.CycleTime)
	row("CAR", "hours", "when cases arrive", d.Twin.Arrival, d.Low.Arrival, d.High.Arrival, d.Floor.Arrival)
	t.write(w, true)
}
