//! The provider side.

use canon::{Error, Request, Result, Source, Target};
use http::{HeaderMap, StatusCode};

use super::{OpenaiResponses, answer, errors, request};
use crate::{Adapter, Decoder, DecoderContext, Encoded};

impl Adapter for OpenaiResponses {
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

    /// The API fetches web URLs itself.
    fn wants_bytes(&self, media: &canon::Media, target: Target<'_>) -> bool {
        matches!(media.source, Source::Url(_)) && target.quirks.no_media_urls
    }

    fn read_token_count(&self, body: &[u8]) -> Option<u64> {
        #[derive(serde::Deserialize)]
        struct Count {
            input_tokens: u64,
        }
        serde_json::from_slice::<Count>(body).ok().map(|count| count.input_tokens)
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        errors::read(status, headers, body)
    }
}
