package main

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
)

func newWhy() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "why ID",
		Short: "Tell why something happened, or did not: the chain of evidence and guards",
		Example: `  backstay why inc-1a2b3c4d
  backstay why rem-5e6f7a8b
  backstay why card-gateway-failover     # a playbook: also why it did not run`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringP("output", "o", "table", "output: table, json or yaml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := dial(cmd)
		if err != nil {
			return err
		}
		var why api.Why
		if err := c.get(cmd.Context(), "/why/"+url.PathEscape(args[0]), nil, &why); err != nil {
			return err
		}
		if form, _ := cmd.Flags().GetString("output"); form != "table" {
			return emit(cmd, why, nil)
		}
		writeWhy(cmd.OutOrStdout(), why)
		return nil
	}
	return cmd
}

func writeWhy(w io.Writer, why api.Why) {
	p := newPainter(w)
	fmt.Fprintln(w, p.bold(why.Subject))
	if why.Incident != nil {
		fmt.Fprintf(w, "  %s\n", why.Incident.Title)
	}
	if why.Remediation != nil {
		fmt.Fprintf(w, "  %s: %s\n", why.Remediation.Playbook, why.Remediation.Text)
	}
	fmt.Fprintln(w)
	for _, e := range why.Entries {
		writeEntry(w, p, e)
		writeEvidence(w, p, e)
	}
	if len(why.Entries) == 0 {
		fmt.Fprintln(w, "The log has nothing about it.")
	}
}

// writeEntry prints one entry as one line: time, number, what kind of thing, the sentence.
func writeEntry(w io.Writer, p painter, e api.Entry) {
	kind := fmt.Sprintf("%-20s", e.Kind)
	switch {
	case e.Refusal != nil || e.Kind == api.EntryStepUncertain || e.Kind == api.EntryStepHandedOver || e.Kind == api.EntryPaused || e.Kind == api.EntryDemoted:
		kind = p.amber(kind)
	case e.Kind == api.EntryAnomalyOpened || e.Kind == api.EntryIncidentOpened || e.Kind == api.EntryInvariant:
		kind = p.red(kind)
	case e.End == api.EndVerified || e.Kind == api.EntryIncidentClosed || e.Kind == api.EntryAnomalyCleared:
		kind = p.green(kind)
	}
	who := ""
	if e.Actor != "" {
		who = " (" + e.Actor + ")"
	}
	text := e.Text
	if e.Anomaly != nil && (e.Kind == api.EntryAnomalyOpened || e.Kind == api.EntryAnomalyCleared) {
		text = e.Anomaly.ID() + ": " + text
	}
	fmt.Fprintf(w, "%s %s %s %s%s\n", e.At.Local().Format("15:04:05.000"), p.dim(fmt.Sprintf("#%-5d", e.Seq)), kind, text, who)
}

// writeEvidence prints, indented, the figures and guards behind an entry.
func writeEvidence(w io.Writer, p painter, e api.Entry) {
	line := func(format string, args ...any) {
		fmt.Fprintln(w, p.dim(strings.Repeat(" ", 20)+fmt.Sprintf(format, args...)))
	}
	if e.Anomaly != nil && len(e.Anomaly.Evidence) > 0 {
		var figures []string
		for _, n := range e.Anomaly.Evidence {
			figures = append(figures, strings.TrimSpace(fmt.Sprintf("%s=%.6g %s", n.Name, n.Value, n.Unit)))
		}
		line("evidence: %s", strings.Join(figures, ", "))
	}
	if e.Kind == api.EntryConfigured {
		for _, f := range e.Facts {
			line("%s: %s", f.Name, f.Value)
		}
	}
	if r := e.Refusal; r != nil {
		line("guard: %s; would next pass: %s", r.Guard, nextPass(r))
	}
	if i := e.Intent; i != nil {
		line("key %s, repeat class %s, deadline %s", i.Key, i.Repeat, i.Deadline.Local().Format(time.TimeOnly))
	}
	if o := e.Outcome; o != nil {
		for _, f := range o.Facts {
			line("%s: %s", f.Name, f.Value)
		}
		for _, c := range sumUp(o.Calls) {
			line("%s", c)
		}
	}
}

// nextPass says what has to happen before a guard lets the same thing pass.
func nextPass(r *api.Refusal) string {
	if !r.Next.IsZero() {
		return r.Next.Local().Format("2006-01-02 15:04:05")
	}
	waiting := map[api.Guard]string{
		api.GuardConfirm: "when another signal agrees", api.GuardFlight: "when the other one has ended", api.GuardPause: "when the pause is lifted",
		api.GuardUnknown: "when the probe can see again", api.GuardStorm: "when fewer probes are ill", api.GuardInDoubt: "when a person has settled it",
		api.GuardWhen: "when its condition is true", api.GuardHalted: "when a person resumes all automation", api.GuardAck: "when a person acknowledges its last run",
		api.GuardDemoted: "when a person acknowledges it, or it is changed or approved anew", api.GuardLadder: "when the one before it ends badly",
		api.GuardTold: "in the next incident", api.GuardTotals: "when the probes of its control totals can be read", api.GuardCooldown: "when the other one has ended for long enough",
		api.GuardApproval: "when people say yes", api.GuardMode: "when people trust it with more",
	}
	if text := waiting[r.Guard]; text != "" {
		return text
	}
	return "not by waiting alone"
}

// sumUp puts calls to one target with one answer into one line: 15 calls to HOST: 200, in 80ms to 82ms.
func sumUp(calls []api.CallFact) []string {
	type group struct {
		target, status string
		n              int
		least, most    time.Duration
		try            int
	}
	var groups []group
	for _, c := range calls {
		i := slices.IndexFunc(groups, func(g group) bool { return g.target == c.Target && g.status == c.Status && g.try == c.Try })
		if i < 0 {
			groups, i = append(groups, group{target: c.Target, status: c.Status, try: c.Try, least: c.Took}), len(groups)
		}
		g := &groups[i]
		g.n, g.least, g.most = g.n+1, min(g.least, c.Took), max(g.most, c.Took)
	}
	var lines []string
	for _, g := range groups {
		what, took := "call to "+g.target, g.most.Round(time.Microsecond).String()
		if g.n > 1 {
			what, took = fmt.Sprintf("%d calls to %s", g.n, g.target), g.least.Round(time.Microsecond).String()+" to "+took
		}
		if g.try > 1 {
			what += fmt.Sprintf(", try %d", g.try)
		}
		lines = append(lines, fmt.Sprintf("%s: %s, in %s", what, g.status, took))
	}
	return lines
}
