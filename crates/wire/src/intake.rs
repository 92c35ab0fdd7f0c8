//! The facts of a request that routing, metering and limits need, in any format: read once, before a provider
//! is chosen.

use std::borrow::Cow;

use bytes::Bytes;
use canon::{Amount, Error, Feature, Features, Result};

use crate::Headers;
use crate::json::{
    self, Edit, FieldPositions, Kind, Members, Scanner, Syntax, is_text, is_utf8, mentions, quoted, text_of,
    word,
};

/// Most top-level fields of a request. OpenAI, which has the most, defines about forty.
const MAX_FIELDS: usize = 256;
/// Longest name of a model, in bytes. It is stored in health, log and records.
const MODEL_LIMIT: usize = 512;
/// Most values of schemas that are translated: each then takes about 150 bytes, however short its text. The
/// tools of large agents have about ten thousand.
const MOST_SCHEMA_VALUES: usize = 100_000;

/// The URL's part of a request, for formats with the model and the method in the URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addressed<'a> {
    /// The path after the route's fixed part, unescaped: `gemini-2.5-flash:streamGenerateContent`.
    pub rest: &'a str,
    /// The query, unchanged.
    pub query: &'a str,
}

/// The form of answer that the caller wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerForm {
    /// Streamed or whole.
    pub stream: bool,
    /// A usage chunk at the end of the stream.
    pub include_usage: bool,
    /// Leave out thinking text.
    pub exclude_reasoning: bool,
    /// A stream is one growing JSON list instead of events.
    pub is_list: bool,
    /// The request asks for the token count of its prompt, not for an answer.
    pub counts: bool,
    /// The request, for formats whose answers repeat parts of it.
    pub request: Option<Bytes>,
    /// The gateway stores the answer, and the answer reports that.
    pub kept: bool,
}

/// How a request uses stored answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredAnswerUse {
    /// The answer is to be stored.
    pub store: bool,
    /// The stored answer that the conversation continues.
    pub previous: Option<String>,
    /// Stored items that the input names by their ids.
    pub references: Vec<String>,
    /// The stored conversation that it belongs to.
    pub conversation: Option<String>,
}

impl StoredAnswerUse {
    /// Whether it uses stored answers at all.
    pub fn is_used(&self) -> bool {
        self.store || self.needs_stored_answer()
    }

    /// Whether the request needs stored data to be complete.
    pub fn needs_stored_answer(&self) -> bool {
        self.previous.is_some() || !self.references.is_empty() || self.conversation.is_some()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PromptSize {
    /// Bytes of text in messages and tools: the basis of an estimate. Media do not count.
    pub text_bytes: usize,
    /// Images, audio and files.
    pub media_parts: usize,
    /// Number of messages.
    pub messages: usize,
}

impl PromptSize {
    /// A rough count of tokens: four bytes per token, and a thousand tokens for each image or file.
    pub fn estimated_tokens(&self) -> u64 {
        (self.text_bytes as u64).div_ceil(4) + 4 * self.messages as u64 + 1000 * self.media_parts as u64
    }
}

/// The facts of a request that are needed before a provider is chosen. The conversation is neither copied nor
/// unescaped.
#[derive(Clone, Debug)]
pub struct Intake {
    /// The model as the caller addressed it.
    pub model: String,
    pub form: AnswerForm,
    /// The features that a provider must have.
    pub needs: Features,
    pub size: PromptSize,
    /// The caller's limit of output tokens.
    pub max_output_tokens: Option<u64>,
    /// The caller's name of the conversation or the end user: such requests stay with a provider whose prompt
    /// cache is warm.
    pub conversation: Option<String>,
    /// The requested service tier.
    pub service_tier: Option<String>,
    /// Headers that are passed on to a provider of the same format.
    pub headers: Headers,
    /// How it uses stored answers; none where the format has no such feature.
    pub keeping: Option<Box<StoredAnswerUse>>,
    body: Bytes,
    fields: FieldPositions,
    /// A name is written with escapes: a text search then proves nothing.
    pub(crate) has_escaped_name: bool,
    pub(crate) seen: WriterHints,
}

/// The facts that routing, limits and metering need, for every endpoint: from a conversation's [`Intake`], or
/// a request of [`endpoints`](crate::endpoints).
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestFacts<'a> {
    /// The model as the caller addressed it.
    pub model: &'a str,
    /// The features that a provider must have.
    pub needs: Features,
    /// Estimated tokens of the prompt.
    pub prompt_tokens: u64,
    /// Estimated tokens that the model's context must hold at once. Zero where a request has many texts, each read
    /// by itself: their sum says nothing, and the provider cuts or refuses one that is too long.
    pub context_tokens: u64,
    /// The same as `prompt_tokens`, including tools and schemas: the amount that budgets and limits reserve.
    pub reserved_tokens: u64,
    /// The caller's limit of output tokens; none where the model's own applies.
    pub max_output_tokens: Option<u64>,
    /// The billed quantity where that is not tokens, as far as it is known before the answer.
    pub amount: Option<Amount>,
    /// The caller's name of the conversation or the end user.
    pub conversation: Option<&'a str>,
    /// The requested service tier.
    pub service_tier: Option<&'a str>,
    /// The answer is to be streamed.
    pub stream: bool,
    /// The raw values of the routing fields.
    pub routing_fields: RoutingFields<'a>,
}

/// The request's routing preferences: [`ROUTING_FIELDS`] as raw JSON, and the number of answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoutingFields<'a> {
    /// `models`: the fallbacks.
    pub models: Option<&'a [u8]>,
    /// `provider`: preferences about providers.
    pub provider: Option<&'a [u8]>,
    /// `routing`: a single value.
    pub routing: Option<&'a [u8]>,
    /// `n`: the number of answers.
    pub n: Option<&'a [u8]>,
}

