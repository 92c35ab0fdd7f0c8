//! Audio and images of OpenAI's API: speech, transcripts, translations of recordings, images and image edits.
//!
//! Providers of that format get the caller's request with their own name of the model, and their answers pass
//! unchanged. The differences of a provider's fields are data of its row.

mod condense;
mod form;
mod google;
mod images;
mod length;
mod meter;
mod native;
mod pictures;
mod reader;
mod recordings;
mod relay;
mod shape;
mod speech;
mod transcript;
mod voices;

use std::borrow::Cow;

use canon::{Losses, Operation};
use serde::{Deserialize, Serialize};

use crate::intake::Intake;
use crate::json::Edit;

pub use condense::condensed;
pub use form::FormRequest;
pub use images::ImagesRequest;
pub use speech::SpeechRequest;

/// How a provider serves one of these operations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MediaRow {
    /// The format of requests and answers.
    pub format: MediaFormat,
    /// The path below the base URL, where it is not OpenAI's.
    pub path: Option<String>,
    /// How the size of an image is requested.
    pub size: SizeField,
    /// The provider's value for `b64_json` in `response_format`, where it differs.
    pub base64_word: Option<String>,
    /// Hints that the provider refuses: they are dropped as losses.
    pub drop: Vec<String>,
    /// Images come back in base64 only, whatever `response_format` asks, and never as a stream.
    pub base64_only: bool,
    /// Lists in forms have no brackets: `timestamp_granularities` in place of `timestamp_granularities[]`.
    pub plain_lists: bool,
}

/// The format of requests and answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MediaFormat {
    #[default]
    Openai,
    /// ElevenLabs': the voice is in the path, and a transcript has words.
    Elevenlabs,
    /// Mistral's: audio is in JSON, and a transcript is always JSON.
    Mistral,
    /// Google's generateContent.
    Gemini,
    /// Stability's on Bedrock: one image for each request.
    Stability,
    /// FLUX at Fireworks: the answer is the image. FLUX Kontext has [its own](Self::Kontext).
    Fireworks,
    /// FLUX Kontext at Fireworks: the image is made in the background, and the answer is its URL.
    Kontext,
    /// Deepgram's: options are in the query, a recording is the body, and a model is a voice.
    Deepgram,
    /// xAI's: speech, and edits in JSON with the images as URLs.
    Xai,
    /// Together's edits: images with references in the body.
    Together,
    /// OpenRouter's: recordings in JSON, and edits by `input_references`.
    Openrouter,
}

/// How a provider takes the size of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SizeField {
    /// `size`, as OpenAI has it.
    #[default]
    Size,
    WidthHeight,
    /// `aspect_ratio`: the nearest known one.
    AspectRatio,
}

/// Facts of an image model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageFacts {
    /// It returns only base64, never URLs, and refuses `response_format`.
    pub base64_only: bool,
}

impl MediaFormat {
    /// All formats.
    pub const ALL: [Self; 11] = [
        Self::Openai,
        Self::Elevenlabs,
        Self::Mistral,
        Self::Gemini,
        Self::Stability,
        Self::Fireworks,
        Self::Kontext,
        Self::Deepgram,
        Self::Xai,
        Self::Together,
        Self::Openrouter,
    ];

    /// Whether images are requested in a format other than OpenAI's.
    fn is_of_pictures(self) -> bool {
        use MediaFormat::{Fireworks, Gemini, Kontext, Openrouter, Stability, Together, Xai};
        matches!(self, Gemini | Stability | Fireworks | Kontext | Xai | Together | Openrouter)
    }

    /// The format for a model, where it depends on the model's family.
    fn of_model(self, model: &str) -> Self {
        match self {
            Self::Fireworks if model.contains("kontext") => Self::Kontext,
            other => other,
        }
    }

    /// Whether a form of this operation becomes something else, such as JSON.
    pub(super) fn takes_whole_forms(self, operation: Operation) -> bool {
        match operation {
            Operation::ImageEdits => self.is_of_pictures(),
            _ => matches!(self, Self::Deepgram | Self::Openrouter),
        }
    }
}

impl MediaRow {
    fn path(&self, usual: &'static str) -> Cow<'static, str> {
        self.path.clone().map_or(usual.into(), Into::into)
    }
}

/// The caller's body with the provider's name of the model, without fields that only the gateway reads.
fn forwarded<'a>(intake: &'a Intake, row: &MediaRow, model: &str, losses: &mut Losses) -> Edit<'a> {
    let mut edit = intake.addressed_to(model);
    intake.leave_out_nulls(&mut edit);
    for name in &row.drop {
        if edit.remove(name) {
            losses.dropped(name.clone(), "The provider has no such field.");
        }
    }
    edit
}
