package api

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Bounds of a model, so that a slip of the pen does not keep a machine busy for a day.
const (
	perHourMax = 36_000_000 // arrivals: ten thousand a second
	hoursOfAll = 168        // hours of a week
)

// model holds a model against itself and against the configuration that it is a model of.
func (v *validator) model(m *Model) {
	o := object{KindModel, m.Metadata.Name}
	spec := &m.Spec
	if spec.Workflow != "" {
		v.ref(o, "spec.workflow", KindWorkflow, spec.Workflow)
	}
	v.fitted(o, spec.Fitted)
	v.arrivals(o, &spec.Arrivals)
	v.modelItems(o, &spec.Items)
	mv := &modelValidator{validator: v, o: o, spec: spec}
	for i := range spec.Steps {
		mv.steps = append(mv.steps, spec.Steps[i].Name)
	}
	for i := range spec.Pools {
		mv.pools = append(mv.pools, spec.Pools[i].Name)
		v.pool(o, fmt.Sprintf("spec.pools[%d]", i), &spec.Pools[i])
	}
	v.unique(o, "spec.steps", mv.steps)
	v.unique(o, "spec.pools", mv.pools)
	for i := range spec.Steps {
		mv.step(fmt.Sprintf("spec.steps[%d]", i), &spec.Steps[i])
	}
	mv.ways("spec.begin", spec.Begin)
	for i, b := range spec.Begin {
		if b.To == "" || b.After != "" || b.First {
			v.error(o, fmt.Sprintf("spec.begin[%d]", i), "bad-value", "begin names the step with which items begin, and nothing comes before it", "write {to: STEP, share: 1}")
		}
	}
	mv.endless()
	mv.systems()
	mv.sees()
	mv.places()
	mv.actions()
	mv.people()
}

// modelValidator is the validator on one model.
type modelValidator struct {
	*validator
	o            object
	spec         *ModelSpec
	steps, pools []string
}

// written finds a key that stands in the file; nil where it does not.
func (v *validator) written(o object, path, key string) *node { return v.node(o, path).get(key) }

// zero reports a zero that was written down where zero means that nothing was said.
func (v *validator) zero(o object, path, key string, is bool, hint string) {
	if is && v.written(o, path, key) != nil {
		v.error(o, path+"."+key, "zero", fmt.Sprintf("%s.%s is zero, with which nothing can be done", path, key), hint)
	}
}

// oneOf reports unless exactly one of several ways is used; none is as bad as two where one is needed.
func (v *validator) oneOf(o object, path string, needed bool, names []string, used []bool) {
	var both []string
	for i, is := range used {
		if is {
			both = append(both, names[i])
		}
	}
	switch {
	case len(both) > 1:
		v.error(o, path, "not-exactly-one", fmt.Sprintf("%s says %s, which exclude each other", path, strings.Join(both, " and ")), "keep one of them")
	case len(both) == 0 && needed:
		v.error(o, path, "not-exactly-one", path+" says nothing", "write one of "+strings.Join(names, ", "))
	}
}

func (v *validator) fitted(o object, f *Fitted) {
	if f == nil || len(f.Window) == 0 {
		return
	}
	var at [2]time.Time
	for i, text := range f.Window {
		t, err := time.Parse(time.RFC3339, text)
		if err != nil || len(f.Window) != 2 {
			v.error(o, "spec.fitted.window", "bad-value", "the window is two points in time", "write [2026-01-05T00:00:00Z, 2026-03-31T00:00:00Z]")
			return
		}
		at[i] = t
	}
	if at[1].Before(at[0]) {
		v.error(o, "spec.fitted.window", "out-of-range", "the window ends before it begins", "write the earlier one first")
	}
}

