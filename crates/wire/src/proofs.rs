//! Proofs that a provider requires in the next turn and that most callers drop: thinking, and signatures of
//! thinking and of calls.
//!
//! A signature is valid only at its issuer. Claude's are the exception: they are valid at Anthropic, Bedrock
//! and Vertex ("Extended thinking" in Anthropic's documentation). Google's are not: Vertex rejects those of
//! AI Studio as corrupt.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use canon::{
    CallField, Error, Event, Field, Json, Losses, Message, MessageField, Part, PartKind, Proof, Quirks,
    Reasoning, ReasoningDetail, Request, Role, ToolCall,
};

use crate::Protocol;
use crate::json::{ValueHash, room};
use crate::protocols::call_ids::{LONGEST_KEPT, mark_of};
use crate::protocols::{gemini, openai_responses};

mod written;

/// Largest answer whose proofs are kept, in bytes of thinking and arguments.
const LIMIT: usize = 1 << 20;
/// Most calls of an answer whose proofs are kept.
const MOST_CALLS: usize = 1 << 9;

/// The family whose proofs are valid at each of its providers.
const PORTABLE_FORMAT: &str = "anthropic-claude-v1";

pub(crate) const FOREIGN: &str =
    "The signature is from another provider, and this provider does not accept it.";

/// The proofs of one answer, which are restored beside its tool calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proofs {
    /// The provider that gave the answer.
    pub issuer: String,
    /// The model that gave the answer.
    pub model: String,
    /// Blocks of thinking before the calls, with their signatures, as parts of the assistant's message.
    pub thinking: Vec<Part>,
    /// The thinking as the provider's own `reasoning_details`, where it takes them back.
    pub details: Option<Json>,
    /// The calls, with their own signatures.
    pub calls: Vec<(CallName, Option<String>)>,
    /// Signatures of thinking and texts that are valid only at the issuer.
    pub signatures: Vec<CallName>,
}

impl Proofs {
    /// All names by which a later request can refer to the answer.
    pub fn names(&self) -> impl Iterator<Item = &CallName> {
        self.calls.iter().map(|(name, _)| name).chain(&self.signatures)
    }

    /// The readable thinking.
    pub fn text(&self) -> String {
        let texts = self.thinking.iter().map(|part| match &part.kind {
            PartKind::Reasoning(reasoning) => reasoning.text.as_str(),
            _ => "",
        });
        texts.collect()
    }

    /// The thinking whose signatures are valid at every provider of its family.
    pub fn portable(&self) -> impl Iterator<Item = &Part> {
        self.thinking.iter().filter(|part| is_proven(part) && is_portable(part))
    }

    /// True when only the model of the answer takes the proofs back, not another one of its provider:
    /// Google's.
    fn is_bound_to_model(&self) -> bool {
        let is_google = |part: &Part| format_of(part) == Some(gemini::REASONING_FORMAT);
        self.calls.iter().any(|(_, signature)| signature.is_some()) || self.thinking.iter().any(is_google)
    }

    /// True when it contains data that is valid only at the issuer.
    pub fn is_proven(&self) -> bool {
        self.calls.iter().any(|(_, signature)| signature.is_some()) || self.thinking.iter().any(is_proven)
    }

    /// Approximate memory, in bytes.
    pub fn size(&self) -> usize {
        let thinking = self.thinking.iter().map(|part| {
            let signature = part.signature.as_ref().map_or(0, |proof| proof.len());
            signature
                + match &part.kind {
                    PartKind::Reasoning(thought) => {
                        thought.text.len() + thought.encrypted.as_ref().map_or(0, String::len)
                    }
                    _ => 0,
                }
        });
        let calls = self
            .calls
            .iter()
            .map(|(name, signature)| 128 + name.id.len() + signature.as_ref().map_or(0, String::len));
        let details = self.details.as_ref().map_or(0, |details| details.as_str().len());
        256 + thinking.sum::<usize>() + calls.sum::<usize>() + 64 * self.signatures.len() + details
    }
}

