// Package controller wires Backstay together, and is the place to start reading.
//
// # The life of one failure
//
// A probe (package probes, one file per type) looks at one target and gives an [api.Observation]: ok, bad, or unknown when the
// probe itself could not run. internal/live schedules all probes without a goroutine for each, and hands every observation to
// the probe's detectors (internal/detect), on the spot. Most observations change nothing and end there, in a roll-up.
//
// When a detector opens or clears an anomaly, that is an event for internal/engine: one goroutine feeds events to engine.State.Step,
// a pure function. It finds the root cause over the graph of workflows and integrations, opens an incident or adds to one, looks for a
// playbook, asks every guard, and answers with three things: entries for the log, commands for the shell, and a time to be woken.
//
// The shell's contract is the heart of the design. It makes the entries durable (internal/store), and only then performs the commands
// (package playbooks, one file per action), and feeds each result back as the next event. So whatever was about to be done is on disk before
// it is done, and after a crash the engine knows which calls may have happened: it repeats them only where the target recognises a repeat,
// asks the target where it can be asked, and otherwise stops and asks a person.
//
// internal/store keeps the entries as leaves of a Merkle tree (internal/audit) with a signed checkpoint per commit, so that nobody can
// change the past quietly; internal/web serves what there is to see, to the command line in cmd/backstay.
//
// # Who may know whom
//
// Packages api, calendar, detect, engine, twin, eventlog and audit are pure: no network, no clock, no goroutine, no map order. So the code
// that decides runs live, in the twin's virtual time, and over the log of last month (backtest). probes and playbooks know only api: they are
// told what to look at or do, never why. Only this package knows everybody.
// arch_test.go holds these rules.
//
// # Where to look
//
//	api                the words: specs, observations, anomalies, outcomes, entries
//	probes             the eyes: one file per probe type
//	playbooks          the hands: one file per action
//	controller         load.go (files to a running configuration), run.go (the process), border.go (what never gets into the log),
//	                   approval.go (whose signatures count), evidence.go and report.go (for auditors), demo.go; and for the twin
//	                   scenario.go and simulate.go (days to play, and their report), fitlog.go and fittelemetry.go (models), backtest.go
//	internal/calendar  business days, cut-offs, freezes
//	internal/detect    one file per detector; proof.go says when probes have shown enough
//	internal/engine    the brain: guards.go says no, remediation.go does, unknown.go knows what nobody can tell
//	internal/twin      world.go (a day), hands.go and eyes.go (what playbooks change and probes see of it), ledger.go (the judge),
//	                   study.go (many days), fit.go (from a log to a model), backtest.go (a log through changed playbooks)
//	internal/eventlog  read.go (CSV and XES in), distance.go (how far apart two logs lie), floor.go (what the past alone would give)
//	internal/audit     entries to bytes, bytes to a tree, a tree to a signed checkpoint
//	internal/store     commit.go (one writer), verify.go (what does not fit is named), telemetry.go (roll-ups)
//	internal/live      schedule.go, loop.go, execute.go
//	internal/web       the HTTP API
//	internal/witness   cosigns checkpoints of a log that somebody else keeps
//	internal/demo      a small back office, and the judge of what really happened to its money
//	internal/rig       throw-away servers for tests
package controller
