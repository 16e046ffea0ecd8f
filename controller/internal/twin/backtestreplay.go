package twin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

// The measures of a replay.
const (
	wakeSlack   = 200 * time.Millisecond // how late a recorded entry may be for a tick, and still be what the tick led to
	wakeOutside = 20 * time.Millisecond  // the same before an entry that something outside caused
	wakeLeast   = time.Millisecond       // between two ticks, as in the shell
	resultGrace = 5 * time.Second        // after a command's deadline the engine gives it up
	configSoon  = time.Second            // after a start the configuration comes at once
	stopWindow  = time.Minute            // how long before controller.stopped a stop may have been asked for
)

// retelling is a backtest under way.
type retelling struct {
	in    *Past
	s     *engine.State
	cfg   *engine.Config
	now   int // the recorded entry that is being replayed; -1 for none
	at    time.Time
	wake  time.Time
	ticks time.Time // the last one

	repeat    map[int]bool // recorded refusals that only repeat the one before in other words
	done      []bool       // recorded entries that were matched or used up
	cases     map[string]*incidentCase
	order     []string
	incs      map[string]string // incident of the replay -> case
	lives     map[string]string // recorded incident -> of the replay
	mapped    map[string]bool   // recorded incidents that have a counterpart
	pairs     map[string]*pair  // by remediation of the replay
	paired    map[string]*pair  // by recorded remediation
	turns     map[string]int
	recRems   map[string][]string // incident and playbook -> recorded remediations, in order
	steps     map[string][]int    // recorded remediation and step -> its entries that the replay has not come to
	all       map[string][]int    // recorded remediation -> all its entries
	estimates map[string][]int    // playbook and step -> entries with an estimate
	over      map[string][]int    // anomaly -> entries that clear it
	pend      map[string]*engine.Command
	due       []dueEvent
	stops     map[int]int // entries at which a stop may have been asked for -> the entry that says that it stopped
	stopped   int         // the last of those that was asked for
	booting   time.Time   // started, and the configuration has not come yet
	digest    string
	early     bool            // anomalies from before a restart are seen again at once where that decides nothing
	changed   bool            // the changed configuration is in force
	made      int             // events made up, for unique names
	proofs    map[string]bool // remediation/step of the replay whose undo is done: what is planned now reads it
	asked     map[string]int  // looks and readings so far

	eyes                       eyesight
	saidRecorded, saidReplayed map[string]*api.Refusal // the last refusal of each playbook in each incident, and of each step
	matched, skipped, repeats  int
	notes                      []string
	took                       map[string]api.Entry // anomaly -> the entry of the replay that opened it last

	known  bool              // the inputs of the present moment were recorded: nothing is inferred
	loose  bool              // the replay goes other ways than the log somewhere
	exact  int               // recorded entries whose inputs were recorded
	issued map[string]bool   // commands of the replay
	alias  map[string]string // command as recorded -> of the replay, where they differ
}

// dueEvent is a result that the replay itself brings.
type dueEvent struct {
	at    time.Time
	event engine.Event
	rem   string
}

func newRetelling(p *Past) *retelling {
	b := &retelling{in: p, s: engine.New(), now: -1, done: make([]bool, len(p.Entries)), repeat: map[int]bool{}, cases: map[string]*incidentCase{"": {}}, order: []string{""},
		incs: map[string]string{}, lives: map[string]string{}, mapped: map[string]bool{}, pairs: map[string]*pair{}, paired: map[string]*pair{}, turns: map[string]int{},
		recRems: map[string][]string{}, steps: map[string][]int{}, all: map[string][]int{}, estimates: map[string][]int{}, over: map[string][]int{}, pend: map[string]*engine.Command{}, stops: map[int]int{}, took: map[string]api.Entry{}, stopped: -1, proofs: map[string]bool{}, asked: map[string]int{},
		issued: map[string]bool{}, alias: map[string]string{}, eyes: newEyesight(), saidRecorded: map[string]*api.Refusal{}, saidReplayed: map[string]*api.Refusal{}}
	for i := range p.Entries {
		b.index(i)
	}
	b.eyes.read(p)
	return b
}

