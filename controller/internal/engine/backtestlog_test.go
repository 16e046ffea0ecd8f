package engine

import "github.com/backstay/backstay/api"

// SimulatedLog is the log of one random schedule, for whoever replays it, and the configuration that made it.
func SimulatedLog(seed uint64) ([]api.Entry, *Config) {
	w := simulate(seed, false)
	return w.journal, w.cfg
}
