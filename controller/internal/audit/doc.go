// Package audit makes the log something that nobody can quietly change: entries are leaves of a Merkle tree (RFC 6962), its
// head is signed, and whoever holds the public key and a proof can check one entry without us.
//
// It is pure: bytes and hashes come in, bytes, hashes and findings go out. Keys, files and databases belong to package store.
//
// Formats, so that tools which are not ours can check the log:
//   - the leaf of an entry is SHA-256(0x00 || the canonical bytes of the entry), see Encode;
//   - the head is a checkpoint as c2sp.org/tlog-checkpoint has it: a signed note with an Ed25519 key, see Checkpoint;
//   - a proof of inclusion is a c2sp.org/tlog-proof, see Proof;
//   - stored hashes are numbered as golang.org/x/mod/sumdb/tlog numbers them, so tiles can be cut from them.
//
// What it cannot prove: against somebody who holds both the data folder and the signing key, only checkpoints that were
// copied elsewhere beforehand prove anything. Say "locally signed" until a witness outside countersigns.
package audit
