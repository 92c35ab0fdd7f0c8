//! Reads Cohere answers, whole or as server-sent events.

use std::collections::BTreeMap;

use canon::{Error, ErrorKind, Event, FinishReason, Json, ReasoningDetail, Result, Retry, Usage};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::framing::sse::SseParser;
use crate::json::{List, append};
use crate::protocols::counts::count;
use crate::protocols::errors::without_secrets;
use crate::protocols::function_tools::unwrap_free_text;
use crate::protocols::repair::valid_json;
use crate::protocols::whole::{WholeDecoder, WholeReader};
use crate::{Decoder, DecoderContext, EventSink};

/// Thinking and plans have no proof.
const FORMAT: &str = "unknown";
/// The plan has no block of its own: it gets an index that no block has.
const PLAN: u64 = u64::MAX;

/// Reads a whole answer.
pub(crate) fn whole(decoding: &DecoderContext) -> Box<dyn Decoder> {
    Box::new(WholeDecoder::new(Answer::new(decoding)))
}

impl WholeReader for Answer {
    fn read_whole(&mut self, body: Vec<u8>, events: &mut dyn EventSink) -> Result<()> {
        let body = valid_json(&body);
        let whole: WholeAnswer<'_> = read(&body)?;
        let message = whole.message.ok_or_else(|| broken("The provider's answer holds no message."))?;
        self.start(whole.id, events);
        self.think(PLAN, message.tool_plan.unwrap_or_default(), events);
        for (index, block) in message.content.iter().enumerate() {
            self.block(index as u64, block.map_err(no_answer)?, events);
        }
        probabilities(whole.logprobs.iter(), events)?;
        for (index, call) in message.tool_calls.iter().enumerate() {
            self.call(index as u64, call.map_err(no_answer)?, events)?;
            self.end_call(index as u64, events);
        }
        for citation in message.citations.iter() {
            annotate(&citation.map_err(no_answer)?, events);
        }
        self.end(End { finish_reason: whole.finish_reason, usage: whole.usage, error: None }, events)
    }
}

pub(crate) struct StreamDecoder {
    parser: SseParser,
    answer: Answer,
}

impl StreamDecoder {
    pub fn new(decoding: &DecoderContext) -> Self {
        Self { parser: SseParser::default(), answer: Answer::new(decoding) }
    }
}

impl Decoder for StreamDecoder {
    fn push(&mut self, bytes: &[u8], events: &mut dyn EventSink) -> Result<()> {
        let answer = &mut self.answer;
        self.parser.push(bytes, |event| answer.event(event.data, events))
    }

    fn finish(&mut self, events: &mut dyn EventSink) -> Result<()> {
        let answer = &mut self.answer;
        self.parser.finish(|event| answer.event(event.data, events))?;
        if answer.is_ended {
            Ok(())
        } else {
            Err(broken("The provider's stream ended before the answer was complete."))
        }
    }
}

struct Answer {
    decoding: DecoderContext,
    is_started: bool,
    is_ended: bool,
    /// Open calls by the provider's index, which counts blocks of every kind.
    calls: BTreeMap<u64, OpenCall>,
    calls_so_far: u32,
    /// Numbers of blocks of thinking by the provider's index.
    thoughts: BTreeMap<u64, u32>,
}

struct OpenCall {
    index: u32,
    is_free_text: bool,
    /// Arguments that may still become `null`, or that have to be unwrapped.
    held: String,
    is_flowing: bool,
}

impl Answer {
    fn new(decoding: &DecoderContext) -> Self {
        Self {
            decoding: decoding.clone(),
            is_started: false,
            is_ended: false,
            calls: BTreeMap::new(),
            calls_so_far: 0,
            thoughts: BTreeMap::new(),
        }
    }

    fn start(&mut self, id: Option<String>, events: &mut dyn EventSink) {
        if !self.is_started {
            self.is_started = true;
            events.push(Event::Start { id, model: None, created: None });
        }
    }

