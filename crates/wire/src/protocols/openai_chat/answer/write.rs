//! Canonical events as an OpenAI answer: chunks, or one completion.

use std::collections::{BTreeMap, BTreeSet};

use canon::{Annotator, AnswerFacts, Error, Event, FinishReason, Json, ReasoningDetail, Usage};

use super::super::errors::write_stream_error;
use super::usage;
use crate::json::{
    Items, Members, Pieces, push_array, push_escaped, push_key, push_list, push_string, push_u64, room,
};
use crate::{AnswerForm, Encoder};

pub(crate) fn encoder(form: &AnswerForm, annotator: Box<dyn Annotator>) -> Box<dyn Encoder> {
    let core = Core::new(form, annotator);
    if form.stream {
        Box::new(StreamEncoder { core, choices: Vec::new(), prefix: Vec::new() })
    } else {
        Box::new(WholeEncoder { core, choices: Vec::new() })
    }
}

/// The facts that both forms need, and the common begin and end of answers in OpenAI's older formats.
pub(crate) struct Core {
    pub(crate) form: AnswerForm,
    annotator: Box<dyn Annotator>,
    pub(crate) id: String,
    created: i64,
    model: String,
    underlying_model: Option<String>,
    pub(crate) usage: Option<Usage>,
    fields: Vec<(&'static str, Json)>,
}

impl Core {
    pub(crate) fn new(form: &AnswerForm, annotator: Box<dyn Annotator>) -> Self {
        Self {
            form: form.clone(),
            annotator,
            id: String::new(),
            created: 0,
            model: String::new(),
            underlying_model: None,
            usage: None,
            fields: Vec::new(),
        }
    }

    pub(crate) fn start(&mut self, id: Option<String>, model: Option<String>, created: Option<i64>) {
        self.id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| self.annotator.answer_id().to_owned());
        self.model = model
            .clone()
            .filter(|model| !model.is_empty())
            .unwrap_or_else(|| self.annotator.model().to_owned());
        self.created = created.filter(|created| *created > 0).unwrap_or_else(|| self.annotator.created());
        self.underlying_model = model;
    }

    pub(crate) fn write_identity(&self, object: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"id\":");
        push_string(out, &self.id);
        push_key(out, "object");
        push_string(out, object);
        push_key(out, "created");
        push_u64(out, self.created.max(0) as u64);
        push_key(out, "model");
        push_string(out, &self.model);
        for (name, value) in &self.fields {
            push_key(out, name);
            out.extend_from_slice(value.as_str().as_bytes());
        }
    }

    pub(crate) fn write_usage(&self, out: &mut Vec<u8>) {
        push_key(out, "usage");
        match &self.usage {
            Some(usage) => {
                usage::write(out, usage, self.annotator.cost(usage, self.service_tier().as_deref()), None)
            }
            None => out.extend_from_slice(b"null"),
        }
    }

    pub(crate) fn write_metadata(&self, out: &mut Vec<u8>) {
        let facts =
            AnswerFacts { underlying_model: self.underlying_model.as_deref(), usage: self.usage.as_ref() };
        self.annotator.write_member(facts, out);
    }

    fn service_tier(&self) -> Option<String> {
        let (_, value) = self.fields.iter().find(|(name, _)| *name == "service_tier")?;
        value.read().ok()
    }

    pub(crate) fn set_field(&mut self, name: &'static str, value: Json) {
        self.fields.retain(|(known, _)| *known != name);
        self.fields.push((name, value));
    }
}

/// A block of thinking, kept until it is complete: `reasoning_details` contains whole blocks, which clients
/// return unchanged.
#[derive(Debug, Default)]
struct Block {
    number: u32,
    text: String,
    signature: Option<String>,
    encrypted: Option<String>,
    format: &'static str,
}

