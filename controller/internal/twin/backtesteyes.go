package twin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

// eyesight is what the engine knew of the probes without its being in the log, as far as the decisions in the log tell.
type eyesight struct {
	storming bool
	unknown  map[string]bool        // probes that could not run
	open     map[string]api.Anomaly // by id
	home     map[string]string      // the incident of each, as recorded
	stale    map[string]bool        // ids of those from before a restart that nobody has seen again
	ids      []string               // of open, in the order in which they opened
	seen     map[string]time.Time
	blind    map[string][]span // when a probe was not seen, by the refusals that say so

	books    map[string]*engine.Playbook
	names    []string // of books, in their order
	every    map[string]time.Duration
	confirms []string

	locked map[string]bool // probes that an earlier entry of the same moment rests on; the empty name stands for the storm brake

	ran     []string
	ticked  int64 // the entry, plus one, for which a tick was brought
	stirred int
	odd     bool
}

type span struct{ from, to time.Time }

func newEyesight() eyesight {
	return eyesight{unknown: map[string]bool{}, open: map[string]api.Anomaly{}, home: map[string]string{}, stale: map[string]bool{}, seen: map[string]time.Time{}, blind: map[string][]span{},
		books: map[string]*engine.Playbook{}, every: map[string]time.Duration{}, locked: map[string]bool{}}
}

// configure takes what a configuration says of probes and playbooks.
func (s *eyesight) configure(c *engine.Config) {
	clear(s.books)
	clear(s.every)
	s.confirms, s.names = nil, nil
	for i := range c.Probes {
		s.every[c.Probes[i].Metadata.Name] = c.Probes[i].Spec.Every.Duration
	}
	for i := range c.Playbooks {
		p := &c.Playbooks[i]
		s.books[p.Name] = p
		s.names = append(s.names, p.Name)
		if want := p.Spec.On.Confirm; want != nil {
			for _, name := range want.Of {
				if probe, _, _ := strings.Cut(name, "/"); !slices.Contains(s.confirms, probe) {
					s.confirms = append(s.confirms, probe)
				}
			}
		}
	}
}

// notSeen is how a refusal begins its list of probes that were out of sight.
const notSeen = "not seen for more than two of their intervals: "

// read finds when corroborating probes were out of sight.
func (s *eyesight) read(p *Past) {
	var cfg *engine.Config
	since := map[string]time.Time{}
	end := func(probe string, at time.Time) {
		if from, is := since[probe]; is {
			s.blind[probe] = append(s.blind[probe], span{from, at})
			delete(since, probe)
		}
	}
	for i := range p.Entries {
		e := &p.Entries[i]
		switch e.Kind {
		case api.EntryConfigured:
			if cfg = p.config(e.Digest); cfg == nil {
				cfg = p.Changed
			}
			if cfg != nil {
				s.configure(cfg)
			}
		case api.EntryAnomalyOpened:
			if e.Anomaly != nil {
				end(e.Anomaly.Probe, e.At)
			}
		case api.EntryRefused, api.EntryRemediationOpened, api.EntrySuggested, api.EntryObserved:
			b := s.books[e.Playbook]
			if b == nil || b.Spec.On.Confirm == nil {
				continue
			}
			_, old := confirmed(e)
			for _, name := range b.Spec.On.Confirm.Of {
				probe, _, _ := strings.Cut(name, "/")
				if !slices.Contains(old, probe) {
					if judged(e) {
						end(probe, e.At)
					}
				} else if _, is := since[probe]; !is {
					since[probe] = e.At.Add(-2 * s.every[probe])
				}
			}
		}
	}
	probes := make([]string, 0, len(since))
	for probe := range since { // sorted below
		probes = append(probes, probe)
	}
	slices.Sort(probes)
	for _, probe := range probes {
		end(probe, p.Entries[len(p.Entries)-1].At.Add(time.Hour))
	}
	clear(s.books)
	clear(s.every)
	s.confirms = nil
}