func (v *validator) arrivals(o object, a *Arrivals) {
	const path = "spec.arrivals"
	used := []bool{a.PerHour > 0, len(a.Hours) > 0, a.Gaps != nil, a.Every.Duration > 0, len(a.Times) > 0}
	v.oneOf(o, path, false, []string{"perHour", "hours", "gaps", "every", "times"}, used)
	if !slices.Contains(used, true) {
		v.warn(o, path, "nothing-arrives", "nothing arrives: only what a scenario puts there is worked on", "write perHour, hours, gaps, every or times")
	}
	if a.PerHour > perHourMax {
		v.error(o, path+".perHour", "out-of-range", fmt.Sprintf("%g items an hour are too many; the most is %d", a.PerHour, int64(perHourMax)), "take a smaller part of the work, or arrivals of batches")
	}
	if n := len(a.Hours); n > 0 && n != hoursOfAll {
		v.error(o, path+".hours", "out-of-range", fmt.Sprintf("hours has %d figures; a week has %d hours", n, hoursOfAll), "write one figure for each hour from Monday 00:00")
	}
	sum := 0.0
	for i, n := range a.Hours {
		if !(n >= 0 && n <= perHourMax) {
			v.error(o, fmt.Sprintf("%s.hours[%d]", path, i), "out-of-range", fmt.Sprintf("%g items an hour are impossible", n), fmt.Sprintf("write 0 to %d", int64(perHourMax)))
		}
		sum += n
	}
	if len(a.Hours) > 0 && sum == 0 {
		v.error(o, path+".hours", "zero", "every hour is zero, so nothing ever arrives", "write how many items come in each hour")
	}
	v.zone(o, path+".zone", a.Zone)
	if a.Zone != "" && len(a.Hours) == 0 {
		v.warn(o, path+".zone", "ignored", "zone only says where hours are counted", "remove it")
	}
	if a.Gaps != nil {
		v.times(o, path+".gaps", a.Gaps)
		if q := a.Gaps.Quantiles; len(q) > 0 && q[len(q)-1].Duration == 0 {
			v.error(o, path+".gaps.quantiles", "endless", "there is no time between two arrivals, so they never end", "write the gaps as they were")
		}
	}
	if a.Calendar != nil {
		v.hours(o, path+".calendar", a.Calendar)
		if a.Gaps == nil && a.Every.Duration == 0 {
			v.error(o, path+".calendar", "ignored", "calendar only goes with gaps and every", "use hours, with zeros for the hours in which nothing comes")
		}
	}
	if every := a.Every.Duration; every > 0 && every < time.Millisecond {
		v.error(o, path+".every", "out-of-range", fmt.Sprintf("a drop every %s is more than a machine can play", every), "write 1ms or more")
	}
	v.zero(o, path, "batch", a.Batch == 0, "write 1 or more, or leave it out")
	if a.Batch > 0 && a.Every.Duration == 0 {
		v.warn(o, path+".batch", "ignored", "batch only goes with every", "remove it, or write every")
	}
	for i := range a.Times[:max(len(a.Times), 1)-1] {
		if a.Times[i+1].Duration < a.Times[i].Duration {
			v.error(o, fmt.Sprintf("%s.times[%d]", path, i+1), "not-ascending", fmt.Sprintf("%s comes after %s", a.Times[i+1], a.Times[i]), "write the times in order")
			return
		}
	}
}

func (v *validator) modelItems(o object, m *ModelItems) {
	if m.Currency != "" && !validCurrency.MatchString(m.Currency) {
		v.error(o, "spec.items.currency", "bad-value", fmt.Sprintf("%q is not a currency", m.Currency), "write the three capitals of ISO 4217, such as EUR")
	}
	a := m.Value
	if a == nil {
		return
	}
	const path = "spec.items.value"
	fixed := a.Fixed > 0 || v.written(o, path, "fixed") != nil
	v.oneOf(o, path, true, []string{"fixed", "median", "quantiles"}, []bool{fixed, a.Median > 0, len(a.Quantiles) > 0})
	v.spread(o, path, a.Median, a.P95)
	for i, q := range a.Quantiles {
		if q < 0 {
			v.error(o, fmt.Sprintf("%s.quantiles[%d]", path, i), "out-of-range", "an item is worth less than nothing", "write 0 or more")
		}
	}
	v.ascending(o, path+".quantiles", a.Quantiles)
}

// spread checks the two figures of a log-normal.
func (v *validator) spread(o object, path string, median, p95 int64) {
	switch {
	case median == 0 && p95 > 0:
		v.error(o, path+".p95", "ignored", "p95 only goes with median", "write median too")
	case median > 0 && p95 == 0:
		v.error(o, path+".median", "missing-key", "a median alone says nothing about how much it varies", "write p95 too, or fixed")
	case median > 0 && p95 < median:
		v.error(o, path+".p95", "not-ascending", "p95 is below the median", "95 of 100 are less than p95: write one that is above the median")
	}
}

