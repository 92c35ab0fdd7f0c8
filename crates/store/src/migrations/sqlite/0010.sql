-- Sums of the usage records by hour and by day, kept in the transaction that inserts them; they stay when records are deleted.
-- Two tables for each unit of time: for all keys together, and by key. `ttft_N` and `duration_N` are histograms: how many requests
-- took less than the N-th bound (crates/store/src/rollups.rs).
CREATE TABLE usage_hours (
    hour INTEGER NOT NULL,
    project TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    operation TEXT NOT NULL,
    outcome TEXT NOT NULL,
    requests INTEGER NOT NULL, attempts INTEGER NOT NULL, unpriced INTEGER NOT NULL, estimated INTEGER NOT NULL,
    lossy INTEGER NOT NULL, streamed INTEGER NOT NULL, cached INTEGER NOT NULL, duration_ms INTEGER NOT NULL,
    ttft_ms INTEGER NOT NULL, input_tokens INTEGER NOT NULL, cache_read_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL, audio_input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, audio_output_tokens INTEGER NOT NULL,
    image_output_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL, web_searches INTEGER NOT NULL, cost_pico INTEGER NOT NULL,
    upstream_cost_pico INTEGER NOT NULL, upstream_unpriced INTEGER NOT NULL, errors_before INTEGER NOT NULL, ttft_0 INTEGER NOT NULL,
    ttft_1 INTEGER NOT NULL, ttft_2 INTEGER NOT NULL, ttft_3 INTEGER NOT NULL, ttft_4 INTEGER NOT NULL,
    ttft_5 INTEGER NOT NULL, ttft_6 INTEGER NOT NULL, ttft_7 INTEGER NOT NULL, ttft_8 INTEGER NOT NULL,
    ttft_9 INTEGER NOT NULL, ttft_10 INTEGER NOT NULL, ttft_11 INTEGER NOT NULL, ttft_12 INTEGER NOT NULL,
    ttft_13 INTEGER NOT NULL, ttft_14 INTEGER NOT NULL, ttft_15 INTEGER NOT NULL, ttft_16 INTEGER NOT NULL,
    ttft_17 INTEGER NOT NULL, ttft_18 INTEGER NOT NULL, ttft_19 INTEGER NOT NULL, ttft_20 INTEGER NOT NULL,
    ttft_21 INTEGER NOT NULL, ttft_22 INTEGER NOT NULL, ttft_23 INTEGER NOT NULL, duration_0 INTEGER NOT NULL,
    duration_1 INTEGER NOT NULL, duration_2 INTEGER NOT NULL, duration_3 INTEGER NOT NULL, duration_4 INTEGER NOT NULL,
    duration_5 INTEGER NOT NULL, duration_6 INTEGER NOT NULL, duration_7 INTEGER NOT NULL, duration_8 INTEGER NOT NULL,
    duration_9 INTEGER NOT NULL, duration_10 INTEGER NOT NULL, duration_11 INTEGER NOT NULL, duration_12 INTEGER NOT NULL,
    duration_13 INTEGER NOT NULL, duration_14 INTEGER NOT NULL, duration_15 INTEGER NOT NULL, duration_16 INTEGER NOT NULL,
    duration_17 INTEGER NOT NULL, duration_18 INTEGER NOT NULL, duration_19 INTEGER NOT NULL, duration_20 INTEGER NOT NULL,
    duration_21 INTEGER NOT NULL, duration_22 INTEGER NOT NULL, duration_23 INTEGER NOT NULL,
    PRIMARY KEY (hour, project, model, provider, operation, outcome)
) WITHOUT ROWID, STRICT;

