package controller

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/store"
	"github.com/backstay/backstay/controller/internal/twin"
	"github.com/backstay/backstay/playbooks"
)

// BacktestOptions say what to replay.
type BacktestOptions struct {
	Data         string    // data folder of a controller, which may be running; only read
	Config       string    // folder or file of the changed configuration; empty: as recorded
	Since        time.Time // when the changed configuration takes effect, and the first incident that is reported; zero: from the beginning
	Until        time.Time // entries from then on are left out; zero: none
	Observations string    // file of observations, one JSON object a line, plain or gzip; empty: roll-ups
}

// What a report consists of.
type (
	BacktestSide     = twin.Side
	BacktestInterval = twin.Interval
	IncidentTest     = twin.IncidentTest
	DetectTest       = twin.DetectTest
)

// BacktestReport is what would have been decided, and what would have been detected.
type BacktestReport struct {
	Changed   bool               `json:"changed"` // another configuration than the recorded one was replayed
	From      time.Time          `json:"from"`
	To        time.Time          `json:"to"`
	Took      float64            `json:"tookSeconds"`
	Decisions *twin.DecisionTest `json:"decisions"`
	Detection *twin.DetectTest   `json:"detection,omitempty"`
}

// Backtest replays the log of a data folder, and what its probes saw, through the recorded or a changed configuration.
func Backtest(ctx context.Context, o BacktestOptions) (*BacktestReport, error) {
	began := time.Now()
	entries, err := recordedEntries(ctx, o)
	if err != nil {
		return nil, err
	}
	past := twin.Past{Entries: entries, Since: o.Since}
	if past.Inputs, err = recordedInputs(ctx, o.Data); err != nil {
		return nil, err
	}
	k := newKept(o.Data, entries)
	past.Configs = k.config
	if o.Config != "" {
		if past.Changed, err = changedConfig(o.Config, k, entries); err != nil {
			return nil, err
		}
	}
	out := &BacktestReport{Changed: o.Config != "", From: entries[0].At, To: entries[len(entries)-1].At}
	if out.Decisions, err = twin.Backtest(past); err != nil {
		return nil, errors.Join(k.err, err)
	}
	if k.err != nil {
		return nil, k.err
	}
	if !o.Since.IsZero() {
		out.From = o.Since
		out.Decisions.Only(o.Since)
	}
	c := past.Changed
	if c == nil {
		c = k.config(lastConfig(entries))
	}
	if c != nil {
		if out.Detection, err = detection(ctx, o, c, entries); err != nil {
			return nil, err
		}
	}
	out.Took = time.Since(began).Seconds()
	return out, nil
}

// recordedEntries reads the log, each entry held against its hash.
func recordedEntries(ctx context.Context, o BacktestOptions) ([]api.Entry, error) {
	r, err := store.OpenReader(ctx, o.Data)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var entries []api.Entry
	enough := errors.New("later than asked for")
	err = r.Replay(ctx, 0, func(e api.Entry) error {
		if !o.Until.IsZero() && !e.At.Before(o.Until) {
			return enough
		}
		entries = append(entries, e)
		return nil
	})
	if err != nil && !errors.Is(err, enough) {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, &api.Error{Code: api.CodeNotFound, Message: "the log in " + o.Data + " has no entry to replay", Hint: "is --until before its first entry?"}
	}
	return entries, nil
}

