-- Sums of the usage records by hour and by day, kept in the transaction that inserts them; they stay when records are deleted.
-- Two tables for each unit of time: for all keys together, and by key. `ttft_N` and `duration_N` are histograms: how many requests
-- took less than the N-th bound (crates/store/src/rollups.rs).
CREATE TABLE usage_hours (
    hour BIGINT NOT NULL,
    project TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    operation TEXT NOT NULL,
    outcome TEXT NOT NULL,
    requests BIGINT NOT NULL, attempts BIGINT NOT NULL, unpriced BIGINT NOT NULL, estimated BIGINT NOT NULL,
    lossy BIGINT NOT NULL, streamed BIGINT NOT NULL, cached BIGINT NOT NULL, duration_ms BIGINT NOT NULL,
    ttft_ms BIGINT NOT NULL, input_tokens BIGINT NOT NULL, cache_read_tokens BIGINT NOT NULL, cache_write_tokens BIGINT NOT NULL,
    cache_write_1h_tokens BIGINT NOT NULL, audio_input_tokens BIGINT NOT NULL, output_tokens BIGINT NOT NULL, audio_output_tokens BIGINT NOT NULL,
    image_output_tokens BIGINT NOT NULL, reasoning_tokens BIGINT NOT NULL, web_searches BIGINT NOT NULL, cost_pico BIGINT NOT NULL,
    upstream_cost_pico BIGINT NOT NULL, upstream_unpriced BIGINT NOT NULL, errors_before BIGINT NOT NULL, ttft_0 BIGINT NOT NULL,
    ttft_1 BIGINT NOT NULL, ttft_2 BIGINT NOT NULL, ttft_3 BIGINT NOT NULL, ttft_4 BIGINT NOT NULL,
    ttft_5 BIGINT NOT NULL, ttft_6 BIGINT NOT NULL, ttft_7 BIGINT NOT NULL, ttft_8 BIGINT NOT NULL,
    ttft_9 BIGINT NOT NULL, ttft_10 BIGINT NOT NULL, ttft_11 BIGINT NOT NULL, ttft_12 BIGINT NOT NULL,
    ttft_13 BIGINT NOT NULL, ttft_14 BIGINT NOT NULL, ttft_15 BIGINT NOT NULL, ttft_16 BIGINT NOT NULL,
    ttft_17 BIGINT NOT NULL, ttft_18 BIGINT NOT NULL, ttft_19 BIGINT NOT NULL, ttft_20 BIGINT NOT NULL,
    ttft_21 BIGINT NOT NULL, ttft_22 BIGINT NOT NULL, ttft_23 BIGINT NOT NULL, duration_0 BIGINT NOT NULL,
    duration_1 BIGINT NOT NULL, duration_2 BIGINT NOT NULL, duration_3 BIGINT NOT NULL, duration_4 BIGINT NOT NULL,
    duration_5 BIGINT NOT NULL, duration_6 BIGINT NOT NULL, duration_7 BIGINT NOT NULL, duration_8 BIGINT NOT NULL,
    duration_9 BIGINT NOT NULL, duration_10 BIGINT NOT NULL, duration_11 BIGINT NOT NULL, duration_12 BIGINT NOT NULL,
    duration_13 BIGINT NOT NULL, duration_14 BIGINT NOT NULL, duration_15 BIGINT NOT NULL, duration_16 BIGINT NOT NULL,
    duration_17 BIGINT NOT NULL, duration_18 BIGINT NOT NULL, duration_19 BIGINT NOT NULL, duration_20 BIGINT NOT NULL,
    duration_21 BIGINT NOT NULL, duration_22 BIGINT NOT NULL, duration_23 BIGINT NOT NULL,
    PRIMARY KEY (hour, project, model, provider, operation, outcome)
) WITH (fillfactor = 70);

