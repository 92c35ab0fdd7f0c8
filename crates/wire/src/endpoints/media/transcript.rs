//! Transcripts of providers with their own format, written in OpenAI's forms.

use canon::write::{push_array, push_count, push_key, push_text};
use canon::{Error, ErrorKind, Result, Retry};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::MediaFormat;
use super::google::or_default;
use crate::json::List;

/// Maximum duration of a subtitle of words, in seconds.
const LONGEST_LINE: f64 = 7.0;

/// The requested form of a transcript.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TranscriptForm {
    #[default]
    Json,
    Text,
    Srt,
    Vtt,
    Verbose,
    Diarized,
}

impl TranscriptForm {
    /// By its name in `response_format`.
    pub fn of(name: &str) -> Result<Self> {
        Ok(match name.trim() {
            "" | "json" => Self::Json,
            "text" => Self::Text,
            "srt" => Self::Srt,
            "vtt" => Self::Vtt,
            "verbose_json" => Self::Verbose,
            "diarized_json" => Self::Diarized,
            other => {
                let message = format!(
                    "response_format {other:?} is unknown; use json, text, srt, verbose_json, vtt or diarized_json."
                );
                return Err(Error::invalid("response_format", message));
            }
        })
    }

    /// Whether it needs times.
    pub fn needs_times(self) -> bool {
        matches!(self, Self::Srt | Self::Vtt | Self::Verbose | Self::Diarized)
    }

    /// The content type of an answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text | Self::Srt | Self::Vtt => "text/plain; charset=utf-8",
            _ => "application/json",
        }
    }
}

/// The content of a transcript.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    text: String,
    language: Option<String>,
    duration: Option<f64>,
    segments: Vec<Segment>,
    words: Vec<Segment>,
}

