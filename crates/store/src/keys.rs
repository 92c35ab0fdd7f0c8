//! API keys: how they look, and the keyed hash under which they are stored.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use canon::Secret;

use crate::StoreError;

/// So that a key is recognised for what it is, in a log or by a scanner of secrets.
const KEY_PREFIX: &str = "lgw-";
/// How much of a key is stored in the clear, for people to tell keys apart: the prefix and four characters.
const SHOWN_BYTES: usize = 8;

/// An API key as it is listed. The key itself is stored nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// Names the key in usage records and commands.
    pub id: String,
    /// What the operator called it.
    pub name: String,
    /// The first eight characters of the key.
    pub prefix: String,
    /// When it was created, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// When it was revoked.
    pub revoked_at_ms: Option<i64>,
}

/// What the gateway needs to recognise an active key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHash {
    /// The id of the key.
    pub id: String,
    /// What the operator called it.
    pub name: String,
    /// [`KeyHasher::hash`] of the key.
    pub hash: [u8; 32],
}

/// Hashes keys with a secret of this installation (the pepper), so that neither a stolen table nor the time that a
/// comparison takes tells anything about a key. Keys are random, so that a fast hash is enough.
#[derive(Clone)]
pub struct KeyHasher {
    pepper: [u8; 32],
}

impl KeyHasher {
    /// With a given pepper.
    pub fn new(pepper: [u8; 32]) -> Self {
        Self { pepper }
    }

    /// With a pepper that nobody knows: for keys that are not in a database.
    pub fn random() -> Result<Self, StoreError> {
        Ok(Self::new(random_bytes()?))
    }

    /// The hash of a presented key: what to look for among [`KeyHash::hash`].
    pub fn hash(&self, key: &str) -> [u8; 32] {
        *blake3::keyed_hash(&self.pepper, key.as_bytes()).as_bytes()
    }
}

/// A key that was just made.
pub(crate) struct NewKey {
    pub(crate) row: KeyRow,
    pub(crate) secret: Secret,
}

impl NewKey {
    pub(crate) fn generate(name: &str, now_ms: i64) -> Result<Self, StoreError> {
        let key = format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(random_bytes::<32>()?));
        let row = KeyRow {
            id: format!("key_{:016x}", u64::from_le_bytes(random_bytes()?)),
            name: name.to_owned(),
            prefix: key[..SHOWN_BYTES].to_owned(),
            created_at_ms: now_ms,
            revoked_at_ms: None,
        };
        Ok(Self { row, secret: Secret::new(key) })
    }
}

pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