CREATE TABLE usage_days (
    day BIGINT NOT NULL,
    project TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    operation TEXT NOT NULL,
    outcome TEXT NOT NULL,
    requests BIGINT NOT NULL, attempts BIGINT NOT NULL, unpriced BIGINT NOT NULL, estimated BIGINT NOT NULL,
    lossy BIGINT NOT NULL, streamed BIGINT NOT NULL, cached BIGINT NOT NULL, duration_ms BIGINT NOT NULL,
    ttft_ms BIGINT NOT NULL, input_tokens BIGINT NOT NULL, cache_read_tokens BIGINT NOT NULL, cache_write_tokens BIGINT NOT NULL,
    cache_write_1h_tokens BIGINT NOT NULL, audio_input_tokens BIGINT NOT NULL, output_tokens BIGINT NOT NULL, audio_output_tokens BIGINT NOT NULL,
    image_output_tokens BIGINT NOT NULL, reasoning_tokens BIGINT NOT NULL, web_searches BIGINT NOT NULL, cost_pico BIGINT NOT NULL,
    upstream_cost_pico BIGINT NOT NULL, upstream_unpriced BIGINT NOT NULL, errors_before BIGINT NOT NULL, ttft_0 BIGINT NOT NULL,
    ttft_1 BIGINT NOT NULL, ttft_2 BIGINT NOT NULL, ttft_3 BIGINT NOT NULL, ttft_4 BIGINT NOT NULL,
    ttft_5 BIGINT NOT NULL, ttft_6 BIGINT NOT NULL, ttft_7 BIGINT NOT NULL, ttft_8 BIGINT NOT NULL,
    ttft_9 BIGINT NOT NULL, ttft_10 BIGINT NOT NULL, ttft_11 BIGINT NOT NULL, ttft_12 BIGINT NOT NULL,
    ttft_13 BIGINT NOT NULL, ttft_14 BIGINT NOT NULL, ttft_15 BIGINT NOT NULL, ttft_16 BIGINT NOT NULL,
    ttft_17 BIGINT NOT NULL, ttft_18 BIGINT NOT NULL, ttft_19 BIGINT NOT NULL, ttft_20 BIGINT NOT NULL,
    ttft_21 BIGINT NOT NULL, ttft_22 BIGINT NOT NULL, ttft_23 BIGINT NOT NULL, duration_0 BIGINT NOT NULL,
    duration_1 BIGINT NOT NULL, duration_2 BIGINT NOT NULL, duration_3 BIGINT NOT NULL, duration_4 BIGINT NOT NULL,
    duration_5 BIGINT NOT NULL, duration_6 BIGINT NOT NULL, duration_7 BIGINT NOT NULL, duration_8 BIGINT NOT NULL,
    duration_9 BIGINT NOT NULL, duration_10 BIGINT NOT NULL, duration_11 BIGINT NOT NULL, duration_12 BIGINT NOT NULL,
    duration_13 BIGINT NOT NULL, duration_14 BIGINT NOT NULL, duration_15 BIGINT NOT NULL, duration_16 BIGINT NOT NULL,
    duration_17 BIGINT NOT NULL, duration_18 BIGINT NOT NULL, duration_19 BIGINT NOT NULL, duration_20 BIGINT NOT NULL,
    duration_21 BIGINT NOT NULL, duration_22 BIGINT NOT NULL, duration_23 BIGINT NOT NULL,
    PRIMARY KEY (day, project, model, provider, operation, outcome)
) WITH (fillfactor = 70);

CREATE TABLE usage_key_hours (
    key_id TEXT NOT NULL,
    hour BIGINT NOT NULL,
    project TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    operation TEXT NOT NULL,
    outcome TEXT NOT NULL,
    requests BIGINT NOT NULL, attempts BIGINT NOT NULL, unpriced BIGINT NOT NULL, estimated BIGINT NOT NULL,
    lossy BIGINT NOT NULL, streamed BIGINT NOT NULL, cached BIGINT NOT NULL, duration_ms BIGINT NOT NULL,
    ttft_ms BIGINT NOT NULL, input_tokens BIGINT NOT NULL, cache_read_tokens BIGINT NOT NULL, cache_write_tokens BIGINT NOT NULL,
    cache_write_1h_tokens BIGINT NOT NULL, audio_input_tokens BIGINT NOT NULL, output_tokens BIGINT NOT NULL, audio_output_tokens BIGINT NOT NULL,
    image_output_tokens BIGINT NOT NULL, reasoning_tokens BIGINT NOT NULL, web_searches BIGINT NOT NULL, cost_pico BIGINT NOT NULL,
    upstream_cost_pico BIGINT NOT NULL, upstream_unpriced BIGINT NOT NULL, errors_before BIGINT NOT NULL, ttft_0 BIGINT NOT NULL,
    ttft_1 BIGINT NOT NULL, ttft_2 BIGINT NOT NULL, ttft_3 BIGINT NOT NULL, ttft_4 BIGINT NOT NULL,
    ttft_5 BIGINT NOT NULL, ttft_6 BIGINT NOT NULL, ttft_7 BIGINT NOT NULL, ttft_8 BIGINT NOT NULL,
    ttft_9 BIGINT NOT NULL, ttft_10 BIGINT NOT NULL, ttft_11 BIGINT NOT NULL, ttft_12 BIGINT NOT NULL,
    ttft_13 BIGINT NOT NULL, ttft_14 BIGINT NOT NULL, ttft_15 BIGINT NOT NULL, ttft_16 BIGINT NOT NULL,
    ttft_17 BIGINT NOT NULL, ttft_18 BIGINT NOT NULL, ttft_19 BIGINT NOT NULL, ttft_20 BIGINT NOT NULL,
    ttft_21 BIGINT NOT NULL, ttft_22 BIGINT NOT NULL, ttft_23 BIGINT NOT NULL, duration_0 BIGINT NOT NULL,
    duration_1 BIGINT NOT NULL, duration_2 BIGINT NOT NULL, duration_3 BIGINT NOT NULL, duration_4 BIGINT NOT NULL,
    duration_5 BIGINT NOT NULL, duration_6 BIGINT NOT NULL, duration_7 BIGINT NOT NULL, duration_8 BIGINT NOT NULL,
    duration_9 BIGINT NOT NULL, duration_10 BIGINT NOT NULL, duration_11 BIGINT NOT NULL, duration_12 BIGINT NOT NULL,
    duration_13 BIGINT NOT NULL, duration_14 BIGINT NOT NULL, duration_15 BIGINT NOT NULL, duration_16 BIGINT NOT NULL,
    duration_17 BIGINT NOT NULL, duration_18 BIGINT NOT NULL, duration_19 BIGINT NOT NULL, duration_20 BIGINT NOT NULL,
    duration_21 BIGINT NOT NULL, duration_22 BIGINT NOT NULL, duration_23 BIGINT NOT NULL,
    PRIMARY KEY (key_id, hour, project, model, provider, operation, outcome)
) WITH (fillfactor = 70);