CREATE TABLE usage_days (
    day INTEGER NOT NULL,
    project TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    operation TEXT NOT NULL,
    outcome TEXT NOT NULL,
    requests INTEGER NOT NULL, attempts INTEGER NOT NULL, unpriced INTEGER NOT NULL, estimated INTEGER NOT NULL,
    lossy INTEGER NOT NULL, streamed INTEGER NOT NULL, cached INTEGER NOT NULL, duration_ms INTEGER NOT NULL,
    ttft_ms INTEGER NOT NULL, input_tokens INTEGER NOT NULL, cache_read_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL, audio_input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, audio_output_tokens INTEGER NOT NULL,
    image_output_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL, web_searches INTEGER NOT NULL, cost_pico INTEGER NOT NULL,
    upstream_cost_pico INTEGER NOT NULL, upstream_unpriced INTEGER NOT NULL, errors_before INTEGER NOT NULL, ttft_0 INTEGER NOT NULL,
    ttft_1 INTEGER NOT NULL, ttft_2 INTEGER NOT NULL, ttft_3 INTEGER NOT NULL, ttft_4 INTEGER NOT NULL,
    ttft_5 INTEGER NOT NULL, ttft_6 INTEGER NOT NULL, ttft_7 INTEGER NOT NULL, ttft_8 INTEGER NOT NULL,
    ttft_9 INTEGER NOT NULL, ttft_10 INTEGER NOT NULL, ttft_11 INTEGER NOT NULL, ttft_12 INTEGER NOT NULL,
    ttft_13 INTEGER NOT NULL, ttft_14 INTEGER NOT NULL, ttft_15 INTEGER NOT NULL, ttft_16 INTEGER NOT NULL,
    ttft_17 INTEGER NOT NULL, ttft_18 INTEGER NOT NULL, ttft_19 INTEGER NOT NULL, ttft_20 INTEGER NOT NULL,
    ttft_21 INTEGER NOT NULL, ttft_22 INTEGER NOT NULL, ttft_23 INTEGER NOT NULL, duration_0 INTEGER NOT NULL,
    duration_1 INTEGER NOT NULL, duration_2 INTEGER NOT NULL, duration_3 INTEGER NOT NULL, duration_4 INTEGER NOT NULL,
    duration_5 INTEGER NOT NULL, duration_6 INTEGER NOT NULL, duration_7 INTEGER NOT NULL, duration_8 INTEGER NOT NULL,
    duration_9 INTEGER NOT NULL, duration_10 INTEGER NOT NULL, duration_11 INTEGER NOT NULL, duration_12 INTEGER NOT NULL,
    duration_13 INTEGER NOT NULL, duration_14 INTEGER NOT NULL, duration_15 INTEGER NOT NULL, duration_16 INTEGER NOT NULL,
    duration_17 INTEGER NOT NULL, duration_18 INTEGER NOT NULL, duration_19 INTEGER NOT NULL, duration_20 INTEGER NOT NULL,
    duration_21 INTEGER NOT NULL, duration_22 INTEGER NOT NULL, duration_23 INTEGER NOT NULL,
    PRIMARY KEY (day, project, model, provider, operation, outcome)
) WITHOUT ROWID, STRICT;

CREATE TABLE usage_key_hours (
    key_id TEXT NOT NULL,
    hour INTEGER NOT NULL,
    project TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    operation TEXT NOT NULL,
    outcome TEXT NOT NULL,
    requests INTEGER NOT NULL, attempts INTEGER NOT NULL, unpriced INTEGER NOT NULL, estimated INTEGER NOT NULL,
    lossy INTEGER NOT NULL, streamed INTEGER NOT NULL, cached INTEGER NOT NULL, duration_ms INTEGER NOT NULL,
    ttft_ms INTEGER NOT NULL, input_tokens INTEGER NOT NULL, cache_read_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL, audio_input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, audio_output_tokens INTEGER NOT NULL,
    image_output_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL, web_searches INTEGER NOT NULL, cost_pico INTEGER NOT NULL,
    upstream_cost_pico INTEGER NOT NULL, upstream_unpriced INTEGER NOT NULL, errors_before INTEGER NOT NULL, ttft_0 INTEGER NOT NULL,
    ttft_1 INTEGER NOT NULL, ttft_2 INTEGER NOT NULL, ttft_3 INTEGER NOT NULL, ttft_4 INTEGER NOT NULL,
    ttft_5 INTEGER NOT NULL, ttft_6 INTEGER NOT NULL, ttft_7 INTEGER NOT NULL, ttft_8 INTEGER NOT NULL,
    ttft_9 INTEGER NOT NULL, ttft_10 INTEGER NOT NULL, ttft_11 INTEGER NOT NULL, ttft_12 INTEGER NOT NULL,
    ttft_13 INTEGER NOT NULL, ttft_14 INTEGER NOT NULL, ttft_15 INTEGER NOT NULL, ttft_16 INTEGER NOT NULL,
    ttft_17 INTEGER NOT NULL, ttft_18 INTEGER NOT NULL, ttft_19 INTEGER NOT NULL, ttft_20 INTEGER NOT NULL,
    ttft_21 INTEGER NOT NULL, ttft_22 INTEGER NOT NULL, ttft_23 INTEGER NOT NULL, duration_0 INTEGER NOT NULL,
    duration_1 INTEGER NOT NULL, duration_2 INTEGER NOT NULL, duration_3 INTEGER NOT NULL, duration_4 INTEGER NOT NULL,
    duration_5 INTEGER NOT NULL, duration_6 INTEGER NOT NULL, duration_7 INTEGER NOT NULL, duration_8 INTEGER NOT NULL,
    duration_9 INTEGER NOT NULL, duration_10 INTEGER NOT NULL, duration_11 INTEGER NOT NULL, duration_12 INTEGER NOT NULL,
    duration_13 INTEGER NOT NULL, duration_14 INTEGER NOT NULL, duration_15 INTEGER NOT NULL, duration_16 INTEGER NOT NULL,
    duration_17 INTEGER NOT NULL, duration_18 INTEGER NOT NULL, duration_19 INTEGER NOT NULL, duration_20 INTEGER NOT NULL,
    duration_21 INTEGER NOT NULL, duration_22 INTEGER NOT NULL, duration_23 INTEGER NOT NULL,
    PRIMARY KEY (key_id, hour, project, model, provider, operation, outcome)
) WITHOUT ROWID, STRICT;