    fn event(&mut self, data: &[u8], events: &mut dyn EventSink) -> Result<()> {
        if matches!(data.trim_ascii(), b"" | b"[DONE]") {
            return Ok(());
        }
        let event: StreamEvent = read(&valid_json(data))?;
        self.start(event.id, events);
        if event.kind.is_none() && event.delta.is_some() {
            return Err(broken("The provider sent an event without a type."));
        }
        let index = event.index.unwrap_or_default();
        let delta = event.delta.unwrap_or_default();
        let message = delta.message.unwrap_or_default();
        match event.kind.as_deref().unwrap_or_default() {
            "content-start" | "content-delta" => {
                if let Some(block) = message.content.and_then(OneOrMany::one) {
                    self.block(index, block, events);
                }
                probabilities(event.logprobs.into_iter().map(Ok), events)?;
            }
            "tool-plan-delta" => self.think(PLAN, message.tool_plan.unwrap_or_default(), events),
            "tool-call-start" => {
                let call = message.tool_calls.and_then(OneOrMany::one).unwrap_or_default();
                self.call(index, call, events)?;
            }
            "tool-call-delta" => {
                let call = message.tool_calls.and_then(OneOrMany::one).unwrap_or_default();
                self.arguments(index, call.function.unwrap_or_default().arguments, events)?;
            }
            "tool-call-end" => self.end_call(index, events),
            "citation-start" => {
                if let Some(citation) = message.citations.and_then(OneOrMany::one) {
                    annotate(&citation, events);
                }
            }
            "message-end" => {
                let (finish_reason, usage, error) = (delta.finish_reason, delta.usage, delta.error);
                return self.end(End { finish_reason, usage, error }, events);
            }
            _ => {}
        }
        Ok(())
    }

    fn block(&mut self, index: u64, block: Block, events: &mut dyn EventSink) {
        self.think(index, block.thinking.unwrap_or_default(), events);
        if let Some(text) = block.text.filter(|text| !text.is_empty()) {
            events.push(Event::Text { choice: 0, text });
        }
    }

    fn think(&mut self, index: u64, text: String, events: &mut dyn EventSink) {
        if text.is_empty() {
            return;
        }
        let next = self.thoughts.len() as u32;
        let block = *self.thoughts.entry(index).or_insert(next);
        let detail = ReasoningDetail::Text(text);
        events.push(Event::Reasoning { choice: 0, block, detail, format: FORMAT });
    }

    fn call(&mut self, provider_index: u64, call: Call, events: &mut dyn EventSink) -> Result<()> {
        let function = call.function.unwrap_or_default();
        let name = self.decoding.tool_name(&function.name.unwrap_or_default()).to_owned();
        let index = self.calls_so_far;
        self.calls_so_far += 1;
        let is_free_text = self.decoding.custom_tools.contains(&name);
        let id = call.id.unwrap_or_default();
        let custom = is_free_text;
        events.push(Event::ToolCallStart { choice: 0, index, id, name, signature: None, custom });
        let open = OpenCall { index, is_free_text, held: String::new(), is_flowing: false };
        self.calls.insert(provider_index, open);
        self.arguments(provider_index, function.arguments, events)
    }

