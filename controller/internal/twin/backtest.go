package twin

import (
	"fmt"
	"slices"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
)

// A backtest replays a recorded log through [engine.State.Step], the same code that made it, with the recorded configurations or
// with a changed one, and says where the two part.
//
// A controller records all that reaches its engine (see [engine.Tape]); where that was kept, the replay feeds exactly it, and a history replayed
// unchanged must come out entry for entry: a divergence means that log, configuration or program are not what they were. What is kept is bounded, so
// that for the rest of a log (DecisionTest.Exact says how much) causes are inferred, from each gap to the next start of the controller.
//
// Then there is taken from the log: anomalies as they opened and cleared, people's words, pauses, restarts, configurations, and the
// result of every command that the log's own remediations issued (same incident, playbook, step and attempt). What never enters the
// log because nothing durable rests on it is inferred from the entry whose decision it explains, at the moment of that entry:
//
//   - when the engine was woken: exactly when the log has an entry that only time explains; where it has none, when the engine asks;
//   - what Plan found: the estimate in the entry that followed (step.intended, step.skipped, person.asked, step.refused);
//   - a look or a reading after an undo that brought no answer: what the engine's own pauses leave between two entries;
//   - that too many probes were ill (storm-brake), that a probe could not run (unknown) or was not seen for two of its intervals
//     (corroboration): the refusal that names it, until an entry that could not have been if it still were so. A probe that
//     corroborates counts as seen otherwise;
//   - when an anomaly from before a restart was seen again: at the first decision after the restart that rests on it, or at once where that explains
//     more of the log;
//   - when a stop was asked for: after the last thing that began before controller.stopped.
//
// Inference can miss: where a probe went blind, came back and its word was lost in a crash, all between two entries, an incident may be
// said to diverge that does not. In 1,000 random schedules of such faults (16,406 incidents), with nothing recorded, 14 schedules had some, 24
// incidents in all. There a divergence is a reason to look, not a proof of tampering. Between a crash and the restart nothing is replayed then: the
// log cannot tell when the process died.
//
// Two histories match where each incident has the same entries in the same order. Two entries are the same where these agree: kind,
// time (to a second; to the nanosecond where the log has the entry that causes it), incident and remediation (identity, not
// name: names derive from counts and digests), playbook, step, attempt, node, anomaly, guard and the time when it would pass,
// result, end, actor and verdict of a person. A refusal by the same guard with the same time, said again in other words, is the same refusal
// and counts once; and one that time does not lift may come sooner in the replay than in the log, because how soon the engine considers an
// incident again depends on probes that could run or not, which no log holds. Texts, digests, keys, figures of estimates and sequence numbers are not compared.

// Past is what a backtest replays.
type Past struct {
	Entries []api.Entry                        // from the first one on, without a gap
	Configs func(digest string) *engine.Config // as recorded; nil where nobody kept it
	Changed *engine.Config                     // takes the place of every recorded one; nil: replayed unchanged
	Inputs  []engine.Taped                     // as recorded, in the order in which they were written; where they lack, causes are inferred
	Since   time.Time                          // when Changed takes effect; zero: from the first entry on. Needs Configs for what came before
}

// Side is one side of a divergence.
type Side struct {
	At          time.Time          `json:"at"`
	Kind        api.EntryKind      `json:"kind"`
	Seq         int64              `json:"seq"` // of the recorded entry; -1 for a replayed one
	Remediation string             `json:"remediation,omitempty"`
	Playbook    string             `json:"playbook,omitempty"`
	Step        string             `json:"step,omitempty"`
	Attempt     int                `json:"attempt,omitempty"`
	Refusal     *api.Refusal       `json:"refusal,omitempty"`
	Result      api.Result         `json:"result,omitempty"`
	End         api.RemediationEnd `json:"end,omitempty"`
	Text        string             `json:"text"`
	Assumed     string             `json:"assumed,omitempty"` // of a replayed entry: the assumption that it rests on; empty where it rests on the log alone
}

