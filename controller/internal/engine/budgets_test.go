package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// TestFoldedRunsStillCount: however many runs there were, no budget forgets what they touched, and none counts for much longer than it
// should.
func TestFoldedRunsStillCount(t *testing.T) {
	s := New()
	p := &plan{Name: "replay", Limits: api.Limits{Within: []api.Budget{{Per: api.Duration{Duration: 24 * time.Hour}, Items: 1}}}}
	const runs = 5 * keepRunsCount
	for i := range runs {
		at := t0.Add(time.Duration(i) * 2 * time.Minute)
		s.now = at
		q := &run{ID: fmt.Sprint(i), Playbook: p.Name, At: at}
		s.keep(q)
		s.past.change(q, func() { q.Items, q.Amount, q.Ended = 3, api.Money{"EUR": 7}, at.Add(time.Second) })
		if i%500 != 0 && i != runs-1 {
			continue
		}
		exact := int64(min(i+1, 24*30))
		u := s.counted(p, &p.Limits.Within[0], "").used()
		if u.items < 3*exact || u.runs < exact || u.runs > exact+exact/10+2 {
			t.Fatalf("after %d runs the budget counts %d runs with %d items; want at least %d and %d, and not many more", i+1, u.runs, u.items, exact, 3*exact)
		}
	}
	if n := len(s.d.Runs); n > keepRunsCount+1 {
		t.Errorf("%d runs are kept", n)
	}
}
