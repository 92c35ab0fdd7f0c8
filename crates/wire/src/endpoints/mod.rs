//! Endpoints without a conversation: one request, one answer, and nothing in between that a model says piece by piece.
//!
//! A request of an endpoint is read once, as an [`EndpointRequest`]. For each provider that is tried it [writes](EndpointRequest::write)
//! a [`ProviderRequest`] in that provider's format, together with what reads the answer: an [`AnswerReader`]. The gateway sends the
//! parts and hands the answer back; it knows neither side's format.
//!
//! An answer that streams out is a [`Transcoder`], as in chat. A large form streams in: its fields are held and written anew, and the
//! rest of it follows [`Part::body`] as it comes.

pub mod batches;
pub mod embeddings;
pub mod media;
pub mod moderations;
pub mod rerank;

use std::borrow::Cow;

use bytes::Bytes;
use canon::{Error, Losses, Operation, Progress, Result};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use crate::intake::Asked;
use crate::multipart::Form;
use crate::{Headers, Protocol, Transcoder};
use embeddings::{EmbeddingsFormat, EmbeddingsRow};
use moderations::ModerationsRow;
use rerank::{RerankFormat, RerankRow};

/// A request as its caller wrote it.
pub trait EndpointRequest: Send + Sync {
    /// What is asked of a model.
    fn operation(&self) -> Operation;
    /// What routing, limits and metering ask.
    fn asked(&self) -> Asked<'_>;
    /// The request as a provider takes it. What it can not take at all is an error that names the field; what it takes otherwise
    /// is a loss.
    fn write(&self, target: EndpointTarget<'_>) -> Result<ProviderRequest>;
}

/// Whom a request is written for.
#[derive(Clone, Copy, Debug)]
pub struct EndpointTarget<'a> {
    /// The provider's own id of the model.
    pub model: &'a str,
    /// What is known of the model; the default where the catalog does not know it.
    pub facts: &'a EndpointFacts,
    /// How the provider serves the operations that it serves.
    pub rows: &'a OperationRows,
}

/// A request in a provider's format.
pub struct ProviderRequest {
    /// What is sent: more than one where the request is larger than the provider takes at a time.
    pub parts: Vec<Part>,
    /// What could not be carried as asked.
    pub losses: Losses,
    /// Reads what comes back.
    pub reader: Box<dyn AnswerReader>,
}

/// One HTTP request to a provider.
#[derive(Clone, Debug)]
pub struct Part {
    /// The path below the base URL, or the method behind the model where the provider's URLs name one. `{model}` stands for the model.
    pub path: Cow<'static, str>,
    /// Headers beside those of every call: the content type where it is not JSON.
    pub headers: Headers,
    /// The body.
    pub body: Bytes,
    /// Behind the body goes the rest of the caller's form, which is not held.
    pub goes_on: bool,
    /// The first of the caller's inputs that it holds: an error names it.
    pub first_input: usize,
}

/// Reads what a provider answers to one request.
pub trait AnswerReader: Send + Sync {
    /// Reads whole answers: one for each part, in the order of the parts.
    fn read(&self, parts: &[PartAnswer]) -> Result<EndpointAnswer>;
    /// The content type of the answer that the caller gets, by the provider's headers.
    fn content_type(&self, _headers: &HeaderMap) -> HeaderValue {
        HeaderValue::from_static("application/json")
    }
    /// What passes an answer on as it comes; none where it is read whole.
    fn transcoder(&self, _headers: &HeaderMap) -> Option<Box<dyn Transcoder>> {
        None
    }
    /// Reads an error answer: what it means, whether another try helps, and the provider's own words.
    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error;
    /// Largest answer to one part, in bytes.
    fn limit(&self) -> usize {
        8 << 20
    }
}

/// A good answer to one part.
#[derive(Debug)]
pub struct PartAnswer {
    /// Its headers: some providers count tokens there.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// An answer in the caller's format.
#[derive(Debug)]
pub struct EndpointAnswer {
    /// The body. To a JSON object the gateway adds its own.
    pub body: Vec<u8>,
    /// What is metered.
    pub progress: Progress,
    /// What of the answer could not be carried.
    pub losses: Losses,
}

/// How a provider serves operations beside chat: `[operations.NAME]` of its file. An operation that is absent is not served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OperationRows {
    /// Nobody converses with the provider's models.
    pub no_chat: bool,
    /// Embeddings.
    pub embeddings: Option<embeddings::EmbeddingsRow>,
    /// Rerank.
    pub rerank: Option<rerank::RerankRow>,
    /// Moderations.
    pub moderations: Option<moderations::ModerationsRow>,
    /// Speech from a text.
    pub speech: Option<media::MediaRow>,
    /// Images from a text.
    pub image_generations: Option<media::MediaRow>,
    /// Images from images.
    pub image_edits: Option<media::MediaRow>,
    /// The text of a recording.
    pub transcriptions: Option<media::MediaRow>,
    /// The text of a recording in English.
    pub translations: Option<media::MediaRow>,
    /// Files for batches.
    pub files: Option<batches::FilesRow>,
    /// Batches.
    pub batches: Option<batches::BatchesRow>,
}

