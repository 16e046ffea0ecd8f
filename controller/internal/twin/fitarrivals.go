package twin

import (
	"slices"
	"time"

	"github.com/backstay/backstay/api"
)

// When arrivals are a rhythm and no chance.
const (
	rhythmShare = 0.8  // of the gaps within a day that are alike
	rhythmWidth = 0.02 // to within so much
)

// arrivals finds how work comes in.
func (f *fitter) arrivals(s *api.ModelSpec) {
	var at []int64
	for i := range f.cases {
		at = append(at, f.cases[i].events[0].start)
	}
	slices.Sort(at)
	f.guessed(len(at), "arrivals")
	if len(at) == 1 || at[0] == at[len(at)-1] {
		s.Arrivals.PerHour = float64(len(at)) / max(float64(f.to-f.from)/float64(hourMicros), 1)
		return
	}
	if f.rhythm(s, at) {
		return
	}
	span := float64(at[len(at)-1] - at[0])
	if span < float64(7*dayMicros) || span > float64(centuryMicros) || len(at) < guessSamples {
		s.Arrivals.PerHour = min(roundTo(float64(len(at)-1)/(span/float64(hourMicros)), 4), 36_000_000)
		return
	}
	var count, length [168]float64
	for _, t := range at {
		cell, _ := cellOf(t)
		count[cell]++
	}
	for t := floorTo(at[0], hourMicros); t <= at[len(at)-1]; t += hourMicros {
		cell, _ := cellOf(t)
		begin, end := max(t, at[0]), min(t+hourMicros, at[len(at)-1]+1)
		length[cell] += float64(end-begin) / float64(hourMicros)
	}
	s.Arrivals.Hours = make([]float64, 168)
	for c := range 168 {
		if count[c] > 0 {
			s.Arrivals.Hours[c] = min(roundTo(count[c]/max(length[c], 0.02), 3), 36_000_000)
		}
	}
}

// rhythm finds arrivals that come so regularly that they are no chance: always the same time apart, within the same hours.
func (f *fitter) rhythm(s *api.ModelSpec, at []int64) bool {
	gaps := make([]int64, 0, len(at))
	for i := range at[1:] {
		gaps = append(gaps, at[i+1]-at[i])
	}
	sorted := slices.Clone(gaps)
	slices.Sort(sorted)
	median := sorted[len(sorted)/2]
	if median < 1000 || median > 366*dayMicros || len(at) < guessSamples {
		return false
	}
	alike := 0
	for _, g := range gaps {
		if d := float64(g - median); d*d <= rhythmWidth*rhythmWidth*float64(median)*float64(median) {
			alike++
		}
	}
	if float64(alike) < rhythmShare*float64(len(gaps)) {
		return false
	}
	s.Arrivals.Every = api.Duration{Duration: (time.Duration(median) * time.Microsecond).Round(time.Second)}
	if s.Arrivals.Every.Duration == 0 {
		s.Arrivals.Every.Duration = time.Duration(median) * time.Microsecond
	}
	if sorted[len(sorted)-1] < 2*median || at[len(at)-1]-at[0] < 7*dayMicros {
		return true
	}
	s.Arrivals.Calendar = modelHours(arrivalSpans(at, median))
	return true
}

// arrivalSpans are the days and times between which there are arrivals, each with the gap that follows it.
func arrivalSpans(at []int64, gap int64) []api.WeekSpan {
	var first, last [7][]int
	for i := 0; i < len(at); {
		day := floorTo(at[i], dayMicros)
		cell, _ := cellOf(at[i])
		from := int((at[i] - day) / minuteMicros)
		to := from
		for ; i < len(at) && at[i] < day+dayMicros; i++ {
			to = int((at[i] - day) / minuteMicros)
		}
		first[cell/24], last[cell/24] = append(first[cell/24], from), append(last[cell/24], to)
	}
	var out []api.WeekSpan
	for day := range 7 {
		if len(first[day]) == 0 {
			continue
		}
		slices.Sort(first[day])
		slices.Sort(last[day])
		from, to := first[day][len(first[day])/2], last[day][len(last[day])/2]
		to = min(to+max(int(gap/minuteMicros), 1), 24*60)
		span := api.WeekSpan{On: []string{weekNames[day]}, From: clockText(from), To: clockText(to)}
		if same := slices.IndexFunc(out, func(s api.WeekSpan) bool { return s.From == span.From && s.To == span.To }); same >= 0 {
			out[same].On = append(out[same].On, weekNames[day])
		} else {
			out = append(out, span)
		}
	}
	return out
}
