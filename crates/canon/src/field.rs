//! The field that an error or a loss is about, independent of any dialect.
//!
//! Adapters translate requests of every dialect, and callers know only the names of their own dialect: each
//! dialect renders a [`Field`] as the path in the body that its caller wrote. Messages and parts therefore
//! remember their position ([`Place`]), and a request remembers the fields that its caller wrote by an
//! unusual name ([`Spellings`]).

use std::borrow::Cow;
use std::fmt;

use crate::MediaKind;

/// A field of a request. Indexes count in the canonical request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// The request as a whole.
    Body,
    /// The model.
    Model,
    /// Whether the answer is streamed.
    Stream,
    /// The conversation as a whole.
    Messages,
    /// A message, or one of its fields.
    Message {
        /// Which message.
        message: usize,
        /// Which field of it.
        of: MessageField,
    },
    /// A part of a message.
    Part {
        /// Which message.
        message: usize,
        /// Which of its parts.
        part: usize,
        /// Which field of it.
        of: PartField,
    },
    /// A part of the result that a message of the role `Tool` holds.
    ResultPart {
        /// Which message.
        message: usize,
        /// Which part of the result.
        part: usize,
        /// Which field of it.
        of: PartField,
    },
    /// A tool call of a message.
    ToolCall {
        /// Which message.
        message: usize,
        /// Which of its calls.
        call: usize,
        /// Which field of it.
        of: CallField,
    },
    /// All tools.
    Tools,
    /// A tool.
    Tool {
        /// Which tool.
        tool: usize,
        /// Which field of it.
        of: ToolField,
    },
    /// Which tool to call.
    ToolChoice,
    /// Whether several calls in one turn are allowed.
    ParallelToolCalls,
    /// The form of the answer.
    Output(OutputField),
    /// How much to think, as a level.
    ReasoningEffort,
    /// How much to think, as a number of tokens.
    ReasoningBudget,
    /// Most tokens to produce.
    MaxTokens,
    /// Temperature.
    Temperature,
    /// Top-p.
    TopP,
    /// Top-k.
    TopK,
    /// Frequency penalty.
    FrequencyPenalty,
    /// Presence penalty.
    PresencePenalty,
    /// Seed.
    Seed,
    /// Texts that end the answer.
    Stop,
    /// Number of answers.
    N,
    /// Whether log probabilities are wanted.
    Logprobs,
    /// How many alternatives per token are wanted.
    TopLogprobs,
    /// The end user.
    User,
    /// Cache marks.
    CacheMark,
    /// A field of `Request::extra`, by its name there, or a member of one (`name.member`).
    Extra(Cow<'static, str>),
    /// Already in the caller's terms: the dialect's own reader names the fields of its own body. Also the
    /// field name that a provider reports.
    Verbatim(Cow<'static, str>),
}

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageField {
    /// The message itself.
    Whole,
    /// Who speaks.
    Role,
    /// The participant's name.
    Name,
    /// The content.
    Content,
    /// The model's thinking.
    Thinking,
    /// The proof of the model's thinking.
    Proofs,
    /// The call that a result answers.
    CallId,
    /// Whether the tool failed.
    Failed,
}

/// A field of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartField {
    /// The part itself.
    Whole,
    /// The part as the model's thinking.
    Thinking,
    /// Where the bytes of media are.
    Source(MediaKind),
    /// The resolution of media.
    Detail(MediaKind),
    /// The name of a file.
    Filename,
    /// The proof that a provider attached.
    Proof,
}

/// A field of a tool call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallField {
    /// The call itself.
    Whole,
    /// Its arguments.
    Arguments,
    /// The proof that a provider attached.
    Proof,
}

/// A field of a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ToolField {
    /// The tool itself.
    Whole,
    /// Its type.
    Type,
    /// The schema of its input.
    Parameters,
    /// Whether arguments must fit the schema.
    Strict,
    /// The grammar of a tool that takes free text.
    Grammar,
    /// Any further field of a function.
    Other(&'static str),
}

/// A field of the answer's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputField {
    /// The form itself.
    Whole,
    /// The schema.
    Schema,
    /// The purpose of the schema.
    Description,
}

impl Field {
    /// A message.
    pub fn message(message: usize) -> Self {
        Self::Message { message, of: MessageField::Whole }
    }

    /// Something of a message.
    pub fn of_message(message: usize, of: MessageField) -> Self {
        Self::Message { message, of }
    }

    /// A part of a message.
    pub fn part(message: usize, part: usize) -> Self {
        Self::Part { message, part, of: PartField::Whole }
    }

    /// A part of a message as the model's thinking.
    pub fn thinking(message: usize, part: usize) -> Self {
        Self::Part { message, part, of: PartField::Thinking }
    }

    /// A part of a tool's result.
    pub fn result_part(message: usize, part: usize) -> Self {
        Self::ResultPart { message, part, of: PartField::Whole }
    }

    /// Something of a tool call.
    pub fn call(message: usize, call: usize, of: CallField) -> Self {
        Self::ToolCall { message, call, of }
    }

