// Package store keeps the journal: entries, their Merkle tree and signed checkpoints, the present view of incidents and
// remediations, snapshots of the engine, the replay ledger, and roll-ups of observations; on SQLite.
//
// The data folder:
//
//	backstay.db   everything that is audited; WAL, synchronous=FULL
//	telemetry.db  roll-ups, and what reached the engine; WAL, synchronous=NORMAL, so that they never slow the journal: a power loss may cost the
//	              last minutes, the death of the process nothing
//	key, key.pub  the Ed25519 key that signs checkpoints (0600), and its public half, which auditors take a copy of
//	checkpoint    the newest published checkpoint; copy it elsewhere and no rollback goes unseen
//	tiles/        the log as c2sp.org/tlog-tiles publishes it, its checkpoint last; made from backstay.db, again where it is missing
//	checkpoint.witnessed, witness.pub
//	              the newest checkpoint that a witness cosigned, and the witness's public key
//	lock          held while a process works in the folder; its pid
//
// What a commit holds, in one transaction: the entries with their hashes, the views that changed, ledger rows or a snapshot,
// and the head: its size, its signed checkpoint and a signed sum of everything that changes in place. One goroutine commits;
// it takes whatever is queued and never waits for more. The sequence numbers come from the head row, so they have no gaps.
//
// After a failed commit the store refuses every further write: what is on disk is then known only after opening it again, so the
// caller must end the process. That is failing closed: nothing is done that is not recorded.
//
// Each entry is stored with the hashes that it completes in the tree (itself, and each full subtree that ends with it). So a
// damaged hash names its entry as a damaged byte does, and no second table can drift from the first.
//
// The checkpoint file is written after the commit, at most every publishEvery, and never ahead of it; so are the tiles. When the
// head is older than what was published, the database was rolled back: see RolledBack. A backup of the whole folder brings its own
// checkpoint along: only a copy elsewhere (Options.Copy) or a witness notices that it is old.
package store
