// Package witness is the outside eye on a log: a small server that remembers the newest checkpoint of each log it watches, refuses
// whatever did not grow from that, and cosigns the rest; and the log's side of asking it.
//
// It speaks c2sp.org/tlog-witness (add-checkpoint) and makes cosignatures as c2sp.org/tlog-cosignature has them, version 1 with
// Ed25519, so either side may be somebody else's program. Run it on another machine, in other hands, than the controller: whoever
// holds the log, its key and the witness can still rewrite everything.
//
// The witness's folder holds its key (cosign.key, 0600), cosign.pub, a lock, and one file for each log with the newest checkpoint it cosigned.
// That file is durable before the cosignature leaves.
package witness
