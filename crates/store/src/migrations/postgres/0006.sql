-- What is to be sent to webhooks, and what was: an event is told once to each address, whoever notices it how often.
CREATE TABLE webhook_deliveries (
    event         TEXT NOT NULL,
    -- A hash of the address, which may hold a secret.
    endpoint      TEXT NOT NULL,
    body          TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    attempts      BIGINT NOT NULL,
    -- Null once it was taken, or given up.
    next_at_ms    BIGINT,
    PRIMARY KEY (event, endpoint)
);

CREATE INDEX webhook_deliveries_by_time ON webhook_deliveries (next_at_ms) WHERE next_at_ms IS NOT NULL;
