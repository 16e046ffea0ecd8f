package detect

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
)

// Proof tracks an api.Expectation over the observations of its probes: the shell feeds it, in every shell alike.
//
// First each probe must show so many good runs in a row, all newer than the start, by the deadline. Where a hold is asked for,
// it then begins, once no fed anomaly is open on those probes: a bad run or an open anomaly sends it back to the beginning, and
// past the deadline that is the end. Silence proves nothing: the hold passes only with a good run inside it on each probe, and with
// each probe's last run good; it waits for those as long again as the deadline gave. Unknown runs neither help nor break. Where
// values are expected too, a good run whose value is another counts as bad.
type Proof struct {
	want   api.Expectation
	start  time.Time
	probes []provedProbe
	open   []string  // ids of open anomalies on the probes, sorted
	held   time.Time // the hold began; zero before
	result api.Result
	why    string
	end    time.Time
}

// provedProbe is what one probe showed so far.
type provedProbe struct {
	name   string
	streak int // good runs in a row
	fresh  int // good runs inside the hold
	last   api.Verdict
	value  float64
	at     time.Time // of the last run that counts
	reason string
}

// NewProof starts tracking at the given time. Observations from before it, and of that instant, never count.
func NewProof(e api.Expectation, start time.Time) *Proof {
	e.OK = max(e.OK, 1)
	if e.Within <= 0 {
		e.Within = 2 * time.Minute
	}
	p := &Proof{want: e, start: start}
	for _, name := range e.Probes {
		if !slices.ContainsFunc(p.probes, func(x provedProbe) bool { return x.name == name }) {
			p.probes = append(p.probes, provedProbe{name: name, at: start})
		}
	}
	if len(p.probes) == 0 {
		p.decide(api.ResultFailed, start, "the expectation names no probe, so nothing can be shown")
	}
	return p
}

// Observe takes one observation of any probe.
func (p *Proof) Observe(o *api.Observation) {
	i := slices.IndexFunc(p.probes, func(x provedProbe) bool { return x.name == o.Probe })
	if i < 0 || p.result != "" || !o.At.After(p.probes[i].at) {
		return
	}
	p.advance(o.At)
	if p.result != "" {
		return
	}
	x := &p.probes[i]
	x.at, x.last, x.reason = o.At, o.Verdict, o.Reason
	if o.Verdict == api.OK {
		x.value = o.Value
		if why := p.wrongValue(o.Value); why != "" {
			x.last, x.reason = api.Bad, why
		}
	}
	switch x.last {
	case api.OK:
		x.streak++
		if !p.held.IsZero() {
			x.fresh++
		}
	case api.Bad:
		x.streak = 0
		p.broken(o.At, fmt.Sprintf("%s was bad again during the hold%s", x.name, because(x.reason)))
	default:
		x.last = api.Unknown
	}
	p.settle(o.At)
}

// Anomaly takes an anomaly that opened or cleared: an open one on an expected probe breaks the hold, and none begins before it clears.
func (p *Proof) Anomaly(a api.Anomaly) {
	if p.result != "" || !slices.ContainsFunc(p.probes, func(x provedProbe) bool { return x.name == a.Probe }) {
		return
	}
	p.advance(a.At)
	if p.result != "" {
		return
	}
	i, found := slices.BinarySearch(p.open, a.ID())
	switch {
	case a.Cleared && found:
		p.open = slices.Delete(p.open, i, i+1)
		p.settle(a.At)
	case !a.Cleared && !found:
		p.open = slices.Insert(p.open, i, a.ID())
		p.broken(a.At, fmt.Sprintf("%s opened during the hold: %s", a.ID(), clip(a.Text, 200)))
	}
}

// Result tells whether the expectation is decided at the given time, how (ResultDone or ResultFailed, with text and
// facts for people), and when to ask again at the latest.
func (p *Proof) Result(now time.Time) (out api.Outcome, decided bool, wake time.Time) {
	p.advance(now)
	if p.result != "" {
		return api.Outcome{Result: p.result, Text: p.why, Facts: p.facts()}, true, time.Time{}
	}
	switch {
	case p.held.IsZero():
		wake = p.deadline()
	case now.Before(p.held.Add(p.want.Hold)):
		wake = p.held.Add(p.want.Hold)
	default:
		wake = p.held.Add(p.want.Hold + p.want.Within)
	}
	return api.Outcome{}, false, wake
}

func (p *Proof) deadline() time.Time { return p.start.Add(p.want.Within) }