impl Block {
    /// The entry of `reasoning_details`; none for readable text without a proof.
    fn write(&self, out: &mut Vec<u8>) {
        match &self.encrypted {
            Some(data) => {
                out.extend_from_slice(b"{\"type\":\"reasoning.encrypted\",\"data\":");
                push_string(out, data);
            }
            None => {
                out.extend_from_slice(b"{\"type\":\"reasoning.text\",\"text\":");
                push_string(out, &self.text);
            }
        }
        if let Some(signature) = &self.signature {
            push_key(out, "signature");
            push_string(out, signature);
        }
        push_key(out, "format");
        push_string(out, self.format);
        push_key(out, "index");
        push_u64(out, u64::from(self.number));
        out.push(b'}');
    }

    /// Approximate length of the output.
    fn room(&self, has_proofs: bool) -> usize {
        let proof = [&self.signature, &self.encrypted].into_iter().flatten().map(String::len).sum::<usize>();
        let entry = if has_proofs { AROUND_BLOCK + self.text.len() + proof } else { 0 };
        2 * self.text.len() + entry
    }

    fn is_proof(&self) -> bool {
        self.signature.is_some() || self.encrypted.is_some()
    }

    fn take(&mut self, detail: ReasoningDetail) {
        match detail {
            ReasoningDetail::Text(text) => self.text.push_str(&text),
            ReasoningDetail::Signature(signature) => {
                self.signature.get_or_insert_default().push_str(&signature)
            }
            ReasoningDetail::Encrypted(data) => self.encrypted.get_or_insert_default().push_str(&data),
        }
    }
}

// ---------------------------------------------------------------------------------------------- streams

struct StreamEncoder {
    core: Core,
    choices: Vec<StreamChoice>,
    /// Every chunk begins the same way.
    prefix: Vec<u8>,
}

#[derive(Debug, Default)]
struct StreamChoice {
    opened: bool,
    finish: Option<FinishReason>,
    block: Option<Block>,
    /// Calls whose arguments are free text.
    custom_calls: BTreeSet<u32>,
}

impl Encoder for StreamEncoder {
    fn push(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model, created } => self.core.start(id, model, created),
            Event::Text { choice, text } => self.text(choice, "content", &text, out),
            Event::Refusal { choice, text } => self.text(choice, "refusal", &text, out),
            Event::Reasoning { choice, block, detail, format } => {
                self.reasoning((choice, block), detail, format, out)
            }
            Event::ToolCallStart { choice, index, id, name, signature, custom } => {
                self.tool_call(choice, index, &Call { id, name, signature, custom }, out);
            }
            Event::ToolCallArguments { choice, index, fragment } => {
                self.arguments(choice, index, &fragment, out)
            }
            Event::Image { choice, mime, data } => self.image(choice, &mime, &data, out),
            Event::Annotation { choice, annotation } => self.annotation(choice, &annotation, out),
            Event::Logprobs { choice, logprobs } => self.logprobs(choice, &logprobs, out),
            Event::Usage(usage) => self.core.usage = Some(usage),
            Event::Finish { choice, reason, .. } => self.choice(choice).finish = Some(reason),
            Event::Field { name, value } => {
                self.core.set_field(name, value);
                self.prefix.clear();
            }
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if self.choices.is_empty() {
            self.choice(0);
        }
        for index in 0..self.choices.len() {
            self.close_block(index as u32, out);
            let reason = self.choices[index].finish.unwrap_or(FinishReason::Stop);
            self.open(index as u32, out);
            out.push(b'}');
            self.close(Some(reason), index == 0 && !self.core.form.include_usage, out);
        }
        if self.core.form.include_usage {
            out.extend_from_slice(b"data: ");
            self.core.write_identity("chat.completion.chunk", out);
            out.extend_from_slice(b",\"choices\":[]");
            self.core.write_usage(out);
            self.core.write_metadata(out);
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        write_stream_error(error, None, out);
    }
}

impl StreamEncoder {
    fn choice(&mut self, index: u32) -> &mut StreamChoice {
        let index = index as usize;
        if self.choices.len() <= index {
            self.choices.resize_with(index + 1, StreamChoice::default);
        }
        &mut self.choices[index]
    }

