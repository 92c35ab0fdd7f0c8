-- Sums by the values of the tags of requests, by day: a request counts once for each of its tags. New sums wait beside the others
-- in usage_pending. Unlike the other sums they are deleted with the records: tags may name people.
CREATE TABLE usage_tag_days (
    tag TEXT NOT NULL,
    day BIGINT NOT NULL,
    project TEXT NOT NULL,
    value TEXT NOT NULL,
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
    PRIMARY KEY (tag, day, project, value)
);

ALTER TABLE usage_pending ADD COLUMN tags TEXT;
ALTER TABLE usage_unfolded ADD COLUMN tags TEXT;
