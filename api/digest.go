package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// PlaybookDigest identifies exactly what a playbook will do: "sha256:" and 64 hex digits. An approval is a signature over it.
// It covers the name, the whole spec with its defaults, the parameters of every step, and for every step the plan:
// the action with its version, classes and targets. It does not cover layout, comments, order of keys, labels, or
// texts that only describe (summaries). Within with:, a default that is written out counts as written.
//
// Compatibility: the digest of an unchanged playbook stays the same from version to version, or approvals would lapse.
// New fields of specs and plans join with omitempty or omitzero and a zero value that means what was before.
func PlaybookDigest(p Playbook, plans []StepPlan) string {
	sum := sha256.Sum256(canonicalPlaybook(p, plans))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// canonicalPlaybook is what the digest is taken of: JSON with sorted keys at every level.
func canonicalPlaybook(p Playbook, plans []StepPlan) []byte {
	spec := p.Spec
	spec.Summary = ""
	params := make([]json.RawMessage, len(spec.Steps))
	steps := make([]Step, len(spec.Steps))
	for i, s := range spec.Steps {
		params[i] = json.RawMessage("{}")
		if !s.With.IsZero() {
			params[i] = s.With.canonical() // exact, unlike MarshalJSON
		}
		s.With, s.Pos = Params{}, Pos{}
		steps[i] = s
	}
	spec.Steps = steps
	bare := make([]StepPlan, len(plans))
	for i, plan := range plans {
		plan.Action.Summary = ""
		bare[i] = plan
	}
	data, err := json.Marshal(struct {
		Format string            `json:"format"`
		Name   string            `json:"name"`
		Spec   PlaybookSpec      `json:"spec"`
		Params []json.RawMessage `json:"params"`
		Plans  []StepPlan        `json:"plans"`
	}{"backstay.dev/playbook/v1", p.Metadata.Name, spec, params, bare})
	if err != nil {
		panic(fmt.Sprintf("api: encode playbook %s: %v", p.Metadata.Name, err)) // plain data only: it cannot go wrong
	}
	n, err := nodeFromJSON(data)
	if err != nil {
		panic(fmt.Sprintf("api: encode playbook %s: %v", p.Metadata.Name, err))
	}
	var b bytes.Buffer
	n.canonical(&b)
	return b.Bytes()
}

// CanonicalJSON is the one form of a JSON text that digests are taken of: sorted keys at every level, one notation of numbers, no space.
func CanonicalJSON(data []byte) ([]byte, error) {
	n, err := nodeFromJSON(data)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	n.canonical(&b)
	return b.Bytes(), nil
}

// CanonicalDigest identifies a value by its canonical JSON: "sha256:" and 64 hexadecimal digits. The value must be plain data.
func CanonicalDigest(value any) string {
	data, err := json.Marshal(value)
	if err == nil {
		data, err = CanonicalJSON(data)
	}
	if err != nil {
		panic(fmt.Sprintf("api: encode %T: %v", value, err)) // plain data only: it cannot go wrong
	}
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
