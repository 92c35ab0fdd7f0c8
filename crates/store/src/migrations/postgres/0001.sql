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
    used_provider TEXT GENERATED ALWAYS AS (record ->> 'used_provider') STORED,
    used_model    TEXT GENERATED ALWAYS AS (record ->> 'used_model') STORED,
    status        INTEGER GENERATED ALWAYS AS ((record ->> 'status')::integer) STORED,
    cost_pico     BIGINT GENERATED ALWAYS AS ((record -> 'cost_pico' ->> 'total')::bigint) STORED,
    PRIMARY KEY (started_at_ms, request_id, nonce)
);

CREATE INDEX usage_records_by_key ON usage_records (key_id, started_at_ms);
