package main

import (
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller"
)

func newReport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Sum up a period: times to detect, act and recover, what healed by itself, what was held back and why",
		Long: `Reads the log in the data folder, beside a running controller or without one. Each report prints what its figures mean.

Times: 2026-11-01 (UTC), 2026-11-01T08:00:00Z, or 7d and 12h for that long ago. --to is not included.`,
		Example: `  backstay report --from 2026-11-01 --to 2026-12-01 --format html -o november.html
  backstay report --from 7d`,
		Args: cobra.NoArgs,
	}
	from := cmd.Flags().String("from", "30d", "begin of the period")
	to := cmd.Flags().String("to", "", "end of the period; now when left out")
	form := cmd.Flags().String("format", "md", "form: "+strings.Join(controller.ReportFormats, ", "))
	path := cmd.Flags().StringP("output", "o", "-", "file to write; - is stdout")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !slices.Contains(controller.ReportFormats, *form) {
			return api.Errorf(api.CodeUsage, "%q is no format of a report: %s", *form, strings.Join(controller.ReportFormats, ", "))
		}
		now := time.Now()
		begin, err := parseTime(*from, now)
		if err != nil {
			return err
		}
		end := now
		if *to != "" {
			if end, err = parseTime(*to, now); err != nil {
				return err
			}
		}
		report, err := controller.MakeReport(cmd.Context(), dataDir(cmd), begin, end)
		if err != nil {
			return err
		}
		write := func(w io.Writer) error { return report.Write(w, *form) }
		if *path == "-" {
			return write(cmd.OutOrStdout())
		}
		return writeNew(*path, write)
	}
	return cmd
}

// parseTime reads a day, a time, or how long ago.
func parseTime(text string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	if days, is := strings.CutSuffix(text, "d"); is {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, api.Errorf(api.CodeUsage, "%q is no time: write 2026-11-01, 2026-11-01T08:00:00Z, 7d or 12h", text)
}

func newAuditPersonal() *cobra.Command {
	return &cobra.Command{
		Use:     "personal KEY",
		Short:   "Print the hash under which the log keeps a key that names a person, to follow one customer",
		Example: `  backstay audit show --limit 0 | grep "$(backstay audit personal C-10042)"`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			hash, err := controller.AuditPersonal(dataDir(cmd), args[0])
			if err != nil {
				return err
			}
			_, err = io.WriteString(cmd.OutOrStdout(), hash+"\n")
			return err
		},
	}
}
