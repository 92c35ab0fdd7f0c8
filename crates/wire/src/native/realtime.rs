//! The cost of conversations over WebSockets, read from the provider's messages while they pass:
//! "response.done" of OpenAI's Realtime API and `usageMetadata` of Gemini Live. Both count one turn each.
//!
//! Frames are found by their heads (RFC 6455, 5.2). A server's frames are not masked, and the gateway
//! prevents the two sides from negotiating an extension, so a message's bytes are its text.

use canon::{Progress, Usage};
use serde::Deserialize;

/// Longest message that is read. Audio arrives in pieces of a few kilobytes; the message with the counts also
/// contains the turn's text.
const LONGEST: usize = 1 << 20;

/// Reads frames of a server.
#[derive(Default)]
pub struct Realtime {
    /// The head of a frame, as far as it has arrived.
    head: Vec<u8>,
    /// The remaining bytes of the frame's payload.
    left: u64,
    /// The frame belongs to a message and is its last.
    is_last: bool,
    is_control: bool,
    /// The message so far; none when it exceeds the limit.
    message: Option<Vec<u8>>,
    in_message: bool,
    progress: Progress,
}

impl Realtime {
    /// Takes bytes from the provider.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let length = self.left.min(bytes.len() as u64) as usize;
                let (payload, rest) = bytes.split_at(length);
                self.payload(payload);
                self.left -= length as u64;
                bytes = rest;
                self.end_frame();
                continue;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            self.read_head();
        }
    }

    /// Whether a frame could be inserted here.
    pub fn is_between_frames(&self) -> bool {
        self.left == 0 && self.head.is_empty()
    }

    /// The facts so far.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    fn read_head(&mut self) {
        let [first, second, ..] = self.head[..] else { return };
        let (short, extended) = (second & 0x7f, &self.head[2..]);
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let more = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if extended.len() < more + mask {
            return;
        }
        self.left = match more {
            0 => u64::from(short),
            _ => extended[..more].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        self.head.clear();
        (self.is_last, self.is_control) = (first & 0x80 != 0, first & 0x08 != 0);
        if !self.is_control && first & 0x0f != 0 {
            // An opcode other than "continuation": a message begins.
            self.message = Some(Vec::new());
        }
        self.in_message = !self.is_control;
        if self.left == 0 {
            self.end_frame();
        }
    }

    fn payload(&mut self, payload: &[u8]) {
        if !self.in_message {
            return;
        }
        match &mut self.message {
            Some(message) if message.len() + payload.len() <= LONGEST => message.extend_from_slice(payload),
            message => *message = None,
        }
    }

    fn end_frame(&mut self) {
        if self.left > 0 || self.is_control || !self.is_last {
            return;
        }
        if let Some(message) = self.message.take() {
            self.read(&message);
        }
    }

    fn read(&mut self, message: &[u8]) {
        let counts = ["response.done", "usageMetadata"];
        if !counts.iter().any(|name| memchr::memmem::find(message, name.as_bytes()).is_some()) {
            return;
        }
        let Ok(message) = serde_json::from_slice::<Message>(message) else { return };
        if message.kind == "response.done"
            && let Some(response) = message.response
        {
            let usage = response.usage.map(Usage::from);
            self.add(usage);
        }
        self.add(message.usage_metadata.map(Usage::from));
    }

    fn add(&mut self, usage: Option<Usage>) {
        let Some(usage) = usage.filter(Usage::is_plausible) else { return };
        *self.progress.usage.get_or_insert_default() += usage;
        self.progress.content_started = true;
    }
}

