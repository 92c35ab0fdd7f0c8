//! Streams in Amazon's binary frames ("InvokeModelWithResponseStream"): each frame contains the JSON of one
//! event. They are converted to the API's own event streams.

use std::task::{Context, Poll};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use canon::{Error, ErrorKind, Progress, Result, Retry};
use serde::Deserialize;

use crate::framing::aws_eventstream::{EventStreamParser, Message};
use crate::proofs::Proofs;
use crate::protocols::bedrock_converse::errors;
use crate::{Protocol, StoredAnswer, Transcoder};

/// A transcoder of event streams that accepts frames, where the answer comes in them. `beginning` holds the
/// first bytes: a frame begins with its length, whose first byte is 0, and no text does.
pub fn unframed(protocol: Protocol, beginning: &[u8], inner: Box<dyn Transcoder>) -> Box<dyn Transcoder> {
    if protocol == Protocol::AnthropicMessages && beginning.first() == Some(&0) {
        Box::new(Framed { frames: EventStreamParser::default(), inner })
    } else {
        inner
    }
}

struct Framed {
    frames: EventStreamParser,
    inner: Box<dyn Transcoder>,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    bytes: &'a str,
}

#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "type", default)]
    kind: String,
}

/// Appends the event of a frame in the API's own form.
fn write_event(message: &Message<'_>, out: &mut Vec<u8>) -> Result<()> {
    errors::check(message)?;
    let chunk = serde_json::from_slice::<Chunk<'_>>(message.payload).ok();
    let data = chunk.and_then(|chunk| STANDARD.decode(chunk.bytes).ok());
    let data = data.ok_or_else(|| broken("The provider's stream holds a frame without an event."))?;
    let kind = serde_json::from_slice(&data).map(|Typed { kind }| kind).unwrap_or_default();
    for (start, text) in [(&b"event: "[..], kind.as_bytes()), (b"\ndata: ", &data)] {
        out.extend_from_slice(start);
        // A line of an event has no line breaks, and JSON needs none.
        out.extend(text.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    }
    out.extend_from_slice(b"\n\n");
    Ok(())
}

fn broken(message: &'static str) -> Error {
    Error::upstream(ErrorKind::Upstream, Retry::Elsewhere, message)
}

impl Transcoder for Framed {
    fn push(&mut self, bytes: &Bytes, out: &mut Vec<u8>) -> Result<()> {
        let mut events = Vec::new();
        let read = self.frames.push(bytes, |message| write_event(&message, &mut events));
        // The events before an exception are kept.
        if !events.is_empty() {
            self.inner.push(&events.into(), out)?;
        }
        read
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.frames.finish()?;
        self.inner.finish(out)
    }

    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        self.inner.fail(error, out);
    }

    fn progress(&self) -> &Progress {
        self.inner.progress()
    }

    fn has_begun(&self) -> bool {
        self.inner.has_begun()
    }

    fn poll_released(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Result<()>> {
        self.inner.poll_released(cx, out)
    }

    fn stored_answer(&mut self) -> Option<StoredAnswer> {
        self.inner.stored_answer()
    }

    fn proofs(&mut self) -> Option<Proofs> {
        self.inner.proofs()
    }
}