// judged tells whether whoever made the entry had counted the signals that agree.
func judged(e *api.Entry) bool {
	if e.Kind != api.EntryRefused {
		return true
	}
	if e.Refusal == nil || strings.HasPrefix(e.Text, "Undoing step") {
		return false
	}
	switch e.Refusal.Guard {
	case api.GuardConfirm, api.GuardInDoubt, api.GuardFlight, api.GuardRuns, api.GuardItems, api.GuardAmount, api.GuardShare, api.GuardCooldown, api.GuardCalendar,
		api.GuardStorm, api.GuardDemoted:
		return true
	}
	return e.Refusal.Guard == api.GuardApproval && strings.Contains(e.Text, "may only suggest")
}

// confirmed reads from a refusal how many signals agreed, and which probes were out of sight.
func confirmed(e *api.Entry) (n int, old []string) {
	if e.Refusal == nil || e.Refusal.Guard != api.GuardConfirm {
		return -1, nil
	}
	if _, err := fmt.Sscanf(e.Refusal.Reason, "only %d of", &n); err != nil {
		return -1, nil
	}
	if _, list, has := strings.Cut(e.Refusal.Reason, notSeen); has {
		old = strings.Split(strings.TrimSuffix(list, "."), ", ")
	}
	return n, old
}

// restart forgets what a new process does not know.
func (s *eyesight) restart() {
	s.storming, s.ran = false, nil
	clear(s.unknown)
	clear(s.seen)
	clear(s.stale)
	for _, id := range s.ids {
		s.stale[id] = true
	}
}

// begin lists the corroborating probes that count as seen when a configuration comes after a start: those with an anomaly open. Nothing is
// decided by it, because those anomalies were not seen again yet.
func (s *eyesight) begin(at time.Time) []string {
	var out []string
	for _, probe := range s.confirms {
		if s.reports(probe) && !slices.ContainsFunc(s.blind[probe], func(x span) bool { return !at.Before(x.from) && at.Before(x.to) }) {
			s.seen[probe] = at
			out = append(out, probe)
		}
	}
	return out
}

// anomaly takes one that is about to be fed.
func (s *eyesight) anomaly(a api.Anomaly) {
	if !s.unknown[a.Probe] && a.At.After(s.seen[a.Probe]) {
		s.seen[a.Probe] = a.At
	}
}

// opened and cleared follow the replay's own entries.
func (s *eyesight) opened(a api.Anomaly, incident string) {
	id := a.ID()
	s.home[id] = incident
	if _, is := s.open[id]; !is {
		s.ids = append(s.ids, id)
	}
	s.open[id] = a
	delete(s.stale, id)
}

func (s *eyesight) cleared(a api.Anomaly) {
	id := a.ID()
	if s.unknown[a.Probe] && !slices.Contains(s.ran, a.Probe) {
		s.ran = append(s.ran, a.Probe)
	}
	delete(s.open, id)
	delete(s.home, id)
	delete(s.stale, id)
	s.ids = slices.DeleteFunc(s.ids, func(x string) bool { return x == id })
}

// merged follows one incident into another.
func (s *eyesight) merged(from, into string) {
	for _, id := range s.ids {
		if s.home[id] == from {
			s.home[id] = into
		}
	}
}

// sight is the corroborating probe that is to be seen next, and when: as often as it runs, while an anomaly of it is open.
func (s *eyesight) sight() (next string, at time.Time) {
	for _, probe := range s.confirms {
		every := s.every[probe]
		if every <= 0 || s.unknown[probe] || s.seen[probe].IsZero() || !s.reports(probe) {
			continue
		}
		t := s.seen[probe].Add(every)
		for _, x := range s.blind[probe] {
			switch last := x.from.Add(-1); {
			case t.Before(x.from) || !t.Before(x.to):
			case s.seen[probe].Before(last):
				t = last // as late as can be
			default:
				t = x.to
			}
		}
		if next == "" || t.Before(at) {
			next, at = probe, t
		}
	}
	return next, at
}

