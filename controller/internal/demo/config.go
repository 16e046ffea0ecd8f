package demo

import (
	"embed"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// config is how a controller is told of the office: the files that the demo leaves for people to read and change.
//
//go:embed config/*.yaml
var config embed.FS

// page is what the files are filled in with: where this office listens, and how it behaves, so that the model beside the configuration
// cannot say anything else.
type page struct {
	Addresses
	Gateway, ERPSystem, Worker                 Fault // of this seed's bad day
	Every, Placing                             time.Duration
	OrderLeast, OrderMost                      int
	Batch, BookTries                           int
	PollPause, RouterWaits, BookWaits, Promise time.Duration
	Hangs, HangsEarly, Slower                  string
}

func pageOf(at Addresses) page {
	faults := Timetable(at.Seed)
	for i := range faults {
		faults[i].At = faults[i].At.Round(time.Millisecond)
	}
	percent := func(share float64) string { return strconv.FormatFloat(math.Round(1e4*share)/100, 'f', -1, 64) + "%" }
	return page{
		Addresses: at, Gateway: faults[0], ERPSystem: faults[1], Worker: faults[2],
		Every: time.Duration(float64(time.Second) / PerSecond), Placing: Placing, OrderLeast: orderLeast, OrderMost: orderLeast + orderSpread - 1,
		Batch: batch, BookTries: bookTries, PollPause: pollPause, RouterWaits: routerWaits, BookWaits: bookWaits, Promise: promise,
		Hangs: percent(illGateway.HangAfter), HangsEarly: percent(illGateway.HangBefore), Slower: illGateway.Latency.String(),
	}
}

// WriteConfig writes the configuration for an office, with the addresses of this run filled in, and beside it a model of the office and
// its bad day as a scenario.
func WriteConfig(dir string, at Addresses) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write the demo's configuration: %w", err)
	}
	files, err := fs.Glob(config, "config/*.yaml")
	if err != nil {
		return err
	}
	with := pageOf(at)
	for _, name := range files {
		t, err := template.ParseFS(config, name)
		if err != nil {
			return fmt.Errorf("read the demo's configuration: %w", err)
		}
		var text strings.Builder
		if err := t.Execute(&text, with); err != nil {
			return fmt.Errorf("fill in the demo's configuration: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), []byte(text.String()), 0o644); err != nil {
			return fmt.Errorf("write the demo's configuration: %w", err)
		}
	}
	return nil
}
