//! Transcripts of providers with their own format, written in OpenAI's forms.

use canon::{Error, ErrorKind, Result, Retry};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::MediaFormat;

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
struct Elevenlabs {
    text: Option<String>,
    language_code: Option<String>,
    audio_duration_secs: Option<f64>,
    words: Option<Vec<Timed>>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Mistral {
    text: Option<String>,
    language: Option<String>,
    segments: Option<Vec<Timed>>,
    usage: MistralUsage,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct MistralUsage {
    /// OpenRouter names it `seconds`.
    #[serde(alias = "seconds")]
    prompt_audio_seconds: Option<f64>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Deepgram {
    metadata: DeepgramFacts,
    results: DeepgramResults,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct DeepgramFacts {
    duration: Option<f64>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct DeepgramResults {
    channels: Vec<DeepgramChannel>,
    utterances: Option<Vec<DeepgramTimed>>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct DeepgramChannel {
    alternatives: Vec<DeepgramAlternative>,
    detected_language: Option<String>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct DeepgramAlternative {
    transcript: String,
    words: Vec<DeepgramTimed>,
}

/// A word, or a sentence.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct DeepgramTimed {
    word: Option<String>,
    punctuated_word: Option<String>,
    transcript: Option<String>,
    start: f64,
    end: f64,
    speaker: Option<u32>,
}

impl DeepgramTimed {
    fn segment(self) -> Segment {
        let text = self.transcript.or(self.punctuated_word).or(self.word).unwrap_or_default();
        Segment { text, start: self.start, end: self.end, speaker: self.speaker.map(letter) }
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
struct Xai {
    text: Option<String>,
    language: Option<String>,
    duration: Option<f64>,
    words: Option<Vec<XaiWord>>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct XaiWord {
    text: String,
    start: f64,
    end: f64,
    speaker: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Timed {
    text: String,
    start: Option<f64>,
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
        let read: Elevenlabs = serde_json::from_slice(body).ok()?;
        let said = read.words.unwrap_or_default();
        // ElevenLabs' list also contains spaces and sounds such as laughter.
        let words: Vec<Segment> = said
            .into_iter()
            .filter(|word| word.kind.as_deref().is_none_or(|kind| kind == "word"))
            .map(Timed::segment)
            .collect();
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
        let read: Deepgram = serde_json::from_slice(body).ok()?;
        // Of several channels only the first is read.
        let channel = read.results.channels.into_iter().next()?;
        let heard = channel.alternatives.into_iter().next()?;
        let words: Vec<Segment> = heard.words.into_iter().map(DeepgramTimed::segment).collect();
        let utterances = read.results.utterances.unwrap_or_default();
        let segments = if utterances.is_empty() {
            lines(&words)
        } else {
            utterances.into_iter().map(DeepgramTimed::segment).collect()
        };
        Some(Self {
            text: heard.transcript,
            language: channel.detected_language,
            duration: read.metadata.duration,
            segments,
            words,
        })
    }

    fn of_xai(body: &[u8]) -> Option<Self> {
        let read: Xai = serde_json::from_slice(body).ok()?;
        let speaker = |value: serde_json::Value| match value {
            Value::String(name) => Some(name),
            Value::Number(number) => {
                number.as_u64().and_then(|number| u32::try_from(number).ok()).map(letter)
            }
            _ => None,
        };
        let timed = |word: XaiWord| Segment {
            text: word.text,
            start: word.start,
            end: word.end,
            speaker: word.speaker.and_then(speaker),
        };
        let words: Vec<Segment> = read.words.unwrap_or_default().into_iter().map(timed).collect();
        Some(Self {
            text: read.text?,
            language: read.language,
            duration: read.duration,
            segments: lines(&words),
            words,
        })
    }

    fn of_mistral(body: &[u8]) -> Option<Self> {
        let read: Mistral = serde_json::from_slice(body).ok()?;
        Some(Self {
            text: read.text?,
            language: read.language,
            duration: read.usage.prompt_audio_seconds,
            segments: read.segments.unwrap_or_default().into_iter().map(Timed::segment).collect(),
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
            TranscriptForm::Json => self.json(Map::new()),
            TranscriptForm::Verbose => self.verbose(words, segments),
            TranscriptForm::Diarized => {
                let segments = self.segments.iter().enumerate().map(|(index, segment)| {
                    json!({
                        "type": "transcript.text.segment", "id": format!("seg_{index}"), "start": segment.start,
                        "end": segment.end, "text": segment.text, "speaker": segment.speaker
                    })
                });
                let mut more = Map::new();
                more.insert("task".to_owned(), "transcribe".into());
                more.insert("duration".to_owned(), self.duration.into());
                more.insert("segments".to_owned(), segments.collect());
                self.json(more)
            }
        })
    }

    fn json(&self, more: Map<String, Value>) -> Vec<u8> {
        let mut object = Map::new();
        object.insert("text".to_owned(), self.text.as_str().into());
        object.extend(more);
        if let Some(seconds) = self.duration {
            object.insert("usage".to_owned(), json!({"type": "duration", "seconds": seconds}));
        }
        Value::Object(object).to_string().into_bytes()
    }

    fn verbose(&self, words: bool, segments: bool) -> Vec<u8> {
        let mut more = Map::new();
        more.insert("task".to_owned(), "transcribe".into());
        // OpenAI's type requires a text.
        more.insert("language".to_owned(), self.language.as_deref().unwrap_or("unknown").into());
        more.insert("duration".to_owned(), self.duration.into());
        if segments || !words {
            let segments = self.segments.iter().enumerate().map(|(id, segment)| {
                // OpenAI's type requires the last four, which other providers do not measure. These are the values that
                // no filter of bad segments rejects.
                json!({
                    "id": id, "seek": 0, "start": segment.start, "end": segment.end, "text": segment.text, "tokens": [],
                    "temperature": 0.0, "avg_logprob": 0.0, "compression_ratio": 1.0, "no_speech_prob": 0.0
                })
            });
            more.insert("segments".to_owned(), segments.collect());
        }
        if words {
            let words = self.words.iter();
            let words = words.map(|word| json!({"word": word.text, "start": word.start, "end": word.end}));
            more.insert("words".to_owned(), words.collect());
        }
        self.json(more)
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
