package main

import (
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
)

func newGet() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "get KIND [NAME]",
		Short: "List incidents, remediations, probes, playbooks, integrations, workflows or pauses",
		Example: `  backstay get incidents
  backstay get probes -o wide
  backstay get remediations -o json
  backstay get playbook card-gateway-failover -o yaml`,
		Args:      cobra.RangeArgs(1, 2),
		ValidArgs: []string{"incidents", "remediations", "probes", "playbooks", "integrations", "workflows", "pauses"},
	}
	outputFlag(cmd)
	open := cmd.Flags().Bool("open", false, "incidents: open ones only")
	limit := cmd.Flags().Int("limit", 100, "incidents and remediations: the newest N")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := dial(cmd)
		if err != nil {
			return err
		}
		kind, err := kindOf(args[0])
		if err != nil {
			return err
		}
		name := ""
		if len(args) == 2 {
			name = args[1]
		}
		query := url.Values{"limit": {strconv.Itoa(*limit)}, "open": {strconv.FormatBool(*open)}}
		return kinds[kind](cmd, c, name, query)
	}
	return cmd
}

// kindOf accepts singular, plural and the short names that fingers know.
func kindOf(word string) (string, error) {
	short := map[string]string{"inc": "incidents", "rem": "remediations", "pb": "playbooks", "int": "integrations", "wf": "workflows"}
	for _, candidate := range []string{word, word + "s", short[word]} {
		if _, known := kinds[candidate]; known {
			return candidate, nil
		}
	}
	return "", api.Errorf(api.CodeUsage, "%q is not a kind: incidents, remediations, probes, playbooks, integrations, workflows or pauses", word)
}

var kinds = map[string]func(cmd *cobra.Command, c *client, name string, query url.Values) error{
	"incidents":    getter("incidents", incidentTable),
	"remediations": getter("remediations", remediationTable),
	"probes":       getter("probes", probeTable),
	"playbooks":    getter("playbooks", playbookTable),
	"integrations": getter("integrations", integrationTable),
	"workflows":    getter("workflows", workflowTable),
	"pauses":       getter("pauses", pauseTable),
}

// getter fetches one or all of a kind and prints them.
func getter[T any](kind string, asTable func([]T) *table) func(*cobra.Command, *client, string, url.Values) error {
	return func(cmd *cobra.Command, c *client, name string, query url.Values) error {
		if name == "" {
			var all []T
			if err := c.get(cmd.Context(), "/"+kind, query, &all); err != nil {
				return err
			}
			return emit(cmd, all, func() *table { return asTable(all) })
		}
		var one T
		if err := c.get(cmd.Context(), "/"+kind+"/"+url.PathEscape(name), nil, &one); err != nil {
			return err
		}
		return emit(cmd, one, func() *table { return asTable([]T{one}) })
	}
}

func incidentTable(all []api.Incident) *table {
	t := &table{columns: []string{"NAME", "STATE", "ROOT", "AT-RISK", "AGE", "WHAT", "WORKFLOWS", "ANOMALIES"}, wide: 6}
	for _, i := range all {
		state, risk := "open", "-"
		switch {
		case i.MergedInto != "":
			state = "merged"
		case !i.Closed.IsZero():
			state = "closed"
		}
		if i.AtRiskItems > 0 {
			risk = fmt.Sprintf("%d items", i.AtRiskItems)
			if len(i.AtRisk) > 0 {
				risk = i.AtRisk.String()
			}
		}
		var names []string
		for _, a := range i.Anomalies {
			names = append(names, a.ID())
		}
		t.add(i.ID, state, i.Root, risk, age(i.Opened), i.Title, dash(strings.Join(i.Workflows, ",")), dash(strings.Join(names, ",")))
	}
	return t
}

func remediationTable(all []api.Remediation) *table {
	t := &table{columns: []string{"NAME", "PLAYBOOK", "INCIDENT", "STATE", "STEPS", "AGE", "TOOK", "TEXT"}, wide: 7}
	for _, r := range all {
		state := r.State
		if r.End != "" {
			state = string(r.End)
		}
		done := 0
		for _, s := range r.Steps {
			if s.State == api.StepDone || s.State == api.StepSkipped || s.State == api.StepReconciled {
				done++
			}
		}
		took := "-"
		if !r.Ended.IsZero() {
			took = span(r.Ended.Sub(r.Opened))
		}
		t.add(r.ID, r.Playbook, r.Incident, state, fmt.Sprintf("%d/%d", done, len(r.Steps)), age(r.Opened), took, r.Text)
	}
	return t
}

