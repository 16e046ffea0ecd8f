package twin

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"github.com/backstay/backstay/api"
)

// What a model means that does not say.
const (
	triesDefault   = 3
	pauseDefault   = time.Second
	timeoutDefault = 5 * time.Second
)

// steps makes steps and pools ready.
func (c *compiler) steps() {
	m := &c.p.setup.Model.Spec
	for _, pool := range m.Pools {
		p := poolPlan{name: pool.Name, pauses: pool.Pauses}
		for _, who := range pool.Members {
			p.members = append(p.members, memberPlan{c.hours(who.Hours, who.Name), weightOf(who.Share)})
		}
		p.size, p.hours = len(p.members), c.hours(pool.Hours, pool.Name)
		if p.size == 0 {
			p.size = crowd(pool.Size)
		}
		c.p.pools = append(c.p.pools, p)
	}
	for _, s := range m.Steps {
		c.p.steps = append(c.p.steps, stepPlan{name: s.Name})
	}
	if len(m.Steps) == 0 {
		c.errorf(c.p.setup.Model.Pos, "missing-key", "say what is done with the items", "the model has no steps")
		c.p.steps = []stepPlan{{name: "none"}}
	}
	for i := range m.Steps {
		c.oneStep(i, &m.Steps[i])
	}
	c.begin()
}

// crowd is so many workers who are all alike; 1 where nothing is said.
func crowd(size int64) int { return int(min(max(size, 1), workersMax)) }

// weightOf is a share as an integer; 1 where nothing is said.
func weightOf(share float64) uint64 {
	if !(share > 0) {
		share = 1
	}
	return uint64(float64(min(share, 1e9)*1e6)) + 1
}

func (c *compiler) oneStep(i int, m *api.ModelStep) {
	s := &c.p.steps[i]
	s.takes, s.delay, s.delayPauses = timesTable(m.Takes), timesTable(m.Delay), m.DelayPauses
	for _, d := range m.Delays {
		if s.delays == nil {
			s.delays = map[int]*table{}
		}
		s.delays[c.step(d.After)] = timesTable(d.Time)
	}
	s.tries = uint16(cmp.Or(m.Tries, triesDefault))
	s.pause = int64(cmp.Or(m.Pause.Duration, pauseDefault))
	s.then = map[string]state{"hold": held, "drop": dropped}[m.Then]
	if s.then == 0 {
		s.then = dead
	}
	s.unanswered, s.most, s.lease = cmp.Or(m.Unanswered, "in-doubt"), m.Queue, int64(m.Lease.Duration)
	s.pool = slices.IndexFunc(c.p.pools, func(p poolPlan) bool { return p.name == m.Pool })
	switch {
	case m.Pool == "":
		s.pool = len(c.p.pools)
		c.p.pools = append(c.p.pools, poolPlan{name: m.Name, size: crowd(m.Workers), hours: c.hours(m.Hours, m.Name), rounds: int64(m.Rounds.Duration)})
	case s.pool < 0:
		c.errorf(c.p.setup.Model.Pos, "unknown-reference", "add it to pools", "step %s is done by a pool %q that there is not", m.Name, m.Pool)
		s.pool = len(c.p.pools)
		c.p.pools = append(c.p.pools, poolPlan{name: m.Pool, size: 1})
	}
	c.p.pools[s.pool].steps = append(c.p.pools[s.pool].steps, i)
	for _, call := range m.Calls {
		c.call(s, m.Name, call)
	}
	s.next = c.ways(m.Next, c.followers(i, m.Name))
}

func (c *compiler) call(s *stepPlan, step string, m api.ModelCall) {
	system := c.system(m.To)
	if system < 0 {
		c.errorf(c.p.setup.Model.Pos, "unknown-reference", "name an integration of the configuration", "step %s calls an integration %q that there is not", step, m.To)
		return
	}
	call := callPlan{system: system, endpoint: -1, effect: c.effect(m.Effect), money: m.Money, keyed: m.Keyed, timeout: int64(cmp.Or(m.Timeout.Duration, timeoutDefault))}
	if m.Endpoint != "" {
		if call.endpoint = c.endpointOf(m.To + "/" + m.Endpoint); call.endpoint < 0 {
			c.errorf(c.p.setup.Model.Pos, "unknown-reference", "", "step %s calls an endpoint %q that %s has not", step, m.Endpoint, m.To)
			return
		}
	}
	s.effects = s.effects || call.effect >= 0
	s.calls = append(s.calls, call)
}

// followers are the steps of the workflow that come after one; what the model says itself goes before.
func (c *compiler) followers(i int, name string) []int {
	for _, w := range c.p.setup.Current.Workflows {
		if w.Metadata.Name != c.p.setup.Model.Spec.Workflow {
			continue
		}
		var out []int
		for _, s := range w.Spec.Steps {
			if k := c.step(s.Name); k >= 0 && slices.Contains(s.After, name) {
				out = append(out, k)
			}
		}
		return out
	}
	if i+1 < len(c.p.steps) {
		return []int{i + 1}
	}
	return nil
}

