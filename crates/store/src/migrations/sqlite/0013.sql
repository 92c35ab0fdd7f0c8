-- Rows of usage_pending that could not be folded into the tables of hours and days, and why.
CREATE TABLE usage_unfolded (
    id     INTEGER PRIMARY KEY,
    sums   TEXT NOT NULL,
    reason TEXT NOT NULL
) STRICT;
