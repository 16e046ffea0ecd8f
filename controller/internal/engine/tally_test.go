package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// TestTalliesAgreeWithARecount: over random histories, the sums that limits are held against are those of a recount of all runs, the time
// when a budget would next pass is the first end of a run after which it does, and a restart finds the same.
func TestTalliesAgreeWithARecount(t *testing.T) {
	seeds := uint64(400)
	if testing.Short() {
		seeds = 100
	}
	for seed := range seeds {
		h := newPast(seed)
		for range 120 {
			h.change()
			if h.rng.IntN(4) == 0 {
				h.compare(t)
			}
		}
		h.s.past = newHistory(h.s.d.Runs) // as Restore does
		h.compare(t)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// past is a random history of runs.
type past struct {
	s     *State
	rng   *rand.Rand
	n     int
	plans []*plan
}

func newPast(seed uint64) *past {
	h := &past{s: New(), rng: rand.New(rand.NewPCG(seed, 7))}
	h.s.now = t0
	for i := range 4 {
		p := &plan{Name: fmt.Sprint("p", i), Danger: api.D2}
		for k := range 4 {
			if h.rng.IntN(2) == 0 {
				p.Targets = append(p.Targets, fmt.Sprint("integration/", k))
			}
		}
		h.plans = append(h.plans, p)
	}
	return h
}

// change has one thing happen: time goes on, a run begins, acts, counts, ends, is put right afterwards, or two are folded.
func (h *past) change() {
	s := h.s
	s.now = s.now.Add(time.Duration(h.rng.IntN(3)) * time.Minute)
	var q *run
	if len(s.d.Runs) > 0 {
		q = s.d.Runs[h.rng.IntN(len(s.d.Runs))]
	}
	switch n := h.rng.IntN(12); {
	case n < 4 || q == nil:
		p := h.plans[h.rng.IntN(len(h.plans))]
		h.n++
		s.keep(&run{ID: fmt.Sprint("r", h.n), Playbook: p.Name, At: s.now, Targets: p.Targets})
		if h.rng.IntN(3) > 0 {
			s.rems[fmt.Sprint("r", h.n)] = &remediation{ID: fmt.Sprint("r", h.n), Plan: p, Claim: int64(h.rng.IntN(2)), Opened: s.now}
		}
	case n < 6:
		s.past.change(q, func() { q.Acted, q.Total = true, max(q.Total, h.rng.Int64N(1000)) })
	case n < 9 && q.Ended.IsZero():
		s.past.change(q, func() { q.Ended = s.now })
	case n == 10:
		s.fold(q.Playbook)
	case n == 11:
		s.keepFor(q)
	default:
		s.past.change(q, func() {
			q.Items = plus(q.Items, []int64{0, 1, 5, 200, 1 << 62}[h.rng.IntN(5)*h.rng.IntN(2)])
			q.Amount = lean(q.Amount.Plus(api.Money{[]string{"EUR", "USD"}[h.rng.IntN(2)]: h.rng.Int64N(500)}))
		})
	}
}

// keepFor lets a run be forgotten, as one that is too old is.
func (s *State) keepFor(q *run) {
	if i := slices.Index(s.d.Runs, q); !q.Ended.IsZero() && i < 3 {
		s.past.forget(q)
		s.d.Runs = slices.Delete(s.d.Runs, i, i+1)
	}
}

func (h *past) compare(t *testing.T) {
	t.Helper()
	p := h.plans[h.rng.IntN(len(h.plans))]
	b := &api.Budget{Per: api.Seconds(float64(60 * (1 + h.rng.IntN(200)))), Of: []string{"", "playbook", "target", "all"}[h.rng.IntN(4)], Amount: api.Money{"EUR": 1, "CHF": 1}}
	but := ""
	if under := h.s.past.under; len(under) > 0 && h.rng.IntN(2) == 0 {
		but = under[h.rng.IntN(len(under))].ID
	}
	x := h.s.counted(p, b, but)
	got, want := x.used(), h.recount(p, b, but, h.s.now.Add(-b.Per.Duration))
	if got.runs != want.runs || got.items != want.items || got.total != want.total || !slices.Equal(got.sums, want.sums) {
		t.Errorf("budget %+v of %s: the sums are %+v and a recount gives %+v", b, p.Name, got, want)
	}
	most, share := h.rng.Int64N(max(1, min(want.items, 2000))), float64(h.rng.IntN(100))/100
	for name, ok := range map[string]func(u *usage) bool{
		"runs":  func(u *usage) bool { return u.runs < most/20 },
		"items": func(u *usage) bool { return u.items < most },
		"money": func(u *usage) bool { return u.sums[1] <= most },
		"share": func(u *usage) bool { return float64(u.items) <= share*float64(max(u.total, 300)) },
	} {
		if !ok(&want) {
			if got, want := x.next(ok), h.nextBy(p, b, but, ok); !got.Equal(want) {
				t.Errorf("budget %+v of %s: by %s it would next pass at %s, and going through all ends gives %s", b, p.Name, name, got, want)
			}
		}
	}
	h.compareRuns(t, p, b.Per.Duration)
	h.compareCooled(t, p, but)
}

// recount is used, straightforwardly.
func (h *past) recount(p *plan, b *api.Budget, but string, after time.Time) usage {
	u := usage{sums: make([]int64, 2)}
	for _, q := range h.s.d.Runs {
		if q.until(h.s.now.Add(1)).After(after) && h.s.counts(p, b, q, but) {
			u.runs, u.items, u.total = plus(u.runs, 1+q.More), plus(u.items, q.Items), max(u.total, q.Total)
			u.sums[1] = plus(u.sums[1], q.Amount["EUR"])
		}
	}
	return u
}

// nextBy is next, straightforwardly: the first end of a run without which, and without those before it, ok passes.
func (h *past) nextBy(p *plan, b *api.Budget, but string, ok func(u *usage) bool) time.Time {
	var ends []time.Time
	for _, q := range h.s.d.Runs {
		if q.Ended.After(h.s.now.Add(-b.Per.Duration)) && h.s.counts(p, b, q, but) {
			ends = append(ends, q.Ended)
		}
	}
	slices.SortFunc(ends, time.Time.Compare)
	for _, end := range ends {
		if u := h.recount(p, b, but, end); ok(&u) {
			return end.Add(b.Per.Duration)
		}
	}
	return time.Time{}
}

// compareRuns holds the limit of runs in a time against a recount, minute by minute.
func (h *past) compareRuns(t *testing.T, p *plan, per time.Duration) {
	n := func(at time.Time) (n int64) {
		for _, q := range h.s.d.Runs {
			if q.Playbook == p.Name && at.Before(q.At.Add(per)) {
				n += 1 + q.More
			}
		}
		return n
	}
	limited := &plan{Name: p.Name, Limits: api.Limits{Runs: api.Rate{N: 1 + h.rng.Int64N(10), Per: per}}}
	no, _ := h.s.guardRuns(&candidate{plan: limited})
	if limit := limited.Limits.Runs.N; (no != nil) != (n(h.s.now) >= limit) {
		t.Errorf("%s ran %d times, its limit is %d, and the guard says %v", p.Name, n(h.s.now), limit, no)
	} else if no != nil && (n(no.Next) >= limit || n(no.Next.Add(-1)) < limit) {
		t.Errorf("%s may run again at %s (%d of %d), but just before it ran %d times", p.Name, no.Next, n(no.Next), limit, n(no.Next.Add(-1)))
	}
}

// compareCooled holds the pauses since other runs against a look at every run.
func (h *past) compareCooled(t *testing.T, p *plan, but string) {
	limited := *p
	limited.Limits = api.Limits{CooldownTarget: api.Seconds(float64(60 * h.rng.IntN(60))), CooldownAll: api.Seconds(float64(60 * h.rng.IntN(30)))}
	target, all := limited.Limits.CooldownTarget.Duration, limited.Limits.CooldownAll.Duration
	var next time.Time
	under := false
	for _, q := range h.s.d.Runs {
		pause := all
		if overlap(q.Targets, p.Targets) {
			pause = max(target, all)
		}
		if q.ID == but || pause <= 0 || !h.s.acts(q, but != "") {
			continue
		}
		if under = under || q.Ended.IsZero(); q.Ended.Add(pause).After(h.s.now) && q.Ended.Add(pause).After(next) {
			next = q.Ended.Add(pause)
		}
	}
	if under {
		next = time.Time{}
	}
	no := h.s.cooled(&limited, but)
	if (no != nil) != (under || !next.IsZero()) || no != nil && !no.Next.Equal(next) {
		t.Errorf("%s with pauses of %s and %s: the guard says %+v; under way %t, next %s", p.Name, target, all, no, under, next)
	}
}
