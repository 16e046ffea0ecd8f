// Command backstay keeps the back office standing: it probes, detects, heals, and records what it did and did not do.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	_ "time/tzdata" // calendars work on machines without a zone database

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var verdict exitVerdict
	if errors.As(err, &verdict) {
		return int(verdict)
	}
	fmt.Fprintf(stderr, "backstay: %s\n", api.Redact(err.Error()))
	var coded *api.Error
	if errors.As(err, &coded) {
		return coded.Code.ExitCode()
	}
	if isUsage(err) {
		return 2
	}
	return 1
}

// exitVerdict ends the program with a code after a command has printed all that there is to say.
type exitVerdict int

func (v exitVerdict) Error() string { return fmt.Sprintf("exit code %d", int(v)) }

// isUsage recognises the errors of the command line parser, which have no type of their own.
func isUsage(err error) bool {
	for _, start := range []string{"unknown command", "unknown flag", "unknown shorthand", "accepts ", "requires at least", "required flag", "invalid argument", "flag needs"} {
		if strings.HasPrefix(err.Error(), start) {
			return true
		}
	}
	return false
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "backstay",
		Short: "Keeps the back office standing: probes, detects, heals, and records every yes and no",
		Long: `Backstay probes back-office workflows and what they lean on, detects anomalies, finds the cause,
runs pre-approved playbooks, and keeps a tamper-evident log of everything it did and did not do.

  backstay demo                              watch it heal a small back office (about a minute)
  backstay check ./config                    find what is wrong with a configuration
  backstay run --config ./config             run the controller
  backstay why inc-1a2b3c4d                  read why something happened, or did not

Exit codes: 0 ok, 1 negative verdict, 2 usage, 3 findings of a check, 4 not found, 5 denied, 6 inconclusive, 7 audit verification failed.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().String("data", defaultData(), "data folder: journal, keys and token (env BACKSTAY_DATA)")
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddGroup(&cobra.Group{ID: "start", Title: "Start:"}, &cobra.Group{ID: "see", Title: "See:"}, &cobra.Group{ID: "act", Title: "Act:"}, &cobra.Group{ID: "write", Title: "Write:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("start", newRun(), newDemo(), newWitness(), newDoctor())
	add("see", newGet(), newDescribe(), newWatch(), newWhy(), newAudit(), newReport(), newBacktest())
	add("act", newDecision("approve", api.VerbApprove), newDecision("deny", api.VerbDeny), newDecision("cancel", api.VerbCancel), newSettle(), newAck(), newPause(), newResume(), newSign())
	add("write", newCheck(), newTest(), newSimulate(), newFit(), newCalendar(), newPlaybook(), newSchema())
	root.AddCommand(newVersion())
	return root
}

// defaultData is where a controller keeps its data unless told otherwise.
func defaultData() string {
	if dir := os.Getenv("BACKSTAY_DATA"); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return "/var/lib/backstay"
	}
	if home, err := os.UserHomeDir(); err == nil {
		return home + "/.local/state/backstay"
	}
	return "backstay-data"
}

func dataDir(cmd *cobra.Command) string {
	dir, err := cmd.Flags().GetString("data")
	if err != nil {
		panic(err) // the flag is persistent on the root
	}
	return dir
}
