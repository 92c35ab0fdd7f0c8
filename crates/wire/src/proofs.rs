//! What a provider wants back in the next turn and most callers drop: signatures of thinking and of tool calls.

use canon::{Event, Message, Part, PartKind, Reasoning, ReasoningDetail, Request, Role};

use crate::Protocol;
use crate::protocols::{anthropic_messages, gemini};

/// Largest text of thinking that is kept for one answer, in bytes.
const TEXT_LIMIT: usize = 1 << 20;

/// The proofs of one answer, to be put back beside its tool calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proofs {
    /// Blocks of thinking before the calls, with their signatures, as parts of the assistant's message.
    pub thinking: Vec<Part>,
    /// The calls by id, with their own signatures.
    pub calls: Vec<(String, Option<String>)>,
}

impl Proofs {
    /// True when there is something to put back: calls, and a proof that belongs to them.
    pub fn is_worth_keeping(&self) -> bool {
        let signed = self.calls.iter().any(|(_, signature)| signature.is_some());
        !self.calls.is_empty() && (signed || self.thinking.iter().any(is_proven))
    }

    /// Those of one family. Only Google's models sign calls.
    fn of(mut self, family: &str) -> Self {
        self.thinking.retain(|part| {
            matches!(&part.kind, PartKind::Reasoning(reasoning) if reasoning.format.as_deref() == Some(family))
        });
        if family != gemini::REASONING_FORMAT {
            self.calls.clear();
        }
        self
    }
}

fn is_proven(part: &Part) -> bool {
    let encrypted = matches!(&part.kind, PartKind::Reasoning(reasoning) if reasoning.encrypted.is_some());
    encrypted || part.signature.is_some()
}

/// Gathers the proofs of an answer's first choice while it passes.
#[derive(Debug, Default)]
pub struct Collector {
    proofs: Proofs,
    block: Option<u32>,
    length: usize,
}

impl Collector {
    /// Looks at one event.
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::Reasoning { choice: 0, block, detail, format } => self.thinking(*block, detail, format),
            Event::ToolCallStart { choice: 0, id, signature, .. } => {
                self.proofs.calls.push((id.clone(), signature.clone()));
            }
            _ => {}
        }
    }

    /// What was gathered; none when nothing of it would ever be asked for.
    pub fn take(&mut self) -> Option<Proofs> {
        let proofs = std::mem::take(&mut self.proofs);
        (proofs.is_worth_keeping() && self.length <= TEXT_LIMIT).then_some(proofs)
    }

    fn thinking(&mut self, block: u32, detail: &ReasoningDetail, format: &str) {
        if self.block != Some(block) {
            self.block = Some(block);
            let format = (format != "unknown").then(|| format.to_owned());
            self.proofs
                .thinking
                .push(PartKind::Reasoning(Reasoning { format, ..Reasoning::default() }).into());
        }
        let Some(Part { kind: PartKind::Reasoning(reasoning), signature, .. }) =
            self.proofs.thinking.last_mut()
        else {
            return;
        };
        match detail {
            ReasoningDetail::Text(text) => {
                self.length += text.len();
                if self.length <= TEXT_LIMIT {
                    reasoning.text.push_str(text);
                }
            }
            ReasoningDetail::Signature(text) => signature.get_or_insert_default().push_str(text),
            ReasoningDetail::Encrypted(data) => reasoning.encrypted.get_or_insert_default().push_str(data),
        }
    }
}

/// Puts proofs back that the caller dropped, as far as a provider of this format has a use for them: the caller would
/// hear of others as losses, and never asked for them. `find` knows them by the id of a tool call. What the caller sent
/// itself is never touched.
pub fn restore(request: &mut Request, protocol: Protocol, mut find: impl FnMut(&str) -> Option<Proofs>) {
    let Some(family) = family(protocol) else { return };
    for message in request.messages.iter_mut().filter(|message| message.role == Role::Assistant) {
        let Some(id) = message.tool_calls().next().map(|call| call.id.clone()) else { continue };
        if is_complete(message) {
            continue;
        }
        if let Some(proofs) = find(&id) {
            put_back(message, proofs.of(family));
        }
    }
}

/// The family of models whose proofs this format takes.
fn family(protocol: Protocol) -> Option<&'static str> {
    match protocol {
        Protocol::AnthropicMessages | Protocol::BedrockConverse => Some(anthropic_messages::REASONING_FORMAT),
        Protocol::Gemini => Some(gemini::REASONING_FORMAT),
        Protocol::OpenaiChat | Protocol::CohereChat | Protocol::OllamaChat => None,
    }
}