fn is_proven(part: &Part) -> bool {
    let encrypted = matches!(&part.kind, PartKind::Reasoning(reasoning) if reasoning.encrypted.is_some());
    encrypted || part.signature.is_some()
}

/// Identifies a tool call: its id and a hash of the call, because some providers number their ids
/// (`get_weather:0`). The notation of the arguments does not matter: callers parse and rewrite them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallName {
    id: String,
    content: u64,
}

impl CallName {
    /// The name of a call of `tool`.
    pub fn new(id: &str, tool: &str, arguments: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        tool.hash(&mut hasher);
        let text = arguments.trim();
        match serde_json::from_str::<ValueHash>(if text.is_empty() { "{}" } else { text }) {
            Ok(meaning) => meaning.0.hash(&mut hasher),
            Err(_) => text.hash(&mut hasher),
        }
        let id = if id.len() <= LONGEST_KEPT { id.to_owned() } else { mark_of(id) };
        Self { id, content: hasher.finish() }
    }

    /// The id, and the hash of the call.
    pub fn parts(&self) -> (&str, u64) {
        (&self.id, self.content)
    }

    fn of(call: &ToolCall) -> Self {
        Self::new(&call.id, &call.name, &call.arguments)
    }

    /// The name of a block of thinking whose proof is valid only at the issuer.
    pub(crate) fn of_proof(part: &Part) -> Option<Self> {
        let PartKind::Reasoning(thought) = &part.kind else { return None };
        let proof =
            part.signature.as_deref().or(thought.encrypted.as_deref()).filter(|_| !is_portable(part))?;
        Some(Self::of_signature(proof))
    }

    /// The name of a signature that is valid only at the issuer.
    pub(crate) fn of_signature(proof: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        proof.hash(&mut hasher);
        Self { id: String::new(), content: hasher.finish() }
    }
}

/// Collects the proofs of an answer's first choice while it passes.
#[derive(Debug, Default)]
pub struct Collector {
    thinking: Vec<Thought>,
    calls: Vec<Called>,
    block: Option<u32>,
    length: usize,
}

/// A block of thinking. Smaller than the [`Part`] that it becomes: an answer may have thousands of short blocks.
#[derive(Debug, Default)]
struct Thought {
    text: String,
    signature: Option<Proof>,
    encrypted: Option<Proof>,
    format: Option<&'static str>,
}

impl From<Thought> for Part {
    fn from(thought: Thought) -> Self {
        let Thought { text, signature, encrypted, format } = thought;
        let (encrypted, format) = (encrypted.map(String::from), format.map(str::to_owned));
        let thought = PartKind::from(Reasoning { text, encrypted, format, ..Reasoning::default() });
        Self { signature, ..thought.into() }
    }
}

impl Thought {
    /// See [`CallName::of_proof`].
    fn name(&self) -> Option<CallName> {
        let is_portable = self.format == Some(PORTABLE_FORMAT);
        let proof = self.signature.as_deref().or(self.encrypted.as_deref()).filter(|_| !is_portable)?;
        Some(CallName::of_signature(proof))
    }
}

#[derive(Debug)]
struct Called {
    index: u32,
    id: Box<str>,
    tool: Box<str>,
    arguments: String,
    signature: Option<Box<str>>,
}

