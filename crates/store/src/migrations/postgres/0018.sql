-- What each change was about, so that nodes read only what has changed.
CREATE TABLE changes (
    revision BIGINT PRIMARY KEY,
    target   TEXT NOT NULL
);