    /// Writes a chunk up to the content of its delta; the first delta of each choice has the role.
    fn open(&mut self, choice: u32, out: &mut Vec<u8>) {
        if self.prefix.is_empty() {
            if self.core.id.is_empty() {
                self.core.start(None, None, None);
            }
            self.prefix.extend_from_slice(b"data: ");
            self.core.write_identity("chat.completion.chunk", &mut self.prefix);
            self.prefix.extend_from_slice(b",\"choices\":[{\"index\":");
        }
        let first = !std::mem::replace(&mut self.choice(choice).opened, true);
        out.extend_from_slice(&self.prefix);
        push_u64(out, u64::from(choice));
        out.extend_from_slice(b",\"delta\":{");
        if first {
            out.extend_from_slice(b"\"role\":\"assistant\"");
        }
    }

    /// Writes the rest of a chunk after its delta.
    fn close(&self, finish: Option<FinishReason>, with_metadata: bool, out: &mut Vec<u8>) {
        match finish {
            Some(reason) => {
                out.extend_from_slice(b",\"finish_reason\":\"");
                out.extend_from_slice(reason.as_str().as_bytes());
                out.extend_from_slice(b"\"}]");
            }
            None => out.extend_from_slice(b",\"finish_reason\":null}]"),
        }
        if with_metadata {
            self.core.write_metadata(out);
        }
        out.extend_from_slice(b"}\n\n");
    }

    fn text(&mut self, choice: u32, field: &str, text: &str, out: &mut Vec<u8>) {
        self.close_block(choice, out);
        if text.is_empty() {
            return;
        }
        self.open(choice, out);
        push_key(out, field);
        push_string(out, text);
        out.push(b'}');
        self.close(None, false, out);
    }

    fn reasoning(
        &mut self,
        (choice, number): (u32, u32),
        detail: ReasoningDetail,
        format: &'static str,
        out: &mut Vec<u8>,
    ) {
        if self.core.form.exclude_reasoning {
            return;
        }
        if self.choice(choice).block.as_ref().is_some_and(|block| block.number != number) {
            self.close_block(choice, out);
        }
        if let ReasoningDetail::Text(text) = &detail
            && !text.is_empty()
        {
            self.open(choice, out);
            push_key(out, "reasoning");
            push_string(out, text);
            push_key(out, "reasoning_content");
            push_string(out, text);
            out.push(b'}');
            self.close(None, false, out);
        }
        let block =
            self.choice(choice).block.get_or_insert_with(|| Block { number, format, ..Block::default() });
        block.take(detail);
    }

    /// A complete block of thinking with a proof is sent whole.
    fn close_block(&mut self, choice: u32, out: &mut Vec<u8>) {
        let Some(block) = self.choice(choice).block.take() else { return };
        if !block.is_proof() {
            return;
        }
        self.open(choice, out);
        push_key(out, "reasoning_details");
        out.push(b'[');
        block.write(out);
        out.extend_from_slice(b"]}");
        self.close(None, false, out);
    }

    fn tool_call(&mut self, choice: u32, index: u32, call: &Call, out: &mut Vec<u8>) {
        self.close_block(choice, out);
        self.open(choice, out);
        if call.custom {
            self.choice(choice).custom_calls.insert(index);
        }
        push_key(out, "tool_calls");
        out.extend_from_slice(b"[{\"index\":");
        push_u64(out, u64::from(index));
        call.begin(out);
        end_call(call.signature.as_deref(), out);
        out.extend_from_slice(b"]}");
        self.close(None, false, out);
    }

    fn arguments(&mut self, choice: u32, index: u32, fragment: &str, out: &mut Vec<u8>) {
        if fragment.is_empty() {
            return;
        }
        self.open(choice, out);
        push_key(out, "tool_calls");
        out.extend_from_slice(b"[{\"index\":");
        push_u64(out, u64::from(index));
        out.extend_from_slice(if self.choice(choice).custom_calls.contains(&index) {
            b",\"custom\":{\"input\":\""
        } else {
            b",\"function\":{\"arguments\":\""
        });
        push_escaped(out, fragment);
        out.extend_from_slice(b"\"}}]}");
        self.close(None, false, out);
    }

