package controller

import (
	_ "embed"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

// ReportFormats are the forms that Write knows.
var ReportFormats = []string{"md", "html", "csv", "json"}

// Write writes the report: md for people and tickets, html as one file that needs nothing else, csv for spreadsheets (one figure a
// line), json for programs.
func (r *Report) Write(w io.Writer, format string) error {
	switch format {
	case "md":
		_, err := io.WriteString(w, r.markdown())
		return err
	case "html":
		return reportPage.Execute(w, r)
	case "csv":
		return r.csv(w)
	case "json":
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	return api.Errorf(api.CodeUsage, "%q is no format of a report: md, html, csv or json", format)
}

//go:embed report.html
var reportHTML string

var reportPage = template.Must(template.New("report").Funcs(template.FuncMap{
	"day": day, "instant": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }, "percent": Share.String, "rate": Share.rate, "mean": Mean.String,
	"span": func(d time.Duration) string { return spanText(d.Seconds()) }, "width": func(part, whole int) int { return part * 100 / max(whole, 1) },
	"most": func(list []Tally) int {
		most := 0
		for _, t := range list {
			most = max(most, t.Count)
		}
		return most
	},
	"tallies": tallies, "secs": spanText,
}).Parse(reportHTML))

func day(t time.Time) string {
	t = t.UTC()
	if t.Equal(t.Truncate(24 * time.Hour)) {
		return t.Format("2006-01-02")
	}
	return t.Format("2006-01-02 15:04")
}

// String prints the mean, or a dash where there is none.
func (m Mean) String() string {
	if m.N == 0 {
		return "–"
	}
	return spanText(m.Seconds)
}

// String prints the share with both of its numbers, because 100 % of one is not 100 % of a thousand.
func (s Share) String() string {
	if s.Of == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f %% (%d of %d)", float64(s.Count)*100/float64(s.Of), s.Count, s.Of)
}

// rate is the share alone, for where its numbers stand beside it.
func (s Share) rate() string {
	text, _, _ := strings.Cut(s.String(), " (")
	return text
}

func spanText(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Minute:
		return strconv.FormatFloat(seconds, 'f', 1, 64) + " s"
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}

func tallies(list []Tally) string {
	if len(list) == 0 {
		return "–"
	}
	parts := make([]string, len(list))
	for i, t := range list {
		parts[i] = fmt.Sprintf("%s %d", t.Name, t.Count)
	}
	return strings.Join(parts, ", ")
}

func (r *Report) markdown() string {
	var b strings.Builder
	put := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	put("# Backstay report, %s to %s\n\nLog %s, read at %d entries. Times are UTC.\n\n", day(r.From), day(r.To), cell(r.Log), r.Entries)
	put("| figure | value | of | longest |\n|---|---:|---:|---:|\n")
	put("| incidents | %d | %d closed | |\n", r.All.Incidents, r.All.Closed)
	for _, m := range []struct {
		name string
		Mean
	}{{"MTTD, time to detect", r.All.Detect}, {"MTTA, time to act", r.All.Act}, {"MTTR, time to recovery", r.All.Recover}} {
		put("| %s | %s | %d | %s |\n", m.name, m.Mean, m.N, spanText(m.Longest))
	}
	put("| automation rate | %s | | |\n| remediations | %d | | |\n| verified rate | %s | | |\n| refusals | %d | | |\n", r.All.Automated, r.All.Remediations, r.All.Verified, r.All.Refused)
	put("\n## Playbooks\n\n| playbook | runs | verified | without a person | time to act | time to heal | ends | why not |\n|---|---:|---:|---:|---:|---:|---|---|\n")
	for _, p := range r.Playbooks {
		put("| %s | %d | %s | %s | %s | %s | %s | %s |\n", cell(p.Name), p.Remediations, p.Verified, p.Alone, p.Act, p.Heal, tallies(p.Ends), tallies(p.WhyNot))
	}
	put("\n## Why not: what held actions back\n\n")
	if len(r.WhyNot) == 0 {
		put("Nothing was held back.\n")
	} else {
		put("| guard | times |\n|---|---:|\n")
	}
	for _, t := range r.WhyNot {
		put("| %s | %d |\n", t.Name, t.Count)
	}
	put("\n## What was promised\n\n")
	if len(r.Objectives) == 0 {
		put("No workflow has an objective.\n")
	} else {
		put("| workflow | objective | promise | kept | what the log knows |\n|---|---|---:|---|---|\n")
	}
	for _, k := range r.Objectives {
		put("| %s | %s | %s | %s | %s |\n", cell(k.Workflow), k.Objective, k.Promise, k.Kept, cell(k.Text))
	}
	put("\n## Incidents\n\n| incident | opened | lasted | healed without a person | what |\n|---|---|---:|---|---|\n")
	for _, i := range r.Incidents {
		lasted := "open"
		if !i.Open {
			lasted = spanText(i.Lasted.Seconds())
		}
		put("| %s | %s | %s | %s | %s |\n", i.ID, instant(i.Opened), lasted, yesNo(i.Automated), cell(i.Title))
	}
	put("\n## What the figures mean\n\n")
	for _, d := range r.Definitions {
		put("- **%s.** %s\n", d.Name, d.Text)
	}
	return b.String()
}

func yesNo(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

// csv writes one figure a line: scope, name, figure, value, n, unit.
func (r *Report) csv(w io.Writer) error {
	out := csv.NewWriter(w)
	line := func(scope, name, figure, value string, n int, unit string) {
		out.Write([]string{day(r.From), day(r.To), scope, plainCell(name), figure, value, strconv.Itoa(n), unit}) // Flush reports the first error
	}
	mean := func(scope, name, figure string, m Mean) {
		value := ""
		if m.N > 0 {
			value = strconv.FormatFloat(m.Seconds, 'f', 3, 64)
		}
		line(scope, name, figure, value, m.N, "s")
	}
	share := func(scope, name, figure string, s Share) {
		value := ""
		if s.Of > 0 {
			value = strconv.FormatFloat(float64(s.Count)/float64(s.Of), 'f', 4, 64)
		}
		line(scope, name, figure, value, s.Of, "share")
	}
	counts := func(scope, name, figure string, list []Tally) {
		for _, t := range list {
			line(scope, name, figure+" "+t.Name, strconv.Itoa(t.Count), t.Count, "count")
		}
	}
	out.Write([]string{"from", "to", "scope", "name", "figure", "value", "n", "unit"})
	a := &r.All
	line("all", "", "incidents", strconv.Itoa(a.Incidents), a.Incidents, "count")
	line("all", "", "closed", strconv.Itoa(a.Closed), a.Closed, "count")
	mean("all", "", "mttd", a.Detect)
	mean("all", "", "mtta", a.Act)
	mean("all", "", "mttr", a.Recover)
	share("all", "", "automated", a.Automated)
	line("all", "", "remediations", strconv.Itoa(a.Remediations), a.Remediations, "count")
	share("all", "", "verified", a.Verified)
	counts("all", "", "end", a.Ends)
	counts("all", "", "why not", r.WhyNot)
	for _, p := range r.Playbooks {
		line("playbook", p.Name, "remediations", strconv.Itoa(p.Remediations), p.Remediations, "count")
		mean("playbook", p.Name, "mtta", p.Act)
		mean("playbook", p.Name, "heal", p.Heal)
		share("playbook", p.Name, "verified", p.Verified)
		share("playbook", p.Name, "automated", p.Alone)
		counts("playbook", p.Name, "end", p.Ends)
		counts("playbook", p.Name, "why not", p.WhyNot)
	}
	for _, k := range r.Objectives {
		line("workflow", k.Workflow, k.Objective+" "+k.Promise, k.Kept, 1, "kept")
	}
	out.Flush()
	return out.Error()
}

// plainCell keeps a name from being taken for a formula by a spreadsheet.
func plainCell(name string) string {
	if name != "" && slices.Contains([]byte("=+-@\t\r"), name[0]) {
		return "'" + name
	}
	return name
}
