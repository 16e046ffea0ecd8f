// Package probes holds the eyes: one file per probe type. A type decodes its own parameters strictly, documents them
// by struct tags, does no I/O when built, and never changes what it looks at.
package probes

import (
	"context"

	"github.com/backstay/backstay/api"
)

// Type is one kind of probe.
type Type struct {
	Name    string
	Summary string     // one sentence for the reference page
	Params  func() any // pointer to a new params struct; its tags are the documentation and the schema
	// Build makes a probe from its spec; params is what Params gave, decoded. It does no I/O.
	Build func(name string, spec api.ProbeSpec, params any, env *Env) (Prober, error)
}

// Types lists all probe types, in the order of the reference pages. A new type is one file and one line here.
var Types = []Type{
	httpType,
	tcpType,
	sqlType,
	amqpQueueType,
	heartbeatType,
	fileDropType,
	prometheusType,
	reconcileType,
}

// Prober is one probe made ready. Probe runs it once, within ctx's deadline; it never runs twice at the same time.
// A target that does not answer well is Bad; Unknown means that the probe itself could not run
// (no credential, wrong SQL, no permission, out of file descriptors). Observation.Probe, At and Took are set by the caller.
type Prober interface {
	Probe(ctx context.Context) api.Observation
}

// Find gives the type of that name.
func Find(name string) (Type, bool) {
	for _, t := range Types {
		if t.Name == name {
			return t, true
		}
	}
	return Type{}, false
}