// ways makes the next steps ready; with none said, the first of the followers, or the end.
func (c *compiler) ways(next []api.ModelNext, followers []int) ways {
	w := ways{after: map[int]fork{}}
	for _, n := range next {
		to := -1
		if n.To != "" {
			if to = c.step(n.To); to < 0 {
				c.errorf(c.p.setup.Model.Pos, "unknown-reference", "", "items go to a step %q that there is not", n.To)
				continue
			}
		}
		if len(n.With) > 0 && to >= 0 {
			to = c.fan(&w, to, n.With)
		}
		if n.First {
			w.after[-1] = w.after[-1].with(to, weightOf(n.Share))
		} else if n.After == "" {
			w.all = w.all.with(to, weightOf(n.Share))
		} else if from := c.step(n.After); from < 0 {
			c.errorf(c.p.setup.Model.Pos, "unknown-reference", "", "a way is for items that come from a step %q that there is not", n.After)
		} else {
			w.after[from] = w.after[from].with(to, weightOf(n.Share))
		}
	}
	if len(w.all.to) == 0 {
		to := -1
		if len(followers) > 0 {
			to = followers[0]
		}
		w.all = w.all.with(to, 1)
	}
	return w
}

// fan makes steps ready that are begun at once.
func (c *compiler) fan(w *ways, to int, with []string) int {
	fan := []int{to}
	for _, name := range with {
		step := c.step(name)
		if step < 0 {
			c.errorf(c.p.setup.Model.Pos, "unknown-reference", "", "a step %q that there is not is done beside another", name)
			continue
		}
		fan = append(fan, step)
	}
	w.beside = append(w.beside, fan...)
	c.p.fans = append(c.p.fans, fan)
	return fanned + len(c.p.fans) - 1
}

func (f fork) with(to int, weight uint64) fork {
	if n := len(f.weight); n > 0 {
		weight += f.weight[n-1]
	}
	return fork{append(f.to, to), append(f.weight, weight)}
}

// leads tells whether some items go to a step, of so many steps in all.
func (w *ways) leads(step, steps int) bool {
	if slices.Contains(w.all.to, step) || slices.Contains(w.beside, step) {
		return true
	}
	for from := -1; from < steps; from++ {
		if slices.Contains(w.after[from].to, step) {
			return true
		}
	}
	return false
}

// choose is where an item goes that came to this step from prev (-1: it began here).
func (w *ways) choose(prev int, u uint64) int {
	f := &w.all
	if len(w.after) > 0 {
		if particular, ok := w.after[prev]; ok {
			f = &particular
		}
	}
	if len(f.to) == 1 {
		return f.to[0]
	}
	return f.to[pick(u, f.weight)]
}

func (c *compiler) begin() {
	c.p.begin = c.ways(c.p.setup.Model.Spec.Begin, []int{0})
}

// rate is how much comes in an hour, until a time.
type rate struct {
	until   int64
	perHour float64
}

// rate is what holds at a time, and until when.
func (a *arrivals) rate(at int64) (float64, int64) {
	if len(a.rates) == 1 {
		return a.rates[0].perHour, a.rates[0].until
	}
	i := sort.Search(len(a.rates), func(i int) bool { return at < a.rates[i].until })
	if i == len(a.rates) {
		return 0, maxTime
	}
	return a.rates[i].perHour, a.rates[i].until
}

// byHour lays the figures of a week's hours over the time from start to end, by the clock of a zone.
func byHour(week []float64, zone *time.Location, start time.Time, end int64) []rate {
	var out []rate
	for at := start; ; {
		local := at.In(zone)
		since := time.Duration(local.Minute())*time.Minute + time.Duration(local.Second())*time.Second + time.Duration(local.Nanosecond())
		next := at.Add(time.Hour - since)
		out = append(out, rate{int64(next.Sub(start)), week[(int(local.Weekday())+6)%7*24+local.Hour()]})
		if int64(next.Sub(start)) >= end {
			return out
		}
		at = next
	}
}

// arrivals is how work comes in, made ready.
type arrivals struct {
	rates []rate // items an hour, as it changes
	gaps  *table
	hours *hours
	every int64
	batch int64
	times []int64
	unit  *table // exponential with mean 1e9: the chance of a random process
}

func (c *compiler) arrivals() {
	m, a := &c.p.setup.Model.Spec.Arrivals, &c.p.arrivals
	a.batch = max(m.Batch, 1)
	a.unit = formulaTable(func(p float64) float64 { return float64(-1e9 * ln(1-p)) }, 0)
	switch {
	case len(m.Times) > 0:
		for _, t := range m.Times {
			a.times = append(a.times, int64(t.Duration))
		}
		slices.Sort(a.times)
	case m.Every.Duration > 0:
		a.every, a.hours = int64(m.Every.Duration), c.hours(m.Calendar, "arrivals")
	case m.Gaps != nil:
		a.gaps, a.hours = timesTable(m.Gaps), c.hours(m.Calendar, "arrivals")
	case len(m.Hours) == 168:
		zone, err := time.LoadLocation(m.Zone)
		if err != nil {
			c.errorf(c.p.setup.Model.Pos, "bad-value", "", "there is no time zone %q", m.Zone)
			return
		}
		a.rates = byHour(m.Hours, zone, c.p.start, c.p.end)
	case len(m.Hours) > 0:
		c.errorf(c.p.setup.Model.Pos, "bad-value", "write one for each hour of the week, from Monday 00:00", "arrivals.hours has %d figures, not 168", len(m.Hours))
	case m.PerHour > 0:
		a.rates = []rate{{maxTime, m.PerHour}}
	}
}