CREATE TABLE usage_key_days (
    key_id TEXT NOT NULL,
    day INTEGER NOT NULL,
    project TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    operation TEXT NOT NULL,
    outcome TEXT NOT NULL,
    requests INTEGER NOT NULL, attempts INTEGER NOT NULL, unpriced INTEGER NOT NULL, estimated INTEGER NOT NULL,
    lossy INTEGER NOT NULL, streamed INTEGER NOT NULL, cached INTEGER NOT NULL, duration_ms INTEGER NOT NULL,
    ttft_ms INTEGER NOT NULL, input_tokens INTEGER NOT NULL, cache_read_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL, audio_input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, audio_output_tokens INTEGER NOT NULL,
    image_output_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL, web_searches INTEGER NOT NULL, cost_pico INTEGER NOT NULL,
    upstream_cost_pico INTEGER NOT NULL, upstream_unpriced INTEGER NOT NULL, errors_before INTEGER NOT NULL, ttft_0 INTEGER NOT NULL,
    ttft_1 INTEGER NOT NULL, ttft_2 INTEGER NOT NULL, ttft_3 INTEGER NOT NULL, ttft_4 INTEGER NOT NULL,
    ttft_5 INTEGER NOT NULL, ttft_6 INTEGER NOT NULL, ttft_7 INTEGER NOT NULL, ttft_8 INTEGER NOT NULL,
    ttft_9 INTEGER NOT NULL, ttft_10 INTEGER NOT NULL, ttft_11 INTEGER NOT NULL, ttft_12 INTEGER NOT NULL,
    ttft_13 INTEGER NOT NULL, ttft_14 INTEGER NOT NULL, ttft_15 INTEGER NOT NULL, ttft_16 INTEGER NOT NULL,
    ttft_17 INTEGER NOT NULL, ttft_18 INTEGER NOT NULL, ttft_19 INTEGER NOT NULL, ttft_20 INTEGER NOT NULL,
    ttft_21 INTEGER NOT NULL, ttft_22 INTEGER NOT NULL, ttft_23 INTEGER NOT NULL, duration_0 INTEGER NOT NULL,
    duration_1 INTEGER NOT NULL, duration_2 INTEGER NOT NULL, duration_3 INTEGER NOT NULL, duration_4 INTEGER NOT NULL,
    duration_5 INTEGER NOT NULL, duration_6 INTEGER NOT NULL, duration_7 INTEGER NOT NULL, duration_8 INTEGER NOT NULL,
    duration_9 INTEGER NOT NULL, duration_10 INTEGER NOT NULL, duration_11 INTEGER NOT NULL, duration_12 INTEGER NOT NULL,
    duration_13 INTEGER NOT NULL, duration_14 INTEGER NOT NULL, duration_15 INTEGER NOT NULL, duration_16 INTEGER NOT NULL,
    duration_17 INTEGER NOT NULL, duration_18 INTEGER NOT NULL, duration_19 INTEGER NOT NULL, duration_20 INTEGER NOT NULL,
    duration_21 INTEGER NOT NULL, duration_22 INTEGER NOT NULL, duration_23 INTEGER NOT NULL,
    PRIMARY KEY (key_id, day, project, model, provider, operation, outcome)
) WITHOUT ROWID, STRICT;

-- Where requests are that few others are like: by an id that the caller chose, by session, by tag.
CREATE TABLE usage_lookup (
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    started_at_ms INTEGER NOT NULL,
    nonce INTEGER NOT NULL,
    PRIMARY KEY (kind, value, started_at_ms, nonce)
) WITHOUT ROWID, STRICT;

-- Records that were there are added in steps while the gateway runs, the newest first: null tells that a record is not yet in the
-- tables above, and the setting up to when they all are.
ALTER TABLE usage_records ADD COLUMN indexed INTEGER;

INSERT INTO settings (name, value)
SELECT 'usage_indexed_from', CAST(max(started_at_ms) + 1 AS TEXT) FROM usage_records HAVING max(started_at_ms) IS NOT NULL;
