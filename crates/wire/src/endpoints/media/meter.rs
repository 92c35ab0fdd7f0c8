//! The billed quantities of an answer: tokens as counted by the provider, images, characters.

use canon::{Amount, Error, ErrorKind, Operation, Progress, Retry, Unit, Usage};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::json::{Items, Members, Object};
use crate::protocols::counts::count_of;
use crate::protocols::openai_chat::error_in;

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

/// The metered fields of an event or an answer, of any type: a member that cannot be read leaves the others.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metered<'a> {
    #[serde(rename = "type")]
    kind: Value,
    model: Value,
    usage: Value,
    /// The images, not parsed: each takes many times its text.
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    /// What was said in a recording.
    text: Value,
    /// The duration of a recording.
    duration: Value,
    error: Value,
}

impl Metered<'_> {
    /// The provider's error, if the event is one.
    fn failure(&self, json: &[u8]) -> Option<Error> {
        let is_failure = self.kind == "error";
        if !is_failure && self.error.is_null() && !self.kind.is_null() {
            return None;
        }
        let unnamed = || {
            let message = "The provider's stream ended with an error.";
            Error::upstream(ErrorKind::Upstream, Retry::Again, message)
        };
        Object::parse(json).and_then(|event| error_in(&event)).or_else(|| is_failure.then(unnamed))
    }
}

/// Whether an entry of a list of images has one.
fn has_image(entry: &str) -> bool {
    let is_text = |entry: &Members<'_>, name| entry.get(name).is_some_and(|value| value.starts_with('"'));
    Members::of(entry).is_some_and(|entry| is_text(&entry, "b64_json") || is_text(&entry, "url"))
}

/// The first of these members that has a count.
fn count(counts: &Value, names: [&str; 2]) -> Option<u64> {
    names.into_iter().find_map(|name| count_of(&counts[name]))
}

/// The first of these members that is an object. OpenAI uses one name for images and another for audio, and
/// some proxies write all of them.
fn details<'a>(counts: &'a Value, names: [&str; 3]) -> Option<&'a Value> {
    names.into_iter().map(|name| &counts[name]).find(|details| details.is_object())
}

/// A duration, a number or a text with one, in thousandths; none for an impossible one.
fn milliseconds(duration: &Value) -> Option<u64> {
    let seconds = match duration {
        Value::String(text) => text.trim().parse().ok(),
        duration => duration.as_f64(),
    };
    in_thousandths(seconds?)
}

fn in_thousandths(seconds: f64) -> Option<u64> {
    (0.0..1e8).contains(&seconds).then(|| (seconds * 1000.0).round() as u64)
}

/// The meaning of an event for its stream.
#[derive(Debug)]
pub enum EventEffect {
    /// The stream goes on.
    More,
    /// It is the last one, or may be.
    Last,
    /// The provider reports a failure.
    Failed(Error),
}

impl Meter {
    /// The measures that are known before the answer.
    pub fn start(&self, progress: &mut Progress) {
        progress.amount = match self.operation {
            Operation::Speech => Some(Amount { unit: Unit::Character, count: self.characters }),
            _ => self.milliseconds.map(|count| Amount { unit: Unit::Millisecond, count }),
        };
    }

    /// Reads a whole answer, without its long strings. Returns whether it has a result.
    pub fn answer(&self, json: &[u8], progress: &mut Progress) -> bool {
        // Members that occur twice: the answer passes unmetered.
        let Ok(read) = serde_json::from_slice::<Metered<'_>>(json) else { return true };
        let has_result = match read.data.map(RawValue::get).filter(|data| data.starts_with('[')) {
            Some(data) if self.makes_images() => {
                progress.amount = Some(Amount { unit: Unit::Image, count: Items::of(data).count() as u64 });
                Items::of(data).any(has_image)
            }
            _ => self.takes_audio() && read.text.is_string(),
        };
        self.take(read, progress);
        has_result
    }

    /// Reads subtitles: the end time of the last line is the duration.
    pub fn subtitles(&self, text: &[u8], progress: &mut Progress) {
        if !self.takes_audio() {
            return;
        }
        let end = memchr::memmem::rfind(text, b"-->").and_then(|at| timestamp(&text[at + 3..]));
        let heard = end.map(|count| Amount { unit: Unit::Millisecond, count });
        progress.amount = heard.or(progress.amount);
    }

    /// Reads an event of a stream, without its long strings.
    pub fn event(&self, json: &[u8], progress: &mut Progress) -> EventEffect {
        let Ok(read) = serde_json::from_slice::<Metered<'_>>(json) else { return EventEffect::More };
        if let Some(error) = read.failure(json) {
            return EventEffect::Failed(error);
        }
        let meaning = match read.kind.as_str() {
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

    fn takes_audio(&self) -> bool {
        matches!(self.operation, Operation::Transcriptions | Operation::Translations)
    }

    fn makes_images(&self) -> bool {
        matches!(self.operation, Operation::ImageGenerations | Operation::ImageEdits)
    }

    fn take(&self, read: Metered<'_>, progress: &mut Progress) {
        let Metered { model, usage: counts, duration, .. } = read;
        if let Value::String(model) = model {
            progress.model = Some(model);
        }
        if self.takes_audio() {
            // The billed duration is rounded, the other is exact. Mistral has another name for it.
            let durations = [&counts["seconds"], &counts["prompt_audio_seconds"], &duration];
            let heard = durations.into_iter().find_map(milliseconds);
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

    fn usage(&self, counts: &Value) -> Option<Usage> {
        let input = count(counts, ["input_tokens", "prompt_tokens"])?;
        let output = count(counts, ["output_tokens", "completion_tokens"]).unwrap_or_default();
        let inputs =
            details(counts, ["input_tokens_details", "input_token_details", "prompt_tokens_details"]);
        let outputs =
            details(counts, ["output_tokens_details", "output_token_details", "completion_tokens_details"]);
        let part = |name: &str| inputs.and_then(|details| count_of(&details[name])).unwrap_or_default();
        let heard = part("audio_tokens").min(input);
        let cached = part("cached_tokens").min(input - heard);
        let text_in = input - heard - cached;
        let base = Usage { input: text_in, cache_read: cached, audio_input: heard, ..Usage::default() };
        Some(match self.operation {
            Operation::Speech => Usage { audio_output: output, ..base },
            _ if self.makes_images() => {
                // Without details all output tokens are image tokens.
                let images = outputs.and_then(|details| count_of(&details["image_tokens"]));
                let images = images.unwrap_or(output).min(output);
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
    in_thousandths(seconds)
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
