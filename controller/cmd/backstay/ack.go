package main

import (
	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
)

func newAck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ack PLAYBOOK|REMEDIATION",
		Short: "Say that you have looked at a playbook's last run, so that it may run again",
		Long: `A playbook with acknowledge: waits after a run until a person has looked at it; one whose last runs did not verify
was demoted and only suggests. This gives it back what its mode and its approvals allow. Look first: backstay why PLAYBOOK.`,
		Example: "  backstay ack card-gateway-failover --reason \"the standby was out of credit; topped up\"",
		Args:    cobra.ExactArgs(1),
	}
	who := whoFlag(cmd)
	reason := cmd.Flags().String("reason", "", "what you found; it is kept in the log")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return decide(cmd, api.Decision{Verb: api.VerbAck, By: *who, Reason: *reason, Target: args[0]})
	}
	return cmd
}
