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
-- whose request id was chosen by the client. Everything else stays in the JSON: generated columns, also virtual
-- ones, would be computed for each insertion.
CREATE TABLE usage_records (
    started_at_ms INTEGER NOT NULL,
    request_id    TEXT NOT NULL,
    nonce         INTEGER NOT NULL,
    key_id        TEXT NOT NULL,
    record        TEXT NOT NULL,
    PRIMARY KEY (started_at_ms, request_id, nonce)
) WITHOUT ROWID, STRICT;

CREATE INDEX usage_records_by_key ON usage_records (key_id, started_at_ms);

-- For people who ask with SQL.
CREATE VIEW usage_report AS
SELECT
    started_at_ms,
    request_id,
    key_id,
    record ->> '$.requested_model' AS requested_model,
    record ->> '$.used_provider' AS used_provider,
    record ->> '$.used_model' AS used_model,
    record ->> '$.status' AS status,
    record ->> '$.cost_pico.total' AS cost_pico
FROM usage_records;
