//! Answers in pieces, for the tests of each format.

use canon::{Error, Event};
use wire::{Adapter, DecoderContext};

/// The events of an answer that arrives in these pieces, and how it ended.
pub fn decode<'a>(
    adapter: &dyn Adapter,
    streaming: bool,
    decoding: &DecoderContext,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Event>, Result<(), Error>) {
    let mut decoder = adapter.decoder(streaming, decoding);
    let mut events = Vec::new();
    for piece in pieces {
        if let Err(error) = decoder.push(piece, &mut events) {
            return (events, Err(error));
        }
    }
    let end = decoder.finish(&mut events);
    (events, end)
}
