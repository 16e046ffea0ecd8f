package api

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Pos is a place in a file; lines and columns start at 1, zero means unknown.
type Pos struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Col  int    `json:"col"`
}

// Severity says how bad a finding is. Only errors keep a configuration from loading.
type Severity string

// The severities of findings.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
	SeverityNote    Severity = "note" // nothing is wrong, but a person should know
)

// Finding is one thing that is wrong with a file.
type Finding struct {
	Pos
	Severity Severity `json:"severity"`
	Rule     string   `json:"rule"` // stable id, such as unknown-key
	Message  string   `json:"message"`
	Hint     string   `json:"hint,omitempty"`
}

// String prints file:line:col: severity: message; hint [rule]. What is not known of the place is left out.
func (f Finding) String() string {
	hint := ""
	if f.Hint != "" {
		hint = "; " + f.Hint
	}
	place := ""
	switch {
	case f.Line > 0:
		place = fmt.Sprintf("%s:%d:%d: ", f.File, f.Line, f.Col)
	case f.File != "":
		place = f.File + ": "
	}
	return fmt.Sprintf("%s%s: %s%s [%s]", place, f.Severity, f.Message, hint, f.Rule)
}

// Findings are all that is wrong, in the order of the files.
type Findings []Finding

// Failed tells whether any finding is an error.
func (fs Findings) Failed() bool {
	return slices.ContainsFunc(fs, func(f Finding) bool { return f.Severity == SeverityError })
}

// Sort orders by file, line and column.
func (fs Findings) Sort() {
	slices.SortStableFunc(fs, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
}

// Error lets findings travel as an error: one line each.
func (fs Findings) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}
