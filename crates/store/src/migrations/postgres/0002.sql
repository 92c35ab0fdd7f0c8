-- What providers bill beside what callers are charged, and why a request failed.
DROP VIEW usage_report;

CREATE VIEW usage_report AS
SELECT
    started_at_ms,
    request_id,
    key_id,
    record ->> 'requested_model' AS requested_model,
    record ->> 'used_provider' AS used_provider,
    record ->> 'used_model' AS used_model,
    (record ->> 'status')::integer AS status,
    record ->> 'error_kind' AS error_kind,
    (record ->> 'duration_ms')::bigint AS duration_ms,
    (record -> 'cost_pico' ->> 'total')::bigint AS cost_pico,
    (record ->> 'upstream_cost_pico')::bigint AS upstream_cost_pico
FROM usage_records;