// IncidentTest is what became of one incident.
type IncidentTest struct {
	ID       string    `json:"id"` // as recorded; of the replay where the log has no such incident
	Root     string    `json:"root"`
	Opened   time.Time `json:"opened"`
	Recorded bool      `json:"recorded"` // false: only the replay has it
	Same     bool      `json:"same"`
	First    struct {  // where it diverges first; each side nil where that history has nothing
		Recorded *Side `json:"recorded,omitempty"`
		Replayed *Side `json:"replayed,omitempty"`
	} `json:"first,omitzero"`
	Would   []Side `json:"would,omitempty"`   // the replay begins, calls, suggests or ends these, the log does not
	Blocked []Side `json:"blocked,omitempty"` // the replay refuses these, the log does not
	Gone    []Side `json:"gone,omitempty"`    // the log has these decisions, the replay does not
	Assumed int    `json:"assumed,omitempty"` // replayed entries that rest on an assumption
}

// DecisionTest is the result of a backtest of decisions.
type DecisionTest struct {
	Entries   int                           `json:"entries"` // recorded entries replayed
	Matched   int                           `json:"matched"` // of them, those that the replay made again
	Exact     int                           `json:"exact"`   // of them, those whose inputs were recorded; what led to the others is inferred
	Repeats   int                           `json:"repeats"` // of them, refusals that only repeat the one before in other words
	Skipped   int                           `json:"skipped"` // of them, those that only describe a configuration that a changed one replaced, or that follow a divergence
	Incidents []IncidentTest                `json:"incidents"`
	Same      int                           `json:"same"`
	Diverged  int                           `json:"diverged"`
	Outside   []Side                        `json:"outside,omitempty"` // what diverges outside of all incidents: pauses, configurations, starts
	Fired     int                           `json:"fired"`             // steps that the replay calls and the log does not
	Blocked   int                           `json:"blocked"`           // refusals that the replay has and the log does not
	Ends      map[api.RemediationEnd][2]int `json:"ends"`              // how many remediations ended so: recorded, replayed
	Notes     []string                      `json:"notes,omitempty"`   // what the replay cannot know
}

// Backtest replays a past. An error says that there is no whole past to replay: a gap in the log, or a configuration that nobody
// kept and none was given for.
func Backtest(p Past) (*DecisionTest, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	unchanged := p
	unchanged.Changed, unchanged.Since = nil, time.Time{}
	if p.Changed == nil {
		out, _ := explained(&p)
		return out, nil
	}
	early := false // what is inferred of the recorded history, the replay of a changed one takes over
	if unchanged.check() == nil && slices.ContainsFunc(p.Entries[1:], func(e api.Entry) bool { return e.Kind == api.EntryStarted }) {
		_, early = explained(&unchanged)
	}
	out := retell(&p, early)
	out.Notes = append(out.Notes, p.missing()...)
	return out, nil
}

// explained replays a past, and where that does not give the log again and it was restarted, once more with anomalies from before a restart seen
// again at once. It gives the replay that explains more of the log, and whether it was the second one.
func explained(p *Past) (*DecisionTest, bool) {
	late := retell(p, false)
	if late.Diverged == 0 && len(late.Outside) == 0 || late.Exact == late.Entries {
		return late, false
	}
	if early := retell(p, true); early.Diverged < late.Diverged {
		return early, true
	}
	return late, false
}

func retell(p *Past, early bool) *DecisionTest {
	b := newRetelling(p)
	b.early = early
	b.exactly()
	b.finish()
	return b.report()
}

