//! The provider side.

use canon::{Error, Request, Result, Target};
use http::{HeaderMap, StatusCode};

use super::{AnthropicMessages, answer, errors, listing, request};
use crate::{Adapter, Decoder, DecoderContext, Encoded};

impl Adapter for AnthropicMessages {
    fn encode_request(&self, request: &Request, target: Target<'_>) -> Result<Encoded> {
        request::write::request(request, target)
    }

    fn decoder(&self, streaming: bool, decoding: &DecoderContext) -> Box<dyn Decoder> {
        if streaming {
            Box::new(answer::read::StreamDecoder::new(decoding))
        } else {
            answer::read::whole(decoding)
        }
    }

    fn read_token_count(&self, body: &[u8]) -> Option<u64> {
        listing::token_count(body)
    }

    /// The API fetches `https` itself; Claude elsewhere takes bytes.
    fn wants_bytes(&self, media: &canon::Media, target: Target<'_>) -> bool {
        let canon::Source::Url(url) = &media.source else { return false };
        target.quirks.no_media_urls || !url.starts_with("https://")
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        errors::decode(status, headers, body)
    }
}
