package probes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// drop writes a file with a given age.
func drop(t *testing.T, folder, name, content string, age time.Duration) {
	t.Helper()
	file := filepath.Join(folder, name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-age)
	if err := os.Chtimes(file, at, at); err != nil {
		t.Fatal(err)
	}
}

func TestFileDropTwoLooks(t *testing.T) {
	folder := t.TempDir()
	p := build(t, newEnv(t), "file-drop", &FileDropParams{Folder: folder, Pattern: "ACH_*.txt"})
	look := func(count float64) {
		t.Helper()
		o := run(t, p, time.Second)
		want(t, o, api.OK, "")
		if o.Value != count {
			t.Fatalf("%v files, want %v", o.Value, count)
		}
	}
	drop(t, folder, "ACH_1.txt", "one", time.Hour)
	drop(t, folder, "other.txt", "x", time.Hour)
	os.Symlink("/etc/passwd", filepath.Join(folder, "ACH_link.txt"))
	os.Mkdir(filepath.Join(folder, "ACH_dir.txt"), 0o700)
	look(1) // an old file is whole at the first look
	drop(t, folder, "ACH_2.txt", "tw", 0)
	look(1)
	drop(t, folder, "ACH_2.txt", "two", 0)
	look(1) // it grew
	look(2)
}

func TestFileDropFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		with   FileDropParams
		drop   func(folder string)
		reason string
	}{
		{"stale upload", FileDropParams{}, func(f string) { drop(t, f, "a.txt.part", "x", 2*time.Hour) }, `"a.txt.part" has stood still for 2h0m`},
		{"empty", FileDropParams{SizeMin: 1}, func(f string) { drop(t, f, "a.txt", "", 2*time.Hour) }, "0 bytes"},
		{"not taken", FileDropParams{AgeMax: api.Seconds(600)}, func(f string) { drop(t, f, "a.txt", "x", 2*time.Hour) }, "has waited for 2h"},
		{"duplicate", FileDropParams{Duplicates: true}, func(f string) {
			drop(t, f, "a.txt", "pay 100", 3*time.Hour)
			drop(t, f, "b.txt", "pay 100", 2*time.Hour)
		}, `"b.txt" has the same content as "a.txt"`},
		{"overdue", FileDropParams{Every: api.Seconds(3600)}, func(f string) { drop(t, f, "a.txt", "x", 2*time.Hour) }, "one is expected every 1h"},
		{"no folder", FileDropParams{}, func(f string) { os.Remove(f) }, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "in")
			os.Mkdir(folder, 0o700)
			c.with.Folder = folder
			c.drop(folder)
			p := build(t, newEnv(t), "file-drop", &c.with)
			for range 2 {
				want(t, run(t, p, time.Second), api.Bad, c.reason)
			}
		})
	}
}

func TestFileDropReupload(t *testing.T) {
	folder := t.TempDir()
	p := build(t, newEnv(t), "file-drop", &FileDropParams{Folder: folder, Duplicates: true})
	drop(t, folder, "pay.txt", "run 7", time.Hour)
	want(t, run(t, p, time.Second), api.OK, "")
	os.Remove(filepath.Join(folder, "pay.txt"))
	want(t, run(t, p, time.Second), api.OK, "")
	drop(t, folder, "pay-again.txt", "run 7", 0)
	want(t, run(t, p, time.Second), api.OK, "") // it may still grow
	want(t, run(t, p, time.Second), api.Bad, `same content as "pay.txt"`)
}

func TestFileDropNoWayOut(t *testing.T) {
	for _, pattern := range []string{"../*", "/etc/*", `..\x`, "["} {
		if _, err := fileDropType.Build("x", api.ProbeSpec{}, &FileDropParams{Folder: "in", Pattern: pattern}, NewEnv()); err == nil {
			t.Errorf("pattern %q was taken", pattern)
		}
	}
}

func TestDeadline(t *testing.T) {
	at := func(text string) time.Time {
		zone, err := time.LoadLocation("America/New_York")
		if err != nil {
			t.Fatal(err)
		}
		day, err := time.ParseInLocation("2006-01-02 15:04", text, zone)
		if err != nil {
			t.Fatal(err)
		}
		return day
	}
	weekdaysOnly := []string{"mon", "tue", "wed", "thu", "fri"}
	for _, c := range []struct {
		with     FileDropParams
		now      string
		due      bool
		from, by string
	}{
		{FileDropParams{By: "16:45"}, "2026-03-03 16:44", false, "2026-03-03 00:00", "2026-03-03 16:45"},
		{FileDropParams{By: "16:45"}, "2026-03-03 16:45", true, "2026-03-03 00:00", "2026-03-03 16:45"},
		{FileDropParams{By: "16:45"}, "2026-03-04 00:10", false, "2026-03-04 00:00", "2026-03-04 16:45"},
		{FileDropParams{By: "06:00", From: "22:00"}, "2026-03-03 23:00", false, "2026-03-03 22:00", "2026-03-04 06:00"},
		{FileDropParams{By: "06:00", From: "22:00"}, "2026-03-03 21:00", true, "2026-03-02 22:00", "2026-03-03 06:00"},
		{FileDropParams{By: "16:45", Days: weekdaysOnly}, "2026-03-07 20:00", true, "2026-03-06 00:00", "2026-03-06 16:45"}, // Saturday
		{FileDropParams{By: "02:30"}, "2026-03-08 12:00", true, "2026-03-08 00:00", "2026-03-08 03:30"},                     // no 02:30 on this day
	} {
		c.with.Zone = "America/New_York"
		d, err := newDeadline(&c.with)
		if err != nil {
			t.Fatal(err)
		}
		from, by, due := d.last(at(c.now))
		if due != c.due || !from.Equal(at(c.from)) || !by.Equal(at(c.by)) {
			t.Errorf("%+v at %s: due %v, from %s by %s", c.with, c.now, due, from, by)
		}
	}
	for _, with := range []FileDropParams{{By: "25:00"}, {By: "16:45", Zone: "Mars/Base"}, {By: "16:45", Days: []string{"xyz"}}} {
		if _, err := newDeadline(&with); err == nil || !strings.Contains(err.Error(), "not") {
			t.Errorf("%+v was taken: %v", with, err)
		}
	}
}

func TestFileDropBy(t *testing.T) {
	due := &deadline{by: timeOfDay{16, 45}, zone: time.UTC, days: [7]bool{true, true, true, true, true, true, true}}
	day := func(hour, minute int) time.Time { return time.Date(2026, 3, 3, hour, minute, 0, 0, time.UTC) }
	for _, c := range []struct {
		name           string
		since, arrived time.Time
		now            time.Time
		verdict        api.Verdict
	}{
		{"before the deadline", day(1, 0), time.Time{}, day(16, 0), api.OK},
		{"arrived", day(1, 0), day(16, 0), day(17, 0), api.OK},
		{"late", day(1, 0), day(16, 50), day(17, 0), api.OK},
		{"missing", day(0, 0).Add(-time.Hour), time.Time{}, day(17, 0), api.Bad},
		{"yesterday's only", day(0, 0).Add(-time.Hour), day(0, 0).Add(-time.Minute), day(17, 0), api.Bad},
		{"watched too late to know", day(9, 0), time.Time{}, day(17, 0), api.Unknown},
	} {
		p := &fileDropProbe{due: due, state: fileState{since: c.since, arrived: c.arrived}}
		if verdict, reason := p.arrival(c.now); verdict != c.verdict {
			t.Errorf("%s: %s %s, want %s", c.name, verdict, reason, c.verdict)
		}
	}
}
