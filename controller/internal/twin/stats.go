package twin

import (
	"math"
	"slices"

	"github.com/backstay/backstay/api"
)

// How many days are played. The rule looks after every block, so that its answer does not depend on who finished first.
const (
	RunsMin  = 30
	RunsMax  = 2000
	RunBlock = 10
	// Precise is how wide the half of a 95 % interval may be, against its mean.
	Precise = 0.05
)

// decisive are the figures that the rule waits for.
var decisive = []Figure{Detected, Acted, Recovered, Late, AtRisk}

// Tally keeps the figures of one variant by replication. Runs are added in the order of their replications, so that sums are the same to
// the last bit however many workers played them.
type Tally struct {
	Variant api.Variant
	days    [][Figures]float64
}

// Add takes in the next replication.
func (t *Tally) Add(r *Run) { t.days = append(t.days, r.Figures) }

// N is how many replications were added.
func (t *Tally) N() int { return len(t.days) }

// Value is a figure of one replication, NaN where it never happened.
func (t *Tally) Value(replication int, f Figure) float64 { return t.days[replication][f] }

func (t *Tally) values(f Figure) []float64 {
	values := make([]float64, len(t.days))
	for i := range t.days {
		values[i] = t.days[i][f]
	}
	return values
}

// Stat sums up one figure of one variant. Mean, Half, Least and Greatest are of the days on which it happened; quantiles are of all
// days, where never is later than any time. NaN stands for what is not known, infinity for never.
type Stat struct {
	Days     int    // played
	Never    int    // of them without it
	Violated int    // days above zero; only for safety figures
	Mean     Number // of those with it
	Half     Number // half-width of the 95 % interval of the mean
	P5       Number
	P50      Number
	P95      Number
	Least    Number
	Greatest Number
}

// Stat sums up one figure.
func (t *Tally) Stat(f Figure) Stat {
	values := t.values(f)
	s := sumUp(values)
	if FigureInfos[f].Safety {
		for _, v := range values {
			if v > 0 {
				s.Violated++
			}
		}
	}
	return s
}

// Spread is so many evenly spaced quantiles of a figure, from the least to the greatest.
func (t *Tally) Spread(f Figure, n int) []Number {
	sorted := ascending(t.values(f))
	out := make([]Number, n)
	for i := range out {
		out[i] = quantile(sorted, float64(i)/float64(n-1))
	}
	return out
}

// Median is the replication in the middle by a figure: the one to look at where none stands out.
func (t *Tally) Median(f Figure) int {
	order := make([]int, len(t.days))
	for i := range order {
		order[i] = i
	}
	at := func(i int) float64 {
		if v := t.days[i][f]; !math.IsNaN(v) {
			return v
		}
		return math.Inf(1)
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch x, y := at(a), at(b); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	if len(order) == 0 {
		return 0
	}
	return order[(len(order)-1)/2]
}

// sumUp makes a Stat of values in the order of their replications.
func sumUp(values []float64) Stat {
	s := moments(values)
	sorted := ascending(values)
	s.P5, s.P50, s.P95 = quantile(sorted, 0.05), quantile(sorted, 0.5), quantile(sorted, 0.95)
	return s
}

// moments is the part of a Stat that needs no sorting. Products are converted before they are added: a compiler may otherwise fuse the
// two on one machine and not on another.
func moments(values []float64) Stat {
	s := Stat{Days: len(values), Mean: notKnown, Half: notKnown, Least: notKnown, Greatest: notKnown, P5: notKnown, P50: notKnown, P95: notKnown}
	sum, n := 0.0, 0
	least, greatest := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if math.IsNaN(v) {
			s.Never++
			continue
		}
		sum += v
		n++
		least, greatest = min(least, v), max(greatest, v)
	}
	if n == 0 {
		return s
	}
	mean := sum / float64(n)
	s.Mean, s.Least, s.Greatest = Number(mean), Number(least), Number(greatest)
	if n < 2 {
		return s
	}
	squares := 0.0
	for _, v := range values {
		if !math.IsNaN(v) {
			squares += float64((v - mean) * (v - mean))
		}
	}
	s.Half = Number(studentT(n-1) * math.Sqrt(squares/float64(n-1)/float64(n)))
	if least == greatest {
		s.Mean, s.Half = Number(least), 0 // a sum of equals may be off by its last digit
	}
	return s
}

