//! The billed quantities of an answer: tokens as counted by the provider, images, characters.

use canon::{Amount, Operation, Progress, Unit, Usage};
use serde::Deserialize;

/// The measures of an answer. The price list decides which one is billed.
#[derive(Clone, Debug)]
pub struct Meter {
    pub operation: Operation,
    /// The number of spoken characters.
    pub characters: u64,
    /// The duration of the recording in milliseconds, where its bytes contain it: used when the answer has
    /// none.
    pub milliseconds: Option<u64>,
}

/// The metered fields of an event or an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metered {
    #[serde(rename = "type")]
    kind: Option<String>,
    model: Option<String>,
    usage: Option<Counts>,
    data: Option<Vec<serde::de::IgnoredAny>>,
    /// The duration of a recording. Some providers send it as text.
    duration: Option<Seconds>,
    error: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    /// The billed duration of a recording.
    #[serde(alias = "prompt_audio_seconds")]
    seconds: Option<Seconds>,
    // OpenAI uses one of them for images and the other for audio.
    #[serde(alias = "input_token_details", alias = "prompt_tokens_details")]
    input_tokens_details: Option<Details>,
    #[serde(alias = "output_token_details", alias = "completion_tokens_details")]
    output_tokens_details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    image_tokens: Option<u64>,
    audio_tokens: Option<u64>,
    cached_tokens: Option<u64>,
}

/// A duration: a number, or a text with one.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(from = "NumberOrText")]
struct Seconds(Option<f64>);

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(f64),
    Text(String),
    Other(serde::de::IgnoredAny),
}

impl From<NumberOrText> for Seconds {
    fn from(read: NumberOrText) -> Self {
        Self(match read {
            NumberOrText::Number(number) => Some(number),
            NumberOrText::Text(text) => text.trim().parse().ok(),
            NumberOrText::Other(_) => None,
        })
    }
}

impl Seconds {
    /// In thousandths; none for an impossible duration.
    fn milliseconds(self) -> Option<u64> {
        let seconds = self.0.filter(|seconds| (0.0..1e8).contains(seconds))?;
        Some((seconds * 1000.0).round() as u64)
    }
}

/// The meaning of an event for its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventEffect {
    /// The stream goes on.
    More,
    /// It is the last one, or may be.
    Last,
    /// The provider reports a failure.
    Failed,
}

impl Meter {
    /// The measures that are known before the answer.
    pub fn start(&self, progress: &mut Progress) {
        progress.amount = match self.operation {
            Operation::Speech => Some(Amount { unit: Unit::Character, count: self.characters }),
            _ => self.milliseconds.map(|count| Amount { unit: Unit::Millisecond, count }),
        };
    }

    /// Reads a whole answer, without its long strings.
    pub fn answer(&self, json: &[u8], progress: &mut Progress) {
        let Ok(read) = serde_json::from_slice::<Metered>(json) else { return };
        if let (true, Some(data)) = (self.makes_images(), &read.data) {
            progress.amount = Some(Amount { unit: Unit::Image, count: data.len() as u64 });
        }
        self.take(read, progress);
    }

    /// Reads subtitles: the end time of the last line is the duration.
    pub fn subtitles(&self, text: &[u8], progress: &mut Progress) {
        if !self.hears() {
            return;
        }
        let end = memchr::memmem::rfind(text, b"-->").and_then(|at| timestamp(&text[at + 3..]));
        let heard = end.map(|count| Amount { unit: Unit::Millisecond, count });
        progress.amount = heard.or(progress.amount);
    }

    /// Reads an event of a stream, without its long strings.
    pub fn event(&self, json: &[u8], progress: &mut Progress) -> EventEffect {
        let Ok(read) = serde_json::from_slice::<Metered>(json) else { return EventEffect::More };
        let meaning = match read.kind.as_deref() {
            Some("error") => EventEffect::Failed,
            _ if read.error.is_some() => EventEffect::Failed,
            Some("speech.audio.done" | "transcript.text.done") => EventEffect::Last,
            Some("image_generation.completed" | "image_edit.completed") => {
                let before = progress.amount.map_or(0, |amount| amount.count);
                progress.amount = Some(Amount { unit: Unit::Image, count: before + 1 });
                EventEffect::Last
            }
            _ => EventEffect::More,
        };
        self.take(read, progress);
        meaning
    }

