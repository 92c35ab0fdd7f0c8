//! The conversation: from canonical messages to alternating turns that answer every tool call in the next
//! turn.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use canon::{
    CallField, Error, Field, Losses, Media, MediaKind, Message, MessageField, Part, PartField, PartKind,
    Reasoning, Request, Result, ToolCall,
};

use super::thinking::Generation;
use super::tools::{input, wire_id};
use crate::json::{Output, room};
use crate::protocols::Protocol;
use crate::protocols::anthropic_messages::REASONING_FORMAT;
use crate::protocols::anthropic_messages::types::{
    Block, CONTAINER_UPLOAD, CacheControl, Content, Source, ToolUse,
};
use crate::protocols::call_ids::CallIds;
use crate::protocols::tool_names::Names;
use crate::protocols::turns::{ResultsOf, Turn, Turns};
use crate::protocols::unsupported::OF_ANOTHER_FORMAT;

/// The text of a user turn that the API requires and the conversation lacks.
const BEGINNING: &str = "(The conversation begins with the assistant.)";
const CONTINUE: &str = "Continue.";

const WORDS_FIRST: &str = "Tool calls come last in a turn: text after them was moved before them.";
const NO_CONTENT: &str = "There is no content for the cache mark.";

/// The inputs of the turns.
#[derive(Clone, Copy)]
pub(super) struct TurnInputs<'a, 'r> {
    pub request: &'a Request,
    pub model: &'r str,
    /// The model will think, and then refuses an unfinished answer at the end.
    pub thinking: bool,
    pub names: &'r Names<'r>,
}

/// The facts about a written conversation.
pub(super) struct Conversation<'a> {
    pub system: Vec<Block<'a>>,
    /// The number of cache marks, including those that were left out.
    pub marks: usize,
    /// The model waits for results of calls whose thinking is missing.
    pub thoughtless: bool,
}

impl<'a> TurnInputs<'a, '_> {
    /// Begins the body with the turns, without the first `skipped` cache marks, and returns the system prompt.
    pub fn write(self, skipped: usize, losses: &mut Losses, out: &mut Output) -> Result<Conversation<'a>> {
        let has_own_blocks = self.request.format == Protocol::AnthropicMessages.as_str();
        let is_content = |part: &Part| match part.kind {
            PartKind::Native(_) => has_own_blocks,
            _ => is_content(part),
        };
        let turns = Turns::of(self.request, CallIds::of(self.request, wire_id), is_content)?;
        let mut writer = Writer {
            messages: &self.request.messages,
            names: self.names,
            has_own_blocks,
            losses,
            out,
            open: None,
            marks: 0,
            skipped,
        };
        let leading = turns.leading();
        writer.note(leading.len());
        let mut system = writer.system(leading)?;
        writer.out.push(br#"{"messages":["#);
        if turns.is_empty() {
            writer.instructions_alone(std::mem::take(&mut system))?;
        }
        let mut thoughtless = false;
        for turn in turns.iter() {
            if turn.is_users {
                thoughtless = turns.results(&turn).next().is_some()
                    && !writer.open.as_ref().is_some_and(|open| open.begins_with_thinking);
                writer.user(&turns, &turn)?;
            } else {
                thoughtless = false;
                writer.assistant(&turns, &turn)?;
            }
        }
        let continues =
            !self.thinking && !Generation::of(self.model).is_some_and(Generation::refuses_prefill);
        writer.end(continues)?;
        Ok(Conversation { system, marks: writer.marks, thoughtless })
    }
}

/// Whether a part that is neither a call nor a result is written at all.
fn is_content(part: &Part) -> bool {
    match &part.kind {
        PartKind::Text(text) | PartKind::Refusal(text) => !text.trim().is_empty(),
        PartKind::Reasoning(thought) => thought_block(thought, part).is_some(),
        _ => true,
    }
}

