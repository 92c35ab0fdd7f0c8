-- Sums by the values of the tags of requests, by day: a request counts once for each of its tags. New sums wait beside the others
-- in usage_pending. Unlike the other sums they are deleted with the records: tags may name people.
CREATE TABLE usage_tag_days (
    tag TEXT NOT NULL,
    day INTEGER NOT NULL,
    project TEXT NOT NULL,
    value TEXT NOT NULL,
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
    PRIMARY KEY (tag, day, project, value)
) WITHOUT ROWID, STRICT;

ALTER TABLE usage_pending ADD COLUMN tags TEXT;
ALTER TABLE usage_unfolded ADD COLUMN tags TEXT;
