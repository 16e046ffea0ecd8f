package detect

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/backstay/backstay/api"
)

const (
	baselineSeed  = 16   // values whose median and spread start the learning
	baselineClip  = 3    // a value teaches at most this many deviations
	baselineCling = 1    // and, outside the band, at most this many
	baselineTrust = 0.1  // share of its lesson on the hour and the spread that such a value keeps
	baselineFast  = 12   // runs, at least, that level and drift reach back
	baselineWeeks = 4    // visits of an hour that its memory reaches back
	baselineFloor = 0.01 // least deviation, as a share of the level: nothing real is steadier than that
)

// baseline is a learned band. What is expected is the mean for this hour of the week (or of the day), taken
// between the middles of two hours, plus how far the last hour was off. Means and deviations are learned from clipped values
// (Huber's estimate, in a stream), so an incident moves the band by about one deviation an hour and no more: it does not
// teach itself as normal, while a lasting change is accepted after some hours. A cell is twelve bytes. Hours are UTC.
type baseline struct {
	sensitivity float64
	hold        time.Duration
	side        int8 // +1 above only, -1 below only, 0 both
	least       int
	perHour     float64 // runs
	cells       []baselineCell
	seed        []float64 // the first values; nil once learning began
	learned     int
	level       float64 // of the last hour: what is expected where the season is not known yet
	drift       float64 // how far the last hour was off the season
	spread      float64 // mean deviation over all hours
	since       int64   // outside the band since; 0 while inside
	value       float64
	expected    float64
	deviation   float64 // robust standard deviation that the band is made of
	unit        string
}

// baselineCell is what was learned of one hour.
type baselineCell struct {
	mean   float32
	spread float32 // mean absolute deviation
	count  uint16
}

func newBaseline(c api.Baseline, every time.Duration) (*baseline, error) {
	if c.Sensitivity == 0 {
		c.Sensitivity = 5
	}
	if c.MinSamples == 0 {
		c.MinSamples = 60
	}
	if !finite(c.Sensitivity) || c.Sensitivity < 1 || c.MinSamples < 10 {
		return nil, errors.New("baseline needs a sensitivity of at least 1 and at least 10 minSamples")
	}
	r := &baseline{sensitivity: c.Sensitivity, hold: c.For.Duration, least: c.MinSamples, perHour: max(float64(time.Hour)/float64(every), 1)}
	switch c.Direction {
	case "", "both":
	case "above":
		r.side = 1
	case "below":
		r.side = -1
	default:
		return nil, fmt.Errorf("baseline direction %q: want both, above or below", c.Direction)
	}
	switch c.Season {
	case "", "hour-of-week":
		r.cells = make([]baselineCell, 168)
	case "hour-of-day":
		r.cells = make([]baselineCell, 24)
	case "none":
	default:
		return nil, fmt.Errorf("baseline season %q: want none, hour-of-day or hour-of-week", c.Season)
	}
	r.seed = make([]float64, 0, min(baselineSeed, c.MinSamples))
	return r, nil
}

func (r *baseline) observe(p point, open bool) bool {
	if !p.hasValue || math.Abs(p.value) > 1e30 {
		return open
	}
	r.value, r.unit = p.value, p.unit
	if r.seed != nil {
		r.begin(p)
		return open
	}
	season, spread, known := r.season(p.at)
	r.expected, r.deviation = r.level, r.spread
	if known {
		r.expected, r.deviation = season+r.drift, max(spread, r.spread/2)
	}
	r.deviation = max(r.deviation*1.2533, baselineFloor*math.Abs(r.expected), 1e-9) // a normal spread has a mean deviation of 0.8
	off := (p.value - r.expected) / r.deviation
	far := off * float64(r.side)
	if r.side == 0 {
		far = math.Abs(off)
	}
	r.learn(p.at, off, season, known)
	if r.learned < r.least {
		return open
	}
	if far <= r.sensitivity {
		r.since = 0
		return open && far > 0.75*r.sensitivity
	}
	if r.since == 0 || p.gap && !open {
		r.since = p.at
	}
	return open || p.at-r.since >= int64(r.hold)
}

// begin collects the first values and starts from their median and their median deviation.
func (r *baseline) begin(p point) {
	r.learned++
	r.seed = append(r.seed, p.value)
	if len(r.seed) < cap(r.seed) {
		return
	}
	r.level = median(r.seed)
	for i, v := range r.seed {
		r.seed[i] = math.Abs(v - r.level)
	}
	r.spread = max(median(r.seed)*1.18, baselineFloor*math.Abs(r.level)) // median to mean deviation, for a normal spread
	r.seed = nil
}

