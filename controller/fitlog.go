package controller

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/eventlog"
	"github.com/backstay/backstay/controller/internal/twin"
)

// LogFormat says how to read event logs; the zero value reads what most tools write.
type LogFormat struct {
	Case, Activity, Resource, Start, End, Transition string // columns of CSV; found by their names where empty
	Comma                                            string // delimiter of CSV; found in the header when empty
	TimeLayout                                       string // of times that begin with the day or the month, as Go writes them
	Zone                                             string // of times that name none; UTC when empty
}

// LogFit is a model that was fitted to event logs, and what was found on the way.
type LogFit struct {
	*twin.LogFit
	YAML  []byte
	Files []LogFile
	Took  time.Duration
}

// LogFile is what became of one file.
type LogFile struct {
	Path   string
	Report eventlog.Report
}

// FitLogs fits a model to event logs, all of them together. What it writes decodes and validates.
func FitLogs(paths []string, format LogFormat, name string) (*LogFit, error) {
	began := time.Now()
	l, files, source, err := readLogs(paths, format)
	if err != nil {
		return nil, err
	}
	source.Name = cmp.Or(name, nameOfFile(paths[0]))
	out := &LogFit{Files: files}
	if out.LogFit, err = twin.FitLog(l, source); err != nil {
		return nil, &api.Error{Code: api.CodeInvalid, Message: "fit a model to " + source.From, Err: err}
	}
	out.YAML = modelText(out)
	set, findings := api.Decode(source.Name+".yaml", out.YAML) // what we write we must be able to read; this also checks the name
	findings = append(findings, set.Validate(catalog())...)
	if findings.Failed() {
		return nil, &api.Error{Code: api.CodeInvalid, Message: "write the model of " + source.From, Err: findings}
	}
	out.Took = time.Since(began)
	return out, nil
}

// nameOfFile makes a name of a file's.
func nameOfFile(path string) string {
	base := strings.ToLower(filepath.Base(path))
	base, _, _ = strings.Cut(base, ".")
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, base)
	return cmp.Or(strings.Trim(clean[:min(len(clean), 60)], "-"), "fitted")
}

// readLogs reads logs as one.
func readLogs(paths []string, format LogFormat) (*eventlog.Log, []LogFile, twin.FitSource, error) {
	var logs []*eventlog.Log
	var files []LogFile
	var names []string
	var source twin.FitSource
	sum := sha256.New()
	for _, path := range paths {
		l, report, err := readLog(path, format, sum)
		if err != nil {
			return nil, nil, source, err
		}
		logs, files, names = append(logs, l), append(files, LogFile{path, report}), append(names, filepath.Base(path))
		source.Skipped += int64(report.Lost())
	}
	source.From, source.Digest = strings.Join(names, ", "), "sha256:"+hex.EncodeToString(sum.Sum(nil))
	return eventlog.Join(logs...), files, source, nil
}

func readLog(path string, format LogFormat, sum hash.Hash) (*eventlog.Log, eventlog.Report, error) {
	o := eventlog.Options{Name: path, TimeLayout: format.TimeLayout, Columns: eventlog.Columns{Case: format.Case, Activity: format.Activity,
		Resource: format.Resource, Start: format.Start, End: format.End, Transition: format.Transition}}
	switch {
	case len(format.Comma) == 1:
		o.Comma = format.Comma[0]
	case format.Comma == `\t`:
		o.Comma = '\t'
	case format.Comma != "":
		return nil, eventlog.Report{}, api.Errorf(api.CodeUsage, "the delimiter %q is not one character: write , or ; or \\t", format.Comma)
	}
	if format.Zone != "" {
		zone, err := time.LoadLocation(format.Zone)
		if err != nil {
			return nil, eventlog.Report{}, api.Errorf(api.CodeUsage, "there is no time zone %q: write an IANA name, such as Europe/Berlin", format.Zone)
		}
		o.Zone = zone
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, eventlog.Report{}, &api.Error{Code: api.CodeNotFound, Message: "open the event log", Err: err, Hint: "name a CSV or XES file, plain or gzip"}
	}
	defer file.Close()
	l, report, err := eventlog.Read(io.TeeReader(file, sum), o)
	if err != nil {
		return nil, report, &api.Error{Code: api.CodeInvalid, Message: "read the event log", Err: err}
	}
	return l, report, nil
}