impl Collector {
    /// Takes one event.
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::Reasoning { choice: 0, block, detail, format } => self.thinking(*block, detail, format),
            Event::ToolCallStart { choice: 0, .. } if self.calls.len() == MOST_CALLS => {
                self.has_room(LIMIT + 1);
            }
            Event::ToolCallStart { choice: 0, index, id, name, signature, .. } => {
                let call = Called {
                    index: *index,
                    id: id.as_str().into(),
                    tool: name.as_str().into(),
                    arguments: String::new(),
                    signature: signature.as_deref().map(Into::into),
                };
                room::push(&mut self.calls, call);
            }
            Event::ToolCallArguments { choice: 0, index, fragment } => self.arguments(*index, fragment),
            _ => {}
        }
    }

    /// The collected proofs; none when no later request can use them.
    pub fn take(&mut self) -> Option<Proofs> {
        self.take_all().filter(|proofs| proofs.is_proven() || !proofs.signatures.is_empty())
    }

    /// The collected thinking, proven or not; none when it is too much. Without calls only the issuer is
    /// kept.
    pub(crate) fn take_all(&mut self) -> Option<Proofs> {
        let (calls, thinking) = (std::mem::take(&mut self.calls), std::mem::take(&mut self.thinking));
        if self.length > LIMIT {
            return None;
        }
        let named = |call: Called| {
            let name = CallName::new(&call.id, &call.tool, &call.arguments);
            (name, call.signature.map(String::from))
        };
        let mut proofs = Proofs {
            signatures: thinking.iter().filter_map(Thought::name).collect(),
            calls: calls.into_iter().map(named).collect(),
            ..Proofs::default()
        };
        if !proofs.calls.is_empty() {
            proofs.thinking = thinking.into_iter().map(Part::from).collect();
        }
        (!proofs.calls.is_empty() || !proofs.signatures.is_empty()).then_some(proofs)
    }

    /// False once the limit is reached.
    pub(crate) fn has_room(&mut self, more: usize) -> bool {
        self.length = self.length.saturating_add(more);
        self.length <= LIMIT
    }

    fn arguments(&mut self, index: u32, fragment: &str) {
        let has_room = self.has_room(fragment.len());
        if let (Some(call), true) = (self.calls.iter_mut().rfind(|call| call.index == index), has_room) {
            call.arguments.push_str(fragment);
        }
    }

    fn thinking(&mut self, block: u32, detail: &ReasoningDetail, format: &'static str) {
        let (ReasoningDetail::Text(text)
        | ReasoningDetail::Signature(text)
        | ReasoningDetail::Encrypted(text)) = detail;
        if !self.has_room(text.len()) {
            return;
        }
        if self.block != Some(block) {
            self.block = Some(block);
            room::push(&mut self.thinking, Thought::default());
        }
        let Some(thought) = self.thinking.last_mut() else { return };
        if thought.format.is_none() && format != "unknown" {
            thought.format = Some(format);
        }
        match detail {
            ReasoningDetail::Text(_) => thought.text.push_str(text),
            ReasoningDetail::Signature(_) => thought.signature.get_or_insert_default().push_str(text),
            ReasoningDetail::Encrypted(_) => thought.encrypted.get_or_insert_default().push_str(text),
        }
    }
}

/// Earlier answers that a conversation quotes.
#[derive(Clone, Copy)]
pub struct Memory<'a> {
    /// The provider of this request.
    pub provider: &'a str,
    /// The model there.
    pub model: &'a str,
    /// The proofs of an answer, by the name of one of its calls.
    pub find: &'a (dyn Fn(&CallName) -> Option<Arc<Proofs>> + Sync),
}

impl Memory<'_> {
    /// Whether the request goes to the issuer of these proofs.
    pub(crate) fn is_issuer(&self, proofs: &Proofs) -> bool {
        proofs.issuer == self.provider && (proofs.model == self.model || !proofs.is_bound_to_model())
    }
}

/// Restores proofs that the caller dropped, where this provider's format uses them: others would be reported
/// as losses of fields that the caller never sent. Removes proofs of other providers. Fields that the caller
/// sent are changed only where they are known to be invalid.
pub fn restore(request: &mut Request, protocol: Protocol, memory: Memory<'_>) {
    let mut before: Option<Arc<Proofs>> = None;
    for (index, message) in request.messages.iter_mut().enumerate() {
        if message.role != Role::Assistant {
            continue;
        }
        drop_foreign(message, index, memory, &mut request.losses);
        let found = message.tool_calls().next().and_then(|call| (memory.find)(&CallName::of(call)));
        if let Some(proofs) = &found {
            // Callers may split the calls of one answer over several messages: its thinking is restored once.
            let is_new = before.as_ref().is_none_or(|before| !Arc::ptr_eq(before, proofs));
            let restoring = ProofRestorer { index, proofs, is_own: memory.is_issuer(proofs), protocol };
            restoring.calls(message, &mut request.losses);
            restoring.thinking(message, is_new);
        }
        before = found;
    }
}