    fn arguments(
        &mut self,
        provider_index: u64,
        fragment: Option<Value>,
        events: &mut dyn EventSink,
    ) -> Result<()> {
        // A string in the API reference; some hosts send an object.
        let fragment = match fragment {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::String(text)) if text.is_empty() => return Ok(()),
            Some(Value::String(text)) => text,
            Some(value) => value.to_string(),
        };
        let Some(call) = self.calls.get_mut(&provider_index) else {
            return Err(broken("The provider sent arguments of a tool call that had not begun."));
        };
        if call.is_flowing {
            events.push(Event::ToolCallArguments { choice: 0, index: call.index, fragment });
            return Ok(());
        }
        call.held.push_str(&fragment);
        // Calls without arguments may send `null`.
        if !call.is_free_text && !"null".starts_with(call.held.trim()) {
            call.is_flowing = true;
            let fragment = std::mem::take(&mut call.held);
            events.push(Event::ToolCallArguments { choice: 0, index: call.index, fragment });
        }
        Ok(())
    }

    fn end_call(&mut self, provider_index: u64, events: &mut dyn EventSink) {
        let Some(call) = self.calls.remove(&provider_index) else { return };
        if call.is_flowing {
            return;
        }
        let fragment = if call.is_free_text { unwrap_free_text(call.held) } else { "{}".to_owned() };
        events.push(Event::ToolCallArguments { choice: 0, index: call.index, fragment });
    }

    fn end(&mut self, end: End, events: &mut dyn EventSink) -> Result<()> {
        if self.is_ended {
            return Ok(());
        }
        while let Some(index) = self.calls.keys().next().copied() {
            self.end_call(index, events);
        }
        if let Some(usage) = end.usage.and_then(NativeUsage::disjoint) {
            events.push(Event::Usage(usage));
        }
        let native = end.finish_reason.unwrap_or_default();
        let reason = match native.as_str() {
            "MAX_TOKENS" => FinishReason::Length,
            "ERROR_TOXIC" => FinishReason::ContentFilter,
            "ERROR" | "TIMEOUT" | "" => return Err(failed(&native, end.error)),
            _ if self.calls_so_far > 0 => FinishReason::ToolCalls,
            _ => FinishReason::Stop,
        };
        self.is_ended = true;
        events.push(Event::Finish { choice: 0, reason, native: Some(native) });
        Ok(())
    }
}

/// The answer ended with an error of the provider, with the provider's message.
fn failed(reason: &str, words: Option<String>) -> Error {
    let kind = if reason == "TIMEOUT" { ErrorKind::Timeout } else { ErrorKind::Upstream };
    match words.filter(|words| !words.trim().is_empty()) {
        Some(words) => Error::upstream(kind, Retry::Again, without_secrets(&words)),
        None => Error::upstream(kind, Retry::Again, "The provider ended the answer with an error."),
    }
}

/// Web citations become OpenAI's annotations; citations of the caller's own documents and tools have no such
/// form.
fn annotate(citation: &Citation, events: &mut dyn EventSink) {
    for source in citation.sources.iter().flatten() {
        let cited = source.document.as_ref().or(source.tool_output.as_ref());
        let Some(url) = cited.and_then(|cited| cited["url"].as_str()) else { continue };
        let title = cited.and_then(|cited| cited["title"].as_str()).unwrap_or_default();
        let annotation = json!({
            "type": "url_citation",
            "url_citation": {
                "url": url,
                "title": title,
                "start_index": citation.start.unwrap_or_default(),
                "end_index": citation.end.unwrap_or_default(),
            },
        });
        events.push(Event::Annotation { choice: 0, annotation: Json::of(&annotation) });
    }
}

/// Log probabilities in OpenAI's form. A piece of text may consist of several tokens whose texts are not
/// reported: it counts as one token, and the logarithms are added (API reference of v2 chat, `LogprobItem`).
fn probabilities(
    items: impl Iterator<Item = serde_json::Result<Probability>>,
    events: &mut dyn EventSink,
) -> Result<()> {
    const START: &str = r#"{"content":["#;
    let mut content = Vec::new();
    for item in items {
        let Probability { text, logprobs } = item.map_err(no_answer)?;
        let Some((token, logprobs)) = text.zip(logprobs.filter(|all| !all.is_empty())) else { continue };
        let logprob: f64 = logprobs.iter().sum();
        let entry =
            json!({"token": token, "logprob": logprob, "bytes": token.as_bytes(), "top_logprobs": []});
        let before = if content.is_empty() { START } else { "," };
        append(&mut content, before.as_bytes());
        append(&mut content, entry.to_string().as_bytes());
    }
    if !content.is_empty() {
        append(&mut content, br#"],"refusal":null}"#);
        let logprobs = Json::copy_of(&String::from_utf8_lossy(&content));
        events.push(Event::Logprobs { choice: 0, logprobs });
    }
    Ok(())
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(no_answer)
}

fn no_answer(_: serde_json::Error) -> Error {
    broken("The provider's answer cannot be parsed.")
}

fn broken(message: &'static str) -> Error {
    Error::upstream(ErrorKind::Upstream, Retry::Again, message)
}

// The structures that are read. Every field is optional: missing and new ones must not fail an answer.

struct End {
    finish_reason: Option<String>,
    usage: Option<NativeUsage>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct WholeAnswer<'a> {
    id: Option<String>,
    #[serde(borrow)]
    message: Option<WholeMessage<'a>>,
    #[serde(borrow, default)]
    logprobs: List<'a, Probability>,
    finish_reason: Option<String>,
    usage: Option<NativeUsage>,
}

#[derive(Deserialize)]
struct Probability {
    text: Option<String>,
    logprobs: Option<Vec<f64>>,
}

#[derive(Deserialize)]
struct WholeMessage<'a> {
    #[serde(borrow, default)]
    content: List<'a, Block>,
    tool_plan: Option<String>,
    #[serde(borrow, default)]
    tool_calls: List<'a, Call>,
    #[serde(borrow, default)]
    citations: List<'a, Citation>,
}

