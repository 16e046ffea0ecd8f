package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/backstay/backstay/api"
)

// formVersion is the version of the form that Snapshot writes.
const formVersion = 1

// Snapshot writes the durable state; Restore reads it. Applying the entries after a snapshot gives the present state, and the
// same entries give the same bytes.
func (s *State) Snapshot() ([]byte, error) {
	b, err := json.Marshal(&s.d)
	if err != nil {
		return nil, fmt.Errorf("write the engine's snapshot: %w", err)
	}
	return b, nil
}

// Restore reads what Snapshot wrote, also from older versions. Feed Restarted first, then a Config.
func Restore(b []byte) (*State, error) {
	s := &State{}
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&s.d); err != nil {
		return nil, fmt.Errorf("read the engine's snapshot: %w; restore it from a backup, or replay the whole log", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("read the engine's snapshot: more follows after its end; restore it from a backup, or replay the whole log")
	}
	if s.d.Version < 1 || s.d.Version > formVersion {
		return nil, fmt.Errorf("read the engine's snapshot: its form is version %d and this program knows 1 to %d; run the newer program", s.d.Version, formVersion)
	}
	if err := s.d.check(); err != nil {
		return nil, fmt.Errorf("read the engine's snapshot: %w; restore it from a backup, or replay the whole log", err)
	}
	s.index()
	return s, nil
}

// check finds what Snapshot never writes, so that nothing later trips over it.
func (d *durable) check() error {
	if d.Count < 0 || d.Epoch < 0 || d.Fence < 0 {
		return fmt.Errorf("a counter is negative")
	}
	for _, inc := range d.Incidents {
		if inc == nil || inc.ID == "" {
			return fmt.Errorf("an incident has no id")
		}
	}
	for _, r := range d.Remediations {
		if r == nil || r.ID == "" || r.Plan == nil || len(r.Steps) != len(r.Plan.Steps) {
			return fmt.Errorf("a remediation is incomplete")
		}
		for _, st := range r.Steps {
			if !slices.Contains(stepStates, st.State) {
				return fmt.Errorf("remediation %s has a step in the unknown state %q", r.ID, st.State)
			}
			if (st.State == api.StepIntended || st.State == api.StepRepeated || st.State == api.StepUncertain) && st.Intent == nil ||
				st.UndoState == api.StepIntended && st.UndoIntent == nil {
				return fmt.Errorf("remediation %s has an attempt that was never intended", r.ID)
			}
		}
	}
	for _, q := range d.Runs {
		if q == nil {
			return fmt.Errorf("a run is empty")
		}
	}
	for _, b := range d.Books {
		if b == nil {
			return fmt.Errorf("a playbook's record is empty")
		}
	}
	return nil
}

// stepStates are the states that are stored; calling is what an intended step looks like while its command is out.
var stepStates = []api.StepState{api.StepReady, api.StepAsking, api.StepIntended, api.StepDone, api.StepSkipped, api.StepRefused,
	api.StepFailed, api.StepUncertain, api.StepReconciled, api.StepRepeated, api.StepHandedOver}
