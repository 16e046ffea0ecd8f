package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
)

// Params are the parameters of a probe type, an action or a driver. The centre keeps them opaque;
// the type decodes them strictly.
//
// +kubebuilder:validation:Type=object
// +kubebuilder:pruning:PreserveUnknownFields
type Params struct {
	node      *node // nil: none were given
	file      string
	line, col int32 // of the parameters, or of what should have had them
}

// ParamsOf makes parameters of a Go value, as its JSON has them: for tests and for configurations built in Go. A value that
// JSON cannot hold, or that is no object, is a mistake in the program and panics.
func ParamsOf(v any) Params {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("api: parameters of %T: %v", v, err))
	}
	n, err := nodeFromJSON(data)
	if err != nil || n.kind != nodeMap {
		panic(fmt.Sprintf("api: parameters of %T: want an object, have %.60s", v, data))
	}
	return Params{node: n}
}

// IsZero tells whether no parameters were given.
func (p Params) IsZero() bool { return p.node == nil }

// Pos is where the parameters stand, or where they were missed.
func (p Params) Pos() Pos { return Pos{p.file, int(p.line), int(p.col)} }

// PosOf is where one parameter stands, by a path such as ramp[1]; the place of the parameters where it is absent.
func (p Params) PosOf(path string) Pos {
	if p.node == nil {
		return p.Pos()
	}
	n := p.node.at(path)
	return Pos{p.file, int(n.line), int(n.col)}
}

// Decode reads the parameters into a pointer to a struct, strictly: unknown, missing, duplicate and ill-typed
// keys are findings with their place. Struct tags: json (name), doc, rule (required, oneof=a|b, min=, max=, name), default.
// A type with a method Check(report func(field, rule, message, hint string)) adds rules of its own; it is called
// only when all tags were satisfied.
func (p Params) Decode(into any) Findings {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("api: parameters decode into a pointer to a struct, not %T", into))
	}
	n := p.node
	if n == nil {
		n = &node{kind: nodeMap, line: p.line, col: p.col}
	}
	d := decoder{&reader{file: p.file}}
	d.structure(n, v.Elem(), "with")
	d.findings.Sort()
	return d.findings
}

// canonical writes the parameters exactly: sorted keys, one notation for numbers.
func (p Params) canonical() []byte {
	var b bytes.Buffer
	p.node.canonical(&b)
	return b.Bytes()
}

// MarshalJSON writes the parameters with sorted keys. Passwords of URLs are blotted out as in Secret: what is printed or sent
// to a page shows no credential.
func (p Params) MarshalJSON() ([]byte, error) {
	return Params{node: p.node.redacted()}.canonical(), nil
}

// UnmarshalJSON reads parameters from JSON. Their places are unknown then.
func (p *Params) UnmarshalJSON(b []byte) error {
	n, err := nodeFromJSON(b)
	if err != nil {
		return fmt.Errorf("parameters: %w", err)
	}
	switch n.kind {
	case nodeNull:
		*p = Params{}
	case nodeMap:
		*p = Params{node: n}
	default:
		return fmt.Errorf("parameters: want an object, not %s", n.describe())
	}
	return nil
}
