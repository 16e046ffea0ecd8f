package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"github.com/backstay/backstay/api"
)

// outputFlag adds -o with kubectl's habits.
func outputFlag(cmd *cobra.Command) {
	cmd.Flags().StringP("output", "o", "table", "output: table, wide, json, yaml or name")
}

// table is kubectl's: columns as wide as their widest cell, three spaces between, the name first.
type table struct {
	columns []string
	wide    int // the first columns that are shown without -o wide; 0 means all
	rows    [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(w io.Writer, wide bool) {
	n := len(t.columns)
	if !wide && t.wide > 0 {
		n = t.wide
	}
	widths := make([]int, n)
	for _, row := range append([][]string{t.columns}, t.rows...) {
		for i := range n {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	for _, row := range append([][]string{t.columns}, t.rows...) {
		var line strings.Builder
		for i := range n {
			line.WriteString(row[i])
			if i < n-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(row[i])+3))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// emit prints a value in the asked form; the table is made only when it is wanted.
func emit(cmd *cobra.Command, v any, asTable func() *table) error {
	form, err := cmd.Flags().GetString("output")
	if err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	switch form {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case "yaml":
		return emitYAML(w, v)
	case "table", "wide":
		t := asTable()
		if len(t.rows) == 0 {
			fmt.Fprintln(cmd.ErrOrStderr(), "Nothing there.")
			return nil
		}
		t.write(w, form == "wide")
		return nil
	case "name":
		for _, row := range asTable().rows {
			fmt.Fprintln(w, row[0])
		}
		return nil
	}
	return api.Errorf(api.CodeUsage, "output %q is not table, wide, json, yaml or name", form)
}

// emitYAML goes by way of JSON, so that both forms have the same names.
func emitYAML(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var plain any
	if err := yaml.Unmarshal(b, &plain); err != nil {
		return err
	}
	out, err := yaml.Marshal(plain)
	if err != nil {
		return err
	}
	_, err = w.Write(out)
	return err
}

// age prints a time as people say it: 12s, 5m, 3h, 4d.
func age(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return span(time.Since(t))
}

func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// painter colours words on a terminal, and nowhere else (NO_COLOR is honoured).
type painter bool

func newPainter(w io.Writer) painter {
	f, isFile := w.(*os.File)
	return painter(isFile && isatty.IsTerminal(f.Fd()) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
}

func (p painter) paint(code, s string) string {
	if !p || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p painter) bold(s string) string  { return p.paint("1", s) }
func (p painter) dim(s string) string   { return p.paint("2", s) }
func (p painter) red(s string) string   { return p.paint("31", s) }
func (p painter) green(s string) string { return p.paint("32", s) }
func (p painter) amber(s string) string { return p.paint("33", s) }
