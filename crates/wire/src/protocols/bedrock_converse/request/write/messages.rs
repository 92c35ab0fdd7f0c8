//! The conversation: strictly alternating turns that begin with the user's, with results of tools first.

use std::borrow::Cow;

use canon::{
    CacheMark, Error, Field, Losses, Message, MessageField, ModelFacts, Part, PartKind, Proof, Reasoning,
    Request, Result,
};

use super::family::Family;
use super::media::Documents;
use crate::json::Output;
use crate::protocols::bedrock_converse::request::types::*;
use crate::protocols::call_ids::{CallIds, clean, mark_of};
use crate::protocols::function_tools::call_input;
use crate::protocols::tool_names::Names;
use crate::protocols::turns::{ResultsOf, Turn, Turns};
use crate::protocols::unsupported::OF_ANOTHER_FORMAT;

/// The family of models whose thinking proofs this API returns and accepts.
pub(crate) const CLAUDE_FORMAT: &str = "anthropic-claude-v1";

/// The text for required content that the caller lacks.
const NO_OUTPUT: &str = "(no output)";
const OPENING: &str = "(The conversation continues.)";
const CONTINUE: &str = "Continue.";
const SEE_BESIDE: &str = "(See the attached media.)";
const SEE_DOCUMENT: &str = "(See the attached document.)";

/// The inputs of the messages.
#[derive(Clone, Copy)]
pub(super) struct MessageInputs<'a> {
    pub request: &'a Request,
    pub family: Family,
    pub facts: &'a ModelFacts,
    pub takes_cache_points: bool,
    /// The model does not continue an answer that the caller began.
    pub no_prefill: bool,
    /// Follows the caller's instructions.
    pub instruction: Option<&'a str>,
}

/// The numbers of cache points in tools, instructions and messages.
pub(super) type Points = [usize; 3];

impl MessageInputs<'_> {
    /// Begins the body with instructions and messages, without the first `skipped` cache points of each kind,
    /// and returns the number of all cache points.
    pub fn write(
        self,
        skipped: Points,
        names: &Names<'_>,
        losses: &mut Losses,
        out: &mut Output,
    ) -> Result<Points> {
        let form = if self.family.has_short_call_ids() { short_call_id } else { call_id };
        let ids = CallIds::of(self.request, form);
        let turns = Turns::of(self.request, ids, |part| self.is_content(part))?;
        let mut writer = Writer {
            talk: self,
            messages: &self.request.messages,
            names,
            losses,
            out,
            documents: Documents::default(),
            open: None,
            points: [0; 3],
            skipped,
        };
        writer.out.push(b"{");
        writer.note(turns.leading().len());
        writer.messages(&turns)?;
        Ok(writer.points)
    }

    /// Whether a part that is neither a call nor a result is written at all.
    fn is_content(&self, part: &Part) -> bool {
        match &part.kind {
            PartKind::Text(text) | PartKind::Refusal(text) => !is_blank(text),
            PartKind::Reasoning(reasoning) => {
                reasoning_content(self.family, reasoning, part.signature.as_ref()).is_some()
            }
            PartKind::Native(_) => false,
            _ => true,
        }
    }
}

/// The indexes in [`Points`].
const IN_SYSTEM: usize = 1;
const IN_TURNS: usize = 2;

struct Writer<'a, 'w> {
    talk: MessageInputs<'a>,
    messages: &'a [Message],
    names: &'w Names<'w>,
    losses: &'w mut Losses,
    out: &'w mut Output,
    documents: Documents,
    open: Option<OpenTurn<'a>>,
    points: Points,
    /// The numbers of leading cache points that are not written.
    skipped: Points,
}

/// The open turn.
struct OpenTurn<'a> {
    is_users: bool,
    has_text: bool,
    has_document: bool,
    /// A cache point may follow the last block.
    may_point: bool,
    /// The last text and its position: the beginning of an answer that the model is to continue must not end
    /// in white space.
    last_text: Option<(usize, &'a str)>,
}