func (v *validator) ascending(o object, path string, list []int64) {
	if len(list) == 1 {
		v.error(o, path, "out-of-range", "one quantile says nothing about how much it varies", "write two or more, or fixed")
	}
	for i := range list[:max(len(list), 1)-1] {
		if list[i+1] < list[i] {
			v.error(o, fmt.Sprintf("%s[%d]", path, i+1), "not-ascending", "the quantiles do not ascend", "write them from the least to the greatest")
			return
		}
	}
}

// times checks a length of time that varies.
func (v *validator) times(o object, path string, t *Times) {
	if t == nil {
		return
	}
	fixed := t.Fixed.Duration > 0 || v.written(o, path, "fixed") != nil
	v.oneOf(o, path, true, []string{"fixed", "mean", "median", "quantiles"}, []bool{fixed, t.Mean.Duration > 0, t.Median.Duration > 0, len(t.Quantiles) > 0})
	v.spread(o, path, int64(t.Median.Duration), int64(t.P95.Duration))
	list := make([]int64, len(t.Quantiles))
	for i, q := range t.Quantiles {
		list[i] = int64(q.Duration)
	}
	v.ascending(o, path+".quantiles", list)
	if t.Tail.Duration > 0 && len(list) == 0 {
		v.error(o, path+".tail", "ignored", "tail only goes with quantiles", "remove it")
	}
	least := max(t.Fixed.Duration, t.Median.Duration)
	if len(list) > 0 {
		least = time.Duration(list[0])
	}
	if t.Longest.Duration > 0 && t.Longest.Duration < least {
		v.error(o, path+".longest", "out-of-range", fmt.Sprintf("longest is %s, shorter than what usually happens", t.Longest), "raise it, or leave it out")
	}
}

func (v *validator) zone(o object, path, zone string) {
	if _, err := time.LoadLocation(cmp.Or(zone, "UTC")); err != nil || zone == "Local" {
		v.error(o, path, "bad-zone", fmt.Sprintf("there is no time zone %q", zone), "write an IANA name, such as Europe/Berlin, America/New_York or UTC")
	}
}

// hours checks when somebody is there.
func (v *validator) hours(o object, path string, h *ModelHours) {
	if h == nil {
		return
	}
	if h.Calendar != "" {
		v.ref(o, path+".calendar", KindCalendar, h.Calendar)
	}
	v.zone(o, path+".zone", h.Zone)
	for i, span := range h.Days {
		place := fmt.Sprintf("%s.days[%d]", path, i)
		from, okFrom := minuteOfDay(span.From)
		to, okTo := minuteOfDay(span.To)
		switch {
		case !okFrom || from == 24*60:
			v.error(o, place+".from", "bad-time", fmt.Sprintf("%q is not a time of day at which work begins", span.From), "write 09:00")
		case !okTo:
			v.error(o, place+".to", "bad-time", fmt.Sprintf("%q is not a time of day", span.To), "write 17:30, at most 24:00")
		case to <= from:
			v.error(o, place+".to", "out-of-range", fmt.Sprintf("the span from %s to %s is empty", span.From, span.To), "for a night write two spans: 22:00 to 24:00 and 00:00 to 06:00")
		}
	}
}

func minuteOfDay(text string) (int, bool) {
	if text == "24:00" {
		return 24 * 60, true
	}
	t, err := time.Parse(CalendarTime, text)
	return t.Hour()*60 + t.Minute(), err == nil
}

func (v *validator) pool(o object, path string, p *ModelPool) {
	v.zero(o, path, "size", p.Size == 0, "write how many there are; a pool of nobody never does anything")
	v.hours(o, path+".hours", p.Hours)
	if p.Pauses && p.Hours == nil && !slices.ContainsFunc(p.Members, func(m ModelMember) bool { return m.Hours != nil }) {
		v.error(o, path+".pauses", "ignored", "work pauses when hours end, and nobody here has hours", "write hours, or remove it")
	}
	if len(p.Members) > 0 && (p.Size > 0 || p.Hours != nil) {
		v.error(o, path+".members", "not-exactly-one", "members stand instead of size and hours", "remove size and hours, and give each member hours")
	}
	var names []string
	for i := range p.Members {
		m, place := &p.Members[i], fmt.Sprintf("%s.members[%d]", path, i)
		names = append(names, m.Name)
		v.hours(o, place+".hours", m.Hours)
		v.zero(o, place, "share", m.Share == 0, "who is never chosen is no member: remove the line")
	}
	v.unique(o, path+".members", names)
}
