package controller

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/demo"
	"github.com/backstay/backstay/controller/internal/twin"
)

// DemoCard is the score of one demo. The figures of money come from the gateways' own ledgers and the customers' own list.
type DemoCard struct {
	Seed uint64 `json:"seed"`
	demo.Judgement
	Faults   []DemoFault `json:"faults"`
	Actions  int         `json:"actions"` // steps that changed something outside
	WhyNot   int         `json:"whyNot"`  // recorded refusals
	Entries  int64       `json:"entries"`
	Audit    string      `json:"audit"` // what verification said
	Verified bool        `json:"auditVerified"`
	Twin     *DemoTwin   `json:"twin,omitempty"`
	Broken   []string    `json:"broken,omitempty"` // the figures that do not hold
	OK       bool        `json:"ok"`
}

// DemoFault is how one fault fared: times since it began.
type DemoFault struct {
	Name     string        `json:"name"`
	Playbook string        `json:"playbook"`
	Detected time.Duration `json:"detected"`
	Acted    time.Duration `json:"acted"`
	Verified time.Duration `json:"verified"`
	Healed   bool          `json:"healed"`
}

// demoPlaybooks says which playbook is there for which fault.
var demoPlaybooks = []struct{ fault, playbook string }{
	{"gateway", "card-gateway-failover"}, {"erp", "dead-letter-replay"}, {"worker", "booking-worker-restart"},
}

func (d *demoRun) judge(ctx context.Context, late error) DemoCard {
	d.mu.Lock()
	defer d.mu.Unlock()
	card := DemoCard{Seed: d.Seed}
	var judgeErr error
	card.Judgement, judgeErr = d.office.Judge(ctx)
	for _, pair := range demoPlaybooks {
		f := DemoFault{Name: pair.fault, Playbook: pair.playbook}
		if began, happened := d.faults[pair.fault]; happened {
			f = fared(d.entries, began, f)
		}
		card.Faults = append(card.Faults, f)
	}
	for _, e := range d.entries {
		if e.Refusal != nil {
			card.WhyNot++
		}
	}
	card.Actions = d.actions(ctx)
	report, err := AuditVerify(ctx, d.process.Data, "")
	card.Verified, card.Entries, card.Audit = err == nil && report.OK, report.Entries, report.Text
	if err != nil {
		card.Audit = err.Error()
	}
	twinErr := d.compare(ctx, &card)
	card.Broken = card.broken(errors.Join(judgeErr, late))
	if twinErr != nil {
		card.Broken = append(card.Broken, "the same day could not be played in the twin: "+twinErr.Error())
	}
	card.OK = len(card.Broken) == 0
	return card
}

// actions counts the steps that changed something outside.
func (d *demoRun) actions(ctx context.Context) int {
	all, err := d.process.store.Remediations(ctx, "", 1000)
	if err != nil {
		return 0 // the card then says that nothing was done, which does not hold
	}
	n := 0
	for _, r := range all {
		for _, s := range r.Steps {
			watches := s.Do == "expect" || s.Do == "wait" || s.Do == "ask" || s.Do == "notify"
			if !watches && (s.State == api.StepDone || s.State == api.StepReconciled) {
				n++
			}
		}
	}
	return n
}

// fared finds the first remediation by the fault's playbook that was verified after the fault began, and how long it took to see, to act
// and to verify. It reads the log of the real run and of the twin alike.
func fared(entries []api.Entry, began time.Time, f DemoFault) DemoFault {
	var remediation, incident string
	for i := range entries {
		e := &entries[i]
		if e.Kind == api.EntryRemediationEnded && e.Playbook == f.Playbook && e.End == api.EndVerified && e.At.After(began) {
			remediation, incident, f.Verified, f.Healed = e.Remediation, e.Incident, e.At.Sub(began), true
			break
		}
	}
	for i := range entries {
		e := &entries[i]
		if e.At.Before(began) || !f.Healed {
			continue
		}
		if f.Detected == 0 && e.Kind == api.EntryAnomalyOpened && e.Incident == incident {
			f.Detected = e.At.Sub(began)
		}
		if f.Acted == 0 && e.Kind == api.EntryStepIntended && e.Remediation == remediation {
			f.Acted = e.At.Sub(began)
		}
	}
	return f
}

// recovered is how long after the first fault the last anomaly cleared, in seconds.
func (d *demoRun) recovered() twin.Number {
	var first, last time.Time
	for _, pair := range demoPlaybooks {
		if began, happened := d.faults[pair.fault]; happened && (first.IsZero() || began.Before(first)) {
			first = began
		}
	}
	for _, e := range d.entries {
		if e.Kind == api.EntryAnomalyCleared {
			last = e.At
		}
	}
	return twin.Number(max(last.Sub(first).Seconds(), 0))
}

// compare plays the same bad day in the twin.
func (d *demoRun) compare(ctx context.Context, card *DemoCard) error {
	t, err := demoTwin(ctx, filepath.Join(d.dir, "config", demoScenario), demoDays)
	if err != nil {
		return err
	}
	t.compare(card.Faults)
	t.Real = DemoOutcome{BookedInTime: card.InTime, Late: card.Placed - card.InTime, DoubleCharged: card.DoubleCharged, Left: card.Placed - card.Booked, Recovered: d.recovered()}
	card.Twin = t
	return nil
}

// broken lists the figures that do not hold. The demo succeeds only when there are none.
func (c DemoCard) broken(late error) []string {
	var out []string
	check := func(holds bool, format string, args ...any) {
		if !holds {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	check(late == nil, "%v", late)
	check(c.Placed > 0, "no order was placed")
	check(c.Booked == c.Placed, "%d orders in, %d booked", c.Placed, c.Booked)
	check(c.DoubleCharged == 0, "%d orders were charged twice", c.DoubleCharged)
	check(c.Lost == 0, "%d orders were lost", c.Lost)
	check(c.WrongAmount == 0, "%d orders have a wrong amount", c.WrongAmount)
	check(c.UnansweredA > 0, "the gateway answered every capture: nothing was at stake")
	check(c.Actions > 0, "no action was taken")
	check(c.WhyNot > 0, "no guard ever said no")
	check(c.Verified, "the audit log does not verify: %s", c.Audit)
	for _, f := range c.Faults {
		check(f.Healed, "the fault %s was not healed by %s", f.Name, f.Playbook)
	}
	if c.Twin != nil {
		out = append(out, c.Twin.broken()...)
	}
	return out
}
