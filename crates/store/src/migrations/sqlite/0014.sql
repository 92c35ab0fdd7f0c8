-- Bodies and headers of requests, where a setting keeps them.
CREATE TABLE request_bodies (
    request_id    TEXT NOT NULL,
    started_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    content       TEXT NOT NULL,
    PRIMARY KEY (request_id, started_at_ms)
) STRICT;
CREATE INDEX request_bodies_by_expiry ON request_bodies (expires_at_ms);
