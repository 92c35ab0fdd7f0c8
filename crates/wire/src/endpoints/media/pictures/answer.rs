//! Answers with images in the formats of their providers, written in OpenAI's.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use canon::write::{push_array, push_key, push_text};
use canon::{Amount, Error, ErrorKind, Losses, Operation, Progress, Result, Retry, Unit, Usage};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::endpoints::media::MediaFormat;
use crate::endpoints::media::google::Generated;
use crate::endpoints::media::shape::{counted, seconds};
use crate::endpoints::{AnswerReader, EndpointAnswer, PartAnswer};
use crate::{Protocol, adapter};

/// Size limit: one image of 4K, in base64.
const IMAGE: usize = 40 << 20;

/// Reads the answers to one request: each answer has an image.
#[derive(Debug)]
pub struct PicturesReader {
    /// The provider's format.
    pub format: MediaFormat,
    /// The requested operation.
    pub operation: Operation,
    /// The caller requested a stream.
    pub is_stream: bool,
}

/// The images of one answer, and its usage.
#[derive(Default)]
struct Pictures<'a> {
    /// In base64.
    images: Vec<Cow<'a, str>>,
    media_type: Option<Cow<'a, str>>,
    usage: Option<Usage>,
    /// The tokens of images in the prompt.
    image_input: u64,
    /// Why there are no images.
    refused: Option<String>,
}

#[derive(Deserialize)]
struct Stability<'a> {
    #[serde(borrow, default)]
    images: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    finish_reasons: Vec<Option<Cow<'a, str>>>,
}

#[derive(Deserialize)]
struct Fireworks<'a> {
    #[serde(borrow, default)]
    base64: Vec<Cow<'a, str>>,
    #[serde(borrow, default, rename = "finishReason")]
    finish_reason: Option<Cow<'a, str>>,
}

impl<'a> Pictures<'a> {
    fn read(format: MediaFormat, answer: &'a PartAnswer) -> Option<Self> {
        match format {
            MediaFormat::Gemini => Self::of_gemini(&answer.body),
            MediaFormat::Stability => {
                let read: Stability<'a> = serde_json::from_slice(&answer.body).ok()?;
                // A filtered image is present, but blurred.
                let refused = read.finish_reasons.into_iter().flatten().next().map(Cow::into_owned);
                let images = if refused.is_some() { Vec::new() } else { read.images };
                Some(Self { images, refused, ..Self::default() })
            }
            _ => Self::of_fireworks(answer),
        }
    }

    fn of_gemini(body: &'a [u8]) -> Option<Self> {
        let read: Generated<'a> = serde_json::from_slice(body).ok()?;
        let (usage, refused) = (read.usage(), read.refusal());
        let mut pictures = Self { usage, refused, image_input: read.image_input(), ..Self::default() };
        for media in read.media().ok()? {
            pictures.media_type = Some(media.mime_type);
            pictures.images.push(media.data);
        }
        Some(pictures)
    }

    /// The body is the image itself, or JSON with the image.
    fn of_fireworks(answer: &'a PartAnswer) -> Option<Self> {
        let kind = answer.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.starts_with("image/") {
            let media_type = Some(super::media_type(&answer.body).into());
            let images = vec![STANDARD.encode(&answer.body).into()];
            return Some(Self { images, media_type, ..Self::default() });
        }
        let read: Fireworks<'a> = serde_json::from_slice(&answer.body).ok()?;
        let refused = read.finish_reason.filter(|reason| reason != "SUCCESS").map(Cow::into_owned);
        let bare = |image: Cow<'a, str>| match image.split_once(";base64,") {
            Some((_, base64)) => base64.to_owned().into(),
            None => image,
        };
        Some(Self { images: read.base64.into_iter().map(bare).collect(), refused, ..Self::default() })
    }
}