// index files a recorded entry under what it is about.
func (b *retelling) index(i int) {
	e := &b.in.Entries[i]
	c := b.cases[e.Incident]
	if c == nil {
		c = &incidentCase{id: e.Incident, root: e.Node, opened: e.At}
		b.cases[e.Incident] = c
		b.order = append(b.order, e.Incident)
	}
	c.exists = true
	if e.Kind == api.EntryIncidentRooted {
		c.root = e.Node
	}
	switch {
	case b.again(b.saidRecorded, e):
		b.done[i], b.repeat[i] = true, true
		b.repeats++
	case !b.describes(e):
		c.queue = append(c.queue, i)
	}
	if e.Kind == api.EntryRemediationOpened {
		key := e.Incident + "\x00" + e.Playbook
		b.recRems[key] = append(b.recRems[key], e.Remediation)
	}
	if e.Remediation != "" {
		b.all[e.Remediation] = append(b.all[e.Remediation], i)
		if e.Step != "" {
			b.steps[e.Remediation+"/"+e.Step] = append(b.steps[e.Remediation+"/"+e.Step], i)
		}
	}
	if e.Estimate != nil {
		key := e.Playbook + "/" + e.Step
		b.estimates[key] = append(b.estimates[key], i)
	}
	if e.Kind == api.EntryAnomalyCleared && e.Anomaly != nil {
		b.over[e.Anomaly.ID()] = append(b.over[e.Anomaly.ID()], i)
	}
	if e.Kind == api.EntryStopped {
		for k := b.stopAsked(i); k <= i; k++ {
			b.stops[k] = i
		}
	}
}

// stopAsked finds the entry before which a stop was asked for at the latest: nothing begins after it.
func (b *retelling) stopAsked(stopped int) int {
	at := b.in.Entries[stopped].At
	for i := stopped; ; i-- {
		if i == 0 {
			return i
		}
		switch e := &b.in.Entries[i-1]; e.Kind {
		case api.EntryStarted, api.EntryConfigured, api.EntryRefused, api.EntryObserved, api.EntrySuggested, api.EntryRemediationOpened, api.EntryStepRefused, api.EntryStepSkipped,
			api.EntryStepIntended, api.EntryStepRepeated, api.EntryUndoIntended, api.EntryVerifyStarted, api.EntryMeasured, api.EntryAsked, api.EntryRemediationEnded:
			return i
		default:
			if at.Sub(e.At) > stopWindow {
				return i
			}
		}
	}
}

// entry replays one recorded entry.
func (b *retelling) entry(i int) {
	e := &b.in.Entries[i]
	b.takeChanged(e.At)
	if e.Kind == api.EntryStarted { // nobody knows how long before it the last life ended
		b.wake, b.due = time.Time{}, nil
	} else {
		b.configAfterStart(i)
		b.advance(i)
	}
	b.now = i
	b.stopping(i)
	c := b.cases[e.Incident]
	if decides(e.Kind) && !b.repeat[i] {
		c.recorded = append(c.recorded, *side(e, e.Seq))
	}
	switch {
	case b.done[i]:
	case c.parted:
		b.skipped++
		b.supposing(c, e)
		b.outside(i)
		b.done[i] = true
	default:
		b.provoke(i)
		if b.done[i] {
			break
		}
		b.done[i] = true
		switch {
		case b.describes(e):
			b.skipped++
		case c.id == "":
			c.outside = append(c.outside, *side(e, e.Seq))
		case !c.parted:
			b.part(c, e, b.elsewhere(i))
		}
	}
	if i+1 == len(b.in.Entries) || b.in.Entries[i+1].At.After(e.At) {
		for _, probe := range b.eyes.cameBack() {
			if b.eyes.unknown[probe] {
				ev := b.eyes.sawAt(probe, e.At)
				ev.At = e.At
				b.feed(*ev)
			}
		}
	}
	b.now = -1
}

// supposing notes what a parted incident rests on where the log acted.
func (b *retelling) supposing(c *incidentCase, e *api.Entry) {
	if acts := e.Kind == api.EntryStepIntended || e.Kind == api.EntryStepRepeated; acts && c.assumed == "" {
		c.assumed = "the anomalies clear when they cleared in the log, where " + e.Playbook + "/" + e.Step + " was called"
	}
}

