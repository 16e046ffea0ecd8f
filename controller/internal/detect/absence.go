package detect

import (
	"errors"
	"fmt"
	"time"

	"github.com/backstay/backstay/api"
)

// absence opens when no good run was seen for a time. It is judged on every run, bad and unknown ones included;
// before the first good run it counts from the first run of all.
type absence struct {
	longest time.Duration
	since   int64 // last good run, or the first run
	runs    int64 // runs without a good one since
	reason  string
	never   bool // no good run was ever seen
	started bool
}

func newAbsence(c api.Absence) (*absence, error) {
	if c.For.Duration <= 0 {
		return nil, errors.New("absence needs for: the longest time without a good run, such as 10m")
	}
	return &absence{longest: c.For.Duration}, nil
}

func (r *absence) observe(p point, open bool) bool {
	if p.verdict == good {
		r.since, r.runs, r.never, r.started = p.at, 0, false, true
		return false
	}
	if !r.started {
		r.since, r.never, r.started = p.at, true, true
	}
	r.runs++
	r.reason = p.reason
	return open || p.at-r.since >= int64(r.longest)
}

func (r *absence) explain(now int64, cleared bool) finding {
	gone := time.Duration(max(now-r.since, 0))
	f := finding{value: gone.Seconds(), limit: r.longest.Seconds(), unit: "s"}
	if cleared {
		f.text = "a good run was seen again"
		return f
	}
	f.evidence = []api.Number{{Name: "without a good run", Value: gone.Seconds(), Unit: "s"}, {Name: "longest allowed", Value: r.longest.Seconds(), Unit: "s"},
		{Name: "runs since", Value: float64(r.runs), Unit: "runs"}}
	f.text = fmt.Sprintf("no good run for %s, longest allowed %s", span(gone), span(r.longest))
	if r.never {
		f.text = fmt.Sprintf("no good run since watching began %s ago, longest allowed %s", span(gone), span(r.longest))
	}
	if r.reason != "" {
		f.text += "; the last: " + clip(r.reason, 200)
	}
	return f
}

func (r *absence) reset() { r.started = false }
