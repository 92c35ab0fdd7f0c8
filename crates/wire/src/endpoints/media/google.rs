//! Images and audio in answers of Google's generateContent.

use std::borrow::Cow;

use canon::Usage;
use serde::{Deserialize, Deserializer};

use crate::json::List;

/// The parts of an answer that concern media.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, bound = "")]
pub struct Generated<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    candidates: Vec<Candidate<'a>>,
    #[serde(borrow, deserialize_with = "or_default")]
    prompt_feedback: Feedback<'a>,
    #[serde(deserialize_with = "or_default")]
    usage_metadata: Option<Counts>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Candidate<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    content: Content<'a>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Content<'a> {
    #[serde(borrow)]
    parts: List<'a, Part<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Part<'a> {
    /// A draft.
    thought: Option<bool>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    inline_data: Option<Media<'a>>,
}

/// An image or audio.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Media<'a> {
    #[serde(borrow, default)]
    pub mime_type: Cow<'a, str>,
    /// Its bytes in base64.
    #[serde(borrow)]
    pub data: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Feedback<'a> {
    #[serde(borrow)]
    block_reason: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Counts {
    prompt_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
    #[serde(deserialize_with = "or_default")]
    prompt_tokens_details: Vec<Detail>,
    #[serde(deserialize_with = "or_default")]
    candidates_tokens_details: Vec<Detail>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Detail {
    modality: String,
    token_count: u64,
}

/// Providers leave empty fields out, or make them null.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    value: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(value).map(Option::unwrap_or_default)
}

impl<'a> Generated<'a> {
    /// The parts of all candidates, without drafts.
    fn parts(&self) -> impl Iterator<Item = serde_json::Result<Part<'a>>> {
        let parts = self.candidates.iter().flat_map(|candidate| candidate.content.parts.iter());
        parts.filter(|part| part.as_ref().map_or(true, |part| part.thought != Some(true)))
    }

    /// The media of all candidates.
    pub fn media(&self) -> serde_json::Result<Vec<Media<'a>>> {
        self.parts().filter_map(|part| part.map(|part| part.inline_data).transpose()).collect()
    }

    /// Why there are no media: why the prompt was blocked, how the answer ended, or the question that the
    /// model asks back.
    pub fn refusal(&self) -> Option<String> {
        let blocked = self.prompt_feedback.block_reason.as_deref();
        let ended = self.candidates.iter().find_map(|candidate| candidate.finish_reason.as_deref());
        let said = || self.parts().find_map(|part| part.ok()?.text);
        let known = blocked.or(ended.filter(|word| *word != "STOP"));
        known.map(str::to_owned).or_else(|| said().map(Cow::into_owned))
    }

    /// The tokens of images in the prompt.
    pub fn image_input(&self) -> u64 {
        self.usage_metadata.as_ref().map_or(0, |counts| of(&counts.prompt_tokens_details, "IMAGE"))
    }

    pub fn usage(&self) -> Option<Usage> {
        let counts = self.usage_metadata.as_ref()?;
        let prompt = counts.prompt_token_count?;
        let cached = counts.cached_content_token_count.unwrap_or_default().min(prompt);
        let made = counts.candidates_token_count.unwrap_or_default();
        let image = of(&counts.candidates_tokens_details, "IMAGE").min(made);
        let audio = of(&counts.candidates_tokens_details, "AUDIO").min(made - image);
        let thoughts = counts.thoughts_token_count.unwrap_or_default();
        let usage = Usage {
            input: prompt - cached,
            cache_read: cached,
            output: made - image - audio + thoughts,
            image_output: image,
            audio_output: audio,
            reasoning: thoughts,
            ..Usage::default()
        };
        usage.is_plausible().then_some(usage)
    }
}

/// The sum of a modality's tokens.
fn of(details: &[Detail], modality: &str) -> u64 {
    details
        .iter()
        .filter(|detail| detail.modality == modality)
        .fold(0, |sum, detail| sum.saturating_add(detail.token_count))
}
