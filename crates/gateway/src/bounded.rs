//! Reads bodies up to a limit. The one place that collects a body.

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;

/// Why a body was not read: it is larger than the limit, or broke off.
type ReadFailure = Box<dyn std::error::Error + Send + Sync>;

/// Reads a body of at most this many bytes.
#[expect(clippy::disallowed_methods, reason = "the one place; `Limited` is the bound")]
pub async fn read<B>(body: B, limit: usize) -> Result<Bytes, ReadFailure>
where
    B: Body,
    B::Error: Into<ReadFailure>,
{
    Ok(Limited::new(body, limit).collect().await?.to_bytes())
}
