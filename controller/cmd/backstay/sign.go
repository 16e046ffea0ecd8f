package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller"
)

const signLong = `An approval is a signature over the exact digest of a playbook, the mode it may have, until when and where. It is written to
PLAYBOOK.approval.yaml beside the playbook; a second person signs the same file by running the same command.

Who may approve is written in the file "approvers" in the configuration's folder. While it lies there, a playbook in mode approve or auto
without enough valid signatures only suggests. It is an allowed_signers file of OpenSSH, one person and one key on a line:

  # backstay: require people=2 roles=payments playbooks=card-*
  alice@example.com ssh-ed25519 AAAA... roles=payments
  bob@example.com valid-before="20271231Z" sk-ssh-ed25519@openssh.com AAAA... roles=payments

An approval may rest on what a simulation found: backstay simulate -o json --report NAME.report.json, beside the configuration, and --report with that
file here. Then it counts only while the report is there and says pass, and playbook, model and scenario are those that were simulated.

The author of a playbook (its label author) never counts; a person counts once, whatever the number of keys; actions of class D4 always need
two people.

The key is a private key file, or a public one whose private half ssh-agent holds. To sign elsewhere, on a hardware key for example:

  backstay sign FILE --print > message
  ssh-keygen -Y sign -f ~/.ssh/id_ed25519_sk -n ` + api.ApprovalNamespace + ` message
  backstay sign FILE --signature message.sig

Anybody can check a signature without Backstay:

  ssh-keygen -Y verify -f approvers -I alice@example.com -n ` + api.ApprovalNamespace + ` -s message.sig < message`

func newSign() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sign FILE --key KEY | --print | --signature SIG",
		Short: "Approve a playbook with an SSH signature",
		Long:  signLong,
		Example: `  backstay sign config/card-gateway.yaml --key ~/.ssh/id_ed25519
  backstay sign config/card-gateway.yaml --key ~/.ssh/id_ed25519 --mode auto --expires 30d --comment CHG-1042`,
		Args: cobra.ExactArgs(1),
	}
	var r controller.SignRequest
	key := cmd.Flags().String("key", "", "file of the private key, or of a public key that ssh-agent has the private half of")
	show := cmd.Flags().Bool("print", false, "print the message to sign instead of signing it")
	signature := cmd.Flags().String("signature", "", "add this signature, made by ssh-keygen -Y sign")
	mode := cmd.Flags().String("mode", "", "the highest mode to allow: approve or auto (the playbook's own)")
	expires := cmd.Flags().String("expires", "", "how long it holds, such as 30d, or until when, such as 2027-02-20T00:00:00Z (90d)")
	cmd.Flags().StringVar(&r.Config, "config", "", "folder of the whole configuration; else the nearest one above FILE with an approvers file, else FILE's own")
	cmd.Flags().StringVar(&r.Playbook, "playbook", "", "which playbook, where FILE has several")
	cmd.Flags().StringVar(&r.Scope, "scope", "", "where it holds (the scope in the approvers file)")
	cmd.Flags().StringVar(&r.Report, "report", "", "the report of backstay simulate that you read: its file or digest; the approval lapses when playbook, model or scenario change")
	cmd.Flags().StringVar(&r.Comment, "comment", "", "one line for the next reader; it is part of what is signed")
	cmd.MarkFlagsOneRequired("key", "print", "signature")
	cmd.MarkFlagsMutuallyExclusive("key", "print", "signature")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r.File, r.Mode = args[0], api.Mode(*mode)
		if *mode != "" && r.Mode != api.ModeApprove && r.Mode != api.ModeAuto {
			return api.Errorf(api.CodeUsage, "mode %q is neither approve nor auto; the others need no approval", *mode)
		}
		var err error
		if r.Expires, err = expiry(*expires, time.Now()); err != nil {
			return err
		}
		d, err := controller.PrepareApproval(r)
		if err != nil {
			return err
		}
		return signDraft(cmd, d, *key, *signature, *show)
	}
	return cmd
}

func signDraft(cmd *cobra.Command, d *controller.Draft, keyFile, signature string, show bool) error {
	w := cmd.ErrOrStderr()
	fmt.Fprintf(w, "Playbook %s:\n", d.Approval.Spec.Playbook)
	for _, s := range d.Steps {
		fmt.Fprintf(w, "  %s\n", s)
	}
	if d.Report != "" {
		fmt.Fprintf(w, "Report: %s\n", d.Report)
	}
	if show {
		if err := d.Write(); err != nil {
			return err
		}
		_, err := cmd.OutOrStdout().Write(d.Message())
		return err
	}
	fmt.Fprintf(w, "\n%s\n", d.Message())
	who := ""
	if signature != "" {
		text, err := os.ReadFile(signature)
		if err != nil {
			return &api.Error{Code: api.CodeNotFound, Message: "read the signature", Err: err}
		}
		if who, err = d.Add(string(text)); err != nil {
			return err
		}
	} else {
		key, err := openKey(keyFile, w)
		if err != nil {
			return err
		}
		defer key.close()
		if who, err = d.Sign(key.signer); err != nil {
			return err
		}
	}
	if err := d.Write(); err != nil {
		return err
	}
	fmt.Fprintf(w, "Signed by %s: %s\n", who, d.File)
	if missing := d.Missing(); missing != "" {
		fmt.Fprintf(w, "It does not count yet: %s.\n", missing)
	}
	return nil
}

// expiry reads a span from now, rounded up to whole days of UTC so that people can read it, or a time. Empty stays zero.
func expiry(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		if !t.After(now) {
			return t, api.Errorf(api.CodeUsage, "%s is over already", text)
		}
		return t.UTC().Truncate(time.Second), nil
	}
	d, err := api.ParseDuration(strings.TrimSpace(text))
	if err != nil || d.Duration <= 0 {
		return time.Time{}, api.Errorf(api.CodeUsage, "--expires %q is neither a span such as 30d nor a time such as 2027-02-20T00:00:00Z", text)
	}
	const day = 24 * time.Hour
	end := now.Add(d.Duration).UTC()
	if d.Duration < day {
		return end.Truncate(time.Second), nil
	}
	if whole := end.Truncate(day); !whole.Equal(end) {
		end = whole.Add(day)
	}
	return end, nil
}
