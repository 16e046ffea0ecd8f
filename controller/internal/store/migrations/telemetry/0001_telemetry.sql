-- Roll-ups of observations: derived, not audited, never needed to decide anything.

-- +goose Up
CREATE TABLE probes (
    id   INTEGER PRIMARY KEY, -- 24 bits
    name TEXT NOT NULL UNIQUE
) STRICT;

-- Minutes as they come in; a row holds 256 probes. k = minute since 1970 << 24 | probe >> 8.
CREATE TABLE recent (k INTEGER PRIMARY KEY, block BLOB NOT NULL) STRICT;
-- Closed hours: a row holds the minutes of one probe. k = hour since 1970 << 24 | probe.
CREATE TABLE minutes (k INTEGER PRIMARY KEY, block BLOB NOT NULL) STRICT;
-- Closed days: a row holds the hours of one probe. k = day since 1970 << 24 | probe.
CREATE TABLE hours (k INTEGER PRIMARY KEY, block BLOB NOT NULL) STRICT;

-- The first day and probe whose hours are not rolled up yet: day since 1970 << 24 | probe.
CREATE TABLE progress (id INTEGER PRIMARY KEY CHECK (id = 1), next INTEGER NOT NULL) STRICT;
