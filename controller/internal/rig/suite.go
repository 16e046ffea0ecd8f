package rig

import (
	"fmt"
	"os"
	"testing"
)

// Suite is one line of the table of safety suites: what ran how often, what must hold, how often it did not, and what became of
// the control that must fail.
type Suite struct {
	Name    string
	Runs    int
	Hold    string
	Broken  int
	Control string
}

// Soak tells whether the suites shall run at their full length, which takes hours: where BACKSTAY_SOAK is set.
func Soak() bool { return os.Getenv("BACKSTAY_SOAK") != "" }

// Report prints the line, and adds it to the file that BACKSTAY_SUITES names.
func (s Suite) Report(t testing.TB) {
	t.Helper()
	line := fmt.Sprintf("%s | %d | %s | %d | %s", s.Name, s.Runs, s.Hold, s.Broken, s.Control)
	t.Log(line)
	path := os.Getenv("BACKSTAY_SUITES")
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatalf("open the table of suites: %v", err)
	}
	defer f.Close()
	if _, err := f.WriteString(line + "\n"); err != nil {
		t.Fatalf("write a line of the table of suites: %v", err)
	}
}