// advance lets time pass: deadlines strike, holds end.
func (p *Proof) advance(now time.Time) {
	if p.result != "" {
		return
	}
	if p.held.IsZero() {
		if !now.Before(p.deadline()) {
			p.decide(api.ResultFailed, p.deadline(), p.missing())
		}
		return
	}
	end := p.held.Add(p.want.Hold)
	if now.Before(end) {
		return
	}
	if p.fresh() {
		p.decide(api.ResultDone, end, fmt.Sprintf("%s answered well %s and stayed well for %s", p.names(), times(p.want.OK), span(p.want.Hold)))
		return
	}
	if last := end.Add(p.want.Within); !now.Before(last) {
		p.decide(api.ResultFailed, last, "the hold could not be shown: "+p.silent()+" had no good last run during the hold")
	}
}

// settle decides or begins the hold, when a run or a clear just made that possible.
func (p *Proof) settle(at time.Time) {
	if !p.held.IsZero() {
		p.advance(at)
		return
	}
	for i := range p.probes {
		if p.probes[i].streak < p.want.OK {
			return
		}
	}
	if p.want.Hold <= 0 {
		p.decide(api.ResultDone, at, fmt.Sprintf("%s answered well %s", p.names(), times(p.want.OK)))
		return
	}
	if len(p.open) > 0 {
		return
	}
	p.held = at
	for i := range p.probes {
		p.probes[i].fresh = 0
	}
}

// broken ends a hold; after the deadline there is no second try.
func (p *Proof) broken(at time.Time, why string) {
	if p.held.IsZero() {
		return
	}
	p.held = time.Time{}
	if !at.Before(p.deadline()) {
		p.decide(api.ResultFailed, at, why)
	}
}

func (p *Proof) decide(r api.Result, at time.Time, why string) { p.result, p.end, p.why = r, at, why }

// fresh tells whether each probe had a good run inside the hold and its last run was good.
func (p *Proof) fresh() bool { return p.silent() == "" }

func (p *Proof) silent() string {
	var names []string
	for i := range p.probes {
		if x := &p.probes[i]; x.fresh == 0 || x.last != api.OK {
			names = append(names, x.name)
		}
	}
	return strings.Join(names, ", ")
}

// missing says what was not shown by the deadline.
func (p *Proof) missing() string {
	var parts []string
	for i := range p.probes {
		switch x := &p.probes[i]; {
		case x.streak >= p.want.OK:
		case x.last == "":
			parts = append(parts, x.name+" did not run")
		default:
			parts = append(parts, fmt.Sprintf("%s had %d good in a row, the last %s%s", x.name, x.streak, x.last, because(x.reason)))
		}
	}
	if len(parts) == 0 {
		parts = append(parts, "still open: "+strings.Join(p.open, ", "))
	}
	return fmt.Sprintf("not well within %s: %s (wanted %d good in a row)", span(p.want.Within), strings.Join(parts, "; "), p.want.OK)
}

func (p *Proof) facts() []api.Fact {
	facts := []api.Fact{{Name: "decided after", Value: span(p.end.Sub(p.start))}}
	for i := range p.probes {
		x := &p.probes[i]
		value := "did not run"
		if x.last != "" {
			value = fmt.Sprintf("%d good in a row, last %s at %s%s", x.streak, x.last, x.at.UTC().Format(time.RFC3339), because(x.reason))
		}
		facts = append(facts, api.Fact{Name: x.name, Value: value})
		if p.want.Values && x.last == api.OK {
			facts = append(facts, api.Fact{Name: api.ValueFact(x.name), Value: strconv.FormatFloat(x.value, 'g', -1, 64)})
		}
	}
	if len(p.open) > 0 {
		facts = append(facts, api.Fact{Name: "open anomalies", Value: strings.Join(p.open, ", ")})
	}
	return facts
}

// wrongValue says why a value is not the one that is expected; empty where it is. NaN is none.
func (p *Proof) wrongValue(v float64) string {
	w := &p.want
	switch {
	case w.Equals != nil && !(v == *w.Equals):
		return fmt.Sprintf("its value is %s, not %s", plainNumber(v), plainNumber(*w.Equals))
	case w.Below != nil && !(v < *w.Below):
		return fmt.Sprintf("its value is %s, not below %s", plainNumber(v), plainNumber(*w.Below))
	case w.Above != nil && !(v > *w.Above):
		return fmt.Sprintf("its value is %s, not above %s", plainNumber(v), plainNumber(*w.Above))
	}
	return ""
}

func plainNumber(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func (p *Proof) names() string {
	names := make([]string, len(p.probes))
	for i := range p.probes {
		names[i] = p.probes[i].name
	}
	return strings.Join(names, ", ")
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + clip(reason, 200)
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times in a row", n)
}
