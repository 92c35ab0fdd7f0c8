//! Endpoints without a conversation: one request, one answer, and no events.
//!
//! A request of an endpoint is read once, as an [`EndpointRequest`]. For each attempt it
//! [writes](EndpointRequest::write) a [`ProviderRequest`] in the provider's format, with the [`AnswerReader`]
//! for the answer. The gateway sends the parts and returns the answer; it knows neither side's format.
//!
//! A streamed answer is a [`Transcoder`], as in chat. A large form is streamed in: its fields are buffered
//! and rewritten, and the rest follows [`Part::body`] as it arrives.

pub mod batches;
pub mod embeddings;
pub mod media;
pub mod moderations;
pub mod rerank;

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use canon::{Error, Losses, Operation, Progress, Result};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use crate::intake::RequestFacts;
use crate::json::Object;
use crate::multipart::Form;
use crate::protocols::openai_chat::error_in;
use crate::{Headers, Protocol, Transcoder};
use embeddings::{EmbeddingsFormat, EmbeddingsRow};
use moderations::ModerationsRow;
use rerank::{RerankFormat, RerankRow};

/// A longer answer is no error.
const LARGEST_ERROR: usize = 64 << 10;

/// A request as the caller wrote it.
pub trait EndpointRequest: Send + Sync {
    /// The requested operation.
    fn operation(&self) -> Operation;
    /// The facts that routing, limits and metering need.
    fn facts(&self) -> RequestFacts<'_>;
    /// The request in a provider's format. A part that the provider cannot take is an error that names the
    /// field; a part that it takes in another form is a loss.
    fn write(&self, target: EndpointTarget<'_>) -> Result<ProviderRequest>;
}

/// The model and the provider that a request is written for.
#[derive(Clone, Copy, Debug)]
pub struct EndpointTarget<'a> {
    /// The provider's own id of the model.
    pub model: &'a str,
    /// The default where the catalog does not know the model.
    pub facts: &'a EndpointFacts,
    /// How the provider serves its operations.
    pub rows: &'a OperationRows,
}

/// A request in a provider's format.
pub struct ProviderRequest {
    /// The requests to send: several where the caller's request is larger than the provider takes at once.
    pub parts: Vec<Part>,
    /// Fields that could not be carried as requested.
    pub losses: Losses,
    /// Reads the answer.
    pub reader: Box<dyn AnswerReader>,
}

/// One HTTP request to a provider.
#[derive(Clone, Debug)]
pub struct Part {
    /// The path below the base URL, or the method after the model where the provider's URLs name a model.
    /// `{model}` is replaced by the model.
    pub path: Cow<'static, str>,
    /// Headers besides those of every call: the content type where it is not JSON.
    pub headers: Headers,
    pub body: Bytes,
    /// The rest of the caller's form, which is not buffered, follows the body.
    pub goes_on: bool,
    /// The index of the first of the caller's inputs in this part, for error messages.
    pub first_input: usize,
}

/// Reads a provider's answer to one request.
pub trait AnswerReader: Send + Sync {
    /// Reads whole answers: one per part, in the order of the parts.
    fn read(&self, parts: &[PartAnswer]) -> Result<EndpointAnswer>;
    /// The content type of the caller's answer, from the provider's headers.
    fn content_type(&self, _headers: &HeaderMap) -> HeaderValue {
        HeaderValue::from_static("application/json")
    }
    /// Passes an answer on as it arrives; none where it is read whole.
    fn transcoder(&self, _headers: &HeaderMap) -> Option<Box<dyn Transcoder>> {
        None
    }
    /// The request that asks for the answer, where it is made in the background and `last` does not have it
    /// yet. `first` is the answer to the part.
    fn follow_up(&self, _first: &PartAnswer, _last: &PartAnswer) -> Result<Option<FollowUp>> {
        Ok(None)
    }
    /// Reads an error answer: its kind, whether a retry can help, and the provider's message.
    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error;
    /// Largest answer to one part, in bytes.
    fn limit(&self) -> usize {
        8 << 20
    }
}

