//! API keys: their form, and the keyed hash under which they are stored.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use canon::Secret;

use crate::StoreError;
use crate::projects::DEFAULT_PROJECT;

/// Identifies a key in a log or for a scanner of secrets.
const KEY_PREFIX: &str = "lgw-";
/// The part of a key that is stored in clear text to distinguish keys: the prefix and four characters.
const SHOWN_BYTES: usize = 8;

/// Longest name of a project or a key, in characters.
const LONGEST_NAME: usize = 200;

/// Why a text cannot be the name of a project or a key, which lists and pages show.
pub fn wrong_name(name: &str) -> Option<String> {
    let is_shown = !name.trim().is_empty() && !name.contains(char::is_control);
    (!is_shown || name.chars().count() > LONGEST_NAME).then(|| {
        format!("a name has 1 to {LONGEST_NAME} characters, at least one of them visible, and no line breaks")
    })
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFields {
    /// What the operator calls it.
    pub name: String,
    pub project_id: String,
    /// Its roles, separated by commas.
    pub roles: String,
    /// Its policy, as JSON, which the store does not parse.
    pub policy: String,
    /// The time from which it is invalid, in milliseconds since 1970.
    pub expires_at_ms: Option<i64>,
    /// Since when it is disabled.
    pub disabled_at_ms: Option<i64>,
}

impl KeyFields {
    /// An inference key of the default project.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            project_id: DEFAULT_PROJECT.to_owned(),
            roles: "inference".to_owned(),
            policy: "{}".to_owned(),
            expires_at_ms: None,
            disabled_at_ms: None,
        }
    }
}

/// A listed API key. The key itself is not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// Identifies the key in usage records and commands.
    pub id: String,
    /// What is said of it.
    pub fields: KeyFields,
    /// The first eight characters of the key.
    pub prefix: String,
    /// Grows with every change.
    pub version: i64,
    /// When it was created, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// Until when the key before the last rotation is valid.
    pub previous_until_ms: Option<i64>,
    /// When it was revoked.
    pub revoked_at_ms: Option<i64>,
}

/// The data for recognising an active key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHash {
    pub id: String,
    /// What is said of it.
    pub fields: KeyFields,
    /// [`KeyHasher::hash`] of the key.
    pub hash: [u8; 32],
    /// The hash before the last rotation, and until when it is valid.
    pub previous: Option<([u8; 32], i64)>,
}

pub(crate) const INSERT: &str = "INSERT INTO api_keys
    (id, name, prefix, hash, created_at_ms, project_id, roles, policy, expires_at_ms, disabled_at_ms)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
pub(crate) const SELECT: &str =
    "SELECT id, name, project_id, roles, policy, expires_at_ms, disabled_at_ms, prefix, version,
    created_at_ms, previous_until_ms, revoked_at_ms FROM api_keys
    WHERE (created_at_ms > $1 OR (created_at_ms = $1 AND id > $2)) ORDER BY created_at_ms, id LIMIT $3";
pub(crate) const SELECT_ONE: &str =
    "SELECT id, name, project_id, roles, policy, expires_at_ms, disabled_at_ms, prefix,
    version, created_at_ms, previous_until_ms, revoked_at_ms FROM api_keys WHERE id = $1";
pub(crate) const ACTIVE: &str =
    "SELECT id, name, project_id, roles, policy, expires_at_ms, disabled_at_ms, hash,
    previous_hash, previous_until_ms FROM api_keys WHERE revoked_at_ms IS NULL AND disabled_at_ms IS NULL";
/// Those of them that changed after a marker.
pub(crate) const ACTIVE_CHANGED: &str =
    "SELECT id, name, project_id, roles, policy, expires_at_ms, disabled_at_ms, hash,
    previous_hash, previous_until_ms FROM api_keys WHERE revoked_at_ms IS NULL AND disabled_at_ms IS NULL
    AND id IN (SELECT substr(target, 5) FROM changes WHERE revision > $1 AND target LIKE 'key:%')";
pub(crate) const UPDATE: &str = "UPDATE api_keys SET name = $1, roles = $2, policy = $3, expires_at_ms = $4,
    disabled_at_ms = $5, version = version + 1 WHERE id = $6 AND version = $7 AND revoked_at_ms IS NULL";
pub(crate) const ROTATE: &str =
    "UPDATE api_keys SET previous_hash = hash, previous_until_ms = $1, hash = $2, prefix = $3,
    version = version + 1 WHERE id = $4 AND revoked_at_ms IS NULL";
pub(crate) const REVOKE: &str = "UPDATE api_keys SET revoked_at_ms = $1, version = version + 1
    WHERE id = $2 AND revoked_at_ms IS NULL";

type FieldsRow = (String, String, String, String, Option<i64>, Option<i64>);

fn fields((name, project_id, roles, policy, expires_at_ms, disabled_at_ms): FieldsRow) -> KeyFields {
    KeyFields { name, project_id, roles, policy, expires_at_ms, disabled_at_ms }
}

/// A row of [`SELECT`].
pub(crate) type ListedRow = (
    String,
    String,
    String,
    String,
    String,
    Option<i64>,
    Option<i64>,
    String,
    i64,
    i64,
    Option<i64>,
    Option<i64>,
);

pub(crate) fn listed(row: ListedRow) -> KeyRow {
    let (id, name, project, roles, policy, expires, disabled, prefix, version, created, previous, revoked) =
        row;
    KeyRow {
        id,
        fields: fields((name, project, roles, policy, expires, disabled)),
        prefix,
        version,
        created_at_ms: created,
        previous_until_ms: previous,
        revoked_at_ms: revoked,
    }
}

/// A row of [`ACTIVE`].
pub(crate) type ActiveRow =
    (String, String, String, String, String, Option<i64>, Option<i64>, Vec<u8>, Option<Vec<u8>>, Option<i64>);

/// The key; none when a hash has not its length.
pub(crate) fn active(row: ActiveRow) -> Option<KeyHash> {
    let (id, name, project, roles, policy, expires, disabled, hash, previous_hash, previous_until) = row;
    let previous = match (previous_hash, previous_until) {
        (Some(hash), Some(until)) => Some((hash.try_into().ok()?, until)),
        _ => None,
    };
    let fields = fields((name, project, roles, policy, expires, disabled));
    Some(KeyHash { id, fields, hash: hash.try_into().ok()?, previous })
}

/// Hashes keys with a secret of this installation (the pepper), so that neither a stolen table nor the
/// duration of a comparison reveals anything about a key. Keys are random, so a fast hash is enough.
#[derive(Clone)]
pub struct KeyHasher {
    pepper: [u8; 32],
}

impl KeyHasher {
    /// With a given pepper.
    pub fn new(pepper: [u8; 32]) -> Self {
        Self { pepper }
    }

    /// With a random pepper, for keys that are not in a database.
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
    pub(crate) id: String,
    pub(crate) prefix: String,
    pub(crate) secret: Secret,
}

impl NewKey {
    pub(crate) fn generate() -> Result<Self, StoreError> {
        let key = format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(random_bytes::<32>()?));
        Ok(Self {
            id: format!("key_{:016x}", u64::from_le_bytes(random_bytes()?)),
            prefix: key[..SHOWN_BYTES].to_owned(),
            secret: Secret::new(key),
        })
    }
}

pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
