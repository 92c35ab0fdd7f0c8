-- Bodies and headers of requests, where a setting keeps them.
CREATE TABLE request_bodies (
    request_id    TEXT NOT NULL,
    started_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    content       TEXT NOT NULL,
    PRIMARY KEY (request_id, started_at_ms)
);
CREATE INDEX request_bodies_by_expiry ON request_bodies (expires_at_ms);
