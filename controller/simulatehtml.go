package controller

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/backstay/backstay/controller/internal/twin"
)

// Cell is one figure of one variant in a few words: a mean with half its interval, or for violations the days on which there was one.
func (r *SimulationReport) Cell(variant, figure int) string {
	f := &r.Variants[variant].Figures[figure]
	days := f.Happened + f.Never
	switch {
	case f.Violated != nil && *f.Violated > 0:
		return fmt.Sprintf("%s, on %d of %d days", f.Mean.Text(f.Unit, r.Currency), *f.Violated, days)
	case f.Violated != nil:
		return "0 (" + f.Bound + ")"
	case f.Happened == 0:
		return "never"
	}
	text := r.meanText(f.Mean, f.Half, f.Unit)
	if f.Never > 0 {
		text += fmt.Sprintf(", never on %d of %d days", f.Never, days)
	}
	return text
}

func (r *SimulationReport) meanText(mean, half twin.Number, unit string) string {
	text := mean.Text(unit, r.Currency)
	if half > 0 {
		text += " ± " + half.Text(unit, r.Currency)
	}
	return text
}

// DifferenceText is one difference with half its interval.
func (r *SimulationReport) DifferenceText(i int) string {
	d := &r.Differences[i]
	if d.Days == 0 {
		return "–"
	}
	return r.meanText(d.Mean, d.Half, d.Unit)
}

//go:embed simulate.html
var simulateHTML string

var simulatePage = template.Must(template.New("simulate").Funcs(template.FuncMap{
	"clock": shortClock,
	"short": short,
	"join":  strings.Join,
}).Parse(simulateHTML))

// page is what the template shows.
type page struct {
	*SimulationReport
	Recovered *curveChart
	Bars      []*barChart
	Day       *dayChart
	Tested    *twin.VariantReport // of the variant under test
	Doc       func(int) string
}

// WriteHTML writes the report as one page that needs nothing else: no script, no address.
func (r *SimulationReport) WriteHTML(w io.Writer) error {
	p := page{SimulationReport: r, Recovered: r.recoveredChart(), Day: r.chartOfDay(), Doc: func(i int) string { return twin.FigureInfos[i].Doc }}
	for _, name := range []string{"late", "atRisk", "backlog"} {
		if c := r.barsOf(name); c != nil {
			p.Bars = append(p.Bars, c)
		}
	}
	for i := range r.Variants {
		if r.Variants[i].Variant == r.Subject {
			p.Tested = &r.Variants[i]
		}
	}
	if err := simulatePage.Execute(w, p); err != nil {
		return fmt.Errorf("write the report as HTML: %w", err)
	}
	return nil
}