    /// Something of a tool.
    pub fn tool(tool: usize, of: ToolField) -> Self {
        Self::Tool { tool, of }
    }

    /// A further field.
    pub fn extra(name: impl Into<Cow<'static, str>>) -> Self {
        Self::Extra(name.into())
    }

    /// Another field of the same part; fields that are not of a part stay unchanged.
    pub fn with(self, of: PartField) -> Self {
        match self {
            Self::Part { message, part, .. } => Self::Part { message, part, of },
            Self::ResultPart { message, part, .. } => Self::ResultPart { message, part, of },
            other => other,
        }
    }

    /// The message that the field is in.
    pub fn message_index(&self) -> Option<usize> {
        match self {
            Self::Message { message, .. }
            | Self::Part { message, .. }
            | Self::ResultPart { message, .. }
            | Self::ToolCall { message, .. } => Some(*message),
            _ => None,
        }
    }

    /// The stable name, the same for callers of every dialect, for usage records, logs and tests. It is the
    /// name in OpenAI's chat format, which records have held from the beginning.
    pub fn name(&self) -> Cow<'static, str> {
        match self {
            Self::Body => "".into(),
            Self::Model => "model".into(),
            Self::Stream => "stream".into(),
            Self::Messages => "messages".into(),
            Self::Message { message, of } => format!("messages[{message}]{}", of.suffix()).into(),
            Self::Part { message, part, of } | Self::ResultPart { message, part, of } => match of {
                PartField::Thinking => format!("messages[{message}].reasoning").into(),
                of => format!("messages[{message}].content[{part}]{}", of.suffix()).into(),
            },
            Self::ToolCall { message, call, of } => {
                format!("messages[{message}].tool_calls[{call}]{}", of.suffix()).into()
            }
            Self::Tools => "tools".into(),
            Self::Tool { tool, of: ToolField::Other(name) } => {
                format!("tools[{tool}].function.{name}").into()
            }
            Self::Tool { tool, of } => format!("tools[{tool}]{}", of.suffix()).into(),
            Self::ToolChoice => "tool_choice".into(),
            Self::ParallelToolCalls => "parallel_tool_calls".into(),
            Self::Output(OutputField::Whole) => "response_format".into(),
            Self::Output(OutputField::Schema) => "response_format.json_schema.schema".into(),
            Self::Output(OutputField::Description) => "response_format.json_schema.description".into(),
            Self::ReasoningEffort => "reasoning_effort".into(),
            Self::ReasoningBudget => "reasoning.max_tokens".into(),
            Self::MaxTokens => "max_tokens".into(),
            Self::Temperature => "temperature".into(),
            Self::TopP => "top_p".into(),
            Self::TopK => "top_k".into(),
            Self::FrequencyPenalty => "frequency_penalty".into(),
            Self::PresencePenalty => "presence_penalty".into(),
            Self::Seed => "seed".into(),
            Self::Stop => "stop".into(),
            Self::N => "n".into(),
            Self::Logprobs => "logprobs".into(),
            Self::TopLogprobs => "top_logprobs".into(),
            Self::User => "user".into(),
            Self::CacheMark => "cache_control".into(),
            Self::Extra(name) | Self::Verbatim(name) => name.clone(),
        }
    }
}

impl MessageField {
    /// The part of the stable name after the message.
    fn suffix(self) -> &'static str {
        match self {
            Self::Whole => "",
            Self::Role => ".role",
            Self::Name => ".name",
            Self::Content => ".content",
            Self::Thinking => ".reasoning",
            Self::Proofs => ".reasoning_details",
            Self::CallId => ".tool_call_id",
            Self::Failed => ".is_error",
        }
    }
}

impl PartField {
    /// The part of the stable name after the part of a message.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Whole | Self::Thinking => "",
            Self::Source(MediaKind::Image) => ".image_url",
            Self::Source(MediaKind::Video) => ".video_url",
            Self::Source(MediaKind::Audio) => ".input_audio",
            Self::Source(MediaKind::Document) => ".file",
            Self::Detail(MediaKind::Video) => ".video_url.detail",
            Self::Detail(MediaKind::Audio) => ".input_audio.detail",
            Self::Detail(MediaKind::Document) => ".file.detail",
            Self::Detail(MediaKind::Image) => ".image_url.detail",
            Self::Filename => ".file.filename",
            Self::Proof => ".thought_signature",
        }
    }
}

impl CallField {
    /// The part of the stable name after the call.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Whole => "",
            Self::Arguments => ".function.arguments",
            Self::Proof => ".extra_content",
        }
    }
}

impl ToolField {
    /// The part of the stable name after the tool.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Whole | Self::Other(_) => "",
            Self::Type => ".type",
            Self::Parameters => ".function.parameters",
            Self::Strict => ".function.strict",
            Self::Grammar => ".custom.format",
        }
    }
}

/// [`Field::name`].
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl From<&'static str> for Field {
    fn from(name: &'static str) -> Self {
        Self::Verbatim(name.into())
    }
}

