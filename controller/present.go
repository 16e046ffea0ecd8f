package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/controller/internal/store"
	"github.com/backstay/backstay/controller/internal/twin"
)

// Beginning says where a simulation begins, if not with what its scenario says.
type Beginning struct {
	Data string // with the present of the controller of this data folder
	File string // with a state that was saved
	Save string // where to save the state of Data
}

// startMax bounds the file of a saved state, in bytes.
const startMax = 256 << 20

// read gives the state that a scenario is to begin with; nil where it begins as it says itself.
func (b *Beginning) read(ctx context.Context, s *twin.Setup) (*twin.Live, error) {
	switch {
	case b.Data != "" && b.File != "":
		return nil, api.Errorf(api.CodeUsage, "a simulation begins with the present of a data folder or with a saved state, not with both")
	case b.Save != "" && b.Data == "":
		return nil, api.Errorf(api.CodeUsage, "there is no state to save: name the data folder of a controller with --data")
	case b.File != "":
		return readStart(b.File)
	case b.Data == "":
		return nil, nil
	}
	live, err := readPresent(ctx, b.Data, s)
	if err != nil || b.Save == "" {
		return live, err
	}
	text, err := json.MarshalIndent(live, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("save the state to start from: %w", err)
	}
	if err := keepFile(b.Save, append(text, '\n')); err != nil {
		return nil, fmt.Errorf("save the state to start from: %w", err)
	}
	return live, nil
}

// readStart reads a state that was saved.
func readStart(file string) (*twin.Live, error) {
	info, err := os.Stat(file)
	if err == nil && info.Size() > startMax {
		return nil, api.Errorf(api.CodeInvalid, "read the state to start from %s: it has %d bytes; the most is %d", file, info.Size(), startMax)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, &api.Error{Code: api.CodeNotFound, Message: "read the state to start from", Err: err, Hint: "backstay simulate --data DIR --save-start FILE writes one"}
	}
	live, err := decodeStart(text)
	if err != nil {
		return nil, &api.Error{Code: api.CodeInvalid, Message: "read the state to start from " + file, Err: err, Hint: "backstay simulate --data DIR --save-start FILE writes one"}
	}
	return live, nil
}

// decodeStart reads the JSON of a state strictly: a misspelt field would silently begin with less. What it says is checked where it is used.
func decodeStart(text []byte) (*twin.Live, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var live twin.Live
	if err := dec.Decode(&live); err != nil {
		return nil, err
	}
	if dec.More() {
		return nil, fmt.Errorf("something follows the state")
	}
	return &live, nil
}

// readPresent reads what the controller of a data folder knows now, beside it while it runs or without it. It writes nothing. What probes
// saw last a running controller is asked for, since roll-ups are up to a minute behind.
func readPresent(ctx context.Context, dir string, s *twin.Setup) (*twin.Live, error) {
	seen, err := askProbes(ctx, dir)
	running := err == nil
	if !running {
		seen, err = lastMinutes(ctx, dir, s)
	}
	if err != nil {
		return nil, fmt.Errorf("begin with the present: %w", err)
	}
	state, at, err := readState(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("begin with the present: %w", err)
	}
	first := at
	for _, x := range seen {
		if x.At.After(at) {
			at = x.At
		}
		if x.At.Before(first) {
			first = x.At
		}
	}
	live, err := twin.Present(s, state, at, seen)
	if err != nil {
		return nil, err
	}
	if !running {
		live.Notes = append(live.Notes, "No controller runs on the data folder: it begins with what was recorded last.")
	}
	if behind := at.Sub(first); behind > 5*time.Minute {
		live.Notes = append(live.Notes, fmt.Sprintf("Some probes were last seen up to %s before the start: what they saw then holds.", behind.Round(time.Minute)))
	}
	return live, nil
}

// askProbes asks the controller that runs on a data folder what its probes saw last; an error where none answers.
func askProbes(ctx context.Context, dir string) ([]twin.Seen, error) {
	address, err := os.ReadFile(filepath.Join(dir, "address"))
	if err != nil {
		return nil, err
	}
	token, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+strings.TrimSpace(string(address))+"/api/v1/probes", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err // it was killed, and left its address behind
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the controller answered %s", resp.Status)
	}
	var all []api.ProbeStatus
	if err := json.NewDecoder(io.LimitReader(resp.Body, startMax)).Decode(&all); err != nil {
		return nil, err
	}
	var seen []twin.Seen
	for i := range all {
		if o := &all[i].Last; o.Verdict == api.OK || o.Verdict == api.Bad {
			seen = append(seen, twin.Seen{Probe: all[i].Name, Verdict: o.Verdict, Value: o.Value, At: o.At})
		}
	}
	return seen, nil
}

// lastMinutes reads from the roll-ups what probes saw last.
func lastMinutes(ctx context.Context, dir string, s *twin.Setup) ([]twin.Seen, error) {
	rollups, err := store.OpenRollups(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer rollups.Close()
	var seen []twin.Seen
	for i := range s.Current.Probes {
		row, found, err := rollups.Last(ctx, s.Current.Probes[i].Metadata.Name)
		if err != nil {
			return nil, err
		}
		if found {
			seen = append(seen, twin.Seen{Probe: row.Probe, Verdict: verdictOfMinute(&row), Value: row.Last, At: row.Minute})
		}
	}
	return seen, nil
}

// verdictOfMinute is what a probe saw in a minute; unknown where it was now good, now bad.
func verdictOfMinute(r *store.Rollup) api.Verdict {
	switch r.Bad {
	case 0:
		return api.OK
	case r.Runs - r.Unknown:
		return api.Bad
	}
	return api.Unknown
}

// readState rebuilds the engine's state from its newest snapshot and the entries since, as a restart does. It also gives the time of the
// newest entry.
func readState(ctx context.Context, dir string) (*engine.State, time.Time, error) {
	var at time.Time
	r, err := store.OpenReader(ctx, dir)
	if err != nil {
		return nil, at, err
	}
	defer r.Close()
	next, snapshot, err := r.LoadSnapshot(ctx)
	if err != nil {
		return nil, at, fmt.Errorf("read the last snapshot: %w", err)
	}
	state := engine.New()
	if len(snapshot) > 0 {
		if state, err = engine.Restore(snapshot); err != nil {
			return nil, at, err
		}
	}
	err = r.Replay(ctx, max(next-1, 0), func(e api.Entry) error { // one entry more, for its time
		at = e.At
		if e.Seq < next {
			return nil
		}
		if err := state.Apply(e); err != nil {
			return fmt.Errorf("apply entry %d (%s): %w; is the data folder from a newer version?", e.Seq, e.Kind, err)
		}
		return nil
	})
	if err == nil && at.IsZero() {
		err = &api.Error{Code: api.CodeNotFound, Message: "the log in " + dir + " is empty", Hint: "a controller must have run there"}
	}
	return state, at, err
}
