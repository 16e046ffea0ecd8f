package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/user"
	"strings"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller"
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
		Args:    cobra.MaximumNArgs(1),
	}
	who := whoFlag(cmd)
	reason := cmd.Flags().String("reason", "", "why; it is kept in the log")
	plan, file, glass := "", "", false
	if verb == api.VerbApprove {
		cmd.Use = "approve REMEDIATION[/STEP] | --file APPROVAL"
		cmd.Long = approveLong
		cmd.Flags().StringVar(&plan, "plan", "", "digest of the plan you saw: refused when it has changed since; the present one is shown and taken when left out")
		cmd.Flags().StringVar(&file, "file", "", "give the controller this signed approval of a playbook (see backstay sign)")
		cmd.Flags().BoolVar(&glass, "break-glass", false, "count as everybody who was asked; needs --reason, and all channels are told")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case file != "" && len(args) == 0:
			return giveApproval(cmd, file)
		case file != "" || len(args) != 1:
			return api.Errorf(api.CodeUsage, "%s names one remediation, or one of its steps", name)
		case glass && *reason == "":
			return api.Errorf(api.CodeUsage, "say with --reason why nobody else could be asked: everybody will read it")
		}
		d := api.Decision{Verb: verb, By: *who, Reason: *reason, Target: args[0], Plan: plan, BreakGlass: glass}
		if verb == api.VerbApprove && plan == "" {
			if err := showPlan(cmd, &d); err != nil {
				return err
			}
		}
		return decide(cmd, d)
	}
	return cmd
}

const approveLong = `A yes counts for exactly the plan that was shown. With --plan it is the one that you saw; without, the present one is printed and taken.
When the plan has changed in between, the yes is refused.

With --break-glass one person stands in for everybody who was asked, when nobody else can be reached. It needs a reason; the log
says it in capitals, and every channel is told. What no approval allows (class D5), it does not allow either.

With --file a signed approval of a playbook is given to the running controller, which keeps it in its data folder.`

// showPlan prints what the yes is given to.
func showPlan(cmd *cobra.Command, d *api.Decision) error {
	c, err := dial(cmd)
	if err != nil {
		return err
	}
	id, _, _ := strings.Cut(d.Target, "/")
	var r api.Remediation
	err = c.get(cmd.Context(), "/remediations/"+url.PathEscape(id), nil, &r)
	var coded *api.Error
	if errors.As(err, &coded) && coded.Code == api.CodeNotFound {
		return nil // the engine says so, and records who tried
	}
	if r.Asked != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s\n  plan %s\n", r.Asked, r.Plan)
	}
	d.Plan = r.Plan
	return err
}

// giveApproval hands a signed approval of a playbook to the running controller.
func giveApproval(cmd *cobra.Command, file string) error {
	doc, err := os.ReadFile(file)
	if err != nil {
		return &api.Error{Code: api.CodeNotFound, Message: "read the approval", Err: err}
	}
	c, err := dial(cmd)
	if err != nil {
		return err
	}
	var given controller.Given
	if err := c.do(cmd.Context(), "POST", "/approvals", raw(doc), &given); err != nil {
		return err
	}
	fmt.Fprintln(cmd.ErrOrStderr(), given.Text)
	return nil
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