impl From<String> for Field {
    fn from(name: String) -> Self {
        Self::Verbatim(name.into())
    }
}

impl From<Cow<'static, str>> for Field {
    fn from(name: Cow<'static, str>) -> Self {
        Self::Verbatim(name)
    }
}

/// Where in the caller's body something was written: an entry of a list, and a piece of that entry. The
/// dialect decides which lists: `messages` and their `content`, `contents` and their `parts`, `input`.
///
/// Two places are always equal: the position is not part of the meaning.
#[derive(Clone, Copy)]
pub struct Place {
    entry: u32,
    piece: u32,
}

const NO_NUMBER: u32 = u32::MAX;
const INSTRUCTIONS: u32 = u32::MAX - 1;

impl Place {
    /// Not written by the caller, or not remembered.
    pub const NOWHERE: Self = Self { entry: NO_NUMBER, piece: NO_NUMBER };
    /// In the field for instructions beside the conversation.
    pub const INSTRUCTIONS: Self = Self { entry: INSTRUCTIONS, piece: NO_NUMBER };

    /// An entry as a whole.
    pub fn entry(entry: usize) -> Self {
        let entry = u32::try_from(entry).ok().filter(|entry| *entry < INSTRUCTIONS);
        Self { entry: entry.unwrap_or(NO_NUMBER), piece: NO_NUMBER }
    }

    /// A piece of this entry.
    pub fn piece(self, piece: usize) -> Self {
        Self { piece: u32::try_from(piece).unwrap_or(NO_NUMBER), ..self }
    }

    /// None for instructions, and where the place is unknown.
    pub fn entry_number(self) -> Option<usize> {
        (self.entry < INSTRUCTIONS).then_some(self.entry as usize)
    }

    /// None where the entry was not written in pieces, and where the place is unknown.
    pub fn piece_number(self) -> Option<usize> {
        (self.piece != NO_NUMBER).then_some(self.piece as usize)
    }

    /// True for the field for instructions.
    pub fn is_instructions(self) -> bool {
        self.entry == INSTRUCTIONS
    }

    /// True where the place is unknown.
    pub fn is_nowhere(self) -> bool {
        self.entry == NO_NUMBER
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::NOWHERE
    }
}

impl PartialEq for Place {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.entry_number(), self.is_instructions()) {
            (Some(entry), _) => write!(f, "{entry}")?,
            (None, true) => f.write_str("instructions")?,
            (None, false) => return f.write_str("nowhere"),
        }
        match self.piece_number() {
            Some(piece) => write!(f, "/{piece}"),
            None => Ok(()),
        }
    }
}

/// The fields that a caller wrote by a name other than the dialect's usual one, where a dialect has several
/// names for one thing.
///
/// Always equal, as [`Place`]s are.
#[derive(Clone, Debug, Default)]
pub struct Spellings {
    fields: Vec<(Field, Cow<'static, str>)>,
    /// The tools whose parameters have the dialect's other name: all tools of a request may.
    parameters: Vec<u32>,
}

impl Spellings {
    /// Remembers the caller's name of a field.
    pub fn note(&mut self, field: Field, name: impl Into<Cow<'static, str>>) {
        self.fields.push((field, name.into()));
    }

    /// Remembers that the parameters of the tool with this index have the dialect's other name.
    pub fn note_parameters(&mut self, tool: usize) {
        self.parameters.extend(u32::try_from(tool));
    }

    /// Whether the parameters of a tool have the dialect's other name.
    pub fn has_parameters(&self, tool: usize) -> bool {
        u32::try_from(tool).is_ok_and(|tool| self.parameters.contains(&tool))
    }

    /// The caller's name of a field, where it is not the usual one.
    pub fn of(&self, field: &Field) -> Option<&Cow<'static, str>> {
        self.fields.iter().find(|(known, _)| known == field).map(|(_, name)| name)
    }
}

impl PartialEq for Spellings {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Spellings {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_distinguished_from_entries() {
        let place = Place::entry(3).piece(1);
        assert_eq!((place.entry_number(), place.piece_number()), (Some(3), Some(1)));
        assert_eq!(
            format!("{place:?} {:?} {:?}", Place::INSTRUCTIONS.piece(2), Place::NOWHERE),
            "3/1 instructions/2 nowhere"
        );
        assert!(Place::INSTRUCTIONS.is_instructions() && Place::INSTRUCTIONS.entry_number().is_none());
        assert!(Place::default().is_nowhere() && Place::entry(usize::MAX).is_nowhere());
        assert_eq!(Place::entry(1), Place::NOWHERE);
    }

    #[test]
    fn common_names_take_no_memory() {
        for field in [Field::TopK, Field::Output(OutputField::Schema), Field::Tools, Field::extra("store")] {
            assert!(matches!(field.name(), Cow::Borrowed(_)), "{field:?}");
        }
        assert_eq!(
            Field::part(1, 2).with(PartField::Filename).name(),
            "messages[1].content[2].file.filename"
        );
        assert!(size_of::<Field>() <= 40, "{}", size_of::<Field>());
    }
}