/// Removes proofs of thinking that are known to be another provider's.
fn drop_foreign(message: &mut Message, index: usize, memory: Memory<'_>, losses: &mut Losses) {
    let before = message.parts.len();
    message.parts.retain(|part| {
        let issued = CallName::of_proof(part).and_then(|name| (memory.find)(&name));
        issued.is_none_or(|proofs| memory.is_issuer(&proofs))
    });
    if message.parts.len() < before {
        losses.dropped(Field::of_message(index, MessageField::Proofs), FOREIGN);
    }
}

struct ProofRestorer<'a> {
    index: usize,
    proofs: &'a Proofs,
    is_own: bool,
    protocol: Protocol,
}

/// The family of models whose proofs this format takes.
fn family(protocol: Protocol) -> Option<&'static str> {
    match protocol {
        Protocol::AnthropicMessages | Protocol::BedrockConverse => Some(PORTABLE_FORMAT),
        Protocol::Gemini => Some(gemini::REASONING_FORMAT),
        Protocol::OpenaiResponses => Some(openai_responses::REASONING_FORMAT),
        Protocol::OpenaiChat | Protocol::CohereChat | Protocol::OllamaChat | Protocol::OpenaiCompletions => {
            None
        }
    }
}

impl ProofRestorer<'_> {
    fn calls(&self, message: &mut Message, losses: &mut Losses) {
        let mut position = 0;
        for part in &mut message.parts {
            let PartKind::ToolCall(call) = &part.kind else { continue };
            let name = CallName::of(call);
            let known = self.proofs.calls.iter().find(|(known, _)| *known == name);
            let known = known.and_then(|(_, signature)| signature.as_ref());
            if self.is_own {
                if part.signature.is_none() && has_signed_calls(self.protocol) {
                    part.signature = known.cloned().map(Into::into);
                }
            } else if part.signature.take().is_some() {
                let field = Field::call(self.index, position, CallField::Proof);
                losses.dropped(field, FOREIGN);
            }
            position += 1;
        }
    }

    fn thinking(&self, message: &mut Message, is_new: bool) {
        let has_own = message.parts.iter().any(|part| is_thought(part) && is_proven(part));
        if has_own || self.proofs.thinking.is_empty() || !is_new {
            return;
        }
        // If only a part was signed, only that part is required.
        let is_usable = |part: &&Part| is_proven(part) && self.takes(part);
        let usable: Vec<Part> = self.proofs.thinking.iter().filter(is_usable).cloned().collect();
        if self.is_own || !usable.is_empty() {
            // Thinking text without its proof, as callers return it, is replaced by the original.
            message.parts.retain(|part| !is_thought(part));
        }
        message.parts.splice(0..0, usable);
    }

    /// A provider may serve several families of models, each in its own format.
    fn takes(&self, part: &Part) -> bool {
        let family = family(self.protocol);
        let is_of_family =
            || format_of(part).is_none_or(|format| family.is_none_or(|family| family == format));
        is_portable(part) && family == Some(PORTABLE_FORMAT) || self.is_own && is_of_family()
    }
}

/// Formats in which each call has its own signature.
fn has_signed_calls(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Gemini | Protocol::OpenaiChat)
}

fn format_of(part: &Part) -> Option<&str> {
    match &part.kind {
        PartKind::Reasoning(thought) => thought.format.as_deref(),
        _ => None,
    }
}

fn is_thought(part: &Part) -> bool {
    matches!(part.kind, PartKind::Reasoning(_) | PartKind::Native(_))
}

fn is_portable(part: &Part) -> bool {
    format_of(part) == Some(PORTABLE_FORMAT)
}