CREATE TABLE usage_key_days (
    key_id TEXT NOT NULL,
    day BIGINT NOT NULL,
    project TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    operation TEXT NOT NULL,
    outcome TEXT NOT NULL,
    requests BIGINT NOT NULL, attempts BIGINT NOT NULL, unpriced BIGINT NOT NULL, estimated BIGINT NOT NULL,
    lossy BIGINT NOT NULL, streamed BIGINT NOT NULL, cached BIGINT NOT NULL, duration_ms BIGINT NOT NULL,
    ttft_ms BIGINT NOT NULL, input_tokens BIGINT NOT NULL, cache_read_tokens BIGINT NOT NULL, cache_write_tokens BIGINT NOT NULL,
    cache_write_1h_tokens BIGINT NOT NULL, audio_input_tokens BIGINT NOT NULL, output_tokens BIGINT NOT NULL, audio_output_tokens BIGINT NOT NULL,
    image_output_tokens BIGINT NOT NULL, reasoning_tokens BIGINT NOT NULL, web_searches BIGINT NOT NULL, cost_pico BIGINT NOT NULL,
    upstream_cost_pico BIGINT NOT NULL, upstream_unpriced BIGINT NOT NULL, errors_before BIGINT NOT NULL, ttft_0 BIGINT NOT NULL,
    ttft_1 BIGINT NOT NULL, ttft_2 BIGINT NOT NULL, ttft_3 BIGINT NOT NULL, ttft_4 BIGINT NOT NULL,
    ttft_5 BIGINT NOT NULL, ttft_6 BIGINT NOT NULL, ttft_7 BIGINT NOT NULL, ttft_8 BIGINT NOT NULL,
    ttft_9 BIGINT NOT NULL, ttft_10 BIGINT NOT NULL, ttft_11 BIGINT NOT NULL, ttft_12 BIGINT NOT NULL,
    ttft_13 BIGINT NOT NULL, ttft_14 BIGINT NOT NULL, ttft_15 BIGINT NOT NULL, ttft_16 BIGINT NOT NULL,
    ttft_17 BIGINT NOT NULL, ttft_18 BIGINT NOT NULL, ttft_19 BIGINT NOT NULL, ttft_20 BIGINT NOT NULL,
    ttft_21 BIGINT NOT NULL, ttft_22 BIGINT NOT NULL, ttft_23 BIGINT NOT NULL, duration_0 BIGINT NOT NULL,
    duration_1 BIGINT NOT NULL, duration_2 BIGINT NOT NULL, duration_3 BIGINT NOT NULL, duration_4 BIGINT NOT NULL,
    duration_5 BIGINT NOT NULL, duration_6 BIGINT NOT NULL, duration_7 BIGINT NOT NULL, duration_8 BIGINT NOT NULL,
    duration_9 BIGINT NOT NULL, duration_10 BIGINT NOT NULL, duration_11 BIGINT NOT NULL, duration_12 BIGINT NOT NULL,
    duration_13 BIGINT NOT NULL, duration_14 BIGINT NOT NULL, duration_15 BIGINT NOT NULL, duration_16 BIGINT NOT NULL,
    duration_17 BIGINT NOT NULL, duration_18 BIGINT NOT NULL, duration_19 BIGINT NOT NULL, duration_20 BIGINT NOT NULL,
    duration_21 BIGINT NOT NULL, duration_22 BIGINT NOT NULL, duration_23 BIGINT NOT NULL,
    PRIMARY KEY (key_id, day, project, model, provider, operation, outcome)
) WITH (fillfactor = 70);

-- Where requests are that few others are like: by an id that the caller chose, by session, by tag.
CREATE TABLE usage_lookup (
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    started_at_ms BIGINT NOT NULL,
    nonce BIGINT NOT NULL,
    PRIMARY KEY (kind, value, started_at_ms, nonce)
);

-- Records that were there are added in steps while the gateway runs, the newest first: null tells that a record is not yet in the
-- tables above, and the setting up to when they all are.
ALTER TABLE usage_records ADD COLUMN indexed BIGINT;

INSERT INTO settings (name, value)
SELECT 'usage_indexed_from', CAST(max(started_at_ms) + 1 AS TEXT) FROM usage_records HAVING max(started_at_ms) IS NOT NULL;