    fn image(&mut self, choice: u32, mime: &str, data: &str, out: &mut Vec<u8>) {
        self.close_block(choice, out);
        self.open(choice, out);
        push_key(out, "images");
        out.push(b'[');
        write_image(mime, data, out);
        out.extend_from_slice(b"]}");
        self.close(None, false, out);
    }

    fn annotation(&mut self, choice: u32, annotation: &Json, out: &mut Vec<u8>) {
        self.open(choice, out);
        push_key(out, "annotations");
        out.push(b'[');
        out.extend_from_slice(annotation.as_str().as_bytes());
        out.extend_from_slice(b"]}");
        self.close(None, false, out);
    }

    fn logprobs(&mut self, choice: u32, logprobs: &Json, out: &mut Vec<u8>) {
        self.open(choice, out);
        out.extend_from_slice(b"},\"logprobs\":");
        out.extend_from_slice(logprobs.as_str().as_bytes());
        self.close(None, false, out);
    }
}

/// A tool call that begins.
struct Call {
    id: String,
    name: String,
    signature: Option<String>,
    custom: bool,
}

impl Call {
    /// Writes the call after its opening brace or its index, up to the content of its arguments.
    fn begin(&self, out: &mut Vec<u8>) {
        let (kind, text) = if self.custom { ("custom", "input") } else { ("function", "arguments") };
        push_key(out, "id");
        push_string(out, &self.id);
        push_key(out, "type");
        push_string(out, kind);
        push_key(out, kind);
        out.extend_from_slice(b"{\"name\":");
        push_string(out, &self.name);
        push_key(out, text);
        out.push(b'"');
    }
}

/// Writes the members after the arguments of a call.
fn end_call(signature: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"}");
    if let Some(signature) = signature {
        // The place where OpenAI-compatible clients of Gemini look for it, and return it.
        out.extend_from_slice(b",\"extra_content\":{\"google\":{\"thought_signature\":");
        push_string(out, signature);
        out.extend_from_slice(b"}}");
    }
    out.push(b'}');
}

fn write_image(mime: &str, data: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:");
    push_escaped(out, mime);
    out.extend_from_slice(b";base64,");
    push_escaped(out, data);
    out.extend_from_slice(b"\"}}");
}

// ---------------------------------------------------------------------------------------------- whole answers

struct WholeEncoder {
    core: Core,
    choices: Vec<WholeChoice>,
}

/// Approximate length of the text around the content of an answer.
const AROUND: usize = 1024;
/// The same for a choice, and for an entry of `reasoning_details`.
const AROUND_CHOICE: usize = 128;
const AROUND_BLOCK: usize = 112;

/// The calls of a choice, written as they arrive: as values, many small ones would take many times their
/// text.
#[derive(Debug, Default)]
struct WholeCalls {
    /// Each call from its beginning to the end of its arguments.
    written: Pieces,
    calls: Vec<WholeCall>,
    /// By call: pieces that arrived after another call had begun.
    late: BTreeMap<u32, String>,
    /// By call.
    signatures: BTreeMap<u32, String>,
}

#[derive(Clone, Copy, Debug)]
struct WholeCall {
    /// The end of the written text.
    end: usize,
    custom: bool,
    has_arguments: bool,
}

impl WholeCalls {
    fn begin(&mut self, call: &Call) {
        let first = self.calls.is_empty();
        self.written.write(|out| {
            out.extend_from_slice(if first { b"{" } else { b",{" });
            call.begin(out);
        });
        if let Some(signature) = &call.signature {
            self.signatures.insert(self.calls.len() as u32, signature.clone());
        }
        self.calls.push(WholeCall { end: self.written.len(), custom: call.custom, has_arguments: false });
    }

    fn arguments(&mut self, index: u32, fragment: String) {
        let last = self.calls.len();
        let Some(call) = self.calls.get_mut(index as usize) else { return };
        if fragment.is_empty() {
            return;
        }
        call.has_arguments = true;
        if index as usize + 1 == last {
            self.written.write(|out| push_escaped(out, &fragment));
            call.end = self.written.len();
        } else {
            self.late.entry(index).or_default().push_str(&fragment);
        }
    }

