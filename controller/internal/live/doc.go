// Package live is the live shell: it schedules probes, feeds detect and engine, makes entries durable, performs commands, and
// keeps the promise of engine's contract.
package live
