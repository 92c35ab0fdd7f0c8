//! Stored answers: each row contains the items that one request added to its conversation and the answer, and
//! names the previous answer. A conversation is the chain of its answers.

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    pub id: String,
    /// Its owner: other callers do not see it.
    pub key_id: String,
    /// The answer that it continues.
    pub previous_id: Option<String>,
    /// The model as the caller addressed it.
    pub model: String,
    /// When it was stored, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// Its expiry.
    pub expires_at_ms: i64,
    /// The items that the request added, as a JSON list.
    pub input: String,
    /// The response object as JSON.
    pub response: String,
}

impl StoredResponse {
    /// Its size for limits.
    pub fn bytes(&self) -> usize {
        self.input.len() + self.response.len()
    }
}

/// A conversation up to one of its answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chain {
    /// All answers, the first one first; at least one.
    Whole(Vec<StoredResponse>),
    /// There is no answer of this id.
    Missing(String),
    /// It exceeds the limit for loading.
    TooLarge {
        /// The counted bytes, at least.
        bytes: u64,
    },
}

/// Id, the one before, bytes.
pub(crate) type ChainLink = (String, Option<String>, i64);

/// A row in the order of [`SELECT`].
pub(crate) type Row = (String, String, Option<String>, String, i64, i64, String, String);

/// Most answers of one conversation.
const MOST_LINKS: usize = 10_000;

pub(crate) const INSERT: &str = "INSERT INTO stored_responses
        (id, key_id, previous_id, model, created_at_ms, expires_at_ms, bytes, input, response)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

pub(crate) const INSERT_ITEM: &str =
    "INSERT INTO stored_items (response_id, item_id, key_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";

pub(crate) const EXISTS: &str = "SELECT 1 FROM stored_responses WHERE id = $1";

/// Providers may reuse an id: the last answer with it is used.
pub(crate) const OF_ITEM: &str = "SELECT item.response_id FROM stored_items AS item
    JOIN stored_responses AS answer ON answer.id = item.response_id
    WHERE item.key_id = $1 AND item.item_id = $2 ORDER BY answer.created_at_ms DESC LIMIT 1";

pub(crate) const SELECT: &str =
    "SELECT id, key_id, previous_id, model, created_at_ms, expires_at_ms, input, response
    FROM stored_responses WHERE id = $1 AND key_id = $2 AND expires_at_ms > $3";

pub(crate) const DELETE: &str =
    "DELETE FROM stored_responses WHERE id = $1 AND key_id = $2 AND expires_at_ms > $3";

/// An expired answer is kept while a later one continues it: conversations may last longer than the time to
/// live.
pub(crate) const DELETE_EXPIRED: &str = "DELETE FROM stored_responses WHERE id IN (
    SELECT old.id FROM stored_responses AS old
    WHERE old.expires_at_ms <= $1
      AND NOT EXISTS (SELECT 1 FROM stored_responses AS next WHERE next.previous_id = old.id)
    ORDER BY old.expires_at_ms LIMIT $2)";

/// Last first. The last one must not have expired; earlier ones may have.
pub(crate) const LINKS: &str = "WITH RECURSIVE chain (id, previous_id, bytes, depth) AS (
        SELECT id, previous_id, bytes, CAST(0 AS BIGINT) FROM stored_responses
        WHERE id = $1 AND key_id = $2 AND expires_at_ms > $3
        UNION ALL
        SELECT earlier.id, earlier.previous_id, earlier.bytes, chain.depth + 1
        FROM stored_responses AS earlier JOIN chain ON earlier.id = chain.previous_id
        WHERE earlier.key_id = $2 AND chain.depth < $4
    )
    SELECT id, previous_id, bytes FROM chain ORDER BY depth";

/// First one first.
pub(crate) const CHAIN: &str = "WITH RECURSIVE chain (id, previous_id, depth) AS (
        SELECT id, previous_id, CAST(0 AS BIGINT) FROM stored_responses
        WHERE id = $1 AND key_id = $2 AND expires_at_ms > $3
        UNION ALL
        SELECT earlier.id, earlier.previous_id, chain.depth + 1
        FROM stored_responses AS earlier JOIN chain ON earlier.id = chain.previous_id
        WHERE earlier.key_id = $2 AND chain.depth < $4
    )
    SELECT found.id, found.key_id, found.previous_id, found.model, found.created_at_ms, found.expires_at_ms,
        found.input, found.response
    FROM chain JOIN stored_responses AS found ON found.id = chain.id ORDER BY chain.depth DESC";

pub(crate) fn most_links() -> i64 {
    MOST_LINKS as i64
}

pub(crate) fn from_row(row: Row) -> StoredResponse {
    let (id, key_id, previous_id, model, created_at_ms, expires_at_ms, input, response) = row;
    StoredResponse { id, key_id, previous_id, model, created_at_ms, expires_at_ms, input, response }
}

/// Why a chain cannot be loaded; none when it can.
pub(crate) fn check(id: &str, links: &[ChainLink], most_bytes: u64) -> Option<Chain> {
    let bytes = links.iter().map(|(_, _, bytes)| u64::try_from(*bytes).unwrap_or(0)).sum();
    match links.last() {
        None => Some(Chain::Missing(id.to_owned())),
        _ if bytes > most_bytes || links.len() > MOST_LINKS => Some(Chain::TooLarge { bytes }),
        Some((_, Some(missing), _)) => Some(Chain::Missing(missing.clone())),
        Some((_, None, _)) => None,
    }
}

/// The loaded chain. It may have lost a link since the check.
pub(crate) fn chain(id: &str, found: Vec<StoredResponse>) -> Chain {
    match found.first() {
        None => Chain::Missing(id.to_owned()),
        Some(StoredResponse { previous_id: Some(missing), .. }) => Chain::Missing(missing.clone()),
        Some(_) => Chain::Whole(found),
    }
}
