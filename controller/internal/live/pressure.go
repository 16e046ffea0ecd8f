package live

import (
	"runtime"
	"syscall"
	"time"
)

// pressure tells whether the processor is what this process waits for, and not its targets.
type pressure struct {
	at   time.Time
	used time.Duration
	lost int64 // times that the kernel took the processor away
}

// high looks at the time since the last call: the process used most of what it may, or other processes took the processor from it.
func (p *pressure) high() bool {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return false
	}
	now := pressure{time.Now(), time.Duration(u.Utime.Nano() + u.Stime.Nano()), int64(u.Nivcsw)}
	before := *p
	*p = now
	return now.lost > before.lost || (now.used-before.used)*10 > now.at.Sub(before.at)*time.Duration(7*runtime.GOMAXPROCS(0))
}
