-- Projects, and what keys may do. Keys that were there belong to the project "default".
CREATE TABLE projects (
    id             TEXT PRIMARY KEY,
    name           TEXT NOT NULL,
    policy         TEXT NOT NULL,
    version        BIGINT NOT NULL,
    created_at_ms  BIGINT NOT NULL,
    disabled_at_ms BIGINT
);

INSERT INTO projects (id, name, policy, version, created_at_ms) VALUES ('default', 'default', '{}', 1, 0);

ALTER TABLE api_keys
    ADD COLUMN project_id TEXT NOT NULL DEFAULT 'default',
    ADD COLUMN roles TEXT NOT NULL DEFAULT 'inference',
    ADD COLUMN policy TEXT NOT NULL DEFAULT '{}',
    ADD COLUMN version BIGINT NOT NULL DEFAULT 1,
    ADD COLUMN expires_at_ms BIGINT,
    ADD COLUMN disabled_at_ms BIGINT,
    -- The hash before the last rotation, and until when it is good.
    ADD COLUMN previous_hash BYTEA,
    ADD COLUMN previous_until_ms BIGINT;

CREATE INDEX api_keys_by_project ON api_keys (project_id);

-- What was charged on a day (counted from 1970-01-01, UTC), for each project and each key: the sum of the usage records, kept in
-- the transaction that inserts them. It stays when records are deleted.
CREATE TABLE ledger (
    scope      TEXT NOT NULL,
    day        BIGINT NOT NULL,
    spent_pico BIGINT NOT NULL,
    requests   BIGINT NOT NULL,
    unpriced   BIGINT NOT NULL,
    PRIMARY KEY (scope, day)
);

INSERT INTO ledger (scope, day, spent_pico, requests, unpriced)
SELECT scope, day, sum(coalesce(spent, 0))::bigint, count(*), count(*) - count(spent)
FROM (
    SELECT 'project:default' AS scope, started_at_ms / 86400000 AS day,
        (record -> 'cost_pico' ->> 'total')::bigint AS spent
    FROM usage_records
    UNION ALL
    SELECT 'key:' || key_id, started_at_ms / 86400000, (record -> 'cost_pico' ->> 'total')::bigint
    FROM usage_records
) AS charges GROUP BY scope, day;

-- Who changed what.
CREATE TABLE audit_log (
    id     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at_ms  BIGINT NOT NULL,
    actor  TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    detail TEXT NOT NULL
);

-- Every node hears of a change of keys, projects or settings, whoever makes it.
CREATE FUNCTION llmgateway_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('llmgateway_changes', NEW.value);
    RETURN NULL;
END $$;

CREATE TRIGGER llmgateway_changed AFTER UPDATE ON settings
    FOR EACH ROW WHEN (NEW.name = 'change_marker') EXECUTE FUNCTION llmgateway_notify();

DROP VIEW usage_report;

CREATE VIEW usage_report AS
SELECT
    started_at_ms,
    request_id,
    coalesce(record ->> 'project', 'default') AS project,
    key_id,
    record ->> 'requested_model' AS requested_model,
    record ->> 'used_provider' AS used_provider,
    record ->> 'used_model' AS used_model,
    (record ->> 'status')::integer AS status,
    record ->> 'error_kind' AS error_kind,
    (record ->> 'duration_ms')::bigint AS duration_ms,
    (record -> 'cost_pico' ->> 'total')::bigint AS cost_pico,
    (record ->> 'upstream_cost_pico')::bigint AS upstream_cost_pico,
    record -> 'tags' AS tags
FROM usage_records;