impl AnswerReader for PicturesReader {
    fn read(&self, parts: &[PartAnswer]) -> Result<EndpointAnswer> {
        let mut images: Vec<Cow<'_, str>> = Vec::new();
        let (mut usage, mut refused, mut media_type) = (None::<Usage>, None, None);
        let mut image_input = 0;
        for part in parts {
            let broken = || {
                let message = "The provider's answer is not in its own format.";
                Error::upstream(ErrorKind::Upstream, Retry::Elsewhere, message)
            };
            let read = Pictures::read(self.format, part).ok_or_else(broken)?;
            images.extend(read.images);
            refused = refused.or(read.refused);
            media_type = media_type.or(read.media_type.map(Cow::into_owned));
            image_input += read.image_input;
            if let Some(read) = read.usage {
                *usage.get_or_insert_default() += read;
            }
        }
        if images.is_empty() {
            return Err(no_image(refused));
        }
        let count = images.len() as u64;
        let progress = Progress {
            content_started: true,
            finished: true,
            usage,
            amount: Some(Amount { unit: Unit::Image, count }),
            ..Progress::default()
        };
        let created = parts.first().map_or(0, |part| seconds(&part.headers));
        let mut about = json!({ "created": created });
        if let Some(format) = media_type.as_deref().and_then(|kind| kind.strip_prefix("image/")) {
            about["output_format"] = format.into();
        }
        if let Some(usage) = usage {
            about["usage"] = counted(&usage, image_input);
        }
        let body =
            if self.is_stream { self.events(&about, &images) } else { whole(&about, "b64_json", &images) };
        Ok(EndpointAnswer { body, progress, losses: Losses::new() })
    }

    fn content_type(&self, _: &HeaderMap) -> HeaderValue {
        HeaderValue::from_static(if self.is_stream { "text/event-stream" } else { "application/json" })
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        let protocol = match self.format {
            MediaFormat::Gemini => Protocol::Gemini,
            MediaFormat::Stability => Protocol::BedrockConverse,
            _ => Protocol::OpenaiChat,
        };
        adapter(protocol).decode_error(status, headers, body)
    }

    fn limit(&self) -> usize {
        IMAGE
    }
}

impl PicturesReader {
    /// One event per image, for providers that have no streams.
    fn events(&self, about: &Value, images: &[Cow<'_, str>]) -> Vec<u8> {
        let is_edit = self.operation == Operation::ImageEdits;
        let kind = if is_edit { "image_edit.completed" } else { "image_generation.completed" };
        let last = images.len().saturating_sub(1);
        let mut out = Vec::new();
        for (index, image) in images.iter().enumerate() {
            let mut event = json!({
                "type": kind, "b64_json": image, "created_at": about["created"],
                "output_format": about["output_format"]
            });
            // The counts are those of all images, so only one event has them: readers add the counts of
            // events.
            if index == last && about.get("usage").is_some() {
                event["usage"] = about["usage"].clone();
            }
            out.extend_from_slice(format!("event: {kind}\ndata: {event}\n\n").as_bytes());
        }
        out
    }
}

/// The members of `about`, and the images: each in the member `name`.
pub(super) fn whole(about: &Value, name: &str, images: &[Cow<'_, str>]) -> Vec<u8> {
    let mut out = about.to_string().into_bytes();
    let _brace = out.pop();
    push_key(&mut out, "data");
    push_array(&mut out, images, |image, out| {
        out.push(b'{');
        push_text(out, name, image);
        out.push(b'}');
    });
    out.push(b'}');
    out
}

pub(super) fn no_image(refused: Option<String>) -> Error {
    match refused {
        Some(reason) => {
            let reason: String = reason.chars().take(200).collect();
            let message = format!("The provider made no image of this prompt ({reason}).");
            Error::upstream(ErrorKind::ContentFilter, Retry::No, message)
        }
        None => {
            let message = "The provider's answer has no image.";
            Error::upstream(ErrorKind::Upstream, Retry::Elsewhere, message)
        }
    }
}