impl<'a> RoutingFields<'a> {
    /// The value of `routing`.
    pub fn routing(&self) -> Option<Cow<'a, str>> {
        let raw = self.routing?;
        let text = Scanner::new(raw).string().ok()?;
        text_of(raw, &text)
    }
}

/// Facts that a format's own writer would otherwise have to search for again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WriterHints {
    /// Some message has the `developer` role.
    pub developer: bool,
    /// A message has a field other than role, content and calls.
    pub further_fields: bool,
    /// Some content is a list. Set only for Anthropic's format.
    pub content_lists: bool,
    /// There are tools.
    pub tools: bool,
    /// The stream's options already ask for usage.
    pub stream_usage: bool,
    /// Values in tools and in the response format: the size of the schemas when translated.
    pub schema_values: usize,
}

/// The caller's routing preferences, with the names of OpenRouter's clients. The same in every format.
pub const ROUTING_FIELDS: [&str; 4] = ["provider", "models", "routing", "usage"];

impl From<Syntax> for Error {
    fn from(syntax: Syntax) -> Self {
        Error::caller(
            canon::ErrorKind::InvalidRequest,
            format!("The body is not valid JSON: expected {} at byte {}.", syntax.expected, syntax.at),
        )
    }
}

impl Intake {
    /// Nothing is known yet.
    pub(crate) fn empty(body: &Bytes) -> Self {
        Self {
            model: String::new(),
            form: AnswerForm::default(),
            needs: Features::NONE,
            size: PromptSize::default(),
            max_output_tokens: None,
            conversation: None,
            service_tier: None,
            headers: Headers::new(),
            keeping: None,
            body: body.clone(),
            fields: FieldPositions::new(12),
            has_escaped_name: false,
            seen: WriterHints::default(),
        }
    }

