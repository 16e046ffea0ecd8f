package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller"
)

func newAudit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Verify, show, export and prove the log; works beside a running controller and without one",
	}
	cmd.AddCommand(newAuditVerify(), newAuditShow(), newAuditExport(), newAuditProve(), newAuditPersonal())
	return cmd
}

func newAuditVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [FILE]",
		Short: "Check every entry, hash and signature of the log; or a proof or an export, offline",
		Long: `Without an argument the whole log in the data folder is checked: every entry against the Merkle tree, the tree against the signed
checkpoint, the checkpoint against the one that was published last. What does not fit is named by entry. Exit code 7 when anything does not fit.

With a FILE (written by audit prove, audit export or audit export --incident) that is checked with nothing but the public key: --key is the file key.pub of the data folder,
which others should have a copy of.

The log is signed with a key that lies beside it: it proves tampering to everybody but whoever owns both. Then it says "locally signed". Where a
witness in other hands has cosigned the log (backstay run --witness), it says "witnessed at TIME by NAME".`,
		Args: cobra.MaximumNArgs(1),
	}
	key := cmd.Flags().String("key", "", "file of the public key (key.pub), as you got it another way; the data folder's own when left out")
	witness := cmd.Flags().String("witness-key", "", "public key of the witness that must have cosigned, NAME+HASH+BASE64; what the data folder keeps when left out")
	form := cmd.Flags().StringP("output", "o", "text", "output: text or json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var report controller.AuditReport
		var err error
		switch {
		case len(args) == 0:
			report, err = controller.AuditVerifyWitnessed(cmd.Context(), dataDir(cmd), *key, *witness)
		case *key == "":
			report, err = controller.AuditVerifyFile(args[0], controller.AuditKey(dataDir(cmd)))
		default:
			report, err = controller.AuditVerifyFile(args[0], *key)
		}
		if err != nil {
			return err
		}
		w, p := cmd.OutOrStdout(), newPainter(cmd.OutOrStdout())
		if *form == "json" {
			if err := json.NewEncoder(w).Encode(report); err != nil {
				return err
			}
		} else {
			for _, problem := range report.Problems {
				fmt.Fprintln(w, p.red("BAD ")+" "+problem)
			}
			if report.OK {
				fmt.Fprintf(w, "%s  %s\n", p.green("OK"), report.Text)
			}
			for _, note := range report.Notes {
				fmt.Fprintln(w, p.dim("note: "+note))
			}
		}
		if !report.OK {
			return exitVerdict(api.CodeTampered.ExitCode())
		}
		return nil
	}
	return cmd
}

func newAuditShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show [SEQ]",
		Short: "Print entries of the log",
		Args:  cobra.MaximumNArgs(1),
	}
	var q controller.AuditQuery
	cmd.Flags().StringVar(&q.Incident, "incident", "", "only this incident")
	cmd.Flags().StringVar(&q.Remediation, "remediation", "", "only this remediation")
	cmd.Flags().IntVar(&q.Limit, "limit", 100, "the newest N; 0 means all")
	form := cmd.Flags().StringP("output", "o", "table", "output: table, or json (one entry a line)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q.Seq = -1
		if len(args) == 1 {
			seq, err := seqOf(args[0])
			if err != nil {
				return err
			}
			q.Seq = seq
		}
		entries, err := controller.AuditEntries(cmd.Context(), dataDir(cmd), q)
		if err != nil {
			return err
		}
		w, p := cmd.OutOrStdout(), newPainter(cmd.OutOrStdout())
		for _, e := range entries {
			if *form == "json" {
				if err := json.NewEncoder(w).Encode(e); err != nil {
					return err
				}
				continue
			}
			writeEntry(w, p, e)
			if q.Seq >= 0 {
				writeEvidence(w, p, e)
			}
		}
		signed, err := controller.AuditSigned(cmd.Context(), dataDir(cmd))
		if err != nil {
			return err
		}
		fmt.Fprintln(cmd.ErrOrStderr(), "The log is "+signed+".")
		return nil
	}
	return cmd
}

func newAuditExport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the log, or the evidence of one incident, for archives and auditors",
		Long: `Without --incident the whole log is written as JSON lines, the signed checkpoint last.

With --incident one evidence pack (.tar.gz) is written: what the playbooks said, who approved, what was done and seen when, before and after,
and for every entry a proof that it is in the signed log. README.txt in it says in plain words what it is and how to check it.`,
		Example: `  backstay audit export -o log.jsonl
  backstay audit export --incident inc-1a2b3c4d -o evidence.tar.gz
  backstay audit verify evidence.tar.gz --key key.pub     # on any machine, offline`,
		Args: cobra.NoArgs,
	}
	var path string
	cmd.Flags().StringVarP(&path, "output", "o", "-", "file to write; - is stdout")
	cmd.Flags().StringVar(&path, "to", "-", "the same as --output")
	incident := cmd.Flags().String("incident", "", "write the evidence of this incident (or of the one that this remediation was for) instead of the whole log")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		write := func(w io.Writer) error { return controller.AuditExport(cmd.Context(), dataDir(cmd), w) }
		if *incident != "" {
			write = func(w io.Writer) error { return controller.AuditPack(cmd.Context(), dataDir(cmd), *incident, w) }
		}
		if path != "-" {
			return writeNew(path, write)
		}
		if f, isFile := cmd.OutOrStdout().(*os.File); *incident != "" && isFile && isatty.IsTerminal(f.Fd()) {
			return api.Errorf(api.CodeUsage, "an evidence pack is no text: name a file with -o evidence.tar.gz")
		}
		return write(cmd.OutOrStdout())
	}
	return cmd
}

// writeNew writes a file that is not there yet. Where writing goes wrong nothing is left behind.
func writeNew(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return &api.Error{Code: api.CodeConflict, Message: "write " + path, Err: err, Hint: "name a file that is not there yet, with -o"}
	}
	err = write(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(path) // half a file is none
	}
	return err
}

func newAuditProve() *cobra.Command {
	return &cobra.Command{
		Use:   "prove SEQ",
		Short: "Write a proof that one entry is in the signed log, for somebody who trusts only the public key",
		Example: `  backstay audit prove 42 > entry-42.tlog-proof
  backstay audit verify entry-42.tlog-proof --key key.pub    # on any machine, offline`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			seq, err := seqOf(args[0])
			if err != nil {
				return err
			}
			proof, err := controller.AuditProve(cmd.Context(), dataDir(cmd), seq)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(proof)
			return err
		},
	}
}

func seqOf(text string) (int64, error) {
	seq, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seq < 0 {
		return 0, api.Errorf(api.CodeUsage, "%q is not the number of an entry", text)
	}
	return seq, nil
}
