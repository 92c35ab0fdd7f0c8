//! The conversation: from canonical messages to alternating turns that answer every tool call in the next
//! turn.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use canon::{
    CallField, Error, Field, Losses, Media, MediaKind, Message, MessageField, Part, PartField, PartKind,
    Reasoning, Request, Result, Role, ToolResult,
};

use super::thinking::Generation;
use super::tools::{Names, input, wire_id};
use crate::json::room::{self, append};
use crate::protocols::anthropic_messages::types::{
    self, Block, CONTAINER_UPLOAD, CacheControl, Content, Source, ToolUse, Turn,
};
use crate::protocols::anthropic_messages::{BLOCK_FORMAT, REASONING_FORMAT};
use crate::protocols::call_ids::CallIds;

/// The text for a required turn of the user that the conversation lacks.
const BEGINNING: &str = "(The conversation begins with the assistant.)";
const CONTINUE: &str = "Continue.";

const WORDS_FIRST: &str = "Calls come last in a turn: words behind them were moved in front.";

/// The system prompt and the turns of a request.
pub(super) struct Conversation<'a> {
    pub system: Vec<Block<'a>>,
    pub turns: Vec<Turn<'a>>,
    /// The model waits for results of calls whose thinking is missing.
    pub thoughtless: bool,
}

/// Builds the conversation. `thinking`: the model will think, which excludes an unfinished answer at the end.
pub(super) fn conversation<'a>(
    request: &'a Request,
    model: &str,
    thinking: bool,
    names: &Names,
    losses: &mut Losses,
) -> Result<Conversation<'a>> {
    let ids = CallIds::of(request, wire_id);
    let mut builder = Builder { names, losses, ids, turns: Vec::new(), calls: Vec::new() };
    let leading = request.messages.iter().take_while(|message| message.role.is_instruction()).count();
    let mut system = Vec::new();
    for (index, message) in request.messages.iter().enumerate() {
        match message.role {
            _ if index < leading => builder.system(message, index, &mut system)?,
            Role::Assistant => builder.assistant(message, index)?,
            Role::Tool => builder.tool(message, index)?,
            Role::User | Role::System | Role::Developer => builder.user(message, index)?,
        }
    }
    let mut turns = builder.turns;
    merge(&mut turns);
    if turns.is_empty() {
        if system.is_empty() {
            return Err(Error::invalid(Field::Messages, "There must be at least one message with content."));
        }
        losses.approximated(
            Field::Messages,
            "A request needs a turn of the user: the instructions were sent as one.",
        );
        turns.push(Turn { user: true, rest: std::mem::take(&mut system), tools: None });
    }
    let thoughtless = is_thoughtless(&turns);
    ends(&mut turns, model, thinking, losses);
    Ok(Conversation { system, turns, thoughtless })
}

