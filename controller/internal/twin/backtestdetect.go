package twin

import (
	"slices"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/detect"
)

// A backtest of detectors feeds what probes saw to [detect.Watch] and holds the anomalies that open and clear against the recorded ones. Observations
// give an exact answer. Without them there are roll-ups: of each minute (each hour, where the minutes are gone) how many runs were bad or could not
// run, and the least, greatest, last and mean value. They do not say in which order, nor the rows and totals of a run. So each minute is played in two
// orders, one that spreads what is bad as far as it goes and one that puts it together, and what opens in only one of them is marked unsure.

// Minute is what a probe saw in one minute, or in one hour where the minutes are gone.
type Minute struct {
	At                   time.Time // its start
	Runs, Bad, Unknown   int
	Min, Max, Mean, Last float64 // of the runs that were not unknown
}

// Sight is what there is of one probe.
type Sight struct {
	Probe        api.Probe
	Minutes      []Minute          // in order
	Observations []api.Observation // in order; then Minutes are not looked at
}

// AnomalyTest is one anomaly in both histories.
type AnomalyTest struct {
	Name     string    `json:"name"`
	Verdict  string    `json:"verdict"` // same, new, gone, unsure
	Recorded *Interval `json:"recorded,omitempty"`
	Replayed *Interval `json:"replayed,omitempty"`
	Why      string    `json:"why,omitempty"` // of unsure: what keeps it from being sure
}

// Interval is from when to when an anomaly was open.
type Interval struct {
	Opened  time.Time `json:"opened"`
	Cleared time.Time `json:"cleared,omitzero"`
}

// DetectTest is the result of a backtest of detectors.
type DetectTest struct {
	Exact     int           `json:"exact"`             // probes with recorded observations
	Rolled    int           `json:"rolled"`            // probes with roll-ups only
	Nothing   []string      `json:"nothing,omitempty"` // probes with neither
	Anomalies []AnomalyTest `json:"anomalies"`
	Notes     []string      `json:"notes,omitempty"`
}

// timeSlack is how far an anomaly of roll-ups may open from the recorded one and be the same.
const timeSlack = 2 * time.Minute

// BacktestDetect replays what probes saw. Recorded anomalies count where the probe was seen at the time.
func BacktestDetect(sights []Sight, log []api.Entry) (*DetectTest, error) {
	out := &DetectTest{Anomalies: []AnomalyTest{}}
	recorded := openTimes(log)
	for i := range sights {
		s := &sights[i]
		if len(s.Observations) == 0 && len(s.Minutes) == 0 {
			out.Nothing = append(out.Nothing, s.Probe.Metadata.Name)
			continue
		}
		if err := s.judge(recorded[s.Probe.Metadata.Name], out); err != nil {
			return nil, err
		}
	}
	if out.Rolled > 0 {
		out.Notes = append(out.Notes, "roll-ups hold counts and values of a minute without their order: times are good to a minute, and what rests on the order within one is marked unsure")
	}
	return out, nil
}

// openTimes lists, for each probe, when each of its anomalies was open.
func openTimes(log []api.Entry) map[string][]AnomalyTest {
	out, open := map[string][]AnomalyTest{}, map[string]int{}
	for i := range log {
		a := log[i].Anomaly
		if a == nil {
			continue
		}
		switch log[i].Kind {
		case api.EntryAnomalyOpened:
			open[a.ID()] = len(out[a.Probe])
			out[a.Probe] = append(out[a.Probe], AnomalyTest{Name: a.ID(), Recorded: &Interval{Opened: a.At}})
		case api.EntryAnomalyCleared:
			if k, is := open[a.ID()]; is {
				out[a.Probe][k].Recorded.Cleared = a.At
				delete(open, a.ID())
			}
		}
	}
	return out
}

// judge replays one probe.
func (s *Sight) judge(recorded []AnomalyTest, out *DetectTest) error {
	if len(s.Observations) > 0 {
		out.Exact++
		got, err := s.watch(s.Observations)
		if err != nil {
			return err
		}
		from, to := s.Observations[0].At, s.Observations[len(s.Observations)-1].At
		out.Anomalies = append(out.Anomalies, compare(recorded, got, nil, bounds{from, to, time.Second})...)
		return nil
	}
	out.Rolled++
	spread, err := s.watch(s.play(false))
	if err != nil {
		return err
	}
	together, err := s.watch(s.play(true))
	if err != nil {
		return err
	}
	unsure := func(a *AnomalyTest) string {
		return s.unsure(a, spread, together)
	}
	both := slices.Clone(together)
	for _, a := range spread {
		if !slices.ContainsFunc(both, func(b AnomalyTest) bool { return a.meets(&b, timeSlack) }) {
			both = append(both, a)
		}
	}
	slices.SortStableFunc(both, func(a, b AnomalyTest) int { return a.Replayed.Opened.Compare(b.Replayed.Opened) })
	from, to := s.Minutes[0].At, s.Minutes[len(s.Minutes)-1].At.Add(time.Minute)
	out.Anomalies = append(out.Anomalies, compare(recorded, both, unsure, bounds{from, to, timeSlack})...)
	return nil
}

// meets tells whether two anomalies are one: the same name, and open at times that touch.
func (a *AnomalyTest) meets(b *AnomalyTest, slack time.Duration) bool {
	x, y := a.interval(), b.interval()
	if a.Name != b.Name {
		return false
	}
	return (x.Cleared.IsZero() || !y.Opened.After(x.Cleared.Add(slack))) && (y.Cleared.IsZero() || !x.Opened.After(y.Cleared.Add(slack)))
}