// AgainstOptions say what to compare a model with.
type AgainstOptions struct {
	Log    string  // the work that was done
	Train  string  // the log to fit to; empty: the earlier part of Log
	Share  float64 // of the cases of Log that are the earlier part, where there is no Train; 0.8 when 0
	Model  string  // a file with a model, instead of fitting one
	Format LogFormat
	Days   int // replications
	Seed   uint64
	Stop   func() bool
}

// AgainstReport is how near a model comes to the part of a log that it has not seen.
type AgainstReport struct {
	Log    string         `json:"log"`
	Model  string         `json:"model"` // the file, or "fitted"
	Past   int            `json:"pastCases"`
	From   string         `json:"from"` // when the part that was held back begins
	Read   []string       `json:"skipped,omitempty"`
	Result *twin.Fidelity `json:"result"`
	Took   float64        `json:"tookSeconds"`
}

// Against fits a model to the earlier part of a log, or takes one, plays it for the time of the later part, and measures how far the two lie
// apart, beside how far the past itself does.
func Against(o AgainstOptions) (*AgainstReport, error) {
	began := time.Now()
	o.Share = cmp.Or(o.Share, 0.8)
	if !(o.Share > 0 && o.Share < 1) {
		return nil, api.Errorf(api.CodeUsage, "a share of %g is no part of a log: write more than 0 and less than 1, such as 0.8", o.Share)
	}
	held, files, source, err := readLogs([]string{o.Log}, o.Format)
	if err != nil {
		return nil, err
	}
	var past *eventlog.Log
	if o.Train == "" {
		if past, held = held.Split(o.Share); len(held.Cases) == 0 {
			return nil, api.Errorf(api.CodeInvalid, "%s has only %d case: there is nothing to hold back; give a longer log, or --train LOG", o.Log, len(past.Cases))
		}
	} else {
		var more []LogFile
		if past, more, source, err = readLogs([]string{o.Train}, o.Format); err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	source.Name = "fitted"
	m, name, err := modelFor(past, source, o.Model)
	if err != nil {
		return nil, err
	}
	out := &AgainstReport{Log: o.Log, Model: name, Past: len(past.Cases), From: time.UnixMicro(held.Cases[0].Start()).UTC().Format(time.RFC3339)}
	for _, f := range files {
		out.Read = append(out.Read, f.SkippedText()...)
	}
	if out.Result, err = twin.Against(m, past, held, twin.FidelityOptions{Days: o.Days, Seed: o.Seed, Stop: o.Stop}); err != nil {
		return nil, &api.Error{Code: api.CodeInvalid, Message: "compare with " + o.Log, Err: err}
	}
	out.Took = time.Since(began).Seconds()
	return out, nil
}

// modelFor reads the one model of a file, or fits one.
func modelFor(past *eventlog.Log, source twin.FitSource, path string) (api.Model, string, error) {
	if path == "" {
		fit, err := twin.FitLog(past, source)
		if err != nil {
			return api.Model{}, "", &api.Error{Code: api.CodeInvalid, Message: "fit a model to " + source.From, Err: err}
		}
		return fit.Model, "fitted", nil
	}
	set, findings := api.DecodeFiles([]string{path}, os.ReadFile)
	findings = append(findings, set.Validate(catalog())...)
	if findings.Failed() {
		return api.Model{}, "", &api.Error{Code: api.CodeInvalid, Message: "read the model " + path, Err: findings, Hint: "run backstay check " + path}
	}
	if len(set.Models) != 1 {
		return api.Model{}, "", api.Errorf(api.CodeUsage, "%s holds %d models, not one: write it with backstay fit LOG -o model.yaml", path, len(set.Models))
	}
	return set.Models[0], path, nil
}

// SkippedText says which rows of a file were left out and why, a line for each reason.
func (f *LogFile) SkippedText() []string {
	var out []string
	for _, s := range f.Report.Skipped {
		lines := make([]string, len(s.Lines))
		for i, n := range s.Lines {
			lines[i] = fmt.Sprint(n)
		}
		more := ""
		if s.Count > len(s.Lines) {
			more = " ..."
		}
		out = append(out, fmt.Sprintf("%s: %d rows left out: %s (line %s%s)", f.Path, s.Count, s.Reason, strings.Join(lines, ", "), more))
	}
	return out
}