// elsewhere is the entry by which the replay took the anomaly that opens a recorded incident into another one; nil where it did not.
func (b *retelling) elsewhere(i int) *api.Entry {
	if b.in.Entries[i].Kind != api.EntryIncidentOpened {
		return nil
	}
	for k := i + 1; k < len(b.in.Entries) && b.in.Entries[k].At.Equal(b.in.Entries[i].At); k++ {
		if a := b.in.Entries[k].Anomaly; a != nil && b.in.Entries[k].Incident == b.in.Entries[i].Incident {
			if x, is := b.took[a.ID()]; is && x.At.Equal(b.in.Entries[i].At) {
				return &x
			}
		}
	}
	return nil
}

// stopping asks for a stop where one must have been asked for: when the log says that it stopped, or earlier where a call was in the air meanwhile.
func (b *retelling) stopping(i int) {
	stopped, is := b.stops[i]
	if !is || b.stopped == stopped || b.done[stopped] {
		return
	}
	flying := slices.ContainsFunc(b.awaiting(), func(id string) bool { return b.pend[id].Kind == engine.Run || b.pend[id].Kind == engine.Undo })
	if at := b.in.Entries[i].At; flying || at.Equal(b.in.Entries[stopped].At) {
		b.stopped = stopped
		b.feed(engine.Event{At: at, Stopping: true})
	}
}

// takeChanged puts the changed configuration in force when its time has come.
func (b *retelling) takeChanged(at time.Time) {
	if b.changed || b.in.Changed == nil || at.Before(b.in.Since) {
		return
	}
	b.changed, b.loose = true, true
	if b.cfg != nil && b.booting.IsZero() {
		b.configure(at, b.in.Changed)
	}
}

func (b *retelling) configure(at time.Time, c *engine.Config) {
	b.eyes.configure(c)
	if !b.booting.IsZero() && !b.known {
		for _, probe := range b.eyes.begin(at) {
			b.feed(engine.Event{At: at, Seen: probe})
		}
	}
	booted := !b.booting.IsZero()
	b.cfg, b.booting = c, time.Time{}
	b.feed(engine.Event{At: at, Config: c})
	if booted && b.early {
		b.seenAgain(at, c)
	}
}

// seenAgain has anomalies from before a restart seen again at once where that leads to no decision: probes run soon after a start, and the log
// has an entry where it led to one.
func (b *retelling) seenAgain(at time.Time, c *engine.Config) {
	for _, id := range slices.Clone(b.eyes.ids) {
		if !b.eyes.stale[id] {
			continue
		}
		a := b.eyes.open[id]
		if !b.decidedNext(a) {
			continue
		}
		raw, err := b.s.Snapshot()
		if err != nil {
			return
		}
		s, err := engine.Restore(raw) // a copy to try it on
		if err != nil {
			return
		}
		s.Step(engine.Event{At: at, Restarted: true})
		for _, probe := range b.eyes.begin(at) {
			s.Step(engine.Event{At: at, Seen: probe})
		}
		s.Step(engine.Event{At: at, Config: c})
		for _, other := range b.eyes.ids {
			if x := b.eyes.open[other]; !b.eyes.stale[other] {
				s.Step(engine.Event{At: at, Anomaly: &x})
			}
		}
		if out := s.Step(engine.Event{At: at, Anomaly: &a}); len(out.Entries) > 0 {
			continue
		}
		delete(b.eyes.stale, id)
		b.eyes.anomaly(a)
		b.feed(engine.Event{At: at, Anomaly: &a})
	}
}

// decidedNext tells whether the log decides something in the incident of an anomaly before the anomaly clears.
func (b *retelling) decidedNext(a api.Anomaly) bool {
	c := b.cases[b.incs[b.took[a.ID()].Incident]]
	if c == nil {
		return false
	}
	for _, i := range c.queue[min(c.next, len(c.queue)):] {
		e := &b.in.Entries[i]
		switch e.Kind {
		case api.EntryAnomalyCleared:
			if e.Anomaly != nil && e.Anomaly.ID() == a.ID() {
				return false
			}
		case api.EntryRefused, api.EntryObserved, api.EntrySuggested, api.EntryRemediationOpened:
			return true
		}
	}
	return false
}

