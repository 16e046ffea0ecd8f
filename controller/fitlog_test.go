package controller_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller"
	"github.com/backstay/backstay/controller/internal/eventlog"
	"github.com/backstay/backstay/controller/internal/twin"
)

// FuzzFitLogs fits to small logs of any kind. Whatever log can be read, the model of it is read again, validates and works.
func FuzzFitLogs(f *testing.F) {
	f.Add([]byte{0, 0, 1, 10, 5})
	f.Add([]byte{0, 1, 0, 10, 5, 0, 2, 1, 0, 9, 1, 1, 0, 200, 5, 1, 2, 1, 0, 0, 2, 3, 3, 255, 255})
	f.Add(make([]byte, 300))
	long := make([]byte, 0, 2000)
	for i := range 400 {
		long = append(long, byte(i/4), byte(i%4), byte(i%3), byte(i*37), byte(i*11))
	}
	f.Add(long)
	path := filepath.Join(f.TempDir(), "small.csv")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, []byte(smallLog(data)), 0o600); err != nil {
			t.Fatal(err)
		}
		fit, err := controller.FitLogs([]string{path}, controller.LogFormat{}, "")
		if len(data) < 5 {
			if err == nil {
				t.Error("a model of nothing")
			}
			return
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, smallLog(data))
		}
		past, _, err := eventlog.Read(strings.NewReader(smallLog(data)), eventlog.Options{})
		if err != nil {
			t.Fatal(err)
		}
		made, err := twin.Replay(fit.Model, twin.ReplayOptions{Begin: time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC), Cases: 10, Seed: 1, Past: past})
		if err != nil && !(strings.Contains(err.Error(), "nothing was done") && rare(&fit.Model.Spec.Arrivals)) {
			t.Fatalf("%v\n%s", err, fit.YAML)
		}
		if err == nil && len(made.Cases) == 0 {
			t.Error("the model does nothing")
		}
	})
}

// rare tells whether less than ten cases come in a year, the longest that is played.
func rare(a *api.Arrivals) bool {
	perHour := a.PerHour
	for _, n := range a.Hours {
		perHour += n / 168
	}
	return a.Every.Duration == 0 && perHour*8784 < 10
}

// smallLog makes an event of every five bytes: its case, activity and resource, how long after the last one it begins and how long it takes.
func smallLog(data []byte) string {
	var b strings.Builder
	b.WriteString("case,activity,resource,start,end\n")
	names := []string{"Check", "check", "0", "false", "ship it: now", "\"a, b\"", "- x", "éè"}
	people := []string{"", "ann", "0", "ben: #1", "null"}
	at := time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC)
	for ; len(data) >= 5; data = data[5:] {
		at = at.Add(time.Duration(data[3]) * time.Duration(data[3]) * time.Minute / 4)
		end := at.Add(time.Duration(data[4]) * time.Duration(data[4]) * time.Second)
		fmt.Fprintf(&b, "%d,%s,%s,%s,%s\n", data[0], names[int(data[1])%len(names)], people[int(data[2])%len(people)], at.Format(time.RFC3339), end.Format(time.RFC3339))
	}
	return b.String()
}
