package controller

import (
	"os"
	"slices"
	"strings"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/calendar"
)

// CalendarEntry is one thing that a calendar says: a day off, a workday, a cut-off or a freeze.
type CalendarEntry = calendar.Entry

// CalendarDaysMax is the longest time, in days, that Calendar.List goes through.
const CalendarDaysMax = calendar.ListDaysMax

// OpenCalendar makes a calendar ready to be looked at: a shipped one by its name (us-fed, target2), or one of a file or folder;
// name chooses where there are several, and may be "" where there is one.
func OpenCalendar(nameOrPath, name string) (*calendar.Calendar, error) {
	if slices.Contains(calendar.Bases(), nameOrPath) {
		return calendar.New(api.CalendarSpec{Base: nameOrPath})
	}
	files, err := configFiles(nameOrPath)
	if err != nil {
		return nil, &api.Error{Code: api.CodeNotFound, Message: "open the calendar " + nameOrPath, Err: err, Hint: "name a file or folder, or a shipped calendar: " + strings.Join(calendar.Bases(), ", ")}
	}
	set, findings := api.DecodeFiles(files, os.ReadFile)
	var names []string
	for i := range set.Calendars {
		c := &set.Calendars[i]
		if names = append(names, c.Metadata.Name); name == c.Metadata.Name || name == "" && len(set.Calendars) == 1 {
			return calendar.New(c.Spec)
		}
	}
	switch {
	case findings.Failed():
		return nil, &api.Error{Code: api.CodeInvalid, Message: "read the calendar " + nameOrPath, Err: findings, Hint: "run backstay check " + nameOrPath}
	case len(names) == 0:
		return nil, api.Errorf(api.CodeNotFound, "there is no calendar in %s: write a document of kind: Calendar", nameOrPath)
	case name == "":
		return nil, api.Errorf(api.CodeUsage, "%s holds several calendars: choose one with --name: %s", nameOrPath, strings.Join(names, ", "))
	}
	return nil, api.Errorf(api.CodeNotFound, "there is no calendar %q in %s: write one of %s", name, nameOrPath, strings.Join(names, ", "))
}

// ImportCalendar reads an iCalendar file and writes it as a Calendar document. zone may be "": then the file tells. The document
// is nil where there are errors among the findings.
func ImportCalendar(file string, data []byte, name, zone string) ([]byte, api.Findings) {
	in, findings := calendar.ImportICalendar(file, data, zone)
	if findings.Failed() {
		return nil, findings
	}
	doc := in.YAML(name)
	set, wrong := api.Decode(name+".yaml", doc) // what we write we must be able to read; this also checks the name
	wrong = append(wrong, set.Validate(catalog())...)
	if wrong.Failed() {
		return nil, append(findings, wrong...)
	}
	return doc, findings
}
