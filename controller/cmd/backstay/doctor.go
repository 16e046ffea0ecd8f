package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/controller"
)

func newDoctor() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look at what a controller needs: data folder, limits, configuration, endpoints, log",
		Args:  cobra.NoArgs,
	}
	config := cmd.Flags().String("config", "", "also check this configuration, and dial each endpoint of it")
	form := cmd.Flags().StringP("output", "o", "text", "output: text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		all := controller.Doctor(cmd.Context(), dataDir(cmd), *config)
		w := cmd.OutOrStdout()
		bad := false
		p := newPainter(w)
		for _, d := range all {
			bad = bad || d.Verdict == "bad"
		}
		if *form == "json" {
			enc := json.NewEncoder(w)
			enc.SetIndent("", "  ")
			if err := enc.Encode(all); err != nil {
				return err
			}
		} else {
			for _, d := range all {
				mark := map[string]string{"ok": p.green("ok     "), "warning": p.amber("warning"), "bad": p.red("bad    ")}[d.Verdict]
				hint := ""
				if d.Hint != "" {
					hint = p.dim("  -> " + d.Hint)
				}
				fmt.Fprintf(w, "%s  %-28s %s%s\n", mark, d.What, d.Text, hint)
			}
		}
		if bad {
			return exitVerdict(1)
		}
		return nil
	}
	return cmd
}
