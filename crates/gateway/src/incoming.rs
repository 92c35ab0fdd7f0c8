//! Bodies from callers: their failures, and the disposal of unread ones.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use canon::{Error, ErrorKind};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use crate::clock;

/// How much of an unread body is read, so that the client can read the answer instead of a reset.
const UNREAD_BYTES: usize = 256 << 20;
/// How long that may take in total, and between two pieces.
const UNREAD_TIME: Duration = Duration::from_secs(30);
const UNREAD_PAUSE: Duration = Duration::from_secs(5);

/// Reads the rest of an unread body, parallel to the answer: a connection that is closed with unread bytes is
/// reset, and the client may never see the answer (RFC 9112, 9.6). Limited in bytes and time; then the
/// connection closes.
pub fn leave_unread(mut body: Incoming) {
    if body.is_end_stream() {
        return;
    }
    #[expect(clippy::disallowed_methods, reason = "ends after `UNREAD_TIME`")]
    tokio::spawn(async move {
        let end = clock::now() + UNREAD_TIME;
        let mut seen = 0;
        while seen <= UNREAD_BYTES {
            let until = end.min(clock::now() + UNREAD_PAUSE);
            match tokio::time::timeout_at(until, Pin::new(&mut body).frame()).await {
                Ok(Some(Ok(frame))) => seen += frame.data_ref().map_or(0, Bytes::len),
                _ => break,
            }
        }
    });
}

/// The error for a broken body.
pub fn broken(error: &hyper::Error) -> Error {
    if is_malformed(error) {
        return Error::invalid("", "The body's chunks are malformed.");
    }
    Error::caller(ErrorKind::Cancelled, "The body broke off.")
}

/// Whether the client sent something invalid, and did not just hang up.
fn is_malformed(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return matches!(io.kind(), std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData);
        }
        source = inner.source();
    }
    false
}

/// The client took too long: for one piece, or for the whole.
pub fn late(whole: bool) -> Error {
    let setting = if whole { "server.body_seconds" } else { "server.read_seconds" };
    Error::caller(ErrorKind::RequestTimeout, format!("The body did not arrive in time ({setting})."))
}

/// A streamed body is too large.
pub fn too_large_upload(limit: usize) -> Error {
    let message = format!("The body is larger than the limit of {limit} bytes (server.upload_limit).");
    Error::caller(ErrorKind::TooLarge, message)
}