    /// Approximate length of the output.
    fn room(&self) -> usize {
        let texts = self.late.values().chain(self.signatures.values());
        self.written.len() + 4 * self.calls.len() + texts.map(|text| 64 + text.len()).sum::<usize>()
    }

    fn write(&self, out: &mut Vec<u8>) {
        if self.calls.is_empty() {
            return;
        }
        push_key(out, "tool_calls");
        out.push(b'[');
        let mut written = self.written.read();
        for (index, call) in self.calls.iter().enumerate() {
            let index = index as u32;
            written.copy_until(call.end, out);
            if let Some(more) = self.late.get(&index) {
                push_escaped(out, more);
            }
            if !call.has_arguments && !call.custom {
                out.extend_from_slice(b"{}");
            }
            end_call(self.signatures.get(&index).map(String::as_str), out);
        }
        out.push(b']');
    }
}

#[derive(Debug, Default)]
struct WholeChoice {
    content: Option<String>,
    refusal: Option<String>,
    /// The thinking, in order.
    blocks: Vec<Block>,
    calls: WholeCalls,
    images: Vec<(String, String)>,
    annotations: Vec<Json>,
    logprobs: Option<Logprobs>,
    finish: Option<FinishReason>,
}

impl Encoder for WholeEncoder {
    fn push(&mut self, event: Event, _out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model, created } => self.core.start(id, model, created),
            Event::Text { choice, text } => {
                self.choice(choice).content.get_or_insert_default().push_str(&text)
            }
            Event::Refusal { choice, text } => {
                self.choice(choice).refusal.get_or_insert_default().push_str(&text)
            }
            Event::Reasoning { choice, block, detail, format } => {
                self.reasoning(choice, block, detail, format)
            }
            Event::ToolCallStart { choice, id, name, signature, custom, .. } => {
                self.choice(choice).calls.begin(&Call { id, name, signature, custom });
            }
            Event::ToolCallArguments { choice, index, fragment } => {
                self.choice(choice).calls.arguments(index, fragment);
            }
            Event::Image { choice, mime, data } => self.choice(choice).images.push((mime, data)),
            Event::Annotation { choice, annotation } => self.choice(choice).annotations.push(annotation),
            Event::Logprobs { choice, logprobs } => self.choice(choice).take_logprobs(logprobs),
            Event::Usage(usage) => self.core.usage = Some(usage),
            Event::Finish { choice, reason, .. } => self.choice(choice).finish = Some(reason),
            Event::Field { name, value } => self.core.set_field(name, value),
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if self.core.id.is_empty() {
            self.core.start(None, None, None);
        }
        if self.choices.is_empty() {
            self.choice(0);
        }
        let room: usize = self.choices.iter().map(WholeChoice::room).sum();
        out.reserve_exact(room + room / 16 + AROUND);
        self.core.write_identity("chat.completion", out);
        push_key(out, "choices");
        let choices = std::mem::take(&mut self.choices).into_iter().enumerate();
        // Each choice is freed when it is written.
        push_array(out, choices, |(index, choice), out| {
            choice.write(index, self.core.form.exclude_reasoning, out);
        });
        if self.core.usage.is_some() {
            self.core.write_usage(out);
        }
        self.core.write_metadata(out);
        out.push(b'}');
    }

    fn fail(&mut self, _error: &Error, _out: &mut Vec<u8>) {}
}

impl WholeEncoder {
    fn choice(&mut self, index: u32) -> &mut WholeChoice {
        let index = index as usize;
        if self.choices.len() <= index {
            self.choices.resize_with(index + 1, WholeChoice::default);
        }
        &mut self.choices[index]
    }

    fn reasoning(&mut self, choice: u32, number: u32, detail: ReasoningDetail, format: &'static str) {
        let choice = self.choice(choice);
        if choice.blocks.last().is_none_or(|block| block.number != number) {
            room::push(&mut choice.blocks, Block { number, format, ..Block::default() });
        }
        if let Some(block) = choice.blocks.last_mut() {
            block.take(detail);
        }
    }
}

impl WholeChoice {
    /// Several pieces of a choice's log probabilities become one list.
    fn take_logprobs(&mut self, piece: Json) {
        match &mut self.logprobs {
            Some(known) => known.add(&piece),
            None => self.logprobs = Some(Logprobs { first: piece, further: Vec::new() }),
        }
    }