// inForce is the configuration of a digest, or the changed one.
func (b *retelling) inForce(digest string) *engine.Config {
	if b.changed {
		return b.in.Changed
	}
	return b.in.config(digest)
}

// configAfterStart brings the configuration after a start: the log shows it where it is another one than before.
func (b *retelling) configAfterStart(i int) {
	e := &b.in.Entries[i]
	if b.booting.IsZero() || b.done[i] || e.Kind == api.EntryPaused && e.Pause != nil && e.Pause.Owner == "backstay" {
		return
	}
	at := b.booting
	if e.At.Sub(at) <= configSoon {
		at = e.At
	}
	if e.Kind == api.EntryConfigured {
		b.digest = e.Digest
	}
	c := b.inForce(b.digest)
	if c == nil {
		return
	}
	b.now = i
	b.configure(at, c)
	b.now = -1
}

// advance brings what is due before a recorded entry: results that the replay made up, and ticks.
func (b *retelling) advance(i int) {
	e := &b.in.Entries[i]
	slack := wakeSlack
	if fromOutside(e) {
		slack = wakeOutside
	}
	b.until(e.At, e.At.Add(-slack))
}

// until brings results up to one time and ticks before another.
func (b *retelling) until(results, ticks time.Time) {
	for {
		wake := b.wake
		if !wake.IsZero() && !wake.After(b.ticks) {
			wake = b.ticks.Add(wakeLeast)
		}
		if len(b.due) > 0 && !b.due[0].at.After(results) && (wake.IsZero() || !wake.Before(b.due[0].at) || !wake.Before(ticks)) {
			d := b.due[0]
			b.due = b.due[1:]
			d.event.At = d.at
			b.feed(d.event)
			continue
		}
		if probe, at := b.eyes.sight(); !b.known && probe != "" && at.Before(results) && (wake.IsZero() || at.Before(wake) || !wake.Before(ticks)) {
			b.eyes.seen[probe] = at
			b.feed(engine.Event{At: at, Seen: probe})
			continue
		}
		if wake.IsZero() || !wake.Before(ticks) {
			return
		}
		if !b.known {
			b.expiring(wake)
		}
		b.ticks = wake
		b.feed(engine.Event{At: wake, Tick: true})
	}
}

// fromOutside tells whether something other than the passing of time or a result caused an entry.
func fromOutside(e *api.Entry) bool {
	switch e.Kind {
	case api.EntryAnomalyOpened, api.EntryAnomalyCleared, api.EntryIncidentOpened, api.EntryIncidentRooted, api.EntryDecided, api.EntryWordRefused, api.EntryPaused, api.EntryConfigured,
		api.EntryConfigRefused:
		return true
	case api.EntryResumed:
		return e.Actor != ""
	}
	return false
}

// schedule has a result brought later.
func (b *retelling) schedule(d dueEvent) {
	i, _ := slices.BinarySearchFunc(b.due, d.at, func(x dueEvent, at time.Time) int {
		if x.at.After(at) {
			return 1
		}
		return -1
	})
	b.due = slices.Insert(b.due, i, d)
}

// feed hands the engine an event and takes what it answers.
func (b *retelling) feed(e engine.Event) {
	if e.At.After(b.at) {
		b.at = e.At
	}
	out := b.s.Step(e)
	b.wake = out.Wake
	for i := range out.Entries {
		b.emitted(&out.Entries[i])
	}
	for i := range out.Commands {
		b.sent(&out.Commands[i])
	}
}

// finish brings what is still due to parted incidents, at the time of the last entry.
func (b *retelling) finish() {
	if n := len(b.in.Entries); n > 0 && (b.loose || !b.known) {
		b.until(b.in.Entries[n-1].At, b.in.Entries[n-1].At)
	}
	for _, id := range b.order {
		if c := b.cases[id]; id != "" && !c.exists && !c.parted {
			c.parted = true
			c.first[1] = &Side{At: c.opened, Kind: api.EntryIncidentOpened, Seq: -1, Text: "The replay opens an incident that the log does not have, on " + strings.ReplaceAll(c.root, "/", " ") + "."}
		}
	}
}

// unique makes the name of a command that nobody waits for.
func (b *retelling) unique(prefix string) string {
	b.made++
	return fmt.Sprintf("%s-0.%d", prefix, b.made)
}