impl OperationRows {
    /// Whether the operation is served.
    pub fn serves(&self, operation: Operation) -> bool {
        match operation {
            Operation::Chat | Operation::CountTokens => !self.no_chat,
            Operation::Embeddings => self.embeddings.is_some(),
            Operation::Rerank => self.rerank.is_some(),
            Operation::Moderations => self.moderations.is_some(),
            Operation::Speech => self.speech.is_some(),
            Operation::ImageGenerations => self.image_generations.is_some(),
            Operation::ImageEdits => self.image_edits.is_some(),
            Operation::Transcriptions => self.transcriptions.is_some(),
            Operation::Translations => self.translations.is_some(),
            Operation::Files => self.files.is_some(),
            Operation::Batches => self.batches.is_some(),
            // Whoever asks there names the provider, and not what a row says.
            Operation::Passthrough => false,
        }
    }

    /// What a provider of the operator's own that speaks this format in chat is taken to serve.
    pub fn usual(protocol: Protocol) -> Self {
        let format = match protocol {
            Protocol::OpenaiChat | Protocol::OpenaiResponses | Protocol::OpenaiCompletions => {
                EmbeddingsFormat::Openai
            }
            Protocol::Gemini => EmbeddingsFormat::Gemini,
            Protocol::CohereChat => EmbeddingsFormat::Cohere,
            Protocol::OllamaChat => EmbeddingsFormat::Ollama,
            Protocol::BedrockConverse => EmbeddingsFormat::Bedrock,
            Protocol::AnthropicMessages => return Self::default(),
        };
        let is_openai = format == EmbeddingsFormat::Openai;
        let media = is_openai.then(media::MediaRow::default);
        let rerank = match format {
            EmbeddingsFormat::Cohere => Some(RerankFormat::Cohere),
            EmbeddingsFormat::Bedrock => Some(RerankFormat::Bedrock),
            _ => is_openai.then_some(RerankFormat::Jina),
        };
        Self {
            embeddings: Some(EmbeddingsRow::of(format)),
            rerank: rerank.map(|format| RerankRow { format, ..RerankRow::default() }),
            moderations: is_openai.then(ModerationsRow::default),
            speech: media.clone(),
            image_generations: media.clone(),
            image_edits: media.clone(),
            transcriptions: media.clone(),
            translations: media,
            files: is_openai.then(batches::FilesRow::default),
            batches: is_openai.then(batches::BatchesRow::default),
            ..Self::default()
        }
    }
}

/// What is known of a model beside what conversations ask of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointFacts {
    /// Of a model that embeds.
    pub embedding: embeddings::EmbeddingFacts,
    /// Of a model that makes images.
    pub image: media::ImageFacts,
}

/// Reads a request with a JSON body.
pub fn read(operation: Operation, body: &Bytes) -> Result<Box<dyn EndpointRequest>> {
    match operation {
        Operation::Embeddings => Ok(Box::new(embeddings::EmbeddingsRequest::read(body)?)),
        Operation::Rerank => Ok(Box::new(rerank::RerankRequest::read(body)?)),
        Operation::Moderations => Ok(Box::new(moderations::ModerationsRequest::read(body)?)),
        Operation::Speech => Ok(Box::new(media::SpeechRequest::read(body)?)),
        Operation::ImageGenerations | Operation::ImageEdits => {
            Ok(Box::new(media::ImagesRequest::read(operation, body)?))
        }
        Operation::Transcriptions | Operation::Translations => {
            let message = format!("{} takes a form; send multipart/form-data.", operation.route());
            Err(Error::caller(canon::ErrorKind::UnsupportedMedia, message).at("content-type"))
        }
        _ => Err(Error::caller(canon::ErrorKind::NotFound, "This operation is not served.")),
    }
}

/// Whether a request of the operation may be a form.
pub fn takes_forms(operation: Operation) -> bool {
    matches!(operation, Operation::ImageEdits | Operation::Transcriptions | Operation::Translations)
}

/// Reads a request that is a form. Of a form that is not [whole](Form::is_whole) the rest passes as it comes.
pub fn read_form(operation: Operation, form: Form) -> Result<Box<dyn EndpointRequest>> {
    Ok(Box::new(media::FormRequest::read(operation, form)?))
}
