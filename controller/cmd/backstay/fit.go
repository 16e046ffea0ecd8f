package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller"
)

func newFit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fit LOG... | --data DIR",
		Short: "Make a model for simulate of what was recorded",
		Long: `Makes a model of an office for backstay simulate.

With event logs, CSV or XES, plain or gzip, it is fitted to them, all together: which steps there are, where items go from each and what is
done at the same time, who does the work and in which hours of the week, how long it takes, what else items wait for, and how they arrive.
How near such a model comes to work that it has not seen tells backstay simulate --against LOG.

With --data it is fitted to what a controller's probes have recorded, which may run meanwhile: how long endpoints take and how often they fail
while no anomaly is open, and how work comes in where a probe counts it. Whoever does the work and how long that takes no probe sees: such
figures are marked as guesses, as is what rests on fewer than 30 samples.`,
		Example: `  backstay fit orders.csv.gz -o model.yaml
  backstay fit 2026-*.csv --case order_no --activity task --start begun --end done -o model.yaml
  backstay fit --data /var/lib/backstay -o model.yaml
  backstay fit --data /var/lib/backstay --arrivals orders-total --from 30d -o model.yaml`,
	}
	var o controller.TelemetryFit
	flags := cmd.Flags()
	path := flags.StringP("output", "o", "", "file to write the model to instead of stdout")
	from := flags.String("from", "", "leave out what is older than this span, such as 30d, or this time, such as 2026-02-20T00:00:00Z")
	flags.StringVar(&o.Config, "config", "", "folder or file of the configuration; else the last one that the data folder keeps")
	flags.StringVar(&o.Workflow, "workflow", "", "which workflow the model is of, where the configuration has several")
	flags.StringVar(&o.Arrivals, "arrivals", "", "the probe that counts everything that ever came in; else the only one that does")
	name := flags.String("name", "", "of logs: name of the model, else the first file's")
	format := logFormatFlags(flags)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fitLogs(cmd, args, *format, *name, *path)
		}
		o.Data = dataDir(cmd)
		var err error
		if o.Since, err = spanOrTime(*from, time.Now()); err != nil {
			return err
		}
		m, err := controller.FitTelemetry(cmd.Context(), o)
		if err != nil {
			return err
		}
		w := cmd.ErrOrStderr()
		fmt.Fprintf(w, "Fitted to what was recorded from %s to %s.\n", m.Window[0], m.Window[1])
		for _, g := range m.Guesses {
			fmt.Fprintf(w, "A guess: %s.\n", g)
		}
		if *path == "" {
			_, err := cmd.OutOrStdout().Write(m.YAML)
			return err
		}
		if err := os.WriteFile(*path, m.YAML, 0o644); err != nil {
			return fmt.Errorf("write the model: %w", err)
		}
		fmt.Fprintf(w, "Model written to %s.\n", *path)
		return nil
	}
	return cmd
}

// spanOrTime reads a span before now, or a time. Empty is the zero time.
func spanOrTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	d, err := api.ParseDuration(text)
	if err != nil || d.Duration <= 0 {
		return time.Time{}, api.Errorf(api.CodeUsage, "--from %q is neither a span such as 30d nor a time such as 2026-02-20T00:00:00Z", text)
	}
	return now.Add(-d.Duration), nil
}