/// True when the conversation ends with results of calls, and the turn of those calls does not begin with thinking.
fn is_thoughtless(turns: &[Turn<'_>]) -> bool {
    let [.., calls, results] = turns else { return false };
    let thought = matches!(calls.rest.first(), Some(Block::Thinking { .. } | Block::RedactedThinking { .. }));
    results.tools.as_ref().is_some_and(|tools| !tools.results.is_empty()) && !thought
}

/// Drops empty turns, and joins adjacent ones of the same role.
fn merge(turns: &mut Vec<Turn<'_>>) {
    turns.retain(|turn| turn.blocks().next().is_some());
    turns.dedup_by(|turn, last| {
        let meet = turn.user == last.user;
        if meet {
            append(&mut last.rest, &mut turn.rest);
            if let Some(mut more) = turn.tools.take() {
                append(&mut last.tools().results, &mut more.results);
                append(&mut last.tools().calls, &mut more.calls);
            }
        }
        meet
    });
    turns.iter_mut().filter_map(|turn| turn.tools.as_mut()).for_each(|tools| sort(&mut tools.results));
}

/// Results in the order of their calls. Two results of one call are joined: the API accepts one.
fn sort(results: &mut Vec<(u32, Block<'_>)>) {
    results.sort_by_key(|(position, _)| *position);
    results.dedup_by(|(position, second), (taken, first)| {
        let same = position == taken;
        if let (true, Block::ToolResult(second), Block::ToolResult(first)) = (same, second, first) {
            first.content.append(&mut second.content);
            first.is_error |= second.is_error;
        }
        same
    });
}

/// A single text without a cache mark is a string.
pub(super) fn plain(blocks: Vec<Block<'_>>) -> Content<'_> {
    match <[Block<'_>; 1]>::try_from(blocks) {
        Ok([Block::Text { text, cache_control: None }]) => Content::Text(text),
        Ok(one) => Content::Blocks(one.into()),
        Err(blocks) => Content::Blocks(blocks),
    }
}

/// Repairs both ends of a conversation where the API would refuse it.
fn ends(turns: &mut Vec<Turn<'_>>, model: &str, thinking: bool, losses: &mut Losses) {
    let note =
        |text: &'static str| Turn { user: true, rest: vec![text_block(text.into(), None)], tools: None };
    if turns.first().is_some_and(|turn| !turn.user) {
        losses
            .approximated(Field::Messages, "A conversation begins with the user: a turn was added in front.");
        turns.insert(0, note(BEGINNING));
    }
    let has_calls = |turn: &Turn<'_>| turn.tools.as_ref().is_some_and(|tools| !tools.calls.is_empty());
    let Some(last) = turns.last_mut().filter(|turn| !turn.user && !has_calls(turn)) else { return };
    while let Some(Block::Text { text, .. }) = last.rest.last_mut() {
        // A final text must not end with white space; other texts may.
        let kept = text.trim_end().len();
        match text {
            Cow::Borrowed(text) => *text = &text[..kept],
            Cow::Owned(text) => text.truncate(kept),
        }
        if kept > 0 {
            break;
        }
        last.rest.pop();
    }
    if thinking || Generation::of(model).is_some_and(Generation::refuses_prefill) {
        losses.approximated(
            Field::Messages,
            "The model does not continue its own words: a turn of the user was added.",
        );
        turns.push(note(CONTINUE));
    }
}

struct Builder<'a, 'r> {
    names: &'r Names,
    losses: &'r mut Losses,
    ids: CallIds<'a>,
    turns: Vec<Turn<'a>>,
    /// The position of each call: its turn and its index there.
    calls: Vec<(u32, u32)>,
}

impl<'a> Builder<'a, '_> {
    fn system(&mut self, message: &'a Message, index: usize, system: &mut Vec<Block<'a>>) -> Result<()> {
        self.note_name(message, index);
        for (position, part) in message.parts.iter().enumerate() {
            match &part.kind {
                PartKind::Text(text) | PartKind::Refusal(text) => self.text(text, part, system),
                _ => {
                    let part = Field::part(index, position);
                    return Err(Error::unsupported(part, "The provider takes only text as instructions."));
                }
            }
        }
        Ok(())
    }

    fn user(&mut self, message: &'a Message, index: usize) -> Result<()> {
        self.note_name(message, index);
        if message.role.is_instruction() {
            self.losses.approximated(
                Field::of_message(index, MessageField::Role),
                "Instructions stand only at the beginning: sent as words of the user, in their place.",
            );
        }
        let mut blocks = Vec::with_capacity(message.parts.len());
        for (position, part) in message.parts.iter().enumerate() {
            let path = Field::part(index, position);
            self.said(part, &path, &mut blocks)?;
        }
        append(&mut self.turn(true).rest, &mut blocks);
        Ok(())
    }

    fn assistant(&mut self, message: &'a Message, index: usize) -> Result<()> {
        self.note_name(message, index);
        self.turn(false);
        let turn = self.turns.len() - 1;
        let before = self.turns[turn].tools.as_ref().map_or(0, |tools| tools.calls.len());
        let count = message.tool_calls().count();
        let mut blocks = Vec::with_capacity(message.parts.len() - count);
        let mut calls = Vec::with_capacity(count);
        for (position, part) in message.parts.iter().enumerate() {
            let path = Field::part(index, position);
            match &part.kind {
                PartKind::Reasoning(reasoning) => {
                    self.thought(reasoning, part, Field::thinking(index, position), &mut blocks)
                }
                PartKind::ToolCall(call) => {
                    let mut wrapped = false;
                    let input = input(call, &mut wrapped);
                    if wrapped {
                        let field = Field::call(index, calls.len(), CallField::Arguments);
                        self.losses
                            .approximated(field, "The arguments are no JSON object: wrapped into one.");
                    }
                    let id = self.ids.kept_id(self.calls.len());
                    self.calls.push((turn as u32, (before + calls.len()) as u32));
                    let name = self.names.wire(&call.name);
                    calls.push(Block::ToolUse(Box::new(ToolUse {
                        id,
                        name,
                        input,
                        cache_control: mark(part),
                    })));
                }
                PartKind::Media(media) if media.kind == MediaKind::Image => {
                    return Err(Error::unsupported(
                        path,
                        "The provider takes no pictures in the assistant's turns.",
                    ));
                }
                kind => {
                    if !calls.is_empty() && is_words(kind) {
                        self.losses.approximated(path.clone(), WORDS_FIRST);
                    }
                    self.said(part, &path, &mut blocks)?;
                }
            }
        }
        append(&mut self.turns[turn].rest, &mut blocks);
        if !calls.is_empty() {
            append(&mut self.turns[turn].tools().calls, &mut calls);
        }
        Ok(())
    }

    /// A result goes to the turn after its call, wherever it is in the request.
    fn tool(&mut self, message: &'a Message, index: usize) -> Result<()> {
        for (place, part) in message.parts.iter().enumerate() {
            let PartKind::ToolResult(result) = &part.kind else { continue };
            let number = self.ids.answered((index, place));
            let Some((number, &(turn, position))) =
                number.and_then(|number| Some((number, self.calls.get(number)?)))
            else {
                let message =
                    format!("No assistant message before this one has a tool call {:?}.", result.call_id);
                return Err(Error::invalid(Field::of_message(index, MessageField::CallId), message));
            };
            let block = self.result(result, part, index, number)?;
            let turn = turn as usize + 1;
            if turn == self.turns.len() {
                room::push(&mut self.turns, Turn { user: true, ..Turn::default() });
            }
            let results = &mut self.turns[turn].tools().results;
            if results.is_empty() {
                results.reserve_exact(1);
            }
            results.push((position, block));
        }
        Ok(())
    }

    fn result(
        &mut self,
        result: &'a ToolResult,
        part: &'a Part,
        index: usize,
        number: usize,
    ) -> Result<Block<'a>> {
        let mut content = Vec::with_capacity(result.content.len());
        for (position, inner) in result.content.iter().enumerate() {
            self.said(inner, &Field::result_part(index, position), &mut content)?;
        }
        // The mark belongs on the result, not on the content within it.
        let mut cache_control = mark(part);
        for block in &mut content {
            if let Some(inner) = block.cache_mark().and_then(Option::take) {
                cache_control = cache_control.or(Some(inner));
            }
        }
        let tool_use_id = self.ids.kept_id(number);
        let is_error = result.is_error;
        Ok(Block::ToolResult(Box::new(types::ToolResult { tool_use_id, content, is_error, cache_control })))
    }

    /// Text and media.
    fn said(&mut self, part: &'a Part, path: &Field, blocks: &mut Vec<Block<'a>>) -> Result<()> {
        match &part.kind {
            PartKind::Text(text) | PartKind::Refusal(text) => self.text(text, part, blocks),
            PartKind::Media(media) => blocks.push(self.media(media, mark(part), path)?),
            PartKind::ToolCall(_) | PartKind::ToolResult(_) | PartKind::Reasoning(_) => {
                return Err(Error::invalid(path.clone(), "This kind of content cannot stand here."));
            }
        }
        Ok(())
    }

    /// Blank texts are refused, so they are dropped.
    fn text(&mut self, text: &'a str, part: &'a Part, blocks: &mut Vec<Block<'a>>) {
        if !text.trim().is_empty() {
            blocks.push(text_block(Cow::Borrowed(text), mark(part)));
            return;
        }
        let Some(mark) = mark(part) else { return };
        // The mark moves to the block before: the caller wants the cache up to here.
        match blocks.last_mut().and_then(Block::cache_mark) {
            Some(place) => *place = Some(mark),
            None => self.losses.dropped(Field::CacheMark, "There is no content to mark."),
        }
    }

    fn thought(&mut self, thought: &'a Reasoning, part: &'a Part, field: Field, blocks: &mut Vec<Block<'a>>) {
        match (thought.format.as_deref(), &thought.extra, &thought.encrypted, &part.signature) {
            (Some(BLOCK_FORMAT), Some(raw), _, _) => blocks.push(Block::Raw(raw)),
            (Some(format), ..) if format != REASONING_FORMAT => {
                self.losses.dropped(field, "Thinking of another family of models is not accepted.");
            }
            (_, _, Some(data), _) => blocks.push(Block::RedactedThinking { data }),
            (_, _, None, Some(signature)) => {
                blocks.push(Block::Thinking { thinking: &thought.text, signature });
            }
            _ => self.losses.dropped(field, "Thinking without its signature is not accepted."),
        }
        if part.cache.is_some() {
            self.losses.dropped(Field::CacheMark, "Thinking cannot be marked.");
        }
    }

    fn media(&mut self, media: &'a Media, cache: Option<CacheControl>, path: &Field) -> Result<Block<'a>> {
        let kind = match (media.kind, &media.source) {
            (MediaKind::Document, canon::Source::Base64 { mime, .. }) if mime.starts_with("image/") => {
                MediaKind::Image
            }
            (kind, _) => kind,
        };
        match kind {
            MediaKind::Image => {
                if media.detail.as_deref().is_some_and(|detail| detail != "auto") {
                    self.losses.dropped(
                        path.clone().with(PartField::Detail(MediaKind::Image)),
                        "The provider chooses the resolution.",
                    );
                }
                Ok(Block::Image { source: picture(&media.source, path)?.into(), cache_control: cache })
            }
            MediaKind::Document => match (&media.source, media.detail.as_deref()) {
                (canon::Source::FileId(file_id), Some(CONTAINER_UPLOAD)) => {
                    Ok(Block::ContainerUpload { file_id, cache_control: cache })
                }
                (source, _) => Ok(Block::Document {
                    source: document(source, path)?.into(),
                    title: media.filename.as_ref(),
                    cache_control: cache,
                }),
            },
            MediaKind::Audio => Err(Error::unsupported(path.clone(), "The provider takes no audio.")),
            MediaKind::Video => Err(Error::unsupported(path.clone(), "The provider takes no video.")),
        }
    }

    /// The current turn if it is of this role, else a new one.
    fn turn(&mut self, user: bool) -> &mut Turn<'a> {
        let same = self.turns.last().is_some_and(|turn| turn.user == user);
        if !same {
            room::push(&mut self.turns, Turn { user, ..Turn::default() });
        }
        let last = self.turns.len() - 1;
        &mut self.turns[last]
    }

    fn note_name(&mut self, message: &Message, index: usize) {
        if message.name.is_some() {
            self.losses.dropped(Field::of_message(index, MessageField::Name), "Messages have no names here.");
        }
    }
}

fn is_words(kind: &PartKind) -> bool {
    matches!(kind, PartKind::Text(text) | PartKind::Refusal(text) if !text.trim().is_empty())
}

fn mark(part: &Part) -> Option<CacheControl> {
    part.cache.as_ref().map(CacheControl::from)
}

pub(super) fn text_block(text: Cow<'_, str>, cache_control: Option<CacheControl>) -> Block<'_> {
    Block::Text { text, cache_control }
}

fn picture<'a>(source: &'a canon::Source, path: &Field) -> Result<Source<'a>> {
    match source {
        canon::Source::Url(url) => Ok(Source::Url { url }),
        canon::Source::FileId(file_id) => Ok(Source::File { file_id }),
        canon::Source::Base64 { mime, data } => {
            let media_type = match mime.as_str() {
                "image/jpg" => "image/jpeg",
                "image/jpeg" | "image/png" | "image/gif" | "image/webp" => mime,
                _ => {
                    let message =
                        format!("The provider takes JPEG, PNG, GIF and WebP pictures, not {mime:?}.");
                    return Err(Error::unsupported(path.clone(), message));
                }
            };
            Ok(Source::Base64 { media_type, data })
        }
        canon::Source::Text(_) => Err(Error::unsupported(path.clone(), "A picture cannot be given as text.")),
    }
}

fn document<'a>(source: &'a canon::Source, path: &Field) -> Result<Source<'a>> {
    let plain = |data| Source::Text { media_type: "text/plain", data };
    match source {
        canon::Source::Url(url) => Ok(Source::Url { url }),
        canon::Source::FileId(file_id) => Ok(Source::File { file_id }),
        canon::Source::Text(text) => Ok(plain(Cow::Borrowed(text.as_str()))),
        canon::Source::Base64 { mime, data } if mime == "application/pdf" => {
            Ok(Source::Base64 { media_type: "application/pdf", data })
        }
        canon::Source::Base64 { mime, data } if mime.starts_with("text/") || mime == "application/json" => {
            let bytes = STANDARD.decode(data).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let text = bytes.ok_or_else(|| {
                Error::invalid(path.clone(), "The file is not UTF-8 text in standard base64.")
            })?;
            Ok(plain(Cow::Owned(text)))
        }
        canon::Source::Base64 { mime, .. } => {
            let message = format!("The provider takes PDF and text files, not {mime:?}.");
            Err(Error::unsupported(path.clone(), message))
        }
    }
}