// check refuses what cannot be replayed.
func (p *Past) check() error {
	for i := range p.Entries {
		e := &p.Entries[i]
		switch {
		case e.Seq != p.Entries[0].Seq+int64(i):
			return api.Errorf(api.CodeTampered, "replay the log: entry %d is missing; restore the data folder from a backup, or verify it with backstay audit verify", p.Entries[0].Seq+int64(i))
		case i == 0 && e.Seq != 0:
			return api.Errorf(api.CodeInvalid, "replay the log: it begins with entry %d; a backtest needs the whole log, from entry 0 on", e.Seq)
		case i > 0 && e.At.Before(p.Entries[i-1].At):
			return api.Errorf(api.CodeTampered, "replay the log: entry %d is older than the one before it; verify the log with backstay audit verify", e.Seq)
		case !slices.Contains(replayable, e.Kind):
			return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("replay the log: entry %d is of the kind %q, which this program does not know", e.Seq, e.Kind),
				Hint: "a newer version wrote it: run the newer program"}
		case e.Kind == api.EntryConfigured && !p.changed(e.At) && p.config(e.Digest) == nil:
			return &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("replay the log: nobody kept the configuration %s, which took effect at %s", e.Digest, e.At.Format(time.RFC3339)),
				Hint: "name a configuration with --config; it is then used in place of every recorded one"}
		}
	}
	return nil
}

// replayable are the kinds of entry that this program knows.
var replayable = []api.EntryKind{api.EntryStarted, api.EntryStopped, api.EntryConfigured, api.EntryConfigRefused, api.EntryRecorded, api.EntryAnomalyOpened,
	api.EntryAnomalyCleared, api.EntryIncidentOpened, api.EntryIncidentRooted, api.EntryIncidentMerged, api.EntryIncidentClosed, api.EntryRefused, api.EntryObserved,
	api.EntrySuggested, api.EntryRemediationOpened, api.EntryRemediationEnded, api.EntryStepSkipped, api.EntryStepRefused, api.EntryStepIntended, api.EntryStepEnded,
	api.EntryStepUncertain, api.EntryStepReconciled, api.EntryStepRepeated, api.EntryStepHandedOver, api.EntryUndoIntended, api.EntryUndoEnded, api.EntryVerifyStarted,
	api.EntryVerifyEnded, api.EntryAsked, api.EntryDecided, api.EntryLapsed, api.EntryPaused, api.EntryResumed, api.EntryNotified, api.EntryLateResult, api.EntryInvariant,
	api.EntryWordRefused, api.EntryDemoted, api.EntryMeasured, api.EntryUndoVerified}

// changed tells whether the changed configuration is in force at a time.
func (p *Past) changed(at time.Time) bool { return p.Changed != nil && !at.Before(p.Since) }

func (p *Past) config(digest string) *engine.Config {
	if p.Configs == nil {
		return nil
	}
	return p.Configs(digest)
}

// report sums up.
func (b *retelling) report() *DecisionTest {
	out := &DecisionTest{Entries: len(b.in.Entries), Matched: b.matched, Exact: b.exact, Repeats: b.repeats, Skipped: b.skipped, Ends: map[api.RemediationEnd][2]int{}}
	for _, id := range b.order {
		c := b.cases[id]
		if id == "" {
			out.Outside = c.outside
			continue
		}
		t := c.test()
		out.Incidents = append(out.Incidents, t)
		if t.Same {
			out.Same++
		} else {
			out.Diverged++
		}
		for _, s := range t.Would {
			if s.Kind == api.EntryStepIntended || s.Kind == api.EntryStepRepeated || s.Kind == api.EntryUndoIntended {
				out.Fired++
			}
		}
		out.Blocked += len(t.Blocked)
		for _, side := range []struct {
			list []Side
			of   int
		}{{c.recorded, 0}, {c.replayed, 1}} {
			for _, s := range side.list {
				if s.End != "" {
					n := out.Ends[s.End]
					n[side.of]++
					out.Ends[s.End] = n
				}
			}
		}
	}
	slices.SortStableFunc(out.Incidents, func(a, b IncidentTest) int { return a.Opened.Compare(b.Opened) })
	out.Notes = b.notes
	return out
}

// Only leaves out the incidents that were over before a time: those that opened before it and are the same.
func (d *DecisionTest) Only(since time.Time) {
	d.Incidents = slices.DeleteFunc(d.Incidents, func(t IncidentTest) bool { return t.Same && t.Opened.Before(since) })
	d.Same = 0
	for i := range d.Incidents {
		if d.Incidents[i].Same {
			d.Same++
		}
	}
}