impl<'a> Writer<'a, '_> {
    /// Records the losses of the messages themselves.
    fn note(&mut self, leading: usize) {
        for (index, message) in self.messages.iter().enumerate() {
            if message.name.is_some() {
                self.losses.dropped(
                    Field::of_message(index, MessageField::Name),
                    "The provider has no names of participants.",
                );
            }
            let mut has_called = false;
            for (position, part) in message.parts.iter().enumerate() {
                match &part.kind {
                    PartKind::ToolCall(_) => has_called = true,
                    PartKind::Text(text) | PartKind::Refusal(text) if has_called && !is_blank(text) => {
                        self.losses.approximated(
                            Field::part(index, position),
                            "Tool calls come last in a turn: text after them was moved before them.",
                        );
                    }
                    PartKind::Reasoning(_) if !self.talk.is_content(part) => self.losses.dropped(
                        Field::thinking(index, position),
                        "Thinking can be sent back only with its signature and to the family of models that wrote it.",
                    ),
                    PartKind::Native(_) => {
                        self.losses.dropped(Field::thinking(index, position), OF_ANOTHER_FORMAT);
                    }
                    _ => {}
                }
            }
            if index >= leading && message.role.is_instruction() && !message.parts.is_empty() {
                // Instructions are not moved to the front: that would invalidate the provider's cache of the
                // conversation.
                self.losses.approximated(
                    Field::of_message(index, MessageField::Role),
                    "Instructions are allowed only at the beginning: these were sent as user text at their position.",
                );
            }
        }
    }

    fn messages(&mut self, turns: &Turns<'a>) -> Result<()> {
        let has_instructions = turns.leading().iter().any(|message| self.is_instruction(message));
        if turns.is_empty() && !has_instructions {
            return Err(Error::invalid(Field::Messages, "There must be at least one message with content."));
        }
        self.out.raw("messages", "[");
        if turns.is_empty() {
            self.losses.approximated(
                Field::Messages,
                "Instructions without a conversation were sent as a user turn.",
            );
            self.begin(true);
            self.instructions(turns.leading())?;
        }
        for turn in turns.iter() {
            if turn.is_users { self.user(turns, &turn)? } else { self.assistant(turns, &turn)? }
        }
        self.end();
        let leading = if turns.is_empty() { &[][..] } else { turns.leading() };
        if (turns.is_empty() || !has_instructions) && self.talk.instruction.is_none() {
            return Ok(());
        }
        self.out.raw("system", "[");
        self.instructions(leading)?;
        if let Some(text) = self.talk.instruction {
            self.out.item(&Block::Text(text.into()))?;
        }
        self.out.push(b"]");
        Ok(())
    }

    /// The end of the conversation.
    fn end(&mut self) {
        let Some(open) = &mut self.open else { return };
        if !open.is_users {
            if let Some((place, text)) = open.last_text.take()
                && text.trim_end().len() < text.len()
            {
                self.out.truncate(place);
                self.out.push(br#"{"text":"#);
                self.out.string(text.trim_end());
                self.out.push(b"}");
            }
            if self.talk.no_prefill {
                self.losses.approximated(
                    Field::Messages,
                    "The model cannot continue its own text: a user turn was added.",
                );
                self.begin(true);
                self.words(CONTINUE);
            }
        }
        self.close();
        self.out.push(b"]");
    }

    /// Continues the open turn if it has this role, otherwise begins one. The first turn must be the user's.
    fn begin(&mut self, is_users: bool) {
        if self.open.as_ref().is_some_and(|open| open.is_users == is_users) {
            return;
        }
        if self.open.is_none() && !is_users {
            self.losses.emulated(
                Field::Messages,
                "A conversation must begin with the user: a user turn was added in front.",
            );
            self.begin(true);
            self.words(OPENING);
        }
        self.close();
        self.out.comma();
        self.out.push(b"{");
        self.out.text("role", if is_users { "user" } else { "assistant" });
        self.out.raw("content", "[");
        self.open = Some(OpenTurn {
            is_users,
            has_text: false,
            has_document: false,
            may_point: false,
            last_text: None,
        });
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        // A document must be accompanied by a text (API reference of `DocumentBlock`).
        if open.has_document && !open.has_text {
            self.words(SEE_DOCUMENT);
        }
        self.out.push(b"]}");
    }

    fn words(&mut self, text: &str) {
        self.out.comma();
        self.out.push(br#"{"text":"#);
        self.out.string(text);
        self.out.push(b"}");
    }

    fn block(&mut self, block: &Block<'a>) -> Result<()> {
        self.out.comma();
        let place = self.out.len();
        self.out.value(block)?;
        if let Some(open) = &mut self.open {
            open.may_point = !matches!(block, Block::ReasoningContent(_));
            open.has_text |= matches!(block, Block::Text(_));
            open.has_document |= matches!(block, Block::Document(_));
            open.last_text = match block {
                Block::Text(Cow::Borrowed(text)) => Some((place, text)),
                _ => None,
            };
        }
        Ok(())
    }

    /// Appends a cache point after the content so far.
    fn point(&mut self, mark: Option<&CacheMark>, group: usize) -> Result<()> {
        let Some(mark) = mark else { return Ok(()) };
        if !self.talk.takes_cache_points {
            self.losses.dropped(Field::CacheMark, "The model has no prompt cache.");
            return Ok(());
        }
        if let Some(open) = &mut self.open {
            if !std::mem::replace(&mut open.may_point, false) {
                return Ok(());
            }
            open.last_text = None;
        }
        self.points[group] += 1;
        match self.skipped[group] {
            0 => self.out.item(&Block::CachePoint(CachePoint::of(mark))),
            _ => {
                self.skipped[group] -= 1;
                Ok(())
            }
        }
    }

    // -------------------------------------------------------------------------------------------- instructions

    fn is_instruction(&self, message: &Message) -> bool {
        let is_said = |part: &Part| !matches!(&part.kind, PartKind::Text(text) if is_blank(text));
        message.role.is_instruction() && message.parts.iter().any(is_said)
    }

    fn instructions(&mut self, leading: &'a [Message]) -> Result<()> {
        let mut is_first = true;
        for (index, message) in leading.iter().enumerate().filter(|(_, one)| one.role.is_instruction()) {
            for (position, part) in message.parts.iter().enumerate() {
                let PartKind::Text(text) = &part.kind else {
                    return Err(Error::unsupported(
                        Field::part(index, position),
                        "Instructions can only be text; put media into a user message.",
                    ));
                };
                if !is_blank(text) {
                    self.block(&Block::Text(Cow::Borrowed(text)))?;
                    is_first = false;
                }
                if !is_first {
                    self.point(part.cache.as_ref(), IN_SYSTEM)?;
                }
            }
        }
        Ok(())
    }

    // -------------------------------------------------------------------------------------------- the user's turns

    fn user(&mut self, turns: &Turns<'a>, turn: &Turn<'_>) -> Result<()> {
        self.begin(true);
        for (call, results) in turns.results(turn) {
            self.result(turns.ids.id(call), results)?;
        }
        let mut beside = turns.results(turn).flat_map(|(_, results)| results.content());
        if self.talk.facts.no_media_in_results {
            beside.try_for_each(|(path, part)| match &part.kind {
                PartKind::Media(media) => {
                    let reason =
                        "The model accepts only text as a tool result: the content was sent beside it.";
                    self.losses.approximated(path.clone(), reason);
                    let block = self.documents.media(media, &path, self.losses)?;
                    self.block(&block)
                }
                _ => Ok(()),
            })?;
        }
        for ((index, position), part) in turns.parts(turn) {
            let path = || Field::part(index, position);
            match &part.kind {
                PartKind::Text(text) | PartKind::Refusal(text) if is_blank(text) => {}
                PartKind::Text(text) | PartKind::Refusal(text) => {
                    self.block(&Block::Text(Cow::Borrowed(text)))?
                }
                PartKind::Media(media) => {
                    let block = self.documents.media(media, &path(), self.losses)?;
                    self.block(&block)?;
                }
                _ => {
                    return Err(Error::invalid(
                        path(),
                        "Only assistant messages hold tool calls and reasoning.",
                    ));
                }
            }
            self.point(part.cache.as_ref(), IN_TURNS)?;
        }
        Ok(())
    }

    /// Writes the result of a call. Two results of one call are joined, because the API takes one.
    fn result(&mut self, id: &str, results: ResultsOf<'a, '_>) -> Result<()> {
        let is_apart = self.talk.facts.no_media_in_results;
        self.out.comma();
        self.out.push(br#"{"toolResult":{"#);
        self.out.text("toolUseId", id);
        self.out.raw("content", "[");
        for ((index, _), _, result) in results.iter() {
            let (mut is_empty, mut is_beside) = (true, false);
            for (position, part) in result.content.iter().enumerate() {
                let path = || Field::result_part(index, position);
                match &part.kind {
                    PartKind::Text(text) if is_blank(text) => continue,
                    PartKind::Text(text) => self.words(text),
                    PartKind::Media(_) if is_apart => {
                        is_beside = true;
                        continue;
                    }
                    PartKind::Media(media) => {
                        let block = self.documents.media(media, &path(), self.losses)?;
                        self.out.item(&block)?;
                    }
                    _ => {
                        return Err(Error::invalid(path(), "A tool result may contain only text and media."));
                    }
                }
                is_empty = false;
            }
            if is_empty {
                self.words(if is_beside { SEE_BESIDE } else { NO_OUTPUT });
            }
        }
        self.out.push(b"]");
        if results.iter().any(|(_, _, result)| result.is_error) {
            self.out.text("status", "error");
        }
        self.out.push(b"}}");
        if let Some(open) = &mut self.open {
            open.may_point = true;
        }
        let marks = results.iter().map(|(_, part, result)| {
            part.cache.as_ref().or_else(|| result.content.iter().find_map(|inner| inner.cache.as_ref()))
        });
        let mark = marks.take(1).next().flatten();
        self.point(mark, IN_TURNS)
    }

    // -------------------------------------------------------------------------------------------- the model's turns

    fn assistant(&mut self, turns: &Turns<'a>, turn: &Turn<'_>) -> Result<()> {
        self.begin(false);
        for ((index, position), part) in turns.parts(turn) {
            let path = || Field::part(index, position);
            match &part.kind {
                PartKind::Text(text) | PartKind::Refusal(text) if is_blank(text) => {}
                PartKind::Text(text) | PartKind::Refusal(text) => {
                    self.block(&Block::Text(Cow::Borrowed(text)))?;
                }
                PartKind::Reasoning(reasoning) => {
                    let found = reasoning_content(self.talk.family, reasoning, part.signature.as_ref());
                    if let Some(content) = found {
                        self.block(&Block::ReasoningContent(content))?;
                    }
                    // A cache point must not follow thinking.
                    continue;
                }
                PartKind::Native(_) => continue,
                _ => {
                    return Err(Error::unsupported(
                        path(),
                        "This provider does not accept media in assistant messages.",
                    ));
                }
            }
            self.point(part.cache.as_ref(), IN_TURNS)?;
        }
        for (_, number, part, call) in turns.calls(turn) {
            let id = turns.ids.kept_id(number);
            let call = ToolUse {
                tool_use_id: id,
                name: self.names.wire(&call.name).to_owned(),
                input: call_input(call),
            };
            self.block(&Block::ToolUse(Box::new(call)))?;
            self.point(part.cache.as_ref(), IN_TURNS)?;
        }
        Ok(())
    }
}

/// Thinking goes back only with its proof and only to the family that wrote it: anything else is refused.
fn reasoning_content<'a>(
    family: Family,
    reasoning: &'a Reasoning,
    signature: Option<&'a Proof>,
) -> Option<ReasoningContent<'a>> {
    let is_ours = family.is_claude() && reasoning.format.as_deref() == Some(CLAUDE_FORMAT);
    match (&reasoning.encrypted, signature) {
        (Some(data), _) if is_ours => Some(ReasoningContent::RedactedContent(data)),
        (None, Some(signature)) if is_ours && !signature.is_empty() => {
            Some(ReasoningContent::ReasoningText { text: &reasoning.text, signature })
        }
        _ => None,
    }
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// An id of at most 64 letters, digits and `_.:-` (API reference of `ToolUseBlock`).
fn call_id(id: &str) -> Cow<'_, str> {
    clean(id, 64, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-'))
}

/// Exactly nine letters or digits, as Mistral's models require. The service rewrites its own ids (recorded).
fn short_call_id(id: &str) -> Cow<'_, str> {
    let fits = id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_own = id.starts_with("tooluse_") && call_id(id) == id;
    if fits || is_own { id.into() } else { mark_of(id)[..9].to_owned().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_ids_fit_and_stay_different() {
        assert_eq!(call_id("toolu_01.a:b-c"), "toolu_01.a:b-c");
        assert_ne!(call_id("call/1|x"), call_id("call/1?x"));
        assert!(call_id(&"é/".repeat(100)).len() <= 64);
        assert_eq!(short_call_id("abc123XYZ"), "abc123XYZ");
        assert_eq!(short_call_id("tooluse_daIKOZu4g4GrvIIv9wdqy4"), "tooluse_daIKOZu4g4GrvIIv9wdqy4");
        assert_eq!(short_call_id("call_1").len(), 9);
    }
}
