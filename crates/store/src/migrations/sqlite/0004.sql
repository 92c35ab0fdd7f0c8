-- Answers that callers may refer to later. Input and response are JSON text, as callers get them: nothing here looks inside.
CREATE TABLE stored_responses (
    id            TEXT PRIMARY KEY NOT NULL,
    key_id        TEXT NOT NULL,
    previous_id   TEXT,
    model         TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    bytes         INTEGER NOT NULL,
    input         TEXT NOT NULL,
    response      TEXT NOT NULL
) STRICT;

CREATE INDEX stored_responses_by_expiry ON stored_responses (expires_at_ms);
CREATE INDEX stored_responses_by_previous ON stored_responses (previous_id) WHERE previous_id IS NOT NULL;
