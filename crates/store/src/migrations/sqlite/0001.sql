CREATE TABLE settings (
    name  TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) WITHOUT ROWID, STRICT;

INSERT INTO settings (name, value) VALUES ('change_marker', '0');

CREATE TABLE api_keys (
    id            TEXT PRIMARY KEY NOT NULL,
    name          TEXT NOT NULL,
    prefix        TEXT NOT NULL,
    hash          BLOB NOT NULL UNIQUE,
    created_at_ms INTEGER NOT NULL,
    revoked_at_ms INTEGER
) STRICT;

-- The primary key is the time index as well: records arrive nearly in its order. The nonce tells records apart
-- whose request id was chosen by the client. What is rarely asked for stays in the JSON; the virtual columns cost
-- nothing when a record is inserted.
CREATE TABLE usage_records (
    started_at_ms INTEGER NOT NULL,
    request_id    TEXT NOT NULL,
    nonce         INTEGER NOT NULL,
    key_id        TEXT NOT NULL,
    record        TEXT NOT NULL,
    used_provider TEXT GENERATED ALWAYS AS (record ->> '$.used_provider') VIRTUAL,
    used_model    TEXT GENERATED ALWAYS AS (record ->> '$.used_model') VIRTUAL,
    status        INTEGER GENERATED ALWAYS AS (record ->> '$.status') VIRTUAL,
    cost_pico     INTEGER GENERATED ALWAYS AS (record ->> '$.cost_pico.total') VIRTUAL,
    PRIMARY KEY (started_at_ms, request_id, nonce)
) WITHOUT ROWID, STRICT;

CREATE INDEX usage_records_by_key ON usage_records (key_id, started_at_ms);
