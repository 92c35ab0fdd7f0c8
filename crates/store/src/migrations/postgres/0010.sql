-- What each process of several that share budgets has charged: the part of the ledger that is its own. The common counters are
-- made anew from it when they are lost.
CREATE TABLE node_ledger (
    scope      TEXT NOT NULL,
    day        BIGINT NOT NULL,
    node       TEXT NOT NULL,
    spent_pico BIGINT NOT NULL,
    PRIMARY KEY (scope, day, node)
);
