package twin

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/backstay/backstay/api"
)

// FigureNames are the names of the figures in their order, as expectations write them.
func FigureNames() []string {
	names := make([]string, Figures)
	for i, info := range FigureInfos {
		names[i] = info.Name
	}
	return names
}

// expectation is one thing that must hold on each day.
type expectation struct {
	compiled *api.Assertion
	implied  bool // no scenario needs to say it: no violation of safety by the variant under test
}

// expectations compiles those of a scenario, and adds that there is no violation of safety: of each figure that no line of the scenario
// asks about by itself. Nobody promised that of a variant without our playbooks.
func expectations(sc *api.Scenario, subject api.Variant) ([]expectation, error) {
	env, err := api.NewAssertions(FigureNames())
	if err != nil {
		return nil, err
	}
	var out []expectation
	var asked []string
	for _, text := range sc.Spec.Expect {
		compiled, err := env.Compile(text)
		if err != nil {
			return nil, api.Errorf(api.CodeInvalid, "scenario %s expects %q: %w", sc.Metadata.Name, text, err)
		}
		out = append(out, expectation{compiled: compiled})
		asked = append(asked, compiled.Reads()...)
	}
	if subject != api.VariantCurrent && subject != api.VariantCandidate {
		return out, nil
	}
	for _, info := range FigureInfos {
		if info.Safety && !slices.Contains(asked, info.Name) {
			compiled, err := env.Compile(info.Name + " == 0")
			if err != nil {
				return nil, err
			}
			out = append(out, expectation{compiled, true})
		}
	}
	return out, nil
}

// Expected is what came of one expectation.
type Expected struct {
	Text    string  `json:"text"`
	Implied bool    `json:"implied,omitempty"` // it needs no line in a scenario: safety
	Held    int     `json:"held"`              // days
	Days    int     `json:"days"`
	Worst   int     `json:"worst,omitempty"` // the day, from 1, on which it failed most clearly
	Saw     string  `json:"saw,omitempty"`   // its figures on that day
	Error   string  `json:"error,omitempty"` // it could not be answered
	Pos     api.Pos `json:"-"`               // where the scenario says it; the caller knows
}

// Met tells whether it held on each day.
func (e *Expected) Met() bool { return e.Error == "" && e.Held == e.Days }

// judge holds an expectation against all days. It also gives the first day on which it failed; -1 where there is none.
func (s *Study) judge(x *expectation) (Expected, int) {
	out := Expected{Text: x.compiled.String(), Implied: x.implied, Days: s.Days()}
	first, worst := -1, -1
	lead := x.compiled.Reads()[0]
	for day := range out.Days {
		holds, err := x.compiled.Holds(func(name string) float64 { return s.value(name, day) })
		if err != nil {
			out.Error = err.Error()
		}
		if holds {
			out.Held++
			continue
		}
		if first < 0 {
			first, worst = day, day
		}
		if worse(x.compiled.Bound(), s.value(lead, day), s.value(lead, worst)) {
			worst = day
		}
	}
	if worst >= 0 {
		out.Worst, out.Saw = s.first+worst+1, s.saw(x.compiled.Reads(), worst)
	}
	return out, first
}

// worse tells whether a violates a bound more clearly than b. Never is the worst.
func worse(bound string, a, b float64) bool {
	switch {
	case bound == "" || math.IsNaN(b):
		return false
	case math.IsNaN(a):
		return true
	case bound == "most":
		return a > b
	}
	return a < b
}

// value finds a figure by the name that expectations use.
func (s *Study) value(name string, day int) float64 {
	variant, figure := s.subject, name
	if v, f, other := strings.Cut(name, "."); other {
		variant, figure = api.Variant(v), f
	}
	t := s.tally(variant)
	i := slices.Index(FigureNames(), figure)
	if t == nil || i < 0 {
		return math.NaN() // validation has said so
	}
	return t.Value(day, Figure(i))
}

// saw says what the figures were on a day: detected was 75.0 s, naive.doubled was 3, recovered never happened.
func (s *Study) saw(names []string, day int) string {
	parts := make([]string, len(names))
	for i, name := range names {
		v := s.value(name, day)
		if math.IsNaN(v) {
			parts[i] = name + " never happened"
			continue
		}
		_, figure, other := strings.Cut(name, ".")
		if !other {
			figure = name
		}
		unit := FigureInfos[slices.Index(FigureNames(), figure)].Unit
		parts[i] = name + " was " + Number(v).Text(unit, s.plan.currency)
	}
	return strings.Join(parts, ", ") + " on day " + strconv.Itoa(s.first+day+1)
}
