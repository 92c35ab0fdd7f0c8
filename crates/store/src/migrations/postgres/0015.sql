-- Retention takes its locks when nothing slow is left to do: dropping a partition locks the parent for everybody until the transaction
-- ends, and months with many millions of records cannot be counted within a statement's time.
DROP FUNCTION llmgateway_drop_usage_months(BIGINT);

-- Drops the months that ended before a time, and returns how many. A table that is busy is left for the next time.
CREATE FUNCTION llmgateway_drop_usage_months(before_ms BIGINT) RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
    partition TEXT;
    dropped BIGINT := 0;
BEGIN
    PERFORM set_config('lock_timeout', '2s', true);
    -- The first partition stays for records whose time is wrong.
    IF (SELECT CAST(value AS BIGINT) FROM settings WHERE name = 'usage_months_from') <= before_ms
        AND EXISTS (SELECT FROM usage_records_before) THEN
        TRUNCATE usage_records_before;
        dropped := dropped + 1;
    END IF;
    FOR partition IN
        SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = to_regclass('usage_records') AND relname ~ '^usage_records_[0-9]{4}_[0-9]{2}$'
            AND extract(epoch FROM to_date(right(relname, 7), 'YYYY_MM') + interval '1 month')::bigint * 1000 <= before_ms
    LOOP
        EXECUTE format('DROP TABLE %I', partition);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
