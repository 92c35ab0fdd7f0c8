//! The conversation: strictly alternating turns that begin with the user's, with results of tools first.

use std::borrow::Cow;

use canon::{
    CacheMark, Error, Field, Losses, Message, MessageField, ModelFacts, Part, PartKind, Proof, Reasoning,
    Request, Result, Role, ToolCall, ToolResult,
};

use super::family::Family;
use super::media::Documents;
use super::tools::ToolNames;
use crate::json::room;
use crate::protocols::bedrock_converse::request::types::*;
use crate::protocols::call_ids::{CallIds, clean, mark_of};
use crate::protocols::function_tools::call_input;

/// The family of models whose thinking proofs this API returns and accepts.
pub(crate) const CLAUDE_FORMAT: &str = "anthropic-claude-v1";

/// The text for required content that the caller lacks.
const NO_OUTPUT: &str = "(no output)";
const OPENING: &str = "(The conversation continues.)";
const CONTINUE: &str = "Continue.";
const SEE_BESIDE: &str = "(See the attached media.)";
const SEE_DOCUMENT: &str = "(See the attached document.)";

/// The parts of the body that come from the messages.
#[derive(Debug, Default)]
pub(super) struct Conversation<'a> {
    pub system: Vec<Block<'a>>,
    pub turns: Vec<Turn<'a>>,
}

impl Conversation<'_> {
    /// Adds a turn of the user after a final one of the model: not every model continues its own text.
    pub fn close(&mut self, losses: &mut Losses) {
        if self.turns.last().is_some_and(|turn| turn.role == "assistant") {
            losses.approximated(
                Field::Messages,
                "the model does not continue its own words: a user turn was added",
            );
            self.turns.push(Turn { role: "user", content: vec![Block::Text(CONTINUE.into())] });
        }
    }
}

/// Writes the conversation of a request.
pub(super) fn conversation<'a>(
    request: &'a Request,
    family: Family,
    facts: &ModelFacts,
    takes_cache_points: bool,
    names: &mut ToolNames,
    losses: &mut Losses,
) -> Result<Conversation<'a>> {
    let form = if family.has_short_call_ids() { short_call_id } else { call_id };
    let mut writer = Writer {
        family,
        ids: CallIds::of(request, form),
        calls: Vec::new(),
        last_call: None,
        takes_cache_points,
        text_results: facts.no_media_in_results,
        names,
        losses,
        system: Vec::new(),
        drafts: Vec::new(),
        documents: Documents::default(),
    };
    for (index, message) in request.messages.iter().enumerate() {
        writer.message(index, message)?;
    }
    writer.finish()
}

/// A turn under construction. The API wants results first in the user's turn and calls last in the model's.
struct Draft<'a> {
    user: bool,
    rest: Vec<Block<'a>>,
    /// Boxed because it is rare: a conversation may have many short turns.
    tools: Option<Box<ToolBlocks<'a>>>,
}

#[derive(Default)]
struct ToolBlocks<'a> {
    /// With the indexes of the calls that they answer.
    results: Vec<(u32, Box<ToolResultBlock<'a>>)>,
    calls: Vec<Block<'a>>,
}

impl<'a> Draft<'a> {
    fn tools(&mut self) -> &mut ToolBlocks<'a> {
        self.tools.get_or_insert_default()
    }

    fn finish(self) -> Turn<'a> {
        let role = if self.user { "user" } else { "assistant" };
        let Some(tools) = self.tools else { return Turn { role, content: self.rest } };
        let ToolBlocks { results, calls } = *tools;
        let points = results.iter().filter(|(_, result)| result.point.is_some()).count();
        let mut content = Vec::with_capacity(results.len() + points + self.rest.len() + calls.len());
        for mut result in sorted(results) {
            let point = result.point.take();
            append(&mut content, Some(Block::ToolResult(result)), point);
        }
        content.extend(self.rest);
        content.extend(calls);
        Turn { role, content }
    }
}

