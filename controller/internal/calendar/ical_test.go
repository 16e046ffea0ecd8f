package calendar

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/backstay/backstay/api"
)

var update = flag.Bool("update", false, "rewrite the expected documents and findings; read the difference before you keep it")

// TestICalendar runs testdata/ical/*.txtar: an .ics file, and the document or the findings that it gives. The text before the
// first file may name a zone: zone=Europe/Berlin. Lines end with CRLF where they end with $ in the case.
func TestICalendar(t *testing.T) {
	files, _ := filepath.Glob("testdata/ical/*.txtar")
	if len(files) < 3 {
		t.Fatalf("found only %d cases", len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, zone, _ := strings.Cut(string(a.Comment), "zone=")
			ics := strings.ReplaceAll(string(a.Files[0].Data), "$\n", "\r\n")
			in, findings := ImportICalendar("x.ics", []byte(ics), strings.TrimSpace(zone))
			got := ""
			for _, f := range findings {
				got += f.String() + "\n"
			}
			if !findings.Failed() {
				got += string(in.YAML("imported"))
				readable(t, &in)
			}
			if *update {
				a.Files = append(a.Files[:1], txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := string(a.Files[1].Data); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// readable holds that what was written is read again without a word, and means the same.
func readable(t *testing.T, in *Imported) *Calendar {
	t.Helper()
	doc := in.YAML("imported")
	set, findings := api.Decode("x.yaml", doc)
	findings = append(findings, set.Validate(api.Catalog{})...)
	if len(findings) > 0 || len(set.Calendars) != 1 {
		t.Fatalf("what was written cannot be read: %v\n%s", findings, doc)
	}
	c, err := New(set.Calendars[0].Spec)
	if err != nil {
		t.Fatalf("what was written is no calendar: %v\n%s", err, doc)
	}
	if len(c.freezes) != len(in.Spec.Freezes) {
		t.Fatalf("wrote %d freezes, read %d", len(in.Spec.Freezes), len(c.freezes))
	}
	return c
}

// TestICalendarNeverEndsEarly: a freeze whose end lies in an hour that is shown twice holds until that end at least.
func TestICalendarNeverEndsEarly(t *testing.T) {
	end := time.Date(2026, 11, 1, 6, 20, 30, 0, time.UTC) // 01:20:30 in New York, for the second time
	ics := "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:Change\nDTSTART:20261101T040000Z\nDTEND:20261101T062030Z\nEND:VEVENT\nEND:VCALENDAR\n"
	in, findings := ImportICalendar("x.ics", []byte(ics), "America/New_York")
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	_, until, blocked := readable(t, &in).Blocked(end.Add(-time.Second))
	if !blocked || until.Before(end) || until.Sub(end) > time.Hour {
		t.Errorf("blocked %v until %s, want until %s or a little later", blocked, until, end)
	}
}

func TestICalendarLimits(t *testing.T) {
	event := "BEGIN:VEVENT\nSUMMARY:x\nDTSTART:20260101\nDTEND:20270101\nEND:VEVENT\n"
	for _, x := range []struct{ name, ics, rule string }{
		{"bytes", strings.Repeat("X", icalBytesMax+1), "too-large"},
		{"line", "BEGIN:VCALENDAR\nX:" + strings.Repeat("y", icalLineMax) + "\n", "too-large"},
		{"folded line", "BEGIN:VCALENDAR\nX:" + strings.Repeat("y\n ", icalLineMax) + "\n", "too-large"},
		{"days", "BEGIN:VCALENDAR\n" + strings.Repeat(event, 40) + "END:VCALENDAR\n", "too-large"},
		{"events", "BEGIN:VCALENDAR\n" + strings.Repeat("BEGIN:VEVENT\nEND:VEVENT\n", icalEventsMax+1), "too-large"},
		{"depth", "BEGIN:VCALENDAR\n" + strings.Repeat("BEGIN:X\n", 20), "syntax"},
		{"not text", "BEGIN:VCALENDAR\n\xff", "encoding"},
		{"not iCalendar", "<html>:\n", "syntax"},
		{"cut off", "BEGIN:VCALENDAR\n" + event, "syntax"},
	} {
		_, findings := ImportICalendar("x.ics", []byte(x.ics), "")
		if !findings.Failed() || findings[0].Rule != x.rule && findings[len(findings)-1].Rule != x.rule {
			t.Errorf("%s: %v, want %s", x.name, findings, x.rule)
		}
	}
}

func FuzzICalendar(f *testing.F) {
	files, _ := filepath.Glob("testdata/ical/*.txtar")
	for _, file := range files {
		if a, err := txtar.ParseFile(file); err == nil {
			f.Add(a.Files[0].Data, "")
			f.Add([]byte(strings.ReplaceAll(string(a.Files[0].Data), "$\n", "\r\n")), "America/New_York")
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, zone string) {
		in, findings := ImportICalendar("x.ics", data, zone)
		for _, f := range findings {
			if f.Message == "" || f.Line < 1 {
				t.Fatalf("a finding without words or place: %+v", f)
			}
		}
		if !findings.Failed() {
			readable(t, &in)
		}
	})
}
