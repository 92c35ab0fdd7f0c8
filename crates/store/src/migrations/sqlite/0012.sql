-- Sums of a batch of records, as JSON, written in the transaction that inserts them. From time to time they are folded into the tables
-- of hours and days: many small rows cost less than a few wide ones that are changed with each batch.
CREATE TABLE usage_pending (
    id   INTEGER PRIMARY KEY,
    sums TEXT NOT NULL
) STRICT;

-- Sums of all projects and keys together: a few rows for an hour, however many projects there are.
CREATE TABLE usage_model_hours (
    hour INTEGER NOT NULL,
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
    PRIMARY KEY (hour, model, provider, operation, outcome)
) WITHOUT ROWID, STRICT;

CREATE TABLE usage_model_days (
    day INTEGER NOT NULL,
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
    PRIMARY KEY (day, model, provider, operation, outcome)
) WITHOUT ROWID, STRICT;

-- The same by project, whatever the model.
CREATE TABLE usage_project_hours (
    hour INTEGER NOT NULL,
    project TEXT NOT NULL,
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
    PRIMARY KEY (hour, project, outcome)
) WITHOUT ROWID, STRICT;

CREATE TABLE usage_project_days (
    day INTEGER NOT NULL,
    project TEXT NOT NULL,
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
    PRIMARY KEY (day, project, outcome)
) WITHOUT ROWID, STRICT;

INSERT INTO usage_model_hours
SELECT
    hour, model, provider, operation, outcome,
    sum(requests), sum(attempts), sum(unpriced), sum(estimated), sum(lossy), sum(streamed),
    sum(cached), sum(duration_ms), sum(ttft_ms), sum(input_tokens), sum(cache_read_tokens), sum(cache_write_tokens),
    sum(cache_write_1h_tokens), sum(audio_input_tokens), sum(output_tokens), sum(audio_output_tokens), sum(image_output_tokens), sum(reasoning_tokens),
    sum(web_searches), sum(cost_pico), sum(upstream_cost_pico), sum(upstream_unpriced), sum(errors_before), sum(ttft_0),
    sum(ttft_1), sum(ttft_2), sum(ttft_3), sum(ttft_4), sum(ttft_5), sum(ttft_6),
    sum(ttft_7), sum(ttft_8), sum(ttft_9), sum(ttft_10), sum(ttft_11), sum(ttft_12),
    sum(ttft_13), sum(ttft_14), sum(ttft_15), sum(ttft_16), sum(ttft_17), sum(ttft_18),
    sum(ttft_19), sum(ttft_20), sum(ttft_21), sum(ttft_22), sum(ttft_23), sum(duration_0),
    sum(duration_1), sum(duration_2), sum(duration_3), sum(duration_4), sum(duration_5), sum(duration_6),
    sum(duration_7), sum(duration_8), sum(duration_9), sum(duration_10), sum(duration_11), sum(duration_12),
    sum(duration_13), sum(duration_14), sum(duration_15), sum(duration_16), sum(duration_17), sum(duration_18),
    sum(duration_19), sum(duration_20), sum(duration_21), sum(duration_22), sum(duration_23)
FROM usage_hours GROUP BY hour, model, provider, operation, outcome;

INSERT INTO usage_model_days
SELECT
    day, model, provider, operation, outcome,
    sum(requests), sum(attempts), sum(unpriced), sum(estimated), sum(lossy), sum(streamed),
    sum(cached), sum(duration_ms), sum(ttft_ms), sum(input_tokens), sum(cache_read_tokens), sum(cache_write_tokens),
    sum(cache_write_1h_tokens), sum(audio_input_tokens), sum(output_tokens), sum(audio_output_tokens), sum(image_output_tokens), sum(reasoning_tokens),
    sum(web_searches), sum(cost_pico), sum(upstream_cost_pico), sum(upstream_unpriced), sum(errors_before), sum(ttft_0),
    sum(ttft_1), sum(ttft_2), sum(ttft_3), sum(ttft_4), sum(ttft_5), sum(ttft_6),
    sum(ttft_7), sum(ttft_8), sum(ttft_9), sum(ttft_10), sum(ttft_11), sum(ttft_12),
    sum(ttft_13), sum(ttft_14), sum(ttft_15), sum(ttft_16), sum(ttft_17), sum(ttft_18),
    sum(ttft_19), sum(ttft_20), sum(ttft_21), sum(ttft_22), sum(ttft_23), sum(duration_0),
    sum(duration_1), sum(duration_2), sum(duration_3), sum(duration_4), sum(duration_5), sum(duration_6),
    sum(duration_7), sum(duration_8), sum(duration_9), sum(duration_10), sum(duration_11), sum(duration_12),
    sum(duration_13), sum(duration_14), sum(duration_15), sum(duration_16), sum(duration_17), sum(duration_18),
    sum(duration_19), sum(duration_20), sum(duration_21), sum(duration_22), sum(duration_23)