/// A single text without a cache mark is a string.
pub(super) fn plain(blocks: Vec<Block<'_>>) -> Content<'_> {
    match <[Block<'_>; 1]>::try_from(blocks) {
        Ok([Block::Text { text, cache_control: None }]) => Content::Text(text),
        Ok(one) => Content::Blocks(one.into()),
        Err(blocks) => Content::Blocks(blocks),
    }
}

struct Writer<'a, 'w> {
    messages: &'a [Message],
    names: &'w Names<'w>,
    /// Blocks that only one format has are of this one.
    has_own_blocks: bool,
    losses: &'w mut Losses,
    out: &'w mut Output,
    open: Option<OpenTurn<'a>>,
    marks: usize,
    /// The number of leading marks that are not written.
    skipped: usize,
}

/// The open turn.
struct OpenTurn<'a> {
    is_users: bool,
    begins_with_thinking: bool,
    has_calls: bool,
    /// The most recent block, with its message. It is written late: a following mark may belong to it, and a
    /// single text becomes a string.
    last: Option<(usize, Block<'a>)>,
    /// Blocks were written.
    is_list: bool,
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
            if index >= leading && message.role.is_instruction() {
                self.losses.approximated(
                    Field::of_message(index, MessageField::Role),
                    "Instructions are allowed only at the beginning: these were sent as user text at their position.",
                );
            }
            let mut has_called = false;
            for (position, part) in message.parts.iter().enumerate() {
                match &part.kind {
                    PartKind::ToolCall(_) => has_called = true,
                    PartKind::Text(_) | PartKind::Refusal(_) if has_called && is_content(part) => {
                        self.losses.approximated(Field::part(index, position), WORDS_FIRST);
                    }
                    PartKind::Reasoning(thought) => {
                        self.note_thought(thought, part, Field::thinking(index, position))
                    }
                    PartKind::Native(_) if !self.has_own_blocks => {
                        self.losses.dropped(Field::thinking(index, position), OF_ANOTHER_FORMAT);
                    }
                    _ => {}
                }
            }
        }
    }

    fn note_thought(&mut self, thought: &Reasoning, part: &Part, field: Field) {
        if thought_block(thought, part).is_none() {
            let reason = match thought.format.as_deref() {
                Some(format) if format != REASONING_FORMAT => {
                    "Thinking of another family of models is not accepted."
                }
                _ => "Thinking without its signature is not accepted.",
            };
            self.losses.dropped(field, reason);
        }
        if part.cache.is_some() {
            self.losses.dropped(Field::CacheMark, "Thinking cannot have a cache mark.");
        }
    }

    fn system(&mut self, leading: &'a [Message]) -> Result<Vec<Block<'a>>> {
        let mut system: Vec<Block<'a>> = Vec::new();
        for (index, message) in leading.iter().enumerate() {
            for (position, part) in message.parts.iter().enumerate() {
                match &part.kind {
                    PartKind::Text(text) | PartKind::Refusal(text) if !text.trim().is_empty() => {
                        room::push(&mut system, text_block(Cow::Borrowed(text), mark(part)));
                    }
                    PartKind::Text(_) | PartKind::Refusal(_) => {
                        self.mark_last(part, system.last_mut());
                    }
                    _ if !message.role.is_instruction() => {}
                    _ => {
                        let part = Field::part(index, position);
                        return Err(Error::unsupported(
                            part,
                            "The provider accepts only text as instructions.",
                        ));
                    }
                }
            }
        }
        Ok(system)
    }

    fn instructions_alone(&mut self, system: Vec<Block<'a>>) -> Result<()> {
        if system.is_empty() {
            return Err(Error::invalid(Field::Messages, "There must be at least one message with content."));
        }
        self.losses
            .approximated(Field::Messages, "Instructions without a conversation were sent as a user turn.");
        self.begin(true)?;
        system.into_iter().try_for_each(|block| self.block(0, block))
    }

    /// Moves the cache mark of an omitted text to the block before it.
    fn mark_last(&mut self, part: &Part, last: Option<&mut Block<'a>>) {
        let Some(mark) = mark(part) else { return };
        match last.and_then(Block::cache_mark) {
            Some(place) => *place = Some(mark),
            None => self.losses.dropped(Field::CacheMark, NO_CONTENT),
        }
    }

    // -------------------------------------------------------------------------------------------- turns

    /// Begins a turn. A conversation begins with the user.
    fn begin(&mut self, is_users: bool) -> Result<()> {
        if self.open.is_none() && !is_users {
            self.losses.approximated(
                Field::Messages,
                "A conversation must begin with the user: a user turn was added in front.",
            );
            self.begin(true)?;
            self.block(0, text_block(BEGINNING.into(), None))?;
        }
        self.close()?;
        self.out.comma();
        self.out.push(b"{");
        self.out.text("role", if is_users { "user" } else { "assistant" });
        self.out.key("content");
        self.open = Some(OpenTurn {
            is_users,
            begins_with_thinking: false,
            has_calls: false,
            last: None,
            is_list: false,
        });
        Ok(())
    }

    /// Adds a block of this message.
    fn block(&mut self, message: usize, block: Block<'a>) -> Result<()> {
        self.flush()?;
        if let Some(open) = &mut self.open {
            if !open.is_list {
                open.begins_with_thinking =
                    matches!(block, Block::Thinking { .. } | Block::RedactedThinking { .. });
            }
            open.last = Some((message, block));
        }
        Ok(())
    }

    /// Writes the most recent block, as one of several.
    fn flush(&mut self) -> Result<()> {
        let Some((_, mut block)) = self.open.as_mut().and_then(|open| open.last.take()) else {
            return Ok(());
        };
        if let Some(mark) = block.cache_mark() {
            *mark = self.counted(*mark);
        }
        self.next_of_list();
        self.out.value(&block)
    }

    fn next_of_list(&mut self) {
        if let Some(open) = &mut self.open
            && !std::mem::replace(&mut open.is_list, true)
        {
            self.out.push(b"[");
        }
        self.out.comma();
    }

    /// Counts a mark; none if it is one of the surplus marks.
    fn counted(&mut self, mark: Option<CacheControl>) -> Option<CacheControl> {
        self.marks += usize::from(mark.is_some());
        mark.filter(|_| self.marks > self.skipped)
    }

    fn close(&mut self) -> Result<()> {
        // A single text without a mark is a string.
        if let Some(open) = &self.open
            && !open.is_list
            && let Some((_, Block::Text { text, cache_control: None })) = &open.last
        {
            self.out.string(text);
        } else {
            self.flush()?;
            self.open.is_some().then(|| self.out.push(b"]"));
        }
        if self.open.take().is_some() {
            self.out.push(b"}");
        }
        Ok(())
    }

    /// Repairs the end of a conversation that the API refuses. `continues`: the model continues its own text.
    fn end(&mut self, continues: bool) -> Result<()> {
        if let Some(open) = self.open.as_mut().filter(|open| !open.is_users && !open.has_calls) {
            // A final text must not end in white space; elsewhere it may.
            if let Some((_, Block::Text { text: Cow::Borrowed(text), .. })) = &mut open.last {
                *text = text.trim_end();
            }
            if !continues {
                self.losses.approximated(
                    Field::Messages,
                    "The model cannot continue its own text: a user turn was added.",
                );
                self.begin(true)?;
                self.block(0, text_block(CONTINUE.into(), None))?;
            }
        }
        self.close()?;
        self.out.push(b"]");
        Ok(())
    }

    fn user(&mut self, turns: &Turns<'a>, turn: &Turn<'_>) -> Result<()> {
        self.begin(true)?;
        for (call, results) in turns.results(turn) {
            self.result(turns.ids.id(call), results)?;
        }
        turns.parts(turn).try_for_each(|((index, position), part)| {
            self.push_part(index, part, &Field::part(index, position))
        })
    }

    fn assistant(&mut self, turns: &Turns<'a>, turn: &Turn<'_>) -> Result<()> {
        self.begin(false)?;
        for ((index, position), part) in turns.parts(turn) {
            match &part.kind {
                PartKind::Reasoning(thought) => {
                    if let Some(block) = thought_block(thought, part) {
                        self.block(index, block)?;
                    }
                }
                PartKind::Native(block) if self.has_own_blocks => self.block(index, Block::Raw(block))?,
                PartKind::Native(_) => {}
                PartKind::Media(media) if media.kind == MediaKind::Image => {
                    return Err(Error::unsupported(
                        Field::part(index, position),
                        "The provider does not accept pictures in the assistant's turns.",
                    ));
                }
                _ => self.push_part(index, part, &Field::part(index, position))?,
            }
        }
        let mut of_message = (usize::MAX, 0);
        for ((index, _), number, part, call) in turns.calls(turn) {
            of_message = if of_message.0 == index { (index, of_message.1 + 1) } else { (index, 0) };
            let field = Field::call(index, of_message.1, CallField::Arguments);
            let block = self.call(call, turns.ids.kept_id(number), mark(part), field);
            self.block(index, block)?;
        }
        Ok(())
    }

    fn call(
        &mut self,
        call: &'a ToolCall,
        id: Cow<'a, str>,
        cache_control: Option<CacheControl>,
        arguments: Field,
    ) -> Block<'a> {
        let mut wrapped = false;
        let input = input(call, &mut wrapped);
        if wrapped {
            self.losses
                .approximated(arguments, "The arguments are not a JSON object: they were wrapped in one.");
        }
        if let Some(open) = &mut self.open {
            open.has_calls = true;
        }
        Block::ToolUse(Box::new(ToolUse {
            id,
            name: self.names.wire_owned(&call.name),
            input,
            cache_control,
        }))
    }

    /// Writes the result of a call. Two results of one call are joined, because the API takes one.
    fn result(&mut self, id: &str, results: ResultsOf<'a, '_>) -> Result<()> {
        self.flush()?;
        self.next_of_list();
        self.out.push(b"{");
        self.out.text("type", "tool_result");
        self.out.text("tool_use_id", id);
        let mut has_content = false;
        for (path, part) in results.content() {
            let block = match &part.kind {
                PartKind::Text(text) | PartKind::Refusal(text) if text.trim().is_empty() => {
                    if part.cache.is_some() && !has_content {
                        self.losses.dropped(Field::CacheMark, NO_CONTENT);
                    }
                    continue;
                }
                PartKind::Text(text) | PartKind::Refusal(text) => text_block(Cow::Borrowed(text), None),
                PartKind::Media(media) => self.media(media, None, &path)?,
                _ => return Err(misplaced(&path)),
            };
            if std::mem::replace(&mut has_content, true) {
                self.out.push(b",")
            } else {
                self.out.raw("content", "[")
            }
            self.out.value(&block)?;
        }
        if has_content {
            self.out.push(b"]");
        }
        if results.iter().any(|(_, _, result)| result.is_error) {
            self.out.raw("is_error", "true");
        }
        // The mark belongs to the result, not to its content.
        let inner = |parts: &[Part]| parts.iter().find_map(mark).filter(|_| has_content);
        let first = results.iter().next();
        let mark = first.and_then(|(_, part, result)| mark(part).or_else(|| inner(&result.content)));
        if let Some(mark) = self.counted(mark) {
            self.out.key("cache_control");
            self.out.value(&mark)?;
        }
        self.out.push(b"}");
        Ok(())
    }

    /// Text and media. Blank texts are refused, so they are left out.
    fn push_part(&mut self, index: usize, part: &'a Part, path: &Field) -> Result<()> {
        match &part.kind {
            PartKind::Text(text) | PartKind::Refusal(text) if text.trim().is_empty() => {
                let mut last = self.open.as_mut().and_then(|open| open.last.take());
                self.mark_last(part, last.as_mut().filter(|(of, _)| *of == index).map(|(_, block)| block));
                if let Some(open) = &mut self.open {
                    open.last = last;
                }
                Ok(())
            }
            PartKind::Text(text) | PartKind::Refusal(text) => {
                self.block(index, text_block(Cow::Borrowed(text), mark(part)))
            }
            PartKind::Media(media) => {
                let block = self.media(media, mark(part), path)?;
                self.block(index, block)
            }
            PartKind::ToolCall(_)
            | PartKind::ToolResult(_)
            | PartKind::Reasoning(_)
            | PartKind::Native(_) => Err(misplaced(path)),
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
            MediaKind::Audio => Err(Error::unsupported(path.clone(), "The provider does not accept audio.")),
            MediaKind::Video => Err(Error::unsupported(path.clone(), "The provider does not accept video.")),
        }
    }
}

fn misplaced(path: &Field) -> Error {
    Error::invalid(path.clone(), "This kind of content is not allowed here.")
}

/// A thought in the form that the API takes back, with its proof; none without one.
fn thought_block<'a>(thought: &'a Reasoning, part: &'a Part) -> Option<Block<'a>> {
    match (thought.format.as_deref(), &thought.encrypted, &part.signature) {
        (Some(format), ..) if format != REASONING_FORMAT => None,
        (_, Some(data), _) => Some(Block::RedactedThinking { data }),
        (_, None, Some(signature)) => Some(Block::Thinking { thinking: &thought.text, signature }),
        _ => None,
    }
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
                        format!("The provider accepts JPEG, PNG, GIF and WebP images, not {mime:?}.");
                    return Err(Error::unsupported(path.clone(), message));
                }
            };
            Ok(Source::Base64 { media_type, data })
        }
        canon::Source::Text(_) => Err(Error::unsupported(path.clone(), "An image cannot be sent as text.")),
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
            let message = format!("The provider accepts PDF and text files, not {mime:?}.");
            Err(Error::unsupported(path.clone(), message))
        }
    }
}