#[derive(Deserialize)]
struct Message {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    response: Option<Response>,
    #[serde(default, rename = "usageMetadata")]
    usage_metadata: Option<LiveUsage>,
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    usage: Option<RealtimeUsage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RealtimeUsage {
    input_tokens: u64,
    output_tokens: u64,
    input_token_details: Option<Details>,
    output_token_details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    audio_tokens: u64,
    cached_tokens: u64,
    cached_tokens_details: Option<CachedDetails>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CachedDetails {
    audio_tokens: u64,
}

impl From<RealtimeUsage> for Usage {
    /// Cached audio is counted both as audio and as cached.
    fn from(usage: RealtimeUsage) -> Self {
        let input = usage.input_token_details.unwrap_or_default();
        let output = usage.output_token_details.unwrap_or_default();
        let cached_audio = input.cached_tokens_details.unwrap_or_default().audio_tokens;
        let audio = input.audio_tokens.saturating_sub(cached_audio);
        Self {
            input: usage.input_tokens.saturating_sub(audio).saturating_sub(input.cached_tokens),
            cache_read: input.cached_tokens,
            audio_input: audio,
            output: usage.output_tokens.saturating_sub(output.audio_tokens),
            audio_output: output.audio_tokens,
            ..Self::default()
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LiveUsage {
    prompt_token_count: u64,
    response_token_count: u64,
    thoughts_token_count: u64,
    cached_content_token_count: u64,
    prompt_tokens_details: Option<Vec<LiveDetail>>,
    response_tokens_details: Option<Vec<LiveDetail>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LiveDetail {
    modality: String,
    token_count: u64,
}

impl From<LiveUsage> for Usage {
    fn from(usage: LiveUsage) -> Self {
        // Saturating sums: an impossible count must not wrap around to a plausible one.
        let audio = |details: Option<Vec<LiveDetail>>| {
            let details = details.into_iter().flatten().filter(|detail| detail.modality == "AUDIO");
            details.fold(0, |sum: u64, detail| sum.saturating_add(detail.token_count))
        };
        let (audio_input, audio_output) =
            (audio(usage.prompt_tokens_details), audio(usage.response_tokens_details));
        let cached = usage.cached_content_token_count;
        Self {
            input: usage.prompt_token_count.saturating_sub(audio_input).saturating_sub(cached),
            cache_read: cached,
            audio_input,
            output: usage
                .response_token_count
                .saturating_sub(audio_output)
                .saturating_add(usage.thoughts_token_count),
            audio_output,
            reasoning: usage.thoughts_token_count,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        match payload.len() {
            length @ 0..126 => out.push(length as u8),
            length @ 126..0x1_0000 => {
                out.push(126);
                out.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                out.push(127);
                out.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(payload);
        out
    }

    fn text(message: &Value) -> Vec<u8> {
        frame(0x81, message.to_string().as_bytes())
    }

    fn done(audio: u64) -> Value {
        json!({"type": "response.done", "response": {"usage": {
            "total_tokens": 180, "input_tokens": 130, "output_tokens": 50,
            "input_token_details": {"text_tokens": 90, "audio_tokens": 40, "cached_tokens": 64,
                "cached_tokens_details": {"text_tokens": 54, "audio_tokens": 10}},
            "output_token_details": {"text_tokens": 50 - audio, "audio_tokens": audio}
        }}})
    }

    #[test]
    fn null_is_no_count_and_impossible_counts_are_ignored() {
        let of = |usage: Value| serde_json::from_value::<LiveUsage>(usage).map(Usage::from).unwrap();
        let usage = of(json!({"promptTokenCount": 7, "responseTokenCount": 3, "promptTokensDetails": null}));
        assert_eq!((usage.input, usage.output), (7, 3));
        let much =
            json!([{"modality": "AUDIO", "tokenCount": u64::MAX}, {"modality": "AUDIO", "tokenCount": 9}]);
        let usage =
            of(json!({"promptTokensDetails": much, "thoughtsTokenCount": u64::MAX, "responseTokenCount": 5}));
        assert!(!usage.is_plausible());
        let usage = json!({"input_tokens": 7, "output_tokens": 3, "input_token_details": {"cached_tokens": 2, "cached_tokens_details": null},
            "output_token_details": null});
        let usage = serde_json::from_value::<RealtimeUsage>(usage).map(Usage::from).unwrap();
        assert_eq!((usage.input, usage.cache_read, usage.output), (5, 2, 3));
    }

    #[test]
    fn turns_are_summed_however_they_are_framed() {
        let message = done(30).to_string().into_bytes();
        let (first, rest) = message.split_at(70);
        let stream = [
            text(&json!({"type": "response.output_audio.delta", "delta": "A".repeat(70_000)})),
            frame(0x01, first),
            frame(0x89, b"ping"),
            frame(0x00, &[]),
            frame(0x80, rest),
            text(&json!({"type": "response.done", "response": {"usage": null}})),
            text(&json!({"type": "error", "error": {"message": "response.done"}})),
            text(&done(20)),
            frame(0x82, b"\x00\x01"),
        ]
        .concat();
        let one = Usage {
            input: 36,
            cache_read: 64,
            audio_input: 30,
            output: 20,
            audio_output: 30,
            ..Usage::default()
        };
        let sum = Usage {
            input: 72,
            cache_read: 128,
            audio_input: 60,
            output: 50,
            audio_output: 50,
            ..Usage::default()
        };
        assert_eq!(one.input + one.cache_read + one.audio_input, 130);
        for size in [1, 7, 64, 4096, stream.len()] {
            let mut realtime = Realtime::default();
            stream.chunks(size).for_each(|piece| realtime.push(piece));
            assert_eq!(realtime.progress().usage, Some(sum), "{size}");
            assert!(realtime.is_between_frames());
        }
    }

    #[test]
    fn gemini_counts_in_binary_frames() {
        let message = json!({"serverContent": {"turnComplete": true}, "usageMetadata": {
            "promptTokenCount": 100, "responseTokenCount": 60, "thoughtsTokenCount": 5, "totalTokenCount": 165,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 30}, {"modality": "AUDIO", "tokenCount": 70}],
            "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 60}]
        }});
        let mut realtime = Realtime::default();
        realtime.push(&frame(0x82, message.to_string().as_bytes()));
        let usage = Usage {
            input: 30,
            audio_input: 70,
            output: 5,
            audio_output: 60,
            reasoning: 5,
            ..Usage::default()
        };
        assert_eq!(realtime.progress().usage, Some(usage));
    }

    #[test]
    fn a_message_that_is_too_long_passes_unread() {
        let long =
            json!({"type": "response.done", "pad": "x".repeat(LONGEST), "response": done(0)["response"]});
        let mut realtime = Realtime::default();
        realtime.push(&text(&long));
        assert_eq!(realtime.progress().usage, None);
        realtime.push(&text(&done(0)));
        assert!(realtime.progress().usage.is_some());
    }
}