// lock keeps what an entry rests on as it is for the later ones of the same moment.
func (s *eyesight) lock(e *api.Entry) {
	if e.Refusal != nil && e.Refusal.Guard == api.GuardStorm || s.calm(e) {
		s.locked[""] = true
	}
	book := s.books[e.Playbook]
	if book == nil || !judged(e) && (e.Refusal == nil || e.Refusal.Guard != api.GuardUnknown) {
		return
	}
	switch e.Kind {
	case api.EntryRefused, api.EntryObserved, api.EntrySuggested, api.EntryRemediationOpened:
	default:
		return
	}
	names := []string{s.triggerOf(e.Incident, book)}
	if want := book.Spec.On.Confirm; want != nil {
		names = append(names, want.Of...)
	}
	for _, name := range names {
		probe, _, _ := strings.Cut(name, "/")
		s.locked[probe] = true
	}
}

func (s *eyesight) unlock() { clear(s.locked) }

// reports tells whether an anomaly of a probe is open.
func (s *eyesight) reports(probe string) bool {
	return slices.ContainsFunc(s.ids, func(id string) bool { return s.open[id].Probe == probe })
}

// known makes the event that a probe can run again.
func (s *eyesight) known(probe string) *engine.Event {
	delete(s.unknown, probe)
	return &engine.Event{Verdict: &engine.Verdict{Probe: probe, Verdict: api.Bad}}
}

// infer gives the next thing that must have been so for an entry to have been made; nil where all is as it must be. With worse it gives only
// what holds playbooks back.
func (s *eyesight) infer(e *api.Entry, worse bool) *engine.Event {
	guard := api.Guard("")
	if e.Refusal != nil {
		guard = e.Refusal.Guard
	}
	switch {
	case guard == api.GuardStorm && !s.storming && !s.locked[""]:
		ill, all := 0, 0
		if n, err := fmt.Sscanf(e.Refusal.Reason, "%d of %d", &ill, &all); n == 2 && err == nil {
			s.storming = true
			return &engine.Event{Eyes: &engine.Eyes{Probes: all, Bad: ill}}
		}
	case !worse && s.storming && s.calm(e) && !s.locked[""]:
		s.storming = false
		return &engine.Event{Eyes: &engine.Eyes{}}
	}
	book := s.books[e.Playbook]
	switch e.Kind {
	case api.EntryRefused, api.EntryObserved, api.EntrySuggested, api.EntryRemediationOpened:
	default:
		return nil
	}
	if book == nil || strings.HasPrefix(e.Text, "Undoing step") {
		return nil
	}
	on := s.triggerOf(e.Incident, book)
	trigger, _, _ := strings.Cut(on, "/")
	switch {
	case guard == api.GuardUnknown:
		var probe string
		if _, err := fmt.Sscanf(e.Refusal.Reason, "probe %s cannot", &probe); err == nil && !s.unknown[probe] && !s.locked[probe] {
			s.unknown[probe] = true
			return &engine.Event{Verdict: &engine.Verdict{Probe: probe, Verdict: api.Unknown}}
		}
	case judged(e):
		if ev := s.corroborate(e, book, worse); ev != nil {
			return ev
		}
		if !worse && s.unknown[trigger] && changes(book) && !s.locked[trigger] {
			return s.sawAt(trigger, e.At)
		}
	}
	if worse {
		return nil
	}
	return s.again(on) // last: until then the engine does not consider the playbook
}

// triggerOf is the anomaly that a playbook is considered for in an incident: its own, or that of the one above it on its ladder.
func (s *eyesight) triggerOf(incident string, book *engine.Playbook) string {
	here := func(name string) bool {
		return slices.ContainsFunc(s.ids, func(id string) bool { return s.open[id].Name == name && s.home[id] == incident })
	}
	if !here(book.Spec.On.Anomaly) {
		for _, name := range s.names {
			if up := s.books[name]; up.Spec.Otherwise == book.Name && here(up.Spec.On.Anomaly) {
				return up.Spec.On.Anomaly
			}
		}
	}
	return book.Spec.On.Anomaly
}

// calm tells whether an entry could not have been made while the storm brake held.
func (s *eyesight) calm(e *api.Entry) bool {
	book := s.books[e.Playbook]
	switch e.Kind {
	case api.EntryRemediationOpened:
		return book == nil || changes(book)
	case api.EntryStepIntended, api.EntryStepRepeated, api.EntryUndoIntended:
		return book == nil || !slices.ContainsFunc(book.Steps, func(p api.StepPlan) bool { return p.Name == e.Step && !acts(&p) })
	}
	return false
}