/// Bedrock reports token counts here, also for models whose answers have none. Readers of answers that
/// may be cached read no other header.
pub(crate) const TOKENS_HEADER: &str = "x-amzn-bedrock-input-token-count";

/// Asks for an answer that is made in the background.
#[derive(Clone, Debug)]
pub struct FollowUp {
    /// The request.
    pub part: Part,
    /// When to send it.
    pub after: Duration,
}

/// A good answer to one part.
#[derive(Clone, Debug)]
pub struct PartAnswer {
    /// Its headers: some providers count tokens there.
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// An answer in the caller's format.
#[derive(Debug)]
pub struct EndpointAnswer {
    /// The body. The gateway adds its own object to a JSON object.
    pub body: Vec<u8>,
    /// The facts for metering.
    pub progress: Progress,
    /// Parts of the answer that could not be carried.
    pub losses: Losses,
}

/// How a provider serves operations other than chat: `[operations.NAME]` of its file. Operations without a
/// table are not served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OperationRows {
    /// The provider's models have no chat.
    pub no_chat: bool,
    pub embeddings: Option<embeddings::EmbeddingsRow>,
    pub rerank: Option<rerank::RerankRow>,
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
    pub files: Option<batches::FilesRow>,
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
            // The caller of such a request names the provider: no row applies.
            Operation::Passthrough => false,
        }
    }

    /// Whether forms of the operation are written in another format, for which the whole form is required.
    pub fn takes_whole_forms(&self, operation: Operation) -> bool {
        let row = match operation {
            Operation::ImageEdits => &self.image_edits,
            Operation::Transcriptions => &self.transcriptions,
            Operation::Translations => &self.translations,
            _ => return false,
        };
        row.as_ref().is_some_and(|row| row.format.takes_whole_forms(operation))
    }

    /// The assumed operations of an operator's own provider that speaks this format in chat.
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

/// Facts of a model for operations other than conversations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointFacts {
    /// Of an embedding model.
    pub embedding: embeddings::EmbeddingFacts,
    /// Of an image model.
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
            let message = format!("{} requires a form; send multipart/form-data.", operation.route());
            Err(Error::caller(canon::ErrorKind::UnsupportedMedia, message).at("content-type"))
        }
        _ => Err(Error::caller(canon::ErrorKind::NotFound, "This operation is not served.")),
    }
}

/// Reads whole answers to these parts. Some hosts report an error with a status of success: the error is then
/// theirs.
pub fn read_answers(
    reader: &dyn AnswerReader,
    parts: &[Part],
    answers: &[PartAnswer],
) -> Result<EndpointAnswer> {
    reader.read(answers).map_err(|unreadable| {
        let failures =
            answers.iter().zip(parts).find_map(|(answer, part)| Some((reported_error(answer)?, part)));
        match failures {
            Some((error, part)) if parts.len() > 1 => of_part(error, part.first_input),
            Some((error, _)) => error,
            None => unreadable,
        }
    })
}

fn reported_error(answer: &PartAnswer) -> Option<Error> {
    let object = (answer.body.len() <= LARGEST_ERROR).then(|| Object::parse(&answer.body)).flatten()?;
    error_in(&object)
}

/// The error of one of several parts, with the place of its first input.
pub fn of_part(mut error: Error, first_input: usize) -> Error {
    error.message =
        format!("In the part of the input that begins at input[{first_input}]: {}", error.message).into();
    error
}

/// Whether a request of the operation may be a form.
pub fn takes_forms(operation: Operation) -> bool {
    matches!(operation, Operation::ImageEdits | Operation::Transcriptions | Operation::Translations)
}

/// Reads a request that is a form. The rest of a form that is not [whole](Form::is_whole) passes as it
/// arrives.
pub fn read_form(operation: Operation, form: Form) -> Result<Box<dyn EndpointRequest>> {
    Ok(Box::new(media::FormRequest::read(operation, form)?))
}
