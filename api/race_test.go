//go:build race

package api

// slowdown is what the race detector costs.
const slowdown = 10