    /// Reads the body's top-level object, strictly: duplicate names and invalid JSON are refused with their
    /// place. `take` reads one value; its place in the body is recorded here.
    pub(crate) fn scan(
        &mut self,
        mut take: impl FnMut(&mut Self, &mut Scanner<'_>, &str) -> Result<()>,
    ) -> Result<()> {
        let body = self.body.clone();
        if u32::try_from(body.len()).is_err() {
            return Err(json::TOO_LONG.into());
        }
        if !is_utf8(&body)
            && let Err(error) = std::str::from_utf8(&body)
        {
            let at = error.valid_up_to();
            return Err(Syntax { at, expected: "UTF-8 text" }.into());
        }
        let mut scanner = Scanner::strict(&body);
        if scanner.kind()? != Kind::Object {
            return Err(Error::invalid("", "The body must be a JSON object."));
        }
        scanner.object(|scanner, key| {
            let name = json::name(&body, &key)?;
            self.check_new(&name)?;
            let start = scanner.position();
            take(self, scanner, &name)?;
            self.fields.push(name, &key, start..scanner.position());
            Ok::<(), Error>(())
        })?;
        scanner.end()?;
        if let Some(at) = scanner.lone_surrogate() {
            return Err(Syntax { at, expected: "both halves of a surrogate pair" }.into());
        }
        self.has_escaped_name = scanner.has_escaped_name();
        Ok(())
    }

    fn check_new(&self, name: &str) -> Result<()> {
        if self.fields.len() == MAX_FIELDS {
            let message = format!("The request has more than {MAX_FIELDS} top-level fields.");
            return Err(Error::invalid("", message));
        }
        if self.field(name).is_some() {
            let message = format!("The field {name:?} is given twice.");
            return Err(Error::invalid(name.to_owned(), message));
        }
        Ok(())
    }

    /// Takes the model's name from its raw JSON string.
    pub(crate) fn take_model(&mut self, raw: &[u8]) -> Result<()> {
        let text = Scanner::new(raw).string()?;
        let name = text_of(raw, &text);
        self.address(&name.ok_or_else(|| Error::invalid("model", "The model name is not valid Unicode."))?)
    }

    /// Sets the requested model.
    pub(crate) fn address(&mut self, model: &str) -> Result<()> {
        if model.len() > MODEL_LIMIT {
            let message = format!("model has {} bytes; {MODEL_LIMIT} are allowed.", model.len());
            return Err(Error::invalid("model", message));
        }
        model.clone_into(&mut self.model);
        Ok(())
    }

    /// The tokens to reserve for the prompt before its count is known. Providers add up to 500 tokens of
    /// their own instructions to tools and schemas, which matter most for short prompts.
    pub fn reserved_tokens(&self) -> u64 {
        let tools = if self.needs.has(Feature::Tools) { 500 } else { 0 };
        let schema = if self.needs.has(Feature::JsonSchema) { 200 } else { 0 };
        self.size.estimated_tokens() + tools + schema
    }

    /// The facts for routing, limits and metering.
    pub fn facts(&self) -> RequestFacts<'_> {
        RequestFacts {
            model: &self.model,
            needs: self.needs,
            prompt_tokens: self.size.estimated_tokens(),
            context_tokens: self.size.estimated_tokens(),
            reserved_tokens: self.reserved_tokens(),
            max_output_tokens: self.max_output_tokens,
            amount: None,
            conversation: self.conversation.as_deref(),
            service_tier: self.service_tier.as_deref(),
            stream: self.form.stream,
            routing_fields: RoutingFields {
                models: self.non_null("models"),
                provider: self.non_null("provider"),
                routing: self.non_null("routing"),
                n: self.non_null("n"),
            },
        }
    }

