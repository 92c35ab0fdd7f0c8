//! Conversations under ids of their own: lists of items that answers add to, and that callers read and change.

/// A conversation, without its items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    pub id: String,
    /// Its owner: other callers do not see it.
    pub key_id: String,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// Its expiry, which moves with every addition.
    pub expires_at_ms: i64,
    /// The caller's metadata, as a JSON object.
    pub metadata: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredItem {
    pub id: String,
    /// The item as JSON, with its id.
    pub item: String,
}

/// Items to append to a conversation. Existing items keep their place.
#[derive(Clone, Copy, Debug)]
pub struct Addition<'a> {
    pub conversation: &'a str,
    pub key_id: &'a str,
    pub now_ms: i64,
    /// The new expiry of the conversation.
    pub expires_at_ms: i64,
    /// The items, in order.
    pub items: &'a [StoredItem],
}

/// A row in the order of [`SELECT`].
pub(crate) type Row = (String, String, i64, i64, String);

pub(crate) const INSERT: &str = "INSERT INTO conversations (id, key_id, created_at_ms, expires_at_ms, metadata) VALUES ($1, $2, $3, $4, $5)";

pub(crate) const SELECT: &str = "SELECT id, key_id, created_at_ms, expires_at_ms, metadata FROM conversations
    WHERE id = $1 AND key_id = $2 AND expires_at_ms > $3";

pub(crate) const EXISTS: &str = "SELECT 1 FROM conversations WHERE id = $1";

pub(crate) const TOUCH: &str =
    "UPDATE conversations SET expires_at_ms = $4 WHERE id = $1 AND key_id = $2 AND expires_at_ms > $3";

pub(crate) const DESCRIBE: &str =
    "UPDATE conversations SET metadata = $4 WHERE id = $1 AND key_id = $2 AND expires_at_ms > $3";

pub(crate) const DELETE: &str =
    "DELETE FROM conversations WHERE id = $1 AND key_id = $2 AND expires_at_ms > $3";

pub(crate) const DELETE_EXPIRED: &str = "DELETE FROM conversations WHERE id IN (
    SELECT id FROM conversations WHERE expires_at_ms <= $1 ORDER BY expires_at_ms LIMIT $2)";

pub(crate) const NEXT: &str =
    "SELECT COALESCE(MAX(position), -1) + 1 FROM conversation_items WHERE conversation_id = $1";

pub(crate) const INSERT_ITEM: &str =
    "INSERT INTO conversation_items (conversation_id, position, item_id, item)
    VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";

pub(crate) const BYTES: &str = "SELECT CAST(COALESCE(SUM(LENGTH(item)), 0) AS BIGINT) FROM conversation_items WHERE conversation_id = $1";

pub(crate) const ITEMS: &str =
    "SELECT item_id, item FROM conversation_items WHERE conversation_id = $1 ORDER BY position";

pub(crate) const DELETE_ITEM: &str =
    "DELETE FROM conversation_items WHERE conversation_id = $1 AND item_id = $2";

pub(crate) fn from_row((id, key_id, created_at_ms, expires_at_ms, metadata): Row) -> Conversation {
    Conversation { id, key_id, created_at_ms, expires_at_ms, metadata }
}
