// Package live is the live shell: it schedules probes, feeds detect and engine, makes entries durable, performs commands, and
// keeps the promise of engine's contract.
//
// Three parties share the work, and each owns what it changes:
//   - the scheduler (schedule.go) starts probes from one heap of due times and runs them on a pool of workers. The worker that
//     runs a probe also owns its detectors meanwhile, because a probe never overlaps itself. Only what may change a decision
//     leaves the worker: anomalies, changed verdicts, counted values, and observations that an expectation waits for;
//   - the event loop (loop.go) is one goroutine that owns the engine's state and the running expectations. It makes entries
//     durable first, then hands commands out, then acknowledges callers. A store error ends the process;
//   - the executor (execute.go) performs commands concurrently and turns whatever comes of them, panics and silence included,
//     into a result for the loop.
//
// What a crash loses: the roll-up of the minute that was running, and the detectors' windows. It loses no entry that anybody
// was told of, and no intended step.
package live