    /// Only the number of tokens is wanted: there is nothing to store.
    pub fn only_counts(&mut self) {
        self.form.counts = true;
        if let Some(keeping) = &mut self.keeping {
            keeping.store = false;
        }
    }

    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The raw value of a top-level field.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields.get(&self.body, name)
    }

    /// The raw value of a top-level field that exists and is not null.
    pub fn non_null(&self, name: &str) -> Option<&[u8]> {
        self.field(name).filter(|value| *value != b"null")
    }

    /// The value of a top-level string field.
    pub fn string(&self, name: &str) -> Option<Cow<'_, str>> {
        let raw = self.field(name)?;
        let mut scanner = Scanner::new(raw);
        let text = scanner.string().ok()?;
        text_of(raw, &text)
    }

    /// The same as an owned string.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.string(name).map(Cow::into_owned)
    }

    /// Takes a value that counts as text of the prompt.
    pub(crate) fn take_text(&mut self, scanner: &mut Scanner<'_>) -> Result<()> {
        self.size.text_bytes += scanner.value()?.len();
        Ok(())
    }

    /// Takes a list of tools, each an object with a `type` where it is not a function. A web search alone is
    /// a required feature; beside other tools it is optional.
    pub(crate) fn take_tools(&mut self, scanner: &mut Scanner<'_>, path: &str) -> Result<()> {
        if scanner.kind()? == Kind::Null {
            return Ok(scanner.value().map(drop)?);
        }
        expect(scanner, Kind::Array, || path.to_owned())?;
        let (mut searches, mut others) = (false, false);
        scanner.array(|scanner, index| {
            expect(scanner, Kind::Object, || format!("{path}[{index}]"))?;
            let start = scanner.position();
            let mut is_search = false;
            scanner.object(|scanner, key| {
                let is_type = &*word(scanner.json(), &key) == b"type" && scanner.kind()? == Kind::String;
                if !is_type {
                    return Ok(scanner.value().map(drop)?);
                }
                is_search = word(scanner.json(), &scanner.string()?).starts_with(b"web_search");
                Ok::<(), Error>(())
            })?;
            searches |= is_search;
            others |= !is_search;
            self.size.text_bytes += scanner.position() - start;
            Ok::<(), Error>(())
        })?;
        if others {
            self.seen.tools = true;
            self.needs.insert(Feature::Tools);
        } else if searches {
            self.needs.insert(Feature::WebSearch);
        }
        Ok(())
    }

    /// The value of a top-level field, read as `T`; none if it is absent, null or of another shape.
    pub fn read_as<'a, T: serde::Deserialize<'a>>(&'a self, name: &str) -> Option<T> {
        serde_json::from_slice(self.non_null(name)?).ok()
    }

    /// The names of the top-level fields with their raw values.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter(&self.body)
    }

    /// Whether the request asks for thinking, in any format.
    pub fn asks_for_thinking(&self) -> bool {
        let text = |name: &str| self.non_null(name).and_then(|raw| std::str::from_utf8(raw).ok());
        let members = |name: &str| text(name).and_then(Members::of);
        // A text, or an object with this text as one of its members.
        let says = |name: &str, off: &str| {
            text(name).is_some_and(|raw| {
                let words =
                    Members::of(raw).map(|members| members.iter().any(|(_, word)| is_text(word, off)));
                !words.unwrap_or_else(|| is_text(raw, off))
            })
        };
        says("reasoning_effort", "none")
            || says("reasoning", "none")
            || says("thinking", "disabled")
            || says("output_config", "none")
                && members("output_config").is_some_and(|members| members.has("effort"))
            || members("generationConfig").is_some_and(|members| members.has("thinkingConfig"))
    }

    /// Whether a raw part of the body contains a name: a cheap check before a full one.
    pub(crate) fn mentions(&self, raw: &[u8], name: &str) -> bool {
        self.has_escaped_name || mentions(raw, name)
    }

    /// The value of a top-level field that is a whole number, in any notation.
    pub(crate) fn whole(&self, name: &str) -> Option<i64> {
        whole(self.non_null(name)?)
    }

    /// An error when the schemas are larger than the limit for translation.
    pub(crate) fn check_schema_size(&self) -> Result<()> {
        let values = self.seen.schema_values;
        if values <= MOST_SCHEMA_VALUES {
            return Ok(());
        }
        let message = format!(
            "The schemas of tools and of the answer have {values} values; {MOST_SCHEMA_VALUES} can be translated for this provider."
        );
        Err(Error::invalid("tools", message))
    }

    /// An edit of the raw body.
    pub(crate) fn edit(&self) -> Edit<'_> {
        self.fields.edit(&self.body)
    }

    /// The raw body with the provider's name of the model, without fields that only the gateway reads.
    pub(crate) fn addressed_to(&self, model: &str) -> Edit<'_> {
        let mut edit = self.edit();
        edit.set("model", &quoted(model));
        for name in ROUTING_FIELDS {
            edit.remove(name);
        }
        edit
    }

    /// Removes fields that are null: some providers treat null as a value.
    pub(crate) fn leave_out_nulls(&self, edit: &mut Edit<'_>) {
        for (name, value) in self.fields() {
            if value == b"null" {
                edit.remove(name);
            }
        }
    }

    /// Refuses a request without a model.
    pub(crate) fn check_model(&self, example: &str) -> Result<()> {
        if !self.model.is_empty() {
            return Ok(());
        }
        let message = format!("The field model is missing; name a model such as {example:?}.");
        Err(Error::invalid("model", message))
    }
}

/// A whole number, also one written as `100.0` or `1e2`: JSON has one kind of number.
pub(crate) fn whole(raw: &[u8]) -> Option<i64> {
    /// Up to 2^53 every whole number is exact as a float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let text = std::str::from_utf8(raw).ok()?;
    if let Ok(number) = text.parse::<i64>() {
        return Some(number);
    }
    let number: f64 = text.parse().ok()?;
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

/// An error when a field has another kind.
pub(crate) fn check_kind(name: &str, found: Kind, wanted: Kind) -> Result<()> {
    if found == wanted {
        Ok(())
    } else {
        let message = format!("{name} must be {}, not {}.", wanted.name(), found.name());
        Err(Error::invalid(name.to_owned(), message))
    }
}

/// An error when the next value has another kind; `path` is called only then.
pub(crate) fn expect(scanner: &mut Scanner<'_>, wanted: Kind, path: impl Fn() -> String) -> Result<()> {
    let found = scanner.kind()?;
    if found == wanted { Ok(()) } else { check_kind(&path(), found, wanted) }
}
