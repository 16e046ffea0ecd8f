package demo

import (
	"context"
	"math/rand/v2"
	"time"
)

// Fault is one thing that goes wrong in the office, and when.
type Fault struct {
	Name    string
	Title   string        // what happens, in plain words
	Over    string        // what it is like when it ends by itself
	At      time.Duration // after the first order
	Lasting time.Duration // 0: until somebody mends it
}

// Orders come at an even pace for a while; then the office has time to settle.
const (
	PerSecond = 8.0
	Placing   = 60 * time.Second
)

// illGateway is what gateway A does wrong while it is ill.
var illGateway = Faults{HangAfter: 0.55, HangBefore: 0.1, Latency: 80 * time.Millisecond}

// Timetable is a seed's bad day. The seed moves each fault by up to a second and a half, so that no two seeds are alike and one seed
// always is the same.
func Timetable(seed uint64) []Fault {
	random := rand.New(rand.NewPCG(seed, 2))
	jitter := func() time.Duration { return time.Duration(random.Int64N(int64(1500 * time.Millisecond))) }
	return []Fault{
		{
			Name: "gateway", At: 6*time.Second + jitter(), Lasting: 16 * time.Second,
			Title: "gateway A takes the money of a share of captures and never answers",
			Over:  "gateway A answers every capture again",
		},
		{
			Name: "erp", At: 29*time.Second + jitter(), Lasting: 7 * time.Second,
			Title: "the ERP system refuses every booking; dead letters pile up",
			Over:  "the ERP system accepts bookings again; the dead letters stay dead",
		},
		{
			Name: "worker", At: 46*time.Second + jitter(),
			Title: "the booking worker dies; the outbox ages",
		},
	}
}

// strike begins or ends a fault.
func (o *Office) strike(f Fault, on bool) {
	switch {
	case f.Name == "gateway" && on:
		o.A.Set(illGateway)
	case f.Name == "gateway":
		o.A.Set(Faults{})
	case f.Name == "erp":
		o.ERP.Refuse(on)
	case f.Name == "worker" && on:
		o.Boss.Stop("booking")
	}
}

// Misbehave plays the schedule and tells of each fault as it begins and ends by itself. It returns when all are played or ctx ends.
func (o *Office) Misbehave(ctx context.Context, schedule []Fault, tell func(f Fault, on bool)) {
	start := time.Now()
	type change struct {
		at time.Duration
		f  Fault
		on bool
	}
	var changes []change
	for _, f := range schedule { // faults do not overlap, so on and off come in order
		changes = append(changes, change{f.At, f, true})
		if f.Lasting > 0 {
			changes = append(changes, change{f.At + f.Lasting, f, false})
		}
	}
	for _, c := range changes {
		select {
		case <-ctx.Done():
			return
		case <-time.After(c.at - time.Since(start)):
		}
		tell(c.f, c.on)
		o.strike(c.f, c.on)
	}
}
