package engine

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"math/bits"

	"github.com/backstay/backstay/api"
)

// Tape keeps every event that reached Step, in order, with how many entries each led to: what a replay needs to come to the same entries, to the
// byte, because most events that decide nothing leave no entry. The shell adds each event after its step and cuts a block off the tape before it
// makes the entries durable. It is written for what comes often: a probe that was seen costs 4 bytes and no allocation.
//
// Compatibility: a block begins with tapeVersion; a reader refuses others. Then, for each event: its kind in the lower bits of a byte, with
// tapeLed where it led to entries; the nanoseconds since the event before (of the first: since 1970) as a varint; with tapeLed how many entries, as
// a uvarint; and what the kind needs. Names of probes are numbered within a block as they come: a number, or 0 and the name. Kinds are only added.
type Tape struct {
	block []byte
	names map[string]uint64
	last  int64 // nanoseconds since 1970
}

const tapeVersion = 1

// The kinds of event on a tape.
const (
	tapeTick = 1 + iota
	tapeRestarted
	tapeConfig   // digest
	tapeRefused  // text
	tapeAnomaly  // JSON
	tapeEyes     // probes, bad, unknown
	tapeVerdict  // probe, place in tapeVerdicts
	tapeSeen     // probe
	tapeValue    // probe, the value's bits from the lowest byte on
	tapeResult   // JSON of taped
	tapeDecision // JSON
	tapePause    // JSON
	tapeResume   // JSON
	tapeStopping
	tapeLost // not kept: its cause must be inferred

	tapeLed = 1 << 6
)

var tapeVerdicts = [...]api.Verdict{"", api.OK, api.Bad, api.Unknown}

// taped is a result on a tape.
type taped struct {
	Command  string        `json:"command"`
	Estimate *api.Estimate `json:"estimate,omitempty"`
	Outcome  api.Outcome   `json:"outcome"`
}

// Len is how many bytes wait to be cut off.
func (t *Tape) Len() int { return len(t.block) }

// Cut takes a block off the tape; what is added next goes into reuse, which must not be the block before any longer.
func (t *Tape) Cut(reuse []byte) []byte {
	block := t.block
	t.block, t.last = reuse[:0], 0
	clear(t.names)
	return block
}

// Lost adds that the shell wrote entries by itself, or that nobody knows what led to them.
func (t *Tape) Lost(at int64, entries int) { t.begin(tapeLost, at, entries) }

// begin writes what every event has.
func (t *Tape) begin(kind byte, at int64, entries int) {
	if len(t.block) == 0 {
		t.block = append(t.block, tapeVersion)
	}
	if entries > 0 {
		kind |= tapeLed
	}
	t.block = binary.AppendVarint(append(t.block, kind), at-t.last)
	t.last = at
	if entries > 0 {
		t.block = binary.AppendUvarint(t.block, uint64(entries))
	}
}

// Add adds an event that led to so many entries.
func (t *Tape) Add(e *Event, entries int) {
	at := e.At.UnixNano()
	switch {
	case e.Tick:
		t.begin(tapeTick, at, entries)
	case e.Seen != "":
		t.begin(tapeSeen, at, entries)
		t.name(e.Seen)
	case e.Value != nil:
		t.begin(tapeValue, at, entries)
		t.name(e.Value.Probe)
		t.block = binary.AppendUvarint(t.block, bits.ReverseBytes64(math.Float64bits(e.Value.Value)))
	case e.Verdict != nil:
		t.verdict(e.Verdict, at, entries)
	case e.Eyes != nil:
		t.begin(tapeEyes, at, entries)
		for _, n := range [...]int{e.Eyes.Probes, e.Eyes.Bad, e.Eyes.Unknown} {
			t.block = binary.AppendVarint(t.block, int64(n))
		}
	case e.Restarted:
		t.begin(tapeRestarted, at, entries)
	case e.Stopping:
		t.begin(tapeStopping, at, entries)
	case e.Config != nil:
		t.begin(tapeConfig, at, entries)
		t.text(e.Config.Digest)
	case e.Refused != "":
		t.begin(tapeRefused, at, entries)
		t.text(e.Refused)
	default:
		t.seldom(e, at, entries)
	}
}

// seldom adds what comes seldom, as JSON.
func (t *Tape) seldom(e *Event, at int64, entries int) {
	var kind byte
	var of any
	switch {
	case e.Anomaly != nil:
		kind, of = tapeAnomaly, finiteAnomaly(*e.Anomaly)
	case e.Result != nil:
		kind, of = tapeResult, taped{e.Result.Command, e.Result.Estimate, e.Result.Outcome}
	case e.Decision != nil:
		kind, of = tapeDecision, e.Decision
	case e.Pause != nil:
		kind, of = tapePause, e.Pause
	case e.Resume != nil:
		kind, of = tapeResume, e.Resume
	}
	b, err := json.Marshal(of)
	if err != nil || kind == 0 {
		t.Lost(at, entries)
		return
	}
	t.begin(kind, at, entries)
	t.block = append(binary.AppendUvarint(t.block, uint64(len(b))), b...)
}

func (t *Tape) verdict(v *Verdict, at int64, entries int) {
	for i, known := range tapeVerdicts {
		if v.Verdict == known {
			t.begin(tapeVerdict, at, entries)
			t.name(v.Probe)
			t.block = append(t.block, byte(i))
			return
		}
	}
	t.Lost(at, entries)
}

func (t *Tape) text(s string) {
	t.block = append(binary.AppendUvarint(t.block, uint64(len(s))), s...)
}

// name writes the number of a probe, and its name the first time.
func (t *Tape) name(probe string) {
	if n := t.names[probe]; n > 0 {
		t.block = binary.AppendUvarint(t.block, n)
		return
	}
	if t.names == nil {
		t.names = map[string]uint64{}
	}
	t.names[probe] = uint64(len(t.names) + 1)
	t.block = append(t.block, 0)
	t.text(probe)
}
