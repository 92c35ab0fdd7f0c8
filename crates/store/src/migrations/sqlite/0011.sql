-- Which processes serve on this database: each writes its row every few seconds.
CREATE TABLE nodes (
    id            TEXT PRIMARY KEY NOT NULL,
    name          TEXT NOT NULL,
    version       TEXT NOT NULL,
    config        TEXT NOT NULL,
    started_at_ms INTEGER NOT NULL,
    seen_at_ms    INTEGER NOT NULL,
    state         TEXT NOT NULL,
    spool_bytes   INTEGER NOT NULL,
    reload        TEXT NOT NULL
) STRICT;