/// True when the message already has what could be put back.
fn is_complete(message: &Message) -> bool {
    let has_thinking =
        message.parts.iter().any(|part| matches!(part.kind, PartKind::Reasoning(_)) && is_proven(part));
    let calls_signed = message
        .parts
        .iter()
        .any(|part| matches!(part.kind, PartKind::ToolCall(_)) && part.signature.is_some());
    has_thinking || calls_signed
}

fn put_back(message: &mut Message, proofs: Proofs) {
    for part in &mut message.parts {
        let PartKind::ToolCall(call) = &part.kind else { continue };
        if let Some((_, signature)) = proofs.calls.iter().find(|(id, _)| *id == call.id) {
            part.signature.clone_from(signature);
        }
    }
    // Text of thinking without its proof, as callers send it back, gives way to the original.
    if !proofs.thinking.is_empty() {
        message.parts.retain(|part| !matches!(part.kind, PartKind::Reasoning(_)));
        message.parts.splice(0..0, proofs.thinking);
    }
}

#[cfg(test)]
mod tests {
    use canon::ToolCall;

    use super::*;

    fn call(id: &str) -> Part {
        let call = ToolCall { id: id.into(), name: "f".into(), arguments: "{}".into(), custom: false };
        PartKind::ToolCall(call).into()
    }

    fn collected() -> Proofs {
        let mut collector = Collector::default();
        let thinking =
            |detail| Event::Reasoning { choice: 0, block: 0, detail, format: "anthropic-claude-v1" };
        collector.note(&thinking(ReasoningDetail::Text("let me ".into())));
        collector.note(&thinking(ReasoningDetail::Text("see".into())));
        collector.note(&thinking(ReasoningDetail::Signature("proof".into())));
        for (id, signature) in [("a", Some("s".to_owned())), ("b", None)] {
            let (id, name) = (id.to_owned(), "f".to_owned());
            collector.note(&Event::ToolCallStart { choice: 0, index: 0, id, name, signature, custom: false });
        }
        collector.take().expect("worth keeping")
    }

    #[test]
    fn what_a_caller_dropped_is_put_back() {
        let message = Message::new(Role::Assistant, vec![Part::text("x"), call("a"), call("b")]);
        let mut request = Request { messages: vec![message], ..Request::default() };
        restore(&mut request, Protocol::BedrockConverse, |id| (id == "a").then(collected));
        let parts = &request.messages[0].parts;
        let PartKind::Reasoning(reasoning) = &parts[0].kind else { panic!("{parts:?}") };
        assert_eq!((reasoning.text.as_str(), parts[0].signature.as_deref()), ("let me see", Some("proof")));
        assert_eq!((&parts[2].signature, &parts[3].signature), (&None, &None));
    }

    #[test]
    fn only_the_family_that_signed_gets_its_proofs_back() {
        let thought = PartKind::Reasoning(Reasoning { text: "own words".into(), ..Reasoning::default() });
        let message = Message::new(Role::Assistant, vec![thought.into(), call("a"), call("b")]);
        let before = Request { messages: vec![message], ..Request::default() };
        for protocol in [Protocol::CohereChat, Protocol::OllamaChat] {
            let mut request = before.clone();
            restore(&mut request, protocol, |_| Some(collected()));
            assert_eq!(request, before, "{protocol:?}");
        }
        let mut request = before.clone();
        restore(&mut request, Protocol::Gemini, |_| Some(collected()));
        let parts = &request.messages[0].parts;
        assert_eq!(parts[0], before.messages[0].parts[0], "the thinking is another family's");
        assert_eq!((parts[1].signature.as_deref(), &parts[2].signature), (Some("s"), &None));
    }

    #[test]
    fn what_a_caller_sent_stays() {
        let mut own = call("a");
        own.signature = Some("own".into());
        let mut request =
            Request { messages: vec![Message::new(Role::Assistant, vec![own])], ..Request::default() };
        let before = request.clone();
        restore(&mut request, Protocol::Gemini, |_| Some(collected()));
        assert_eq!(request, before);
    }

    #[test]
    fn answers_without_calls_or_proofs_are_not_kept() {
        let mut collector = Collector::default();
        let detail = ReasoningDetail::Text("hm".into());
        collector.note(&Event::Reasoning { choice: 0, block: 0, detail, format: "unknown" });
        assert_eq!(collector.take(), None);
    }
}
