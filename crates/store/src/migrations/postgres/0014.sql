-- Usage records by calendar month (UTC): retention drops whole months, and what is asked of the newest looks at small indexes. The table
-- that was there becomes the first partition as it is, with all its rows and indexes, up to the setting usage_months_from (the month after
-- the next). Where it has many rows, a check that they all lie before it was made beforehand, without a lock (postgres.rs).
DROP VIEW usage_report;

ALTER TABLE usage_records RENAME TO usage_records_before;
ALTER INDEX usage_records_pkey RENAME TO usage_records_before_pkey;
ALTER INDEX usage_records_by_key RENAME TO usage_records_before_by_key;

CREATE TABLE usage_records (
    started_at_ms BIGINT NOT NULL,
    request_id    TEXT NOT NULL,
    nonce         BIGINT NOT NULL,
    key_id        TEXT NOT NULL,
    record        JSONB NOT NULL,
    indexed       BIGINT,
    PRIMARY KEY (started_at_ms, request_id, nonce)
) PARTITION BY RANGE (started_at_ms);

CREATE INDEX usage_records_by_key ON usage_records (key_id, started_at_ms);

INSERT INTO settings (name, value)
SELECT 'usage_months_from', CAST(
    extract(epoch FROM date_trunc('month', to_timestamp(greatest(
        extract(epoch FROM now()), coalesce(max(started_at_ms), 0) / 1000)) AT TIME ZONE 'UTC') + interval '2 months')::bigint * 1000
    AS TEXT)
FROM usage_records_before
ON CONFLICT (name) DO NOTHING;

DO $$
DECLARE
    bound TEXT := (SELECT value FROM settings WHERE name = 'usage_months_from');
BEGIN
    EXECUTE format('ALTER TABLE usage_records ATTACH PARTITION usage_records_before FOR VALUES FROM (MINVALUE) TO (%s)', bound);
END $$;

ALTER TABLE usage_records_before DROP CONSTRAINT IF EXISTS usage_records_before_months;

-- After the year 9999.
CREATE TABLE usage_records_late PARTITION OF usage_records FOR VALUES FROM (253402300800000) TO (MAXVALUE);

-- Makes the partition of a time, and returns from when to when there is one.
CREATE FUNCTION llmgateway_add_usage_month(at_ms BIGINT, OUT from_ms BIGINT, OUT to_ms BIGINT) LANGUAGE plpgsql AS $$
DECLARE
    bound BIGINT := (SELECT CAST(value AS BIGINT) FROM settings WHERE name = 'usage_months_from');
    month TIMESTAMP;
    partition TEXT;
BEGIN
    IF at_ms < bound THEN
        from_ms := -9223372036854775808;
        to_ms := bound;
        RETURN;
    ELSIF at_ms >= 253402300800000 THEN
        from_ms := 253402300800000;
        to_ms := 9223372036854775807;
        RETURN;
    END IF;
    month := date_trunc('month', to_timestamp(at_ms / 1000) AT TIME ZONE 'UTC');
    from_ms := extract(epoch FROM month)::bigint * 1000;
    to_ms := extract(epoch FROM month + interval '1 month')::bigint * 1000;
    partition := 'usage_records_' || to_char(month, 'YYYY_MM');
    -- Several nodes may need the same month. Attaching keeps nobody from reading and writing.
    PERFORM pg_advisory_xact_lock(30518494010173541);
    IF to_regclass(partition) IS NULL THEN
        EXECUTE format('CREATE TABLE %I (LIKE usage_records INCLUDING ALL)', partition);
        EXECUTE format('ALTER TABLE usage_records ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', partition, from_ms, to_ms);
    END IF;
END $$;

-- Drops the months that ended before a time, and returns how many records they had. A table that is busy is left for the next time.
CREATE FUNCTION llmgateway_drop_usage_months(before_ms BIGINT) RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
    partition TEXT;
    records BIGINT;
    dropped BIGINT := 0;
BEGIN
    PERFORM set_config('lock_timeout', '2s', true);
    FOR partition IN
        SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = to_regclass('usage_records') AND relname ~ '^usage_records_[0-9]{4}_[0-9]{2}$'
            AND extract(epoch FROM to_date(right(relname, 7), 'YYYY_MM') + interval '1 month')::bigint * 1000 <= before_ms
    LOOP
        EXECUTE format('SELECT count(*) FROM %I', partition) INTO records;
        EXECUTE format('DROP TABLE %I', partition);
        dropped := dropped + records;
    END LOOP;
    -- The first partition stays for records whose time is wrong.
    IF (SELECT CAST(value AS BIGINT) FROM settings WHERE name = 'usage_months_from') <= before_ms THEN
        SELECT count(*) INTO records FROM usage_records_before;
        IF records > 0 THEN
            TRUNCATE usage_records_before;
        END IF;
        dropped := dropped + records;
    END IF;
    RETURN dropped;
END $$;

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
