package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/controller"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version and how it was built",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprintln(cmd.OutOrStdout(), controller.Version())
			return nil
		},
	}
}