// recordedInputs reads what was recorded of what reached the engine.
func recordedInputs(ctx context.Context, dir string) (out []engine.Taped, err error) {
	r, err := store.OpenRollups(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	err = r.Inputs(ctx, func(b store.InputBlock) { out = append(out, engine.Taped{First: b.First, Block: b.Block}) })
	return out, err
}

// lastConfig is the digest of the configuration that took effect last.
func lastConfig(entries []api.Entry) string {
	for i := len(entries) - 1; i >= 0; i-- {
		if entries[i].Kind == api.EntryConfigured {
			return entries[i].Digest
		}
	}
	return ""
}

// changedConfig reads the changed configuration. A playbook that is as it was has the approval that it had; one that is new or was changed is
// replayed as if it were approved as it asks.
func changedConfig(path string, k *kept, entries []api.Entry) (*engine.Config, error) {
	cfg, _, findings, err := newLoader(playbooks.Env{}).load(path)
	if err != nil {
		return nil, err
	}
	if findings.Failed() {
		return nil, &api.Error{Code: api.CodeInvalid, Message: "the configuration has errors:\n" + findings.Error(), Hint: "backstay check " + path}
	}
	out := cfg.Engine
	digests := map[string]string{} // as last recorded
	for i := range entries {
		if e := &entries[i]; e.Kind == api.EntryRecorded {
			digests[e.Playbook] = e.Digest
		}
	}
	for i := range out.Playbooks {
		out.Playbooks[i].Approval = nil
	}
	approve(&out, k.facts[lastConfig(entries)])
	for i := range out.Playbooks {
		if p := &out.Playbooks[i]; digests[p.Name] != p.Digest {
			p.Approval = nil
		}
	}
	return &out, nil
}

// detection replays what probes saw.
func detection(ctx context.Context, o BacktestOptions, c *engine.Config, entries []api.Entry) (*twin.DetectTest, error) {
	from, to := entries[0].At, entries[len(entries)-1].At.Add(time.Minute)
	if !o.Since.IsZero() {
		from = o.Since
	}
	seen := map[string][]api.Observation{}
	if o.Observations != "" {
		f, err := os.Open(o.Observations)
		if err != nil {
			return nil, &api.Error{Code: api.CodeNotFound, Message: "read the observations", Err: err, Hint: "name a file with one observation a line"}
		}
		defer f.Close()
		if seen, err = readObservations(f, o.Observations); err != nil {
			return nil, err
		}
	}
	r, err := store.OpenRollups(ctx, o.Data)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	sights := make([]twin.Sight, 0, len(c.Probes))
	for _, p := range c.Probes {
		if len(p.Spec.Detect) == 0 {
			continue
		}
		s := twin.Sight{Probe: p, Observations: seen[p.Metadata.Name]}
		if len(s.Observations) == 0 {
			rows, err := r.Rollups(ctx, p.Metadata.Name, from, to)
			if err != nil {
				return nil, err
			}
			for _, row := range rows {
				m := twin.Minute{At: row.Minute, Runs: int(row.Runs), Bad: int(row.Bad), Unknown: int(row.Unknown), Min: row.Min, Max: row.Max, Last: row.Last}
				if n := row.Runs - row.Unknown; n > 0 {
					m.Mean = row.Sum / float64(n)
				}
				s.Minutes = append(s.Minutes, m)
			}
		}
		sights = append(sights, s)
	}
	since := entries
	for len(since) > 0 && since[0].At.Before(from) {
		since = since[1:]
	}
	return twin.BacktestDetect(sights, since)
}

// The bounds of a file of observations.
const (
	observationMost  = 1 << 20    // bytes of a line
	observationsMost = 10_000_000 // lines
)

// readObservations reads JSON lines of observations, plain or gzip, by probe. An observation that is not newer than the one before of its probe
// stays: detectors know what to do with it.
func readObservations(r io.Reader, name string) (map[string][]api.Observation, error) {
	in := bufio.NewReader(r)
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, unreadable(name, 1, err)
		}
		defer z.Close()
		in = bufio.NewReader(z)
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, observationMost)
	out, n := map[string][]api.Observation{}, 0
	for lines.Scan() {
		n++
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		var o api.Observation
		dec := json.NewDecoder(bytes.NewReader(line))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&o); err != nil {
			return nil, unreadable(name, n, err)
		}
		switch {
		case o.Probe == "" || o.At.IsZero():
			return nil, unreadable(name, n, errors.New("it names no probe or no time"))
		case o.Verdict != api.OK && o.Verdict != api.Bad && o.Verdict != api.Unknown:
			return nil, unreadable(name, n, fmt.Errorf("%q is no verdict: ok, bad or unknown", o.Verdict))
		case n > observationsMost:
			return nil, unreadable(name, n, fmt.Errorf("more than %d lines; replay a part of them", observationsMost))
		}
		out[o.Probe] = append(out[o.Probe], o)
	}
	if err := lines.Err(); err != nil {
		return nil, unreadable(name, n+1, err)
	}
	return out, nil
}

func unreadable(name string, line int, err error) error {
	return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("%s:%d: read an observation", name, line), Err: err, Hint: "one JSON object a line, as api.Observation; plain or gzip"}
}
