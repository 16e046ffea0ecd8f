// Package api holds Backstay's words: the specs that people write (Integration, Workflow, Probe,
// Playbook, Calendar), the facts that the program exchanges (Observation, Anomaly, Outcome) and the
// facts that it keeps (Entry). Everything else imports it; it imports nothing of ours and does no I/O.
//
// One noun has one meaning in YAML, Go, the command line, the web page and the log.
package api

// Version is the apiVersion of every spec in this package.
const Version = "backstay.dev/v1alpha1"
