package main

import (
	"fmt"
	"os/user"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
)

// whoFlag adds --as: who speaks. The token says that the caller may; the name says who it was.
func whoFlag(cmd *cobra.Command) *string {
	name := ""
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return cmd.Flags().String("as", name, "who decides; it is kept in the log")
}

func newDecision(name string, verb api.Verb) *cobra.Command {
	shorts := map[api.Verb]string{
		api.VerbApprove: "Say yes to a remediation or step that waits for a person",
		api.VerbDeny:    "Say no to a remediation or step that waits for a person",
		api.VerbCancel:  "End a remediation: nothing new of it starts",
	}
	cmd := &cobra.Command{
		Use:     name + " REMEDIATION[/STEP]",
		Short:   shorts[verb],
		Example: "  backstay " + name + " rem-5e6f7a8b --reason \"checked with the bank\"",
		Args:    cobra.ExactArgs(1),
	}
	who := whoFlag(cmd)
	reason := cmd.Flags().String("reason", "", "why; it is kept in the log")
	plan := ""
	if verb == api.VerbApprove {
		cmd.Flags().StringVar(&plan, "plan", "", "digest of the plan you saw: refused when it has changed since")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return decide(cmd, api.Decision{Verb: verb, By: *who, Reason: *reason, Target: args[0], Plan: plan})
	}
	return cmd
}

func newSettle() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "settle REMEDIATION/STEP happened|void",
		Short: "Say what became of a step whose outcome is unknown, after you have looked",
		Long: `A step whose outcome nobody could tell holds its targets until a person says what became of it.
Look at the target itself first: whoever says void allows the work to be done again.`,
		Args: cobra.ExactArgs(2),
	}
	who := whoFlag(cmd)
	reason := cmd.Flags().String("reason", "", "what you looked at; it is kept in the log")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		verbs := map[string]api.Verb{"happened": api.VerbSettled, "void": api.VerbVoid}
		verb, known := verbs[args[1]]
		if !known {
			return api.Errorf(api.CodeUsage, "%q is neither happened nor void", args[1])
		}
		if *reason == "" {
			return api.Errorf(api.CodeUsage, "say with --reason what you looked at: the next person relies on it")
		}
		return decide(cmd, api.Decision{Verb: verb, By: *who, Reason: *reason, Target: args[0]})
	}
	return cmd
}

func decide(cmd *cobra.Command, d api.Decision) error {
	c, err := dial(cmd)
	if err != nil {
		return err
	}
	if err := c.do(cmd.Context(), "POST", "/decisions", d, nil); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Recorded: %s by %s on %s.\n", d.Verb, d.By, d.Target)
	return nil
}
