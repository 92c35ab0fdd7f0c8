CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

INSERT INTO settings (name, value) VALUES ('change_marker', '0');

CREATE TABLE api_keys (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    prefix        TEXT NOT NULL,
    hash          BYTEA NOT NULL UNIQUE,
    created_at_ms BIGINT NOT NULL,
    revoked_at_ms BIGINT
);

-- The primary key is the time index as well. The nonce tells records apart whose request id was chosen by the client.
CREATE TABLE usage_records (
    started_at_ms BIGINT NOT NULL,
    request_id    TEXT NOT NULL,
    nonce         BIGINT NOT NULL,
    key_id        TEXT NOT NULL,
    record        JSONB NOT NULL,
    PRIMARY KEY (started_at_ms, request_id, nonce)
);

CREATE INDEX usage_records_by_key ON usage_records (key_id, started_at_ms);

-- For people who ask with SQL.
CREATE VIEW usage_report AS
SELECT
    started_at_ms,
    request_id,
    key_id,
    record ->> 'requested_model' AS requested_model,
    record ->> 'used_provider' AS used_provider,
    record ->> 'used_model' AS used_model,
    (record ->> 'status')::integer AS status,
    (record -> 'cost_pico' ->> 'total')::bigint AS cost_pico
FROM usage_records;