/// A sentence or a word, with its time.
#[derive(Clone, Debug, Default)]
struct Segment {
    text: String,
    start: f64,
    end: f64,
    speaker: Option<String>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Elevenlabs<'a> {
    text: Option<String>,
    language_code: Option<String>,
    #[serde(deserialize_with = "seconds")]
    audio_duration_secs: Option<f64>,
    #[serde(borrow)]
    words: List<'a, Timed>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Mistral<'a> {
    text: Option<String>,
    language: Option<String>,
    #[serde(borrow)]
    segments: List<'a, Timed>,
    #[serde(deserialize_with = "or_default")]
    usage: MistralUsage,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct MistralUsage {
    #[serde(deserialize_with = "seconds")]
    prompt_audio_seconds: Option<f64>,
    /// OpenRouter's name of it.
    #[serde(deserialize_with = "seconds")]
    seconds: Option<f64>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Deepgram<'a> {
    #[serde(deserialize_with = "or_default")]
    metadata: DeepgramFacts,
    #[serde(borrow)]
    results: DeepgramResults<'a>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct DeepgramFacts {
    #[serde(deserialize_with = "seconds")]
    duration: Option<f64>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct DeepgramResults<'a> {
    #[serde(borrow)]
    channels: List<'a, DeepgramChannel<'a>>,
    #[serde(borrow)]
    utterances: List<'a, DeepgramTimed>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct DeepgramChannel<'a> {
    #[serde(borrow)]
    alternatives: List<'a, DeepgramAlternative<'a>>,
    detected_language: Option<String>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct DeepgramAlternative<'a> {
    transcript: Option<String>,
    #[serde(borrow)]
    words: List<'a, DeepgramTimed>,
}

/// A word, or a sentence.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct DeepgramTimed {
    word: Option<String>,
    punctuated_word: Option<String>,
    transcript: Option<String>,
    #[serde(deserialize_with = "seconds")]
    start: Option<f64>,
    #[serde(deserialize_with = "seconds")]
    end: Option<f64>,
    speaker: Option<u32>,
}

impl DeepgramTimed {
    fn segment(self) -> Segment {
        let text = self.transcript.or(self.punctuated_word).or(self.word).unwrap_or_default();
        let start = self.start.unwrap_or_default();
        Segment { text, start, end: self.end.unwrap_or(start), speaker: self.speaker.map(letter) }
    }
}

/// Speakers as OpenAI names them: A, B, C.
fn letter(number: u32) -> String {
    let letter = u8::try_from(number).ok().filter(|number| *number < 26);
    letter.map_or_else(|| number.to_string(), |number| char::from(b'A' + number).to_string())
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Xai<'a> {
    text: Option<String>,
    language: Option<String>,
    #[serde(deserialize_with = "seconds")]
    duration: Option<f64>,
    #[serde(borrow)]
    words: List<'a, XaiWord>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct XaiWord {
    text: String,
    #[serde(deserialize_with = "seconds")]
    start: Option<f64>,
    #[serde(deserialize_with = "seconds")]
    end: Option<f64>,
    speaker: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Timed {
    text: String,
    #[serde(deserialize_with = "seconds")]
    start: Option<f64>,
    #[serde(deserialize_with = "seconds")]
    end: Option<f64>,
    #[serde(rename = "type")]
    kind: Option<String>,
    speaker_id: Option<String>,
}

impl Timed {
    fn segment(self) -> Segment {
        let start = self.start.unwrap_or_default();
        Segment { text: self.text, start, end: self.end.unwrap_or(start), speaker: self.speaker_id }
    }
}

/// Seconds as a number or as text; none for anything else.
fn seconds<'de, D: Deserializer<'de>>(source: D) -> std::result::Result<Option<f64>, D::Error> {
    Ok(match Value::deserialize(source)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    })
}

impl Transcript {
    /// Reads a provider's answer.
    pub fn read(format: MediaFormat, body: &[u8]) -> Result<Self> {
        let read = match format {
            MediaFormat::Elevenlabs => Self::of_elevenlabs(body),
            MediaFormat::Deepgram => Self::of_deepgram(body),
            MediaFormat::Xai => Self::of_xai(body),
            _ => Self::of_mistral(body),
        };
        read.ok_or_else(|| {
            let message = "The provider's answer is not a transcript.";
            Error::upstream(ErrorKind::Upstream, Retry::Elsewhere, message)
        })
    }

    /// With this language, where the provider names none.
    pub fn or_language(mut self, language: Option<&str>) -> Self {
        self.language = self.language.or(language.map(str::to_owned));
        self
    }

    fn of_elevenlabs(body: &[u8]) -> Option<Self> {
        let read: Elevenlabs<'_> = serde_json::from_slice(body).ok()?;
        // ElevenLabs' list also contains spaces and sounds such as laughter.
        let is_word = |word: &Timed| word.kind.as_deref().is_none_or(|kind| kind == "word");
        let words = segments(&read.words, |word| is_word(&word).then(|| word.segment()))?;
        let end = words.last().map(|word| word.end);
        Some(Self {
            text: read.text?,
            language: read.language_code,
            duration: read.audio_duration_secs.or(end),
            segments: lines(&words),
            words,
        })
    }

    fn of_deepgram(body: &[u8]) -> Option<Self> {
        let read: Deepgram<'_> = serde_json::from_slice(body).ok()?;
        // Of several channels only the first is read.
        let channel = read.results.channels.iter().next()?.ok()?;
        let heard = channel.alternatives.iter().next()?.ok()?;
        let words = segments(&heard.words, |word| Some(word.segment()))?;
        let sentences = segments(&read.results.utterances, |sentence| Some(sentence.segment()))?;
        let segments = if sentences.is_empty() { lines(&words) } else { sentences };
        Some(Self {
            text: heard.transcript?,
            language: channel.detected_language,
            duration: read.metadata.duration,
            segments,
            words,
        })
    }

    fn of_xai(body: &[u8]) -> Option<Self> {
        let read: Xai<'_> = serde_json::from_slice(body).ok()?;
        let speaker = |value: serde_json::Value| match value {
            Value::String(name) => Some(name),
            Value::Number(number) => {
                number.as_u64().and_then(|number| u32::try_from(number).ok()).map(letter)
            }
            _ => None,
        };
        let timed = |word: XaiWord| Segment {
            text: word.text,
            start: word.start.unwrap_or_default(),
            end: word.end.or(word.start).unwrap_or_default(),
            speaker: word.speaker.and_then(speaker),
        };
        let words = segments(&read.words, |word| Some(timed(word)))?;
        Some(Self {
            text: read.text?,
            language: read.language,
            duration: read.duration,
            segments: lines(&words),
            words,
        })
    }

    fn of_mistral(body: &[u8]) -> Option<Self> {
        let read: Mistral<'_> = serde_json::from_slice(body).ok()?;
        Some(Self {
            text: read.text?,
            language: read.language,
            duration: read.usage.prompt_audio_seconds.or(read.usage.seconds),
            segments: segments(&read.segments, |segment| Some(segment.segment()))?,
            words: Vec::new(),
        })
    }

    /// The duration of the recording, in milliseconds.
    pub fn milliseconds(&self) -> Option<u64> {
        let seconds = self.duration.filter(|seconds| (0.0..1e8).contains(seconds))?;
        Some((seconds * 1000.0).round() as u64)
    }

    /// Writes it. A form that needs times is an error where there are none.
    pub fn write(&self, form: TranscriptForm, words: bool, segments: bool) -> Result<Vec<u8>> {
        if form.needs_times()
            && form != TranscriptForm::Verbose
            && self.segments.is_empty()
            && !self.text.is_empty()
        {
            let message = "The provider's transcript has no times; ask for json or text.";
            return Err(Error::unsupported("response_format", message));
        }
        Ok(match form {
            TranscriptForm::Text => format!("{}\n", self.text).into_bytes(),
            TranscriptForm::Srt => self.srt().into_bytes(),
            TranscriptForm::Vtt => self.vtt().into_bytes(),
            TranscriptForm::Json => self.json(|_| {}),
            TranscriptForm::Verbose => self.verbose(words, segments),
            TranscriptForm::Diarized => self.json(|out| {
                push_text(out, "task", "transcribe");
                push_seconds(out, "duration", self.duration);
                push_key(out, "segments");
                push_array(out, self.segments.iter().enumerate(), |(index, segment), out| {
                    out.push(b'{');
                    push_text(out, "type", "transcript.text.segment");
                    push_text(out, "id", &format!("seg_{index}"));
                    segment.push_times(out);
                    push_text(out, "text", &segment.text);
                    match &segment.speaker {
                        Some(speaker) => push_text(out, "speaker", speaker),
                        None => {
                            push_key(out, "speaker");
                            out.extend_from_slice(b"null");
                        }
                    }
                    out.push(b'}');
                });
            }),
        })
    }

    /// An object with the text, further members, and the duration as usage.
    fn json(&self, more: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = vec![b'{'];
        push_text(&mut out, "text", &self.text);
        more(&mut out);
        if self.duration.is_some() {
            push_key(&mut out, "usage");
            out.push(b'{');
            push_text(&mut out, "type", "duration");
            push_seconds(&mut out, "seconds", self.duration);
            out.push(b'}');
        }
        out.push(b'}');
        out
    }

    fn verbose(&self, words: bool, segments: bool) -> Vec<u8> {
        self.json(|out| {
            push_text(out, "task", "transcribe");
            // OpenAI's type requires a text.
            push_text(out, "language", self.language.as_deref().unwrap_or("unknown"));
            push_seconds(out, "duration", self.duration);
            if segments || !words {
                push_key(out, "segments");
                push_array(out, self.segments.iter().enumerate(), |(id, segment), out| {
                    out.push(b'{');
                    push_count(out, "id", id as u64);
                    push_count(out, "seek", 0);
                    segment.push_times(out);
                    push_text(out, "text", &segment.text);
                    // OpenAI's type requires these, which other providers do not measure. The values are those
                    // that no filter of bad segments rejects.
                    out.extend_from_slice(
                        b",\"tokens\":[],\"temperature\":0.0,\"avg_logprob\":0.0,\"compression_ratio\":1.0,\"no_speech_prob\":0.0}",
                    );
                });
            }
            if words {
                push_key(out, "words");
                push_array(out, &self.words, |word, out| {
                    out.push(b'{');
                    push_text(out, "word", &word.text);
                    word.push_times(out);
                    out.push(b'}');
                });
            }
        })
    }

    fn srt(&self) -> String {
        let block = |(index, segment): (usize, &Segment)| {
            let (start, end) = (stamp(segment.start, ','), stamp(segment.end, ','));
            format!("{}\n{start} --> {end}\n{}\n\n", index + 1, segment.text.trim())
        };
        self.segments.iter().enumerate().map(block).collect()
    }

    fn vtt(&self) -> String {
        let block = |segment: &Segment| {
            let (start, end) = (stamp(segment.start, '.'), stamp(segment.end, '.'));
            format!("{start} --> {end}\n{}\n\n", segment.text.trim())
        };
        format!("WEBVTT\n\n{}", self.segments.iter().map(block).collect::<String>())
    }
}

/// The chosen items of a list; none where an item cannot be read.
fn segments<'a, T: Deserialize<'a>>(
    list: &List<'a, T>,
    segment: impl Fn(T) -> Option<Segment>,
) -> Option<Vec<Segment>> {
    list.iter().filter_map(|item| item.map(&segment).transpose()).collect::<serde_json::Result<_>>().ok()
}

impl Segment {
    fn push_times(&self, out: &mut Vec<u8>) {
        push_seconds(out, "start", Some(self.start));
        push_seconds(out, "end", Some(self.end));
    }
}

/// A number of seconds, or null.
fn push_seconds(out: &mut Vec<u8>, name: &str, seconds: Option<f64>) {
    push_key(out, name);
    out.extend_from_slice(Value::from(seconds).to_string().as_bytes());
}

/// Lines of subtitles from words: a sentence, or as much of it as fits, of one speaker.
fn lines(words: &[Segment]) -> Vec<Segment> {
    let mut lines: Vec<Segment> = Vec::new();
    for word in words {
        let goes_on = lines.last().filter(|line| {
            !line.text.ends_with(['.', '?', '!', '。', '？', '！'])
                && line.speaker == word.speaker
                && word.end - line.start <= LONGEST_LINE
        });
        match (goes_on.is_some(), lines.last_mut()) {
            (true, Some(line)) => {
                line.text.push(' ');
                line.text.push_str(&word.text);
                line.end = word.end;
            }
            _ => lines.push(word.clone()),
        }
    }
    lines
}

/// `01:02:03,456`
fn stamp(seconds: f64, comma: char) -> String {
    let milliseconds = (seconds.clamp(0.0, 1e8) * 1000.0).round() as u64;
    let (whole, rest) = (milliseconds / 1000, milliseconds % 1000);
    format!("{:02}:{:02}:{:02}{comma}{rest:03}", whole / 3600, whole / 60 % 60, whole % 60)
}
