package detect

import (
	"errors"
	"math"
	"time"

	"github.com/backstay/backstay/api"
)

// The verdicts, as single bytes.
const (
	good    byte = 'o'
	bad     byte = 'b'
	unknown byte = 'u'
)

func verdictOf(v api.Verdict) byte {
	switch v {
	case api.OK:
		return good
	case api.Bad:
		return bad
	}
	return unknown
}

// point is one observation, or one row of it, made ready for the rules.
type point struct {
	at       int64 // Unix nanoseconds
	value    float64
	total    float64
	unit     string
	reason   string
	verdict  byte
	hasValue bool // value says something
	first    bool // of this Watch
	repeat   bool // a quick repeat after a suspicion: the same question again, not another sample
	gap      bool // nothing was seen for long before it
}

// rule judges one stream of points: one per detector, and one per row where a probe sees several.
type rule interface {
	// observe takes in one point and says whether the anomaly is open after it, given whether it was before.
	observe(p point, open bool) bool
	// explain gives the figures as of now; cleared asks for the words of an anomaly that just ended.
	explain(now int64, cleared bool) finding
	// reset forgets everything that rests on the order of time; what was learned of values stays.
	reset()
}

// finding is what a rule has to say.
type finding struct {
	value, limit float64
	unit         string
	evidence     []api.Number
	text         string
}

// newRule makes the rule of a detector. It refuses rules that can never work.
func newRule(d *api.Detector, every time.Duration) (rule, error) {
	var made []rule
	var errs []error
	add := func(r rule, err error) {
		made, errs = append(made, r), append(errs, err)
	}
	if d.Failures != nil {
		add(newFailures(*d.Failures))
	}
	if d.Threshold != nil {
		add(newThreshold(*d.Threshold))
	}
	if d.Trend != nil {
		add(newTrend(*d.Trend))
	}
	if d.Absence != nil {
		add(newAbsence(*d.Absence))
	}
	if d.Flatline != nil {
		add(newFlatline(*d.Flatline))
	}
	if d.Ratio != nil {
		add(newRatio(*d.Ratio))
	}
	if d.BurnRate != nil {
		add(newBurnRate(*d.BurnRate, every))
	}
	if d.Baseline != nil {
		add(newBaseline(*d.Baseline, every))
	}
	if len(made) != 1 {
		return nil, errors.New("set exactly one of failures, threshold, trend, absence, flatline, ratio, burnRate and baseline")
	}
	return made[0], errs[0]
}

// finite tells whether a number can be reckoned with.
func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// within bounds a figure so that it stays printable and encodable whatever was fed in.
func within(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return min(max(v, -math.MaxFloat64), math.MaxFloat64)
}
