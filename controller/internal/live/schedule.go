package live

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/backstay/backstay/api"
)

// The scheduler's measures.
const (
	grainMax       = 20 * time.Millisecond  // starts are planned on this grid, or on interval/grainShare where that is finer
	grainShare     = 500                    //
	firstWithin    = time.Minute            // each probe runs once within its first interval, and within this where that is longer
	repeatLeast    = 100 * time.Millisecond // a suspicious answer is confirmed after this ...
	repeatSpread   = 100 * time.Millisecond // ... plus at most this
	hurryPause     = 500 * time.Millisecond // between runs that an expectation waits for
	repeatsMax     = 512                    // waiting repeats; beyond it the regular plan must do
	workersDefault = 4096
	targetDefault  = 512
	trimEvery      = 10 * time.Second
	lateShare      = 8                     // a run that starts later than timeout/lateShare, or ...
	lateLeast      = 25 * time.Millisecond // ... this where that is longer, is skipped: this machine is overloaded
	starvedLeast   = 50 * time.Millisecond // so late ourselves, we blame nobody else for a time-out

	// Where targets answer at once the processor is what limits, and more runs at a time only cost memory. So few begin together;
	// the rest of a burst is taken up as they end. Runs that wait for their target for longer than this do not count. Where it is
	// the processor that runs wait for, more of them would make it worse: then it is longer.
	youngMax    = 48
	lookWait    = 4 * time.Millisecond
	lookPressed = 50 * time.Millisecond
)

// target is what several probes may look at: one that hangs must not take all workers.
type target struct {
	key      string
	inFlight int // under the scheduler's lock
}

// scheduler starts each probe at its planned times. It has one timer and one heap; a probe costs no goroutine while it waits.
// Starts that cannot happen on time, because the run before still goes or because too much is going at once, are skipped and
// counted, never queued: a queue would only turn overload into stale answers.
type scheduler struct {
	base       time.Time
	workersMax int
	targetMax  int
	run        func(p *probe, due time.Time, extra bool) // runs one probe, on a worker
	late       func(time.Duration)                       // takes each start's lateness
	pressed    func() bool                               // the processor is what runs have waited for since the last call

	wake chan struct{}

	mu       sync.Mutex
	heap     dues
	until    int64 // what the timer is set to; starts earlier than this need a wake-up
	repeats  int   // extra starts on the heap
	targets  map[string]*target
	idle     []*worker // the last one is the warmest
	idleMin  int       // fewest idle workers since the last trim
	workers  int
	pending  []job  // starts of this moment that wait for a worker, earliest first ...
	taken    int    // ... from here on
	look     int64  // number of the present look, each at least lookWait after the one before
	looked   int64  // when it began
	width    int    // most runs of the present look and the one before
	checked  int64  // when it was last asked whether it is over
	going    [3]int // runs that began in the present look, in the one before, and earlier
	stopping bool
	wg       sync.WaitGroup
}

type worker struct {
	jobs chan job
	look int64 // in which its present run began; under the scheduler's lock
}

type job struct {
	p     *probe
	at    int64
	extra bool
}

func newScheduler(workersMax, targetMax int) *scheduler {
	return &scheduler{
		base: time.Now(), workersMax: workersMax, targetMax: targetMax, wake: make(chan struct{}, 1), targets: map[string]*target{}, width: youngMax,
		late: func(time.Duration) {}, pressed: func() bool { return false },
	}
}

func (s *scheduler) now() int64 { return int64(time.Since(s.base)) }

// grain is the grid that an interval's starts are planned on, so that many starts share one wake-up.
func grain(every time.Duration) int64 {
	return int64(max(min(grainMax, every/grainShare), 1))
}

// phaseOf spreads probes over their interval by name, so that a restart or a reload plans the same.
func phaseOf(name string, every time.Duration) int64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	x := h.Sum64()
	x ^= x >> 33 // fnv leaves the upper bits of similar names close together
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	phase := int64(x % uint64(every))
	return phase - phase%grain(every)
}

// nextAfter is the first planned start at or after t.
func (p *probe) nextAfter(t int64) int64 {
	n := (t - p.phase + int64(p.every) - 1) / int64(p.every)
	return p.phase + max(n, 0)*int64(p.every)
}

// add plans a probe. The caller has set its phase and target.
func (s *scheduler) add(p *probe) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	first := due{at: p.nextAfter(now), p: p}
	s.heap.push(first)
	if p.every > firstWithin {
		soon := now + p.phase%int64(firstWithin)
		if soon < first.at {
			p.extra = true
			s.repeats++
			s.heap.push(due{at: soon, p: p, extra: true})
		}
	}
	s.nudge()
}

// targetOf gives the shared count of what runs against a key.
func (s *scheduler) targetOf(key string) *target {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.targets[key]
	if t == nil {
		t = &target{key: key}
		s.targets[key] = t
	}
	return t
}

