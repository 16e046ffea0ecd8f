package controller

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/twin"
)

// Charts are drawn for a phone: 360 units wide, which is about what it shows of them. The page scales them up.
const (
	chartWide   = 360.0
	chartLeft   = 44.0
	chartRight  = 350.0
	chartTop    = 12.0
	chartBottom = 168.0
)

// curveChart shows for each variant on which share of the days it had recovered by when.
type curveChart struct {
	Curves []curve
	Ticks  []tick // of time
	Text   string // for those who do not see it
}

type curve struct {
	Variant api.Variant
	Path    string
	Never   string // "never on 12 %"
}

type tick struct {
	At     float64
	Text   string
	Anchor string // middle, or end for the last one, so that it is not cut off
}

// ticks marks a time scale.
func ticks(step, end float64, x func(float64) float64) []tick {
	var out []tick
	for at := 0.0; at <= end; at += step {
		anchor := "middle"
		if at+step > end {
			anchor = "end"
		}
		out = append(out, tick{x(at), shortSpan(at), anchor})
	}
	return out
}

// recoveredChart draws the times to recover; nil where nothing ever recovered.
func (r *SimulationReport) recoveredChart() *curveChart {
	longest := 0.0
	for i := range r.Variants {
		for _, q := range figureOf(&r.Variants[i], "recovered").Spread {
			if v := float64(q); !math.IsInf(v, 0) && !math.IsNaN(v) {
				longest = math.Max(longest, v)
			}
		}
	}
	if longest == 0 {
		return nil
	}
	step, end := timeScale(longest)
	x := func(seconds float64) float64 { return chartLeft + (chartRight-chartLeft)*seconds/end }
	y := func(share float64) float64 { return chartBottom - (chartBottom-chartTop)*share }
	c := &curveChart{}
	var words []string
	for i := range r.Variants {
		v := &r.Variants[i]
		f := figureOf(v, "recovered")
		if len(f.Spread) == 0 {
			continue
		}
		path := fmt.Sprintf("M%.1f %.1f", x(0), y(0))
		share := 0.0
		for k, q := range f.Spread {
			if math.IsInf(float64(q), 0) {
				break
			}
			path += fmt.Sprintf("H%.1f", x(float64(q)))
			share = float64(k) / float64(len(f.Spread)-1)
			path += fmt.Sprintf("V%.1f", y(share))
		}
		path += fmt.Sprintf("H%.1f", x(end))
		line := curve{Variant: v.Variant, Path: path}
		if f.Never > 0 {
			line.Never = fmt.Sprintf("never on %d of %d days", f.Never, f.Never+f.Happened)
		}
		c.Curves = append(c.Curves, line)
		words = append(words, fmt.Sprintf("%s: half of the days by %s, 95 %% by %s", v.Variant, f.P50.Text("s", ""), f.P95.Text("s", "")))
	}
	c.Ticks = ticks(step, end, x)
	c.Text = strings.Join(words, ". ") + "."
	return c
}

// timeScale chooses a round step with three to six of them up to the end.
func timeScale(longest float64) (step, end float64) {
	for _, step = range []float64{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 4 * 3600, 6 * 3600, 12 * 3600, 86400, 2 * 86400, 7 * 86400} {
		if longest/step <= 5 {
			break
		}
	}
	return step, math.Max(math.Ceil(longest/step), 1) * step
}

// shortSpan prints a tick of a time scale: 30s, 5m, 2h, 1d.
func shortSpan(seconds float64) string {
	for _, u := range []struct {
		seconds float64
		name    string
	}{{86400, "d"}, {3600, "h"}, {60, "m"}} {
		if seconds >= u.seconds && math.Mod(seconds, u.seconds) == 0 {
			return strconv.FormatFloat(seconds/u.seconds, 'f', -1, 64) + u.name
		}
	}
	if seconds >= 3600 {
		return fmt.Sprintf("%dh%02dm", int(seconds)/3600, int(seconds)/60%60)
	}
	return strconv.FormatFloat(seconds, 'f', -1, 64) + "s"
}

// barChart shows a figure of each variant: the mean as a bar, and from the 5th to the 95th percentile as a line.
type barChart struct {
	Name string
	Doc  string
	Bars []bar
	High float64
	Text string
}

type bar struct {
	Variant   api.Variant
	Y         float64
	Width     float64
	From, To  float64 // of the line
	Value     string
	TextAt    float64
	LabelY    float64
	LineY     float64
	HasSpread bool
}

