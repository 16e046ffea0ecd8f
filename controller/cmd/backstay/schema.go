package main

import (
	"github.com/spf13/cobra"

	"github.com/backstay/backstay/controller"
)

func newSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of every kind, for editors",
		Example: `  backstay schema > backstay.schema.json
  # first line of a YAML file, for editors with the YAML language server:
  # yaml-language-server: $schema=./backstay.schema.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(controller.Schema())
			return err
		},
	}
}