// changes tells whether any step of a playbook may change something.
func changes(p *engine.Playbook) bool {
	return slices.ContainsFunc(p.Steps, func(q api.StepPlan) bool { return acts(&q) })
}

func acts(p *api.StepPlan) bool {
	return p.Control.Wait == 0 && p.Control.Ask == nil && p.Control.Expect == nil && p.Action.Danger != api.D0
}

// again makes the event that an anomaly from before a restart was seen again.
func (s *eyesight) again(name string) *engine.Event {
	for _, id := range s.ids {
		if a := s.open[id]; a.Name == name && s.stale[id] {
			delete(s.stale, id)
			s.anomaly(a)
			return &engine.Event{Anomaly: &a}
		}
	}
	return nil
}

func (s *eyesight) sawAt(probe string, at time.Time) *engine.Event {
	s.seen[probe] = at
	return s.known(probe)
}

// counts tells whether a signal agrees: its anomaly is open and fresh, and its probe can run.
func (s *eyesight) counts(name string, at time.Time) bool {
	probe, _, _ := strings.Cut(name, "/")
	return !s.unknown[probe] && s.fresh(probe, at) &&
		slices.ContainsFunc(s.ids, func(id string) bool { return s.open[id].Name == name && !s.stale[id] })
}

// cameBack gives the probes that could not run and whose anomaly cleared since: they must have run.
func (s *eyesight) cameBack() []string {
	out := s.ran
	s.ran = nil
	return out
}

// fresh tells whether a probe was seen within two of its intervals.
func (s *eyesight) fresh(probe string, at time.Time) bool {
	every := s.every[probe]
	return every <= 0 || at.Sub(s.seen[probe]) <= 2*every
}

// corroborate brings the number of signals that agree to what an entry says.
func (s *eyesight) corroborate(e *api.Entry, book *engine.Playbook, worse bool) *engine.Event {
	want := book.Spec.On.Confirm
	if want == nil {
		return nil
	}
	n, old := confirmed(e)
	var agree []string
	for _, name := range want.Of {
		if probe, _, _ := strings.Cut(name, "/"); (s.counts(name, e.At) || name == book.Spec.On.Anomaly && s.fresh(probe, e.At)) && !slices.Contains(agree, probe) {
			agree = append(agree, probe)
		}
	}
	if trigger, _, _ := strings.Cut(book.Spec.On.Anomaly, "/"); n >= 0 && len(agree) > n {
		slices.SortStableFunc(agree, func(a, b string) int { // the trigger itself can run, or its own guard would have said so
			switch {
			case (a == trigger) == (b == trigger):
				return 0
			case a == trigger:
				return 1
			}
			return -1
		})
		if s.locked[agree[0]] {
			return nil
		}
		s.unknown[agree[0]] = true
		return &engine.Event{Verdict: &engine.Verdict{Probe: agree[0], Verdict: api.Unknown}}
	}
	if n < 0 {
		n = want.AtLeast
	}
	if worse || len(agree) >= n {
		return nil
	}
	names := slices.Clone(want.Of)
	slices.SortStableFunc(names, func(a, b string) int { // the trigger last: until it can run the engine counts nothing
		switch trigger := book.Spec.On.Anomaly; {
		case (a == trigger) == (b == trigger):
			return 0
		case a == trigger:
			return 1
		}
		return -1
	})
	for _, name := range names {
		probe, _, _ := strings.Cut(name, "/")
		if s.counts(name, e.At) || slices.Contains(agree, probe) || slices.Contains(old, probe) || s.locked[probe] {
			continue
		}
		if ev := s.again(name); ev != nil {
			return ev
		}
		if !slices.ContainsFunc(s.ids, func(id string) bool { return s.open[id].Name == name }) {
			continue
		}
		if s.unknown[probe] {
			return s.sawAt(probe, e.At)
		}
		s.seen[probe] = e.At
		return &engine.Event{Seen: probe}
	}
	return nil
}
