-- Conversations of the Responses API: lists of items under ids of their own.
CREATE TABLE conversations (
    id            TEXT NOT NULL PRIMARY KEY,
    key_id        TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    metadata      TEXT NOT NULL
);

CREATE INDEX conversations_by_expiry ON conversations (expires_at_ms);

CREATE TABLE conversation_items (
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    position        BIGINT NOT NULL,
    item_id         TEXT NOT NULL,
    item            TEXT NOT NULL,
    PRIMARY KEY (conversation_id, position)
);

CREATE UNIQUE INDEX conversation_items_by_id ON conversation_items (conversation_id, item_id);
