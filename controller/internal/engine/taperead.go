package engine

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"time"

	"github.com/backstay/backstay/api"
)

// Taped is a block of a tape, with its place: the sequence number of the first entry that its events led to, or would have.
type Taped struct {
	First int64
	Block []byte
}

// Input is one event off a tape.
type Input struct {
	Event   Event // of a configuration only its digest; empty but for At where Lost is set
	Entries int   // that it led to
	Lost    bool  // what led to the entries was not kept
}

// ReadTape takes a block apart, in order, until visit says false; visit must not keep the Input itself. An error says that the block is damaged, or of a newer version; what came
// before it was read.
func ReadTape(block []byte, visit func(*Input) bool) error {
	if len(block) == 0 || block[0] != tapeVersion {
		return fmt.Errorf("read recorded inputs: the block is not of version %d", tapeVersion)
	}
	r := tapeReader{rest: block[1:]}
	var in Input
	for len(r.rest) > 0 {
		var err error
		if in, err = r.next(); err != nil {
			return fmt.Errorf("read recorded inputs: the block is damaged at byte %d of %d: %w", len(block)-len(r.rest), len(block), err)
		}
		if !visit(&in) {
			return nil
		}
	}
	return nil
}

// tapeReader takes events off a block; bad is set where one is cut off.
type tapeReader struct {
	rest  []byte
	names []string
	last  int64
	bad   bool
}

const entriesMost = 1 << 30 // of one event; beyond it the block is damaged

func (r *tapeReader) next() (Input, error) {
	kind := r.byte()
	r.last += r.int()
	in := Input{Event: Event{At: time.Unix(0, r.last).UTC()}}
	if kind&tapeLed != 0 {
		n := r.uint()
		if n == 0 || n > entriesMost {
			r.bad = true
		}
		in.Entries = int(n)
	}
	err := r.event(kind&^tapeLed, &in)
	if err == nil && r.bad {
		err = fmt.Errorf("it ends in the middle of an event")
	}
	return in, err
}

func (r *tapeReader) event(kind byte, in *Input) error {
	e := &in.Event
	switch kind {
	case tapeTick:
		e.Tick = true
	case tapeRestarted:
		e.Restarted = true
	case tapeStopping:
		e.Stopping = true
	case tapeLost:
		in.Lost = true
	case tapeConfig:
		e.Config = &Config{Digest: string(r.bytes())}
	case tapeRefused:
		e.Refused = string(r.bytes())
	case tapeSeen:
		e.Seen = r.name()
	case tapeEyes:
		e.Eyes = &Eyes{Probes: int(r.int()), Bad: int(r.int()), Unknown: int(r.int())}
	case tapeValue:
		e.Value = &Value{Probe: r.name(), Value: math.Float64frombits(bits.ReverseBytes64(r.uint()))}
	case tapeVerdict:
		e.Verdict = &Verdict{Probe: r.name()}
		if n := r.byte(); int(n) < len(tapeVerdicts) {
			e.Verdict.Verdict = tapeVerdicts[n]
		} else {
			r.bad = true
		}
	case tapeAnomaly:
		e.Anomaly = &api.Anomaly{}
		return r.json(e.Anomaly)
	case tapeDecision:
		e.Decision = &api.Decision{}
		return r.json(e.Decision)
	case tapePause:
		e.Pause = &api.Pause{}
		return r.json(e.Pause)
	case tapeResume:
		e.Resume = &api.Pause{}
		return r.json(e.Resume)
	case tapeResult:
		var t taped
		err := r.json(&t)
		e.Result = &Result{Command: t.Command, Estimate: t.Estimate, Outcome: t.Outcome}
		return err
	default:
		return fmt.Errorf("%d is no kind of event", kind)
	}
	return nil
}

func (r *tapeReader) byte() byte {
	if len(r.rest) == 0 {
		r.bad = true
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *tapeReader) uint() uint64 {
	v, n := binary.Uvarint(r.rest)
	r.skip(n)
	return v
}

func (r *tapeReader) int() int64 {
	v, n := binary.Varint(r.rest)
	r.skip(n)
	return v
}

func (r *tapeReader) skip(n int) {
	if n <= 0 {
		r.bad, n = true, 0
	}
	r.rest = r.rest[n:]
}

func (r *tapeReader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.rest)) {
		r.bad = true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *tapeReader) name() string {
	n := r.uint()
	switch {
	case n == 0:
		r.names = append(r.names, string(r.bytes()))
		return r.names[len(r.names)-1]
	case n > uint64(len(r.names)):
		r.bad = true
		return ""
	}
	return r.names[n-1]
}

func (r *tapeReader) json(into any) error {
	b := r.bytes()
	if r.bad {
		return nil
	}
	return json.Unmarshal(b, into)
}
