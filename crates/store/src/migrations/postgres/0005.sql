-- Items of stored answers whose ids a provider gave: they do not hold their answer's id, as the gateway's own do.
CREATE TABLE stored_items (
    response_id TEXT NOT NULL REFERENCES stored_responses (id) ON DELETE CASCADE,
    item_id     TEXT NOT NULL,
    key_id      TEXT NOT NULL,
    PRIMARY KEY (response_id, item_id)
);

CREATE INDEX stored_items_by_item ON stored_items (item_id);