// learn takes a value, off by so many deviations, into level, drift, spread and the hour's cell.
func (r *baseline) learn(at int64, off, season float64, known bool) {
	r.learned = min(r.learned+1, math.MaxInt32)
	most, trust := float64(baselineClip), 1.0
	if math.Abs(off) > r.sensitivity {
		most, trust = baselineCling, baselineTrust
	}
	step := float64(min(max(off, -most), most) * r.deviation) // conversions keep processors from fusing: all decide alike
	fast := 1 / min(max(r.perHour, baselineFast), float64(r.learned))
	r.level += float64(fast * step)
	if known {
		r.level = r.expected + float64(fast*step)
		r.drift += float64(fast * step)
	}
	r.spread += trust * (math.Abs(step) - r.spread) / min(r.perHour*24, float64(r.learned))
	if len(r.cells) == 0 {
		return
	}
	c := &r.cells[r.cell(at)]
	taught := r.expected + step
	if c.count == 0 {
		c.mean, c.spread = float32(taught), float32(r.spread)
	}
	if c.count < math.MaxUint16 {
		c.count++
	}
	slow := trust / min(r.perHour*baselineWeeks, float64(c.count))
	c.mean += float32(slow * (taught - float64(c.mean)))
	c.spread += float32(slow * (math.Abs(step) - float64(c.spread)))
}

func (r *baseline) cell(at int64) int { return int(at / int64(time.Hour) % int64(len(r.cells))) }

// season gives mean and mean deviation expected at a time, between the middles of two neighbouring hours.
func (r *baseline) season(at int64) (mean, spread float64, known bool) {
	if len(r.cells) == 0 {
		return 0, 0, false
	}
	half := int64(time.Hour) / 2
	a, ok := r.known(r.cell(at - half))
	b, fine := r.known(r.cell(at + half))
	if at < half || !ok || !fine {
		return 0, 0, false
	}
	share := float64((at-half)%int64(time.Hour)) / float64(time.Hour)
	mean = float64(float64(a.mean)*(1-share)) + float64(float64(b.mean)*share)
	return mean, float64(max(a.spread, b.spread)), true
}

// known gives the cell of an hour, or, where too little was seen of it, the same hour of the latest other day that has enough.
func (r *baseline) known(i int) (baselineCell, bool) {
	enough := uint16(min(max(r.perHour/2, 1), 100))
	for back := 0; back < len(r.cells); back += 24 {
		if c := r.cells[(i-back+len(r.cells))%len(r.cells)]; c.count >= enough {
			return c, true
		}
	}
	return baselineCell{}, false
}

func (r *baseline) explain(now int64, cleared bool) finding {
	width := float64(r.sensitivity * r.deviation)
	low, high := r.expected-width, r.expected+width
	f := finding{value: r.value, limit: high, unit: r.unit, evidence: []api.Number{
		{Name: "value", Value: r.value, Unit: r.unit}, {Name: "usual", Value: r.expected, Unit: r.unit},
		{Name: "low", Value: low, Unit: r.unit}, {Name: "high", Value: high, Unit: r.unit},
		{Name: "deviations", Value: math.Abs(r.value-r.expected) / max(r.deviation, 1e-9)}, {Name: "learned from", Value: float64(r.learned), Unit: "runs"}}}
	if r.value < r.expected {
		f.limit = low
	}
	band := fmt.Sprintf("usual at this time is %s to %s", number(round3(low)), amount(round3(high), r.unit))
	switch r.side {
	case 1:
		band = "usual at this time is at most " + amount(round3(high), r.unit)
	case -1:
		band = "usual at this time is at least " + amount(round3(low), r.unit)
	}
	if cleared {
		f.text = fmt.Sprintf("back at %s; %s", amount(r.value, r.unit), band)
		return f
	}
	f.text = fmt.Sprintf("at %s; %s", amount(r.value, r.unit), band)
	if r.since != 0 && now > r.since {
		f.evidence = append(f.evidence, api.Number{Name: "outside for", Value: time.Duration(now - r.since).Seconds(), Unit: "s"})
		f.text += ", outside for " + span(time.Duration(now-r.since))
	}
	return f
}

// round3 rounds to three figures: a learned band is not more exact than that.
func round3(v float64) float64 {
	if v == 0 || !finite(v) {
		return v
	}
	out, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 3, 64), 64) // powers of ten differ between processors
	if err != nil {
		return v
	}
	return out
}

func (r *baseline) reset() { r.since = 0 }