FROM usage_days GROUP BY day, model, provider, operation, outcome;

INSERT INTO usage_project_hours
SELECT
    hour, project, outcome,
    sum(requests), sum(attempts), sum(unpriced), sum(estimated), sum(lossy), sum(streamed),
    sum(cached), sum(duration_ms), sum(ttft_ms), sum(input_tokens), sum(cache_read_tokens), sum(cache_write_tokens),
    sum(cache_write_1h_tokens), sum(audio_input_tokens), sum(output_tokens), sum(audio_output_tokens), sum(image_output_tokens), sum(reasoning_tokens),
    sum(web_searches), sum(cost_pico), sum(upstream_cost_pico), sum(upstream_unpriced), sum(errors_before), sum(ttft_0),
    sum(ttft_1), sum(ttft_2), sum(ttft_3), sum(ttft_4), sum(ttft_5), sum(ttft_6),
    sum(ttft_7), sum(ttft_8), sum(ttft_9), sum(ttft_10), sum(ttft_11), sum(ttft_12),
    sum(ttft_13), sum(ttft_14), sum(ttft_15), sum(ttft_16), sum(ttft_17), sum(ttft_18),
    sum(ttft_19), sum(ttft_20), sum(ttft_21), sum(ttft_22), sum(ttft_23), sum(duration_0),
    sum(duration_1), sum(duration_2), sum(duration_3), sum(duration_4), sum(duration_5), sum(duration_6),
    sum(duration_7), sum(duration_8), sum(duration_9), sum(duration_10), sum(duration_11), sum(duration_12),
    sum(duration_13), sum(duration_14), sum(duration_15), sum(duration_16), sum(duration_17), sum(duration_18),
    sum(duration_19), sum(duration_20), sum(duration_21), sum(duration_22), sum(duration_23)
FROM usage_hours GROUP BY hour, project, outcome;

INSERT INTO usage_project_days
SELECT
    day, project, outcome,
    sum(requests), sum(attempts), sum(unpriced), sum(estimated), sum(lossy), sum(streamed),
    sum(cached), sum(duration_ms), sum(ttft_ms), sum(input_tokens), sum(cache_read_tokens), sum(cache_write_tokens),
    sum(cache_write_1h_tokens), sum(audio_input_tokens), sum(output_tokens), sum(audio_output_tokens), sum(image_output_tokens), sum(reasoning_tokens),
    sum(web_searches), sum(cost_pico), sum(upstream_cost_pico), sum(upstream_unpriced), sum(errors_before), sum(ttft_0),
    sum(ttft_1), sum(ttft_2), sum(ttft_3), sum(ttft_4), sum(ttft_5), sum(ttft_6),
    sum(ttft_7), sum(ttft_8), sum(ttft_9), sum(ttft_10), sum(ttft_11), sum(ttft_12),
    sum(ttft_13), sum(ttft_14), sum(ttft_15), sum(ttft_16), sum(ttft_17), sum(ttft_18),
    sum(ttft_19), sum(ttft_20), sum(ttft_21), sum(ttft_22), sum(ttft_23), sum(duration_0),
    sum(duration_1), sum(duration_2), sum(duration_3), sum(duration_4), sum(duration_5), sum(duration_6),
    sum(duration_7), sum(duration_8), sum(duration_9), sum(duration_10), sum(duration_11), sum(duration_12),
    sum(duration_13), sum(duration_14), sum(duration_15), sum(duration_16), sum(duration_17), sum(duration_18),
    sum(duration_19), sum(duration_20), sum(duration_21), sum(duration_22), sum(duration_23)
FROM usage_days GROUP BY day, project, outcome;

-- What administrators have rest by hand: a provider, or one of its keys (else the key is empty).
CREATE TABLE rests (
    provider TEXT NOT NULL,
    key      TEXT NOT NULL,
    reason   TEXT NOT NULL,
    actor    TEXT NOT NULL,
    since_ms INTEGER NOT NULL,
    until_ms INTEGER,
    PRIMARY KEY (provider, key)
) STRICT;
