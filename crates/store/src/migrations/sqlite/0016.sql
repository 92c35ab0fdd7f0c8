-- What each change was about, so that nodes read only what has changed.
CREATE TABLE changes (
    revision INTEGER PRIMARY KEY,
    target   TEXT NOT NULL
) STRICT;
