//go:build !race

package api

// slowdown is what this build costs over a plain one.
const slowdown = 1
