package main

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller"
)

func newCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check PATH...",
		Short: "Find what is wrong with a configuration: file:line:col: severity: message [rule]",
		Long: `Checks files and folders the way run loads them: strict YAML, references, graphs, parameters of every probe and action,
conditions. It touches nothing but the files. Exit code 3 when there are errors; warnings alone exit 0.`,
		Example: "  backstay check ./config\n  backstay check ./config -o json",
		Args:    cobra.MinimumNArgs(1),
	}
	form := cmd.Flags().StringP("output", "o", "text", "output: text or json")
	strict := cmd.Flags().Bool("strict", false, "warnings count as errors")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		findings, err := controller.Check(args)
		if err != nil {
			return err
		}
		switch *form {
		case "json":
			if findings == nil {
				findings = api.Findings{}
			}
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			if err := enc.Encode(findings); err != nil {
				return err
			}
		case "text":
			writeFindings(cmd, findings)
		default:
			return api.Errorf(api.CodeUsage, "output %q is not text or json", *form)
		}
		if findings.Failed() || *strict && slices.ContainsFunc(findings, func(f api.Finding) bool { return f.Severity == api.SeverityWarning }) {
			return exitVerdict(3)
		}
		return nil
	}
	return cmd
}

func writeFindings(cmd *cobra.Command, findings api.Findings) {
	errors, warnings := 0, 0
	for _, f := range findings {
		fmt.Fprintln(cmd.OutOrStdout(), f)
		switch f.Severity {
		case api.SeverityError:
			errors++
		case api.SeverityWarning:
			warnings++
		}
	}
	if errors+warnings == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "Nothing wrong.")
		return
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%d errors, %d warnings.\n", errors, warnings)
}
