//! A cached answer.

use std::time::Duration;

use bytes::Bytes;

/// The first byte of a stored answer. Another value belongs to another release and is not read.
const FORM: u8 = 1;
/// Form, whether it is a stream, its time, the length of its id.
const HEAD_BYTES: usize = 1 + 1 + 8 + 2;

/// A complete, successful answer, as the provider sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedAnswer {
    pub body: Bytes,
    pub streams: bool,
    /// The provider's id of the answer, if it can be replaced.
    pub id: Option<String>,
    /// The time of its arrival, in milliseconds since 1970.
    pub at_ms: i64,
    /// Its time to live.
    pub keep: Duration,
}

impl CachedAnswer {
    /// Whether it has not expired and is at most `oldest` old.
    pub fn is_good(&self, now_ms: i64, oldest: Duration) -> bool {
        // A node whose clock is ahead stores answers from the future, which count as new.
        let age = u64::try_from(now_ms.saturating_sub(self.at_ms)).unwrap_or_default();
        u128::from(age) < oldest.min(self.keep).as_millis()
    }

    /// The byte form that other nodes read.
    pub fn write(&self) -> Vec<u8> {
        let id = self.id.as_deref().filter(|id| id.len() <= usize::from(u16::MAX)).unwrap_or_default();
        let mut out = Vec::with_capacity(HEAD_BYTES + id.len() + self.body.len());
        out.extend_from_slice(&[FORM, u8::from(self.streams)]);
        out.extend_from_slice(&self.at_ms.to_le_bytes());
        out.extend_from_slice(&(id.len() as u16).to_le_bytes());
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(&self.body);
        out
    }

    /// Reads these bytes; none for other content. The store expires them.
    pub fn read(bytes: Vec<u8>) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
        if head[0] != FORM {
            return None;
        }
        let at_ms = i64::from_le_bytes(head[2..10].try_into().ok()?);
        let length = usize::from(u16::from_le_bytes(head[10..12].try_into().ok()?));
        let id = str::from_utf8(rest.get(..length)?).ok()?;
        let (id, streams) = ((!id.is_empty()).then(|| id.to_owned()), head[1] == 1);
        let body = Bytes::from(bytes).slice(HEAD_BYTES + length..);
        Some(Self { body, streams, id, at_ms, keep: Duration::MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        for (id, body) in [(Some("chatcmpl-1"), "{}"), (None, "")] {
            let body = Bytes::from_static(body.as_bytes());
            let id = id.map(str::to_owned);
            let answer = CachedAnswer { body, streams: true, id, at_ms: 7, keep: Duration::MAX };
            assert_eq!(CachedAnswer::read(answer.write()), Some(answer));
        }
    }

    #[test]
    fn a_damaged_entry_is_no_answer() {
        let answer = CachedAnswer {
            body: Bytes::from_static(b"{}"),
            streams: false,
            id: Some("chatcmpl-1".to_owned()),
            at_ms: 7,
            keep: Duration::MAX,
        };
        let written = answer.write();
        for length in 0..HEAD_BYTES + 10 {
            assert_eq!(CachedAnswer::read(written[..length].to_vec()), None, "{length}");
        }
        let mut other = written.clone();
        other[0] = 9;
        assert_eq!(CachedAnswer::read(other), None);
    }

    #[test]
    fn an_answer_is_valid_until_it_expires() {
        let answer = CachedAnswer {
            body: Bytes::new(),
            streams: false,
            id: None,
            at_ms: 1000,
            keep: Duration::from_secs(10),
        };
        let minute = Duration::from_secs(60);
        assert!(answer.is_good(1000, minute) && answer.is_good(10_999, minute) && answer.is_good(0, minute));
        assert!(!answer.is_good(11_000, minute));
        assert!(!answer.is_good(3000, Duration::from_secs(2)));
        assert!(!answer.is_good(1000, Duration::ZERO));
    }
}