func probeTable(all []api.ProbeStatus) *table {
	t := &table{columns: []string{"NAME", "TYPE", "VERDICT", "VALUE", "TOOK", "SEEN", "OPEN", "REASON", "NODE", "RUNS", "BAD", "SKIPPED", "LATENESS"}, wide: 8}
	for _, p := range all {
		var open []string
		for _, a := range p.Open {
			open = append(open, strings.TrimPrefix(a.ID(), p.Name+"/"))
		}
		t.add(p.Name, p.Type, dash(string(p.Last.Verdict)), valueOf(p.Last), p.Last.Took.Round(100*time.Microsecond).String(), age(p.Last.At), dash(strings.Join(open, ",")), dash(p.Last.Reason),
			dash(p.Node), strconv.FormatInt(p.Runs, 10), strconv.FormatInt(p.BadRuns, 10), strconv.FormatInt(p.Skipped, 10), p.Lateness.Round(time.Microsecond).String())
	}
	return t
}

// valueOf prints a value as people read it: times in seconds become 1.3ms or 2m5s, other fractions keep four figures.
func valueOf(o api.Observation) string {
	if o.Unit == "seconds" || o.Unit == "s" {
		d := time.Duration(o.Value * float64(time.Second))
		return d.Round(max(time.Microsecond, d/1000)).String()
	}
	text := strconv.FormatFloat(o.Value, 'f', -1, 64)
	if o.Value != math.Trunc(o.Value) {
		text = strconv.FormatFloat(o.Value, 'g', 4, 64)
	}
	return strings.TrimSpace(text + " " + o.Unit)
}

func playbookTable(all []api.PlaybookStatus) *table {
	t := &table{columns: []string{"NAME", "MODE", "DANGER", "RUNS", "VERIFIED", "REFUSED", "LAST-RUN", "TRIGGER", "DIGEST", "APPROVAL"}, wide: 8}
	for _, p := range all {
		t.add(p.Name, string(p.Mode), p.Danger, strconv.FormatInt(p.Runs, 10), strconv.FormatInt(p.Ends[api.EndVerified], 10), strconv.FormatInt(p.Refused, 10), age(p.LastRun), p.Trigger, p.Digest, dash(approvalOf(p)))
	}
	return t
}

// approvalOf says what people's signatures allow a playbook; empty where approvals are not enforced, or not needed.
func approvalOf(p api.PlaybookStatus) string {
	text := ""
	if len(p.ApprovedBy) > 0 {
		text = "by " + strings.Join(p.ApprovedBy, " and ") + " until " + p.ApprovedUntil.UTC().Format(time.RFC3339)
	}
	if p.ModeWhy == "" {
		return text
	}
	if text != "" {
		text += "; "
	}
	return text + "not " + string(p.ModeWritten) + ": " + p.ModeWhy
}

func integrationTable(all []api.Integration) *table {
	t := &table{columns: []string{"NAME", "ENDPOINTS", "ROUTE", "CHANNEL", "DEPENDS-ON", "SUMMARY"}, wide: 5}
	for _, i := range all {
		var endpoints []string
		for _, e := range i.Spec.Endpoints {
			endpoints = append(endpoints, e.Name)
		}
		route, channel := "-", "-"
		if i.Spec.Route != nil {
			route = i.Spec.Route.Driver
		}
		if i.Spec.Channel != nil {
			channel = i.Spec.Channel.Driver
		}
		t.add(i.Metadata.Name, dash(strings.Join(endpoints, ",")), route, channel, dash(strings.Join(i.Spec.DependsOn, ",")), i.Spec.Summary)
	}
	return t
}

func workflowTable(all []api.Workflow) *table {
	t := &table{columns: []string{"NAME", "STEPS", "SUMMARY"}}
	for _, w := range all {
		var steps []string
		for _, s := range w.Spec.Steps {
			steps = append(steps, s.Name)
		}
		t.add(w.Metadata.Name, strings.Join(steps, ","), w.Spec.Summary)
	}
	return t
}

func pauseTable(all []api.Pause) *table {
	t := &table{columns: []string{"PLAYBOOK", "OWNER", "SINCE", "EXPIRES", "REASON"}}
	for _, p := range all {
		name, expires := p.Playbook, "when lifted"
		if name == "" {
			name = "(all)"
		}
		if !p.Expires.IsZero() {
			expires = "in " + span(time.Until(p.Expires))
		}
		t.add(name, p.Owner, age(p.At), expires, p.Reason)
	}
	return t
}