    fn hears(&self) -> bool {
        matches!(self.operation, Operation::Transcriptions | Operation::Translations)
    }

    fn makes_images(&self) -> bool {
        matches!(self.operation, Operation::ImageGenerations | Operation::ImageEdits)
    }

    fn take(&self, read: Metered, progress: &mut Progress) {
        progress.model = read.model.or(progress.model.take());
        let counts = read.usage.unwrap_or_default();
        if self.hears() {
            // The billed duration is rounded, the other is exact.
            let billed = counts.seconds.and_then(Seconds::milliseconds);
            let heard = billed.or_else(|| read.duration.and_then(Seconds::milliseconds));
            let amount = heard.map(|count| Amount { unit: Unit::Millisecond, count });
            progress.amount = amount.or(progress.amount);
        }
        let Some(usage) = self.usage(&counts).filter(Usage::is_plausible) else { return };
        progress.usage = Some(match (self.makes_images(), progress.usage) {
            // In a stream of several images each event has its own tokens.
            (true, Some(before)) => Usage {
                input: before.input.max(usage.input),
                output: before.output + usage.output,
                image_output: before.image_output + usage.image_output,
                ..usage
            },
            _ => usage,
        });
    }

    fn usage(&self, counts: &Counts) -> Option<Usage> {
        let input = counts.input_tokens.or(counts.prompt_tokens)?;
        let output = counts.output_tokens.or(counts.completion_tokens).unwrap_or_default();
        let of = |details: &Option<Details>, part: fn(&Details) -> Option<u64>| {
            details.as_ref().and_then(part).unwrap_or_default()
        };
        let heard = of(&counts.input_tokens_details, |details| details.audio_tokens).min(input);
        let cached = of(&counts.input_tokens_details, |details| details.cached_tokens).min(input - heard);
        let text_in = input - heard - cached;
        let base = Usage { input: text_in, cache_read: cached, audio_input: heard, ..Usage::default() };
        Some(match self.operation {
            Operation::Speech => Usage { audio_output: output, ..base },
            _ if self.makes_images() => {
                // Without details all output tokens are image tokens.
                let images = match &counts.output_tokens_details {
                    Some(details) => details.image_tokens.unwrap_or(output).min(output),
                    None => output,
                };
                Usage { image_output: images, output: output - images, ..base }
            }
            _ => Usage { output, ..base },
        })
    }
}

/// `00:01:02,345` of SRT, `01:02.345` of VTT, in milliseconds.
fn timestamp(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii_start();
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    let text = str::from_utf8(&text[..end]).ok()?.replace(',', ".");
    let parts = text.split(':').map(|part| part.parse::<f64>().ok());
    let seconds = parts.collect::<Option<Vec<_>>>()?.into_iter().fold(0.0, |sum, part| sum * 60.0 + part);
    Seconds(Some(seconds)).milliseconds()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_duration_is_read_from_subtitles() {
        let meter = Meter { operation: Operation::Transcriptions, characters: 0, milliseconds: None };
        for (text, expected) in [
            (
                "1\n00:00:00,000 --> 00:00:01,000\nHi\n\n2\n00:00:01,000 --> 01:02:03,456\nyou\n",
                Some(3_723_456),
            ),
            ("WEBVTT\n\n00:00.000 --> 00:08.640 align:start\nHi\n", Some(8640)),
            ("Hi there.", None),
            ("a --> b", None),
            ("-->", None),
        ] {
            let mut progress = Progress::default();
            meter.subtitles(text.as_bytes(), &mut progress);
            assert_eq!(progress.amount.map(|amount| amount.count), expected, "{text}");
        }
    }
}
