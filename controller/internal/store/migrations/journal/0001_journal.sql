-- The journal. Entries are append-only; views, ledger and snapshots change in place and are covered by log_head.state.
-- Compatibility: a later version only adds files beside this one; what this one made is never edited.

-- +goose Up
CREATE TABLE entries (
    seq         INTEGER PRIMARY KEY, -- gapless from 0; the leaf index
    at          INTEGER NOT NULL,    -- nanoseconds since 1970, UTC
    kind        TEXT NOT NULL,
    incident    TEXT,                -- NULL where the entry has none
    remediation TEXT,
    hashes      BLOB NOT NULL,       -- 32 bytes each: the leaf, then every subtree that it completes
    body        BLOB NOT NULL        -- canonical bytes: what is hashed and signed
) STRICT;
CREATE INDEX entries_incident ON entries (incident) WHERE incident IS NOT NULL;
CREATE INDEX entries_remediation ON entries (remediation) WHERE remediation IS NOT NULL;
CREATE INDEX entries_kind ON entries (kind);
CREATE INDEX entries_at ON entries (at);

CREATE TABLE log_head (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    size       INTEGER NOT NULL, -- entries in the log
    checkpoint BLOB NOT NULL,    -- signed note
    rows       INTEGER NOT NULL, -- rows that state sums up
    state      BLOB NOT NULL,    -- sum of all rows of the tables below
    state_note BLOB NOT NULL     -- signed note
) STRICT;
INSERT INTO log_head (id, size, checkpoint, rows, state, state_note) VALUES (1, 0, x'', 0, zeroblob(2048), x'');

CREATE TABLE incidents (
    id     TEXT PRIMARY KEY,
    opened INTEGER NOT NULL,
    closed INTEGER NOT NULL, -- 0 while open
    body   BLOB NOT NULL,
    sum    BLOB NOT NULL     -- of this row
) STRICT;
CREATE INDEX incidents_opened ON incidents (opened);
CREATE INDEX incidents_open ON incidents (opened) WHERE closed = 0;

CREATE TABLE remediations (
    id       TEXT PRIMARY KEY,
    incident TEXT NOT NULL,
    opened   INTEGER NOT NULL,
    body     BLOB NOT NULL,
    sum      BLOB NOT NULL
) STRICT;
CREATE INDEX remediations_opened ON remediations (opened);
CREATE INDEX remediations_incident ON remediations (incident, opened);

CREATE TABLE ledger (
    scope TEXT NOT NULL,
    key   TEXT NOT NULL,
    state TEXT NOT NULL,
    hash  TEXT NOT NULL,
    run   TEXT NOT NULL,
    note  TEXT NOT NULL,
    at    INTEGER NOT NULL, -- nanoseconds since 1970, UTC; 0 where none was given
    sum   BLOB NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT;

CREATE TABLE snapshots (
    next INTEGER PRIMARY KEY, -- the first entry to apply on top
    body BLOB NOT NULL,
    sum  BLOB NOT NULL
) STRICT;