    /// Approximate length of the output.
    fn room(&self) -> usize {
        let texts = [&self.content, &self.refusal].into_iter().flatten().map(String::len).sum::<usize>();
        let has_proofs = self.blocks.iter().any(Block::is_proof);
        let thoughts: usize = self.blocks.iter().map(|block| block.room(has_proofs)).sum();
        let images: usize = self.images.iter().map(|(mime, data)| 64 + mime.len() + data.len()).sum();
        let annotations: usize = self.annotations.iter().map(|json| 1 + json.as_str().len()).sum();
        let logprobs = self.logprobs.as_ref().map_or(0, |it| it.first.as_str().len() + it.further.len());
        AROUND_CHOICE + texts + thoughts + self.calls.room() + images + annotations + logprobs
    }

    fn write(self, index: usize, exclude_reasoning: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"index\":");
        push_u64(out, index as u64);
        out.extend_from_slice(b",\"message\":{\"role\":\"assistant\"");
        write_text("content", self.content.as_deref(), out);
        write_text("refusal", self.refusal.as_deref(), out);
        if !exclude_reasoning {
            self.write_reasoning(out);
        }
        self.calls.write(out);
        push_list(out, "images", &self.images, |(mime, data), out| write_image(mime, data, out));
        push_list(out, "annotations", &self.annotations, |annotation, out| {
            out.extend_from_slice(annotation.as_str().as_bytes());
        });
        out.extend_from_slice(b"},\"logprobs\":");
        match &self.logprobs {
            Some(logprobs) => logprobs.write(out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"finish_reason\":\"");
        out.extend_from_slice(self.finish.unwrap_or(FinishReason::Stop).as_str().as_bytes());
        out.extend_from_slice(b"\"}");
    }

    fn write_reasoning(&self, out: &mut Vec<u8>) {
        if self.blocks.iter().any(|block| !block.text.is_empty()) {
            for name in ["reasoning", "reasoning_content"] {
                push_key(out, name);
                out.push(b'"');
                self.blocks.iter().for_each(|block| push_escaped(out, &block.text));
                out.push(b'"');
            }
        }
        if self.blocks.iter().any(Block::is_proof) {
            push_list(out, "reasoning_details", &self.blocks, |block, out| block.write(out));
        }
    }
}

fn write_text(name: &str, text: Option<&str>, out: &mut Vec<u8>) {
    push_key(out, name);
    match text {
        Some(text) => push_string(out, text),
        None => out.extend_from_slice(b"null"),
    }
}

// ---------------------------------------------------------------------------------------------- errors

/// Log probabilities that arrived in pieces: each is read once.
#[derive(Debug)]
struct Logprobs {
    first: Json,
    /// The tokens of the further pieces, as text that follows other tokens.
    further: Vec<u8>,
}

impl Logprobs {
    fn add(&mut self, piece: &Json) {
        for token in tokens(piece) {
            self.further.push(b',');
            self.further.extend_from_slice(token.as_bytes());
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let first = Members::of(self.first.as_str()).filter(|_| !self.further.is_empty());
        let Some(members) = first else { return out.extend_from_slice(self.first.as_str().as_bytes()) };
        out.extend_from_slice(b"{\"content\":[");
        let start = out.len();
        push_joined(out, tokens(&self.first));
        let further = if out.len() == start { &self.further[1..] } else { &self.further[..] };
        out.extend_from_slice(further);
        out.push(b']');
        for (name, value) in members.iter().filter(|(name, _)| name != "content") {
            push_key(out, &name);
            out.extend_from_slice(value.as_bytes());
        }
        out.push(b'}');
    }
}

fn tokens(logprobs: &Json) -> Items<'_> {
    let content = Members::of(logprobs.as_str()).and_then(|members| members.get("content"));
    Items::of(content.unwrap_or_default())
}

fn push_joined<'a>(out: &mut Vec<u8>, items: impl Iterator<Item = &'a str>) {
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(item.as_bytes());
    }
}
