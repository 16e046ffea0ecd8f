package controller

import (
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// TestRecord computes the rates of a small log by hand.
func TestRecord(t *testing.T) {
	t0 := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	down := &api.Anomaly{Name: "gw/down", Probe: "gw"}
	r := newRecorder("failover", 24*time.Hour)
	add := func(minute int, kind api.EntryKind, rem, inc string, end api.RemediationEnd) {
		e := api.Entry{At: t0.Add(time.Duration(minute) * time.Minute), Kind: kind, Playbook: "failover", Remediation: rem, Incident: inc, End: end}
		switch kind {
		case api.EntryAnomalyOpened, api.EntryIncidentClosed:
			e.Playbook = ""
		}
		e.Anomaly = down
		r.add(&e)
	}
	// It healed, but the same anomaly was back within a day.
	add(0, api.EntryRemediationOpened, "rem-1", "inc-1", "")
	add(1, api.EntryStepIntended, "rem-1", "inc-1", "")
	add(2, api.EntryRemediationEnded, "rem-1", "inc-1", api.EndVerified)
	add(3, api.EntryIncidentClosed, "", "inc-1", "")
	add(60, api.EntryAnomalyOpened, "", "inc-2", "")
	// It acted and did not help.
	add(61, api.EntryRemediationOpened, "rem-2", "inc-2", "")
	add(62, api.EntryStepIntended, "rem-2", "inc-2", "")
	add(63, api.EntryRemediationEnded, "rem-2", "inc-2", api.EndNotVerified)
	add(63, api.EntryDemoted, "rem-2", "inc-2", "")
	// Called off before its first step, because the anomaly had cleared: needless. One that nobody answered is not judged.
	add(70, api.EntryRemediationOpened, "rem-3", "inc-2", "")
	add(71, api.EntryRemediationEnded, "rem-3", "inc-2", api.EndCancelled)
	add(72, api.EntryRemediationOpened, "rem-4", "inc-2", "")
	add(73, api.EntryLapsed, "rem-4", "inc-2", "")
	add(73, api.EntryRemediationEnded, "rem-4", "inc-2", api.EndCancelled)
	// Suggested: the one incident was over by itself after two minutes, the other only after an hour.
	add(100, api.EntrySuggested, "", "inc-3", "")
	add(102, api.EntryIncidentClosed, "", "inc-3", "")
	add(200, api.EntryObserved, "", "inc-4", "")
	add(260, api.EntryIncidentClosed, "", "inc-4", "")
	add(300, api.EntryRefused, "", "inc-5", "")
	// It healed for good, and another so lately that nobody can tell.
	add(2000, api.EntryRemediationOpened, "rem-5", "inc-6", "")
	add(2001, api.EntryStepIntended, "rem-5", "inc-6", "")
	add(2002, api.EntryRemediationEnded, "rem-5", "inc-6", api.EndVerified)
	add(4000, api.EntryRemediationOpened, "rem-6", "inc-7", "")
	add(4001, api.EntryStepIntended, "rem-6", "inc-7", "")
	add(4002, api.EntryRemediationEnded, "rem-6", "inc-7", api.EndVerified)
	add(4003, api.EntryRemediationOpened, "rem-7", "inc-7", "")

	got := r.record(t0.Add(4010 * time.Minute))
	if got.Fired != 9 || got.Suggested != 2 || got.Acted != 4 || got.HeldBack != 1 || got.Demoted != 1 {
		t.Errorf("fired %d, suggested %d, acted %d, held back %d, demoted %d; want 9, 2, 4, 1, 1", got.Fired, got.Suggested, got.Acted, got.HeldBack, got.Demoted)
	}
	for _, x := range []struct {
		name      string
		got       Share
		part, all int
	}{{"verified", got.Verified, 3, 4}, {"false fires", got.FalseFires, 2, 7}, {"recurred", got.Recurred, 1, 2}} {
		if x.got != (Share{Count: x.part, Of: x.all}) {
			t.Errorf("%s: %+v, want %d of %d", x.name, x.got, x.part, x.all)
		}
	}
	if got.Ends[api.EndVerified] != 3 || got.Ends[api.EndCancelled] != 2 {
		t.Errorf("ends %v", got.Ends)
	}
}
