package main

import (
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/lmittmann/tint"
	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller"
)

func newRun() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run --config DIR",
		Short: "Run the controller",
		Long: `Runs until SIGTERM or Ctrl-C. Changed files are taken up without a restart, also on SIGHUP; a configuration with errors is
refused, and the one in force goes on. At the end everything under way ends as done or as uncertain, never forgotten.`,
		Example: "  backstay run --config ./config --data ./data --listen 127.0.0.1:7380",
		Args:    cobra.NoArgs,
	}
	var o controller.Options
	cmd.Flags().StringVar(&o.Config, "config", "", "folder (or file) of YAML specs")
	cmd.Flags().StringVar(&o.Listen, "listen", "127.0.0.1:7380", "address of the HTTP API, /metrics, /healthz and /readyz; plain HTTP, so keep it on loopback")
	cmd.Flags().StringSliceVar(&o.Commands, "allow-command", nil, "absolute path of a command that the restart action may run; repeat for several")
	cmd.Flags().StringVar(&o.CheckpointCopy, "checkpoint-copy", "", "file on another disk or share that the log's newest checkpoint is also written to; with it, a restored backup of the whole data folder is noticed")
	cmd.Flags().StringVar(&o.Witness, "witness", "", "address of a witness that cosigns the log (see backstay witness)")
	cmd.Flags().StringVar(&o.WitnessKey, "witness-key", "", "the witness's public key, NAME+HASH+BASE64, as it prints it at its start")
	level := cmd.Flags().String("log-level", "info", "debug, info, warn or error")
	if err := cmd.MarkFlagRequired("config"); err != nil {
		panic(err) // the flag is defined above
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var lv slog.Level
		if err := lv.UnmarshalText([]byte(*level)); err != nil {
			return api.Errorf(api.CodeUsage, "log level %q is not debug, info, warn or error", *level)
		}
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(garbagePercent)
		}
		o.Data, o.Log = dataDir(cmd), newLogger(lv)
		return controller.Run(cmd.Context(), o)
	}
	return cmd
}

// garbagePercent is how much garbage may stand beside what lives before it is collected. Probing leaves little of it: at 1,000 runs
// a second there is a collection every seven seconds, as with Go's own measure or half of it, and a quarter saves the memory.
const garbagePercent = 25

// newLogger writes for eyes on a terminal and JSON elsewhere; always to stderr.
func newLogger(level slog.Level) *slog.Logger {
	if isatty.IsTerminal(os.Stderr.Fd()) {
		return slog.New(tint.NewTextHandler(os.Stderr, &tint.Options{Level: level, TimeFormat: "15:04:05.000", NoColor: os.Getenv("NO_COLOR") != ""}))
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
