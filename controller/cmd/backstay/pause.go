package main

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
)

func newPause() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pause --reason TEXT [PLAYBOOK]",
		Short: "Stop all new steps, of every playbook or of one; probing and recording go on",
		Example: `  backstay pause --reason "bank maintenance" --for 2h
  backstay pause card-gateway-failover --reason "gateway B is being upgraded"`,
		Args: cobra.MaximumNArgs(1),
	}
	who := whoFlag(cmd)
	reason := cmd.Flags().String("reason", "", "why; the next shift reads it")
	length := cmd.Flags().Duration("for", 0, "lift it by itself after this time; until resume when left out")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *reason == "" {
			return api.Errorf(api.CodeUsage, "say why with --reason: the next shift reads it")
		}
		p := api.Pause{Playbook: strings.Join(args, ""), Owner: *who, Reason: *reason}
		if *length > 0 {
			p.Expires = time.Now().Add(*length).UTC()
		}
		c, err := dial(cmd)
		if err != nil {
			return err
		}
		if err := c.do(cmd.Context(), "POST", "/pauses", p, nil); err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "Paused %s. Lift it with: %s\n", scope(p.Playbook), strings.TrimSpace("backstay resume "+p.Playbook))
		return nil
	}
	return cmd
}

func newResume() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resume [PLAYBOOK]",
		Short: "Lift a pause",
		Args:  cobra.MaximumNArgs(1),
	}
	who := whoFlag(cmd)
	reason := cmd.Flags().String("reason", "", "why; it is kept in the log")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := dial(cmd)
		if err != nil {
			return err
		}
		q := url.Values{"playbook": {strings.Join(args, "")}, "by": {*who}, "reason": {*reason}}
		if err := c.do(cmd.Context(), "DELETE", "/pauses?"+q.Encode(), nil, nil); err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "Lifted the pause of %s.\n", scope(strings.Join(args, "")))
		return nil
	}
	return cmd
}

func scope(playbook string) string {
	if playbook == "" {
		return "every playbook"
	}
	return "playbook " + playbook
}
