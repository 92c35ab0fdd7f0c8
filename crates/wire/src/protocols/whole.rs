//! Whole answers, read when they are complete.

use canon::{Error, ErrorKind, Result, Retry};

use crate::{Decoder, EventSink, json};

/// Largest whole answer, in bytes.
pub(crate) const ANSWER_LIMIT: usize = 256 << 20;

/// Reads a whole answer of one format.
pub(crate) trait WholeReader: Send {
    /// Turns the complete answer into events. A reader that makes values of its own frees the body before the first event.
    fn read_whole(&mut self, body: Vec<u8>, events: &mut dyn EventSink) -> Result<()>;
}

/// Collects a whole answer and reads it once it is complete.
pub(crate) struct WholeDecoder<A> {
    body: Vec<u8>,
    answer: A,
}

impl<A: WholeReader> WholeDecoder<A> {
    pub(crate) fn new(answer: A) -> Self {
        Self { body: Vec::new(), answer }
    }
}

impl<A: WholeReader> Decoder for WholeDecoder<A> {
    fn push(&mut self, bytes: &[u8], _events: &mut dyn EventSink) -> Result<()> {
        check_size(self.body.len() + bytes.len())?;
        json::append(&mut self.body, bytes);
        Ok(())
    }

    fn finish(&mut self, events: &mut dyn EventSink) -> Result<()> {
        self.answer.read_whole(std::mem::take(&mut self.body), events)
    }
}

/// Refuses a whole answer that is larger than any valid one.
pub(crate) fn check_size(bytes: usize) -> Result<()> {
    if bytes <= ANSWER_LIMIT {
        return Ok(());
    }
    Err(Error::upstream(ErrorKind::Upstream, Retry::Again, "The provider's answer is too large."))
}