/// Results in the order of their calls. Two results of one call are joined: the API accepts one.
fn sorted<'a>(
    mut results: Vec<(u32, Box<ToolResultBlock<'a>>)>,
) -> impl Iterator<Item = Box<ToolResultBlock<'a>>> {
    results.sort_by_key(|(number, _)| *number);
    results.dedup_by(|(number, second), (taken, first)| {
        let same = number == taken;
        if same {
            first.content.append(&mut second.content);
            first.status = first.status.or(second.status);
        }
        same
    });
    results.into_iter().map(|(_, result)| result)
}

struct Writer<'a, 'w> {
    family: Family,
    takes_cache_points: bool,
    /// Results of tools contain only text.
    text_results: bool,
    names: &'w mut ToolNames,
    losses: &'w mut Losses,
    ids: CallIds<'a>,
    /// The turn of each call.
    calls: Vec<u32>,
    /// The position of the last call in the request.
    last_call: Option<(usize, usize)>,
    system: Vec<Block<'a>>,
    drafts: Vec<Draft<'a>>,
    documents: Documents,
}

impl<'a> Writer<'a, '_> {
    fn message(&mut self, index: usize, message: &'a Message) -> Result<()> {
        if message.name.is_some() {
            self.losses.dropped(
                Field::of_message(index, MessageField::Name),
                "the provider has no names of participants",
            );
        }
        if message.role == Role::User && message.parts.len() > 1 {
            let rest = &mut self.draft(true).rest;
            if rest.is_empty() {
                rest.reserve_exact(message.parts.len());
            }
        }
        for (position, part) in message.parts.iter().enumerate() {
            let path = || Field::part(index, position);
            match message.role {
                Role::System | Role::Developer if self.drafts.is_empty() => {
                    self.instruction(index, part, path)?
                }
                Role::System | Role::Developer => {
                    // Moved to the front, they would invalidate the provider's cache of the conversation.
                    self.losses.approximated(
                        Field::of_message(index, MessageField::Role),
                        "instructions stand only at the beginning: sent as words of the user, in their place",
                    );
                    self.user((index, position), part, path)?;
                }
                Role::User => self.user((index, position), part, path)?,
                Role::Assistant => self.assistant((index, position), part, path)?,
                Role::Tool => self.tool((index, position), part, path)?,
            }
        }
        Ok(())
    }

    fn instruction(&mut self, index: usize, part: &'a Part, path: impl Fn() -> Field) -> Result<()> {
        let PartKind::Text(text) = &part.kind else {
            return Err(Error::unsupported(
                path(),
                "Instructions can only be text; put media into a user message.",
            ));
        };
        if !is_blank(text) {
            if !self.drafts.is_empty() {
                let reason = "instructions stand in front of the conversation";
                self.losses.approximated(Field::of_message(index, MessageField::Role), reason);
            }
            room::push(&mut self.system, Block::Text(Cow::Borrowed(text)));
        }
        if let Some(point) = self.cache_point(part.cache.as_ref())
            && !self.system.is_empty()
        {
            self.system.push(Block::CachePoint(point));
        }
        Ok(())
    }

    fn user(
        &mut self,
        (index, position): (usize, usize),
        part: &'a Part,
        path: impl Fn() -> Field,
    ) -> Result<()> {
        let block = match &part.kind {
            PartKind::Text(text) | PartKind::Refusal(text) if is_blank(text) => None,
            PartKind::Text(text) | PartKind::Refusal(text) => Some(Block::Text(Cow::Borrowed(text))),
            PartKind::Media(media) => Some(self.documents.media(media, &path(), self.losses)?),
            PartKind::ToolResult(result) => {
                return self.result((index, position), result, part.cache.as_ref());
            }
            PartKind::ToolCall(_) | PartKind::Reasoning(_) => {
                return Err(Error::invalid(path(), "Only assistant messages hold tool calls and reasoning."));
            }
        };
        let point = self.cache_point(part.cache.as_ref());
        append(&mut self.draft(true).rest, block, point);
        Ok(())
    }

    fn assistant(
        &mut self,
        (index, position): (usize, usize),
        part: &'a Part,
        path: impl Fn() -> Field,
    ) -> Result<()> {
        let block = match &part.kind {
            PartKind::Text(text) | PartKind::Refusal(text) if is_blank(text) => None,
            PartKind::Text(text) | PartKind::Refusal(text) => Some(Block::Text(Cow::Borrowed(text))),
            PartKind::Reasoning(reasoning) => {
                // A cache point must not follow thinking.
                let block = self.reasoning((index, position), reasoning, part.signature.as_ref());
                append(&mut self.draft(false).rest, block, None);
                return Ok(());
            }
            PartKind::ToolCall(call) => {
                let block = Block::ToolUse(Box::new(self.call(call)));
                let point = self.cache_point(part.cache.as_ref());
                append(&mut self.draft(false).tools().calls, Some(block), point);
                self.calls.push(self.drafts.len() as u32 - 1);
                self.last_call = Some((index, position));
                return Ok(());
            }
            PartKind::Media(_) | PartKind::ToolResult(_) => {
                return Err(Error::unsupported(
                    path(),
                    "This provider takes no media in assistant messages.",
                ));
            }
        };
        if block.is_some() && self.has_call_before((index, position)) {
            self.losses
                .approximated(path(), "calls come last in a turn: words behind them were moved in front");
        }
        let point = self.cache_point(part.cache.as_ref());
        append(&mut self.draft(false).rest, block, point);
        Ok(())
    }

    /// True when the message has a call before this part.
    fn has_call_before(&self, (index, position): (usize, usize)) -> bool {
        self.last_call.is_some_and(|(message, part)| message == index && part < position)
    }

    fn tool(
        &mut self,
        (index, position): (usize, usize),
        part: &'a Part,
        path: impl Fn() -> Field,
    ) -> Result<()> {
        match &part.kind {
            PartKind::ToolResult(result) => self.result((index, position), result, part.cache.as_ref()),
            _ => Err(Error::invalid(path(), "A tool message holds the result of one call.")),
        }
    }

    /// A result goes to the turn after its call, wherever it is in the request.
    fn result(
        &mut self,
        (index, position): (usize, usize),
        result: &'a ToolResult,
        cache: Option<&CacheMark>,
    ) -> Result<()> {
        let number = self.ids.answered((index, position));
        let Some((number, turn)) = number.and_then(|number| Some((number, *self.calls.get(number)?))) else {
            let message =
                format!("No assistant message before this one has a tool call {:?}.", result.call_id);
            return Err(Error::invalid(Field::of_message(index, MessageField::CallId), message));
        };
        let mut content = Vec::with_capacity(result.content.len());
        let mut beside = Vec::new();
        for (position, part) in result.content.iter().enumerate() {
            let path = || Field::result_part(index, position);
            match &part.kind {
                PartKind::Text(text) if is_blank(text) => {}
                PartKind::Text(text) => content.push(Block::Text(Cow::Borrowed(text))),
                PartKind::Media(media) if self.text_results => {
                    let reason = "the model takes only text as the result of a tool: sent beside it";
                    self.losses.approximated(path(), reason);
                    beside.push(self.documents.media(media, &path(), self.losses)?);
                }
                PartKind::Media(media) => content.push(self.documents.media(media, &path(), self.losses)?),
                _ => {
                    return Err(Error::invalid(path(), "Results of tools hold text and media only."));
                }
            }
        }
        if content.is_empty() {
            content.push(Block::Text(if beside.is_empty() { NO_OUTPUT } else { SEE_BESIDE }.into()));
        }
        let mark = cache.or_else(|| result.content.iter().find_map(|part| part.cache.as_ref()));
        let block = ToolResultBlock {
            tool_use_id: self.ids.kept_id(number),
            content,
            status: result.is_error.then_some("error"),
            point: self.cache_point(mark),
        };
        let turn = turn as usize + 1;
        if turn == self.drafts.len() {
            self.draft(true);
        }
        self.drafts[turn].rest.append(&mut beside);
        let results = &mut self.drafts[turn].tools().results;
        room::push(results, (number as u32, Box::new(block)));
        Ok(())
    }

    fn call(&mut self, call: &'a ToolCall) -> ToolUse<'a> {
        ToolUse {
            tool_use_id: self.ids.kept_id(self.calls.len()),
            name: self.names.on_wire(&call.name),
            input: call_input(call),
        }
    }

    /// Thinking is sent only with its proof and only to the family that wrote it: anything else is refused.
    fn reasoning(
        &mut self,
        (index, position): (usize, usize),
        reasoning: &'a Reasoning,
        signature: Option<&'a Proof>,
    ) -> Option<Block<'a>> {
        let is_ours = self.family.is_claude() && reasoning.format.as_deref() == Some(CLAUDE_FORMAT);
        let content = match (&reasoning.encrypted, signature) {
            (Some(data), _) if is_ours => ReasoningContent::RedactedContent(data),
            (None, Some(signature)) if is_ours && !signature.is_empty() => {
                ReasoningContent::ReasoningText { text: &reasoning.text, signature }
            }
            _ => {
                self.losses.dropped(
                    Field::thinking(index, position),
                    "thinking can be sent back only with its signature and to the family of models that wrote it",
                );
                return None;
            }
        };
        Some(Block::ReasoningContent(content))
    }

    fn cache_point(&mut self, mark: Option<&CacheMark>) -> Option<CachePoint> {
        let mark = mark?;
        if !self.takes_cache_points {
            self.losses.dropped(Field::CacheMark, "the model has no prompt cache");
            return None;
        }
        Some(CachePoint::of(mark))
    }

    fn draft(&mut self, user: bool) -> &mut Draft<'a> {
        if self.drafts.last().is_none_or(|draft| draft.user != user) {
            room::push(&mut self.drafts, Draft { user, rest: Vec::new(), tools: None });
        }
        let last = self.drafts.len() - 1;
        &mut self.drafts[last]
    }

    fn finish(mut self) -> Result<Conversation<'a>> {
        let mut turns: Vec<Turn<'a>> = Vec::new();
        for turn in std::mem::take(&mut self.drafts).into_iter().map(Draft::finish) {
            // A turn without content may have separated two of the other role.
            match turns.last_mut() {
                _ if turn.content.is_empty() => {}
                Some(last) if last.role == turn.role => last.content.extend(turn.content),
                _ => room::push(&mut turns, turn),
            }
        }
        self.open(&mut turns)?;
        turns.iter_mut().for_each(accompany_documents);
        if let Some(Turn { role: "assistant", content }) = turns.last_mut() {
            trim_end(content);
        }
        Ok(Conversation { system: self.system, turns })
    }

    /// The first turn must be the user's, and there must be one.
    fn open(&mut self, turns: &mut Vec<Turn<'a>>) -> Result<()> {
        match turns.first() {
            Some(turn) if turn.role == "user" => {}
            Some(_) => {
                self.losses.emulated(Field::Messages, "a user turn was put before the first assistant turn");
                turns.insert(0, Turn { role: "user", content: vec![Block::Text(OPENING.into())] });
            }
            None if self.system.is_empty() => {
                return Err(Error::invalid(
                    Field::Messages,
                    "There must be at least one message with content.",
                ));
            }
            None => {
                self.losses.approximated(
                    Field::Messages,
                    "instructions without a conversation were sent as a user turn",
                );
                turns.push(Turn { role: "user", content: std::mem::take(&mut self.system) });
            }
        }
        Ok(())
    }
}

/// A document must be accompanied by a text (API reference of `DocumentBlock`).
fn accompany_documents(turn: &mut Turn<'_>) {
    let has = |is: fn(&Block<'_>) -> bool| turn.content.iter().any(is);
    if has(|block| matches!(block, Block::Document(_))) && !has(|block| matches!(block, Block::Text(_))) {
        turn.content.push(Block::Text(SEE_DOCUMENT.into()));
    }
}

/// The beginning of an answer that the model continues must not end with white space.
fn trim_end(content: &mut Vec<Block<'_>>) {
    if let Some(Block::Text(text)) = content.last_mut()
        && text.trim_end().len() < text.len()
    {
        *text = Cow::Owned(text.trim_end().to_owned());
    }
}

fn append<'a>(blocks: &mut Vec<Block<'a>>, block: Option<Block<'a>>, point: Option<CachePoint>) {
    let point = point.map(Block::CachePoint);
    if let Some(block) = block {
        room::push(blocks, block);
    }
    let may_follow =
        blocks.last().is_some_and(|last| !matches!(last, Block::CachePoint(_) | Block::ReasoningContent(_)));
    if may_follow {
        blocks.extend(point);
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
