//! Request bodies: read within limits of size, time and memory, and decoded.

use bytes::{Bytes, BytesMut};
use canon::{Error, ErrorKind};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use wire::multipart::Boundary;

use crate::buffers::{Buffers, Held};
use crate::clock;
use crate::content_coding::{CodingError, Decoder, Limits, without_byte_order_mark};
use crate::incoming::{broken, late, leave_unread, too_large_upload};
use crate::snapshot::RequestLimits;

pub struct ReceivedBody {
    /// The whole body, decoded.
    pub bytes: Bytes,
    /// Its share of the gateway's memory.
    pub held: Held,
}

/// The announcements in a body's headers.
pub struct BodyHeaders {
    /// Decodes it, if it has a content coding.
    decoder: Option<Decoder>,
    pub(super) length: Option<usize>,
    /// The bytes must not change.
    is_raw: bool,
    pub(super) form: Option<Boundary>,
}

/// The first allocation for a body of several pieces; it doubles as pieces arrive. An announced length alone
/// allocates nothing.
const FIRST_ROOM: usize = 64 << 10;

/// The accepted content codings.
pub(super) const ACCEPTED: &str = "gzip, deflate, br, zstd";

/// A coded body may always decode to this size.
const ALWAYS: usize = 1 << 20;

/// Above [`ALWAYS`], a body may decode to this multiple of its size. Text rarely compresses below a fiftieth;
/// a compression bomb to a thousandth.
const GROWTH: usize = 100;

/// A larger body is decoded on a blocking thread, so that it does not delay other requests.
const DECODED_AT_ONCE: usize = 32 << 10;

impl BodyHeaders {
    /// Reads the headers, before the body. A length above the limit and an unknown coding are refused.
    pub fn read(headers: &HeaderMap, limit: usize) -> Result<Self, Error> {
        Self::within(headers, limit, too_large)
    }

    /// The same for a body whose content coding is left to its reader.
    pub fn as_it_is(headers: &HeaderMap, limit: usize) -> Result<Self, Error> {
        let length = announced_length(headers);
        if length.is_some_and(|length| length > limit) {
            Err(too_large(limit))
        } else {
            Ok(Self { decoder: None, length, is_raw: true, form: None })
        }
    }

    /// The same of a form with files.
    pub fn of_form(headers: &HeaderMap, boundary: Boundary, limits: RequestLimits) -> Result<Self, Error> {
        let announced = if headers.contains_key(CONTENT_ENCODING) {
            // Decoded bytes are buffered.
            Self::read(headers, limits.body)?
        } else {
            Self::within(headers, limits.upload, too_large_upload)?
        };
        Ok(Self { form: Some(boundary), ..announced })
    }

    /// The bytes are still coded.
    pub(super) fn is_coded(&self) -> bool {
        self.decoder.is_some()
    }

    fn within(headers: &HeaderMap, limit: usize, too_large: fn(usize) -> Error) -> Result<Self, Error> {
        let decoded = Limits { total: limit, ratio: GROWTH, free: ALWAYS };
        let decoder = Decoder::of(headers, decoded).map_err(|error| refused(&error, limit))?;
        let length = announced_length(headers);
        if length.is_some_and(|length| length > limit) {
            return Err(too_large(limit));
        }
        Ok(Self { decoder, length, is_raw: false, form: None })
    }
}

pub(super) fn announced_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

pub async fn read(
    body: Incoming,
    announced: BodyHeaders,
    limits: RequestLimits,
    buffers: &Buffers,
) -> Result<ReceivedBody, Error> {
    let mut reading = BodyReader { body, held: buffers.nothing(), first: None, joined: None };
    if let Err(error) = reading.all(announced.length, limits).await {
        // No further wait for a client that was already too slow.
        if error.kind != ErrorKind::RequestTimeout {
            leave_unread(reading.body);
        }
        return Err(error);
    }
    let BodyReader { mut held, first, joined, .. } = reading;
    let mut bytes = joined.map(BytesMut::freeze).or(first).unwrap_or_default();
    if let Some(decoder) = announced.decoder {
        bytes = decode(decoder, bytes, limits.body, &mut held).await?;
    }
    if !announced.is_raw {
        bytes = without_byte_order_mark(bytes);
    }
    Ok(ReceivedBody { bytes, held })
}

struct BodyReader {
    body: Incoming,
    held: Held,
    /// The only piece so far. Most bodies have a single one, and it is not copied.
    first: Option<Bytes>,
    joined: Option<BytesMut>,
}