/// Why a provider refused the thinking of a request. One retry without the cause is worthwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It requires `reasoning_content` beside tool calls.
    Missing,
    /// It does not know a field of thinking.
    Unknown,
    /// A signature is another provider's, changed, or expired.
    Invalid,
}

/// The names of thinking in OpenAI's format.
const FIELDS: [&str; 3] = ["reasoning_content", "reasoning", "reasoning_details"];

/// Error texts for thinking that is missing, changed, misplaced or foreign, besides those that name a
/// signature.
const INVALID: [&str; 6] = [
    "expected `thinking`",
    "`redacted_thinking` blocks in the latest assistant message cannot be modified",
    "each thinking block must contain thinking",
    "bound to a different conversation",
    // Responses.
    "of type 'reasoning' was provided without its required following item",
    "without its required 'reasoning' item",
];

/// The Responses API can find an item of thinking without its encrypted form only by its id.
fn is_lost_item(said: &str) -> bool {
    ["item with id 'rs_", "item with id ''"].iter().any(|words| said.contains(words))
        && said.contains("not found")
}

impl Refusal {
    /// Reads the provider's message; none for every other error.
    pub fn of(error: &Error) -> Option<Self> {
        let status = error.upstream.as_ref().and_then(|reply| reply.status);
        if !matches!(status, Some(400 | 404 | 422)) {
            return None;
        }
        let said = error.message.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
        if says(&["reasoning_content"])
            && says(&["passed back", "is missing", "missing reasoning", "is required"])
        {
            return Some(Self::Missing);
        }
        let unknown =
            ["unsupported", "not supported", "not permitted", "unrecognized", "unknown", "unexpected"];
        if says(&["reasoning_content", "reasoning_details", "'reasoning'", ".reasoning"]) && says(&unknown) {
            return Some(Self::Unknown);
        }
        let signature = says(&["signature"]) && says(&["thinking", "thought", "reasoningcontent"]);
        let sealed = says(&["encrypted content"]) && says(&["could not be"]);
        (signature || sealed || says(&INVALID) || is_lost_item(&said)).then_some(Self::Invalid)
    }

    /// The quirks with which a request in OpenAI's own format is rewritten; none when that changes nothing.
    pub fn quirks(self, usual: &Quirks) -> Option<Quirks> {
        let mut quirks = usual.clone();
        match self {
            Self::Missing => {
                quirks.reasoning_field = Some(FIELDS[0].to_owned());
                quirks.reasoning_stand_in = Some(" ".to_owned());
                quirks.drop_message_fields.retain(|name| name != FIELDS[0]);
            }
            Self::Unknown | Self::Invalid => {
                quirks.reasoning_field = None;
                quirks.drop_message_fields.extend(FIELDS.map(str::to_owned));
            }
        }
        (quirks != *usual).then_some(quirks)
    }
}

