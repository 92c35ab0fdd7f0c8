-- Projects, and what keys may do. Keys that were there belong to the project "default".
CREATE TABLE projects (
    id             TEXT PRIMARY KEY NOT NULL,
    name           TEXT NOT NULL,
    policy         TEXT NOT NULL,
    version        INTEGER NOT NULL,
    created_at_ms  INTEGER NOT NULL,
    disabled_at_ms INTEGER
) STRICT;

INSERT INTO projects (id, name, policy, version, created_at_ms) VALUES ('default', 'default', '{}', 1, 0);

ALTER TABLE api_keys ADD COLUMN project_id TEXT NOT NULL DEFAULT 'default';
ALTER TABLE api_keys ADD COLUMN roles TEXT NOT NULL DEFAULT 'inference';
ALTER TABLE api_keys ADD COLUMN policy TEXT NOT NULL DEFAULT '{}';
ALTER TABLE api_keys ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE api_keys ADD COLUMN expires_at_ms INTEGER;
ALTER TABLE api_keys ADD COLUMN disabled_at_ms INTEGER;
-- The hash before the last rotation, and until when it is good.
ALTER TABLE api_keys ADD COLUMN previous_hash BLOB;
ALTER TABLE api_keys ADD COLUMN previous_until_ms INTEGER;

CREATE INDEX api_keys_by_project ON api_keys (project_id);

-- What was charged on a day (counted from 1970-01-01, UTC), for each project and each key: the sum of the usage records, kept in
-- the transaction that inserts them. It stays when records are deleted.
CREATE TABLE ledger (
    scope      TEXT NOT NULL,
    day        INTEGER NOT NULL,
    spent_pico INTEGER NOT NULL,
    requests   INTEGER NOT NULL,
    unpriced   INTEGER NOT NULL,
    PRIMARY KEY (scope, day)
) WITHOUT ROWID, STRICT;

INSERT INTO ledger (scope, day, spent_pico, requests, unpriced)
SELECT scope, day, sum(spent), count(*), sum(unpriced)
FROM (
    SELECT 'project:default' AS scope, started_at_ms / 86400000 AS day,
        coalesce(record ->> '$.cost_pico.total', 0) AS spent, record ->> '$.cost_pico.total' IS NULL AS unpriced
    FROM usage_records
    UNION ALL
    SELECT 'key:' || key_id, started_at_ms / 86400000,
        coalesce(record ->> '$.cost_pico.total', 0), record ->> '$.cost_pico.total' IS NULL
    FROM usage_records
) GROUP BY scope, day;

-- Who changed what.
CREATE TABLE audit_log (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms  INTEGER NOT NULL,
    actor  TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;

DROP VIEW usage_report;

CREATE VIEW usage_report AS
SELECT
    started_at_ms,
    request_id,
    coalesce(record ->> '$.project', 'default') AS project,
    key_id,
    record ->> '$.requested_model' AS requested_model,
    record ->> '$.used_provider' AS used_provider,
    record ->> '$.used_model' AS used_model,
    record ->> '$.status' AS status,
    record ->> '$.error_kind' AS error_kind,
    record ->> '$.duration_ms' AS duration_ms,
    record ->> '$.cost_pico.total' AS cost_pico,
    record ->> '$.upstream_cost_pico' AS upstream_cost_pico,
    record -> '$.tags' AS tags
FROM usage_records;
