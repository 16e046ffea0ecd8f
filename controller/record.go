package controller

import (
	"context"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/store"
)

// PlaybookRecord is what the log says of a playbook's past: the figures by which people decide whether to trust it with more.
//
// A firing is a remediation of it, or, while it only observes or suggests, the entry that it would have run. Firings whose truth
// nobody can know yet count nowhere: what still goes on, questions that nobody answered, incidents that are still open.
type PlaybookRecord struct {
	Playbook string    `json:"playbook"`
	Since    time.Time `json:"since,omitzero"`

	Fired     int                        `json:"fired"`
	Suggested int                        `json:"suggested"` // of Fired: it only observed or suggested
	Acted     int                        `json:"acted"`     // of Fired: at least one step was intended
	Ends      map[api.RemediationEnd]int `json:"ends,omitempty"`
	Demoted   int                        `json:"demoted,omitempty"`
	HeldBack  int                        `json:"heldBack"` // refusals by a guard

	Verified   Share         `json:"verified"`   // of the remediations that acted and ended: how many ended verified
	FalseFires Share         `json:"falseFires"` // of the firings that can be judged: how many were needless, see needless
	Recurred   Share         `json:"recurred"`   // of the verified ones: after how many the same anomaly opened again within Within
	Within     time.Duration `json:"within"`     // nanoseconds
}

// needlessWithin is how soon an incident must be over by itself for a suggestion to have been needless.
const needlessWithin = 5 * time.Minute

// recordKinds are the entries that a record is computed from.
var recordKinds = []api.EntryKind{api.EntryAnomalyOpened, api.EntryIncidentClosed, api.EntryObserved, api.EntrySuggested, api.EntryRefused, api.EntryDemoted,
	api.EntryRemediationOpened, api.EntryStepIntended, api.EntryRemediationEnded, api.EntryLapsed}

// RecordOf reads a playbook's record from a data folder, beside a running controller or without one. The zero time means from the
// beginning of the log; within is how long a repair must hold to count as lasting.
func RecordOf(ctx context.Context, dir, playbook string, since time.Time, within time.Duration) (PlaybookRecord, error) {
	r, err := store.OpenReader(ctx, dir)
	if err != nil {
		return PlaybookRecord{}, err
	}
	defer r.Close()
	const chunk = 10_000
	keep := newRecorder(playbook, within)
	for from := int64(0); ; {
		entries, err := r.Entries(ctx, store.Query{From: from, Kinds: recordKinds, Since: since, Limit: chunk})
		if err != nil {
			return PlaybookRecord{}, err
		}
		for i := range entries {
			keep.add(&entries[i])
		}
		if len(entries) < chunk {
			break
		}
		from = entries[len(entries)-1].Seq + 1
	}
	out := keep.record(time.Now())
	out.Since = since
	if out.Fired+out.HeldBack == 0 {
		return out, &api.Error{Code: api.CodeNotFound, Message: "the log has nothing about a playbook " + playbook, Hint: "names: backstay get playbooks; an earlier --from reads more of the log"}
	}
	return out, nil
}

// recorder computes a record from entries in the order of the log.
type recorder struct {
	out     PlaybookRecord
	runs    map[string]*firedRun
	healed  []*firedRun            // verified remediations
	hints   map[string][]time.Time // incident -> when the playbook observed or suggested in it
	touched map[string]bool        // incidents in which any remediation acted
}

type firedRun struct {
	anomaly              string // id of the trigger
	acted, lapsed, again bool
	ended                time.Time
}

func newRecorder(playbook string, within time.Duration) *recorder {
	return &recorder{out: PlaybookRecord{Playbook: playbook, Within: within, Ends: map[api.RemediationEnd]int{}}, runs: map[string]*firedRun{},
		hints: map[string][]time.Time{}, touched: map[string]bool{}}
}

func (r *recorder) add(e *api.Entry) {
	own := e.Playbook == r.out.Playbook
	switch e.Kind {
	case api.EntryAnomalyOpened:
		for i := len(r.healed) - 1; i >= 0 && e.At.Before(r.healed[i].ended.Add(r.out.Within)); i-- {
			if e.Anomaly != nil && e.Anomaly.ID() == r.healed[i].anomaly {
				r.healed[i].again = true
			}
		}
	case api.EntryStepIntended:
		r.touched[e.Incident] = true
		if run := r.runs[e.Remediation]; run != nil && !run.acted {
			run.acted = true
			r.out.Acted++
		}
	case api.EntryIncidentClosed:
		for _, at := range r.hints[e.Incident] {
			if !r.touched[e.Incident] {
				r.out.FalseFires.add(e.At.Sub(at) <= needlessWithin)
			}
		}
		delete(r.hints, e.Incident)
		delete(r.touched, e.Incident)
	}
	if !own {
		return
	}
	switch e.Kind {
	case api.EntryObserved, api.EntrySuggested:
		r.out.Fired++
		r.out.Suggested++
		r.hints[e.Incident] = append(r.hints[e.Incident], e.At)
	case api.EntryRefused:
		r.out.HeldBack++
	case api.EntryDemoted:
		r.out.Demoted++
	case api.EntryRemediationOpened:
		r.out.Fired++
		run := &firedRun{}
		if e.Anomaly != nil {
			run.anomaly = e.Anomaly.ID()
		}
		r.runs[e.Remediation] = run
	case api.EntryLapsed:
		if run := r.runs[e.Remediation]; run != nil {
			run.lapsed = true
		}
	case api.EntryRemediationEnded:
		r.end(e)
	}
}

// end counts a remediation that ended. One that was called off before anything began was needless: its anomaly had gone, or a
// person said no.
func (r *recorder) end(e *api.Entry) {
	run := r.runs[e.Remediation]
	if run == nil {
		return // it began before the period
	}
	delete(r.runs, e.Remediation)
	r.out.Ends[e.End]++
	switch {
	case run.acted && e.End != api.EndTold:
		r.out.Verified.add(e.End == api.EndVerified)
		r.out.FalseFires.add(false)
	case !run.acted && e.End == api.EndCancelled && !run.lapsed:
		r.out.FalseFires.add(true)
	}
	if e.End == api.EndVerified {
		run.ended = e.At
		r.healed = append(r.healed, run)
	}
}

// record gives the figures as of a time. A repair that has not yet held for long enough is not judged, unless it failed already.
func (r *recorder) record(now time.Time) PlaybookRecord {
	out := r.out
	for _, h := range r.healed {
		if h.again || !now.Before(h.ended.Add(out.Within)) {
			out.Recurred.add(h.again)
		}
	}
	return out
}