/// Removes all thinking and all signatures from a request whose provider refused them.
pub fn strip(request: &mut Request) {
    for (index, message) in request.messages.iter_mut().enumerate() {
        let before = message.parts.len();
        message.parts.retain(|part| !is_thought(part));
        let mut found = message.parts.len() < before;
        for part in &mut message.parts {
            found |= part.signature.take().is_some();
        }
        if found {
            let field = Field::of_message(index, MessageField::Proofs);
            request.losses.dropped(
                field,
                "The provider refused the thinking of earlier turns: the request was sent without it.",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_recognised_by_the_providers_messages() {
        use Refusal::{Invalid, Missing, Unknown};
        let cases = [
            (
                400,
                "The `reasoning_content` in the thinking mode must be passed back to the API.",
                Some(Missing),
            ),
            (400, "thinking is enabled but reasoning_content is missing in assistant message", Some(Missing)),
            (400, "property 'messages.1.assistant.reasoning_content' is unsupported", Some(Unknown)),
            (422, "Extra inputs are not permitted: messages.1.reasoning_details", Some(Unknown)),
            (400, "messages.1.content.0: Invalid `signature` in `thinking` block", Some(Invalid)),
            (400, "Corrupted thought signature.", Some(Invalid)),
            (400, "Expected `thinking` or `redacted_thinking`, but found `tool_use`.", Some(Invalid)),
            (403, "The request signature does not match; what were you thinking", None),
            (
                400,
                "The encrypted content for item rs_1 could not be verified. Reason: Encrypted content could not be \
                 decrypted or parsed.",
                Some(Invalid),
            ),
            (
                404,
                "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false.",
                Some(Invalid),
            ),
            (404, "Item with id 'msg_1' not found.", None),
            (
                400,
                "Item 'fc_1' of type 'function_call' was provided without its required 'reasoning' item: 'rs_1'.",
                Some(Invalid),
            ),
            (400, "messages.1.content.0: The block is bound to a different conversation.", Some(Invalid)),
            (400, "messages.1.content.0.thinking: each thinking block must contain thinking", Some(Invalid)),
            (
                400,
                "messages.5.content.0: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be \
                 modified. These blocks must remain as they were in the original response.",
                Some(Invalid),
            ),
            (404, "The model `gpt-9` does not exist.", None),
            (400, "Unknown parameter: 'reasoning_effort'.", None),
            (400, "max_tokens is required", None),
        ];
        for (status, message, expected) in cases {
            let status = http::StatusCode::from_u16(status).unwrap();
            let headers = http::HeaderMap::new();
            let error =
                crate::protocols::errors::upstream_error(status, &headers, None, None, message.to_owned());
            assert_eq!(Refusal::of(&error), expected, "{message}");
        }
    }

    #[test]
    fn a_repair_is_made_only_when_it_changes_the_quirks() {
        let usual = Quirks::default();
        for refusal in [Refusal::Missing, Refusal::Unknown, Refusal::Invalid] {
            let quirks = refusal.quirks(&usual).unwrap();
            assert_eq!(quirks.reasoning_field.is_some(), refusal == Refusal::Missing);
        }
        let spoken = Refusal::Missing.quirks(&usual).unwrap();
        assert_eq!(Refusal::Missing.quirks(&spoken), None);
    }

    const PROTOCOL: Protocol = Protocol::AnthropicMessages;

    fn call(id: &str) -> Part {
        let arguments = r#"{"b":[1.0,{}],"a":"x"}"#.into();
        PartKind::from(ToolCall { id: id.into(), name: "f".into(), arguments, custom: false }).into()
    }

    fn name(id: &str) -> CallName {
        CallName::new(id, "f", r#" { "a": "x", "b": [1, {}] } "#)
    }

    fn collected(issuer: &str, format: &'static str) -> Arc<Proofs> {
        let mut collector = Collector::default();
        let thinking = |detail| Event::Reasoning { choice: 0, block: 0, detail, format };
        collector.note(&thinking(ReasoningDetail::Text("let me ".into())));
        collector.note(&thinking(ReasoningDetail::Text("see".into())));
        collector.note(&thinking(ReasoningDetail::Signature("proof".into())));
        for (index, (id, signature)) in [("a", Some("s".to_owned())), ("b", None)].into_iter().enumerate() {
            let (id, name, index) = (id.to_owned(), "f".to_owned(), index as u32);
            collector.note(&Event::ToolCallStart { choice: 0, index, id, name, signature, custom: false });
            for fragment in [r#"{"a":"x","#, r#""b":[1,{}]}"#] {
                let fragment = fragment.to_owned();
                collector.note(&Event::ToolCallArguments { choice: 0, index, fragment });
            }
        }
        let mut proofs = collector.take().expect("worth keeping");
        proofs.issuer = issuer.to_owned();
        Arc::new(proofs)
    }

    fn restored(parts: Vec<Part>, proofs: &Arc<Proofs>, provider: &str) -> (Vec<Part>, Vec<String>) {
        let message = Message::new(Role::Assistant, parts);
        let mut request = Request { messages: vec![message], ..Request::default() };
        let is_known = |known: &CallName| *known == name("a") || proofs.signatures.contains(known);
        let find = |known: &CallName| is_known(known).then(|| proofs.clone());
        let is_google = proofs.thinking.iter().any(|part| format_of(part) == Some(gemini::REASONING_FORMAT));
        let protocol = if is_google { Protocol::Gemini } else { PROTOCOL };
        restore(&mut request, protocol, Memory { provider, model: "", find: &find });
        let mut losses: Vec<_> = request.losses.iter().map(|loss| loss.field.to_string()).collect();
        losses.sort_unstable();
        (request.messages.remove(0).parts, losses)
    }

    #[test]
    fn proofs_that_a_caller_dropped_are_restored() {
        let parts = vec![Part::text("x"), call("a"), call("b")];
        let (parts, losses) = restored(parts, &collected("one", "anthropic-claude-v1"), "one");
        let PartKind::Reasoning(reasoning) = &parts[0].kind else { panic!("{parts:?}") };
        assert_eq!((reasoning.text.as_str(), parts[0].signature.as_deref()), ("let me see", Some("proof")));
        assert_eq!((&parts[2].signature, &parts[3].signature), (&None, &None), "Claude does not sign calls");
        assert!(losses.is_empty(), "{losses:?}");
        let parts = vec![Part::text("x"), call("a"), call("b")];
        let (parts, losses) = restored(parts, &collected("one", "google-gemini-v1"), "one");
        assert_eq!((parts[2].signature.as_deref(), &parts[3].signature), (Some("s"), &None));
        assert!(losses.is_empty(), "{losses:?}");
    }

    #[test]
    fn proofs_are_restored_only_for_the_model_or_family_that_takes_them() {
        let given = vec![call("a")];
        let of_model = |format, model: &str| {
            Arc::new(Proofs { model: model.into(), ..(*collected("one", format)).clone() })
        };
        // Google's signatures belong to one model; the request goes to the model "".
        let (other, losses) = restored(given.clone(), &of_model("google-gemini-v1", "another"), "one");
        assert_eq!((other, losses.len()), (given.clone(), 0));
        let (claude, _) = restored(given.clone(), &of_model(PORTABLE_FORMAT, "another"), "one");
        assert_eq!(claude.len(), 2);
        // A host of Claude and of Gemini.
        let proofs = of_model(PORTABLE_FORMAT, "claude");
        let mut request =
            Request { messages: vec![Message::new(Role::Assistant, given.clone())], ..Request::default() };
        let find = |_: &CallName| Some(proofs.clone());
        restore(&mut request, Protocol::Gemini, Memory { provider: "one", model: "gemini", find: &find });
        assert_eq!((&request.messages[0].parts, request.losses.len()), (&given, 0));
    }

    #[test]
    fn the_thinking_of_an_answer_is_restored_once_however_its_calls_are_split() {
        let proofs = collected("one", "anthropic-claude-v1");
        let messages = ["a", "b"].map(|id| Message::new(Role::Assistant, vec![call(id)]));
        let mut request = Request { messages: messages.into(), ..Request::default() };
        let find = |name: &CallName| (!name.id.is_empty()).then(|| proofs.clone());
        restore(&mut request, PROTOCOL, Memory { provider: "one", model: "", find: &find });
        assert_eq!(request.messages[0].parts.len(), 2);
        assert_eq!(request.messages[1].parts.len(), 1);
    }

    #[test]
    fn a_call_is_identified_by_its_content_too() {
        assert_eq!(CallName::new("f:0", "f", ""), CallName::new("f:0", "f", "{}"));
        assert_ne!(CallName::new("f:0", "f", r#"{"a":1}"#), CallName::new("f:0", "f", r#"{"a":2}"#));
        assert_ne!(CallName::new("f:0", "f", "{}"), CallName::new("f:0", "g", "{}"));
        assert_ne!(CallName::new("f:0", "f", "free text"), CallName::new("f:0", "f", "other text"));
    }

    #[test]
    fn proofs_that_a_caller_sent_stay_unchanged() {
        let mut own = call("a");
        own.signature = Some("own".into());
        let thought = Reasoning { encrypted: Some("own".into()), ..Reasoning::default() };
        let parts = vec![PartKind::from(thought).into(), own];
        let (after, losses) = restored(parts.clone(), &collected("one", "google-gemini-v1"), "one");
        assert_eq!((after, losses.len()), (parts, 0));
    }

    #[test]
    fn signatures_of_another_provider_are_dropped_and_reported() {
        let fields = ["messages[0].reasoning_details", "messages[0].tool_calls[0].extra_content"];
        let google = collected("one", "google-gemini-v1");
        let (dropped, losses) = restored(vec![call("a")], &google, "two");
        assert_eq!((dropped, losses.len()), (vec![call("a")], 0), "the caller never sent it");

        let (with_proofs, _) = restored(vec![call("a")], &google, "one");
        assert_eq!(with_proofs.len(), 2);
        let (dropped, losses) = restored(with_proofs, &google, "two");
        assert_eq!((dropped, losses), (vec![call("a")], fields.map(str::to_owned).to_vec()));
    }

    #[test]
    fn the_signature_of_a_text_is_recognised_without_a_call() {
        let mut collector = Collector::default();
        let detail = ReasoningDetail::Signature("proof".into());
        collector.note(&Event::Reasoning { choice: 0, block: 1, detail, format: "google-gemini-v1" });
        let proofs = Arc::new(Proofs { issuer: "one".into(), ..collector.take().unwrap() });
        assert_eq!((proofs.names().count(), proofs.thinking.len()), (1, 0));
        let format = Some("google-gemini-v1".to_owned());
        let mut signed: Part = PartKind::from(Reasoning { format, ..Reasoning::default() }).into();
        signed.signature = Some("proof".into());
        let parts = vec![signed, Part::text("x")];
        assert_eq!(restored(parts.clone(), &proofs, "one"), (parts.clone(), Vec::new()));
        let lost = vec!["messages[0].reasoning_details".to_owned()];
        assert_eq!(restored(parts.clone(), &proofs, "two"), (parts[1..].to_vec(), lost));
    }

    #[test]
    fn signatures_of_claude_are_valid_at_every_provider() {
        let (parts, _) = restored(vec![call("b"), call("a")], &collected("one", PORTABLE_FORMAT), "two");
        assert_eq!(parts.len(), 2, "another call is the first: not known");
        let (parts, losses) = restored(vec![call("a")], &collected("one", PORTABLE_FORMAT), "two");
        assert_eq!(parts[0].signature.as_deref(), Some("proof"));
        assert!(losses.is_empty(), "{losses:?}");
        // Formats that do not use it get nothing.
        let proofs = collected("one", PORTABLE_FORMAT);
        for protocol in [Protocol::Gemini, Protocol::CohereChat, Protocol::OllamaChat] {
            let messages = vec![Message::new(Role::Assistant, vec![call("a")])];
            let mut request = Request { messages: messages.clone(), ..Request::default() };
            let find = |_: &CallName| Some(proofs.clone());
            restore(&mut request, protocol, Memory { provider: "two", model: "", find: &find });
            assert_eq!((request.messages, request.losses.len()), (messages, 0), "{protocol:?}");
        }
    }

    #[test]
    fn proofs_are_not_kept_without_calls_or_beyond_the_limit() {
        let thinking = |text: String| {
            let detail = ReasoningDetail::Text(text);
            Event::Reasoning { choice: 0, block: 0, detail, format: "unknown" }
        };
        let mut collector = Collector::default();
        collector.note(&thinking("hm".into()));
        assert_eq!(collector.take_all(), None);
        let start = |signature| {
            let (id, name) = ("a".to_owned(), "f".to_owned());
            Event::ToolCallStart { choice: 0, index: 0, id, name, signature, custom: false }
        };
        collector.note(&start(None));
        assert_eq!(collector.take(), None);
        collector.note(&start(Some("s".into())));
        collector.note(&thinking("x".repeat(LIMIT)));
        assert_eq!(collector.take(), None);
    }
}