// repeat plans one run beside the regular plan, unless that comes first anyway.
func (s *scheduler) repeat(p *probe, after time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.now() + int64(after)
	if p.extra || s.repeats >= repeatsMax || p.gone.Load() || p.nextAfter(s.now()+1) <= at {
		return
	}
	p.extra = true
	s.repeats++
	s.heap.push(due{at: at, p: p, extra: true})
	s.nudge()
}

// nudge wakes the loop where the earliest start is earlier than it sleeps. The caller holds the lock.
func (s *scheduler) nudge() {
	if len(s.heap) == 0 || s.heap[0].at >= s.until {
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// loop starts what is due until ctx ends; then it waits for running probes, whose contexts have ended too.
func (s *scheduler) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	trimmed := s.now()
	for {
		select {
		case <-ctx.Done():
			s.stop()
			return
		case <-timer.C:
		case <-s.wake:
		}
		next := s.startDue()
		now := s.now()
		if now-trimmed > int64(trimEvery) {
			s.trim()
			trimmed = now
		}
		timer.Reset(time.Duration(next - now))
	}
}

// startDue starts all that is due and says when to come back, at the latest after trimEvery.
func (s *scheduler) startDue() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.lookAgain(now)
	for len(s.heap) > 0 && s.heap[0].at <= now {
		d := s.heap[0]
		switch {
		case d.extra:
			s.heap.pop()
			d.p.extra = false
			s.repeats--
		case d.p.gone.Load():
			s.heap.pop()
		default:
			next := d.at + int64(d.p.every)
			if next <= now { // the process stood still: what was missed is gone
				missed := (now-next)/int64(d.p.every) + 1
				d.p.skip(skipLate, missed)
				d.at += missed * int64(d.p.every)
				next = d.at + int64(d.p.every)
			}
			s.heap.replace(due{at: next, p: d.p})
		}
		s.start(d)
	}
	s.until = now + int64(trimEvery)
	if len(s.heap) > 0 {
		s.until = min(s.until, s.heap[0].at)
	}
	if s.waiting() > 0 {
		s.until = min(s.until, s.checked+int64(lookWait))
	}
	return s.until
}

// lookAgain begins a look where the present one is over. The caller holds the lock.
func (s *scheduler) lookAgain(now int64) {
	if now-s.checked < int64(lookWait) {
		return
	}
	s.checked = now
	busy := s.waiting() > 0 && s.pressed()
	if busy && now-s.looked < int64(lookPressed) {
		return
	}
	s.look, s.looked = s.look+1, now
	s.going = [3]int{0, s.going[0], s.going[1] + s.going[2]}
	if s.width = youngMax; !busy {
		s.width = max(youngMax, s.going[2]) // slow targets want many runs at once: double them until none waits
	}
	s.staff()
}

// start hands a run to a worker, or skips it. The caller holds the lock.
func (s *scheduler) start(d due) {
	p := d.p
	if p.gone.Load() || s.stopping {
		return
	}
	if !p.running.CompareAndSwap(false, true) {
		if !d.extra {
			p.skip(skipOverlap, 1)
		}
		return
	}
	why := skipReasons
	switch {
	case p.target.inFlight >= s.targetMax:
		why = skipTarget
	case s.workers-len(s.idle)+s.waiting() >= s.workersMax:
		why = skipWorkers
	}
	if why != skipReasons {
		p.running.Store(false)
		if !d.extra {
			p.skip(why, 1)
		}
		return
	}
	p.target.inFlight++
	if s.taken > len(s.pending)/2 { // under overload it may never be empty
		s.pending, s.taken = append(s.pending[:0], s.pending[s.taken:]...), 0
	}
	s.pending = append(s.pending, job{p, d.at, d.extra})
	s.staff()
}

// staff gives workers to what waits, as long as few runs have begun just now. The caller holds the lock.
func (s *scheduler) staff() {
	for s.another() {
		w := s.worker()
		w.jobs <- s.take(w) // has room: the worker is idle
	}
}

// another tells whether one more run may begin now. The caller holds the lock.
func (s *scheduler) another() bool { return s.waiting() > 0 && s.going[0]+s.going[1] < s.width }

// waiting counts what waits for a worker. The caller holds the lock.
func (s *scheduler) waiting() int { return len(s.pending) - s.taken }

// take gives a worker what has waited longest. The caller holds the lock and knows that something waits.
func (s *scheduler) take(w *worker) job {
	j := s.pending[s.taken]
	if s.taken++; s.taken == len(s.pending) {
		s.pending, s.taken = s.pending[:0], 0
	}
	w.look = s.look
	s.going[0]++
	return j
}

