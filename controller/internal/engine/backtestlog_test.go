package engine

import "github.com/backstay/backstay/api"

// SimulatedLog is the log of one random schedule, for whoever replays it, with the configuration that made it and what its shell recorded of its
// inputs.
func SimulatedLog(seed uint64) ([]api.Entry, *Config, []Taped) {
	w := simulate(seed, false)
	return w.journal, w.cfg, w.tapes
}
