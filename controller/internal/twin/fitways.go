package twin

import (
	"math"
	"slices"

	"github.com/backstay/backstay/api"
)

// Which contexts a model keeps.
const (
	contextSamples = 10   // a step before is looked at where so many cases came from it
	contextGain    = 0.01 // and kept where it tells so many bits about each item, times its samples, beyond what chance would
	waysMax        = 20000
)

// ways counts where cases go from each step. A case that was cut off counts as far as finished cases went the same way: so every way leads
// to an end.
func (f *fitter) ways(s *api.ModelSpec) {
	n := len(f.log.Activities)
	size := n + len(f.blocks)
	finished := map[int64]bool{} // pairs of steps
	pair := func(a, b int) int64 { return int64(a+1)*int64(size+1) + int64(b+1) }
	any := false
	for i := range f.cases {
		any = any || !f.cases[i].open
	}
	for i := range f.cases {
		if c := &f.cases[i]; !c.open || !any {
			for k := range c.steps {
				finished[pair(before(c.steps, k), c.steps[k])] = true
			}
		}
	}
	begin := make([]int, size)
	next := make([]map[int]map[int]int, size) // by step, by the step before, by where to (size: the end)
	for i := range f.cases {
		c := &f.cases[i]
		if finished[pair(-1, c.steps[0])] {
			begin[c.steps[0]]++
		}
		for k, at := range c.steps {
			to := size
			if k+1 < len(c.steps) {
				to = c.steps[k+1]
				if !finished[pair(at, to)] {
					break
				}
			} else if c.open && any {
				break
			}
			if next[at] == nil {
				next[at] = map[int]map[int]int{}
			}
			from := before(c.steps, k)
			if next[at][from] == nil {
				next[at][from] = map[int]int{}
			}
			next[at][from][to]++
		}
	}
	for a := range size {
		if begin[a] > 0 {
			s.Begin = append(s.Begin, f.way(a, begin[a]))
		}
	}
	for a := range s.Steps {
		at := a
		if b := f.block[a]; b >= 0 && f.blocks[b][0] == a {
			at = n + b
			if len(next[a]) > 0 {
				next[at] = merged(next[at], next[a]) // the first of a block also stands alone at times
			}
		}
		s.Steps[a].Next = f.stepWays(next[at], size)
	}
}

func merged(x, y map[int]map[int]int) map[int]map[int]int {
	if x == nil {
		return y
	}
	for _, from := range keysOf(y) {
		if x[from] == nil {
			x[from] = map[int]int{}
		}
		for _, to := range keysOf(y[from]) {
			x[from][to] += y[from][to]
		}
	}
	return x
}

// before is the step before the k-th; -1 for the first.
func before(steps []int, k int) int {
	if k == 0 {
		return -1
	}
	return steps[k-1]
}

// way is a line that leads to a step or a block (the end where to is beyond them), with a share.
func (f *fitter) way(to, share int) api.ModelNext {
	n := len(f.log.Activities)
	w := api.ModelNext{Share: float64(share)}
	switch {
	case to < n:
		w.To = f.names[to]
	case to < n+len(f.blocks):
		block := f.blocks[to-n]
		w.To = f.names[block[0]]
		for _, b := range block[1:] {
			w.With = append(w.With, f.names[b])
		}
	}
	return w
}

// stepWays are the ways from one step: those of all items, and of the items from particular steps where that tells much.
func (f *fitter) stepWays(next map[int]map[int]int, size int) []api.ModelNext {
	if len(next) == 0 {
		return []api.ModelNext{{}} // it was only ever seen within blocks, or cut off: then it is the end
	}
	all, total := map[int]int{}, 0
	for _, from := range keysOf(next) {
		for _, to := range keysOf(next[from]) {
			all[to] += next[from][to]
			total += next[from][to]
		}
	}
	var own []int // steps before that have lines of their own
	rest := map[int]int{}
	for _, from := range keysOf(next) {
		if len(next) > 1 && tells(next[from], all, total) {
			own = append(own, from)
			continue
		}
		for _, to := range keysOf(next[from]) {
			rest[to] += next[from][to]
		}
	}
	if len(rest) == 0 {
		rest = all
	}
	out := f.forkWays(rest)
	for _, from := range own {
		some := f.forkWays(next[from])
		for i := range some {
			if some[i].First = from < 0; !some[i].First {
				some[i].After = f.standsFor(from)
			}
		}
		out = append(out, some...)
	}
	return out
}

// forkWays are lines with shares, the most frequent first.
func (f *fitter) forkWays(count map[int]int) []api.ModelNext {
	var out []api.ModelNext
	for _, to := range keysOf(count) {
		out = append(out, f.way(to, count[to]))
	}
	slices.SortStableFunc(out, func(x, y api.ModelNext) int { return int(y.Share - x.Share) })
	return out
}

// standsFor is the name of a step, or of the first of a block.
func (f *fitter) standsFor(step int) string {
	if n := len(f.log.Activities); step >= n {
		return f.names[f.blocks[step-n][0]]
	}
	return f.names[step]
}

// tells decides whether the step before says more about the next one than chance would: the likelihood ratio against all items together
// must pay for its parameters by the criterion of G. Schwarz (1978).
func tells(some, all map[int]int, total int) bool {
	count, gain := 0, 0.0
	for _, to := range keysOf(some) {
		count += some[to]
	}
	if count < contextSamples {
		return false
	}
	for _, to := range keysOf(some) {
		p, q := float64(some[to])/float64(count), float64(all[to])/float64(total)
		gain += float64(some[to]) * ln(p/q)
	}
	return gain > float64(len(all)-1)*ln(float64(count))/2+math.SmallestNonzeroFloat64 && gain > contextGain*float64(count)
}
