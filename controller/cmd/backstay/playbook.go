package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/controller"
)

func newPlaybook() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "playbook",
		Short: "Look at playbooks as approvers do",
	}
	cmd.AddCommand(newPlaybookDigest())
	cmd.AddCommand(newPlaybookRecord())
	return cmd
}

func newPlaybookDigest() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "digest FILE...",
		Short: "Print the digest of each playbook, as the controller computes it and approvals are signed over it",
		Long: `The digest covers what a playbook will do: its name and spec with all limits and conditions, and for every step the parameters,
the action's version and classes, and the targets. It does not cover layout, comments, labels and summaries.

Targets follow from the integrations that the steps name, so the whole configuration is read: the folder of --config; else the nearest
folder above FILE with an approvers file; else FILE's own folder.`,
		Example: "  backstay playbook digest config/card-gateway.yaml --config config",
		Args:    cobra.MinimumNArgs(1),
	}
	config := cmd.Flags().String("config", "", "folder of the whole configuration")
	outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		all, err := controller.Digests(*config, args)
		if err != nil {
			return err
		}
		if form, _ := cmd.Flags().GetString("output"); form != "table" {
			return emit(cmd, all, func() *table { return digestTable(all) })
		}
		for _, d := range all {
			fmt.Fprintf(cmd.OutOrStdout(), "%s  %s\n", d.Digest, d.Playbook)
		}
		return nil
	}
	return cmd
}

func digestTable(all []controller.Digest) *table {
	t := &table{columns: []string{"NAME", "DIGEST", "MODE", "FILE"}, wide: 4}
	for _, d := range all {
		t.add(d.Playbook, d.Digest, string(d.Mode), d.File)
	}
	return t
}
