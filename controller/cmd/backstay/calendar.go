package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller"
)

func newCalendar() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "calendar",
		Short: "Check what a calendar says, or make one of an iCalendar file",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCalendarShow(), newCalendarImport())
	return cmd
}

func newCalendarShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show NAME|PATH",
		Short: "List the days off, cut-offs and freezes of a calendar",
		Long: `Lists what a calendar says in some time: holidays, workdays, cut-offs (from the start of their guard until the next window opens)
and freezes, in the calendar's own zone. NAME is a shipped calendar (us-fed, target2); PATH is a file or folder.`,
		Example: "  backstay calendar show us-fed --from 2027-01-01 --to 2027-12-31\n  backstay calendar show ./config --name us-banking",
		Args:    cobra.ExactArgs(1),
	}
	name := cmd.Flags().String("name", "", "which calendar, where the path holds several")
	from := cmd.Flags().String("from", "", "first day: 2026-12-01 (default today)")
	to := cmd.Flags().String("to", "", "last day: 2026-12-31 (default 30 days after the first)")
	outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cal, err := controller.OpenCalendar(args[0], *name)
		if err != nil {
			return err
		}
		first, err := dayFlag("from", *from, time.Now().In(cal.Zone()))
		if err != nil {
			return err
		}
		last, err := dayFlag("to", *to, first.AddDate(0, 0, 30))
		switch {
		case err != nil:
			return err
		case last.Before(first):
			return api.Errorf(api.CodeUsage, "--to %s is before the first day, %s: write a later one", *to, first.Format(time.DateOnly))
		case last.Sub(first) >= controller.CalendarDaysMax*24*time.Hour:
			return api.Errorf(api.CodeUsage, "from %s to %s are more than %d days: write a shorter time", first.Format(time.DateOnly), last.Format(time.DateOnly), controller.CalendarDaysMax)
		}
		entries := cal.List(first, last)
		return emit(cmd, entries, func() *table { return calendarTable(entries) })
	}
	return cmd
}

// dayFlag reads a date; what was not given is a default.
func dayFlag(flag, text string, otherwise time.Time) (time.Time, error) {
	if text == "" {
		y, m, d := otherwise.Date()
		return time.Date(y, m, d, 0, 0, 0, 0, time.UTC), nil
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return t, api.Errorf(api.CodeUsage, "--%s %q is no date: write 2026-12-31", flag, text)
	}
	return t, nil
}

func calendarTable(entries []controller.CalendarEntry) *table {
	t := &table{columns: []string{"NAME", "KIND", "FROM", "AT", "UNTIL"}}
	stamp := func(at time.Time) string {
		if at.IsZero() {
			return "-"
		}
		return at.Format("Mon 2006-01-02 15:04 MST")
	}
	for _, e := range entries {
		from, until := stamp(e.From), stamp(e.Until)
		if e.Kind == "holiday" || e.Kind == "workday" {
			from, until = e.From.Format("Mon 2006-01-02"), "-"
		}
		t.add(e.Name, e.Kind, from, stamp(e.At), until)
	}
	return t
}

func newCalendarImport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import FILE.ics",
		Short: "Write an iCalendar file as a Calendar document",
		Long: `Reads an iCalendar file and writes a Calendar document to standard output: events of whole days become holidays, events with times
become freezes, and those that repeat every year on one day become yearly holidays. What cannot be said so is an error with its line, and then
nothing is written. Exit code 3 when there are errors. FILE may be - for standard input.`,
		Example: "  backstay calendar import bank-holidays.ics --name bank > config/bank.yaml",
		Args:    cobra.ExactArgs(1),
	}
	name := cmd.Flags().String("name", "imported", "name of the calendar")
	zone := cmd.Flags().String("zone", "", "IANA time zone of the calendar (default: as the file says, or UTC)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		data, err := readInput(args[0], cmd.InOrStdin())
		if err != nil {
			return &api.Error{Code: api.CodeNotFound, Message: "read the iCalendar file", Err: err, Hint: "name an .ics file, or - for standard input"}
		}
		doc, findings := controller.ImportCalendar(args[0], data, *name, *zone)
		for _, f := range findings {
			fmt.Fprintln(cmd.ErrOrStderr(), f)
		}
		if findings.Failed() {
			return exitVerdict(3)
		}
		_, err = cmd.OutOrStdout().Write(doc)
		return err
	}
	return cmd
}

// inputMax is a little more than any importer takes, so that it is the importer who says no.
const inputMax = 11 << 20

func readInput(path string, stdin io.Reader) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(io.LimitReader(stdin, inputMax))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, inputMax))
}