#[derive(Deserialize)]
struct Block {
    text: Option<String>,
    thinking: Option<String>,
}

#[derive(Default, Deserialize)]
struct Call {
    id: Option<String>,
    function: Option<CallFunction>,
}

#[derive(Default, Deserialize)]
struct CallFunction {
    name: Option<String>,
    arguments: Option<Value>,
}

#[derive(Deserialize)]
struct Citation {
    start: Option<u64>,
    end: Option<u64>,
    sources: Option<Vec<CitationSource>>,
}

#[derive(Deserialize)]
struct CitationSource {
    document: Option<Value>,
    tool_output: Option<Value>,
}

#[derive(Deserialize)]
struct StreamEvent {
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
    index: Option<u64>,
    delta: Option<Delta>,
    logprobs: Option<Probability>,
}

#[derive(Default, Deserialize)]
struct Delta {
    message: Option<MessageDelta>,
    finish_reason: Option<String>,
    usage: Option<NativeUsage>,
    error: Option<String>,
}

#[derive(Default, Deserialize)]
struct MessageDelta {
    content: Option<OneOrMany<Block>>,
    tool_plan: Option<String>,
    tool_calls: Option<OneOrMany<Call>>,
    citations: Option<OneOrMany<Citation>>,
}

/// The first event has empty lists where later ones have objects.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    Many(Vec<T>),
    One(T),
}

impl<T> OneOrMany<T> {
    fn one(self) -> Option<T> {
        match self {
            Self::One(one) => Some(one),
            Self::Many(many) => many.into_iter().next(),
        }
    }
}

/// `tokens` counts everything; `billed_units` excludes the provider's own preamble.
#[derive(Deserialize)]
struct NativeUsage {
    tokens: Option<Counts>,
    billed_units: Option<Counts>,
    #[serde(default, deserialize_with = "count")]
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Counts {
    #[serde(default, deserialize_with = "count")]
    input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    output_tokens: Option<u64>,
    /// Images of the prompt, besides `input_tokens`. The billed units, which are then used, include them
    /// (recorded: ruby_llm, can_understand_local_images).
    #[serde(default, deserialize_with = "count")]
    image_tokens: Option<u64>,
    /// Part of `output_tokens`.
    #[serde(default, deserialize_with = "count")]
    reasoning_tokens: Option<u64>,
}

impl NativeUsage {
    fn disjoint(self) -> Option<Usage> {
        let count = Option::<u64>::unwrap_or_default;
        let billed = self.billed_units.as_ref().map_or(0, |billed| count(billed.input_tokens));
        let counts = self.tokens.or(self.billed_units)?;
        let pictures = count(counts.image_tokens);
        let mut input = count(counts.input_tokens);
        if pictures > 0 {
            input = if billed >= pictures { billed } else { input + pictures };
        }
        let cache_read = count(self.cached_tokens).min(input);
        Some(Usage {
            input: input - cache_read,
            cache_read,
            output: count(counts.output_tokens),
            reasoning: count(counts.reasoning_tokens),
            ..Usage::default()
        })
    }
}