// barsOf draws a figure; nil where it is 0 everywhere.
func (r *SimulationReport) barsOf(name string) *barChart {
	most := 0.0
	for i := range r.Variants {
		f := figureOf(&r.Variants[i], name)
		for _, q := range []twin.Number{f.P95, f.Mean} {
			if v := float64(q); !math.IsNaN(v) && !math.IsInf(v, 0) {
				most = math.Max(most, v)
			}
		}
	}
	if most == 0 {
		return nil
	}
	const left, right = 76.0, 240.0
	x := func(v twin.Number) float64 {
		return left + (right-left)*math.Min(math.Max(float64(v), 0)/most, 1)
	}
	c := &barChart{Name: name, Doc: docOf(name)}
	var words []string
	for i := range r.Variants {
		v := &r.Variants[i]
		f := figureOf(v, name)
		if f.Happened == 0 {
			continue
		}
		y := float64(len(c.Bars))*34 + 8
		b := bar{Variant: v.Variant, Y: y, Width: x(f.Mean) - left, From: x(f.P5), To: x(f.P95), Value: f.Mean.Text(f.Unit, r.Currency), LabelY: y + 15, LineY: y + 11, HasSpread: f.P95 > f.P5}
		b.TextAt = math.Max(b.To, left+b.Width) + 6
		c.Bars = append(c.Bars, b)
		words = append(words, fmt.Sprintf("%s %s", v.Variant, r.meanText(f.Mean, f.Half, f.Unit)))
	}
	c.High = float64(len(c.Bars))*34 + 4
	c.Text = strings.Join(words, ", ") + "."
	return c
}

func docOf(name string) string {
	for _, info := range twin.FigureInfos {
		if info.Name == name {
			return info.Doc
		}
	}
	return ""
}

func figureOf(v *twin.VariantReport, name string) *twin.FigureReport {
	i := slices.IndexFunc(v.Figures, func(f twin.FigureReport) bool { return f.Name == name })
	if i < 0 {
		return &twin.FigureReport{}
	}
	return &v.Figures[i]
}

// dayChart shows the day that is told: what was wrong as bars, what was seen and done as marks.
type dayChart struct {
	Lanes []lane
	Marks []dot
	Ticks []tick
	High  float64
	Text  string
}

type lane struct {
	Name string
	Y    float64
	Bars [][2]float64 // x and width
}

type dot struct {
	X, Y  float64
	Class string
	Title string
}

// dayLanes are the lanes, and which kinds of line belong to them.
var dayLanes = []struct {
	name  string
	kinds []string
}{
	{"wrong", nil}, {"seen", []string{"detected", "cause", "closed"}}, {"done", []string{"playbook", "act", "done", "unsure", "verified", "no"}},
	{"people", []string{"asked", "answered"}}, {"harm", []string{"doubled", "lost"}},
}

// chartOfDay draws the story; nil where there is none.
func (r *SimulationReport) chartOfDay() *dayChart {
	if r.Story == nil || len(r.Story.Lines) == 0 {
		return nil
	}
	end := 0.0
	for _, l := range r.Story.Lines {
		end = math.Max(end, l.At)
	}
	step, end := timeScale(math.Max(end, 1))
	x := func(at float64) float64 {
		return chartLeft + 6 + (chartRight-chartLeft-6)*math.Min(math.Max(at, 0)/end, 1)
	}
	c := &dayChart{}
	for _, d := range dayLanes {
		l := lane{Name: d.name, Y: float64(len(c.Lanes))*24 + 14}
		any := d.kinds == nil
		for _, line := range r.Story.Lines {
			if slices.Contains(d.kinds, line.Kind) {
				any = true
				c.Marks = append(c.Marks, dot{x(line.At), l.Y, "k-" + line.Kind, shortClock(line.At) + " " + line.Text})
			}
		}
		if d.kinds == nil {
			l.Bars = faultBars(r.Story.Lines, x, end)
		}
		if !any {
			continue
		}
		c.Lanes = append(c.Lanes, l)
	}
	c.High = float64(len(c.Lanes))*24 + 26
	c.Ticks = ticks(step, end, x)
	c.Text = fmt.Sprintf("Day %d of variant %s, told line by line below.", r.Story.Day, r.Story.Variant)
	return c
}

// faultBars pairs the beginning of each fault with its end, by the text of its line.
func faultBars(lines []twin.StoryLine, x func(float64) float64, end float64) [][2]float64 {
	var out [][2]float64
	for i, l := range lines {
		if l.Kind != "fault" {
			continue
		}
		until := end
		for _, later := range lines[i+1:] {
			if later.Kind == "over" && strings.HasPrefix(later.Text, l.Text) {
				until = later.At
				break
			}
		}
		out = append(out, [2]float64{x(l.At), math.Max(x(until)-x(l.At), 2)})
	}
	return out
}

// shortClock prints a time since the start: 1:02:03.4, or 2:03.4.
func shortClock(seconds float64) string {
	sign := ""
	if seconds < 0 {
		sign, seconds = "−", -seconds
	}
	tenths := int64(math.Round(seconds * 10))
	if tenths >= 36000 {
		return fmt.Sprintf("%s%d:%02d:%02d.%d", sign, tenths/36000, tenths/600%60, tenths/10%60, tenths%10)
	}
	return fmt.Sprintf("%s%d:%02d.%d", sign, tenths/600, tenths/10%60, tenths%10)
}
