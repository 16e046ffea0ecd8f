package live

import (
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/engine"
	"github.com/backstay/backstay/playbooks"
	"github.com/backstay/backstay/probes"
)

// Config is a verified configuration made ready to run. The controller package builds it; nothing in it has done I/O yet.
type Config struct {
	Engine   engine.Config
	Probes   []Probe
	Steps    map[StepKey]playbooks.Runner // absent for steps with a Control
	Channels map[string]playbooks.Runner  // by integration, for those with a channel
}

// Probe is one probe made ready.
type Probe struct {
	Name   string
	Spec   api.ProbeSpec
	Prober probes.Prober
}

// StepKey finds a step's runner. The digest is the playbook's: a remediation goes on with the runners it was planned with,
// also after the playbook was edited.
type StepKey struct{ Digest, Step string }