func (a *AnomalyTest) interval() *Interval {
	if a.Recorded != nil {
		return a.Recorded
	}
	return a.Replayed
}

// bounds are when a probe was seen, and how exact times are.
type bounds struct {
	from, to time.Time
	slack    time.Duration
}

// compare holds what opened in the replay against what opened in the log.
func compare(recorded, got []AnomalyTest, unsure func(*AnomalyTest) string, within bounds) []AnomalyTest {
	var out []AnomalyTest
	used := make([]bool, len(got))
	for i := range recorded {
		r := recorded[i]
		if r.Recorded.Opened.Before(within.from.Add(-within.slack)) || r.Recorded.Opened.After(within.to.Add(within.slack)) {
			continue
		}
		r.Verdict = "gone"
		for k := range got {
			if !used[k] && r.meets(&got[k], within.slack) && r.Recorded.Opened.Sub(got[k].Replayed.Opened).Abs() <= max(within.slack, time.Second) {
				used[k], r.Verdict, r.Replayed = true, "same", got[k].Replayed
				break
			}
		}
		if unsure != nil {
			if why := unsure(&r); why != "" && r.Verdict == "gone" {
				r.Verdict, r.Why = "unsure", why
			}
		}
		out = append(out, r)
	}
	for k := range got {
		if used[k] {
			continue
		}
		a := got[k]
		a.Verdict = "new"
		if unsure != nil {
			if why := unsure(&a); why != "" {
				a.Verdict, a.Why = "unsure", why
			}
		}
		out = append(out, a)
	}
	return out
}

// unsure says why nobody can be sure of an anomaly by roll-ups alone; empty where one can.
func (s *Sight) unsure(a *AnomalyTest, spread, together []AnomalyTest) string {
	for i := range s.Probe.Spec.Detect {
		d := &s.Probe.Spec.Detect[i]
		name := s.Probe.Metadata.Name + "/" + d.Name
		switch {
		case a.Name == name && d.Ratio != nil:
			return "roll-ups do not hold the totals that a ratio is taken of"
		case a.Name != name && len(a.Name) > len(name) && a.Name[:len(name)+1] == name+"[":
			return "roll-ups do not hold the rows of a probe"
		}
	}
	in := func(list []AnomalyTest) bool {
		return slices.ContainsFunc(list, func(b AnomalyTest) bool { return a.meets(&b, timeSlack) })
	}
	if in(spread) != in(together) {
		return "it depends on the order of the runs within a minute"
	}
	return ""
}

// watch feeds observations to the probe's detectors.
func (s *Sight) watch(list []api.Observation) ([]AnomalyTest, error) {
	w, err := detect.New(s.Probe.Metadata.Name, s.Probe.Spec)
	if err != nil {
		return nil, err
	}
	var out []AnomalyTest
	var changes []api.Anomaly
	open := map[string]int{}
	for i := range list {
		changes = w.Observe(&list[i], changes[:0])
		for k := range changes {
			a := &changes[k]
			if !a.Cleared {
				open[a.ID()] = len(out)
				out = append(out, AnomalyTest{Name: a.ID(), Replayed: &Interval{Opened: a.At}})
			} else if n, is := open[a.ID()]; is {
				out[n].Replayed.Cleared = a.At
				delete(open, a.ID())
			}
		}
	}
	return out, nil
}

// play makes observations of roll-ups: spread over their minute, in one of two orders.
func (s *Sight) play(together bool) []api.Observation {
	every := s.Probe.Spec.Every.Duration
	if every <= 0 {
		every = 30 * time.Second
	}
	var out []api.Observation
	for i := range s.Minutes {
		m := &s.Minutes[i]
		span := time.Minute
		if time.Duration(m.Runs)*every > 3*time.Minute { // no minute holds that many: it is an hour
			span = time.Hour
		}
		before := i > 0 && s.Minutes[i-1].Bad > 0
		after := i+1 < len(s.Minutes) && s.Minutes[i+1].Bad > 0
		for k := range m.Runs {
			o := api.Observation{Probe: s.Probe.Metadata.Name, At: m.At.Add(span * time.Duration(2*k+1) / time.Duration(2*m.Runs)), Verdict: m.verdict(k, together, after && !before)}
			if o.Verdict != api.Unknown {
				o.Value = m.value(k, together)
			}
			out = append(out, o)
		}
	}
	return out
}

// verdict is that of the kth run: what is bad stands together at one end of the minute, or spread over it.
func (m *Minute) verdict(k int, together, late bool) api.Verdict {
	if together {
		if late {
			k = m.Runs - 1 - k
		}
		switch {
		case k < m.Bad:
			return api.Bad
		case k < m.Bad+m.Unknown:
			return api.Unknown
		}
		return api.OK
	}
	nth := func(n int) bool { return n > 0 && (k+1)*n/m.Runs > k*n/m.Runs }
	switch {
	case nth(m.Bad):
		return api.Bad
	case nth(m.Bad + m.Unknown):
		return api.Unknown
	}
	return api.OK
}

// value is that of the kth run: the last one is known, the least and the greatest come in one order or the other, the others are the mean.
func (m *Minute) value(k int, together bool) float64 {
	first, second := m.Min, m.Max
	if together {
		first, second = second, first
	}
	switch {
	case k == m.Runs-1:
		return m.Last
	case k == 0 && m.Runs > 1:
		return first
	case k == 1 && m.Runs > 2:
		return second
	}
	return m.Mean
}