// ascending sorts values; what never happened comes last, as infinity.
func ascending(values []float64) []float64 {
	sorted := slices.Clone(values)
	for i, v := range sorted {
		if math.IsNaN(v) {
			sorted[i] = math.Inf(1)
		}
	}
	slices.Sort(sorted)
	return sorted
}

// quantile interpolates between the two nearest days; where the later of them is never, so is it.
func quantile(sorted []float64, p float64) Number {
	if len(sorted) == 0 {
		return notKnown
	}
	at := float64(p * float64(len(sorted)-1))
	i := int(at)
	if part := at - float64(i); part > 0 && i+1 < len(sorted) {
		if math.IsInf(sorted[i+1], 1) {
			return Number(math.Inf(1))
		}
		return Number(sorted[i] + float64(part*(sorted[i+1]-sorted[i])))
	}
	return Number(sorted[i])
}

// Paired compares two variants day by day: a minus b.
type Paired struct {
	Days  int    // on which it happened in both
	OnlyA int    // days on which it happened only in a
	OnlyB int    // days on which it happened only in b
	Mean  Number // of the differences
	Half  Number // half-width of the 95 % interval
}

// Compare pairs the replications of two variants, which met the same arrivals, values and faults.
func Compare(a, b *Tally, f Figure) Paired {
	var p Paired
	var differences []float64
	for i := range min(len(a.days), len(b.days)) {
		x, y := a.days[i][f], b.days[i][f]
		switch {
		case math.IsNaN(x) && math.IsNaN(y):
		case math.IsNaN(x):
			p.OnlyB++
		case math.IsNaN(y):
			p.OnlyA++
		default:
			differences = append(differences, x-y)
		}
	}
	s := sumUp(differences)
	p.Days, p.Mean, p.Half = len(differences), s.Mean, s.Half
	return p
}

// Settled tells whether enough days were played, and if not, which figure of which variant is still open.
func Settled(tallies []*Tally) (bool, string) {
	for _, t := range tallies {
		if t.N() < RunsMin {
			return false, "fewer than 30 days"
		}
		for _, f := range decisive {
			if !moments(t.values(f)).precise() {
				return false, FigureInfos[f].Name + " of variant " + string(t.Variant)
			}
		}
	}
	return true, ""
}

// precise tells whether a mean is known well enough. What never happens, or is always the same, or is 0, is.
func (s Stat) precise() bool {
	switch {
	case s.Never == s.Days || s.Mean == 0:
		return true
	case math.IsNaN(float64(s.Half)):
		return false // it happened once
	}
	return float64(s.Half) <= float64(Precise*math.Abs(float64(s.Mean)))
}

// StillNeeded guesses how many days it takes in all until the rule is content: widths shrink with the root of their number.
func StillNeeded(tallies []*Tally) int {
	need := RunsMin
	for _, t := range tallies {
		for _, f := range decisive {
			s := moments(t.values(f))
			if s.precise() || math.IsNaN(float64(s.Half)) {
				continue
			}
			ratio := float64(s.Half) / float64(Precise*math.Abs(float64(s.Mean)))
			need = max(need, int(min(float64(s.Days)*ratio*ratio, RunsMax))+1)
		}
	}
	return min(need, RunsMax)
}

// student holds the 97.5 % quantiles of Student's t for 1 to 30 degrees of freedom.
var student = [...]float64{12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139, 2.200985, 2.178813, 2.160369, 2.144787,
	2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963, 2.079614, 2.073873, 2.068658, 2.063899, 2.059539, 2.055529, 2.051831, 2.048407, 2.045230, 2.042272}

// studentT is the 97.5 % quantile of Student's t: the table, and beyond it Fisher's expansion, right to the sixth digit there.
func studentT(df int) float64 {
	if df < 1 {
		return math.NaN()
	}
	if df <= len(student) {
		return student[df-1]
	}
	const z = 1.959963984540054
	const z3, z5, z7 = z * z * z, z * z * z * z * z, z * z * z * z * z * z * z
	v := float64(df)
	return z + float64((z3+z)/4/v) + float64((5*z5+16*z3+3*z)/96/v/v) + float64((3*z7+19*z5+17*z3-15*z)/384/v/v/v)
}