impl BodyReader {
    async fn all(&mut self, announced: Option<usize>, limits: RequestLimits) -> Result<(), Error> {
        let mut length = 0;
        let mut end = None;
        while !self.body.is_end_stream() {
            let now = clock::now();
            let end = *end.get_or_insert(now + limits.whole);
            let frame = match tokio::time::timeout_at(end.min(now + limits.pause), self.body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => break,
                Ok(Some(Err(error))) => return Err(broken(&error)),
                Err(_) => return Err(late(end <= clock::now())),
            };
            let Ok(data) = frame.into_data() else { continue };
            length += data.len();
            if length > limits.body {
                return Err(too_large(limits.body));
            }
            self.held.grow(data.len()).await?;
            self.add(data, announced);
        }
        Ok(())
    }

    fn add(&mut self, data: Bytes, announced: Option<usize>) {
        let Some(joined) = &mut self.joined else {
            match self.first.take() {
                None => self.first = Some(data),
                Some(begun) => {
                    let needed = begun.len() + data.len();
                    let mut joined = BytesMut::with_capacity(room(needed, 0, announced));
                    joined.extend_from_slice(&begun);
                    joined.extend_from_slice(&data);
                    self.joined = Some(joined);
                }
            }
            return;
        };
        let needed = joined.len() + data.len();
        if needed > joined.capacity() {
            let mut larger = BytesMut::with_capacity(room(needed, joined.capacity(), announced));
            larger.extend_from_slice(joined);
            *joined = larger;
        }
        joined.extend_from_slice(&data);
    }
}

/// Twice the previous capacity, and at most the announced length.
fn room(needed: usize, before: usize, announced: Option<usize>) -> usize {
    let doubled = (before * 2).max(FIRST_ROOM);
    doubled.min(announced.unwrap_or(usize::MAX)).max(needed)
}

async fn decode(mut decoder: Decoder, body: Bytes, limit: usize, held: &mut Held) -> Result<Bytes, Error> {
    let coded = body.len();
    let mut decode = move || {
        let mut decoded = Vec::new();
        decoder.push(&body, &mut decoded)?;
        decoder.finish(&mut decoded)?;
        Ok(decoded)
    };
    let decoded: Result<Vec<u8>, CodingError> = match coded {
        0..=DECODED_AT_ONCE => decode(),
        _ => tokio::task::spawn_blocking(decode)
            .await
            .map_err(|_| Error::gateway(ErrorKind::Internal, "The body could not be decoded."))?,
    };
    let decoded = decoded.map_err(|error| refused(&error, limit))?;
    held.grow(decoded.len().saturating_sub(coded)).await?;
    Ok(Bytes::from(decoded))
}

fn too_large(limit: usize) -> Error {
    let message = format!("The body is larger than the limit of {limit} bytes (server.body_limit).");
    Error::caller(ErrorKind::TooLarge, message)
}

fn refused(error: &CodingError, limit: usize) -> Error {
    let at_fault = "content-encoding";
    match error {
        CodingError::Unknown(name) => {
            let message = format!("The content encoding {name:?} is not supported; send {ACCEPTED} or none.");
            Error::caller(ErrorKind::UnsupportedMedia, message).at(at_fault)
        }
        CodingError::Invalid(name) => {
            let message = format!(
                "The body is not valid {name}, which its content encoding declares, or it is cut off."
            );
            Error::caller(ErrorKind::UnsupportedMedia, message).at(at_fault)
        }
        CodingError::TooLarge => {
            let message = format!(
                "Decoded, the body is larger than {limit} bytes (server.body_limit), or more than {GROWTH} times as \
                 large as it was sent."
            );
            Error::caller(ErrorKind::TooLarge, message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announced_length_reserves_no_memory() {
        const HUGE: Option<usize> = Some(1 << 40);
        assert_eq!(room(100, 0, HUGE), FIRST_ROOM);
        let mut capacity = 0;
        for needed in (0..8 << 20).step_by(10_000) {
            if needed > capacity {
                capacity = room(needed, capacity, HUGE);
            }
            assert!(capacity <= FIRST_ROOM.max(2 * needed), "{capacity} for {needed}");
        }
        assert_eq!(room(100, 0, Some(200)), 200, "a small body gets no more than it needs");
        assert_eq!(room(300, 0, Some(200)), 300);
    }
}
