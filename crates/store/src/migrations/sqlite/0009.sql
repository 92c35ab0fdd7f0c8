-- Who is signed in to the dashboard. The id is the hash of a token that only the browser holds.
CREATE TABLE console_sessions (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    subject TEXT NOT NULL,
    means TEXT NOT NULL,
    role TEXT NOT NULL,
    address TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL
);
CREATE INDEX console_sessions_by_end ON console_sessions (expires_at_ms);
