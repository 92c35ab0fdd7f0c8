//! Sealed ids: a provider's id together with the provider and the key that it belongs to, authenticated for a
//! project. The gateway stores nothing for them. A changed id, or one of another project, is invalid.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use store::KeyHasher;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Output,
    Batch,
    MessageBatch,
    /// A file that comes in parts.
    Upload,
    Part,
}

const KINDS: [Kind; 6] =
    [Kind::File, Kind::Output, Kind::Batch, Kind::MessageBatch, Kind::Upload, Kind::Part];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectLocation {
    pub kind: Kind,
    pub provider: String,
    /// The provider's own id.
    pub id: String,
    /// For a batch and its output: its creation, in seconds since 1970.
    pub made_at: u32,
    /// Distinguishes the key from the provider's other keys.
    key: [u8; KEY],
}

/// Seals and reads the ids of a project.
pub struct Sealer<'a> {
    /// Has the secret of the installation, which all nodes share.
    pub hasher: &'a KeyHasher,
    pub project: &'a str,
}

/// Length of the authentication tag: forging one takes 2^127 attempts.
const SEAL: usize = 16;
/// Length of the key's hash.
const KEY: usize = 6;
/// Longer ids are never ours.
const LONGEST: usize = 1024;

impl Kind {
    /// The prefix that clients expect.
    fn prefix(self) -> &'static str {
        match self {
            Self::File | Self::Output => "file-",
            Self::Batch => "batch_",
            Self::MessageBatch => "msgbatch_",
            Self::Upload => "upload_",
            Self::Part => "part_",
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::File => b'f',
            Self::Output => b'o',
            Self::Batch => b'b',
            Self::MessageBatch => b'm',
            Self::Upload => b'u',
            Self::Part => b'p',
        }
    }
}

impl ObjectLocation {
    /// The key among these that it belongs to.
    pub fn key_among(&self, hasher: &KeyHasher, labels: &[String]) -> Option<usize> {
        labels.iter().position(|label| key(hasher, label) == self.key)
    }
}

impl Sealer<'_> {
    /// The callers' id for an object that a provider stores for this key.
    pub fn seal(&self, kind: Kind, (provider, label): (&str, &str), id: &str, made_at: u32) -> String {
        let mut plain = vec![kind.byte()];
        plain.extend_from_slice(&key(self.hasher, label));
        plain.extend_from_slice(&made_at.to_be_bytes());
        plain.extend_from_slice(provider.as_bytes());
        plain.push(0);
        plain.extend_from_slice(id.as_bytes());
        let mut sealed = self.tag(&plain).to_vec();
        sealed.extend_from_slice(&plain);
        format!("{}{}", kind.prefix(), URL_SAFE_NO_PAD.encode(sealed))
    }

    /// The location of an object that was sealed for this project. None for all other ids.
    pub fn open(&self, id: &str) -> Option<ObjectLocation> {
        if id.len() > LONGEST {
            return None;
        }
        let (prefix, text) = id.split_at_checked(id.find(['-', '_'])? + 1)?;
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (tag, plain) = sealed.split_at_checked(SEAL)?;
        if !is_same(tag, &self.tag(plain)) {
            return None;
        }
        let (head, rest) = plain.split_at_checked(1 + KEY + 4)?;
        let kind = KINDS.into_iter().find(|kind| kind.byte() == head[0])?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let place = ObjectLocation {
            kind,
            provider: text(&rest[..end])?,
            id: text(&rest[end + 1..])?,
            made_at: u32::from_be_bytes(head[1 + KEY..].try_into().ok()?),
            key: head[1..=KEY].try_into().ok()?,
        };
        (prefix == kind.prefix()).then_some(place)
    }

    /// The mark of this project on objects at a provider.
    pub fn mark(&self) -> String {
        let hash = self.hasher.hash(&format!("mark\0{}", self.project));
        hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The id prefix of the records with the object's cost. It is the same for every reader.
    pub fn record_id(&self, place: &ObjectLocation) -> String {
        let hash = self.hasher.hash(&format!("record\0{}\0{}", place.provider, place.id));
        let hash: String = hash[..12].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("batch_{hash}")
    }

    /// A header cannot contain a zero byte: no API key has the same hash.
    fn tag(&self, plain: &[u8]) -> [u8; SEAL] {
        let text = URL_SAFE_NO_PAD.encode(plain);
        let hash = self.hasher.hash(&format!("id\0{}\0{text}", self.project));
        let mut tag = [0; SEAL];
        tag.copy_from_slice(&hash[..SEAL]);
        tag
    }
}

fn key(hasher: &KeyHasher, label: &str) -> [u8; KEY] {
    let hash = hasher.hash(&format!("label\0{label}"));
    let mut key = [0; KEY];
    key.copy_from_slice(&hash[..KEY]);
    key
}

/// In constant time.
fn is_same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |all, (left, right)| all | left ^ right) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_opened_for_its_own_project_only() {
        let hasher = KeyHasher::new([7; 32]);
        let of = |project| Sealer { hasher: &hasher, project };
        let labels = ["one".to_owned(), "two".to_owned()];
        for kind in KINDS {
            let id = of("a").seal(kind, ("openai", "two"), "file-abc_1", 1_700_000_000);
            let place = of("a").open(&id).unwrap();
            assert_eq!(
                (place.kind, place.provider.as_str(), place.id.as_str()),
                (kind, "openai", "file-abc_1")
            );
            assert_eq!((place.made_at, place.key_among(&hasher, &labels)), (1_700_000_000, Some(1)));
            assert_eq!(place.key_among(&hasher, &labels[..1]), None);
            assert_eq!(of("b").open(&id), None);
            let other = KeyHasher::new([8; 32]);
            assert_eq!(Sealer { hasher: &other, project: "a" }.open(&id), None);
            for index in 0..id.len() {
                let mut forged = id.clone().into_bytes();
                forged[index] = if forged[index] == b'A' { b'B' } else { b'A' };
                assert_eq!(of("a").open(str::from_utf8(&forged).unwrap()), None, "{index}");
            }
            for cut in 0..id.len() {
                assert_eq!(of("a").open(&id[..cut]), None);
            }
        }
        for id in ["", "file-", "file-abc", "batch_", "x", "é-é", "file-é"] {
            assert_eq!(of("a").open(id), None, "{id}");
        }
        assert_ne!(of("a").mark(), of("b").mark());
    }
}
