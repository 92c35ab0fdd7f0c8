-- A table in the order of arrival and one index, instead of a table in the order of a long key and another index: a
-- record costs a third less to insert. The index serves times, and keys within a time; the nonce, which starts at
-- random in each process, tells records of one millisecond apart.
CREATE TABLE usage_records_by_arrival (
    started_at_ms INTEGER NOT NULL,
    request_id    TEXT NOT NULL,
    nonce         INTEGER NOT NULL,
    key_id        TEXT NOT NULL,
    record        TEXT NOT NULL
) STRICT;

INSERT INTO usage_records_by_arrival
SELECT started_at_ms, request_id, nonce, key_id, record FROM usage_records ORDER BY started_at_ms;

DROP VIEW usage_report;
DROP TABLE usage_records;
ALTER TABLE usage_records_by_arrival RENAME TO usage_records;
CREATE UNIQUE INDEX usage_records_by_time ON usage_records (started_at_ms, nonce, key_id);

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
