package main

import (
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/controller"
)

func newWitness() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "witness --dir DIR --name NAME --log KEY",
		Short: "Cosign the logs of controllers, so that nobody can rewrite or roll one back unseen",
		Long: `Serves c2sp.org/tlog-witness: it remembers the newest checkpoint of each log, refuses whatever did not grow from it, and cosigns the rest.
Run it on another machine and in other hands than the controller. At its start it prints its public key: give that to the controllers
(backstay run --witness URL --witness-key KEY) and to auditors (backstay audit verify --witness-key KEY).`,
		Example: "  backstay witness --dir ./witness --name witness.example/w1 --log ./key.pub --listen 127.0.0.1:7390",
		Args:    cobra.NoArgs,
	}
	var o controller.WitnessOptions
	cmd.Flags().StringVar(&o.Dir, "dir", "", "folder of the witness: its key and what it cosigned last")
	cmd.Flags().StringVar(&o.Name, "name", "", "its name in cosignatures, such as witness.example/w1; needed at the first start")
	cmd.Flags().StringArrayVar(&o.Logs, "log", nil, "public key of a log to watch, NAME+HASH+BASE64, or the file that holds it (key.pub of a data folder); repeat for several")
	cmd.Flags().StringVar(&o.Listen, "listen", "127.0.0.1:7390", "address to serve; plain HTTP: a submission proves itself and its answer is public, so TLS in front is a choice")
	for _, name := range []string{"dir", "log"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is defined above
		}
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o.Log = newLogger(slog.LevelInfo)
		return controller.Witness(cmd.Context(), o)
	}
	return cmd
}
