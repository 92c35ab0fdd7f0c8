-- Answers that callers may refer to later. Input and response are JSON text, as callers get them: nothing here looks inside,
-- and JSONB refuses texts with NUL.
CREATE TABLE stored_responses (
    id            TEXT PRIMARY KEY,
    key_id        TEXT NOT NULL,
    previous_id   TEXT,
    model         TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    bytes         BIGINT NOT NULL,
    input         TEXT NOT NULL,
    response      TEXT NOT NULL
);

CREATE INDEX stored_responses_by_expiry ON stored_responses (expires_at_ms);
CREATE INDEX stored_responses_by_previous ON stored_responses (previous_id) WHERE previous_id IS NOT NULL;
