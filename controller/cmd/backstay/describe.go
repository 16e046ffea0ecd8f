package main

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
)

func newDescribe() *cobra.Command {
	return &cobra.Command{
		Use:   "describe KIND NAME",
		Short: "Show one incident, remediation, probe or playbook in full",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := dial(cmd)
			if err != nil {
				return err
			}
			kind, err := kindOf(args[0])
			if err != nil {
				return err
			}
			w, path := cmd.OutOrStdout(), "/"+kind+"/"+url.PathEscape(args[1])
			switch kind {
			case "incidents":
				return describe(cmd, c, path, func(i api.Incident) { describeIncident(w, i) })
			case "remediations":
				return describe(cmd, c, path, func(r api.Remediation) { describeRemediation(w, r) })
			case "probes":
				return describe(cmd, c, path, func(p api.ProbeStatus) { describeProbe(w, p) })
			case "playbooks":
				return describe(cmd, c, path, func(p api.PlaybookStatus) { describePlaybook(w, p) })
			}
			return api.Errorf(api.CodeUsage, "describe shows incidents, remediations, probes and playbooks; for %s use get -o yaml", kind)
		},
	}
}

func describe[T any](cmd *cobra.Command, c *client, path string, show func(T)) error {
	var v T
	if err := c.get(cmd.Context(), path, nil, &v); err != nil {
		return err
	}
	show(v)
	return nil
}

// field prints one aligned line, and nothing for an empty value.
func field(w io.Writer, name, value string) {
	if value != "" && value != "-" {
		fmt.Fprintf(w, "%-14s %s\n", name+":", value)
	}
}

func describeIncident(w io.Writer, i api.Incident) {
	p := newPainter(w)
	field(w, "Incident", p.bold(i.ID))
	field(w, "What", i.Title)
	field(w, "Root", i.Root)
	field(w, "Workflows", strings.Join(i.Workflows, ", "))
	field(w, "Opened", stamp(i.Opened))
	field(w, "Closed", stamp(i.Closed))
	field(w, "Merged into", i.MergedInto)
	if i.AtRiskItems > 0 {
		field(w, "At risk", strings.TrimSpace(fmt.Sprintf("%d items %s", i.AtRiskItems, i.AtRisk)))
	}
	fmt.Fprintln(w, "Anomalies:")
	for _, a := range i.Anomalies {
		mark := p.red("open   ")
		if a.Cleared {
			mark = p.green("cleared")
		}
		fmt.Fprintf(w, "  %s  %s  %s\n", mark, a.ID(), a.Text)
	}
	if len(i.Refusals) > 0 {
		fmt.Fprintln(w, "Held back:")
		for _, r := range i.Refusals {
			fmt.Fprintf(w, "  %s  %s\n", p.amber(string(r.Guard)), r.Reason)
		}
	}
	field(w, "Remediations", strings.Join(i.Remediations, ", "))
	fmt.Fprintf(w, "\nThe whole chain: backstay why %s\n", i.ID)
}

func describeRemediation(w io.Writer, r api.Remediation) {
	p := newPainter(w)
	field(w, "Remediation", p.bold(r.ID))
	field(w, "Playbook", r.Playbook)
	field(w, "Digest", r.Digest)
	field(w, "Incident", r.Incident)
	field(w, "State", r.State)
	field(w, "End", string(r.End))
	field(w, "Opened", stamp(r.Opened))
	field(w, "Ended", stamp(r.Ended))
	field(w, "Text", r.Text)
	writeSteps(w, p, "Steps", r.Steps)
	writeSteps(w, p, "Undone", r.Undo)
	if r.Asked != "" {
		fmt.Fprintf(w, "\n%s\n  until %s; plan %s\n  backstay approve %s --plan %s\n", p.bold(r.Asked), stamp(r.Answer), r.Plan, r.ID, r.Plan)
	}
	fmt.Fprintf(w, "\nThe whole chain: backstay why %s\n", r.ID)
}

func writeSteps(w io.Writer, p painter, title string, steps []api.StepStatus) {
	if len(steps) == 0 {
		return
	}
	fmt.Fprintln(w, title+":")
	for _, s := range steps {
		state := fmt.Sprintf("%-11s", s.State)
		switch s.State {
		case api.StepDone, api.StepReconciled:
			state = p.green(state)
		case api.StepFailed, api.StepRefused, api.StepUncertain, api.StepHandedOver:
			state = p.red(state)
		}
		took := ""
		if !s.Ended.IsZero() && !s.Started.IsZero() {
			took = " (" + span(s.Ended.Sub(s.Started)) + ")"
		}
		fmt.Fprintf(w, "  %s  %-14s %-10s %s%s\n", state, s.Name, s.Do, s.Text, took)
	}
}

func describeProbe(w io.Writer, s api.ProbeStatus) {
	p := newPainter(w)
	field(w, "Probe", p.bold(s.Name))
	field(w, "Type", s.Type)
	field(w, "Watches", s.Node)
	field(w, "Every", s.Every.String())
	field(w, "Verdict", string(s.Last.Verdict))
	field(w, "Reason", s.Last.Reason)
	field(w, "Value", valueOf(s.Last))
	field(w, "Took", s.Last.Took.Round(time.Microsecond).String())
	field(w, "Seen", stamp(s.Last.At))
	field(w, "Runs", fmt.Sprintf("%d, %d bad, %d skipped", s.Runs, s.BadRuns, s.Skipped))
	field(w, "Lateness", s.Lateness.Round(time.Microsecond).String())
	for _, a := range s.Open {
		fmt.Fprintf(w, "  %s  %s\n", p.red(a.ID()), a.Text)
	}
}

func describePlaybook(w io.Writer, s api.PlaybookStatus) {
	p := newPainter(w)
	field(w, "Playbook", p.bold(s.Name))
	field(w, "Summary", s.Summary)
	mode := string(s.Mode)
	if s.ModeWhy != "" {
		mode = p.amber(mode) + ", though " + string(s.ModeWritten) + " is written in it: " + s.ModeWhy
	}
	field(w, "Mode", mode)
	if len(s.ApprovedBy) > 0 {
		field(w, "Approved by", strings.Join(s.ApprovedBy, " and ")+" until "+s.ApprovedUntil.UTC().Format(time.RFC3339))
	}
	field(w, "Danger", s.Danger)
	field(w, "Trigger", s.Trigger)
	field(w, "Digest", s.Digest)
	field(w, "Runs", fmt.Sprint(s.Runs))
	for _, end := range allEnds {
		if n := s.Ends[end]; n > 0 {
			fmt.Fprintf(w, "  %-14s %d\n", end, n)
		}
	}
	if s.Unacked != "" {
		field(w, "Waits", p.amber("until a person acknowledges "+s.Unacked+": backstay ack "+s.Name))
	}
	field(w, "Last run", stamp(s.LastRun))
	field(w, "Held back", fmt.Sprint(s.Refused))
	if s.LastNo != nil {
		fmt.Fprintf(w, "  last: %s: %s\n", p.amber(string(s.LastNo.Guard)), s.LastNo.Reason)
	}
	fmt.Fprintf(w, "\nWhy it ran, and why it did not: backstay why %s\n", s.Name)
}

// allEnds are the ends of remediations in the order in which they are shown.
var allEnds = []api.RemediationEnd{api.EndVerified, api.EndNotVerified, api.EndInDoubt, api.EndBlocked, api.EndCancelled, api.EndFailed, api.EndTold}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	when := age(t) + " ago"
	if left := time.Until(t); left > 0 {
		when = "in " + span(left)
	}
	return t.Local().Format("2006-01-02 15:04:05") + " (" + when + ")"
}
