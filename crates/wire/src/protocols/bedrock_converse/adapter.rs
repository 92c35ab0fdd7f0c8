//! The provider side.

use canon::{Error, Request, Result, Target};
use http::{HeaderMap, StatusCode};

use super::{BedrockConverse, answer, errors, request};
use crate::{Adapter, Decoder, DecoderContext, Encoded};

impl Adapter for BedrockConverse {
    fn encode_request(&self, request: &Request, target: Target<'_>) -> Result<Encoded> {
        request::write::request(request, target)
    }

    fn wants_bytes(&self, media: &canon::Media, _target: Target<'_>) -> bool {
        matches!(&media.source, canon::Source::Url(url) if !url.starts_with("s3://"))
    }

    fn decoder(&self, streaming: bool, decoding: &DecoderContext) -> Box<dyn Decoder> {
        if streaming {
            Box::new(answer::read::StreamDecoder::new(decoding))
        } else {
            answer::read::whole(decoding)
        }
    }

    fn read_token_count(&self, body: &[u8]) -> Option<u64> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Count {
            input_tokens: u64,
        }
        serde_json::from_slice::<Count>(body).ok().map(|count| count.input_tokens)
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        errors::decode(status, headers, body)
    }
}
