package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller"
)

func newPlaybookRecord() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "record NAME",
		Short: "Show how a playbook has done so far: the figures by which to trust it with more, or with less",
		Long: `Computed from the log in the data folder, beside a running controller or without one.

Verified     share of its remediations that did something and whose repair was then seen to hold; that the action returned well
             does not count
False fires  share of its firings that were needless: called off before the first step because the trouble had gone or a person
             said no; or only suggested, and the incident was over by itself within 5 minutes. Questions that nobody answered
             and incidents that are still open are not judged
Recurred     share of its verified repairs after which the same anomaly opened again within --within`,
		Example: "  backstay playbook record card-gateway-failover --from 30d",
		Args:    cobra.ExactArgs(1),
	}
	from := cmd.Flags().String("from", "", "begin of the period: 2026-11-01, 2026-11-01T08:00:00Z or 30d; all of the log when left out")
	within := cmd.Flags().String("within", "24h", "how long a repair must hold to count as lasting")
	cmd.Flags().StringP("output", "o", "table", "output: table, json or yaml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var since time.Time
		if *from != "" {
			var err error
			if since, err = parseTime(*from, time.Now()); err != nil {
				return err
			}
		}
		hold, err := api.ParseDuration(*within)
		if err != nil || hold.Duration <= 0 {
			return api.Errorf(api.CodeUsage, "--within %q is no time: write 24h or 7d", *within)
		}
		record, err := controller.RecordOf(cmd.Context(), dataDir(cmd), args[0], since, hold.Duration)
		if err != nil {
			return err
		}
		if form, _ := cmd.Flags().GetString("output"); form != "table" {
			return emit(cmd, record, nil)
		}
		writeRecord(cmd, record)
		return nil
	}
	return cmd
}

func writeRecord(cmd *cobra.Command, r controller.PlaybookRecord) {
	w := cmd.OutOrStdout()
	share := func(s controller.Share) string {
		if s.Of == 0 {
			return "nothing to judge yet"
		}
		return fmt.Sprintf("%.1f %% (%d of %d)", 100*float64(s.Count)/float64(s.Of), s.Count, s.Of)
	}
	field(w, "Playbook", newPainter(w).bold(r.Playbook))
	field(w, "Fired", fmt.Sprintf("%d times; acted %d times, only observed or suggested %d times", r.Fired, r.Acted, r.Suggested))
	for _, end := range allEnds {
		if n := r.Ends[end]; n > 0 {
			fmt.Fprintf(w, "  %-14s %d\n", end, n)
		}
	}
	field(w, "Verified", share(r.Verified))
	field(w, "False fires", share(r.FalseFires))
	field(w, "Recurred", share(r.Recurred)+" within "+api.Duration{Duration: r.Within}.String())
	field(w, "Held back", fmt.Sprintf("%d times by a guard", r.HeldBack))
	if r.Demoted > 0 {
		field(w, "Demoted", fmt.Sprintf("%d times", r.Demoted))
	}
}
