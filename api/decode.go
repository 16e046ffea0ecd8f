package api

import (
	"encoding/json"
	"errors"

	"go.yaml.in/yaml/v4"
)

// Set is a configuration: all objects of all files, in the order of the files.
type Set struct {
	Integrations []Integration `json:"integrations,omitempty"`
	Workflows    []Workflow    `json:"workflows,omitempty"`
	Probes       []Probe       `json:"probes,omitempty"`
	Playbooks    []Playbook    `json:"playbooks,omitempty"`
	Calendars    []Calendar    `json:"calendars,omitempty"`
}

// Params are the parameters of a probe type, an action or a driver. The centre keeps them opaque;
// the type decodes them strictly.
type Params struct {
	node *yaml.Node
	file string
}

// Decode reads strict YAML of several documents into a Set.
func Decode(file string, data []byte) (Set, Findings) {
	return Set{}, Findings{}
}

// Decode reads the parameters into a pointer to a struct, strictly: unknown, missing, duplicate and ill-typed
// keys are findings with their place. Struct tags: json (name), doc, rule (required, oneof=a|b, min=, max=, name), default.
func (p Params) Decode(into any) Findings { return nil }

// MarshalJSON writes the parameters canonically.
func (p Params) MarshalJSON() ([]byte, error) { return json.Marshal(nil) }

// UnmarshalJSON reads parameters from JSON.
func (p *Params) UnmarshalJSON(b []byte) error { return errors.ErrUnsupported }
