package twin

import (
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// TestRounds: workers who poll take up nothing while one of them is still at it, and nothing between two looks.
func TestRounds(t *testing.T) {
	span := func(d time.Duration) api.Duration { return api.Duration{Duration: d} }
	for _, test := range []struct {
		rounds   time.Duration
		finished float64
	}{
		{0, 56},                // the arrivals of the first 56 seconds: there is always somebody free
		{10 * time.Second, 20}, // rounds begin at 10, 24, 38 and 52 s, of five items each
	} {
		var s Setup
		s.Scenario.Spec.Horizon = span(time.Minute)
		s.Model.Spec = api.ModelSpec{
			Arrivals: api.Arrivals{Every: span(time.Second)},
			Steps:    []api.ModelStep{{Name: "work", Workers: 5, Rounds: span(test.rounds), Takes: &api.Times{Fixed: span(4 * time.Second)}}},
		}
		plan, findings := Compile(s)
		if findings.Failed() {
			t.Fatal(findings)
		}
		if run := plan.Run(api.VariantCurrent, 0, Options{}); run.Figures[Finished] != test.finished {
			t.Errorf("rounds %s: %v items were finished, wanted %v", test.rounds, run.Figures[Finished], test.finished)
		}
	}
}