// worker takes the warmest idle worker, or makes one. The caller holds the lock.
func (s *scheduler) worker() *worker {
	if n := len(s.idle); n > 0 {
		w := s.idle[n-1]
		s.idle = s.idle[:n-1]
		s.idleMin = min(s.idleMin, n-1)
		return w
	}
	w := &worker{jobs: make(chan job, 1)}
	s.workers++
	s.idleMin = 0
	s.wg.Go(func() { s.work(w) })
	return w
}

func (s *scheduler) work(w *worker) {
	for j := range w.jobs {
		for more := true; more; {
			s.perform(j)
			s.mu.Lock()
			j.p.target.inFlight--
			s.going[min(s.look-w.look, 2)]--
			if s.stopping {
				s.workers--
				s.mu.Unlock()
				return
			}
			if more = s.another(); more {
				j = s.take(w)
			} else {
				s.idle = append(s.idle, w)
			}
			s.mu.Unlock()
		}
	}
}

// perform runs a probe, unless it is too late for that.
func (s *scheduler) perform(j job) {
	switch late := time.Duration(s.now() - j.at); {
	case late <= max(j.p.timeout/lateShare, lateLeast):
		s.late(late)
		s.run(j.p, s.base.Add(time.Duration(j.at)), j.extra)
	case !j.extra:
		// Without this an overload feeds itself: late runs time out, their connections close, and new ones cost ten times more.
		j.p.skip(skipLate, 1)
	}
	j.p.running.Store(false)
}

// trim ends the workers that nobody needed since the last trim.
func (s *scheduler) trim() {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(s.idleMin, len(s.idle))
	for _, w := range s.idle[:n] {
		close(w.jobs)
	}
	s.workers -= n
	s.idle = append(s.idle[:0], s.idle[n:]...)
	s.idleMin = len(s.idle)
}

// stop ends idle workers. Busy ones end by themselves when their runs do.
func (s *scheduler) stop() {
	s.mu.Lock()
	s.stopping = true
	for _, w := range s.idle {
		close(w.jobs)
	}
	s.workers -= len(s.idle)
	s.idle = nil
	for _, j := range s.pending[s.taken:] {
		j.p.running.Store(false)
		j.p.target.inFlight--
	}
	s.pending, s.taken = nil, 0
	s.mu.Unlock()
}

// counts tells how many workers there are, and how many of them have work.
func (s *scheduler) counts() (workers, busy int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.workers, s.workers - len(s.idle)
}

// runProbe runs one probe within its deadline and files what it saw.
func (s *Shell) runProbe(runs *runs, p *probe, due time.Time, extra bool) {
	start := time.Now()
	p.mu.Lock()
	prober := p.prober
	if !extra {
		p.lateness = start.Sub(due)
	}
	p.mu.Unlock()
	ctx := runs.begin(p.timeout)
	o := s.observe(ctx, p.name, func() api.Observation { return prober.Probe(ctx) })
	stopped := ctx.Err() == context.Canceled
	ctx.end()
	if p.gone.Load() || stopped {
		return // the answer was cut short, or nobody asks any more
	}
	o.Probe, o.At, o.Took = p.name, s.clock.now(), time.Since(start)
	if o.Unit == "" {
		o.Unit = p.unit
	}
	s.border.observation(&o, p.personal)
	p.judge(&o, start.Sub(due))
	s.saw(p, &o)
}

// judge holds an answer to the probe's timeout. Where this process itself was late, to start the run or to notice its deadline, a
// time-out says nothing about the target.
func (p *probe) judge(o *api.Observation, late time.Duration) {
	over := o.Took - p.timeout
	switch {
	case over < 0:
	case late > starvedLeast && o.Verdict != api.Unknown, over > starvedLeast && o.Verdict == api.Bad:
		o.Verdict = api.Unknown
		o.Reason = fmt.Sprintf("This machine was too busy to tell: the run started %s late and took %s; the probe's timeout is %s.",
			late.Round(time.Millisecond), o.Took.Round(time.Millisecond), p.timeout)
	case o.Verdict == api.OK && over > 0:
		o.Verdict = api.Bad
		o.Reason = fmt.Sprintf("The answer was good but took %s; the probe's timeout is %s.", o.Took.Round(time.Millisecond), p.timeout)
	}
}

// observe calls a prober and survives it: a panic means that the probe could not run.
func (s *Shell) observe(ctx context.Context, name string, probe func() api.Observation) (o api.Observation) {
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("a probe panicked; its verdict is unknown", "probe", name, "panic", r, "stack", stack())
			o = api.Observation{Verdict: api.Unknown, Reason: fmt.Sprintf("The probe itself is broken: %v.", r)}
		}
	}()
	o = probe()
	if o.Verdict != api.OK && o.Verdict != api.Bad && o.Verdict != api.Unknown {
		o = api.Observation{Verdict: api.Unknown, Reason: fmt.Sprintf("The probe gave the verdict %q, which means nothing.", o.Verdict)}
	}
	return o
}
