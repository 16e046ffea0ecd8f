-- What reached the engine, so that backtests replay exactly that: as derived as the rest, and never needed to decide anything.

-- +goose Up
CREATE TABLE inputs (
    id    INTEGER PRIMARY KEY, -- in the order in which they were written
    first INTEGER NOT NULL,    -- the entry of the journal that the first event that led to one led to
    at    INTEGER NOT NULL,    -- when it was written: nanoseconds since 1970, UTC
    total INTEGER NOT NULL,    -- bytes of all blocks so far, this one included
    block BLOB NOT NULL
) STRICT;
